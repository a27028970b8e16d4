"""Teams that learn on CC4: rows, schedules, runs that go on."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("matplotlib")
from cage4_stand_ins import Recorded
from cage4_trace import load, needs_cyborg

from cyborg_bridge.soc_batch import GATHER, TEAMS, SOCBatch, spread_places
from cyborg_bridge.soc_siem import SCENARIO
from cyborg_bridge.soc_view import SOCView
from experiments.cli.options import MOST_SEED
from experiments.transfer import train as training
from experiments.transfer.entries import checkpoint_entries
from experiments.transfer.play import transfer
from experiments.transfer.train import preset, train_on_cage4
from soc_env.engine.tables import AGENTS as ROLES
from soc_env.engine.tables import TRIAGE
from soc_env.errors import ConfigError
from soc_env.soc.tables import actions


def test_a_soc_of_one_zone_is_a_row_of_three_that_look_the_same(runs: dict[str, Path]) -> None:
    from policies.loading import load_policy

    policy = load_policy(runs["zones"] / "checkpoints" / "start")
    env = Recorded("raw")
    view = SOCView(env, "raw")  # type: ignore[arg-type]
    view.reset()
    decides = np.ones(1, bool)
    for _ in range(20):
        view.step({})
        seen = view.observations()["blue_agent_0"]
        alone = policy.for_zones(1)({role: row[None] for role, row in seen.items()}, decides)
        spread = policy.for_zones(3)({role: row[spread_places(role)][None] for role, row in seen.items()}, decides)
        for role in ROLES:
            found = GATHER[role] @ spread[role][0] if role != TRIAGE else spread[role][0]
            np.testing.assert_allclose(found, alone[role][0], atol=1e-5)


def test_rows_are_the_socs_of_a_recorded_episode(recorded: None) -> None:
    rows = SOCBatch(2 * TEAMS, seed=3, level="raw")
    frames = load()["frames"]
    view = SOCView(Recorded("raw"), "raw")  # type: ignore[arg-type]
    expected = view.reset()
    rows.reset()
    zero = {
        blue: {
            role: np.int64(0) if role == TRIAGE else np.zeros(len(actions(role, len(team.names))), np.float32)
            for role in ROLES
        }
        for blue, team in view.teams.items()
    }
    total = 0.0
    for step in range(1, len(frames)):
        for role, seen in rows.observations.items():
            assert seen.dtype == np.float32
            np.testing.assert_array_equal(seen[TEAMS + 4], expected["blue_agent_4"][role])
            np.testing.assert_array_equal(seen[1], expected["blue_agent_1"][role][spread_places(role)])
        _, rewards, *_ = view.step(zero)
        expected = view.observations()
        rows.step()
        total += rewards["blue_agent_0"]
        np.testing.assert_array_equal(rows.rewards, np.full(2 * TEAMS, rewards["blue_agent_0"]))
        assert rows.truncated.all() == (step == len(frames) - 1)
    assert not rows.terminated.any()
    metrics = rows.episode_metrics
    np.testing.assert_allclose(metrics["reward"], total)
    assert (metrics["length"] == len(frames) - 1).all()
    assert metrics["compromised"].tolist() == [0.0, 0.0, 0.0, 0.0, 3.0] * 2
    np.testing.assert_array_equal(rows.final_observations[TRIAGE][4], expected["blue_agent_4"][TRIAGE])
    first = view.reset()["blue_agent_4"][TRIAGE]
    np.testing.assert_array_equal(rows.observations[TRIAGE][4], first)  # the next episode has begun
    assert rows.running_metrics()["length"].tolist() == [0] * (2 * TEAMS)
    for num_envs in (0, 4, 7):
        with pytest.raises(ConfigError, match="a multiple of 5"):
            SOCBatch(num_envs)
    with pytest.raises(ConfigError, match="reward 'scor' does not exist; did you mean 'score'"):
        SOCBatch(TEAMS, reward="scor")


@pytest.mark.parametrize("reward", ["score", "rest"])
def test_rows_learn_from_the_score_or_from_its_part_that_blue_can_change(recorded: None, reward: str) -> None:
    rows, frames = SOCBatch(TEAMS, seed=3, level="raw", reward=reward), load()["frames"]
    for trace in (frames, rows.views[0].env.trace["frames"]):  # type: ignore[attr-defined]
        trace[9]["rest"] += 5.0  # as if red had tried an Impact where nobody guards
    rows.reset()
    for frame in frames[1:]:
        rows.step()
        expected = frame["reward"] if reward == "score" else frame["rest"]
        assert rows.rewards.tolist() == [expected] * TEAMS
    totals = {name: sum(frame[name] or 0.0 for frame in frames) for name in ("reward", "score", "rest")}
    metrics = {name: rows.episode_metrics[name][2] for name in totals}
    assert metrics == {**totals, "reward": totals["reward" if reward == "score" else "rest"]}
    assert totals["score"] + 5.0 == totals["rest"]


def test_schedules_are_shares_of_the_budget() -> None:
    short, long = preset(1_000)["tiers"], preset(10_000)["tiers"]
    for tier in short:
        assert "checkpoint" not in short[tier]
        assert short[tier]["encoder"] == "zones"
    for name in ("epsilon", "lr"):
        at = [[time for time, _ in tiers["alert_triage"][name]] for tiers in (short, long)]
        assert at[0][-1] == 1_000 * TEAMS
        assert at[1] == [10 * time for time in at[0]]
    tuned = preset(1_000, Path("somewhere"))["tiers"]
    assert {settings["checkpoint"] for settings in tuned.values()} == {"somewhere"}
    assert tuned["threat_hunter"]["actor_lr"][1] == [round(0.3 * TEAMS * 1_000), 0.0]  # critics first


EXAMPLES = Path(__file__).parents[3] / "examples"
TINY = {"train_batch_size": 100, "learning_starts": 100, "updates_per_iteration": 1, "replay_capacity": 1_000}


def test_fine_tuned_and_from_scratch_train_and_play(
    recorded: None, runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "VALIDATION_EPISODES", 1)
    start = runs["zones"]
    small = {"encoder": "zones", "hiddens": [8, 8], "reward_shaping": {"metrics": {"compromised": -1.0}}}
    config = {**TINY, "tiers": {role.removesuffix("_0"): small for role in ROLES}}
    tuned = {t: {**s, "checkpoint": str(start / "checkpoints" / "last")} for t, s in config["tiers"].items()}
    with pytest.raises(ConfigError, match="a multiple of 5"):
        train_on_cage4(tmp_path / "none", "raw", 80, num_envs=6)
    assert not (tmp_path / "none").exists()
    scratch = train_on_cage4(tmp_path / "scratch", "raw", 80, num_envs=10, config=config)
    trained = train_on_cage4(tmp_path / "tuned", "raw", 80, num_envs=10, start=start, config={**config, "tiers": tuned})
    for run in (scratch, trained):
        with (run / "progress.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert int(rows[-1]["steps"]) >= 80 * TEAMS
        assert float(rows[-1]["validation_score"]) <= float(rows[-1]["validation_rest"]) < 0.0
        manifest = json.loads((run / "checkpoints" / "best" / "hmarl.json").read_text())
        assert manifest["best_validation_rest"] == max(float(row["validation_rest"] or "-inf") for row in rows)
    shown = [json.loads((run / "config.json").read_text())["overrides"]["scenario"] for run in (scratch, trained)]
    assert shown == ["soc-cage4-v1", "soc-cage4-v0"]  # the newest, and that of the start
    entries = checkpoint_entries(scratch, ["raw"]) | checkpoint_entries(trained, ["raw"], untrained=False)
    assert list(entries) == ["scratch, raw", "scratch, untrained, raw", "tuned, raw"]
    data = transfer(entries, episodes=1, out=tmp_path / "out")
    assert all(record["n"] == 1 for record in data["entries"].values())

    from policies.loading import load_policy

    begun, learned = (load_policy(trained / "checkpoints" / name, scenario=SCENARIO.name) for name in ("start", "last"))
    before = load_policy(start / "checkpoints" / "last")
    env = Recorded("raw")
    view = SOCView(env, "raw")  # type: ignore[arg-type]
    view.reset()
    seen = {role: row[None] for role, row in view.observations()["blue_agent_4"].items()}
    played = [policy.for_zones(3)(seen, np.ones(1, bool)) for policy in (before, begun)]
    for role in ROLES:
        np.testing.assert_allclose(played[0][role], played[1][role], atol=1e-6)
    hunter = "threat_hunter"
    assert str(learned.modules[hunter].state_dict()) != str(begun.modules[hunter].state_dict())
    _check_refusals(scratch, start)


def _check_refusals(run: Path, start: Path) -> None:
    """A folder goes on with its own run alone."""
    with pytest.raises(ConfigError, match="holds a run with overrides"):
        train_on_cage4(run, "flat", 80, num_envs=10)
    for says, other in (
        ("holds a run with start", {"start": start}),
        ("holds a run with scenario='soc-cage4-v1', not 'soc-cage4-v0'", {"scenario": "soc-cage4-v0"}),
        ("scenario of a SOC view 'soc-v2' does not exist", {"scenario": "soc-v2"}),
        ("holds a run with reward='rest', not 'score'", {"reward": "score"}),
    ):
        own: dict[str, Any] = {"num_envs": 10, **other}
        with pytest.raises(ConfigError, match=says):
            train_on_cage4(run, "raw", 80, **own)


def test_a_run_from_before_there_was_a_choice_goes_on_by_the_score(
    recorded: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its folder has no "reward" in its overrides and no rest in its progress; its seed is the largest there is."""
    monkeypatch.setattr(training, "VALIDATION_EPISODES", 1)
    small = {"encoder": "zones", "hiddens": [8, 8]}
    config = {**TINY, "tiers": {role.removesuffix("_0"): small for role in ROLES}}
    own: dict[str, Any] = {"num_envs": 10, "config": config, "seed": MOST_SEED}
    with monkeypatch.context() as before:
        before.setattr(training, "METRICS", tuple(name for name in training.METRICS if name != "rest"))
        run = train_on_cage4(tmp_path / "run", "raw", 40, reward="score", **own)
    err = capsys.readouterr().err
    assert err.startswith("before training ...\n")
    assert err.count("before training") == 1
    written = json.loads((run / "config.json").read_text())
    assert written["overrides"].pop("reward") == "score"
    (run / "config.json").write_text(json.dumps(written))
    with pytest.raises(ConfigError, match="holds a run with reward='score', not 'rest'"):
        train_on_cage4(run, "raw", 80, **own)
    train_on_cage4(run, "raw", 80, reward="score", **own)
    assert "before training" not in capsys.readouterr().err
    with (run / "progress.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert int(rows[0]["steps"]) <= 40 * TEAMS < 80 * TEAMS <= int(rows[-1]["steps"])
    assert "rest" not in rows[0]


def test_a_playbook_gives_lessons_on_cc4(
    recorded: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(training, "VALIDATION_EPISODES", 1)
    monkeypatch.setattr(training, "NUM_ENVS", 10)
    playbook = tmp_path / "own.toml"
    playbook.write_text((EXAMPLES / "cage4_playbook.toml").read_text())
    own: dict[str, Any] = {"num_envs": 10, "config": {**preset(80, is_taught=True), **TINY, "teacher_steps": 100}}
    run = train_on_cage4(tmp_path / "raw" / "taught", "raw", 120, teacher=str(playbook), **own)
    playbook.unlink()  # the run keeps its text
    settings = json.loads((run / "config.json").read_text())["config"]
    assert "admin_findings" in settings["teacher"]["text"]
    assert not any(of.get("reward_shaping", {}).get("metrics") for of in settings["tiers"].values())
    manifest = json.loads((run / "checkpoints" / "last" / "hmarl.json").read_text())
    assert manifest["num_env_steps"] >= 120 * TEAMS
    with pytest.raises(ConfigError, match="holds a run with teacher="):
        train_on_cage4(run, "raw", 120, teacher="expert", **own)


@needs_cyborg
def test_training_on_the_real_one_goes_on_where_it_was(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(training, "VALIDATION_EPISODES", 1)
    config = {**preset(120), **TINY}
    for steps in (60, 120):
        run = train_on_cage4(tmp_path / "run", "raw", steps, workers=1, num_envs=10, config=config)
        with (run / "progress.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert int(rows[-1]["steps"]) >= steps * TEAMS
        assert -20_000 < float(rows[-1]["validation_score"]) < 0
    iterations = [int(row["iteration"]) for row in rows]
    assert iterations == list(range(1, len(rows) + 1))
