"""Which trials are stopped early, or copied and changed: Tune's schedulers, and how they go on after an interruption.

ASHA (Li et al. 2020) compares a trial at each rung with those that were there before. What was told before an
interruption is told to it again. PBT (Jaderberg et al. 2017) remembers nothing that the trials' folders do not hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

from ray import tune
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, PopulationBasedTraining, TrialScheduler

from experiments.tune.records import OVER, Records
from experiments.tune.space import Distribution
from experiments.tune.trial import NUMBER, SCORE, SETTINGS, SLOT

REDUCTION = 3  # the best third of those at a rung goes on
FIRST_RUNG = 1 / 9  # of the budget; the others are at a third and at the end
PERTURBATION = 1 / 8  # of the budget: how often a trial of the worst quarter copies one of the best quarter


class Halving(AsyncHyperBandScheduler):
    """ASHA that knows what trials told before an interruption."""

    def __init__(self, told: Mapping[int, list[dict[str, float]]], **settings: Any):
        super().__init__(metric=SCORE, mode="max", **settings)
        self._told = told

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        super().on_trial_add(tune_controller, trial)
        for result in self._told.get(trial.config[SLOT][NUMBER], ()):
            self.on_trial_result(tune_controller, trial, result)

    def add_over(self, number: int) -> None:
        """Counts a trial that is not run again."""
        name = f"over-{number}"
        self.on_trial_add(None, SimpleNamespace(trial_id=name, config={SLOT: {NUMBER: number}}))


def _asha(records: Records, distributions: Mapping[str, Distribution], time: str, budget: float) -> TrialScheduler:
    told = {trial.number: trial.told for trial in records.trials}
    scheduler = Halving(
        told,
        time_attr=time,
        max_t=budget,
        grace_period=max(1, budget * FIRST_RUNG),
        reduction_factor=REDUCTION,
        stop_last_trials=False,  # the run itself ends, and writes what it has
    )
    for trial in records.trials:
        if trial.status in OVER:
            scheduler.add_over(trial.number)
    return scheduler


def _pbt(records: Records, distributions: Mapping[str, Distribution], time: str, budget: float) -> TrialScheduler:
    def within(config: dict[str, Any]) -> dict[str, Any]:
        values = config[SLOT][SETTINGS]
        return {SLOT: {**config[SLOT], SETTINGS: {p: distributions[p].clipped(v) for p, v in values.items()}}}

    return PopulationBasedTraining(
        time_attr=time,
        metric=SCORE,
        mode="max",
        perturbation_interval=budget * PERTURBATION,
        hyperparam_mutations={SLOT: {SETTINGS: {p: _domain(d) for p, d in distributions.items()}}},
        custom_explore_fn=within,
        log_config=False,
    )


def _domain(distribution: Distribution) -> Any:
    low, high = distribution.parameters[0], distribution.parameters[-1]
    ranges = {"uniform": tune.uniform, "loguniform": tune.loguniform}
    if distribution.kind == "randint":
        return tune.randint(low, high + 1)
    return ranges[distribution.kind](low, high) if distribution.is_range else distribution.parameters


def _none(records: Records, distributions: Mapping[str, Distribution], time: str, budget: float) -> TrialScheduler:
    return FIFOScheduler()


Builder = Callable[[Records, Mapping[str, Distribution], str, float], TrialScheduler]
SCHEDULERS: dict[str, Builder] = {"asha": _asha, "pbt": _pbt, "none": _none}
"""(records, distributions by place, "steps" or "seconds", the budget in it) -> Tune's scheduler."""
