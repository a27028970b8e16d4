"""The random generators that a whole process shares: Python's, NumPy's global one and torch's, as plain data."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from soc_env.errors import CheckpointError


def get_generators() -> dict[str, Any]:
    """Where they stand: arrays, tensors and numbers."""
    version, words, gauss = random.getstate()
    cuda = {"cuda": torch.cuda.get_rng_state_all()} if torch.cuda.is_initialized() else {}
    return {
        **cuda,
        "python": {"version": version, "words": np.array(words, np.uint32), "gauss": gauss},
        "numpy": np.random.get_state(legacy=False),  # noqa: NPY002 (users' environments may draw from it)
        "torch": torch.get_rng_state(),
    }


def set_generators(state: Mapping[str, Any]) -> None:
    """Puts them where they stood.

    Raises:
        CheckpointError: `state` is not what `get_generators` returned.
    """
    try:
        python = state["python"]
        random.setstate((python["version"], tuple(int(word) for word in python["words"]), python["gauss"]))
        np.random.set_state(state["numpy"])  # noqa: NPY002
        torch.set_rng_state(state["torch"])
        if "cuda" in state and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(state["cuda"])
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, OverflowError) as error:
        raise CheckpointError(f"state: the random generators cannot be set ({error})") from error
