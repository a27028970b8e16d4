"""The arrays that actions are written into."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from soc_env.errors import ActionError, unknown_name


class ActionBuffers(Mapping[str, np.ndarray]):
    """The simulator's action arrays by agent. Assigning copies into them: they are never replaced."""

    def __init__(self, arrays: dict[str, np.ndarray], num_choices: int) -> None:
        self._arrays, self._num_choices = arrays, num_choices

    def __getitem__(self, agent: str) -> np.ndarray:
        return self._arrays[agent]

    def __setitem__(self, agent: str, value: Any) -> None:
        if agent not in self._arrays:
            raise ActionError(unknown_name("agent", agent, self._arrays))
        buffer, given = self._arrays[agent], np.asarray(value)
        if given.shape != buffer.shape:
            raise ActionError(f"actions of {agent} have shape {given.shape}; allowed: {buffer.shape}")
        kinds = "iu" if buffer.dtype.kind == "i" else "iuf"
        if given.dtype.kind not in kinds:
            raise ActionError(f"actions of {agent} have type {given.dtype}; allowed: {buffer.dtype}")
        if kinds == "iu" and ((given < 0) | (given >= self._num_choices)).any():  # a cast could hide it
            raise ActionError(f"actions of {agent} are {given.tolist()}; allowed: 0 to {self._num_choices - 1}")
        buffer[...] = given

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)
