"""Runs that are killed with SIGKILL and resumed, each compared with one that was not: who is killed, where, and when.

    python tests/helpers/killed_runs.py FOLDER                        # one run that is killed at four points (CI)
    python tests/helpers/killed_runs.py FOLDER --steps --random 10    # at each step of the writer, and at random times
    python tests/helpers/killed_runs.py FOLDER --every 1              # at every point

A run of paper-v0 with tiny networks, sampled and learned in one process. Every attempt is a fork of this process, which
has imported everything already; it ends by a signal that it cannot catch, at a point: before its n-th change of a file
(a renaming, a deletion, a folder made, an fsync) or step of the checkpoint writer, or after some seconds. Then the run
is resumed, as often as it takes, and must end with the bytes of the whole one. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import collections
import csv
import hashlib
import itertools
import json
import os
import pathlib
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from experiments.budget import Rhythm
from experiments.run import Run
from experiments.train import train
from policies.checkpoint import DIGEST, MANIFEST
from policies.hmarl import saving
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


def at_each_point(what: Callable[[str], None]) -> None:
    """From now on in this process, `what` is told of every change of a file and step of the checkpoint writer."""

    def told(name: str, call: Any) -> Any:
        def calls(*arguments: Any, **settings: Any) -> Any:
            what(" ".join([name, *(str(a) for a in arguments[:1] if isinstance(a, (str, os.PathLike)))]))
            return call(*arguments, **settings)

        return calls

    for name in CHANGES:
        setattr(os, name, told(name, getattr(os, name)))
    saving.at_step = told("step", saving.at_step)


def note_points(file: pathlib.Path) -> Callable[[], None]:
    """A trap that kills nobody: writes down what the points are."""

    def note(point: str) -> None:
        with file.open("a") as lines:
            lines.write(f"{point}\n")

    return lambda: at_each_point(note)


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def at_point(number: int, of: str = "") -> Callable[[], None]:
    """A trap at the `number`-th point, from 0, of those that begin so."""
    numbers = itertools.count()

    def trap(point: str) -> None:
        if point.startswith(of) and next(numbers) == number:
            kill()

    return lambda: at_each_point(trap)


def after_seconds(seconds: float) -> Callable[[], None]:
    def arm() -> None:
        signal.signal(signal.SIGALRM, lambda *_: kill())
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
        elif path.is_file() and path.name != DIGEST:  # which is of the times too
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


CHAIN = {  # one run, killed in each of these, and then let go on
    "best is written, and last is older": at_point(2, "step placed"),
    "the second last checkpoint has lost its name, the last one has none": at_point(3, "step retired"),
    "the one before is not yet deleted": at_point(0, "step placed"),
    "a checkpoint is half written": at_point(0, "step networks"),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--every", type=int, default=0, help="kill at every so-manieth point")
    parser.add_argument(
        "--steps", action="store_true", help="kill at each step of writing a best and a last checkpoint"
    )
    parser.add_argument("--random", type=int, default=0, help="runs to kill at random times, three times each")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    folder = asked.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    assert attempt(folder / "whole", False, note_points(folder / "points")) == 0, (folder / "whole.log").read_text()
    seconds = time.monotonic() - began
    whole, points = content(folder / "whole"), (folder / "points").read_text().splitlines()
    traps = {f"{n}: {points[n]}": [at_point(n)] for n in (range(0, len(points), asked.every) if asked.every else ())}
    if asked.steps:  # the first two checkpoints are those of the beginning
        traps |= {f"{n}. {step}": [at_point(n, f"step {step}")] for n in (2, 3) for step in saving.STEPS}
    draw = random.Random(asked.seed)
    for _ in range(asked.random):
        times = [draw.uniform(0.1, seconds) for _ in range(3)]
        traps[" ".join(f"{t:.2f} s" for t in times)] = [after_seconds(t) for t in times]
    traps = traps or {"chain": list(CHAIN.values())}
    statuses, failed = collections.Counter[str](), []
    for number, (name, arms) in enumerate(traps.items()):
        report = killed_and_resumed(folder / f"run{number}", whole, arms)
        statuses[str(report["statuses"])] += 1
        if report["differs"]:
            failed.append({"kill": name, **report})
            print(json.dumps(failed[-1]), file=sys.stderr, flush=True)
    kills = sum(count * name.count("-9") for name, count in statuses.items())
    result = {"points": len(points), "runs": len(traps), "kills": kills, "seconds": round(seconds, 1)}
    print(json.dumps({**result, "statuses": statuses, "failed": failed}, indent=1))


if __name__ == "__main__":
    main()
