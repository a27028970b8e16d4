"""`hmarl-soc risk-model`: rows, the fit, the file and its card, and what plays with it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import soc_env
from experiments import cli
from experiments.budget import Budget
from experiments.compare import markdown, measure
from experiments.evaluate import compare, evaluate_checkpoint
from experiments.risk.command import train_risk_model
from experiments.risk.fit import fit
from experiments.risk.quality import reliability
from experiments.risk.rows import FORMULA, Rows, gather, probabilities
from experiments.run_settings import new_settings
from policies import HMARLConfig, load_policy
from policies.hmarl.saving import save_checkpoint
from policies.scripted import own_overrides
from soc_env.errors import ConfigError
from soc_env.soc.risk_model import INPUTS, SHIPPED, RiskModel

SHORT: dict[str, Any] = {"max_steps": 60, "num_hosts": 60, "num_networks": 1, "first_campaign": 5}
SMALL: dict[str, Any] = {"episodes": 12, "test_episodes": 12, "rounds": 2, "units": 4}


def synthetic(number: int, seed: int) -> Rows:
    """Rows whose truth is drawn from a known probability of two inputs."""
    generator = np.random.default_rng(seed)
    inputs = generator.normal(2.0, 3.0, (number, len(INPUTS))).astype(np.float32)
    odds = -3.0 + 0.8 * np.maximum(0.0, inputs[:, 1]) - 0.5 * inputs[:, 4]
    is_bad = generator.random(number) < 1.0 / (1.0 + np.exp(-odds))
    return Rows(inputs, is_bad, inputs[:, FORMULA].astype(np.float64), np.arange(number) // 50)


def test_rows_are_of_hosts_with_evidence_and_their_truth() -> None:
    scenario = soc_env.make_scenario("soc-v1", **SHORT)
    rows = gather("expert", scenario, 20, seed=0, first_episode=100)  # type: ignore[arg-type]
    assert rows.inputs.shape == (len(rows), len(INPUTS))
    assert 0.0 < rows.is_bad.mean() < 0.5
    assert rows.formula.min() > 0.0
    assert set(rows.episode.tolist()) <= set(range(100, 120))
    assert rows.inputs[:, list(INPUTS).index("alerts")].max() > 0.5
    again = gather("expert", scenario, 20, seed=0, first_episode=100)  # type: ignore[arg-type]
    np.testing.assert_array_equal(rows.inputs, again.inputs)
    other = gather("expert", scenario, 20, seed=1)  # type: ignore[arg-type]
    assert len(other) != len(rows)


def test_a_fit_finds_a_known_probability() -> None:
    rows, fresh = synthetic(20_000, 0), synthetic(20_000, 1)
    model = fit(rows, seed=0, units=8, epochs=40)
    for one in reliability(probabilities(model, fresh), fresh.is_bad):
        if one.number > 500:
            assert one.said == pytest.approx(one.true, abs=4 * np.sqrt(0.25 / one.number) + 0.01)
    said = probabilities(model, fresh)
    assert said[fresh.is_bad].mean() > 2 * said[~fresh.is_bad].mean()
    assert fit(rows, seed=0, units=8, epochs=40).hash() == model.hash()
    assert fit(rows, seed=1, units=8, epochs=40).hash() != model.hash()


def test_the_command_writes_a_model_and_its_card(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {name: tmp_path / name for name in ("model.json", "card.json", "curve.png")}
    words = [f"--override={key}={value}" for key, value in SHORT.items()]
    words += ["--episodes", "12", "--test-episodes", "12", "--rounds", "2", "--units", "4"]
    places = ["--out", str(files["model.json"]), "--json", str(files["card.json"]), "--plot", str(files["curve.png"])]
    assert cli.main(["risk-model", *places, *words]) == 0
    assert "average precision: model" in capsys.readouterr().out
    model = RiskModel.load(files["model.json"])
    card = json.loads(files["card.json"].read_text())
    assert card == model.card
    assert card["model"] == model.hash()
    assert {"scenario_hash", "versions", "seed", "policies", "auc_formula", "calibration_error"} <= set(card)
    assert sum(row["number"] for row in card["reliability"]) == card["test"]["rows"]
    assert card["average_precision_model"]["low"] <= card["average_precision_model"]["mean"]
    assert files["curve.png"].read_bytes().startswith(b"\x89PNG")
    again = train_risk_model(tmp_path / "again.json", **SMALL, **SHORT)
    assert (tmp_path / "again.json").read_bytes() == files["model.json"].read_bytes()
    soc_env.Simulator("soc-v1", risk_model=str(tmp_path / "again.json"), **SHORT).reset()
    assert again.hash() == model.hash()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"episodes": 0}, "episodes=0 is out of range"),
        ({"units": 65}, "units=65 is out of range"),
        ({"rounds": True}, "rounds=True is out of range"),
        ({"split": "test"}, "split='test' is what this command sets itself"),
        ({"risk_model": "learned"}, "risk_model='learned' is what this command sets itself"),
        ({"scenario": "paper-v0"}, "has no risk score of hosts"),
    ],
)
def test_what_cannot_be_trained_is_refused(tmp_path: Path, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        train_risk_model(tmp_path / "x.json", **given)
    assert message in str(caught.value)
    assert not (tmp_path / "x.json").exists()


# ---- the model that ships, and what plays with it


def test_the_playbook_fitted_to_the_model_is_better_by_it_than_the_expert_by_the_formula() -> None:
    results = compare({"expert": "expert", "learned": "expert-learned"}, "soc-v1", 128, seed=3, split="test")
    scores = {name: result.summary["score"].mean for name, result in results.items()}
    assert scores["learned"] > scores["expert"] + 1.5
    settings = {name: result.settings["overrides"] for name, result in results.items()}
    assert settings == {"expert": {"split": "test"}, "learned": {"risk_model": "learned", "split": "test"}}


def test_tables_say_which_rows_go_by_a_learned_model() -> None:
    table = measure(policies={name: name for name in ("null", "expert-learned")}, num_seeds=5, episodes=1, max_steps=10)
    assert table.to_dict()["risk_models"] == {"expert-learned": RiskModel.find("learned").hash()}
    assert "in the place of the SIEM's formula: expert-learned." in markdown(table)
    plain = measure(policies={"null": "null"}, num_seeds=5, episodes=1, max_steps=10)
    assert "SIEM's formula" not in markdown(plain)


def test_the_card_of_the_model_that_ships_is_of_that_model() -> None:
    model = RiskModel.load(SHIPPED["learned"])
    assert model.card["model"] == model.hash()
    assert model.card["average_precision_model"]["low"] > model.card["average_precision_formula"]["high"]
    assert model.card["calibration_error"] < 0.01


def test_a_run_keeps_the_models_text(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    path.write_text(SHIPPED["learned"].read_text())
    found = new_settings(tmp_path / "run", {}, {"risk_model": str(path), "num_hosts": 50}, {}, Budget(1.0))
    path.unlink()
    scenario = soc_env.make_scenario(found["scenario"], **found["overrides"])
    assert scenario.hash() == soc_env.make_scenario("soc-v1", risk_model="learned", num_hosts=50).hash()
    with pytest.raises(ConfigError, match="cannot be read"):
        new_settings(tmp_path / "run", {}, {"risk_model": str(path)}, {}, Budget(1.0))


def test_a_checkpoint_plays_with_its_model_when_the_file_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    path.write_text(SHIPPED["learned"].read_text())
    small = {"max_steps": 20, "num_networks": 1}
    config = HMARLConfig().environment("soc-v1", env_config={"risk_model": str(path), **small})
    config.env_runners(num_envs_per_env_runner=2).debugging(seed=0, log_level="ERROR")
    config.training(replay_capacity=512)
    algo = config.build_algo()
    try:
        save_checkpoint(algo, tmp_path / "checkpoint")
    finally:
        algo.stop()
    path.unlink()
    result = evaluate_checkpoint(tmp_path / "checkpoint", num_episodes=2)
    expected = soc_env.make_scenario("soc-v1", risk_model="learned", **small)
    assert result.settings["scenario_hash"] == expected.hash()
    assert own_overrides(load_policy(tmp_path / "checkpoint"))["risk_model"].startswith("{")
