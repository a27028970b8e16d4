"""HMARL on the toy `Matching` and on paper-v0, small and quick, and what its tests look at."""

from __future__ import annotations

import numpy as np
import pytest
from toy import Matching

pytest.importorskip("ray")

from policies.hmarl.algorithm import HMARLConfig
from policies.tiers import tier_of

SMALL = {"hiddens": [32, 32], "gamma": 0.5}
FAST = {"PPO": {"train_batch_size": 256, "minibatch_size": 64, "lr": 1e-3, "entropy_coeff": 0.0}}
FAST["SAC"] = {"actor_lr": 1e-3, "critic_lr": 3e-3, "alpha_lr": 1e-3, "target_entropy": -6.0, "tau": 0.05}
FAST["DQN"] = {"lr": 1e-3, "epsilon": [[0, 1.0], [4000, 0.05]]}
FAST["MADDPG"] = {"actor_lr": 1e-3, "critic_lr": 3e-3, "exploration": {"std": 0.3}, "tau": 0.05}


def toy_config(tiers=None, **env):
    """HMARL on `Matching`; `tiers` {tier: algorithm} or settings, all four roles by default."""
    config = HMARLConfig().environment(Matching, env_config=env).env_runners(num_envs_per_env_runner=16)
    config.debugging(seed=0, log_level="ERROR")
    config.training(train_batch_size=256, learning_starts=256, random_steps=256, updates_per_iteration=2)
    config.training(replay_batch_size=64, replay_capacity=4096)
    defaults = {"alert_triage": "DQN", "threat_hunter": "SAC", "response_orchestrator": "MADDPG"}
    defaults["strategic_coordinator"] = "PPO"
    plain = {t: s if isinstance(s, dict) else {"algorithm": s} for t, s in (tiers or defaults).items()}
    return config.tiers({t: {**SMALL, **FAST[s["algorithm"]], **s} for t, s in plain.items()}, replace=True)


def small_paper(**settings):
    """All four algorithms on paper-v0, small; schedules and the settings of the preset that draw or remember."""
    config = HMARLConfig().environment("paper-v0").env_runners(num_envs_per_env_runner=8)
    config.debugging(seed=0, log_level="ERROR")
    config.training(train_batch_size=128, learning_starts=128, random_steps=128, updates_per_iteration=2)
    config.training(replay_batch_size=32, replay_capacity=400, n_step=3, ema_tau=[[0, 1.0], [600, 0.2]])
    small = {"hiddens": [16]}
    tiers = {"alert_triage": {"algorithm": "DQN", "lr": [[0, 1e-3], [600, 1e-5]], **small}}
    tiers["threat_hunter"] = {"algorithm": "SAC", "exploration": {"hold_steps": 4, "scale_range": [0.5, 2.0]}, **small}
    tiers["response_orchestrator"] = {"algorithm": "MADDPG", "rest": {"weight": [[0, 1.0], [600, 0.0]]}, **small}
    tiers["strategic_coordinator"] = {"algorithm": "PPO", "train_batch_size": 48, "minibatch_size": 16, **small}
    tiers["strategic_coordinator"]["entropy_coeff"] = [[0, 0.1], [600, 0.0]]
    return config.training(tiers=tiers, **settings)


def learner_state(algo):
    return {tier: group._learner.get_state() for tier, group in algo.learner_group.groups.items()}


def weights(algo):
    return {
        tier: {name: np.array(value) for name, value in state["rl_module"][tier].items()}
        for tier, state in learner_state(algo).items()
    }


def greedy_scores(algo, agents, **env):
    """Mean reward a step that each agent's greedy policy in the runner earns on fresh points."""
    from policies.trained import TrainedPolicy

    policy = TrainedPolicy({tier_of(a): algo.env_runner.module[tier_of(a)] for a in agents}, algo.slow_agents)
    toy = Matching(num_envs=256, seed=99, agents=agents, **env)
    toy.reset()
    for agent, action in policy(toy.observations, toy.decides).items():
        toy.actions[agent][...] = action
    return {a: float(toy.score(a).mean()) for a in agents}


PAIR = ("threat_hunter_0", "response_orchestrator_0")


def assert_same(a, b, path=""):
    if isinstance(a, dict):
        assert set(a) == set(b), path
        for key in a:
            assert_same(a[key], b[key], f"{path}/{key}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), path
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{path}/{i}")
    else:
        one, other = np.asarray(a), np.asarray(b)
        assert np.array_equal(one, other, equal_nan=one.dtype.kind == "f"), path
