"""Markdown tables from rows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

NUMBER = re.compile(r"\d+")


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], align: str = "") -> str:
    """A pipe table. `align` has a letter a column: "l" (the default) or "r"."""
    marks = ["---:" if letter == "r" else "---" for letter in align.ljust(len(columns), "l")]
    lines = [list(columns), marks, *([_cell(value) for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: Any) -> str:
    return re.sub(r"\s+", " ", str(value)).replace("|", "\\|").strip()


def code(value: Any) -> str:
    """A value as it would be typed, in code font; nothing for an empty text."""
    return f"`{shown(value)}`"


def shown(value: Any) -> str:
    """A Python literal, with large numbers grouped and floats as short as they are exact."""
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(shown(item) for item in value)}]"
    if isinstance(value, bool) or value is None or isinstance(value, dict):
        return repr(value)
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, int) and abs(value) >= 10_000:
        return f"{value:_}"
    return f"{value:g}" if isinstance(value, float) else repr(value)


def allowed(metadata: Any) -> str:
    """What a setting may be, from the metadata that its declaration (`soc_env.settings`) leaves on its field."""
    if "allowed" in metadata:
        return ", ".join(code(value) for value in metadata["allowed"])
    words = [code(word) for word in metadata.get("words", ())] + (["`None`"] if metadata.get("is_optional") else [])
    kinds = {"flag": "`True`, `False`", "names": "names", "amounts": "name: number", "text": "text"}
    span = _span(metadata["low"], metadata["high"]) if "low" in metadata else ""
    if metadata.get("kind") == "list":
        sizes = " or ".join(str(size) for size in metadata.get("sizes", ()))
        span = f"{sizes} numbers, {span}" if sizes else f"numbers, {span}"
    if metadata.get("kind") == "amounts" and span:
        span = f"name: {span}"
    if metadata.get("kind") == "schedule":
        span += ", or a schedule"
    return ", or ".join(filter(None, [span or kinds.get(metadata.get("kind", ""), ""), *words]))


def _span(low: float, high: float) -> str:
    """A range in words; ends beyond what anyone would ask for stand for none."""
    lowest = "above 0" if 0 < low <= 1e-6 else f"{low:,.12g}"
    if high < 1e9:
        return f"{lowest} to {high:,.12g}" if lowest != "above 0" else f"above 0, at most {high:,.12g}"
    return lowest if lowest == "above 0" else f"{lowest} or more"


def folded(names: Sequence[str]) -> list[tuple[str, list[int]]]:
    """Names that differ in a number alone, together: (`zone*_value`, [0, 22, 44, ...]), in order of the first.

    A number is only folded where the name with another number is there too.
    """
    patterns: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        patterns.setdefault(NUMBER.sub("*", name), []).append(index)
    return list(patterns.items())
