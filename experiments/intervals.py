"""Intervals and tests: what a mean over episodes, networks or seeds says about those that were not drawn.

Intervals are 95 %, by `scipy.stats`: Student's t for means, Wilson's score interval for proportions (source: Wilson
1927, JASA 22). Differences are taken in pairs, episode by episode or seed by seed, wherever both sides played the same
ones: their interval is that of the mean of the differences.

Choices among what the libraries offer, each measured:

* The half width is ``t.ppf`` times the standard error. ``t.interval(..., scale=0)`` is (nan, nan) where all values are
  equal, and a success rate of 1.0 makes them so.
* Wilson's interval is ``binomtest(...).proportion_ci``. statsmodels' ``proportion_confint`` gives 0.9999999999999999
  for 20 of 20.
* No bootstrap over seeds: its percentile interval of five values is about 40 % too narrow.
* A test over few pairs cannot be significant however clear the difference is: five pairs reach p = 0.0625 at best. So
  `paired_test` gives the smallest p that its number of pairs can reach beside the p.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from soc_env.engine.tables import Column

CONFIDENCE = 0.95
EXACT_PAIRS = 13  # up to here all 2**n changes of sign are counted, beyond it 9,999 random ones
RANDOM_CHANGES = 9_999


@functools.cache
def t_quantile(degrees: int) -> float:
    """The t with P(|T| < t) = `CONFIDENCE`, for a number of degrees of freedom of at least 1."""
    from scipy import stats  # slow to import, and training needs it late

    return float(stats.t.ppf((1 + CONFIDENCE) / 2, degrees))


def mean_interval(values: np.ndarray) -> tuple[float, float]:
    """95 % Student's t interval of the mean; a single value has none and gives (value, value)."""
    mean = float(values.mean())
    if len(values) < 2:
        return mean, mean
    half = t_quantile(len(values) - 1) * float(values.std(ddof=1)) / math.sqrt(len(values))
    return mean - half, mean + half


def proportion_interval(num_successes: int, num_trials: int) -> tuple[float, float]:
    """95 % Wilson score interval of a proportion; unlike the normal one it stays in [0, 1] and is never empty."""
    from scipy import stats

    interval = stats.binomtest(num_successes, num_trials).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean with its standard deviation and 95 % interval."""

    mean: float
    std: float  # of the values, ddof = 1
    low: float
    high: float

    @classmethod
    def of(cls, values: np.ndarray, is_proportion: bool = False) -> Estimate:
        """From independent values, ``(number,)``; those of a proportion are 0 or 1. No value at all counts as one 0."""
        values = np.asarray(values, np.float64)
        if len(values) == 0:
            values = np.zeros(1)
        std = float(values.std(ddof=1)) if len(values) > 1 else 0.0
        if is_proportion:
            low, high = proportion_interval(int(np.count_nonzero(values)), len(values))
        else:
            low, high = mean_interval(values)
        return cls(float(values.mean()), std, low, high)

    @classmethod
    def of_column(cls, column: Column, episodes: Mapping[str, np.ndarray]) -> Estimate:
        """From the episodes in which the metric says something."""
        values = episodes[column.name]
        found = cls.of(values[episodes[column.given] > 0] if column.given else values, column.is_proportion)
        return found.within(column.bounds)

    @classmethod
    def of_clusters(cls, clusters: Sequence[np.ndarray]) -> Estimate:
        """Mean and interval over the means of the clusters, standard deviation over all of their values.

        Args:
            clusters: values that have something in common, each ``(number,)``; empty ones say nothing.
        """
        clusters = [cluster for cluster in clusters if len(cluster)]
        if not clusters:
            return cls(0.0, 0.0, 0.0, 0.0)
        over_means, over_all = cls.of(np.array([c.mean() for c in clusters])), cls.of(np.concatenate(clusters))
        return dataclasses.replace(over_means, std=over_all.std)

    @classmethod
    def of_change(cls, before: Estimate, after: Estimate) -> Estimate:
        """What `after` adds to `before`, of which no value belongs to one of the other; without a deviation."""
        half = math.hypot(before.high - before.low, after.high - after.low) / 2
        change = after.mean - before.mean
        return cls(change, 0.0, change - half, change + half)

    def within(self, bounds: tuple[float, float] | None) -> Estimate:
        """The same with its interval cut to the bounds."""
        if bounds is None:
            return self
        return dataclasses.replace(self, low=max(self.low, bounds[0]), high=min(self.high, bounds[1]))

    def format(self, column: Column) -> str:
        """For example ``10.68 [10.50, 10.85]``."""
        return f"{column.format(self.mean)} [{column.format(self.low)}, {column.format(self.high)}]"


# --- tests


@dataclasses.dataclass(frozen=True)
class PairedTest:
    """A two-sided permutation test of paired differences.

    Attributes:
        p: share of the changes of sign whose mean difference is at least as large.
        least_p: the smallest p that this number of pairs can reach.
    """

    p: float
    least_p: float


def paired_test(differences: np.ndarray) -> PairedTest:
    """Whether differences, ``(number of pairs,)`` and at least one, have a mean other than 0; the same each time."""
    from scipy import stats

    differences = np.asarray(differences, np.float64)
    num_pairs = len(differences)
    is_exact = num_pairs <= EXACT_PAIRS
    if num_pairs < 2:  # scipy wants two; one pair keeps or changes its sign, and both are as large
        return PairedTest(1.0, 1.0)
    found = stats.permutation_test(
        (differences, np.zeros(num_pairs)),
        lambda first, second, axis: (first - second).mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf if is_exact else RANDOM_CHANGES,
        rng=np.random.default_rng(0),
    )
    least = 2.0 / 2**num_pairs if is_exact else 2.0 / (RANDOM_CHANGES + 1)
    return PairedTest(float(found.pvalue), least)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p of several comparisons, corrected by Holm's method; NaN stays NaN and is not counted as a comparison."""
    from statsmodels.stats.multitest import multipletests

    p = np.array(p_values, np.float64)
    is_known = np.isfinite(p)
    if is_known.any():
        p[is_known] = multipletests(p[is_known], method="holm")[1]
    return p.tolist()
