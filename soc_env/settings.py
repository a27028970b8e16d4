"""How settings are declared: a field of a frozen dataclass that knows its range, its unit and its source.

    @dataclass(frozen=True)
    class Exploration:
        std: Schedule = schedule(0.15, 0.0, 10.0, "standard deviation of the noise on actions", "Lillicrap et al. 2016")

        def __post_init__(self) -> None:
            check_fields(self, ConfigError)

`check_fields` puts every declared field into the type of its default, or raises one line that names the field, the
value and what is allowed. NaN, infinities, strings and booleans are no numbers. Scenarios and the learners' settings
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

from soc_env.errors import HMARLSOCError, unknown_name

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
    """Any number of numbers in a closed range, or, with `sizes=(0, 2)`, that many of them."""
    return _declared("list", default, unit, source, low, high, **more)


def names(unit: str, source: str, **more: Any) -> Any:
    """A list of names, empty by default."""
    return _declared("names", (), unit, source, **more)


def amounts(unit: str, source: str, **more: Any) -> Any:
    """Names with a number each, none by default."""
    return field(default_factory=dict, metadata={"kind": "amounts", "unit": unit, "source": source, **more})


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
        raise error(f"{where.rstrip('.')}={plain!r} must be settings by name: {', '.join(field_names(kind))}")
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
        raise _Refused(f"={value!r} must be {name} from {low} to {high}{_none(spec)}")
    convert: Any = int if is_whole else float
    return convert(value)


def _none(spec: Any) -> str:
    words = [*map(repr, spec.metadata.get("words", ())), *(["None"] if spec.metadata.get("is_optional") else [])]
    return "".join(f", or {word}" for word in words)


def _check_number(spec: Any, value: Any) -> Any:
    if value in spec.metadata.get("words", ()) and isinstance(value, str):
        return value
    return _number(spec, value, isinstance(spec.default, int))


def _check_numbers(spec: Any, value: Any) -> tuple[int | float, ...]:
    if not isinstance(value, (tuple, list)) or len(value) != len(spec.default):
        raise _Refused(f"={value!r} must be {len(spec.default)} numbers")
    return tuple(_number(spec, item, isinstance(spec.default[0], int)) for item in value)


def _check_list(spec: Any, value: Any) -> tuple[Any, ...]:
    sizes, is_whole = spec.metadata.get("sizes"), spec.metadata.get("is_whole", False)
    if not isinstance(value, (tuple, list)) or (sizes and len(value) not in sizes):
        size = " or ".join(map(str, sizes)) if sizes else "a list of"
        raise _Refused(f"={value!r} must be {size} numbers{_none(spec)}")
    check: Callable[[Any, Any], Any]
    check = _check_schedule if spec.metadata.get("is_timed") else lambda spec, item: _number(spec, item, is_whole)
    found = tuple(check(spec, item) for item in value)
    if spec.metadata.get("is_range") and found[0] > found[1]:
        raise _Refused(f"={value!r} must be [lowest, highest]")
    return found


def _check_schedule(spec: Any, value: Any) -> Any:
    low, high = spec.metadata["low"], spec.metadata["high"]
    if not isinstance(value, (tuple, list)):
        return _number(spec, value, False)
    wanted = f"a number from {low} to {high}, or a schedule over environment steps, [[0, number], [steps, number], ...]"
    try:
        steps, values = zip(*value, strict=True)
        points = tuple((int(step), _number(spec, number, False)) for step, number in zip(steps, values, strict=True))
        is_good = len(points) > 1 and all(isinstance(step, Integral) for step in steps)
        is_good = is_good and steps[0] == 0 and list(steps) == sorted(set(steps))
    except (TypeError, ValueError, _Refused):  # no pairs, none at all, or not numbers
        is_good = False
    if not is_good:
        raise _Refused(f"={value!r} must be {wanted}")
    return points


def _check_choice(spec: Any, value: Any) -> Any:
    allowed = spec.metadata["allowed"]
    if not isinstance(spec.default, tuple):
        if value not in allowed:
            raise _Refused(unknown_name("", value, allowed))
        return value
    if not isinstance(value, (tuple, list)) or not value or len(set(value)) != len(value):
        raise _Refused(f"={value!r} must be one or more different names of: {', '.join(allowed)}")
    for item in value:
        if item not in allowed:
            raise _Refused(unknown_name("", item, allowed))
    return tuple(value)


def _check_flag(spec: Any, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _Refused(f"={value!r} must be True or False")
    return value


def _check_names(spec: Any, value: Any) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or any(not isinstance(name, str) for name in value):
        raise _Refused(f"={value!r} must be a list of names")
    return tuple(value)


def _check_amounts(spec: Any, value: Any) -> dict[str, float]:
    is_good = isinstance(value, Mapping) and all(isinstance(name, str) for name in value)
    numbers = value.values() if is_good else ()
    if not is_good or any(isinstance(x, bool) or not isinstance(x, Real) or not math.isfinite(x) for x in numbers):
        raise _Refused(f"={value!r} must be numbers by name")
    return {name: float(number) for name, number in value.items()}


def _check_text(spec: Any, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise _Refused(f"={value!r} must be a string{_none(spec)}")
    return value


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
