"""Everything that HMARL-SOC raises on purpose. Each message is one line: the field, the value, what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class HMARLSOCError(Exception):
    """Base of all errors raised on purpose; the command line prints its message without a traceback."""


class ScenarioError(HMARLSOCError, ValueError):
    """An unknown scenario, or an override that is misspelt, of the wrong type or out of range."""


class ActionError(HMARLSOCError, ValueError):
    """An action of the wrong shape or type, NaN, or outside a discrete space. Raised before any state changes."""


class CheckpointError(HMARLSOCError, ValueError):
    """A checkpoint that is missing, truncated, or made for another scenario."""


class ConfigError(HMARLSOCError, ValueError):
    """An option that is unknown, of the wrong type or out of range (number of environments, seed, ...)."""


class RunError(HMARLSOCError, RuntimeError):
    """Something outside failed while a run was going (a learner died, the disk is full); says how to go on."""


def shown(value: object, limit: int = 60) -> str:
    """A value in a message: a class or function by its name, else its `repr` on one line, cut off at `limit`."""
    text = " ".join(getattr(value, "__name__", repr(value)).split())
    return text if len(text) <= limit else text[: limit - 3] + "..."


def unknown_name(kind: str, value: object, allowed: Iterable[str]) -> str:
    """One line about a name that does not exist, with the closest ones that do."""
    names = sorted(allowed)
    close = difflib.get_close_matches(str(value), names, n=1, cutoff=0.6)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{kind} {value!r} does not exist; {hint}allowed: {', '.join(names)}"
