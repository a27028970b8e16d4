"""Checkpoints are read here: policies loaded from them without a cluster and without training.

A checkpoint is a folder as RLlib writes it plus two files: `policy.safetensors`, the averaged networks that a loaded
policy acts with, and `hmarl.json`: scenario, overrides, tiers, versions, steps and the size of every file
(`policies.hmarl.saving` writes it).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from soc_env import SCENARIOS, family_of
from soc_env.errors import CheckpointError, unknown_name

MANIFEST, NETWORKS = "hmarl.json", "policy.safetensors"
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
    for name, entry in sizes.items():
        size = entry if type(entry) is int else entry["bytes"]
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


def checkpoint_folder(path: str | os.PathLike[str]) -> Path:
    """A run folder stands for its best checkpoint, or its last one while none has been validated."""
    for name in ("best", "last"):
        if (inside := Path(path) / "checkpoints" / name).is_dir():
            return inside
    return Path(path)


def load_networks(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    """Tier -> the state of its averaged networks, of a checkpoint whose manifest has been read."""
    networks: dict[str, dict[str, torch.Tensor]] = {}
    for name, value in load_file(folder / NETWORKS).items():
        tier, _, entry = name.partition("/")
        networks.setdefault(tier, {})[entry] = value
    return networks


def load_modules(folder: str | Path, tiers: Mapping[str, str]) -> dict[str, Any]:
    """The RLModules of some tiers of a checkpoint, with their averaged networks; critics are the newest.

    Args:
        folder: the checkpoint.
        tiers: tier -> its algorithm.

    Raises:
        CheckpointError: missing or damaged, or without such a tier of that algorithm.
    """
    folder = Path(folder).absolute()
    from ray.rllib.core.rl_module.rl_module import RLModule

    manifest = read_manifest(folder)
    networks = load_networks(folder)
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
