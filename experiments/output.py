"""How results become files: JSON that can be read by eye, written whole or not at all.

with output_errors():                  # an OSError becomes one line about the file that cannot be written
    print(f"wrote {write_json(path, data)}")
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from soc_env.errors import ConfigError
from soc_env.files import new_file


def to_json(data: Mapping[str, Any], *, is_strict: bool = True) -> str:
    """A JSON object with one entry a line at the first two levels.

    Args:
        data: plain data.
        is_strict: for results: NaN and infinity, which JSON does not know, are null (a metric that is undefined), and
            what is not plain data is refused. Settings are written without: what a user has set is kept, and objects
            by their text.

    Raises:
        TypeError: something that is not plain data.
    """

    def text(value: Any) -> str:
        return json.dumps(_defined(value), allow_nan=False) if is_strict else json.dumps(value, default=str)

    lines = []
    for key, value in data.items():
        if isinstance(value, dict) and value:
            inner = ",\n".join(f"  {text(str(name))}: {text(inner)}" for name, inner in value.items())
            lines.append(f" {text(key)}: {{\n{inner}\n }}")
        else:
            lines.append(f" {text(key)}: {text(value)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _defined(value: Any) -> Any:
    """The same with None for NaN and infinity."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _defined(inner) for name, inner in value.items()}
    return [_defined(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def write_text(path: str | os.PathLike[str], text: str) -> pathlib.Path:
    """Writes a UTF-8 file so that a reader sees the old or the new content, never a part. Makes missing folders.

    Raises:
        OSError: it cannot be written; names `path`.
    """
    with new_file(path) as file:
        file.write(text.encode())
    return pathlib.Path(path)


def write_json(path: str | os.PathLike[str], data: Mapping[str, Any], *, is_strict: bool = True) -> pathlib.Path:
    """Writes `data` as `to_json` has it, as `write_text` does."""
    return write_text(path, to_json(data, is_strict=is_strict))


@contextlib.contextmanager
def output_errors(field: str = "") -> Iterator[None]:
    """Within it a file that cannot be written is a ConfigError of one line, about the option `field` if it is named."""
    try:
        yield
    except OSError as error:
        subject = f"{field}={error.filename}:" if field else f"output {error.filename!r}"
        raise ConfigError(f"{subject} cannot be written ({error.strerror})") from error
