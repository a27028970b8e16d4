"""A griffe extension: doctests in the text of docstrings become code blocks. Markdown would read them as quotations."""

from __future__ import annotations

import re
from typing import Any

import griffe

RUN = re.compile(r"^(?P<indent> *)>>> .*(?:\n(?P=indent)\S.*)*", re.MULTILINE)  # up to the next empty line


def fenced(text: str) -> str:
    """The text with a fence around each run of a doctest."""

    def block(match: re.Match[str]) -> str:
        indent = match["indent"]
        return f"{indent}```pycon\n{match.group()}\n{indent}```"

    return text if "```" in text else RUN.sub(block, text)


class Doctests(griffe.Extension):
    """Fences the doctests of every docstring."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called by griffe for every object that it has read."""
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)
