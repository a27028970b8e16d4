"""Simulators under way, for the tests of the engine."""

import pytest

import soc_env

TRIAGE, HUNTER, ORCHESTRATOR, COORDINATOR = soc_env.AGENTS
BOX_AGENTS = (HUNTER, ORCHESTRATOR, COORDINATOR)
both_families = pytest.mark.parametrize("scenario", ["paper-v0", "soc-v1"])


def started(num_envs=1, seed=0, scenario="paper-v0", **options):
    sim = soc_env.Simulator(scenario, num_envs=num_envs, seed=seed, **options)
    sim.reset()
    return sim


def randomise(sim, rng):
    for agent in BOX_AGENTS:
        sim.actions[agent][...] = rng.uniform(-1, 1, sim.actions[agent].shape)
    sim.actions[TRIAGE][...] = rng.integers(0, 4, sim.num_envs)
