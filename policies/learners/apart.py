"""What gradient steps of a learner read and change, so that a twin of it can make them in another process.

The twin is built of the same settings. Before each update it is given the learner's arrays, then it makes the gradient
steps, and its arrays go back: the learner is then where it would be had it made them itself, to the byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from policies.learners.update import Measured

Arrays = dict[str, np.ndarray]
MODULE, GENERATOR = "module", "generator"


def arrays_of(learner: Any) -> Arrays:
    """Name -> the learner's own memory, of networks, of optimisers' moments and of single weights of losses; of its
    generator a copy."""
    (tier,) = learner.module.keys()
    tensors = {f"{MODULE}/{name}": value for name, value in learner.module[tier].unwrapped().state_dict().items()}
    for name, values in learner.loss_weights().items():
        tensors |= {f"{name}/{module_id}": value for module_id, value in values.items()}
    for name, optimizer in learner.optimizers.items():
        for k, parameter in enumerate(_parameters(optimizer)):
            moments = optimizer.state.get(parameter, {})
            tensors |= {f"{name}/{k}/{part}": value for part, value in moments.items()}
    return {name: value.detach().numpy() for name, value in tensors.items()} | {
        GENERATOR: learner.generator.get_state().numpy()
    }


def take_arrays(learner: Any, arrays: Mapping[str, np.ndarray]) -> None:
    """Gives a learner the arrays of its twin, in place; moments that the twin has not are forgotten."""
    own = arrays_of(learner)
    for name, optimizer in learner.optimizers.items():
        for k, parameter in enumerate(_parameters(optimizer)):
            place = f"{name}/{k}/"
            theirs = [found for found in arrays if found.startswith(place)] if place + "step" not in own else []
            if theirs:  # the twin has made a first step
                optimizer.state[parameter] = {
                    found.removeprefix(place): torch.from_numpy(arrays[found].copy()) for found in theirs
                }
            elif place + "step" in own and place + "step" not in arrays:
                del optimizer.state[parameter]
    for name, array in arrays.items():
        if name in own and name != GENERATOR:
            np.copyto(own[name], array)
    learner.generator.set_state(torch.from_numpy(arrays[GENERATOR].copy()))


def _parameters(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def can_learn_apart(learner: Any) -> bool:
    """Whether a learner's gradient steps can be made by a twin in another process of this machine."""
    return learner is not None and str(learner.device) == "cpu" and not learner.distributed


def descend_as(
    twin: Any, arrays: Mapping[str, np.ndarray], clock: int | None, timesteps: dict[str, Any], asked: Mapping[str, Any]
) -> Measured:
    """The gradient steps of the learner whose arrays these are, by its twin.

    Args:
        twin: of the same settings.
        arrays: as `arrays_of` the learner.
        clock: the learner's, before its update: [environment steps] at the one before.
        timesteps: of the update.
        asked: keyword arguments of `UpdateMixin.descend`.
    """
    take_arrays(twin, arrays)
    twin.set_clock(clock)
    twin.begin(timesteps)
    return twin.descend(**asked)
