"""How one agent's actions and observations look in the dict API: spaces, masks, padding, presets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, Space

from .actions import box_action, discrete_action, preset_table
from .errors import ConfigError, unknown_name
from .tables import ACTIONS, AGENTS, FEATURES, TRIAGE

ALLOWED: dict[str, tuple[str, ...]] = {
    "actions": ("mixed", "discrete", "continuous"),
    "masks": ("none", "obs", "info"),
    "coordinator": ("present", "absent"),
}


@dataclass(frozen=True)
class Layout:
    """The options of the dict API; the documentation page is in `soc_env.parallel`.

    Attributes:
        actions: "mixed", "discrete" (presets for Box agents) or "continuous" (argmax for triage).
        masks: Where Discrete agents find their action mask: "none", "obs" or "info".
        homogenize: Whether all agents get the same spaces.
        coordinator: "present" in every step, or "absent" between its decisions.
    """

    actions: str = "mixed"
    masks: str = "none"
    homogenize: bool = False
    coordinator: str = "present"

    def __post_init__(self) -> None:
        for name, allowed in ALLOWED.items():
            if getattr(self, name) not in allowed:
                raise ConfigError(unknown_name(name, getattr(self, name), allowed))
        if not isinstance(self.homogenize, bool):
            raise ConfigError(f"homogenize={self.homogenize!r} must be True or False")
        if self.homogenize and self.actions == "mixed":
            raise ConfigError("homogenize=True needs actions of one kind; allowed: actions='discrete' or 'continuous'")
        if self.masks != "none" and self.actions == "continuous":
            raise ConfigError(f"masks={self.masks!r} needs a Discrete agent; allowed: actions='mixed' or 'discrete'")

    # ------------------------------------------------------------------ spaces
    def is_discrete(self, agent: str) -> bool:
        """Whether the agent chooses from a Discrete space."""
        return self.actions == "discrete" or (self.actions == "mixed" and agent == TRIAGE)

    def own_size(self, agent: str) -> int:
        """Choices, or entries, of the agent's action before padding."""
        is_preset = self.actions == "discrete" and agent != TRIAGE
        return len(preset_table(agent)) if is_preset else len(ACTIONS[agent])

    def action_size(self, agent: str) -> int:
        """Choices, or entries, of the agent's action as others see it."""
        return max(map(self.own_size, AGENTS)) if self.homogenize else self.own_size(agent)

    def action_space(self, agent: str) -> Space:
        """A fresh action space."""
        size = self.action_size(agent)
        return Discrete(size) if self.is_discrete(agent) else unit_box(size)

    def observation_size(self, agent: str) -> int:
        """Entries of the agent's observation."""
        if not self.homogenize:
            return len(FEATURES[agent])
        return max(len(rows) for rows in FEATURES.values()) + len(AGENTS)

    def observation_space(self, agent: str) -> Space:
        """A fresh observation space."""
        box = unit_box(self.observation_size(agent))
        if self.masks != "obs" or not self.is_discrete(agent):
            return box
        return Dict({"observation": box, "action_mask": Box(0, 1, (self.action_size(agent),), np.int8)})

    # ------------------------------------------------------------------ actions
    def reader(self, agent: str, target: np.ndarray) -> Callable[[Any], None]:
        """A function that checks one action of the agent and writes it for the simulator.

        Args:
            agent: Whose actions.
            target: Where to write: (size,) float32, or (1,) int32 for triage.

        Returns:
            Takes an action; raises ActionError, with nothing written, if it is none.
        """
        size = self.action_size(agent)
        if self.is_discrete(agent):
            return _choice_reader(agent, target, size, self.own_size(agent))
        if agent == TRIAGE:
            return _argmax_reader(agent, target, size)
        return _box_reader(agent, target, size)

    # ------------------------------------------------------------------ observations
    def masker(self, agent: str, idle_choice: int, can_act: Callable[[], bool]) -> Callable[[], np.ndarray]:
        """A function that returns the agent's action mask as a fresh int8 array.

        Args:
            agent: Whose mask.
            idle_choice: The one choice left while the agent cannot act.
            can_act: Whether its choice matters now.
        """
        free = np.zeros(self.action_size(agent), np.int8)
        free[: self.own_size(agent)] = 1
        idle = np.zeros_like(free)
        idle[idle_choice] = 1
        return lambda: (free if can_act() else idle).copy()

    def viewer(self, agent: str, row: np.ndarray, mask: Callable[[], np.ndarray] | None) -> Callable[[], Any]:
        """A function that returns the agent's observation as fresh arrays.

        Args:
            agent: Whose observation.
            row: (size,) float32, the simulator's buffer.
            mask: From `masker`; None for Box agents.
        """
        view = self._padded(agent, row) if self.homogenize else row.copy
        if self.masks != "obs" or mask is None:
            return view
        return lambda: {"observation": view(), "action_mask": mask()}

    def _padded(self, agent: str, row: np.ndarray) -> Callable[[], np.ndarray]:
        blank = np.zeros(self.observation_size(agent), np.float32)
        blank[AGENTS.index(agent) - len(AGENTS)] = 1.0

        def view() -> np.ndarray:
            padded = blank.copy()
            padded[: row.size] = row
            return padded

        return view


def unit_box(size: int) -> Box:
    """Box(-1, 1) of float32."""
    return Box(-1.0, 1.0, (size,), np.float32)


def _box_reader(agent: str, target: np.ndarray, size: int) -> Callable[[Any], None]:
    used = target.size
    buffer = target.data  # a memoryview takes only float32 of this very shape, at a third of the cost of NumPy's checks

    def read(action: Any) -> None:
        # NaN is left to the simulator, which checks all actions at once
        try:
            buffer[:] = action
        except (TypeError, ValueError, NotImplementedError):
            target[...] = box_action(agent, action, size)[:used]

    return read


def _argmax_reader(agent: str, target: np.ndarray, size: int) -> Callable[[Any], None]:
    num_choices = len(ACTIONS[agent])

    def read(action: Any) -> None:
        target[0] = box_action(agent, action, size)[:num_choices].argmax()

    return read


def _choice_reader(agent: str, target: np.ndarray, size: int, own_size: int) -> Callable[[Any], None]:
    table = range(own_size) if agent == TRIAGE else preset_table(agent)

    def read(action: Any) -> None:
        choice = discrete_action(agent, action, size)
        target[...] = table[choice if choice < own_size else 0]  # padding counts as 0

    return read
