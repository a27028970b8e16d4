"""What every user of the simulator relies on: determinism, spaces, exact rewards, errors, copies, sizes, the cache."""

import copy
import doctest
import functools
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from engine_trace import CASES, SLOW_IN_PLAIN_PYTHON, digests_of_case, play
from hypothesis import given, settings
from hypothesis import strategies as st

import soc_env
from soc_env import ActionError, ConfigError, HMARLSOCError, ScenarioError
from soc_env.paper import tables
from soc_env.paper.scenario import Segment
from soc_env.soc import tables as soc_tables
from soc_env.soc.intruders import INTRUDER_FAMILIES

ROOT = Path(__file__).parents[3]
TRIAGE, HUNTER, ORCHESTRATOR, COORDINATOR = soc_env.AGENTS
BOX_AGENTS = (HUNTER, ORCHESTRATOR, COORDINATOR)
both_families = pytest.mark.parametrize("scenario", ["paper-v0", "soc-v1"])


def started(num_envs=1, seed=0, scenario="paper-v0", **options):
    sim = soc_env.Simulator(scenario, num_envs=num_envs, seed=seed, **options)
    sim.reset()
    return sim


def randomise(sim, rng):
    for agent in BOX_AGENTS:
        sim.actions[agent][...] = rng.uniform(-1, 1, sim.actions[agent].shape)
    sim.actions[TRIAGE][...] = rng.integers(0, 4, sim.num_envs)


def in_another_process(*arguments, **environment):
    """Runs Python at the root; returns its standard output."""
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


# ---------------------------------------------------------------- determinism
@functools.cache
def own_digests():
    return {name: digests_of_case(name) for name in CASES}


def test_twice_in_one_process():
    assert {name: digests_of_case(name) for name in CASES} == own_digests()


def test_in_another_process():
    assert json.loads(in_another_process("tests/helpers/engine_trace.py")) == own_digests()


def test_plain_python_gives_the_same_bits():
    names = [name for name in CASES if name not in SLOW_IN_PLAIN_PYTHON]
    plain = in_another_process("-W", "error", "tests/helpers/engine_trace.py", *names, NUMBA_DISABLE_JIT="1")
    assert json.loads(plain) == {name: own_digests()[name] for name in names}


@pytest.mark.parametrize("name", ["random", "7 hosts", "fixed networks", "soc", "soc order"])
def test_in_any_batch(name):
    for num_envs in (1, 64):
        digests = digests_of_case(name, num_envs=num_envs)
        shared = min(num_envs, 3)
        assert digests[:shared] == own_digests()[name][:shared]


@pytest.mark.parametrize("num_threads", [2, 3, 5])
def test_on_threads(num_threads):
    for name in ("random", "max", "soc", "soc max"):
        assert digests_of_case(name, num_threads=num_threads) == own_digests()[name]


@pytest.mark.parametrize(("name", "scenario"), [("random", "paper-v0"), ("soc", "soc-v1")])
def test_envs_and_seeds_differ(name, scenario):
    digests = digests_of_case(name, num_envs=8)
    assert len(set(digests)) == 8
    steps, policy, _ = CASES[name]
    seeds = (0, 1, 2, 2**63, 2**64, 2**200)
    by_seed = [play(started(seed=seed, scenario=scenario), steps, policy, [0])[0] for seed in seeds]
    assert len(set(by_seed)) == 6


@both_families
def test_a_seed_per_env_behaves_as_env_0_of_that_seed(scenario):
    sim = started(scenario=scenario, num_envs=3, seed=[7, 2**70, 7])
    batch = play(sim, 80, "random", [0, 0, 0])
    alone = [play(started(scenario=scenario, seed=seed), 80, "random", [0])[0] for seed in (7, 2**70)]
    assert batch == [alone[0], alone[1], alone[0]]
    assert play(started(scenario=scenario, num_envs=2, seed=np.array([7, 9])), 80, "random", [0, 0])[0] == alone[0]


@both_families
def test_reset_with_a_seed_starts_over(scenario):
    sim = started(scenario=scenario, num_envs=2, seed=4)
    expected = play(sim, 100, "random", range(2))
    for resets in ([4], [4, 4], [9, 4], [None, 4]):
        for seed in resets:
            sim.reset(seed=seed)
        assert play(sim, 100, "random", range(2)) == expected


@both_families
def test_reset_without_a_seed_goes_on(scenario):
    sim = started(scenario=scenario, seed=4)
    first = {agent: array.copy() for agent, array in sim.observations.items()}
    sim.reset()
    assert not np.array_equal(sim.observations[HUNTER], first[HUNTER])
    assert sim.episodes.tolist() == [1]
    again = started(scenario=scenario, seed=4)
    again.reset()
    np.testing.assert_array_equal(again.observations[HUNTER], sim.observations[HUNTER])
    assert play(again, 60, "random", [0]) == play(sim, 60, "random", [0])


@both_families
def test_autoreset_plays_the_same_episodes_as_reset(scenario):
    auto, manual = started(scenario=scenario, seed=8), started(scenario=scenario, seed=8, autoreset=False)
    rng = np.random.default_rng(0)
    ends = 0
    while ends < 4:
        randomise(auto, rng)
        for agent in auto.agents:
            manual.actions[agent] = auto.actions[agent]
        auto.step()
        manual.step()
        is_end = auto.terminated[0] or auto.truncated[0]
        last = auto.final_observations if is_end else auto.observations
        for agent in auto.agents:
            np.testing.assert_array_equal(last[agent], manual.observations[agent])
        assert auto.rewards[0] == manual.rewards[0]
        assert auto.episode_metrics[0] == manual.episode_metrics[0]
        if is_end:
            ends += 1
            assert manual.terminated[0] == auto.terminated[0]
            manual.reset()
            for agent in auto.agents:
                np.testing.assert_array_equal(auto.observations[agent], manual.observations[agent])
            assert auto.decides[0]


@both_families
def test_without_a_seed_runs_differ(scenario):
    sims = [soc_env.Simulator(scenario) for _ in range(2)]
    for sim in sims:
        sim.reset()
    again = started(scenario=scenario, seed=sims[0].seed)
    np.testing.assert_array_equal(again.observations[HUNTER], sims[0].observations[HUNTER])
    first, other, repeated = (play(sim, 60, "random", [0]) for sim in (*sims, again))
    assert first == repeated != other


def test_the_dynamics_have_not_changed_unnoticed():
    # A golden trace. If a change of the dynamics is meant, bump the scenario's version and renew these numbers.
    sim = started(num_envs=64, seed=123)
    rng = np.random.default_rng(123)
    for _ in range(300):
        randomise(sim, rng)
        sim.step()
    metrics = sim.episode_metrics
    seen = {name: round(float(metrics[name].mean()), 6) for name in ("reward", "length", "mttd", "csr", "total_scans")}
    expected = {"reward": -269.678031, "length": 61.0, "mttd": 9.46875, "csr": 0.765625, "total_scans": 10316.25}
    assert seen == expected


# ---------------------------------------------------------------- spaces and tables
def test_names_and_sizes():
    sim = started()
    assert sim.agents == ("alert_triage_0", "threat_hunter_0", "response_orchestrator_0", "strategic_coordinator_0")
    assert [space.shape for space in sim.observation_spaces.values()] == [(64,), (128,), (96,), (64,)]
    assert sim.action_spaces[TRIAGE].n == 4
    assert [sim.action_spaces[agent].shape for agent in BOX_AGENTS] == [(16,), (12,), (8,)]
    assert all(space.dtype == np.float32 for space in sim.observation_spaces.values())
    assert sim.decision_periods == {TRIAGE: 1, HUNTER: 1, ORCHESTRATOR: 1, COORDINATOR: 5}
    assert sim.state().shape == (1, *sim.state_space.shape)


def test_tables_name_every_entry_once():
    for agent in soc_env.AGENTS:
        names = soc_env.features(agent, "paper-v0")
        assert len(set(names)) == len(names)
        assert len({action.name for action in soc_env.paper.tables.ACTIONS[agent]}) == len(
            soc_env.paper.tables.ACTIONS[agent]
        )
    assert len({feature.name for feature in soc_env.paper.tables.STATE}) == len(soc_env.paper.tables.STATE)
    assert [term.weight for term in soc_env.paper.tables.REWARD_TERMS] == [
        "weight_detection", "weight_response", "weight_cost", "weight_false_positive"
    ]  # fmt: skip
    assert started().episode_metrics.dtype.names == tuple(metric.name for metric in soc_env.paper.tables.METRICS)


@pytest.mark.parametrize("num_hosts", [1, 7, 200])
def test_observations_stay_within_their_features(num_hosts):
    """Box, dtype, and the tighter range of each feature; and that no feature is constant unless its row says so.

    A segment's value never changes; autoreset hides states in which the episode is over.
    """
    constant = ("value", "is_contained", "is_exfiltrated")
    sim = started(num_envs=256, seed=1, num_hosts=num_hosts)
    rng = np.random.default_rng(1)
    rows = sim.observations | {"state": sim.state()}
    lows = {name: np.full(array.shape[1], np.inf) for name, array in rows.items()}
    highs = {name: np.full(array.shape[1], -np.inf) for name, array in rows.items()}
    for _ in range(450):
        randomise(sim, rng)
        if rng.random() < 0.5:  # gives long undisturbed attacks a chance
            sim.actions[ORCHESTRATOR][:128] = -1
        sim.step()
        for batch in (sim.observations, sim.final_observations, {"state": sim.state()}):
            for name, array in batch.items():
                assert array.dtype == np.float32
                lows[name] = np.minimum(lows[name], array.min(axis=0))
                highs[name] = np.maximum(highs[name], array.max(axis=0))
    for name, features in (tables.FEATURES | {"state": tables.STATE}).items():
        for k, feature in enumerate(features):
            assert feature.low - 1e-6 <= lows[name][k], (name, feature)
            assert highs[name][k] <= feature.high + 1e-6, (name, feature)
            assert -1 <= feature.low <= feature.high <= 1
            if num_hosts == 200 and feature.low < feature.high and not feature.name.endswith(constant):
                assert lows[name][k] < highs[name][k], (name, feature)


@settings(max_examples=25, deadline=None)
@given(
    num_hosts=st.integers(1, 400), max_steps=st.integers(1, 60), coordinator_period=st.integers(1, 7),
    stealth=st.floats(0, 1), weights=st.tuples(*[st.floats(-10, 10)] * 4), seed=st.integers(0, 2**80),
    rates=st.tuples(*[st.floats(0, 1)] * 5), false_scan_rate=st.floats(0, 0.5),
)  # fmt: skip
def test_any_scenario_keeps_the_contract(
    num_hosts, max_steps, coordinator_period, stealth, weights, seed, rates, false_scan_rate
):
    names = ("access_rate", "execution_rate", "lateral_rate", "exfiltration_rate", "over_isolation_rate")
    sim = started(
        4, seed, num_hosts=num_hosts, max_steps=max_steps, coordinator_period=coordinator_period, stealth=stealth,
        weight_detection=weights[0], weight_response=weights[1], weight_cost=weights[2],
        weight_false_positive=weights[3], false_scan_rate=false_scan_rate, **dict(zip(names, rates, strict=True)),
    )  # fmt: skip
    rng = np.random.default_rng(0)
    returns = np.zeros(4)
    for step in range(70):
        np.testing.assert_array_equal(sim.decides, sim.running_metrics()["length"] % coordinator_period == 0)
        randomise(sim, rng)
        sim.step()
        assert_ledger(sim, weights)
        returns += sim.rewards
        ended = sim.terminated | sim.truncated
        np.testing.assert_allclose(sim.episode_metrics["reward"][ended], returns[ended], rtol=1e-9, atol=1e-9)
        returns[ended] = 0
        for agent in sim.agents:
            assert np.abs(sim.observations[agent]).max() <= 1.0
        assert np.abs(sim.state()).max() <= 1.0
        if max_steps == 1:
            assert ended.all(), step


def assert_ledger(sim, weights):
    """The weighted terms add up to the reward, to the last bit."""
    np.testing.assert_array_equal((sim.reward_terms * np.array(weights)).sum(1), sim.rewards)


@both_families
def test_reward_is_the_weighted_sum_of_its_terms_exactly(scenario):
    sim = started(scenario=scenario, num_envs=64, seed=3)
    rng = np.random.default_rng(3)
    total = np.zeros(64)
    for _ in range(200):
        randomise(sim, rng)
        sim.step()
        assert_ledger(sim, (1.0, 1.5, -0.3, -2.0))
        total += sim.rewards
        ended = sim.terminated | sim.truncated
        np.testing.assert_array_equal(sim.episode_metrics["reward"][ended], total[ended])
        np.testing.assert_array_equal(sim.running_metrics()["reward"], np.where(ended, 0, total))
        total[ended] = 0


@both_families
def test_weights_change_the_reward_only(scenario):
    plain, weighted = (
        started(scenario=scenario, seed=5),
        started(scenario=scenario, seed=5, weight_detection=2.0, weight_cost=0.0),
    )
    rng = np.random.default_rng(5)
    for _ in range(60):
        randomise(plain, rng)
        for agent in plain.agents:
            weighted.actions[agent] = plain.actions[agent]
        plain.step()
        weighted.step()
        np.testing.assert_array_equal(plain.reward_terms, weighted.reward_terms)
        np.testing.assert_array_equal(plain.observations[HUNTER], weighted.observations[HUNTER])
        assert weighted.rewards[0] == (weighted.reward_terms[0] * [2.0, 1.5, 0.0, -2.0]).sum()


# ---------------------------------------------------------------- buffers
@both_families
def test_buffers_are_the_same_arrays_all_along(scenario):
    sim = started(scenario=scenario, num_envs=2)
    before = {**sim.observations, **{f"act {agent}": array for agent, array in sim.actions.items()}}
    sim.actions[HUNTER] = np.ones((2, 16))
    sim.step()
    sim.reset()
    after = {**sim.observations, **{f"act {agent}": array for agent, array in sim.actions.items()}}
    assert all(before[name] is after[name] for name in before)
    assert all(array.flags["C_CONTIGUOUS"] for array in after.values())
    assert sim.actions[HUNTER].dtype == np.float32
    assert sim.actions[TRIAGE].dtype == np.int32


def test_assigned_actions_are_copied_in():
    sim, given = started(num_envs=2), np.full((2, 8), 0.5)
    sim.actions[COORDINATOR] = given
    given[:] = 9
    sim.step()
    assert sim.campaign(1)["directive"] == [0.5] * 8


def test_fresh_arrays_stay_as_they_are():
    sim = started(num_envs=2)
    state, running, hosts, alerts = sim.state(), sim.running_metrics(), sim.hosts(0), sim.alerts(0)
    kept = [array.copy() for array in (state, running, hosts, alerts)]
    for _ in range(20):
        sim.step()
    for array, copied in zip((state, running, hosts, alerts), kept, strict=True):
        np.testing.assert_array_equal(array, copied)


def test_metrics_of_the_last_finished_episode_stay():
    sim = started(num_envs=1, seed=0, max_steps=5)
    assert sim.episode_metrics[0].tolist() == (0,) * 14
    for step in range(1, 12):
        sim.step()
        assert sim.episode_metrics[0]["length"] == (0 if step < 5 else 5)
        assert sim.running_metrics()[0]["length"] == step % 5
        assert sim.truncated[0] == (step % 5 == 0)


def test_a_finished_env_waits_for_reset():
    sim = started(num_envs=2, seed=0, max_steps=3, autoreset=False)
    for _ in range(3):
        sim.step()
    kept = [sim.observations[HUNTER].copy(), sim.state(), sim.episode_metrics.copy(), sim.running_metrics()]
    for agent in BOX_AGENTS:
        sim.actions[agent][...] = 1
    for _ in range(4):
        sim.step()
        assert sim.truncated.all()
        assert not sim.decides.any()
        assert sim.rewards.tolist() == [0, 0]
        assert not sim.reward_terms.any()
        for array, now in zip(
            kept, (sim.observations[HUNTER], sim.state(), sim.episode_metrics, sim.running_metrics()), strict=True
        ):
            np.testing.assert_array_equal(array, now)
    sim.reset()
    assert not sim.truncated.any()
    assert sim.decides.all()


# ---------------------------------------------------------------- copies
@both_families
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda sim: pickle.loads(pickle.dumps(sim))])
@pytest.mark.parametrize("num_threads", [1, 2])
def test_copies_go_on_where_the_original_stands(scenario, duplicate, num_threads):
    sim = started(scenario=scenario, num_envs=4, seed=2, num_threads=num_threads)
    rng = np.random.default_rng(0)
    for _ in range(17):
        randomise(sim, rng)
        sim.step()
    twin = duplicate(sim)
    np.testing.assert_array_equal(twin.observations[HUNTER], sim.observations[HUNTER])
    assert not np.shares_memory(twin.observations[HUNTER], sim.observations[HUNTER])
    np.testing.assert_array_equal(twin.actions[HUNTER], sim.actions[HUNTER])
    expected = play(sim, 60, "random", range(4))
    assert play(twin, 60, "random", range(4)) == expected


@both_families
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_threads_after_a_fork(scenario):
    sim = started(scenario=scenario, num_envs=4, seed=2, num_threads=2)
    sim.step()
    child = os.fork()
    if child == 0:
        sim.step()
        os._exit(0 if sim.running_metrics()["length"].tolist() == [2] * 4 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# ---------------------------------------------------------------- sizes
def test_one_host():
    sim = started(num_envs=8, seed=0, num_hosts=1)
    rng = np.random.default_rng(0)
    for _ in range(300):
        randomise(sim, rng)
        sim.step()
        for agent in sim.agents:
            assert np.isfinite(sim.observations[agent]).all()
    assert sim.episode_metrics["length"].min() > 0
    assert len(sim.hosts(0)) == 1


@pytest.mark.parametrize("num_hosts", [100_000, 1_000_000])
def test_many_hosts(num_hosts):
    sim = started(num_envs=2, seed=0, num_hosts=num_hosts)
    rng = np.random.default_rng(0)
    for _ in range(40):
        randomise(sim, rng)
        sim.step()
        assert np.abs(sim.observations[HUNTER]).max() <= 1
    hosts = sim.hosts(1)
    assert len(hosts) == num_hosts
    assert hosts["is_isolated"].sum() == sim.records().env[1]["isolated"].sum()
    sim.reset()
    assert not sim.hosts(1)["is_isolated"].any()


@both_families
def test_records_are_the_truth_itself(scenario):
    sim = started(num_envs=3, scenario=scenario)
    one, every = sim.records(1), sim.records()
    assert one._fields == every._fields
    one.env["step"] = 17
    assert every.env["step"].tolist() == [0, 17, 0]
    assert sim.running_metrics()["length"].tolist() == [0, 17, 0]
    every.world["max_steps"] = 18
    assert one.world["max_steps"] == 18
    sim.step()
    assert sim.truncated.tolist() == [False, True, False]
    assert all(
        np.shares_memory(one[k], every[k]) for k, name in enumerate(one._fields) if every[k].size and name != "env"
    )


def test_drawing_observations_anew_changes_nothing_but_them():
    sim = started(num_envs=2, scenario="soc-v1")
    before = {agent: array.copy() for agent, array in sim.observations.items()}
    sim.observe()
    assert all(np.array_equal(before[agent], sim.observations[agent]) for agent in sim.agents)
    sim.records(1).env["events"][0] = 0.75
    sim.observe()
    assert [np.array_equal(sim.observations[HUNTER][i], before[HUNTER][i]) for i in range(2)] == [True, False]


def test_network_graph():
    sim = started(num_envs=2, num_hosts=12)
    graph = sim.network(1)
    assert isinstance(graph, nx.DiGraph)
    segments = {name: data for name, data in graph.nodes(data=True) if data["kind"] == "segment"}
    assert list(segments) == ["DMZ", "Corporate", "Development", "DataCenter", "Cloud"]
    reached = {
        name: [target for target in graph.successors(name) if graph.edges[name, target]["kind"] == "reaches"]
        for name in segments
    }
    assert reached["Corporate"] == ["DMZ", "Development", "DataCenter"]
    assert sum(map(len, reached.values())) == 13
    vulnerabilities = sim.hosts(1)["vulnerability"]
    for host in range(12):
        assert graph.nodes[host]["vulnerability"] == vulnerabilities[host]
        (segment,) = graph.predecessors(host)
        assert segments[segment]["index"] == graph.nodes[host]["segment"] == sim.hosts(1)["segment"][host]


# ---------------------------------------------------------------- bad input
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


# ---------------------------------------------------------------- the documentation page
def documented(heading, scenario="paper-v0"):
    """Rows of the table under a heading of a scenario's page, without their header; heading None: before the first."""
    page = {"soc-v1": soc_env.soc, "paper-v0": soc_env.paper}[scenario].__doc__
    assert page.startswith(f"{scenario}: ")
    section = page.split("\n## ")[0] if heading is None else page.split(f"## {heading}\n", 1)[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    return rows[2:]


def test_the_page_says_what_the_tables_say():
    sim = started()
    segments = sim.scenario.segments
    assert documented("Network") == [
        [s.name, str(s.value), str(s.vulnerability), ", ".join(segments[t].name for t in s.reachable)] for s in segments
    ]
    assert [row[0] for row in documented("Intruder")] == list(tables.PHASES)
    assert documented("Agents") == [
        [
            f"`{agent}`",
            str(len(tables.FEATURES[agent])),
            f"Discrete({len(actions)})" if agent == TRIAGE else f"Box(-1, 1, {len(actions)})",
            actions[0].tool,
        ]
        for agent, actions in tables.ACTIONS.items()
    ]
    assert documented("Reward") == [
        [term.name, str(getattr(sim.scenario, term.weight)), term.formula] for term in tables.REWARD_TERMS
    ]
    assert documented("Metrics of an episode") == [[m.name, m.unit, m.meaning] for m in tables.METRICS]


def test_the_page_of_soc_v1_says_what_its_tables_say():
    sim = started(scenario="soc-v1")
    text = " ".join(soc_env.soc.__doc__.split())
    scenarios = [soc_env.SCENARIOS[name] for name in ("soc-v1", "soc-cage4-v0")]
    assert documented(None, "soc-v1") == [
        [s.name, str(s.num_hosts), str(s.num_zones), str(s.max_steps)] for s in scenarios
    ]
    assert f"Zones of the default: {', '.join(sim.networks[0].zone_names)}." in text
    assert documented("Intruders", "soc-v1") == [[f.name, f.split, f.goal] for f in INTRUDER_FAMILIES]
    for row, agent in zip(documented("Agents", "soc-v1"), soc_env.AGENTS, strict=True):
        assert row[0] == f"`{agent}`"
        slope, rest = (int(number) for number in row[1].split("Z + "))
        for num_zones in (1, 5, 16):
            actions = soc_tables.actions(agent, num_zones)
            assert slope * num_zones + rest == len(soc_tables.features(agent, num_zones))
            sizes = {"4": 4, "3Z+1": 3 * num_zones + 1, "2Z+2": 2 * num_zones + 2, "Z+3": num_zones + 3}
            assert sizes[row[2].split("(")[1].rstrip(")").split(", ")[-1]] == len(actions)
            assert row[3] == actions[0].tool
        for action in soc_tables.actions(agent, 1) if agent != TRIAGE else ():
            name, effect = action.name.replace("_0", "_z"), action.effect.replace("zone 0", "zone z")
            assert f"* `{name}`: {effect}." in text
    assert documented("Tools", "soc-v1") == [
        [t.name, t.platform, t.target, str(t.minutes), f"{t.analyst_minutes:g}", f"{t.failure:g}", t.risk_class]
        for t in soc_tables.TOOLS
    ]
    for tool in soc_tables.TOOLS:
        needs = "" if tool.precondition == "none" else f" Needs: {tool.precondition}."
        assert f"* `{tool.name}`: {tool.effect}.{needs}" in text
    for term in soc_tables.REWARD_TERMS:
        assert f"* {term.name} ({getattr(sim.scenario, term.weight)}): {term.formula}." in text
    assert documented("Metrics of an episode", "soc-v1") == [[m.name, m.unit, m.meaning] for m in soc_tables.METRICS]


@pytest.mark.parametrize(("module", "at_least"), [(soc_env, 4), (soc_env.soc, 6), (soc_env.paper, 5)])
def test_the_example_on_the_page_works(module, at_least):
    failed, tried = doctest.testmod(module)
    assert tried >= at_least
    assert failed == 0
