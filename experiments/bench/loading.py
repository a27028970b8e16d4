"""The part of the benchmark that loads a policy in processes of its own: how long until it acts, and how much memory
that takes: without RLlib, beside it (needs [train]), and exported, by ONNX Runtime (needs [export], else left out)."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import soc_env
from experiments.bench.measure import Effort, Measurement
from experiments.bench.training import MIB
from experiments.export import ONNX_PACKAGES, export, save_networks
from experiments.progress import Progress

REPEATS = 3
EXPORTED = "exported policy, ONNX Runtime"
# What is imported before, and the runtime: what `load_policy` needs, the same after what every load needed while
# networks were RLlib's modules, and without PyTorch.
WAYS = {
    "load_policy": ("", "torch"),
    "RLlib, load_policy": ("import policies.hmarl.algorithm", "torch"),
    EXPORTED: ("", "onnx"),
}
PROGRAM = """
import json, sys, time
{before}
from policies import load_policy
policy = load_policy(sys.argv[1], runtime="{runtime}")
policy({{agent: [0.0] * size for agent, size in json.loads(sys.argv[2]).items()}})
seconds = time.process_time()
from experiments.memory import peak_bytes
print(json.dumps([seconds, peak_bytes()]))
"""


def bench_loading(scenarios: Sequence[str], effort: Effort, progress: Progress) -> list[Measurement]:
    """From the start of Python to the first action of a policy with the preset's networks; the cases take turns."""
    repeats = 1 if effort.is_quick else REPEATS
    has_onnx = all(importlib.util.find_spec(name) for name in ("onnxruntime", *ONNX_PACKAGES))
    ways = [name for name in WAYS if has_onnx or name != EXPORTED]
    found: dict[tuple[str, str], list[list[float]]] = {(s, name): [] for s in scenarios for name in ways}
    with tempfile.TemporaryDirectory() as root:
        sizes = {scenario: write_untrained(Path(root) / scenario, scenario) for scenario in scenarios}
        with contextlib.redirect_stdout(io.StringIO()):  # which says where it is
            folders = {s: export(Path(root) / s, Path(root) / f"{s}-exported", onnx=has_onnx) for s in scenarios}
        for repeat in range(repeats):
            for index, (scenario, name) in enumerate(found):
                found[scenario, name].append(_load(folders[scenario], sizes[scenario], *WAYS[name]))
                progress.update((repeat * len(found) + index + 1) / (repeats * len(found)))
    rows = []
    for (scenario, name), pairs in found.items():
        for kind, unit, scale, values in zip(
            ("time", "peak"), ("CPU-s", "MiB"), (1.0, MIB), zip(*pairs, strict=True), strict=True
        ):
            shown = [value / scale for value in values]
            parameters = {"scenario": scenario, "kind": kind, "through": name}
            row = (statistics.median(shown), min(shown), max(shown), repeats, parameters)
            rows.append(Measurement("loading", f"{scenario}, {name}, {kind}", unit, *row))
    return rows


def _load(folder: Path, sizes: dict[str, int], before: str, runtime: str) -> list[float]:
    """CPU-seconds and peak memory [bytes] of a process that loads a policy and acts once."""
    command = [sys.executable, "-c", PROGRAM.format(before=before, runtime=runtime), str(folder), json.dumps(sizes)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def write_untrained(folder: Path, scenario: str) -> dict[str, int]:
    """Writes a policy with the preset's networks as they are before training: the size of each agent's observation."""
    from policies.algorithms import ALGORITHMS
    from policies.presets import preset_of
    from policies.tiers import DEFAULT_TIERS, complete, parse

    simulator = soc_env.Simulator(scenario, num_envs=1, seed=0)
    preset = preset_of(scenario).get("tiers", {})
    plain = {tier: complete(tier, {**own, **preset.get(tier, {})}) for tier, own in DEFAULT_TIERS.items()}
    networks: dict[str, Any] = {}
    for tier, settings in plain.items():
        spaces = (part[f"{tier}_0"] for part in (simulator.observation_spaces, simulator.action_spaces))
        networks[tier] = ALGORITHMS[settings["algorithm"]].policy(parse(tier, settings), tier, *spaces)
    _write(folder, scenario, networks, plain)
    return {f"{tier}_0": network.observation_space.shape[0] for tier, network in networks.items()}


def _write(folder: Path, scenario: str, networks: dict[str, Any], plain: dict[str, Any]) -> None:
    from policies.checkpoint import NETWORKS, plain_spaces, write_manifest
    from soc_env.versions import versions

    folder.mkdir()
    save_networks(networks, folder / NETWORKS)
    manifest: dict[str, Any] = {
        "kind": "policy",
        "scenario": scenario,
        "overrides": {},
        "tiers": plain,
        "spaces": {
            tier: plain_spaces(network.observation_space.shape[0], network.action_space)
            for tier, network in networks.items()
        },
        "agents": [f"{tier}_0" for tier in networks],
        "members": {tier: [f"{tier}_0"] for tier in networks},
        "slow_agents": [],
        "num_env_steps": 0,
        "config": {},
        "versions": versions("hmarl-soc", "torch"),
    }
    write_manifest(folder, manifest)
