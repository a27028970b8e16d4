"""Bodies of networks, made from a tier's settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from policies.networks.blocks import MLP, ActionValues
from policies.networks.memory import Memory
from policies.networks.tokens import AGENTS, agent_of, impossible_choices, joint_tokens, own_tokens
from policies.networks.zones import Prepared, ZoneMLP
from soc_env.errors import ConfigError


@dataclass(frozen=True)
class BodySpec:
    """What the body of an actor or of a critic is made of.

    Attributes:
        hiddens: layer sizes.
        encoder: "mlp", or "zones" or "attention" (see `policies.networks.zones`).
        role: the name of the tier, which says whose observation it is that is read token by token.
        attention_heads: of "attention".
        layer_norm: whether layers are normalised.
        bins: resolution at which actions are read, see `blocks.HatBasis`; 0 for raw.
        is_additive: whether a critic is additive in its own action, see `blocks.ActionValues`; needs `bins`.
        has_groups: whether actions that mean the same in several places are to share outputs.
        memory: what it makes of how many past minutes, and the size of that (`memory.Memory`); None for nothing.
        reads_state: whether the environment's state stands behind the observations.
    """

    hiddens: Sequence[int]
    encoder: str = "mlp"
    role: str | None = None
    attention_heads: int = 4
    layer_norm: bool = False
    bins: int = 0
    is_additive: bool = False
    has_groups: bool = False
    memory: tuple[str, int, int] | None = None
    reads_state: bool = False


def make_body(
    spec: BodySpec,
    obs_dim: int,
    action_dims: Sequence[int] = (),
    *,
    is_joint: bool = False,
    own_dim: int | None = None,
    keeps_zones: bool = False,
) -> Any:
    """A `blocks.Body`.

    Args:
        spec: what it is made of.
        obs_dim: size of what it observes, of the state too if it reads that.
        action_dims: sizes of the actions that it reads too: all other agents' together first if it reads the joint
            observation, then the own.
        is_joint: whether it reads the observations of all agents.
        own_dim: size of the own agent's, whose past it reads behind them if it has memory; None: `obs_dim`.
        keeps_zones: whether actions follow, which may want features of every zone.

    Raises:
        ConfigError: a network by tokens, or shared outputs, for an observation that is none of ours.
    """
    if action_dims and spec.is_additive:
        inner = _plain_body(spec, obs_dim, action_dims[:-1], is_joint, own_dim, keeps_zones=True)
        return ActionValues(inner, action_dims[-1], spec.bins)
    return _plain_body(spec, obs_dim, action_dims, is_joint, own_dim, keeps_zones)


def _memory(spec: BodySpec, obs_dim: int, own_dim: int | None, is_joint: bool) -> Memory | None:
    if spec.memory is None:
        return None
    kind, minutes, size = spec.memory
    own = obs_dim if own_dim is None else own_dim
    tokens = None if spec.encoder == "mlp" else own_tokens(agent_of(spec.role), own)
    hides = tokens is not None and spec.encoder == "attention" and not tokens.is_numbered
    start = obs_dim if is_joint or spec.reads_state else 0
    return Memory(kind, minutes, size, own, start, spec.hiddens[0], tokens, hides)


def _plain_body(
    spec: BodySpec, obs_dim: int, action_dims: Sequence[int], is_joint: bool, own_dim: int | None, keeps_zones: bool
) -> MLP | ZoneMLP:
    bins, memory = spec.bins if action_dims else 0, _memory(spec, obs_dim, own_dim, is_joint)
    if spec.encoder == "mlp":
        groups = _action_groups(spec.role, obs_dim) if spec.has_groups else ()
        return MLP(obs_dim, spec.hiddens, sum(action_dims), spec.layer_norm, bins, groups, memory)
    agent = agent_of(spec.role)
    if spec.has_groups:
        _action_groups(spec.role, obs_dim)  # raises where there are none
    acting = [other for other in AGENTS if other != agent] if is_joint else []
    acting += [agent] * (len(action_dims) - is_joint)
    return ZoneMLP(
        agent,
        joint_tokens(obs_dim, spec.reads_state) if is_joint else own_tokens(agent, obs_dim, spec.reads_state),
        spec.hiddens,
        acting,
        heads=spec.attention_heads if spec.encoder == "attention" else 0,
        layer_norm=spec.layer_norm,
        bins=bins,
        keeps_zones=keeps_zones,
        memory=memory,
    )


def _action_groups(role: str | None, obs_dim: int) -> list[int]:
    """Sizes of the leading runs of the role's action's entries that mean the same, one for each zone or segment."""
    agent = agent_of(role)
    tokens = own_tokens(agent, obs_dim)
    if not tokens.entries[agent][0]:
        raise ConfigError(f"tier {role!r}: segment_sharing has no effect, none of its actions are by zone or segment")
    return [len(tokens.zones)] * tokens.entries[agent][0]


def masked(is_on: bool, values: torch.Tensor, observation: torch.Tensor | Prepared, filler: float) -> torch.Tensor:
    """The choices' values (B, choices), those of impossible choices replaced by `filler` where masking is on. What is
    possible is read off the observation, so that next states are masked too."""
    if isinstance(observation, Prepared):
        observation = observation.observation
    return values.masked_fill(impossible_choices(observation), filler) if is_on else values
