"""Fixtures that several test modules share."""

import logging
import os
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def quiet_ray():
    """A local Ray with four CPUs and without its notices, for one module."""
    import ray
    import torch

    for name in ("ray", "ray.rllib", "ray.tune", "ray._common.deprecation"):
        logging.getLogger(name).setLevel(logging.ERROR)
    torch.set_num_threads(1)
    tests = Path(__file__).parent
    with pytest.MonkeyPatch.context() as patch:  # workers have to find the test modules' environments and the packages
        patch.setenv("PYTHONPATH", os.pathsep.join([str(tests / "helpers"), str(tests.parent)]))
        ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        yield
        ray.shutdown()
