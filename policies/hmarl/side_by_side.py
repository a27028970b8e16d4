"""Updates of tiers at the same time: once their batches are drawn, no tier's learning depends on another's.

An update is a generator. It prepares, yields a `Job`, is sent what came of it, and finishes. Preparing and finishing
are done one after another, in the order of the updates, and what a job changes is read by no other job, nor where
updates are prepared: what comes out does not depend on how many processes there are, or on which is done first.

Learners are Python for the most part, which threads would make in turn. So there are processes
(`policies.hmarl.learner_process`) that make gradient steps for this one. They start while this one goes on, and take
part when they are there; where one is lost, this one makes its steps.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import ray
import torch

from policies.hmarl.learner_process import LearnerProcess, ProcessLost
from policies.learners.apart import can_learn_apart, take_arrays
from policies.learners.update import Measured

AUTO = "auto"
AFTER_SECONDS = 20.0  # of learning: a start takes as long as some seconds of it, on a core of its own


class Job(Protocol):
    """An update of a tier, by its learner.

    Attributes:
        tier: its name.
        learner: of this process; None where it is elsewhere.
        timesteps: of the update.
        asked: keyword arguments of `UpdateMixin.descend`.
    """

    tier: str
    learner: Any
    timesteps: dict[str, Any]
    asked: dict[str, Any]

    def __call__(self) -> Any:
        """Makes the whole update: its results."""

    def finish(self, measured: Measured) -> Any:
        """The results, after the learner's gradient steps have been made."""


Update = Generator[Job, Any, None]


@dataclass
class _Begun:
    """A job, and who makes it: a learner process, Ray while a thread waits for it, or this process."""

    update: Update
    job: Job
    process: LearnerProcess | None = None
    waits: Future[Any] | None = None
    outcome: Any = None
    error: Exception | None = None


@dataclass
class _Times:
    """[CPU s] as they were last."""

    jobs: dict[str, float] = field(default_factory=dict)  # tier -> its gradient steps
    last: set[str] = field(default_factory=set)  # tiers of the last call
    own: float = 0.0  # of this process in the last call: preparing, and what it did beside
    total: float = 0.0  # of gradient steps since the beginning


class SideBySide:
    """Runs updates.

    Args:
        num_processes: how many learn at the same time, this one included; `AUTO` for one at first and for as many as
            there are cores after `AFTER_SECONDS` of learning, but for one where PyTorch has several threads for each,
            or Ray its own processes.

    Attributes:
        processes: those beside this one.
        seconds: that this process took for the last updates and those within, without what else it did beside.
    """

    def __init__(self, num_processes: int | str):
        self.num_processes = num_processes
        self.processes: list[LearnerProcess] = []
        self._pool: ThreadPoolExecutor | None = None
        self.seconds = 0.0
        self._is_begun = self._is_busy = False
        self._times = _Times()

    def __call__(self, updates: Sequence[Update]) -> None:
        """Runs them to their ends; raises the first error, by their order, after all jobs have ended. Within `beside`
        processes take no part."""
        with self.beside(updates):
            pass

    @contextmanager
    def beside(self, updates: Sequence[Update]) -> Iterator[None]:
        """Prepares them, and runs them to their ends when what is within is done; processes begin at once. What is
        within must not change what the jobs change, and reads it as it was before."""
        is_within, before = self._is_busy, time.thread_time()
        self._is_busy, self.seconds = is_within or bool(updates), self.seconds if is_within else 0.0
        clock = time.monotonic()
        try:
            begun = self._begin(updates, [] if is_within else self._ready())
            clock -= time.monotonic()
            yield
            clock += time.monotonic()
            for one in begun:  # learners elsewhere have none to wait for but each other
                if one.job.learner is None:
                    self._pool = self._pool or ThreadPoolExecutor(thread_name_prefix="learner")
                    one.waits = self._pool.submit(one.job)
            if begun and not is_within:
                self._times.own, self._times.last = time.thread_time() - before, {one.job.tier for one in begun}
            for one in begun:  # this process has jobs of its own while others make theirs
                if one.process is None and one.waits is None:
                    self._make(one)
            for one in begun:
                self._await(one)
        except BaseException:
            self.close()
            raise
        finally:
            self._is_busy = is_within
        for one in begun:
            _finish(one)
        self.seconds += time.monotonic() - clock

    def start(self, learners: Mapping[str, Any]) -> None:
        """Starts processes for these learners, by tier, if there are to be any; goes on without where that fails."""
        if self._is_begun:
            return
        able = {tier: learner for tier, learner in learners.items() if can_learn_apart(learner)}
        wanted = min(self._most(), len(able)) - 1
        if wanted < 1:
            return
        self._is_begun = True
        try:
            for _ in range(wanted):
                self.processes.append(LearnerProcess(able))
        except ProcessLost as error:
            _say(f"cannot be started ({error})")

    def wait(self) -> None:
        """Waits until the processes that were started take part, or are lost."""
        while len(self._ready()) < len(self.processes):
            time.sleep(0.01)

    def close(self) -> None:
        """Ends its processes and threads."""
        for process in self.processes:
            process.close()
        self.processes = []
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    # ---- one call
    def _begin(self, updates: Sequence[Update], ready: Sequence[LearnerProcess]) -> list[_Begun]:
        """Prepares them in turn; others begin with their jobs meanwhile."""
        begun, plan = [], self._plan(ready)
        for update in updates:
            if (job := next(update, None)) is None:
                continue
            one = _Begun(update, job)
            begun.append(one)
            if (process := plan.get(job.tier)) is not None and can_learn_apart(job.learner):
                self._hand_over(one, process)
        return begun

    def _plan(self, ready: Sequence[LearnerProcess]) -> dict[str, LearnerProcess | None]:
        """Tier -> the process that is to make its gradient steps; None, or no tier, for this one.

        The longest goes first, each to whoever has least to do (Graham 1969), this process with its own work. How
        long is known from the update before; tiers that did not learn in the last call may not now, and come last.
        """
        plan: dict[str, LearnerProcess | None] = {}
        load: dict[LearnerProcess | None, float] = {None: self._times.own, **dict.fromkeys(ready, 0.0)}
        jobs, last = self._times.jobs, self._times.last
        for tier in sorted(jobs, key=lambda tier: (tier not in last, -jobs[tier])):
            plan[tier] = min(load, key=lambda process: load[process])
            load[plan[tier]] += jobs[tier]
        return plan

    def _ready(self) -> list[LearnerProcess]:
        found = []
        for process in list(self.processes):
            try:
                found += [process] if process.has_come() else []
            except ProcessLost as error:
                self._lose(process, error)
        return found

    def _hand_over(self, one: _Begun, process: LearnerProcess) -> None:
        job, clock = one.job, one.job.learner.clock
        try:
            process.begin(job.tier, clock, job.timesteps, job.asked)
        except ProcessLost as error:
            self._lose(process, error)
        else:
            one.process = process

    def _make(self, one: _Begun) -> None:
        """This process makes the job."""
        before = time.thread_time()
        try:
            one.outcome = one.job()
        except Exception as error:
            one.error = error
        self._note(one.job.tier, time.thread_time() - before)

    def _await(self, one: _Begun) -> None:
        """Waits for what others make."""
        if one.waits is not None:
            one.error = one.waits.exception()  # type: ignore[assignment]
            one.outcome = None if one.error else one.waits.result()
        if one.process is None:
            return
        try:
            if one.process not in self.processes:
                raise ProcessLost
            arrays, measured = one.process.end_of(one.job.tier)
        except ProcessLost as error:
            self._lose(one.process, error)
            self._make(one)
            return
        self._note(one.job.tier, one.process.seconds[one.job.tier])
        one.job.learner.begin(one.job.timesteps)
        take_arrays(one.job.learner, arrays)
        one.outcome = one.job.finish(measured)

    def _note(self, tier: str, seconds: float) -> None:
        self._times.jobs[tier] = seconds
        self._times.total += seconds

    def _lose(self, process: LearnerProcess, error: ProcessLost) -> None:
        if process in self.processes:
            self.processes.remove(process)
            process.close()
            _say(f"is lost ({error})")

    def _most(self) -> int:
        if isinstance(self.num_processes, int):
            return self.num_processes
        if self._times.total < AFTER_SECONDS or torch.get_num_threads() > 1 or ray.is_initialized():
            return 1
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def _finish(one: _Begun) -> None:
    """Runs an update to its end; the job's error is raised where the update waits for it."""
    if one.error is not None:
        one.update.throw(one.error)
        raise one.error
    try:
        one.update.send(one.outcome)
    except StopIteration:
        return
    raise RuntimeError("an update yields one job")


def _say(text: str) -> None:
    print(f"a learner process {text}; tiers learn without it, which changes nothing but the time", file=sys.stderr)
