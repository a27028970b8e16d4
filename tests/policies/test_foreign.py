"""Tiers on environments that are not ours: batches of them, each agent's reward and life, who learns and who not."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from toy import BOX2, Matching

pytest.importorskip("ray")
from foreign_envs import BOX1, FROM_3, Counter, Duel, Relay
from pettingzoo.utils import parallel_to_aec
from ray.tune.registry import register_env

import soc_env
from policies import load_policy, policy_of, save_checkpoint
from policies.hmarl.algorithm import HMARLConfig
from policies.runner.acting import act
from policies.runner.batched_env import DiscretizeActions, SyncVectorEnv, import_path, make_batched_env
from soc_env.errors import CheckpointError, ConfigError, ScenarioError

pytestmark = pytest.mark.usefixtures("quiet_ray")
FAST = {"PPO": {"train_batch_size": 128, "minibatch_size": 64, "lr": 1e-3, "entropy_coeff": 0.0}}
FAST["SAC"] = {"actor_lr": 1e-3, "critic_lr": 3e-3, "alpha_lr": 1e-3, "target_entropy": -3.0, "tau": 0.05}
FAST["DQN"] = {"lr": 1e-3, "epsilon": [[0, 1.0], [2000, 0.05]]}
FAST["MADDPG"] = {"actor_lr": 1e-3, "critic_lr": 3e-3, "exploration": {"std": 0.3}, "tau": 0.05}


@pytest.fixture
def build():
    """Builds algorithms and stops them when the test ends."""
    built = []

    def make(config):
        built.append(config.build_algo())
        return built[-1]

    yield make
    for algo in built:
        algo.stop()


def small_config(env, tiers, num_envs=4, **env_config):
    """HMARL on a foreign environment, small; `tiers` {tier: settings with an algorithm}."""
    config = HMARLConfig().environment(env, env_config=env_config).env_runners(num_envs_per_env_runner=num_envs)
    config.debugging(seed=0, log_level="ERROR")
    config.training(train_batch_size=128, learning_starts=128, random_steps=0, updates_per_iteration=2)
    config.training(replay_batch_size=64, replay_capacity=4096)
    small = {"hiddens": [32, 32], "gamma": 0.5}
    return config.tiers({t: {**FAST.get(s["algorithm"], {}), **small, **s} for t, s in tiers.items()})


def toy_config(tiers, **env):
    """As `small_config`, on the toy with our agents' names."""
    plain = {
        t: s if s["algorithm"] == "scripted" else {**FAST[s["algorithm"]], "hiddens": [16], **s}
        for t, s in tiers.items()
    }
    config = (
        HMARLConfig().environment(Matching, env_config={"agents": PAIR, **env}).debugging(seed=0, log_level="ERROR")
    )
    config.env_runners(num_envs_per_env_runner=16)
    config.training(train_batch_size=256, learning_starts=256, random_steps=256, updates_per_iteration=2)
    return config.training(replay_batch_size=64, replay_capacity=4096).tiers(plain, replace=True)


PAIR = ("threat_hunter_0", "response_orchestrator_0")
RELAY = {"a": {"algorithm": "SAC"}, "b": {"algorithm": "DQN"}}


def module_state(algo, tier):
    return {n: v.clone() for n, v in algo.learner_group[tier]._learner.module[tier].unwrapped().state_dict().items()}


# ---- a batch of environments


def test_batch_of_a_parallel_env_step_by_step():
    batch = SyncVectorEnv(lambda index: Relay(length=3, leaves={"b_0": 2}), 2)
    assert batch.agents == ("a_0", "a_1", "b_0")
    assert batch.action_spaces["a_0"] == gym.spaces.Box(-1.0, 1.0, (1,), np.float32)
    assert batch.action_spaces["b_0"] == gym.spaces.Discrete(4)
    batch.reset(seed=0)
    batch.actions["a_0"][:, 0], batch.actions["a_1"][:, 0] = [-1, 1], [0, 0.5]
    batch.actions["b_0"][:] = [0, 3]
    batch.step()
    assert batch.agent_rewards["a_0"].tolist() == [0.0, 2.0]  # from [-1, 1] to [0, 2]
    assert batch.agent_rewards["a_1"].tolist() == [1.0, 1.5]
    assert batch.agent_rewards["b_0"].tolist() == [3.0, 6.0]  # choices start at 3
    assert batch.rewards.tolist() == [4.0, 9.5]
    assert batch.observations["a_1"].tolist() == [[1, 1], [1, 1]]
    assert batch.alive["b_0"].all()
    batch.step()
    assert batch.ended["b_0"].all()
    assert batch.agent_terminated["b_0"].all()
    assert not batch.alive["b_0"].any()
    assert not (batch.terminated | batch.truncated).any()
    assert (batch.actions["b_0"] == 0).all()
    batch.actions["b_0"][:] = 3  # it is gone: whatever it does is not asked for
    batch.step()
    assert batch.agent_rewards["b_0"].tolist() == [0.0, 0.0]
    assert batch.agent_terminated["b_0"].all()  # and stays so to the end
    assert not batch.ended["b_0"].any()
    assert batch.ended["a_0"].all()
    assert not batch.agent_terminated["a_0"].any()
    assert batch.truncated.all()
    assert not batch.terminated.any()
    assert batch.final_observations["a_0"].tolist() == [[3, 0]] * 2
    assert batch.final_observations["b_0"].tolist() == [[2, 2]] * 2  # the last that it saw
    assert batch.observations["a_0"].tolist() == [[0, 0]] * 2
    assert batch.alive["b_0"].all()
    assert batch.episode_metrics["length"].tolist() == [3, 3]
    assert batch.episode_metrics["reward/b_0"].tolist() == [6.0, 12.0]
    assert batch.episode_metrics["reward"].tolist() == [6.0 + 0.0 + 3.0, 12.0 + 6.0 + 4.5]
    batch.step()
    assert not batch.agent_terminated["b_0"].any()
    assert batch.running_metrics()["length"].tolist() == [1, 1]


def test_end_by_termination():
    batch = SyncVectorEnv(lambda index: Relay(length=1, ends="terminated"), 1)
    batch.reset()
    batch.step()
    assert batch.terminated.tolist() == [True]
    assert batch.truncated.tolist() == [False]
    assert batch.agent_terminated["a_0"].all()


def test_copies_have_seeds_of_their_own_and_repeat():
    def points(seed):
        batch = make_batched_env(Duel, 3, seed, {})
        batch.reset()
        seen = [batch.observations["first"].copy()]
        for _ in range(10):  # over the end of an episode
            batch.step()
            seen.append(batch.observations["first"].copy())
        return np.stack(seen)

    first = points(0)
    assert np.array_equal(first, points(0))
    assert not np.array_equal(first, points(1))
    assert not np.array_equal(first[:, 0], first[:, 1])
    assert not np.array_equal(first[0], first[8])  # an episode is not played again


def test_rllib_env_by_class_and_by_registered_name():
    register_env("counter", Counter)
    for env in (Counter, "counter", "foreign_envs:Counter"):
        batch = make_batched_env(env, 2, 0, {"offset": 7}, worker_index=3)
        batch.reset()
        # a Dict flattens in the order of its keys: kind (one-hot), place
        assert batch.observations["y"].tolist() == [[0, 1, 3, 0, 7], [0, 1, 3, 1, 7]]
        for _ in range(3):
            batch.actions["x"][:] = [1, 0]
            batch.step()
        assert batch.terminated.all()
        assert batch.episode_metrics["reward/x"].tolist() == [3.0, 0.0]


def test_our_own_parallel_env_is_a_foreign_one_too():
    batch = make_batched_env("soc_env:parallel_env", 2, 0, {"scenario": "paper-v0", "max_steps": 5})
    sim = soc_env.Simulator("paper-v0", num_envs=2, seed=0, max_steps=5)
    batch.reset()
    assert batch.agents == sim.agents
    for agent in sim.agents:
        assert batch.observation_spaces[agent].shape == sim.observation_spaces[agent].shape
        assert batch.action_spaces[agent] == sim.action_spaces[agent]
    for _ in range(5):
        batch.step()
    assert batch.truncated.all()


def test_choices_make_a_box_discrete():
    env = DiscretizeActions(Relay(), {"a_0": [[0.5], [2.0]]})
    assert env.action_space("a_0") == gym.spaces.Discrete(2)
    assert env.action_space("a_1") == BOX1
    env.reset()
    rewards = env.step({"a_0": 1, "a_1": np.array([1.0], np.float32), "b_0": 4})[1]
    assert rewards == {"a_0": 2.0, "a_1": 1.0, "b_0": 4.0}
    with pytest.raises(ConfigError, match=r"agent 'a_0' has no action \[3.0\]"):
        DiscretizeActions(Relay(), {"a_0": [[3.0]]})
    with pytest.raises(ConfigError, match=r"agent 'a_9' does not exist.*a_0"):
        DiscretizeActions(Relay(), {"a_9": [[1.0]]})


def test_import_path_is_there_and_back():
    assert import_path(Relay) == "foreign_envs:Relay"
    assert import_path("soc-v1") == "soc-v1"
    assert import_path(lambda: None).startswith("<function")


# ---- what does not fit


@pytest.mark.parametrize(
    ("env_config", "message"),
    [
        ({"spaces": {"a_1": gym.spaces.MultiDiscrete([2, 3])}}, "agent 'a_1' has action space MultiDiscrete"),
        ({"spaces": {"a_1": gym.spaces.Box(0, np.inf, (1,))}}, "agent 'a_1' has action space Box.*allowed: Discrete"),
        ({"late": "a_1"}, "agent 'a_1' is not there at the start"),
        ({"hides": "b_0"}, "agent 'b_0' is there but not observed"),
        ({"leaves": {"b_0": 2}, "cut": True}, "agent 'b_0' is truncated while a_0, a_1 go on"),
    ],
)
def test_environments_that_do_not_fit_are_named(env_config, message):
    def play():
        batch = make_batched_env(Relay, 1, 0, env_config)
        batch.reset()
        for _ in range(3):
            batch.step()

    with pytest.raises(ConfigError, match=message):
        play()


@pytest.mark.parametrize(
    ("env", "error", "message"),
    [
        (lambda: parallel_to_aec(Relay()), ConfigError, "is an AECEnv; allowed: a ParallelEnv"),
        (lambda: gym.make("CartPole-v1"), ConfigError, "allowed: a ParallelEnv or MultiAgentEnv"),
        ("foreign_envs:Realy", ConfigError, "'foreign_envs:Realy' cannot be imported"),
        ("soc-v2", ScenarioError, "soc-v2"),
    ],
)
def test_things_that_are_no_environment_are_named(env, error, message):
    with pytest.raises(error, match=message):
        make_batched_env(env, 1, 0, {})


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
    assert np.array_equal(rollout.joint["action/threat_hunter_0"], greedy)
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
    loaded = load_policy(save_checkpoint(algo, tmp_path / "c"))
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
        ({"threat_hunter": {"algorithm": "PPO", "checkpoint": str(folder)}}, "SAC in checkpoint"),
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
    assert policy.manifest["scenario"] == "foreign_envs:Relay"
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
