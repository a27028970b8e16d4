"""The store of differences between alternatives and choices, see `policies.hmarl.counterfactual`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from policies.learners.counterfactual import DIFFERENCE
from policies.runner.rows import Columnar
from soc_env.engine.state import check_names
from soc_env.errors import CheckpointError


class Differences:
    """The newest differences of a tier, oldest first.

    Args:
        capacity: rows kept.
        max_age: environment steps after which a row is not drawn any more.
    """

    def __init__(self, capacity: int, max_age: int):
        self.capacity, self.max_age = capacity, max_age
        self.columns: Columnar = {}
        self.born = np.zeros(0, np.int64)  # environment steps of training when they were measured

    def __len__(self) -> int:
        return len(self.born)

    def add(self, rows: Columnar, now: int) -> None:
        """Takes in rows measured at `now`, and drops those that are too many or too old."""
        born = np.concatenate([self.born, np.full(len(next(iter(rows.values()))), now)])
        first = max(len(born) - self.capacity, int(np.searchsorted(born, now - self.max_age)))
        before = self.columns or {name: column[:0] for name, column in rows.items()}
        self.columns = {name: np.concatenate([before[name], column])[first:] for name, column in rows.items()}
        self.born = born[first:]

    def draw(self, rng: np.random.Generator, num_steps: int, size: int, now: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows for `num_steps` gradient steps of `size` rows each, none twice in a step.

        Returns:
            Row numbers (num_steps * size,), and whether the row counts: there may be too few.
        """
        first = int(np.searchsorted(self.born, now - self.max_age))
        number = len(self.born) - first
        index, counts = np.zeros((num_steps, size), np.int64), np.zeros((num_steps, size), bool)
        drawn = min(size, number)
        for step in range(num_steps if number else 0):
            index[step, :drawn] = first + rng.permutation(number)[:drawn]
        counts[:, :drawn] = True
        return index.ravel(), counts.ravel()

    def root_mean_square(self) -> float:
        """Of all rows [reward]."""
        return float(np.sqrt(np.mean(np.square(self.columns[DIFFERENCE], dtype=np.float64))))

    def get_state(self) -> dict[str, Any]:
        """The rows. Copies."""
        return {"born": self.born.copy(), "columns": {name: column.copy() for name, column in self.columns.items()}}

    @staticmethod
    def check(state: Mapping[str, Any], sizes: Mapping[str, tuple[int, ...]]) -> None:
        """CheckpointError unless a state has rows of these columns, or none; `sizes`: column -> shape of a row."""
        columns, number = state["columns"], len(state["born"])
        check_names(columns, sizes if number else (), "differences")
        for name, column in columns.items():
            allowed = (number, *sizes[name])
            if column.shape != allowed:
                raise CheckpointError(f"state: differences/{name} has shape {column.shape}; allowed: {allowed}")

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on from `get_state`."""
        self.born = np.array(state["born"])
        self.columns = {name: np.array(column) for name, column in state["columns"].items()}


def spread(column: np.ndarray, num_steps: int, rows: int, size: int) -> np.ndarray:
    """(num_steps * rows, ...) as the first rows of each of as many batches of `size`; the others are zero."""
    if rows == size:
        return column
    found = np.zeros((num_steps, size, *column.shape[1:]), column.dtype)
    found[:, :rows] = column.reshape(num_steps, rows, *column.shape[1:])
    return found.reshape(num_steps * size, *column.shape[1:])
