"""`hmarl-soc playbook`: what a playbook file says as it is understood, its text, and what rules can name."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TextIO

import rich.box
import rich.console
import rich.table
import rich.text

from policies.scripted.playbook import SHIPPED, PlaybookFile, shipped_file
from policies.scripted.playbook.reference import (
    ACTION_COLUMNS,
    FEATURE_COLUMNS,
    FUNCTION_COLUMNS,
    action_rows,
    feature_rows,
    function_rows,
)
from policies.scripted.playbook.terms import OUTPUTS
from soc_env.errors import ConfigError, unknown_name


def playbook_named(name: str) -> PlaybookFile:
    """The playbook that ships under a name, or the one in a file.

    Raises:
        ConfigError: neither; or a mistake in the file, with its line.
    """
    if name in SHIPPED:
        return shipped_file(name)
    if "/" not in name and "." not in name and not Path(name).exists():
        raise ConfigError(f"{unknown_name('playbook', name, SHIPPED)}, or a file")
    return PlaybookFile.of_path(name)


def print_source(name: str, file: TextIO | None = None) -> None:
    """Prints the text of a playbook, to start one's own from; raises as `playbook_named`."""
    print(playbook_named(name).text.rstrip("\n"), file=file or sys.stdout)


def print_playbook(name: str, file: TextIO | None = None) -> None:
    """Prints what a playbook says: its numbers, named values, and rules in their order; raises as `playbook_named`."""
    playbook, file = playbook_named(name), file or sys.stdout
    num_rules = len(playbook.rows())
    counts = f"{len(playbook.numbers)} numbers, {len(playbook.values)} values, {num_rules} rules"
    print(f"{playbook.name}: {counts}; sha256 {playbook.sha256}", file=file)
    if playbook.about.strip():
        text = "".join(c if c.isprintable() else " " for c in playbook.about)  # nothing that a terminal would obey
        print(" ".join(text.split()), file=file)
    named = [(name, f"{value:g}") for name, value in playbook.numbers.items()]
    named += [(name, " ".join(text.split())) for name, text in playbook.values.items()]
    if named:
        _print_table(("name", "value"), named, file)
    _print_table(("agent", "action", "rule, the first that holds"), _without_repeats(playbook.rows()), file)
    idle = [key for table, keys in OUTPUTS.items() for key in keys if key not in playbook.rules.get(table, {})]
    print(f"without a rule, so at rest: {', '.join(idle)}" if idle else "every action has a rule", file=file)


def print_names(file: TextIO | None = None) -> None:
    """Prints what rules can name: actions, features, functions."""
    file = file or sys.stdout
    _print_table(ACTION_COLUMNS, action_rows(), file)
    _print_table(FEATURE_COLUMNS, feature_rows(), file)
    _print_table(FUNCTION_COLUMNS, function_rows(), file)


def _without_repeats(rows: Iterable[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """Rows whose agent and action are left out where they are those of the row above."""
    found, above = [], ("", "")
    for agent, action, rule in rows:
        found.append(("" if agent == above[0] else agent, "" if (agent, action) == above else action, rule))
        above = agent, action
    return found


def _print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], file: TextIO) -> None:
    table = rich.table.Table(box=rich.box.SIMPLE_HEAD)
    for title in columns:
        table.add_column(rich.text.Text(title), overflow="fold")
    for row in rows:
        table.add_row(*(rich.text.Text(cell) for cell in row))
    width = None if file.isatty() else 160
    rich.console.Console(file=file, width=width).print(table)
