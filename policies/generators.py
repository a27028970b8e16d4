"""This process's random generators: Python's, NumPy's global one and torch's, as plain data."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from soc_env.errors import CheckpointError


def get_generators() -> dict[str, Any]:
    """The state of all of them, a tree for `policies.state_files`."""
    state = {
        "python": random.getstate(),
        "numpy": np.random.get_state(legacy=False),  # noqa: NPY002  (RLlib draws from it)
        "torch": torch.get_rng_state(),
    }
    return state | ({"cuda": torch.cuda.get_rng_state_all()} if torch.cuda.is_initialized() else {})


def set_generators(state: Mapping[str, Any]) -> None:
    """Goes on from `get_generators`.

    Raises:
        CheckpointError: it is none of its states.
    """
    try:
        random.setstate(state["python"])
        np.random.set_state(state["numpy"])  # noqa: NPY002
        torch.set_rng_state(state["torch"])
        if "cuda" in state and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(state["cuda"])
    except (KeyError, TypeError, ValueError, IndexError, RuntimeError) as error:
        raise CheckpointError(f"the state of the random generators is damaged ({error})") from None
