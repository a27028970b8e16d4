"""The scripted policies of `soc-v1`: what they read, what they do in states made by hand, and how they rank."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from soc_states import (
    COORDINATOR,
    CORRELATE,
    ENRICH,
    ESCALATE,
    HUNTER,
    ORCHESTRATOR,
    SUPPRESS,
    TRIAGE,
    act,
    assert_consistent,
    build,
    episodes,
    mean,
    play,
    zone_hosts,
)

from policies.scripted import SCRIPTED
from policies.scripted.playbook import shipped_file
from policies.scripted.soc import ObservationView
from soc_env import Simulator
from soc_env.engine.tables import AGENTS
from soc_env.soc.tables import CASE_FEATURES, CLOCK_FEATURES, ZONE_FEATURES

FAIR = [name for name in SCRIPTED["soc"] if name != "oracle-observation"]
NUM_ZONES = 5


def make(name, sim, seed=0):
    return SCRIPTED["soc"][name](sim.action_spaces, seed)


def levels(action):
    return (np.asarray(action, float) + 1.0) / 2.0


def seen(num_envs=1, zones=(), cases=(), clock=()):
    """Observations of all agents in which nothing happens but what is given: {name: value} by zone and by case."""
    sim = Simulator("soc-v1", num_envs=num_envs, seed=0)
    out = {agent: np.zeros((num_envs, len(sim.features(agent))), np.float32) for agent in AGENTS}
    for agent, array in out.items():
        names = sim.features(agent)
        for z in range(NUM_ZONES):
            array[:, names.index(f"zone{z}_isolated_least")] = 1.0
            array[:, names.index(f"zone{z}_last_hunt")] = 1.0
        for prefix, rows in (("zone", zones), ("case", cases)):
            for k, fields in enumerate(rows):
                for name, value in fields.items():
                    if f"{prefix}{k}_{name}" in names:
                        array[:, names.index(f"{prefix}{k}_{name}")] = value
        for name, value in dict(clock).items():
            array[:, names.index(name)] = value
    return sim, out


def answer(name, num_envs=1, **what):
    sim, observations = seen(num_envs, **what)
    return make(name, sim)(observations, np.ones(num_envs, bool))


# ---------------------------------------------------------------------- all of them
@pytest.mark.parametrize("name", list(SCRIPTED["soc"]))
@pytest.mark.parametrize("scenario", ["soc-v1", "soc-cage4-v0"])
def test_actions_lie_in_their_spaces(name, scenario):
    sim = Simulator(scenario, num_envs=3, seed=1)
    sim.reset()
    policy = make(name, sim)
    for _ in range(60):
        act(sim, policy)
        for agent, space in sim.action_spaces.items():
            for row in sim.actions[agent]:
                assert (row in space) if agent != TRIAGE else 0 <= row < space.n
        sim.step()
    assert_consistent(sim)


@pytest.mark.parametrize("num_zones", [1, 2, 16])
def test_playbooks_play_any_number_of_zones(num_zones):
    for name in SCRIPTED["soc"]:
        sim = Simulator("soc-v1", num_envs=2, seed=1, num_zones=num_zones, num_hosts=64, num_networks=2, max_steps=20)
        sim.reset()
        play(sim, make(name, sim), 25)
        assert np.isfinite(sim.episode_metrics["loss"]).all()


@pytest.mark.parametrize("name", [name for name in FAIR if name != "random"])
def test_playbooks_read_observations_only_and_each_env_by_itself(name):
    sim = Simulator("soc-v1", num_envs=6, seed=3)
    sim.reset()
    policy = make(name, sim)
    play(sim, policy, 70)
    observations = {agent: array.copy() for agent, array in sim.observations.items()}
    before = {agent: array.copy() for agent, array in observations.items()}
    actions = policy(observations, sim.decides)
    again = make(name, sim, seed=9)(copy.deepcopy(observations), sim.decides)  # no memory, no draws
    order = np.array([4, 2, 0])
    part = policy({agent: array[order] for agent, array in observations.items()}, sim.decides[order])
    for agent in AGENTS:
        np.testing.assert_array_equal(observations[agent], before[agent])
        np.testing.assert_array_equal(actions[agent], again[agent])
        np.testing.assert_array_equal(actions[agent][order], part[agent])


def test_random_draws_from_its_own_seed():
    sim = Simulator("soc-v1", num_envs=4, seed=0)
    sim.reset()
    one, same, other = (make("random", sim, seed) for seed in (3, 3, 4))
    first, second, third = (policy(sim.observations, sim.decides) for policy in (one, same, other))
    for agent in AGENTS:
        np.testing.assert_array_equal(first[agent], second[agent])
    assert any((first[agent] != third[agent]).any() for agent in AGENTS)
    one.reset(3)
    np.testing.assert_array_equal(one(sim.observations, sim.decides)[HUNTER], first[HUNTER])


def test_a_view_finds_every_feature():
    sim = Simulator("soc-v1", num_envs=4, seed=2)
    sim.reset()
    play(sim, make("escalate-all", sim), 50)
    for agent in AGENTS:
        view, names, seen_now = (
            ObservationView(agent, sim.observations[agent], 5),
            sim.features(agent),
            sim.observations[agent],
        )
        for feature in ZONE_FEATURES:
            columns = [names.index(f"zone{z}_{feature.name}") for z in range(5)]
            np.testing.assert_array_equal(view.zone(feature.name), seen_now[:, columns])
        for feature in CASE_FEATURES:
            columns = [
                k for k, name in enumerate(names) if name.startswith("case") and name.split("_", 1)[1] == feature.name
            ]
            np.testing.assert_array_equal(view.case(feature.name), seen_now[:, columns])
        for feature in CLOCK_FEATURES:
            np.testing.assert_array_equal(view.clock(feature.name), seen_now[:, names.index(feature.name)])


# ---------------------------------------------------------------------- the blind ones
def test_null_asks_for_nothing_but_enrichment():
    sim = Simulator("soc-v1", num_envs=4, seed=0)
    sim.reset()
    policy = make("null", sim)
    for _ in range(100):
        play(sim, policy, 1)
        assert {call["tool"] for i in range(4) for call in sim.calls(i)} <= {"enrich", "query"}


@pytest.mark.parametrize(
    ("name", "tools"),
    [
        ("isolate-all", {"isolate", "enrich", "query"}),
        ("escalate-all", {"escalate", "isolate", "reimage"}),
        ("suppress-all", {"suppress"}),
    ],
)
def test_blind_playbooks_use_their_tools_only(name, tools):
    sim = Simulator("soc-v1", num_envs=4, seed=0)
    sim.reset()
    policy, used = make(name, sim), set()
    for _ in range(100):
        play(sim, policy, 1)
        used |= {call["tool"] for i in range(4) for call in sim.calls(i)}
    assert used <= tools
    assert tools - used <= {"query", "reimage"}


def test_isolate_all_isolates_all():
    sim = build(max_steps=300)
    play(sim, make("isolate-all", sim), 240)
    assert sim.hosts()["is_isolated"].mean() > 0.95


# ---------------------------------------------------------------------- rule-soar
CASE = {"present": 1.0, "reading": 0.5, "second_reading": 0.5}


@pytest.mark.parametrize(
    ("fields", "choice"),
    [
        ({"severity": 0.7, "confidence": 0.5}, ESCALATE),
        ({"severity": 0.2, "confidence": 0.2, "host_risk": 0.7}, ESCALATE),
        ({"severity": 0.2, "confidence": 0.2, "source_risk": 0.7}, ESCALATE),
        ({"severity": 0.3, "confidence": 0.3}, SUPPRESS),
        ({"severity": 0.5, "confidence": 0.5}, ENRICH),
        ({"severity": 0.5, "confidence": 0.5, "enriched": 0.5, "reading": 0.6}, ESCALATE),
        ({"severity": 0.9, "confidence": 0.9, "enriched": 0.5, "reading": 0.4}, SUPPRESS),
    ],
)
def test_rule_triage(fields, choice):
    assert answer("rule-soar", cases=(CASE | fields,))[TRIAGE].tolist() == [choice]


def test_rule_response():
    zones = (
        {"top_risk": 0.8},
        {"top_risk": 0.7},
        {"isolated_least": 0.2},
        {"isolated_risk": 0.75, "isolated_least": 0.75},
        {},
    )
    contain, remediate = np.split(levels(answer("rule-soar", zones=zones)[ORCHESTRATOR][0, :10]), 2)
    assert contain == pytest.approx([0.85, 0.5, 0.1, 0.5, 0.5])
    assert remediate == pytest.approx([0.0, 0.0, 0.0, 0.95, 0.0])


def test_rule_hunts_everywhere_alike_and_directs_nothing():
    actions = answer("rule-soar", zones=({"top_risk": 0.9},))
    hunt = levels(actions[HUNTER][0])
    assert hunt[:10] == pytest.approx([0.4] * 5 + [0.6] * 5)
    assert not hunt[10:].any()
    assert not actions[COORDINATOR].any()


# ---------------------------------------------------------------------- expert
def test_expert_triage_weighs_the_evidence():
    strong = CASE | {"confidence": 0.9, "host_risk": 0.9, "alerts": 0.25}
    weak = CASE | {"confidence": 0.1, "alerts": 0.25}
    unsure = CASE | {"confidence": 0.5, "host_risk": 0.3, "source_risk": 0.3, "alerts": 0.25}
    assert answer("expert", cases=(strong,))[TRIAGE].tolist() == [ESCALATE]
    assert answer("expert", cases=(weak,))[TRIAGE].tolist() == [SUPPRESS]
    assert answer("expert", cases=(unsure,))[TRIAGE].tolist() == [ENRICH]
    assert answer("expert", cases=(unsure | {"enriched": 0.5},))[TRIAGE].tolist() == [ENRICH]  # a query
    assert answer("expert", cases=(unsure | {"related": 0.5, "confidence": 0.55},))[TRIAGE].tolist() == [CORRELATE]
    for reading, choice in ((0.9, ESCALATE), (0.1, SUPPRESS)):
        known = unsure | {"enriched": 1.0, "reading": reading, "second_reading": reading}
        assert answer("expert", cases=(known,))[TRIAGE].tolist() == [choice]


def test_expert_response_goes_by_risk():
    x = shipped_file("expert").numbers
    zones = (
        {"top_risk": 0.99, "top_value": 0.5},
        {"top_risk": 0.3, "top_value": 0.5},
        {"isolated_least": x["release_risk"] - 0.01},
        {"isolated_risk": x["reimage_risk"] + 0.01, "isolated_least": x["reimage_risk"] + 0.01},
        {},
    )
    action = levels(answer("expert", zones=zones)[ORCHESTRATOR][0])
    assert action[5:10] == pytest.approx([0.95, 0.0, 0.0, 0.95, 0.0])
    assert action[1:5] == pytest.approx([0.5, 0.1, 0.5, 0.5])
    assert action[10] == 1.0  # someone is all but certain: the perimeter
    assert levels(answer("expert")[ORCHESTRATOR][0, 10]) == 0.0


def test_expert_hunts_where_there_is_doubt():
    effort = levels(answer("expert", zones=({"top_risk": 0.6}, {"top_risk": 0.05}, {"top_risk": 0.95}))[HUNTER][0, :5])
    assert effort[0] > effort[1] == effort[2] == effort[3]


# ---------------------------------------------------------------------- the oracle of observations
def test_the_oracle_of_observations_acts_on_the_truth_that_it_is_given():
    sim = build(num_envs=2)
    hosts = zone_hosts(sim, 1)
    bad = {"host": int(hosts[3]), "level": 2, "campaign": 0, "since": 0, "verdict": 1.0}
    case = {"host": 5, "is_true": 1}
    for is_bad in (False, True):
        state = build(
            hosts=(bad if is_bad else {"host": int(hosts[3]), "verdict": 1.0},),
            campaigns=({},),
            cases=({**case, "is_true": int(is_bad)},),
        )
        policy = make("oracle-observation", state)
        policy.state = state.state()
        actions = policy(state.observations, state.decides)
        assert actions[TRIAGE].tolist() == [ESCALATE if is_bad else SUPPRESS]
        assert levels(actions[ORCHESTRATOR][0, 6]) == pytest.approx(0.95 if is_bad else 0.0)
        assert levels(actions[HUNTER][0, 1]) == pytest.approx(0.3 if is_bad else 0.0)


def test_the_oracle_of_observations_needs_its_state():
    sim = Simulator("soc-v1", num_envs=1, seed=0)
    sim.reset()
    with pytest.raises((IndexError, ValueError)):
        make("oracle-observation", sim)(sim.observations, sim.decides)


# ---------------------------------------------------------------------- ranking
def test_the_more_is_read_the_less_is_lost():
    losses = {
        name: mean(episodes(name, 32, seed=21), "loss")
        for name in ("null", "rule-soar", "expert", "oracle-observation")
    }
    assert (
        losses["null"]
        > 1.5 * losses["rule-soar"]
        > 1.5 * 1.4 * losses["expert"]
        > 1.5 * 1.4 * 1.3 * losses["oracle-observation"]
    )


def test_reading_shortens_every_time():
    played = {name: episodes(name, 32, seed=21) for name in ("null", "rule-soar", "expert")}
    for metric in ("mttd", "mtta", "mttc", "mttr"):
        times = [mean(played[name], metric) for name in ("null", "rule-soar", "expert")]
        assert times == sorted(times, reverse=True), metric
    assert mean(played["expert"], "fdr") < 0.5 < mean(played["rule-soar"], "fdr")
    assert mean(played["expert"], "csr") > mean(played["rule-soar"], "csr") > mean(played["null"], "csr")
