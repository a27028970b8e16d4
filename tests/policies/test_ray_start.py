"""Which Ray a run uses: none where nothing is remote, else one of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import gymnasium as gym
import psutil
import pytest

pytest.importorskip("ray")
import ray
from toy_hmarl import toy_config

from policies import HMARL, save_checkpoint
from policies.hmarl import ray_start
from soc_env.errors import ConfigError, RunError

CPUS = len(os.sched_getaffinity(0))


@pytest.fixture
def no_ray(monkeypatch):
    """Every start of Ray, also the one that Ray makes by itself at its first call, is an error."""

    def refuse(*args, **kwargs):
        raise AssertionError("Ray is started")

    assert not ray.is_initialized()
    monkeypatch.setattr(ray, "init", refuse)
    monkeypatch.setattr(ray._private.worker, "init", refuse)
    with pytest.raises(AssertionError, match="started"):
        ray.put(1)


def test_without_remote_parts_no_ray_is_started(no_ray, build, tmp_path):
    evaluated = {"evaluation_interval": 1, "evaluation_duration": 8, "evaluation_config": {"explore": False}}
    algo = build(toy_config(**evaluated))
    assert algo.train()["evaluation"]["env_runners"]["num_episodes"] >= 8
    algo.evaluate()
    algo.edit_networks(lambda tier, module: None)
    save_checkpoint(algo, tmp_path / "checkpoint")
    algo.restore_from_path(tmp_path / "checkpoint")
    algo.set_state(algo.get_state())
    algo.train()
    assert not ray.is_initialized()


def test_an_address_without_remote_parts_is_refused(no_ray, monkeypatch):
    with ray_start.session("127.0.0.1:1"), pytest.raises(ConfigError, match=r"ray_address is '127.0.0.1:1'.*nothing"):
        toy_config().build_algo()
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # that of a shell is not meant for this run alone
    toy_config().build_algo().stop()


def test_the_command_trains_where_ray_cannot_be_started(tmp_path):
    command = ["train", "--scenario", "paper-v0", "--steps", "64", "--num-envs", "4", "--no-evaluation", "--out"]
    code = "import sys; from experiments.cli import main; sys.exit(main(sys.argv[1:]))"
    places = {"RAY_TMPDIR": "/dev/null/ray", "HOME": "/dev/null/home"}  # Ray can write to none of them
    done = subprocess.run(
        [sys.executable, "-c", code, *command, str(tmp_path / "run")],
        env={**os.environ, **places},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Ray" not in done.stderr
    assert (tmp_path / "run" / "checkpoints" / "last").is_dir()


# ---- something is remote


@pytest.fixture(scope="module")
def foreign():
    """A Ray of somebody else on this machine: its address, and the folder where `ray.init()` would find it."""
    folder = tempfile.mkdtemp()  # short: the names of its sockets have a limit
    start = ["-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus", "2", "--include-dashboard=false"]
    start += ["--port", "0", "--node-ip-address", "127.0.0.1", "--temp-dir", f"{folder}/ray"]
    settings = {**os.environ, "RAY_AUTH_MODE": "disabled"}
    with open(os.path.join(folder, "log"), "w") as log:
        process = psutil.Popen([sys.executable, *start], env=settings, stdout=log, stderr=log)
    try:
        end = time.monotonic() + 120
        while ray._private.utils.read_ray_address(f"{folder}/ray") is None:
            assert process.poll() is None, Path(folder, "log").read_text()
            assert time.monotonic() < end
            time.sleep(0.2)
        yield ray._private.utils.read_ray_address(f"{folder}/ray"), folder
    finally:
        for one in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def workers_find_helpers(monkeypatch):
    helpers = Path(__file__).parents[1] / "helpers"
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(helpers), str(helpers.parents[1])]))


def joined():
    return ray.get_runtime_context().gcs_address


def test_a_foreign_ray_is_not_joined(foreign, workers_find_helpers, monkeypatch, capfd):
    address, folder = foreign
    monkeypatch.setenv("RAY_TMPDIR", folder)
    assert ray._private.services.canonicalize_bootstrap_address(None) == address  # Ray's own choice
    monkeypatch.setenv("HOME", "/dev/null/home")  # and no token can be written
    config = toy_config(num_env_runners=max(3, CPUS))
    algo = config.build_algo()
    try:
        assert joined() != address
        assert capfd.readouterr().err.startswith(f"Ray: private, on this machine, {max(3, CPUS)} of {CPUS} CPUs")
        algo.train()
        assert algo.num_env_steps >= 128
        with pytest.raises(
            ConfigError, match=r"^the 2 algorithms of this process need \d+ CPU together, their Ray has"
        ):
            config.copy(copy_frozen=False).env_runners(num_env_runners=1).build_algo()
        assert ray.is_initialized()  # the first one uses it
    finally:
        algo.stop()
    algo.stop()
    assert not ray.is_initialized()
    assert "RAY_AUTH_TOKEN" not in os.environ


def test_an_address_is_joined_and_asked_for_no_more_than_it_has(foreign, workers_find_helpers, monkeypatch, capfd):
    address, _ = foreign
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with ray_start.session(address), pytest.raises(ConfigError, match=r"^3 env runners need 3 CPU .* cluster has 2;"):
        toy_config(num_env_runners=3).build_algo()
    assert not ray.is_initialized()
    assert f"Ray: cluster at {address}, 2 CPUs" in capfd.readouterr().err
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ConfigError, match="cluster has 2;"):
        toy_config(num_env_runners=3).build_algo()
    assert not ray.is_initialized()


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("ray://127.0.0.1:10001", r"ray_address is 'ray://127.0.0.1:10001', allowed: HOST:PORT of a cluster"),
        ("nowhere", r"no Ray cluster can be joined at 'nowhere'"),
        ("127.0.0.1:1", r"no Ray cluster can be joined at '127.0.0.1:1' \(.*refused"),
    ],
)
def test_an_address_that_cannot_be_joined_is_said_in_one_line(address, message, monkeypatch):
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    begin = time.monotonic()
    with ray_start.session(address), pytest.raises(ConfigError, match=message) as said:
        toy_config(num_env_runners=1).build_algo()
    assert "\n" not in str(said.value)
    assert time.monotonic() - begin < 60


def test_a_ray_that_cannot_start_is_said_in_one_line(monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", "/dev/null/ray")
    with pytest.raises(RunError, match=r"^Ray could not be started on this machine \(.*\); a run with nothing") as said:
        toy_config(num_env_runners=1).build_algo()
    assert "\n" not in str(said.value)
    assert not ray.is_initialized()


BUILD_AND_WAIT = """
import sys, time
from toy_hmarl import toy_config
from policies.hmarl import ray_start
with ray_start.session():
    algo = toy_config(num_env_runners=1).build_algo()
    algo.train()
    print("built", flush=True)
    time.sleep(600)
"""


# Two agents of Ray's try for 60 s to tell a dead server that the raylet has been killed, and end then.
LINGERING = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_processes_of_ray_end_with_the_command(how, workers_find_helpers):
    driver = psutil.Popen([sys.executable, "-c", BUILD_AND_WAIT], stdout=subprocess.PIPE, text=True)
    assert driver.stdout.readline() == "built\n"
    names = {process: process.name() for process in driver.children(recursive=True)}
    assert {"gcs_server", "raylet"} <= set(names.values())
    driver.send_signal(how)
    driver.wait(60)
    lingering = LINGERING if how == signal.SIGKILL else ()
    _, alive = psutil.wait_procs([process for process, name in names.items() if name not in lingering], 60)
    assert not alive


# ---- GPUs


def test_a_gpu_that_is_not_there_is_refused_at_once(monkeypatch):
    monkeypatch.setattr(ray_start.torch.cuda, "device_count", lambda: 0)
    config = toy_config().tiers({"threat_hunter": {"num_gpus_per_learner": 1}})
    with pytest.raises(ConfigError, match=r"tier 'threat_hunter': num_gpus_per_learner=1, but this process has 0 GPUs"):
        config.build_algo()
    with pytest.raises(
        ConfigError, match=r"1 learners of tier 'threat_hunter' need 1 GPU together, this machine has 0"
    ):
        config.tiers({"threat_hunter": {"num_learners": 1}}).build_algo()


def test_gpus_are_asked_for():
    config = toy_config().tiers({"threat_hunter": {"num_gpus_per_learner": 0.5}})
    assert HMARL.default_resource_request(config).bundles == [{"CPU": 1, "GPU": 0.5}]
    config.tiers({"threat_hunter": {"num_learners": 2}, "strategic_coordinator": {"num_learners": 1}})
    assert HMARL.default_resource_request(config).bundles == [{"CPU": 1}, {"GPU": 0.5}, {"GPU": 0.5}, {"CPU": 1}]
    spaces = gym.spaces.Box(-1, 1, (3,)), gym.spaces.Box(-1, 1, (2,))
    assert config.tier_config("threat_hunter", spaces).num_gpus_per_learner == 0.5
    assert config.tier_config("strategic_coordinator", spaces).num_gpus_per_learner == 0
