"""Checkpoints are written here: whole or not at all.

The manifest is written last, and the folder gets its name only when all of it is on disk, so a killed run leaves no
half checkpoint behind. `policies.checkpoint` reads what this writes.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import gymnasium as gym
from safetensors.torch import save_file

from policies.checkpoint import FORMAT, MANIFEST, NETWORKS
from policies.hmarl.algorithm import HMARL
from policies.runner.batched_env import import_path
from policies.trained import TrainedPolicy
from soc_env.versions import versions


def save_checkpoint(algo: HMARL, folder: str | Path, *, replay: bool = True, **info: Any) -> Path:
    """Writes `algo` to `folder` atomically; `info` (plain data) is kept in the manifest.

    Without `replay` the checkpoint is small: whole to evaluate, but training resumed from it starts with an empty
    buffer.
    """
    folder = Path(folder).absolute()
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    saves_replay, algo.saves_replay = algo.saves_replay, replay and algo.saves_replay
    try:
        algo.save_to_path(partial)
    finally:
        algo.saves_replay = saves_replay
    networks = {f"{tier}/{name}": value for tier, own in algo.averaged.items() for name, value in own.items()}
    save_file({name: value.contiguous() for name, value in networks.items()}, partial / NETWORKS)
    sizes = {str(p.relative_to(partial)): p.stat().st_size for p in sorted(partial.rglob("*")) if p.is_file()}
    manifest = {
        "format": FORMAT,
        "scenario": import_path(algo.config.env),
        "overrides": dict(algo.config.env_config),
        "tiers": algo.config.tier_settings,
        "spaces": {tier: _tier_spaces(algo, members[0]) for tier, members in algo.plan.members.items()},
        "agents": list(algo.agents),
        "members": dict(algo.plan.members),
        "slow_agents": list(algo.slow_agents),
        "num_env_steps": algo.num_env_steps,
        "versions": versions("hmarl-soc", "ray", "torch", "numpy"),  # what the networks were made with
        **info,
        "files": sizes,
    }
    (partial / MANIFEST).write_text(json.dumps(manifest, indent=2, default=import_path))
    # The old folder is put aside whole and deleted when the new one is in place: deleting it under its name could be
    # interrupted half way.
    retired = _retired(folder)
    if folder.exists():
        shutil.rmtree(retired, ignore_errors=True)
        os.rename(folder, retired)
    os.rename(partial, folder)
    shutil.rmtree(retired, ignore_errors=True)
    return folder


def _tier_spaces(algo: HMARL, agent: str) -> dict[str, Any]:
    part, space = algo.team.slices[agent], algo.team.action_spaces[agent]
    acted: dict[str, Any] = {"kind": "Box", "shape": list(space.shape or ()), "low": -1.0, "high": 1.0}
    if isinstance(space, gym.spaces.Discrete):
        acted = {"kind": "Discrete", "n": int(space.n)}
    return {"observation": {"kind": "Box", "shape": [part.stop - part.start]}, "action": acted}


def recover_checkpoint(folder: str | Path) -> None:
    """Puts the previous checkpoint back if a run was killed in `save_checkpoint` between the two renamings."""
    folder = Path(folder).absolute()
    if not folder.exists() and _retired(folder).exists():
        os.rename(_retired(folder), folder)


def _retired(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def policy_of(algo: HMARL, *, deterministic: bool = True, seed: int = 0) -> TrainedPolicy:
    """What `algo` has learned, as `load_policy` would have it from a checkpoint written now."""
    return TrainedPolicy(
        algo.averaged_modules(),
        algo.slow_agents,
        deterministic=deterministic,
        num_env_steps=algo.num_env_steps,
        seed=seed,
        members=algo.plan.members,
        scripted=algo.scripted_policies(seed),
    )
