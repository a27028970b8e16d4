"""The report page: complete, self-contained, safe to open, and written whole or not at all."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from experiments import report
from experiments.cli import main
from experiments.evaluate import COLUMNS, HEADLINE, TRAINED, UNTRAINED, EvaluationResult, compare
from soc_env.errors import CheckpointError, ConfigError

POLICIES = {
    "random": "random",
    "null": "null",
    "<rule> & soar": "rule-soar",
    UNTRAINED: "zeros",
    TRAINED: "best-constant",
}


@pytest.fixture(scope="module")
def results() -> dict[str, EvaluationResult]:
    return compare(POLICIES, num_episodes=60, seed=4)


@pytest.fixture
def folder(tmp_path: Path, results: dict[str, EvaluationResult]) -> Path:
    """A run folder as training leaves it."""
    (tmp_path / "evaluation.json").write_text(json.dumps({name: result.to_dict() for name, result in results.items()}))
    config = {"seed": 17, "command": ["hmarl-soc", "train", "--minutes", "3"], "config": {"replay_alpha": "<b>0.6"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with open(tmp_path / "progress.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["iteration", "steps", *HEADLINE, *(f"validation_{key}" for key in HEADLINE)])
        writer.writerow([1, 1024, *[""] * 10])  # no episode has finished yet
        for k in range(2, 9):
            writer.writerow([k, 1024 * k, k, 9, 30, 0.001, 0.9, *([11, 8, 20, 0, 0.99] if k % 3 == 0 else [""] * 5)])
    return tmp_path


def test_every_row_and_number_is_there(folder: Path, results: dict[str, EvaluationResult]) -> None:
    path = report.write_report(folder)
    assert path == folder / "report.html"
    page = path.read_text()
    rows = re.findall(r"<tr[^>]*><th scope=row>(.*?)</th>(.*?)</tr>", page)
    names = [name for name, _ in rows]
    assert names == ["random", "null", "&lt;rule&gt; &amp; soar", UNTRAINED, TRAINED, "published HMARL-SOC"]
    for (_, cells), result in zip(rows, results.values(), strict=False):
        for key in HEADLINE:
            estimate, column = result.summary[key], COLUMNS[key]
            assert f"<td>{column.format(estimate.mean)}<small>[{column.format(estimate.low)}, " in cells
    for shown in ("hash " + results["null"].settings["scenario_hash"], "seed 17", "hmarl-soc train --minutes 3"):
        assert shown in page
    assert page.count("<img ") == 2  # bars and learning curve


def test_the_page_needs_no_network_and_runs_no_script(folder: Path) -> None:
    page = report.write_report(folder).read_text()
    sources = re.findall(r'(?:src|href)="(.{0,20})', page)
    assert sources == ["data:image/svg+xml;b"] * 2
    assert "<script" not in page
    assert "<b>0.6" not in page  # what the configuration says is text, not markup
    assert "&lt;b&gt;0.6" in page


def test_the_same_run_gives_the_same_page(folder: Path) -> None:
    first = report.write_report(folder).read_bytes()
    assert report.write_report(folder).read_bytes() == first


def test_an_evaluation_alone_is_enough(folder: Path) -> None:
    (folder / "progress.csv").unlink()
    (folder / "config.json").unlink()
    assert report.write_report(folder).read_text().count("<img ") == 1


def test_a_failure_leaves_the_old_page(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report.write_report(folder)
    old = (folder / "report.html").read_text()
    files = sorted(file.name for file in folder.iterdir())

    def broken(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", broken)
    (folder / "progress.csv").unlink()
    with pytest.raises(OSError, match="disk full"):
        report.write_report(folder)
    assert (folder / "report.html").read_text() == old
    assert sorted(file.name for file in folder.iterdir()) == [name for name in files if name != "progress.csv"]


@pytest.mark.parametrize("content", [None, "{"])
def test_a_folder_without_an_evaluation(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "evaluation.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"evaluation\.json"):
        report.write_report(tmp_path)


def lead(results: dict[str, EvaluationResult]) -> str:
    (text,) = re.findall(r"<p class=lead>(.*?)</p>", report.page(results))
    return re.sub(r"<[^>]+>", "", text)


def test_the_lead_says_what_training_changed(results: dict[str, EvaluationResult]) -> None:
    good, bad = results[TRAINED], results["null"]
    gain = good.mean("reward") - bad.mean("reward")
    assert f"Training adds {gain:.2f} " in lead({TRAINED: good, UNTRAINED: bad})
    assert f"Training costs {gain:.2f} " in lead({TRAINED: bad, UNTRAINED: good})
    assert "not changed the reward by more than chance" in lead({TRAINED: good, UNTRAINED: good})


def test_progress_is_read_with_its_gaps(folder: Path) -> None:
    curve = report.read_progress(folder / "progress.csv")
    assert curve is not None
    np.testing.assert_array_equal(curve["steps"], 1024.0 * np.arange(1, 9))
    np.testing.assert_array_equal(curve["reward"], [np.nan, *range(2, 9)])
    np.testing.assert_array_equal(np.flatnonzero(np.isfinite(curve["validation_csr"])), [2, 5])
    assert report.read_progress(folder / "missing.csv") is None


def test_bars_keep_the_policies_worth_comparing_readable() -> None:
    low, high = report.bar_limits([10.0, 11.0, 6.9], [10.0, 11.0, -300.0])
    assert -10 < low < -3  # room for an arrow and a number, not for -300
    assert 11 < high < 20
    assert report.bar_limits([0.0], [0.0]) == (0.0, 0.42)
    assert report.bar_limits([2.0, -1.0], [2.0, -1.0])[0] < -1  # what is in focus is never cut


# --- several runs


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
            writer.writerow(["iteration", "steps", "seconds", *HEADLINE, *(f"validation_{key}" for key in HEADLINE)])
            for k in range(1, 9):
                greedy = [11 + seed, 8, 20, 0, 0.99] if k % 2 == 0 else [""] * 5
                writer.writerow([k, 1024 * k, 60 * k, k, 9, 30, 0.001, 0.9, *greedy])
    return folders


def test_seeds_are_summed_up_over_runs(run_folders: list[Path], results: dict[str, EvaluationResult]) -> None:
    data = report.summarise_seeds(run_folders)
    assert [run["seed"] for run in data["runs"]] == [0, 1, 2]
    assert [run["minutes"] for run in data["runs"]] == [8.0] * 3
    assert data["runs"][2]["curve"] == {
        "steps": [2048.0, 4096.0, 6144.0, 8192.0],
        "seconds": [120.0, 240.0, 360.0, 480.0],
        **{key: [value] * 4 for key, value in zip(HEADLINE, (13, 8, 20, 0, 0.99), strict=True)},
    }
    found = data["summary"][TRAINED]["reward"]
    mean = results[TRAINED].mean("reward") + 1
    half = 4.302653 / np.sqrt(3)  # Student's t, 2 degrees of freedom, standard deviation 1
    assert [found[k] for k in ("mean", "std", "low", "high")] == pytest.approx([mean, 1, mean - half, mean + half])
    assert data["summary"]["null"]["reward"]["std"] == pytest.approx(0)


def test_the_command_prints_writes_and_draws(
    run_folders: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = ["--json", str(tmp_path / "all.json"), "--plot", str(tmp_path / "all.png")]
    assert main(["seeds", *map(str, run_folders), *outputs]) == 0
    printed = capsys.readouterr().out
    assert f"{TRAINED}, seed 2" in printed
    assert "over 3 runs" in printed
    assert json.loads((tmp_path / "all.json").read_text()) == report.summarise_seeds(run_folders)
    assert (tmp_path / "all.png").read_bytes()[:4] == b"\x89PNG"


def test_runs_that_do_not_belong_together(run_folders: list[Path], tmp_path: Path) -> None:
    first, second, _ = run_folders
    with pytest.raises(ConfigError, match=r"seeds are \[0\]"):
        report.summarise_seeds([first])
    with pytest.raises(ConfigError, match=r"seeds are \[0, 0\]"):
        report.summarise_seeds([first, first])
    plain = json.loads((second / "evaluation.json").read_text())
    plain[TRAINED]["scenario_hash"] = "another"
    (second / "evaluation.json").write_text(json.dumps(plain))
    with pytest.raises(ConfigError, match="another"):
        report.summarise_seeds([first, second])
    with pytest.raises(CheckpointError, match=r"evaluation\.json"):
        report.summarise_seeds([first, tmp_path])


def test_settings_are_compared_on_the_seeds_they_share(
    run_folders: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    zero, one, two = map(str, run_folders)
    outputs = ["--json", str(tmp_path / "all.json"), "--plot", str(tmp_path / "all.png")]
    assert main(["seeds", f"first={zero}", f"first={one}", f"second={one}", f"third={two}", *outputs]) == 0
    data = json.loads((tmp_path / "all.json").read_text())
    assert list(data["settings"]) == ["first", "second", "third"]
    assert [run["seed"] for run in data["settings"]["first"]["runs"]] == [0, 1]
    gain = {"n": 1, "mean": 0.0, "std": 0.0, "low": 0.0, "high": 0.0}  # seed 1 alone
    assert data["gains"]["second"]["reward"] == gain
    assert data["gains"]["third"] == {}
    printed = {line.split("  ")[1]: line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")}
    assert "[" in printed["first"]
    assert "[" not in printed["second"] + printed["second - first"]  # of one seed: no interval over seeds
    assert (tmp_path / "all.png").read_bytes()[:4] == b"\x89PNG"


def test_pictures_are_written_whole_and_as_their_name_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure, _ = report.panels(1, 1, 2.0, 1.0)
    for name, start in (("a.png", b"\x89PNG"), ("a.SVG", b"<?xml"), ("a.pdf", b"%PDF"), ("a", b"\x89PNG")):
        assert report.write_picture(tmp_path / name, figure).read_bytes().startswith(start)
    monkeypatch.setattr(figure, "savefig", lambda file, **_: file.write(b"half") and 1 / 0)
    with pytest.raises(ZeroDivisionError):
        report.write_picture(tmp_path / "a.png", figure)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert len(list(tmp_path.iterdir())) == 4


def test_a_gain_is_the_mean_difference_by_seed(run_folders: list[Path], tmp_path: Path) -> None:
    better = []
    for folder, gain in zip(run_folders, (1.0, 2.0, 6.0), strict=True):
        better.append(tmp_path / f"better-{folder.name}")
        shutil.copytree(folder, better[-1])
        plain = json.loads((folder / "evaluation.json").read_text())
        plain[TRAINED]["summary"]["reward"]["mean"] += gain
        (better[-1] / "evaluation.json").write_text(json.dumps(plain))
    found = report.compare_settings({"as it is": run_folders, "better": better[::-1]})["gains"]["better"]["reward"]
    half = 4.302653 * np.sqrt(7) / np.sqrt(3)
    assert [found[k] for k in ("n", "mean", "low", "high")] == pytest.approx([3, 3, 3 - half, 3 + half])


def test_settings_with_and_without_a_name_are_not_mixed(
    run_folders: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["seeds", str(run_folders[0]), f"named={run_folders[1]}"]) == 2
    assert "have no name" in capsys.readouterr().err
