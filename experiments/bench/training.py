"""The part of the benchmark that trains in a process of its own: how much memory training takes (needs [train])."""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.bench.measure import Effort, Measurement
from experiments.memory import peak_bytes
from experiments.progress import Progress

ITERATIONS = 3  # of learning; what one more adds to the peak is rows of replay, which are accounted for
MIB = 2**20  # [bytes]


@dataclass(frozen=True)
class Footprint:
    """Memory of a process that has trained.

    Attributes:
        imports: peak before the algorithm was built [bytes].
        peak: peak of all [bytes].
        replay: what the replay takes once it is full [bytes].
        replay_filled: share of the replay that has rows.
        steps: environment steps.
    """

    imports: int
    peak: int
    replay: int
    replay_filled: float
    steps: int

    @property
    def peak_with_full_replay(self) -> float:
        """Empty rows of a replay take no memory until they are written."""
        return self.peak + (1.0 - self.replay_filled) * self.replay


def bench_training(scenarios: Sequence[str], effort: Effort, progress: Progress) -> list[Measurement]:
    """Peak memory of a process that trains with a scenario's preset until every tier has learnt."""
    rows = []
    for index, scenario in enumerate(scenarios):
        with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
            found = pool.apply(_footprint_of_preset, (scenario, 1 if effort.is_quick else ITERATIONS))
        for kind, value in (
            ("imports", found.imports),
            ("peak", found.peak),
            ("peak, full replay", found.peak_with_full_replay),
        ):
            parameters = {"scenario": scenario, "kind": kind, "steps": found.steps}
            size = value / MIB
            rows.append(Measurement("training", f"{scenario}, {kind}", "MiB", size, size, size, 1, parameters))
        progress.update((index + 1) / len(scenarios))
    return rows


def _footprint_of_preset(scenario: str, iterations: int) -> Footprint:
    from policies.presets import DEFAULT_NUM_ENVS, NUM_ENVS, preset_of

    return footprint(scenario, preset_of(scenario), NUM_ENVS.get(scenario, DEFAULT_NUM_ENVS), iterations)


def footprint(scenario: str, settings: Mapping[str, Any], num_envs: int, iterations: int) -> Footprint:
    """Trains in this process until the off-policy tiers have learnt in `iterations` iterations."""
    import torch

    from policies import HMARLConfig
    from policies.hmarl.ray_start import session

    torch.set_num_threads(1)  # as a run does
    imports = peak_bytes()
    config = HMARLConfig().environment(scenario).debugging(seed=0, log_level="ERROR")
    config.env_runners(num_env_runners=0, num_envs_per_env_runner=num_envs).training(**settings)
    with session():
        algorithm = config.build_algo()
        try:
            while algorithm.num_env_steps < config.learning_starts:
                algorithm.train()
            for _ in range(iterations):
                algorithm.train()
            stores = {id(store): store for store in map(algorithm.batches.replay_of, algorithm.off_policy)}.values()
            sizes = [store.nbytes for store in stores]
            filled = sum(size * len(store) / store.capacity for size, store in zip(sizes, stores, strict=True))
            share = filled / sum(sizes) if sizes else 1.0
            return Footprint(imports, peak_bytes(), sum(sizes), share, algorithm.num_env_steps)
        finally:
            algorithm.stop()
