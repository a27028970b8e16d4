"""Columns of a batch beside RLlib's own."""

from __future__ import annotations

from collections.abc import Container

import numpy as np
from ray.rllib.core.columns import Columns

# What a central critic reads beside its own agent's columns.
JOINT_OBS, JOINT_NEXT_OBS = "joint_obs", "joint_next_obs"  # (B, sum of observation sizes)
# (B, sum of the other agents' flat action sizes)
OTHER_ACTIONS, OTHER_NEXT_ACTIONS = "other_actions", "other_next_actions"
JOINT_COLUMNS = (JOINT_OBS, JOINT_NEXT_OBS, OTHER_ACTIONS, OTHER_NEXT_ACTIONS)
STATE = "state()"  # stands beside agents where what they observe is kept by name: that of the environment
# What critics that read the state, but not all agents, read in the place of the own observation: see `with_state`.
CRITIC_OBS, CRITIC_NEXT_OBS = "critic_obs", "critic_next_obs"


def with_state(row: np.ndarray, state: np.ndarray, dim: int) -> np.ndarray:
    """What critics that read the state (B, size) read of rows, observations of `dim` entries or rows of
    `policies.past` that begin with one: the observation, the state, and behind them rows that have a past."""
    return np.concatenate([row[:, :dim], state, row if row.shape[1] > dim else row[:, :0]], 1)


def read_by_critics(columns: Container[str], *, is_next: bool = False) -> str:
    """The column that the critics of a single agent read, of now or of the next state."""
    own, told = (Columns.NEXT_OBS, CRITIC_NEXT_OBS) if is_next else (Columns.OBS, CRITIC_OBS)
    return told if told in columns else own
