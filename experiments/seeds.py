"""`hmarl-soc aggregate`: runs with several seeds put together, of one setting or of several. Never trains.

Intervals are over the means of the runs, so they speak about seeds that were not run. Settings are compared by seed:
two runs of the same seed have the episodes of their evaluation in common.
"""

from __future__ import annotations

import dataclasses
import math
import os
import pathlib
import sys
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from experiments.evaluate import TRAINED, EvaluationResult
from experiments.families import protocol_of
from experiments.intervals import Estimate, holm, paired_test
from experiments.output import output_errors, write_json
from experiments.plots import draw_seeds, draw_settings, write_picture
from experiments.run_folder import (
    CONFIG,
    EVALUATION,
    PROGRESS,
    SECONDS,
    STEPS,
    VALIDATION,
    read_progress,
    read_results,
    read_run,
)
from experiments.tables import print_rows
from soc_env.errors import CheckpointError, ConfigError
from soc_env.registry import family_of

if TYPE_CHECKING:
    from soc_env.engine.tables import Column

GROUPS = "a name for every run, as NAME=RUN, or for none"
ABOUT = ("scenario", "scenario_hash", "overrides")  # what runs put together have in common


def aggregate(
    runs: Sequence[str],
    json_path: str | PathLike[str] | None = None,
    plot_path: str | PathLike[str] | None = None,
    file: TextIO | None = None,
) -> dict[str, Any]:
    """Puts runs together, prints the table, and writes the data and the curves where asked.

    Args:
        runs: run folders; with names, as ``NAME=RUN``, settings are compared.
        json_path: JSON file to write.
        plot_path: file to draw (PNG, SVG, PDF).
        file: where the table goes; standard output by default.

    Returns:
        What `summarise_seeds` gives, with names what `compare_settings` does.

    Raises:
        ConfigError: runs with and without a name, or that do not belong together; a file that cannot be written.
        CheckpointError: a folder without an evaluation.
    """
    file, groups = file or sys.stdout, _grouped(runs)
    has_names = "" not in groups
    if has_names:
        data = compare_settings(groups)
        print_settings(data, file)
    else:
        data = summarise_seeds(groups[""])
        print_seeds(data, file)
    with output_errors():
        if json_path is not None:
            print(f"wrote {write_json(json_path, data)}", file=file)
        if plot_path is not None:
            figure = draw_settings(data) if has_names else draw_seeds(data)
            print(f"wrote {write_picture(plot_path, figure)}", file=file)
    return data


def _grouped(runs: Sequence[str]) -> dict[str, list[str]]:
    """Name -> folders; the name "" for folders without one."""
    groups: dict[str, list[str]] = {}
    for run in runs:
        name, _, folder = str(run).rpartition("=") if not os.path.isdir(run) else ("", "", str(run))
        groups.setdefault(name, []).append(folder)
    if "" in groups and len(groups) > 1:
        raise ConfigError(f"runs: {groups['']} have no name; allowed: {GROUPS}")
    return groups


# --- one setting


def summarise_seeds(folders: Sequence[str | PathLike[str]], least: int = 2) -> dict[str, Any]:
    """What runs of one setting with several seeds came to.

    Args:
        folders: run folders, each with its ``evaluation.json``, ``config.json`` and ``progress.csv``.
        least: runs wanted.

    Returns:
        Plain data: scenario, scenario_hash, overrides, num_episodes; `runs`, each with seed, steps, minutes, git,
        means (policy -> metric -> mean) and curve (steps, seconds, and greedy means of the curves' metrics); `summary`
        (policy -> metric -> mean, std, low, high), 95 % intervals over the means of the runs.

    Raises:
        CheckpointError: a folder without an evaluation, or with a damaged file.
        ConfigError: fewer runs, the same seed twice, or runs of different scenarios.
    """
    runs: list[dict[str, Any]] = []
    about: dict[str, Any] = {}
    for folder in map(pathlib.Path, folders):
        results = read_results(folder / EVALUATION)
        if TRAINED not in results:
            raise CheckpointError(f"runs: {str(folder / EVALUATION)!r} has no result of {TRAINED}")
        here = {name: results[TRAINED].settings[name] for name in (*ABOUT, "num_episodes")}
        if about and here != about:
            raise ConfigError(f"runs: {str(folder)!r} is of {here}, the first one of {about}; allowed: one setting")
        about = here
        runs.append(_read_run(folder, results, here["scenario"]))
    seeds = [run["seed"] for run in runs]
    if len(runs) < least or len(set(seeds)) < len(seeds):
        raise ConfigError(f"runs: their seeds are {seeds}; allowed: {least} or more runs with different seeds")
    policies = [name for name in runs[0]["means"] if all(name in run["means"] for run in runs)]
    summary = {
        name: {
            metric: dataclasses.asdict(Estimate.of(np.array([run["means"][name][metric] for run in runs])))
            for metric in runs[0]["means"][name]
        }
        for name in policies
    }
    return {**about, "runs": runs, "summary": summary}


def _read_run(folder: pathlib.Path, results: Mapping[str, EvaluationResult], scenario: str) -> dict[str, Any]:
    """One of `summarise_seeds`' runs; its curve has the iterations that were validated."""
    config, names = read_run(folder / CONFIG), protocol_of(scenario).curves
    curve = read_progress(folder / PROGRESS, (SECONDS, *names))
    is_known = np.isfinite(curve[VALIDATION + family_of(scenario).headline]) if curve else np.zeros(0, bool)
    if curve is None or not is_known.any() or not math.isfinite(curve[SECONDS][-1]):
        raise CheckpointError(f"runs: {str(folder / PROGRESS)!r} is missing, or has no iteration that was validated")
    greedy = {name: curve[VALIDATION + name][is_known].tolist() for name in names}
    return {
        "seed": config["seed"],
        "steps": int(curve[STEPS][-1]),
        "minutes": round(float(curve[SECONDS][-1]) / 60, 2),
        "git": config.get("git"),
        "means": {name: {k: e.mean for k, e in result.summary.items()} for name, result in results.items()},
        "curve": {key: curve[key][is_known].tolist() for key in (STEPS, SECONDS)} | greedy,
    }


def print_seeds(data: Mapping[str, Any], file: TextIO | None = None) -> None:
    """Prints `summarise_seeds`: every run's greedy HMARL, then every policy over the runs."""
    columns = _shown_columns(data["scenario"])
    header = ["policy"] + [c.title for c in columns]
    rows = [
        [f"{TRAINED}, seed {run['seed']}"] + [c.format(run["means"][TRAINED][c.name]) for c in columns]
        for run in data["runs"]
    ]
    for name, estimates in data["summary"].items():
        rows.append([name] + [Estimate(**estimates[c.name]).within(c.bounds).format(c) for c in columns])
    caption = (
        f"means of {data['num_episodes']} episodes of {data['scenario']} ({data['scenario_hash']}) a run;"
        f" below, mean [95 % interval] over {len(data['runs'])} runs"
    )
    print_rows(header, rows, caption, file or sys.stdout)


def _shown_columns(scenario: str) -> list[Column]:
    columns = family_of(scenario).columns
    return [columns[name] for name in protocol_of(scenario).shown]


# --- several settings


def compare_settings(groups: Mapping[str, Sequence[str | PathLike[str]]]) -> dict[str, Any]:
    """What settings come to, each over its runs, and what each adds to the first one on the seeds they share.

    Args:
        groups: name of a setting -> its run folders.

    Returns:
        Plain data: `settings`, name -> `summarise_seeds`; `gains`, name -> metric -> n, mean, std, low, high of the
        difference of two runs of the same seed (greedy HMARL, episodes of the same seeds), 95 % intervals over seeds;
        {} for a setting that shares no seed with the first. `tests`, name -> p, least_p, p_holm: the paired
        permutation test of the goal's gains, the smallest p that so many seeds can reach, and p corrected by Holm's
        method for the number of settings tested; without settings that share no seed.

    Raises:
        As `summarise_seeds`, also for settings of different scenarios.
    """
    settings = {name: summarise_seeds(folders, least=1) for name, folders in groups.items()}
    about = [{key: data[key] for key in ABOUT} for data in settings.values()]
    for name, here in zip(settings, about, strict=True):
        if here != about[0]:
            raise ConfigError(f"runs: {name!r} is of {here}, the first one of {about[0]}; allowed: one scenario")
    first, *others = settings
    goal = family_of(about[0]["scenario"]).headline
    differences = {name: _by_seed(settings[name], settings[first]) for name in others}
    gains = {
        name: {metric: {"n": len(d)} | dataclasses.asdict(Estimate.of(d)) for metric, d in found.items()}
        for name, found in differences.items()
    }
    return {"settings": settings, "gains": gains, "tests": _tests(differences, goal)}


def _by_seed(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Metric -> (seeds that both have,) differences of greedy HMARL's means; {} without a common seed."""
    means = {run["seed"]: run["means"][TRAINED] for run in one["runs"]}
    pairs = [(means[run["seed"]], run["means"][TRAINED]) for run in other["runs"] if run["seed"] in means]
    return {m: np.array([ours[m] - theirs[m] for ours, theirs in pairs]) for m in (pairs[0][0] if pairs else ())}


def _tests(differences: Mapping[str, Mapping[str, np.ndarray]], goal: str) -> dict[str, dict[str, float]]:
    found = {name: paired_test(own[goal]) for name, own in differences.items() if own}
    corrected = holm([test.p for test in found.values()])
    return {
        name: dataclasses.asdict(test) | {"p_holm": p} for (name, test), p in zip(found.items(), corrected, strict=True)
    }


def print_settings(data: Mapping[str, Any], file: TextIO | None = None) -> None:
    """Prints `compare_settings`: greedy HMARL of every setting, then the gains over the first one and their tests."""
    file, settings = file or sys.stdout, data["settings"]
    first = next(iter(settings))
    scenario = settings[first]["scenario"]
    columns = _shown_columns(scenario)
    header = ["setting", "seeds", "steps", *(c.title for c in columns)]
    rows = []
    for name, found in settings.items():
        steps = np.mean([run["steps"] for run in found["runs"]])
        n, summary = len(found["runs"]), found["summary"][TRAINED]
        own = [_over_seeds(Estimate(**summary[c.name]).within(c.bounds), n, c) for c in columns]
        rows.append([name, str(n), f"{steps:,.0f}", *own])
    for name, gain in data["gains"].items():
        if gain:
            n = gain[columns[0].name]["n"]
            parts = [{key: gain[c.name][key] for key in ("mean", "std", "low", "high")} for c in columns]
            own = [_over_seeds(Estimate(**part), n, c) for part, c in zip(parts, columns, strict=True)]
            rows.append([f"{name} - {first}", str(n), "", *own])
    caption = (
        f"greedy HMARL, means of {settings[first]['num_episodes']} episodes of {scenario}"
        f" ({settings[first]['scenario_hash']}) a run; mean [95 % interval] over seeds, differences by seed"
    )
    print_rows(header, rows, caption, file)
    family = family_of(scenario)
    for name, test in data["tests"].items():
        print(f"{name} - {first}, {family.columns[family.headline].label}: {_test_text(test)}", file=file)


def _over_seeds(estimate: Estimate, n: int, column: Column) -> str:
    return estimate.format(column) if n > 1 else column.format(estimate.mean)  # one seed has no spread


def _test_text(test: Mapping[str, float]) -> str:
    return (
        f"permutation test by seed, p = {test['p']:.2g} (Holm {test['p_holm']:.2g});"
        f" so many seeds reach {test['least_p']:.2g} at best"
    )
