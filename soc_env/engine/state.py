"""A simulator's state as plain data: how records become arrays, and what is checked before they are taken back.

A state may come from a file that somebody has changed, and compiled kernels do not look where they read and write. So
nothing is taken back before types, shapes and the ranges of all that counts or points at something are right.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from soc_env.errors import CheckpointError, shown

Tree = dict[str, Any]  # name -> array, or Tree where an array has fields
Limits = Mapping[str, tuple[int, int]]  # "env/cases/host" -> lowest and highest value


def packed(array: np.ndarray) -> Any:
    """A copy of an array without fields; of one with fields, a dict field -> the same."""
    if array.dtype.names is None:
        return array.copy()
    return {name: packed(array[name]) for name in array.dtype.names}


def take(given: Any, own: np.ndarray, path: str) -> None:
    """Writes what `packed` made into an array; CheckpointError, with nothing changed, if it is not like that one."""
    check_fit(given, own, path, is_finite=False)
    unpack(given, own)


def unpack(given: Any, own: np.ndarray) -> None:
    """Writes what `packed` made into an array of the same type and shape, see `check_fit`."""
    if own.dtype.names is None:
        own[...] = given
        return
    for name in own.dtype.names:
        unpack(given[name], own[name])


def check_fit(given: Any, own: np.ndarray, path: str, is_finite: bool = True) -> None:
    """Raises CheckpointError if `given` is not what `packed(own)` could be, or has NaN or infinities."""
    if own.dtype.names is not None:
        check_names(given, own.dtype.names, path)
        for name in own.dtype.names:
            check_fit(given[name], own[name], f"{path}/{name}", is_finite)
        return
    if not isinstance(given, np.ndarray) or given.dtype != own.dtype or given.shape != own.shape:
        raise CheckpointError(f"state: {path} is {_described(given)}; allowed: {_described(own)}")
    if is_finite and own.dtype.kind == "f" and not np.isfinite(given).all():
        raise CheckpointError(f"state: {path} has a value that is not finite; allowed: numbers")


def check_names(given: Any, names: Any, path: str) -> None:
    """Raises CheckpointError if `given` is no dict of exactly these names."""
    if not isinstance(given, Mapping):
        raise CheckpointError(f"state: {path} is {shown(given)}; allowed: a dict")
    for name in [*names, *given]:
        if name not in given or name not in names:
            problem = "is missing" if name not in given else "is unknown"
            raise CheckpointError(f"state: {path}/{name} {problem}; allowed: {', '.join(names)}")


def check_limits(arrays: Tree, limits: Limits) -> None:
    """Raises CheckpointError if a value is out of the range that its path has in `limits`."""
    for path, (low, high) in limits.items():
        values: Any = arrays
        for name in path.split("/"):
            values = values[name]
        is_wrong = (values < low) | (values > high)
        if is_wrong.any():
            place = tuple(int(k) for k in np.argwhere(is_wrong)[0])
            raise CheckpointError(f"state: {path}{list(place)} is {values[place]}; allowed: {low} to {high}")


def check_same(given: Any, own: Mapping[str, Any]) -> None:
    """Raises CheckpointError if what a state was made for is not what the simulator is for; names what differs."""
    check_names(given, own, "made for")
    for name, value in own.items():
        if repr(given[name]) != repr(value):  # of plain values; an array among them must not end in another error
            raise CheckpointError(f"state was made for {name}={shown(given[name])}; this simulator has {shown(value)}")


def _described(value: Any) -> str:
    return f"{value.dtype} of shape {value.shape}" if isinstance(value, np.ndarray) else shown(value)
