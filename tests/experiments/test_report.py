"""The report page: complete, self-contained, safe to open, and written whole or not at all."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from experiments import report
from experiments.evaluate import TRAINED, UNTRAINED, EvaluationResult, compare
from experiments.families import PROTOCOLS, protocol_of
from experiments.intervals import Estimate
from soc_env.errors import CheckpointError
from soc_env.registry import FAMILIES

SHOWN = PROTOCOLS["paper"].shown
COLUMNS = FAMILIES["paper"].columns


def test_every_row_and_number_is_there(folder: Path, results: dict[str, EvaluationResult]) -> None:
    path = report.write_report(folder)
    assert path == folder / "report.html"
    page = path.read_text()
    rows = re.findall(r"<tr[^>]*><th scope=row>(.*?)</th>(.*?)</tr>", page)
    names = [name for name, _ in rows]
    assert names == ["random", "null", "&lt;rule&gt; &amp; soar", UNTRAINED, TRAINED, "published HMARL-SOC"]
    for (_, cells), result in zip(rows, results.values(), strict=False):
        for key in SHOWN:
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


HOSTILE = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>"


def test_names_paths_and_settings_are_text_wherever_they_come_from(
    folder: Path, results: dict[str, EvaluationResult]
) -> None:
    """Policies, the command's paths, overrides, versions, the configuration: all with markup in them."""
    own = [results[name].to_dict() for name in ("null", TRAINED)]
    for result in own:
        result["overrides"] = {"network": HOSTILE}
        result["versions"] = {"numpy": HOSTILE}
        result["git_hash"] = HOSTILE
    (folder / "evaluation.json").write_text(json.dumps({HOSTILE: own[0], TRAINED: own[1]}))
    command = ["hmarl-soc", "train", "--out", HOSTILE]
    (folder / "config.json").write_text(json.dumps({"seed": 17, "command": command, HOSTILE: HOSTILE}))
    page = report.write_report(folder).read_text()
    assert "<script" not in page
    assert "onerror=alert(1)>" not in page
    assert page.count("&lt;script&gt;") >= 8
    assert page.count("<img ") == 2


# --- soc-v1


@pytest.fixture(scope="module")
def compared() -> dict[str, dict[str, EvaluationResult]]:
    policies = {"null": "null", "rule-soar": "rule-soar", "expert": "expert", UNTRAINED: "null", TRAINED: "expert"}
    return {split: compare(policies, "soc-v1", 12, seed=3, split=split) for split in ("test", "train")}


def test_the_report_of_soc_v1(compared: dict[str, dict[str, EvaluationResult]], tmp_path: Path) -> None:
    for name, split in (("evaluation.json", "test"), ("evaluation-train.json", "train")):
        (tmp_path / name).write_text(json.dumps({k: r.to_dict() for k, r in compared[split].items()}))
    names = ("score", "loss", "reward", "mttc", "csr")
    header = ["iteration", "steps", *names, *(f"validation_{name}" for name in names)]
    rows = [",".join([str(k), str(1000 * k), *["1.5"] * 5, *["2.5" if k % 2 else ""] * 5]) for k in range(1, 6)]
    (tmp_path / "progress.csv").write_text("\n".join([",".join(header), *rows]))
    page = report.write_report(tmp_path).read_text()
    columns, tested = FAMILIES["soc"].columns, compared["test"]
    for key in protocol_of("soc-v1").shown:
        estimate = tested["rule-soar"].summary[key]
        assert f"<td>{columns[key].format(estimate.mean)}<small>[{columns[key].format(estimate.low)}, " in page
    assert page.count("<img ") == 2
    assert "looks at" not in page
    assert "mission score of <b>" in page
    assert "above rule-soar" in page
    assert "split: test" in page.lower()
    gap = tested["rule-soar"].mean("loss") - compared["train"]["rule-soar"].mean("loss")
    assert f"<td>{columns['loss'].format(gap)}<small>" in page
    assert "published HMARL-SOC" not in page


def test_the_gap_table_by_hand(compared: dict[str, dict[str, EvaluationResult]]) -> None:
    header, rows = report.gap_rows(compared["test"], compared["train"])
    assert header == ["policy", *(f"{name}{end}" for name in ("Score",) for end in (", train",)), "test", "gap"] + [
        "Loss, train", "test", "gap", "Reward, train", "test", "gap"
    ]  # fmt: skip
    (row,) = [row for row in rows if row[0] == "rule-soar"]
    before, after = (compared[split]["rule-soar"].summary["score"] for split in ("train", "test"))
    half = np.hypot(before.high - before.mean, after.high - after.mean)
    change = after.mean - before.mean
    assert row[3] == Estimate(change, 0, change - half, change + half).format(FAMILIES["soc"].columns["score"])
