"""What algorithms learn with: RLlib's modules and learners on the networks of `policies.algorithms`, one file each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import gymnasium as gym
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from policies.algorithms import ALGORITHMS
from policies.algorithms.settings import TierSettings
from policies.learners import dqn, maddpg, ppo, sac
from soc_env.settings import to_plain


class InRLlib(NamedTuple):
    """The classes of RLlib's that an algorithm learns with, or subclasses of ours."""

    config: type[AlgorithmConfig]
    module: type
    learner: type


LEARNERS: dict[str, InRLlib] = {
    "PPO": InRLlib(*ppo.RLLIB),
    "SAC": InRLlib(*sac.RLLIB),
    "DQN": InRLlib(*dqn.RLLIB),
    "MADDPG": InRLlib(*maddpg.RLLIB),
}
"""By the names of `ALGORITHMS`."""


class _NoPipeline:
    """In place of RLlib's connectors for episodes: our batches are columns already. To make them took a start .2 s."""

    def __init__(self, *args: Any, **kwargs: Any):
        pass

    def insert_after(self, *args: Any, **kwargs: Any) -> None:
        """What RLlib's learners add is not needed either."""

    append = prepend = insert_after


def names_in_rllib(algorithm: str) -> set[str]:
    """The settings of RLlib's configuration of that algorithm."""
    return set(vars(LEARNERS[algorithm].config()))


def build_config(
    tier: str, settings: TierSettings, spaces: tuple[gym.Space, gym.Space], seed: int | None, **sizes: int
) -> AlgorithmConfig:
    """The tier's own RLlib configuration.

    Args:
        tier: its name.
        settings: of its algorithm.
        spaces: the tier's observation and action space.
        seed: of the learner.
        sizes: of what a central critic reads, `joint_obs_dim` and `other_action_dim`; `state_dim` of critics that read
            the state.

    Raises:
        ConfigError: the algorithm does not fit the action space, or a setting has no effect there.
    """
    algorithm, ours = ALGORITHMS[settings.algorithm], LEARNERS[settings.algorithm]
    algorithm.check_space(tier, settings, spaces[1])
    model: Mapping[str, Any] = {"role": tier, "settings": to_plain(settings)}
    read = {name for name in sizes if algorithm.has_central_critic or name == "state_dim"}
    model = {**model, **{name: sizes[name] for name in read}}
    config = ours.config()
    config.update_from_dict(settings.to_rllib())
    config.environment(env=None).framework("torch").debugging(seed=seed)
    config.multi_agent(policies={tier}, policy_mapping_fn=lambda *args, **kwargs: tier)
    config.learners(
        num_learners=settings.num_learners,
        num_gpus_per_learner=settings.num_gpus_per_learner,
        custom_resources_per_learner=settings.custom_resources_per_learner,
    )
    config.rl_module(rl_module_spec=RLModuleSpec(module_class=ours.module, model_config=model))
    config.learners(learner_class=ours.learner)
    config.build_learner_connector = _NoPipeline
    return config
