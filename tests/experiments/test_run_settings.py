"""config.json as input, what a resumption may ask for, and what a user is told."""

import json
import os
import shlex
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("filelock")
from experiments import run_settings
from experiments.budget import Budget
from experiments.run import hmarl_config
from experiments.run_settings import (
    check_names,
    check_same,
    check_space,
    new_settings,
    read_settings,
    record_budget,
    resume_hint,
    with_credit,
    with_preset,
)
from policies.presets import credit_of, preset_of
from soc_env.errors import CheckpointError, ConfigError

SETTINGS: dict[str, Any] = {
    "scenario": "paper-v0",
    "seed": 3,
    "workers": 0,
    "num_envs": 8,
    "overrides": {"num_hosts": 20},
    "adverse_start": False,
    "config": {"replay_capacity": 100, "tiers": {"threat_hunter": {"algorithm": "SAC", "hiddens": [8, 8]}}},
    "budget": {"steps": 3000},
}


def write(out: Path, **changed: Any) -> Path:
    (out / "config.json").write_text(json.dumps({**SETTINGS, "versions": {"ray": "2.60"}, **changed}))
    return out


def test_settings_are_read_back_as_they_were(tmp_path: Path) -> None:
    assert read_settings(write(tmp_path)) == SETTINGS


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"seed": "3"}, "seed is '3', allowed: int of at least 0"),
        ({"seed": -1}, "seed is -1, allowed: int of at least 0"),
        ({"seed": True}, "seed is True, allowed: int"),
        ({"seed": 1.0}, "seed is 1.0, allowed: int"),
        ({"num_envs": 0}, "num_envs is 0, allowed: int of at least 1"),
        ({"num_envs": None}, "num_envs is None"),
        ({"workers": [1]}, r"workers is \[1\]"),
        ({"scenario": 5}, "scenario is 5, allowed: str"),
        ({"overrides": []}, r"overrides is \[\], allowed: dict"),
        ({"adverse_start": 0}, "adverse_start is 0, allowed: bool"),
        ({"config": "x"}, "config is 'x', allowed: dict"),
        ({"budget": {}}, "budget: minutes=None, steps=None"),
        ({"budget": {"minutes": float("nan")}}, "minutes=nan is not allowed"),
        ({"budget": {"steps": "many"}}, "steps='many' is not allowed"),
        ({"budget": 10}, "budget is 10, allowed: dict"),
    ],
)
def test_a_setting_that_was_edited_is_named(changed: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=rf"config\.json'.*{says}") as error:
        read_settings(write(tmp_path, **changed))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_that_is_missing_is_named(name: str, tmp_path: Path) -> None:
    found = {key: value for key, value in SETTINGS.items() if key != name}
    (tmp_path / "config.json").write_text(json.dumps(found))
    with pytest.raises(CheckpointError, match=f"has no '{name}': it is damaged, or of another version"):
        read_settings(tmp_path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"{", "is no JSON"),
        (b"", "is no JSON"),
        (b"\xff{}", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b"[]", "holds a list, not settings by name"),
    ],
)
def test_a_file_that_is_damaged_is_named(content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"config\.json' is damaged: (it )?{says}"):
        read_settings(tmp_path)


def test_no_run_to_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    for out in (tmp_path, tmp_path / "none", tmp_path / "file"):
        with pytest.raises(CheckpointError, match=r"holds no run to resume \(it has no config.json\)"):
            read_settings(out)
    (tmp_path / "folder" / "config.json").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_settings(tmp_path / "folder")
    monkeypatch.setattr(run_settings, "MAX_CONFIG_BYTES", 10)
    with pytest.raises(CheckpointError, match="is too large: allowed are 10 bytes"):
        read_settings(write(tmp_path))


def test_a_new_budget_is_recorded_and_nothing_else_changes(tmp_path: Path) -> None:
    record_budget(write(tmp_path), Budget(minutes=20.0))
    found = json.loads((tmp_path / "config.json").read_text())
    assert found == {**SETTINGS, "versions": {"ray": "2.60"}, "budget": {"minutes": 20.0}}
    assert os.listdir(tmp_path) == ["config.json"]


def test_a_run_that_begins_has_every_setting(tmp_path: Path) -> None:
    nothing = dict.fromkeys(("scenario", "seed", "workers", "num_envs", "adverse_start"))
    found = new_settings(tmp_path, nothing, {}, {}, Budget(10.0))
    assert (found["scenario"], found["seed"], found["workers"], found["num_envs"]) == ("soc-v1", 0, 0, 64)
    assert found["budget"] == {"minutes": 10.0}
    assert new_settings(tmp_path, {**nothing, "scenario": "paper-v0"}, {}, {}, Budget(10.0))["num_envs"] == 256
    assert new_settings(tmp_path, {**nothing, "num_envs": 8}, {}, {}, Budget(10.0))["num_envs"] == 8
    with pytest.raises(ConfigError, match=r"holds a run already.*--resume"):
        new_settings(write(tmp_path), nothing, {}, {}, Budget(10.0))


def test_credit_goes_on_top_of_a_preset_and_below_what_the_user_says() -> None:
    schedule = "actor_lr"
    hunter = {"hiddens": [8], "counterfactual": {"share": 0.1}}
    found = with_preset("soc-v1", with_credit("soc-v1", {"n_step": 3, "tiers": {"threat_hunter": hunter}}))["tiers"]
    plain = preset_of("soc-v1")["tiers"]
    for tier, own in credit_of("soc-v1")["tiers"].items():
        if tier != "threat_hunter":
            assert {name: found[tier][name] for name in own} == own
        assert found[tier]["encoder"] == plain[tier]["encoder"]
    assert found["threat_hunter"]["hiddens"] == [8]
    asked = {**credit_of("soc-v1")["tiers"]["threat_hunter"]["counterfactual"], "share": 0.1}
    assert found["threat_hunter"]["counterfactual"] == asked
    taught = with_preset("soc-v1", with_credit("soc-v1", {"teacher": "expert"}))["tiers"]["threat_hunter"]
    assert taught[schedule] == preset_of("soc-v1", is_taught=True)["tiers"]["threat_hunter"][schedule]
    assert found["threat_hunter"][schedule] != taught[schedule]
    assert taught["counterfactual"]["weight"] == 1.0


def test_credit_is_for_the_presets_own_algorithms_and_scenarios() -> None:
    asked = {"tiers": {"threat_hunter": {"algorithm": "PPO"}}}
    assert with_credit("soc-v1", asked)["tiers"]["threat_hunter"] == {"algorithm": "PPO"}
    with pytest.raises(ConfigError, match="credit: there is no preset of it for scenario 'paper-v0'; allowed: soc-"):
        with_credit("paper-v0", {})


@pytest.mark.parametrize("config", [{}, {"teacher": "expert"}])
def test_a_run_with_credit_can_be_trained_and_resumed_with_or_without_saying_so(
    config: dict[str, Any], tmp_path: Path
) -> None:
    settings = new_settings(tmp_path, {}, {}, with_credit("soc-v1", config), Budget(1.0))
    hmarl_config(settings).validate()
    check_same(tmp_path, settings, {}, {}, with_credit("soc-v1", config))
    plain = new_settings(tmp_path, {}, {}, config, Budget(1.0))
    with pytest.raises(ConfigError, match="the run in '.*' has"):
        check_same(tmp_path, plain, {}, {}, with_credit("soc-v1", config))


# --- what a resumption may ask for


@pytest.mark.parametrize(
    ("asked", "overrides", "config", "says"),
    [
        ({"seed": 1}, {}, {}, "seed=1: the run in '.*' has 3"),
        ({"seed": 0}, {}, {}, "seed=0: the run in '.*' has 3"),
        ({"scenario": "soc-v1"}, {}, {}, "scenario='soc-v1': the run in '.*' has 'paper-v0'"),
        ({"workers": 2}, {}, {}, "workers=2: the run in '.*' has 0"),
        ({"num_envs": 16}, {}, {}, "num_envs=16: the run in '.*' has 8"),
        ({"adverse_start": True}, {}, {}, "adverse_start=True: the run in '.*' has False"),
        ({}, {"num_hosts": 30}, {}, "override num_hosts=30: the run in '.*' has 20"),
        ({}, {"max_steps": 7}, {}, "override max_steps=7: the run in '.*' has 200"),
        ({}, {}, {"replay_capacity": 99}, "config replay_capacity=99: the run in '.*' has 100"),
        ({}, {}, {"n_step": 2}, "config n_step=2: the run in '.*' has no such setting"),
        (
            {},
            {},
            {"tiers": {"threat_hunter": {"hiddens": [16, 8]}}},
            r"config tiers.threat_hunter.hiddens=\[16, 8\]: the run in '.*' has \[8, 8\]",
        ),
        (
            {},
            {},
            {"tiers": {"response_orchestrator": {}}},
            "config tiers.response_orchestrator={}: the run in '.*' has no such setting",
        ),
    ],
)
def test_what_would_have_no_effect_is_refused_by_name(
    asked: dict[str, Any], overrides: dict[str, Any], config: dict[str, Any], says: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=rf"^{says}; .*only --minutes or --steps may be given$"):
        check_same(tmp_path, SETTINGS, {"seed": None, **asked}, overrides, config)


def test_the_runs_own_settings_may_be_given_again(tmp_path: Path) -> None:
    asked = {name: SETTINGS[name] for name in ("scenario", "seed", "workers", "num_envs", "adverse_start")}
    config = {"tiers": {"threat_hunter": {"hiddens": (8, 8)}}}
    check_same(tmp_path, SETTINGS, asked, {"num_hosts": 20, "max_steps": 200}, config)


def test_code_that_a_file_names_is_not_imported() -> None:
    foreign = {"tiers": {"threat_hunter": {"algorithm": "scripted", "policy": "no_such_module:Policy"}}}
    with pytest.raises(ConfigError, match=r"x\.json: tier 'threat_hunter' has policy 'no_such_module:Policy'; code"):
        check_names(foreign, {}, "x.json")
    check_names(foreign, foreign, "x.json")  # the caller says the same
    for config in ({}, {"tiers": 5}, {"tiers": {"a": 5}}, {"tiers": {"threat_hunter": {"policy": "rule-soar"}}}):
        check_names(config, {}, "x.json")


# --- what a user is told


@pytest.mark.parametrize("name", ["runs/first", "a b", "it's", "-x", "~", "$HOME", "ü"])
def test_the_hint_can_be_pasted_as_it_stands(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    hint = resume_hint(tmp_path / name, Budget(steps=6000), evaluation=False)
    words = shlex.split(hint)
    assert words[:4] == ["hmarl-soc", "train", "--resume", "--out"]
    assert not words[4].startswith("-")
    assert Path(words[4]).absolute() == tmp_path / name
    assert words[5:] == ["--steps", "6000", "--no-evaluation"]
    assert resume_hint(tmp_path / "x") == "hmarl-soc train --resume --out x"


def test_a_disk_that_is_too_small_is_said_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row of paper-v0's replay has about 700 bytes."""
    large = {**SETTINGS, "config": {"replay_capacity": 1_000_000}, "budget": {"minutes": 10.0}}
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 2**27}))
    with pytest.raises(ConfigError, match=r"^out: '.*' has 128 MiB free, but a checkpoint may take \d\d\d MiB more"):
        check_space(tmp_path, large)
    check_space(tmp_path, {**large, "budget": {"steps": 1000}})  # never has so many rows
    check_space(tmp_path, {**large, "config": {"replay_capacity": 1000}})
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 2**34}))
    check_space(tmp_path, large)
