"""The `rgb_array` picture of `soc-v1`: each zone's hosts twice, as the SOC knows them and as they truly are.

A host is a square in the same place of both grids, so a person sees at a glance what the SOC has missed and whom it
suspects without cause. On the right the case queue, the tools of the last minute, the directive and the intruders;
below what it costs and earns. Needs the extra `hmarl-soc[render]`, see `soc_env.engine.pen`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from soc_env.engine.pen import ASKED, BAD, CALM, FAINT, GOOD, HEIGHT, INK, PANEL, PAPER, RULE, WARN, WIDTH, Color, Pen
from soc_env.soc.simulator import SOCSimulator
from soc_env.soc.text import SHOWN_CASES, STANDING, SOCFrame, times_of, where_of

# Colours of hosts. What the SOC knows: by risk score. The truth: by whose the host is.
RISKS: tuple[Color, ...] = ((222, 228, 234), (255, 240, 178), (255, 214, 74), (255, 150, 28), (226, 60, 44))
RISK_STEPS = (0.05, 0.3, 0.5, 0.75)  # the risk scores from which the next colour begins
TRUTHS: tuple[Color, ...] = ((222, 228, 234), (206, 186, 236), (226, 60, 44), (132, 12, 30), (24, 24, 28))
TRUTH_NAMES = ("clean", "persistence left", "user level", "admin level", "encrypted")
ISOLATED, OFFLINE, MARKED = (35, 105, 225), (120, 130, 142), (15, 20, 28)  # frames
TRUTH_TINT = (252, 246, 246)

LEFT, TOP, BOTTOM = 16, 112, 652  # of the zones
LABEL, GRID, GAP = 188, 294, 14
KNOWN_X = LEFT + LABEL + GAP
TRUTH_X = KNOWN_X + GRID + GAP
SIDE, SIDE_WIDTH = 836, 428
CASES_TOP, CALLS_TOP, DIRECTIVE_TOP, CAMPAIGNS_TOP, FIGURES_TOP = 64, 292, 454, 532, 700
SHOWN_CALLS = 7
LARGEST, SMALLEST, SMALL = 32, 3, 7  # pixels of a host's square; up to SMALL what matters is drawn larger
TALL = 64  # pixels of a zone's row from which there is room for all of its labels
OUTCOME_COLORS = {"done": GOOD, "started": ASKED, "failed": BAD, "denied": BAD}
LOSSES: dict[str, Color] = {"damage": BAD, "disruption": WARN, "effort": ASKED}


def draw_background(pen: Pen, sim: SOCSimulator, index: int) -> None:
    """What is the same in every picture."""
    pen.pixels[..., 3] = 255
    pen.rect(0, 0, WIDTH, HEIGHT, PAPER)
    pen.rect(TRUTH_X - 7, 64, GRID + 14, BOTTOM - 64 + 4, TRUTH_TINT)
    pen.text(KNOWN_X, 84, "What the SOC knows", 14, bold=True)
    pen.text(TRUTH_X, 84, "The truth", 14, BAD, bold=True)
    pen.text(TRUTH_X + GRID, 84, "for people, agents never see it", 10, FAINT, align="right")
    _draw_legend(pen)
    tops = (CASES_TOP, CALLS_TOP, DIRECTIVE_TOP, CAMPAIGNS_TOP, FIGURES_TOP + 6)
    for top, end in zip(tops, tops[1:], strict=False):
        pen.frame(SIDE, top, SIDE_WIDTH, end - top - 8, RULE, PANEL)
    pen.frame(LEFT, FIGURES_TOP, WIDTH - LEFT - (WIDTH - SIDE - SIDE_WIDTH), HEIGHT - FIGURES_TOP - 10, RULE, PANEL)
    pen.text(SIDE + 12, CALLS_TOP + 20, "Tools in the last minute", 13, bold=True)
    pen.text(SIDE + 12, DIRECTIVE_TOP + 20, "Directive", 13, bold=True)
    pen.text(SIDE + 12, CAMPAIGNS_TOP + 20, "Intruders", 13, bold=True)
    pen.text(SIDE + SIDE_WIDTH - 12, CAMPAIGNS_TOP + 20, "the truth", 11, BAD, align="right")


def _draw_legend(pen: Pen) -> None:
    y = BOTTOM + 10
    names = ("no risk", "low", "0.3", "0.5", "0.75")
    for k, (name, color) in enumerate(zip(names, RISKS, strict=True)):
        pen.rect(KNOWN_X + 60 * k, y, 11, 11, color)
        pen.text(KNOWN_X + 60 * k + 15, y + 10, name, 10, FAINT)
    frames = (("finding, verdict", MARKED, 0), ("isolated", ISOLATED, 112), ("offline", OFFLINE, 184))
    for name, color, x in frames:
        pen.frame(KNOWN_X + x, y + 16, 11, 11, color, RISKS[2] if color != OFFLINE else color, 2)
        pen.text(KNOWN_X + x + 15, y + 26, name, 10, FAINT)
    for k, (name, color) in enumerate(zip(TRUTH_NAMES, TRUTHS, strict=True)):
        x, top = TRUTH_X + 104 * (k % 3), y + 16 * (k // 3)
        pen.rect(x, top, 11, 11, color)
        pen.text(x + 15, top + 10, name, 10, FAINT)
    pen.frame(TRUTH_X + 208, y + 16, 11, 11, ISOLATED, TRUTHS[2], 2)
    pen.text(TRUTH_X + 223, y + 26, "cut off", 10, FAINT)


def draw(pen: Pen, sim: SOCSimulator, index: int) -> None:
    """The present moment of env `index`, on top of the background."""
    frame = SOCFrame.read(sim, index)
    _draw_header(pen, frame)
    _draw_summary(pen, frame)
    height = (BOTTOM - TOP) // frame.network.num_zones
    largest = max(_draw_zone(pen, frame, z, TOP + z * height, height) for z in range(frame.network.num_zones))
    words = "one square is one host" if largest == 1 else f"one square is up to {largest} hosts,"
    pen.text(LEFT, BOTTOM + 20, words, 10, FAINT)
    pen.text(LEFT, BOTTOM + 34, "" if largest == 1 else "the worst of them shown", 10, FAINT)
    _draw_cases(pen, frame)
    _draw_calls(pen, frame)
    _draw_directive(pen, frame)
    _draw_campaigns(pen, frame)
    _draw_figures(pen, frame)


# ---------------------------------------------------------------------- header
def _draw_header(pen: Pen, frame: SOCFrame) -> None:
    scenario, status = frame.scenario, frame.status
    pen.text(LEFT, 34, scenario.name, 20, bold=True)
    pen.text(206, 34, f"minute {frame.minute} / {scenario.max_steps}", 15)
    pen.text(372, 34, f"phase {frame.phase} of {len(scenario.phase_values)}", 13, FAINT)
    pen.text(478, 34, f"{frame.network.num_hosts:,} hosts in {frame.network.num_zones} zones", 13, FAINT)
    badges = []
    if status["perimeter"] != "open":
        badges.append((f"perimeter {status['perimeter']}", ISOLATED))
    if status["reset_left"]:
        badges.append((f"credential reset, {status['reset_left']} min", ISOLATED))
    if status["service_loss"] >= 0.005:
        badges.append((f"services lost {status['service_loss']:.0%}", WARN))
    x = 668
    for text, color in badges:
        pen.rect(x, 14, 164, 28, color)
        pen.text(x + 82, 33, text, 12, PANEL, bold=True, align="center")
        x += 172
    if len(badges) < 3:
        pen.text(WIDTH - 132, 34, f"loss {frame.metrics['loss']:.1f}", 17, bold=True, align="right")
    live = sum(chain["num_live"] for chain in frame.campaigns)
    word, color = ("OVER", CALM) if frame.is_over else ("INTRUDER IN", BAD) if live else ("RUNNING", GOOD)
    pen.rect(WIDTH - 120, 12, 104, 32, color)
    pen.text(WIDTH - 68, 33, word, 12, PANEL, bold=True, align="center")
    pen.rect(0, 52, WIDTH, 4, RULE)
    pen.rect(0, 52, WIDTH * frame.minute / scenario.max_steps, 4, CALM)


def _draw_summary(pen: Pen, frame: SOCFrame) -> None:
    """How far what the SOC knows is from the truth."""
    hosts = frame.hosts
    is_cut = (hosts["is_isolated"] != 0) | (hosts["is_offline"] != 0)
    is_suspect, is_owned = hosts["risk"] > RISK_STEPS[2], hosts["level"] > 0
    suspects, wrong = int(is_suspect.sum()), int((is_suspect & ~is_owned).sum())
    words = f"{suspects:,} suspects, {wrong:,} of them clean" if suspects else "no suspects"
    pen.text(KNOWN_X, 101, words, 11, INK if suspects else FAINT)
    live, missed = int((is_owned & ~is_cut).sum()), int((is_owned & ~is_cut & ~is_suspect).sum())
    words = f"{live:,} hosts compromised, {missed:,} not suspected" if live else "no intruder in reach of a host"
    pen.text(TRUTH_X, 101, words, 11, BAD if live else FAINT, bold=live > 0)


# ---------------------------------------------------------------------- zones
def _draw_zone(pen: Pen, frame: SOCFrame, z: int, y: int, height: int) -> int:
    """Returns how many hosts share a square."""
    pen.rect(LEFT, y - 3, TRUTH_X + GRID + 7 - LEFT, 1, RULE)
    hosts, row = frame.hosts[frame.hosts["zone"] == z], frame.status["zones"][z]
    _draw_label(pen, frame, {**row, "is_defended": z not in frame.scenario.undefended_zones}, len(hosts), y, height)
    room = height - 8
    shown = min(len(hosts), _room_for(room))
    known, known_frames = known_colors(hosts)
    truth, truth_frames = true_colors(hosts)
    for x, rank, frames, palette in (
        (KNOWN_X, known, known_frames, (*RISKS, OFFLINE)),
        (TRUTH_X, truth, truth_frames, TRUTHS),
    ):
        _paint(pen, _worst(rank, shown), _worst(frames, shown), palette, x, y + 1, room)
    return -(-len(hosts) // shown)


def _draw_label(pen: Pen, frame: SOCFrame, row: dict[str, Any], num_hosts: int, y: int, height: int) -> None:
    right = LEFT + LABEL
    pen.text(LEFT, y + 13, _short(row["name"], 20), 12, bold=True)
    is_stressed = row["factor"] != 1.0
    value = f"value {row['value']:.2f}" + (f" x {row['factor']:g}" if is_stressed else "")
    pen.text(right, y + 13, value, 10, BAD if is_stressed else FAINT, bold=is_stressed, align="right")
    priority = frame.status["directive"]["priority"][row["name"]]
    cases = f", {row['cases']} case{'s' * (row['cases'] != 1)}" if row["cases"] else ""
    job = row["job"]
    work = f"{_tool(job['tool'])} {job['host']}, {job['minutes_left']} min" if job else ""
    idle = "executor free" if row["is_defended"] else "no sensors, out of the tools' reach"
    if height < TALL:
        outage = f", outage {row['outage']:.0%}" if row["outage"] >= 0.005 else ""
        pen.text(LEFT, y + 26, (work or f"{num_hosts:,} hosts{cases}{outage}"), 10, ASKED if work else FAINT)
        return
    pen.text(LEFT, y + 28, f"{num_hosts:,} hosts{cases}", 11, INK if cases else FAINT)
    pen.text(LEFT, y + 43, work or idle, 11 if row["is_defended"] else 10, ASKED if work else FAINT, bold=bool(work))
    pen.text(LEFT, y + 58, f"outage {row['outage']:.0%}", 10, BAD if row["outage"] >= 0.005 else FAINT)
    pen.rect(LEFT + 74, y + 51, right - LEFT - 74, 7, RULE)
    pen.rect(LEFT + 74, y + 51, (right - LEFT - 74) * row["outage"], 7, BAD)
    if height >= TALL + 12:
        pen.text(LEFT, y + 72, f"priority {priority:+.1f}", 10, INK if priority else FAINT)
        decoys = f"{row['decoys']} decoy{'s' * (row['decoys'] != 1)}" if row["decoys"] else ""
        pen.text(right, y + 72, decoys, 10, GOOD, align="right")


def _tool(name: str) -> str:
    return name.replace("_process", "").replace("_", " ")


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def known_colors(hosts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n,) place in RISKS, one beyond for offline hosts; (n,) frame: 0 none, 1 finding or verdict, 2 isolated."""
    rank = np.searchsorted(RISK_STEPS, hosts["risk"], side="right")
    rank[hosts["is_offline"] != 0] = len(RISKS)
    is_marked = (hosts["finding"] >= STANDING) | (hosts["verdict"] >= STANDING)
    return rank, np.where(hosts["is_isolated"] != 0, 2, np.where(is_marked, 1, 0))


def true_colors(hosts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n,) place in TRUTHS; (n,) frame: 2 where an intruder's host is cut off."""
    rank = np.where(hosts["level"] > 0, hosts["level"] + 1, np.where(hosts["campaign"] >= 0, 1, 0))
    rank = np.where(hosts["is_encrypted"] != 0, len(TRUTHS) - 1, rank)
    is_cut = (hosts["is_isolated"] != 0) | (hosts["is_offline"] != 0)
    return rank, np.where(is_cut & (rank > 0), 2, 0)


def _room_for(height: int) -> int:
    return (GRID // SMALLEST) * (height // SMALLEST)


def _worst(values: np.ndarray, shown: int) -> np.ndarray:
    """(at most shown,) highest value of each group of neighbours, as few to a group as possible."""
    group = -(-len(values) // shown)
    return np.pad(values, (0, -len(values) % group)).reshape(-1, group).max(axis=1)


def cell_size(count: int, height: int) -> tuple[int, int]:
    """Largest square (pixels) with which `count` of them fit into a grid, and how many stand in a row."""
    for cell in range(min(LARGEST, height), SMALLEST, -1):
        columns = GRID // cell
        if columns * (height // cell) >= count:
            return cell, columns
    return SMALLEST, GRID // SMALLEST


def _paint(
    pen: Pen, rank: np.ndarray, frame: np.ndarray, palette: tuple[Color, ...], x: int, y: int, height: int
) -> None:
    """A square per host or group of hosts."""
    cell, columns = cell_size(len(rank), height)
    rows = -(-len(rank) // columns)
    colors = np.array(palette, np.uint8)[rank]
    edges = np.where((frame > 0)[:, None], np.array([MARKED, MARKED, ISOLATED], np.uint8)[frame], colors)
    gap, thick = (1 if cell > 3 else 0), max(1, round(cell * 0.16))
    below = pen.pixels[y : y + rows * cell, x : x + columns * cell, :3]
    squares = below.reshape(rows, cell, columns, cell, 3).swapaxes(1, 2).reshape(rows * columns, cell, cell, 3).copy()
    squares[: len(rank), : cell - gap, : cell - gap] = edges[:, None, None]
    squares[: len(rank), thick : cell - gap - thick, thick : cell - gap - thick] = colors[:, None, None]
    image = squares.reshape(rows, columns, cell, cell, 3).swapaxes(1, 2).reshape(rows * cell, columns * cell, 3)
    pen.pixels[y : y + rows * cell, x : x + columns * cell, :3] = image
    if cell <= SMALL:  # what matters would drown among thousands
        for k in np.flatnonzero((rank > 1) | (frame > 0)).tolist():
            left, top = x + k % columns * cell, y + k // columns * cell
            pen.frame(left - 2, top - 2, cell + 4, cell + 4, _rgb(edges[k]), _rgb(colors[k]), 2)


def _rgb(pixel: np.ndarray) -> Color:
    red, green, blue = pixel.tolist()
    return red, green, blue


# ---------------------------------------------------------------------- right side
def _draw_cases(pen: Pen, frame: SOCFrame) -> None:
    x, y, cases = SIDE + 12, CASES_TOP, frame.cases
    capacity = frame.scenario.queue_capacity
    pen.text(x, y + 20, "Case queue", 13, bold=True)
    pen.rect(x + 98, y + 11, 100, 9, RULE)
    pen.rect(x + 98, y + 11, 100 * len(cases) / capacity, 9, WARN if len(cases) < capacity else BAD)
    pen.text(x + 204, y + 20, f"{len(cases)} / {capacity}", 11)
    minutes = frame.status["analyst_minutes"]
    pen.text(SIDE + SIDE_WIDTH - 12, y + 20, f"{minutes:.1f} analyst min", 11, align="right")
    lefts = {"rank": 0, "case": 48, "host": 84, "zone": 126, "technique": 206, "age": 276, "reading": 302}
    for title, left in lefts.items():
        pen.text(x + left, y + 36, title, 9, FAINT)
    pen.text(SIDE + SIDE_WIDTH - 12, y + 36, "cause", 9, BAD, align="right")
    for k, case in enumerate(cases[:SHOWN_CASES]):
        base = y + 51 + k * 18
        pen.bar(x, base - 8, 40, min(1.0, case["rank"]), WARN)
        pen.text(x + 48, base, str(case["id"]), 11, bold=k == 0)
        pen.text(x + 84, base, str(case["host"]), 11)
        pen.text(x + 126, base, _short(case["zone"], 12), 11)
        pen.text(x + 206, base, case["technique"], 11)
        pen.text(x + 276, base, str(case["age"]), 11, BAD if case["is_overdue"] else INK)
        readings = [f"{case[name]:.2f}" for name in ("reading", "second_reading") if case[name] is not None]
        pen.text(x + 302, base, " ".join(readings) or "-", 9, INK if readings else FAINT)
        label, color = ("ATTACK", BAD) if case["is_true"] else ("benign", FAINT)
        pen.text(SIDE + SIDE_WIDTH - 12, base, label, 10, color, bold=case["is_true"], align="right")
    if len(cases) > SHOWN_CASES:
        pen.text(x, y + 51 + SHOWN_CASES * 18, f"... and {len(cases) - SHOWN_CASES} lower ones", 10, FAINT)
    if not cases:
        pen.text(x, y + 56, "empty", 11, FAINT)


def _draw_calls(pen: Pen, frame: SOCFrame) -> None:
    x, y = SIDE + 12, CALLS_TOP
    if not frame.calls:
        pen.text(x, y + 40, "none", 11, FAINT)
    for k, (text, outcome, platform) in enumerate(frame.calls[:SHOWN_CALLS]):
        base = y + 39 + k * 16
        color = OUTCOME_COLORS.get(outcome, FAINT)
        pen.text(x, base, platform, 10, FAINT)
        pen.text(x + 40, base, _short(text.replace("_", " "), 46), 11)
        pen.text(SIDE + SIDE_WIDTH - 12, base, outcome.replace("_", " "), 11, color, bold=True, align="right")
    if len(frame.calls) > SHOWN_CALLS:
        more = f"and {len(frame.calls) - SHOWN_CALLS} more"
        pen.text(SIDE + SIDE_WIDTH - 12, y + 20, more, 10, FAINT, align="right")


def _draw_directive(pen: Pen, frame: SOCFrame) -> None:
    x, y, held = SIDE + 12, DIRECTIVE_TOP, frame.status["directive"]
    period = frame.scenario.coordinator_period
    wait = -frame.minute % period
    words = "decides in the next minute" if wait == 0 else f"held for {wait} more min"
    pen.text(SIDE + SIDE_WIDTH - 12, y + 20, "" if frame.is_over else words, 10, FAINT, align="right")
    sides = (("hunt", "triage", "hunt"), ("triage", "keep all", "strict"), ("response", "careful", "quick"))
    for k, (name, low, high) in enumerate(sides):
        left, value = x + k * 138, held[f"{name}_posture"]
        pen.text(left, y + 38, f"{name} posture {value:+.1f}", 10)
        pen.rect(left, y + 43, 124, 8, RULE)
        start = left + 62 + min(0.0, value) * 62
        pen.rect(start, y + 43, abs(value) * 62, 8, ASKED)
        pen.rect(left + 61, y + 41, 2, 12, FAINT)
        pen.text(left, y + 63, f"more {low}" if k == 0 else low, 9, FAINT)
        pen.text(left + 124, y + 63, f"more {high}" if k == 0 else high, 9, FAINT, align="right")


def _draw_campaigns(pen: Pen, frame: SOCFrame) -> None:
    x, y = SIDE + 12, CAMPAIGNS_TOP
    if not frame.campaigns:
        pen.text(x, y + 42, "nobody yet", 11, FAINT)
    for k, chain in enumerate(frame.campaigns):
        top = y + 30 + k * 44
        color = FAINT if chain["state"] == "over" else BAD if chain["num_live"] else WARN
        pen.rect(x, top, 4, 36, color)
        pen.text(x + 12, top + 11, chain["family"], 12, color, bold=True)
        hosts = f"{chain['num_live']} hosts in reach of {chain['num_owned']}" if chain["num_owned"] else "no hosts"
        pen.text(SIDE + SIDE_WIDTH - 12, top + 11, hosts, 11, color, align="right")
        pen.text(x + 12, top + 25, where_of(chain), 11)
        pen.text(SIDE + SIDE_WIDTH - 12, top + 25, times_of(chain), 10, FAINT, align="right")
        done = 1.0 if chain["state"] == "over" else chain["plan"] / (chain["plan_length"] - 1)
        pen.rect(x + 12, top + 31, SIDE_WIDTH - 36, 5, RULE)
        pen.rect(x + 12, top + 31, (SIDE_WIDTH - 36) * min(1.0, done), 5, color)


# ---------------------------------------------------------------------- bottom
def _draw_figures(pen: Pen, frame: SOCFrame) -> None:
    y, metrics = FIGURES_TOP, frame.metrics
    pen.text(LEFT + 14, y + 22, "Reward of the minute", 13, bold=True)
    color = GOOD if frame.reward > 0 else BAD if frame.reward < 0 else INK
    pen.text(LEFT + 330, y + 22, f"{frame.reward:+,.2f}", 13, color, bold=True, align="right")
    for k, (name, value) in enumerate(frame.terms.items()):
        left, base = LEFT + 14 + 166 * (k % 2), y + 46 + 24 * (k // 2)
        pen.text(left, base, name.replace("_", " "), 11, FAINT)
        color = GOOD if value > 0 else BAD if value < 0 else FAINT
        pen.text(left + 150, base, f"{value:+,.2f}", 11, color, align="right")
    _draw_losses(pen, frame, 370, y)
    figures = (
        ("detected", f"{metrics['detected']:.0f} of {metrics['campaigns']:.0f}"),
        ("time to detect", f"{metrics['mttd']:.0f} min" if metrics["campaigns"] else "-"),
        ("time to contain", f"{metrics['mttc']:.0f} min" if metrics["campaigns"] else "-"),
        ("blast radius", f"{metrics['blast_radius']:,.0f} hosts"),
        ("true / false verdicts", f"{metrics['true_positives']:.0f} / {metrics['false_positives']:.0f}"),
        ("actions on clean hosts", f"{metrics['action_fdr']:.0%}" if metrics["actions"] else "-"),
        ("cases dropped, expired", f"{metrics['dropped_cases'] + metrics['expired_cases']:.0f}"),
        ("alerts, true", f"{metrics['total_alerts']:,.0f}, {metrics['true_alerts']:,.0f}"),
    )
    for k, (name, figure) in enumerate(figures):
        left, base = 732 + 134 * (k % 4), y + 20 + 40 * (k // 4)
        pen.text(left, base, name, 10, FAINT)
        pen.text(left, base + 17, figure, 13, bold=True)


def _draw_losses(pen: Pen, frame: SOCFrame, x: int, y: int) -> None:
    """The loss so far, from what; beside it what doing nothing loses in a whole episode."""
    metrics, width = frame.metrics, 336
    pen.text(x, y + 22, f"Loss so far {metrics['loss']:.1f}", 13, bold=True)
    pen.text(x + width, y + 22, f"score {metrics['score']:+.1f}", 13, bold=True, align="right")
    scale = max(frame.scenario.null_loss, metrics["loss"])
    pen.rect(x, y + 32, width, 14, RULE)
    left = float(x)
    for k, (name, color) in enumerate(LOSSES.items()):
        part = width * metrics[name] / scale
        pen.rect(left, y + 32, part, 14, color)
        left += part
        pen.rect(x + 112 * k, y + 56, 9, 9, color)
        now = frame.losses[name]
        pen.text(x + 112 * k + 13, y + 65, f"{name} {metrics[name]:.1f}", 10, INK)
        pen.text(x + 112 * k + 13, y + 78, f"{now:+.2f} this minute", 9, FAINT)
    null = x + width * frame.scenario.null_loss / scale
    pen.rect(null - 2, y + 28, 2, 22, INK)
    pen.text(x + 142, y + 22, f"doing nothing: {frame.scenario.null_loss:g}", 10, FAINT)
