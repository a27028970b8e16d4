"""A ParallelEnv with other spaces: the same for all agents, or Discrete ones."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete, Space
from pettingzoo import ParallelEnv
from pettingzoo.utils.wrappers import BaseParallelWrapper

from soc_env.engine.scenario import Scenario
from soc_env.engine.simulator import unit_box
from soc_env.errors import ActionError, ConfigError, shown, unknown_name
from soc_env.options import box_action, discrete_action
from soc_env.registry import preset_tables

KINDS = (Discrete, MultiDiscrete, Box)  # of actions


def box_of(space: Space) -> Box:
    """The flat Box that an observation space is as numbers: its own, of a MultiDiscrete the whole numbers as they are,
    of a Dict its entries in the space's order, without the mask.

    Raises:
        ConfigError: There is another space in it.
    """
    if isinstance(space, Dict):
        boxes = [box_of(part) for _, part in _observed(space)]
        if boxes:
            low, high = (np.concatenate([getattr(box, side) for box in boxes]) for side in ("low", "high"))
            return Box(low.astype(np.float32), high.astype(np.float32), dtype=np.float32)
    if isinstance(space, MultiDiscrete) and len(space.shape) == 1:
        low = np.zeros_like(space.nvec) + first_choice(space)
        return Box(low.astype(np.float32), (low + space.nvec - 1).astype(np.float32), dtype=np.float32)
    if not isinstance(space, Box) or len(space.shape) != 1:
        raise ConfigError(
            f"observation space {shown(space)} is not supported; allowed: a flat Box or MultiDiscrete, or a Dict of "
            "them, with or without a mask"
        )
    return space


def array_of(space: Space, observation: Any) -> np.ndarray:
    """An observation as the numbers of `box_of(space)`."""
    if not isinstance(space, Dict):
        return np.asarray(observation)
    return np.concatenate([array_of(part, observation[name]) for name, part in _observed(space)])


def _observed(space: Dict) -> list[tuple[str, Space]]:
    return [(name, part) for name, part in space.spaces.items() if name != "action_mask"]


def first_choice(space: Space) -> Any:
    """The lowest choice of a Discrete or MultiDiscrete: a number, or one for each entry."""
    return getattr(space, "start", 0)  # gymnasium before 1.0: a MultiDiscrete begins with 0


def num_choices(space: Space) -> list[int]:
    """How many choices there are: of a Discrete [n], of a flat MultiDiscrete those of every entry, of others [].

    Raises:
        ConfigError: A MultiDiscrete that is not flat.
    """
    if isinstance(space, Discrete):
        return [int(space.n)]
    if isinstance(space, MultiDiscrete):
        if len(space.shape) != 1:
            raise ConfigError(f"action space {shown(space)} is not supported; allowed: a flat MultiDiscrete")
        return [int(n) for n in space.nvec]
    return []


def chosen(agent: str, action: Any, space: Space, choices: Sequence[int]) -> Any:
    """An agent's action of its own space.

    Args:
        agent: Named in the error.
        action: Counted from 0; one integer for a Discrete, else one for each of `choices`.
        space: The agent's Discrete or MultiDiscrete.
        choices: How many are allowed. One that the space has not counts as 0; entries it has not are ignored.

    Raises:
        ActionError: Another shape or type, or out of range.
    """
    own = num_choices(space)
    if isinstance(space, Discrete):
        choice = discrete_action(agent, action, choices[0])
        return (choice if choice < own[0] else 0) + int(first_choice(space))
    try:
        given = np.asarray(action)
    except (TypeError, ValueError, RuntimeError):
        given = np.empty((), object)
    if given.shape != (len(choices),) or given.dtype.kind not in "iu":
        raise ActionError(f"{agent}: action {shown(action)}; allowed: {len(choices)} integers")
    if ((given < 0) | (given >= np.asarray(choices))).any():
        most = shown([n - 1 for n in choices])
        raise ActionError(f"{agent}: action {shown(given.tolist())} is out of range; allowed: 0 to {most}")
    taken = given[: len(own)].astype(np.int64)
    return (np.where(taken < own, taken, 0) + first_choice(space)).astype(space.dtype)


def mask_of(observation: Any, info: Mapping[str, Any], num_choices: int) -> np.ndarray:
    """(num_choices,) int8, from the observation, else the info, else all ones."""
    mask = observation.get("action_mask") if isinstance(observation, Mapping) else info.get("action_mask")
    return np.ones(num_choices, np.int8) if mask is None else np.asarray(mask, np.int8)


class Homogenize(BaseParallelWrapper):
    """The same spaces for all agents of an environment whose actions are all Discrete, all MultiDiscrete, or all Box.

    Observations are numbers as of `box_of`, padded with zeros to the longest, and end with a one-hot agent id. Discrete
    actions are padded to the most choices, with an int8 mask; a padded choice counts as 0. MultiDiscrete and Box
    actions are padded to the longest, the former to the most choices in each place, without a mask; extra entries are
    ignored. Choices count from 0, whatever the agent's space starts with.

    Attributes:
        observation_spaces: dict agent -> its space.
        action_spaces: dict agent -> its space.
    """

    def __init__(self, env: ParallelEnv, masks: str = "obs") -> None:
        """Args: env, and where the masks of Discrete actions go ("none", "obs", "info").

        Raises:
            ConfigError: Mixed action spaces, observations that `box_of` does not take, or an unknown `masks`.
        """
        super().__init__(env)
        if masks not in ("none", "obs", "info"):
            raise ConfigError(unknown_name("masks", masks, ("none", "obs", "info")))
        agents = list(env.possible_agents)
        self._spaces = {agent: env.action_space(agent) for agent in agents}
        kinds = {next((kind for kind in KINDS if isinstance(s, kind)), None) for s in self._spaces.values()}
        if len(kinds) != 1 or None in kinds:
            raise ConfigError("Homogenize needs actions of one kind; wrap the environment in Discretize first")
        self._masks = masks if kinds == {Discrete} else "none"
        boxes = [box_of(env.observation_space(agent)) for agent in agents]
        self._ids = dict(zip(agents, np.eye(len(agents), dtype=np.float32), strict=True))
        self._longest = max(box.shape[0] for box in boxes)
        low, high = min(float(box.low.min()) for box in boxes), max(float(box.high.max()) for box in boxes)
        size = self._longest + len(agents)
        counts = [num_choices(space) for space in self._spaces.values()]
        self._choices = [max(of_place) for of_place in itertools.zip_longest(*counts, fillvalue=1)]
        sizes = [0 if isinstance(space, Discrete) else space.shape[0] for space in self._spaces.values()]  # type: ignore[index]
        self._widest = max(sizes)
        self.observation_spaces: dict[str, Space] = {}
        self.action_spaces: dict[str, Space] = {}
        for agent in agents:
            box = Box(min(low, 0.0), max(high, 1.0), (size,), np.float32)
            is_masked = self._masks == "obs"
            mask = Box(0, 1, (self._choices[0] if is_masked else 0,), np.int8)
            self.observation_spaces[agent] = Dict({"observation": box, "action_mask": mask}) if is_masked else box
            self.action_spaces[agent] = self._shared_space(kinds)

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

    def _shared_space(self, kinds: set[Any]) -> Space:
        if kinds == {Discrete}:
            return Discrete(self._choices[0])
        return MultiDiscrete(self._choices) if self._choices else unit_box(self._widest)

    def _own(self, agent: str, action: Any) -> Any:
        if action is None:
            return None
        space = self._spaces[agent]
        if self._choices:
            return chosen(agent, action, space, self._choices)
        return box_action(agent, action, self._widest)[: space.shape[0]]  # type: ignore[index]

    def _padded(self, observations: dict, infos: dict) -> tuple[dict, dict]:
        padded: dict[str, Any] = {}
        for agent, observation in observations.items():
            values = np.zeros(self._longest + len(self._ids), np.float32)
            array = array_of(self.env.observation_space(agent), observation)
            values[: array.size] = array
            values[self._longest :] = self._ids[agent]
            padded[agent] = values
            if self._masks == "none":
                continue
            mask = np.zeros(self._choices[0], np.int8)
            (own,) = num_choices(self._spaces[agent])
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
