"""Trained policies act here: PyTorch and the files of a checkpoint, neither RLlib nor Ray.

from policies import load_policy

policy = load_policy("runs/soc")  # a run, a checkpoint or an exported policy
actions = policy(observations)  # one situation, {agent: (size,)}, or a batch, {agent: (N, size)}
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
import torch

from policies.algorithms import ALGORITHMS
from policies.checkpoint import check_scenario, checkpoint_folder, load_networks, read_manifest
from policies.networks.tokens import Tokens, agent_of, entry_names, own_tokens
from policies.networks.zones import ENCODERS
from policies.runner.acting import act
from policies.tiers import SCRIPTED, parse, tier_of
from soc_env.errors import CheckpointError, ConfigError, HMARLSOCError, shown, unknown_name
from soc_env.soc.networks import MAX_ZONES
from soc_env.soc.tables import actions, layout

if TYPE_CHECKING:
    from policies.scripted import Policy

Actions = dict[str, Any]


class TrainedPolicy:
    """The tiers' networks as a policy: observations in, actions out, nothing learned.

    No call changes a random state of the caller's: draws come from a generator of the policy's own.

    Args:
        modules: tier -> its `policies.algorithms.network.TierNetwork`.
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

    def tier_of(self, agent: str) -> str:
        """The tier that acts for an agent; ConfigError if none does."""
        tier = self._named(agent)
        if tier not in self.modules and tier not in self._scripted:
            known = self._tier or [f"{tier}_0" for tier in (*self.modules, *self._scripted)]
            raise ConfigError(unknown_name("agent", agent, known))
        return tier

    def _named(self, agent: str) -> str:
        """The tier that would act for an agent of that name; "" where only those named have one."""
        return self._tier.get(agent, "") if self._tier else tier_of(agent)

    def _size(self, tier: str) -> int | None:
        """That of the observations of a tier's agents; None if nothing says it: a scripted tier of no checkpoint."""
        if tier in self.modules:
            return self.modules[tier].observation_space.shape[0]
        spaces = self.manifest.get("spaces", {})
        return spaces[tier]["observation"]["shape"][0] if tier in spaces else None

    def for_zones(self, num_zones: int) -> TrainedPolicy:
        """The same weights for a network of `num_zones` zones; nothing is learned or lost.

        Raises:
            ConfigError: `num_zones` is not 1 to 16, or it is another number than now and a tier is scripted or its
                network has weights of its own for every input ("mlp") or segment (any of paper-v0).
        """
        if isinstance(num_zones, bool) or not isinstance(num_zones, int) or not 1 <= num_zones <= MAX_ZONES:
            raise ConfigError(f"num_zones is {num_zones!r}, allowed: 1 to {MAX_ZONES}")
        members = {tier: agent for agent, tier in self._tier.items()}
        agents = {tier: agent_of(tier_of(members.get(tier, f"{tier}_0"))) for tier in (*self.modules, *self._scripted)}
        if self._scripted:
            if any(self._size(tier) not in (None, layout(agents[tier], num_zones).size) for tier in agents):
                raise ConfigError(f"tier {next(iter(self._scripted))!r} is scripted, for its own scenario's zones only")
            return self
        resized = copy.copy(self)
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
        module = self.modules.get(self._named(agent))
        for name, body in module.named_modules() if module is not None else ():
            if getattr(body, "attends", False) and "critic" not in name and not body.reads_actions:
                return body
        return None

    # ---- acting
    def __call__(self, observations: Mapping[str, Any], decides: Any = None) -> Actions:
        """The agents' actions.

        Args:
            observations: of one situation, {agent: (size,)}, or of N, {agent: (N, size)}; all finite. A scripted tier
                wants those of all agents.
            decides: whether agents that act on decision steps decide now, a bool or (N,) bool; None: all do. Where
                they do not, they hold their action. A batch of another size than the last one starts anew.

        Returns:
            {agent: (dim,) float32, or int for a choice} of one situation, {agent: (N, dim) or (N,)} of N.

        Raises:
            ConfigError: an agent that no tier acts for; an observation of the wrong size, or with an entry that is not
                finite; batches of unequal size.
        """
        batch, decided, is_single = self._batch(observations, decides)
        with self._own_draws():
            played = {tier: policy(batch, decided) for tier, policy in self._scripted.items()}
            acted: Actions = {}
            for agent, seen in batch.items():
                tier = self.tier_of(agent)
                acted[agent] = played[tier][agent] if tier in played else self._act(agent, tier, seen, decided)
        if not is_single:
            return acted
        return {agent: action[0] if action.ndim > 1 else int(action[0]) for agent, action in acted.items()}

    def _batch(self, observations: Mapping[str, Any], decides: Any) -> tuple[dict[str, np.ndarray], np.ndarray, bool]:
        """The observations as (N, size) float32, who decides as (N,) bool, and whether it is one situation."""
        arrays = {agent: _as_array(agent, seen) for agent, seen in observations.items()}
        for agent in self._tier if self._scripted else ():
            if agent not in arrays:
                raise ConfigError(f"the observation of {agent} is missing; scripted tiers read those of all agents")
        sizes = {agent: array.shape[:-1] for agent, array in arrays.items()}
        first = next(iter(sizes), "")
        for agent, size in sizes.items():
            if size != sizes[first]:
                raise ConfigError(f"observations of {first} are a batch {sizes[first]}, those of {agent} {size}")
        is_single = sizes.get(first) == ()
        batch = {agent: array[None] if is_single else array for agent, array in arrays.items()}
        num_rows = len(batch[first]) if batch else 0
        for agent, array in batch.items():
            self._check(agent, array)
        decided = np.ones(num_rows, bool) if decides is None else np.atleast_1d(np.asarray(decides, bool))
        if decided.shape != (num_rows,):
            raise ConfigError(f"decides has shape {decided.shape}, allowed: ({num_rows},)")
        return batch, decided, is_single

    def _check(self, agent: str, rows: np.ndarray) -> None:
        """ConfigError unless a tier acts on observations like these."""
        expected = self._size(self.tier_of(agent)) or rows.shape[1]
        if rows.shape[1] != expected:
            raise ConfigError(
                f"{agent}: the policy reads observations of size {expected}, got {rows.shape[1]}; for_zones(n) is the "
                "policy for another number of zones"
            )
        if not (is_finite := np.isfinite(rows)).all():
            from soc_env.registry import SCENARIOS

            row, entry = np.argwhere(~is_finite)[0].tolist()
            ours = self.manifest.get("family", self.manifest.get("scenario")) in SCENARIOS
            names = entry_names(agent, expected) if ours else None
            name = f"entry {entry}" if names is None else f"{names[entry]!r} (entry {entry})"
            place = f" of row {row}" if len(rows) > 1 else ""
            raise ConfigError(f"{agent}: observation {name}{place} is {rows[row, entry]}, allowed: finite numbers")

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

    def _act(self, agent: str, tier: str, seen: np.ndarray, decides: np.ndarray) -> np.ndarray:
        is_slow, held = agent in self.slow_agents, self._held.get(agent)
        holds = is_slow and held is not None and len(held) == len(seen)
        envs = np.nonzero(decides)[0] if holds else np.arange(len(seen))
        if holds and len(envs) == 0:
            assert held is not None
            return held.copy()
        rows = seen[envs] if holds else seen
        acted = act(self.modules[tier], rows, explore=not self.deterministic, t=self.num_env_steps).executed
        if not is_slow:
            return acted
        if not holds:
            held = self._held[agent] = np.zeros((len(seen), *acted.shape[1:]), acted.dtype)
        assert held is not None
        held[envs] = acted
        return held.copy()


def _as_array(agent: str, seen: Any) -> np.ndarray:
    """One observation (size,) or a batch (N, size), float32."""
    try:
        array = np.asarray(seen, np.float32)
    except (TypeError, ValueError):
        raise ConfigError(f"{agent}: observation is {shown(seen)}, allowed: numbers") from None
    if array.ndim not in (1, 2):
        raise ConfigError(f"{agent}: observation has shape {array.shape}, allowed: (size,), or (N, size) of a batch")
    return array


def _for_zones(tier: str, agent: str, module: Any, num_zones: int) -> Any:
    """The network of the soc-v1 family with the same weights and the sizes of `num_zones` zones."""
    encoder = module.settings.encoder
    sizes = layout(agent, num_zones).size, len(actions(agent, num_zones))
    if module.observation_space.shape == sizes[:1]:
        return module
    if encoder not in ENCODERS or own_tokens(agent, module.observation_space.shape[0]).is_numbered:
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


# ---- loading
def load_policy(
    checkpoint: str | Path,
    *,
    deterministic: bool = True,
    seed: int = 0,
    scenario: str | None = None,
    env: Any = None,
    scripted: Mapping[str, Callable[..., Policy]] | None = None,
) -> TrainedPolicy:
    """The trained policy of a run, of a checkpoint or of an exported policy.

    Reads `hmarl.json` and `policy.safetensors`, imports nothing that a file names, and leaves every random state alone.

    Args:
        checkpoint: the folder. A run folder stands for its best checkpoint, or its last while it has no best one.
        deterministic: see `TrainedPolicy`.
        seed: of the sampled policy's draws.
        scenario: what it will be used on; None takes the checkpoint's word.
        env: the environment that it will act in, if that is none of our scenarios: its agents and spaces are compared
            with the checkpoint's. Anything with `observation_spaces` and `action_spaces` by agent.
        scripted: tier -> builder `(action_spaces, seed) -> policy` of the scripted tiers whose policy is none of ours.

    Raises:
        CheckpointError: missing, damaged, of a scenario of another family, or not for `env`.
        ConfigError: `scripted` names no scripted tier.
    """
    folder = checkpoint_folder(checkpoint).absolute()
    manifest = read_manifest(folder)
    check_scenario(manifest, scenario)
    spaces = _tier_spaces(folder, manifest)
    if env is not None:
        _check_env(folder, manifest, spaces, env)
    return TrainedPolicy(
        networks_of(folder, manifest),
        tuple(manifest["slow_agents"]),
        deterministic=deterministic,
        num_env_steps=manifest["num_env_steps"],
        seed=seed,
        manifest=manifest,
        members=manifest["members"],
        scripted=_scripted_tiers(manifest, spaces, seed, scripted or {}),
    )


def _tier_spaces(folder: Path, manifest: Mapping[str, Any]) -> dict[str, tuple[gym.Space, gym.Space]]:
    """Tier -> its observation and action space as the manifest has them."""
    for tier in manifest["members"]:
        if tier not in manifest["tiers"] or tier not in manifest["spaces"]:
            raise CheckpointError(f"checkpoint {str(folder)!r} has no settings or spaces of its tier {tier!r}")
    return {tier: _spaces(manifest["spaces"][tier]) for tier in manifest["members"]}


def _spaces(plain: Mapping[str, Any]) -> tuple[gym.Space, gym.Space]:
    acted, size = plain["action"], plain["observation"]["shape"]
    is_discrete = acted["kind"] == "Discrete"
    acts = gym.spaces.Discrete(acted["n"]) if is_discrete else gym.spaces.Box(-1.0, 1.0, tuple(acted["shape"]))
    return gym.spaces.Box(-np.inf, np.inf, tuple(size)), acts


def _check_env(folder: Path, manifest: Mapping[str, Any], spaces: Mapping[str, Any], env: Any) -> None:
    """CheckpointError unless the environment has the checkpoint's agents with spaces of the same sizes."""
    for tier, members in manifest["members"].items():
        for agent in members:
            if agent not in env.observation_spaces or agent not in env.action_spaces:
                raise CheckpointError(f"checkpoint {str(folder)!r} acts for {agent!r}, which the environment lacks")
            found = gym.spaces.flatdim(env.observation_spaces[agent]), gym.spaces.flatdim(env.action_spaces[agent])
            wanted = tuple(gym.spaces.flatdim(space) for space in spaces[tier])
            if found != wanted:
                raise CheckpointError(
                    f"checkpoint {str(folder)!r}: {agent} observes and acts in {wanted} entries, in the environment in "
                    f"{found}"
                )


def networks_of(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Tier -> its network as it acts, with the averaged weights, of a checkpoint whose manifest has been read.

    Raises:
        CheckpointError: settings, spaces and weights do not fit each other.
    """
    states, spaces, networks = load_networks(folder), _tier_spaces(folder, manifest), {}
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


def _ours(tier: str, name: str, known: Mapping[str, Any], acts: Mapping[str, gym.Space], seed: int) -> Policy:
    """A scripted policy of ours for the spaces that a manifest says; ConfigError if it is not made for such."""
    from policies.scripted import find  # with the simulators

    builder = find(f"tier {tier!r}: policy", name, known)
    try:
        return builder(acts, seed)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, HMARLSOCError):
            raise
        raise ConfigError(f"policy {name!r} does not fit the agents and their spaces ({shown(error)})") from None


def _scripted_tiers(
    manifest: Mapping[str, Any], spaces: Mapping[str, Any], seed: int, given: Mapping[str, Callable[..., Policy]]
) -> dict[str, Policy]:
    """The scripted policies of a checkpoint: `given`, or those of our tables that it names."""
    acts = {agent: spaces[tier][1] for tier, members in manifest["members"].items() for agent in members}
    plain = manifest["tiers"]
    tiers = [tier for tier in manifest["members"] if plain[tier]["algorithm"] == SCRIPTED]
    for tier in given:
        if tier not in tiers:
            raise ConfigError(f"scripted: tier {tier!r} is not scripted in the checkpoint; allowed: {shown(tiers)}")
    if not tiers:
        return {}
    from policies.scripted import playable  # with the simulators

    made = {}
    for tier in tiers:
        name, known = plain[tier].get("policy"), playable(manifest["scenario"])
        if tier not in given and (not isinstance(name, str) or ":" in name):
            raise CheckpointError(
                f"tier {tier!r} is scripted by {shown(name)}, which is none of ours; pass load_policy(..., "
                f"scripted={{{tier!r}: builder}})"
            )
        try:
            made[tier] = given[tier](acts, seed) if tier in given else _ours(tier, name, known, acts, seed)
        except HMARLSOCError as error:
            raise CheckpointError(f"the checkpoint's scripted tier {tier!r} cannot be made: {error}") from None
    return made
