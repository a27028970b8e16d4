"""`hmarl-soc transfer`: what the command hands on, and its mistakes."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("matplotlib")
from cage4_stand_ins import Pretence

from cyborg_bridge.controls import CONTROLS
from experiments import cli
from experiments.transfer import command
from experiments.transfer import train as training
from experiments.transfer.play import PICTURE, RESULTS, transfer
from experiments.transfer.train import trained_entries


def test_a_call_that_plays_nothing_says_so(pretence: Pretence, tmp_path: Path, capsys: Any) -> None:
    assert cli.main(["transfer", "--out", str(tmp_path / "out")]) == 2
    assert "nothing to play" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_runs_with_one_name_are_refused(runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    twin = tmp_path / "zones"
    shutil.copytree(runs["zones"], twin)
    assert cli.main(["transfer", "--checkpoint", str(runs["zones"]), str(twin), "--out", str(tmp_path / "out")]) == 2
    assert "allowed: runs in folders of different names" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_command_trains_at_every_level_and_plays_what_it_trained(
    pretence: Pretence, runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def note(out: Path, level: str, steps: int, *, start: Any, **settings: Any) -> Path:
        calls.append((out.name, level, steps, start, settings))
        shutil.copytree(runs["zones"], out)
        return out

    monkeypatch.setattr(training, "train_on_cage4", note)
    arguments = ["--controls", "sleep", "--checkpoint", str(runs["zones"]), "--train-steps", "50", "--level", "raw"]
    more = ["--episodes", "1", "--seed", "2", "--reward", "score", "--out", str(tmp_path / "out")]
    assert cli.main(["transfer", *arguments, *more]) == 0
    settings = {"seed": 2, "path": None, "workers": 0, "reward": "score"}
    assert calls == [
        ("from-scratch", "raw", 50, None, settings),
        ("fine-tuned-zones", "raw", 50, runs["zones"], settings),
    ]
    assert {name for name, _ in pretence.played} == {
        "sleep", "zones, raw", "zones, untrained, raw",
        "from-scratch, raw", "from-scratch, untrained, raw", "fine-tuned-zones, raw",
    }  # fmt: skip
    more = ["--teacher", "expert", "--train-steps", "50", "--level", "raw", "--out", str(tmp_path / "taught")]
    assert cli.main(["transfer", *more, "--episodes", "1"]) == 0
    assert (calls[-1][0], calls[-1][4]["teacher"]["file"]) == ("taught", "expert.toml")
    monkeypatch.setattr(training, "train_on_cage4", lambda out, *_, **__: out)
    again = trained_entries(tmp_path / "out", 50, ["raw"], [], seed=2)
    assert list(again) == ["from-scratch, raw", "from-scratch, untrained, raw"]


def test_the_command_hands_everything_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], pretence: Pretence
) -> None:
    calls = []
    real = transfer

    def note(entries: Any, **settings: Any) -> dict[str, Any]:
        calls.append((list(entries), {**settings}))
        return real(entries, **{**settings, "workers": 1})

    monkeypatch.setattr(command, "transfer", note)
    out = tmp_path / "there"
    arguments = ["--controls", "sleep", "raw-rule", "--episodes", "2", "--seed", "5", "--workers", "2", "--no-patch"]
    arguments += ["--reference", "sleep", "--decomposition"]
    assert cli.main(["transfer", *arguments, "--out", str(out), "--cyborg", "place"]) == 0
    settings = {"episodes": 2, "seed": 5, "workers": 2, "out": out, "path": Path("place"), "patch": False}
    assert calls == [(["sleep", "raw-rule"], {**settings, "reference": "sleep"})]
    shown = capsys.readouterr().out
    assert "rest - sleep" in shown
    assert re.search(r"raw-rule +raw +action cost +office +0\.00", shown)
    assert f"wrote {out / RESULTS} and {out / PICTURE}" in shown
    assert cli.main(["transfer", "--controls", "--episodes", "1", "--out", str(out), "--seed", "5"]) == 0
    assert calls[1][0] == list(CONTROLS)
    assert (calls[1][1]["patch"], calls[1][1]["reference"]) == (True, None)
    shown = capsys.readouterr().out
    assert "rest - raw-rule" in shown
    assert "action cost" not in shown


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--controls", "slep"], "did you mean 'sleep'"),
        (["--controls", "sleep", "--cyborg", "nowhere"], "is not a folder"),
        (["--episodes", "0"], "at least 1"),
        (["--workers", "0"], "at least 1"),
        (["--playbooks", "expert", "--level", "garbage"], "level 'garbage' does not exist"),
        (["--controls", "sleep", "--level", "garbage"], "level=garbage is of teams: allowed only with --checkpoint"),
        (["--controls", "sleep", "--level", "raw"], "level=raw is of teams"),
        (["--controls", "sleep", "--reward", "score"], "reward='score' is of training: allowed only with --train-st"),
        (["--controls", "sleep", "--teacher", "expert"], "teacher='expert' is of training: allowed only with --train-"),
        (["--train-steps", "5", "--teacher", "expret"], "'expret' does not exist; did you mean 'expert'"),
        (["--train-steps", "5", "--reward", "scor"], "reward 'scor' does not exist; did you mean 'score'"),
        (["--controls", "sleep", "--reference", "raw-rule"], "reference 'raw-rule' does not exist"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    try:
        status = cli.main(["transfer", "--out", str(tmp_path / "out"), *arguments])
    except SystemExit as stop:
        status = int(stop.code or 0)
    assert status == 2
    err = capsys.readouterr().err
    assert err.startswith("hmarl-soc: error: ")
    assert err.count("\n") == 1
    assert expected in err
    assert not (tmp_path / "out").exists()


def test_without_cyborg_the_command_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.delenv("CYBORG_HOME", raising=False)
    monkeypatch.setattr("cyborg_bridge.checkout.importable_cyborg", lambda: None)
    assert cli.main(["transfer", "--controls", "sleep", "--out", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert "git clone" in err
    assert err.count("\n") == 1
