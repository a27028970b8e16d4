"""The simulator as a BenchMARL task (benchmarl 1.5, torchrl 0.10 or 0.11).

    from benchmarl.algorithms import MappoConfig
    from benchmarl.experiment import Experiment, ExperimentConfig
    from benchmarl.models.mlp import MlpConfig
    from policies.adapters import SOCTask

    Experiment(task=SOCTask.of("soc-v1"), algorithm_config=MappoConfig.get_from_yaml(), seed=0,
               model_config=MlpConfig.get_from_yaml(), critic_model_config=MlpConfig.get_from_yaml(),
               config=ExperimentConfig.get_from_yaml()).run()

Mixed actions (MAPPO, IPPO, ISAC, MASAC) are the default; `actions="continuous"` is for MADDPG and IDDPG,
`actions="discrete", homogenize=True, masks="obs"` for QMIX and VDN.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from benchmarl.environments.common import TaskClass
from tensordict import TensorDictBase
from torchrl.data import Composite
from torchrl.envs import EnvBase, PettingZooWrapper, SerialEnv

import soc_env


def _groups(options: dict[str, Any]) -> dict[str, list[str]]:
    """A group per role, or one for all if they share their spaces."""
    if options.get("homogenize", False):
        return {"agents": list(soc_env.AGENTS)}
    return {agent.rsplit("_", 1)[0]: [agent] for agent in soc_env.AGENTS}


def _make_env(options: dict[str, Any], seed: int, device: Any) -> EnvBase:
    """One TorchRL environment, reset with its own seed."""
    return PettingZooWrapper(
        soc_env.parallel_env(**options, seed=seed),
        return_state=True,
        group_map=_groups(options),
        use_mask=False,  # agents are never missing
        categorical_actions=True,
        seed=seed,
        device=device,
    )


class SOCTask(TaskClass):
    """A scenario as a BenchMARL task.

    BenchMARL's own PettingZoo tasks give every sampling environment the seed of the experiment, so that they all play
    the same episodes. Here a call of `get_env_fun` returns the whole batch, each environment with a seed of its own;
    evaluation, which calls it again, plays others than training does.
    """

    @classmethod
    def of(cls, scenario: str = "soc-v1", **options: Any) -> SOCTask:
        """The task of a scenario.

        Args:
            scenario: A key of `soc_env.SCENARIOS`.
            **options: Those of `soc_env.parallel_env`, except `seed`, `coordinator` and `render_mode`.

        Raises:
            ConfigError: An option that BenchMARL decides, or an unknown one.
            ScenarioError: Unknown scenario or override, or a value out of range.
        """
        for name in ("seed", "coordinator", "render_mode"):
            if name in options:
                raise soc_env.ConfigError(f"{name} is not an option of SOCTask; allowed: those of parallel_env but it")
        soc_env.parallel_env(scenario, **options)  # bad options fail here, not in a collector
        return cls(name=scenario.replace("-", "_").upper(), config={"scenario": scenario, **options})

    def get_env_fun(
        self, num_envs: int, continuous_actions: bool, seed: int | None, device: Any
    ) -> Callable[[], EnvBase]:
        """A function that makes `num_envs` environments in one batch; the options decide on `continuous_actions`."""
        calls = self.__dict__.setdefault("_calls", 0)
        self._calls = calls + 1
        root = np.random.SeedSequence(seed, spawn_key=(calls,))
        seeds = [int(child) for child in root.generate_state(num_envs, np.uint32)]
        makers = [functools.partial(_make_env, self.config, one, device) for one in seeds]

        def make() -> EnvBase:
            batch = SerialEnv(num_envs, makers)
            batch.start()  # BenchMARL closes it at the end even if it never evaluated, and only a started one may be
            return batch

        return make

    def supports_continuous_actions(self) -> bool:
        """Whether some agent has a Box."""
        return self.config.get("actions", "mixed") != "discrete"

    def supports_discrete_actions(self) -> bool:
        """Whether some agent has a Discrete."""
        return self.config.get("actions", "mixed") != "continuous"

    def has_render(self, env: EnvBase) -> bool:
        """No pictures during evaluation."""
        return False

    def max_steps(self, env: EnvBase) -> int:
        """Steps of the longest episode."""
        scenario = soc_env.make_scenario(self.config["scenario"])
        return self.config.get("max_steps", scenario.max_steps)

    def group_map(self, env: EnvBase) -> dict[str, list[str]]:
        """A group per role, or one for all with `homogenize`."""
        return _groups(self.config)

    def observation_spec(self, env: EnvBase) -> Composite:
        """Of each group, "observation"."""
        return self._only(env, "observation")

    def info_spec(self, env: EnvBase) -> Composite | None:
        """Of each group, "info"."""
        return self._only(env, "info")

    def action_mask_spec(self, env: EnvBase) -> Composite | None:
        """Of each group that has one, "action_mask"."""
        return self._only(env, "action_mask")

    def state_spec(self, env: EnvBase) -> Composite | None:
        """The global state."""
        return Composite({"state": env.full_observation_spec_unbatched["state"].clone()})

    def action_spec(self, env: EnvBase) -> Composite:
        """All action specs."""
        return env.full_action_spec_unbatched

    @staticmethod
    def env_name() -> str:
        """What BenchMARL calls the family of tasks."""
        return "soc"

    @staticmethod
    def log_info(batch: TensorDictBase) -> dict[str, float]:
        """Nothing beyond BenchMARL's own log."""
        return {}

    def _only(self, env: EnvBase, entry: str) -> Composite | None:
        """The observation spec with one entry per group; None if no group has it."""
        spec = env.full_observation_spec_unbatched.clone()
        if "state" in spec.keys():  # noqa: SIM118  (a Composite is no dict)
            del spec["state"]
        for group in self.group_map(env):
            for key in list(spec[group].keys()):
                if key != entry:
                    del spec[group][key]
            if spec[group].is_empty():
                del spec[group]
        return None if spec.is_empty() else spec
