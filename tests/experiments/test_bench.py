"""The benchmark: rates against a clock under our control, turns, goals by hand, a real run of the cheapest parts."""

import dataclasses
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import soc_env
from experiments import bench as benchmark
from experiments.bench import PARTS, bench, chosen_parts, chosen_scenarios
from experiments.bench.goals import check_goals
from experiments.bench.loading import EXPORTED, WAYS, bench_loading
from experiments.bench.measure import Case, Effort, Measurement, measure
from experiments.bench.plot import draw
from experiments.bench.simulator import SCENARIOS, action_sets, branch_case, pettingzoo_case, simulator_case
from experiments.bench.text import shown
from experiments.bench.training import footprint
from experiments.progress import Progress
from soc_env.engine.simulator import Simulator
from soc_env.errors import ConfigError

TINY = Effort(num_repeats=2, seconds=0.01, is_quick=True)


class Clock:
    """CPU time that passes only when work is done."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.order: list[str] = []
        monkeypatch.setattr("experiments.bench.measure.time.process_time", lambda: self.now)

    def case(self, label: str, seconds: list[float], units: int = 10) -> Case:
        """Each call takes the next of `seconds`, round and round, and does `units`."""
        calls = 0

        def work() -> int:
            nonlocal calls
            self.now += seconds[calls % len(seconds)]
            calls += 1
            self.order.append(label)
            return units

        return Case(label, "units/s", work, {"which": label})


def test_rates_and_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    # One warm-up call each (99 s, not counted), then three repeats of at least 1 s: 10 units in 1, 4 and 2 s.
    cases = [clock.case("a", [99.0, 1.0, 4.0, 2.0]), clock.case("b", [0.5])]
    with Progress(label="test") as progress:
        a, b = measure("part", cases, Effort(num_repeats=3, seconds=1.0), progress)
    assert clock.order == ["a", "b"] + ["a", "b", "b"] * 3
    assert (a.value, a.low, a.high) == (5.0, 2.5, 10.0)
    assert (b.value, b.low, b.high) == (20.0, 20.0, 20.0)
    assert (a.part, a.label, a.unit, a.num_repeats, a.parameters) == ("part", "a", "units/s", 3, {"which": "a"})


@pytest.mark.parametrize("kind", ["zeros", "random"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_unit_is_a_step_of_one_environment(scenario: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    num_steps = 0
    step = Simulator.step

    def counted(simulator: Any) -> None:
        nonlocal num_steps
        num_steps += simulator.num_envs
        step(simulator)

    monkeypatch.setattr(Simulator, "step", counted)
    case = simulator_case(scenario, 30, 50, kind)
    num_steps = 0
    assert case.work() == num_steps == 200 * 30  # whole episodes' lengths, at least CALL_STEPS in all


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_case_says_what_it_measures(scenario: str) -> None:
    overrides = SCENARIOS[scenario].size_overrides
    case = simulator_case(scenario, 2, 50, "zeros", **overrides)
    assert case.parameters == {"scenario": scenario, "num_envs": 2, "num_hosts": 50, "actions": "zeros", **overrides}
    assert pettingzoo_case(scenario, "random").parameters["scenario"] == scenario
    assert case.label.startswith(scenario)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_random_actions_fill_the_spaces_and_change_from_step_to_step(scenario: str) -> None:
    simulator = soc_env.Simulator(scenario, num_envs=100)
    first, second, *_ = action_sets(simulator, "random")
    for agent, action in first.items():
        buffer = simulator.actions[agent]
        assert (action.shape, action.dtype) == (buffer.shape, buffer.dtype)
        assert (action != second[agent]).any()
        assert all(row in simulator.action_spaces[agent] for row in action)
        assert len(np.unique(action)) >= 4


def row(part: str, value: float, scenario: str = "paper-v0", **parameters: Any) -> Measurement:
    label = f"{scenario} {parameters}"
    return Measurement(part, label, "unit", value, 0.9 * value, 1.1 * value, 3, {"scenario": scenario, **parameters})


ROWS = [
    row("pettingzoo", 150_000, actions="zeros"),
    row("pettingzoo", 90_000, actions="random"),
    row("batched", 300_000, actions="zeros", num_envs=1),
    row("batched", 900_000, actions="zeros", num_envs=64),
    row("batched", 600_000, actions="random", num_envs=64),
    row("hosts", 1_000_000, actions="zeros", num_hosts=200),
    row("hosts", 50_000, actions="zeros", num_hosts=100_000),
    row("hosts", 800_000, actions="random", num_hosts=200),
    row("hosts", 20_000, actions="random", num_hosts=100_000),
    row("branch", 1_000_000, num_hosts=200, kind="64 at once"),
    row("branch", 30_000, num_hosts=200, kind="1 at once"),
    row("memory", 8_000, num_hosts=200, kind="resident"),
    row("pettingzoo", 60_000, "soc-v1", actions="zeros"),
    row("batched", 240_000, "soc-v1", actions="zeros", num_envs=64),
    row("batched", 260_000, "soc-v1", actions="random", num_envs=64),
    row("hosts", 200_000, "soc-v1", actions="random", num_hosts=200),
    row("hosts", 6_250, "soc-v1", actions="random", num_hosts=100_000),
    row("branch", 300_000, "soc-v1", num_hosts=200, kind="64 at once"),
    row("memory", 46_000, "soc-v1", num_hosts=200, kind="resident"),
    row("runners", 2_000, runner="stock", num_envs=16),
    row("runners", 30_000, runner="columnar", num_envs=256),
    row("runners", 20_000, runner="columnar", num_envs=64),
    row("learners", 100, tier="a", algorithm="DQN", updates_per_env_step=0.01),
    row("learners", 50, tier="b", algorithm="SAC", updates_per_env_step=0.005),
    row("training", 900, kind="peak"),
    row("loading", 200, kind="peak", through="load_policy"),
]


def test_goals_by_hand() -> None:
    goals = check_goals(ROWS)
    assert [(goal["value"], goal["is_met"]) for goal in goals[:-1]] == [
        (90_000, False),  # the slower actions
        (900_000, True),  # the best batch
        (600_000, False),
        (20.0, True),
        (40.0, False),
        (60_000, True),  # from here on soc-v1
        (240_000, False),
        (260_000, True),
        (32.0, True),
        (10.0, True),  # 64 envs, not the faster 256
    ]
    # An env-step costs 1 / 20,000 s of sampling and 0.01 / 100 + 0.005 / 50 s of learning.
    assert goals[-1]["value"] == pytest.approx(0.00005 / (0.00005 + 0.0002))
    assert goals[-1]["is_met"]


def test_goals_of_parts_not_measured_are_left_out() -> None:
    assert check_goals([]) == []
    names = [goal["name"] for goal in check_goals([m for m in ROWS if m.part == "batched"])]
    assert names == [
        "paper-v0, batched, 200 hosts, zeros, best batch",
        "paper-v0, batched, 200 hosts, random, best batch",
        "soc-v1, batched, 200 hosts, zeros, best batch",
        "soc-v1, batched, 200 hosts, random, best batch",
    ]


def rows_at_the_goals() -> list[Measurement]:
    """Of every scenario what just meets its goals."""
    rows = []
    for name, subject in SCENARIOS.items():
        for kind in ("zeros", "random"):
            rows.append(row("pettingzoo", subject.single_goal, name, actions=kind))
            rows.append(row("batched", subject.batched_goal, name, actions=kind, num_envs=64))
            rows.append(row("hosts", 1_000 * subject.growth_goal, name, actions=kind, num_hosts=200))
            rows.append(row("hosts", 1_000, name, actions=kind, num_hosts=100_000))
    return rows


@pytest.mark.parametrize("actions", ["zeros", "random"])
@pytest.mark.parametrize(
    ("part", "num_hosts"), [("pettingzoo", None), ("batched", None), ("hosts", 100_000)], ids=lambda value: str(value)
)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_each_simulator_goal_is_checked_and_can_fail(
    scenario: str, part: str, num_hosts: int | None, actions: str
) -> None:
    rows = rows_at_the_goals()
    assert len(check_goals(rows)) == 5 * len(SCENARIOS)
    assert all(
        goal["is_met"] and goal["value"] == goal.get("at_least", goal.get("at_most")) for goal in check_goals(rows)
    )

    def is_slow(m: Measurement) -> bool:
        has = m.parameters
        return (m.part, has["scenario"], has["actions"]) == (part, scenario, actions) and (
            num_hosts is None or has["num_hosts"] == num_hosts
        )

    slower = [dataclasses.replace(m, value=0.99 * m.value) if is_slow(m) else m for m in rows]
    (missed,) = [goal for goal in check_goals(slower) if not goal["is_met"]]
    assert missed["scenario"] == scenario
    assert missed["name"].startswith(scenario)
    assert actions in missed["name"] or part == "pettingzoo"  # there the slower of both counts


@pytest.mark.parametrize(("field", "num_goals"), [("single_goal", 1), ("batched_goal", 2), ("growth_goal", 2)])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_goals_come_from_the_table(scenario: str, field: str, num_goals: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_at_the_goals()
    stricter = getattr(SCENARIOS[scenario], field) + (-1 if field == "growth_goal" else 1)
    monkeypatch.setitem(SCENARIOS, scenario, dataclasses.replace(SCENARIOS[scenario], **{field: stricter}))
    missed = [goal for goal in check_goals(rows) if not goal["is_met"]]
    assert [goal["scenario"] for goal in missed] == [scenario] * num_goals


@pytest.mark.parametrize(
    ("part", "name", "value"), [("runners", "columnar runner", 15_999), ("learners", "share of sampling", 1e9)]
)
def test_each_training_goal_is_checked_and_can_fail(part: str, name: str, value: float) -> None:
    def changed(m: Measurement) -> Measurement:
        is_it = m.part == part and (part == "learners" or m.parameters.get("runner") == "columnar")
        return dataclasses.replace(m, value=value) if is_it else m

    rows = [m for m in ROWS if m.part in ("runners", "learners")]
    assert all(goal["is_met"] for goal in check_goals(rows))
    (missed,) = [goal for goal in check_goals([changed(m) for m in rows]) if not goal["is_met"]]
    assert missed["name"].startswith(f"paper-v0, {name}")


def test_a_real_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(benchmark, "QUICK", TINY)
    file = io.StringIO()
    result = bench(
        only=["memory", "pettingzoo"],
        quick=True,
        json_path=tmp_path / "b.json",
        plot_path=tmp_path / "b.png",
        file=file,
    )
    measured = result["measurements"]
    assert {(m["part"], m["parameters"]["scenario"]) for m in measured.values()} == {
        (part, scenario) for part in ("pettingzoo", "memory") for scenario in SCENARIOS
    }
    assert all(m["value"] > 0 for name, m in measured.items() if "resident" not in name)
    state = {
        (m["parameters"]["scenario"], m["parameters"]["num_hosts"]): m["value"]
        for name, m in measured.items()
        if "state" in name
    }
    assert state["paper-v0", 100_000] > 20 * state["paper-v0", 200]
    assert state["soc-v1", 100_000] > 10 * state["soc-v1", 200]  # records of hosts are kept only of those in play
    assert json.loads((tmp_path / "b.json").read_text())["measurements"] == measured
    assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")
    for text in (
        "pettingzoo",
        "memory",
        "paper-v0, 1 env",
        "soc-v1, 1 env",
        "goals",
        "load average",
        "b.json",
        "b.png",
    ):
        assert text in file.getvalue()


def test_branch_measures_whole_environments() -> None:
    for num_envs in (1, 8):
        case = branch_case("paper-v0", num_envs, 30)
        assert case.work() % num_envs == 0
        assert case.parameters["num_envs"] == num_envs
    labels = [branch_case("soc-v1", num_envs, 30, num_networks=1).label for num_envs in (1, 64)]
    assert labels == ["soc-v1, 1 at once, 30 hosts", "soc-v1, 64 at once, 30 hosts"]


def test_the_plot_has_a_panel_for_each_part_measured() -> None:
    pytest.importorskip("matplotlib")
    panels = [panel for panel in draw(ROWS, "about").axes if panel.get_visible()]
    titles = [panel.get_title(loc="left") for panel in panels]
    assert len(titles) == len(PARTS)
    assert all(titles)
    assert len(draw([m for m in ROWS if m.part == "hosts"]).axes) == 1


@pytest.mark.parametrize("part", ["pettingzoo", "batched", "hosts", "branch", "memory"])
def test_the_plot_shows_both_scenarios_in_two_colours(part: str) -> None:
    pytest.importorskip("matplotlib")
    (panel,) = draw([m for m in ROWS if m.part == part]).axes
    handles, labels = panel.get_legend_handles_labels()
    colors = {
        scenario: {h.get_color() for h, label in zip(handles, labels, strict=True) if label.startswith(scenario)}
        for scenario in SCENARIOS
    }
    assert [len(own) for own in colors.values()] == [1, 1]
    assert colors["paper-v0"] != colors["soc-v1"]
    (only,) = draw([m for m in ROWS if m.part == part and m.parameters["scenario"] == "soc-v1"]).axes
    assert not any(label.startswith("paper-v0") for label in only.get_legend_handles_labels()[1])


def test_an_unknown_part_is_named_with_a_hint() -> None:
    with pytest.raises(ConfigError, match="'batched'"):
        bench(only=["bached"])


def test_scenarios_can_be_restricted() -> None:
    assert chosen_scenarios(None) == ["paper-v0", "soc-v1"]
    assert chosen_scenarios(["soc-v1", "paper-v0", "soc-v1"]) == ["paper-v0", "soc-v1"]
    assert chosen_scenarios(["soc-v1"]) == ["soc-v1"]
    with pytest.raises(ConfigError, match="'soc-cage4-v0' does not exist.* allowed: paper-v0, soc-v1"):
        bench(scenarios=["soc-v1", "soc-cage4-v0"])


def test_runners_and_learners_are_of_paper_v0() -> None:
    file = io.StringIO()
    parts = ["pettingzoo", "batched", "hosts", "branch", "memory", "training", "loading"]
    assert chosen_parts(None, ["soc-v1"], file) == parts
    assert "without runners and learners: they measure paper-v0 only" in file.getvalue()
    with pytest.raises(ConfigError, match="'runners' measures paper-v0 only.* given: soc-v1"):
        bench(only=["batched", "runners"], scenarios=["soc-v1"])


def test_the_learners_of_all_tiers_are_measured() -> None:
    pytest.importorskip("ray")
    with Progress(label="learners") as progress:
        rows = PARTS["learners"](["paper-v0"], TINY, progress)
    measured = {row.parameters["tier"]: row.parameters["algorithm"] for row in rows}
    assert sorted(measured.values()) == ["DQN", "MADDPG", "PPO", "SAC"]
    assert all(row.value > 0 for row in rows)


def test_memory_of_training_counts_the_empty_rows_of_the_replay() -> None:
    pytest.importorskip("ray")
    found = footprint("paper-v0", {"learning_starts": 64, "train_batch_size": 64, "replay_capacity": 5_000_000}, 8, 1)
    assert found.steps == 128
    assert found.replay_filled == pytest.approx(128 / 5_000_000)
    assert found.imports <= found.peak < found.replay  # equal where this process has been larger before
    assert found.peak_with_full_replay == pytest.approx(found.peak + found.replay, rel=1e-4)


def test_loading_is_measured_without_rllib_with_it_and_by_onnx_runtime() -> None:
    pytest.importorskip("ray")
    pytest.importorskip("onnxscript")
    with Progress(label="test") as progress:
        rows = {row.label: row for row in bench_loading(["paper-v0"], TINY, progress)}
    assert len(rows) == 2 * len(WAYS)
    for kind in ("time", "peak"):
        alone, beside, exported = (rows[f"paper-v0, {name}, {kind}"].value for name in WAYS)
        assert 0 < exported < 0.6 * alone < alone < 0.9 * beside


def test_without_onnx_loading_is_measured_by_pytorch_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr("experiments.bench.loading.ONNX_PACKAGES", ("a_package_that_is_not_there",))
    monkeypatch.setattr("experiments.bench.loading._load", lambda *_: [1.0, 2.0])
    with Progress(label="test") as progress:
        rows = bench_loading(["paper-v0"], TINY, progress)
    assert {row.parameters["through"] for row in rows} == {*WAYS} - {EXPORTED}


def test_without_the_extra_its_parts_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    file = io.StringIO()
    assert chosen_parts(None, list(SCENARIOS), file) == ["pettingzoo", "batched", "hosts", "branch", "memory"]
    assert 'pip install "hmarl-soc[train]"' in file.getvalue()


@pytest.mark.parametrize(
    ("value", "text"), [(1_234_567, "1,230,000"), (123.4, "123"), (99.96, "100"), (45.678, "45.7"), (0.1234, "0.123")]
)
def test_three_significant_digits(value: float, text: str) -> None:
    assert shown(value) == text
