"""Settings from a file: TOML, YAML or JSON, by its suffix. What they hold is the same: one mapping of plain data."""

from __future__ import annotations

import json
import pathlib
import re
import tomllib
from collections.abc import Callable
from typing import Any

from soc_env.errors import ConfigError, unknown_name


def read_config(path: pathlib.Path) -> dict[str, Any]:
    """The settings of HMARLConfig in a file, "tiers" among them.

    Raises:
        ConfigError: a suffix that is not known, a file that cannot be read, or one that holds something else than
            plain data by name; says where.
    """
    if path.suffix.lower() not in READERS:
        raise ConfigError(f"config={path}: {unknown_name('kind of file', path.suffix, READERS)}")
    kind, read = READERS[path.suffix.lower()]
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"config={path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"config={path}: is not UTF-8 text (byte {error.start})") from error
    try:
        config = read(text)
    except ValueError as error:
        raise ConfigError(f"config={path}: is not {kind} ({' '.join(str(error).split())})") from error
    if not isinstance(config, dict):
        raise ConfigError(f"config={path}: holds a {type(config).__name__}, settings by name are allowed")
    _check(config, f"config={path}", "")
    return config


def _check(value: Any, subject: str, place: str) -> None:
    """Refuses what JSON has no word for: dates, names that are numbers, binary data."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if not isinstance(name, str):
                raise ConfigError(f"{subject}: {place or 'the top'} has the name {name!r}, text is allowed")
            _check(inner, subject, f"{place}.{name}" if place else name)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            _check(inner, subject, f"{place}[{number}]")
    elif value is not None and not isinstance(value, (str, int, float)):
        raise ConfigError(
            f"{subject}: {place} is a {type(value).__name__} ({value}); numbers, text and lists are allowed"
        )


def _read_json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_unique)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{name!r} is given twice")
    return dict(pairs)


def _read_yaml(text: str) -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """Plain data only; 3e-4 is a number, as in TOML and JSON, and a name stands once."""

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
            for key, _ in reversed(node.value):
                if keys.count(key.value) > 1:
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is given twice", key.start_mark)
            return super().construct_mapping(node, deep)

    number = re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$")
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", number, list("-+0123456789"))
    try:
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


READERS: dict[str, tuple[str, Callable[[str], Any]]] = {
    ".toml": ("TOML", tomllib.loads),
    ".yaml": ("YAML", _read_yaml),
    ".yml": ("YAML", _read_yaml),
    ".json": ("JSON", _read_json),
}
