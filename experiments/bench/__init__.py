"""`hmarl-soc bench`: how fast the simulator, the runners and the learners are on this machine.

Rates are units per CPU-second of this process (`time.process_time`), so that a busy machine disturbs them less than
wall time would. The cases of a part take turns, repeat after repeat, so that a slow spell of the machine hits all of
them; what is shown is the median over repeats, with the lowest and highest. Torch runs on one thread.

Parts, those of `OF_ONE_SCENARIO` of `TRAINING_SCENARIO`, the others of both scenarios of `SCENARIOS`:
    pettingzoo  one environment through PettingZoo's dicts
    batched     the array API at 200 hosts, 1 to 4,096 environments, random and zero actions
    hosts       64 environments, 50 to 100,000 hosts
    branch      environments copied into another simulator, 200 and 100,000 hosts
    memory      bytes an environment takes
    runners     RLlib's stock MultiAgentEnvRunner and our columnar one, same networks (needs the [train] extra)
    learners    gradient steps of each tier's learner (needs the [train] extra)
    training    peak memory of a process that trains with the preset (needs the [train] extra)
    loading     CPU time and peak memory until a loaded policy acts, without RLlib, with it, and by ONNX Runtime

`hmarl-soc bench --against CHECKOUT` is another command: see `experiments.bench.against`.

A minute of `soc-v1` costs twice as much late in an episode as early, and its episodes never get out of step with each
other, so a batch is always measured over whole episodes' lengths.

The results of version 0.1.0 (``results/bench-0.1.0.json`` and ``.png``) were made by
``hmarl-soc bench --json results/bench-0.1.0.json --plot results/bench-0.1.0.png``.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TextIO

from experiments.bench.against import compare as compare  # the other half of the command
from experiments.bench.goals import check_goals
from experiments.bench.learners import TRAINING_SCENARIO, bench_learners, bench_runners
from experiments.bench.loading import bench_loading
from experiments.bench.measure import QUICK, Effort, Measurement, machine
from experiments.bench.plot import draw
from experiments.bench.simulator import (
    SCENARIOS,
    bench_batched,
    bench_branch,
    bench_hosts,
    bench_memory,
    bench_pettingzoo,
)
from experiments.bench.text import machine_line, print_measurements
from experiments.bench.training import bench_training
from experiments.output import output_errors, write_json
from experiments.plots import write_picture
from experiments.progress import Progress
from experiments.provenance import provenance
from soc_env.errors import ConfigError, shown, unknown_name

PARTS: dict[str, Callable[[Sequence[str], Effort, Progress], list[Measurement]]] = {
    "pettingzoo": bench_pettingzoo,
    "batched": bench_batched,
    "hosts": bench_hosts,
    "branch": bench_branch,
    "memory": bench_memory,
    "runners": bench_runners,
    "learners": bench_learners,
    "training": bench_training,
    "loading": bench_loading,
}
OF_ONE_SCENARIO = ("runners", "learners")
TRAINING_PARTS = (*OF_ONE_SCENARIO, "training", "loading")  # need the [train] extra


def bench(
    only: Sequence[str] | None = None,
    scenarios: Sequence[str] | None = None,
    quick: bool = False,
    json_path: str | os.PathLike[str] | None = None,
    plot_path: str | os.PathLike[str] | None = None,
    file: TextIO | None = None,
) -> dict[str, Any]:
    """Measure, print a table, and write the results where asked.

    Args:
        only: names of `PARTS`; all by default, without those whose extra is not installed.
        scenarios: names of `SCENARIOS`; all by default.
        quick: fewer sizes and shorter repeats.
        json_path: JSON file to write.
        plot_path: file to draw (PNG, SVG, PDF).
        file: where the table goes; standard output by default.

    Returns:
        Plain data: versions, git_hash, machine, effort, goals and measurements (by part and label).

    Raises:
        ConfigError: an unknown part or scenario, a part that does not measure the scenarios, or an unwritable file.
        ModuleNotFoundError: a part was asked for by name whose extra is not installed.
    """
    file, effort, chosen = file or sys.stdout, QUICK if quick else Effort(), chosen_scenarios(scenarios)
    load_before, measurements = os.getloadavg(), list[Measurement]()
    for name in chosen_parts(only, chosen, file):
        with Progress(label=name) as progress:
            measurements += PARTS[name](chosen, effort, progress)
    goals = check_goals(measurements)
    result = {
        **provenance(),
        "machine": {**machine(), "load_before": load_before, "load_after": os.getloadavg()},
        "effort": dataclasses.asdict(effort),
        "goals": {goal["name"]: goal for goal in goals},
        "measurements": {f"{m.part}: {m.label}": dataclasses.asdict(m) for m in measurements},
    }
    print_measurements(measurements, goals, result["machine"], file)
    with output_errors():
        if json_path is not None:
            print(f"wrote {write_json(json_path, result)}", file=file)
        if plot_path is not None:
            print(f"wrote {write_picture(plot_path, draw(measurements, _about(result)))}", file=file)
    return result


def is_comparison(against: object, *, pairs: object, **others: object) -> bool:
    """Whether the command compares two builds; ConfigError for an option of the other half of the command."""
    if against is None and pairs is not None:
        raise ConfigError(f"--pairs={shown(pairs)} is not allowed without --against CHECKOUT")
    for name, value in others.items():
        if against is not None and value:
            raise ConfigError(f"--{name} is not allowed with --against={shown(str(against))}")
    return against is not None


def _about(result: Mapping[str, Any]) -> str:
    """What a picture says below its panels."""
    version = result["versions"].get("hmarl-soc", "(not installed)")
    return f"hmarl-soc {version}, {machine_line(result['machine'])}"


def chosen_scenarios(names: Sequence[str] | None) -> list[str]:
    """Those of `SCENARIOS` with one of the names, all for None; ConfigError for an unknown one."""
    for name in names or ():
        if name not in SCENARIOS:
            raise ConfigError(unknown_name("scenario of the benchmark", name, SCENARIOS))
    return [name for name in SCENARIOS if not names or name in names]


def chosen_parts(only: Sequence[str] | None, scenarios: Sequence[str], file: TextIO) -> list[str]:
    """Those of `PARTS` that are asked for; None for all that can be measured, and `file` is told which cannot.

    Raises:
        ConfigError: an unknown part, or one that does not measure the scenarios.
    """
    left_out: dict[str, Sequence[str]] = {}
    if TRAINING_SCENARIO not in scenarios:
        left_out[f"measure {TRAINING_SCENARIO} only"] = OF_ONE_SCENARIO
    if only is not None:
        for name in only:
            if name not in PARTS:
                raise ConfigError(unknown_name("part of the benchmark", name, PARTS))
            if left_out and name in OF_ONE_SCENARIO:
                raise ConfigError(
                    f"part of the benchmark {name!r} measures {TRAINING_SCENARIO} only, "
                    f"which is not among the scenarios given: {', '.join(scenarios)}"
                )
        return [name for name in PARTS if name in only]
    try:
        import ray
        import torch

        del ray, torch
    except ModuleNotFoundError:
        left_out['need pip install "hmarl-soc[train]"'] = TRAINING_PARTS
    for reason, names in left_out.items():
        print(f"without {' and '.join(names)}: they {reason}", file=file)
    return [name for name in PARTS if not any(name in names for names in left_out.values())]
