"""Tables of the kept results in results/."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cyborg_bridge.score import IMPACTS, KINDS, UNGUARDED
from experiments.transfer.comparison import Mean, Row, points_of, reference_of, rows_of
from tables.markdown import table

RESULTS = Path(__file__).parents[2] / "results"
# metric -> (heading, factor to the heading's unit, whether the interval is shown)
COLUMNS: dict[str, tuple[str, float, bool]] = {
    "score": ("Score", 1, True),
    "loss": ("Loss", 1, True),
    "reward": ("Reward", 1, True),
    "mttd": ("MTTD", 1, False),
    "mttc": ("MTTC", 1, False),
    "mttr": ("MTTR", 1, False),
    "fdr": ("FDR [%]", 100, False),
    "fpr": ("FPR [%]", 100, False),
    "action_fdr": ("Action FDR [%]", 100, False),
    "csr": ("CSR [%]", 100, False),
}


def _load(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def _shown(summary: Mapping[str, float], metric: str, with_interval: bool = False, bare: bool = False) -> str:
    """Three digits or so: of a mean and, where the column has one, its interval."""
    _, factor, has_interval = COLUMNS[metric]
    mean, low, high = (factor * summary[key] for key in ("mean", "low", "high"))
    largest = max(abs(mean), abs(low), abs(high)) if has_interval else abs(mean)
    decimals = 3 if metric == "fpr" and 0 < largest < 10 else 2 if metric == "reward" and largest < 20 else 1
    shown = [f"{value:,.{0 if abs(value) >= 100 else decimals}f}" for value in (mean, low, high)]
    return f"{shown[0]} [{shown[1]}, {shown[2]}]" if (has_interval or with_interval) and not bare else shown[0]


def seeds(name: str, metrics: str, *policies: str) -> str:
    """Means over the runs of one setting: `seeds soc-v1-hmarl score,loss untrained,HMARL`."""
    data, names = _load(name), metrics.split(",")
    chosen = policies[0].split(",") if policies else list(data["summary"])
    rows = [(_bold(policy), *(_shown(data["summary"][policy][m], m) for m in names)) for policy in chosen]
    return table(("policy", *(COLUMNS[m][0] for m in names)), rows, "l" + "r" * len(names))


def settings(name: str, metrics: str) -> str:
    """Trained teams of several settings, and what each other one gains over the first, seed by seed."""
    data, names = _load(name), metrics.split(",")
    rows = []
    for label, part in data["settings"].items():
        steps = round(sum(run["steps"] for run in part["runs"]) / len(part["runs"]), -3)
        bare = len(part["runs"]) == 1  # one run has no interval over runs
        rows.append((label, f"{steps:,.0f}", *(_shown(part["summary"]["HMARL"][m], m, bare=bare) for m in names)))
    first = next(iter(data["settings"]))
    for label, gain in data["gains"].items():
        if gain[names[0]]["n"] > 1:
            rows.append((f"{label} - {first}, by seed", "", *(_shown(gain[m], m, True) for m in names)))
    return table(("setting", "steps", *(COLUMNS[m][0] for m in names)), rows, "lr" + "r" * len(names))


def cage4(name: str = "cage4") -> str:
    """Scores on CAGE Challenge 4, what blue can change of them, and differences on the same episodes."""
    data = _load(name)
    reference = reference_of(data)
    rows = rows_of(data, reference)
    columns: list[tuple[str, str, Callable[[Row], str]]] = [
        ("policy", "l", lambda row: _bold(row.title)),
        ("sees", "l", lambda row: row.observation),
        ("episodes", "r", lambda row: str(row.score.n)),
        ("official score", "r", lambda row: _mean(row.score, 0)),
        ("rest", "r", lambda row: _mean(row.rest, 1)),
        (f"rest - {reference}", "r", lambda row: _mean(row.rest_gain, 1, "+")),
        (f"score - {reference}", "r", lambda row: _mean(row.score_gain, 1, "+")),
        ("differs", "l", lambda row: row.differs),
    ]
    if reference is None:
        columns = columns[:5]
    found = [[cell(row) for row in rows] for _, _, cell in columns]
    said = [k for k, cells in enumerate(found) if any(cells)]  # a file of before December 2026 has no rests
    aligned = "".join(columns[k][1] for k in said)
    return table([columns[k][0] for k in said], list(zip(*(found[k] for k in said), strict=True)), aligned)


def cage4_points(name: str) -> str:
    """What the scores on CAGE Challenge 4 are made of: mean points an episode by kind, without and with phases."""
    data = _load(name)
    rows = []
    for row in rows_of(data, None):
        by_kind: dict[str, float] = {}
        for kind, zone, phases in points_of(data["entries"][row.name]):
            of = "unguarded" if zone in UNGUARDED.values() and kind in IMPACTS else kind
            by_kind[of] = by_kind.get(of, 0.0) + sum(phases)
        if by_kind:
            shown = (f"{by_kind.get(of, 0.0):,.1f}" for of in (*KINDS, "unguarded"))
            rows.append((_bold(row.title), row.observation, *shown))
    head = ("policy", "sees", *KINDS, "Impacts where nobody guards")
    return table(head, rows, "ll" + "r" * (len(head) - 2))


def _mean(found: Mean, decimals: int, sign: str = "") -> str:
    if found.n == 0 or found.low is None or found.high is None:
        return found.text(sign)
    mean, low, high = (f"{v:{sign},.{0 if abs(v) >= 100 else decimals}f}" for v in (found.mean, found.low, found.high))
    return f"{mean} [{low}, {high}]"


def bench() -> str:
    """The kept benchmark, against its goals."""
    rows = []
    for goal in _load("bench-0.1.0")["goals"].values():
        wanted = f"at least {goal['at_least']:,}" if "at_least" in goal else f"at most {goal['at_most']:,}"
        value = f"{goal['value']:,.0f}" if goal["value"] >= 100 else f"{goal['value']:.3g}"
        rows.append((goal["name"], value, goal["unit"], wanted, "yes" if goal["is_met"] else "no"))
    return table(("what", "measured", "unit", "goal", "met"), rows, "lrlrl")


def machine() -> str:
    """What the kept benchmark was measured on."""
    data = _load("bench-0.1.0")
    versions = ", ".join(f"{name} {version}" for name, version in data["versions"].items())
    return (
        f"{data['machine']['num_cpus']} cores of an {data['machine']['cpu']}, {data['machine']['system']}; {versions}."
    )


def _bold(name: str) -> str:
    return f"**{name}**" if "HMARL" in name else name


TABLES = {
    "seeds": seeds,
    "settings": settings,
    "cage4": cage4,
    "cage4_points": cage4_points,
    "bench": bench,
    "machine": machine,
}
