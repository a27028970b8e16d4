"""The joint replay: its tree, its draws, its state."""

import numpy as np
import pytest

from policies.replay import JointReplay, SumTree


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
