"""A search of Tune's own whose driver is killed goes on by `Tuner.restore`, from checkpoints of ours."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("ray")

ROOT = Path(__file__).parents[2]
SMALL = {"train_batch_size": 64, "replay_capacity": 1_000, "learning_starts": 64, "updates_per_iteration": 1}
SETTINGS = {**SMALL, "num_envs_per_env_runner": 4, "env_config": {"max_steps": 10}}
ITERATIONS = 60
CALL = f"runpy.run_path({str(ROOT / 'examples' / 'tune_asha.py')!r})['main'](iterations={ITERATIONS}, trials=2, "


def start(folder: Path, arguments: str) -> subprocess.Popen:
    code = f"import runpy; print({CALL}{arguments}))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.0, 3.0])
def test_a_killed_search_is_restored(seconds, tmp_path):
    process = start(tmp_path, f"**{SETTINGS!r}")
    end = time.monotonic() + 240
    while not list(tmp_path.glob("tune/asha/HMARL*/checkpoint_*")):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.1)
    time.sleep(seconds)
    process.kill()
    process.communicate()
    pickles = [path for path in tmp_path.glob("tune/asha/HMARL*/checkpoint_*/**/*") if path.suffix in (".pkl", ".pt")]
    assert pickles == [], "what HMARL writes for Tune is our own format"
    text, _ = (process := start(tmp_path, "resume=True")).communicate(timeout=400)
    assert process.returncode == 0, text
    rows = eval(text.strip().splitlines()[-1])  # what `main` returned
    iterations = sorted(row[3] for row in rows)
    assert len(rows) == 2
    assert iterations[-1] == ITERATIONS
    assert iterations[0] in (6, 18, 54, ITERATIONS)  # stopped at a rung, or not
    steps = {row[4] / row[3] for row in rows}
    assert len(steps) == 1, "lifetime counters go on where they were"
