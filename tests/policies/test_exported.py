"""Exported policies by ONNX Runtime: PyTorch's actions without PyTorch, what they refuse."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")
from acting_networks import network_for, observations_of, write_policy

from experiments.export import export
from policies.checkpoint import MANIFEST, read_manifest, write_manifest
from policies.exported import ExportedPolicy
from policies.loading import load_policy
from policies.networks.tokens import entry_names
from policies.tiers import DEFAULT_TIERS
from soc_env.errors import CheckpointError, ConfigError

ROOT = Path(__file__).parents[2]
SLOW = "strategic_coordinator_0"
CHOICE = "alert_triage_0"


def changed(folder: Path, target: Path, change: Any) -> Path:
    """A copy of a checkpoint, whole again after `change(target, manifest)`."""
    target.mkdir()
    for file in folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    manifest = read_manifest(target)
    change(target, manifest)
    for name in (MANIFEST, f"{MANIFEST}.sha256"):
        (target / name).unlink()
    write_manifest(target, {name: value for name, value in manifest.items() if name not in ("format", "files")})
    return target


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default tiers of soc-v1, without ONNX files."""
    modules = {tier: network_for("soc-v1", tier, **own) for tier, own in DEFAULT_TIERS.items()}
    return write_policy(tmp_path_factory.mktemp("plain"), "soc-v1", modules, slow_agents=[SLOW])


@pytest.fixture(scope="module")
def folder(checkpoint: Path) -> Path:
    return export(checkpoint, checkpoint.with_name("exported"), onnx=True)


def assert_alike(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert list(found) == list(expected)
    for agent, action in expected.items():
        assert type(found[agent]) is type(action)
        if agent == CHOICE:
            assert np.array_equal(found[agent], action)
        else:
            assert found[agent].dtype == action.dtype
            np.testing.assert_allclose(found[agent], action, atol=2e-6)


def test_actions_are_pytorchs_in_single_situations_in_batches_and_held(folder: Path) -> None:
    found, expected = load_policy(folder, runtime="onnx"), load_policy(folder)
    assert isinstance(found, ExportedPolicy)
    assert (found.manifest, found.slow_agents, found.tier_of(SLOW)) == (read_manifest(folder), (SLOW,), SLOW[:-2])
    seen = observations_of("soc-v1", 16)
    rows = [{agent: own[k] for agent, own in seen.items()} for k in range(4)]
    for one, decides in zip(rows, (None, False, False, True), strict=True):
        assert_alike(found(one, decides), expected(one, decides))
    for shift, decides in enumerate((np.ones(16, bool), np.arange(16) % 3 == 0, np.zeros(16, bool), None)):
        moved = {agent: np.roll(own, shift, axis=0) for agent, own in seen.items()}
        assert_alike(found(moved, decides), expected(moved, decides))
    held = found({SLOW: seen[SLOW][::-1]}, False)[SLOW]
    found.reset()
    assert not np.array_equal(found({SLOW: seen[SLOW][::-1]}, False)[SLOW], held)  # there is none to hold
    for agent in seen:
        assert_alike(found({agent: seen[agent][:0]}), expected({agent: seen[agent][:0]}))


ACT = """
import json, sys
import numpy as np
from policies import load_policy
policy = load_policy(sys.argv[1], runtime="onnx")
acted = policy({agent: np.zeros(size) for agent, size in json.loads(sys.argv[2]).items()})
assert len(acted) == 4
unwanted = {"torch", "safetensors", "ray", "gymnasium", "networkx", "numba", "scipy", "experiments"} & set(sys.modules)
sys.exit(f"an exported policy brought in {sorted(unwanted)}" if unwanted else 0)
"""


def test_it_loads_and_acts_without_pytorch_and_the_simulators(folder: Path) -> None:
    sizes = {agent: seen.shape[1] for agent, seen in observations_of("soc-v1", 1).items()}
    command = [sys.executable, "-c", ACT, folder, json.dumps(sizes)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize(
    ("observations", "message"),
    [
        ({"threat_hunter_0": np.zeros(193)}, "threat_hunter_0: the policy reads observations of size 194, got 193$"),
        ({"threat_hunter_9": np.zeros(194)}, "agent 'threat_hunter_9' does not exist; did you mean 'threat_hunter_0'"),
        ({"threat_hunter_0": "x"}, "threat_hunter_0: observation is 'x', allowed: numbers"),
        ({"threat_hunter_0": np.zeros((2, 194)), SLOW: np.zeros((3, 8))}, "are a batch"),
    ],
)
def test_wrong_observations_are_refused_in_one_line(folder: Path, observations: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_policy(folder, runtime="onnx")(observations)


def test_an_entry_that_is_not_finite_is_named(folder: Path, tmp_path: Path) -> None:
    seen = observations_of("soc-v1", 4)
    seen["threat_hunter_0"][2, 5] = np.nan
    name = entry_names("threat_hunter_0", 194)[5]
    with pytest.raises(ConfigError, match=rf"threat_hunter_0: observation '{name}' \(entry 5\) of row 2 is nan, all"):
        load_policy(folder, runtime="onnx")(seen)
    unnamed = changed(folder, tmp_path / "unnamed", lambda target, manifest: manifest.pop("interfaces"))
    with pytest.raises(ConfigError, match="threat_hunter_0: observation entry 5 of row 2 is nan"):
        load_policy(unnamed, runtime="onnx")(seen)


def test_what_it_cannot_do_is_refused_in_one_line(
    checkpoint: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        ConfigError, match="^deterministic=False: ONNX files have the greedy policy alone; allowed with"
    ):
        load_policy(folder, runtime="onnx", deterministic=False)
    with pytest.raises(ConfigError, match="^runtime 'onx' does not exist; did you mean 'onnx'"):
        load_policy(folder, runtime="onx")  # type: ignore[call-overload]
    with pytest.raises(CheckpointError, match=r"has no alert_triage.onnx; .* made by: hmarl-soc export RUN --onnx$"):
        load_policy(checkpoint, runtime="onnx")
    with pytest.raises(CheckpointError, match="trained on scenario 'soc-v1', not on 'paper-v0'"):
        load_policy(folder, runtime="onnx", scenario="paper-v0")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match=r"onnxruntime is not installed; .*: pip install \"hmarl-soc\[onnx\]\"$"):
        load_policy(folder, runtime="onnx")


def test_files_that_are_damaged_or_of_another_tier_are_named(folder: Path, tmp_path: Path) -> None:
    def exchanged(target: Path, manifest: dict[str, Any]) -> None:
        (target / "alert_triage.onnx").write_bytes((target / "threat_hunter.onnx").read_bytes())

    def nonsense(target: Path, manifest: dict[str, Any]) -> None:
        (target / "alert_triage.onnx").write_bytes(b"no graph at all")

    cut = changed(folder, tmp_path / "cut", lambda target, manifest: None)
    (cut / "alert_triage.onnx").write_bytes(b"x")
    for place, message in (
        (cut, r"damaged: alert_triage.onnx: has 1 bytes instead of \d+$"),
        (changed(folder, tmp_path / "a", nonsense), "damaged: alert_triage.onnx: cannot be read"),
        (changed(folder, tmp_path / "b", exchanged), "damaged: alert_triage.onnx: takes and gives .*, wanted: "),
    ):
        with pytest.raises(CheckpointError, match=message) as error:
            load_policy(place, runtime="onnx")
        assert "\n" not in str(error.value)


def test_scripted_tiers_act_beside_it(folder: Path, tmp_path: Path) -> None:
    def scripted(target: Path, manifest: dict[str, Any]) -> None:
        (target / "alert_triage.onnx").unlink()
        manifest["tiers"]["alert_triage"] = {"algorithm": "scripted", "policy": "random", "agents": []}

    place = changed(folder, tmp_path / "mixed", scripted)
    seen = observations_of("soc-v1", 16)
    policy, twin = (load_policy(place, runtime="onnx", seed=seed) for seed in (1, 2))
    played = policy(seen)
    assert not np.array_equal(played[CHOICE], twin(seen)[CHOICE])
    assert played[CHOICE].shape == (16,)
    policy.reset(1)
    assert np.array_equal(policy(seen)[CHOICE], played[CHOICE])
