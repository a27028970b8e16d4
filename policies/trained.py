"""Trained policies act here by PyTorch: a checkpoint's networks, neither RLlib nor Ray.

`policies.load_policy` makes them from files.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from safetensors.torch import load_file

from policies.algorithms import ALGORITHMS
from policies.checkpoint import NETWORKS, damage, tier_spaces
from policies.networks.tokens import Tokens, agent_of, entry_names, own_tokens
from policies.networks.zones import ENCODERS
from policies.runner.acting import act
from policies.team import SCRIPTED, Actions, TeamPolicy
from policies.tiers import parse, tier_of
from soc_env.errors import CheckpointError, ConfigError, shown
from soc_env.soc.networks import MAX_ZONES
from soc_env.soc.tables import TokenLayout, actions, layout, layout_of


class TrainedPolicy(TeamPolicy):
    """The tiers' networks as a policy: observations in, actions out, nothing learned.

    No call changes a random state of the caller's: draws come from a generator of the policy's own.

    Args:
        modules: tier -> its `policies.algorithms.network.TierNetwork`.
        slow_agents: agents that act on decision steps only and hold their action between them.
        deterministic: the mode of each policy; False draws as in training at step `num_env_steps`.
        members: tier -> its agents; None goes by their names.
        scripted: tier -> policy of the tiers without a module.
    """

    _advice = "; for_zones(n) is the policy for another number of zones"

    def __init__(
        self,
        modules: Mapping[str, Any],
        slow_agents: tuple[str, ...] = (),
        *,
        deterministic: bool = True,
        num_env_steps: int = 0,
        seed: int = 0,
        manifest: Mapping[str, Any] | None = None,
        members: Mapping[str, Sequence[str]] | None = None,
        scripted: Mapping[str, Any] | None = None,
    ):
        self.deterministic, self.num_env_steps = deterministic, num_env_steps
        super().__init__(modules, slow_agents, seed=seed, manifest=manifest, members=members, scripted=scripted)

    def reset(self, seed: int | None = None) -> None:
        """Forgets held actions; a seed starts the draws of the sampled policy anew."""
        if seed is not None:
            self._generator = torch.Generator().manual_seed(seed)
        super().reset(seed)

    @property
    def takes_rows(self) -> bool:
        """Whether an action depends on its own situation alone, so that others can be left out (`acts`)."""
        return self.deterministic and not self._scripted

    def _named(self, agent: str) -> str:
        """The tier that would act for an agent of that name; "" where only those named have one."""
        return super()._named(agent) if self._tier else tier_of(agent)

    def _tier_size(self, tier: str) -> int | None:
        """That of the observations of a tier's agents; None if nothing says it: a scripted tier of no checkpoint."""
        if tier in self.modules:
            return self._size(tier)
        spaces = self.manifest.get("spaces", {})
        return spaces[tier]["observation"]["shape"][0] if tier in spaces else None

    @property
    def has_levels(self) -> bool:
        """Whether it reads observations of the soc-v1 family in which findings have levels (soc-v2, soc-cage4-v1)."""
        return any(shape is not None and shape.has_levels for shape in self._shapes().values())

    def _agents(self) -> dict[str, str]:
        """Tier -> the agent of ours in its role."""
        members = {tier: agent for agent, tier in self._tier.items()}
        return {tier: agent_of(tier_of(members.get(tier, f"{tier}_0"))) for tier in (*self.modules, *self._scripted)}

    def _shapes(self) -> dict[str, TokenLayout | None]:
        """Tier -> the layout of what its agents observe; None where it is none of the soc-v1 family's."""
        agents = self._agents()
        sizes = {tier: self._tier_size(tier) for tier in agents}
        return {tier: layout_of(agents[tier], size) for tier, size in sizes.items() if size is not None}

    def for_zones(self, num_zones: int) -> TrainedPolicy:
        """The same weights for a network of `num_zones` zones; nothing is learned or lost.

        Raises:
            ConfigError: `num_zones` is not 1 to 16, or it is another number than now and a tier is scripted or its
                network has weights of its own for every input ("mlp") or segment (any of paper-v0).
        """
        if isinstance(num_zones, bool) or not isinstance(num_zones, int) or not 1 <= num_zones <= MAX_ZONES:
            raise ConfigError(f"num_zones is {num_zones!r}, allowed: 1 to {MAX_ZONES}")
        if self._scripted:
            if any(shape is None or shape.num_zones != num_zones for shape in self._shapes().values()):
                raise ConfigError(f"tier {next(iter(self._scripted))!r} is scripted, for its own scenario's zones only")
            return self
        resized, agents = copy.copy(self), self._agents()
        resized.modules = {
            tier: _for_zones(tier, agents[tier], module, num_zones) for tier, module in self.modules.items()
        }
        resized.reset(self.seed)
        return resized

    @torch.no_grad()
    def attention(self, observations: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What each agent's policy attends to, of those with encoder "attention".

        Args:
            observations: {agent: (N, dim)}.

        Returns:
            {agent: (N, heads, tokens, tokens)}: by head, the attention of every token to every token, last axis
            summing to 1. `tokens(agent).names` has the names of tokens.

        Raises:
            ConfigError: the tier has memory: what it attends to depends on the past too.
        """
        bodies = {agent: self._attending(agent) for agent in observations}
        for tier in (self.tier_of(agent) for agent, body in bodies.items() if body is not None):
            if self.minutes(tier):
                raise ConfigError(
                    f"tier {tier!r} has memory.minutes={self.minutes(tier)}: what it attends to is told of tiers "
                    "without memory"
                )
        return {
            agent: body.attention(torch.from_numpy(np.ascontiguousarray(observations[agent]))).numpy()
            for agent, body in bodies.items()
            if body is not None
        }

    def tokens(self, agent: str) -> Tokens | None:
        """What the tokens of an agent's encoder "attention" are, of which `names` are those of the axes of `attention`;
        None for another network."""
        body = self._attending(agent)
        return None if body is None else body.tokens

    def _attending(self, agent: str) -> Any:
        """The body with attention that the agent acts with; None if there is none."""
        module = self.modules.get(self._named(agent))
        for name, body in module.named_modules() if module is not None else ():
            if getattr(body, "attends", False) and "critic" not in name and not body.reads_actions:
                return body
        return None

    # ---- acting
    def __call__(
        self, observations: Mapping[str, Any], decides: Any = None, begins: Any = None, acts: Any = None
    ) -> Actions:
        """The agents' actions, as `TeamPolicy` has it."""
        with self._own_draws():
            return super().__call__(observations, decides, begins, acts)

    def _size(self, tier: str) -> int:
        return self.modules[tier].observation_space.shape[0]

    def minutes(self, tier: str) -> int:
        """Past observations that a tier's network reads beside the present one; 0 without memory."""
        return self.modules[tier].settings.memory.minutes if tier in self.modules else 0

    def _forward(self, module: Any, rows: np.ndarray) -> np.ndarray:
        return act(module, rows, explore=not self.deterministic, t=self.num_env_steps).executed

    def _entry_names(self, agent: str, size: int) -> Sequence[str] | None:
        from soc_env.registry import SCENARIOS

        ours = self.manifest.get("family", self.manifest.get("scenario")) in SCENARIOS
        return entry_names(agent, size) if ours else None

    @contextlib.contextmanager
    def _own_draws(self) -> Iterator[None]:
        """Networks draw from torch's global generator: the policy's own takes its place, the caller's is left alone."""
        if self.deterministic:
            yield
            return
        outside = torch.get_rng_state()
        torch.set_rng_state(self._generator.get_state())
        try:
            yield
        finally:
            self._generator.set_state(torch.get_rng_state())
            torch.set_rng_state(outside)


def _for_zones(tier: str, agent: str, module: Any, num_zones: int) -> Any:
    """The network of the soc-v1 family with the same weights and the sizes of `num_zones` zones."""
    encoder, size = module.settings.encoder, module.observation_space.shape[0]
    now = layout_of(agent, size)
    sizes = layout(agent, num_zones, now is not None and now.has_levels).size, len(actions(agent, num_zones))
    if size == sizes[0]:
        return module
    if encoder not in ENCODERS or own_tokens(agent, size).is_numbered:
        raise ConfigError(
            f"tier {tier!r}: encoder {encoder!r} is made for one number of zones, it cannot act on {num_zones}; "
            f"allowed there: {' or '.join(map(repr, ENCODERS))} of the soc-v1 family"
        )
    acts = module.action_space if module.is_discrete else gym.spaces.Box(-1.0, 1.0, sizes[1:])
    return network_of(module.settings, module.role, gym.spaces.Box(-1.0, 1.0, sizes[:1]), acts, module.state_dict())


def network_of(
    settings: Any, role: str, observes: gym.Space, acts: gym.Space, state: Mapping[str, torch.Tensor]
) -> Any:
    """A tier's network as it acts, a `policies.algorithms.network.TierPolicy`, with the weights of `state`.

    Raises:
        ConfigError: the settings do not fit the spaces.
        ValueError: the weights do not fit; one line.
    """
    algorithm = ALGORITHMS[settings.algorithm]
    algorithm.check_space(role, settings, acts)
    with torch.random.fork_rng(devices=[]):  # the first weights are drawn, and overwritten
        network = algorithm.policy(settings, role, observes, acts)
    network.load_from(state)
    # Not without gradients: torch then multiplies in another order, and the last bits would not be the learner's.
    return network.eval()


# ---- what checkpoints hold
def load_networks(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    """Tier -> the state of its averaged networks, of a checkpoint whose manifest has been read.

    Raises:
        CheckpointError: they cannot be read.
    """
    networks: dict[str, dict[str, torch.Tensor]] = {}
    try:
        found = load_file(folder / NETWORKS)
    except Exception as error:  # safetensors raises its own error, which derives from Exception alone
        raise damage(folder, NETWORKS, f"cannot be read ({error})") from None
    for name, value in found.items():
        tier, _, entry = name.partition("/")
        networks.setdefault(tier, {})[entry] = value
    return networks


def networks_of(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Tier -> its network as it acts, with the averaged weights, of a checkpoint whose manifest has been read.

    Raises:
        CheckpointError: settings, spaces and weights do not fit each other.
    """
    states, spaces, networks = load_networks(folder), tier_spaces(folder, manifest), {}
    for tier in manifest["members"]:
        plain = manifest["tiers"][tier]
        if plain["algorithm"] == SCRIPTED:
            continue
        try:
            settings, state = parse(tier, plain), states.get(tier, {})
            observes, acts = spaces[tier]
            _check_size(settings, state, gym.spaces.flatdim(observes), gym.spaces.flatdim(acts))
            networks[tier] = network_of(settings, tier, observes, acts, state)
        except (ConfigError, ValueError) as error:
            raise CheckpointError(f"checkpoint {str(folder)!r}: tier {tier!r} cannot be made ({error})") from None
    return networks


def _check_size(settings: Any, state: Mapping[str, torch.Tensor], num_inputs: int, num_outputs: int) -> None:
    """ValueError if networks of these sizes have more weights than there are: nothing as large is made then."""
    found, hiddens = sum(value.numel() for value in state.values()), settings.hiddens
    ends = (num_inputs, *hiddens, num_outputs) if settings.encoder == "mlp" else (1, *hiddens)
    needed = max(num_outputs, *(a * b for a, b in zip(ends, ends[1:], strict=False)))
    if needed > found:
        raise ValueError(f"hiddens={shown(list(hiddens))} need {needed} weights and more, there are {found}")
