"""What a network may hold: kinds of nodes and edges, allowed values, limits, and the errors that say so."""

from __future__ import annotations

import operator
import reprlib
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from soc_env.errors import ConfigError
from soc_env.soc.attack import ROLES

WORKSTATION, SERVER, DOMAIN_CONTROLLER, CLOUD = range(4)
MAX_ZONES, MAX_SEGMENTS, MAX_SERVICES, MAX_HOSTS = 16, 32, 16, 100_000


class Range(NamedTuple):
    """Allowed numbers."""

    low: float
    high: float
    is_low_open: bool = False

    def holds(self, values: Any) -> Any:
        """Whether the numbers (scalar or array) are inside; NaN is not."""
        above = values > self.low if self.is_low_open else values >= self.low
        return above & (values <= self.high)

    def __str__(self) -> str:
        low, high = f"{self.low:g}", f"{self.high:g}"
        return f"more than {low}, at most {high}" if self.is_low_open else f"{low} to {high}"


TEXT = "text"  # 1 to 64 printable characters
BOOLEAN = "true or false"
SHARE = Range(0.0, 1.0)
HOST_VALUE = Range(0.0, 1.0, is_low_open=True)
VULNERABILITY = Range(0.05, 0.95)
COUNT = Range(0.0, 1e9)

# What a node of each kind has to have: attribute -> what is allowed.
ATTRIBUTES: dict[str, dict[str, Any]] = {
    "zone": {"name": TEXT, "value": SHARE},
    "segment": {"name": TEXT, "is_entry": BOOLEAN},
    "service": {"name": TEXT, "value": COUNT},
    "host": {"role": ROLES, "value": HOST_VALUE, "vulnerability": VULNERABILITY, "users": COUNT},
}
LIMITS = {"zone": MAX_ZONES, "segment": MAX_SEGMENTS, "service": MAX_SERVICES, "host": MAX_HOSTS}
# Kinds of edges: kind -> kinds of nodes it may connect.
EDGES: dict[str, tuple[tuple[str, str], ...]] = {
    "contains": (("zone", "segment"), ("zone", "service"), ("segment", "host")),
    "reaches": (("segment", "segment"),),
    "runs": (("host", "service"),),
    "depends": (("service", "service"),),
}
MISSING = object()


def show(value: object) -> str:
    """A value in one short line."""
    if value is MISSING:
        return "missing"
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, np.generic):
        value = value.item()
    return reprlib.repr(value)


def wrong(element: str, field: str, value: object, allowed: object) -> ConfigError:
    allowed = ", ".join(allowed) if isinstance(allowed, tuple) and not isinstance(allowed, Range) else allowed
    return ConfigError(f"{element}: {field} is {show(value)}; allowed: {allowed}")


def is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 64 and value.isprintable() and value == value.strip()


def is_allowed(value: object, allowed: Any) -> bool:
    """Whether an attribute of a node is what `ATTRIBUTES` says."""
    if isinstance(allowed, Range):
        return isinstance(value, Real) and not isinstance(value, bool) and bool(allowed.holds(value))
    if allowed is BOOLEAN:
        return isinstance(value, (bool, np.bool_))
    if allowed is TEXT:
        return is_name(value)
    return isinstance(value, str) and value in allowed


def check_count(label: str, kind: str, count: int) -> None:
    if not 1 <= count <= LIMITS[kind]:
        raise wrong(label, f"number of {kind}s", count, f"1 to {LIMITS[kind]}")


def whole(field: str, value: Any, low: int, high: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = -1
    if isinstance(value, (bool, np.bool_)) or not low <= number <= high:
        raise ConfigError(f"{field} is {show(value)}; allowed: a whole number, {low} to {high}")
    return number
