"""Numbers by which rows of several columns are found again: the same for the same bits.

Not a matrix product with a random vector: NumPy gives that to all of BLAS's threads, which wait for their next one in
a loop, on a core that learners need.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable

import numpy as np

from policies.hmarl.kernels import add_products


def row_keys(columns: Iterable[np.ndarray]) -> np.ndarray:
    """A number for each row of these columns, side by side: equal rows have equal ones, others nearly never.

    Multiply-add hashing over 64 bits (Dietzfelbinger 1996): two rows that differ have the same number by chance only.

    Args:
        columns: float32, of n rows each, (n, size); one at least.

    Returns:
        (n,) uint64.
    """
    columns = list(columns)
    keys = np.zeros(len(columns[0]), np.uint64)
    for number, column in enumerate(columns):
        add_products(column.view(np.uint32), _factors(number, column.shape[1]), keys)
    return keys


@functools.cache
def _factors(number: int, size: int) -> np.ndarray:
    """Odd random factors of the entries of a column's row."""
    return np.random.default_rng(number).integers(1 << 64, size=size, dtype=np.uint64) | np.uint64(1)
