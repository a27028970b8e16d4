"""What came out on CC4: the table and the picture, beside what others have published by the same protocol."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from experiments.plots import GREY, INK, RED, panels
from experiments.tables import print_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

AXIS = (50, 100, 200, 500, 1000, 2000, 5000, 10_000)  # of the picture, in penalties


class Published(NamedTuple):
    """A figure of somebody else's, by the same protocol."""

    name: str
    score: float
    source: str


SUBMISSION = "submission to CC4, as quoted by third parties"
PUBLISHED = (
    Published("UC heuristic (winner)", -113.0, SUBMISSION),
    Published("lancer", -118.0, SUBMISSION),
    Published("H-MARL Expert", -129.5, "Singh et al., as quoted by third parties"),
    Published("punch", -142.0, SUBMISSION),
    Published("flat IPPO", -181.6, "baseline of Singh et al., as quoted by third parties"),
    Published("Cybermonic GNN-PPO", -193.0, SUBMISSION),
    Published("PPO of CybORG, 3M steps", -1854.0, "as quoted by third parties"),
    Published("HMARL-SOC", -6003.6, "manuscript: -30,018 summed over five agents; per agent as the protocol has it"),
)


def print_table(data: Mapping[str, Any], file: TextIO | None = None) -> None:
    """Prints every entry with n, mean, 95 % interval and observation level, and the published figures below."""
    header = ["policy", "sees", "n", "official score"]
    rows = [
        [
            name,
            record["observation"],
            str(record["n"]),
            f"{record['mean']:.1f} [{record['low']:.1f}, {record['high']:.1f}]",
        ]
        for name, record in _measured(data)
    ]
    rows += [[f"{figure.name}, published", "", "", f"{figure.score:g}"] for figure in PUBLISHED]
    protocol = data["protocol"]
    caption = (
        f"mean [95 % interval] over n episodes of CybORG {protocol['cyborg']['version']} CAGE Challenge 4, seed"
        f" {protocol['seed']}; published figures are quoted, not measured here"
    )
    print_rows(header, rows, caption, file or sys.stdout)


def _measured(data: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The entries with at least one episode, worst first."""
    return sorted(((k, v) for k, v in data["entries"].items() if v["scores"]), key=lambda item: item[1]["mean"])


def draw(data: Mapping[str, Any]) -> Figure:
    """Bars of penalties (the negative score) on a logarithmic axis with 95 % intervals; published figures as lines."""
    entries = _measured(data)
    figure, axes = panels(1, 1, width=11.0, height=2.6 + 0.42 * len(entries))
    panel = axes[0][0]
    for row, (_, record) in enumerate(entries):
        _draw_bar(panel, row, record)
    _draw_published(panel)
    panel.set_xscale("log")
    panel.set_xlim(AXIS[0], 2 * AXIS[-1])
    panel.set_xticks(AXIS, [f"-{value:,}" for value in AXIS])
    panel.minorticks_off()
    panel.set_xlabel("official score, logarithmic: further left is better", fontsize=9)
    names = [n if n.endswith(r["observation"]) else f"{n}, {r['observation']}" for n, r in entries]
    panel.set_yticks(range(len(entries)), names, fontsize=10)
    panel.set_ylim(len(entries) - 0.4, -0.6)
    return figure


def _draw_bar(panel: Axes, row: int, record: Mapping[str, Any]) -> None:
    mean, low, high = (max(-record[key], AXIS[0]) for key in ("mean", "high", "low"))
    panel.barh(row, mean, color=GREY, height=0.66, zorder=2)
    panel.errorbar(mean, row, xerr=[[mean - low], [high - mean]], color=INK, linewidth=1.1, capsize=2.5, zorder=4)
    text = f"{record['mean']:,.0f}  (n={record['n']})"
    box = {"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.85}
    style: dict[str, Any] = {"textcoords": "offset points", "va": "center", "fontsize": 8.5, "zorder": 5}
    panel.annotate(text, (min(high, AXIS[-1]), row), xytext=(5, 0), bbox=box, **style)


def _draw_published(panel: Axes) -> None:
    place = 0.0
    across, upright = panel.transData, panel.transAxes
    where: dict[str, Any] = {
        "xycoords": (across, upright),
        "textcoords": (across, upright),
        "color": RED,
        "fontsize": 8,
    }
    slant: dict[str, Any] = {"rotation": 38, "rotation_mode": "anchor", "ha": "left", "va": "bottom"}
    pointer = {"arrowstyle": "-", "color": RED, "linewidth": 0.5}
    for quoted in sorted(PUBLISHED, key=lambda quoted: -quoted.score):
        panel.axvline(-quoted.score, color=RED, linestyle=(0, (4, 3)), linewidth=0.9, zorder=3)
        place = max(-quoted.score, place * 1.13)  # labels are moved apart where they would overlap
        text = f"{quoted.name} {quoted.score:g}"
        panel.annotate(text, (-quoted.score, 1.0), xytext=(place, 1.03), arrowprops=pointer, **where, **slant)
