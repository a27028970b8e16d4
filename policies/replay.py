"""Joint prioritised replay: one ring of aligned joint transitions, one priority tree a tier.

Proportional prioritisation with importance weights (Schaul et al. 2016, "Prioritized Experience Replay"). All tiers
share the rows (paper, shared replay of tier 3); each draws by its own TD errors.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

PRIORITY_FLOOR = 1e-6


class SumTree:
    """Binary tree of sums over `capacity` leaves, with set and search vectorised over many leaves."""

    def __init__(self, capacity: int):
        self.num_leaves = 1 << max(1, int(capacity - 1).bit_length())
        self.sums = np.zeros(2 * self.num_leaves)

    def set(self, leaves: np.ndarray, values: np.ndarray | float) -> None:
        node = np.asarray(leaves) + self.num_leaves
        self.sums[node] = values
        while node[0] > 1:
            node = np.unique(node >> 1)
            self.sums[node] = self.sums[2 * node] + self.sums[2 * node + 1]

    @property
    def total(self) -> float:
        return float(self.sums[1])

    def find(self, prefix: np.ndarray) -> np.ndarray:
        """Leaves at which the running sum passes `prefix` (B,)."""
        node, rest = np.ones(len(prefix), np.int64), prefix.astype(np.float64)
        while node[0] < self.num_leaves:
            node *= 2
            left = self.sums[node]
            goes_right = rest >= left
            rest -= left * goes_right
            node += goes_right
        return node - self.num_leaves


class JointReplay:
    """Ring buffer of rows (one joint transition each) with a priority tree for every tier.

    Args:
        capacity: rows kept; older ones are overwritten.
        columns: name -> (shape of one entry, dtype).
        tiers: who draws from it.
        alpha: exponent of the priorities; 0 draws uniformly.
        seed: of the draws.
    """

    def __init__(
        self,
        capacity: int,
        columns: Mapping[str, tuple[tuple[int, ...], Any]],
        tiers: Iterable[str],
        alpha: float = 0.6,
        seed: int = 0,
    ):
        self.capacity, self.alpha = capacity, alpha
        self.columns = {name: np.zeros((capacity, *shape), dtype) for name, (shape, dtype) in columns.items()}
        self.trees = {tier: SumTree(capacity) for tier in tiers}
        self.max_priority = dict.fromkeys(self.trees, 1.0)
        self.position = self.size = self.num_added = 0
        self._rng = np.random.default_rng(seed)

    def __len__(self) -> int:
        return self.size

    def add(self, rows: Mapping[str, np.ndarray]) -> None:
        """Adds rows {column: (n, ...)}; new rows get each tier's highest priority so far."""
        n = len(next(iter(rows.values())))
        if n == 0:
            return
        if n > self.capacity:
            rows, n = {name: values[-self.capacity :] for name, values in rows.items()}, self.capacity
        index = (self.position + np.arange(n)) % self.capacity
        for name, values in rows.items():
            self.columns[name][index] = values
        for tier, tree in self.trees.items():
            tree.set(index, self.max_priority[tier] ** self.alpha)
        self.position = int((self.position + n) % self.capacity)
        self.size = min(self.capacity, self.size + n)
        self.num_added += n

    def sample(self, tier: str, num_rows: int, beta: float = 0.4) -> tuple[np.ndarray, np.ndarray]:
        """Draws `num_rows` row numbers by the tier's priorities, stratified: (indices, importance weights in (0,
        1]).
        """
        tree = self.trees[tier]
        prefix = (np.arange(num_rows) + self._rng.random(num_rows)) * (tree.total / num_rows)
        index = np.minimum(tree.find(prefix), self.size - 1)
        probability = tree.sums[index + tree.num_leaves] / tree.total
        weights = (self.size * np.maximum(probability, 1e-12)) ** -beta
        return index, (weights / weights.max()).astype(np.float32)

    def update_priorities(self, tier: str, index: np.ndarray, td_error: np.ndarray) -> None:
        """Sets the tier's priorities of the rows to their absolute TD errors (where a row is named twice, the last
        counts).
        """
        priority = np.abs(td_error) + PRIORITY_FLOOR
        self.max_priority[tier] = max(self.max_priority[tier], float(priority.max()))
        self.trees[tier].set(index, priority**self.alpha)

    def get_state(self) -> dict[str, Any]:
        return {
            "columns": {name: values[: self.size].copy() for name, values in self.columns.items()},
            "leaves": {t: tree.sums[tree.num_leaves :][: self.size].copy() for t, tree in self.trees.items()},
            "max_priority": dict(self.max_priority),
            "position": self.position,
            "size": self.size,
            "num_added": self.num_added,
            "rng": self._rng.bit_generator.state,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        for name, values in state["columns"].items():
            self.columns[name][: len(values)] = values
        for tier, leaves in state["leaves"].items():
            if len(leaves):
                self.trees[tier].set(np.arange(len(leaves)), leaves)
        self.max_priority = dict(state["max_priority"])
        self.position, self.size, self.num_added = state["position"], state["size"], state["num_added"]
        self._rng.bit_generator.state = state["rng"]
