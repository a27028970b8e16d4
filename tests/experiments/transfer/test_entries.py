"""Who can be measured on CC4: controls, trained teams, scripted teams."""

import shutil
import types
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")
from cage4_trace import Replay, load

from cyborg_bridge.controls import CONTROLS, ControlPolicy
from experiments.transfer.entries import checkpoint_entries, control_entries, playbook_entries
from soc_env.errors import CheckpointError, ConfigError


def test_every_control_is_an_entry_with_its_level() -> None:
    entries = control_entries(list(CONTROLS))
    assert list(entries) == list(CONTROLS)
    assert {name: entry.observation for name, entry in entries.items()} == {
        name: "raw" if name in ("raw-rule", "frugal-rule") else "flat" for name in CONTROLS
    }
    assert list(control_entries(["sleep", "raw-rule"])) == ["sleep", "raw-rule"]
    policy = entries["flat-rule"].make(3)
    assert isinstance(policy, ControlPolicy)
    assert policy.control is CONTROLS["flat-rule"]
    with pytest.raises(ConfigError, match="did you mean 'sleep'"):
        control_entries(["sleep", "slep"])


def test_a_checkpoint_is_an_entry_at_each_level_beside_its_untrained_networks(runs: dict[str, Path]) -> None:
    entries = checkpoint_entries(runs["zones"])
    assert {name: entry.observation for name, entry in entries.items()} == {
        "zones, flat": "flat", "zones, raw": "raw", "zones, untrained, flat": "flat", "zones, untrained, raw": "raw",
    }  # fmt: skip
    assert list(checkpoint_entries(runs["zones"], ["raw"], untrained=False)) == ["zones, raw"]
    assert len(entries["zones, raw"].identity) == 16


@pytest.mark.parametrize("level", ["flat", "raw"])
def test_a_checkpoint_and_a_playbook_play_a_recorded_episode(runs: dict[str, Path], level: str) -> None:
    env = Replay(load())
    env.observation, env.steps = level, 60  # type: ignore[attr-defined]
    made = checkpoint_entries(runs["zones"], [level]) | playbook_entries(["expert"], [level])
    played = {}
    for name, entry in made.items():
        policy = entry.make(3)
        for _ in range(2):  # a policy forgets the episode before
            policy.reset()
            observations, infos = env.reset()
            actions = []
            while env.agents:
                actions.append(policy.act(observations, infos, env))
                observations, _, _, _, infos = env.step(actions[-1])
            assert played.setdefault(name, actions) == actions
        masks = {agent: info["action_mask"] for agent, info in infos.items()}
        assert all(masks[agent][index] for action in actions for agent, index in action.items())
    assert played[f"expert playbook, {level}"] != played[f"zones, {level}"]


@pytest.mark.parametrize(
    ("name", "error", "says"),
    [
        ("paper", CheckpointError, "trained on scenario 'paper-v0'"),
        ("mixed", ConfigError, "tier 'strategic_coordinator': encoder 'mlp' is made for one number of zones"),
        ("nothing", CheckpointError, "nothing"),
    ],
)
def test_checkpoints_that_cannot_play(runs: dict[str, Path], name: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        checkpoint_entries(runs.get(name, runs["zones"].parent / name))


def test_teams_by_a_wrong_name(runs: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match="did you mean 'expert'"):
        playbook_entries(["exprt"])
    with pytest.raises(ConfigError, match="oracle-observation"):  # sees the truth, which CC4 does not show
        playbook_entries(["oracle-observation"])
    with pytest.raises(ConfigError, match="did you mean 'raw'"):
        checkpoint_entries(runs["zones"], ["row"])


def test_what_goes_by_a_learned_risk_model_is_refused(
    monkeypatch: pytest.MonkeyPatch, runs: dict[str, Path], tmp_path: Path
) -> None:
    """CC4's SIEM rates by the formula; neither the playbook nor a team would know its scale."""
    with pytest.raises(ConfigError, match="expert-learned"):
        playbook_entries(["expert-learned"])
    team = types.SimpleNamespace(manifest={"overrides": {"risk_model": "learned"}})
    monkeypatch.setattr("policies.loading.load_policy", lambda *args, **kwargs: team)
    run = shutil.copytree(runs["zones"], tmp_path / "run")  # those of the other one are kept loaded
    with pytest.raises(ConfigError, match="trained with a learned risk model"):
        checkpoint_entries(run)


def test_a_team_is_shown_the_tables_that_it_was_trained_on(runs: dict[str, Path]) -> None:
    for name, scenario in (("zones", "soc-cage4-v0"), ("levels", "soc-cage4-v1")):
        policy = checkpoint_entries(runs[name], ["raw"], untrained=False)[f"{name}, raw"].make(0)
        assert policy.scenario == scenario  # type: ignore[attr-defined]
    by_default, older = playbook_entries(["expert"], ["raw"]), playbook_entries(["expert"], ["raw"], "soc-cage4-v0")
    shown = [entries["expert playbook, raw"].make(0).scenario for entries in (by_default, older)]  # type: ignore[attr-defined]
    assert shown == ["soc-cage4-v1", "soc-cage4-v0"]
    assert by_default["expert playbook, raw"].identity != older["expert playbook, raw"].identity
    with pytest.raises(ConfigError, match="scenario of a SOC view 'soc-v1' does not exist"):
        playbook_entries(["expert"], ["raw"], "soc-v1")
