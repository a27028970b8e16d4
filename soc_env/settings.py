"""How settings are declared: a field of a frozen dataclass that knows its range, its unit and its source.

    @dataclass(frozen=True)
    class Exploration:
        std: Schedule = schedule(0.15, 0.0, 10.0, "standard deviation of the noise on actions", "Lillicrap et al. 2016")

        def __post_init__(self) -> None:
            check_fields(self, ConfigError)

`check_fields` puts every declared field into the type of its default, or raises one line that names the field, the
value and what is allowed. NaN, infinities, strings and booleans are no numbers; NumPy's scalars are, and are kept as
Python's. Scenarios and the learners' settings
are both declared this way, so docs and tests can walk over them: `metadata` of a field holds all that it was declared
with.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import field
from numbers import Integral, Real
from typing import Any

import numpy as np

from soc_env.errors import HMARLSOCError, shown, unknown_name

LONGEST = 1_000  # entries of any list
STEPS = 10**12  # [environment steps] more than any run takes
Schedule = float | tuple[tuple[int, float], ...]
"""A number, or ((0, number), (environment steps, number), ...), linear between the points."""


# ---- declarations
def setting(default: Any, low: float, high: float, unit: str, source: str, **more: Any) -> Any:
    """A number (whole if the default is), or a tuple of as many numbers as the default has, in a closed range.

    `more`, here and below: `is_optional` allows None, `words` some strings; the rest is for who reads the declaration.
    """
    return _declared("numbers" if isinstance(default, tuple) else "number", default, unit, source, low, high, **more)


def choice(default: Any, allowed: tuple[Any, ...], unit: str, source: str, **more: Any) -> Any:
    """One of `allowed`; for a tuple default, each entry is, and there is at least one."""
    return _declared("choice", default, unit, source, allowed=allowed, **more)


def flag(default: bool, unit: str, source: str, **more: Any) -> Any:
    """True or False."""
    return _declared("flag", default, unit, source, **more)


def schedule(default: Schedule, low: float, high: float, unit: str, source: str, **more: Any) -> Any:
    """A number in a closed range, or a schedule of such over environment steps: [[0, number], [steps, number], ...]."""
    return _declared("schedule", default, unit, source, low, high, **more)


def numbers(default: Any, low: float, high: float, unit: str, source: str, **more: Any) -> Any:
    """Numbers in a closed range, at most `longest` of them (by default `LONGEST`); with `sizes=(0, 2)`, that many."""
    return _declared("list", default, unit, source, low, high, **more)


def names(unit: str, source: str, **more: Any) -> Any:
    """A list of different names, empty by default."""
    return _declared("names", (), unit, source, **more)


def amounts(low: float, high: float, unit: str, source: str, **more: Any) -> Any:
    """Names with a number in a closed range each, none by default."""
    declared = {"kind": "amounts", "low": low, "high": high, "unit": unit, "source": source, **more}
    return field(default_factory=dict, metadata=declared)


def text(unit: str, source: str, **more: Any) -> Any:
    """A string that is not empty, or None, which is the default."""
    return _declared("text", None, unit, source, is_optional=True, **more)


def part(kind: type, **more: Any) -> Any:
    """Settings of a part, in a dataclass of their own; from plain data a dict of those that differ from the default."""
    return field(default_factory=kind, metadata={"kind": "part", "part": kind, **more})


def _declared(
    kind: str, default: Any, unit: str, source: str, low: float | None = None, high: float | None = None, **more: Any
) -> Any:
    limits = {} if low is None else {"low": low, "high": high}
    return field(default=default, metadata={"kind": kind, "unit": unit, "source": source, **limits, **more})


# ---- checks: (declaration, value) -> the value in its own type, or _Refused with what is allowed
class _Refused(Exception):
    """Says what is allowed."""


def check_fields(settings: Any, error: type[HMARLSOCError]) -> None:
    """Puts every declared field of a frozen dataclass into its own type; for its `__post_init__`.

    Raises:
        error: the first value that is not allowed, by the name of its field.
    """
    for spec in dataclasses.fields(settings):
        kind = spec.metadata.get("kind") or ("flag" if isinstance(spec.default, bool) else None)
        value = getattr(settings, spec.name)
        if kind is None or value is None and spec.metadata.get("is_optional"):
            continue
        if kind == "part":
            value = from_plain(spec.metadata["part"], value, error, f"{spec.name}.")
        else:
            try:
                value = _CHECKS[kind](spec, value)
            except _Refused as refused:
                raise error(f"{spec.name}{refused}") from None
        object.__setattr__(settings, spec.name, value)


def from_plain(kind: type, plain: Any, error: type[HMARLSOCError], where: str = "") -> Any:
    """An instance of a settings dataclass from a dict, which need not have all of its fields.

    Args:
        kind: the dataclass.
        plain: its fields by name, or an instance.
        error: raised for what is not allowed.
        where: put before the field's name in messages.
    """
    if isinstance(plain, kind):
        return plain
    if not isinstance(plain, Mapping):
        raise error(
            f"{where.rstrip('.') or 'settings'}={shown(plain)} must be settings by name: {', '.join(field_names(kind))}"
        )
    for name in plain:
        if name not in field_names(kind):
            of = f"setting of {where.rstrip('.')}" if where else "setting"
            raise error(unknown_name(of, name, field_names(kind)))
    try:
        return kind(**plain)
    except error as refused:
        raise error(f"{where}{refused}") from None


def to_plain(settings: Any) -> dict[str, Any]:
    """All fields as plain JSON data, of which `from_plain` makes the same settings."""
    return json.loads(json.dumps(dataclasses.asdict(settings)))


def field_names(kind: type) -> list[str]:
    """The names of a settings dataclass."""
    return [spec.name for spec in dataclasses.fields(kind)]


def merged(before: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Plain settings with some changed: those of a part one by one, every other value as a whole."""
    parts = {
        name: {**before[name], **value}
        for name, value in changes.items()
        if isinstance(value, Mapping) and isinstance(before.get(name), Mapping)
    }
    return {**before, **changes, **parts}


def _number(spec: Any, value: Any, is_whole: bool) -> Any:
    low, high = spec.metadata["low"], spec.metadata["high"]
    kind: type
    kind, name = (Integral, "an integer") if is_whole else (Real, "a number")
    # bool is an int to Python, but not to a reader; NaN fails the comparison
    if isinstance(value, bool) or not isinstance(value, kind) or not low <= value <= high or abs(value) == math.inf:
        raise _Refused(f"={shown(value)} must be {name} from {low} to {high}{_none(spec)}")
    convert: Any = int if is_whole else float
    return convert(value)


def _none(spec: Any) -> str:
    words = [*map(repr, spec.metadata.get("words", ())), *(["None"] if spec.metadata.get("is_optional") else [])]
    return "".join(f", or {word}" for word in words)


def _check_number(spec: Any, value: Any) -> Any:
    if isinstance(value, str) and value in spec.metadata.get("words", ()):
        return str(value)
    kind = spec.metadata["low"] if isinstance(spec.default, str) else spec.default  # a word says nothing about numbers
    return _number(spec, value, isinstance(kind, int))


def _listed(value: Any) -> Any:
    """An array as a list; all else as it is."""
    return value.tolist() if isinstance(value, np.ndarray) else value


def _check_numbers(spec: Any, value: Any) -> tuple[int | float, ...]:
    value = _listed(value)
    if not isinstance(value, (tuple, list)) or len(value) != len(spec.default):
        raise _Refused(f"={shown(value)} must be {len(spec.default)} numbers")
    return tuple(_number(spec, item, isinstance(spec.default[0], int)) for item in value)


def _check_list(spec: Any, value: Any) -> tuple[Any, ...]:
    sizes, is_whole, value = spec.metadata.get("sizes"), spec.metadata.get("is_whole", False), _listed(value)
    longest = spec.metadata.get("longest", LONGEST)
    if not isinstance(value, (tuple, list)) or (sizes and len(value) not in sizes):
        size = " or ".join(map(str, sizes)) if sizes else "a list of"
        raise _Refused(f"={shown(value)} must be {size} numbers{_none(spec)}")
    if len(value) > longest:
        raise _Refused(f"={shown(value)} has {len(value)} entries; allowed: at most {longest}")
    check: Callable[[Any, Any], Any]
    check = _check_schedule if spec.metadata.get("is_timed") else lambda spec, item: _number(spec, item, is_whole)
    found = tuple(check(spec, item) for item in value)
    if spec.metadata.get("is_range") and found[0] > found[1]:
        raise _Refused(f"={shown(value)} must be [lowest, highest]")
    return found


def _check_schedule(spec: Any, value: Any) -> Any:
    low, high, value = spec.metadata["low"], spec.metadata["high"], _listed(value)
    if not isinstance(value, (tuple, list)):
        return _number(spec, value, False)
    wanted = f"a number from {low} to {high}, or a schedule over environment steps, [[0, number], [steps, number], ...]"
    try:
        points = tuple((_step(step), _number(spec, number, False)) for step, number in value)
        steps = [step for step, _ in points]
        is_good = 1 < len(points) <= LONGEST and steps[0] == 0 and steps == sorted(set(steps))
    except (TypeError, ValueError, _Refused):  # no pairs, none at all, or not numbers
        is_good = False
    if not is_good:
        raise _Refused(f"={shown(value)} must be {wanted}")
    return points


def _step(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or not 0 <= int(value) <= STEPS:
        raise ValueError
    return int(value)


def _check_choice(spec: Any, value: Any) -> Any:
    allowed = spec.metadata["allowed"]
    if not isinstance(spec.default, tuple):
        return _chosen(value, allowed)
    if not isinstance(value, (tuple, list)) or not value:
        raise _Refused(f"={shown(value)} must be one or more different names of: {', '.join(allowed)}")
    found = tuple(_chosen(item, allowed) for item in value)
    if len(set(found)) != len(found):
        raise _Refused(f"={shown(value)} must be one or more different names of: {', '.join(allowed)}")
    return found


def _chosen(value: Any, allowed: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in allowed:
        raise _Refused(unknown_name("", value, allowed))
    return str(value)


def _check_flag(spec: Any, value: Any) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise _Refused(f"={shown(value)} must be True or False")
    return bool(value)


def _check_names(spec: Any, value: Any) -> tuple[str, ...]:
    is_list = isinstance(value, (list, tuple)) and len(value) <= LONGEST
    if not is_list or any(not isinstance(name, str) or not name for name in value) or len(set(value)) != len(value):
        raise _Refused(f"={shown(value)} must be a list of names, each once")
    return tuple(map(str, value))


def _check_amounts(spec: Any, value: Any) -> dict[str, float]:
    try:
        if len(value) <= LONGEST and all(isinstance(name, str) for name in value):
            return {str(name): _number(spec, number, False) for name, number in value.items()}
    except (AttributeError, TypeError, _Refused):  # no mapping, or not numbers
        pass
    low, high = spec.metadata["low"], spec.metadata["high"]
    raise _Refused(f"={shown(value)} must be numbers by name, each from {low:g} to {high:g}")


def _check_text(spec: Any, value: Any) -> str:
    if not isinstance(value, str) or not value or not value.isprintable():
        raise _Refused(f"={shown(value)} must be a string{_none(spec)}")
    return str(value)


_CHECKS: dict[str, Callable[[Any, Any], Any]] = {
    "number": _check_number,
    "numbers": _check_numbers,
    "list": _check_list,
    "schedule": _check_schedule,
    "choice": _check_choice,
    "flag": _check_flag,
    "names": _check_names,
    "amounts": _check_amounts,
    "text": _check_text,
}
