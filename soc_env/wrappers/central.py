"""One agent that plays the whole team."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Discrete, MultiDiscrete, Space
from pettingzoo import ParallelEnv

from soc_env.engine.simulator import unit_box
from soc_env.errors import ActionError, ConfigError, shown, unknown_name
from soc_env.options import box_action
from soc_env.wrappers.spaces import array_of, box_of, chosen, mask_of, num_choices

OBSERVED = ("concat", "state")


class CentralGym(gym.Env):
    """One agent that plays all: a gymnasium.Env over a ParallelEnv.

    The action is a MultiDiscrete if all agents are Discrete or MultiDiscrete; else one flat Box in the order of
    `possible_agents`, in which each Discrete agent (and place of a MultiDiscrete one) has an entry per choice and takes
    the largest. Choices count from 0, whatever an agent's space starts with. The reward is that of the first agent: the
    team's.

    Attributes:
        env: The wrapped ParallelEnv.
    """

    def __init__(self, env: ParallelEnv, observation: str = "concat") -> None:
        """Args: env, and what is observed: "concat" (all observations in a row, as numbers, without masks) or "state".

        Raises:
            ConfigError: An unknown `observation`, one that the environment has not, or that is no row of numbers.
        """
        if observation not in OBSERVED:
            raise ConfigError(unknown_name("observation", observation, OBSERVED))
        self.env, self._observed = env, observation
        self.metadata = dict(getattr(env, "metadata", {}))
        self.render_mode = getattr(env, "render_mode", None)
        self._agents = list(env.possible_agents)
        self._spaces = {agent: env.action_space(agent) for agent in self._agents}
        self._choices = {agent: num_choices(space) for agent, space in self._spaces.items()}
        for agent, space in self._spaces.items():
            if not self._choices[agent] and (not isinstance(space, Box) or len(space.shape) != 1):
                raise ConfigError(f"action space {shown(space)} of {agent} is not supported; allowed: a flat one")
        self._sizes = [sum(self._choices[agent]) or self._spaces[agent].shape[0] for agent in self._agents]  # type: ignore[index]
        self._is_multi_discrete = all(self._choices.values())
        counts = [n for choices in self._choices.values() for n in choices]
        self.action_space: Space = MultiDiscrete(counts) if self._is_multi_discrete else unit_box(sum(self._sizes))
        if observation == "state":
            if getattr(env, "state_space", None) is None:
                raise ConfigError(f"observation='state' needs an environment with a state_space; {env} has none")
            self.observation_space: Space = env.state_space
        else:
            boxes = [box_of(env.observation_space(agent)) for agent in self._agents]
            low, high = (np.concatenate([getattr(box, side) for box in boxes]) for side in ("low", "high"))
            self.observation_space = Box(low, high, dtype=np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """As gymnasium.Env.reset; the info is empty."""
        super().reset(seed=seed)
        self._last, self._infos = self.env.reset(seed=seed, options=options)
        return self._central(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        """As gymnasium.Env.step; the last info of an episode has the environment's `metrics()` if it knows them.

        Raises:
            ActionError: A wrong shape or type, NaN, or a choice out of range; nothing has changed then.
        """
        self._last, rewards, terminations, truncations, self._infos = self.env.step(self._split(action))
        first = self._agents[0]
        is_over = terminations[first] or truncations[first]
        info = {"metrics": self.env.metrics()} if is_over and hasattr(self.env, "metrics") else {}
        return self._central(), rewards[first], terminations[first], truncations[first], info

    def action_masks(self) -> np.ndarray:
        """(sum of choices,) bool, the agents' masks in a row, as sb3-contrib's MaskablePPO asks for them.

        The environment gives them with `masks="obs"` or "info"; otherwise everything is allowed.
        """
        if not self._is_multi_discrete:
            raise ConfigError(
                "action_masks() needs Discrete agents only, or MultiDiscrete; allowed: actions='discrete'"
            )
        masks = [
            mask_of(self._last[agent], self._infos[agent], size)
            for agent, size in zip(self._agents, self._sizes, strict=True)
        ]
        return np.concatenate(masks).astype(bool)

    def render(self) -> Any:
        """The wrapped environment's frame."""
        return self.env.render()

    def close(self) -> None:
        """Closes the wrapped environment."""
        self.env.close()

    def _central(self) -> np.ndarray:
        if self._observed == "state":
            return self.env.state()
        spaces = {agent: self.env.observation_space(agent) for agent in self._agents}
        row = np.concatenate([array_of(space, self._last[agent]) for agent, space in spaces.items()])
        return row.astype(np.float32, copy=False)

    def _split(self, action: Any) -> dict[str, Any]:
        if self._is_multi_discrete:
            row, sizes = np.asarray(action), [len(choices) for choices in self._choices.values()]
            if row.shape != (sum(sizes),):
                raise ActionError(f"central action has shape {row.shape}; allowed: ({sum(sizes)},)")
        else:
            row, sizes = box_action("central", action, sum(self._sizes)), self._sizes
        parts = np.split(row, np.cumsum(sizes)[:-1])
        return {agent: self._own(agent, part) for agent, part in zip(self._agents, parts, strict=True)}

    def _own(self, agent: str, part: np.ndarray) -> Any:
        """An agent's action, from its part of the central one."""
        choices, space = self._choices[agent], self._spaces[agent]
        if not choices:
            return part
        if not self._is_multi_discrete:
            part = np.array([entries.argmax() for entries in np.split(part, np.cumsum(choices)[:-1])])
        return chosen(agent, part[0] if isinstance(space, Discrete) else part, space, choices)
