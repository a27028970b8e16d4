"""Past observations beside the present one, in one row: what the networks of a tier with memory read.

    row = [observation (D) | K observations before it, oldest first (K D) | 1 where there was one, else 0 (K)]

A window and no recurrent state: a row says all that a network with memory knows, so that rows from a replay are exact
whatever the weights were when they were stored (a stored recurrent state is not: Kapturowski et al. 2019, "Recurrent
Experience Replay in Distributed Reinforcement Learning"). NumPy alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from soc_env.engine.state import take


def row_size(dim: int, minutes: int) -> int:
    """Entries of a row: of an observation of `dim` entries, and of `minutes` before it."""
    return dim + minutes * (dim + 1)


def names_with_past(names: Sequence[str], minutes: int) -> list[str]:
    """What the entries of a row are called, by the names of an observation's."""
    ago = [f"{minutes - k} before" for k in range(minutes)]
    return [*names, *(f"{name}, {when}" for when in ago for name in names), *(f"there is one {when}" for when in ago)]


class Past:
    """The newest observations of one agent in N environments, each from its episode's beginning.

    Args:
        num_envs: N.
        dim: size of an observation.
        minutes: how many are kept, K.
    """

    def __init__(self, num_envs: int, dim: int, minutes: int):
        self.dim, self.minutes = dim, minutes
        self.rows = np.zeros((num_envs, row_size(dim, minutes)), np.float32)

    def __len__(self) -> int:
        return len(self.rows)

    def beside(self, observation: np.ndarray, envs: Any = slice(None)) -> np.ndarray:
        """Rows of the present observations (n, dim) of the environments `envs`: a copy."""
        rows = np.array(self.rows[envs])
        rows[:, : self.dim] = observation
        return rows

    def push(self, observation: np.ndarray) -> None:
        """A minute is over: what was observed in it, (N, dim), is past."""
        past, seen = self._parts()
        past[:, : -self.dim] = past[:, self.dim :].copy()
        past[:, -self.dim :] = observation
        seen[:, :-1] = seen[:, 1:].copy()
        seen[:, -1] = 1.0

    def forget(self, where: Any) -> None:
        """Episodes begin in the environments `where`, a mask or indices."""
        self.rows[where] = 0.0

    def take(self, other: Past, source: Any, target: Any) -> None:
        """The environments `target` get what `other` has of its environments `source`."""
        self.rows[target] = other.rows[source]

    def _parts(self) -> tuple[np.ndarray, np.ndarray]:
        return self.rows[:, self.dim : -self.minutes], self.rows[:, -self.minutes :]

    def get_state(self) -> dict[str, Any]:
        """Plain data: a copy."""
        return {"past": self.rows[:, self.dim :].copy()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on from `get_state`; CheckpointError if it is of others."""
        take(state["past"], self.rows[:, self.dim :], "past")
