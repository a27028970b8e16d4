"""Columns of a batch beside RLlib's own."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from policies.networks.blocks import OBS

# What a central critic reads beside its own agent's columns.
JOINT_OBS, JOINT_NEXT_OBS = "joint_obs", "joint_next_obs"  # (B, sum of observation sizes)
# (B, sum of the other agents' flat action sizes)
OTHER_ACTIONS, OTHER_NEXT_ACTIONS = "other_actions", "other_next_actions"
# The environment's state, for critics that read it: (B, size). Where rows of agents are kept, by name, it is beside
# them under the same one, which no agent has.
STATE, NEXT_STATE = "state()", "next_state()"
JOINT_COLUMNS = (JOINT_OBS, JOINT_NEXT_OBS, OTHER_ACTIONS, OTHER_NEXT_ACTIONS)


def read_by_critic(columns: Mapping[str, torch.Tensor], observation: str = OBS, state: str = STATE) -> torch.Tensor:
    """What a critic reads of a situation: (B, size) of the observation, and of the state behind it if that is there."""
    return torch.cat([columns[observation], columns[state]], -1) if state in columns else columns[observation]
