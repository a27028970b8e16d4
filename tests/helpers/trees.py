"""Places within plain data, and copies that are changed at one of them: how tests damage what files hold."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

Place = tuple[Any, ...]
"""The way to a value: a key or an index for each level; () is the whole."""


def places(value: Any, at: Place = ()) -> Iterator[tuple[Place, Any]]:
    """(place, value) of the whole and of everything within, what holds before what is held."""
    yield at, value
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*at, key))


def opened(value: Any, at: Place) -> tuple[Any, Any]:
    """A copy, and what in it holds the place."""
    changed = inner = copy.deepcopy(value)
    for step in at[:-1]:
        inner = inner[step]
    return changed, inner


def put(value: Any, at: Place, new: Any, *, deletes: bool = False) -> Any:
    """A copy with another value at a place, or, but for the whole, with nothing there."""
    if not at:
        return new
    changed, inner = opened(value, at)
    if deletes:
        del inner[at[-1]]
    else:
        inner[at[-1]] = new
    return changed
