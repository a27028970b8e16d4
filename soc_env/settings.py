"""Fields of frozen dataclasses that know their unit, range and source, and the check of their values.

A name that does not exist, a wrong type or a value out of range raises `ScenarioError` and says what is allowed.
"""

from __future__ import annotations

import dataclasses
from dataclasses import field
from numbers import Integral, Real
from typing import Any

from soc_env.errors import ScenarioError, unknown_name


def setting(default: Any, low: float, high: float, unit: str, source: str) -> Any:
    """A dataclass field of a number (or a tuple of numbers) with its closed range, unit and source."""
    return field(default=default, metadata={"low": low, "high": high, "unit": unit, "source": source})


def choice(default: Any, allowed: tuple[Any, ...], unit: str, source: str) -> Any:
    """A dataclass field that is one of `allowed`; for a tuple default, each entry is, and there is at least one."""
    return field(default=default, metadata={"allowed": allowed, "unit": unit, "source": source})


def checked(spec: dataclasses.Field, value: Any) -> Any:
    """The value in the type of the field's default, or ScenarioError."""
    default: Any = spec.default
    if "allowed" in spec.metadata:
        return _checked_choice(spec, value)
    if isinstance(default, tuple):
        if not isinstance(value, (tuple, list)) or len(value) != len(default):
            raise ScenarioError(f"{spec.name}={value!r} must be {len(default)} numbers")
        return tuple(_checked_number(spec, default[0], item) for item in value)
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise ScenarioError(f"{spec.name}={value!r} must be True or False")
        return value
    return _checked_number(spec, default, value)


def _checked_choice(spec: dataclasses.Field, value: Any) -> Any:
    allowed = spec.metadata["allowed"]
    if not isinstance(spec.default, tuple):
        if value not in allowed:
            raise ScenarioError(unknown_name(spec.name, value, allowed))
        return value
    if not isinstance(value, (tuple, list)) or not value or len(set(value)) != len(value):
        raise ScenarioError(f"{spec.name}={value!r} must be one or more different names of: {', '.join(allowed)}")
    for item in value:
        if item not in allowed:
            raise ScenarioError(unknown_name(spec.name, item, allowed))
    return tuple(value)


def _checked_number(spec: dataclasses.Field, default: Any, value: Any) -> int | float:
    low, high = spec.metadata["low"], spec.metadata["high"]
    kind: type
    kind, name = (Integral, "an integer") if isinstance(default, int) else (Real, "a number")
    # bool is an int to Python, but not to a reader; NaN fails the comparison
    if isinstance(value, bool) or not isinstance(value, kind) or not low <= value <= high:
        raise ScenarioError(f"{spec.name}={value!r} must be {name} from {low} to {high}")
    return type(default)(value)
