"""`hmarl-soc export`: a trained policy leaves as a small folder that acts without RLlib, or in other runtimes by ONNX.

What is written:
    hmarl.json, hmarl.json.sha256   the manifest of kind "policy", under a digest as a checkpoint's is
    policy.safetensors              what acting needs, and nothing else: no critics, no target networks
    README.md                       with `card`: the model card
    TIER.onnx                       with `onnx`: of each tier with networks, "observation" (batch, size) float32 ->
                                    "action", its greedy action as the environment takes it: (batch, dim) float32
                                    within -1 and 1, or (batch,) int64 of a choice

`policies.load_policy` reads the folder. The manifest's field "interfaces" says by tier what the entries of observations
and actions are called, in our scenarios; the ONNX files say so in their metadata too.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.output import output_errors
from policies.exported import BATCH, INPUT, OUTPUT
from policies.past import names_with_past, row_size
from soc_env.errors import ConfigError, HMARLSOCError
from soc_env.files import partial_folder, replace_folder, sync_tree
from soc_env.registry import SCENARIOS

ONNX_PACKAGES = ("onnx", "onnxscript")
CARD = "README.md"


def export(
    run: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    onnx: bool = False,
    card: Sequence[str | os.PathLike[str]] | None = None,
) -> Path:
    """Writes the policy of a run or of a checkpoint as a folder of its own, whole or not at all.

    Args:
        run: a run folder, which stands for its best checkpoint, or a checkpoint.
        out: the new folder; an exported policy that is there is replaced. None: `policy` in a run folder, beside a
            checkpoint its name with `-policy`.
        onnx: whether to write an ONNX file of each tier with networks.
        card: a model card, `README.md`, is written of the run; of runs of the same setting with other seeds, named
            here, it says what they came to. None for no card.

    Returns:
        The folder. Prints where it is, and the scripted tiers, which have no networks.

    Raises:
        CheckpointError: the checkpoint is missing or damaged.
        ConfigError: `out` cannot be written or holds something else, or the extra [export] is not installed; a card of
            what is no finished run, or with runs of other settings.
    """
    from policies.checkpoint import checkpoint_folder, read_manifest
    from policies.trained import networks_of

    if onnx:
        _check_packages()
    root, folder = Path(run).absolute(), checkpoint_folder(run).absolute()
    target = _target(root, folder, out)
    manifest = read_manifest(folder)
    networks = networks_of(folder, manifest)
    about = None if card is None else _card(root, manifest, card)
    with output_errors(), _new_folder(target) as partial:
        size = _write(partial, networks, manifest, onnx, about)
    print(f"policy of {manifest['num_env_steps']:,} steps: {target} ({size / 1024:,.0f} KiB)")
    if scripted := [tier for tier in manifest["members"] if tier not in networks]:
        print(f"scripted, so without networks{' and ONNX files' if onnx else ''}: {', '.join(scripted)}")
    return target


def _write(
    folder: Path, networks: Mapping[str, Any], manifest: Mapping[str, Any], onnx: bool, about: str | None
) -> int:
    """Writes the files; their size [bytes]."""
    from policies.checkpoint import NETWORKS, write_manifest

    save_networks(networks, folder / NETWORKS)
    interfaces = {tier: _interface(manifest, tier) for tier in networks}
    for tier, network in networks.items() if onnx else ():
        _save_onnx(network, folder / f"{tier}.onnx", interfaces[tier], manifest)
    if about is not None:
        (folder / CARD).write_text(about, encoding="utf-8", newline="\n")
    write_manifest(folder, {**_plain(manifest), "kind": "policy", "interfaces": interfaces})
    return sum(file.stat().st_size for file in folder.iterdir())


def _target(root: Path, folder: Path, out: str | os.PathLike[str] | None) -> Path:
    """The folder to write; ConfigError if it holds something that is no exported policy."""
    from policies.checkpoint import MANIFEST, read_manifest

    beside = folder.with_name(f"{folder.name}-policy") if folder == root else root / "policy"
    target = beside if out is None else Path(out).absolute()
    if not target.exists() and not target.is_symlink():
        return target
    if target.is_dir() and not target.is_symlink():
        if not any(target.iterdir()):
            return target
        if (target / MANIFEST).is_file():
            with contextlib.suppress(HMARLSOCError):
                if read_manifest(target)["kind"] == "policy":
                    return target
    raise ConfigError(f"out: {str(target)!r} is no exported policy; allowed: a new folder, or one of an export before")


def _card(run: Path, manifest: Mapping[str, Any], others: Sequence[str | os.PathLike[str]]) -> str:
    from experiments.model_card import model_card  # with what measures and draws

    return model_card(run, manifest, others)


def _check_packages() -> None:
    for name in ONNX_PACKAGES:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            raise ConfigError(f'--onnx: {name} is not installed; it needs: pip install "hmarl-soc[export]"') from None


@contextlib.contextmanager
def _new_folder(target: Path) -> Iterator[Path]:
    """A folder that takes the name `target` once what is in it is complete."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_folder(target)
    try:
        partial.mkdir()
        yield partial
        sync_tree(partial)
        replace_folder(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def save_networks(networks: Mapping[str, Any], file: Path) -> None:
    """Tier -> network, as `policies.trained.load_networks` reads them."""
    from safetensors.torch import save_file

    states = {f"{tier}/{name}": value for tier, one in networks.items() for name, value in one.state_dict().items()}
    save_file({name: value.contiguous() for name, value in states.items()}, file)


def _plain(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest's fields that an exported policy keeps; where a tier once started from is nobody's business."""
    from policies.tiers import without_starts

    kept = {name: value for name, value in manifest.items() if name not in ("format", "files")}
    return {**kept, "tiers": without_starts(kept["tiers"]), "config": {}}


def _interface(manifest: Mapping[str, Any], tier: str) -> dict[str, Any]:
    """What goes into a tier's network and comes out of it."""
    from policies.networks.tokens import action_names, entry_names

    spaces, agents = manifest["spaces"][tier], manifest["members"][tier]
    (size,), acted = spaces["observation"]["shape"], spaces["action"]
    is_ours = manifest.get("family", manifest["scenario"]) in SCENARIOS
    is_choice, minutes = acted["kind"] == "Discrete", manifest["tiers"][tier].get("memory", {}).get("minutes", 0)
    names = entry_names(agents[0], size) if is_ours else None
    return {
        "agents": agents,
        "decides_every_step": not any(agent in manifest["slow_agents"] for agent in agents),
        INPUT: {
            "shape": [BATCH, row_size(size, minutes)],
            "type": "float32",
            "names": names and names_with_past(names, minutes),
        },
        OUTPUT: {
            "shape": [BATCH] if is_choice else [BATCH, *acted["shape"]],
            "type": "int64" if is_choice else "float32",
            "names": action_names(agents[0], size) if is_ours else None,
        },
    }


def _save_onnx(network: Any, file: Path, interface: Mapping[str, Any], manifest: Mapping[str, Any]) -> None:
    """Writes one tier's greedy policy."""
    import onnx
    import torch

    class Greedy(torch.nn.Module):
        """What is exported: the greedy action as the environment takes it."""

        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, observation: torch.Tensor) -> torch.Tensor:
            actions = self.network.draw(observation, explore=False).actions
            return actions if self.network.is_discrete else actions.clamp(-1.0, 1.0)

    example = torch.zeros(2, row_size(network.observation_space.shape[0], network.settings.memory.minutes))
    with _silence(), torch.no_grad():
        program = torch.onnx.export(
            Greedy().eval(),
            (example,),
            dynamo=True,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes={INPUT: {0: torch.export.Dim(BATCH)}},
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    about = {
        "tier": network.role,
        "algorithm": network.settings.algorithm,
        "scenario": manifest["scenario"] or "",
        "num_env_steps": str(manifest["num_env_steps"]),
        "interface": json.dumps(interface),
    }
    onnx.helper.set_model_props(model, about)
    model.producer_name, model.doc_string = "hmarl-soc", f"greedy policy of tier {network.role}"
    onnx.checker.check_model(model)
    onnx.save(model, str(file))


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Exporters tell about packages that are not there and about deprecations inside them."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
