"""Exported policies: small, whole or not at all, acting as the checkpoint does; ONNX files that say the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
import torch
from acting_networks import CASES, network_for, observations_of, write_policy

from experiments import export as exporting
from experiments.cli import main
from experiments.evaluate import TRAINED
from experiments.export import export
from policies import load_policy
from policies.checkpoint import MANIFEST, NETWORKS, read_manifest
from policies.networks.tokens import entry_names
from soc_env import Simulator
from soc_env.errors import CheckpointError, ConfigError

MIXED = {  # an algorithm and an encoder each
    "alert_triage": ("DQN", {"encoder": "mlp", "action_masking": True}),
    "threat_hunter": ("SAC", {"encoder": "zones"}),
    "response_orchestrator": ("MADDPG", {"encoder": "mlp", "segment_sharing": 0.3}),
    "strategic_coordinator": ("PPO", {"encoder": "attention"}),
}
SLOW_AGENT = "strategic_coordinator_0"


def run_folder(root: Path, scenario: str, modules: dict[str, Any], **fields: Any) -> Path:
    """A run folder whose best checkpoint has these networks, and weights that acting does not need."""
    best = root / "checkpoints" / "best"
    best.mkdir(parents=True)
    tier = next(iter(modules))
    write_policy(best, scenario, modules, beside={f"{tier}/a_critic.weight": torch.ones(100, 4_000)}, **fields)
    return root


@pytest.fixture(scope="module")
def team() -> dict[str, Any]:
    return {tier: network_for("soc-v1", tier, name, **settings) for tier, (name, settings) in MIXED.items()}


def onnx_actions(file: Path, seen: np.ndarray) -> np.ndarray:
    """What an ONNX file makes of observations (N, size)."""
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(file.read_bytes(), providers=["CPUExecutionProvider"])
    return session.run(["action"], {"observation": seen})[0]


def assert_acts_alike(file: Path, policy: Any, agent: str, seen: np.ndarray) -> None:
    for number in (1, 64):
        found, expected = onnx_actions(file, seen[:number]), policy({agent: seen[:number]})[agent]
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
        if expected.dtype == np.int64:
            assert np.array_equal(found, expected)
        else:
            np.testing.assert_allclose(found, expected, atol=2e-6)
            assert found.min() >= -1
            assert found.max() <= 1


def test_an_export_has_what_acting_needs_and_acts_as_the_checkpoint(tmp_path, team, capsys):
    run = run_folder(tmp_path / "run", "soc-v1", team, slow_agents=[SLOW_AGENT], num_env_steps=1_234,
                     tiers={"threat_hunter": {"checkpoint": "somewhere"}})  # fmt: skip
    folder = export(run)
    assert folder == run / "policy"
    assert sorted(file.name for file in folder.iterdir()) == [MANIFEST, f"{MANIFEST}.sha256", NETWORKS]
    assert sum(file.stat().st_size for file in folder.iterdir()) < 300 * 1024
    assert f"policy of 1,234 steps: {folder}" in capsys.readouterr().out
    manifest = read_manifest(folder)  # every file has its digest
    assert (manifest["kind"], manifest["num_env_steps"], manifest["scenario"]) == ("policy", 1_234, "soc-v1")
    assert manifest["tiers"]["threat_hunter"]["checkpoint"] is None
    seen = observations_of("soc-v1", 8)
    for deterministic in (True, False):
        actions, expected = (load_policy(place, deterministic=deterministic, seed=1)(seen) for place in (folder, run))
        assert all(np.array_equal(actions[agent], expected[agent]) for agent in seen)
    again = export(folder, tmp_path / "again")  # an exported policy is a checkpoint, too
    assert (again / NETWORKS).read_bytes() == (folder / NETWORKS).read_bytes()
    (folder / NETWORKS).write_bytes(b"x" + (folder / NETWORKS).read_bytes()[1:])
    with pytest.raises(CheckpointError, match=rf"damaged: {NETWORKS}: its SHA-256"):
        load_policy(folder)


def test_onnx_files_act_as_the_policy_and_say_what_is_what(tmp_path, team):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    some = {tier: team[tier] for tier in ("alert_triage", "strategic_coordinator")}  # the others: see below
    run = run_folder(tmp_path / "run", "soc-v1", some, slow_agents=[SLOW_AGENT])
    folder = export(run, tmp_path / "out", onnx=True)
    policy, seen, manifest = load_policy(folder), observations_of("soc-v1", 64), read_manifest(folder)
    for tier in some:
        agent, file = f"{tier}_0", folder / f"{tier}.onnx"
        assert_acts_alike(file, policy, agent, seen[agent])
        policy.reset()
        model = onnx.load(file)
        [came], [went] = model.graph.input, model.graph.output
        dims = [[d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim] for value in (came, went)]
        about = {entry.key: entry.value for entry in model.metadata_props}
        interface = manifest["interfaces"][tier]
        assert json.loads(about["interface"]) == interface
        assert (about["tier"], about["algorithm"], about["scenario"]) == (tier, MIXED[tier][0], "soc-v1")
        assert (came.name, went.name) == ("observation", "action")
        assert dims == [interface["observation"]["shape"], interface["action"]["shape"]]
        assert interface["observation"]["names"] == entry_names(agent, seen[agent].shape[1])
        number = int(policy.modules[tier].action_space.n) if len(dims[1]) == 1 else dims[1][1]
        assert len(interface["action"]["names"]) == number
        assert interface["decides_every_step"] == (agent != SLOW_AGENT)
        assert manifest["files"][file.name]["bytes"] == file.stat().st_size


@pytest.mark.slow  # an export takes seconds
@pytest.mark.parametrize("encoder", ["mlp", "zones", "attention"])
@pytest.mark.parametrize(("scenario", "tier", "algorithm", "settings"), CASES)
def test_every_network_is_the_same_in_onnx(tmp_path, scenario, tier, algorithm, settings, encoder):
    network = network_for(scenario, tier, algorithm, encoder=encoder, **settings)
    folder = export(run_folder(tmp_path / "run", scenario, {tier: network}), onnx=True)
    seen = observations_of(scenario, 64)[f"{tier}_0"]
    assert_acts_alike(folder / f"{tier}.onnx", load_policy(folder), f"{tier}_0", seen)


def test_scripted_tiers_are_named(tmp_path, capsys):
    modules = {"threat_hunter": network_for("paper-v0", "threat_hunter", "SAC")}
    run = run_folder(tmp_path / "run", "paper-v0", modules, scripted={"alert_triage": "nobody:knows"})
    folder = export(run)
    assert "scripted, so without networks: alert_triage\n" in capsys.readouterr().out
    assert list(read_manifest(folder)["interfaces"]) == ["threat_hunter"]


def test_what_is_there_is_replaced_if_it_is_an_export_and_left_alone_if_not(tmp_path, team):
    run = run_folder(tmp_path / "run", "soc-v1", {"threat_hunter": team["threat_hunter"]})
    out = export(run, tmp_path / "out")
    (out / "note.txt").write_text("of a user's")
    assert sorted(file.name for file in export(run, out).iterdir()) == [MANIFEST, f"{MANIFEST}.sha256", NETWORKS]
    (tmp_path / "empty").mkdir()
    export(run, tmp_path / "empty")
    full, file = tmp_path / "mine", tmp_path / "file"
    full.mkdir(), file.write_text("x")
    (full / "thesis.txt").write_text("x")
    for taken in (full, file, run):
        with pytest.raises(ConfigError, match=r"out: '.*' is no exported policy; allowed: a new folder, or one of an"):
            export(run, taken)
    assert (full / "thesis.txt").read_text() == file.read_text() == "x"
    assert [place.name for place in tmp_path.iterdir() if place.name.startswith(".")] == []


def test_nothing_is_left_of_an_export_that_fails(tmp_path, team, monkeypatch):
    run = run_folder(tmp_path / "run", "soc-v1", {"threat_hunter": team["threat_hunter"]})

    def no_space(*_: Any) -> None:
        raise OSError(28, "No space left on device", str(tmp_path / "out"))

    monkeypatch.setattr(exporting, "save_networks", no_space)
    with pytest.raises(ConfigError, match="cannot be written .No space left on device."):
        export(run, tmp_path / "out")
    assert [place.name for place in tmp_path.iterdir()] == ["run"]


def test_without_the_extra_the_command_says_what_to_install(tmp_path, team, monkeypatch, capsys):
    run = run_folder(tmp_path / "run", "soc-v1", {"threat_hunter": team["threat_hunter"]})
    monkeypatch.setattr(exporting, "ONNX_PACKAGES", ("a_package_that_is_not_there",))
    assert main(["export", str(run), "--onnx"]) == 2
    assert capsys.readouterr().err == (
        "hmarl-soc: error: --onnx: a_package_that_is_not_there is not installed; it needs: pip install "
        '"hmarl-soc[export]"\n'
    )
    assert main(["export", str(tmp_path / "nowhere")]) == 2
    assert "does not exist" in capsys.readouterr().err
    assert main(["export", str(run), "--out", str(tmp_path / "out")]) == 0


def test_a_tier_starts_from_an_export_with_its_actor_and_new_critics(tmp_path):
    pytest.importorskip("ray")
    from toy_team import PAIR, toy_config

    from policies import save_checkpoint

    algo = toy_config({"threat_hunter": "SAC", "response_orchestrator": "MADDPG"}, agents=PAIR).build_algo()
    algo.train()
    folder = export(save_checkpoint(algo, tmp_path / "c"))
    averaged = {tier: dict(state) for tier, state in algo.averaged.items()}
    algo.stop()
    own = {"algorithm": "MADDPG", "checkpoint": str(folder)}
    twin = toy_config({"threat_hunter": "SAC", "response_orchestrator": own}, agents=PAIR).build_algo()
    for name, value in twin.averaged["response_orchestrator"].items():
        assert torch.equal(value, averaged["response_orchestrator"][name])
    assert any(not torch.equal(v, averaged["threat_hunter"][n]) for n, v in twin.averaged["threat_hunter"].items())
    twin.train()
    [norms] = twin.learner_group.edit(
        "response_orchestrator",
        lambda module: [(norm.mean.clone(), is_joint) for norm, is_joint in module.input_norms()],
    )
    actor = averaged["response_orchestrator"]["actor.body.norm.mean"]
    for mean, is_joint in norms:  # the critics' statistics are those of what is observed now
        assert bool(mean.abs().sum() > 0)
        assert is_joint or torch.equal(mean, actor)
    assert {is_joint for _, is_joint in norms} == {True, False}
    twin.stop()


def finished_run(folder: Path, number: int) -> Path:
    """One of the run folders of conftest with a checkpoint of `paper-v0`."""
    modules = {"threat_hunter": network_for("paper-v0", "threat_hunter", "SAC")}
    run_folder(folder, "paper-v0", modules, scripted={"alert_triage": "zeros"}, num_env_steps=1_000 + number)
    return folder


def test_a_card_says_what_the_runs_say(tmp_path, run_folders, capsys):
    pytest.importorskip("matplotlib")
    runs = [finished_run(folder, number) for number, folder in enumerate(run_folders)]
    out = tmp_path / "team"
    assert main(["export", str(runs[0]), "--out", str(out), "--card", "--seeds", str(runs[1]), str(runs[2])]) == 0
    card = (out / exporting.CARD).read_text()
    assert read_manifest(out)["files"][exporting.CARD]["bytes"] == len(card.encode())
    results = json.loads((runs[0] / "evaluation.json").read_text())
    mean = results[TRAINED]["summary"]["reward"]["mean"]
    for part in ("1,000 environment steps, seed 0: `hmarl-soc`", "`threat_hunter`: SAC",
                 "`alert_triage`: scripted, `zeros`", f"{mean:.2f} (seed 0), {mean + 1:.2f} (seed 1)",
                 "over 60 episodes, seed 4", results[TRAINED]["scenario_hash"]):  # fmt: skip
        assert part in card
    assert "test split" not in card
    assert "\n\n\n" not in card
    alone = export(runs[1], tmp_path / "alone", card=())
    assert "One seed." in (alone / exporting.CARD).read_text()
    assert load_policy(alone).manifest["num_env_steps"] == 1_001


def test_a_card_needs_a_finished_run(tmp_path, run_folders, capsys):
    pytest.importorskip("matplotlib")
    run = finished_run(run_folders[0], 0)
    assert main(["export", str(run), "--seeds", str(run)]) == 2
    assert "--seeds has no effect without --card" in capsys.readouterr().err
    assert main(["export", str(run), "--card", "--seeds", str(run)]) == 2
    assert "seeds are [0, 0]" in capsys.readouterr().err
    results = json.loads((run / "evaluation.json").read_text())
    (run / "evaluation.json").write_text(json.dumps({"null": results["null"]}))
    with pytest.raises(ConfigError, match="no result of HMARL; allowed: a finished run"):
        export(run, card=())
    (run / "evaluation.json").unlink()
    with pytest.raises(CheckpointError, match=r"evaluation\.json"):
        export(run, card=())
    assert not (run / "policy").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "encoder"), [("attention", "zones"), ("gru", "mlp")])
def test_a_network_with_memory_is_the_same_in_onnx_through_episodes(tmp_path, kind, encoder):
    pytest.importorskip("onnxruntime")
    memory = {"minutes": 4, "kind": kind, "size": 8}
    network = network_for("soc-v1", "threat_hunter", "SAC", encoder=encoder, memory=memory)
    for name, weight in network.named_parameters():
        if ".write." in name:
            torch.nn.init.normal_(weight)  # it begins at 0
    folder = export(run_folder(tmp_path / "run", "soc-v1", {"threat_hunter": network}), onnx=True)
    policies = [load_policy(folder), load_policy(folder, runtime="onnx")]
    simulator, agent = Simulator("soc-v1", num_envs=3, seed=0, max_steps=6), "threat_hunter_0"
    simulator.reset()
    for _ in range(15):  # two ends of episodes
        one, two = (policy({agent: simulator.observations[agent]})[agent] for policy in policies)
        np.testing.assert_allclose(one, two, atol=2e-6)
        simulator.actions[agent][:] = one
        simulator.step()
