"""Plays fixed cases and prints a digest of every byte that comes out; run by tests in other processes.

python tests/helpers/engine_trace.py [name ...]    the named cases, by default all of CASES, as JSON
"""

import hashlib
import json
import sys

import numpy as np

import soc_env

# name -> (steps, policy, options); paper-v0 unless the options name a scenario
CASES = {
    "random": (220, "random", {}),
    "max": (90, "max", {}),
    "fixed networks": (90, "random", {"redraw_vulnerabilities": False, "max_steps": 30}),
    "7 hosts": (120, "random", {"num_hosts": 7}),
    "1 host": (60, "random", {"num_hosts": 1, "max_steps": 20}),
    "3000 hosts": (40, "random", {"num_hosts": 3000, "coordinator_period": 1}),
    "3000 hosts, max": (30, "max", {"num_hosts": 3000}),
    "soc": (220, "random", {"scenario": "soc-v1"}),
    "soc max": (60, "max", {"scenario": "soc-v1", "max_steps": 40}),
    "soc short": (16, "random", {"scenario": "soc-v1", "num_hosts": 30, "num_networks": 2, "max_steps": 10}),
    "soc order": (60, "random", {"scenario": "soc-v1", "order": "defenders_first", "instant_actions": True}),
    "soc risk model": (16, "random", {"scenario": "soc-v1", "num_hosts": 30, "risk_model": "learned"}),
    "soc cage4": (520, "random", {"scenario": "soc-cage4-v0"}),
}
SLOW_IN_PLAIN_PYTHON = ("soc", "soc max", "soc order", "soc cage4")


def actions_of(policy, size, rng):
    """One env's actions: `size` floats and a choice."""
    if policy == "max":
        return np.ones(size, np.float32), 1
    return rng.uniform(-1.2, 1.2, size).astype(np.float32), int(rng.integers(0, 4))


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
    boxes = [agent for agent in sim.agents if sim.actions[agent].ndim == 2]
    cuts = np.cumsum([0] + [sim.actions[agent].shape[1] for agent in boxes])
    digests = [hashlib.sha256() for _ in rows]
    rngs = [np.random.default_rng([11, row]) for row in rows]
    for step in range(start + steps):
        for i, rng in enumerate(rngs):
            box, choice = actions_of(policy, cuts[-1], rng)
            for agent, first, last in zip(boxes, cuts, cuts[1:], strict=False):
                sim.actions[agent][i] = box[first:last]
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
    settings = {"scenario": "paper-v0", "num_envs": num_envs, "seed": seed, **options, **overrides}
    sim = soc_env.Simulator(**settings)
    sim.reset()
    return play(sim, steps, policy, range(num_envs))


if __name__ == "__main__":
    json.dump({name: digests_of_case(name) for name in sys.argv[1:] or CASES}, sys.stdout)
