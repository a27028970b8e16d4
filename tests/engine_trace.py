"""Plays fixed cases and prints a digest of every byte that comes out; run by tests in other processes.

python tests/engine_trace.py            all of CASES, one line each
"""

import hashlib
import json
import sys

import numpy as np

import soc_env

# name -> (steps, policy, options)
CASES = {
    "random": (220, "random", {}),
    "max": (90, "max", {}),
    "fixed networks": (90, "random", {"redraw_vulnerabilities": False, "max_steps": 30}),
    "7 hosts": (120, "random", {"num_hosts": 7}),
    "1 host": (60, "random", {"num_hosts": 1, "max_steps": 20}),
    "3000 hosts": (40, "random", {"num_hosts": 3000, "coordinator_period": 1}),
    "3000 hosts, max": (30, "max", {"num_hosts": 3000}),
}


def actions_of(policy, rng):
    """One env's actions: 36 floats and a choice."""
    if policy == "max":
        return np.ones(36, np.float32), 1
    return rng.uniform(-1.2, 1.2, 36).astype(np.float32), int(rng.integers(0, 4))


def outputs(sim, i):
    """Every byte that an env shows after a step."""
    arrays = [
        *(sim.observations[agent][i] for agent in sim.agents), sim.rewards[i], sim.reward_terms[i], sim.terminated[i],
        sim.truncated[i], sim.decides[i], sim.episode_metrics[i], sim.running_metrics()[i], sim.state()[i],
    ]  # fmt: skip
    if sim.terminated[i] or sim.truncated[i]:
        arrays += [sim.final_observations[agent][i] for agent in sim.agents]
    return b"".join(np.asarray(array).tobytes() for array in arrays)


def play(sim, steps, policy, rows, start=0):
    """Digests of the envs `rows`; env i of the batch plays the actions of row rows[i]."""
    digests = [hashlib.sha256() for _ in rows]
    rngs = [np.random.default_rng([11, row]) for row in rows]
    for step in range(start + steps):
        for i, rng in enumerate(rngs):
            box, choice = actions_of(policy, rng)
            sim.actions["threat_hunter_0"][i] = box[:16]
            sim.actions["response_orchestrator_0"][i] = box[16:28]
            sim.actions["strategic_coordinator_0"][i] = box[28:]
            sim.actions["alert_triage_0"][i] = choice
        if step < start:
            continue
        sim.step()
        for i, digest in enumerate(digests):
            digest.update(outputs(sim, i))
    return [digest.hexdigest() for digest in digests]


def digests_of_case(name, num_envs=3, seed=5, **options):
    """One digest per env."""
    steps, policy, overrides = CASES[name]
    sim = soc_env.Simulator(num_envs=num_envs, seed=seed, **options, **overrides)
    sim.reset()
    return play(sim, steps, policy, range(num_envs))


if __name__ == "__main__":
    json.dump({name: digests_of_case(name) for name in CASES}, sys.stdout)
