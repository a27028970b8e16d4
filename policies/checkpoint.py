"""Checkpoints are read here: policies loaded from them without a cluster and without training.

A checkpoint is a folder as RLlib writes it plus two files: `networks.pt`, the averaged networks that a loaded policy
acts with, and `hmarl.json`: scenario, overrides, tiers, versions, steps and the size of every file
(`policies.hmarl.saving` writes it).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from ray.rllib.core.rl_module.rl_module import RLModule

from policies.networks.tokens import Tokens, agent_of, own_tokens
from policies.networks.zones import ENCODERS
from policies.runner.acting import act
from policies.runner.batched_env import make_batched_env
from policies.runner.plan import make_scripted
from policies.scripted import Policy
from policies.tiers import SCRIPTED, tier_of
from soc_env import SCENARIOS, family_of
from soc_env.errors import CheckpointError, ConfigError, HMARLSOCError, unknown_name
from soc_env.soc.networks import MAX_ZONES
from soc_env.soc.tables import actions, layout

MANIFEST, NETWORKS = "hmarl.json", "networks.pt"
FORMAT = 3  # raised whenever older checkpoints can no longer be read: names of settings and modules are part of them


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """The checkpoint's manifest, after checking that the checkpoint is whole.

    Raises:
        CheckpointError: no such folder, not a checkpoint of ours, or files missing or cut short.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CheckpointError(f"checkpoint {str(folder)!r} does not exist")
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        sizes, version = manifest["files"], manifest["format"]
    except FileNotFoundError:
        raise CheckpointError(f"{str(folder)!r} is not a checkpoint of hmarl-soc: it has no {MANIFEST}") from None
    except (ValueError, KeyError, TypeError):
        raise CheckpointError(f"checkpoint {str(folder)!r} is damaged: {MANIFEST} cannot be read") from None
    if version != FORMAT:
        raise CheckpointError(
            f"checkpoint {str(folder)!r} has format {version!r}, written by hmarl-soc {_writer(manifest)}; this "
            f"version reads format {FORMAT}"
        )
    for name, size in sizes.items():
        file = folder / name
        found = file.stat().st_size if file.is_file() else None
        if found != size:
            state = "is missing" if found is None else f"has {found} bytes instead of {size}"
            raise CheckpointError(f"checkpoint {str(folder)!r} is damaged: {name} {state}")
    return manifest


def _writer(manifest: Mapping[str, Any]) -> str:
    """The version of hmarl-soc that wrote the checkpoint."""
    versions = manifest.get("versions")
    return str(versions.get("hmarl-soc", "(version unknown)")) if isinstance(versions, dict) else "(version unknown)"


def check_scenario(manifest: Mapping[str, Any], scenario: str | None) -> None:
    """Raises CheckpointError if the checkpoint was trained on a scenario of another family than the one asked for. An
    environment that is none of our scenarios but shows the same to agents has their name as the manifest's "family"."""
    own = manifest.get("family", manifest["scenario"])
    families = {family_of(name).name if name in SCENARIOS else name for name in (own, scenario)}
    if scenario is not None and len(families) > 1:
        raise CheckpointError(
            f"checkpoint was trained on scenario {own!r}, not on {scenario!r} or another of its family"
        )


class TrainedPolicy:
    """The tiers' networks as a policy: observations in, actions out, nothing learned.

    Args:
        modules: tier -> RLModule.
        slow_agents: agents that act on decision steps only and hold their action between them.
        deterministic: the mode of each policy; False draws as in training at step `num_env_steps`.
        members: tier -> its agents; None goes by their names.
        scripted: tier -> policy of the tiers without a module.
    """

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
        scripted: Mapping[str, Policy] | None = None,
    ):
        self._tier = {agent: tier for tier, agents in (members or {}).items() for agent in agents}
        self._scripted = dict(scripted or {})
        self.modules, self.slow_agents, self.deterministic = dict(modules), slow_agents, deterministic
        self.num_env_steps, self.manifest = num_env_steps, dict(manifest or {})
        self.seed = seed
        self.reset(seed)

    def reset(self, seed: int | None = None) -> None:
        """Forgets held actions; a seed starts the draws of the sampled policy anew."""
        if seed is not None:
            self._generator = torch.Generator().manual_seed(seed)
            for policy in self._scripted.values():
                policy.reset(seed)
        self._held: dict[str, np.ndarray] = {}

    def _tier_of(self, agent: str) -> str:
        return self._tier.get(agent, tier_of(agent))

    def for_zones(self, num_zones: int) -> TrainedPolicy:
        """The same weights for a network of `num_zones` zones; nothing is learned or lost.

        Raises:
            ConfigError: `num_zones` is not 1 to 16, or a tier is scripted or its network has weights of its own for
                every input ("mlp") or segment (any of paper-v0).
        """
        if isinstance(num_zones, bool) or not isinstance(num_zones, int) or not 1 <= num_zones <= MAX_ZONES:
            raise ConfigError(f"num_zones is {num_zones!r}, allowed: 1 to {MAX_ZONES}")
        if self._scripted:
            raise ConfigError(f"tier {next(iter(self._scripted))!r} is scripted, for its own scenario's zones only")
        agents = {tier: agent for agent, tier in self._tier.items()}
        resized = copy.copy(self)
        resized.modules = {
            tier: _for_zones(tier, agents.get(tier, agent_of(tier)), module, num_zones)
            for tier, module in self.modules.items()
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
        """
        bodies = {agent: self._attending(agent) for agent in observations}
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
        module = self.modules.get(self._tier_of(agent))
        for name, body in module.named_modules() if module is not None else ():
            if getattr(body, "attends", False) and "critic" not in name and not body.reads_actions:
                return body
        return None

    @torch.no_grad()
    def __call__(self, observations: Mapping[str, np.ndarray], decides: np.ndarray) -> dict[str, np.ndarray]:
        """`observations` {agent: (N, dim)}, `decides` (N,) -> {agent: (N, dim) or (N,)}."""
        # The modules draw from torch's global generator: ours is swapped in, an evaluation leaves the caller's be.
        outside = torch.get_rng_state()
        torch.set_rng_state(self._generator.get_state())
        try:
            played = {tier: policy(observations, decides) for tier, policy in self._scripted.items()}
            actions = {}
            for agent, observation in observations.items():
                tier = self._tier_of(agent)
                is_scripted = tier in played
                actions[agent] = played[tier][agent] if is_scripted else self._act(agent, tier, observation, decides)
            return actions
        finally:
            self._generator.set_state(torch.get_rng_state())
            torch.set_rng_state(outside)

    def _act(self, agent: str, tier: str, observation: np.ndarray, decides: np.ndarray) -> np.ndarray:
        is_slow = agent in self.slow_agents
        envs = np.nonzero(decides)[0] if is_slow and agent in self._held else slice(None)
        expected = self.modules[tier].observation_space.shape[0]
        if observation.shape[1] != expected:
            raise ConfigError(
                f"{agent}: the policy reads observations of size {expected}, got {observation.shape[1]}; for_zones(n) "
                "is the policy for another number of zones"
            )
        rows = observation[envs]
        if len(rows) == 0:
            return self._held[agent]
        explore, t = not self.deterministic, self.num_env_steps
        actions = act(self.modules[tier], rows, explore=explore, t=t).executed
        if not is_slow:
            return actions
        held = self._held.setdefault(agent, np.zeros((len(observation), *actions.shape[1:]), actions.dtype))
        held[envs] = actions
        return held.copy()


def _for_zones(tier: str, agent: str, module: Any, num_zones: int) -> Any:
    """The module of the soc-v1 family with the same weights and the sizes of `num_zones` zones."""
    _, arguments = module.get_ctor_args_and_kwargs()
    encoder = module.settings.encoder
    sizes = layout(agent, num_zones).size, len(actions(agent, num_zones))
    if module.observation_space.shape == sizes[:1]:
        return module
    if encoder not in ENCODERS or own_tokens(agent, module.observation_space.shape[0]).is_numbered:
        raise ConfigError(
            f"tier {tier!r}: encoder {encoder!r} is made for one number of zones, it cannot act on {num_zones}; "
            f"allowed there: {' or '.join(map(repr, ENCODERS))} of the soc-v1 family"
        )
    spaces = {"observation_space": gym.spaces.Box(-1.0, 1.0, sizes[:1])}
    if isinstance(module.action_space, gym.spaces.Box):
        spaces["action_space"] = gym.spaces.Box(-1.0, 1.0, sizes[1:])
    with torch.random.fork_rng():  # the first weights are drawn, and overwritten
        resized = type(module)(**{**arguments, **spaces})
    missing, _ = resized.load_state_dict(module.state_dict(), strict=False)
    assert not missing, missing
    return resized.eval()


def load_policy(
    checkpoint: str | Path, *, deterministic: bool = True, seed: int = 0, scenario: str | None = None
) -> TrainedPolicy:
    """The trained policy of a checkpoint folder.

    Args:
        checkpoint: a folder written by `save_checkpoint`.
        deterministic: see `TrainedPolicy`.
        seed: of the sampled policy's draws.
        scenario: what it will be used on; None takes the checkpoint's word.

    Raises:
        CheckpointError: missing, damaged, or of a scenario of another family.
    """
    folder = Path(checkpoint).absolute()
    manifest = read_manifest(folder)
    check_scenario(manifest, scenario)
    present = {t: s["algorithm"] for t, s in manifest["tiers"].items() if t in manifest["members"]}
    present = {tier: algorithm for tier, algorithm in present.items() if algorithm != SCRIPTED}
    return TrainedPolicy(
        load_modules(folder, present),
        tuple(manifest["slow_agents"]),
        deterministic=deterministic,
        num_env_steps=manifest["num_env_steps"],
        seed=seed,
        manifest=manifest,
        members=manifest["members"],
        scripted=_scripted_tiers(manifest, seed),
    )


def load_modules(folder: str | Path, tiers: Mapping[str, str]) -> dict[str, Any]:
    """The RLModules of some tiers of a checkpoint, with their averaged networks; critics are the newest.

    Args:
        folder: the checkpoint.
        tiers: tier -> its algorithm.

    Raises:
        CheckpointError: missing or damaged, or without such a tier of that algorithm.
    """
    folder = Path(folder).absolute()
    manifest = read_manifest(folder)
    networks = torch.load(folder / NETWORKS, weights_only=True)
    modules = {}
    for tier, algorithm in tiers.items():
        if tier not in networks:
            raise CheckpointError(f"checkpoint {str(folder)!r}: {unknown_name('tier', tier, networks)}")
        trained = manifest["tiers"][tier]["algorithm"]
        if trained != algorithm:
            raise CheckpointError(f"tier {tier!r}: {trained} in checkpoint {str(folder)!r}, but {algorithm} here")
        path = folder / "learner_group" / tier / "learner" / "rl_module" / tier
        try:
            modules[tier] = RLModule.from_checkpoint(path)
            modules[tier].load_state_dict(networks[tier], strict=False)
        except Exception as error:  # whatever unpickling a foreign or damaged file may raise
            raise CheckpointError(f"checkpoint {str(folder)!r}: tier {tier!r} cannot be loaded ({error})") from error
        modules[tier].eval()
    return modules


def _scripted_tiers(manifest: Mapping[str, Any], seed: int) -> dict[str, Policy]:
    """The scripted policies of a checkpoint, made for the environment that it names."""
    present = manifest["members"]
    tiers = {t: s for t, s in manifest["tiers"].items() if s["algorithm"] == SCRIPTED and t in present}
    if not tiers:
        return {}
    scenario = manifest["scenario"]
    try:
        spaces = make_batched_env(scenario, 1, 0, manifest["overrides"]).action_spaces
        return {t: make_scripted(t, s["policy"], scenario, spaces, seed) for t, s in tiers.items()}
    except HMARLSOCError as error:
        raise CheckpointError(f"the checkpoint's scripted tiers {', '.join(tiers)} cannot be made: {error}") from error
