"""Batches of environments that are not ours, and which ones do not fit."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("ray")
from foreign_envs import BOX1, Counter, Duel, Relay
from pettingzoo.utils import parallel_to_aec
from ray.tune.registry import register_env

import soc_env
from policies.runner.batched_env import DiscretizeActions, SyncVectorEnv, import_path, make_batched_env
from soc_env.errors import ConfigError, ScenarioError

pytestmark = pytest.mark.usefixtures("quiet_ray")


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
        ("soc-v3", ScenarioError, "soc-v3"),
    ],
)
def test_things_that_are_no_environment_are_named(env, error, message):
    with pytest.raises(error, match=message):
        make_batched_env(env, 1, 0, {})
