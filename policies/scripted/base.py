"""What every scripted policy is: its interface, and the two that serve any environment. NumPy only."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from gymnasium.spaces import Box, Discrete

from soc_env.errors import CheckpointError, ConfigError

Observations = Mapping[str, np.ndarray]
Actions = dict[str, np.ndarray]
Spaces = Mapping[str, Any]  # agent -> Box or Discrete; gymnasium's Space itself has neither bounds nor n


class Policy(Protocol):
    """What evaluation, comparison and the tests ask of a policy, scripted or trained.

    One that remembers something or draws also has `get_state()`, which returns plain data (see
    `policies.state_files`), and `set_state(state)`: a fresh policy that takes it acts as this one would.
    """

    def reset(self, seed: int) -> None:
        """Start afresh: forget every environment and re-seed the policy's own generator."""

    def __call__(self, observations: Observations, decides: np.ndarray) -> Actions:
        """Actions of all agents for a batch of environments."""


class RandomPolicy:
    """Uniform over every action space, from a generator of its own (never the simulator's)."""

    def __init__(self, action_spaces: Spaces, seed: int = 0) -> None:
        for agent, space in action_spaces.items():
            if not (isinstance(space, Discrete) or (isinstance(space, Box) and space.is_bounded())):
                raise ConfigError(f"random policy: {agent} has {space}; bounded Box and Discrete are allowed")
        self.action_spaces = dict(action_spaces)
        self.reset(seed)

    def reset(self, seed: int) -> None:
        self._generator = np.random.default_rng(seed)

    def get_state(self) -> dict[str, Any]:
        """Where the generator stands."""
        return dict(self._generator.bit_generator.state)

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on drawing from there.

        Raises:
            CheckpointError: it is not what `get_state` returned.
        """
        try:
            self._generator.bit_generator.state = state
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise CheckpointError(f"state: random policy's generator cannot be set ({error})") from error

    def __call__(self, observations: Observations, decides: np.ndarray) -> Actions:
        num_envs = len(decides)
        return {agent: self._draw(space, num_envs) for agent, space in self.action_spaces.items()}

    def _draw(self, space: Any, num_envs: int) -> np.ndarray:
        if isinstance(space, Discrete):
            first = int(space.start)
            return self._generator.integers(first, first + int(space.n), num_envs, dtype=np.int32)
        unit = self._generator.random((num_envs, *space.shape), dtype=np.float32)
        return space.low + unit * (space.high - space.low)


class ConstantPolicy:
    """The same action at every step in every environment.

    Args:
        constants: agent -> its action, ``(dim,)`` for Box or a scalar for Discrete.
    """

    def __init__(self, action_spaces: Spaces, constants: Mapping[str, np.ndarray | int]) -> None:
        self.constants = {}
        for agent, space in action_spaces.items():
            action = np.asarray(constants[agent], dtype=np.int32 if isinstance(space, Discrete) else np.float32)
            if action.shape != space.shape:
                raise ConfigError(f"constant policy: {agent} has shape {action.shape}, its action space {space.shape}")
            self.constants[agent] = action

    def reset(self, seed: int) -> None:
        """Nothing to forget."""

    def __call__(self, observations: Observations, decides: np.ndarray) -> Actions:
        return {agent: np.repeat(action[None], len(decides), axis=0) for agent, action in self.constants.items()}


Builder = Callable[..., Policy]
"""``(action_spaces, seed) -> policy``."""


# ---- code by its name
def imported(path: str) -> Any:
    """The object that "package.module:name" names; ConfigError if there is none."""
    module, _, name = path.partition(":")
    try:
        found = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ConfigError(f"{path!r} cannot be imported ({error}); allowed: package.module:name") from None
    return found


def import_path(value: Any) -> str:
    """ "package.module:name" of something that can be imported by it, else its `str`; strings stay as they are."""
    path = f"{getattr(value, '__module__', '')}:{getattr(value, '__qualname__', '')}"
    try:
        return path if not isinstance(value, str) and imported(path) is value else str(value)
    except ConfigError:
        return str(value)
