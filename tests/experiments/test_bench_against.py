"""`bench --against`: turns, ratios and shares of work by hand, what is kept after Ctrl-C, and a real process."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments.bench import against
from experiments.bench.against import HERE, THERE, Task, compare, measured, rows_of, tasks_of
from soc_env.errors import ConfigError, RunError

ROOT = Path(__file__).parents[2]


def found(cpu: float, **changes: Any) -> dict[str, Any]:
    """What a process finds whose 1,000 steps took so many CPU-seconds, and twice as long by the clock."""
    part = {"steps": 1_000, "cpu": cpu, "wall": 2 * cpu}
    start = {"cpu": 3 * cpu, "wall": 4 * cpu}
    work = {"updates_per_step": 0.5, "rows_per_update": 256, "peak": cpu * 2**20}
    return {"iterations": part, "run": {**part, "cpu": 2 * cpu}, "start": start, **work, **changes}


def run(label: str, build: str, pair: int, cpu: float, **changes: Any) -> dict[str, Any]:
    return {"label": label, "build": build, "pair": pair, **found(cpu, **changes)}


class Builds:
    """Two checkouts, and processes that take the CPU-seconds that a test says."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, seconds: Callable[[str, int], float]) -> None:
        self.order: list[tuple[str, int, int]] = []
        self.other = folder / "other"
        for name in ("soc_env", "policies", "experiments"):
            (self.other / name).mkdir(parents=True)
            (self.other / name / "__init__.py").touch()

        def measure(task: Task, where: Path, seed: int, show: Callable[[float], None]) -> dict[str, Any]:
            build = THERE if where == self.other else HERE
            self.order.append((build, seed, task.steps))
            show(0.5)
            return found(seconds(build, seed))

        monkeypatch.setattr(against, "measured", measure)


def test_builds_take_turns_and_ratios_are_of_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = [1.0, 4.0, 1.0]  # a slow spell in the second pair hits both
    builds = Builds(tmp_path, monkeypatch, lambda build, pair: slow[pair] * (2.0 if build == THERE else 1.0 + pair / 4))
    file = io.StringIO()
    result = compare(builds.other, ["soc-v1"], pairs=3, json_path=tmp_path / "b.json", file=file)
    warm, steps = 1, against.STEPS
    assert builds.order == [
        *[(HERE, 0, warm), (THERE, 0, warm)],
        *[
            (HERE, 0, steps),
            (THERE, 0, steps),
            (THERE, 1, steps),
            (HERE, 1, steps),
            (HERE, 2, steps),
            (THERE, 2, steps),
        ],
    ]
    row = result["rows"]["soc-v1, iterations"]
    assert (row["ratio"], row["low"], row["high"], row["pairs"]) == pytest.approx((1.6, 4 / 3, 2.0, 3))
    assert (row[HERE], row[THERE]) == pytest.approx((1000 / 1.5, 500))
    start = result["rows"]["soc-v1, start"]
    assert (start["ratio"], start[HERE], start["unit"]) == pytest.approx((1.6, 6.0, "s"))
    assert json.loads((tmp_path / "b.json").read_text())["rows"]["soc-v1, iterations"]["ratio"] == pytest.approx(1.6)
    assert "soc-v1, whole run" in file.getvalue()
    assert "1.60 (1.33 to 2.00, 3)" in file.getvalue()


def test_after_ctrl_c_whole_pairs_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def seconds(build: str, pair: int) -> float:
        if build == HERE and pair == 1:  # second in the second pair
            raise KeyboardInterrupt
        return 1.0

    builds, file = Builds(tmp_path, monkeypatch, seconds), io.StringIO()
    with pytest.raises(KeyboardInterrupt):
        compare(builds.other, ["soc-v1"], json_path=tmp_path / "b.json", file=file)
    kept = json.loads((tmp_path / "b.json").read_text())
    assert kept["rows"]["soc-v1, iterations"]["pairs"] == 1
    assert len(kept["runs"]) == 3
    assert "1.00 (1.00 to 1.00, 1)" in file.getvalue()


def test_nothing_is_shown_without_a_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def seconds(build: str, pair: int) -> float:
        raise KeyboardInterrupt

    builds, file = Builds(tmp_path, monkeypatch, seconds), io.StringIO()
    with pytest.raises(KeyboardInterrupt):
        compare(builds.other, ["soc-v1"], json_path=tmp_path / "b.json", file=file)
    assert not file.getvalue()
    assert not (tmp_path / "b.json").exists()


def test_two_cores_are_compared_with_one_within_a_build() -> None:
    one, two = tasks_of("cores", quick=True)
    walls = {(one, HERE): 4.0, (two, HERE): 2.0, (one, THERE): 6.0, (two, THERE): 6.0}
    rows = rows_of("cores", True, [run(label, build, 0, cpu) for (label, build), cpu in walls.items()])
    both = rows["soc-v1, two cores over one"]
    assert (both[HERE], both[THERE], both["ratio"]) == (0.5, 1.0, 2.0)
    assert rows[f"{two}, wall time"][HERE] == pytest.approx(4.0)  # 2 x 2 s for 1,000 steps, in milliseconds


def test_what_this_build_has_beside_is_compared_with_the_other_from_scratch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = tasks_of("score", quick=False)
    assert [task.until for task, _ in labels.values()] == [against.SCORE] * len(labels)
    builds, order = Builds(tmp_path, monkeypatch, lambda build, pair: 1.0), []

    def measure(task: Task, where: Path, seed: int, show: Callable[[float], None]) -> dict[str, Any]:
        build = THERE if where == builds.other else HERE
        cpu, score = {HERE: (60.0, 80.0), THERE: (300.0, 78.0)}[build]
        if task.settings:
            cpu = 20.0
        if task.until is not None:  # not the run that compiles
            order.append((build, dict(task.settings)))
        return found(1.0, reached={"cpu": cpu, "steps": 1, "score": score})

    monkeypatch.setattr(against, "measured", measure)
    file = io.StringIO()
    rows = compare(builds.other, ["score"], pairs=1, file=file)["rows"]
    assert [settings for build, settings in order if build == THERE] == [{}]  # the other has no teacher
    assert len(order) == len(labels) + 1
    assert rows[f"{against.SCRATCH}, to a score of 79"]["ratio"] == pytest.approx(5.0)
    taught = rows["soc-v1, with a teacher, to a score of 79"]
    assert (taught[HERE], taught[THERE], taught["ratio"]) == pytest.approx((20.0, 300.0, 15.0))
    assert taught["unreached"] == {HERE: 0, THERE: 1}
    assert "not reached by the other in 1" in file.getvalue()
    assert "score" not in against.chosen_rows(None)


def test_unequal_work_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (label,) = tasks_of("memory", quick=True)
    runs = [run(label, HERE, 0, 1.0), run(label, THERE, 0, 3.0, rows_per_update=128)]
    rows = rows_of("memory", True, runs)
    assert rows[f"{label}, peak memory"] | {"ratio": 3.0, "work": 2.0} == rows[f"{label}, peak memory"]
    builds, file = Builds(tmp_path, monkeypatch, lambda build, pair: 1.0), io.StringIO()
    result = compare(builds.other, ["memory"], quick=True, file=io.StringIO())
    against.print_rows({**result, "rows": rows}, file)
    assert "learns from 2.00 times as many rows a step" in file.getvalue()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere",), r"--against='nowhere' has no package 'soc_env'; allowed: a checkout of hmarl-soc"),
        ((ROOT, ["soc-v2"]), r"row of the comparison 'soc-v2' does not exist; did you mean 'soc-v1'\?"),
    ],
)
def test_what_cannot_be_compared_is_refused(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compare(*arguments)


def fake_checkout(folder: Path, run_py: str) -> Path:
    """A checkout whose run is the given program."""
    for name in ("soc_env", "policies", "experiments"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").touch()
    (folder / "experiments" / "train.py").write_text(run_py)
    return folder


RUN = """
import types

class Algo:
    config = types.SimpleNamespace(learning_starts=20, train_batch_size=10, replay_capacity=50,
        updates_per_iteration=5, replay_batch_size=8, num_envs_per_env_runner=4)
    num_env_steps = 0
    def train(self):
        self.num_env_steps += 10

class Run:
    def loop(self):
        self.algo, self.wants_stop = self.algo, False
        while not self.wants_stop:
            self.algo.train()
            self.validate()
        raise KeyboardInterrupt
    goal = "score"
    def validate(self):
        return {"validation_score": self.algo.num_env_steps / 2}

def train(scenario, out, seed, steps, config, evaluation):
    print("chatter", scenario, config)
    run = Run()
    run.algo = Algo()
    run.loop()
"""


def test_a_process_measures_what_it_finds_in_the_checkout(tmp_path: Path) -> None:
    shares: list[float] = []
    folder = fake_checkout(tmp_path / "other", RUN)
    result = measured(Task("soc-v1", encoder="attention", steps=30), folder, 3, shares.append)
    # Learning is warm after 20 + 2 x 10 steps, in processes beside after 10 more; from there 30 are measured.
    assert result["iterations"]["steps"] == result["run"]["steps"] == 30
    assert result["updates_per_step"] == 0.5
    assert result["rows_per_update"] == 8
    assert result["start"]["wall"] > 0
    assert result["peak"] > 2**20
    assert shares[:2] == pytest.approx([1 / 8, 2 / 8])
    assert shares[7] == 1.0
    assert measured(Task("soc-v1", is_filled=True), folder, 3, shares.append)["run"]["steps"] == 50  # the whole ring
    reached = measured(Task("soc-v1", steps=1_000, until=29.0), folder, 3, shares.append)["reached"]
    assert (reached["steps"], reached["score"]) == (60, 30.0)
    assert reached["cpu"] > 0
    uneven = fake_checkout(tmp_path / "uneven", RUN.replace("learning_starts=20", "learning_starts=25"))
    assert measured(Task("soc-v1", steps=1), uneven, 3, shares.append)["run"]["steps"] == 10  # never none


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("raise ValueError('no such preset')", "does not train 'soc-v1': ValueError: no such preset"),
        (RUN.replace("while not self.wants_stop", "while False"), "interrupted before anything was measured"),
    ],
)
def test_a_build_that_does_not_train_is_one_line(program: str, message: str, tmp_path: Path) -> None:
    folder = fake_checkout(tmp_path / "other", program)
    with pytest.raises(RunError, match=message) as refused:
        measured(Task("soc-v1"), folder, 0, lambda share: None)
    assert "\n" not in str(refused.value)


def test_code_of_another_checkout_is_not_measured(tmp_path: Path) -> None:
    """An editable install lends a build the modules that it does not have."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "lent.py").touch()
    lending = f"import experiments\nexperiments.__path__.append({str(elsewhere)!r})\nimport experiments.lent\n"
    folder = fake_checkout(tmp_path / "other", lending + RUN)
    with pytest.raises(RunError, match=r"experiments\.lent was imported from .*elsewhere/lent\.py, which is not in"):
        measured(Task("soc-v1"), folder, 0, lambda share: None)


def test_the_process_is_ended_with_us(tmp_path: Path) -> None:
    program = "import os, time\nprint(os.getpid(), file=open('pid', 'w'), flush=True)\n" + RUN.replace(
        "self.num_env_steps += 10", "self.num_env_steps += 1; time.sleep(0.01)"
    ).replace("import types", "import types, time", 1)
    folder = fake_checkout(tmp_path / "other", program)

    def interrupt(share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measured(Task("soc-v1"), folder, 0, interrupt)
    pid = int((folder / "pid").read_text())
    assert not Path(f"/proc/{pid}").exists() or sys.platform != "linux"
