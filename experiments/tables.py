"""Tables of results on a terminal: means with intervals, a policy a row."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TextIO

import rich.box
import rich.console
import rich.table
import rich.text

from experiments.evaluate import EvaluationResult, scenario_of
from experiments.families import protocol_of
from soc_env.registry import family_of

PUBLISHED = "published HMARL-SOC"
"""Name of the row of published figures, where a family has them."""
NARROW = 125  # columns of a terminal below which an interval goes below its mean


def table_rows(results: Mapping[str, EvaluationResult]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table of a family's shown metrics; the published figures, if there are any, end it."""
    scenario = scenario_of(results)
    columns = [family_of(scenario).columns[name] for name in protocol_of(scenario).shown]
    header = ["policy"] + [c.title for c in columns]
    rows = [[name] + [result.summary[c.name].format(c) for c in columns] for name, result in results.items()]
    if any(c.published is not None for c in columns):
        rows.append([PUBLISHED] + ["" if c.published is None else f"{c.published:g}" for c in columns])
    return header, rows


def print_table(results: Mapping[str, EvaluationResult], file: TextIO | None = None) -> None:
    """Print the table of results of one scenario."""
    header, rows = table_rows(results)
    settings = next(iter(results.values())).settings
    caption = (
        f"mean [95 % interval] of {settings['num_episodes']} episodes of {settings['scenario']}"
        f" ({settings['scenario_hash']}), seed {settings['seed']}"
        + "".join(f", {key}={value}" for key, value in settings["overrides"].items())
    )
    print_rows(header, rows, caption, file or sys.stdout)


def print_rows(header: list[str], rows: list[list[str]], caption: str, file: TextIO) -> None:
    """Print a table of means with intervals; the first column are names."""
    is_narrow = file.isatty() and rich.console.Console(file=file).width < NARROW
    table = rich.table.Table(caption=rich.text.Text(caption), caption_justify="left", box=rich.box.SIMPLE_HEAD)
    for column, title in enumerate(header):
        table.add_column(rich.text.Text(title), justify="right" if column else "left", no_wrap=True)
    for name, *cells in rows:
        if is_narrow:
            cells = [cell.replace(" ", "\n", 1) for cell in cells]  # the interval below its mean
        style = "dim" if name == PUBLISHED else None
        table.add_row(*(rich.text.Text(cell) for cell in (name, *cells)), style=style)
    rich.console.Console(file=file, width=240).print(table)  # a long line is better than a cut number
