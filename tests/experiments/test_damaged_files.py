"""Files of runs that are damaged, edited or of another program: what reads them says so in one line, or copes."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trees import places, put

from experiments.forms import ANYTHING, COUNT, NUMBER, SEED, TEXT, TEXT_OR_NONE, WHOLE, check_form, read_json
from experiments.report import write_report
from experiments.run_folder import read_moment, read_progress, read_results, read_run
from experiments.seeds import aggregate, summarise_seeds
from soc_env.errors import CheckpointError, HMARLSOCError

FILES = {
    "evaluation.json": read_results,
    "config.json": read_run,
    "attention.json": read_moment,
    "progress.csv": lambda path: read_progress(path, ("reward", "csr")),
}
ODD = st.sampled_from(
    [
        None, True, False, 0, -1, 1, 0.5, 1e308, -1e308, 10**400, math.nan, math.inf, -math.inf, "", "text", "\x00",
        "a\nb", [], {}, [1], [[1]], {"a": 1}, "nan", "1e999", [None], 2**53, "soc-v1", "paper-v0", "\ud800",
    ]
)  # fmt: skip
LENIENT = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def in_one_line(call: Callable[[], Any]) -> Any:
    """What it returns; None where it raised an error of ours of one line."""
    try:
        return call()
    except HMARLSOCError as error:
        _check_line(error)
        return None


def _check_line(error: Exception) -> None:
    assert "\n" not in str(error)
    assert len(str(error)) < 3_000


@pytest.fixture(scope="module")
def contents(results: dict[str, Any]) -> dict[str, bytes]:
    """Name -> content of the files as a run leaves them, of a few episodes."""
    plain = {name: result.to_dict() for name, result in results.items()}
    for data in plain.values():
        data["episodes"] = {name: column[:5] for name, column in data["episodes"].items()}
        data["num_episodes"] = 5
    moment = {
        "minute": 3,
        "agents": {"alert_triage_0": {"tokens": ["a", "b"], "decisions": ["b"], "shares": [[1, 0.0], [0.5, 0.5]]}},
    }
    text = io.StringIO()
    writer = csv.writer(text)
    names = ("reward", "mttd", "mttr", "fpr", "csr")
    writer.writerow(["iteration", "steps", "seconds", *names, *(f"validation_{name}" for name in names)])
    writer.writerow([1, 1024, 1.5, *[""] * 10])
    for k in range(2, 7):
        writer.writerow([k, 1024 * k, k, k, 9, 30, 0.001, 0.9, *([11, 8, 20, 0, 0.99] if k % 2 == 0 else [""] * 5)])
    return {
        "evaluation.json": json.dumps(plain).encode(),
        "config.json": json.dumps({"seed": 17, "git": None, "command": ["hmarl-soc", "train"], "config": {}}).encode(),
        "attention.json": json.dumps(moment).encode(),
        "progress.csv": text.getvalue().encode(),
    }


@pytest.fixture
def run(contents: dict[str, bytes], tmp_path: Path) -> Path:
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def test_files_as_they_should_be_are_read(run: Path) -> None:
    assert all(read(run / name) for name, read in FILES.items())
    assert write_report(run).exists()


@pytest.mark.parametrize("name", FILES)
@LENIENT
@given(data=st.data())
def test_bytes_that_are_lost_or_changed_are_seen(name: str, contents: dict[str, bytes], run: Path, data: Any) -> None:
    content = contents[name]
    where = data.draw(st.integers(0, len(content) - 1))
    changed = data.draw(
        st.sampled_from(
            [content[:where], content[where:], content[:where] + content[where + 7 :], content + content[where:], b""]
        )
        | st.binary(max_size=4).map(lambda new: content[:where] + new + content[where + len(new) :])
    )
    (run / name).write_bytes(changed)
    in_one_line(lambda: FILES[name](run / name))


@pytest.mark.parametrize("name", ["evaluation.json", "config.json", "attention.json"])
@LENIENT
@given(data=st.data())
def test_other_values_in_json_are_seen(name: str, contents: dict[str, bytes], run: Path, data: Any) -> None:
    plain = json.loads(contents[name])
    kept = [at for at, _ in places(plain) if "episodes" not in at or at[-1] in ("episodes", 0)]
    at = data.draw(st.sampled_from(kept))
    deletes = bool(at) and data.draw(st.booleans())
    (run / name).write_text(json.dumps(put(plain, at, data.draw(ODD), deletes=deletes)))
    in_one_line(lambda: FILES[name](run / name))


@LENIENT
@given(data=st.data())
def test_other_values_in_tables_are_seen(contents: dict[str, bytes], run: Path, data: Any) -> None:
    rows = list(csv.reader(io.StringIO(contents["progress.csv"].decode())))
    row, column = data.draw(st.integers(0, len(rows) - 1)), data.draw(st.integers(0, len(rows[0]) - 1))
    rows[row][column] = data.draw(
        st.sampled_from(
            ["nan", "inf", "1e999", "text", "", " ", "1_0", "\u0661", "-5", '"', "\x00", "x" * 200_000, "1e308"]
        )
    )
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    (run / "progress.csv").write_text(text.getvalue(), encoding="utf-8", newline="")
    found = in_one_line(lambda: read_progress(run / "progress.csv", ("reward", "csr")))
    if found is not None:
        assert all(abs(value) < 1e17 for values in found.values() for value in values if not math.isnan(value))


MOMENT = b'{"minute": 1, "agents": {"a": {"tokens": ["x"], "decisions": [%s], "shares": [%s]}}}'
MISTAKES = {
    "nothing": ("evaluation.json", b"{}", "holds no results"),
    "a list": ("evaluation.json", b"[]", "holds a list"),
    "deep": ("evaluation.json", b"[" * 50_000, "nested too deeply"),
    "cut off": ("evaluation.json", b'{"a": ', "line 1 column"),
    "not text": ("evaluation.json", b"\xff", "cannot be read"),
    "no columns": ("progress.csv", b"\n", "has no column 'steps'"),
    "NUL": ("progress.csv", b"steps,reward\n\x00,1\n", "cannot be read|is '.x00', allowed"),
    "no number": ("progress.csv", b"steps,reward\n1,1\n2,x\n", "row 2: reward is 'x', allowed: a number, or nothing"),
    "no steps": ("progress.csv", b"steps,reward\n1,1\n,1\n", "row 2 has no steps"),
    "infinite": ("progress.csv", b"steps,reward\n1,1e999\n2,3\n", "row 1: reward is '1e999'"),
    "tokens": ("attention.json", MOMENT % (b'"y"', b"[1]"), "token 'y'"),
    "shares": ("attention.json", MOMENT % (b'"x"', b"[1, 2]"), "shares must be of 1"),
    "half": ("config.json", b'{"seed": 1, "a": "\\ud800"}', "has text that is none"),
    "seed": ("config.json", b'{"seed": "a"}', "'seed' is 'a', allowed: a seed"),
}  # fmt: skip


@pytest.mark.parametrize("what", MISTAKES)
def test_a_mistake_names_file_and_place(what: str, tmp_path: Path) -> None:
    name, content, message = MISTAKES[what]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=f"{name}.*{message}") as error:
        FILES[name](tmp_path / name)
    _check_line(error.value)


def test_what_results_have_to_have_is_named(run: Path, contents: dict[str, bytes]) -> None:
    plain = json.loads(contents["evaluation.json"])
    first = next(iter(plain))
    for at, value, message in (
        (("scenario",), "soc-v9", "'soc-v9' does not exist"),
        (("scenario",), "soc-v1", "summary has no"),
        (("num_episodes",), 4, "has 5 values, allowed: 4"),
        (("summary", "reward", "mean"), "x", "'reward': 'mean' is 'x', allowed: a number, or null"),
        (("episodes", "reward", 0), [], "'reward'\\[0\\] is \\[\\], allowed: a number"),
        (("seed",), -1, "'seed' is -1, allowed: a seed"),
    ):
        (run / "evaluation.json").write_text(json.dumps(put(plain, (first, *at), value)))
        with pytest.raises(CheckpointError, match=message):
            read_results(run / "evaluation.json")


def test_metrics_that_are_undefined_or_strange_are_shown(run: Path, contents: dict[str, bytes]) -> None:
    plain = json.loads(contents["evaluation.json"])
    for data in plain.values():
        data["summary"]["mttd"] = dict.fromkeys(("mean", "std", "low", "high"))
        data["episodes"]["mttd"] = [None] * 5
        data["summary"]["reward"] |= {"mean": 1e16, "low": 2e15, "high": None}
    plain["random"]["summary"]["fpr"] |= {"mean": -1e16, "low": 5.0, "high": -7.0}
    plain["random"]["overrides"] = {"a\nb<b>": [None, {"x": 1}]}
    (run / "evaluation.json").write_text(json.dumps(plain))
    assert math.isnan(next(iter(read_results(run / "evaluation.json").values())).mean("mttd"))
    assert ">nan<" in write_report(run).read_text()


def test_rows_of_a_run_under_way_are_read_as_far_as_they_go(run: Path, contents: dict[str, bytes]) -> None:
    whole = read_progress(run / "progress.csv", ("reward",))
    (run / "progress.csv").write_bytes(contents["progress.csv"] + b"7,71")
    cut = read_progress(run / "progress.csv", ("reward",))
    assert whole is not None
    assert cut is not None
    assert cut["steps"].tolist() == whole["steps"].tolist()


@LENIENT
@given(data=st.data())
def test_runs_put_together_are_checked(contents: dict[str, bytes], run: Path, data: Any) -> None:
    other = run / "other"
    shutil.rmtree(other, ignore_errors=True)
    other.mkdir()
    for name, content in contents.items():
        (other / name).write_bytes(content.replace(b'"seed": 17', b'"seed": 18'))
        (run / name).write_bytes(content)
    name = data.draw(st.sampled_from(["evaluation.json", "config.json"]))
    plain = json.loads(contents[name])
    at = data.draw(st.sampled_from([at for at, _ in places(plain) if "episodes" not in at]))
    (other / name).write_text(json.dumps(put(plain, at, data.draw(ODD), deletes=bool(at) and data.draw(st.booleans()))))
    in_one_line(lambda: summarise_seeds([run, other]))


def test_runs_without_what_is_read_of_them_are_refused(run: Path, contents: dict[str, bytes], tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for name, message in (
        ("evaluation.json", "cannot be read"),
        ("progress.csv", "no iteration"),
        ("config.json", "read"),
    ):
        for file, content in contents.items():
            (other / file).write_bytes(content)
        (other / name).unlink()
        with pytest.raises(CheckpointError, match=message):
            aggregate([str(other), str(run)])


def test_forms() -> None:
    form = {"a": [NUMBER], "b?": TEXT, "c": {...: COUNT}, "d": TEXT_OR_NONE, "e": SEED, "f": WHOLE, "g": ANYTHING}
    right = {"a": [1, 0.5, None], "c": {"x": 0}, "d": None, "e": 2**63, "f": -1, "g": object(), "more": 1}
    check_form(right, form, "it")
    for at, value, message in (
        (("a",), 1, "it: 'a' is 1, allowed: a list"),
        (("a", 1), math.nan, r"it: 'a'\[1\] is nan, allowed: a number, or null"),
        (("a", 1), True, r"it: 'a'\[1\] is True"),
        (("b",), 1, "it: 'b' is 1, allowed: text"),
        (("c",), [], "it: 'c' is \\[\\], allowed: values by name"),
        (("c", "x"), -1, "it: 'c': 'x' is -1, allowed: a whole number of at least 0"),
        (("f",), 1.0, "it: 'f' is 1.0, allowed: a whole number"),
    ):
        changed = {**right, "g": None}
        with pytest.raises(CheckpointError, match=message):
            check_form(put(changed, at, value), form, "it")
    with pytest.raises(CheckpointError, match="it has no 'e'"):
        check_form({name: value for name, value in right.items() if name != "e"}, form, "it")


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.json").write_text('{"a": 1}')
    monkeypatch.setattr("experiments.forms.MOST_BYTES", 5)
    with pytest.raises(CheckpointError, match="is too large; allowed: 5 bytes"):
        read_json(tmp_path / "a.json")
