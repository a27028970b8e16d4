"""Everything that HMARL-SOC raises on purpose. Each message is one line: the field, the value, what is allowed."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable

MOST_SHOWN = 100  # characters, and entries, of a value that messages look at
_SHORTENED = reprlib.Repr()
_SHORTENED.maxlevel = 6
_SHORTENED.maxdict = _SHORTENED.maxlist = _SHORTENED.maxtuple = _SHORTENED.maxset = _SHORTENED.maxfrozenset = 20
_SHORTENED.maxstring = _SHORTENED.maxother = _SHORTENED.maxlong = MOST_SHOWN


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
    """A value in a message: a class or function by its name, else its `repr` on one line, cut off at `limit`; where
    there is no `repr` (an integer of many thousand digits, what is nested very deeply) its type."""
    name = getattr(value, "__name__", None)
    try:
        text = " ".join((name if isinstance(name, str) else _short(value)).split())
    except Exception:  # whatever the `repr` of something foreign raises
        text = f"<{type(value).__name__}>"
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _short(value: object) -> str:
    """Its `repr`, of long text and lists that of the beginning: more is not shown, and may take for ever."""
    if isinstance(value, (str, bytes)):
        return repr(value[:MOST_SHOWN])
    if isinstance(value, (list, tuple, dict, set, frozenset)):
        return _SHORTENED.repr(value)
    return repr(value)


def unknown_name(kind: str, value: object, allowed: Iterable[str]) -> str:
    """One line about a name that does not exist, with the closest ones that do."""
    names = sorted(allowed)
    close = difflib.get_close_matches(value[:MOST_SHOWN], names, n=1, cutoff=0.6) if isinstance(value, str) else []
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{kind} {shown(value)} does not exist; {hint}allowed: {', '.join(names)}"
