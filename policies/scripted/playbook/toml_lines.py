"""Where things stand in a TOML file: `tomllib` says what a file holds, but not on which line.

A scan of text that `tomllib` has read without complaint, so it needs no errors of its own: where it loses its way, it
gives the lines found so far, and `line_of` answers with the nearest thing above that has one.
"""

from __future__ import annotations

import contextlib
import re
import tomllib
from bisect import bisect_left
from collections.abc import Mapping

Path = tuple[str | int, ...]  # names of tables and keys, indices of arrays
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY = re.compile(r"""[ \t]*([A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')[ \t]*(\.?)""")
_STRING = re.compile(r'''"""(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5}|\'{3}(?:[^']|'{1,2}(?!'))*'{3,5}''', re.DOTALL)
_SCALAR = re.compile(
    r"""\d{4}-\d\d-\d\d[ Tt]\d\d:[^\s,\]}#]*|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[^\s,\]}#]+""",
)


def lines_of(text: str) -> dict[Path, int]:
    """The line, from 1, of each table, key and entry of an array; of a string of several lines, that of its text."""
    scan = _Scan(text)
    with contextlib.suppress(IndexError, ValueError, RecursionError):  # of text that tomllib reads and we do not
        scan.run()
    return scan.lines


def line_of(lines: Mapping[Path, int], path: Path) -> int:
    """The line of what is at a path, or of the nearest thing around it that has one."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


class _Scan:
    def __init__(self, text: str):
        self.text, self.at = text, 0
        self.lines: dict[Path, int] = {}
        self._counts: dict[Path, int] = {}  # entries of arrays of tables
        self._newlines = [match.start() for match in re.finditer("\n", text)]

    def run(self) -> None:
        table: Path = ()
        while self._skip() < len(self.text):
            here = self.at
            if self.text.startswith("[", here):
                is_array = self.text.startswith("[[", here)
                self.at += 2 if is_array else 1
                table = self._table(self._key(), is_array, here)
                self.at = self.text.index("]", self.at) + (2 if is_array else 1)
            else:
                self._pair(table)

    def _table(self, keys: list[str], is_array: bool, here: int) -> Path:
        """The path of a table that begins here: parts that are arrays of tables stand for their last entry."""
        path: Path = ()
        for depth, key in enumerate(keys):
            path = (*path, key)
            if is_array and depth == len(keys) - 1:
                self._counts[path] = self._counts.get(path, 0) + 1
            self._note(path, here)
            if path in self._counts:
                path = (*path, self._counts[path] - 1)
                self._note(path, here)
        return path

    def _pair(self, table: Path) -> None:
        here = self.at
        path = table
        for key in self._key():
            path = (*path, key)
            self._note(path, here)
        self.at = self.text.index("=", self.at) + 1
        self._skip()
        self._value(path)

    def _key(self) -> list[str]:
        keys = []
        while match := _KEY.match(self.text, self.at):
            raw, dot = match.groups()
            keys.append(tomllib.loads(f"x={raw}")["x"] if raw[0] in "\"'" else raw)
            self.at = match.end()
            if not dot:
                return keys
        raise ValueError("no key")

    def _value(self, path: Path) -> None:
        start = self.at
        self._note(path, start)
        if self.text[start] in "[{":
            self._items(path, closing="]" if self.text[start] == "[" else "}")
        elif match := _STRING.match(self.text, start):
            self.at = match.end()
            first = start + 3
            is_next = self.text.startswith(("\n", "\r\n"), first)  # TOML drops a newline right after the quotes
            self.lines[path] = self._line(self.text.index("\n", first) + 1 if is_next else first)
        elif match := _SCALAR.match(self.text, start):
            self.at = match.end()
        else:
            raise ValueError("no value")

    def _items(self, path: Path, closing: str) -> None:
        self.at += 1
        number = 0
        while self.text[self._skip()] != closing:
            if closing == "]":
                self._value((*path, number))
                number += 1
            else:
                self._pair(path)
            if self.text[self._skip()] == ",":
                self.at += 1
        self.at += 1

    def _skip(self) -> int:
        match = _BLANK.match(self.text, self.at)
        self.at = match.end() if match else self.at
        return self.at

    def _note(self, path: Path, at: int) -> None:
        self.lines.setdefault(path, self._line(at))

    def _line(self, at: int) -> int:
        return bisect_left(self._newlines, at) + 1
