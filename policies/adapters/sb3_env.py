"""The batched simulator as a Stable-Baselines3 VecEnv (stable_baselines3 2.9), one policy for the whole team.

    from policies.adapters import SOCVecEnv
    from stable_baselines3 import PPO

    PPO("MlpPolicy", SOCVecEnv("soc-v1", num_envs=32, actions="discrete"), seed=0).learn(1_000_000)

`CentralGym` in SB3's own DummyVecEnv plays the same episodes, one environment at a time. Learners that want one
environment, or `check_env`, take that one.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from policies.adapters.sb3_steps import VecStep, vec_step
from soc_env.errors import ConfigError, shown, unknown_name
from soc_env.wrappers import SOCVectorEnv

METHODS = ("action_masks",)  # of a single environment; MaskablePPO of sb3-contrib calls it


class SOCVecEnv(VecEnv):
    """`SOCVectorEnv` in SB3's terms, without a Python loop over environments.

    The last info of an episode has the scenario's metrics (`info["score"]`, ...), so
    `VecMonitor(env, info_keywords=("score",))` writes them; `info["episode"]` is there without a monitor too.

    Attributes:
        env: The `SOCVectorEnv`; `env.simulator` is the batch underneath.
    """

    env: SOCVectorEnv

    def __init__(self, scenario: Any = "soc-v1", num_envs: int = 1, **options: Any) -> None:
        """Args as `SOCVectorEnv`: scenario, num_envs, actions, seed, num_threads, and fields of the scenario.

        Raises:
            ScenarioError: Unknown scenario or override, or a value out of range.
            ConfigError: An unknown option.
        """
        self.env = SOCVectorEnv(scenario, num_envs, **options)
        self._began = time.monotonic()
        self._chosen: np.ndarray | None = None
        super().__init__(self.env.num_envs, self.env.single_observation_space, self.env.single_action_space)

    def reset(self) -> np.ndarray:
        """Starts an episode in every environment: the first of the seed if `seed` was called, else the next.

        Returns:
            (num_envs, size) float32 observations.
        """
        observations, _ = self.env.reset(seed=self._seeds[0])
        self.reset_infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        self._reset_seeds()
        return observations

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """The stream of episodes that the next `reset` starts: environment i plays stream i of `seed`.

        SB3's other VecEnvs play stream 0 of `seed` + i, so that seeds beside each other share most environments. A seed
        that is none makes `reset` raise ConfigError.
        """
        self._seeds = [super().seed()[0] if seed is None else seed] * self.num_envs
        return self._seeds

    def set_options(self, options: Any = None) -> None:
        """ConfigError for any: a reset has none."""
        if options:
            raise ConfigError(f"options={shown(options)}: a reset has no options; allowed: none")

    def step_async(self, actions: np.ndarray) -> None:
        """Takes the actions, (num_envs, size), that `step_wait` plays."""
        self._chosen = actions

    def step_wait(self) -> VecStep:
        """Plays the actions that were given last, see `policies.adapters.sb3_steps.vec_step`.

        Raises:
            ActionError: A wrong shape or type, NaN, or a choice out of range; nothing has changed then.
        """
        return vec_step(self.env.step(self._chosen), time.monotonic() - self._began)

    def close(self) -> None:
        """Nothing has to be freed."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute of the batch, for each of the environments asked for; methods are those of `env_method`.

        Raises:
            AttributeError: There is none.
        """
        if attr_name == "render_mode":
            return [None for _ in self._asked(indices)]
        if attr_name == "action_masks" and not self.env.is_discrete:
            raise AttributeError("action_masks needs actions='discrete'")
        return [getattr(self.env, attr_name) for _ in self._asked(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """ConfigError: environments of a batch have no attributes of their own."""
        raise ConfigError(f"{attr_name} cannot be set for environments of a batch; allowed: arguments of SOCVecEnv")

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """`action_masks()` of each of the environments asked for: (choices of all agents in a row,) bool.

        Raises:
            ConfigError: Another method, an argument, or actions that are no choices.
        """
        if method_name not in METHODS or method_args or method_kwargs:
            raise ConfigError(unknown_name("method of an environment", method_name, METHODS))
        return list(self.env.action_masks()[list(self._asked(indices))])

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """No environment is."""
        return [False for _ in self._asked(indices)]

    def _asked(self, indices: Any) -> Iterable[int]:
        return self._get_indices(indices)
