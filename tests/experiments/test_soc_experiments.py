"""The commands on the soc-v1 family: mistakes, overrides, and what a run leaves behind."""

import csv
import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import cli
from experiments.cli.options import parse_overrides
from experiments.evaluate import TRAINED, UNTRAINED, evaluate
from experiments.families import PROTOCOLS
from policies.scripted import SCRIPTED
from soc_env.errors import ConfigError
from soc_env.soc.tables import METRICS


def run(*arguments: str) -> int:
    try:
        return cli.main(arguments)
    except SystemExit as stop:
        return int(stop.code or 0)


# --- evaluate


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--policy", "zeros", "--scenario", "soc-v1"], "policy of soc-v1 'zeros'"),
        (["--policy", "expert", "--scenario", "paper-v0"], "policy of paper-v0 'expert'"),
        (["--policy", "experts", "--scenario", "soc-v1"], "did you mean 'expert'"),
        (["--policy", "null", "--scenario", "soc-v1", "--override", "families=wipers"], "did you mean 'wiper'"),
        (["--policy", "null", "--scenario", "soc-v1", "--override", "split=tests"], "did you mean 'test'"),
        (["--policy", "null", "--scenario", "soc-v1", "--override", "phase_values=1,2"], "must be 3 numbers"),
        (["--policy", "null", "--scenario", "soc-v1", "--override", "network=no/such.graphml"], "no/such.graphml"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("evaluate", *arguments, "--episodes", "1") == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert expected in err


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("split=test", "test"),
        ("families=wiper", ["wiper"]),
        ("families=espionage, wiper", ["espionage", "wiper"]),
        ('families=["espionage"]', ["espionage"]),
        ("families=", []),
        ("phase_values=1,10,10", [1, 10, 10]),
        ("phase_zones=[-1,3,4]", [-1, 3, 4]),
        ("network=a,b.graphml", "a,b.graphml"),
        ("instant_actions=True", True),
        ("analysts=2.5", 2.5),
    ],
)
def test_overrides_are_read_as_the_scenario_needs_them(text: str, value: Any) -> None:
    assert parse_overrides([text]) == {text.partition("=")[0]: value}


def test_evaluate_from_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    command = "evaluate --scenario soc-v1 --policy expert --episodes 3 --override split=test --override max_steps=25"
    assert run(*command.split(), "--override", "families=wiper,espionage", "--json") == 0
    data = json.loads(capsys.readouterr().out)
    assert data["overrides"] == {"split": "test", "max_steps": 25, "families": ["wiper", "espionage"]}
    assert set(data["summary"]) == {metric.name for metric in METRICS}
    assert data["episodes"]["length"] == [25.0] * 3


@pytest.mark.parametrize(("scenario", "family"), [("soc-v1", "soc"), ("paper-v0", "paper")])
def test_a_wrong_name_lists_every_scripted_policy(
    scenario: str, family: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("evaluate", "--scenario", scenario, "--policy", "nobody") == 2
    words = set(re.findall(r"[a-z-]+", capsys.readouterr().err))
    assert set(SCRIPTED[family]) <= words


@pytest.mark.parametrize(("old", "new"), [("informed", "oracle-observation"), ("clairvoyant", "oracle-control")])
def test_an_old_name_of_a_policy_is_refused_with_the_new_one(old: str, new: str) -> None:
    with pytest.raises(ConfigError, match=f"policy of soc-v1 '{old}' does not exist any more; it is called '{new}'"):
        evaluate(old, "soc-v1", num_episodes=1)


# --- training


def test_a_run_on_soc_v1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What a run leaves behind: its progress, a best checkpoint by mission score, both splits, and the report."""
    pytest.importorskip("ray")
    from experiments import train as training
    from policies.checkpoint import read_manifest
    from policies.networks.tokens import own_tokens
    from policies.tiers import DEFAULT_TIERS
    from soc_env.soc.tables import layout

    protocol = dataclasses.replace(PROTOCOLS["soc"], validation_episodes=4)
    monkeypatch.setitem(PROTOCOLS, "soc", protocol)
    monkeypatch.setattr(training, "EVALUATION_EPISODES", 4)
    tiny = {"train_batch_size": 160, "random_steps": 160, "learning_starts": 160, "updates_per_iteration": 1}
    tiers = {tier: {"hiddens": [8, 8], "encoder": "attention"} for tier in DEFAULT_TIERS}
    tiny |= {"tiers": tiers, "replay_capacity": 2000}
    out = training.train(
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
    pytest.importorskip("ray")
    from experiments.train import with_preset
    from policies.presets import PRESETS

    assert with_preset("soc-cage4-v0", {}) == with_preset("soc-v1", {}) == PRESETS["soc-v1"]
