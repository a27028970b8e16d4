"""Checkpoints are written here: whole or not at all.

A checkpoint is written into a folder of a name of its own, made durable, and only then takes the place of the one
before: a killed writer leaves the last good one, and what it began is removed by the next. `STEPS` are the points
between which something happens to files; `at_step` is called at each of them, so that a test can end the process there.
`policies.checkpoint` reads what this writes.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from policies.checkpoint import (
    MANIFEST,
    NETWORKS,
    STATE,
    TrainedPolicy,
    load_networks,
    read_manifest,
    sync,
    write_manifest,
)
from policies.hmarl.description import describe
from policies.hmarl.state import AVERAGED, REPLAY
from policies.state_files import load_tree, save_tree
from soc_env.errors import CheckpointError

STEPS = (
    "begun",  # an empty folder of a name of its own
    "replay",  # its replay is written
    "state",  # learners, runners, generators, ...
    "networks",  # what a loaded policy acts with
    "manifest",  # and its digest
    "synced",  # all of it is on disk
    "retired",  # the checkpoint before has gone out of the way: none has the name now
    "placed",  # the new one has the name
    "cleaned",  # the one before is gone
)
REPLAY_FOLDER = "replay"


def ignore(step: str) -> None:
    """What happens at a step: nothing."""


at_step: Callable[[str], None] = ignore  # tests put something else in its place


def save_checkpoint(algo: Any, folder: str | Path, *, replay: bool = True, **info: Any) -> Path:
    """Writes an `HMARL` to `folder` atomically and durably; `info` (plain data) is kept in the manifest.

    Without `replay` the checkpoint is small: whole to evaluate, but training resumed from it starts with an empty
    buffer.

    Raises:
        CheckpointError: the folder holds something else than a checkpoint.
        OSError: it cannot be written; the checkpoint before is as it was.
    """
    folder = Path(folder).absolute()
    if folder.exists() and not (folder / MANIFEST).exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CheckpointError(f"{str(folder)!r} exists and is no checkpoint of hmarl-soc; it is left as it is")
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(folder)
    partial = folder.with_name(f".{folder.name}.{secrets.token_hex(8)}.partial")
    try:
        partial.mkdir()
        at_step("begun")
        _write(algo, partial, replay and algo.saves_replay, info)
        _sync_all(partial)
        at_step("synced")
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    _put_in_place(partial, folder)
    return folder


def _write(algo: Any, folder: Path, has_replay: bool, info: dict[str, Any]) -> None:
    """All files of the checkpoint, the manifest last."""
    (folder / REPLAY_FOLDER).mkdir()
    for name, store in algo.batches.replays.items() if has_replay else ():
        save_tree(folder / REPLAY_FOLDER, name, store.get_state())
    at_step("replay")
    save_tree(folder, STATE, algo.get_state(not_components=[REPLAY, AVERAGED]))
    at_step("state")
    networks = {f"{tier}/{name}": value for tier, own in algo.averaged.items() for name, value in own.items()}
    save_file({name: value.contiguous() for name, value in networks.items()}, folder / NETWORKS)
    at_step("networks")
    write_manifest(folder, {"kind": "full", **describe(algo), **info})
    at_step("manifest")


def _sync_all(folder: Path) -> None:
    for path in folder.rglob("*"):
        sync(path)
    sync(folder)


def _put_in_place(partial: Path, folder: Path) -> None:
    """Gives the new checkpoint its name. The old folder is put aside whole and deleted when the new one is in place:
    deleting it under its name could be interrupted half way."""
    retired = _retired(folder)
    if folder.exists():
        shutil.rmtree(retired, ignore_errors=True)
        os.rename(folder, retired)
    at_step("retired")
    os.rename(partial, folder)
    sync(folder.parent)
    at_step("placed")
    shutil.rmtree(retired, ignore_errors=True)
    at_step("cleaned")


def _remove_leftovers(folder: Path) -> None:
    """Removes what killed writers of this checkpoint have left."""
    for partial in folder.parent.glob(f".{folder.name}.*.partial"):
        shutil.rmtree(partial, ignore_errors=True)
    if folder.exists():
        shutil.rmtree(_retired(folder), ignore_errors=True)


def recover_checkpoint(folder: str | Path) -> None:
    """Puts the previous checkpoint back if a run was killed in `save_checkpoint` between the two renamings, and removes
    what it left."""
    folder = Path(folder).absolute()
    if not folder.exists() and _retired(folder).exists():
        os.rename(_retired(folder), folder)
        sync(folder.parent)
    _remove_leftovers(folder)


def _retired(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def is_ours(folder: str | Path, trust: bool) -> bool:
    """Whether a folder holds a checkpoint of ours.

    Raises:
        CheckpointError: it does not, and what it holds is not trusted.
    """
    folder = Path(folder)
    if (folder / MANIFEST).exists():
        return True
    if not folder.is_dir():
        raise CheckpointError(f"checkpoint {str(folder)!r} does not exist")
    if not trust:
        raise CheckpointError(
            f"{str(folder)!r} is not a checkpoint of hmarl-soc: it has no {MANIFEST}; one that RLlib wrote runs code "
            "that is in it when it is read, which trust=True allows"
        )
    return False


def load_state(folder: str | Path) -> dict[str, Any]:
    """What `HMARL.set_state` goes on from.

    Raises:
        CheckpointError: missing, damaged, or made to act only.
    """
    folder = Path(folder).absolute()
    manifest = read_manifest(folder)
    if manifest["kind"] != "full":
        raise CheckpointError(f"checkpoint {str(folder)!r} is a policy to act with; training cannot go on from it")
    state = load_tree(folder, STATE)
    state[AVERAGED] = load_networks(folder)
    stores = {name.split("/")[1].removesuffix(".json") for name in manifest["files"] if name.startswith(REPLAY_FOLDER)}
    stores = {name for name in stores if not name.endswith(".safetensors")}
    if stores:
        state[REPLAY] = {name: load_tree(folder / REPLAY_FOLDER, name) for name in stores}
    return state


def policy_of(algo: Any, *, deterministic: bool = True, seed: int = 0) -> TrainedPolicy:
    """What `algo` has learned, as `load_policy` would have it from a checkpoint written now."""
    return TrainedPolicy(
        algo.averaged_modules(),
        algo.slow_agents,
        deterministic=deterministic,
        num_env_steps=algo.num_env_steps,
        seed=seed,
        members=algo.plan.members,
        scripted=algo.scripted_policies(seed),
    )
