"""Passes over rows and trees of the replay that NumPy makes in many, each with arrays of its own."""

from __future__ import annotations

import numpy as np

from soc_env.engine.jit import entry_point

Array = np.ndarray


@entry_point
def add_products(bits: Array, factors: Array, keys: Array) -> None:
    """keys += bits @ factors, modulo 2^64.

    Args:
        bits: (n, size) uint32.
        factors: (size,) uint64.
        keys: (n,) uint64, is changed.
    """
    for row in range(len(bits)):
        total = np.uint64(0)
        for k in range(len(factors)):
            total += np.uint64(bits[row, k]) * factors[k]
        keys[row] += total


@entry_point
def mean_and_spread(rows: Array, mean: Array, spread: Array) -> None:
    """The rows' mean, and their sum of squared distances from it, added up row by row.

    Args:
        rows: (n, dim) float32, one at least.
        mean, spread: (dim,) float64, are filled.
    """
    num, dim = rows.shape
    for k in range(dim):
        mean[k] = spread[k] = 0.0
    for row in range(num):
        for k in range(dim):
            mean[k] += rows[row, k]
    for k in range(dim):
        mean[k] /= num
    for row in range(num):
        for k in range(dim):
            distance = rows[row, k] - mean[k]
            spread[k] += distance * distance


@entry_point
def set_leaves(sums: Array, leaves: Array, values: Array) -> None:
    """Sets leaves of a tree of sums, and the sums above them; of a leaf that is named twice the last value counts.

    Args:
        sums: (2 n,), as in `policies.hmarl.replay.SumTree`, is changed.
        leaves: (k,) numbers below n.
        values: (k,).
    """
    first = len(sums) // 2
    for k in range(len(leaves)):
        sums[first + leaves[k]] = values[k]
    for k in range(len(leaves)):
        node = (first + leaves[k]) // 2
        while node >= 1:
            sums[node] = sums[2 * node] + sums[2 * node + 1]
            node //= 2


@entry_point
def find_leaves(sums: Array, prefix: Array, found: Array) -> None:
    """The leaves at which the running sum passes `prefix`.

    Args:
        sums: (2 n,), as in `policies.hmarl.replay.SumTree`.
        prefix: (k,) float64.
        found: (k,) int64, is filled with numbers of leaves.
    """
    first = len(sums) // 2
    for k in range(len(prefix)):
        node, rest = 1, prefix[k]
        while node < first:
            node *= 2
            left = sums[node]
            if rest >= left:
                rest -= left
                node += 1
        found[k] = node - first
