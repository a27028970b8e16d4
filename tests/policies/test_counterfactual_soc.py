"""Counterfactual credit on our own scenarios: luck that is shared, choices that are possible, runs that go on."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

pytest.importorskip("ray")

from toy_hmarl import built
from toy_team import assert_same, small_paper

import soc_env
from policies import HMARL, HMARLConfig, save_checkpoint
from policies.learners import counterfactual as learned
from policies.networks.tokens import impossible_choices
from policies.scripted import scripted
from soc_env.errors import CheckpointError, ConfigError

pytestmark = pytest.mark.usefixtures("quiet")
CREDIT = {"weight": 1.0, "share": 1.0, "horizon": 6, "states": 24, "capacity": 100}
TIERS = ("alert_triage", "threat_hunter", "response_orchestrator", "strategic_coordinator")


def soc_config(**credit):
    """All four tiers of a small soc-v1 compare alternatives."""
    config = HMARLConfig().environment("soc-v1", env_config={"num_hosts": 40, "num_networks": 1})
    config.env_runners(num_envs_per_env_runner=16).debugging(seed=0, log_level="ERROR")
    config.training(train_batch_size=256, learning_starts=256, random_steps=256, updates_per_iteration=1)
    config.training(replay_batch_size=16, replay_capacity=1024)
    small = {"hiddens": [8], "counterfactual": {**CREDIT, **credit}}
    config.tiers({tier: {**small} for tier in TIERS})
    return config.tiers({"alert_triage": {"action_masking": True}})


def differences(config, iterations):
    def look(algo):
        for _ in range(iterations):
            algo.train()
        return {tier: credit.differences.columns for tier, credit in algo.credit.credits.items()}

    return built(config, look)


def test_rollouts_with_the_same_draws_differ_less_than_with_fresh_ones():
    credit = {"horizon": 30, "states": 64, "share": 10.0}
    same, fresh = (differences(soc_config(draws=draws, **credit), 7) for draws in ("same", "fresh"))
    for tier in TIERS[:3]:  # the coordinator's draws move everything
        found = [np.var(one[tier][learned.DIFFERENCE], dtype=np.float64) for one in (same, fresh)]
        assert 0 < found[0] < found[1] / 3


def test_alternatives_are_possible_choices():
    columns = differences(soc_config(num_alternatives=3), 6)["alert_triage"]
    impossible = impossible_choices(torch.from_numpy(columns[learned.OBSERVED])).numpy()
    rows = np.arange(len(impossible))
    assert impossible.any()
    for name in (learned.CHOICE, learned.ALTERNATIVE):
        assert not impossible[rows, columns[name]].any()
    assert (columns[learned.CHOICE] != columns[learned.ALTERNATIVE]).all()


def test_what_a_central_critic_reads_is_the_joint_observation_and_what_others_did():
    columns = differences(soc_config(), 4)["response_orchestrator"]
    joint, own = columns[learned.JOINT], columns[learned.OBSERVED]
    sizes = [columns_of.shape[1] for columns_of in (joint, own)]
    assert sizes[0] > sizes[1]
    assert any((joint[:, k : k + sizes[1]] == own).all() for k in range(sizes[0] - sizes[1] + 1))
    assert columns[learned.OTHERS].shape[1] == 4 + 16 + 8


def test_an_alternative_can_be_what_the_teacher_does():
    tiers = {"response_orchestrator": ["teacher"], "threat_hunter": ["other", "teacher"], "alert_triage": ["teacher"]}
    config = soc_config(num_alternatives=2)
    config.tiers({tier: {"counterfactual": {"alternatives": kinds}} for tier, kinds in tiers.items()})
    config.training(teacher="expert", teacher_rounds=0, teacher_rest_steps=0)
    found = differences(config, 5)
    simulator = soc_env.Simulator("soc-v1", num_envs=1, seed=0, **config.env_config)
    columns = found["response_orchestrator"]
    ends = np.cumsum([simulator.observation_spaces[agent].shape[0] for agent in simulator.agents])[:-1]
    seen = dict(zip(simulator.agents, np.split(columns[learned.JOINT], ends, 1), strict=True))
    acted = scripted("soc-v1")["expert"](simulator.action_spaces, 0)(seen, np.ones(len(columns[learned.JOINT]), bool))
    assert np.allclose(columns[learned.ALTERNATIVE], np.clip(acted["response_orchestrator_0"], -1, 1))
    changed = (found["threat_hunter"][learned.ALTERNATIVE] != found["threat_hunter"][learned.CHOICE]).sum(1)
    assert (changed == 1).any()
    assert (changed > 10).any()
    assert len(found["alert_triage"][learned.DIFFERENCE]) > 0  # where masking lets it be
    lonely = soc_config().tiers({"threat_hunter": {"counterfactual": {"alternatives": ["teacher"]}}})
    with pytest.raises(
        ConfigError, match="'threat_hunter': counterfactual.alternatives has 'teacher', but there is no"
    ):
        lonely.build_algo()


def test_a_state_of_other_rows_is_refused(tmp_path):
    algo = paper_config().build_algo()
    for _ in range(4):
        algo.train()
    tier = "threat_hunter"
    state = algo.credit.get_state()
    assert len(state[tier]["differences"]["born"]) > 0
    for change, message in (
        (lambda columns: columns.pop(learned.CHOICE), "differences/cf_base_actions is missing"),
        (lambda columns: columns.update({learned.OBSERVED: np.zeros((3, 5))}), r"cf_obs has shape \(3, 5\); allowed: "),
    ):
        damaged = algo.credit.get_state()
        change(damaged[tier]["differences"]["columns"])
        with pytest.raises(CheckpointError, match=message):
            algo.credit.set_state(damaged)
    algo.credit.set_state({})
    assert algo.credit.get_state()[tier]["num_compared"] == 0
    algo.credit.set_state(state)
    assert_same(algo.credit.get_state(), state)
    algo.stop()


def paper_config():
    credit = {**CREDIT, "horizon": 4, "states": 16, "explore": True, "draws": "fresh"}
    config = small_paper()
    return config.tiers({tier: {"counterfactual": credit} for tier in TIERS})


def files_of(folder):
    return json.loads((folder / "hmarl.json").read_text())["files"]


def test_a_resumed_run_compares_and_learns_as_if_it_had_never_stopped(tmp_path):
    algo = paper_config().build_algo()
    for _ in range(5):
        algo.train()
    save_checkpoint(algo, tmp_path / "middle")
    before = {tier: credit.num_compared for tier, credit in algo.credit.credits.items()}
    for _ in range(3):
        algo.train()
    assert all(credit.num_compared > before[tier] > 0 for tier, credit in algo.credit.credits.items())
    save_checkpoint(algo, tmp_path / "whole")
    algo.stop()
    torch.manual_seed(99)
    twin = HMARL.from_checkpoint(tmp_path / "middle")
    for _ in range(3):
        twin.train()
    save_checkpoint(twin, tmp_path / "resumed")
    twin.stop()
    resumed, whole = files_of(tmp_path / "resumed"), files_of(tmp_path / "whole")
    assert {"state.json", "state.safetensors", "policy.safetensors"} <= set(whole)
    assert [name for name in whole if not name.startswith("replay/") and whole[name] != resumed[name]] == []
