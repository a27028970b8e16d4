"""Fixtures of the tests of policies."""

import logging

import pytest


@pytest.fixture
def build():
    """Builds algorithms and stops them when the test ends."""
    built = []

    def make(config):
        built.append(config.build_algo())
        return built[-1]

    yield make
    for algo in built:
        algo.stop()


@pytest.fixture
def local_ray():
    """A local Ray with one CPU, for one test."""
    import ray

    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    yield
    ray.shutdown()
