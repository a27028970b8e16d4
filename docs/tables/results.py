"""Tables of the kept results in results/."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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


def cage4() -> str:
    """Official scores on CAGE Challenge 4."""
    rows = [
        (_bold(name.removesuffix(f", {entry['observation']}")), entry["observation"], entry["n"],
         f"{entry['mean']:,.0f} [{entry['low']:,.0f}, {entry['high']:,.0f}]")
        for name, entry in _load("cage4")["entries"].items()
    ]  # fmt: skip
    return table(("policy", "sees", "episodes", "official score"), rows, "llrr")


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


TABLES = {"seeds": seeds, "settings": settings, "cage4": cage4, "bench": bench, "machine": machine}
