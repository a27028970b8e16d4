"""Training runs: what they leave behind, going on after a stop or a crash, and how mistakes are named."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("ray")
import ray

import soc_env
from experiments.evaluate import TRAINED, UNTRAINED, evaluate, evaluate_checkpoint
from experiments.families import PROTOCOLS
from experiments.run import Run, hmarl_config
from experiments.train import train
from policies import load_policy, save_checkpoint
from policies.checkpoint import read_manifest
from policies.hmarl.saving import recover_checkpoint
from policies.presets import DEFAULT_NUM_ENVS, NUM_ENVS
from policies.scripted import SCRIPTED
from policies.tiers import DEFAULT_TIERS
from soc_env.errors import CheckpointError, ConfigError

ROOT = Path(__file__).parents[2]
STEPS = 3000
OVERRIDES = {"num_hosts": 20, "max_steps": 50}
TINY = {
    "tiers": {tier: {"hiddens": [16, 16]} for tier in DEFAULT_TIERS},
    "train_batch_size": 256,
    "learning_starts": 512,
    "random_steps": 256,
    "updates_per_iteration": 1,
    "replay_batch_size": 32,
    "replay_capacity": 2000,
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a tiny finished run; tests that change it work on a copy."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    assert train_tiny(out) == out
    return out


def train_tiny(out, **settings):
    settings = {"steps": STEPS, "num_envs": 8, "overrides": OVERRIDES, "config": TINY, **settings}
    return train("paper-v0", out=out, evaluation=False, **settings)


def progress(out):
    with (out / "progress.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def digests(folder):
    return {p.relative_to(folder): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()}


# ---- what a run leaves behind


def test_a_run_leaves_a_folder_that_says_everything(finished):
    config = json.loads((finished / "config.json").read_text())
    assert config["overrides"] == OVERRIDES
    recorded = config["config"]
    assert {name: recorded[name] for name in TINY if name != "tiers"} == {n: v for n, v in TINY.items() if n != "tiers"}
    assert all(recorded["tiers"][tier]["hiddens"] == [16, 16] for tier in DEFAULT_TIERS)  # the user's over the preset's
    assert config["scenario_fields"]["num_hosts"] == 20
    assert config["versions"]["ray"] == ray.__version__
    rows = progress(finished)
    steps = [int(row["steps"]) for row in rows]
    assert steps == list(range(256, STEPS + 256, 256))
    assert [int(row["iteration"]) for row in rows] == list(range(1, len(rows) + 1))
    assert all(0 < float(row["length"]) <= 50 for row in rows[1:])
    assert np.isfinite([float(row["reward"]) for row in rows[1:]]).all()
    assert rows[-1]["validation_reward"] != ""  # the end is always validated
    assert sorted(p.name for p in (finished / "checkpoints").iterdir()) == ["best", "last", "start"]
    manifests = {name: read_manifest(finished / "checkpoints" / name) for name in ("start", "last", "best")}
    assert manifests["start"]["num_env_steps"] == 0
    assert manifests["last"]["num_env_steps"] == steps[-1]
    best = max((row for row in rows if row["validation_reward"]), key=lambda row: float(row["validation_reward"]))
    assert manifests["best"]["num_env_steps"] == int(best["steps"])
    assert manifests["best"]["best_validation_reward"] == pytest.approx(float(best["validation_reward"]))
    events = list((finished / "tensorboard").glob("events.out.tfevents.*"))
    assert len(events) == 1
    assert b"validation/reward" in events[0].read_bytes()


def test_best_checkpoint_evaluates_and_nothing_is_written(finished):
    best, before = finished / "checkpoints" / "best", digests(finished)
    results = [evaluate_checkpoint(best, num_episodes=16, seed=s, num_envs=16) for s in (5, 5, 6)]
    assert np.array_equal(results[0].episodes["reward"], results[1].episodes["reward"])
    assert not np.array_equal(results[0].episodes["reward"], results[2].episodes["reward"])
    assert results[0].episodes["length"].max() <= 50  # on the scenario it was trained on
    same = evaluate(load_policy(best), "paper-v0", 16, 5, num_envs=16, **OVERRIDES)
    assert np.array_equal(results[0].episodes["reward"], same.episodes["reward"])
    assert digests(finished) == before


def test_the_seed_decides_the_run(finished, tmp_path):
    def rewards(out):
        return [row["reward"] for row in progress(out)][:3]

    assert rewards(train_tiny(tmp_path / "same", steps=768)) == rewards(finished)
    assert rewards(train_tiny(tmp_path / "other", steps=768, seed=1)) != rewards(finished)


def test_a_run_with_a_scripted_tier_and_another_replay(tmp_path):
    scripted = {"threat_hunter": {"algorithm": "scripted", "policy": "rule-soar"}}
    config = {**TINY, "tiers": {**TINY["tiers"], **scripted}, "replay": "separate"}
    out = train_tiny(tmp_path / "run", steps=1024, config=config)
    policy = load_policy(out / "checkpoints" / "last")
    assert set(policy.modules) == set(DEFAULT_TIERS) - {"threat_hunter"}
    sim = soc_env.Simulator("paper-v0", num_envs=2, seed=0, **OVERRIDES)
    sim.reset()
    expected = SCRIPTED["paper"]["rule-soar"](sim.action_spaces)(sim.observations, sim.decides)
    assert np.array_equal(policy(sim.observations, sim.decides)["threat_hunter_0"], expected["threat_hunter_0"])
    train(out=out, resume=True, steps=1500, evaluation=False)
    assert (
        evaluate_checkpoint(out / "checkpoints" / "last", num_episodes=4, seed=5, num_envs=4).episodes["length"].all()
    )


# ---- going on


def test_resume_goes_on_to_the_larger_budget(finished, tmp_path):
    out = tmp_path / "copy"
    shutil.copytree(finished, out)
    before = progress(out)
    with (out / "progress.csv").open("a") as file:  # a row written after the checkpoint, by a run killed later
        file.write("99,9999,1,1,1,50,1,1,0,0,,,,,,\n")
    train(out=out, resume=True, steps=4000, evaluation=False)  # everything but the budget is the folder's
    rows = progress(out)
    assert rows[: len(before)] == before
    assert [int(row["steps"]) for row in rows] == list(range(256, 4096 + 1, 256))
    assert [int(row["iteration"]) for row in rows] == list(range(1, 17))
    seconds = [float(row["seconds"]) for row in rows]
    assert seconds == sorted(seconds)
    assert read_manifest(out / "checkpoints" / "last")["num_env_steps"] == 4096
    assert read_manifest(out / "checkpoints" / "last")["overrides"] == OVERRIDES


def start_tiny(out, config, program=("-m", "experiments.cli")):
    """A tiny endless run in a process of its own."""
    config.write_text(json.dumps(TINY))
    command = [sys.executable, *program, "train", "--steps", "100000000", "--num-envs", "8"]
    command += ["--config", str(config), "--out", str(out), "--no-evaluation"]
    command += [part for name, value in OVERRIDES.items() for part in ("--override", f"{name}={value}")]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_ctrl_c_leaves_a_run_to_go_on_with(tmp_path):
    out = tmp_path / "run"
    child = start_tiny(out, tmp_path / "config.json")
    try:
        wait_for(lambda: (out / "progress.csv").exists() and len(progress(out)) >= 3, child)
        child.send_signal(signal.SIGINT)
        stdout, stderr = child.communicate(timeout=120)
    finally:
        child.kill()
    assert child.returncode == 130, stderr
    assert "--resume" in stdout
    assert "Traceback" not in stderr
    steps = int(progress(out)[-1]["steps"])
    assert read_manifest(out / "checkpoints" / "last")["num_env_steps"] == steps
    load_policy(out / "checkpoints" / "last")
    train(out=out, resume=True, steps=steps + 512, evaluation=False)
    assert [int(row["steps"]) for row in progress(out)] == list(range(256, steps + 512 + 1, 256))


@pytest.mark.parametrize("moment", ["settings written", "training"])
def test_a_killed_run_goes_on(tmp_path, moment):
    """SIGKILL before the first checkpoint of the trained networks, which comes after a minute."""
    out = tmp_path / "run"
    begun = {
        "settings written": lambda: (out / "config.json").exists(),
        "training": lambda: (out / "progress.csv").exists() and len(progress(out)) >= 6,
    }
    child = start_tiny(out, tmp_path / "config.json")
    try:
        wait_for(begun[moment], child)
        child.send_signal(signal.SIGKILL)
        child.communicate(timeout=120)
    finally:
        child.kill()
    assert child.returncode == -signal.SIGKILL
    with pytest.raises(ConfigError, match=r"holds a run already.*--resume"):
        train_tiny(out)
    train(out=out, resume=True, steps=1024, evaluation=False)
    assert [int(row["steps"]) for row in progress(out)] == [256, 512, 768, 1024]
    for name in ("start", "last", "best"):
        load_policy(out / "checkpoints" / name)
    assert read_manifest(out / "checkpoints" / "start")["num_env_steps"] == 0
    assert read_manifest(out / "checkpoints" / "last")["num_env_steps"] == 1024


SAVES_ALWAYS = """import sys, experiments.budget, experiments.run, experiments.cli
experiments.run.Run.checkpoint = experiments.budget.Rhythm(0.0, 0.0, 1, 1)
sys.exit(experiments.cli.main())"""


def test_a_run_killed_again_and_again_goes_on(tmp_path):
    """SIGKILL at moments that have nothing to do with what the run is doing, most likely writing a checkpoint."""
    out, reached = tmp_path / "run", 0
    child = start_tiny(out, tmp_path / "config.json", ("-c", SAVES_ALWAYS))
    for pause in (0.11, 0.53):
        try:
            wait_for(lambda least=reached: (out / "progress.csv").exists() and last_step(out) > least + 512, child)
            time.sleep(pause)
            child.send_signal(signal.SIGKILL)
            child.communicate(timeout=120)
        finally:
            child.kill()
        assert child.returncode == -signal.SIGKILL
        written = last_step(out)
        recover_checkpoint(out / "checkpoints" / "last")
        reached = read_manifest(out / "checkpoints" / "last")["num_env_steps"]
        assert reached >= written - 512  # at most the iteration that was being saved and the one under way are lost
        command = [sys.executable, "-c", SAVES_ALWAYS, "train", "--resume", "--out", str(out), "--steps", "100000000"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        child = subprocess.Popen([*command, "--no-evaluation"], cwd=ROOT, **pipes)
    child.kill()
    child.communicate(timeout=120)
    train(out=out, resume=True, steps=reached + 512, evaluation=False)
    assert [int(row["steps"]) for row in progress(out)] == list(range(256, last_step(out) + 1, 256))


def last_step(out):
    rows = progress(out)
    return int(rows[-1]["steps"]) if rows else 0


def wait_for(condition, child, seconds=240.0):
    end = time.monotonic() + seconds
    while not condition():
        assert child.poll() is None, child.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.1)


class Killed(BaseException):
    """Stands for SIGKILL."""


def test_a_kill_leaves_the_old_or_the_new_checkpoint_whole(finished, tmp_path, monkeypatch):
    settings = json.loads((finished / "config.json").read_text())
    algo = hmarl_config(settings).build_algo()
    try:
        for kill_at in range(12):
            folder = tmp_path / str(kill_at) / "last"
            save_checkpoint(algo, folder, generation=1)
            with monkeypatch.context() as patch:
                kill_at_operation(patch, kill_at)
                try:
                    save_checkpoint(algo, folder, generation=2)
                    was_killed = False
                except Killed:
                    was_killed = True
            if folder.exists():  # under its own name it is whole, without any repair
                load_policy(folder)
            recover_checkpoint(folder)
            assert load_policy(folder).manifest["generation"] in ((1, 2) if was_killed else (2,))
            assert read_manifest(save_checkpoint(algo, folder, generation=3))["generation"] == 3  # rests do no harm
            assert [p.name for p in folder.parent.iterdir()] == ["last"]
            if not was_killed:
                break
        assert not was_killed
        assert kill_at >= 6  # all of the operations were tried
    finally:
        algo.stop()


def kill_at_operation(patch, number):
    """Kills at the `number`-th of save_checkpoint's operations; writing and deleting a folder are killed half way."""
    operations = iter(range(1000))

    def is_now():
        return next(operations) == number

    def rename(source, target, original=os.rename):
        if is_now():
            raise Killed
        original(source, target)
        if is_now():
            raise Killed

    def rmtree(path, original=shutil.rmtree, **kwargs):
        if Path(path).exists() and is_now():
            next(p for p in sorted(Path(path).rglob("*")) if p.is_file()).unlink()
            raise Killed
        original(path, **kwargs)

    def write_text(path, text, original=Path.write_text, **kwargs):
        if is_now():
            original(path, text[: len(text) // 2])
            raise Killed
        return original(path, text, **kwargs)

    patch.setattr(os, "rename", rename)
    patch.setattr(shutil, "rmtree", rmtree)
    patch.setattr(Path, "write_text", write_text)


# ---- mistakes


def test_a_folder_with_a_run_is_not_overwritten(finished):
    before = digests(finished)
    with pytest.raises(ConfigError, match=r"holds a run already.*--resume"):
        train_tiny(finished)
    assert digests(finished) == before


def test_nothing_to_resume(tmp_path):
    with pytest.raises(CheckpointError, match="holds no run to resume"):
        train_tiny(tmp_path / "nowhere", resume=True)
    assert not (tmp_path / "nowhere").exists()


def test_a_run_without_its_last_checkpoint_is_not_resumed(finished, tmp_path):
    out = tmp_path / "copy"
    shutil.copytree(finished, out)
    state = out / "checkpoints" / "last" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match=r"damaged.*state.safetensors"):
        train(out=out, resume=True, steps=4000, evaluation=False)
    shutil.rmtree(out / "checkpoints" / "last")
    with pytest.raises(CheckpointError, match="does not exist"):
        train(out=out, resume=True, steps=4000, evaluation=False)
    assert progress(out) == progress(finished)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"updates_per_iteratoin": 3},
            r"'updates_per_iteratoin' does not exist; did you mean 'updates_per_iteration'\?",
        ),
        ({"tiers": {"threat_hunter": {"actor_lrr": 1.0}}}, "'actor_lrr' does not exist; did you mean 'actor_lr'"),
    ],
)
def test_unknown_settings_are_named(config, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        train_tiny(tmp_path / "run", config=config)
    assert not (tmp_path / "run").exists()


def test_scenarios_have_numbers_of_environments_of_their_own(monkeypatch, tmp_path):
    numbers = []
    monkeypatch.setattr(Run, "go", lambda out, settings, *args: numbers.append(settings["num_envs"]))
    for scenario, given in (("paper-v0", {}), ("soc-v1", {}), ("paper-v0", {"num_envs": 8})):
        train(scenario, out=tmp_path / "run", evaluation=False, **given)
    assert numbers == [NUM_ENVS["paper-v0"], DEFAULT_NUM_ENVS, 8]


# ---- the experiment


def test_an_adverse_start_biases_every_actor_and_only_the_start(tmp_path):
    tier = "threat_hunter"
    weights = {}
    for name, is_adverse in (("plain", False), ("adverse", True)):
        out = train_tiny(tmp_path / name, steps=256, adverse_start=is_adverse)
        start = load_policy(out / "checkpoints" / "start")
        sim = soc_env.Simulator("paper-v0", num_envs=4, seed=0, **OVERRIDES)
        weights[name] = start(sim.reset(), sim.decides)
    for agent in ("threat_hunter_0", "response_orchestrator_0"):
        assert (np.abs(weights["plain"][agent]) < 0.7).all()
        assert (weights["adverse"][agent] > 0.7).all()  # tanh(2) = 0.96, before what networks add
    resumed = train(out=tmp_path / "adverse", resume=True, steps=512, evaluation=False)
    before, after = (load_policy(resumed / "checkpoints" / name).modules[tier] for name in ("start", "last"))
    biases = [[head.bias for head, _ in module.action_heads()] for module in (before, after)]
    for old, new in zip(*biases, strict=True):
        assert np.abs((new - old).detach().numpy()).max() < 1.0  # was not biased once more


@pytest.mark.slow
def test_adverse_start_is_overcome(tmp_path):
    out = train("paper-v0", adverse_start=True, steps=1_200_000, seed=0, out=tmp_path / "run", evaluation=False)
    start = evaluate_checkpoint(out / "checkpoints" / "start", num_episodes=200, seed=77)
    assert start.mean("reward") < -1500
    best = evaluate_checkpoint(out / "checkpoints" / "best", num_episodes=1000, seed=77)
    assert best.mean("reward") > 10


@pytest.mark.slow
def test_soc_v1_is_learned(tmp_path):
    """Better than the rule-soar playbook on the mission score, on networks and attackers that training never met."""
    out = train("soc-v1", steps=700_000, seed=0, out=tmp_path / "run", evaluation=False)
    learned = evaluate_checkpoint(out / "checkpoints" / "best", num_episodes=512, seed=77, split="test")
    rule = evaluate("rule-soar", "soc-v1", 512, 77, split="test")
    assert learned.summary["score"].low > rule.summary["score"].high


# --- soc-v1


def test_a_run_on_soc_v1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What a run leaves behind: its progress, a best checkpoint by mission score, both splits, and the report."""
    from experiments import final as training
    from experiments.train import train
    from policies.networks.tokens import own_tokens
    from policies.tiers import DEFAULT_TIERS
    from soc_env.soc.tables import layout

    protocol = dataclasses.replace(PROTOCOLS["soc"], validation_episodes=4)
    monkeypatch.setitem(PROTOCOLS, "soc", protocol)
    monkeypatch.setattr(training, "EVALUATION_EPISODES", 4)
    tiny = {"train_batch_size": 160, "random_steps": 160, "learning_starts": 160, "updates_per_iteration": 1}
    tiers = {tier: {"hiddens": [8, 8], "encoder": "attention"} for tier in DEFAULT_TIERS}
    tiny |= {"tiers": tiers, "replay_capacity": 2000}
    out = train(
        "soc-v1",
        steps=800,
        num_envs=8,
        out=tmp_path / "run",
        overrides={"max_steps": 20, "num_networks": 2},
        config=tiny,
    )
    with (out / "progress.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {"score", "loss", "mttc", "action_fdr", "validation_score", "validation_csr"} <= set(rows[0])
    assert float(rows[-1]["loss"]) >= 0
    manifest = read_manifest(out / "checkpoints" / "best")
    assert manifest["best_validation_score"] == pytest.approx(float(rows[-1]["validation_score"]))
    tested = json.loads((out / "evaluation.json").read_text())
    trained_on = json.loads((out / "evaluation-train.json").read_text())
    assert list(tested) == [*protocol.compared, UNTRAINED, TRAINED]
    assert {"rule-soar", "expert", TRAINED} <= set(trained_on)
    assert tested[TRAINED]["overrides"]["split"] == "test"
    assert "split" not in trained_on[TRAINED]["overrides"]
    assert "Held-out networks and attackers" in (out / "report.html").read_text()
    assert "What the trained team looks at" in (out / "report.html").read_text()
    attended = json.loads((out / "attention.json").read_text())
    assert 0 <= attended["minute"] < 20
    for agent, own in attended["agents"].items():
        assert own["tokens"] == own_tokens(agent, layout(agent, 5).size).names
        assert np.sum(own["shares"], 1) == pytest.approx(np.ones(len(own["tokens"])), abs=1e-2)
    assert "greedy score" in capsys.readouterr().err


def test_soc_v1_has_a_preset_and_cage4_uses_it() -> None:
    from experiments.run_settings import with_preset
    from policies.presets import PRESETS

    assert with_preset("soc-cage4-v0", {}) == with_preset("soc-v1", {}) == PRESETS["soc-v1"]


def test_an_iteration_in_which_no_runner_answered_has_a_row():
    run = SimpleNamespace(algo=SimpleNamespace(num_env_steps=512), metrics=("reward",), seconds=60.0)
    row = Run._row(run, {"training_iteration": 3}, 60.0, 512)
    assert row == {"iteration": 3, "steps": 512, "seconds": 120.0, "steps_per_second": 0.0}
