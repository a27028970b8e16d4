"""How much memory something takes, and whether this machine has it: asked before it is allocated.

Large arrays that are mostly zeros cost nothing until they are written, so a machine promises them and ends the process
much later. What could never fit is refused at once.
"""

from __future__ import annotations

import functools
import os
import pathlib

from soc_env.errors import ConfigError

CONTAINER_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@functools.cache
def total_memory() -> float:
    """Bytes of this machine, or of this process's container if that has less; infinite where neither says."""
    try:
        found = [float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))]
    except (AttributeError, OSError, ValueError):  # not on every system
        found = []
    for path in map(pathlib.Path, CONTAINER_LIMITS):
        try:
            found.append(float(path.read_text(encoding="ascii")))
        except (OSError, ValueError):  # no container, or "max"
            continue
    return min((size for size in found if size > 0), default=float("inf"))


def check_memory(what: str, num_bytes: float) -> None:
    """Refuses what takes more memory than there is.

    Args:
        what: what is asked for, at the head of the message: "num_envs=1000000".
        num_bytes: that it takes.

    Raises:
        ConfigError: says how much it would take, and how much there is.
    """
    if num_bytes > total_memory():
        gib, most = 2.0**30, 2.0**80  # an integer may be too large for a number with a point
        asked = f"{num_bytes / gib:,.1f}" if num_bytes < most else f"more than {most / gib:,.0f}"
        raise ConfigError(f"{what} would take {asked} GiB of memory; this machine has {total_memory() / gib:,.1f} GiB")
