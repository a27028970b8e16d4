"""Plays episodes of CC4 and keeps their scores.

Finished episodes are in ``transfer.json`` in the output folder and are not played again: the same call goes on after an
interruption, more episodes or more names are added to what is there, also by two calls at once.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import json
import multiprocessing
import os
import pathlib
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from cyborg_bridge import cage4_parallel_env, find_cyborg
from cyborg_bridge.cage4 import OFFICIAL_STEPS, Cage4Env
from cyborg_bridge.checkout import checkout_version
from cyborg_bridge.score import PHASES
from experiments.evaluate import episode_seeds
from experiments.output import write_json
from experiments.plots import write_picture
from experiments.progress import Progress
from experiments.provenance import git_hash, provenance
from experiments.transfer.comparison import BEST, Mean, reference_of
from experiments.transfer.entries import Entry
from experiments.transfer.plot import draw
from soc_env.errors import ConfigError

RESULTS, PICTURE = "transfer.json", "transfer.png"
BY_SEED = ("scores", "rests", "points")  # of an entry: what `Played` says of each episode, by its seed


class Task(NamedTuple):
    """One episode of one entry, as sent to a process."""

    name: str
    entry: Entry
    seed: int
    policy_seed: int
    path: str
    patch: bool


@functools.lru_cache(maxsize=4)
def environment(path: str, observation: str, patch: bool) -> Cage4Env:
    """This process's environment of that kind: making one takes longer than resetting it."""
    return cage4_parallel_env(path, OFFICIAL_STEPS, patch=patch, observation=observation)


class Played(NamedTuple):
    """What an episode came to."""

    score: float
    """The official one."""
    rest: float
    """Its part that blue can change, see `cyborg_bridge.score`."""
    points: dict[str, dict[str, list[float]]]
    """What the score is made of: kind -> zone -> points in the three mission phases."""


def play(task: Task) -> Played:
    """Plays one episode."""
    env = environment(task.path, task.entry.observation, task.patch)
    policy = task.entry.make(task.policy_seed)
    policy.reset()
    observations, infos = env.reset(seed=task.seed)
    score, rest, points = 0.0, 0.0, dict[str, dict[str, list[float]]]()
    while env.agents:
        observations, _, _, _, infos = env.step(policy.act(observations, infos, env))
        info = infos[env.possible_agents[0]]
        score, rest = score + info["score"], rest + info["rest"]
        for charge in info["charges"]:
            by_phase = points.setdefault(charge.kind, {}).setdefault(charge.zone, [0] * PHASES)
            by_phase[charge.phase] += (
                int(charge.points) if charge.points.is_integer() else charge.points
            )  # less to write
    return Played(score, rest, points)


def _finished(tasks: Sequence[Task], workers: int) -> Iterator[tuple[Task, Played]]:
    """Plays the tasks, in this process or in several others; yields each with what it came to when it is done."""
    if workers == 1:
        for task in tasks:
            yield task, play(task)
        return
    context = multiprocessing.get_context("spawn")
    pool = concurrent.futures.ProcessPoolExecutor(workers, context, initializer=_start_worker)
    try:
        task_of = {pool.submit(play, task): task for task in tasks}
        for future in concurrent.futures.as_completed(task_of):
            yield task_of[future], future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _start_worker() -> None:
    """Ctrl-C reaches every process: workers end at once and the parent says what happened; they end with it, too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def transfer(
    entries: Mapping[str, Entry],
    *,
    episodes: int = 100,
    seed: int = 0,
    workers: int = 1,
    out: str | os.PathLike[str],
    path: str | os.PathLike[str] | None = None,
    patch: bool = True,
    reference: str | None = None,
) -> dict[str, Any]:
    """Measures policies and writes ``transfer.json`` and ``transfer.png``; returns what is in the former.

    For every entry, also of earlier calls, it has scores, rests and points by episode seed (`Played`; files of before
    December 2026 have scores alone), n, mean, std, low, high of the scores, and the same of the rests under "rest".

    Args:
        entries: name -> policy.
        episodes, seed: of each entry; those that the output folder holds already are not played again.
        workers: processes; 1 plays in this one.
        out, path: the output folder; the CybORG checkout, see `find_cyborg`.
        patch: use the shortcuts of `cage4_parallel_env`; they change no score.
        reference: the entry that the picture holds the others against, see `comparison.reference_of`.

    Raises:
        ConfigError: a number out of range, a folder that cannot be written or holds results of another protocol, or
            there is no such reference.
        CyborgNotFoundError, CyborgCheckoutError, CyborgDependencyError: see `cyborg_bridge.import_cyborg`.
    """
    _check_numbers(episodes=(episodes, 1), seed=(seed, 0), workers=(workers, 1))
    root, file = find_cyborg(path), pathlib.Path(out) / RESULTS
    data = _opened(file, entries, seed, checkout_version(root))
    reference_of(data, reference)
    _make_folder(file.parent)
    seeds = [(episode, _policy_seed(seed, episode)) for episode in episode_seeds(seed, episodes).tolist()]
    every = (Task(name, entry, *own, str(root), patch) for own in seeds for name, entry in entries.items())
    tasks = [task for task in every if str(task.seed) not in data["entries"][task.name]["scores"]]
    with Progress(len(tasks), "episodes", num_slow=workers) as progress:  # the first ones compile
        for number, (task, played) in enumerate(_finished(tasks, workers), 1):
            _keep(data["entries"][task.name], task.seed, played)
            _write(file, data)
            progress.update(number, f"{task.name} {played.score:,.0f}")
    _write(file, data)
    write_picture(file.with_name(PICTURE), draw(data, reference))
    return data


def _keep(record: dict[str, Any], seed: int, played: Played) -> None:
    for part, value in zip(BY_SEED, played, strict=True):
        record[part][str(seed)] = value
    record["git_hashes"] = sorted({*record["git_hashes"], git_hash() or "not a checkout"})


def _check_numbers(**fields: tuple[int, int]) -> None:
    """ConfigError for a field whose value is below its least one."""
    for field, (value, least) in fields.items():
        if value < least:
            raise ConfigError(f"{field}={value} is out of range: at least {least} is allowed")


def _opened(file: pathlib.Path, entries: Mapping[str, Entry], seed: int, cyborg: dict[str, Any]) -> dict[str, Any]:
    """The results so far with a record of every entry.

    Raises:
        ConfigError: results of another protocol or of other policies of these names.
    """
    out = str(file.parent)
    protocol = {"environment": str(Cage4Env.metadata["name"]), "steps": OFFICIAL_STEPS, "seed": seed, "cyborg": cyborg}
    data = _read(file, protocol)
    data["versions"] = provenance()["versions"]
    for name, entry in entries.items():
        fresh = {"observation": entry.observation, "identity": entry.identity, "git_hashes": []}
        record = data["entries"].setdefault(name, fresh)
        record["kind"] = entry.kind
        for part in BY_SEED:
            record.setdefault(part, {})
        if record["observation"] != entry.observation:
            raise ConfigError(
                f"out={out!r}: {name!r} is there with observation={record['observation']!r}, not"
                f" {entry.observation!r}; choose another folder or name"
            )
        if record.get("identity", "") != entry.identity:
            raise ConfigError(
                f"out={out!r}: {name!r} is there from another checkpoint or playbook, or saw CC4 by other tables; "
                "choose another folder"
            )
    return data


def _make_folder(out: pathlib.Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"out={str(out)!r}: cannot be written ({error.strerror})") from error


def _policy_seed(seed: int, episode: int) -> int:
    return int(np.random.SeedSequence([0x9011, seed, episode]).generate_state(1)[0])


# --- results


def _read(file: pathlib.Path, protocol: dict[str, Any]) -> dict[str, Any]:
    """The results so far, or none; ConfigError when they are unreadable or of another protocol."""
    if not file.exists():
        return {"protocol": protocol, "versions": {}, "entries": {}}
    try:
        data: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        there = data["protocol"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"out={str(file.parent)!r}: {RESULTS} cannot be read ({error})") from error
    if there != protocol:
        raise ConfigError(
            f"out={str(file.parent)!r}: holds results of {there}, not of {protocol}; choose another folder"
        )
    return data


def _write(file: pathlib.Path, data: dict[str, Any]) -> None:
    """Writes the results; what another call has added to the file meanwhile stays and becomes part of `data`."""
    for name, record in _read(file, data["protocol"])["entries"].items():
        own = data["entries"].setdefault(name, record)
        if all(own.get(key) == record.get(key) for key in ("observation", "identity")):
            own |= {part: {**record.get(part, {}), **own.get(part, {})} for part in BY_SEED}
    for record in data["entries"].values():
        if record["scores"]:
            record |= dataclasses.asdict(Mean.of(list(record["scores"].values()), BEST))
        if record.get("rests"):
            record["rest"] = dataclasses.asdict(Mean.of(list(record["rests"].values()), BEST))
    write_json(file, data)
