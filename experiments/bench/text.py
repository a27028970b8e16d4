"""The benchmark as a page of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from experiments.bench.measure import Measurement


def print_measurements(
    measurements: Sequence[Measurement], goals: Sequence[Mapping[str, Any]], about: Mapping[str, Any], file: TextIO
) -> None:
    """A plain table, part by part, then the goals."""
    width = max([len(m.label) for m in measurements] + [len(goal["name"]) for goal in goals])
    part = ""
    for m in measurements:
        if m.part != part:
            part = m.part
            print(f"\n{part}", file=file)
        spread = f"  ({shown(m.low)} to {shown(m.high)})" if m.num_repeats > 1 else ""
        print(f"  {m.label:<{width}}  {shown(m.value):>11} {m.unit}{spread}", file=file)
    if goals:
        print("\ngoals", file=file)
    for goal in goals:
        bound = f"at least {goal['at_least']:,}" if "at_least" in goal else f"at most {goal['at_most']:,}"
        verdict = "met" if goal["is_met"] else "MISSED"
        print(f"  {goal['name']:<{width}}  {shown(goal['value']):>11} {goal['unit']}  ({bound}: {verdict})", file=file)
    print(f"\n{machine_line(about)}", file=file)
    print("rates per CPU-second of this process: median (lowest to highest) of the repeats", file=file)


def machine_line(about: Mapping[str, Any]) -> str:
    load = " to ".join(f"{about[when][0]:.2f}" for when in ("load_before", "load_after"))
    return f"{about['cpu']}, {about['num_cpus']} CPUs, {about['system']}, load average {load}"


def shown(value: float) -> str:
    """Three significant digits, with separators."""
    if value >= 100:
        digits = len(str(int(value)))
        return f"{round(value, 3 - digits):,.0f}"
    return f"{value:.3g}"
