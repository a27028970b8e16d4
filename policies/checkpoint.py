"""The checkpoint's folder: what is in it, and that it is whole. No pickle, nothing executed, no Ray.

    hmarl.json            manifest: scenario, tiers with all settings, spaces, members, steps, versions, and the size
                          and SHA-256 of every other file
    hmarl.json.sha256     that of the manifest, as `sha256sum` writes it
    policy.safetensors    the averaged networks that a loaded policy acts with, by "<tier>/<name>"
    state.json, state.safetensors, replay/   what training goes on from (`policies.hmarl.saving`); a checkpoint of
                          kind "policy" has none of it

`read_manifest` is what every reader calls first. Names in a manifest are looked up in tables of ours, never imported.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from safetensors.torch import load_file

from policies.algorithms import ALGORITHMS
from policies.networks.tokens import Tokens, agent_of, own_tokens
from policies.networks.zones import ENCODERS
from policies.runner.acting import act
from policies.runner.plan import make_scripted
from policies.scripted import Policy
from policies.tiers import SCRIPTED, parse, tier_of
from soc_env import SCENARIOS, family_of
from soc_env.errors import CheckpointError, ConfigError, HMARLSOCError, shown
from soc_env.soc.networks import MAX_ZONES
from soc_env.soc.tables import actions, layout

MANIFEST, NETWORKS, STATE = "hmarl.json", "policy.safetensors", "state"
DIGEST = f"{MANIFEST}.sha256"
FORMAT = 4  # raised whenever older checkpoints can no longer be read: names of settings and modules are part of them
KINDS = ("full", "policy")  # to resume, or to act only
MAX_MANIFEST_BYTES = 16 * 2**20
MAX_FILES = 100_000
MAX_FILE_BYTES = 64 * 2**30
MAX_OBSERVATION = 10**7  # [numbers] of one agent
BLOCK = 2**20  # [bytes] read at once for a digest


# ---- the manifest: what its fields may be
def _is_count(value: Any, most: int) -> bool:
    return type(value) is int and 0 <= value <= most


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _is_mapping_of(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(check(item) for item in value.values())


def _is_box(space: Any) -> bool:
    if not isinstance(space, dict) or space.get("kind") != "Box":
        return False
    shape = space.get("shape")
    return isinstance(shape, list) and len(shape) == 1 and _is_count(shape[0], MAX_OBSERVATION) and shape[0] > 0


def _is_action_space(space: Any) -> bool:
    if not isinstance(space, dict) or space.get("kind") != "Discrete":
        return _is_box(space) and space.get("low") == -1.0 and space.get("high") == 1.0
    return _is_count(space.get("n"), MAX_OBSERVATION) and space["n"] > 0


def _are_spaces(of_tier: Any) -> bool:
    return isinstance(of_tier, dict) and _is_box(of_tier.get("observation")) and _is_action_space(of_tier.get("action"))


def _is_file(entry: Any) -> bool:
    if not isinstance(entry, dict) or not _is_count(entry.get("bytes"), MAX_FILE_BYTES):
        return False
    return isinstance(entry.get("sha256"), str) and bool(re.fullmatch("[0-9a-f]{64}", entry["sha256"]))


_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "kind": (lambda value: value in KINDS, " or ".join(map(repr, KINDS))),
    "scenario": (lambda value: value is None or isinstance(value, str), "a scenario's name, or null"),
    "overrides": (lambda value: isinstance(value, dict), "settings by name"),
    "tiers": (_is_mapping_of(lambda own: isinstance(own, dict) and "algorithm" in own), "settings by tier"),
    "spaces": (_is_mapping_of(_are_spaces), "observation and action space by tier"),
    "agents": (_are_names, "names"),
    "members": (_is_mapping_of(_are_names), "names of agents by tier"),
    "slow_agents": (_are_names, "names"),
    "num_env_steps": (lambda value: _is_count(value, 10**15), "a number of steps"),
    "config": (lambda value: isinstance(value, dict), "settings by name"),
    "versions": (_is_mapping_of(lambda value: isinstance(value, str)), "versions by package"),
}


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """The checkpoint's manifest, after checking that the checkpoint is whole.

    Raises:
        CheckpointError: no such folder, not a checkpoint of ours, of another format, or damaged: a field of the wrong
            type, a file that is missing, cut short, altered, or no plain file in the folder. The message names it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CheckpointError(f"checkpoint {str(folder)!r} does not exist")
    if not (folder / MANIFEST).is_file():
        raise CheckpointError(f"{str(folder)!r} is not a checkpoint of hmarl-soc: it has no {MANIFEST}")
    manifest = _parsed(folder)
    for name, (is_right, allowed) in _FIELDS.items():
        if name not in manifest or not is_right(manifest[name]):
            found = f"is {shown(manifest[name])}" if name in manifest else "is missing"
            raise _damage(folder, MANIFEST, f"field {name!r} {found}, allowed: {allowed}")
    _check_files(folder, manifest)
    return manifest


def _damage(folder: Path, file: str, what: str) -> CheckpointError:
    return CheckpointError(f"checkpoint {str(folder)!r} is damaged: {file}: {what}")


def _parsed(folder: Path) -> dict[str, Any]:
    """The manifest of this format, as its digest says."""
    content = _bounded(folder, MANIFEST, MAX_MANIFEST_BYTES)
    has_digest = (folder / DIGEST).is_file()
    if has_digest and _bounded(folder, DIGEST, 1024) != digest_line(content):
        raise _damage(folder, MANIFEST, f"its SHA-256 is not the one in {DIGEST}")
    try:
        manifest = json.loads(content.decode("utf-8"))
        version = manifest["format"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise _damage(folder, MANIFEST, "cannot be read") from None
    if type(version) is not int or version != FORMAT:
        raise CheckpointError(
            f"checkpoint {str(folder)!r} has format {shown(version)}, written by hmarl-soc {_writer(manifest)}; this "
            f"version reads format {FORMAT}"
        )
    if not has_digest:
        raise _damage(folder, DIGEST, "is missing")
    return manifest


def _bounded(folder: Path, name: str, limit: int) -> bytes:
    """The file's content; refused without reading it if it is larger than `limit` [bytes]."""
    file = folder / name
    if file.is_symlink():
        raise _damage(folder, name, "is a link")
    try:
        if file.stat().st_size > limit:
            raise _damage(folder, name, f"has {file.stat().st_size} bytes, allowed: {limit}")
        return file.read_bytes()
    except OSError as error:
        raise _damage(folder, name, f"cannot be read ({error.strerror})") from None


def _writer(manifest: Mapping[str, Any]) -> str:
    """The version of hmarl-soc that wrote the checkpoint."""
    versions = manifest.get("versions")
    version = versions.get("hmarl-soc") if isinstance(versions, dict) else None
    return version[:20] if isinstance(version, str) else "(version unknown)"


def _check_files(folder: Path, manifest: Mapping[str, Any]) -> None:
    """That the files of the manifest are there, plain, whole, and as they were written."""
    files = manifest.get("files")
    if not isinstance(files, dict) or len(files) > MAX_FILES or not all(_is_file(entry) for entry in files.values()):
        raise _damage(folder, MANIFEST, "field 'files' is no table of file names with bytes and sha256")
    needed = [NETWORKS, *((f"{STATE}.json", f"{STATE}.safetensors") if manifest["kind"] == "full" else ())]
    for name in needed:
        if name not in files:
            raise _damage(folder, MANIFEST, f"field 'files' lacks {name!r}")
    for name, entry in files.items():
        parts = name.split("/")
        if any(part in ("", ".", "..") or not re.fullmatch(r"[\w.\-]+", part) for part in parts):
            raise _damage(folder, MANIFEST, f"field 'files' has {shown(name)}, allowed: plain files in the folder")
        places = [folder.joinpath(*parts[: k + 1]) for k in range(len(parts))]
        if any(place.is_symlink() for place in places):
            raise _damage(folder, name, "is a link, or in one")
        found = places[-1].stat().st_size if places[-1].is_file() else None
        if found != entry["bytes"]:
            state = "is missing" if found is None else f"has {found} bytes instead of {entry['bytes']}"
            raise _damage(folder, name, state)
    for name, entry in files.items():
        if sha256(folder / name) != entry["sha256"]:
            raise _damage(folder, name, f"its SHA-256 is not the one in {MANIFEST}")


# ---- writing
def sha256(file: Path) -> str:
    """The file's SHA-256, in hexadecimal."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def digest_line(content: bytes) -> bytes:
    """What `DIGEST` holds for a manifest of this content, as `sha256sum` writes it."""
    return f"{hashlib.sha256(content).hexdigest()}  {MANIFEST}\n".encode()


def write_manifest(folder: Path, manifest: Mapping[str, Any], known: Mapping[str, Mapping[str, Any]] = {}) -> None:
    """Writes the manifest and its digest, with size and SHA-256 of every file that is in the folder now.

    Args:
        folder: of the checkpoint.
        manifest: plain data, all fields but "format" and "files".
        known: file -> {"bytes", "sha256"} of files that need not be read again.
    """
    files = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        files[name] = dict(known[name]) if name in known else {"bytes": path.stat().st_size, "sha256": sha256(path)}
    content = json.dumps({"format": FORMAT, **manifest, "files": files}, indent=2).encode()
    for name, data in ((MANIFEST, content), (DIGEST, digest_line(content))):
        (folder / name).write_bytes(data)


def sync(path: Path) -> None:
    """Makes sure that a file, or a folder's list of names, is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# ---- what manifests are read for
def check_scenario(manifest: Mapping[str, Any], scenario: str | None) -> None:
    """Raises CheckpointError if the checkpoint was trained on a scenario of another family than the one asked for. An
    environment that is none of our scenarios but shows the same to agents has their name as the manifest's "family"."""
    own = manifest.get("family") or manifest["scenario"] or manifest.get("environment")
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
    encoder = module.settings.encoder
    sizes = layout(agent, num_zones).size, len(actions(agent, num_zones))
    if module.observation_space.shape == sizes[:1]:
        return module
    if encoder not in ENCODERS or own_tokens(agent, module.observation_space.shape[0]).is_numbered:
        raise ConfigError(
            f"tier {tier!r}: encoder {encoder!r} is made for one number of zones, it cannot act on {num_zones}; "
            f"allowed there: {' or '.join(map(repr, ENCODERS))} of the soc-v1 family"
        )
    acts = module.action_space
    if isinstance(acts, gym.spaces.Box):
        acts = gym.spaces.Box(-1.0, 1.0, sizes[1:])
    with torch.random.fork_rng():  # the first weights are drawn, and overwritten
        kind = ALGORITHMS[module.settings.algorithm].policy
        resized = kind(module.settings, module.role, gym.spaces.Box(-1.0, 1.0, sizes[:1]), acts)
    resized.load_from(module.state_dict())
    return resized.eval()


def load_policy(
    checkpoint: str | Path,
    *,
    deterministic: bool = True,
    seed: int = 0,
    scenario: str | None = None,
    scripted: Mapping[str, Callable[..., Policy]] | None = None,
) -> TrainedPolicy:
    """The trained policy of a checkpoint folder.

    Args:
        checkpoint: a folder written by `save_checkpoint`.
        deterministic: see `TrainedPolicy`.
        seed: of the sampled policy's draws.
        scenario: what it will be used on; None takes the checkpoint's word.
        scripted: tier -> builder `(action_spaces, seed) -> policy` of scripted tiers whose policy is none of ours.

    Raises:
        CheckpointError: missing, damaged, or of a scenario of another family.
    """
    folder = Path(checkpoint).absolute()
    manifest = read_manifest(folder)
    check_scenario(manifest, scenario)
    return TrainedPolicy(
        _modules(folder, manifest),
        tuple(manifest["slow_agents"]),
        deterministic=deterministic,
        num_env_steps=manifest["num_env_steps"],
        seed=seed,
        manifest=manifest,
        members=manifest["members"],
        scripted=_scripted_tiers(manifest, seed, scripted or {}),
    )


def load_networks(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    """Tier -> the state of its averaged networks, of a checkpoint whose manifest has been read."""
    networks: dict[str, dict[str, torch.Tensor]] = {}
    for name, value in load_file(folder / NETWORKS).items():
        tier, _, entry = name.partition("/")
        networks.setdefault(tier, {})[entry] = value
    return networks


def _modules(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Tier -> module with its averaged networks, made from the manifest's settings."""
    networks, modules = load_networks(folder), {}
    for tier, plain in manifest["tiers"].items():
        if plain["algorithm"] == SCRIPTED or tier not in manifest["members"]:
            continue
        if tier not in networks or tier not in manifest["spaces"]:
            raise _damage(folder, NETWORKS, f"has no networks of tier {tier!r}")
        try:
            modules[tier] = _module(tier, plain, manifest["spaces"][tier])
            modules[tier].load_from(networks[tier])
        except ValueError as error:
            reason = str(error).splitlines()[-1].strip()
            raise CheckpointError(f"checkpoint {str(folder)!r}: tier {tier!r} cannot be made ({reason})") from None
        modules[tier].eval()
    return modules


def _space(plain: Mapping[str, Any]) -> gym.Space:
    if plain["kind"] == "Discrete":
        return gym.spaces.Discrete(plain["n"])
    return gym.spaces.Box(plain.get("low", -np.inf), plain.get("high", np.inf), tuple(plain["shape"]))


def _module(tier: str, plain: Mapping[str, Any], spaces: Mapping[str, Any]) -> Any:
    settings = parse(tier, plain)
    with torch.random.fork_rng():  # the first weights are drawn, and overwritten
        kind = ALGORITHMS[settings.algorithm].policy
        return kind(settings, tier, _space(spaces["observation"]), _space(spaces["action"]))


def _scripted_tiers(
    manifest: Mapping[str, Any], seed: int, given: Mapping[str, Callable[..., Policy]]
) -> dict[str, Policy]:
    """The scripted policies of a checkpoint: ours by their names, others as they are given."""
    members, policies = manifest["members"], {}
    spaces = {agent: _space(manifest["spaces"][tier]["action"]) for tier, own in members.items() for agent in own}
    for tier, settings in manifest["tiers"].items():
        if settings["algorithm"] != SCRIPTED or tier not in members:
            continue
        name = settings.get("policy")
        builder = given.get(tier, name)
        if builder is name and (not isinstance(name, str) or ":" in name):
            raise CheckpointError(
                f"tier {tier!r} is scripted by {shown(name)}, which is none of ours; pass load_policy(..., "
                f"scripted={{{tier!r}: builder}})"
            )
        try:
            policies[tier] = make_scripted(tier, builder, manifest["scenario"], spaces, seed)
        except HMARLSOCError as error:
            raise CheckpointError(f"the checkpoint's scripted tier {tier!r} cannot be made: {error}") from error
    return policies
