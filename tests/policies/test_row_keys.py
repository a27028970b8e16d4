"""Rows are found by numbers that say nothing but what bits they have."""

import ast
from pathlib import Path

import numpy as np
import pytest

import policies.hmarl
from policies.hmarl import following
from policies.hmarl.replay import JointReplay
from policies.hmarl.row_keys import row_keys

COLUMNS = {"obs/a": ((3,), np.float32), "next_obs/a": ((3,), np.float32)}


def rows(n: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=(n, size)).astype(np.float32) for size in (37, 1, 12)]


def test_a_row_has_the_same_key_wherever_it_stands():
    columns = rows(50)
    keys, wide = row_keys(columns), np.concatenate(columns, 1)
    assert row_keys([wide[:, :37], wide[:, 37:38], wide[:, 38:]]).tolist() == keys.tolist()
    assert row_keys([of[20:21] for of in columns]).tolist() == [keys[20]]
    assert row_keys([of[::-1] for of in columns]).tolist() == keys[::-1].tolist()


def test_another_bit_anywhere_is_another_key():
    columns = rows(1)
    changed = {int(row_keys(columns)[0])}
    for column in columns:
        for k in range(column.shape[1]):
            for bit in range(32):
                column.view(np.uint32)[0, k] ^= np.uint32(1 << bit)
                changed.add(int(row_keys(columns)[0]))
                column.view(np.uint32)[0, k] ^= np.uint32(1 << bit)
    assert len(changed) == 1 + 32 * sum(column.shape[1] for column in columns)


def test_rows_that_share_a_key_are_told_apart(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(following, "row_keys", lambda columns: np.zeros(len(next(iter(columns))), np.uint64))
    replay, rng = JointReplay(16, COLUMNS, ("t",)), np.random.default_rng(0)
    for _ in range(5):
        now = rng.normal(size=(8, 3)).astype(np.float32)
        after = np.concatenate([now[1:], rng.normal(size=(1, 3)).astype(np.float32)])
        start = replay.position
        replay.add({"obs/a": now, "next_obs/a": after})
        assert replay.take("next_obs/a", np.arange(start, start + 8)).tobytes() == after.tobytes()


def test_no_product_of_numpy_wakes_the_threads_of_blas():
    """They wait for the next one in a loop, and take a core from the learners."""
    for file in Path(policies.hmarl.__file__).parent.glob("*.py"):
        nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
        assert not [node for node in nodes if isinstance(node, ast.MatMult)], file.name
