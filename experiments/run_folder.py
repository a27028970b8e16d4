"""What a run leaves in its folder, read back: checkpoints, results, configuration, progress."""

from __future__ import annotations

import csv
import io
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.evaluate import EvaluationResult
from experiments.forms import (
    ANYTHING,
    COUNT,
    LARGEST,
    MOST_BYTES,
    NUMBER,
    SEED,
    TEXT,
    TEXT_OR_NONE,
    WHOLE,
    check_form,
    read_json,
)
from soc_env.errors import CheckpointError, HMARLSOCError, shown, unknown_name
from soc_env.registry import family_of

EVALUATION, EVALUATION_TRAIN = "evaluation.json", "evaluation-train.json"
CONFIG, PROGRESS, ATTENTION, REPORT = "config.json", "progress.csv", "attention.json", "report.html"
STEPS, SECONDS, VALIDATION = "steps", "seconds", "validation_"  # columns of progress.csv, and a prefix
RESULT = {
    "policy": TEXT,
    "scenario": TEXT,
    "scenario_hash": TEXT,
    "overrides": {...: ANYTHING},
    "seed": SEED,
    "num_episodes": COUNT,
    "num_envs": COUNT,
    "versions": {...: TEXT},
    "git_hash": TEXT_OR_NONE,
    "summary": {...: {"mean": NUMBER, "std": NUMBER, "low": NUMBER, "high": NUMBER}},
    "episodes": {...: [NUMBER]},
}
RUN = {"seed": SEED, "git?": TEXT_OR_NONE, "command?": [TEXT]}  # what is read of config.json
MOMENT = {"minute": WHOLE, "agents": {...: {"tokens": [TEXT], "decisions": [TEXT], "shares": [[NUMBER]]}}}


def read_results(path: str | os.PathLike[str]) -> dict[str, EvaluationResult]:
    """Name -> result of a file of `EvaluationResult.to_dict`s, all of one scenario.

    Raises:
        CheckpointError: the file cannot be read, or is none of these; names the place.
        ConfigError: a result of an older version.
    """
    plain, subject = read_json(path), f"report: {str(path)!r}"
    if not plain:
        raise CheckpointError(f"{subject} holds no results")
    results = {}
    for name, data in plain.items():
        place = f"{subject}: {shown(name)}"
        check_form(data, RESULT, place)
        results[name] = EvaluationResult.from_dict(data)
        _check_columns(results[name], place)
    scenarios = {result.settings["scenario"] for result in results.values()}
    if len(scenarios) > 1:
        raise CheckpointError(f"{subject} has results of {', '.join(sorted(scenarios))}, allowed: one scenario")
    return results


def _check_columns(result: EvaluationResult, place: str) -> None:
    """That a result has the metrics of its scenario's family, and as many episodes as it says."""
    try:
        columns = family_of(result.settings["scenario"]).columns
    except HMARLSOCError as error:
        raise CheckpointError(f"{place}: {error}") from None
    for kind, found, allowed in (
        ("summary", result.summary, set(columns)),
        ("episodes", result.episodes, {"seed", *columns}),
    ):
        for name in sorted(allowed - set(found)):
            raise CheckpointError(f"{place}: {kind} has no {name!r}")
        for name in sorted(set(found) - allowed):
            raise CheckpointError(f"{place}: {kind}: {unknown_name('metric', name, allowed)}")
    number = result.settings["num_episodes"]
    for name, column in result.episodes.items():
        if len(column) != number:
            raise CheckpointError(f"{place}: episodes: {name} has {len(column)} values, allowed: {number}")


def read_run(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a run's config.json says, of which `RUN` is checked; CheckpointError where it cannot be read."""
    found = read_json(path)
    check_form(found, RUN, f"report: {str(path)!r}")
    return found


def read_moment(path: str | os.PathLike[str]) -> Mapping[str, Any]:
    """What `experiments.attention.explained_moment` found; CheckpointError where the file cannot be read."""
    found, subject = read_json(path), f"report: {str(path)!r}"
    check_form(found, MOMENT, subject)
    for agent, own in found["agents"].items():
        tokens, shares = own["tokens"], own["shares"]
        for name in own["decisions"]:
            if name not in tokens:
                raise CheckpointError(f"{subject}: {shown(agent)}: {unknown_name('token', name, tokens)}")
        if not own["decisions"] or {len(tokens)} != {len(shares), *map(len, shares)}:
            raise CheckpointError(f"{subject}: {shown(agent)}: shares must be of {len(tokens)} tokens, each of each")
    return found


def read_progress(path: str | os.PathLike[str], keys: Sequence[str]) -> dict[str, np.ndarray] | None:
    """Steps and metrics `keys` of a run's progress.csv, NaN where empty; None when there are fewer than two rows.

    Columns: steps, the metrics of training episodes, and the same with "validation_" before. A last line that is not
    complete (the run is going, or was killed) is left out.

    Raises:
        CheckpointError: it cannot be read, or a value is no number; names line and column.
    """
    subject = f"report: {str(path)!r}"
    if not os.path.exists(path):
        return None
    try:
        with pathlib.Path(path).open("rb") as file:
            text = file.read(MOST_BYTES).decode("utf-8")
        reader = csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1], newline=""), strict=True)
        rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CheckpointError(f"{subject} cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if STEPS not in (reader.fieldnames or ()):
        raise CheckpointError(f"{subject} has no column {STEPS!r}")
    names = (STEPS, *keys, *(VALIDATION + key for key in keys))
    columns = {
        name: np.array([_number(row.get(name), f"{subject}: row {k}: {name}") for k, row in enumerate(rows, 1)])
        for name in names
    }
    if np.isnan(columns[STEPS]).any():
        raise CheckpointError(f"{subject}: row {int(np.isnan(columns[STEPS]).argmax()) + 1} has no {STEPS}")
    return columns if len(rows) > 1 else None


def _number(text: Any, place: str) -> float:
    """NaN for an empty field; CheckpointError for what is no number."""
    if not text:
        return math.nan
    try:
        number = float(text)
    except (TypeError, ValueError):
        number = math.inf
    if not abs(number) <= LARGEST:
        raise CheckpointError(f"{place} is {shown(text)}, allowed: a number, or nothing")
    return number
