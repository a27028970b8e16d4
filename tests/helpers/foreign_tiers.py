"""HMARL on environments that are not ours, small and quick."""

from __future__ import annotations

import pytest
from toy import Matching

pytest.importorskip("ray")

from policies.hmarl.algorithm import HMARLConfig

FAST = {"PPO": {"train_batch_size": 128, "minibatch_size": 64, "lr": 1e-3, "entropy_coeff": 0.0}}
FAST["SAC"] = {"actor_lr": 1e-3, "critic_lr": 3e-3, "alpha_lr": 1e-3, "target_entropy": -3.0, "tau": 0.05}
FAST["DQN"] = {"lr": 1e-3, "epsilon": [[0, 1.0], [2000, 0.05]]}
FAST["MADDPG"] = {"actor_lr": 1e-3, "critic_lr": 3e-3, "exploration": {"std": 0.3}, "tau": 0.05}


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
