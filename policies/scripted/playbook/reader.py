"""Reads playbook files: what a text holds, checked, with the line of whatever is wrong."""

from __future__ import annotations

import functools
import keyword
import math
import re
import tomllib
from bisect import bisect_left
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from policies.scripted.playbook.expressions import (
    AGGREGATES,
    ANYWHERE,
    CASES,
    CONDITION,
    ENVIRONMENT,
    MAX_NUMBER,
    ZONE,
    Expression,
    ExpressionError,
    compile_expression,
    constant,
)
from policies.scripted.playbook.terms import ARROW, GROUPS, OF_LEVELS, OUTPUTS, RESERVED, SWITCH, Frame, Output, Rule
from policies.scripted.playbook.toml_lines import line_of, lines_of
from soc_env.errors import ConfigError, shown, unknown_name

MAX_BYTES, MAX_LINE, MAX_ENTRIES = 1 << 16, 1_000, 300  # of a file, a line, a table


def content(path: Path) -> str:
    """The text of a file; ConfigError if it cannot be read, is too large, or is no text."""
    subject = path.name or str(path)
    try:
        if path.exists() and not path.is_file():
            raise ConfigError(f"{subject}: cannot be read (it is a folder or a device)")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a name with a null byte
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"playbook {shown(str(path), 200)} cannot be read ({reason})") from None
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{subject}: is too large; allowed: {MAX_BYTES} bytes")
    try:
        return data.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{subject}:{line}: is not UTF-8 text (byte {error.start})") from None


class Reader:
    """What a text holds, and where; `levels_at` says where it first reads a feature of `OF_LEVELS`, "" if nowhere."""

    def __init__(self, text: str, name: str, changed: Mapping[str, float]):
        self.text, self.name, self.changed = text, name, changed
        self.lines: Mapping[tuple[str | int, ...], int] = {}
        self.used: set[str] = set()
        self.names: dict[str, Expression] = {}
        self.levels_at = ""

    def error(self, path: tuple[str | int, ...], message: str, further: int = 0) -> ConfigError:
        """The error about what is at a path, `further` lines below its beginning."""
        return self.error_at(line_of(self.lines, path) + further, f"{_shown_path(path)}: {message}")

    def error_at(self, line: int, message: str) -> ConfigError:
        return ConfigError(" ".join(f"{self.name}:{line}: {message}".split()))

    def read(self) -> tuple[str, dict[str, float], dict[str, str], dict[str, dict[str, tuple[Rule, ...]]]]:
        data = self._parsed()
        self.lines = lines_of(self.text)
        tables = ("numbers", "values", *OUTPUTS)
        for key, value in data.items():
            if key not in ("about", *tables):
                raise self.error_at(line_of(self.lines, (key,)), unknown_name("table", key, ("about", *tables)))
            wanted = str if key == "about" else dict
            if not isinstance(value, wanted):
                raise self.error((key,), f"is {_kind(value)}, allowed: {'text' if key == 'about' else 'a table'}")
        numbers = self._numbers(data.get("numbers", {}))
        values = self._values(data.get("values", {}))
        rules = {table: self._rules(table, data[table]) for table in OUTPUTS if table in data}
        if not any(rules.values()):
            raise self.error_at(1, f"has no rule; allowed: some in {', '.join(OUTPUTS)}")
        for kind, names in (("numbers", numbers), ("values", values)):
            for name in names:
                if name not in self.used:
                    raise self.error((kind, name), "is used nowhere; allowed: what some rule or value reads")
        return data.get("about", ""), numbers, values, rules

    def _parsed(self) -> dict[str, Any]:
        for number, text in enumerate(self.text.split("\n"), 1):
            if len(text) > MAX_LINE:
                raise self.error_at(number, f"has {len(text)} characters, allowed: {MAX_LINE}")
        try:
            data = tomllib.loads(self.text)
        except RecursionError:
            raise self.error_at(self._too_deep(), "is nested too deeply") from None
        except ValueError as error:
            reason = str(error)
            place = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", reason)
            line = int(place[1]) if place and place[1] else self.text.rstrip("\n").count("\n") + 1
            raise self.error_at(line, f"is not TOML ({reason[: place.start()] if place else reason})") from None
        return data

    def _too_deep(self) -> int:
        """The first line with which the text cannot be read."""

        def is_deep(number: int) -> bool:
            try:
                tomllib.loads("\n".join(lines[:number]))
            except RecursionError:
                return True
            except ValueError:
                pass
            return False

        lines = self.text.split("\n")
        return bisect_left(range(len(lines) + 1), True, key=is_deep)

    def _named(self, kind: str, table: Mapping[str, Any]) -> None:
        """That the names of a table can stand in expressions."""
        for name in table:
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or keyword.iskeyword(name):
                raise self.error((kind, name), "is no name; allowed: letters, digits and _, and no word of Python's")
            if name in RESERVED:
                what = "a tool or level, a function or a group of features"
                raise self.error((kind, name), f"has the name of {what}; allowed: another")
            if name in self.names:
                raise self.error((kind, name), "has the name of a number; allowed: another")
        if len(table) > MAX_ENTRIES:
            raise self.error((kind,), f"has {len(table)} entries, allowed: {MAX_ENTRIES}")

    def _numbers(self, table: Mapping[str, Any]) -> dict[str, float]:
        self._named("numbers", table)
        for name, value in table.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise self.error(("numbers", name), f"is {_kind(value)}, allowed: a number")
            if not abs(value) <= MAX_NUMBER:
                raise self.error(("numbers", name), f"is {shown(value)}, allowed: up to {MAX_NUMBER:.0f}, and finite")
        for name, value in self.changed.items():
            if name not in table:
                raise ConfigError(f"{self.name}: {unknown_name('number', name, table)}")
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= MAX_NUMBER:
                raise ConfigError(f"{self.name}: number {name} is {shown(value)}, allowed: up to {MAX_NUMBER:.0f}")
        numbers = {name: float(value) for name, value in {**table, **self.changed}.items()}
        for name, value in numbers.items():
            self.names[name] = constant(value)
        return numbers

    def _values(self, table: Mapping[str, Any]) -> dict[str, str]:
        self._named("values", table)
        for name, text in table.items():
            if not isinstance(text, str):
                raise self.error(("values", name), f"is {_kind(text)}, allowed: the text of an expression")
            found = self._expression(("values", name), text, self.names)
            if not found.is_constant:
                compute = functools.partial(Frame.once, name=name, compute=found.compute)
                found = Expression(compute, found.scope, found.kind, found.size)
            self.names[name] = found
        return dict(table)

    def _expression(
        self, path: tuple[str | int, ...], text: str, names: Mapping[str, Expression], further: int = 0
    ) -> Expression:
        try:
            found = compile_expression(text, names, GROUPS, self.used)
        except ExpressionError as error:
            raise self.error(path, f"{error}", further + error.line) from None
        if not self.levels_at and (new := self.used & OF_LEVELS):
            self.levels_at = f"{self.name}:{line_of(self.lines, path) + further}: {_shown_path(path)}: {min(new)}"
        return found

    def _rules(self, table: str, given: Mapping[str, Any]) -> dict[str, tuple[Rule, ...]]:
        found = {}
        for key, value in given.items():
            if key not in OUTPUTS[table]:
                text = unknown_name(f"action of {table}", key, OUTPUTS[table])
                raise self.error_at(line_of(self.lines, (table, key)), text)
            found[key] = self._list((table, key), value, OUTPUTS[table][key])
        return found

    def _list(self, path: tuple[str | int, ...], value: Any, output: Output) -> tuple[Rule, ...]:
        """The rules of one output: a list of texts, one text, or a number."""
        if isinstance(value, list):
            texts = {(*path, k): text for k, text in enumerate(value)}
        else:
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
            texts = {path: repr(value) if is_number else value}
        if not 0 < len(texts) <= MAX_ENTRIES:
            raise self.error(path, f"has {len(texts)} rules, allowed: 1 to {MAX_ENTRIES}")
        for place, text in texts.items():
            if not isinstance(text, str):
                raise self.error(place, f"is {_kind(text)}, allowed: rules as text, several in a list")
        rules = {place: self._rule(place, text, output) for place, text in texts.items()}
        for place, rule in list(rules.items())[:-1]:
            if rule.condition is None:
                raise self.error(place, f"has no condition, so nothing below it counts; allowed: one, then {ARROW}")
        return tuple(rules.values())

    def _rule(self, path: tuple[str | int, ...], text: str, output: Output) -> Rule:
        before, *rest = text.split(ARROW)
        if len(rest) > 1:
            raise self.error(path, f"has {len(rest)} arrows, allowed: condition {ARROW} level")
        condition = None
        if rest:
            condition = self._expression(path, before, self.names)
            if condition.kind != CONDITION:
                raise self.error(path, f"has a number before {ARROW}, allowed: a condition, as in x > 0")
            self._check_scope(path, condition, output)
        level_text, further = (rest[0], before.count("\n")) if rest else (before, 0)
        return Rule(text, condition, self._level(path, level_text, output, further))

    def _level(self, path: tuple[str | int, ...], text: str, output: Output, further: int) -> Expression:
        if output.is_choice:
            if text.strip() not in output.words:
                raise self.error(path, unknown_name("choice", text.strip(), output.words), further)
            return constant(output.words[text.strip()])
        words = {word: constant(level) for word, level in output.words.items()}
        level = self._expression(path, text, {**self.names, **words}, further)
        self._check_scope(path, level, output)
        if level.kind == CONDITION:
            if output.words is not SWITCH:
                raise self.error(path, "is a condition, allowed: a level", further)
            compute = level.compute
            level = Expression(lambda frame: np.where(compute(frame), 1.0, 0.0), level.scope)
        if level.is_constant and not output.low <= (value := level.compute(None)) <= output.high:
            raise self.error(path, f"is the level {value:g}, allowed: {output.low:g} to {output.high:g}", further)
        return level

    def _check_scope(self, path: tuple[str | int, ...], found: Expression, output: Output) -> None:
        allowed = (ANYWHERE, ENVIRONMENT, ZONE) if output.scope == ZONE else (ANYWHERE, ENVIRONMENT)
        if found.scope not in allowed:
            of = "cases.x" if found.scope == CASES else "zone.x"
            raise self.error(path, f"has {found.scope}, wanted is {output.scope}; allowed: {of} in {AGGREGATES}")


def _shown_path(path: tuple[str | int, ...]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{_key(part)}" if text else _key(part)
    return text


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]{1,60}", name) else shown(name)


def _kind(value: Any) -> str:
    """What a value of TOML is, in a message."""
    if isinstance(value, (dict, list)):
        return "a table" if isinstance(value, dict) else "a list"
    return f"{type(value).__name__} {shown(value)}" if not isinstance(value, str) else f"text {shown(value)}"
