"""Playbook files in runs, checkpoints and comparisons: their text is kept, and the file is needed no more."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("ray")
from acting_networks import network_for, write_policy

from experiments import cli
from experiments.compare import compare_policies
from experiments.evaluate import compare, evaluate
from experiments.run import Run
from experiments.run_settings import check_same, with_given, with_playbooks, with_preset
from experiments.train import train
from policies import HMARLConfig, load_policy
from policies.checkpoint import read_manifest
from policies.hmarl.description import configure
from policies.scripted import PlaybookFile, kept
from policies.scripted.playbook import shipped_file
from policies.scripted.soc import Playbook
from policies.tiers import DEFAULT_TIERS
from soc_env import Simulator
from soc_env.errors import CheckpointError, ConfigError

TEXT = """
[threat_hunter]
hunt = 0.7
[response_orchestrator]
contain = "zone.top_risk > 0.6 -> isolate"
"""
SHORT = {"max_steps": 10, "num_networks": 1, "num_hosts": 40}
LEARNS = "alert_triage"
TINY = {"train_batch_size": 80, "random_steps": 80, "learning_starts": 80, "updates_per_iteration": 1}


class Mine(Playbook):
    """A playbook in Python, as `hmarl-soc evaluate --policy` can name it."""

    def __call__(self, observations: Any, decides: Any) -> Any:
        return shipped_file("expert")(Simulator("soc-v1").action_spaces)(observations, decides)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(TEXT)
    return path


def settings_with(path: Path) -> dict[str, Any]:
    played = {"algorithm": "scripted", "policy": str(path)}
    tiers = {tier: {"hiddens": [8]} if tier == LEARNS else played for tier in DEFAULT_TIERS}
    return {**TINY, "replay_capacity": 500, "tiers": tiers}


def test_a_run_goes_on_and_its_checkpoints_load_when_the_file_has_gone(
    mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Run, "measure", lambda self, policy: dict.fromkeys(self.metrics, 1.0))
    config, plain = settings_with(mine), kept(mine)
    options: dict[str, Any] = {"out": tmp_path / "run", "evaluation": False}
    out = train("soc-v1", steps=160, num_envs=8, overrides=SHORT, config=config, **options)
    assert json.loads((out / "config.json").read_text())["config"]["tiers"]["threat_hunter"]["policy"] == plain
    assert read_manifest(out / "checkpoints" / "last")["tiers"]["threat_hunter"]["policy"] == plain
    mine.write_text(TEXT.replace("0.7", "0.8"))
    with pytest.raises(ConfigError, match=r"policy\.sha256=.*: the run in .* has '\w+\.\.\.; a resumed run keeps"):
        train(resume=True, steps=240, config=config, **options)
    mine.unlink()
    train(resume=True, steps=240, **options)
    assert read_manifest(out / "checkpoints" / "last")["num_env_steps"] == 240
    sim = Simulator("soc-v1", num_envs=3, seed=0, **SHORT)
    sim.reset()
    acted = load_policy(out)(sim.observations, sim.decides)
    expected = PlaybookFile(TEXT, "mine.toml")(sim.action_spaces)(sim.observations, sim.decides)
    for tier in set(DEFAULT_TIERS) - {LEARNS}:
        np.testing.assert_array_equal(acted[f"{tier}_0"], expected[f"{tier}_0"])


def test_the_same_file_given_again_is_the_same_run(mine: Path) -> None:
    """A tier that is given in part keeps what else was recorded of it."""
    recorded = with_preset("soc-v1", with_playbooks(settings_with(mine)))
    given = with_playbooks(settings_with(mine))
    settings = {"scenario": "soc-v1", "overrides": {}, "config": recorded}
    check_same(mine.parent, settings, {}, {}, given)
    assert with_given(recorded, given) == recorded
    assert set(recorded["tiers"][LEARNS]) > {"hiddens"}
    assert with_given({"gamma": 1}, {"lr": 2}) == {"gamma": 1, "lr": 2}


def test_a_configuration_reads_the_file_once(mine: Path) -> None:
    config = HMARLConfig().environment("soc-v1")
    config.tiers({"threat_hunter": {"algorithm": "scripted", "policy": str(mine)}})
    mine.unlink()
    assert config.tier_settings["threat_hunter"]["policy"]["text"] == TEXT
    config.validate()
    config.tiers({"threat_hunter": {"policy": "expert"}})
    assert config.tier_settings["threat_hunter"]["policy"] == "expert"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[threat_hunter]\nhuntt = 1\n", r"^tier 'threat_hunter': policy: mine\.toml:2: action of threat_hunter"),
        (None, "^tier 'threat_hunter': policy: playbook '.*mine.toml' cannot be read"),
    ],
)
def test_a_file_that_is_wrong_is_refused_before_anything_starts(mine: Path, text: str | None, says: str) -> None:
    if text is None:
        mine.unlink()
    else:
        mine.write_text(text)
    with pytest.raises(ConfigError, match=says):
        HMARLConfig().tiers({"threat_hunter": {"algorithm": "scripted", "policy": str(mine)}})
    with pytest.raises(ConfigError, match=says):
        train(config=settings_with(mine), out=mine.parent / "run")
    assert not (mine.parent / "run" / "config.json").exists()


def test_another_familys_run_is_told(mine: Path) -> None:
    config = HMARLConfig().environment("paper-v0")
    config.tiers({"threat_hunter": {"algorithm": "scripted", "policy": str(mine)}})
    with pytest.raises(ConfigError, match=r"tier 'threat_hunter': policy 'mine\.toml' is a playbook file, which"):
        config.validate()


@pytest.mark.parametrize("changed", [{"text": "x"}, {"sha256": ""}, {"more": ""}])
def test_a_playbook_that_was_changed_in_a_checkpoint_is_refused(
    mine: Path, changed: dict[str, str], tmp_path: Path
) -> None:
    modules = {"alert_triage": network_for("soc-v1", "alert_triage", "DQN")}
    write_policy(tmp_path, "soc-v1", modules, scripted={"threat_hunter": {**kept(mine), **changed}})
    with pytest.raises(CheckpointError, match="scripted tier 'threat_hunter' cannot be made: "):
        load_policy(tmp_path)


def test_a_checkpoint_names_no_file(mine: Path, tmp_path: Path) -> None:
    """It could be any file of the one who loads it."""
    modules = {"alert_triage": network_for("soc-v1", "alert_triage", "DQN")}
    others = dict.fromkeys(set(DEFAULT_TIERS) - {LEARNS, "threat_hunter"}, "expert")
    write_policy(tmp_path, "soc-v1", modules, scripted={"threat_hunter": str(mine), **others})
    with pytest.raises(CheckpointError, match=r"tier 'threat_hunter' is scripted by '.*, which is none of ours"):
        load_policy(tmp_path)
    with pytest.raises(CheckpointError, match="needs code that a file cannot hold: the policy of tier 'threat_hunter'"):
        configure(HMARLConfig(), tmp_path, read_manifest(tmp_path))
    for teacher in ("rules/mine.toml", "no_such_module:x"):
        taught = {**read_manifest(tmp_path), "tiers": {}, "config": {"settings": {"teacher": teacher}}}
        with pytest.raises(CheckpointError, match="needs code that a file cannot hold: the teacher; pass config="):
            configure(HMARLConfig(), tmp_path, taught)
    assert load_policy(tmp_path, scripted={"threat_hunter": str(mine)}).tier_of("threat_hunter_0") == "threat_hunter"


# ---- measuring
def test_an_evaluation_keeps_the_text(mine: Path) -> None:
    result = evaluate(mine, "soc-v1", 3, num_envs=4, **SHORT)
    assert result.policy == "mine.toml"
    assert result.settings["playbook"] == kept(mine)
    assert "playbook" not in evaluate("expert", "soc-v1", 2, num_envs=4, **SHORT).settings
    again = evaluate(PlaybookFile.of_plain(json.loads(result.to_json())["playbook"]), "soc-v1", 3, num_envs=4, **SHORT)
    assert again.to_json() == result.to_json()


def test_files_code_and_names_are_compared_on_the_same_episodes(mine: Path) -> None:
    mine.write_text(shipped_file("expert").text)
    policies = {"file": mine, "builder": Mine, "policy": Mine(Simulator("soc-v1").action_spaces), "name": "expert"}
    results = compare(policies, "soc-v1", 4, num_envs=4, **SHORT)
    rewards = {name: result.episodes["reward"].tolist() for name, result in results.items()}
    assert list(rewards.values()) == [rewards["name"]] * 4


def test_a_table_keeps_the_text(mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few: dict[str, Any] = {"num_seeds": 1, "episodes": 2, "ablations": (), "allow_few_seeds": True, "overrides": SHORT}
    table = compare_policies("soc-v1", policies=[str(mine), "null"], json_path=tmp_path / "x.json", **few)
    assert list(table.splits["test"]) == ["mine.toml", "null"]
    assert json.loads((tmp_path / "x.json").read_text())["playbooks"] == {"mine.toml": kept(mine)}
    assert "| mine.toml |" in capsys.readouterr().out


# ---- the command line
def command(*words: str) -> int:
    return cli.main(words)


def test_the_commands_take_a_file(mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = [word for name, value in SHORT.items() for word in ("--override", f"{name}={value}")]
    assert command("evaluate", "--policy", str(mine), "--episodes", "2", *short) == 0
    assert "mine.toml" in capsys.readouterr().out
    few = ["--network-seeds", "1", "--episodes", "2", "--quick", "--no-ablations"]
    assert command("compare", "--policies", str(mine), "expert", *few, *short) == 0
    assert "| mine.toml |" in capsys.readouterr().out


def test_the_command_line_names_code_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "a_playbook_of_this_test"
    (tmp_path / f"{name}.py").write_text(Path(__file__).read_text().partition("@pytest.fixture")[0])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    short = [word for key, value in SHORT.items() for word in ("--override", f"{key}={value}")]
    assert command("evaluate", "--policy", f"{name}:Mine", "--episodes", "2", *short) == 0
    assert f"{name}:Mine" in capsys.readouterr().out
    assert command("evaluate", "--policy", f"{name}:Yours", "--episodes", "2") == 2
    assert "cannot be imported" in capsys.readouterr().err


def test_the_command_about_playbooks(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("playbook", str(mine)) == 0
    out = capsys.readouterr().out
    assert "mine.toml: 0 numbers, 0 values, 2 rules; sha256 " in out
    assert re.search(r"response_orchestrator +contain +zone\.top_risk > 0\.6 -> isolate", out)
    assert "without a rule, so at rest: choice, depth, " in out
    assert command("playbook", "expert", "--source") == 0
    assert capsys.readouterr().out == shipped_file("expert").text
    assert command("playbook", "--names") == 0
    out = capsys.readouterr().out
    assert all(word in out for word in ("zone.top_risk", "cases.severity", "kill_process (0.65)", "rank(x)"))


def test_what_a_terminal_would_obey_is_not_printed(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine.write_text('about = "\\u001b[31mred"\n' + TEXT)
    assert command("playbook", str(mine)) == 0
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("playbook",), "no playbook: FILE, NAME or --names is needed"),
        (("playbook", "exprt"), "did you mean 'expert'? allowed: expert, expert-learned, rule-soar, or a file"),
        (("playbook", "no/such.toml"), "playbook 'no/such.toml' cannot be read"),
        (("playbook", "expert", "--names"), "not allowed with"),
        (("evaluate", "--policy", "no/such.toml"), "playbook 'no/such.toml' cannot be read"),
        (("compare", "--policies", "expert", "no/such.toml"), "playbook 'no/such.toml' cannot be read"),
        (("compare", "--policies", "no_such_module:x"), "'no_such_module:x' cannot be imported"),
        (("transfer", "--playbooks", "no/such.toml"), "cannot be read"),
        (("evaluate", "--policy", "MINE", "--scenario", "paper-v0"), "is a playbook file, which reads what paper-v0"),
        (("playbook", "BAD"), "bad.toml:2: threat_hunter.hunt: name 'isolate' does not exist"),
        (("evaluate", "--policy", "BAD"), "bad.toml:2: threat_hunter.hunt: name 'isolate' does not exist"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(
    words: tuple[str, ...], says: str, mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text('[threat_hunter]\nhunt = "isolate"\n')
    assert command(*({"MINE": str(mine), "BAD": str(bad)}.get(word, word) for word in words)) == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1
