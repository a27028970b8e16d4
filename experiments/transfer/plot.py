"""The picture of `hmarl-soc transfer`: scores by level on the left, differences to one entry on the right.

Rows stand in groups, since a score is only comparable together with its level: raw, flat, and what is published. In a
group the best is on top. Learned teams stand out by their colour.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from experiments.plots import GREY, INK, ORANGE, RED, SOFT, STRONG, panels
from experiments.transfer.comparison import Mean, Row, full_n, reference_of, rows_of
from experiments.transfer.tables import PUBLISHED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

AXIS = (20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)  # of scores, in penalties
GAINS = (-5000, -500, -100, -50, -20, -10, 0, 10, 20, 50, 100, 500, 5000)  # ticks of differences
LINEAR = 20.0  # differences up to here are drawn to scale, beyond it by their logarithm
COLORS = {"learned": STRONG, "untrained": SOFT, "playbook": GREY, "control": GREY}
LEGEND = (("learned", STRONG), ("untrained networks", SOFT), ("scripted", GREY))
HEADINGS = {"raw": "level raw", "flat": "level flat"}
NOTE: dict[str, Any] = {"textcoords": "offset points", "xytext": (5, 0), "va": "center", "fontsize": 8, "zorder": 5}
TITLE: dict[str, Any] = {"fontsize": 9.5, "color": INK, "loc": "left"}
BOX = {"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.85}


class Line(NamedTuple):
    """A line of the picture, from the top: a heading, an entry or a published figure."""

    text: str
    row: Row | None = None
    published: float | None = None


def draw(data: Mapping[str, Any], asked: str | None = None, width: float = 13.0) -> Figure:
    """What is in ``transfer.json``.

    Args:
        data: that.
        asked: the entry that others are held against, as of `comparison.reference_of`, which names the error.
        width: of the picture [inches].
    """
    reference = reference_of(data, asked)
    rows = rows_of(data, reference)
    lines = list(_lines(rows))
    figure, axes = panels(1, 2 if reference else 1, width=width, height=1.5 + 0.27 * len(lines), sharey=True)
    scores = axes[0][0]
    for place, line in enumerate(lines):
        if line.row is not None:
            color = COLORS[_kind(data["entries"][line.row.name], line.row.name)]
            _draw_score(scores, place, line.row, color, full_n(rows))
            if reference:
                _draw_gain(axes[0][1], place, line.row.rest_gain if line.row.rest.n else line.row.score_gain, color)
        elif line.published is not None:
            scores.plot(-line.published, place, "D", color=RED, markersize=5, zorder=4)
            scores.annotate(f"{line.published:,g}", (-line.published, place), color=RED, **NOTE)
    _finish_scores(scores, lines, full_n(rows))
    if reference:
        _finish_gains(axes[0][1], reference, any(row.rest.n for row in rows))
    _draw_legend(figure, has_rest=any(row.rest.n for row in rows))
    return figure


def _lines(rows: list[Row]) -> Iterator[Line]:
    for level, heading in HEADINGS.items():
        own = [row for row in rows if row.observation == level]
        if own:
            yield Line(heading)
            yield from (Line(row.title, row) for row in reversed(own))
    yield Line("published, as quoted")
    yield from (Line(figure.name, published=figure.score) for figure in PUBLISHED)


def _kind(entry: Mapping[str, Any], name: str) -> str:
    """What an entry is; files of before December 2026 say it by the name and the identity of a checkpoint alone."""
    if "kind" in entry:
        return str(entry["kind"])
    is_playbook = name.endswith((" playbook, flat", " playbook, raw"))
    if is_playbook or not entry.get("identity"):
        return "playbook" if is_playbook else "control"
    return "untrained" if ", untrained" in name else "learned"


def _sides(mean: float, low: float, high: float) -> list[list[float]]:
    return [[max(0.0, mean - low)], [max(0.0, high - mean)]]


def _draw_score(panel: Axes, place: int, row: Row, color: str, most: int) -> None:
    """A bar of penalties with its interval, and a ring at the rest."""

    def at(points: float) -> float:
        return min(max(-points, AXIS[0]), 2 * AXIS[-1])

    score, rest = row.score, row.rest
    panel.barh(place, at(score.mean), color=color, height=0.7, zorder=2)
    end = at(score.mean)
    if score.low is not None and score.high is not None:
        end = at(score.low)
        sides = _sides(at(score.mean), at(score.high), end)
        panel.errorbar(at(score.mean), place, xerr=sides, color=INK, linewidth=1.1, capsize=2.5, zorder=4)
    if rest.n:
        panel.plot(at(rest.mean), place, "o", color=INK, markerfacecolor="white", markersize=4.5, zorder=5)
    fewer = "" if score.n == most else "  one episode" if score.n == 1 else f"  {score.n} episodes"
    panel.annotate(f"{score.mean:,.0f}{fewer}", (end, place), bbox=BOX, **NOTE)


def _draw_gain(panel: Axes, place: int, gain: Mean, color: str) -> None:
    """A dot with its interval; hollow where the interval holds 0, or there is none."""
    if gain.n == 0:
        return
    is_clear, ends = False, (gain.mean, gain.mean)
    if gain.low is not None and gain.high is not None:
        is_clear, ends = gain.low > 0 or gain.high < 0, (gain.low, gain.high)
        panel.errorbar(
            gain.mean, place, xerr=_sides(gain.mean, gain.low, gain.high), color=INK, linewidth=1.1, zorder=3
        )
    edge = INK if color == GREY else color
    panel.plot(gain.mean, place, "o", color=edge, markerfacecolor=edge if is_clear else "white", markersize=6, zorder=4)
    # The number stands on the side that looks away from 0.
    side = {"xytext": (-5, 0), "ha": "right"} if gain.mean < 0 else {}
    text = f"{gain.mean:+,.{0 if abs(gain.mean) >= 100 else 1}f}"
    panel.annotate(text, (ends[int(gain.mean >= 0)], place), bbox=BOX, **{**NOTE, **side})


def _finish_scores(panel: Axes, lines: list[Line], most: int) -> None:
    panel.set_xscale("log")
    panel.set_xlim(AXIS[0], 2.4 * AXIS[-1])
    panel.set_xticks(AXIS, [f"-{value:,}" for value in AXIS])
    panel.tick_params(axis="x", labelrotation=30)
    panel.minorticks_off()
    best = max(figure.score for figure in PUBLISHED)
    panel.axvline(-best, color=RED, linestyle=(0, (4, 3)), linewidth=0.8, zorder=3)
    episodes = "one episode" if most == 1 else f"mean of {most} episodes"
    panel.set_title(f"official score, {episodes}\nfurther left is better", **TITLE)
    panel.set_yticks(range(len(lines)), [line.text for line in lines], fontsize=9, parse_math=False)
    for line, label in zip(lines, panel.get_yticklabels(), strict=True):
        if line.row is None and line.published is None:
            label.set_fontweight("bold")
    panel.grid(visible=False, axis="y")
    panel.set_ylim(len(lines) - 0.4, -0.7)


def _finish_gains(panel: Axes, reference: str, has_rest: bool) -> None:
    what = "rest" if has_rest else "score"
    panel.set_title(f"{what} minus {reference}'s, same episodes\nfurther right is better", **TITLE)
    panel.axvline(0.0, color=ORANGE, linewidth=1.2, zorder=2)
    panel.set_xscale("symlog", linthresh=LINEAR)
    low, high = panel.get_xlim()
    low, high = min(6 * low if low < -LINEAR else 2 * low, -1.2 * LINEAR), max(2.0 * high, 1.2 * LINEAR)
    panel.set_xlim(low, high)
    ticks = [tick for tick in GAINS if low <= tick <= high and (low > -500 or abs(tick) not in (20, 100))]
    panel.set_xticks(ticks, [f"{tick:+,}" if tick else "0" for tick in ticks])
    panel.minorticks_off()
    panel.grid(visible=False, axis="y")


def _draw_legend(figure: Figure, has_rest: bool) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [Patch(color=color, label=name) for name, color in LEGEND]
    ring = {"color": INK, "linestyle": "", "markerfacecolor": "white"}
    if has_rest:
        handles.append(Line2D([], [], marker="o", label="the rest: what blue can change", **ring))  # type: ignore[arg-type]
    handles.append(Line2D([], [], marker="D", color=RED, linestyle="", label="published"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=8.5)
