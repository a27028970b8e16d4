"""Results and run folders as training leaves them, shared by the tests of reports, charts and aggregates."""

import csv
import json
from pathlib import Path

import pytest

from experiments.evaluate import TRAINED, UNTRAINED, EvaluationResult, compare
from experiments.families import PROTOCOLS

SHOWN = PROTOCOLS["paper"].shown
POLICIES = {
    "random": "random",
    "null": "null",
    "<rule> & soar": "rule-soar",
    UNTRAINED: "zeros",
    TRAINED: "best-constant",
}


@pytest.fixture(scope="session")
def results() -> dict[str, EvaluationResult]:
    return compare(POLICIES, "paper-v0", num_episodes=60, seed=4)


@pytest.fixture
def folder(tmp_path: Path, results: dict[str, EvaluationResult]) -> Path:
    """A run folder as training leaves it."""
    (tmp_path / "evaluation.json").write_text(json.dumps({name: result.to_dict() for name, result in results.items()}))
    config = {"seed": 17, "command": ["hmarl-soc", "train", "--minutes", "3"], "config": {"replay_alpha": "<b>0.6"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with open(tmp_path / "progress.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["iteration", "steps", *SHOWN, *(f"validation_{key}" for key in SHOWN)])
        writer.writerow([1, 1024, *[""] * 10])  # no episode has finished yet
        for k in range(2, 9):
            writer.writerow([k, 1024 * k, k, 9, 30, 0.001, 0.9, *([11, 8, 20, 0, 0.99] if k % 3 == 0 else [""] * 5)])
    return tmp_path


@pytest.fixture
def run_folders(tmp_path: Path, results: dict[str, EvaluationResult]) -> list[Path]:
    """Three runs whose trained policies got 0, 1 and 2 more."""
    folders = []
    for seed in range(3):
        folders.append(tmp_path / f"run{seed}")
        folders[-1].mkdir()
        plain = {name: result.to_dict() for name, result in results.items()}
        for name in plain:
            plain[name]["summary"]["reward"]["mean"] += seed * (name == TRAINED)
        (folders[-1] / "evaluation.json").write_text(json.dumps(plain))
        (folders[-1] / "config.json").write_text(json.dumps({"seed": seed, "git": "abc", "config": {}}))
        with open(folders[-1] / "progress.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["iteration", "steps", "seconds", *SHOWN, *(f"validation_{key}" for key in SHOWN)])
            for k in range(1, 9):
                greedy = [11 + seed, 8, 20, 0, 0.99] if k % 2 == 0 else [""] * 5
                writer.writerow([k, 1024 * k, 60 * k, k, 9, 30, 0.001, 0.9, *greedy])
    return folders
