"""Python's search for garbage, kept out of the seconds in which a run starts.

Imports and networks are a million objects that stay. While they come, Python goes through all that are there again and
again, for a sixth of the start's CPU time, and finds nothing.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def paused() -> Iterator[None]:
    """No search within it, until `go_on`; afterwards all is as before."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if was_on:
            gc.enable()
        else:
            gc.disable()


def go_on() -> None:
    """Searches again, but among objects that are made from now on, until the end of `paused`."""
    gc.freeze()
    gc.enable()
