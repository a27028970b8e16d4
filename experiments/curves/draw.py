"""The curves as a picture and as a table."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.plots import BASELINE_STYLE, INK, SETTING_COLORS, panels
from soc_env.registry import family_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Rows = Sequence[Mapping[str, float]]


def at_minutes(seeds: Mapping[str, Rows], minutes: np.ndarray) -> np.ndarray:
    """(seeds, minutes) values at CPU-minutes, on straight lines between the looks; NaN behind a curve's last one."""
    found = np.full((len(seeds), len(minutes)), np.nan)
    for own, rows in zip(found, seeds.values(), strict=True):
        if rows:
            cpu, values = (np.array([row[name] for row in rows]) for name in ("cpu", "value"))
            own[:] = np.interp(60 * minutes, cpu, values, right=np.nan)
    return found


def minutes_of(result: Mapping[str, Any]) -> np.ndarray:
    """Whole CPU-minutes, from the first on, that all curves have."""
    ends = [rows[-1]["cpu"] if rows else 0.0 for seeds in result["curves"].values() for rows in seeds.values()]
    return np.arange(1, int(min(ends, default=0.0) / 60 + 1e-9) + 1)


def table(result: Mapping[str, Any]) -> Iterator[str]:
    """Lines: of each curve its mean over seeds at every minute, then on held-out episodes, then who is ahead."""
    minutes, curves = minutes_of(result), result["curves"]
    column = family_of(result["scenario"]).columns[result["metric"]]
    width = max(map(len, [*curves, *result["references"], "CPU-minutes"]))
    yield f"{'CPU-minutes':<{width}}" + "".join(f"{minute:>7d}" for minute in minutes) + "   held out"
    means = {name: at_minutes(seeds, minutes).mean(axis=0) for name, seeds in curves.items()}
    for name, values in means.items():
        shown = "".join(f"{column.format(value):>7}" for value in values)
        ends = [end["value"] for end in result["ends"].get(name, {}).values()]
        yield f"{name:<{width}}{shown}{column.format(float(np.mean(ends))) if ends else '':>11}"
    for name, row in result["references"].items():
        yield f"{name:<{width}}" + f"{column.format(row['value']):>7}" * len(minutes)
    first, *others = curves if len(minutes) else [""]
    is_more = 1 if column.better == "higher" else -1
    for other in others:
        behind = minutes[~(is_more * (means[first] - means[other]) > 0)]
        verdict = f"not at minutes {', '.join(map(str, behind))}" if behind.size else "at every minute"
        yield f"{first} is ahead of {other} {verdict}"


def draw(result: Mapping[str, Any]) -> Figure:
    """Two panels, over CPU-minutes and over environment steps: thin lines for seeds, a thick one for their mean."""
    column = family_of(result["scenario"]).columns[result["metric"]]
    figure, axes = panels(1, 2, width=12.0, height=4.6)
    styles = itertools.product(("-", "--", ":"), SETTING_COLORS)  # more curves than colours: dashed, then dotted
    for (name, seeds), (style, color) in zip(result["curves"].items(), itertools.cycle(styles), strict=False):
        for panel, (x, unit) in zip(axes[0], (("cpu", 60.0), ("steps", 1e6)), strict=True):
            lines = [
                ([row[x] / unit for row in rows], [column.scale * row["value"] for row in rows])
                for rows in seeds.values()
                if rows
            ]
            for xs, ys in lines:
                panel.plot(xs, ys, style, color=color, linewidth=0.8, alpha=0.5 if len(lines) > 1 else 0.0)
            if lines:
                grid = np.linspace(max(xs[0] for xs, _ in lines), min(xs[-1] for xs, _ in lines), 200)
                mean = np.mean([np.interp(grid, xs, ys) for xs, ys in lines], axis=0)
                label = f"{name}, {len(lines)} seed{'s' if len(lines) > 1 else ''}"
                panel.plot(grid, mean, style, color=color, linewidth=2.0, label=label)
    for name, row in result["references"].items():
        for panel in axes[0]:
            panel.axhline(column.scale * row["value"], color=INK, **BASELINE_STYLE)
            panel.annotate(name, (0.01, column.scale * row["value"]), xycoords=("axes fraction", "data"), fontsize=8)
    for panel, label in zip(axes[0], ("CPU-minutes of training", "million environment steps"), strict=True):
        panel.set_xlabel(label, fontsize=9)
        panel.set_ylabel(column.title, fontsize=9)
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return figure
