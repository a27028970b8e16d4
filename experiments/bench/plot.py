"""The benchmark as a picture: a panel for each part that was measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from experiments.bench.learners import LEARNER_ROWS, TRAINING_SCENARIO
from experiments.bench.measure import Measurement
from experiments.bench.simulator import HOST_ENVS, MANY_AT_ONCE, NUM_HOSTS, ONE_AT_ONCE, SCENARIOS
from experiments.bench.text import shown
from experiments.plots import ORANGE, RED, STRONG, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(measurements: Sequence[Measurement], about: str = "") -> Figure:
    """One panel for each part that was measured; `about` is written below them."""
    drawers = {name: drawer for name, drawer in DRAWERS.items() if any(m.part == name for m in measurements)}
    columns = min(3, len(drawers))
    rows = -(-len(drawers) // columns)
    figure, axes = panels(rows, columns, width=5.0 * columns, height=3.9 * rows)
    for panel, (name, drawer) in zip(axes.flat, drawers.items(), strict=False):
        drawer(panel, [m for m in measurements if m.part == name])
    for panel in axes.flat[len(drawers) :]:
        panel.set_visible(False)
    figure.supxlabel(about, fontsize=9, x=0.01, ha="left")
    return figure


LEGEND = {"fontsize": 8, "handlelength": 3.5, "framealpha": 0.85, "edgecolor": "none"}  # long enough to show dashes
GREY = "#8a9099"
COLORS = dict(zip(SCENARIOS, (STRONG, ORANGE), strict=True))
STYLES = {
    "zeros": "-", "random": "--", "state and buffers": "-", "resident": "--", MANY_AT_ONCE: "-", ONE_AT_ONCE: "--",
}  # fmt: skip


def _draw_lines(
    panel: Any, measurements: Sequence[Measurement], x: str, group: str, value: Callable[[Measurement], float]
) -> None:
    """Logarithmic lines over parameter `x` with the spread of the repeats.

    One line for each scenario (colour) and value of parameter `group` (style).
    """
    for scenario, name in dict.fromkeys((m.parameters["scenario"], m.parameters[group]) for m in measurements):
        own = [m for m in measurements if (m.parameters["scenario"], m.parameters[group]) == (scenario, name)]
        xs, ys = [m.parameters[x] for m in own], [value(m) for m in own]
        ends = [sorted(value(dataclasses.replace(m, value=end)) for end in (m.low, m.high)) for m in own]
        color, label = COLORS[scenario], f"{scenario}, {name}"
        panel.fill_between(xs, *zip(*ends, strict=True), color=color, alpha=0.15, linewidth=0)
        panel.plot(xs, ys, STYLES[name], color=color, marker="o", markersize=4, linewidth=1.6, label=label)
    _log_axis(panel.set_xscale, panel.xaxis, sorted({m.parameters[x] for m in measurements}))
    _log_axis(panel.set_yscale, panel.yaxis, None)
    panel.legend(**LEGEND)


def _log_axis(set_scale: Callable[[str], None], axis: Any, ticks: Sequence[float] | None) -> None:
    """A logarithmic axis with plain numbers, at `ticks` or at 1, 2, 5, 10, 20, ..."""
    from matplotlib.ticker import FixedLocator, LogLocator, NullLocator

    set_scale("log")
    axis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=20) if ticks is None else FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda number, _: f"{number:,.0f}" if number >= 1 else f"{number:g}")


def _draw_batched(panel: Any, measurements: Sequence[Measurement]) -> None:
    _draw_lines(panel, measurements, "num_envs", "actions", lambda m: m.value)
    for scenario in _scenarios_of(measurements):
        goal = SCENARIOS[scenario].batched_goal
        panel.axhline(goal, color=COLORS[scenario], linestyle=":", linewidth=1.4, label=f"{scenario}, goal")
    panel.set_ylim(top=6.0 * panel.get_ylim()[1])  # room for the legend above the lines
    panel.legend(loc="upper left", ncols=2, **LEGEND)
    _title(panel, f"Batched, {NUM_HOSTS} hosts", "environments", "env-steps per CPU-second")


def _draw_hosts(panel: Any, measurements: Sequence[Measurement]) -> None:
    _draw_lines(panel, measurements, "num_hosts", "actions", lambda m: 1e6 / m.value)
    _title(panel, f"Growth with hosts, {HOST_ENVS} envs", "hosts", "CPU time of an env-step [µs]")


def _draw_branch(panel: Any, measurements: Sequence[Measurement]) -> None:
    _draw_lines(panel, measurements, "num_hosts", "kind", lambda m: 1e6 / m.value)
    _title(panel, "Copies of environments, by branch()", "hosts", "CPU time of a copied env [µs]")


def _draw_memory(panel: Any, measurements: Sequence[Measurement]) -> None:
    shown = [m for m in measurements if m.value > 0]
    _draw_lines(panel, shown, "num_hosts", "kind", lambda m: m.value / 1024)
    _title(panel, "Memory of an environment", "hosts", "KiB")


def _draw_bars(panel: Any, measurements: Sequence[Measurement], labels: Sequence[str]) -> None:
    """Horizontal bars with the spread of the repeats and the number."""
    for row, m in enumerate(measurements):
        panel.barh(row, m.value, color=_bar_color(m), height=0.6, zorder=2)
        panel.errorbar(m.value, row, xerr=[[m.value - m.low], [m.high - m.value]], color="#20262d", capsize=3, zorder=3)
        text = (max(m.value, m.high), row)
        panel.annotate(shown(m.value), text, xytext=(5, 0), textcoords="offset points", va="center", fontsize=9)
    panel.set_yticks(range(len(labels)), labels, fontsize=9)
    panel.set_ylim(len(labels) - 0.4, -0.6)
    panel.set_xlim(0, 1.25 * max(m.high for m in measurements))
    panel.locator_params(axis="x", nbins=5)
    panel.xaxis.set_major_formatter(lambda number, _: f"{number:,.0f}")


def _bar_color(measurement: Measurement) -> str:
    return GREY if measurement.parameters.get("runner") == "stock" else COLORS[measurement.parameters["scenario"]]


def _draw_pettingzoo(panel: Any, measurements: Sequence[Measurement]) -> None:
    _draw_bars(panel, measurements, [m.parameters["actions"] for m in measurements])
    for scenario in _scenarios_of(measurements):
        panel.plot([], [], color=COLORS[scenario], linewidth=6, label=scenario)  # for the legend
    rows = range(len(measurements))
    goals = [SCENARIOS[m.parameters["scenario"]].single_goal for m in measurements]
    ends = [row - 0.4 for row in rows], [row + 0.4 for row in rows]
    panel.vlines(goals, *ends, color=RED, linestyle=(0, (4, 3)), linewidth=1.2, label="goal", zorder=4)
    panel.legend(loc="lower right", **LEGEND)
    _title(panel, f"One env through PettingZoo, {NUM_HOSTS} hosts", "env-steps per CPU-second", "")


def _draw_runners(panel: Any, measurements: Sequence[Measurement]) -> None:
    _draw_bars(
        panel, measurements, [f"{m.parameters['runner']}\n{m.parameters['num_envs']} envs" for m in measurements]
    )
    _title(panel, f"Env runners, same networks, {TRAINING_SCENARIO}", "env-steps per CPU-second", "")


def _draw_learners(panel: Any, measurements: Sequence[Measurement]) -> None:
    labels = [f"{m.parameters['tier'].replace('_', ' ')}\n{m.parameters['algorithm']}" for m in measurements]
    _draw_bars(panel, measurements, labels)
    _title(panel, f"Learners, {LEARNER_ROWS} rows a step, {TRAINING_SCENARIO}", "gradient steps per CPU-second", "")


def _draw_training(panel: Any, measurements: Sequence[Measurement]) -> None:
    _draw_bars(panel, measurements, [f"{m.parameters['scenario']}\n{m.parameters['kind']}" for m in measurements])
    _title(panel, "Memory of training with the preset", "MiB", "")


def _draw_loading(panel: Any, measurements: Sequence[Measurement]) -> None:
    peaks = [m for m in measurements if m.parameters["kind"] == "peak"]
    _draw_bars(panel, peaks, [f"{m.parameters['scenario']}\n{m.parameters['through']}" for m in peaks])
    _title(panel, "Memory until a loaded policy acts", "MiB", "")


def _scenarios_of(measurements: Sequence[Measurement]) -> list[str]:
    return list(dict.fromkeys(m.parameters["scenario"] for m in measurements))


def _title(panel: Any, title: str, x: str, y: str) -> None:
    panel.set_title(title, fontsize=11, loc="left")
    panel.set_xlabel(x, fontsize=9)
    panel.set_ylabel(y, fontsize=9)


DRAWERS: dict[str, Callable[[Any, Sequence[Measurement]], None]] = {
    "pettingzoo": _draw_pettingzoo,
    "batched": _draw_batched,
    "hosts": _draw_hosts,
    "branch": _draw_branch,
    "memory": _draw_memory,
    "runners": _draw_runners,
    "learners": _draw_learners,
    "training": _draw_training,
    "loading": _draw_loading,
}
