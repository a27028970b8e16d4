"""A run that is killed with SIGKILL and resumed ends with the bytes of one that was not."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("ray")

SCRIPT = Path(__file__).parents[1] / "helpers" / "killed_runs.py"


def killed_runs(folder: Path, *options: str) -> dict:
    command = [sys.executable, str(SCRIPT), str(folder), *options]
    done = subprocess.run(command, capture_output=True, text=True, cwd=SCRIPT.parents[2])
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_run_killed_at_four_points_ends_with_the_same_bytes(tmp_path: Path) -> None:
    result = killed_runs(tmp_path)
    assert result["failed"] == []
    assert result["statuses"] == {"[-9, -9, -9, -9, 0]": 1}


@pytest.mark.slow
def test_forty_runs_killed_at_each_step_of_the_writer_and_at_random_end_with_the_same_bytes(tmp_path: Path) -> None:
    result = killed_runs(tmp_path, "--steps", "--random", "22")
    assert result["failed"] == []
    assert result["runs"] == 40
    assert result["kills"] >= 40
