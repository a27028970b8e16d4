"""The speed that this version promises, beside what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from experiments.bench.learners import STOCK_ENVS, TRAINING_SCENARIO
from experiments.bench.measure import Measurement
from experiments.bench.simulator import HOSTS, KINDS, NUM_HOSTS, SCENARIOS


def check_goals(measurements: Sequence[Measurement]) -> list[dict[str, Any]]:
    """The speed this version promises, beside what was measured; goals whose parts were not measured are left out."""
    goals = [goal for scenario in SCENARIOS for goal in _simulator_goals(scenario, measurements)]
    return goals + _training_goals(measurements)


def _simulator_goals(scenario: str, measurements: Sequence[Measurement]) -> list[dict[str, Any]]:
    subject, rate = SCENARIOS[scenario], "env-steps/CPU-s"
    own = [m for m in measurements if m.parameters["scenario"] == scenario]
    slower = min(_values(own, "pettingzoo"), default=None)
    name = "one env through PettingZoo, slower actions"
    goals = _goal(scenario, name, slower, rate, at_least=subject.single_goal)
    for kind in KINDS:
        best = max(_values(own, "batched", actions=kind), default=None)
        name = f"batched, {NUM_HOSTS} hosts, {kind}, best batch"
        goals += _goal(scenario, name, best, rate, at_least=subject.batched_goal)
    for kind in KINDS:
        small = _values(own, "hosts", actions=kind, num_hosts=NUM_HOSTS)
        large = _values(own, "hosts", actions=kind, num_hosts=HOSTS[-1])
        ratio = small[0] / large[0] if small and large else None
        name = f"cost of a step at {HOSTS[-1]:,} hosts over that at {NUM_HOSTS}, {kind}"
        goals += _goal(scenario, name, ratio, "times", at_most=subject.growth_goal)
    return goals


def _training_goals(measurements: Sequence[Measurement]) -> list[dict[str, Any]]:
    stock = _values(measurements, "runners", runner="stock")
    columnar = _values(measurements, "runners", runner="columnar", num_envs=64)
    ratio = columnar[0] / stock[0] if stock and columnar else None
    name = f"columnar runner, 64 envs, over the stock runner, {STOCK_ENVS} envs"
    goals = _goal(TRAINING_SCENARIO, name, ratio, "times", at_least=8)
    learning = sum(m.parameters["updates_per_env_step"] / m.value for m in measurements if m.part == "learners")
    share = 1 / (1 + learning * columnar[0]) if learning and columnar else None
    name = "share of sampling in the CPU time of training, from the rates above"
    return goals + _goal(TRAINING_SCENARIO, name, share, "share", at_most=0.5)


def _goal(scenario: str, name: str, value: float | None, unit: str, **bound: float) -> list[dict[str, Any]]:
    """No goal where nothing was measured; `bound` is either `at_least` or `at_most`."""
    if value is None:
        return []
    is_met = bound.get("at_least", value) <= value <= bound.get("at_most", value)
    row = {"name": f"{scenario}, {name}", "scenario": scenario, "value": value, "unit": unit, **bound, "is_met": is_met}
    return [row]


def _values(measurements: Sequence[Measurement], part: str, **parameters: Any) -> list[float]:
    wanted = parameters.items()
    return [m.value for m in measurements if m.part == part and wanted <= m.parameters.items()]
