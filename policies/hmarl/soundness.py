"""Training ends where numbers are no longer numbers, before they are stored, learned from or saved.

A learner goes on with NaN without a word: actions are cut to their range, episodes are played, and returns look like
those of a random policy.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from ray.rllib.utils.numpy import convert_to_numpy

from policies.learners.columns import STATE
from policies.runner.rows import Rollout
from soc_env.errors import HMARLSOCError, RunError, shown

SIGNS = ("std >= 0", "to satisfy the constraint", "contains either `inf`, `nan`")  # in PyTorch's messages
LOSS = "total_loss"  # of every learner of RLlib's
GO_ON = "the newest checkpoint is from before; try smaller learning rates, or rllib={'grad_clip': ...}"


def check_rollouts(rollouts: Iterable[Rollout], slices: Mapping[str, slice], num_env_steps: int) -> None:
    """Checks what environments gave.

    Args:
        rollouts: of one iteration.
        slices: agent, or `STATE` -> its part of all observations.
        num_env_steps: of the whole training, for the message.

    Raises:
        RunError: an observation, a state or a reward is not finite; names the agent, or the tier that was to learn from
            it.
    """
    for rollout in rollouts:
        if not np.isfinite(rollout.seen).all():
            agent = next(a for a, part in slices.items() if not np.isfinite(rollout.seen[:, part]).all())
            found = "state() has" if agent == STATE else f"{agent} observes"
            raise RunError(f"{found} NaN or infinity at {num_env_steps:,} environment steps: the environment's")
        for tier, (total, _) in rollout.absolute_returns.items():
            if not np.isfinite(total):
                raise RunError(
                    f"tier {tier!r}: a reward is NaN or infinite at {num_env_steps:,} environment steps: the "
                    "environment's, or that of reward_shaping"
                )


@contextlib.contextmanager
def learning(tier: str, num_env_steps: int) -> Iterator[None]:
    """Within it PyTorch's word for a distribution of NaN is a RunError that names the tier."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        text = " ".join(str(error).split())
        if isinstance(error, HMARLSOCError) or not any(word in text for word in SIGNS):
            raise
        found = f"its networks put out NaN at {num_env_steps:,} environment steps ({shown(text)})"
        raise RunError(f"tier {tier!r}: {found}; {GO_ON}") from error


def check_losses(tier: str, results: Sequence[Mapping[str, Any]], num_env_steps: int) -> None:
    """Checks what a learner says of its gradient steps.

    Raises:
        RunError: a loss is not finite; names the tier.
    """
    for result in results:
        stats = result.get(tier, {}).get(LOSS)
        loss = 0.0 if stats is None else float(convert_to_numpy(stats.peek()))
        if not np.isfinite(loss):
            raise RunError(f"tier {tier!r}: its loss is {loss} at {num_env_steps:,} environment steps; {GO_ON}")


def check_networks(networks: Mapping[str, Mapping[str, torch.Tensor]], num_env_steps: int) -> None:
    """Checks weights and statistics: tier -> the state of its networks.

    Raises:
        RunError: one is not finite; names the tier.
    """
    for tier, state in networks.items():
        for name, value in state.items():
            if not bool(torch.isfinite(value).all()):
                found = f"NaN or infinity ({name}) at {num_env_steps:,} environment steps"
                raise RunError(f"tier {tier!r}: its networks hold {found}; {GO_ON}")
