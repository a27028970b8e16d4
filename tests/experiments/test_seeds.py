"""Runs put together: of one setting with several seeds, and of several settings by the seeds they share."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from experiments import seeds
from experiments.cli import main
from experiments.evaluate import TRAINED, EvaluationResult
from experiments.families import PROTOCOLS
from soc_env.errors import CheckpointError, ConfigError

SHOWN = PROTOCOLS["paper"].curves


def test_seeds_are_summed_up_over_runs(run_folders: list[Path], results: dict[str, EvaluationResult]) -> None:
    data = seeds.summarise_seeds(run_folders)
    assert [run["seed"] for run in data["runs"]] == [0, 1, 2]
    assert [run["minutes"] for run in data["runs"]] == [8.0] * 3
    assert data["runs"][2]["curve"] == {
        "steps": [2048.0, 4096.0, 6144.0, 8192.0],
        "seconds": [120.0, 240.0, 360.0, 480.0],
        **{key: [value] * 4 for key, value in zip(SHOWN, (13, 8, 20, 0, 0.99), strict=True)},
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
    assert main(["aggregate", *map(str, run_folders), *outputs]) == 0
    printed = capsys.readouterr().out
    assert f"{TRAINED}, seed 2" in printed
    assert "over 3 runs" in printed
    assert json.loads((tmp_path / "all.json").read_text()) == seeds.summarise_seeds(run_folders)
    assert (tmp_path / "all.png").read_bytes()[:4] == b"\x89PNG"


def test_runs_that_do_not_belong_together(run_folders: list[Path], tmp_path: Path) -> None:
    first, second, _ = run_folders
    with pytest.raises(ConfigError, match=r"seeds are \[0\]"):
        seeds.summarise_seeds([first])
    with pytest.raises(ConfigError, match=r"seeds are \[0, 0\]"):
        seeds.summarise_seeds([first, first])
    plain = json.loads((second / "evaluation.json").read_text())
    plain[TRAINED]["scenario_hash"] = "another"
    (second / "evaluation.json").write_text(json.dumps(plain))
    with pytest.raises(ConfigError, match="another"):
        seeds.summarise_seeds([first, second])
    with pytest.raises(CheckpointError, match=r"evaluation\.json"):
        seeds.summarise_seeds([first, tmp_path])


def test_settings_are_compared_on_the_seeds_they_share(
    run_folders: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    zero, one, two = map(str, run_folders)
    outputs = ["--json", str(tmp_path / "all.json"), "--plot", str(tmp_path / "all.png")]
    assert main(["aggregate", f"first={zero}", f"first={one}", f"second={one}", f"third={two}", *outputs]) == 0
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


def test_a_gain_is_the_mean_difference_by_seed(run_folders: list[Path], tmp_path: Path) -> None:
    better = []
    for folder, gain in zip(run_folders, (1.0, 2.0, 6.0), strict=True):
        better.append(tmp_path / f"better-{folder.name}")
        shutil.copytree(folder, better[-1])
        plain = json.loads((folder / "evaluation.json").read_text())
        plain[TRAINED]["summary"]["reward"]["mean"] += gain
        (better[-1] / "evaluation.json").write_text(json.dumps(plain))
    found = seeds.compare_settings({"as it is": run_folders, "better": better[::-1]})["gains"]["better"]["reward"]
    half = 4.302653 * np.sqrt(7) / np.sqrt(3)
    assert [found[k] for k in ("n", "mean", "low", "high")] == pytest.approx([3, 3, 3 - half, 3 + half])


def test_settings_with_and_without_a_name_are_not_mixed(
    run_folders: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["aggregate", str(run_folders[0]), f"named={run_folders[1]}"]) == 2
    assert "have no name" in capsys.readouterr().err
