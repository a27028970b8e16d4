"""Fixtures that several test modules share."""

import logging
import os
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def quiet():
    """RLlib without its notices, on one thread, for one module; what is built there starts Ray if it needs one."""
    import torch

    from policies.hmarl import ray_start

    ray_start.quiet()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # networks this small lose more to a second thread's hand-over than they gain
    tests = Path(__file__).parent
    with pytest.MonkeyPatch.context() as patch:  # workers have to find the test modules' environments and the packages
        patch.setenv("PYTHONPATH", os.pathsep.join([str(tests / "helpers"), str(tests.parent)]))
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def quiet_ray(quiet):
    """A Ray of its own with four CPUs, for one module."""
    import ray

    from policies.hmarl import ray_start

    ray_start.forget_token()  # tests before may have changed its settings
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    yield
    ray.shutdown()
