"""A training run that is measured from outside, in a process of its own: the program of `experiments.bench.against`.

It is started as text (``python -c``) with the checkout to be measured as its working folder, so it imports nothing of
ours but what it finds there, and asks that checkout which names it has: builds from dc36ab0 on can be measured. It
reads one JSON object (`against.Task`), and writes JSON objects, one a line: ``{"share": 0.3}`` now and then, at the end
``{"found": {...}}``.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.machinery
import json
import os
import resource
import sys
import tempfile
import time
from typing import Any

TIERS = ("strategic_coordinator", "threat_hunter", "alert_triage", "response_orchestrator")
PACKAGES = ("soc_env", "policies", "experiments")
BUDGET = 800_000  # [steps] of which a part is run; how often something is due follows from it


def has(package: str, name: str) -> bool:
    """Whether this build has a module; an editable install would lend it that of another build."""
    path = getattr(importlib.import_module(package), "__path__", None)  # it may be a module alone
    return path is not None and importlib.machinery.PathFinder.find_spec(f"{package}.{name}", path) is not None


class CPUClock:
    """The module `time` with CPU time for wall time: what a run does every 20 seconds is then as often as on an idle
    machine, however busy this one is."""

    monotonic = staticmethod(time.process_time)

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


def run_class() -> Any:
    """The class of a training run, wherever this build has it; its rhythm is that of an idle machine."""
    module = importlib.import_module("experiments.run" if has("experiments", "run") else "experiments.train")
    module.time = CPUClock()  # type: ignore[attr-defined]
    return module.Run


def check_origin() -> None:
    """That what was measured is the checkout's own."""
    root = os.path.realpath(os.getcwd())
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name.partition(".")[0] in PACKAGES and file and not os.path.realpath(file).startswith(root + os.sep):
            raise SystemExit(f"{name} was imported from {file}, which is not in the checkout")


def settings(task: dict[str, Any]) -> dict[str, Any]:
    """Settings of the learner beside the preset's."""
    found = dict(task["settings"])
    if has("policies", "hmarl") and has("policies.hmarl", "learner_process"):  # CPU time is that of one process
        found["learner_processes"] = len(task["cores"] or [0])
    if task["encoder"] is not None:  # it had another name before settings were declared
        name = "encoder" if has("policies", "algorithms") else "network"
        found["tiers"] = {tier: {name: task["encoder"]} for tier in TIERS}
    return found


class Watch:
    """Follows a run's iterations.

    The clock runs from the first iteration in which every tier has learned, until `steps` more are made, or until the
    replay is full. What is due between iterations (validation, checkpoints) is in `run`, not in `iterations`.
    """

    def __init__(self, task: dict[str, Any], say: Any):
        self.task, self.say = task, say
        self.start: dict[str, float] = {}
        self.iterations = [0, 0.0, 0.0]  # steps, CPU and wall seconds
        self.begun: list[float] | None = None
        self.run = self.iterations
        self.reached: dict[str, Any] = {}
        self.algo: Any = None

    def follow(self, run: Any) -> None:
        """Puts itself around the `train` of the run's algorithm."""
        self.algo, train = run.algo, run.algo.train
        config = self.algo.config
        warm = config.learning_starts + 2 * config.train_batch_size  # what learning needs once is done by then
        first = warm + config.train_batch_size  # and in processes beside, for which it waits
        wanted = config.replay_capacity if self.task["is_filled"] else self.task["steps"]
        if self.task["until"] is not None:
            self._follow_score(run)

        def measured() -> Any:
            steps, before = self.algo.num_env_steps, now()
            result = train()
            after = now()
            if not self.start:
                self.start = {"cpu": after[1], "wall": time.time() - self.task["spawned"]}
            here = self.algo.num_env_steps
            if self.begun is not None:
                for k, amount in enumerate((here - steps, after[1] - before[1], after[2] - before[2])):
                    self.iterations[k] += amount
                self.run = [here - self.begun[0], after[1] - self.begun[1], after[2] - self.begun[2]]
            elif here >= first:
                self.begun = [here, *now()[1:]]
            elif here >= warm:
                getattr(getattr(self.algo, "side_by_side", None), "wait", lambda: None)()
            is_done = self.begun is not None and here - self.begun[0] >= wanted
            self.say(share=1.0 if is_done else min(1.0, here / (first + wanted)))
            run.wants_stop = run.wants_stop or is_done
            return result

        run.algo.train = measured

    def _follow_score(self, run: Any) -> None:
        """Ends the run at the first validation with the score that is wanted."""
        validate = run.validate

        def measured() -> Any:
            means = validate()
            score = means.get(f"validation_{run.goal}", float("-inf"))
            self.reached = {"cpu": now()[1], "steps": self.algo.num_env_steps, "score": score}
            run.wants_stop = run.wants_stop or score >= self.task["until"]
            return means

        run.validate = measured

    def found(self) -> dict[str, Any]:
        config = self.algo.config
        names = ("steps", "cpu", "wall")
        return {
            "start": self.start,
            "iterations": dict(zip(names, self.iterations, strict=True)),
            "run": dict(zip(names, self.run, strict=True)),
            "reached": self.reached,
            "peak": peak_bytes(),
            "replay_rows": config.replay_capacity,
            "num_envs": config.num_envs_per_env_runner,
            "updates_per_step": config.updates_per_iteration / config.train_batch_size,
            "rows_per_update": config.replay_batch_size,
        }


def now() -> list[float]:
    """Nothing, CPU and wall seconds of this process."""
    return [0.0, time.process_time(), time.monotonic()]


def peak_bytes() -> int:
    """As `experiments.memory`, which not every build has."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main(task: dict[str, Any]) -> None:
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a run tells its user is not for whoever measures it
    sys.stdout = sys.stderr

    def say(**found: Any) -> None:
        print(json.dumps(found), file=out, flush=True)

    if task["cores"]:
        os.sched_setaffinity(0, task["cores"])
    kind, watch = run_class(), Watch(task, say)
    loop = kind.loop

    def watched(run: Any, *arguments: Any) -> None:
        watch.follow(run)
        loop(run, *arguments)

    kind.loop = watched
    train = importlib.import_module("experiments.train").train
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(KeyboardInterrupt):  # which is how a run stops
        options = {"seed": task["seed"], "steps": BUDGET, "config": settings(task), "evaluation": False}
        train(task["scenario"], out=os.path.join(folder, "run"), **options)
    if watch.begun is None or not watch.run[0]:
        raise SystemExit("interrupted before anything was measured")
    check_origin()
    say(found=watch.found())


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
