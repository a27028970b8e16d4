"""Tiers on environments that are not ours: each agent's reward and life, several agents in a tier."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("ray")
from foreign_envs import Duel, Relay
from foreign_tiers import RELAY, small_config

from policies import policy_of
from policies.hmarl.algorithm import HMARLConfig
from policies.runner.batched_env import make_batched_env
from soc_env.errors import ConfigError

pytestmark = pytest.mark.usefixtures("quiet_ray")


@pytest.mark.parametrize(
    ("tiers", "message"),
    [
        (
            {"a": {"algorithm": "SAC"}},
            "agent 'b_0' belongs to tier 'b', which does not exist.*response_orchestrator, .*a$",
        ),
        ({**RELAY, "c": {"algorithm": "SAC"}}, "tier 'c': the environment has no agents of it; agents: a_0, a_1, b_0"),
        ({**RELAY, "c": {"algorithm": "SAC", "agents": ["c_0"]}}, "tier 'c': the environment has no agent 'c_0'"),
        ({"a": {"algorithm": "PPO", "agents": ["b_0"]}}, "tier 'a': agents 'a_0' and 'b_0' differ in their spaces"),
        ({"a": {"algorithm": "DQN"}, "b": {"algorithm": "DQN"}}, "tier 'a': DQN needs a Discrete action space"),
    ],
)
def test_tiers_that_do_not_fit_the_environment_are_named(build, tiers, message):
    with pytest.raises(ConfigError, match=message):
        build(small_config(Relay, tiers))


@pytest.mark.parametrize(
    ("tiers", "message"),
    [
        ({"a": {"algorithm": "SAC", "agents": "a_0"}}, "tier 'a': agents='a_0' must be a list of names"),
        (
            {"a": {"algorithm": "scripted", "policy": "random", "agents": [1]}},
            r"tier 'a': agents=\[1\] must be a list of names",
        ),
        ({"a": {"algorithm": "SAC", "trainable": 0}}, "tier 'a': trainable=0 must be True or False"),
        ({"a": {"algorithm": "scripted"}}, "tier 'a': policy is missing"),
        (
            {"a": {"algorithm": "scripted", "policy": "random", "lr": 1.0}},
            "tier 'a': setting 'lr' does not exist; allowed: agents, algorithm, policy",
        ),
        (
            {t: {"algorithm": "SAC", "agents": ["x"]} for t in "ab"},
            "agent 'x' is named by tiers 'a' and 'b'; allowed: one of them",
        ),
    ],
)
def test_bad_tiers_are_named(tiers, message):
    with pytest.raises(ConfigError, match=message):
        HMARLConfig().tiers(tiers)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("randon", r"tier 'b': policy 'randon' does not exist; did you mean 'random'\?"),
        ("toy:none", "'toy:none' cannot be imported"),
    ],
)
def test_unknown_scripted_policies_are_named(build, policy, message):
    config = small_config(Relay, RELAY).tiers({"b": {"algorithm": "scripted", "policy": policy}})
    with pytest.raises(ConfigError, match=message):
        build(config)


# ---- rewards and lives of each agent


def test_agents_of_a_tier_by_name_and_by_list(build):
    tiers = {"left": {"algorithm": "SAC", "agents": ["a_0"]}, "right": {"algorithm": "PPO", "agents": ["a_1"]}}
    algo = build(small_config(Relay, {**tiers, "b": {"algorithm": "DQN"}}))
    assert algo.plan.members == {"left": ("a_0",), "right": ("a_1",), "b": ("b_0",)}
    assert set(algo.learner_group.groups) == {"left", "right", "b"}
    for _ in range(3):
        result = algo.train()
    assert {"left", "right", "b"} <= set(result["learners"])
    assert result["env_runners"]["episode_metrics"]["reward/b_0"] >= 4 * 3


def test_remote_runners_of_a_function_that_cannot_be_imported(build):
    def make(length):  # goes to the workers by value
        return Relay(length, leaves={"b_0": 2})

    tiers = {**RELAY, "b": {"algorithm": "PPO", "train_batch_size": 16}}
    algo = build(small_config(make, tiers, length=4).env_runners(num_env_runners=1))
    for _ in range(2):  # off-policy tiers learn from what was there before an iteration
        result = algo.train()
    assert {"a", "b"} <= set(result["learners"])
    assert result["env_runners"]["episode_len_mean"] == 4
    assert not algo.replay.columns["terminated/a_0"].any()


def test_joint_rows_hold_the_rewards_and_lives_of_each_agent(build):
    algo = build(small_config(Relay, RELAY, length=4, leaves={"b_0": 2}))
    [rollout] = algo.env_runner.sample(num_timesteps=4 * 8)
    rows = {name: column.reshape(8, 4, *column.shape[1:]) for name, column in rollout.joint.items()}
    for agent in ("a_0", "a_1"):
        assert rows[f"reward/{agent}"] == pytest.approx(1 + rows[f"action/{agent}"][..., 0], abs=1e-6)
        assert rows[f"alive/{agent}"].all()
        assert not rows[f"terminated/{agent}"].any()  # cut off, not ended
    assert not np.array_equal(rows["reward/a_0"], rows["reward/a_1"])
    life = np.array([1, 1, 0, 0] * 2, bool)
    assert (rows["alive/b_0"] == life[:, None]).all()
    assert (rows["terminated/b_0"] == np.array([0, 1, 1, 1] * 2, bool)[:, None]).all()
    assert (rows["reward/b_0"][life] == 3 + rows["action/b_0"][life]).all()
    assert (rows["reward/b_0"][~life] == 0).all()
    assert (rows["next_obs"][3::4, :, 0] == 4).all()  # the last observation, not that of the next episode


def test_returns_over_several_steps_end_where_the_agent_left(build):
    config = small_config(Relay, RELAY, length=4, leaves={"b_0": 2}).training(n_step=3)
    algo = build(config.tiers({"b": {"gamma": 1.0}}))
    [rollout] = algo.env_runner.sample(num_timesteps=4 * 10)
    rows = {name: column.reshape(8, 4, *column.shape[1:])[:4] for name, column in rollout.joint.items()}
    own = 3 + rows["action/b_0"]
    assert (rows["reward/b_0"][0] == own[0] + own[1]).all()
    assert (rows["reward/b_0"][1] == own[1]).all()
    assert rows["terminated/b_0"][:2].all()  # nothing is bootstrapped behind it
    assert not rows["terminated/a_0"].any()


def test_no_tier_learns_from_agents_that_have_left(build):
    tiers = {"a": {"algorithm": "MADDPG"}, "b": {"algorithm": "DQN"}}
    algo = build(small_config(Relay, tiers, length=6, leaves={"b_0": 2, "a_1": 3}))
    algo.train()
    steps = {}
    for tier, last in (("a", {0: 6, 1: 3}), ("b", {2: 2})):
        index, weights = algo.replay.sample(tier, 512)
        batch = algo.batches.batch(tier, index, weights)[tier]
        for number, end in last.items():
            steps[number] = np.unique(batch["obs"][batch["obs"][:, 1] == number, 0]).tolist()
            assert steps[number] == list(range(end)), f"agent {number}"
        is_last = batch["new_obs"][:, 0] == [last[int(n)] for n in batch["obs"][:, 1]]
        ends = np.isin(batch["obs"][:, 1], [1, 2]) & is_last  # agent 0 is cut off
        assert np.array_equal(batch["terminateds"], ends)
    index, weights = algo.replay.sample("a", 512)
    batch = algo.batches.batch("a", index, weights)["a"]
    gone = batch["joint_next_obs"][:, 4] >= 2  # b_0 after its last step
    assert (batch["other_next_actions"][gone, 1:] == 0).all()
    assert (batch["other_next_actions"][~gone, 1:].sum(1) == 1).all()
    for _ in range(3):
        algo.train()


@pytest.mark.parametrize("leaves", [{}, {"b_0": 3}])
def test_ppo_bootstraps_where_it_was_cut_off_and_not_where_it_ended(build, leaves):
    tiers = {"a": {"algorithm": "SAC"}, "b": {"algorithm": "PPO", "gamma": 1.0, "lambda_": 1.0}}
    algo = build(small_config(Relay, tiers, length=5, leaves=leaves))
    runner = algo.env_runner
    [rollout] = runner.sample(num_timesteps=4 * 5)
    columns = rollout.on_policy["b"]
    life = leaves.get("b_0", 5)
    assert len(columns["obs"]) == 4 * life
    earned = (3 + columns["actions"]).reshape(life, 4)
    with torch.no_grad():
        value = runner.module["b"].compute_values({"obs": torch.tensor([[float(life), 2.0]])}).item()
    behind = 0.0 if leaves else value
    expected = earned[::-1].cumsum(0)[::-1] + behind
    assert columns["value_targets"].reshape(life, 4) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("algorithm", ["SAC", "MADDPG", "PPO"])
def test_each_agent_learns_from_its_own_reward(build, algorithm):
    tiers = {agent: {"algorithm": algorithm, "gamma": 0.0} for agent in Duel.possible_agents}
    algo = build(small_config(Duel, tiers, num_envs=8).training(updates_per_iteration=8, random_steps=256))
    for _ in range(70):
        algo.train()
    policy, batch = policy_of(algo), make_batched_env(Duel, 64, 9, {})
    batch.reset()
    for agent, action in policy(batch.observations, batch.decides).items():
        error = np.abs(action - batch.observations[agent][:, :1]).mean()
        assert error < 0.25, f"{agent}: {error}"  # doing nothing: 0.5; the first one's skill costs the sum of rewards


# ---- several agents in a tier


def test_central_critic_reads_the_agent_it_rates_first(build):
    tiers = {"b": {"algorithm": "DQN"}, "a": {"algorithm": "MADDPG"}}
    algo = build(small_config(Relay, tiers))
    assert algo.batches._order_of_critic("a", "a_0") == ["a_0", "a_1", "b_0"]
    assert algo.batches._order_of_critic("a", "a_1") == ["a_1", "a_0", "b_0"]
    algo.train()
    index, weights = algo.replay.sample("a", 64)
    batch = algo.batches.batch("a", index, weights)["a"]
    assert set(batch["obs"][:, 1].tolist()) == {0.0, 1.0}
    assert np.array_equal(batch["joint_obs"][:, :2], batch["obs"])
    assert np.array_equal(batch["joint_next_obs"][:, :2], batch["new_obs"])
    assert np.array_equal(batch["joint_obs"][:, 3], 1 - batch["obs"][:, 1])  # the other one of the tier
    other = np.where(batch["obs"][:, 1] == 0, *(algo.replay.columns[f"action/a_{k}"][index, 0] for k in (1, 0)))
    assert np.array_equal(batch["other_actions"][:, 0], other)
    own = np.where(batch["obs"][:, 1] == 0, *(algo.replay.columns[f"reward/a_{k}"][index] for k in (0, 1)))
    assert batch["rewards"] * algo.statistics.mean_absolute_return["a"] == pytest.approx(own, rel=1e-5)


def test_observation_statistics_are_those_of_all_agents_of_a_tier(build):
    tiers = {"b": {"algorithm": "DQN"}, "a": {"algorithm": "MADDPG"}}
    algo = build(small_config(Relay, tiers))
    algo.train()
    steps = np.tile(np.arange(4), 8)
    for norm, is_joint in algo.learner_group["a"]._learner.module["a"].unwrapped().input_norms():
        mean = [steps.mean(), 0.5] * (2 if is_joint else 1) + ([steps.mean(), 2.0] if is_joint else [])
        assert norm.mean.numpy() == pytest.approx(mean, abs=1e-5)
        assert 1 / norm.inv_std.numpy()[:2] ** 2 == pytest.approx([steps.var(), 0.25], abs=1e-5)
