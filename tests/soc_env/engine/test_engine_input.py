"""Bad input is refused in one clear line."""

import json
import pickle

import numpy as np
import pytest
from engine_cases import both_families, randomise, started

import soc_env
from soc_env import ActionError, ConfigError, HMARLSOCError, ScenarioError
from soc_env.paper.scenario import Segment

TRIAGE, HUNTER, ORCHESTRATOR, COORDINATOR = soc_env.AGENTS
BOX_AGENTS = (HUNTER, ORCHESTRATOR, COORDINATOR)


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("paper-v1", {}, "'paper-v1' does not exist; did you mean 'paper-v0'"),
        (None, {}, "None does not exist"),
        ("paper-v0", {"num_host": 5}, "'num_host' does not exist; did you mean 'num_hosts'"),
        ("paper-v0", {"zebra": 5}, "'zebra' does not exist; allowed: access_rate, "),
        ("paper-v0", {"num_hosts": 0}, "num_hosts=0 must be an integer from 1 to 1000000"),
        ("paper-v0", {"num_hosts": 1_000_001}, "num_hosts=1000001 must be"),
        ("paper-v0", {"num_hosts": True}, "num_hosts=True must be an integer"),
        ("paper-v0", {"num_hosts": 5.0}, "num_hosts=5.0 must be an integer"),
        ("paper-v0", {"num_hosts": "5"}, "num_hosts='5' must be an integer"),
        ("paper-v0", {"max_steps": 0}, "max_steps=0 must be"),
        ("paper-v0", {"coordinator_period": 0}, "coordinator_period=0 must be"),
        ("paper-v0", {"weight_cost": float("nan")}, "weight_cost=nan must be a number"),
        ("paper-v0", {"weight_cost": float("inf")}, "weight_cost=inf must be a number"),
        ("paper-v0", {"weight_cost": None}, "weight_cost=None must be a number"),
        ("paper-v0", {"weight_cost": 10**400}, "weight_cost=1000"),
        ("paper-v0", {"stealth": 1.5}, "stealth=1.5 must be a number from 0.0 to 1.0"),
        ("paper-v0", {"redraw_vulnerabilities": 1}, "redraw_vulnerabilities=1 must be True or False"),
        ("paper-v0", {"phase_noise": (0.1, 0.2)}, "phase_noise=(0.1, 0.2) must be 5 numbers"),
        ("paper-v0", {"phase_noise": (0.1, 0.2, 0.3, 0.4, 7)}, "phase_noise=7 must be a number"),
        ("paper-v0", {"segments": ()}, "segments has 0 entries; allowed: 5"),
        ("paper-v0", {"segments": 5}, "segments=5 must be 5 Segment"),
        ("paper-v0", {"segments": [{"name": "x"}] * 5}, "must be 5 Segment"),
        ("paper-v0", {"segments": [Segment("x", 2, 0.5, ())] * 5}, "segments[0]: value and"),
        (
            "paper-v0",
            {"segments": [Segment("x", 1, 0.5, (2, 1))] * 5},
            "segments[0].reachable=(2, 1)",
        ),
        ("paper-v0", {"vulnerability_low": 0.9, "vulnerability_high": 0.1}, "vulnerability_low=0.9 must not exceed"),
    ],
)
def test_bad_scenarios(name, overrides, message):
    with pytest.raises(ScenarioError) as error:
        soc_env.make_scenario(name, **overrides)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert isinstance(error.value, HMARLSOCError)
    assert isinstance(error.value, ValueError)
    with pytest.raises(ScenarioError):
        soc_env.Simulator(name, **overrides)


def test_a_scenario_keeps_its_name():
    with pytest.raises(ScenarioError, match="'name' does not exist"):
        soc_env.Simulator("paper-v0", name="mine")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_envs": 0}, "num_envs=0 must be an integer of at least 1"),
        ({"num_envs": 2.0}, "num_envs=2.0"),
        ({"num_envs": True}, "num_envs=True"),
        ({"num_threads": 0}, "num_threads=0"),
        ({"seed": -1}, "seed=-1 must be an integer of at least 0"),
        ({"seed": 1.0}, "seed=1.0"),
        ({"seed": "1"}, "seed='1'"),
        ({"seed": True}, "seed=True"),
        ({"num_envs": 2, "seed": [1, None]}, "seed=None"),
        ({"num_envs": 2, "seed": [1, -2]}, "seed=-2"),
        ({"num_envs": 2, "seed": [1, 2, 3]}, "seed has 3 entries"),
        ({"num_envs": 2, "seed": []}, "seed has 0 entries"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ConfigError) as error:
        soc_env.Simulator("paper-v0", **options)
    assert message in str(error.value)
    if "seed" in options:
        sim = started(num_envs=options.get("num_envs", 1))
        with pytest.raises(ConfigError):
            sim.reset(seed=options["seed"])


def test_step_before_reset():
    with pytest.raises(HMARLSOCError, match="reset"):
        soc_env.Simulator("paper-v0").step()


@both_families
@pytest.mark.parametrize("num_threads", [1, 2])
@pytest.mark.parametrize(
    ("agent", "row", "value", "message"),
    [
        (HUNTER, 3, np.nan, "threat_hunter_0 in env 3"),
        (COORDINATOR, 0, np.nan, "strategic_coordinator_0 in env 0"),
        (ORCHESTRATOR, 2, np.nan, "response_orchestrator_0 in env 2"),
        (TRIAGE, 1, 4, "alert_triage_0 in env 1 is 4; allowed: an integer from 0 to 3"),
        (TRIAGE, 3, -1, "alert_triage_0 in env 3 is -1"),
    ],
)
def test_bad_actions_change_nothing(scenario, num_threads, agent, row, value, message):
    sim = started(scenario=scenario, num_envs=4, seed=6, num_threads=num_threads)
    rng = np.random.default_rng(0)
    for _ in range(5):
        randomise(sim, rng)
        sim.step()
    before = pickle.dumps(sim)
    kept = sim.actions[agent].copy()
    sim.actions[agent][row, ...] = value
    with pytest.raises(ActionError) as error:
        sim.step()
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    sim.actions[agent] = kept
    assert pickle.dumps(sim) == before
    sim.step()


@both_families
@pytest.mark.parametrize(
    ("agent", "value"),
    [
        (HUNTER, np.zeros(16)),
        (HUNTER, np.zeros((4, 15))),
        (HUNTER, 0.0),
        (HUNTER, np.array([["a"] * 16] * 4)),
        (TRIAGE, np.zeros(4)),
        (TRIAGE, np.zeros((4, 1), int)),
        (TRIAGE, np.array([0, 1, 2, 2**40])),  # would wrap to 0
        ("nobody", np.zeros(4)),
    ],
)
def test_bad_assignments(scenario, agent, value):
    sim = started(scenario=scenario, num_envs=4)
    with pytest.raises(ActionError):
        sim.actions[agent] = value


def test_scenarios_are_data():
    scenario = soc_env.make_scenario("paper-v0", num_hosts=500)
    assert soc_env.SCENARIOS["paper-v0"].num_hosts == 200
    assert scenario.hash() == soc_env.make_scenario("paper-v0", num_hosts=500).hash()
    assert scenario.hash() != soc_env.make_scenario("paper-v0").hash()
    assert json.loads(json.dumps(scenario.to_dict()))["segments"][3]["name"] == "DataCenter"
    assert type(scenario)(**json.loads(json.dumps(scenario.to_dict()))) == scenario
    assert soc_env.Simulator(scenario, seed=0).scenario == scenario
    assert soc_env.Simulator(scenario, seed=0, max_steps=7).scenario.max_steps == 7
    with pytest.raises(AttributeError):
        scenario.num_hosts = 3
    for spec in type(scenario).__dataclass_fields__.values():
        assert spec.name == "name" or {"unit", "source"} <= set(spec.metadata)
