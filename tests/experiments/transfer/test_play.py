"""Episodes of CC4: what is finished is kept, what is missing is played, and what was measured is said."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("matplotlib")
from cage4_stand_ins import Pretence
from cage4_trace import needs_cyborg

from cyborg_bridge.controls import CONTROLS, ControlPolicy
from experiments.evaluate import episode_seeds
from experiments.transfer import play
from experiments.transfer.entries import Entry, control_entries
from experiments.transfer.play import PICTURE, RESULTS, Task, transfer
from soc_env.errors import ConfigError


def test_another_checkpoint_under_the_same_name_is_refused(pretence: Pretence, tmp_path: Path) -> None:
    def play(identity: str) -> dict[str, Any]:
        entry = {"team": Entry(lambda seed: ControlPolicy(CONTROLS["sleep"], seed), "flat", identity)}
        return transfer(entry, episodes=1, out=tmp_path / "out")

    assert play("a")["entries"]["team"]["identity"] == "a"
    play("a")
    with pytest.raises(ConfigError, match="'team' is there from another checkpoint"):
        play("b")


def test_results_are_of_the_episodes_that_every_policy_meets(
    run: Callable[..., dict[str, Any]], pretence: Pretence, tmp_path: Path
) -> None:
    data = run("sleep", "flat-rule", episodes=5, seed=3)
    seeds = episode_seeds(3, 5).tolist()
    assert pretence.played == [(name, seed) for seed in seeds for name in ("sleep", "flat-rule")]
    assert data == json.loads((tmp_path / "out" / RESULTS).read_text())
    assert data["protocol"] == {
        "environment": "cyborg_cage4_v0", "steps": 500, "seed": 3, "cyborg": {"version": "4.0", "commit": "abc"},
    }  # fmt: skip
    record = data["entries"]["sleep"]
    scores = np.array([-500.0 - seed % 7 for seed in seeds])
    assert list(record["scores"].values()) == scores.tolist()
    assert record["n"] == 5
    assert record["mean"] == pytest.approx(scores.mean())
    assert record["low"] == pytest.approx(scores.mean() - 2.776445 * scores.std(ddof=1) / 5**0.5)  # t of 4 degrees
    assert record["observation"] == "flat"
    assert len(record["git_hashes"]) == 1
    assert record["kind"] == "control"
    assert list(record["rests"].values()) == [-50.0 - seed % 3 for seed in seeds]
    assert record["rest"]["mean"] == pytest.approx(-50.0 - np.mean([seed % 3 for seed in seeds]))
    for seed in seeds:
        points = record["points"][str(seed)]
        assert sum(p for zones in points.values() for phases in zones.values() for p in phases) == -500.0 - seed % 7
    assert (tmp_path / "out" / PICTURE).read_bytes().startswith(b"\x89PNG")


def test_an_interrupted_run_goes_on_where_it_was(
    run: Callable[..., dict[str, Any]], pretence: Pretence, tmp_path: Path
) -> None:
    pretence.stop_after = 7
    with pytest.raises(KeyboardInterrupt):
        run("sleep", "flat-rule", episodes=5)
    kept = json.loads((tmp_path / "out" / RESULTS).read_text())["entries"]
    assert [len(kept[name]["scores"]) for name in ("sleep", "flat-rule")] == [4, 3]
    pretence.stop_after = 1_000_000
    resumed = run("sleep", "flat-rule", episodes=5)
    assert len(pretence.played) == len(set(pretence.played)) == 10
    (tmp_path / "out" / RESULTS).unlink()
    assert resumed == run("sleep", "flat-rule", episodes=5)


def test_two_calls_at_once_lose_nothing(
    run: Callable[..., dict[str, Any]], pretence: Pretence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner, original = [], pretence.play

    def play_and_call(task: Task) -> float:
        if not inner:
            inner.append(True)
            run("sleep", "raw-rule", episodes=2)
        return original(task)

    monkeypatch.setattr(play, "play", play_and_call)
    run("sleep", "flat-rule", episodes=3)
    kept = json.loads((tmp_path / "out" / RESULTS).read_text())["entries"]
    assert {name: record["n"] for name, record in kept.items()} == {"sleep": 3, "flat-rule": 3, "raw-rule": 2}


def test_more_episodes_and_more_names_are_added(run: Callable[..., dict[str, Any]], pretence: Pretence) -> None:
    run("sleep", episodes=3)
    data = run("raw-rule", episodes=2)
    assert {name: record["n"] for name, record in data["entries"].items()} == {"sleep": 3, "raw-rule": 2}
    data = run("sleep", episodes=4)
    assert len(pretence.played) == len(set(pretence.played)) == 6
    data = run("sleep", "raw-rule", episodes=1)
    assert len(pretence.played) == 6
    assert {name: record["n"] for name, record in data["entries"].items()} == {"sleep": 4, "raw-rule": 2}


def test_a_file_from_before_there_were_rests_is_added_to(
    run: Callable[..., dict[str, Any]], pretence: Pretence, tmp_path: Path
) -> None:
    run("sleep", "raw-rule", episodes=2)
    file = tmp_path / "out" / RESULTS
    old = json.loads(file.read_text())
    for record in old["entries"].values():
        for part in ("rests", "points", "rest", "kind"):
            del record[part]
    file.write_text(json.dumps(old))
    data = run("sleep", episodes=3)
    assert len(pretence.played) == 5
    sleep, rule = data["entries"]["sleep"], data["entries"]["raw-rule"]
    assert [len(sleep[part]) for part in ("scores", "rests", "points")] == [3, 1, 1]
    assert (sleep["rest"]["n"], sleep["rest"]["low"]) == (1, None)
    assert [len(rule[part]) for part in ("scores", "rests", "points")] == [2, 0, 0]
    assert "rest" not in rule


def test_one_episode_has_no_interval_and_two_none_above_the_best_score(run: Callable[..., dict[str, Any]]) -> None:
    record = run("raw-rule", episodes=1)["entries"]["raw-rule"]
    assert [record[key] for key in ("n", "std", "low", "high")] == [1, None, None, None]
    record = run("raw-rule", episodes=2)["entries"]["raw-rule"]
    assert record["low"] < record["mean"] < record["high"] <= 0.0


def test_a_reference_that_is_not_there_is_an_error_before_anything_is_played(
    run: Callable[..., dict[str, Any]], pretence: Pretence
) -> None:
    with pytest.raises(ConfigError, match="reference 'raw-rul' does not exist; did you mean 'raw-rule'"):
        run("sleep", "raw-rule", episodes=1, reference="raw-rul")
    assert pretence.played == []


def test_another_protocol_is_not_mixed_in(
    run: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("sleep", episodes=1)
    before = (tmp_path / "out" / RESULTS).read_bytes()
    with pytest.raises(ConfigError, match="holds results of .*'seed': 0.* choose another folder"):
        run("sleep", episodes=1, seed=1)
    other = Entry(control_entries(["sleep"])["sleep"].make, "raw")
    with pytest.raises(ConfigError, match="'sleep' is there with observation='flat', not 'raw'"):
        transfer({"sleep": other}, out=tmp_path / "out", episodes=1)
    monkeypatch.setattr(play, "checkout_version", lambda root: {"version": "4.0", "commit": "def"})
    with pytest.raises(ConfigError, match="'commit': 'abc'"):
        run("sleep", episodes=1)
    assert (tmp_path / "out" / RESULTS).read_bytes() == before


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_unreadable_results_are_an_error_and_stay(
    content: str, run: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / RESULTS).write_text(content)
    with pytest.raises(ConfigError, match=r"transfer\.json cannot be read"):
        run("sleep", episodes=1)
    assert (tmp_path / "out" / RESULTS).read_text() == content


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"episodes": 0}, "episodes=0"), ({"seed": -1}, "seed=-1"), ({"workers": 0}, "workers=0")],
)
def test_numbers_out_of_range(
    settings: dict[str, int], message: str, run: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=f"{message} is out of range"):
        run("sleep", **settings)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made(run: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(ConfigError, match=r"out=.*cannot be (read|written)"):
        run("sleep", episodes=1)


def test_progress_says_how_far_and_how_long(
    run: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run("sleep", episodes=3)
    assert capsys.readouterr().err.endswith("3 of 3 episodes, 0:00 left  sleep -502\n")
    run("sleep", episodes=3)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setattr("experiments.progress.REFRESH_SECONDS", 0.0)
    monkeypatch.setenv("TERM", "xterm")
    run("flat-rule", episodes=4)
    err = capsys.readouterr().err
    assert "1 of 4 episodes  flat-rule" in err  # the first one compiled: it says nothing of the others
    assert "2 of 4 episodes, 0:00 left" in err
    assert err.endswith("\x1b[1A\x1b[2K")  # the bar has gone


@pytest.mark.slow
@needs_cyborg
def test_processes_change_nothing_on_the_real_cyborg(tmp_path: Path) -> None:
    entries = control_entries(["flat-rule", "raw-rule"])
    one, two = (transfer(entries, episodes=1, workers=n, out=tmp_path / str(n)) for n in (1, 2))
    assert one == two
    assert one["protocol"]["cyborg"]["version"] == "4.0"
    assert all(-2000 < record["mean"] < 0 for record in one["entries"].values())
