"""Settings from a file: TOML, YAML or JSON, by its suffix. What they hold is the same: one mapping of plain data."""

from __future__ import annotations

import json
import pathlib
import re
import tomllib
from collections.abc import Callable
from typing import Any

from soc_env.errors import ConfigError, shown, unknown_name

MOST_BYTES, MOST_LEVELS, MOST_VALUES = 1 << 20, 20, 100_000  # of a file


def read_config(path: pathlib.Path, option: str = "config") -> dict[str, Any]:
    """The settings of HMARLConfig in a file, "tiers" among them; `option` is the one that names the file.

    Raises:
        ConfigError: a suffix that is not known, a file that cannot be read or is too large, or one that holds something
            else than plain data by name; says where.
    """
    subject = f"{option}={path}"
    if path.suffix.lower() not in READERS:
        raise ConfigError(f"{subject}: {unknown_name('kind of file', path.suffix, READERS)}")
    kind, read = READERS[path.suffix.lower()]
    text = _text(path, subject)
    try:
        config = read(text)
    except ValueError as error:
        raise ConfigError(f"{subject}: is not {kind} ({' '.join(str(error).split())})") from error
    except RecursionError:
        raise ConfigError(f"{subject}: is nested too deeply; allowed: {MOST_LEVELS} levels") from None
    if not isinstance(config, dict):
        raise ConfigError(f"{subject}: holds a {type(config).__name__}, settings by name are allowed")
    _check(config, subject, "", 0)
    return config


def _text(path: pathlib.Path, subject: str) -> str:
    try:
        if path.exists() and not path.is_file():
            raise ConfigError(f"{subject}: cannot be read (it is a folder or a device)")
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise ConfigError(f"{subject}: is too large; allowed: {MOST_BYTES} bytes")
        return data.decode("utf-8")
    except OSError as error:
        raise ConfigError(f"{subject}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{subject}: is not UTF-8 text (byte {error.start})") from error


def _check(value: Any, subject: str, place: str, level: int) -> None:
    """Refuses what JSON has no word for (dates, names that are numbers, binary data), and too many levels."""
    if level > MOST_LEVELS:
        raise ConfigError(f"{subject}: is nested too deeply; allowed: {MOST_LEVELS} levels")
    if isinstance(value, dict):
        for name, inner in value.items():
            if not isinstance(name, str):
                raise ConfigError(f"{subject}: {place or 'the top'} has the name {shown(name)}, text is allowed")
            word = name if name.isidentifier() else shown(name)
            _check(inner, subject, f"{place}.{word}" if place else word, level + 1)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            _check(inner, subject, f"{place}[{number}]", level + 1)
    elif value is not None and not isinstance(value, (str, int, float)):
        raise ConfigError(
            f"{subject}: {place} is a {type(value).__name__} ({shown(str(value))}); numbers, text and lists are allowed"
        )


def _read_json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_unique)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name!r} is given twice")
        found[name] = value
    return found


def _read_yaml(text: str) -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """Plain data only; 3e-4 is a number, as in TOML and JSON, and a name stands once."""

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            known = set()
            for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
                if key.tag != "tag:yaml.org,2002:merge" and isinstance(key, yaml.ScalarNode):
                    if key.value in known:
                        raise yaml.constructor.ConstructorError(
                            None, None, f"{key.value!r} is given twice", key.start_mark
                        )
                    known.add(key.value)
            return super().construct_mapping(node, deep)

    number = re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$")
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", number, list("-+0123456789"))
    try:
        loader = Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _measure(node, {})
        return loader.construct_document(node)  # type: ignore[no-untyped-call]
    except (yaml.YAMLError, LookupError, AttributeError, TypeError, OverflowError) as error:  # `!!bool x`: a KeyError
        raise ValueError(str(error)) from error


def _measure(node: Any, known: dict[int, int | None]) -> int:
    """Values in a node of YAML, those of aliases each time that they stand; ValueError if there are too many."""
    if id(node) in known:
        size = known[id(node)]
        if size is None:
            raise ValueError("an alias stands within what it names")
        return size
    known[id(node)] = None
    inner = node.value if isinstance(node.value, list) else ()
    size = 1
    for value in inner:
        size += sum(_measure(part, known) for part in (value if isinstance(value, tuple) else (value,)))
        if size > MOST_VALUES:
            raise ValueError(f"it has more than {MOST_VALUES} values")
    known[id(node)] = size
    return size


READERS: dict[str, tuple[str, Callable[[str], Any]]] = {
    ".toml": ("TOML", tomllib.loads),
    ".yaml": ("YAML", _read_yaml),
    ".yml": ("YAML", _read_yaml),
    ".json": ("JSON", _read_json),
}
