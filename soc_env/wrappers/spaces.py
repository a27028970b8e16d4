"""A ParallelEnv with other spaces: the same for all agents, or Discrete ones."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, Space
from pettingzoo import ParallelEnv
from pettingzoo.utils.wrappers import BaseParallelWrapper

from soc_env.engine.scenario import Scenario
from soc_env.engine.simulator import unit_box
from soc_env.errors import ConfigError, unknown_name
from soc_env.options import box_action, discrete_action
from soc_env.registry import preset_tables


def box_of(space: Space) -> Box:
    """The array part of an observation space, with or without a mask."""
    box = space["observation"] if isinstance(space, Dict) else space
    if not isinstance(box, Box) or len(box.shape) != 1:
        raise ConfigError(f"observation space {space} is not supported; allowed: a flat Box, with or without a mask")
    return box


def array_of(observation: Any) -> np.ndarray:
    """The array part of an observation, with or without a mask."""
    return observation["observation"] if isinstance(observation, Mapping) else observation


def mask_of(observation: Any, info: Mapping[str, Any], num_choices: int) -> np.ndarray:
    """(num_choices,) int8, from the observation, else the info, else all ones."""
    mask = observation.get("action_mask") if isinstance(observation, Mapping) else info.get("action_mask")
    return np.ones(num_choices, np.int8) if mask is None else np.asarray(mask, np.int8)


def _num_choices(env: ParallelEnv) -> dict[str, int] | None:
    """Choices by agent if all agents are Discrete, else None."""
    spaces = {agent: env.action_space(agent) for agent in env.possible_agents}
    return {agent: int(s.n) for agent, s in spaces.items() if isinstance(s, Discrete)} if are_discrete(spaces) else None


def are_discrete(spaces: Mapping[str, Space]) -> bool:
    """Whether all agents choose from a Discrete space."""
    return all(isinstance(space, Discrete) for space in spaces.values())


class Homogenize(BaseParallelWrapper):
    """The same spaces for all agents of an environment whose actions are all Discrete, or all Box.

    Observations are padded with zeros to the longest and end with a one-hot agent id. Discrete actions are padded to
    the most choices, with an int8 mask; a padded choice counts as 0. Box actions are padded to the longest; extra
    entries are ignored.

    Attributes:
        observation_spaces: dict agent -> its space.
        action_spaces: dict agent -> its space.
    """

    def __init__(self, env: ParallelEnv, masks: str = "obs") -> None:
        """Args: env, and where the masks of Discrete actions go ("none", "obs", "info").

        Raises:
            ConfigError: Mixed action spaces, observations that are no flat Box, or an unknown `masks`.
        """
        super().__init__(env)
        if masks not in ("none", "obs", "info"):
            raise ConfigError(unknown_name("masks", masks, ("none", "obs", "info")))
        agents = list(env.possible_agents)
        spaces = [env.action_space(agent) for agent in agents]
        self._choices = _num_choices(env)
        if self._choices is None and not all(isinstance(space, Box) for space in spaces):
            raise ConfigError("Homogenize needs actions of one kind; wrap the environment in Discretize first")
        self._masks = masks if self._choices else "none"
        boxes = [box_of(env.observation_space(agent)) for agent in agents]
        self._ids = dict(zip(agents, np.eye(len(agents), dtype=np.float32), strict=True))
        self._longest = max(box.shape[0] for box in boxes)
        low, high = min(float(box.low.min()) for box in boxes), max(float(box.high.max()) for box in boxes)
        size = self._longest + len(agents)
        widest = max(int(s.n) if isinstance(s, Discrete) else s.shape[0] for s in spaces)  # type: ignore[index]
        self._widest = widest
        self.observation_spaces: dict[str, Space] = {}
        self.action_spaces: dict[str, Space] = {}
        for agent in agents:
            box = Box(min(low, 0.0), max(high, 1.0), (size,), np.float32)
            is_masked = self._masks == "obs"
            mask = Box(0, 1, (widest,), np.int8)
            self.observation_spaces[agent] = Dict({"observation": box, "action_mask": mask}) if is_masked else box
            self.action_spaces[agent] = Discrete(widest) if self._choices else unit_box(widest)

    def observation_space(self, agent: str) -> Space:
        """The agent's space, always the same object."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Space:
        """The agent's space, always the same object."""
        return self.action_spaces[agent]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """As the wrapped environment's, with padded observations."""
        return self._padded(*super().reset(seed=seed, options=options))

    def step(self, actions: Mapping[str, Any]) -> tuple[dict, dict, dict, dict, dict]:
        """As the wrapped environment's, with padded actions and observations."""
        own = {agent: self._own(agent, action) for agent, action in actions.items() if agent in self._ids}
        observations, rewards, terminations, truncations, infos = super().step(own)
        observations, infos = self._padded(observations, infos)
        return observations, rewards, terminations, truncations, infos

    def clone(self) -> Homogenize:
        """The same around a clone of the environment."""
        return copy.deepcopy(self)

    def _own(self, agent: str, action: Any) -> Any:
        if action is None:
            return None
        if self._choices:
            choice = discrete_action(agent, action, self._widest)
            return choice if choice < self._choices[agent] else 0
        return box_action(agent, action, self._widest)[: self.env.action_space(agent).shape[0]]

    def _padded(self, observations: dict, infos: dict) -> tuple[dict, dict]:
        padded: dict[str, Any] = {}
        for agent, observation in observations.items():
            values = np.zeros(self._longest + len(self._ids), np.float32)
            array = array_of(observation)
            values[: array.size] = array
            values[self._longest :] = self._ids[agent]
            padded[agent] = values
            if self._choices is None or self._masks == "none":
                continue
            mask = np.zeros(self._widest, np.int8)
            own = self._choices[agent]
            mask[:own] = mask_of(observation, infos[agent], own)
            if self._masks == "obs":
                padded[agent] = {"observation": values, "action_mask": mask}
            else:
                infos[agent]["action_mask"] = mask
        return padded, infos


class Discretize(BaseParallelWrapper):
    """Discrete actions for Box agents: choice k sends row k of the agent's table.

    Attributes:
        observation_spaces: dict agent -> its space, unchanged.
        action_spaces: dict agent -> Discrete.
    """

    def __init__(self, env: ParallelEnv, tables: Mapping[str, np.ndarray] | None = None) -> None:
        """Args: env, and tables agent -> (choices, size); by default `soc_env.registry.presets_of(env.scenario)`.

        Raises:
            ConfigError: A Box agent without a table, or a table of another size; or observations that carry masks,
                which would then exist for some Discrete agents only.
        """
        super().__init__(env)
        agents = list(env.possible_agents)
        scenario = getattr(env.unwrapped, "scenario", None)
        given = tables or {}
        if tables is None and isinstance(scenario, Scenario):
            given = preset_tables(scenario)
        self._tables: dict[str, np.ndarray] = {}
        for agent in agents:
            space = env.action_space(agent)
            if isinstance(space, Discrete):
                continue
            if isinstance(env.observation_space(agents[0]), Dict):
                raise ConfigError("Discretize needs an environment without masks; allowed: masks='none'")
            table = np.array(given[agent], np.float32) if agent in given else np.empty(())
            if table.ndim != 2 or table.shape[1:] != space.shape:
                raise ConfigError(f"table of {agent} has shape {table.shape}; allowed: (choices, {space.shape[0]})")
            self._tables[agent] = table
        self.observation_spaces = {agent: env.observation_space(agent) for agent in agents}
        self.action_spaces = {
            agent: Discrete(len(self._tables[agent])) if agent in self._tables else env.action_space(agent)
            for agent in agents
        }

    def action_space(self, agent: str) -> Space:
        """The agent's Discrete, always the same object."""
        return self.action_spaces[agent]

    def step(self, actions: Mapping[str, Any]) -> tuple[dict, dict, dict, dict, dict]:
        """As the wrapped environment's, with choices for actions."""
        own = dict(actions)
        for agent, table in self._tables.items():
            if own.get(agent) is not None:
                own[agent] = table[discrete_action(agent, own[agent], len(table))].copy()
        return super().step(own)

    def clone(self) -> Discretize:
        """The same around a clone of the environment."""
        return copy.deepcopy(self)
