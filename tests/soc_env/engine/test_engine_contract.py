"""The contract of the batched simulator: spaces, tables, buffers, sizes, and the page that documents it."""

import doctest

import networkx as nx
import numpy as np
import pytest
from engine_cases import both_families, randomise, started
from hypothesis import given, settings
from hypothesis import strategies as st

import soc_env
from soc_env.paper import tables
from soc_env.soc import tables as soc_tables
from soc_env.soc.intruders import INTRUDER_FAMILIES

TRIAGE, HUNTER, ORCHESTRATOR, COORDINATOR = soc_env.AGENTS
BOX_AGENTS = (HUNTER, ORCHESTRATOR, COORDINATOR)


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

    A segment's value never changes.
    """
    constant = ("value",)
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
        for batch in (sim.observations, sim.final_observations, {"state": sim.state()}, {"state": sim.final_states}):
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
    scenarios = [soc_env.SCENARIOS[name] for name in ("soc-v1", "soc-v2", "soc-cage4-v0", "soc-cage4-v1")]
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
