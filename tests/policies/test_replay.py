"""The joint replay: its tree, its draws, its state, its rows in files."""

import errno
import shutil

import numpy as np
import pytest

from policies.hmarl import segments
from policies.hmarl.replay import DETECTION_FLOOR, DetectionPriority, JointReplay, SumTree
from soc_env import Simulator, features
from soc_env.errors import CheckpointError, ConfigError


def make_replay(capacity=8, tiers=("a", "b"), **kwargs):
    return JointReplay(capacity, {"x": ((2,), np.float32), "id": ((), np.int64)}, tiers, **kwargs)


def rows(ids):
    ids = np.asarray(ids)
    return {"x": np.stack([ids, -ids], 1).astype(np.float32), "id": ids}


def assert_equal(one, other):
    assert set(one) == set(other)
    for name, value in one.items():
        if isinstance(value, dict):
            assert_equal(value, other[name])
        elif isinstance(value, np.ndarray):
            assert value.tobytes() == other[name].tobytes(), name
        else:
            assert value == other[name], name


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


def test_priorities_of_rows_that_are_gone_or_drawn_no_more_are_left_alone():
    replay = make_replay(capacity=8, alpha=1.0)
    replay.add(rows(range(6)))
    index, drawn_at = np.array([0, 1, 2, 3, 0]), replay.num_added
    replay.add(rows(range(6, 9)))  # the last one in the place of row 0
    tree = replay.trees["a"]
    tree.set(np.array([2]), np.zeros(1))
    before = tree.sums[tree.num_leaves :].copy()
    replay.update_priorities("a", index, np.full(5, 7.0), drawn_at)
    changed = np.nonzero(tree.sums[tree.num_leaves :] != before)[0]
    assert changed.tolist() == [1, 3]
    replay.add(rows(range(9, 30)))
    before = tree.sums.copy()
    replay.update_priorities("a", index, np.full(5, 9.0), drawn_at)  # all are gone
    assert np.array_equal(tree.sums, before)


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
    columns = {"x": ((2,), np.float32)}
    with pytest.raises(CheckpointError, match="other columns \\('id' is missing\\)"):
        make_replay().set_state(JointReplay(8, columns, ("a", "b")).get_state())
    with pytest.raises(CheckpointError, match="no priorities of tier 'b'"):
        make_replay().set_state(make_replay(tiers=("a",)).get_state())


def test_going_back_forgets_what_came_after():
    replay = make_replay(seed=1)
    replay.add(rows([0, 1, 2]))
    older = replay.get_state()
    replay.add(rows([3, 4, 5]))
    replay.update_priorities("a", np.arange(6), np.full(6, 9.0))
    replay.set_state(older)
    assert replay.trees["a"].total == pytest.approx(3.0)
    assert_equal(replay.get_state(), older)
    assert set(replay.sample("a", 64)[0].tolist()) == {0, 1, 2}


def test_a_store_of_another_capacity_keeps_the_newest_rows():
    replay = make_replay(capacity=8)
    replay.add(rows(range(6)))
    replay.add(rows(range(6, 11)))
    for capacity, kept in ((4, [7, 8, 9, 10]), (16, list(range(3, 11)))):
        twin = make_replay(capacity=capacity)
        twin.set_state(replay.get_state())
        assert sorted(twin.rows(twin.first, twin.num_added)["id"].tolist()) == kept
        twin.add(rows([11, 12]))
        assert twin.rows(11, 13)["id"].tolist() == [11, 12]


# ---- segments


def recorded(length=64, num_envs=4, n_step=3, seed=0):
    """Rows as runners make them: a row's next observation is another row's, but at ends."""
    rng = np.random.default_rng(seed)
    seen = rng.normal(size=(length + n_step, num_envs, 3)).astype(np.float32)
    after = seen[n_step:].copy()
    after[::7, 1] = rng.normal(size=after[::7, 1].shape)
    columns = {"obs/a": seen[:length, :, :2], "obs/b": seen[:length, :, 2:], "next_obs/a": after[..., :2]}
    columns |= {"next_obs/b": after[..., 2:], "reward/a": rng.normal(size=(length, num_envs)).astype(np.float32)}
    columns["action/b"] = rng.integers(4, size=(length, num_envs))
    columns["terminated"] = rng.random((length, num_envs)) < 0.1
    return {name: values.reshape(-1, *values.shape[2:]) for name, values in columns.items()}


def recorded_replay(capacity, columns):
    shapes = {name: (values.shape[1:], values.dtype) for name, values in columns.items()}
    return JointReplay(capacity, shapes, ("a",))


def test_rows_come_back_from_bytes_bit_for_bit():
    columns = recorded()
    columns["obs/a"][5, 0], columns["next_obs/b"][9, 0] = np.nan, -0.0
    expected = {name: (values.shape[1:], values.dtype) for name, values in columns.items()}
    packed = segments.packed(columns)
    assert len(packed["next_obs/"]) < len(packed["obs/"])  # most are not stored twice
    found = segments.unpacked(packed, expected, 256)
    assert set(found) == set(columns)
    for name, values in columns.items():
        assert found[name].dtype == values.dtype
        assert found[name].tobytes() == values.tobytes(), name
    with pytest.raises(CheckpointError, match="'terminated' is missing"):
        segments.unpacked({k: v for k, v in packed.items() if k != "terminated"}, expected, 256)


def written(store, folder):
    folder.mkdir()
    return [(part.first, part.end) for part in store.write(folder, folder)]


def restored(replay, folder, listed):
    twin = JointReplay(replay.capacity, replay.shapes, replay.trees)
    state = {**replay.get_state(with_rows=False), "segments": [[part.file, part.first, part.end] for part in listed]}
    segments.Segments("joint", twin).read(folder, state, {part.file: part.entry() for part in listed})
    return twin


def test_a_checkpoint_writes_new_rows_and_links_the_others(tmp_path, monkeypatch):
    columns = recorded()
    replay = recorded_replay(100, columns)
    store = segments.Segments("joint", replay)
    replay.add({name: values[:40] for name, values in columns.items()})
    assert written(store, tmp_path / "0") == [(0, 40)]
    replay.add({name: values[40:90] for name, values in columns.items()})
    assert written(store, tmp_path / "1") == [(0, 40), (40, 90)]
    shared = store.known[0].file
    assert (tmp_path / "0" / shared).stat().st_ino == (tmp_path / "1" / shared).stat().st_ino
    replay.add({name: values[90:150] for name, values in columns.items()})  # rows 0 to 49 are overwritten
    assert written(store, tmp_path / "2") == [(40, 90), (90, 150)]
    assert_equal(restored(replay, tmp_path / "2", store.known).get_state(), replay.get_state())
    # where links are not possible, files are copied; where the last checkpoint is gone, rows are written anew
    monkeypatch.setattr("os.link", no_links)
    assert written(store, tmp_path / "3") == [(40, 90), (90, 150)]
    assert (tmp_path / "3" / store.known[0].file).stat().st_nlink == 1
    shutil.rmtree(tmp_path / "3")
    assert written(store, tmp_path / "4") == [(50, 150)]
    assert_equal(restored(replay, tmp_path / "4", store.known).get_state(), replay.get_state())


def test_a_checkpoint_in_which_rows_are_missing_is_refused(tmp_path):
    replay, columns = recorded_replay(100, recorded()), recorded()
    store = segments.Segments("joint", replay)
    for number in range(3):
        replay.add({name: values[40 * number : 40 * number + 40] for name, values in columns.items()})
        written(store, tmp_path / str(number))
    for listed in (store.known[1:], store.known[:-1], [store.known[0], store.known[2]], []):
        with pytest.raises(CheckpointError, match="does not have every row of replay 'joint'"):
            restored(replay, tmp_path / "2", listed)


def no_links(source, target):
    raise OSError(errno.EPERM, "no links here")


def test_segments_of_before_a_run_was_set_back_are_not_taken(tmp_path):
    columns = recorded()
    replay = recorded_replay(100, columns)
    store = segments.Segments("joint", replay)
    replay.add({name: values[:40] for name, values in columns.items()})
    older = replay.get_state()
    replay.add({name: values[40:80] for name, values in columns.items()})
    written(store, tmp_path / "0")
    replay.set_state(older)
    replay.add({name: values[100:140] for name, values in columns.items()})  # other rows of the same numbers
    written(store, tmp_path / "1")
    assert_equal(restored(replay, tmp_path / "1", store.known).get_state(), replay.get_state())


def test_many_small_segments_become_one(tmp_path, monkeypatch):
    monkeypatch.setattr(segments, "MAX_SEGMENTS", 3)
    columns = recorded()
    replay = recorded_replay(100, columns)
    store = segments.Segments("joint", replay)
    for number in range(5):
        replay.add({name: values[10 * number : 10 * number + 10] for name, values in columns.items()})
        written(store, tmp_path / str(number))
    assert len(store.known) == 1
    assert_equal(restored(replay, tmp_path / "4", store.known).get_state(), replay.get_state())


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


# ---- old rows: those of a teacher's lessons


def old_replay(num_old, num_new, capacity=64, **kwargs):
    replay = make_replay(capacity=capacity, tiers=("a",), alpha=1.0, seed=3, **kwargs)
    replay.add(rows(range(num_old)))
    replay.mark_old()
    replay.add(rows(range(num_old, num_old + num_new)))
    ids = np.asarray(replay.columns["id"][: len(replay)])
    replay.update_priorities("a", np.arange(len(replay)), 1.0 + ids % 3)
    return replay


@pytest.mark.parametrize(("num_old", "num_new"), [(40, 8), (8, 40), (40, 50)])  # the last one overwrites old rows
@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_old_rows_make_up_their_share_of_the_draws(num_old, num_new, share):
    replay = old_replay(num_old, num_new)
    index, weights = replay.sample("a", 4000, 1.0, share)
    drawn = replay.columns["id"][index]
    assert (drawn < num_old).sum() == share * 4000
    # among the old, and among the new, by priority; weights undo it all
    for is_old in (True, False):
        ids = np.asarray(replay.columns["id"])[: len(replay)]
        ids = ids[(ids < num_old) == is_old]
        counts = np.array([(drawn == number).sum() for number in ids])
        priority = 1.0 + ids % 3
        expected = 4000 * (share if is_old else 1 - share) * priority / priority.sum()
        assert np.abs(counts - expected).max() <= 2, is_old  # stratified
        undone = [weights[drawn == number].max() * count for number, count in zip(ids, counts, strict=True) if count]
        assert not undone or max(undone) / min(undone) < 1.3


def test_a_share_of_old_rows_means_nothing_where_there_are_none_or_no_others():
    whole = old_replay(0, 20), old_replay(20, 0), old_replay(20, 70)  # none, no others, none any more
    for replay in whole:
        before = replay.get_state(with_rows=False)["rng"]
        shared = replay.sample("a", 32, 0.5, 0.5)
        replay.set_state({**replay.get_state(), "rng": before})
        plain = replay.sample("a", 32, 0.5)
        assert np.array_equal(shared[0], plain[0])
        assert np.array_equal(shared[1], plain[1])


def test_which_rows_are_old_is_kept_and_forgotten_with_them():
    replay = old_replay(30, 20)
    again = old_replay(0, 1)
    again.set_state(replay.get_state())
    assert np.array_equal(again.sample("a", 64, 0.5, 0.75)[0], replay.sample("a", 64, 0.5, 0.75)[0])
    again.clear()
    assert again.old_end == 0
