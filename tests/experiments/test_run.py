"""What a run keeps whatever happens: its budget, its best checkpoint, its last whole one, its folder to itself."""

import csv
import errno
import hashlib
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray")
from killed_runs import TINY

import policies
from experiments.budget import Rhythm
from experiments.run import Run
from experiments.run_lock import LOCK, run_lock
from experiments.train import train
from policies.checkpoint import read_manifest
from soc_env.errors import ActionError, CheckpointError, ConfigError, RunError

OVERRIDES = {"num_hosts": 20, "max_steps": 20}


def start(out: Path, steps: int = 256, **settings: Any) -> Path:
    """A run of two iterations."""
    settings = {"num_envs": 8, "overrides": OVERRIDES, "config": TINY, **settings}
    return train("paper-v0", out=out, steps=steps, evaluation=False, **settings)


def resume(out: Path, **settings: Any) -> Path:
    return train(out=out, resume=True, evaluation=False, **settings)


@pytest.fixture(autouse=True)
def quick_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Run, "measure", lambda self, policy: dict.fromkeys(self.metrics, 1.0))


@pytest.fixture(scope="module")
def two_iterations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "measure", lambda self, policy: dict.fromkeys(self.metrics, 1.0))
        return start(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture
def run(two_iterations: Path, tmp_path: Path) -> Path:
    """A finished run of 256 steps, to be changed."""
    shutil.copytree(two_iterations, tmp_path / "run")
    return tmp_path / "run"


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def steps_of(out: Path) -> list[int]:
    with (out / "progress.csv").open(newline="") as file:
        return [int(row["steps"]) for row in csv.DictReader(file)]


def saved_steps(out: Path, name: str = "last") -> int:
    return read_manifest(out / "checkpoints" / name)["num_env_steps"]


def budget_of(out: Path) -> dict[str, Any]:
    return json.loads((out / "config.json").read_text())["budget"]


# --- the budget


def test_a_finished_run_says_so_and_changes_nothing(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = digests(run)
    resume(run)
    assert digests(run) == before
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert "has used up its budget of 256 steps; to train on: hmarl-soc train --resume --out" in out
    assert out.endswith("--steps 512 --no-evaluation\n")


def test_a_new_budget_is_the_runs_from_then_on(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop_after(self: Run, policy: Any) -> dict[str, float]:
        self.wants_stop = self.algo.num_env_steps == 384
        return dict.fromkeys(self.metrics, 1.0)

    monkeypatch.setattr(Run, "validation", Rhythm(0.0, 0.0, 128, 128))
    with monkeypatch.context() as patch:
        patch.setattr(Run, "measure", stop_after)
        with pytest.raises(KeyboardInterrupt):
            resume(run, steps=512)
    assert budget_of(run) == {"steps": 512}
    assert steps_of(run) == [128, 256, 384]
    resume(run)
    assert steps_of(run) == [128, 256, 384, 512]
    resume(run, minutes=1e-6)  # less than it has had
    assert budget_of(run) == {"minutes": 1e-6}
    assert saved_steps(run) == 512


def test_options_that_are_not_the_runs_are_refused_before_anything_is_written(run: Path) -> None:
    before = digests(run)
    with pytest.raises(ConfigError, match="seed=1: the run in '.*' has 0"):
        resume(run, seed=1, steps=512)
    assert digests(run) == before


@pytest.mark.parametrize(
    ("file", "was", "now", "says"),
    [
        ("config.json", '"paper-v0"', '"no_such_module:env"', r"config\.json': .*'no_such_module:env' does not exist"),
        ("config.json", '"num_hosts"', '"num_hots"', r"config\.json': .*'num_hots'.*did you mean 'num_hosts'"),
        ("config.json", '"replay_capacity"', '"replay_size"', r"config\.json': .*'replay_size' does not exist"),
        ("config.json", '"learning_starts": 256', '"learning_starts": -1', r"config\.json': .*learning_starts.*-1"),
        ("progress.csv", "steps_per_second", "speed", "progress .*progress.csv' has other columns than this run"),
    ],
)
def test_a_file_that_was_edited_is_named(file: str, was: str, now: str, says: str, run: Path) -> None:
    text = (run / file).read_text()
    assert was in text
    (run / file).write_text(text.replace(was, now, 1))
    with pytest.raises(CheckpointError, match=says) as error:
        resume(run, steps=512)
    assert "\n" not in str(error.value)


# --- the best checkpoint


@pytest.mark.parametrize(("next_one", "best_steps"), [(1.0, 256), (math.nan, 256), (math.inf, 256), (2.0, 512)])
def test_best_is_never_replaced_by_a_worse_one(
    next_one: float, best_steps: int, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = run / "checkpoints" / "last"
    manifest = json.loads((last / "hmarl.json").read_text())
    assert "best_validation_reward" not in manifest  # a run killed after it wrote `best` has an older `last`
    monkeypatch.setattr(Run, "measure", lambda self, policy: dict.fromkeys(self.metrics, next_one))
    resume(run, steps=512)
    assert saved_steps(run) == 512
    assert saved_steps(run, "best") == best_steps
    mark = read_manifest(run / "checkpoints" / "best")["best_validation_reward"]
    assert mark == (2.0 if best_steps == 512 else 1.0)


def test_a_validation_that_is_undefined_makes_no_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Run, "measure", lambda self, policy: dict.fromkeys(self.metrics, math.nan))
    out = start(tmp_path / "run")
    assert not (out / "checkpoints" / "best").exists()
    assert "nan" not in (out / "progress.csv").read_text()


def test_networks_that_no_longer_act_end_the_run_in_one_line(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: Run, policy: Any) -> dict[str, float]:
        raise ActionError("alert_triage_0: the action is NaN")

    monkeypatch.setattr(Run, "measure", fails)
    with pytest.raises(
        RunError, match=r"validation after 512 steps: alert_triage_0: the action is NaN; checkpoint last"
    ):
        resume(run, steps=512)
    assert saved_steps(run) == 256


# --- a full disk


class Disk:
    """Stands for `policies.save_checkpoint` on a disk that is full now and then."""

    def __init__(self, patch: pytest.MonkeyPatch):
        self.is_full: Any = lambda steps, name: False
        self._save = policies.save_checkpoint
        patch.setattr(policies, "save_checkpoint", self.save)

    def save(self, algo: Any, folder: Path, **settings: Any) -> Path:
        if self.is_full(algo.num_env_steps, folder.name):
            raise OSError(errno.ENOSPC, "No space left on device", str(folder / "state.json"))
        return self._save(algo, folder, **settings)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    monkeypatch.setattr(Run, "checkpoint", Rhythm(0.0, 0.0, 128, 128))
    return Disk(monkeypatch)


def test_training_goes_on_while_the_disk_is_full(run: Path, disk: Disk, capsys: pytest.CaptureFixture[str]) -> None:
    disk.is_full = lambda steps, name: steps in (384, 512)
    resume(run, steps=640)
    assert saved_steps(run) == 640
    err = capsys.readouterr().err
    assert err.count("warning: checkpoint last: ") == 1  # once, however often it fails
    assert "state.json' cannot be written (No space left on device); training goes on" in err


def test_a_last_checkpoint_that_finds_no_room_fails_the_run(run: Path, disk: Disk) -> None:
    disk.is_full = lambda steps, name: name == "last" and steps >= 512
    with pytest.raises(
        RunError, match=r"state.json' cannot be written \(No space.*make room, then go on with: hmarl-soc"
    ):
        resume(run, steps=512)
    assert saved_steps(run) == 384
    disk.is_full = lambda steps, name: False
    resume(run)
    assert steps_of(run) == [128, 256, 384, 512]
    assert saved_steps(run) == 512


def test_a_disk_that_is_full_from_the_beginning_is_one_line(tmp_path: Path, disk: Disk) -> None:
    disk.is_full = lambda steps, name: name == "start"
    with pytest.raises(RunError, match="make room, then go on with: hmarl-soc train --resume --out"):
        start(tmp_path / "run")
    disk.is_full = lambda steps, name: False
    assert steps_of(resume(tmp_path / "run")) == [128, 256]


def test_a_best_that_finds_no_room_is_told_and_the_one_before_stays(
    run: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Run, "measure", lambda self, policy: dict.fromkeys(self.metrics, 5.0))
    disk.is_full = lambda steps, name: name == "best"
    resume(run, steps=512)
    assert "warning: checkpoint best: " in capsys.readouterr().err
    assert (saved_steps(run), saved_steps(run, "best")) == (512, 256)


# --- the folder


def test_a_folder_in_use_is_left_alone(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Run, "go", lambda *_: pytest.fail("it was started"))
    with run_lock(run):
        before = digests(run)
        for again in (lambda: start(run), lambda: resume(run, steps=512)):
            with pytest.raises(ConfigError, match="is in use by another run: process"):
                again()
        assert digests(run) == before


def test_rests_of_killed_runs_are_removed(run: Path) -> None:
    left = [run / ".config.json.0123abcd.partial", run / ".progress.csv.0123abcd.partial"]
    others = [run / ".config.json.mine", run / ".notes.0123abcd.partial"]
    for file in (*left, *others):
        file.write_text("")
    resume(run)
    assert not any(file.exists() for file in left)
    assert all(file.exists() for file in others)


def test_settings_that_are_refused_leave_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="learning_starts"):
        start(tmp_path / "run", config={**TINY, "learning_starts": -1})
    with pytest.raises(CheckpointError, match="holds no run to resume"):
        resume(tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_run_leaves_its_lock_free(run: Path) -> None:
    assert (run / LOCK).read_bytes() == b""
    assert not (run / "run.lock.json").exists()


def test_code_of_the_callers_own_is_recorded_but_has_to_be_given_again(tmp_path: Path) -> None:
    from policies.scripted import SCRIPTED

    own = {"tiers": {"threat_hunter": {"algorithm": "scripted", "policy": SCRIPTED["paper"]["zeros"]}}}
    config = {**TINY, "tiers": {**TINY["tiers"], **own["tiers"]}}
    out = start(tmp_path / "run", steps=128, config=config)
    recorded = json.loads((out / "config.json").read_text())["config"]["tiers"]["threat_hunter"]["policy"]
    with pytest.raises(CheckpointError, match=r"config\.json': config: tier 'threat_hunter' has policy 'policies"):
        resume(out, steps=256)
    assert recorded.startswith("policies.")
    assert steps_of(resume(out, steps=256, config=own)) == [128, 256]
