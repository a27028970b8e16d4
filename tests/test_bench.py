"""The benchmark: rates against a clock under our control, turns, goals by hand, and a real run of its cheapest part."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from experiments import bench as benchmark
from experiments.bench import PARTS, Case, Effort, Measurement, bench, check_goals, draw, measure, simulator_case
from soc_env.errors import ConfigError

TINY = Effort(num_repeats=2, seconds=0.01, is_quick=True)


class Clock:
    """CPU time that passes only when work is done."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.order: list[str] = []
        monkeypatch.setattr(benchmark.time, "process_time", lambda: self.now)

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
    with benchmark._Progress("test") as progress:
        a, b = measure("part", cases, Effort(num_repeats=3, seconds=1.0), progress)
    assert clock.order == ["a", "b"] + ["a", "b", "b"] * 3
    assert (a.value, a.low, a.high) == (5.0, 2.5, 10.0)
    assert (b.value, b.low, b.high) == (20.0, 20.0, 20.0)
    assert (a.part, a.label, a.unit, a.num_repeats, a.parameters) == ("part", "a", "units/s", 3, {"which": "a"})


@pytest.mark.parametrize("kind", ["zeros", "random"])
def test_a_unit_is_a_step_of_one_environment(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    num_steps = 0
    step = benchmark.soc_env.Simulator.step

    def counted(simulator: Any) -> None:
        nonlocal num_steps
        num_steps += simulator.num_envs
        step(simulator)

    monkeypatch.setattr(benchmark.soc_env.Simulator, "step", counted)
    case = simulator_case(16, 50, kind)
    num_steps = 0
    assert case.work() == num_steps > 0


def test_random_actions_change_from_step_to_step() -> None:
    simulator = benchmark.soc_env.Simulator("paper-v0", num_envs=3)
    first, second, *_ = benchmark._action_sets(simulator, "random")
    assert (first["threat_hunter_0"] != second["threat_hunter_0"]).any()
    assert {agent: action.dtype for agent, action in first.items()} == {
        agent: simulator.actions[agent].dtype for agent in simulator.agents
    }


def row(part: str, value: float, **parameters: Any) -> Measurement:
    return Measurement(part, f"{part} {parameters}", "unit", value, 0.9 * value, 1.1 * value, 3, parameters)


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
    row("memory", 8_000, num_hosts=200, kind="resident"),
    row("runners", 2_000, runner="stock", num_envs=16),
    row("runners", 30_000, runner="columnar", num_envs=256),
    row("runners", 20_000, runner="columnar", num_envs=64),
    row("learners", 100, tier="a", algorithm="DQN", updates_per_env_step=0.01),
    row("learners", 50, tier="b", algorithm="SAC", updates_per_env_step=0.005),
]


def test_goals_by_hand() -> None:
    goals = check_goals(ROWS)
    assert [(goal["value"], goal["is_met"]) for goal in goals[:-1]] == [
        (90_000, False),  # the slower actions
        (900_000, True),  # the best batch
        (600_000, False),
        (20.0, True),
        (40.0, False),
        (10.0, True),  # 64 envs, not the faster 256
    ]
    # An env-step costs 1 / 20,000 s of sampling and 0.01 / 100 + 0.005 / 50 s of learning.
    assert goals[-1]["value"] == pytest.approx(0.00005 / (0.00005 + 0.0002))
    assert goals[-1]["is_met"]


def test_goals_of_parts_not_measured_are_left_out() -> None:
    assert check_goals([]) == []
    names = [goal["name"] for goal in check_goals([m for m in ROWS if m.part == "batched"])]
    assert names == ["batched, 200 hosts, zeros, best batch", "batched, 200 hosts, random, best batch"]


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
    assert {m["part"] for m in measured.values()} == {"pettingzoo", "memory"}
    assert all(m["value"] > 0 for name, m in measured.items() if "resident" not in name)
    state = {m["parameters"]["num_hosts"]: m["value"] for name, m in measured.items() if "state" in name}
    assert state[100_000] > 20 * state[200]
    assert json.loads((tmp_path / "b.json").read_text())["measurements"] == measured
    assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")
    for text in ("pettingzoo", "memory", "goals", "load average", "b.json", "b.png"):
        assert text in file.getvalue()


def test_the_plot_has_a_panel_for_each_part_measured() -> None:
    pytest.importorskip("matplotlib")
    titles = [panel.get_title(loc="left") for panel in draw(ROWS, "about").axes]
    assert len(titles) == len(PARTS)
    assert all(titles)
    assert len(draw([m for m in ROWS if m.part == "hosts"]).axes) == 1


def test_an_unknown_part_is_named_with_a_hint() -> None:
    with pytest.raises(ConfigError, match="'batched'"):
        bench(only=["bached"])


def test_without_the_extra_its_parts_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(benchmark.sys.modules, "ray", None)
    file = io.StringIO()
    assert benchmark._chosen(None, file) == ["pettingzoo", "batched", "hosts", "memory"]
    assert 'pip install "hmarl-soc[train]"' in file.getvalue()


@pytest.mark.parametrize(
    ("value", "text"), [(1_234_567, "1,230,000"), (123.4, "123"), (99.96, "100"), (45.678, "45.7"), (0.1234, "0.123")]
)
def test_three_significant_digits(value: float, text: str) -> None:
    assert benchmark._shown(value) == text
