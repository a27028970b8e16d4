"""What a run leaves in its folder, read back: checkpoints, results, configuration, progress."""

from __future__ import annotations

import csv
import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.evaluate import EvaluationResult
from soc_env.errors import CheckpointError

EVALUATION, EVALUATION_TRAIN = "evaluation.json", "evaluation-train.json"
CONFIG, PROGRESS, ATTENTION, REPORT = "config.json", "progress.csv", "attention.json", "report.html"
STEPS, SECONDS, VALIDATION = "steps", "seconds", "validation_"  # columns of progress.csv, and a prefix


def read_results(path: str | os.PathLike[str]) -> dict[str, EvaluationResult]:
    """Name -> result of a file of `EvaluationResult.to_dict`s; CheckpointError where it cannot be read."""
    return {name: EvaluationResult.from_dict(data) for name, data in read_json(path).items()}


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A file's object; CheckpointError where it is missing or damaged."""
    try:
        return json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"report: {str(path)!r} cannot be read ({error})") from error


def read_progress(path: str | os.PathLike[str], keys: Sequence[str]) -> dict[str, np.ndarray] | None:
    """Steps and metrics `keys` of a run's progress.csv, NaN where empty; None when there are fewer than two rows.

    Columns: steps, the metrics of training episodes, and the same with "validation_" before.
    """
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    names = (STEPS, *keys, *(VALIDATION + key for key in keys))
    columns = {name: np.array([float(row.get(name) or "nan") for row in rows]) for name in names}
    return columns if len(rows) > 1 else None
