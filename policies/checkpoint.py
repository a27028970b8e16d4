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

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from soc_env.errors import CheckpointError, shown

if TYPE_CHECKING:
    import gymnasium as gym

MANIFEST, NETWORKS, STATE = "hmarl.json", "policy.safetensors", "state"
DIGEST = f"{MANIFEST}.sha256"
FORMAT = 4  # raised whenever older checkpoints can no longer be read: names of settings and modules are part of them
KINDS = ("full", "policy")  # to resume, or to act only
MAX_MANIFEST_BYTES = 16 * 2**20
MAX_FILES = 100_000
MAX_FILE_BYTES = 64 * 2**30
MAX_NETWORKS_BYTES = 4 * 2**30
MAX_OBSERVATION = 10**7  # [numbers] of one agent
BLOCK = 2**20  # [bytes] read at once for a digest
TEAMS = Path(__file__).parent / "teams"  # exported policies, package data


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
        found, teams = f"checkpoint {str(folder)!r} does not exist", ", ".join(shipped_teams())
        raise CheckpointError(f"{found}; shipped teams: {teams}" if teams else found)
    if not (folder / MANIFEST).is_file():
        raise CheckpointError(f"{str(folder)!r} is not a checkpoint of hmarl-soc: it has no {MANIFEST}")
    manifest = _parsed(folder)
    for name, (is_right, allowed) in _FIELDS.items():
        if name not in manifest or not is_right(manifest[name]):
            found = f"is {shown(manifest[name])}" if name in manifest else "is missing"
            raise damage(folder, MANIFEST, f"field {name!r} {found}, allowed: {allowed}")
    _check_files(folder, manifest)
    return manifest


def damage(folder: Path, file: str, what: str) -> CheckpointError:
    """The error about a file of a checkpoint."""
    return CheckpointError(f"checkpoint {str(folder)!r} is damaged: {file}: {what}")


def _parsed(folder: Path) -> dict[str, Any]:
    """The manifest of this format, as its digest says."""
    content = _bounded(folder, MANIFEST, MAX_MANIFEST_BYTES)
    has_digest = (folder / DIGEST).is_file()
    if has_digest and _bounded(folder, DIGEST, 1024) != digest_line(content):
        raise damage(folder, MANIFEST, f"its SHA-256 is not the one in {DIGEST}")
    try:
        manifest = json.loads(content.decode("utf-8"))
        version = manifest["format"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise damage(folder, MANIFEST, "cannot be read") from None
    if type(version) is not int or version != FORMAT:
        raise CheckpointError(
            f"checkpoint {str(folder)!r} has format {shown(version)}, written by hmarl-soc {_writer(manifest)}; this "
            f"version reads format {FORMAT}"
        )
    if not has_digest:
        raise damage(folder, DIGEST, "is missing")
    return manifest


def _bounded(folder: Path, name: str, limit: int) -> bytes:
    """The file's content; refused without reading it if it is larger than `limit` [bytes]."""
    file = folder / name
    if file.is_symlink():
        raise damage(folder, name, "is a link")
    try:
        if file.stat().st_size > limit:
            raise damage(folder, name, f"has {file.stat().st_size} bytes, allowed: {limit}")
        return file.read_bytes()
    except OSError as error:
        raise damage(folder, name, f"cannot be read ({error.strerror})") from None


def _writer(manifest: Mapping[str, Any]) -> str:
    """The version of hmarl-soc that wrote the checkpoint."""
    versions = manifest.get("versions")
    version = versions.get("hmarl-soc") if isinstance(versions, dict) else None
    return version[:20] if isinstance(version, str) else "(version unknown)"


def _check_files(folder: Path, manifest: Mapping[str, Any]) -> None:
    """That the files of the manifest are there, plain, whole, and as they were written."""
    files = manifest.get("files")
    if not isinstance(files, dict) or len(files) > MAX_FILES or not all(_is_file(entry) for entry in files.values()):
        raise damage(folder, MANIFEST, "field 'files' is no table of file names with bytes and sha256")
    needed = [NETWORKS, *((f"{STATE}.json", f"{STATE}.safetensors") if manifest["kind"] == "full" else ())]
    for name in needed:
        if name not in files:
            raise damage(folder, MANIFEST, f"field 'files' lacks {name!r}")
    if files[NETWORKS]["bytes"] > MAX_NETWORKS_BYTES:
        raise damage(folder, NETWORKS, f"has {files[NETWORKS]['bytes']} bytes, allowed: {MAX_NETWORKS_BYTES}")
    for name, entry in files.items():
        parts = name.split("/")
        if any(part in ("", ".", "..") or not re.fullmatch(r"[\w.\-]+", part) for part in parts):
            raise damage(folder, MANIFEST, f"field 'files' has {shown(name)}, allowed: plain files in the folder")
        places = [folder.joinpath(*parts[: k + 1]) for k in range(len(parts))]
        if any(place.is_symlink() for place in places):
            raise damage(folder, name, "is a link, or in one")
        found = places[-1].stat().st_size if places[-1].is_file() else None
        if found != entry["bytes"]:
            state = "is missing" if found is None else f"has {found} bytes instead of {entry['bytes']}"
            raise damage(folder, name, state)
    for name, entry in files.items():
        if sha256(folder / name) != entry["sha256"]:
            raise damage(folder, name, f"its SHA-256 is not the one in {MANIFEST}")


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


# ---- what manifests are read for
def check_scenario(manifest: Mapping[str, Any], scenario: str | None) -> None:
    """Raises CheckpointError if the checkpoint was trained on a scenario of another family than the one asked for. An
    environment that is none of our scenarios but shows the same to agents has their name as the manifest's "family"."""
    if scenario is None:
        return
    from soc_env.registry import SCENARIOS, family_of

    own = manifest.get("family") or manifest["scenario"] or manifest.get("environment")
    families = {family_of(name).name if name in SCENARIOS else name for name in (own, scenario)}
    if len(families) > 1:
        raise CheckpointError(
            f"checkpoint was trained on scenario {own!r}, not on {scenario!r} or another of its family"
        )


def checkpoint_folder(path: str | os.PathLike[str]) -> Path:
    """A run folder stands for its best checkpoint, or its last one while none has been validated; the name of a team
    that ships with the package for that team, where there is no file or folder of that name."""
    for name in ("best", "last"):
        if (inside := Path(path) / "checkpoints" / name).is_dir():
            return inside
    return Path(path) if Path(path).exists() else shipped_teams().get(str(path), Path(path))


def shipped_teams() -> dict[str, Path]:
    """Scenario -> folder of the exported team for it that ships with the package; `README.md` there is its card."""
    return {manifest.parent.name: manifest.parent for manifest in sorted(TEAMS.glob(f"*/{MANIFEST}"))}


def plain_spaces(size: int, acts: gym.Space) -> dict[str, Any]:
    """What the field "spaces" of a manifest holds of a tier, for `tier_spaces`.

    Args:
        size: of its observations.
        acts: its action space.
    """
    from gymnasium.spaces import Discrete

    acted: dict[str, Any] = {"kind": "Box", "shape": list(acts.shape or ()), "low": -1.0, "high": 1.0}
    if isinstance(acts, Discrete):
        acted = {"kind": "Discrete", "n": int(acts.n)}
    return {"observation": {"kind": "Box", "shape": [size]}, "action": acted}


def tier_spaces(folder: Path, manifest: Mapping[str, Any]) -> dict[str, tuple[gym.Space, gym.Space]]:
    """Tier -> its observation and action space as the manifest has them.

    Raises:
        CheckpointError: a tier with agents has no settings or spaces.
    """
    check_tiers(folder, manifest)
    return {tier: _spaces(manifest["spaces"][tier]) for tier in manifest["members"]}


def check_tiers(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Raises CheckpointError unless every tier with agents has settings and spaces."""
    for tier in manifest["members"]:
        if tier not in manifest["tiers"] or tier not in manifest["spaces"]:
            raise CheckpointError(f"checkpoint {str(folder)!r} has no settings or spaces of its tier {tier!r}")


def _spaces(plain: Mapping[str, Any]) -> tuple[gym.Space, gym.Space]:
    import gymnasium as gym  # which takes time and memory that acting by ONNX Runtime can do without

    acted, size = plain["action"], plain["observation"]["shape"]
    is_discrete = acted["kind"] == "Discrete"
    acts = gym.spaces.Discrete(acted["n"]) if is_discrete else gym.spaces.Box(-1.0, 1.0, tuple(acted["shape"]))
    return gym.spaces.Box(-float("inf"), float("inf"), tuple(size)), acts
