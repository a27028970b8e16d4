"""A trained policy of files: the networks of a checkpoint by PyTorch, or the ONNX files of an export by their runtime.

from policies import load_policy

policy = load_policy("runs/soc")  # a run, a checkpoint or an exported policy
policy = load_policy("soc-v1")  # or the team for a scenario that ships with the package
actions = policy(observations)  # one situation, {agent: (size,)}, or a batch, {agent: (N, size)}
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from policies.checkpoint import check_scenario, check_tiers, checkpoint_folder, read_manifest, tier_spaces
from policies.team import SCRIPTED
from soc_env.errors import CheckpointError, ConfigError, HMARLSOCError, shown, unknown_name

if TYPE_CHECKING:
    from policies.exported import ExportedPolicy
    from policies.scripted import Policy
    from policies.trained import TrainedPolicy

RUNTIMES = ("torch", "onnx")


@overload
def load_policy(
    checkpoint: str | Path,
    *,
    runtime: Literal["torch"] = "torch",
    deterministic: bool = True,
    seed: int = 0,
    scenario: str | None = None,
    env: Any = None,
    scripted: Mapping[str, Any] | None = None,
) -> TrainedPolicy: ...


@overload
def load_policy(
    checkpoint: str | Path,
    *,
    runtime: Literal["onnx"],
    deterministic: bool = True,
    seed: int = 0,
    scenario: str | None = None,
    env: Any = None,
    scripted: Mapping[str, Any] | None = None,
) -> ExportedPolicy: ...


def load_policy(
    checkpoint: str | Path,
    *,
    runtime: str = "torch",
    deterministic: bool = True,
    seed: int = 0,
    scenario: str | None = None,
    env: Any = None,
    scripted: Mapping[str, Any] | None = None,
) -> TrainedPolicy | ExportedPolicy:
    """The trained policy of a run, of a checkpoint or of an exported policy.

    Reads `hmarl.json` and the networks, imports nothing that a file names, and leaves every random state alone.

    Args:
        checkpoint: the folder, or the name of a shipped team; see `policies.checkpoint.checkpoint_folder`.
        runtime: "torch" reads `policy.safetensors`; "onnx" the ONNX files of an exported policy, without PyTorch,
            in a tenth of the time and a quarter of the memory.
        deterministic: see `TrainedPolicy`; "onnx" is nothing else.
        seed: of the sampled policy's draws.
        scenario: what it will be used on; None takes the checkpoint's word.
        env: the environment that it will act in, if that is none of our scenarios: its agents and spaces are compared
            with the checkpoint's. Anything with `observation_spaces` and `action_spaces` by agent.
        scripted: tier -> policy of the scripted tiers whose policy is none of ours, as `policies.scripted.builder_of`.

    Raises:
        CheckpointError: missing, damaged, of a scenario of another family, not for `env`, or without ONNX files.
        ConfigError: `scripted` names no scripted tier; an unknown `runtime`, or one that is not installed.
    """
    _check_runtime(runtime, deterministic)
    folder = checkpoint_folder(checkpoint).absolute()
    manifest = read_manifest(folder)
    check_scenario(manifest, scenario)
    check_tiers(folder, manifest)
    _check_env(folder, manifest, env)
    slow, played = tuple(manifest["slow_agents"]), _scripted_tiers(folder, manifest, seed, scripted or {})
    given = {"seed": seed, "manifest": manifest, "members": manifest["members"], "scripted": played}
    if runtime == "onnx":
        from policies.exported import ExportedPolicy, sessions_of

        return ExportedPolicy(sessions_of(folder, manifest), slow, **given)
    from policies.trained import TrainedPolicy, networks_of

    draws: dict[str, Any] = {"deterministic": deterministic, "num_env_steps": manifest["num_env_steps"]}
    return TrainedPolicy(networks_of(folder, manifest), slow, **draws, **given)


def _check_runtime(runtime: str, deterministic: bool) -> None:
    if runtime not in RUNTIMES:
        raise ConfigError(unknown_name("runtime", runtime, RUNTIMES))
    if runtime == "onnx" and not deterministic:
        raise ConfigError("deterministic=False: ONNX files have the greedy policy alone; allowed with runtime='torch'")


def _check_env(folder: Path, manifest: Mapping[str, Any], env: Any) -> None:
    """CheckpointError unless the environment has the checkpoint's agents with spaces of the same sizes."""
    if env is None:
        return
    import gymnasium as gym

    spaces = tier_spaces(folder, manifest)
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


def _scripted_tiers(
    folder: Path, manifest: Mapping[str, Any], seed: int, given: Mapping[str, Any]
) -> dict[str, Policy]:
    """The scripted policies of a checkpoint: `given`, or those of our tables that it names, or the playbooks in it."""
    plain = manifest["tiers"]
    tiers = [tier for tier in manifest["members"] if plain[tier]["algorithm"] == SCRIPTED]
    for tier in given:
        if tier not in tiers:
            raise ConfigError(f"scripted: tier {tier!r} is not scripted in the checkpoint; allowed: {shown(tiers)}")
    if not tiers:
        return {}
    from policies.scripted import is_code, is_file, make_policy  # with the simulators

    spaces, made = tier_spaces(folder, manifest), {}
    acts = {agent: spaces[tier][1] for tier, members in manifest["members"].items() for agent in members}
    for tier in tiers:
        policy = plain[tier].get("policy")
        if tier not in given and (is_code(policy) or is_file(policy)):
            raise CheckpointError(
                f"tier {tier!r} is scripted by {shown(policy)}, which is none of ours; pass load_policy(..., "
                f"scripted={{{tier!r}: builder}})"
            )
        try:
            made[tier] = make_policy(
                given.get(tier, policy), manifest["scenario"], acts, seed, f"tier {tier!r}: policy"
            )
        except HMARLSOCError as error:
            raise CheckpointError(f"the checkpoint's scripted tier {tier!r} cannot be made: {error}") from None
    return made
