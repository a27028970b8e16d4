"""The `rgb_array` picture of `paper-v0`.

Zones and hosts on the left, alerts and last actions on the right, figures below. What never changes is drawn once.
Needs the extra `hmarl-soc[render]`, see `soc_env.engine.pen`.
"""

from __future__ import annotations

import numpy as np

from soc_env.engine.pen import (
    ASKED,
    BAD,
    BOOST,
    CALM,
    FAINT,
    GOOD,
    HEIGHT,
    INK,
    PANEL,
    PAPER,
    RULE,
    WARN,
    WIDTH,
    Color,
    Pen,
)
from soc_env.paper.simulator import PaperSimulator
from soc_env.paper.tables import PHASES, QUEUE_CAPACITY
from soc_env.paper.text import CONTAINED, EXFILTRATED, RUNNING, SHOWN_ALERTS, TIME_OUT, TOOLS, TRIAGE_NAMES, PaperFrame

CLEAN = (203, 212, 221)
STAGES: tuple[Color, ...] = (CLEAN, (255, 214, 74), (255, 150, 28), (232, 70, 44), (140, 12, 30))
DETECTED, ISOLATED = (15, 20, 28), (35, 105, 225)
OUTCOME_COLORS = {RUNNING: CALM, CONTAINED: GOOD, EXFILTRATED: BAD, TIME_OUT: WARN}

# Where each zone's box stands: (left, top); reachability runs from left to right.
ZONE_WIDTH, ZONE_HEIGHT = 232, 256
ZONE_PLACES = ((20, 268), (306, 128), (306, 424), (592, 128), (592, 424))
GRID_WIDTH, GRID_HEIGHT, GRID_TOP = 216, 172, 32
MAX_CELLS = 2400  # per zone; beyond, a cell stands for several hosts
LARGEST_CELL, SMALL_CELL, SMALLEST_CELL = 26, 8, 3  # pixels; below SMALL_CELL compromised hosts are drawn larger

SIDE, SIDE_WIDTH = 850, 410
ALERTS_TOP, ROW = 70, 20
ACTIONS_TOP = 330
BOTTOM = 700
THRESHOLD_TICKS = (("hunt_threshold", "false_scan_threshold"), (), ("isolation_threshold", "over_isolation_threshold"),
                   ("remediation_threshold",))  # fmt: skip


def draw(pen: Pen, sim: PaperSimulator, index: int) -> None:
    """What changes from step to step."""
    frame = PaperFrame.read(sim, index)
    _draw_header(pen, frame)
    _draw_chain(pen, frame)
    for s, place in enumerate(ZONE_PLACES):
        _draw_zone(pen, frame, s, *place)
    _draw_alerts(pen, frame)
    _draw_actions(pen, frame)
    _draw_figures(pen, frame)


# ---------------------------------------------------------------------- what never changes
def draw_background(pen: Pen, sim: PaperSimulator, index: int) -> None:
    """What never changes in an env."""
    frame = PaperFrame.read(sim, index)
    pen.pixels[..., 3] = 255
    pen.rect(0, 0, WIDTH, HEIGHT, PAPER)
    _draw_reachability(pen, frame)
    for s, (x, y) in enumerate(ZONE_PLACES):
        segment = frame.scenario.segments[s]
        pen.frame(x, y, ZONE_WIDTH, ZONE_HEIGHT, RULE, PANEL)
        pen.text(x + 8, y + 21, segment.name, 14, bold=True)
        pen.text(x + ZONE_WIDTH - 8, y + 21, f"value {segment.value:.2f}", 12, FAINT, align="right")
    pen.text(20, 160, "INTERNET", 13, FAINT, bold=True)
    pen.arrow((56, 168), (56, ZONE_PLACES[0][1]), both=False)
    _draw_legend(pen, frame, 20, 548)
    pen.frame(SIDE, ALERTS_TOP, SIDE_WIDTH, ACTIONS_TOP - ALERTS_TOP - 10, RULE, PANEL)
    pen.frame(SIDE, ACTIONS_TOP, SIDE_WIDTH, BOTTOM - ACTIONS_TOP - 10, RULE, PANEL)
    pen.frame(20, BOTTOM, WIDTH - 40, HEIGHT - BOTTOM - 12, RULE, PANEL)


def _draw_reachability(pen: Pen, frame: PaperFrame) -> None:
    """Arrows between the zones that an intruder can pass."""
    centers = [np.array([x + ZONE_WIDTH / 2, y + ZONE_HEIGHT / 2]) for x, y in ZONE_PLACES]
    reachable = [segment.reachable for segment in frame.scenario.segments]
    for a in range(len(centers)):
        for b in range(a + 1, len(centers)):
            if b in reachable[a] or a in reachable[b]:
                start, end = (a, b) if b in reachable[a] else (b, a)
                both = b in reachable[a] and a in reachable[b]
                pen.arrow(_border(centers[start], centers[end]), _border(centers[end], centers[start]), both)


def _border(center: np.ndarray, towards: np.ndarray) -> tuple[float, float]:
    """Where the line from a zone's center to another's leaves its box."""
    way = towards - center
    reach = min(
        half / abs(part) if part else np.inf for half, part in zip((ZONE_WIDTH / 2, ZONE_HEIGHT / 2), way, strict=True)
    )
    return tuple(center + way * reach)


def _draw_legend(pen: Pen, frame: PaperFrame, x: int, y: int) -> None:
    names = ("clean", "access", "executed", "moved", "exfiltrating")
    pen.text(x, y, "hosts", 12, FAINT, bold=True)
    for k, (name, color) in enumerate(zip(names, STAGES, strict=True)):
        left, top = x + 112 * (k % 2), y + 10 + 20 * (k // 2)
        pen.rect(left, top, 13, 13, color)
        pen.text(left + 19, top + 11, name if k == 0 else f"{k} {name}", 11, FAINT)
    for k, (name, color) in enumerate((("detected", DETECTED), ("isolated", ISOLATED))):
        left, top = x + 112 * k, y + 70
        pen.frame(left, top, 13, 13, color, STAGES[2], 3)
        pen.text(left + 19, top + 11, name, 11, FAINT)
    per_cell = _hosts_per_cell(int(np.bincount(frame.hosts["segment"]).max()))
    if per_cell > 1:
        pen.text(x, y + 104, f"one square = {per_cell} hosts, the worst shown", 11, FAINT)


# ---------------------------------------------------------------------- header
def _draw_header(pen: Pen, frame: PaperFrame) -> None:
    name = f"SOC {frame.scenario.name}"
    pen.text(20, 34, name, 20, bold=True)
    pen.text(290, 34, f"step {frame.step} / {frame.scenario.max_steps}", 15)
    pen.text(470, 34, f"{frame.scenario.num_hosts:,} host{'s' * (frame.scenario.num_hosts > 1)}", 15, FAINT)
    pen.text(WIDTH - 200, 34, f"episode reward {frame.metrics['reward']:+,.2f}", 15, bold=True, align="right")
    pen.rect(WIDTH - 180, 12, 160, 32, OUTCOME_COLORS[frame.outcome])
    pen.text(WIDTH - 100, 33, frame.outcome.upper(), 14, PANEL, bold=True, align="center")
    pen.rect(0, 52, WIDTH, 4, RULE)
    pen.rect(0, 52, WIDTH * frame.step / frame.scenario.max_steps, 4, OUTCOME_COLORS[frame.outcome])


def _draw_chain(pen: Pen, frame: PaperFrame) -> None:
    """The attacker's phases; those gone through are tinted, the present one is full."""
    pen.text(20, 92, "attack", 13, bold=True)
    width = 148
    for k, phase in enumerate(PHASES):
        x, now = 82 + k * (width + 4), frame.campaign["phase"]
        color = BAD if k == now else (240, 190, 190) if k < now else RULE
        pen.rect(x, 74, width, 26, color)
        pen.text(x + width / 2, 92, phase, 12, PANEL if k == now else INK, bold=k == now, align="center")


# ---------------------------------------------------------------------- zones
def _draw_zone(pen: Pen, frame: PaperFrame, s: int, x: int, y: int) -> None:
    hosts = frame.hosts[frame.hosts["segment"] == s]
    _paint_hosts(pen, hosts, x + 8, y + GRID_TOP)
    counts = (
        ("compromised", "is_compromised", BAD, 8, "left"),
        ("detected", "is_detected", INK, ZONE_WIDTH / 2, "center"),
        ("isolated", "is_isolated", ISOLATED, ZONE_WIDTH - 8, "right"),
    )
    for name, field, color, left, align in counts:
        count = int(np.count_nonzero(hosts[field]))
        pen.text(x + left, y + 221, f"{count:,}", 13, color if count else FAINT, bold=count > 0, align=align)
        pen.text(x + left, y + 232, name, 9, FAINT, align=align)
    for k, level in enumerate(np.minimum(1, frame.levels[s] + frame.boosts)):
        left, width = x + 8 + k * 55, 50
        pen.text(left, y + 245, TOOLS[k], 9, FAINT)
        pen.rect(left, y + 248, width, 4, RULE)
        pen.rect(left, y + 248, width * level, 4, ASKED)


def _hosts_per_cell(num_hosts: int) -> int:
    return max(1, -(-num_hosts // MAX_CELLS))


def _paint_hosts(pen: Pen, hosts: np.ndarray, x: int, y: int) -> None:
    """A square per host (or group of hosts): filled by stage, framed if detected or isolated."""
    if not len(hosts):
        pen.text(x + GRID_WIDTH / 2, y + 60, "no hosts", 12, FAINT, align="center")
        return
    stage, frame = _cells(hosts)
    cell, columns = _cell_size(len(stage))
    rows = -(-len(stage) // columns)
    colors = np.array(STAGES, np.uint8)[stage]
    frames = np.where((frame > 0)[:, None], np.array([PANEL, DETECTED, ISOLATED], np.uint8)[frame], colors)
    gap, thick = (1 if cell > 3 else 0), max(1, round(cell * 0.18))
    squares = np.empty((rows * columns, cell, cell, 3), np.uint8)
    squares[:] = PANEL
    count = len(stage)
    squares[:count, : cell - gap, : cell - gap] = frames[:, None, None]
    squares[:count, thick : cell - gap - thick, thick : cell - gap - thick] = colors[:, None, None]
    image = squares.reshape(rows, columns, cell, cell, 3).swapaxes(1, 2).reshape(rows * cell, columns * cell, 3)
    pen.pixels[y : y + rows * cell, x : x + columns * cell, :3] = image
    if cell <= SMALL_CELL:  # what matters would drown among thousands
        for k in np.flatnonzero(stage).tolist():
            left, top = x + k % columns * cell, y + k // columns * cell
            pen.frame(left - 3, top - 3, cell + 5, cell + 5, _rgb(frames[k]), _rgb(colors[k]), 2)


def _rgb(pixel: np.ndarray) -> Color:
    red, green, blue = pixel.tolist()
    return red, green, blue


def _cells(hosts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(cells,) stage of the worst host, and (cells,) frame: 0 none, 1 detected, 2 isolated."""
    stage = np.where(hosts["is_compromised"], np.maximum(hosts["stage"], 1), 0)
    frame = np.where(hosts["is_isolated"], 2, np.where(hosts["is_detected"], 1, 0))
    per_cell = _hosts_per_cell(len(hosts))
    padding = -len(hosts) % per_cell
    stage, frame = (np.pad(values, (0, padding)).reshape(-1, per_cell) for values in (stage, frame))
    return stage.max(axis=1), frame.max(axis=1)


def _cell_size(count: int) -> tuple[int, int]:
    """Largest square (pixels) with which `count` of them fit into a zone, and how many stand in a row."""
    for cell in range(LARGEST_CELL, SMALLEST_CELL, -1):
        columns = GRID_WIDTH // cell
        if columns * (GRID_HEIGHT // cell) >= count:
            return cell, columns
    return SMALLEST_CELL, GRID_WIDTH // SMALLEST_CELL


# ---------------------------------------------------------------------- right side
def _draw_alerts(pen: Pen, frame: PaperFrame) -> None:
    x, y, alerts = SIDE + 12, ALERTS_TOP, frame.alerts
    pen.text(x, y + 21, "Alert queue", 14, bold=True)
    pen.text(SIDE + SIDE_WIDTH - 12, y + 21, f"{len(alerts)} / {QUEUE_CAPACITY}", 13, align="right")
    pen.rect(x + 110, y + 11, 200, 10, RULE)
    pen.rect(x + 110, y + 11, 200 * len(alerts) / QUEUE_CAPACITY, 10, WARN if len(alerts) < QUEUE_CAPACITY else BAD)
    for left, title in ((0, "age"), (46, "zone"), (150, "severity"), (250, "confidence"), (346, "cause")):
        pen.text(x + left, y + 40, title, 10, FAINT)
    for k, alert in enumerate(alerts[:SHOWN_ALERTS]):
        base = y + 56 + k * (ROW - 1)
        pen.text(x, base, str(frame.step - int(alert["step"])), 11)
        pen.text(x + 46, base, frame.scenario.segments[alert["segment"]].name, 11)
        pen.bar(x + 150, base - 8, 86, float(alert["severity"]), STAGES[2])
        pen.bar(x + 250, base - 8, 86, float(alert["confidence"]), ASKED)
        pen.text(x + 346, base, "attack" if alert["is_true"] else "benign", 11, BAD if alert["is_true"] else FAINT)
    if not len(alerts):
        pen.text(x, y + 60, "empty", 12, FAINT)


def _draw_actions(pen: Pen, frame: PaperFrame) -> None:
    x, y = SIDE + 12, ACTIONS_TOP
    pen.text(x, y + 21, "Last actions", 14, bold=True)
    if frame.triage is None:
        pen.text(SIDE + SIDE_WIDTH - 12, y + 21, "none yet", 12, FAINT, align="right")
    _draw_triage(pen, frame, x, y + 34)
    _draw_directive(pen, frame, x, y + 84)
    _draw_efforts(pen, frame, x, y + 186)


def _draw_triage(pen: Pen, frame: PaperFrame, x: int, y: int) -> None:
    pen.text(x, y + 10, "alert triage", 12, FAINT, bold=True)
    for k, name in enumerate(TRIAGE_NAMES):
        is_chosen = name == frame.triage
        pen.rect(x + k * 97, y + 16, 93, 22, ASKED if is_chosen else RULE)
        color = PANEL if is_chosen else FAINT
        pen.text(x + k * 97 + 46, y + 31, name, 12, color, bold=is_chosen, align="center")


def _draw_directive(pen: Pen, frame: PaperFrame, x: int, y: int) -> None:
    scenario = frame.scenario
    pen.text(x, y + 12, "strategic coordinator", 12, FAINT, bold=True)
    color = GOOD if frame.steps_to_decision == 0 else FAINT
    pen.text(SIDE + SIDE_WIDTH - 12, y + 12, frame.next_decision, 11, color, align="right")
    limits = (scenario.hunt_boost, scenario.scope_boost, scenario.isolation_boost)
    for k, (tool, boost, limit) in enumerate(zip(TOOLS, frame.boosts, limits, strict=False)):
        top = y + 22 + k * ROW
        pen.text(x, top + 9, f"more {tool}", 11)
        pen.bar(x + 92, top, 230, boost / limit if limit else 0.0, BOOST)
        pen.text(SIDE + SIDE_WIDTH - 12, top + 9, f"+{boost:.2f}", 11, align="right")


def _draw_efforts(pen: Pen, frame: PaperFrame, x: int, y: int) -> None:
    """Per zone what hunter and orchestrator asked for, the directive's boost on top, and the tools' thresholds."""
    pen.text(x + 92, y + 8, "threat hunter", 12, FAINT, bold=True)
    pen.text(x + 242, y + 8, "orchestrator", 12, FAINT, bold=True)
    lefts, width = (92, 166, 242, 318), 66
    for left, tool in zip(lefts, TOOLS, strict=True):
        pen.text(x + left, y + 24, tool, 11, FAINT)
    for s, segment in enumerate(frame.scenario.segments):
        top = y + 32 + s * (ROW + 2)
        pen.text(x, top + 10, segment.name, 11)
        for k, left in enumerate(lefts):
            level = frame.levels[s, k]
            total = min(1.0, level + frame.boosts[k])
            pen.rect(x + left, top, width, 11, RULE)
            pen.rect(x + left, top, width * total, 11, BOOST)
            pen.rect(x + left, top, width * level, 11, ASKED)
            for name in THRESHOLD_TICKS[k]:
                pen.rect(x + left + width * getattr(frame.scenario, name), top - 2, 1, 15, INK)
    pen.text(x, y + 154, "light: added by the directive; ticks: where a tool starts, and where it", 10, FAINT)
    pen.text(x, y + 167, "starts to hit clean hosts", 10, FAINT)


# ---------------------------------------------------------------------- bottom
def _draw_figures(pen: Pen, frame: PaperFrame) -> None:
    pen.text(34, BOTTOM + 24, "Reward of the step", 14, bold=True)
    color = GOOD if frame.reward > 0 else BAD if frame.reward < 0 else INK
    pen.text(384, BOTTOM + 24, f"{frame.reward:+,.2f}", 14, color, bold=True, align="right")
    for k, (name, value) in enumerate(frame.terms.items()):
        x, y = 34 + 190 * (k % 2), BOTTOM + 46 + 22 * (k // 2)
        color = GOOD if value > 0 else BAD if value < 0 else FAINT
        pen.text(x, y, name.replace("_", " "), 12, FAINT)
        pen.text(x + 160, y, f"{value:+,.2f}", 12, color, align="right")
    chain, metrics = frame.campaign, frame.metrics
    figures = (
        ("detected at", str(chain["detection_step"] or "not yet")),
        ("contained at", str(chain["containment_step"] or "not yet")),
        ("compromised", f"{metrics['compromised']:.0f}"),
        ("false positive rate", f"{metrics['fpr']:.2%}"),
        ("true positives", f"{metrics['true_positives']:,.0f}"),
        ("false positives", f"{metrics['false_positives']:,.0f}"),
        ("alerts raised", f"{metrics['total_alerts']:,.0f}"),
        ("host scans", f"{metrics['total_scans']:,.0f}"),
    )
    for k, (name, figure) in enumerate(figures):
        x, y = 430 + 206 * (k % 4), BOTTOM + 20 + 40 * (k // 4)
        pen.text(x, y, name, 11, FAINT)
        pen.text(x, y + 18, figure, 15, bold=True)
