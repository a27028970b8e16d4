"""What makes a cyber-defence environment trustworthy: the 22 requirements that the field's critics and users ask for.

Each is a test of `soc-v1`, named by its number: information (1-3), time (4-6), people on both sides (7-8), reward and
score (9-11, 20), how results are reported (12-14, 22), what varies (15, 21), versions, replay and seeds (16-19).
"""

from __future__ import annotations

import ast
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
from soc_states import (
    COORDINATOR,
    HUNTER,
    ORCHESTRATOR,
    TRIAGE,
    act,
    assert_consistent,
    build,
    episodes,
    idle,
    mean,
    play,
)

import soc_env
from policies.scripted import RandomPolicy, scripted
from soc_env import SCENARIOS, Simulator, make_scenario
from soc_env.engine.tables import AGENTS
from soc_env.soc.attack import CHANNELS, TECHNIQUES, attack_techniques
from soc_env.soc.intruders import INTRUDER_FAMILIES, families
from soc_env.soc.scenario import SCENARIOS as SOC_SCENARIOS
from soc_env.soc.tables import METRICS, OUTCOMES, TOOL_NAMES, TOOLS

ROOT = pathlib.Path(__file__).parents[3]
PLAYBOOKS = scripted("soc-v1")
BLIND = ("null", "isolate-all", "escalate-all", "suppress-all")  # playbooks that read nothing
SCRIPTED = (*BLIND, "random", "rule-soar", "expert")
ELSEWHERE = {
    12: "experiments/test_compare.py::test_the_table_refuses_few_seeds_and_other_families",
    13: "experiments/test_train.py::test_a_run_leaves_a_folder_that_says_everything",
    14: "experiments/test_compare.py::test_the_table_ranks_the_policies",
    22: "experiments/test_evaluate.py::test_evaluation_does_not_train",
}


def test_every_requirement_has_its_test():
    files = [ROOT / "tests" / "soc_env" / "soc" / name for name in ("test_soc_checklist.py", "test_soc_truth.py")]
    here = {int(n) for file in files for n in re.findall(r"^def test_line_(\d+)_", file.read_text(), re.MULTILINE)}
    assert here | set(ELSEWHERE) == set(range(1, 23))
    for place in ELSEWHERE.values():
        file, name = place.split("::")
        tree = ast.parse((ROOT / "tests" / file).read_text())
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, place


# ---------------------------------------------------------------------- 3: sensors


def test_line_3_perfect_sensors_shorten_detection():
    perfect = {"sensor_coverage": 1.0, "alert_drop": 0.0, "alert_delay": 0.0, "stealth_factor": 0.0}
    for name, at_least in (("rule-soar", 6.0), ("expert", 2.0)):
        usual, ideal = episodes(name, 24), episodes(name, 24, **perfect)
        assert mean(usual, "mttd") - mean(ideal, "mttd") > at_least, name
        assert mean(ideal, "loss") < mean(usual, "loss"), name


@pytest.mark.parametrize(
    "change",
    [{"sensor_coverage": 0.3}, {"alert_drop": 0.7}, {"alert_delay": 20.0}, {"stealth_factor": 3.0},
     {"benign_alerts_per_hour": 400.0}, {"lookalike_share": 1.0}],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_line_3_every_imperfection_of_the_sensors_costs(change):
    usual, worse = episodes("rule-soar", 24), episodes("rule-soar", 24, **change)
    assert mean(worse, "loss") > mean(usual, "loss") + 1.0


# ---------------------------------------------------------------------- 4, 5, 6: time, order, tools


def test_line_4_instant_actions_change_what_policies_are_worth():
    names = ("null", "escalate-all", "rule-soar", "expert")
    usual = {name: mean(episodes(name, 16), "loss") for name in names}
    instant = {name: mean(episodes(name, 16, instant_actions=True), "loss") for name in names}
    assert instant["null"] == usual["null"]  # it does nothing, at any speed
    assert instant["rule-soar"] < 0.9 * usual["rule-soar"]
    assert instant["escalate-all"] < 0.7 * usual["escalate-all"]
    assert instant["rule-soar"] - instant["expert"] < 0.8 * (usual["rule-soar"] - usual["expert"])


def test_line_4_actions_take_time_cost_and_fail():
    assert {tool.minutes for tool in TOOLS} >= {0, 1, 2, 8, 10}
    assert any(tool.failure > 0 for tool in TOOLS)
    assert all(tool.analyst_minutes > 0 for tool in TOOLS if tool.platform == "SIEM")
    seen = set()
    sim = Simulator("soc-v1", num_envs=8, seed=0)
    sim.reset()
    policy = RandomPolicy(sim.action_spaces, 0)
    for _ in range(200):
        play(sim, policy, 1)
        seen |= {call["outcome"] for i in range(8) for call in sim.calls(i)}
    assert {"done", "started", "denied", "failed"} <= seen <= set(OUTCOMES)


def test_line_5_conclusions_survive_the_order_of_acting():
    names = ("escalate-all", "null", "rule-soar", "expert", "oracle-observation")
    losses = {}
    for order in ("attacker_first", "defenders_first"):
        losses[order] = [mean(episodes(name, 32, order=order), "loss") for name in names]
        assert losses[order] == sorted(losses[order], reverse=True), order
    assert losses["attacker_first"] != losses["defenders_first"]


def test_line_6_every_tool_is_a_platform_call_with_a_precondition():
    assert len(set(TOOL_NAMES)) == len(TOOLS)
    for tool in TOOLS:
        assert tool.platform in ("SIEM", "EDR", "SOAR"), tool.name
        assert tool.owner in AGENTS, tool.name
        assert tool.target in ("case", "zone", "host", "network"), tool.name
        assert tool.precondition, tool.name
        assert tool.effect, tool.name
        assert 0.0 <= tool.failure < 1.0, tool.name
        assert tool.risk_class in ("low", "high"), tool.name


def test_line_6_actions_reach_every_tool_and_no_other():
    sim = Simulator("soc-v1", num_envs=16, seed=1)
    sim.reset()
    policy, used = RandomPolicy(sim.action_spaces, 0), {}
    for _ in range(200):
        play(sim, policy, 1)
        for i in range(16):
            for call in sim.calls(i):
                used.setdefault(call["tool"], set()).add(call["outcome"])
    assert set(used) == set(TOOL_NAMES)
    for tool in TOOLS:  # whatever has a precondition can be refused, whatever has none cannot
        assert ("done" in used[tool.name]) or ("started" in used[tool.name]), tool.name


# ---------------------------------------------------------------------- 7, 8: users and intruders


def test_line_7_benign_users_decide_whether_isolating_everything_is_good():
    users = {name: mean(episodes(name, 16), "loss") for name in ("isolate-all", "rule-soar", "null")}
    assert users["isolate-all"] > 3.0 * users["null"]
    assert users["rule-soar"] < users["null"]
    nobody = {"benign_alerts_per_hour": 0.0, "service_loss": 0.0, "host_outage": 0.0, "interruption": 0.0}
    empty = {name: mean(episodes(name, 16, **nobody), "loss") for name in users}
    assert empty["isolate-all"] < 0.5 * empty["rule-soar"] < 0.5 * empty["null"]


def test_line_7_most_alerts_are_benign():
    played = episodes("rule-soar", 32)
    assert 0.75 < 1.0 - played["true_alerts"].sum() / played["total_alerts"].sum() < 0.99
    assert (
        0.25 < 1.0 - played["true_positives"].sum() / (played["true_positives"] + played["false_positives"]).sum() < 0.9
    )
    quiet = episodes("rule-soar", 8, benign_alerts_per_hour=0.0)
    np.testing.assert_array_equal(quiet["total_alerts"], quiet["true_alerts"])


def test_line_8_families_are_stochastic_and_mapped_to_attack():
    assert len(families("train")) >= 4
    assert len(families("test")) >= 2
    known = attack_techniques()
    for row in TECHNIQUES:
        assert row.tactic in known[row.id].tactics, row.id
    assert {row.channel for row in TECHNIQUES} == set(CHANNELS)
    for family in INTRUDER_FAMILIES:
        assert sum(len(step.choices) for step in family.plan) > len(family.plan), family.name
        played = episodes("null", 12, families=(family.name,))
        assert (played["blast_radius"] > 0).all(), family.name
        assert len(np.unique(played["damage"])) == 12, family.name


def test_line_8_persistence_and_the_families_mix_matter():
    usual, lasting = episodes("rule-soar", 48), episodes("rule-soar", 48, persistence=False)
    assert mean(lasting, "loss") < mean(usual, "loss") - 1.5
    assert mean(lasting, "csr") > mean(usual, "csr") + 0.1
    to_contain = {f.name: mean(episodes("rule-soar", 48, families=(f.name,)), "mttc") for f in families("train")}
    assert min(to_contain["espionage"], to_contain["insider"]) > mean(usual, "mttc") + 10.0  # they hide
    assert max(to_contain["ransomware"], to_contain["web_shell"]) < mean(usual, "mttc") - 10.0  # they are loud


# ---------------------------------------------------------------------- 9, 10, 11, 20: reward and score


@pytest.mark.parametrize("name", ["null", "escalate-all", "expert"])
def test_line_9_the_sparse_reward_is_the_mission_score(name):
    sims = {}
    for reward in ("dense", "sparse"):
        sim = Simulator("soc-v1", num_envs=4, seed=3, autoreset=False, reward=reward)
        sim.reset()
        policy = PLAYBOOKS[name](sim.action_spaces)
        for minute in range(200):
            act(sim, policy)
            sim.step()
            assert reward == "dense" or minute == 199 or not sim.rewards.any()
        sims[reward] = sim
    np.testing.assert_allclose(sims["sparse"].rewards, sims["sparse"].episode_metrics["score"] / 100.0, atol=1e-9)
    np.testing.assert_allclose(sims["sparse"].episode_metrics["reward"], sims["sparse"].rewards, atol=1e-9)
    for metric in METRICS:  # the same task but for the reward
        if metric.name != "reward":
            ours, theirs = (sims[reward].episode_metrics[metric.name] for reward in sims)
            np.testing.assert_array_equal(ours, theirs, err_msg=metric.name)


def test_line_9_dense_and_sparse_reward_agree_on_the_order_of_policies():
    names = ("isolate-all", "escalate-all", "null", "rule-soar", "expert", "oracle-observation")
    for reward in ("dense", "sparse"):
        values = [mean(episodes(name, 24, reward=reward), "reward") for name in names]
        assert values == sorted(values), reward


def test_line_10_the_score_does_not_depend_on_the_reward():
    weights = {"weight_detection": -5.0, "weight_response": 0.0, "weight_cost": 9.0, "weight_false_positive": 3.0}
    usual, other = (episodes("rule-soar", 8, **change) for change in ({}, weights))
    assert (usual["reward"] != other["reward"]).all()
    for metric in METRICS:
        if metric.name != "reward":
            np.testing.assert_array_equal(usual[metric.name], other[metric.name], err_msg=metric.name)


def test_line_10_the_score_follows_from_losses_that_add_up():
    for name in SCRIPTED:
        m = episodes(name, 4)
        scenario = make_scenario("soc-v1")
        np.testing.assert_allclose(m["loss"], m["damage"] + m["disruption"] + m["effort"])
        unit = 100.0 / (scenario.null_loss - scenario.clairvoyant_loss)
        np.testing.assert_allclose(m["score"], (scenario.null_loss - m["loss"]) * unit)
        np.testing.assert_allclose(m["effort"], scenario.analyst_loss * m["analyst_minutes"], rtol=1e-9)


@pytest.mark.parametrize("scenario", ["soc-v1", "soc-cage4-v0"])
def test_line_11_reading_the_evidence_beats_every_blind_policy(scenario):
    played = {name: episodes(name, 32, scenario=scenario, split="test") for name in PLAYBOOKS}
    losses = {name: mean(m, "loss") for name, m in played.items()}
    rewards = {name: mean(m, "reward") for name, m in played.items()}
    for name in PLAYBOOKS:
        if name not in ("rule-soar", "expert", "expert-learned", "oracle-observation"):
            assert losses["rule-soar"] < 0.8 * losses[name], name
            assert rewards["rule-soar"] > rewards[name] + 15.0, name
    assert losses["oracle-observation"] < 0.8 * losses["expert"] < 0.8 * 0.8 * losses["rule-soar"]
    assert rewards["oracle-observation"] > rewards["expert"] > rewards["rule-soar"] + 10.0


def test_line_11_no_constant_action_comes_near_the_rule_playbook():
    rng = np.random.default_rng(0)
    rule = mean(episodes("rule-soar", 24), "loss")
    num_constants = 96
    sim = Simulator("soc-v1", num_envs=num_constants, seed=[k % 2 for k in range(num_constants)], autoreset=False)
    sim.reset()
    idle(sim)
    levels = rng.choice([-1.0, -0.6, 0.0, 0.2, 0.55, 1.0], (num_constants, 8))
    zones = sim.scenario.num_zones
    sim.actions[TRIAGE] = rng.integers(0, 4, num_constants).astype(np.int32)
    for k in range(3):
        sim.actions[HUNTER][:, k * zones : (k + 1) * zones] = levels[:, k, None]
    sim.actions[HUNTER][:, -1] = levels[:, 3]
    sim.actions[ORCHESTRATOR][:, :zones] = levels[:, 4, None]
    sim.actions[ORCHESTRATOR][:, zones : 2 * zones] = levels[:, 5, None]
    sim.actions[COORDINATOR][:, zones:] = rng.choice([-1.0, 0.0, 1.0], (num_constants, 3))
    for _ in range(200):
        sim.step()
    assert np.sort(sim.episode_metrics["loss"])[:4].mean() > rule  # the best of them, and they were picked afterwards


@pytest.mark.parametrize("reward", ["dense", "sparse"])
def test_line_20_costs_add_up(reward):
    sim = Simulator("soc-v1", num_envs=8, seed=9, autoreset=False, reward=reward)
    sim.reset()
    policy, total = RandomPolicy(sim.action_spaces, 0), np.zeros(8)
    before = sim.running_metrics()
    for _ in range(200):
        play(sim, policy, 1)
        np.testing.assert_allclose(sim.rewards, sim.reward_terms @ np.array(sim.scenario.weights), atol=1e-9)
        total += sim.rewards
        now = sim.running_metrics()
        for name in ("damage", "disruption", "effort", "loss", "analyst_minutes"):
            assert (now[name] >= before[name] - 1e-12).all(), name
        if reward == "dense":  # terms against the mission's own account of this minute
            cost = 5.0 * (now["disruption"] - before["disruption"] + now["effort"] - before["effort"])
            np.testing.assert_allclose(sim.reward_terms[:, 2], cost, atol=1e-9)
            damage = now["damage"] - before["damage"]
            assert (sim.reward_terms[:, 1] >= -damage - 1e-9).all()
        before = now
    np.testing.assert_allclose(sim.episode_metrics["reward"], total, atol=1e-8)
    np.testing.assert_array_equal(sim.episode_metrics, before)


# ---------------------------------------------------------------------- 15, 21: what varies


def test_line_15_networks_and_families_vary_and_some_are_held_out():
    train, test = (Simulator("soc-v1", num_envs=32, seed=0, split=split) for split in ("train", "test"))
    ours, held_out = ({net.hash() for net in sim.networks} for sim in (train, test))
    assert len(ours) == len(held_out) == 8
    assert not ours & held_out
    assert [f.name for f in train.families] == [f.name for f in families("train")]
    assert [f.name for f in test.families] == [f.name for f in families("train") + families("test")]
    train.reset()
    assert len(np.unique(train.records().env["network"])) > 4
    for change in ({"num_hosts": 50}, {"num_hosts": 400}, {"num_zones": 3}, {"num_zones": 12}, {"network_seed": 90}):
        other = Simulator("soc-v1", seed=0, **change)
        assert not {net.hash() for net in other.networks} & ours, change
    assert not {net.hash() for net in Simulator("soc-cage4-v0", seed=0).networks} & ours


# Entries that stay the same in a scenario.
CONSTANT = {
    # Intruders raise their privileges on the host they came in through: zones without an entry have no admin level.
    "soc-v1": ("truth_zone2_admin", "truth_zone3_admin"),
    "soc-cage4-v0": (
        *(f"zone{z}_value" for z in (0, 2, 4, 5, 6)),  # CAGE 4's; the mission stresses the others
        *(f"truth_zone{z}_admin" for z in range(7)),
        r"truth_zone5_(contained|least_compromised_isolated_risk)",  # hard to reach: not in every few episodes
        r"zone7_.*",  # undefended: nothing is seen or done there
        r"truth_zone7_(contained|clean_isolated|clean_risk|worst_risk|least_compromised_isolated_risk)",
    ),
}


@pytest.mark.parametrize("scenario", ["soc-v1", "soc-cage4-v0"])
def test_line_21_every_feature_varies_and_keeps_its_range(scenario):
    sim = Simulator(scenario, num_envs=24, seed=1, split="test", queue_capacity=12, campaigns_per_hour=6.0)
    tables = {**sim.feature_tables, "state": sim.state_table}
    low = {name: np.full(len(rows), np.inf) for name, rows in tables.items()}
    high = {name: np.full(len(rows), -np.inf) for name, rows in tables.items()}
    for name in ("null", "random", "escalate-all", "isolate-all", "rule-soar", "expert"):
        sim.reset(seed=len(name))
        policy = PLAYBOOKS[name](sim.action_spaces, 0)
        for _ in range(sim.scenario.max_steps):
            act(sim, policy)
            sim.step()
            for key, seen in {**sim.observations, "state": sim.state()}.items():
                np.minimum(low[key], seen.min(axis=0), out=low[key])
                np.maximum(high[key], seen.max(axis=0), out=high[key])
    for key, rows in tables.items():
        floor, ceiling = (np.array([getattr(row, side) for row in rows], np.float32) for side in ("low", "high"))
        outside = [row.name for k, row in enumerate(rows) if low[key][k] < floor[k] or high[key][k] > ceiling[k]]
        assert not outside, (key, outside)
        still = [row.name for k, row in enumerate(rows) if high[key][k] - low[key][k] < 1e-3]
        assert not [name for name in still if not any(re.fullmatch(c, name) for c in CONSTANT[scenario])], key


# ---------------------------------------------------------------------- 16, 17, 18, 19: versions, replay, time, seeds


# Digests of the defaults. When one of these changes, results are no longer comparable: give the scenario a new version
# in its name (soc-v2), then put the new digest here. It covers defaults only; dynamics are the version's promise too.
GOLDEN_HASHES = {
    "soc-v1": "48cac33d964b", "soc-cage4-v0": "2800f4478cd5", "soc-v2": "956c133404e7", "soc-cage4-v1": "dacd2eeda857",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(SOC_SCENARIOS))
def test_line_16_scenarios_are_versioned_and_any_default_counts(name):
    scenario = SCENARIOS[name]
    assert re.fullmatch(r"[a-z0-9-]+-v\d+", name)
    assert scenario.name == name
    assert GOLDEN_HASHES[name] == scenario.hash(), f"new version, or paste {scenario.hash()!r}"
    digests = {scenario.hash()}
    fields = type(scenario).__dataclass_fields__
    for field in fields.values():
        value, metadata = getattr(scenario, field.name), field.metadata
        if field.name in ("name", "network"):
            continue
        if isinstance(value, bool):
            other = not value
        elif field.name == "families":
            other = ("insider",)
        elif field.name == "undefended_zones":
            other = (2,)
        elif field.name == "risk_model":
            other = "learned"
        elif "allowed" in metadata:
            other = next(choice for choice in metadata["allowed"] if choice != value)
        elif isinstance(value, tuple):
            other = (type(value[0])(metadata["low"]), *value[1:-1], type(value[0])(metadata["high"]))
        else:
            step = 1 if isinstance(value, int) else 1e-6
            other = value + step if value + step <= metadata["high"] else value - step
        if field.name == "clairvoyant_loss":
            other = value + 1e-6
        changed = {field.name: other}
        if field.name == "topology":
            changed |= {"num_zones": 8}  # cage4 has no other number
        elif field.name in ("num_hosts", "num_zones") and scenario.topology == "cage4":
            changed |= {"topology": "enterprise"}  # cage4 says both itself
        digests.add(scenario.replace(**changed).hash())
    assert len(digests) == len(fields) - 1  # all different; the name and the file do not count here
    assert type(scenario)(**scenario.to_dict()).hash() == scenario.hash()


def trajectory(num_envs, seed, threads=1, minutes=120, index=None):
    """Bytes of all that a batch gives out over some minutes; index: of one env only."""
    sim = Simulator("soc-v1", num_envs=num_envs, seed=seed, num_threads=threads, max_steps=80)
    sim.reset()
    policy = PLAYBOOKS["expert"](sim.action_spaces)
    out = []
    for _ in range(minutes):
        play(sim, policy, 1)
        rows = [sim.observations[agent] for agent in AGENTS] + [sim.rewards, sim.state(), sim.episode_metrics]
        out += [(row if index is None else row[index]).tobytes() for row in rows]
    return b"".join(out)


def test_line_17_an_env_is_the_same_in_any_batch_and_on_any_threads():
    assert trajectory(5, 3) == trajectory(5, 3, threads=3)
    alone = trajectory(1, [8])
    assert trajectory(3, [9, 8, 7], index=1) == alone
    assert trajectory(1, [9]) != alone


SUBPROCESS = """
import sys, hashlib
sys.path[:0] = [{root!r}, {root!r} + "/tests/helpers", {root!r} + "/tests/soc_env/soc"]
from test_soc_checklist import trajectory
print(hashlib.sha256(trajectory(2, {seed}, minutes=45)).hexdigest())
"""


def in_another_process(seed, **environment):
    code = SUBPROCESS.format(root=str(ROOT), seed=seed)
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, **environment}
    )
    return run.stdout.strip()


def test_line_17_interpreted_and_compiled_engines_agree_across_processes():
    compiled = in_another_process(0, PYTHONHASHSEED="1")
    assert compiled == in_another_process(0, NUMBA_DISABLE_JIT="1", PYTHONHASHSEED="2")


def test_line_18_horizon_and_discount_are_documented():
    fields = soc_env.SOCScenario.__dataclass_fields__ if hasattr(soc_env, "SOCScenario") else None
    scenario = SCENARIOS["soc-v1"]
    fields = fields or type(scenario).__dataclass_fields__
    assert fields["max_steps"].metadata["unit"].startswith("minutes")
    text = " ".join(type(scenario).__doc__.split())
    for word in ("One step is one minute", "horizon", "discount", "truncat"):
        assert word in text, word


def test_line_19_one_seed_tree_and_no_global_random_state():
    before = np.random.get_state()[1].tobytes()  # noqa: NPY002 - it must not be touched
    first = trajectory(2, 0, minutes=170)  # seed 0, over two ends of episodes
    assert np.random.get_state()[1].tobytes() == before  # noqa: NPY002
    np.random.seed(5)  # noqa: NPY002
    assert trajectory(2, 0, minutes=170) == first
    assert trajectory(2, 1, minutes=170) != first
    for file in (ROOT / "soc_env").rglob("*.py"):
        text = file.read_text()
        assert not re.search(
            r"np\.random\.(seed|rand|uniform|normal|choice)\b|^import random|default_rng\(\)", text, re.M
        ), file


def test_line_19_reset_leaves_nothing_of_the_past():
    used = Simulator("soc-v1", num_envs=3, seed=4, autoreset=False)
    used.reset()
    play(used, RandomPolicy(used.action_spaces, 0), 150)
    used.reset(seed=12)
    used.reset(seed=12)
    fresh = Simulator("soc-v1", num_envs=3, seed=12, autoreset=False)
    fresh.reset()
    for _ in range(90):
        for sim in (used, fresh):
            act(sim, PLAYBOOKS["escalate-all"](sim.action_spaces))
            sim.step()
        for agent in AGENTS:
            np.testing.assert_array_equal(used.observations[agent], fresh.observations[agent])
        np.testing.assert_array_equal(used.state(), fresh.state())
        np.testing.assert_array_equal(used.running_metrics(), fresh.running_metrics())


def test_line_19_episodes_of_one_seed_differ():
    sim = Simulator("soc-v1", num_envs=1, seed=0, max_steps=60)
    sim.reset()
    policy, scores = PLAYBOOKS["rule-soar"](sim.action_spaces), []
    for _ in range(6):
        play(sim, policy, 60)
        scores.append(float(sim.episode_metrics["loss"][0]))
    assert len(set(scores)) == 6


def test_the_hand_built_states_are_consistent():
    sim = build(hosts=({"host": 3, "is_isolated": 1}, {"host": 90, "level": 1, "campaign": 0}), campaigns=({},))
    sim.step()
    assert_consistent(sim)
