"""Fixtures of the tests of policies."""

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
