"""Rates per CPU-second: what is measured, for how long, and on which machine."""

from __future__ import annotations

import gc
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.progress import Progress


@dataclass(frozen=True)
class Measurement:
    """One number of the table.

    Attributes:
        part: which part of the benchmark.
        label: what was measured, unique within the part.
        unit: of the number.
        value, low, high: median, lowest and highest of the repeats.
        num_repeats: how many there were.
        parameters: what set this case apart, for plots and comparisons.
    """

    part: str
    label: str
    unit: str
    value: float
    low: float
    high: float
    num_repeats: int
    parameters: dict[str, Any]


@dataclass(frozen=True)
class Case:
    """Something to measure: `work()` does a small amount of it and returns how many units that was."""

    label: str
    unit: str
    work: Callable[[], int]
    parameters: dict[str, Any]


@dataclass(frozen=True)
class Effort:
    """How long to measure."""

    num_repeats: int = 7
    seconds: float = 0.5  # CPU time of a repeat
    is_quick: bool = False


QUICK = Effort(num_repeats=3, seconds=0.15, is_quick=True)


def measure(part: str, cases: Sequence[Case], effort: Effort, progress: Progress) -> list[Measurement]:
    """Median rate of every case, in turns; each has been warmed up by one call before."""
    for case in cases:
        case.work()
    rates: dict[str, list[float]] = {case.label: [] for case in cases}
    gc.collect()
    for repeat in range(effort.num_repeats):
        for index, case in enumerate(cases):
            rates[case.label].append(_rate(case, effort.seconds))
            progress.update((repeat * len(cases) + index + 1) / (effort.num_repeats * len(cases)))
    return [_summary(part, case, rates[case.label]) for case in cases]


def _rate(case: Case, seconds: float) -> float:
    """Units per CPU-second over at least that many CPU-seconds."""
    start, num_units, elapsed = time.process_time(), 0, 0.0
    while elapsed < seconds:
        num_units += case.work()
        elapsed = time.process_time() - start
    return num_units / elapsed


def _summary(part: str, case: Case, values: Sequence[float]) -> Measurement:
    median = statistics.median(values)
    return Measurement(part, case.label, case.unit, median, min(values), max(values), len(values), case.parameters)


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    model = platform.processor()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            model = next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass  # not Linux, or an architecture that does not say
    return {
        "cpu": model or "unknown",
        "num_cpus": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
    }
