"""The learners of a comparison, all as `Contestant`: trained piece by piece, looked at in between."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from soc_env.errors import ConfigError


class Contestant(Protocol):
    """A learner under way.

    Attributes:
        num_env_steps: environment steps so far.
    """

    @property
    def num_env_steps(self) -> int: ...

    def iterate(self) -> None:
        """Samples and learns for a second or so."""

    def policy(self) -> Any:
        """The greedy policy of this moment, as `experiments.evaluate` plays one."""

    def close(self) -> None:
        """Frees what it holds."""


@dataclasses.dataclass(frozen=True)
class Task:
    """What one process trains.

    Attributes:
        name: of the curve.
        method: name in `METHODS`.
        seed: of the learner and its environments.
        scenario: what it learns.
        actions: of the central methods, "discrete" (presets) or "continuous".
        config: settings of HMARL, beside the preset's.
        minutes: CPU time of training.
        every: CPU seconds between two looks at the policy.
        episodes: of a look.
        overrides: fields of the scenario.
    """

    name: str
    method: str
    seed: int
    scenario: str = "soc-v1"
    actions: str = "discrete"
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    minutes: float = 10.0
    every: float = 30.0
    episodes: int = 256
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class HMARLContestant:
    """HMARL with the scenario's preset, as `hmarl-soc train` has it."""

    def __init__(self, task: Task) -> None:
        from experiments.run import hmarl_config
        from experiments.run_settings import with_defaults, with_preset
        from policies.presets import DEFAULT_NUM_ENVS, NUM_ENVS

        asked = {"scenario": task.scenario, "seed": task.seed}
        num_envs = NUM_ENVS.get(task.scenario, DEFAULT_NUM_ENVS)
        # One process: its CPU time is the measure, and tasks share the cores.
        config = with_preset(task.scenario, {**task.config, "learner_processes": 1})
        settings = {**with_defaults(asked), "num_envs": num_envs, "overrides": dict(task.overrides), "config": config}
        self.algo = hmarl_config(settings).build_algo()

    @property
    def num_env_steps(self) -> int:
        return int(self.algo.num_env_steps)

    def iterate(self) -> None:
        self.algo.train()

    def policy(self) -> Any:
        from policies import policy_of

        return policy_of(self.algo)

    def close(self) -> None:
        self.algo.stop()


class PPOContestant:
    """Our own PPO, see `experiments.curves.ppo`."""

    def __init__(self, task: Task) -> None:
        from experiments.curves.ppo import PPO, PPOSettings

        self._ppo = PPO(task.scenario, task.actions, task.seed, PPOSettings(), **task.overrides)
        self.iterate, self.policy = self._ppo.iterate, self._ppo.policy

    @property
    def num_env_steps(self) -> int:
        return self._ppo.num_env_steps

    def close(self) -> None:
        """Nothing has to be freed."""


class SB3Contestant:
    """Stable-Baselines3's PPO on `SOCVecEnv`, with the numbers of our own and rewards divided in the same way."""

    def __init__(self, task: Task) -> None:
        from stable_baselines3 import PPO
        from stable_baselines3.common.vec_env import VecNormalize

        from experiments.curves.ppo import PPOSettings
        from policies.adapters import SOCVecEnv

        s = PPOSettings()
        self._env = SOCVecEnv(task.scenario, s.num_envs, actions=task.actions, **task.overrides)
        scaled = VecNormalize(self._env, norm_obs=False, gamma=s.gamma, clip_reward=np.inf)
        self._ppo = PPO(
            "MlpPolicy", scaled, learning_rate=s.lr, n_steps=s.num_steps, batch_size=s.minibatch_size,
            n_epochs=s.num_epochs, gamma=s.gamma, gae_lambda=s.gae_lambda, clip_range=s.clip,
            ent_coef=s.entropy_weight, vf_coef=s.value_weight, max_grad_norm=s.max_grad_norm,
            policy_kwargs={"net_arch": list(s.hiddens)}, seed=task.seed, device="cpu",
        )  # fmt: skip
        self._steps = s.num_steps * s.num_envs

    @property
    def num_env_steps(self) -> int:
        return int(self._ppo.num_timesteps)

    def iterate(self) -> None:
        self._ppo.learn(self._steps, reset_num_timesteps=False)  # one rollout and one update

    def policy(self) -> Any:
        from experiments.curves.ppo import CentralPolicy

        return CentralPolicy(self._env.env, lambda seen: self._ppo.predict(seen, deterministic=True)[0])

    def close(self) -> None:
        """Nothing has to be freed."""


METHODS: dict[str, Callable[[Task], Contestant]] = {
    "hmarl": HMARLContestant,
    "ppo": PPOContestant,
    "sb3-ppo": SB3Contestant,
}
CENTRAL = ("ppo", "sb3-ppo")  # one policy for the whole team
NEEDS = {"hmarl": ("ray", "train"), "ppo": ("torch", "policy"), "sb3-ppo": ("stable_baselines3", "sb3")}


def can_train(method: str) -> bool:
    """Whether what the method needs is installed."""
    return importlib.util.find_spec(NEEDS[method][0]) is not None


def check_can_train(method: str) -> None:
    """ConfigError, with what to install, if something is missing."""
    if not can_train(method):
        package, extra = NEEDS[method]
        raise ConfigError(f'{method} needs {package}: pip install "hmarl-soc[{extra}]"')
