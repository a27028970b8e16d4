"""One self-contained HTML page about a run: what was learned, beside what, and with which settings.

No network, no scripts: text, a table, and charts drawn by matplotlib as SVG inside the file. What the page says is in
``report.html.j2``; here are the numbers for it. Names, paths and settings are escaped by the template engine, without
exception. Written atomically.
"""

from __future__ import annotations

import base64
import functools
import json
import os
import pathlib
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jinja2

from experiments.evaluate import (
    TRAINED,
    UNTRAINED,
    EvaluationResult,
    paired_gain,
    scenario_of,
)
from experiments.families import protocol_of
from experiments.intervals import Estimate
from experiments.output import write_text
from experiments.plots import draw_attention, draw_bars, draw_curve, svg
from experiments.run_folder import (
    ATTENTION,
    CONFIG,
    EVALUATION,
    EVALUATION_TRAIN,
    PROGRESS,
    REPORT,
    read_moment,
    read_progress,
    read_results,
    read_run,
)
from experiments.tables import PUBLISHED, table_rows
from soc_env.errors import CheckpointError, shown
from soc_env.registry import family_of

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

    from soc_env.engine.tables import Column

TEMPLATE = "report.html.j2"
KINDS = {TRAINED: "trained", PUBLISHED: "published"}  # rows that stand out


def write_report(folder: str | os.PathLike[str]) -> pathlib.Path:
    """Write ``report.html`` into a run folder, from the files of the run.

    Args:
        folder: holds ``evaluation.json`` (name -> `EvaluationResult.to_dict`) and, where there was training,
            ``progress.csv`` and ``config.json``; ``evaluation-train.json`` where the comparison is of held-out
            episodes, ``attention.json`` where the policy has attention.

    Returns:
        The path written.

    Raises:
        CheckpointError: there is no evaluation to report, or a file of the run is damaged.
    """
    folder = pathlib.Path(folder)
    results = read_results(folder / EVALUATION)
    config = read_run(folder / CONFIG) if (folder / CONFIG).exists() else None
    curve = read_progress(folder / PROGRESS, protocol_of(scenario_of(results)).curves)
    trained_on = read_results(folder / EVALUATION_TRAIN) if (folder / EVALUATION_TRAIN).exists() else None
    if trained_on and scenario_of(trained_on) != scenario_of(results):
        file, found = str(folder / EVALUATION_TRAIN), scenario_of(trained_on)
        raise CheckpointError(f"report: {file!r} is of {found}, allowed: {scenario_of(results)}")
    attended = read_moment(folder / ATTENTION) if (folder / ATTENTION).exists() else None
    return write_text(folder / REPORT, page(results, curve, config, trained_on, attended))


def page(
    results: Mapping[str, EvaluationResult],
    curve: Mapping[str, np.ndarray] | None = None,
    config: Mapping[str, Any] | None = None,
    trained_on: Mapping[str, EvaluationResult] | None = None,
    attended: Mapping[str, Any] | None = None,
) -> str:
    """The page as text.

    Args:
        results: name -> result, as `experiments.evaluate.compare` gives them.
        curve: the learning curve, as `experiments.run_folder.read_progress` gives it.
        config: the run's configuration, shown in full.
        trained_on: results on the training split, where `results` are of the test split.
        attended: what the trained team attends to, as `experiments.attention.explained_moment` gives it.
    """
    scenario = scenario_of(results)
    protocol, columns = protocol_of(scenario), family_of(scenario).columns
    settings = next(iter(results.values())).settings
    shares = ", ".join(columns[key].label for key in protocol.shown if columns[key].is_proportion)
    split = settings["overrides"].get("split", "train") if protocol.held_out else None
    return template(TEMPLATE).render(
        title=f"HMARL-SOC on {scenario}" + (f", seed {config['seed']}" if config else ""),
        lead=lead(results),
        comparison=_table(*table_rows(results)),
        num_episodes=f"{settings['num_episodes']:,}",
        interval_kinds="Student's t" + (f"; Wilson for {shares}" if shares else ""),
        split=split and {"name": split, "is_met": split == "train"},
        note=protocol.note,
        bars=_image(draw_bars(results), "The same numbers as bars with 95 % intervals; an arrow marks a bar cut short"),
        gap=None if trained_on is None else _table(*gap_rows(results, trained_on)),
        curve=None if curve is None else _image(draw_curve(curve, results), "Learning curve"),
        attention=None if attended is None else _attention(attended),
        meaning={columns[key].label: protocol.meaning[key] for key in protocol.shown},
        settings=_settings(settings, config),
        config=None if config is None else json.dumps(config, indent=2, default=str),
    )


@functools.cache
def template(name: str) -> jinja2.Template:
    """The template of a page for people, of a file in this folder; what goes into HTML is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent),
        autoescape=".html" in name,  # by a file's name jinja2 would not: it ends in .j2
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(name)


# --- what the template shows


def lead(results: Mapping[str, EvaluationResult]) -> dict[str, Any] | None:
    """The finding in a sentence: the level reached, what training added, and where scripted policies stand."""
    if TRAINED not in results:
        return None
    trained, scenario = results[TRAINED], scenario_of(results)
    protocol, family = protocol_of(scenario), family_of(scenario)
    columns, goal = family.columns, family.headline

    def gain_on(name: str) -> dict[str, Any]:
        gain = paired_gain(trained, results[name], goal)
        side = (gain.low > 0) - (gain.high < 0)  # 0 while the interval holds 0
        return {"name": name, "side": side, "is_above": gain.mean > 0, **_shown(gain, columns[goal])}

    return {
        "noun": protocol.goal_noun,
        "attacks": protocol.attack_noun,
        "reached": columns[goal].format(trained.mean(goal)),
        "contained": columns["csr"].format(trained.mean("csr")),
        "training": gain_on(UNTRAINED) if UNTRAINED in results else None,
        "references": [gain_on(name) for name in protocol.references if name in results],
    }


def _shown(gain: Estimate, column: Column) -> dict[str, str]:
    return {
        "amount": column.format(abs(gain.mean)),
        "low": column.format(gain.low),
        "high": column.format(gain.high),
    }


def gap_rows(
    tested: Mapping[str, EvaluationResult], trained_on: Mapping[str, EvaluationResult]
) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the train/test table: what is lost on networks and attackers that training never met."""
    scenario = scenario_of(tested)
    columns = [family_of(scenario).columns[key] for key in protocol_of(scenario).gap]
    header, rows = ["policy"], []
    for column in columns:
        header += [f"{column.label}, train", "test", "gap"]
    for name in (name for name in tested if name in trained_on):
        row = [name]
        for column in columns:
            before, after = trained_on[name].summary[column.name], tested[name].summary[column.name]
            gap = Estimate.of_change(before, after)  # independent episodes
            row += [estimate.format(column) for estimate in (before, after, gap)]
        rows.append(row)
    return header, rows


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> tuple[Sequence[str], list[dict[str, Any]]]:
    """Every number and its interval apart, to be shown large and small."""

    def cell(text: str) -> dict[str, str]:
        value, _, interval = text.partition(" ")
        return {"value": value, "interval": interval}

    return header, [{"name": r[0], "kind": KINDS.get(r[0], ""), "cells": [cell(text) for text in r[1:]]} for r in rows]


def _attention(attended: Mapping[str, Any]) -> dict[str, Any]:
    alternative = "Attention of each agent's decisions to zones, cases and the context"
    return {"minute": attended["minute"], "image": _image(draw_attention(attended["agents"]), alternative)}


def _short(value: Any) -> Any:
    """A value as it is, a long one (the text of a risk model) by its beginning."""
    return value if len(str(value)) <= 120 else shown(value)


def _settings(settings: Mapping[str, Any], config: Mapping[str, Any] | None) -> dict[str, str]:
    rows = {
        "scenario": f"{settings['scenario']} (hash {settings['scenario_hash']})",
        "overrides": ", ".join(f"{key}={_short(value)}" for key, value in settings["overrides"].items()) or "none",
        "evaluation": f"seed {settings['seed']}, {settings['num_episodes']} episodes, {settings['num_envs']} at once",
        "versions": ", ".join(f"{name} {version}" for name, version in settings["versions"].items()),
        "git commit": settings["git_hash"] or "not run from a checkout",
    }
    if config and "command" in config:
        rows = {"command": shlex.join(["hmarl-soc", *config["command"][1:]]), **rows}
    return rows


def _image(figure: Figure, alternative: str) -> dict[str, str]:
    """The figure as an SVG for an <img>, where its ids cannot clash with another's."""
    return {"alternative": alternative, "data": base64.b64encode(svg(figure).encode()).decode()}
