"""Passes over many rows in one go give what single ones do."""

from types import SimpleNamespace

import numpy as np
import pytest
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

from policies.hmarl.kernels import find_leaves, mean_and_spread, set_leaves
from policies.runner.env_runner import ColumnarEnvRunner

EPISODES = [
    {"reward": 0.1 * k, "length": 50 + k, "score": 3.7 / (1 + k), "late": float("nan") if k % 2 else k / 7}
    for k in range(9)
]


def test_mean_and_spread_are_those_of_numpy_to_the_bit():
    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(500, 7)) * [1e-3, 1, 5, 100, 1e4, 0, 1] + [0, 3, 1e3, 0, 1, 7, -1]).astype(np.float32)
    mean, spread = np.empty((2, 7))
    mean_and_spread(rows, mean, spread)
    assert mean.tolist() == rows.mean(0, dtype=np.float64).tolist()
    assert spread.tolist() == ((rows - mean) ** 2).sum(0).tolist()


def test_leaves_of_a_tree_that_are_named_twice_have_the_last_value_and_all_sums_are_right():
    sums, rng = np.zeros(32), np.random.default_rng(0)
    leaves, values = rng.integers(16, size=40), rng.random(40)
    set_leaves(sums, leaves, values)
    expected = np.zeros(16)
    for leaf, value in zip(leaves, values, strict=True):
        expected[leaf] = value
    assert sums[16:].tolist() == expected.tolist()
    for node in range(1, 16):
        assert sums[node] == sums[2 * node] + sums[2 * node + 1]
    prefix, found = np.sort(rng.random(200)) * sums[1], np.zeros(200, np.int64)
    find_leaves(sums, prefix, found)
    assert found.tolist() == np.searchsorted(np.cumsum(expected), prefix, "right").tolist()


@pytest.mark.parametrize("window", [3, 9])
def test_what_is_said_of_episodes_is_what_rllib_makes_of_single_ones(window):
    ours, single = MetricsLogger(), MetricsLogger()
    ColumnarEnvRunner._log_episodes(SimpleNamespace(metrics=ours), EPISODES[-window:], window)
    for episode in EPISODES:
        means = {"episode_len_mean": episode["length"], "episode_return_mean": episode["reward"]}
        of_metrics = {name: episode[name] for name in ("score", "late")}
        single.log_dict({**means, "episode_metrics": of_metrics}, window=window)
        for reduce in ("min", "max"):
            extremes = {f"episode_len_{reduce}": episode["length"], f"episode_return_{reduce}": episode["reward"]}
            single.log_dict(extremes, reduce=reduce, window=window)
    assert ours.reduce(compile=True) == single.reduce(compile=True)
