"""What plain data read from a file has to look like, said as plain data itself.

    RESULT = {"policy": TEXT, "seed": WHOLE, "summary": {...: NUMBER}, "command?": [TEXT]}
    check_form(data, RESULT, "evaluation.json")

A list stands for any number of the same; a dict for values by name, of which those that end in "?" may be missing and
others than those named are not looked at; with `...` as its only name, for any names. Files come from other versions,
other programs and other people: what does not fit is one line that names the place.
"""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from soc_env.errors import CheckpointError, shown

MOST_BYTES = 1 << 28  # of a file that is read at once
LARGEST = 1e16  # of a number that is shown or drawn; seeds of episodes are below 2**53


class Leaf(NamedTuple):
    """A value that holds no others: whether it fits, and how that is called."""

    fits: Callable[[Any], bool]
    name: str


def _is_number(value: Any, *kinds: type) -> bool:
    is_kind = isinstance(value, kinds) and not isinstance(value, bool)
    return is_kind and bool(-LARGEST <= value <= LARGEST)


NUMBER = Leaf(lambda value: value is None or _is_number(value, int, float), "a number, or null")
WHOLE = Leaf(lambda value: _is_number(value, int), "a whole number")
COUNT = Leaf(lambda value: _is_number(value, int) and value >= 0, "a whole number of at least 0")
SEED = Leaf(lambda value: isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**64, "a seed")
TEXT = Leaf(lambda value: isinstance(value, str), "text")
TEXT_OR_NONE = Leaf(lambda value: value is None or isinstance(value, str), "text, or null")
ANYTHING = Leaf(lambda value: True, "anything")


def check_form(value: Any, form: Any, place: str) -> None:
    """Compares plain data with a form.

    Raises:
        CheckpointError: the first that does not fit, by its place.
    """
    if isinstance(form, Leaf):
        if not form.fits(value):
            raise CheckpointError(f"{place} is {shown(value)}, allowed: {form.name}")
    elif isinstance(form, list):
        if not isinstance(value, list):
            raise CheckpointError(f"{place} is {shown(value)}, allowed: a list")
        for number, inner in enumerate(value):
            check_form(inner, form[0], f"{place}[{number}]")
    else:
        if not isinstance(value, Mapping):
            raise CheckpointError(f"{place} is {shown(value)}, allowed: values by name")
        for name, inner in form.items() if ... not in form else dict.fromkeys(value, form[...]).items():
            key = name.removesuffix("?")
            if key in value:
                check_form(value[key], inner, f"{place}: {shown(key)}")
            elif key == name:
                raise CheckpointError(f"{place} has no {name!r}")


def _can_be_written(data: Any) -> bool:
    try:
        return bool(json.dumps(data, ensure_ascii=False).encode())
    except UnicodeEncodeError:
        return False


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A file's object.

    Raises:
        CheckpointError: it is missing, too large, damaged, or holds something else.
    """
    subject = f"report: {str(path)!r}"
    try:
        with pathlib.Path(path).open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise CheckpointError(f"{subject} is too large; allowed: {MOST_BYTES} bytes")
        found = json.loads(content.decode("utf-8"))
    except OSError as error:
        raise CheckpointError(f"{subject} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise CheckpointError(f"{subject} cannot be read ({' '.join(str(error).split())})") from error
    except RecursionError:
        raise CheckpointError(f"{subject} cannot be read (it is nested too deeply)") from None
    if b"\\ud" in content.lower() and not _can_be_written(found):
        raise CheckpointError(f"{subject} has text that is none (half of a character)")
    if not isinstance(found, dict):
        raise CheckpointError(f"{subject} holds a {type(found).__name__}, allowed: values by name")
    return found
