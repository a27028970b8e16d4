"""Checkpoints are written whole or not at all, and nothing that is read from them is ever executed."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import pickle
import shutil
import sys

import pytest

pytest.importorskip("ray")

from toy_team import small_paper

from policies import HMARL, HMARLConfig, load_policy, save_checkpoint
from policies.checkpoint import DIGEST, MANIFEST, digest_line, read_manifest, sha256
from policies.hmarl import saving
from policies.hmarl.description import configure
from policies.runner.batched_env import imported
from soc_env.errors import CheckpointError, HMARLSOCError

pytestmark = pytest.mark.usefixtures("quiet_ray")


@pytest.fixture(scope="module")
def algo():
    made = small_paper().build_algo()
    made.train()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def original(algo, tmp_path_factory):
    return save_checkpoint(algo, tmp_path_factory.mktemp("original") / "c", generation=1)


@pytest.fixture
def folder(original, tmp_path):
    return shutil.copytree(original, tmp_path / "c")


class Killed(BaseException):
    """The process ends here."""


def killed_at(monkeypatch, step):
    """The writer ends at `step` as if it was killed: nothing is cleaned up."""

    def end(reached):
        if reached == step:
            monkeypatch.setattr(saving.shutil, "rmtree", lambda *args, **kwargs: None)
            raise Killed

    monkeypatch.setattr(saving, "at_step", end)


@pytest.mark.parametrize("step", saving.STEPS)
def test_a_writer_that_is_killed_leaves_a_whole_checkpoint(algo, folder, monkeypatch, step):
    with monkeypatch.context() as patch:
        killed_at(patch, step)
        with pytest.raises(Killed):
            save_checkpoint(algo, folder, generation=2)
    saving.recover_checkpoint(folder)
    is_new = saving.STEPS.index(step) >= saving.STEPS.index("placed")
    assert read_manifest(folder)["generation"] == (2 if is_new else 1)
    assert [path.name for path in folder.parent.iterdir()] == ["c"]  # and nothing else
    save_checkpoint(algo, folder, generation=3)
    assert read_manifest(folder)["generation"] == 3
    assert [path.name for path in folder.parent.iterdir()] == ["c"]


def test_steps_are_those_that_the_writer_reaches(algo, tmp_path, monkeypatch):
    reached = []
    monkeypatch.setattr(saving, "at_step", reached.append)
    save_checkpoint(algo, tmp_path / "c")
    assert tuple(reached) == saving.STEPS


def test_the_next_writer_removes_what_a_killed_one_left_without_recovery(algo, folder, monkeypatch):
    with monkeypatch.context() as patch:
        killed_at(patch, "retired")
        with pytest.raises(Killed):
            save_checkpoint(algo, folder, generation=2)
    assert not folder.exists()
    save_checkpoint(algo, folder, generation=3)
    assert [path.name for path in folder.parent.iterdir()] == ["c"]
    assert read_manifest(folder)["generation"] == 3


@pytest.mark.parametrize("part", ["save_tree", "save_file", "write_manifest", "sync_tree"])
def test_a_full_disk_leaves_the_last_checkpoint_and_nothing_beside_it(algo, folder, monkeypatch, part):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "somewhere")

    monkeypatch.setattr(saving, part, full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(algo, folder, generation=2)
    assert [path.name for path in folder.parent.iterdir()] == ["c"]
    assert read_manifest(folder)["generation"] == 1


def test_a_folder_that_holds_something_else_is_left_as_it_is(algo, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    (tmp_path / "file").write_text("more")
    for name in ("mine", "file"):
        for write in (lambda path: save_checkpoint(algo, path), algo.save_to_path):
            with pytest.raises(CheckpointError, match="is no checkpoint of hmarl-soc; it is left as it is"):
                write(tmp_path / name)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"
    assert (tmp_path / "file").read_text() == "more"


# ---- reading


def entry_points(folder):
    """Every way to read a checkpoint without trust."""
    return {
        "load_policy": lambda algo: load_policy(folder),
        "restore_from_path": lambda algo: algo.restore_from_path(folder),
        "restore": lambda algo: algo.restore(str(folder)),  # as Tune does, by load_checkpoint
        "from_checkpoint": lambda algo: HMARL.from_checkpoint(folder).stop(),
    }


def files_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


class Marker:
    """Unpickling it leaves a mark, harmlessly."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def resealed(folder):
    """Makes manifest and digests say what the files are now, as whoever forges a checkpoint would."""
    manifest = json.loads((folder / MANIFEST).read_text())
    for name in manifest["files"]:
        content = (folder / name).read_bytes()
        manifest["files"][name] = {"bytes": len(content), "sha256": sha256(folder / name)}
    content = json.dumps(manifest).encode()
    (folder / MANIFEST).write_bytes(content)
    (folder / DIGEST).write_bytes(digest_line(content))


def test_a_marker_in_place_of_any_file_is_never_executed(algo, original, tmp_path):
    mark = tmp_path / "executed"
    pickle.loads(pickle.dumps(Marker(mark)))
    assert mark.is_dir()  # it would work
    mark.rmdir()
    names = files_in(original)
    assert {"hmarl.json", "hmarl.json.sha256", "policy.safetensors", "state.json", "state.safetensors"} < set(names)
    for number, name in enumerate([*names, "_dict_checkpoint.pkl", "algorithm_state.pkl"]):
        folder = shutil.copytree(original, tmp_path / str(number))
        (folder / name).write_bytes(pickle.dumps(Marker(mark)))
        if name not in (MANIFEST, DIGEST):
            resealed(folder)
        for way, read in entry_points(folder).items():
            if way == "from_checkpoint" and name not in (MANIFEST, "state.json"):
                continue  # it builds an algorithm and is then as restore_from_path
            if name in names and not (way == "load_policy" and name.startswith(("state", "replay"))):
                with pytest.raises(CheckpointError):
                    read(algo)
            elif way == "restore" and name == "_dict_checkpoint.pkl":
                with pytest.raises(CheckpointError, match=r"_dict_checkpoint\.pkl"):
                    read(algo)
            else:
                read(algo)
            assert not mark.exists(), (name, way)


def strings_of(tree, path=()):
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        if isinstance(value, str):
            yield (*path, key)
        elif isinstance(value, (dict, list)):
            yield from strings_of(value, (*path, key))


def test_a_marker_in_place_of_any_string_of_the_manifest_is_never_called(algo, original, tmp_path, monkeypatch):
    mark, manifest = tmp_path / "executed", json.loads((original / MANIFEST).read_text())
    monkeypatch.setenv("MARK", str(mark))
    imported("marking:mark")()
    assert mark.is_dir()  # it would work
    mark.rmdir()
    places = [path for path in strings_of(manifest) if path[0] != "files"]
    assert len(places) > 20
    folder = shutil.copytree(original, tmp_path / "c")
    for path in places:
        changed = json.loads(json.dumps(manifest))
        at = changed
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = "marking:mark"
        sys.modules.pop("marking", None)
        content = json.dumps(changed).encode()
        (folder / MANIFEST).write_bytes(content)
        (folder / DIGEST).write_bytes(digest_line(content))
        for read in (load_policy, configured):
            with contextlib.suppress(HMARLSOCError):
                read(folder)
            assert not mark.exists(), path
            assert "marking" not in sys.modules, path


def configured(folder):
    """What `HMARL.from_checkpoint` does before it builds the algorithm, which would take seconds."""
    configure(HMARLConfig(), folder, read_manifest(folder)).validate()


@pytest.mark.parametrize("seed", range(3))
def test_a_flipped_byte_in_any_file_is_refused_by_name(original, tmp_path, seed):
    import numpy as np

    rng = np.random.default_rng(seed)
    folder = shutil.copytree(original, tmp_path / "c")
    for name in files_in(folder):
        whole = (folder / name).read_bytes()
        flipped = bytearray(whole)
        flipped[rng.integers(len(whole))] ^= 1 << int(rng.integers(8))
        (folder / name).write_bytes(flipped)
        with pytest.raises(CheckpointError, match=name.replace(".", r"\.").removesuffix(r"\.sha256")):
            load_policy(folder)
        (folder / name).write_bytes(whole)
    load_policy(folder)
