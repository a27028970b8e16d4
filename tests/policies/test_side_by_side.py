"""Updates of tiers at the same time: order, errors, and that training is the same whatever the number of threads."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

pytest.importorskip("ray")
import torch
from toy_team import toy_config
from trees import places

from policies.hmarl.side_by_side import AUTO, SideBySide


def update(number, log, seconds=0.0, fails=False):
    log.append(f"prepare {number}")

    def job():
        time.sleep(seconds)
        if fails:
            raise ValueError(f"job {number}")
        return number, threading.current_thread().name

    try:
        answer, thread = yield job
    except ValueError:
        log.append(f"fails {number}")
        raise
    log.append(f"finish {answer}")
    log.append(thread.startswith("learner"))


def nothing():
    return
    yield


@pytest.mark.parametrize("threads", [1, 3])
def test_preparing_and_finishing_keep_their_order(threads):
    log, run = [], SideBySide(threads)
    run([update(0, log, 0.05), nothing(), update(1, log)])
    run.close()
    is_threaded = threads > 1
    assert log == ["prepare 0", "prepare 1", "finish 0", is_threaded, "finish 1", is_threaded]


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_is_raised_where_its_update_waits(threads):
    log, run = [], SideBySide(threads)
    with pytest.raises(ValueError, match="job 0"):
        run([update(0, log, 0.05, fails=True), update(1, log, fails=True)])
    run.close()
    assert log == ["prepare 0", "prepare 1", "fails 0"]


def test_jobs_run_at_the_same_time():
    both = threading.Barrier(2, timeout=10)

    def meeting():
        yield both.wait  # returns only when the other has come too

    run = SideBySide(2)
    run([meeting(), meeting()])
    run.close()


def test_a_job_runs_while_the_next_update_is_prepared():
    begun = threading.Event()

    def first():
        yield begun.set

    def second():
        assert begun.wait(10)
        yield int

    run = SideBySide(2)
    run([first(), second()])
    run.close()


def test_where_an_update_cannot_be_prepared_jobs_end_first():
    ended = []

    def first():
        yield lambda: (time.sleep(0.05), ended.append(True))

    def second():
        raise KeyError
        yield

    run = SideBySide(2)
    with pytest.raises(KeyError):
        run([first(), second()])
    assert ended
    run.close()


def test_one_thread_where_torch_has_several(monkeypatch):
    log, run = [], SideBySide(AUTO)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    run([update(0, log), update(1, log)])
    assert log[-1] is False


@pytest.mark.usefixtures("quiet_ray")
def test_training_is_the_same_whatever_the_number_of_threads(build):
    states = []
    for threads in (1, 3):
        algo = build(toy_config().training(learner_threads=threads))
        for _ in range(3):
            algo.train()
        states.append(dict(places(algo.learner_group.get_state())))
    assert states[0].keys() == states[1].keys()
    for place, value in states[0].items():
        if not isinstance(value, dict | list):
            assert np.array_equal(np.asarray(value), np.asarray(states[1][place])), place
