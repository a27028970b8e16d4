"""Updates of tiers at the same time: once their batches are drawn, no tier's learning depends on another's.

An update is a generator. It prepares, yields the job that may run beside those of others, is sent what the job
returned, and finishes. Preparing and finishing are done one after another, in the order of the updates, and what a job
changes is read by no other job, nor where updates are prepared: what comes out does not depend on how many run at once,
or on which is done first.
"""

from __future__ import annotations

import concurrent.futures
import os
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch

Job = Callable[[], Any]
Update = Generator[Job, Any, None]
AUTO = "auto"


class SideBySide:
    """Runs updates.

    Args:
        num_threads: jobs that run at the same time; `AUTO` for as many as there are cores, and for one where PyTorch
            has several threads for each job.
    """

    def __init__(self, num_threads: int | str):
        self.num_threads = num_threads
        self.pool: ThreadPoolExecutor | None = None

    def __call__(self, updates: Sequence[Update]) -> None:
        """Runs them to their ends; raises the first error, by their order, after all jobs have ended."""
        if min(len(updates), self._most()) < 2:
            begun = [(update, job) for update in updates if (job := next(update, None)) is not None]
            for update, job in begun:
                _finish(update, job)
            return
        if self.pool is None:
            self.pool = ThreadPoolExecutor(self._most(), thread_name_prefix="learner")
        jobs: list[tuple[Update, Future[Any]]] = []
        try:
            for update in updates:  # a job begins while the next update is prepared
                if (job := next(update, None)) is not None:
                    jobs.append((update, self.pool.submit(job)))
        finally:
            concurrent.futures.wait([future for _, future in jobs])
        for update, future in jobs:
            _finish(update, future.result)

    def _most(self) -> int:
        if isinstance(self.num_threads, int):
            return self.num_threads
        return 1 if torch.get_num_threads() > 1 else len(os.sched_getaffinity(0))

    def close(self) -> None:
        """Ends its threads."""
        if self.pool is not None:
            self.pool.shutdown()
            self.pool = None


def _finish(update: Update, job: Job) -> None:
    """Runs the job, and the update to its end; the job's error is raised where the update waits for it."""
    try:
        answer = job()
    except Exception as error:
        update.throw(error)
        raise
    try:
        update.send(answer)
    except StopIteration:
        return
    raise RuntimeError("an update yields one job")
