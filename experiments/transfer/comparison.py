"""What the episodes of ``transfer.json`` say: scores, rests, and differences to one entry on the episodes both played.

Intervals are 95 % intervals of a mean (`experiments.intervals`), and stop at the best possible score, 0: the mean that
they are about cannot be beyond it, so that cutting them takes nothing from how often they hold it. One episode has no
interval. Two have one, and it is wide: that is what two episodes say.

An entry differs from the reference where the interval of the mean of the paired differences leaves out 0. Below
`LEAST_PAIRS` pairs that is not said: no test by changes of sign can reach 5 % with five.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from cyborg_bridge.score import KINDS, PHASES, ZONES
from experiments.intervals import Estimate
from soc_env.errors import ConfigError, unknown_name

BEST = (-np.inf, 0.0)  # bounds of a mean score, and of a mean rest
REFERENCE = "raw-rule"
LEAST_PAIRS = 6
BETTER, WORSE, ALIKE, TOO_FEW = "better", "worse", "no", "too few"


@dataclasses.dataclass(frozen=True)
class Mean:
    """A mean over episodes; of no episode there is none (`n` is 0), of one no interval (it is None)."""

    n: int
    mean: float
    std: float | None = None
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, values: Sequence[float], bounds: tuple[float, float] | None = None) -> Mean:
        """From independent values; the interval is cut to the bounds."""
        if len(values) < 2:
            return cls(len(values), float(values[0]) if len(values) else float("nan"))
        found = Estimate.of(np.array(values)).within(bounds)
        return cls(len(values), found.mean, found.std, found.low, found.high)

    def text(self, sign: str = "") -> str:
        """For example ``-117.1 [-127.0, -108.0]``; `sign` is "+" where a plus is wanted."""
        if self.n == 0:
            return ""
        if self.low is None or self.high is None:
            return f"{self.mean:{sign},.1f} (one episode)"
        return f"{self.mean:{sign},.1f} [{self.low:{sign},.1f}, {self.high:{sign},.1f}]"


class Row(NamedTuple):
    """An entry and what is known of it; differences are its own minus the reference's, so above 0 is better."""

    name: str
    observation: str
    score: Mean
    rest: Mean
    rest_gain: Mean
    """Over the pairs."""
    score_gain: Mean
    differs: str
    """By the rest, or by the score where episodes of older versions have no rest; empty without a reference."""

    @property
    def title(self) -> str:
        """The name, which says the level if several have it."""
        return self.name.removesuffix(f", {self.observation}")


def reference_of(data: Mapping[str, Any], asked: str | None = None) -> str | None:
    """The entry that others are held against: the one asked for, else the raw rule if it was measured, else none.

    Raises:
        ConfigError: there is no such entry.
    """
    entries = data["entries"]
    if asked is None:
        return REFERENCE if entries.get(REFERENCE, {}).get("scores") else None
    if asked not in entries:
        raise ConfigError(unknown_name("reference", asked, entries))
    return asked


def rows_of(data: Mapping[str, Any], reference: str | None) -> list[Row]:
    """The entries with at least one episode: by level, and in a level the worst first."""
    base = data["entries"][reference] if reference else {}
    rows = []
    for name, entry in data["entries"].items():
        if not entry["scores"]:
            continue
        rest_gain, score_gain = (_gain(entry, base if name != reference else {}, part) for part in ("rests", "scores"))
        rest, score = (Mean.of(list(entry.get(part, {}).values()), BEST) for part in ("rests", "scores"))
        differs = "reference" if name == reference else _verdict(rest_gain if rest_gain.n else score_gain)
        rows.append(Row(name, entry["observation"], score, rest, rest_gain, score_gain, differs))
    return sorted(rows, key=lambda row: (row.observation, row.score.mean))


def _gain(entry: Mapping[str, Any], base: Mapping[str, Any], part: str) -> Mean:
    own, other = entry.get(part, {}), base.get(part, {})
    return Mean.of([own[seed] - other[seed] for seed in own if seed in other])


def _verdict(gain: Mean) -> str:
    if gain.n == 0:
        return ""
    if gain.n < LEAST_PAIRS or gain.low is None or gain.high is None:
        return TOO_FEW
    return BETTER if gain.low > 0 else WORSE if gain.high < 0 else ALIKE


def full_n(rows: Sequence[Row]) -> int:
    """Episodes of the rows that have most."""
    return max((row.score.n for row in rows), default=0)


def points_of(entry: Mapping[str, Any]) -> Iterator[tuple[str, str, list[float]]]:
    """(kind, zone, mean points of an episode in each mission phase) of an entry, without what never cost anything."""
    episodes = list(entry.get("points", {}).values())
    for kind in KINDS:
        for zone in ZONES.values():
            found = [by_kind.get(kind, {}).get(zone, [0.0] * PHASES) for by_kind in episodes]
            means = np.mean(found, 0).tolist() if found else []
            if any(means):
                yield kind, zone, means
