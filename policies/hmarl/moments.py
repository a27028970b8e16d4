"""Observation statistics and return scales: the units in which every tier's networks see and value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from policies.algorithms import ALGORITHMS
from policies.hmarl.kernels import mean_and_spread
from policies.learners.columns import STATE
from policies.networks.blocks import VARIANCE_FLOOR
from policies.runner.plan import Plan
from policies.runner.rows import Rollout

RETURN_SCALE_FLOOR = 1e-3  # [reward] a task that pays nothing is not scaled up without end
RETURN_SCALE_RATE = 0.05  # weight of the newest iteration in the running mean absolute return

MeanVariance = tuple[np.ndarray, np.ndarray]


class Moments:
    """Running mean and variance of vectors, merged batch by batch (Chan et al. 1983).

    Gymnasium's RunningMeanStd starts as if it had seen a little of mean 0 and variance 1; this one starts empty.
    """

    def __init__(self, dim: int):
        self.count, self.mean, self.m2 = 0, np.zeros(dim), np.zeros(dim)

    def add(self, rows: np.ndarray) -> None:
        """Takes in `rows` (n, dim), one at least."""
        n, (mean, spread) = len(rows), np.empty((2, rows.shape[1]))
        mean_and_spread(rows, mean, spread)
        delta, total = mean - self.mean, self.count + n
        self.m2 = self.m2 + spread + delta**2 * (self.count * n / total)
        self.mean = self.mean + delta * (n / total)
        self.count = total

    @property
    def variance(self) -> np.ndarray:
        return self.m2 / max(1, self.count) if self.count else np.ones_like(self.m2)


def observation_statistics(module: Any) -> tuple[MeanVariance, MeanVariance]:
    """(mean, variance) of the own and of the joint observation that a module normalises with."""
    found = {
        is_joint: (norm.mean.numpy().copy(), norm.inv_std.numpy() ** -2.0 - VARIANCE_FLOOR)
        for norm, is_joint in module.input_norms()
    }
    return found[False], found.get(True, found[False])


@dataclass
class Statistics:
    """What rollouts say about observations and returns.

    Attributes:
        plan: who is in which tier.
        slices: agent -> its part of all observations; behind them `STATE` -> the state, where critics read it.
        known: tier -> the agents that its central critic reads.
        moments: of all observations.
        mean_absolute_return: tier -> running mean of absolute discounted returns [reward].
        given: tier -> (own, joint) mean and variance of a tier that came with its own; None for joint ones that it came
            without, as an exported policy does.
    """

    plan: Plan
    slices: Mapping[str, slice]
    known: Mapping[str, tuple[str, ...]]
    mean_absolute_return: dict[str, float] = field(default_factory=dict)
    given: dict[str, tuple[MeanVariance, MeanVariance | None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.moments = Moments(sum(part.stop - part.start for part in self.slices.values()))

    def scale(self, tier: str) -> float:
        """The unit of the tier's values [reward]."""
        return max(RETURN_SCALE_FLOOR, self.mean_absolute_return[tier])

    def update(
        self, rollouts: list[Rollout], tiers: Iterable[str]
    ) -> dict[str, tuple[MeanVariance, MeanVariance, float]]:
        """Takes in the rollouts: tier -> (own mean and variance, those of what its critics alone read, scale)."""
        for rollout in rollouts:
            self.moments.add(rollout.seen)
        of_agent, newest = self._pooled(), {}
        for tier in tiers:
            total = sum(r.absolute_returns[tier][0] for r in rollouts)
            count = sum(r.absolute_returns[tier][1] for r in rollouts)
            mean = total / max(1, count)
            before = self.mean_absolute_return.get(tier, mean)
            self.mean_absolute_return[tier] = before + RETURN_SCALE_RATE * (mean - before)
            own = of_agent[self.plan.members[tier][0]]
            known = [of_agent[a] for a in self._read_by_critics(tier)]
            joint = (np.concatenate([mean for mean, _ in known]), np.concatenate([variance for _, variance in known]))
            given_own, given_joint = self.given.get(tier, (own, joint))
            newest[tier] = (given_own, joint if given_joint is None else given_joint, self.scale(tier))
        return newest

    def _read_by_critics(self, tier: str) -> tuple[str, ...]:
        """What the tier's critics read where it is not what the tier itself observes."""
        settings = self.plan.settings[tier]
        if not settings.reads_state:
            return self.known[tier]
        is_central = ALGORITHMS[settings.algorithm].has_central_critic
        return (*(self.known[tier] if is_central else self.plan.members[tier][:1]), STATE)

    def _pooled(self) -> dict[str, MeanVariance]:
        """Agent -> (mean, variance) of observations, the same for the agents of a tier: their networks are."""
        mean, variance = self.moments.mean, self.moments.variance
        pooled: dict[str, MeanVariance] = {}
        for members in self.plan.members.values():
            means, variances = (np.stack([part[self.slices[a]] for a in members]) for part in (mean, variance))
            both = means.mean(0).astype(np.float32), (variances.mean(0) + means.var(0)).astype(np.float32)
            pooled |= dict.fromkeys(members, both)
        if STATE in self.slices:
            own = self.slices[STATE]
            pooled[STATE] = mean[own].astype(np.float32), variance[own].astype(np.float32)
        return pooled

    def get_state(self) -> dict[str, Any]:
        """Plain data, for `set_state`."""
        return {
            "moments": vars(self.moments).copy(),
            "mean_absolute_return": dict(self.mean_absolute_return),
            "given": dict(self.given),
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on from `get_state`."""
        vars(self.moments).update(state["moments"])
        self.mean_absolute_return = dict(state["mean_absolute_return"])
        self.given = dict(state["given"])
