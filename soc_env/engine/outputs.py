"""The buffers that every family's kernels write: checks of what goes in, a clean start of what comes out."""

from __future__ import annotations

import numpy as np

from soc_env.engine.jit import kernel

NUM_TERMS = 4  # of the reward
NUM_CHOICES = 4  # of triage


@kernel
def has_bad_action(box_actions, choices):
    """Whether any action of any env is NaN or not a choice."""
    bad = 0
    for k in range(box_actions.shape[0]):
        bad |= np.int64(box_actions[k] != box_actions[k])
    for i in range(choices.shape[0]):
        bad |= np.int64(choices[i] < 0) | np.int64(choices[i] >= NUM_CHOICES)
    return bad != 0


@kernel
def clear_outputs(i, num_envs, rewards, terms, flags):
    """No reward and no end before the first step."""
    pay_nothing(i, rewards, terms)
    flags[i] = False
    flags[num_envs + i] = False


@kernel
def pay_nothing(i, rewards, terms):
    """No reward: nothing was played."""
    rewards[i] = 0.0
    for k in range(NUM_TERMS):
        terms[k] = 0.0
