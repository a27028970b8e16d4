"""The judge of a soak (`tests/helpers/soak.py`): what is flat, what grows, what it looks at."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

pytest.importorskip("psutil")
Rows = list[dict[str, float]]


@pytest.fixture(scope="module")
def soak() -> ModuleType:
    path = Path(__file__).parents[1] / "helpers" / "soak.py"
    spec = importlib.util.spec_from_file_location("soak", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows_of(soak: ModuleType, **values: np.ndarray) -> Rows:
    """200 rows, a second apart, of a steady process; `values` are other columns."""
    steady = {name: np.full(200, 100.0) for name in soak.COLUMNS} | {"rss": np.full(200, 2.0**30)}
    columns = steady | {"seconds": np.arange(200.0), "steps": 10.0 * np.arange(200)} | values
    return [{name: float(column[i]) for name, column in columns.items()} for i in range(200)]


def test_growth_is_the_slope_times_the_duration(soak: ModuleType) -> None:
    seconds = np.arange(100.0)
    noise = np.random.default_rng(0).normal(0.0, 5.0, 100)
    assert soak.growth(seconds, 7.0 + 2.0 * seconds) == pytest.approx((198.0, 198.0, 198.0))
    value, low, high = soak.growth(seconds, 2.0 * seconds + noise)
    assert low < 198.0 < high
    assert value == pytest.approx((low + high) / 2)
    assert soak.growth(seconds, np.ones(100)) == (0.0, 0.0, 0.0)


def test_a_steady_process_is_flat(soak: ModuleType) -> None:
    noise = np.random.default_rng(0).normal(0.0, 2.0**20, 200)
    assert soak.judge(rows_of(soak, rss=2.0**30 + noise))


@pytest.mark.parametrize(
    ("name", "leak"), [("rss", 2.0**17), ("handles", 0.02), ("threads", 0.02), ("objects", 5.0), ("children", 0.02)]
)
def test_a_leak_of_each_kind_is_told(
    soak: ModuleType, name: str, leak: float, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not soak.judge(rows_of(soak, **{name: 100.0 + np.floor(leak * np.arange(200))}))
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "GROWS" in line]
    assert line.split()[0] == name


def test_start_and_shutdown_are_not_judged(soak: ModuleType) -> None:
    steps = np.clip(np.arange(200.0) - 50, 0, 100)  # begins at second 51, the last step is at second 150
    handles = np.where((steps > 0) & (steps < 100), 20.0, np.arange(200.0))
    assert soak.judge(rows_of(soak, steps=steps, handles=handles))


def test_too_few_rows_are_no_proof(soak: ModuleType) -> None:
    assert not soak.judge(rows_of(soak)[:30])
