"""Checkpoints are written here: whole or not at all.

A checkpoint is written into a folder of a name of its own, made durable, and only then takes the place of the one
before: a killed writer leaves the last good one, and what it began is removed by the next. `STEPS` are the points
between which something happens to files; `at_step` is called at each of them, so that a test can end the process there.
`policies.checkpoint` reads what this writes.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from policies.checkpoint import MANIFEST, NETWORKS, STATE, read_manifest, write_manifest
from policies.hmarl.description import describe
from policies.hmarl.state import AVERAGED, REPLAY, size_of
from policies.state_files import load_tree, save_tree, write_arrays
from policies.trained import TrainedPolicy, load_networks
from soc_env import SCENARIOS
from soc_env.errors import CheckpointError, HMARLSOCError
from soc_env.files import partial_folder, recover_folder, remove_leftovers, replace_folder, sync_tree

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
SPARE, SPARE_BYTES = 4, 2**28  # moments of optimisers and rows that are collected come and go
REPLAY_FOLDER, STORES = "replay", "stores"


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
    remove_leftovers(folder)
    partial = partial_folder(folder)
    try:
        partial.mkdir()
        at_step("begun")
        _write(algo, partial, folder, replay and algo.saves_replay, info)
        sync_tree(partial)
        at_step("synced")
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    replace_folder(partial, folder, at_step)
    return folder


def _write(algo: Any, folder: Path, place: Path, has_replay: bool, info: dict[str, Any]) -> None:
    """All files of the checkpoint whose folder will be `place`, the manifest last."""
    known = write_replay(algo, folder, place) if has_replay else {}
    at_step("replay")
    save_tree(folder, STATE, algo.get_state(not_components=[REPLAY, AVERAGED]))
    at_step("state")
    networks = {f"{tier}/{name}": value for tier, own in algo.averaged.items() for name, value in own.items()}
    write_arrays(save_file, {name: value.contiguous() for name, value in networks.items()}, folder / NETWORKS)
    at_step("networks")
    write_manifest(folder, {"kind": "full", **describe(algo), **info}, known)
    at_step("manifest")


def recover_checkpoint(folder: str | Path) -> None:
    """Puts the previous checkpoint back if a run was killed in `save_checkpoint` between the two renamings, and removes
    what it left."""
    recover_folder(Path(folder).absolute())


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


def restore(algo: Any, folder: str | Path) -> None:
    """Sets an `HMARL` to what a checkpoint of ours says; without a replay in it, its stores are empty.

    Raises:
        CheckpointError: missing, damaged, made to act only, or of other tiers, networks or stores.
    """
    folder = Path(folder).absolute()
    manifest = read_manifest(folder)
    if manifest["kind"] != "full":
        raise CheckpointError(f"checkpoint {str(folder)!r} is a policy to act with; training cannot go on from it")
    check_size(algo, folder, manifest["files"])
    try:
        algo.set_state({**load_tree(folder, STATE), AVERAGED: load_networks(folder)})
        read_replay(algo, folder, manifest["files"])
    except HMARLSOCError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, AssertionError, RuntimeError) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise CheckpointError(f"checkpoint {str(folder)!r}: its state is not one of ours ({reason})") from error


def check_size(algo: Any, folder: Path, files: dict[str, Any]) -> None:
    """Raises CheckpointError, before anything is read, if the state is larger than one of this algorithm can be."""
    name = f"{STATE}.safetensors"
    own = sum(size_of(part) for part in algo.get_state(not_components=[REPLAY, AVERAGED]).values())
    allowed = SPARE_BYTES + SPARE * own
    if files[name]["bytes"] > allowed:
        raise CheckpointError(
            f"checkpoint {str(folder)!r}: {name} has {files[name]['bytes']} bytes, allowed here: {allowed}"
        )


# ---- replay
def write_replay(algo: Any, folder: Path, place: Path) -> dict[str, Any]:
    """Puts all stores into a checkpoint: file -> size and SHA-256 of their segments."""
    (folder / REPLAY_FOLDER).mkdir()
    state, files = algo.batches.get_state(with_rows=False), dict[str, Any]()
    for name, segments in algo.segments.items():
        listed = segments.write(folder / REPLAY_FOLDER, place / REPLAY_FOLDER)
        state[name]["segments"] = [[part.file, part.first, part.end] for part in listed]
        files |= {f"{REPLAY_FOLDER}/{part.file}": part.entry() for part in listed}
    save_tree(folder / REPLAY_FOLDER, STORES, state)
    return files


def read_replay(algo: Any, folder: Path, files: dict[str, Any]) -> None:
    """Gives the stores what a checkpoint holds of them; those of which it has nothing that fits are emptied."""
    has_replay = f"{REPLAY_FOLDER}/{STORES}.json" in files
    state = load_tree(folder / REPLAY_FOLDER, STORES) if has_replay else {}
    entries = {Path(name).name: entry for name, entry in files.items() if name.startswith(f"{REPLAY_FOLDER}/")}
    fits = algo.batches.fitting(state) if has_replay else []
    for name, segments in algo.segments.items():
        if name in fits:
            segments.read(folder / REPLAY_FOLDER, state[name], entries)
        else:
            algo.batches.replays[name].clear()


def policy_of(algo: Any, *, deterministic: bool = True, seed: int = 0) -> TrainedPolicy:
    """What `algo` has learned, as `load_policy` would have it from a checkpoint written now."""
    env = algo.config.env
    return TrainedPolicy(
        algo.averaged_modules(),
        algo.slow_agents,
        deterministic=deterministic,
        num_env_steps=algo.num_env_steps,
        seed=seed,
        manifest={"scenario": env} if isinstance(env, str) and env in SCENARIOS else None,
        members=algo.plan.members,
        scripted=algo.scripted_policies(seed),
    )
