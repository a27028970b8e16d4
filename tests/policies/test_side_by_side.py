"""Updates of tiers at the same time: order, errors, and that training is the same whatever the number of processes."""

from __future__ import annotations

import os
import signal
import sys
import threading

import numpy as np
import pytest

pytest.importorskip("ray")
import ray
import torch
from toy_team import assert_same, toy_config

from policies.hmarl import learner_process, side_by_side
from policies.hmarl.learner_process import LearnerProcess, ProcessLost, Window, layout_of, serve
from policies.hmarl.side_by_side import AUTO, SideBySide
from policies.learners.apart import arrays_of, can_learn_apart, descend_as, take_arrays


class Given:
    """A job of a learner that is elsewhere, or of this process."""

    def __init__(self, tier, call, *, is_elsewhere=False):
        self.tier, self.call, self.learner = tier, call, None if is_elsewhere else object()

    def __call__(self):
        return self.call()


def update(number, log, fails=False, is_elsewhere=False):
    log.append(f"prepare {number}")

    def job():
        if fails:
            raise ValueError(f"job {number}")
        return number, threading.current_thread().name

    try:
        answer, thread = yield Given(str(number), job, is_elsewhere=is_elsewhere)
    except ValueError:
        log.append(f"fails {number}")
        raise
    log.append(f"finish {answer}")
    log.append(thread.startswith("learner"))


def nothing():
    return
    yield


@pytest.fixture
def run(monkeypatch):
    monkeypatch.setattr(side_by_side, "can_learn_apart", lambda learner: False)
    made = SideBySide(1)
    yield made
    made.close()


@pytest.mark.parametrize("is_elsewhere", [False, True])
def test_preparing_and_finishing_keep_their_order(run, is_elsewhere):
    log = []
    run([update(0, log, is_elsewhere=is_elsewhere), nothing(), update(1, log)])
    assert log == ["prepare 0", "prepare 1", "finish 0", is_elsewhere, "finish 1", False]


@pytest.mark.parametrize("is_elsewhere", [False, True])
def test_an_error_is_raised_where_its_update_waits(run, is_elsewhere):
    log = []
    with pytest.raises(ValueError, match="job 0"):
        run([update(0, log, fails=True, is_elsewhere=is_elsewhere), update(1, log, fails=True)])
    assert log == ["prepare 0", "prepare 1", "fails 0"]


def test_what_is_within_comes_between_preparing_and_jobs(run):
    log = []
    with run.beside([update(0, log), nothing()]):
        log.append("within")
        run([update(1, log)])
    assert log == ["prepare 0", "within", "prepare 1", "finish 1", False, "finish 0", False]


def test_an_error_within_ends_processes_and_jobs_are_not_made(run):
    class Process:
        closed = 0

        def has_come(self):
            return False

        def close(self):
            self.closed += 1

    log, process = [], Process()
    run.processes = [process]
    with pytest.raises(KeyError), run.beside([update(0, log)]):
        raise KeyError
    assert log == ["prepare 0"]
    assert process.closed == 1
    run([update(1, log)])
    assert log[-2:] == ["finish 1", False]


def test_learners_elsewhere_learn_at_the_same_time(run):
    both = threading.Barrier(2, timeout=10)

    def meeting():
        yield Given("one", both.wait, is_elsewhere=True)  # returns only when the other has come too

    run([meeting(), meeting()])


# ---- twins
def descents(algo, tiers):
    """Tier -> (learner, keyword arguments of the gradient steps) of batches that are drawn now."""
    found = {}
    for tier in tiers:
        _, batch = algo.batches.draw(tier, 2)
        found[tier] = algo.learner_group.here[tier], {"columns": batch[tier], "minibatch_size": 32}
    return found


def test_a_twin_makes_the_gradient_steps_of_its_learner(build):
    scheduled = {"alert_triage": {"lr": [[0, 1e-3], [2000, 1e-5]]}}
    scheduled["response_orchestrator"] = {"rest": {"weight": [[0, 1.0], [2000, 0.5]]}}
    algo = build(toy_config().tiers(scheduled))
    for _ in range(4):
        algo.train()
    timesteps = {"num_env_steps_sampled_lifetime": 100_000}
    for tier, (learner, asked) in descents(algo, algo.off_policy).items():
        twin = type(learner)(config=learner.config, module_spec=learner.spec)
        twin.build()
        before = {name: array.copy() for name, array in arrays_of(learner).items()}
        measured = descend_as(twin, before, learner.clock, dict(timesteps), asked)
        learner.begin(dict(timesteps))
        own = learner.descend(**asked)
        for name, array in arrays_of(learner).items():
            assert np.array_equal(array, arrays_of(twin)[name]), (tier, name)
        assert not all(np.array_equal(array, before[name]) for name, array in arrays_of(learner).items())
        assert_same(own.values, measured.values)
        assert_same(own.td_error, measured.td_error)
        take_arrays(learner, before)
        assert_same(arrays_of(learner), before)


def test_moments_come_and_go_with_arrays(build):
    algo = build(toy_config({"threat_hunter": "SAC"}, agents=("threat_hunter_0",)))
    learner = algo.learner_group.here["threat_hunter"]
    fresh = {name: array.copy() for name, array in arrays_of(learner).items()}
    for _ in range(3):
        algo.train()
    moved = {name: array.copy() for name, array in arrays_of(learner).items()}
    assert moved.keys() > fresh.keys()
    take_arrays(learner, fresh)
    assert_same(arrays_of(learner), fresh)
    take_arrays(learner, moved)
    assert_same(arrays_of(learner), moved)


def test_arrays_lie_in_memory_one_after_another():
    file = os.memfd_create("test")
    arrays = {"a": np.arange(3.0), "none": np.zeros((4, 0), np.float32), "is": np.array([True]), "one": np.array(7)}
    layout, size = layout_of(arrays)
    assert [place for *_, place in layout] == [0, 64, 64, 128]
    assert size == 192
    os.ftruncate(file, 4096)
    written, read = (Window.of(file, 0, 4096).arranged(layout) for _ in range(2))
    for name, array in arrays.items():
        written[name][...] = array
    os.close(file)
    assert_same(read, arrays)


# ---- processes
def test_training_is_the_same_with_processes_and_when_they_are_lost(build, monkeypatch, capfd):
    """One of two is killed, the other stopped; all of it in one test, since a start takes seconds."""
    alone, expected = build(toy_config().training(learner_processes=1)), []
    for _ in range(7):
        alone.train()
        expected.append(alone.get_state())
    algo = build(toy_config().training(learner_processes=3))
    for _ in range(3):
        algo.train()
    algo.side_by_side.wait()
    killed, stopped = algo.side_by_side.processes
    rounds = []
    for k in range(4):
        algo.train()
        rounds.append(sorted(tier for process in (killed, stopped) for tier in process.seconds))
        assert_same(algo.get_state(), expected[3 + k])
        if k == 1:
            assert algo.side_by_side.processes == [killed, stopped]
            killed.process.kill()
            killed.process.wait()
        if k == 2:
            assert algo.side_by_side.processes == [stopped]
            os.kill(stopped.process.pid, signal.SIGSTOP)
            monkeypatch.setattr(learner_process, "PATIENCE", 0.1)
    assert len(rounds[0]) >= 2  # they did take part
    assert algo.side_by_side.processes == []
    assert killed.process.poll() == stopped.process.poll() == -signal.SIGKILL
    told = [line for line in capfd.readouterr().err.splitlines() if line.startswith("a learner process")]
    assert [line.partition(";")[0] for line in told] == [
        "a learner process is lost (signal 9)",
        "a learner process is lost (no answer for 0 s)",
    ]


def test_where_none_can_be_started_training_goes_on(build, monkeypatch, capfd):
    def refuse(*args, **kwargs):
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(learner_process.subprocess, "Popen", refuse)
    algo = build(toy_config().training(learner_processes=2))
    for _ in range(3):
        algo.train()
    told = [line for line in capfd.readouterr().err.splitlines() if line.startswith("a learner process")]
    assert len(told) == 1
    assert "cannot be started ([Errno 12] Cannot allocate memory)" in told[0]


def test_without_such_memory_there_are_none(monkeypatch):
    monkeypatch.delattr(os, "memfd_create")
    with pytest.raises(ProcessLost, match=f"no such memory on {sys.platform}"):
        LearnerProcess({})


class Socket:
    """The other side's end: what it is told, and what it says; then nobody is there."""

    def __init__(self, *messages):
        self.messages, self.said = list(messages), []

    def recv(self):
        if not self.messages:
            raise EOFError
        return self.messages.pop(0)

    recv_bytes = recv

    def send(self, answer):
        self.said.append(answer)


def test_the_other_side_ends_when_nobody_asks_any_more():
    with pytest.raises(EOFError):
        serve(Socket(), -1)
    socket = Socket(learner_process.cloudpickle.dumps((1, torch.are_deterministic_algorithms_enabled(), {})))
    with pytest.raises(EOFError):
        serve(socket, -1)
    assert socket.said == [(True, None)]


def test_the_other_side_says_what_went_wrong():
    socket = Socket(b"no such thing")
    serve(socket, -1)
    assert [is_well for is_well, _ in socket.said] == [False]
    file = os.memfd_create("test")
    os.ftruncate(file, 4096)
    setup = learner_process.cloudpickle.dumps((1, torch.are_deterministic_algorithms_enabled(), {}))
    socket = Socket(setup, ("nobody", 0, 4096, [], None, {}, {}))
    with pytest.raises(EOFError):
        serve(socket, file)
    os.close(file)
    assert socket.said[1] == (False, "\"KeyError: 'nobody'\"")


def test_processes_take_no_part_in_what_is_within(run, monkeypatch):
    class Process:
        asked, seconds = (), {"0": 1.0}

        def has_come(self):
            return True

        def begin(self, tier, clock, timesteps, asked):
            self.asked = (*self.asked, tier)

        def end_of(self, tier):
            raise ProcessLost("a test")

        def close(self):
            pass

    monkeypatch.setattr(side_by_side, "can_learn_apart", lambda learner: True)
    process, log = Process(), []
    run.processes, run._times.jobs = [process], {"0": 2.0, "1": 1.0}
    run._times.own, run._times.last = 5.0, {"0"}

    def answered(number):
        inner = update(number, log)
        job = next(inner)
        job.learner = type("Learner", (), {"clock": 0})
        job.timesteps = job.asked = {}
        with pytest.raises(StopIteration):
            inner.send((yield job))

    with run.beside([answered(0)]):
        run([answered(1)])
    assert process.asked == ("0",)
    assert [line for line in log if isinstance(line, str)] == ["prepare 0", "prepare 1", "finish 1", "finish 0"]


@pytest.mark.usefixtures("quiet_ray")
def test_off_policy_tiers_learn_from_rows_of_before(build):
    algo = build(toy_config().training(learning_starts=0))
    first, second = algo.train(), algo.train()
    assert set(first.get("learners", ())) & set(algo.off_policy) == set()
    assert set(second["learners"]) >= set(algo.off_policy)


# ---- how many
@pytest.fixture
def learned(monkeypatch):
    """A machine with three cores, after half a minute of learning."""
    run = SideBySide(AUTO)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2})
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(side_by_side, "can_learn_apart", lambda learner: True)
    monkeypatch.setattr(side_by_side, "LearnerProcess", lambda learners: learners)
    run._note("a", 30.0)
    return run


@pytest.mark.parametrize(("tiers", "processes"), [("abcd", 2), ("ab", 1), ("a", 0)])
def test_as_many_as_there_are_cores_but_no_more_than_tiers(learned, tiers, processes):
    learned.start(dict.fromkeys(tiers))
    assert len(learned.processes) == processes
    learned.start(dict.fromkeys(tiers))  # once
    assert len(learned.processes) == processes


@pytest.mark.parametrize("reason", ["early", "threads", "ray"])
def test_one_where_more_would_not_help(learned, monkeypatch, reason):
    if reason == "early":
        learned._times.total = 10.0
    elif reason == "threads":
        monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    else:
        monkeypatch.setattr(ray, "is_initialized", lambda: True)
    learned.start(dict.fromkeys("abcd"))
    assert learned.processes == []


def test_the_longest_go_first_and_this_process_has_work_of_its_own():
    run = SideBySide(2)
    run._times.jobs, run._times.last = {"dqn": 6.0, "sac": 10.0, "maddpg": 11.0, "ppo": 30.0}, {"dqn", "sac", "maddpg"}
    run._times.own = 5.0
    assert run._plan(["other"]) == {"maddpg": "other", "sac": None, "dqn": "other", "ppo": None}
    assert run._plan([]) == dict.fromkeys(["maddpg", "sac", "dqn", "ppo"])


def test_learners_on_other_devices_and_remote_ones_learn_where_they_are():
    class Learner:
        device, distributed = torch.device("cpu"), False

    assert can_learn_apart(Learner())
    assert not can_learn_apart(None)
    Learner.device = torch.device("meta")
    assert not can_learn_apart(Learner())
    Learner.device, Learner.distributed = torch.device("cpu"), True
    assert not can_learn_apart(Learner())
