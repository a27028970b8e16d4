"""Checkpoints as an attacker would write them: nothing in them executes, by any way in, and nothing altered is read.

Markers are harmless: a pickle that would make a file in the test's folder, and the name of a function in a module there
whose import would.
"""

from __future__ import annotations

import json
import math
import pathlib
import pickle
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trees import places, put

pytest.importorskip("ray")

from experiments.cli import main
from experiments.transfer.entries import checkpoint_entries
from policies import HMARL, HMARLConfig, load_policy, save_checkpoint
from policies.checkpoint import DIGEST, MANIFEST, digest_line, read_manifest, write_manifest
from soc_env.errors import HMARLSOCError

TINY = {"hiddens": [4]}
TIERS: dict[str, dict[str, Any]] = {
    "alert_triage": {"algorithm": "scripted", "policy": "rule-soar"},
    "threat_hunter": {"algorithm": "SAC", **TINY},
    "response_orchestrator": {"algorithm": "MADDPG", **TINY},
    "strategic_coordinator": {"algorithm": "PPO", **TINY, "train_batch_size": 8, "minibatch_size": 4, "num_epochs": 1},
}
MODULE = "checkpoint_marker_module"


def small_config() -> HMARLConfig:
    config = HMARLConfig().environment("soc-v1", env_config={"num_networks": 1, "num_hosts": 40})
    config.training(train_batch_size=32, learning_starts=0, updates_per_iteration=1, n_step=2)
    config.training(replay_batch_size=4, replay_capacity=64)
    return config.env_runners(num_envs_per_env_runner=4).tiers(TIERS, replace=True).debugging(seed=0, log_level="ERROR")


@pytest.fixture(scope="module")
def algo() -> Iterator[HMARL]:
    built = small_config().build_algo()
    built.train()
    yield built
    built.stop()


@pytest.fixture(scope="module")
def whole(algo: HMARL, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder whose budget is used up."""
    run = tmp_path_factory.mktemp("run")
    for name in ("last", "best", "start"):
        save_checkpoint(algo, run / "checkpoints" / name, replay=name == "last", seconds=1.0, seed=0)
    return run


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "run"))


@pytest.fixture
def folder(run: Path) -> Path:
    return run / "checkpoints" / "last"


class Executed(Exception):
    """The marker was executed."""


class Touching:
    """A pickle of it makes a file when it is read."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return pathlib.Path.touch, (self.path,)


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Asserts that the file that a marker would make is not there; `MODULE` is importable meanwhile."""
    made, place = tmp_path / "executed", tmp_path / "path"
    place.mkdir()
    text = f"import pathlib\npathlib.Path({str(made)!r}).touch()\ndef build(*args, **kwargs):\n    raise SystemExit\n"
    (place / f"{MODULE}.py").write_text(text)
    monkeypatch.syspath_prepend(str(place))

    def check() -> None:
        if made.exists():
            raise Executed

    return check


# ---- ways in
def refused(call: Callable[[], Any]) -> bool:
    """Whether it raised an error of ours, of one line; closes what it made."""
    try:
        made = call()
    except HMARLSOCError as error:
        _check_line(error)
        return True
    if isinstance(made, HMARL):
        made.stop()
    return False


def _check_line(error: Exception) -> None:
    assert "\n" not in str(error)
    assert len(str(error)) < 3_000


def _start_from(folder: Path) -> Any:
    tiers = {**TIERS, "threat_hunter": {**TIERS["threat_hunter"], "checkpoint": str(folder)}}
    return small_config().tiers(tiers, replace=True).build_algo()


def command(*words: object) -> bool:
    """Whether the command line refuses it."""
    return main([str(word) for word in words]) in (1, 2)


def quick_ways(folder: Path, algo: HMARL) -> dict[str, Callable[[], bool]]:
    """Entry points that read a checkpoint and build no algorithm."""
    evaluate = ("evaluate", "--checkpoint", folder, "--episodes", 1, "--override", "max_steps=2")
    return {
        "read_manifest": lambda: refused(lambda: read_manifest(folder)),
        "load_policy": lambda: refused(lambda: load_policy(folder)),
        "restore_from_path": lambda: refused(lambda: algo.restore_from_path(folder)),
        "evaluate": lambda: command(*evaluate),
        "export": lambda: command("export", folder, "--out", folder.parent / "exported"),
        "transfer": lambda: refused(lambda: checkpoint_entries(folder, untrained=False)),
    }


def slow_ways(folder: Path) -> dict[str, Callable[[], bool]]:
    """Those that build one."""
    return {
        "from_checkpoint": lambda: refused(lambda: HMARL.from_checkpoint(folder)),
        "tiers.checkpoint": lambda: refused(lambda: _start_from(folder)),
    }


# ---- editing, as an attacker does
def sign(folder: Path, manifest: dict[str, Any] | None = None) -> None:
    """Makes digests fit what is in the folder now."""
    manifest = json.loads((folder / MANIFEST).read_text()) if manifest is None else manifest
    content = json.dumps(manifest).encode()
    (folder / MANIFEST).write_bytes(content)
    (folder / DIGEST).write_bytes(digest_line(content))


def sign_files(folder: Path) -> None:
    """As `sign`, also of all other files."""
    manifest = json.loads((folder / MANIFEST).read_text())
    for name in (MANIFEST, DIGEST):
        (folder / name).unlink()
    write_manifest(folder, {name: value for name, value in manifest.items() if name not in ("format", "files")})


def files_of(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


# ---- tests
def test_what_is_whole_is_read_by_every_way(folder: Path, algo: HMARL, capsys: pytest.CaptureFixture[str]) -> None:
    for name, way in {**quick_ways(folder, algo), **slow_ways(folder)}.items():
        # Transfer asks for the policy of another number of zones, which a scripted tier has not.
        assert way() == (name == "transfer"), (name, capsys.readouterr().err)


def test_a_pickle_in_place_of_any_file_is_never_read(
    folder: Path, algo: HMARL, marker: Callable[[], None], tmp_path: Path
) -> None:
    content = pickle.dumps(Touching(tmp_path / "executed"))
    for name in files_of(folder):
        before = (folder / name).read_bytes()
        (folder / name).write_bytes(content)
        for way in {**quick_ways(folder, algo), **slow_ways(folder)}.values():
            assert way(), name
            marker()
        (folder / name).write_bytes(before)
    pickle.loads(content)  # the marker works
    with pytest.raises(Executed):
        marker()


def test_a_pickle_with_a_digest_that_fits_is_never_read(
    whole: Path, algo: HMARL, marker: Callable[[], None], tmp_path: Path
) -> None:
    content = pickle.dumps(Touching(tmp_path / "executed"))
    names = [name for name in files_of(whole / "checkpoints" / "last") if name not in (MANIFEST, DIGEST)]
    assert len(names) >= 3
    for name in names:
        folder = Path(shutil.copytree(whole / "checkpoints" / "last", tmp_path / "signed"))
        (folder / name).write_bytes(content)
        sign_files(folder)
        quick_ways(folder, algo)["evaluate"]()
        assert refused(lambda folder=folder: algo.restore_from_path(folder)), name  # type: ignore[misc]
        assert refused(lambda folder=folder: load_policy(folder)) == (name == "policy.safetensors")  # type: ignore[misc]
        marker()
        shutil.rmtree(folder)


def test_one_flipped_byte_is_refused_by_the_name_of_its_file(folder: Path) -> None:
    for name in files_of(folder):
        before = (folder / name).read_bytes()
        for where in {0, 1, len(before) // 3, len(before) // 2, len(before) - 1}:
            changed = bytearray(before)
            changed[where] ^= 1 << (where % 8)
            (folder / name).write_bytes(changed)
            for read in (read_manifest, load_policy):
                with pytest.raises(HMARLSOCError, match=name.replace(".", r"\.")):
                    read(folder)
        (folder / name).write_bytes(before)
    read_manifest(folder)


@pytest.mark.parametrize("marked", [f"{MODULE}:build", f"{MODULE}.build", f"{MODULE}"])
def test_a_name_in_place_of_any_string_of_the_manifest_is_never_imported(
    marked: str, folder: Path, marker: Callable[[], None]
) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    strings = [at for at, value in places(manifest) if isinstance(value, str)]
    assert len(strings) > 30
    for at in strings:
        sign(folder, put(manifest, at, marked))
        refused(lambda: load_policy(folder))
        marker()


def test_a_name_in_place_of_strings_of_the_manifest_is_never_imported_by_other_ways(
    folder: Path, algo: HMARL, marker: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    fields = {name: [at for at, v in places(value) if isinstance(v, str)] for name, value in manifest.items()}
    for name, inside in fields.items():
        if not inside or name == "files":
            continue
        changed = manifest
        for at in inside:
            changed = put(changed, (name, *at), f"{MODULE}:build")
        sign(folder, changed)
        builds = slow_ways(folder) if name in ("scenario", "overrides", "tiers", "config") else {}
        for way in (*quick_ways(folder, algo).values(), *builds.values()):
            way()
            marker()
    named = put(manifest, ("tiers",), {f"{MODULE}:build": own for own in manifest["tiers"].values()})
    sign(folder, put(named, ("members",), {f"{MODULE}:build": ["alert_triage_0"]}))
    for way in (*quick_ways(folder, algo).values(), *slow_ways(folder).values()):
        way()
        marker()


def test_a_name_in_place_of_any_string_of_a_runs_settings_is_never_imported(
    run: Path, marker: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    config: dict[str, Any] = {
        "scenario": "soc-v1", "seed": 0, "workers": 0, "num_envs": 4, "adverse_start": False, "budget": {"steps": 32},
        "overrides": {"split": "train", "families": ["wiper"]}, "versions": {"ray": "2"}, "git": "a", "command": ["b"],
        "config": {"replay": "shared", "train_batch_size": 32, "tiers": {**TIERS, "second": {"algorithm": "DQN"}}},
    }  # fmt: skip
    config["config"]["tiers"]["threat_hunter"]["checkpoint"] = "somewhere"
    for at in [at for at, value in places(config) if isinstance(value, str)]:
        (run / "config.json").write_text(json.dumps(put(config, at, f"{MODULE}:build")))
        assert command("train", "--resume", "--out", run, "--no-evaluation") or at[0] in ("versions", "git", "command")
        marker()


# ---- all other values
ODD = st.sampled_from(
    [
        None, True, False, 0, -1, 1, 3, 0.5, 10**7, 10**12, 2**63, 10**400, 1e308, math.nan, math.inf, "", "text",
        "\x00", [], {}, [1], [[1]], {"a": 1}, "soc-v1", "paper-v0", "SAC", "../x", "/etc", [10**7], [10**9],
        [65536] * 3, {"kind": "Discrete", "n": 10**7}, {"kind": "Box", "shape": [10**7]}, "alert_triage_0",
        ["a"] * 1000, "\ud800",
        {"kind": "Discrete", "n": 3}, [1e300], [[0, 1], [10, 1]], "scripted", "random", "zones", "attention",
    ]
)  # fmt: skip


def peak_memory() -> int:
    """[bytes] that this process has ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_other_values_in_the_manifest_are_refused_or_harmless(
    data: st.DataObject, folder: Path, marker: Callable[[], None], whole: Path
) -> None:
    manifest = json.loads((whole / "checkpoints" / "last" / MANIFEST).read_text())
    before = peak_memory()
    for _ in range(data.draw(st.integers(1, 2))):
        at = data.draw(st.sampled_from([at for at, _ in places(manifest) if at]))
        manifest = put(manifest, at, data.draw(ODD))
    sign(folder, manifest)
    refused(lambda: read_manifest(folder))
    refused(lambda: load_policy(folder))
    marker()
    assert peak_memory() - before < 2**30


def test_a_manifest_nested_without_end_is_refused(folder: Path) -> None:
    content = b'{"format": ' + b"[" * 100_000
    (folder / MANIFEST).write_bytes(content)
    (folder / DIGEST).write_bytes(digest_line(content))
    assert refused(lambda: read_manifest(folder))
