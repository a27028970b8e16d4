"""Which Ray a run uses: none where nothing is remote, else one of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("ray")
import ray
from toy_hmarl import toy_config

from policies import save_checkpoint
from policies.hmarl import ray_start
from soc_env.errors import ConfigError


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
