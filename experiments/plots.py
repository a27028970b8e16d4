"""Charts of evaluations, of training and of several runs, drawn by matplotlib.

Every function of a chart returns a `Figure`; `write_picture` makes it a file, `svg` text.
"""

from __future__ import annotations

import io
import itertools
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.evaluate import TRAINED, UNTRAINED, EvaluationResult, scenario_of
from experiments.families import protocol_of
from experiments.intervals import Estimate
from experiments.run_folder import SECONDS, STEPS, VALIDATION
from soc_env.files import new_file
from soc_env.registry import family_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from soc_env.engine.tables import Column

STRONG, SOFT, GREY, INK, RED, ORANGE = "#0b6e8a", "#7fb9c9", "#b9bec5", "#20262d", "#b3362b", "#d08a2e"
BASELINES = ((UNTRAINED, ORANGE), ("rule-soar", "#6d747c"), ("expert", "#5b8c3a"))  # in curves, with their colours
BASELINE_STYLE: dict[str, Any] = {"linestyle": (0, (4, 3)), "linewidth": 1.2}
SETTING_COLORS = (STRONG, ORANGE, "#7a5ba6", "#5b8c3a", RED, GREY)
TRAINING_STYLE = {"color": SOFT, "linewidth": 1.3, "label": "training episodes"}
VALIDATION_STYLE = {"color": STRONG, "linewidth": 1.6, "marker": "o", "markersize": 3, "zorder": 4, "label": "greedy"}


# --- one evaluation


def draw_bars(results: Mapping[str, EvaluationResult]) -> Figure:
    """One panel per curve's metric, one bar per policy, with intervals and the published figure as a line."""
    scenario, names = scenario_of(results), list(results)
    protocol, columns = protocol_of(scenario), family_of(scenario).columns
    figure, axes = panels(1, len(protocol.curves), width=13.0, height=0.9 + 0.42 * len(results), sharey=True)
    for panel, key in zip(axes[0], protocol.curves, strict=True):
        column = columns[key]
        _limit_bars(panel, column, results, protocol.outliers)
        for row, name in enumerate(names):
            _draw_bar(panel, row, name, results[name].summary[key], column)
        if column.published is not None:
            panel.axvline(column.published, color=RED, linestyle=(0, (4, 3)), linewidth=1.2, zorder=3)
            text = f"published {column.published:g}"
            panel.text(column.published, -0.72, text, color=RED, fontsize=8, ha="center", va="bottom")
        if column.bounds == (0.0, 1.0) or column.is_proportion:
            panel.set_xticks([0, 25, 50, 75, 100])
        panel.set_title(_panel_title(column), fontsize=9.5, color=INK, loc="left", pad=16)
    axes[0][0].set_yticks(range(len(names)), names, fontsize=10, parse_math=False)
    for label in axes[0][0].get_yticklabels():
        label.set_fontweight("bold" if label.get_text() == TRAINED else "normal")
    axes[0][0].set_ylim(len(names) - 0.4, -0.6)
    return figure


def _limit_bars(panel: Axes, column: Column, results: Mapping[str, EvaluationResult], outliers: Sequence[str]) -> None:
    """Room for the policies worth comparing and for the published figure."""
    values = {name: column.scale * result.summary[column.name].mean for name, result in results.items()}
    in_focus = [value for name, value in values.items() if name not in outliers] or list(values.values())
    published = [] if column.published is None else [column.published]
    panel.set_xlim(*bar_limits([*in_focus, *published], list(values.values())))


def _draw_bar(panel: Axes, row: int, name: str, estimate: Estimate, column: Column) -> None:
    """A bar with its interval and number; where it leaves the panel it is cut, with an arrow at the number."""
    mean, low, high = (column.scale * value for value in (estimate.mean, estimate.low, estimate.high))
    left, right = panel.get_xlim()
    color = {TRAINED: STRONG, UNTRAINED: SOFT}.get(name, GREY)
    text = column.format(estimate.mean)
    style: dict[str, Any] = {"va": "center", "fontsize": 8.5, "zorder": 5}
    if math.isnan(mean):
        panel.annotate(text, (max(left, 0.0), row), xytext=(5, 0), textcoords="offset points", **style)
        return
    panel.barh(row, min(max(mean, left), right), color=color, height=0.66, zorder=2)
    if mean < left:
        panel.annotate(f"◀ {text}", (left, row), xytext=(3, 0), textcoords="offset points", **style)
    elif mean > right:
        panel.annotate(f"{text} ▶", (right, row), xytext=(-3, 0), textcoords="offset points", ha="right", **style)
    else:
        sides = [[max(0.0, mean - low)], [max(0.0, high - mean)]]
        panel.errorbar(mean, row, xerr=sides, color=INK, linewidth=1.1, capsize=2.5, zorder=4)
        box = {"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.85}
        panel.annotate(text, (max(0.0, high), row), xytext=(5, 0), textcoords="offset points", bbox=box, **style)


def bar_limits(in_focus: Sequence[float], values: Sequence[float]) -> tuple[float, float]:
    """Limits of a bar panel: all of the values in focus and room for numbers; others may be cut, not dwarf them."""
    in_focus = [value for value in in_focus if math.isfinite(value)]  # a metric may be undefined
    bottom, top = min([*in_focus, 0.0]), max([*in_focus, 0.0])
    span = (top - bottom) or 1.0
    has_cut = any(value < bottom - 0.1 * span for value in values)
    return bottom - (0.5 * span if has_cut else 0.1 * span if bottom < 0 else 0.0), top + 0.42 * span


# --- one run


def draw_curve(curve: Mapping[str, np.ndarray], results: Mapping[str, EvaluationResult]) -> Figure:
    """Training as it went, one panel per curve's metric over environment steps; the baselines as lines beside it."""
    scenario = scenario_of(results)
    protocol, columns = protocol_of(scenario), family_of(scenario).columns
    figure, axes = panels(1, len(protocol.curves), width=13.0, height=2.9)
    for panel, key in zip(axes[0], protocol.curves, strict=True):
        column = columns[key]
        for name, style in ((key, TRAINING_STYLE), (VALIDATION + key, VALIDATION_STYLE)):
            is_known = np.isfinite(curve[name])  # iterations without a finished or a validation episode have no mean
            panel.plot(curve[STEPS][is_known], column.scale * curve[name][is_known], **style)
        _draw_baselines(panel, column, {name: result.mean(key) for name, result in results.items()})
        if column.published is not None:
            panel.axhline(column.published, color=RED, label="published", **BASELINE_STYLE)
        if protocol.log_below is not None and np.nanmin([*curve[key], 0.0]) < protocol.log_below:
            panel.set_yscale("symlog", linthresh=10)
        _finish_curve(panel, column)
    _legend_below(figure, axes)
    return figure


def draw_attention(agents: Mapping[str, Mapping[str, Any]]) -> Figure:
    """One heat map an agent: decisions in rows, tokens in columns; see `experiments.attention.explained_moment`."""
    figure, axes = panels(2, 2, width=13.0, height=6.4)
    for panel in axes.flat:
        panel.set_visible(False)
    for panel, (agent, own) in zip(axes.flat, agents.items(), strict=False):
        names, rows = own["tokens"], own["decisions"]
        shares = np.array(own["shares"])[[names.index(name) for name in rows]]
        panel.set_visible(True)
        panel.imshow(shares, cmap="Blues", vmin=0, vmax=max(0.5, float(shares.max())), aspect="auto")
        for (row, column), share in np.ndenumerate(shares):
            if share > 0:
                color = "white" if share > 0.3 else INK
                panel.text(column, row, f"{share:.2f}", ha="center", va="center", fontsize=7.5, color=color)
        panel.grid(visible=False)
        panel.set_xticks(range(len(names)), names, rotation=40, ha="right", rotation_mode="anchor")
        panel.set_yticks(range(len(rows)), rows)
        panel.set_title(agent.removesuffix("_0").replace("_", " "), fontsize=10.5, color=INK, loc="left")
    return figure


# --- several runs


def draw_seeds(data: Mapping[str, Any]) -> Figure:
    """`experiments.seeds.summarise_seeds`: greedy validation of every run over environment steps, their mean, and the
    baselines of the final evaluation.
    """
    scenario = data["scenario"]
    columns, names = family_of(scenario).columns, protocol_of(scenario).curves
    figure, axes = panels(1, len(names), width=13.0, height=2.9)
    end = max(run["curve"][STEPS][-1] for run in data["runs"])
    grid = np.linspace(0, end, 60)[1:]
    for panel, name in zip(axes[0], names, strict=True):
        column, lines = columns[name], []
        for k, run in enumerate(data["runs"]):
            steps, values = run["curve"][STEPS], column.scale * np.array(run["curve"][name])
            panel.plot(steps, values, color=SOFT, linewidth=1.0, label=None if k else "a seed, greedy")
            lines.append(np.interp(grid, steps, values, left=np.nan, right=np.nan))
        is_seen = np.isfinite(lines).all(0)
        mean = np.mean(lines, 0)
        panel.plot(grid[is_seen], mean[is_seen], color=STRONG, linewidth=2.0, zorder=4, label="their mean")
        _draw_baselines(panel, column, {policy: found[name]["mean"] for policy, found in data["summary"].items()})
        if name == family_of(scenario).headline and np.isfinite(lines).any():
            lowest, highest = np.nanquantile(lines, [0.1, 1.0])
            if np.nanmin(lines) < lowest - 2 * (highest - lowest):
                panel.set_ylim(bottom=lowest - (highest - lowest))
        _finish_curve(panel, column)
    _legend_below(figure, axes)
    return figure


def draw_settings(data: Mapping[str, Any]) -> Figure:
    """`experiments.seeds.compare_settings`: greedy validation of the settings' runs (thin) and their mean (thick), over
    steps above and minutes below.
    """
    settings = data["settings"]
    scenario = next(iter(settings.values()))["scenario"]
    columns, names = family_of(scenario).columns, protocol_of(scenario).curves
    figure, axes = panels(2, len(names), width=13.0, height=5.4)
    for row, (key, unit, label) in enumerate(((STEPS, 1.0, "environment steps"), (SECONDS, 60.0, "minutes"))):
        for panel, name in zip(axes[row], names, strict=True):
            column = columns[name]
            lowest = [
                _draw_setting(panel, setting, found["runs"], column, key, unit, color)
                for (setting, found), color in zip(settings.items(), itertools.cycle(SETTING_COLORS), strict=False)
            ]
            if name == family_of(scenario).headline:
                panel.set_ylim(bottom=min(lowest))  # the first steps would hide the rest
            _finish_curve(panel, column, label)
    _legend_below(figure, axes)
    return figure


def _draw_setting(
    panel: Axes, setting: str, runs: Sequence[Mapping[str, Any]], column: Column, key: str, unit: float, color: str
) -> float:
    """The curves of a setting's runs and their mean, over `key` in `unit`s; returns what is low for the mean."""
    curves = [(np.array(run["curve"][key]) / unit, run["curve"][column.name]) for run in runs]
    grid = np.linspace(max(x[0] for x, _ in curves), min(x[-1] for x, _ in curves), 60)
    for x, values in curves:
        panel.plot(x, column.scale * np.array(values), color=color, linewidth=0.7, alpha=0.4)
    mean = column.scale * np.mean([np.interp(grid, x, values) for x, values in curves], 0)
    panel.plot(grid, mean, color=color, linewidth=2.0, zorder=4, label=setting)
    return float(np.quantile(mean, 0.15))


# --- parts of charts


def panels(rows: int, columns: int, width: float, height: float, sharey: bool = False) -> tuple[Figure, np.ndarray]:
    """A figure of that size [inches], and its panels, ``(rows, columns)`` of Axes, in the house's style."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, sharey=sharey, squeeze=False)
    for panel in axes.flat:
        panel.spines[["top", "right"]].set_visible(False)
        panel.spines[["left", "bottom"]].set_color("#9aa1a9")
        panel.tick_params(labelsize=8.5, colors=INK, length=3)
        panel.grid(axis="both", color="#e7e9ec", linewidth=0.7, zorder=0)
        panel.set_axisbelow(True)
    return figure, axes


def _draw_baselines(panel: Axes, column: Column, means: Mapping[str, float]) -> None:
    """A line at the mean, by policy, of every baseline that was measured."""
    for name, color in BASELINES:
        if name in means and math.isfinite(means[name]):
            panel.axhline(column.scale * means[name], color=color, label=name, **BASELINE_STYLE)


def _legend_below(figure: Figure, axes: np.ndarray) -> None:
    labelled = axes[0][0].get_legend_handles_labels()
    figure.legend(*labelled, loc="outside lower center", ncols=6, frameon=False, fontsize=9)


def _finish_curve(panel: Axes, column: Column, label: str = "environment steps") -> None:
    panel.set_title(_panel_title(column), fontsize=10.5, color=INK, loc="left")
    panel.xaxis.set_major_formatter(_short_number)
    panel.locator_params(axis="x", nbins=4)
    panel.set_xlabel(label, fontsize=8.5)


def _short_number(value: float, _: float) -> str:
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _panel_title(column: Column) -> str:
    return f"{column.title}, {column.better} is better"


# --- files


def write_picture(path: str | os.PathLike[str], figure: Figure) -> pathlib.Path:
    """Writes SVG or PDF if the name ends so, else PNG, whole or not at all; returns the path."""
    path = pathlib.Path(path)
    kind = path.suffix[1:].lower()
    with new_file(path) as file:
        figure.savefig(file, dpi=130, format=kind if kind in ("svg", "pdf") else "png")
    return path


def svg(figure: Figure) -> str:
    """The figure as SVG; the same figure gives the same text."""
    import matplotlib

    file = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "hmarl-soc"}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()
