"""How much memory a process takes."""

from __future__ import annotations

import resource
import sys


def peak_bytes() -> int:
    """The most memory that this process has ever had in RAM."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))
    except (OSError, StopIteration):  # not Linux; there a new program inherits ru_maxrss from the one that started it
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
