"""Runners and learners that die or hang while training: it goes on, or ends with one line. One Ray for all."""

from __future__ import annotations

import contextlib
import os
import signal
import time

import numpy as np
import pytest

pytest.importorskip("ray")
import ray
from toy_hmarl import toy_config

from policies.hmarl import learner_group, runner_group
from soc_env.errors import ConfigError, RunError

pytestmark = pytest.mark.usefixtures("quiet_ray")
LEARNER = "threat_hunter"


@pytest.fixture(scope="module")
def algo(quiet_ray):
    config = toy_config(num_env_runners=2, sample_timeout_s=10.0, env_runner_health_probe_timeout_s=5.0)
    algo = config.tiers({LEARNER: {"num_learners": 1}}).build_algo()
    yield algo
    algo.stop()


def pids(group):
    return group.foreach_env_runner(lambda runner: os.getpid(), local_env_runner=False)


def learner_pid(algo, tier=LEARNER):
    (answer,) = algo.learner_group[tier].foreach_learner(lambda learner: os.getpid())
    return answer.get()


def train_until(algo, is_reached, most_seconds=120):
    end = time.monotonic() + most_seconds
    while not is_reached():
        assert time.monotonic() < end, "it does not come back"
        algo.train()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["dies", "hangs"])
def test_a_runner_that_is_lost_comes_back_while_training_goes_on(algo, how, capfd):
    algo.train()
    lost, other = pids(algo.env_runner_group)
    steps = algo.num_env_steps
    os.kill(lost, how)
    algo.train()
    assert algo.num_env_steps > steps  # the other one samples
    assert algo.env_runner_group.healthy_env_runner_ids() == [2]
    train_until(algo, lambda: algo.env_runner_group.num_healthy_remote_env_runners() == 2)
    now = pids(algo.env_runner_group)
    assert other in now
    assert lost not in now
    with contextlib.suppress(ProcessLookupError):
        os.kill(lost, 0)
        pytest.fail("what hangs has to end")
    assert how != signal.SIGSTOP or "env runner 1 has not answered for 10.0 s and is killed" in capfd.readouterr().err


def test_a_learner_that_dies_is_built_anew_from_its_last_state(algo, capfd):
    algo.train()
    before = algo.learner_group[LEARNER].get_state()["learner"]
    algo.learner_group.set_state({LEARNER: {"learner": before}})  # a change from outside is kept at once
    lost = learner_pid(algo)
    os.kill(lost, signal.SIGKILL)
    time.sleep(1.0)
    after = algo.learner_group.get_state()[LEARNER]["learner"]
    assert learner_pid(algo) != lost
    for name, value in before["rl_module"][LEARNER].items():
        assert np.array_equal(value, after["rl_module"][LEARNER][name]), name
    moments = [state["optimizer"] for state in (before, after)]
    assert str(moments[0]) == str(moments[1])
    assert f"tier '{LEARNER}': its learner died" in capfd.readouterr().err
    os.kill(learner_pid(algo), signal.SIGKILL)  # once more, in the middle of training
    steps = algo.num_env_steps
    algo.train()
    assert algo.num_env_steps > steps


def test_a_learner_that_cannot_be_built_anew_ends_the_run_in_one_line(algo, monkeypatch):
    real = runner_group.ray.cluster_resources
    monkeypatch.setattr(ray, "cluster_resources", lambda: {**real(), "CPU": 1.0})  # its node is gone
    os.kill(learner_pid(algo), signal.SIGKILL)
    with pytest.raises(
        RunError, match=rf"tier '{LEARNER}': its learner died .* cannot be built anew .*--resume"
    ) as said:
        algo.train()
    assert "\n" not in str(said.value)
    monkeypatch.undo()
    algo.train()  # there is room again


def test_a_learner_that_always_dies_ends_the_run(algo, monkeypatch):
    monkeypatch.setattr(learner_group, "MOST_DEATHS", 1)
    group = algo.learner_group
    with pytest.raises(RunError, match=rf"tier '{LEARNER}'.*, 2 in a row; go on from the newest checkpoint"):
        group.edit(LEARNER, lambda module: os.kill(os.getpid(), signal.SIGKILL))


def test_runners_that_never_answer_end_the_run_in_one_line(algo, monkeypatch):
    monkeypatch.setattr(runner_group, "PATIENCE", -1.0)
    for pid in pids(algo.env_runner_group):
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(RunError, match=r"no env runner has sampled for .* s: 1 \(.*\), 2 \(.*--resume") as said:
        algo.train()
    assert "\n" not in str(said.value)


def test_more_than_the_cluster_has_is_refused_at_once():
    config = toy_config(num_env_runners=5)
    with pytest.raises(ConfigError, match=r"^5 env runners need 5 CPU together, the Ray cluster has 4; Ray would wait"):
        config.build_algo()
    with pytest.raises(ConfigError, match=r"2 learners of tier 'threat_hunter' need .* the Ray cluster has 0;"):
        toy_config().tiers({LEARNER: {"num_learners": 2, "custom_resources_per_learner": {"rack_a": 1}}}).build_algo()
