"""HMARL: who learns with what, that all learn, in teams, with networks and on clusters of every shape."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from toy import BOX2, FOUR, ROLES, Matching

pytest.importorskip("ray")
from ray.rllib.algorithms.dqn.torch.dqn_torch_learner import DQNTorchLearner
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.algorithms.sac.torch.sac_torch_learner import SACTorchLearner
from toy_team import FAST, SMALL, assert_same, greedy_scores, toy_config, weights

from policies import load_policy, save_checkpoint
from policies.hmarl.algorithm import HMARLConfig
from policies.learners.maddpg import MADDPGLearner
from policies.tiers import tier_of
from soc_env.errors import ConfigError

pytestmark = pytest.mark.usefixtures("quiet_ray")


# ---- who learns with what


def test_every_tier_learns_with_its_own_algorithm(build):
    algo = build(toy_config(period=5, slow=("strategic_coordinator_0",)))
    expected = {
        "alert_triage": DQNTorchLearner,
        "threat_hunter": SACTorchLearner,
        "response_orchestrator": MADDPGLearner,
        "strategic_coordinator": PPOTorchLearner,
    }
    for tier, learner_class in expected.items():
        learner = algo.learner_group[tier]._learner
        assert isinstance(learner, learner_class), tier
        # SAC's and MADDPG's learners are DQN learners too (target networks): none may be mistaken for another
        others = [c for c in expected.values() if c is not learner_class and issubclass(type(learner), c)]
        assert others in ([], [DQNTorchLearner]), tier
    before = weights(algo)
    for _ in range(8):
        algo.train()
    after = weights(algo)
    for tier in expected:
        trained = [n for n in before[tier] if n.endswith("weight") and "target" not in n]
        assert trained
        for name in trained:
            assert not np.array_equal(before[tier][name], after[tier][name]), f"{tier}: {name} did not change"


def test_runner_acts_with_the_learners_newest_weights(build):
    algo = build(toy_config())
    for _ in range(4):
        algo.train()
    for tier, state in weights(algo).items():
        acting = algo.env_runner.module[tier].state_dict()
        for name, value in acting.items():
            assert np.array_equal(value.numpy(), state[name]), f"{tier}: {name}"


# ---- each learner alone, on a task with a known optimum of 1 a step


@pytest.mark.parametrize(
    ("algorithm", "agent", "iterations", "at_least"),
    [
        ("PPO", "strategic_coordinator_0", 60, 0.8),
        ("PPO", "alert_triage_0", 60, 0.8),
        ("SAC", "threat_hunter_0", 60, 0.85),
        ("DQN", "alert_triage_0", 40, 0.9),
        ("MADDPG", "response_orchestrator_0", 60, 0.85),
    ],
)
def test_each_learner_solves_its_task_alone(build, algorithm, agent, iterations, at_least):
    algo = build(toy_config({tier_of(agent): algorithm}, agents=(agent,)).training(updates_per_iteration=8))
    assert greedy_scores(algo, (agent,))[agent] < 0.7  # nothing is solved before training
    for _ in range(iterations):
        algo.train()
    assert greedy_scores(algo, (agent,))[agent] > at_least


def test_all_four_learn_together(build):
    config = toy_config(period=5, slow=("strategic_coordinator_0",)).training(updates_per_iteration=8)
    # a point says nothing about the next one: without bootstrapping there is less noise to learn through
    config.tiers({tier: {"gamma": 0.0} for tier in config.tier_settings})
    algo = build(config.tiers({"strategic_coordinator": {"train_batch_size": 128}}))
    before = greedy_scores(algo, tuple(ROLES))
    assert max(before.values()) < 0.6
    for _ in range(80):
        algo.train()
    after = greedy_scores(algo, tuple(ROLES))
    assert min(after.values()) > 0.75, after  # every tier, though each is a quarter of the reward it learns from


# ---- averaged networks


def test_averaged_networks_follow_and_are_what_a_loaded_policy_acts_with(build, tmp_path):
    algo = build(toy_config().training(ema_tau=[[0, 0.5], [512, 0.25]]))
    expected = {tier: {n: v.numpy().copy() for n, v in state.items()} for tier, state in algo.averaged.items()}
    for rate in (0.375, 0.25, 0.25):  # after 256, 512 and 768 steps
        algo.train()
        for tier, values in expected.items():
            newest = algo.env_runner.module[tier].state_dict()
            for name in values:
                values[name] = values[name] + rate * (newest[name].numpy() - values[name])
    for tier, values in expected.items():
        for name, value in values.items():
            assert algo.averaged[tier][name].numpy() == pytest.approx(value, rel=1e-4, abs=1e-6), f"{tier}: {name}"
    policy = load_policy(save_checkpoint(algo, tmp_path / "c"))
    for tier, module in policy.modules.items():
        for name, value in module.state_dict().items():
            if name in algo.averaged[tier]:
                assert torch.equal(value, algo.averaged[tier][name]), f"{tier}: {name}"
    twin = build(toy_config().training(ema_tau=0.25).debugging(seed=5))
    twin.restore_from_path(tmp_path / "c")
    assert_same(algo.averaged, twin.averaged)


@pytest.mark.parametrize("scenario", ["paper-v0", "soc-v1"])
@pytest.mark.parametrize("replay", ["separate", "uniform"])
def test_presets_train_with_every_replay(build, scenario, replay):
    from policies.presets import PRESETS

    overrides = {"num_hosts": 20, "max_steps": 40} if scenario == "paper-v0" else {"num_hosts": 20, "num_zones": 2}
    config = HMARLConfig().environment(scenario, env_config=overrides).debugging(seed=0, log_level="ERROR")
    config.env_runners(num_envs_per_env_runner=8).training(**copy.deepcopy(PRESETS[scenario]))
    config.training(
        replay=replay, train_batch_size=256, replay_batch_size=32, learning_starts=0, updates_per_iteration=2
    )
    config.tiers({"response_orchestrator": {"actor_lr": 1e-3}})
    algo = build(config)
    before = weights(algo)["response_orchestrator"]
    algo.train()
    algo.train()
    after = weights(algo)["response_orchestrator"]
    for part in ("actor", "critic"):
        trained = [n for n in before if n.startswith(f"{part}.") and n.endswith("weight")]
        assert any(not np.array_equal(before[n], after[n]) for n in trained), part


@pytest.mark.parametrize(("algorithm", "space"), [("DQN", BOX2), ("MADDPG", FOUR)])
def test_algorithm_must_fit_the_action_space(build, algorithm, space):
    agent = "threat_hunter_0"
    with pytest.raises(ConfigError, match=f"{algorithm} needs a"):
        build(toy_config({"threat_hunter": algorithm}, agents=(agent,), spaces={agent: space}))


@pytest.mark.parametrize(("algorithm", "space"), [("SAC", FOUR), ("PPO", FOUR), ("PPO", BOX2), ("MADDPG", BOX2)])
def test_any_tier_takes_any_algorithm_that_fits(build, algorithm, space):
    agent = "alert_triage_0"
    algo = build(toy_config({"alert_triage": algorithm}, agents=(agent,), spaces={agent: space}))
    before = weights(algo)
    for _ in range(3):
        algo.train()
    assert any(not np.array_equal(before["alert_triage"][n], w) for n, w in weights(algo)["alert_triage"].items())


@pytest.mark.parametrize("algorithm", ["SAC", "MADDPG"])
def test_several_agents_share_a_tier(build, algorithm):
    agents = ("threat_hunter_0", "threat_hunter_1", "response_orchestrator_0")
    tiers = {"threat_hunter": algorithm, "response_orchestrator": "MADDPG"}
    algo = build(toy_config(tiers, agents=agents, spaces=dict.fromkeys(agents, BOX2)).training(updates_per_iteration=8))
    for _ in range(60):
        algo.train()
    scores = greedy_scores(algo, agents, spaces=dict.fromkeys(agents, BOX2))
    assert min(scores.values()) > 0.75, scores
    assert set(algo.learner_group.groups) == {"threat_hunter", "response_orchestrator"}


# ---- one iteration of every shape of team, network and cluster


def assert_all_learn(algo):
    """Two iterations move the networks of every tier, and leave all of them finite."""
    before = weights(algo)
    algo.train()
    result = algo.train()
    after = weights(algo)
    assert set(before) == set(algo.plan.members) <= set(result["learners"])
    for tier, own in after.items():
        assert all(np.isfinite(value).all() for value in own.values()), tier
        trained = [n for n in own if n.endswith("weight") and "target" not in n]
        assert any(not np.array_equal(before[tier][n], own[n]) for n in trained), tier


@pytest.mark.parametrize("responders", [0, 1, 3])
@pytest.mark.parametrize("replay", ["shared", "separate"])
def test_trains_with_any_number_of_responders(build, responders, replay):
    agents = [agent for agent in ROLES if agent != "response_orchestrator_0"]
    agents += [f"response_orchestrator_{k}" for k in range(responders)]
    spaces = {agent: ROLES[f"{tier_of(agent)}_0"] for agent in agents}
    env = {"agents": agents, "spaces": spaces, "period": 2, "slow": ("strategic_coordinator_0",)}
    config = HMARLConfig().environment(Matching, env_config=env).debugging(seed=0, log_level="ERROR")
    config.tiers({tier: {**SMALL, **FAST[s["algorithm"]]} for tier, s in config.tier_settings.items()})
    config.tiers({"strategic_coordinator": {"train_batch_size": 64}}).env_runners(num_envs_per_env_runner=16)
    config.training(train_batch_size=256, learning_starts=0, random_steps=0, updates_per_iteration=2)
    algo = build(config.training(replay_batch_size=64, replay_capacity=1024, replay=replay))
    assert len(algo.plan.members.get("response_orchestrator", ())) == responders
    assert_all_learn(algo)


@pytest.mark.parametrize(("num_zones", "num_env_runners"), [(1, 0), (16, 0), (5, 2)])
def test_trains_with_any_number_of_zones_and_runners(build, num_zones, num_env_runners):
    from policies.presets import PRESETS

    config = HMARLConfig().environment("soc-v1", env_config={"num_zones": num_zones, "num_hosts": 64})
    config.env_runners(num_envs_per_env_runner=4, num_env_runners=num_env_runners).debugging(seed=0, log_level="ERROR")
    config.training(**copy.deepcopy(PRESETS["soc-v1"]))
    moving = {"threat_hunter": {"actor_lr": 1e-3}, "response_orchestrator": {"actor_lr": 1e-3}}
    config.tiers({**moving, "strategic_coordinator": {"train_batch_size": 16}})
    config.training(train_batch_size=240, learning_starts=0, replay_batch_size=32, updates_per_iteration=2)
    config.training(replay_capacity=1024)
    algo = build(config)
    assert algo.plan.members["strategic_coordinator"] == ("strategic_coordinator_0",)
    assert (
        algo.team.slices["threat_hunter_0"].stop - algo.team.slices["threat_hunter_0"].start == 23 * num_zones + 19 + 60
    )
    assert_all_learn(algo)
    assert algo.num_env_steps >= 240


# ---- remote


def test_remote_runners_and_learners(build):
    config = toy_config(period=5, slow=("strategic_coordinator_0",)).env_runners(num_env_runners=1)
    algo = build(config.tiers({"threat_hunter": {"num_learners": 1}}))
    assert algo.learner_group["threat_hunter"].is_remote
    remote = algo.env_runner_group.foreach_env_runner(
        lambda r: r.module["alert_triage"].get_state(), local_env_runner=False
    )
    for _ in range(4):
        result = algo.train()
    assert result["env_runners"]["num_env_steps_sampled_lifetime"] == algo.num_env_steps > 0
    now = algo.env_runner_group.foreach_env_runner(
        lambda r: r.module["alert_triage"].get_state(), local_env_runner=False
    )
    assert any(not np.array_equal(remote[0][n], now[0][n]) for n in now[0])
