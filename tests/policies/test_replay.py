"""The joint replay: its tree, its draws, its state."""

import numpy as np
import pytest

from policies.hmarl.replay import DETECTION_FLOOR, DetectionPriority, JointReplay, SumTree
from soc_env import Simulator, features
from soc_env.errors import CheckpointError, ConfigError


def make_replay(capacity=8, tiers=("a", "b"), **kwargs):
    return JointReplay(capacity, {"x": ((2,), np.float32), "id": ((), np.int64)}, tiers, **kwargs)


def rows(ids):
    ids = np.asarray(ids)
    return {"x": np.stack([ids, -ids], 1).astype(np.float32), "id": ids}


def test_tree_finds_leaves_in_proportion_to_their_values():
    tree = SumTree(5)
    tree.set(np.arange(5), np.array([1.0, 0.0, 2.0, 0.5, 0.5]))
    assert tree.total == 4.0
    prefix = np.array([0.0, 0.99, 1.0, 2.99, 3.0, 3.49, 3.5, 3.99])
    assert tree.find(prefix).tolist() == [0, 0, 2, 2, 3, 3, 4, 4]


def test_ring_overwrites_the_oldest_rows():
    replay = make_replay(capacity=4)
    replay.add(rows([0, 1, 2]))
    replay.add(rows([3, 4, 5]))
    assert len(replay) == 4
    assert replay.num_added == 6
    assert sorted(replay.columns["id"].tolist()) == [2, 3, 4, 5]
    assert np.array_equal(replay.columns["x"][:, 0], replay.columns["id"])  # rows stay aligned over columns


def test_more_rows_than_capacity_keeps_the_newest():
    replay = make_replay(capacity=4)
    replay.add(rows(range(10)))
    assert sorted(replay.columns["id"].tolist()) == [6, 7, 8, 9]


def test_each_tier_draws_by_its_own_priorities():
    replay = make_replay(capacity=4, alpha=1.0)
    replay.add(rows([0, 1, 2, 3]))
    replay.update_priorities("a", np.arange(4), np.array([0.0, 0.0, 0.0, 1.0]))
    replay.update_priorities("b", np.arange(4), np.array([1.0, 1.0, 0.0, 0.0]))
    drawn_a, _ = replay.sample("a", 1000)
    drawn_b, _ = replay.sample("b", 1000)
    assert (drawn_a == 3).mean() > 0.99
    assert np.bincount(drawn_b, minlength=4)[:2] == pytest.approx([500, 500], abs=5)


def test_importance_weights_undo_the_priorities():
    replay = make_replay(capacity=4, alpha=1.0)
    replay.add(rows([0, 1, 2, 3]))
    replay.update_priorities("a", np.arange(4), np.array([1.0, 2.0, 3.0, 4.0]))
    index, weights = replay.sample("a", 64, beta=1.0)
    assert weights.max() == 1.0
    assert weights * (index + 1) == pytest.approx(weights[0] * (index[0] + 1), rel=1e-5)


def test_alpha_zero_is_uniform():
    replay = make_replay(capacity=4, alpha=0.0)
    replay.add(rows([0, 1, 2, 3]))
    replay.update_priorities("a", np.arange(4), np.array([1e-3, 1.0, 10.0, 1e3]))
    index, weights = replay.sample("a", 400)
    assert np.bincount(index).tolist() == [100] * 4
    assert (weights == 1).all()


def test_restored_replay_draws_the_same_rows():
    replay, twin = make_replay(seed=1), make_replay(seed=2)
    replay.add(rows(range(11)))
    replay.update_priorities("a", np.arange(8), np.linspace(0.1, 3, 8))
    twin.set_state(replay.get_state())
    for tier in ("a", "b", "a"):
        (index, weights), (index2, weights2) = replay.sample(tier, 32), twin.sample(tier, 32)
        assert np.array_equal(index, index2)
        assert np.array_equal(weights, weights2)
    for one in (replay, twin):
        one.add(rows([50]))
    assert all(np.array_equal(replay.columns[k], twin.columns[k]) for k in replay.columns)


def test_given_priorities_scale_the_highest_one_and_zero_is_never_drawn():
    for alpha in (1.0, 0.0):
        replay = make_replay(capacity=4, alpha=alpha)
        replay.add(rows([0, 1, 2, 3]), {"a": np.array([0.0, 1.0, 3.0, 0.0])})
        drawn, _ = replay.sample("a", 1000)
        assert np.bincount(drawn, minlength=4).tolist() == ([0, 250, 750, 0] if alpha else [0, 500, 500, 0])
        drawn, _ = replay.sample("b", 1000)  # the other tier has none
        assert np.bincount(drawn, minlength=4).tolist() == [250] * 4


def test_given_priorities_stay_with_their_rows_when_there_are_too_many():
    replay = make_replay(capacity=4, alpha=1.0)
    replay.add(rows(range(6)), {"a": np.array([1.0, 1.0, 0.0, 0.0, 0.0, 1.0])})
    drawn, _ = replay.sample("a", 100)
    assert set(replay.columns["id"][drawn].tolist()) == {5}


def test_state_of_another_replay_is_refused():
    other = JointReplay(8, {"x": ((2,), np.float32)}, ("a",))
    with pytest.raises(CheckpointError, match="other columns \\('id'\\)"):
        make_replay().set_state(other.get_state())


# ---- the paper's priority


@pytest.mark.parametrize(
    ("scenario", "overrides", "prefix"),
    [("paper-v0", {}, "alert"), ("soc-v1", {}, "case"), ("soc-v1", {"num_zones": 3}, "case")],
)
def test_paper_priority_by_hand(scenario, overrides, prefix):
    names = features("alert_triage_0", scenario, **overrides)
    assert len(names) == Simulator(scenario, **overrides).observation_spaces["alert_triage_0"].shape[0]
    seen = np.zeros((4, len(names)), np.float32)

    def put(row, number, **values):
        for name, value in values.items():
            seen[row, names.index(f"{prefix}{number}_{name}")] = value

    value = {"zone_value": 0.5} if prefix == "case" else {}
    put(0, 0, confidence=0.8, severity=0.5, **value)
    put(1, 0, confidence=0.9, severity=0.1, **value)  # sure, but not urgent
    put(1, 1, confidence=0.1, severity=0.9, **value)  # urgent, but not sure: not the one's confidence x the other's
    put(2, 1, confidence=0.001, severity=1.0, **value)
    factor = 0.5 if value else 1.0
    expected = [0.4 * factor, 0.09 * factor, DETECTION_FLOOR, DETECTION_FLOOR]
    priority = DetectionPriority(scenario, {**overrides, "num_threads": 2})
    assert priority({"obs/alert_triage_0": seen}) == pytest.approx(expected)


def test_paper_priority_needs_our_triage():
    with pytest.raises(
        ConfigError, match="replay_priority 'paper' reads our triage's observation; environment 'CartPole'"
    ):
        DetectionPriority("CartPole", {})
