"""Whether settings fit together, the scenario and this machine: asked before Ray starts and networks are built.

Of an environment that is none of our scenarios only its own first episode can tell, so there it is asked while the
algorithm is built.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import torch
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES

import soc_env
from policies.hmarl.counterfactual import weighs
from policies.hmarl.replay import DetectionPriority
from policies.hmarl.state import starting_manifest
from policies.hmarl.teacher import check_teacher
from policies.networks.blocks import flat_dim
from policies.networks.tokens import impossible_choices
from policies.past import row_size
from policies.runner.batched_env import names_scenario
from policies.runner.plan import make_scripted, spaces_of_tiers, told_state
from policies.scripted import builder_of, is_code
from policies.team import SCRIPTED
from soc_env.errors import ConfigError, HMARLSOCError, shown, unknown_name
from soc_env.memory import check_memory

RUNNER_OPTIONS = ("worker_index", "num_envs")  # in env_config, but for the runner
NUMBER_BYTES = 4  # float32
COPIES = 6  # of a network: it, its gradient, two moments of Adam, the runner's and the averaged one
_fitting: list[str] = []  # settings and spaces of the networks that were made last, and fitted


def check_fit(config: Any) -> None:
    """Checks an `HMARLConfig` whose settings are each allowed by themselves.

    Raises:
        CheckpointError: a tier is to start from a checkpoint that is missing, damaged, or without such a tier.
        ConfigError, ScenarioError: the first thing that does not fit: a field of the scenario, a tier without agents or
            with an algorithm, a network or a metric that its agents do not have, a size for which memory is missing.
    """
    _check_sizes(config)
    if config.replay_priority == "paper":
        DetectionPriority(config.env, config.env_config)  # raises where there is no such thing
    for tier, settings in config.tier_settings.items():  # raises if a default of tiers does not fit
        if settings["algorithm"] == SCRIPTED and is_code(settings["policy"]):
            builder_of(settings["policy"], config.env, f"tier {tier!r}: policy")
        elif settings.get("checkpoint") is not None:
            starting_manifest(settings["checkpoint"], tier, settings["algorithm"])
        if weighs(config.tier(tier)) and config.num_env_runners:
            raise ConfigError(
                f"tier {tier!r}: counterfactual copies environments of this process, but "
                f"num_env_runners={config.num_env_runners}; allowed: 0, or counterfactual.weight=0"
            )
    check_teacher(config.teacher, config.env)
    if not names_scenario(config.env):
        return
    options = {name: value for name, value in dict(config.env_config).items() if name not in RUNNER_OPTIONS}
    if options.pop("autoreset", True) is not True:
        raise ConfigError("env_config: autoreset=False is not allowed: training goes on after an episode ends")
    simulator = soc_env.Simulator(config.env, num_envs=1, seed=0, **options)
    members = config.members(simulator.agents)
    spaces = spaces_of_tiers(members, simulator)
    for tier in members:
        _check_tier(config, tier, spaces[tier], simulator)
    config.make_teacher(simulator, 0)  # raises where there is no such teacher
    _check_networks(config, spaces, simulator)
    _check_memory(config, members, simulator)


def _check_sizes(config: Any) -> None:
    """Sizes that say how many of one another there are."""
    at_once = config.num_envs_per_env_runner * max(1, config.num_env_runners)
    if config.train_batch_size < at_once:
        raise ConfigError(
            f"train_batch_size={config.train_batch_size} must be at least {at_once}: one step of every environment "
            "(num_envs_per_env_runner of each env runner)"
        )


def _check_tier(config: Any, tier: str, spaces: tuple[gym.Space, gym.Space], simulator: Any) -> None:
    """That a tier's agents can play by its settings."""
    settings = config.tier(tier)
    if settings.algorithm == SCRIPTED:
        if not is_code(settings.policy):  # a user's own is made once, by the runner
            make_scripted(tier, settings.policy, config.env, simulator.action_spaces, 0)
        return
    metrics = [metric.name for metric in simulator.metric_table]
    for name in settings.reward_shaping.metrics:
        if name not in metrics:
            raise ConfigError(f"tier {tier!r}: reward_shaping.metrics: {unknown_name('metric', name, metrics)}")
    if getattr(settings, "action_masking", False):
        try:
            choices = impossible_choices(torch.zeros(1, *(spaces[0].shape or ())))
        except ConfigError as error:
            raise ConfigError(f"tier {tier!r}: {error}") from None
        assert choices.shape[1] == flat_dim(spaces[1])


def _check_networks(config: Any, of_tiers: Mapping[str, tuple[gym.Space, gym.Space]], simulator: Any) -> None:
    """That the tiers' networks can be made, and held in memory: they are made without their numbers.

    RLlib asks several times while an algorithm is built, for what takes a tenth of a second: the last that fitted are
    kept in mind.
    """
    spaces = {**of_tiers, "observations": simulator.observation_spaces, "actions": simulator.action_spaces}
    asked = repr((config.tier_settings, config.replay, spaces))
    if _fitting == [asked]:
        return
    joint = tuple(gym.spaces.Dict(dict(of)) for of in (simulator.observation_spaces, simulator.action_spaces))
    spaces = {INPUT_ENV_SINGLE_SPACES: joint, "state": told_state(simulator), **of_tiers}
    specs = config.get_multi_rl_module_spec(spaces=spaces).rl_module_specs
    for tier, spec in specs.items():
        try:
            with torch.device("meta"):
                module = spec.build()
        except HMARLSOCError as error:
            raise ConfigError(f"tier {tier!r}: {str(error).removeprefix(f'tier {tier!r}: ')}") from None
        size = sum(value.numel() for value in module.state_dict().values())
        settings = config.tier(tier)
        check_memory(f"tier {tier!r}: hiddens={shown(list(settings.hiddens))}", COPIES * NUMBER_BYTES * size)
    _fitting[:] = [asked]


def _check_memory(config: Any, members: Mapping[str, tuple[str, ...]], simulator: Any) -> None:
    """That what is kept of environment steps can be held in memory."""
    observed, acted = (
        sum(flat_dim(space) for space in of.values()) for of in (simulator.observation_spaces, simulator.action_spaces)
    )
    if any(config.trains(tier) and config.tier(tier).reads_state for tier in members):
        observed += flat_dim(simulator.state_space)
    row, stored = NUMBER_BYTES * (2 * observed + acted), NUMBER_BYTES * (observed + acted)
    learns_off_policy = [tier for tier in members if config.trains(tier) and not config.is_on_policy(tier)]
    kept: list[tuple[str, int, int]] = [("train_batch_size", config.train_batch_size, row)]
    if learns_off_policy:
        kept += [("replay_capacity", config.replay_capacity, stored)]  # which has observations once
        kept += [("replay_batch_size", config.replay_batch_size, row)]
    for name, number, size in kept:
        check_memory(f"{name}={number}", number * size)
    drawn = config.updates_per_iteration * config.replay_batch_size
    if learns_off_policy:
        names = f"updates_per_iteration={config.updates_per_iteration} of replay_batch_size={config.replay_batch_size}"
        check_memory(names, drawn * row)
        waiting = config.n_step * config.num_envs_per_env_runner
        check_memory(f"n_step={config.n_step} of {config.num_envs_per_env_runner} environments", waiting * row)
    for tier, agents in members.items():
        settings = config.tier(tier)
        if config.trains(tier) and config.is_on_policy(tier):
            size = settings.train_batch_size
            check_memory(f"tier {tier!r}: train_batch_size={size}", size * row)
        if settings.algorithm != SCRIPTED and settings.memory.minutes:
            rows = len(agents) * config.num_envs_per_env_runner + 2 * drawn
            read = row_size(flat_dim(simulator.observation_spaces[agents[0]]), settings.memory.minutes)
            check_memory(f"tier {tier!r}: memory.minutes={settings.memory.minutes}", NUMBER_BYTES * rows * read)
