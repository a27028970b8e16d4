"""How one agent's actions and observations look in the dict API: spaces, masks, padding, checks."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, Space

from soc_env.engine.simulator import Simulator, unit_box
from soc_env.engine.tables import AGENTS, TRIAGE
from soc_env.errors import ActionError, ConfigError, shown, unknown_name
from soc_env.registry import preset_tables

ALLOWED: dict[str, tuple[str, ...]] = {
    "actions": ("mixed", "discrete", "continuous"),
    "masks": ("none", "obs", "info"),
    "coordinator": ("present", "absent"),
}


@dataclass(frozen=True)
class ApiOptions:
    """The options of the dict API for one scenario; the documentation page is in `soc_env.parallel`.

    Attributes:
        seen: dict agent -> entries of its observation.
        sent: dict agent -> entries, or choices, of its action with `actions="mixed"`.
        tables: dict Box agent -> (choices, entries) float32, its presets.
        actions: "mixed", "discrete" (presets for Box agents) or "continuous" (argmax for triage).
        masks: Where Discrete agents find their action mask: "none", "obs" or "info".
        homogenize: Whether all agents get the same spaces.
        coordinator: "present" in every step, or "absent" between its decisions.
    """

    seen: Mapping[str, int]
    sent: Mapping[str, int]
    tables: Mapping[str, np.ndarray] = field(repr=False, compare=False)
    actions: str = "mixed"
    masks: str = "none"
    homogenize: bool = False
    coordinator: str = "present"

    @classmethod
    def of(cls, simulator: Simulator, **options: Any) -> ApiOptions:
        """The options for a simulator's agents; raises ConfigError for bad options."""
        seen = {agent: len(rows) for agent, rows in simulator.feature_tables.items()}
        sent = {agent: len(rows) for agent, rows in simulator.action_tables.items()}
        return cls(seen, sent, preset_tables(simulator.scenario), **options)

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

    @property
    def options(self) -> dict[str, Any]:
        """The options that were chosen, by name."""
        return {name: getattr(self, name) for name in ("actions", "masks", "homogenize", "coordinator")}

    # ------------------------------------------------------------------ spaces
    def is_discrete(self, agent: str) -> bool:
        """Whether the agent chooses from a Discrete space."""
        return self.actions == "discrete" or (self.actions == "mixed" and agent == TRIAGE)

    def own_size(self, agent: str) -> int:
        """Choices, or entries, of the agent's action before padding."""
        is_preset = self.actions == "discrete" and agent != TRIAGE
        return len(self.tables[agent]) if is_preset else self.sent[agent]

    def action_size(self, agent: str) -> int:
        """Choices, or entries, of the agent's action as others see it."""
        return max(map(self.own_size, AGENTS)) if self.homogenize else self.own_size(agent)

    def action_space(self, agent: str) -> Space:
        """A fresh action space."""
        size = self.action_size(agent)
        return Discrete(size) if self.is_discrete(agent) else unit_box(size)

    def observation_size(self, agent: str) -> int:
        """Entries of the agent's observation."""
        return max(self.seen.values()) + len(AGENTS) if self.homogenize else self.seen[agent]

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
            return _choice_reader(agent, target, size, self.tables.get(agent, np.arange(self.sent[agent])))
        if agent == TRIAGE:
            return _argmax_reader(agent, target, size, self.sent[agent])
        return _box_reader(agent, target, size)

    # ------------------------------------------------------------------ observations
    def masker(self, agent: str, own: Callable[[], np.ndarray] | None) -> Callable[[], np.ndarray]:
        """A function that returns the agent's action mask as a fresh int8 array.

        Args:
            agent: Whose mask.
            own: Which of its own choices are open now, 0 or 1 each; None if all always are.
        """
        num_own = self.own_size(agent)
        blank = np.zeros(self.action_size(agent), np.int8)
        if own is None:
            blank[:num_own] = 1
            return blank.copy

        def mask() -> np.ndarray:
            padded = blank.copy()
            padded[:num_own] = own()
            return padded

        return mask

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


# ---------------------------------------------------------------------- checks of single actions
def box_action(agent: str, action: Any, size: int) -> np.ndarray:
    """One agent's Box action as a float32 vector clipped to [-1, 1].

    Args:
        agent: Named in the error.
        action: Anything NumPy reads as `size` real numbers.
        size: Entries of the agent's Box.

    Returns:
        Shape (size,).

    Raises:
        ActionError: Wrong shape or type, or NaN.
    """
    try:
        vector = np.asarray(action)
    except (TypeError, ValueError, RuntimeError):
        vector = np.empty((), object)
    if vector.dtype.kind not in "fiub":
        raise ActionError(f"{agent}: action {shown(action)} is not numeric; allowed: {size} numbers in [-1, 1]")
    if vector.shape != (size,):
        raise ActionError(f"{agent}: action has shape {vector.shape}; allowed: ({size},)")
    if np.isnan(vector).any():
        raise ActionError(f"{agent}: action[{int(np.isnan(vector).argmax())}] is NaN; allowed: numbers in [-1, 1]")
    return np.clip(vector, -1, 1).astype(np.float32)


def discrete_action(agent: str, action: Any, choices: int) -> int:
    """One agent's Discrete action as a Python int.

    Args:
        agent: Named in the error.
        action: An int, a NumPy integer, or an integer array with one entry.
        choices: Size of the agent's Discrete.

    Raises:
        ActionError: Not one integer, or not in 0 .. choices - 1.
    """
    try:
        choice = operator.index(action)
    except TypeError:
        array = np.asarray(action) if hasattr(action, "__array__") or isinstance(action, (list, tuple)) else None
        if array is None or array.size != 1 or array.dtype.kind not in "iu":
            message = f"{agent}: action {shown(action)} is not one integer; allowed: 0 to {choices - 1}"
            raise ActionError(message) from None
        choice = int(array.reshape(()))
    if not 0 <= choice < choices:
        raise ActionError(f"{agent}: action {choice} is out of range; allowed: 0 to {choices - 1}")
    return choice


# ---------------------------------------------------------------------- readers
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


def _argmax_reader(agent: str, target: np.ndarray, size: int, num_choices: int) -> Callable[[Any], None]:
    def read(action: Any) -> None:
        target[0] = box_action(agent, action, size)[:num_choices].argmax()

    return read


def _choice_reader(agent: str, target: np.ndarray, size: int, table: np.ndarray) -> Callable[[Any], None]:
    rows = list(table)  # row by row: indexing a list is faster

    def read(action: Any) -> None:
        choice = discrete_action(agent, action, size)
        target[...] = rows[choice if choice < len(rows) else 0]  # padding counts as 0

    return read
