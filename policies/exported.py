"""Exported policies act here by ONNX Runtime: neither PyTorch nor the simulators.

`hmarl-soc export RUN --onnx` writes the files, `policies.load_policy(folder, runtime="onnx")` reads them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from policies.checkpoint import damage
from policies.past import row_size
from policies.team import SCRIPTED, TeamPolicy
from soc_env.errors import CheckpointError, ConfigError

INPUT, OUTPUT = "observation", "action"
MAX_BYTES = 2 * 2**30  # an ONNX file can have no more
BATCH = "batch"  # the axis of any length


class ExportedPolicy(TeamPolicy):
    """The ONNX files of a team's tiers as a policy: greedy, and the same actions as `policies.trained.TrainedPolicy`.

    Its `modules` are sessions of ONNX Runtime, on one thread of the CPU each.
    """

    def _size(self, tier: str) -> int:
        return self.manifest["spaces"][tier]["observation"]["shape"][0]

    def _forward(self, module: Any, rows: np.ndarray) -> np.ndarray:
        return module.run([OUTPUT], {INPUT: np.ascontiguousarray(rows)})[0]

    def _entry_names(self, agent: str, size: int) -> Sequence[str] | None:
        try:
            names = self.manifest["interfaces"][self.tier_of(agent)][INPUT]["names"]
        except (KeyError, TypeError):
            return None
        wanted = row_size(size, self.minutes(self.tier_of(agent)))
        return names[:size] if isinstance(names, list) and len(names) == wanted else None


def sessions_of(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Tier -> the session of its ONNX file, of an exported policy whose manifest has been read.

    Raises:
        CheckpointError: a tier's file is missing, cannot be read, or is not for the tier's spaces.
        ConfigError: ONNX Runtime is not installed.
    """
    tiers = [tier for tier in manifest["members"] if manifest["tiers"][tier]["algorithm"] != SCRIPTED]
    for tier in tiers:
        if f"{tier}.onnx" not in manifest["files"]:  # which holds what is there, under its SHA-256
            raise CheckpointError(
                f"checkpoint {str(folder)!r} has no {tier}.onnx; a folder that has is made by: hmarl-soc export RUN "
                "--onnx"
            )
    runtime = _runtime()
    return {tier: _session(runtime, folder, f"{tier}.onnx", *_sizes(manifest, tier)) for tier in tiers}


def _sizes(manifest: Mapping[str, Any], tier: str) -> tuple[int, Mapping[str, Any]]:
    """Number of entries that a tier's network reads, and its action space."""
    (size,), memory = manifest["spaces"][tier]["observation"]["shape"], manifest["tiers"][tier].get("memory", {})
    return row_size(size, memory.get("minutes", 0)), manifest["spaces"][tier]["action"]


def _runtime() -> ModuleType:
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise ConfigError(
            "runtime='onnx': onnxruntime is not installed; it needs: pip install \"hmarl-soc[onnx]\""
        ) from None
    return onnxruntime


def _session(runtime: ModuleType, folder: Path, name: str, num_read: int, acted: Mapping[str, Any]) -> Any:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # more only wait for each other in small networks
    options.log_severity_level = 4  # what fails is raised
    if (size := (folder / name).stat().st_size) > MAX_BYTES:
        raise damage(folder, name, f"has {size} bytes, allowed: {MAX_BYTES}")
    try:
        model = (folder / name).read_bytes()
        session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own errors derive from Exception alone
        lines = str(error).splitlines() or [type(error).__name__]
        raise damage(folder, name, f"cannot be read ({lines[0]})") from None
    wanted = [
        (INPUT, "tensor(float)", [BATCH, num_read]),
        (OUTPUT, "tensor(int64)", [BATCH])
        if acted["kind"] == "Discrete"
        else (OUTPUT, "tensor(float)", [BATCH, *acted["shape"]]),
    ]
    found = [(value.name, value.type, value.shape) for value in (*session.get_inputs(), *session.get_outputs())]
    if found != wanted:
        raise damage(folder, name, f"takes and gives {found}, wanted: {wanted}")
    return session
