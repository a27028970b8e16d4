"""Tiers that do not learn, tiers that start from a checkpoint, checkpoints of environments that are not ours."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from toy import BOX2, Matching

pytest.importorskip("ray")
from foreign_envs import FROM_3, Relay, follower
from foreign_tiers import PAIR, module_state, small_config, toy_config

import soc_env
from policies import load_policy, policy_of, save_checkpoint
from policies.hmarl.algorithm import HMARLConfig
from policies.runner.acting import act
from policies.runner.batched_env import make_batched_env
from soc_env.errors import CheckpointError

pytestmark = pytest.mark.usefixtures("quiet")


# ---- who does not learn


@pytest.mark.parametrize("how", ["trainable", "policies_to_train"])
def test_a_frozen_tier_acts_greedily_and_never_changes(build, how):
    tiers = {"threat_hunter": {"algorithm": "SAC"}, "response_orchestrator": {"algorithm": "MADDPG"}}
    config = toy_config(tiers)
    if how == "trainable":
        config.tiers({"threat_hunter": {"trainable": False}})
    else:
        config.multi_agent(policies_to_train=["response_orchestrator"])
    algo = build(config)
    before = {tier: module_state(algo, tier) for tier in tiers}
    for _ in range(3):
        result = algo.train()
    after = {tier: module_state(algo, tier) for tier in tiers}
    assert all(torch.equal(value, after["threat_hunter"][name]) for name, value in before["threat_hunter"].items())
    assert any(
        not torch.equal(v, after["response_orchestrator"][n]) for n, v in before["response_orchestrator"].items()
    )
    assert "threat_hunter" not in result["learners"]
    [rollout] = algo.env_runner.sample(num_timesteps=64, random_actions=True)
    with torch.no_grad():
        greedy = act(algo.env_runner.module["threat_hunter"], rollout.joint["obs"][:, :3], explore=False).executed
    np.testing.assert_allclose(rollout.joint["action/threat_hunter_0"], greedy, atol=1e-6)  # kernels act there
    assert "reward/threat_hunter_0" not in rollout.joint


def test_a_scripted_tier_acts_by_its_policy(build, tmp_path):
    tiers = {"threat_hunter": {"algorithm": "scripted", "policy": "foreign_envs:follower"}}
    algo = build(toy_config({**tiers, "response_orchestrator": {"algorithm": "MADDPG"}}))
    assert set(algo.learner_group.groups) == {"response_orchestrator"}
    for _ in range(3):
        algo.train()
    [rollout] = algo.env_runner.sample(num_timesteps=64)
    assert np.array_equal(rollout.joint["action/threat_hunter_0"], rollout.joint["obs"][:, :2])
    index, weights = algo.replay.sample("response_orchestrator", 32)
    batch = algo.batches.batch("response_orchestrator", index, weights)["response_orchestrator"]
    assert np.array_equal(batch["other_next_actions"], batch["joint_next_obs"][:, :2])
    toy = Matching(num_envs=8, seed=1, agents=PAIR)
    toy.reset()
    folder = save_checkpoint(algo, tmp_path / "c")
    with pytest.raises(CheckpointError, match="tier 'threat_hunter' is scripted by 'foreign_envs:follower'"):
        load_policy(folder)  # nothing that a file names is imported
    loaded = load_policy(folder, scripted={"threat_hunter": follower})
    for policy in (policy_of(algo), loaded):
        actions = policy(toy.observations, toy.decides)
        assert np.array_equal(actions["threat_hunter_0"], toy.observations["threat_hunter_0"][:, :2])
        assert not np.array_equal(
            actions["response_orchestrator_0"], toy.observations["response_orchestrator_0"][:, :2]
        )


def test_scripted_policies_of_our_scenarios_are_known_by_name(build):
    config = HMARLConfig().environment("soc-v1", env_config={"num_hosts": 30}).debugging(seed=0, log_level="ERROR")
    config.env_runners(num_envs_per_env_runner=4).training(train_batch_size=64, random_steps=0, learning_starts=0)
    config.tiers(
        {"threat_hunter": {"algorithm": "scripted", "policy": "expert"}, "strategic_coordinator": {"hiddens": [8]}}
    )
    algo = build(config)
    [rollout] = algo.env_runner.sample(num_timesteps=4)
    sim = soc_env.Simulator("soc-v1", num_envs=4, seed=0, num_hosts=30)
    sim.reset()
    from policies.scripted import SCRIPTED

    expected = SCRIPTED["soc"]["expert"](sim.action_spaces, 0)(sim.observations, sim.decides)
    assert np.array_equal(rollout.joint["action/threat_hunter_0"], expected["threat_hunter_0"])
    algo.train()


# ---- tiers that start from a checkpoint


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A checkpoint of both tiers of the toy after some training."""
    config = toy_config({"threat_hunter": {"algorithm": "SAC"}, "response_orchestrator": {"algorithm": "MADDPG"}})
    algo = config.training(ema_tau=0.2).build_algo()
    for _ in range(4):
        algo.train()
    folder = save_checkpoint(algo, tmp_path_factory.mktemp("trained") / "c", replay=False)
    state = {tier: module_state(algo, tier) for tier in algo.learner_group.groups}
    averaged = {tier: {n: v.clone() for n, v in own.items()} for tier, own in algo.averaged.items()}
    algo.stop()
    return folder, state, averaged


@pytest.mark.parametrize("tier", ["threat_hunter", "response_orchestrator"])
@pytest.mark.parametrize("trainable", [True, False])
def test_a_tier_starts_from_a_checkpoint(build, trained, tier, trainable):
    folder, newest, averaged = trained
    tiers = {"threat_hunter": {"algorithm": "SAC"}, "response_orchestrator": {"algorithm": "MADDPG"}}
    tiers[tier] |= {"checkpoint": str(folder), "trainable": trainable}
    algo = build(toy_config(tiers).debugging(seed=7))
    state = module_state(algo, tier)
    for name, value in algo.env_runner.module[tier].state_dict().items():
        assert torch.equal(value, averaged[tier][name]), name  # as the checkpoint plays
        assert torch.equal(state[name], averaged[tier][name]), name
    if trainable:
        critics = [name for name in newest[tier] if "qf" in name or "critic" in name]
        assert any("target" in name for name in critics)
        for name in critics:  # targets start from what they follow
            of = name.replace("target_", "").replace("_target_", "")
            assert torch.equal(state[name], state[of]), name
    (other,) = set(tiers) - {tier}
    assert any(not torch.equal(v, newest[other][n]) for n, v in module_state(algo, other).items())
    algo.train()
    algo.train()
    norms = [n for n in state if n.endswith(("mean", "inv_std"))]
    assert norms
    after = module_state(algo, tier)
    for name in norms:  # it goes on reading observations as it has learned to
        assert after[name].numpy() == pytest.approx(state[name].numpy(), rel=1e-4, abs=1e-5)
    assert all(torch.equal(after[n], v) for n, v in state.items()) != trainable


def test_checkpoints_that_do_not_fit_are_named(build, trained):
    folder, *_ = trained
    agents = ("threat_hunter_0", "alert_triage_0")
    wrong = [
        ({"threat_hunter": {"algorithm": "SAC", "checkpoint": "nowhere"}}, "does not exist"),
        ({"threat_hunter": {"algorithm": "SAC", "checkpoint": str(folder), "hiddens": [8]}}, "do not fit"),
        ({"threat_hunter": {"algorithm": "PPO", "checkpoint": str(folder)}}, "'SAC' in checkpoint"),
    ]
    for tiers, message in wrong:
        with pytest.raises(CheckpointError, match=message):
            build(toy_config(tiers, agents=agents[:1]))
    tiers = {"threat_hunter": {"algorithm": "SAC"}, "alert_triage": {"algorithm": "DQN", "checkpoint": str(folder)}}
    with pytest.raises(CheckpointError, match="tier 'alert_triage' does not exist"):
        build(
            toy_config(tiers, agents=agents, spaces={"threat_hunter_0": BOX2, "alert_triage_0": gym.spaces.Discrete(4)})
        )


# ---- checkpoints of foreign environments


def test_checkpoint_of_a_foreign_environment(build, tmp_path):
    tiers = {"left": {"algorithm": "SAC", "agents": ["a_0"]}, "right": {"algorithm": "PPO", "agents": ["a_1"]}}
    tiers["b"] = {"algorithm": "scripted", "policy": "random"}
    algo = build(small_config(Relay, {t: s for t, s in tiers.items() if t != "b"}).tiers({"b": tiers["b"]}))
    for _ in range(2):
        algo.train()
    folder = save_checkpoint(algo, tmp_path / "c")
    policy = load_policy(folder)
    assert policy.manifest["scenario"] is None
    assert policy.manifest["environment"] == "foreign_envs:Relay"
    batch = make_batched_env(Relay, 4, 3, {})
    batch.reset()
    actions = policy(batch.observations, batch.decides)
    for agent, tier in (("a_0", "left"), ("a_1", "right")):
        with torch.no_grad():
            greedy = act(algo.averaged_modules()[tier], batch.observations[agent], explore=False).executed
        assert np.array_equal(actions[agent], greedy)
    assert FROM_3.n > actions["b_0"].max() >= actions["b_0"].min() >= 0
    twin = build(algo.config.copy(copy_frozen=False).debugging(seed=5))
    twin.restore_from_path(folder)
    assert twin.num_env_steps == algo.num_env_steps
    assert np.array_equal(twin.replay.columns["obs/a_0"], algo.replay.columns["obs/a_0"])
    twin.train()
