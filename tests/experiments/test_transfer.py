"""`hmarl-soc transfer`: keeps what is finished, plays only what is missing, and says what it measured."""

import csv
import io
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from cage4_trace import Replay, load, needs_cyborg

from cyborg_bridge import soc_batch
from cyborg_bridge.controls import CONTROLS, ControlPolicy
from cyborg_bridge.soc_batch import GATHER, SPREAD, TEAMS, SOCBatch
from cyborg_bridge.soc_siem import SCENARIO
from cyborg_bridge.soc_view import SOCView
from experiments import cli
from experiments.evaluate import episode_seeds
from experiments.transfer import command, play, plot
from experiments.transfer import train as training
from experiments.transfer.entries import Entry, checkpoint_entries, control_entries, playbook_entries
from experiments.transfer.play import PICTURE, RESULTS, Task, transfer
from experiments.transfer.plot import PUBLISHED
from experiments.transfer.train import preset, train_on_cage4, trained_entries
from soc_env.engine.tables import AGENTS as ROLES
from soc_env.engine.tables import TRIAGE
from soc_env.errors import CheckpointError, ConfigError
from soc_env.soc.tables import actions


class Pretence:
    """Stands in for CybORG: a score that depends on the name and the seed alone."""

    def __init__(self) -> None:
        self.played: list[tuple[str, int]] = []
        self.stop_after = 1_000_000

    def play(self, task: Task) -> float:
        if len(self.played) == self.stop_after:
            raise KeyboardInterrupt
        self.played.append((task.name, task.seed))
        return -100.0 * len(task.name) - task.seed % 7


@pytest.fixture
def pretence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Pretence:
    stand_in = Pretence()
    monkeypatch.setattr(play, "play", stand_in.play)
    monkeypatch.setattr(play, "find_cyborg", lambda path: tmp_path)
    monkeypatch.setattr(play, "checkout_version", lambda root: {"version": "4.0", "commit": "abc"})
    return stand_in


@pytest.fixture
def run(pretence: Pretence, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def call(*names: str, **settings: Any) -> dict[str, Any]:
        return transfer(control_entries(names), out=tmp_path / "out", **settings)

    return call


# --- entries


def test_every_control_is_an_entry_with_its_level() -> None:
    entries = control_entries()
    assert list(entries) == list(CONTROLS)
    assert {name: entry.observation for name, entry in entries.items()} == {
        name: "raw" if name == "raw-rule" else "flat" for name in CONTROLS
    }
    assert list(control_entries(["sleep", "raw-rule"])) == ["sleep", "raw-rule"]
    policy = entries["flat-rule"].make(3)
    assert isinstance(policy, ControlPolicy)
    assert policy.control is CONTROLS["flat-rule"]
    with pytest.raises(ConfigError, match="did you mean 'sleep'"):
        control_entries(["sleep", "slep"])


def test_published_figures_have_a_source_and_a_place_in_the_picture() -> None:
    assert len({figure.name for figure in PUBLISHED}) == len(PUBLISHED)
    for figure in PUBLISHED:
        assert figure.source
        assert plot.AXIS[0] < -figure.score < 2 * plot.AXIS[-1]


# --- teams of the four roles


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Run folders with untrained networks: of soc-v1 by zones, with an mlp among them, and of paper-v0."""
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    from policies import HMARLConfig, save_checkpoint
    from soc_env.engine.tables import AGENTS

    root = tmp_path_factory.mktemp("runs")
    tiers = [agent.rsplit("_", 1)[0] for agent in AGENTS]
    networks = {
        "zones": ("soc-v1", dict.fromkeys(tiers, "zones")),
        "mixed": ("soc-v1", dict.fromkeys(tiers[:3], "zones") | {tiers[3]: "mlp"}),
        "paper": ("paper-v0", dict.fromkeys(tiers, "mlp")),
    }
    for name, (scenario, network) in networks.items():
        config = HMARLConfig().environment(scenario).env_runners(num_envs_per_env_runner=2).debugging(seed=0)
        config = config.tiers({tier: {"encoder": network[tier], "hiddens": [8, 8]} for tier in tiers})
        algo = config.build_algo()
        for place in ("start", "last"):
            save_checkpoint(algo, root / name / "checkpoints" / place, replay=False)
        algo.stop()
    ray.shutdown()
    return {name: root / name for name in networks}


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


def test_a_call_that_plays_nothing_says_so(pretence: Pretence, tmp_path: Path, capsys: Any) -> None:
    assert cli.main(["transfer", "--controls", "--out", str(tmp_path / "out")]) == 2
    assert "nothing to play" in capsys.readouterr().err


def test_another_checkpoint_under_the_same_name_is_refused(pretence: Pretence, tmp_path: Path) -> None:
    def play(identity: str) -> dict[str, Any]:
        entry = {"team": Entry(lambda seed: ControlPolicy(CONTROLS["sleep"], seed), "flat", identity)}
        return transfer(entry, episodes=1, out=tmp_path / "out")

    assert play("a")["entries"]["team"]["identity"] == "a"
    play("a")
    with pytest.raises(ConfigError, match="'team' is there from another checkpoint"):
        play("b")


# --- what is played and kept


def test_results_are_of_the_episodes_that_every_policy_meets(
    run: Callable[..., dict[str, Any]], pretence: Pretence, tmp_path: Path
) -> None:
    data = run("sleep", "flat-rule", episodes=5, seed=3)
    seeds = episode_seeds(3, 5).tolist()
    assert pretence.played == [(name, seed) for seed in seeds for name in ("sleep", "flat-rule")]
    assert data == json.loads((tmp_path / "out" / RESULTS).read_text())
    assert data["protocol"] == {
        "environment": "cyborg_cage4_v0", "steps": 500, "seed": 3, "cyborg": {"version": "4.0", "commit": "abc"},
    }  # fmt: skip
    record = data["entries"]["sleep"]
    scores = np.array([-500.0 - seed % 7 for seed in seeds])
    assert list(record["scores"].values()) == scores.tolist()
    assert record["n"] == 5
    assert record["mean"] == pytest.approx(scores.mean())
    assert record["low"] == pytest.approx(scores.mean() - 2.776445 * scores.std(ddof=1) / 5**0.5)  # t of 4 degrees
    assert record["observation"] == "flat"
    assert len(record["git_hashes"]) == 1
    assert (tmp_path / "out" / PICTURE).read_bytes().startswith(b"\x89PNG")


def test_an_interrupted_run_goes_on_where_it_was(
    run: Callable[..., dict[str, Any]], pretence: Pretence, tmp_path: Path
) -> None:
    pretence.stop_after = 7
    with pytest.raises(KeyboardInterrupt):
        run("sleep", "flat-rule", episodes=5)
    kept = json.loads((tmp_path / "out" / RESULTS).read_text())["entries"]
    assert [len(kept[name]["scores"]) for name in ("sleep", "flat-rule")] == [4, 3]
    pretence.stop_after = 1_000_000
    resumed = run("sleep", "flat-rule", episodes=5)
    assert len(pretence.played) == len(set(pretence.played)) == 10
    (tmp_path / "out" / RESULTS).unlink()
    assert resumed == run("sleep", "flat-rule", episodes=5)


def test_two_calls_at_once_lose_nothing(
    run: Callable[..., dict[str, Any]], pretence: Pretence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner, original = [], pretence.play

    def play_and_call(task: Task) -> float:
        if not inner:
            inner.append(True)
            run("sleep", "raw-rule", episodes=2)
        return original(task)

    monkeypatch.setattr(play, "play", play_and_call)
    run("sleep", "flat-rule", episodes=3)
    kept = json.loads((tmp_path / "out" / RESULTS).read_text())["entries"]
    assert {name: record["n"] for name, record in kept.items()} == {"sleep": 3, "flat-rule": 3, "raw-rule": 2}


def test_more_episodes_and_more_names_are_added(run: Callable[..., dict[str, Any]], pretence: Pretence) -> None:
    run("sleep", episodes=3)
    data = run("raw-rule", episodes=2)
    assert {name: record["n"] for name, record in data["entries"].items()} == {"sleep": 3, "raw-rule": 2}
    data = run("sleep", episodes=4)
    assert len(pretence.played) == len(set(pretence.played)) == 6
    data = run("sleep", "raw-rule", episodes=1)
    assert len(pretence.played) == 6
    assert {name: record["n"] for name, record in data["entries"].items()} == {"sleep": 4, "raw-rule": 2}


def test_another_protocol_is_not_mixed_in(
    run: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("sleep", episodes=1)
    before = (tmp_path / "out" / RESULTS).read_bytes()
    with pytest.raises(ConfigError, match="holds results of .*'seed': 0.* choose another folder"):
        run("sleep", episodes=1, seed=1)
    other = Entry(control_entries(["sleep"])["sleep"].make, "raw")
    with pytest.raises(ConfigError, match="'sleep' is there with observation='flat', not 'raw'"):
        transfer({"sleep": other}, out=tmp_path / "out", episodes=1)
    monkeypatch.setattr(play, "checkout_version", lambda root: {"version": "4.0", "commit": "def"})
    with pytest.raises(ConfigError, match="'commit': 'abc'"):
        run("sleep", episodes=1)
    assert (tmp_path / "out" / RESULTS).read_bytes() == before


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_unreadable_results_are_an_error_and_stay(
    content: str, run: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / RESULTS).write_text(content)
    with pytest.raises(ConfigError, match=r"transfer\.json cannot be read"):
        run("sleep", episodes=1)
    assert (tmp_path / "out" / RESULTS).read_text() == content


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"episodes": 0}, "episodes=0"), ({"seed": -1}, "seed=-1"), ({"workers": 0}, "workers=0")],
)
def test_numbers_out_of_range(
    settings: dict[str, int], message: str, run: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=f"{message} is out of range"):
        run("sleep", **settings)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made(run: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(ConfigError, match=r"out=.*cannot be (read|written)"):
        run("sleep", episodes=1)


# --- what is shown


def test_table_has_everything_measured_worst_first_and_what_is_published(run: Callable[..., dict[str, Any]]) -> None:
    data = run("raw-rule", "random-restore", episodes=4)
    file = io.StringIO()
    plot.print_table(data, file)
    lines = [line.split() for line in file.getvalue().splitlines()]
    names = [line[0] for line in lines if line and line[0] in CONTROLS]
    assert names == ["random-restore", "raw-rule"]
    row = next(line for line in lines if line and line[0] == "raw-rule")
    assert row[1:3] == ["raw", "4"]
    assert float(row[3]) == pytest.approx(data["entries"]["raw-rule"]["mean"], abs=0.06)
    text = " ".join(file.getvalue().split())
    assert all(f"{figure.name}, published {figure.score:g}" in text for figure in PUBLISHED)
    assert "quoted, not measured here" in text


def test_picture_has_a_bar_and_interval_for_each_and_a_line_for_each_published_figure(
    run: Callable[..., dict[str, Any]],
) -> None:
    data = run("raw-rule", "sleep", episodes=4)
    panel = plot.draw(data).axes[0]
    widths = [bar.get_width() for bar in panel.patches]
    assert widths == [pytest.approx(-data["entries"][name]["mean"]) for name in ("raw-rule", "sleep")]
    assert [label.get_text() for label in panel.get_yticklabels()] == ["raw-rule, raw", "sleep, flat"]
    lines = {round(float(line.get_xdata()[0]), 1) for line in panel.lines if len(line.get_xdata()) == 2}
    assert {round(-figure.score, 1) for figure in PUBLISHED} <= lines
    labels = [text.get_text() for text in panel.texts]
    assert all(f"{figure.name} {figure.score:g}" in labels for figure in PUBLISHED)


def test_progress_says_how_far_and_how_long(
    run: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run("sleep", episodes=3)
    assert capsys.readouterr().err.endswith("3 of 3 episodes, 0:00 left  sleep -502\n")
    run("sleep", episodes=3)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setattr("experiments.progress.REFRESH_SECONDS", 0.0)
    monkeypatch.setenv("TERM", "xterm")
    run("flat-rule", episodes=4)
    err = capsys.readouterr().err
    assert "1 of 4 episodes" in err
    assert err.endswith("\x1b[1A\x1b[2K")  # the bar has gone


# --- training on CC4


class Recorded(Replay):
    """The recorded episode as the environment of a batch; red holds one host of every zone that agent 4 guards."""

    steps = 60

    def __init__(self, level: str) -> None:
        super().__init__(load())
        self.observation = level

    def reset(self, seed: int | None = None) -> Any:
        return super().reset()

    def red_hosts(self) -> set[str]:
        return {slots[0] for slots in self.hosts(self.possible_agents[4]).values()}

    def close(self) -> None:
        pass


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The record stands in for CybORG."""

    def make(path: Any, steps: int, seed: Any, patch: bool, level: str) -> Recorded:
        return Recorded(level)

    monkeypatch.setattr(soc_batch, "cage4_parallel_env", make)
    monkeypatch.setattr(play, "cage4_parallel_env", lambda *_, observation, **__: Recorded(observation))
    play.environment.cache_clear()
    for module in (play, training):
        monkeypatch.setattr(module, "find_cyborg", lambda path: tmp_path)
        monkeypatch.setattr(module, "checkout_version", lambda root: {"version": "4.0", "commit": "abc"})


def test_a_soc_of_one_zone_is_a_row_of_three_that_look_the_same(runs: dict[str, Path]) -> None:
    from policies.checkpoint import load_policy

    policy = load_policy(runs["zones"] / "checkpoints" / "start")
    env = Recorded("raw")
    view = SOCView(env, "raw")  # type: ignore[arg-type]
    view.reset()
    decides = np.ones(1, bool)
    for _ in range(20):
        view.step({})
        seen = view.observations()["blue_agent_0"]
        alone = policy.for_zones(1)({role: row[None] for role, row in seen.items()}, decides)
        spread = policy.for_zones(3)({role: row[SPREAD[role]][None] for role, row in seen.items()}, decides)
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
            np.testing.assert_array_equal(seen[1], expected["blue_agent_1"][role][SPREAD[role]])
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
        assert float(rows[-1]["validation_score"]) <= 0.0
    entries = checkpoint_entries(scratch, ["raw"]) | checkpoint_entries(trained, ["raw"], untrained=False)
    assert list(entries) == ["scratch, raw", "scratch, untrained, raw", "tuned, raw"]
    data = transfer(entries, episodes=1, out=tmp_path / "out")
    assert all(record["n"] == 1 for record in data["entries"].values())

    from policies.checkpoint import load_policy

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
    with pytest.raises(ConfigError, match="holds a run with overrides"):
        train_on_cage4(tmp_path / "scratch", "flat", 80, num_envs=10)
    with pytest.raises(ConfigError, match="holds a run with start"):
        train_on_cage4(tmp_path / "scratch", "raw", 80, num_envs=10, start=start)


def test_runs_with_one_name_are_refused(runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    twin = tmp_path / "zones"
    shutil.copytree(runs["zones"], twin)
    assert cli.main(["transfer", "--checkpoint", str(runs["zones"]), str(twin), "--out", str(tmp_path / "out")]) == 2
    assert "allowed: runs in folders of different names" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_command_trains_at_every_level_and_plays_what_it_trained(
    pretence: Pretence, runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def note(out: Path, level: str, steps: int, *, start: Any, **settings: Any) -> Path:
        calls.append((out.name, level, steps, start, settings))
        shutil.copytree(runs["zones"], out)
        return out

    monkeypatch.setattr(training, "train_on_cage4", note)
    arguments = ["--controls", "sleep", "--checkpoint", str(runs["zones"]), "--train-steps", "50", "--level", "raw"]
    assert cli.main(["transfer", *arguments, "--episodes", "1", "--seed", "2", "--out", str(tmp_path / "out")]) == 0
    settings = {"seed": 2, "path": None, "workers": 0}
    assert calls == [
        ("from-scratch", "raw", 50, None, settings),
        ("fine-tuned-zones", "raw", 50, runs["zones"], settings),
    ]
    assert {name for name, _ in pretence.played} == {
        "sleep", "zones, raw", "zones, untrained, raw",
        "from-scratch, raw", "from-scratch, untrained, raw", "fine-tuned-zones, raw",
    }  # fmt: skip
    monkeypatch.setattr(training, "train_on_cage4", lambda out, *_, **__: out)
    again = trained_entries(tmp_path / "out", 50, ["raw"], [], seed=2)
    assert list(again) == ["from-scratch, raw", "from-scratch, untrained, raw"]


# --- the command


def test_the_command_hands_everything_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], pretence: Pretence
) -> None:
    calls = []
    real = transfer

    def note(entries: Any, **settings: Any) -> dict[str, Any]:
        calls.append((list(entries), {**settings}))
        return real(entries, **{**settings, "workers": 1})

    monkeypatch.setattr(command, "transfer", note)
    out = tmp_path / "there"
    arguments = ["--controls", "sleep", "raw-rule", "--episodes", "2", "--seed", "5", "--workers", "2", "--no-patch"]
    assert cli.main(["transfer", *arguments, "--out", str(out), "--cyborg", "place"]) == 0
    settings = {"episodes": 2, "seed": 5, "workers": 2, "out": out, "path": Path("place"), "patch": False}
    assert calls == [(["sleep", "raw-rule"], settings)]
    shown = capsys.readouterr().out
    assert "raw-rule" in shown
    assert f"wrote {out / RESULTS} and {out / PICTURE}" in shown
    assert cli.main(["transfer", "--episodes", "1", "--out", str(out), "--seed", "5"]) == 0
    assert calls[1][0] == list(CONTROLS)
    assert calls[1][1]["patch"] is True


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--controls", "slep"], "did you mean 'sleep'"),
        (["--cyborg", "nowhere"], "is not a folder"),
        (["--episodes", "0"], "at least 1"),
        (["--workers", "0"], "at least 1"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    try:
        status = cli.main(["transfer", "--out", str(tmp_path / "out"), *arguments])
    except SystemExit as stop:
        status = int(stop.code or 0)
    assert status == 2
    err = capsys.readouterr().err
    assert err.startswith("hmarl-soc: error: ")
    assert err.count("\n") == 1
    assert expected in err
    assert not (tmp_path / "out").exists()


def test_without_cyborg_the_command_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.delenv("CYBORG_HOME", raising=False)
    monkeypatch.setattr("cyborg_bridge.checkout.importable_cyborg", lambda: None)
    assert cli.main(["transfer", "--out", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert "git clone" in err
    assert err.count("\n") == 1


@pytest.mark.slow
@needs_cyborg
def test_processes_change_nothing_on_the_real_cyborg(tmp_path: Path) -> None:
    entries = control_entries(["flat-rule", "raw-rule"])
    one, two = (transfer(entries, episodes=1, workers=n, out=tmp_path / str(n)) for n in (1, 2))
    assert one == two
    assert one["protocol"]["cyborg"]["version"] == "4.0"
    assert all(-2000 < record["mean"] < 0 for record in one["entries"].values())


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
