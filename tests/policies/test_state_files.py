"""Trees of plain values and arrays come back from their files bit for bit, and nothing else is taken."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from policies.state_files import load_tree, save_tree
from soc_env.errors import CheckpointError

RECORDS = np.array([(1, 2.5, True), (3, -0.0, False)], [("a", "i4"), ("b", "f8"), ("c", "?")])
TREE = {
    "plain": {"none": None, "yes": True, "text": "é$", "big": 2**120, "half": 0.5, "list": [1, [2, {}]], "": ""},
    "tuples": (1, (2.0, "x"), [()]),
    "keys": {0: "zero", 1.5: "float", ("a", 1): "tuple", "$": "tag"},
    "lost": [float("inf"), float("-inf")],
    "numpy": {"f4": np.float32(0.1), "i8": np.int64(-3), "b": np.bool_(True)},
    "arrays": [
        np.arange(6).reshape(2, 3).T,
        np.zeros((0, 4), np.float32),
        np.array(3, np.uint16),
        RECORDS,
        RECORDS[:0],
    ],
    "tensors": {"p": torch.arange(4.0).reshape(2, 2).t(), "s": torch.tensor(2), "flag": torch.tensor([True, False])},
}


def same(a, b):
    """Whether two trees are equal, types and bits."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, torch.Tensor):
        return same(a.numpy(), b.numpy())
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return a == b or (a != a and b != b)


def test_a_tree_comes_back_as_it_was(tmp_path):
    save_tree(tmp_path, "state", TREE)
    assert same(load_tree(tmp_path, "state"), TREE)
    assert math.isnan((save_tree(tmp_path, "nan", float("nan")), load_tree(tmp_path, "nan"))[1])


def test_the_same_tree_makes_the_same_bytes(tmp_path):
    save_tree(tmp_path, "a", TREE)
    save_tree(tmp_path, "b", load_tree(tmp_path, "a"))
    for suffix in (".json", ".safetensors"):
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | arrays.arrays(arrays.scalar_dtypes(), (2,))
    .filter(lambda a: a.dtype.kind in "biuf" and a.dtype.isnative and a.dtype.itemsize <= 8),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner, inner),
)  # fmt: skip


@given(PLAIN)
def test_any_plain_tree_comes_back(tmp_path_factory, tree):
    folder = tmp_path_factory.mktemp("tree")
    save_tree(folder, "state", tree)
    assert same(load_tree(folder, "state"), tree)


@pytest.mark.parametrize("value", [object(), {1, 2}, print, b"bytes", np.array(["text"]), np.array([None])])
def test_anything_else_is_refused_by_its_place(tmp_path, value):
    with pytest.raises(TypeError, match="outer/1"):
        save_tree(tmp_path, "state", {"outer": [0, value]})


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        (".json", b"{"),
        (".json", b"\xff"),
        (".json", b"[" * 100_000),
        (".json", b'{"$": "call", "name": "os:system"}'),
        (".json", b'{"$": "array", "name": "absent"}'),
        (".json", b'{"$": "scalar", "dtype": "O", "value": {"$": "float", "value": "x"}}'),
        (".json", b'{"$": "dict", "items": [[[], 1]]}'),
        (".safetensors", b"short"),
        (".safetensors", b"\xff" * 64),
    ],
)
def test_damaged_files_are_named(tmp_path, suffix, content):
    save_tree(tmp_path, "state", TREE)
    (tmp_path / f"state{suffix}").write_bytes(content)
    with pytest.raises(CheckpointError, match=f"state{suffix}"):
        load_tree(tmp_path, "state")
    (tmp_path / f"state{suffix}").unlink()
    with pytest.raises(CheckpointError, match=f"state{suffix}"):
        load_tree(tmp_path, "state")
