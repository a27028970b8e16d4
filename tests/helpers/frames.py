"""Plays episodes of the dict API and compares them byte by byte; used by the tests of the environment."""

import hashlib

import numpy as np

from soc_env.engine.tables import TRIAGE


def seeded(env, seed):
    """The environment, its action spaces seeded."""
    for index, agent in enumerate(env.possible_agents):
        env.action_space(agent).seed(seed * 10 + index)
    return env


def sample(env):
    return {agent: env.action_space(agent).sample() for agent in env.agents}


def calm(env):
    """Actions under which nothing is hunted and nothing isolated, and alerts pile up: episodes last."""
    return {a: 3 if a == TRIAGE else -np.ones(env.action_space(a).shape, np.float32) for a in env.possible_agents}


def play(env, seed=None, policy=sample):
    """All frames of one episode."""
    frames = [env.reset(seed)]
    while env.agents:
        frames.append(env.step(policy(env)))
    return frames


def digest(frames):
    """Every byte of every frame."""
    hasher = hashlib.sha256()

    def add(value):
        if isinstance(value, dict):
            for key in sorted(value):
                hasher.update(key.encode())
                add(value[key])
        elif isinstance(value, (tuple, list)):
            for item in value:
                add(item)
        elif isinstance(value, np.ndarray):
            hasher.update(f"{value.dtype}{value.shape}".encode() + value.tobytes())
        else:
            hasher.update(f"{type(value).__name__}{value!r}".encode())

    add(frames)
    return hasher.hexdigest()


def same(first, second):
    return digest(first) == digest(second)
