"""Runs that are killed with SIGKILL and resumed, each compared with one that was not: who is killed, where, and when.

    python tests/helpers/killed_runs.py FOLDER                      # a kill in each part of a run (what CI does)
    python tests/helpers/killed_runs.py FOLDER --every 1 --random 12  # before every change of a file, and at random

A run of paper-v0 with tiny networks, sampled and learned in one process. Every attempt is a fork of this process, which
has imported everything already; it ends by a signal that it cannot catch, before its n-th change of a file (a renaming,
a deletion, a folder made, an fsync), or after some seconds. Then the run is resumed, as often as it takes, and must end
with the bytes of the whole one. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import collections
import csv
import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from experiments.budget import Rhythm
from experiments.run import Run
from experiments.train import train
from policies.checkpoint import MANIFEST
from policies.tiers import DEFAULT_TIERS

STEPS = 1024
TINY: dict[str, Any] = {
    "tiers": {tier: {"hiddens": [8, 8]} for tier in DEFAULT_TIERS},
    "train_batch_size": 128,
    "learning_starts": 256,
    "random_steps": 128,
    "updates_per_iteration": 1,
    "replay_batch_size": 32,
    "replay_capacity": 600,  # is filled, and begins anew, within the run
}
CHANGES = ("rename", "replace", "unlink", "mkdir", "rmdir", "fsync", "link")  # of `os`
TIMES = ("seconds", "steps_per_second")  # values that no two runs have in common


def small_run(out: pathlib.Path, resume: bool) -> None:
    """One command: a run of `STEPS` steps with validations and checkpoints on the way."""
    Run.validation, Run.checkpoint = Rhythm(0.0, 0.0, 256, 256), Rhythm(0.0, 0.0, 384, 384)
    Run.measure = few_episodes  # type: ignore[method-assign]
    if resume:
        train(out=out, resume=True, evaluation=False)
    else:
        overrides = {"num_hosts": 20, "max_steps": 30}
        train("paper-v0", out=out, steps=STEPS, num_envs=8, overrides=overrides, config=TINY, evaluation=False)


def few_episodes(self: Run, policy: Any) -> dict[str, float]:
    from experiments.evaluate import evaluate

    result = evaluate(policy, "paper-v0", 16, 7, **self.settings["overrides"])
    return {name: result.mean(name) for name in self.metrics}


# --- killing


def attempt(out: pathlib.Path, resume: bool, arm: Callable[[], None] = lambda: None) -> int:
    """Runs the command in a fork of this process; its exit status, negative for a signal. `arm` sets the trap there."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            log = os.open(out.with_suffix(".log"), os.O_CREAT | os.O_APPEND | os.O_WRONLY)
            os.dup2(log, 1)
            os.dup2(log, 2)
            arm()
            small_run(out, resume)
            status = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def count_changes(file: pathlib.Path) -> Callable[[], None]:
    """A trap that kills nobody: writes down which change each was."""

    def arm() -> None:
        def note(name: str, call: Any) -> Any:
            def noted(*arguments: Any, **settings: Any) -> Any:
                with file.open("a") as lines:
                    place = next((str(a) for a in arguments if isinstance(a, (str, os.PathLike))), "")
                    lines.write(f"{name} {place}\n")
                return call(*arguments, **settings)

            return noted

        for name in CHANGES:
            setattr(os, name, note(name, getattr(os, name)))

    return arm


def before_change(number: int) -> Callable[[], None]:
    """A trap that kills before the `number`-th change, from 0."""

    def arm() -> None:
        numbers = iter(range(1_000_000))

        def trapped(call: Any) -> Any:
            def killed(*arguments: Any, **settings: Any) -> Any:
                if next(numbers) == number:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*arguments, **settings)

            return killed

        for name in CHANGES:
            setattr(os, name, trapped(getattr(os, name)))

    return arm


def after_seconds(seconds: float) -> Callable[[], None]:
    def arm() -> None:
        signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        signal.setitimer(signal.ITIMER_REAL, seconds)

    return arm


# --- comparing


def content(out: pathlib.Path) -> dict[str, Any]:
    """What a run has to have in common with another of the same settings: file -> digest, or rows without times."""
    found: dict[str, Any] = {}
    for path in sorted((out / "checkpoints").rglob("*")):
        name = str(path.relative_to(out))
        if path.name == MANIFEST:
            found[name] = {k: v for k, v in json.loads(path.read_text()).items() if k not in TIMES}
        elif path.is_file() and path.name != f"{MANIFEST}.sha256":  # which is of the times too
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    with (out / "progress.csv").open(newline="") as file:
        rows = [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(file)]
    found["progress.csv"] = rows
    found["files"] = sorted(path.name for path in out.iterdir())
    return found


def differences(whole: dict[str, Any], found: dict[str, Any]) -> list[str]:
    return [name for name in sorted(set(whole) | set(found)) if whole.get(name) != found.get(name)]


def killed_and_resumed(out: pathlib.Path, whole: dict[str, Any], arms: list[Callable[[], None]]) -> dict[str, Any]:
    """A run that is killed by each of the traps, one after the other, and then let go on to its end."""
    statuses = [attempt(out, False, arms[0])]
    for arm in [*arms[1:], lambda: None]:
        if statuses[-1] != -signal.SIGKILL:
            break
        statuses.append(attempt(out, (out / "config.json").exists(), arm))
    report = {"statuses": statuses, "differs": differences(whole, content(out)) if statuses[-1] == 0 else ["failed"]}
    if report["differs"]:
        report["log"] = out.with_suffix(".log").read_text()[-3000:]
    else:
        shutil.rmtree(out)
    return report


def points_of_interest(changes: list[str]) -> Iterator[int]:
    """The last change of each kind at each place (a checkpoint's folder, a file): one kill in each part of a run."""
    last: dict[str, int] = {}
    for number, change in enumerate(changes):
        kind, _, path = change.partition(" ")
        parts = pathlib.PurePath(path).parts
        place = next((part for part in reversed(parts) if part.startswith((".", "run"))), "")
        last[f"{kind} {place.split('.')[1] if place.startswith('.') else place}"] = number
    yield from sorted(last.values())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--every", type=int, default=0, help="kill before every so-manieth change")
    parser.add_argument("--random", type=int, default=0, help="runs to kill at random times, three times each")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    folder = asked.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    assert attempt(folder / "whole", False) == 0, (folder / "whole.log").read_text()
    seconds = time.monotonic() - began
    whole = content(folder / "whole")
    assert attempt(folder / "counted", False, count_changes(folder / "changes")) == 0
    changes = (folder / "changes").read_text().splitlines()
    failed, statuses = [], collections.Counter[str]()
    same = differences(whole, content(folder / "counted"))
    if same:
        failed.append({"kill": "none: the same settings once more", "differs": same})
    points = range(0, len(changes), asked.every) if asked.every else list(points_of_interest(changes))
    traps: list[tuple[Any, list[Callable[[], None]]]] = [(n, [before_change(n)]) for n in points]
    draw = random.Random(asked.seed)
    for _ in range(asked.random):
        times = [draw.uniform(0.1, seconds) for _ in range(3)]
        traps.append((times, [after_seconds(t) for t in times]))
    for number, (kill, arms) in enumerate(traps):
        report = killed_and_resumed(folder / f"run{number}", whole, arms)
        statuses[str(report["statuses"])] += 1
        if report["differs"]:
            failed.append({"kill": kill, **report})
    killed = sum(count for name, count in statuses.items() if "-9" in name)
    result = {"changes": len(changes), "runs": len(traps), "killed": killed, "seconds": round(seconds, 1)}
    print(json.dumps({**result, "statuses": statuses, "failed": failed}, indent=1))


if __name__ == "__main__":
    main()
