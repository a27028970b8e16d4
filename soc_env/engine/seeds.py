"""What a seed is, and the keys of draws that are made from it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np

from soc_env.errors import ConfigError, shown

Seed = int | Sequence[int] | np.ndarray | None
SEEDS = 2**10_000  # a seed's digits are hashed, and Python refuses to write down more than 4,300


def episode_keys(purpose: str, seed: int | Sequence[int] | np.ndarray, num_envs: int) -> np.ndarray:
    """(num_envs,) uint64: the key of each env's draws."""
    if isinstance(seed, (list, tuple, np.ndarray)) and np.ndim(seed) == 1:
        if len(seed) != num_envs:
            raise ConfigError(f"seed has {len(seed)} entries; allowed: one integer, or one per env ({num_envs})")
        pairs = [(_checked_seed(one), 0) for one in seed]
    else:
        pairs = [(_checked_seed(seed), i) for i in range(num_envs)]
    digests = [hashlib.blake2b(f"{purpose}:{s}:{i}".encode(), digest_size=8).digest() for s, i in pairs]
    return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)


def _checked_seed(seed: Any) -> int:
    if isinstance(seed, bool) or not isinstance(seed, Integral) or not 0 <= int(seed) < SEEDS:
        raise ConfigError(f"seed={shown(seed)} must be an integer of at least 0, or one per env")
    return int(seed)
