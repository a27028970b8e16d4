"""What agents see is what the SOC knows: flipping the truth changes nothing that they get."""

from __future__ import annotations

import ast
import copy
import pathlib

import numpy as np
import pytest
from soc_states import (
    ACTIVE,
    ENRICH,
    HUNTER,
    TRIAGE,
    play,
)

import soc_env
from policies.scripted import RandomPolicy, scripted
from soc_env import Simulator
from soc_env.engine.tables import AGENTS
from soc_env.soc.kernels.state import CASE_TRUTH, EPISODE_TRUTH, HOST, HOST_TRUTH, NEVER, PENDING_SLOTS

ROOT = pathlib.Path(__file__).parents[3]
PLAYBOOKS = scripted("soc-v1")
BLIND = ("null", "isolate-all", "escalate-all", "suppress-all")  # playbooks that read nothing
SCRIPTED = (*BLIND, "random", "rule-soar", "expert")

# Requirements on experiments/ and on the rest, tested beside what they are about.
# ---------------------------------------------------------------------- 1, 2: what agents see, and the truth


def flip(values, low, high, rng):
    """Other integers in [low, high]."""
    return (values - low + rng.integers(1, high - low + 1, np.shape(values))) % (high - low + 1) + low


def flip_truth(sim, rng):
    """Changes everything that the SOC does not know, and nothing that it does."""
    for i in range(sim.num_envs):
        env = sim.records(i).env
        records = sim.records(i).hosts[: env["num_tracked"]]
        for name, low, high in (("level", 0, 2), ("campaign", -1, 2), ("since", -1, 99), *(
            (name, 0, 1) for name in ("is_persistent", "is_encrypted", "is_detected", "is_credited", "is_exposed")
        )):  # fmt: skip
            records[name] = flip(records[name], low, high, rng)
        cases = env["cases"]
        cases["is_true"], cases["campaign"] = 1 - cases["is_true"], flip(cases["campaign"], -1, 2, rng)
        for campaign in env["campaigns"]:
            for name in campaign.dtype.names:
                if name == "stealth":
                    campaign[name] = rng.random()
                elif name != "is_known":
                    high = {"state": 2, "family": len(sim.families) - 1, "has_credentials": 1}.get(name, 6)
                    campaign[name] = flip(np.clip(campaign[name], 0, high), 0, high, rng)
        env["num_campaigns"] += 1 + rng.integers(5)
        env["past_campaigns"] = rng.random(9)
        env["attack_events"] = 100.0 * rng.random(16)
        env["num_pending"] = flip(env["num_pending"], 0, PENDING_SLOTS, rng)
        for name in env["pending"].dtype.names:
            env["pending"][name] = rng.integers(0, 20, PENDING_SLOTS)
        hide_intruders(sim, i, rng)


def hide_intruders(sim, i, rng, num_hosts=12):
    """Compromises hosts that nothing speaks against, which until now had no record."""
    _, network, assets, env, records, slots, _ = sim.records(i)
    zone_of = network["segment_zone"]
    free = np.flatnonzero(slots == 0)
    for host in rng.choice(free, min(num_hosts, len(free)), replace=False):
        row = np.zeros(1, HOST)
        row["host"], row["segment"], row["zone"] = host, assets["segment"][host], zone_of[assets["segment"][host]]
        row["level"], row["campaign"] = rng.integers(1, 3), rng.integers(0, 3)
        row["is_persistent"] = rng.integers(0, 2)
        row["last_alert"] = row["last_hunt"] = NEVER
        records[env["num_tracked"]] = row[0]
        env["num_tracked"] += 1
        slots[host] = env["num_tracked"]


def what_agents_get(sim, actions):
    """Observations drawn up anew, masks, and what the actions would ask the tools for."""
    for agent, action in actions.items():
        sim.actions[agent] = action
    for array in sim.observations.values():
        array[...] = 7.0
    sim.observe()
    sim.decode()
    observations = {agent: array.copy() for agent, array in sim.observations.items()}
    return observations, sim.action_masks(), [sim.calls(i) for i in range(sim.num_envs)]


def assert_same_for_agents(sim, ours, theirs):
    for agent in AGENTS:
        seen, other = ours[0][agent], theirs[0][agent]
        leaks = {sim.features(agent)[k] for _, k in np.argwhere(seen.view(np.int32) != other.view(np.int32))}
        assert not leaks, (agent, leaks)
    for agent, mask in ours[1].items():
        np.testing.assert_array_equal(mask, theirs[1][agent], err_msg=agent)
    assert ours[2] == theirs[2]


@pytest.mark.parametrize("scenario", ["soc-v1", "soc-cage4-v0", "soc-v2"])
@pytest.mark.parametrize("name", SCRIPTED)
def test_line_1_observations_masks_and_calls_do_not_depend_on_the_truth(scenario, name):
    rng = np.random.default_rng(len(name))
    sim = Simulator(scenario, num_envs=6, seed=len(scenario), autoreset=False, split="test")
    sim.reset()
    policy, noise = PLAYBOOKS[name](sim.action_spaces, 0), RandomPolicy(sim.action_spaces, 1)
    for minutes in (9, 31, 50, 60):
        play(sim, policy, minutes)
        ours, theirs = copy.deepcopy(sim), copy.deepcopy(sim)
        flip_truth(theirs, rng)
        assert (ours.state() != theirs.state()).any(axis=1).all()
        for action in (policy(sim.observations, sim.decides), noise(sim.observations, sim.decides)):
            assert_same_for_agents(sim, what_agents_get(ours, action), what_agents_get(theirs, action))


def test_line_1_flipping_changes_every_field_of_the_truth():
    sim = Simulator("soc-v1", num_envs=4, seed=1, autoreset=False)
    sim.reset()
    play(sim, PLAYBOOKS["rule-soar"](sim.action_spaces), 90)
    other = copy.deepcopy(sim)
    flip_truth(other, np.random.default_rng(0))
    for name in EPISODE_TRUTH:
        ours, theirs = sim.records().env[name], other.records().env[name]
        for field in ours.dtype.names or ():
            assert (ours[field] != theirs[field]).any() == (field != "is_known"), (name, field)
        assert (ours != theirs).any(), name
    for name in CASE_TRUTH:
        assert (sim.records().env["cases"][name] != other.records().env["cases"][name]).all(), name
    for i, num_tracked in enumerate(sim.records().env["num_tracked"]):
        for name in HOST_TRUTH:
            ours, theirs = (s.records(i).hosts[:num_tracked][name] for s in (sim, other))
            assert (ours != theirs).all(), name
    known = set(sim.records().env.dtype.names) - set(EPISODE_TRUTH) - {"num_tracked", "cases"}
    for name in known:
        np.testing.assert_array_equal(sim.records().env[name], other.records().env[name], err_msg=name)


def kernel_reads(*roots):
    """Fields named by all functions that the roots call, directly or not."""
    functions = {}
    for file in (ROOT / "soc_env" / "soc" / "kernels").glob("*.py"):
        functions |= {node.name: node for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)}
    reached, waiting, fields = set(), list(roots), set()
    while waiting:
        name = waiting.pop()
        if name in reached or name not in functions:
            continue
        reached.add(name)
        for node in ast.walk(functions[name]):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                waiting.append(node.func.id)
            is_read = isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant)
            if is_read and ast.unparse(node.value) != "call":  # whose level is that of an action
                fields.add(node.slice.value)
    return reached, {field for field in fields if isinstance(field, str)}


def test_line_1_no_code_on_the_way_to_agents_names_a_field_of_the_truth():
    truth = set(HOST_TRUTH) | set(CASE_TRUTH) | set(EPISODE_TRUTH)
    reached, fields = kernel_reads("observe", "decode", "rate", "risk_of_evidence", "look_around")
    assert {
        "see_zone",
        "see_case",
        "see_clock",
        "decode_response",
        "call_isolation",
        "uncollected",
        "read_inputs",
    } <= reached
    assert not fields & truth
    assert kernel_reads("write_state")[1] & truth  # the check can see


def put_to_sleep(sim):
    """No intruder does anything in the next minute, whatever is done to it."""
    rows = sim.records().env["campaigns"]
    rows["state"], rows["start"], rows["timer"] = ACTIVE, NEVER, 1_000_000
    rows["has_credentials"], rows["has_hosts_lost"] = 0, 0


def no_sensors(actions):
    """The actions without what looks behind the scenes: hunts, sweeps, readings."""
    actions = {agent: action.copy() for agent, action in actions.items()}
    actions[HUNTER][...] = -1.0
    actions[TRIAGE][actions[TRIAGE] == ENRICH] = 2
    return actions


@pytest.mark.parametrize(
    ("name", "risk_model"), [*((name, "") for name in SCRIPTED), ("rule-soar", "learned"), ("expert", "learned")]
)
@pytest.mark.parametrize("is_flipped", [False, True])
def test_line_1_hidden_intruders_leave_no_trace_in_what_follows(name, is_flipped, risk_model):
    """Two worlds, alike but for who is compromised; all intruders asleep, all sensors off: agents see the same."""
    rng = np.random.default_rng(3)
    sim = Simulator("soc-v1", num_envs=6, seed=2, autoreset=False, risk_model=risk_model)
    sim.reset()
    policy = PLAYBOOKS[name](sim.action_spaces, 0)
    play(sim, policy, 40)
    sim.records().env["num_pending"] = 0
    other = copy.deepcopy(sim)
    for i in range(sim.num_envs):
        hide_intruders(other, i, rng)
        if is_flipped:
            records = other.records(i).hosts[: other.records(i).env["num_tracked"]]
            records["level"] = flip(records["level"], 0, 2, rng)
            records["campaign"] = np.where(records["level"] > 0, rng.integers(0, 3, len(records)), -1)
            other.records(i).env["cases"]["is_true"] = 0
    for _ in range(45):
        actions = no_sensors(policy(sim.observations, sim.decides))
        for one in (sim, other):
            put_to_sleep(one)
            for agent, action in actions.items():
                one.actions[agent] = action
            one.step()
        seen = [(one.observations, one.action_masks(), [one.calls(i) for i in range(6)]) for one in (sim, other)]
        assert_same_for_agents(sim, *seen)
    assert (sim.state() != other.state()).any()


@pytest.mark.parametrize("name", SCRIPTED)
def test_line_1_without_sensors_an_attack_is_not_seen_at_all(name):
    """Episodes with intruders that steal, beside the same ones without: only a sensor could tell them apart."""
    sims = []
    for has_intruders in (True, False):
        sim = Simulator(
            "soc-v1", num_envs=6, seed=4, autoreset=False, sensor_coverage=0.0, campaigns_per_hour=6.0,
            families=("espionage", "web_shell", "insider", "credential_abuse"),
        )  # fmt: skip
        sim.records().world["rules"]["events"] = 0.0
        sim.reset()
        if not has_intruders:
            sim.records().env["num_campaigns"], sim.records().world["arrival"] = 1, 0.0
        sims.append(sim)
    attacked, quiet = sims
    policy = PLAYBOOKS[name](attacked.action_spaces, 0)
    for _ in range(200):
        actions = policy(attacked.observations, attacked.decides)
        actions[HUNTER][...] = -1.0
        for sim in sims:
            for agent, action in actions.items():
                sim.actions[agent] = action
            sim.step()
        seen = [(sim.observations, sim.action_masks(), [sim.calls(i) for i in range(6)]) for sim in sims]
        assert_same_for_agents(attacked, *seen)
    assert attacked.episode_metrics["blast_radius"].sum() > 6
    assert quiet.episode_metrics["blast_radius"].sum() == 0


def test_line_1_infos_hold_nothing_but_time_and_masks():
    env = soc_env.parallel_env("soc-v1", masks="info", seed=0, max_steps=40)
    _, infos = env.reset(seed=5)
    rng = np.random.default_rng(0)
    while env.agents:
        actions = {agent: env.action_space(agent).sample() for agent in env.agents}
        _, _, _, _, infos = env.step(actions)
        for agent, info in infos.items():
            assert set(info) <= {"decides", "action_mask"}, agent
        if env.agents:
            other = copy.deepcopy(env)
            flip_truth(other.simulator, rng)
            assert repr(env._infos(env.agents, False)) == repr(other._infos(other.agents, False))
    assert infos


def test_line_2_the_truth_is_in_state_only():
    sim = Simulator("soc-v1", num_envs=8, seed=6, autoreset=False)
    names = [feature.name for feature in sim.state_table]
    is_truth = np.array([feature.source == "truth" for feature in sim.state_table])
    for agent in AGENTS:
        assert not any("truth" in feature.name or feature.source == "truth" for feature in sim.feature_tables[agent])
    assert names[: (~is_truth).sum()] == sim.features(TRIAGE)
    sim.reset()
    play(sim, PLAYBOOKS["rule-soar"](sim.action_spaces), 100)
    state = sim.state()
    np.testing.assert_array_equal(state[:, ~is_truth], sim.observations[TRIAGE])
    assert state[:, is_truth].any()
    assert [name for name, build_one in PLAYBOOKS.items() if getattr(build_one, "needs_state", False)] == [
        "oracle-observation"
    ]
