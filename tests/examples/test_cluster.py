"""The files of the cluster recipe are what Ray and the command read. That they work: docs/learning/clusters.md."""

import tomllib
from pathlib import Path

import pytest
import yaml

pytest.importorskip("ray")

from experiments.run_settings import with_preset
from policies import HMARL, HMARLConfig

CLUSTER = Path(__file__).parents[2] / "examples" / "cluster"


def test_the_cluster_is_one_that_ray_up_takes():
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(yaml.safe_load((CLUSTER / "cluster.yaml").read_text()))
    validate_config(config)
    for commands in ("head_start_ray_commands", "worker_start_ray_commands"):
        assert "RAY_AUTH_MODE=token" in config[commands][-1]


def test_the_job_leaves_out_what_the_working_directory_does_not_need():
    excludes = yaml.safe_load((CLUSTER / "job.yaml").read_text())["excludes"]
    assert {"/.git/", "/.venv/", "/runs/"} <= set(excludes)


def test_learners_of_two_tiers_ask_for_different_nodes():
    config = with_preset("soc-v1", tomllib.loads((CLUSTER / "tiers.toml").read_text()))
    request = HMARL.default_resource_request(HMARLConfig().training(**config))
    asked = [{name: amount for name, amount in bundle.items() if amount} for bundle in request.bundles]
    assert asked[1:] == [{"CPU": 1, "on_a": 0.5}, {"CPU": 1, "on_b": 0.5}]
