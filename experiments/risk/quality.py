"""How good risk scores are: average precision, area under the ROC curve, and reliability, with bootstrap intervals.

Hosts of one episode are alike, so the bootstrap (Efron 1979) draws episodes, not hosts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.intervals import Estimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RESAMPLES = 400
EDGES = (0.0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)  # of the reliability curve's bins


class Ranking:
    """Scores in order, with the truth: measures for any weights of the rows."""

    def __init__(self, scores: np.ndarray, is_bad: np.ndarray):
        self._order = np.argsort(-scores, kind="stable")
        descending = scores[self._order]
        self._is_bad = is_bad[self._order].astype(np.float64)
        # Equal scores are one step of the curve: precision and rates are read at the end of each.
        self._ends = np.append(np.flatnonzero(np.diff(descending)), len(descending) - 1)

    def precision(self, weights: np.ndarray) -> float:
        """Average precision: mean over the bad of the precision among all that score at least as high."""
        weights = weights[self._order]
        bad, total = (np.cumsum(weights * part)[self._ends] for part in (self._is_bad, 1.0))
        gained = np.diff(bad, prepend=0.0)
        return float((gained * bad / np.maximum(total, 1e-12)).sum() / bad[-1]) if bad[-1] else float("nan")

    def auc(self, weights: np.ndarray) -> float:
        """Probability that a bad one scores higher than a good one; ties count a half."""
        weights = weights[self._order]
        bad, good = (np.cumsum(weights * part)[self._ends] for part in (self._is_bad, 1.0 - self._is_bad))
        area = (np.diff(bad, prepend=0.0) * (good[-1] - good + 0.5 * np.diff(good, prepend=0.0))).sum()
        return float(area / (bad[-1] * good[-1])) if bad[-1] and good[-1] else float("nan")


def bootstrapped(
    measure: Callable[[np.ndarray], float], episode: np.ndarray, seed: int, resamples: int = RESAMPLES
) -> Estimate:
    """A measure of weighted rows, with the percentile interval of 95 % over resampled episodes.

    Args:
        measure: (N,) weights -> value.
        episode: (N,) which episode each row is of.
    """
    generator = np.random.default_rng([0xB007, seed])
    names, place = np.unique(episode, return_inverse=True)
    drawn = []
    for _ in range(resamples):
        counts = np.bincount(generator.integers(0, len(names), len(names)), minlength=len(names))
        drawn.append(measure(counts[place].astype(np.float64)))
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return Estimate(measure(np.ones(len(episode))), float(np.nanstd(drawn)), float(low), float(high))


@dataclass(frozen=True)
class Bin:
    """Hosts whose probability is between two edges: how many, what was said, and what was true."""

    number: int
    said: float
    true: float


def reliability(probability: np.ndarray, is_bad: np.ndarray) -> list[Bin]:
    """The reliability curve: of each bin that has hosts, the mean probability and the share that is bad."""
    place = np.clip(np.digitize(probability, EDGES) - 1, 0, len(EDGES) - 2)
    found = []
    for k in range(len(EDGES) - 1):
        of_bin = place == k
        if of_bin.any():
            found.append(Bin(int(of_bin.sum()), float(probability[of_bin].mean()), float(is_bad[of_bin].mean())))
    return found


def calibration_error(bins: list[Bin]) -> float:
    """Expected calibration error: mean distance of what was said from what was true, over hosts."""
    return sum(b.number * abs(b.said - b.true) for b in bins) / sum(b.number for b in bins)


def draw_reliability(card: dict[str, Any]) -> Figure:
    """The reliability curve of a model's card, logarithmic: most hosts are below one in a hundred."""
    from experiments.plots import GREY, INK, STRONG, panels

    figure, axes = panels(1, 1, width=5.2, height=4.6)
    panel, bins = axes[0][0], card["reliability"]
    said, true = ([max(row[name], 1e-4) for row in bins] for name in ("said", "true"))
    panel.plot([1e-4, 1], [1e-4, 1], color=GREY, linewidth=1.2, linestyle=(0, (4, 3)))
    panel.plot(said, true, color=STRONG, marker="o", markersize=4, linewidth=1.6)
    panel.set(xscale="log", yscale="log", xlim=(5e-4, 1), ylim=(5e-4, 1))
    panel.set_xlabel("probability that the model says", fontsize=9)
    panel.set_ylabel("share of hosts with an intruder", fontsize=9)
    title = f"{card['scenario']}, test split, {card['test']['rows']:,} hosts with evidence"
    panel.set_title(title, fontsize=10, color=INK, loc="left")
    return figure
