"""Score against CPU time: the PPO that HMARL is set beside, and the folder of curves."""

import json
import math
import re

import numpy as np
import pytest

pytest.importorskip("torch")
import torch

from experiments import curves
from experiments.curves import contestants
from experiments.curves.__main__ import main
from experiments.curves.contestants import Task
from experiments.curves.draw import at_minutes, draw, table
from experiments.curves.ppo import PPO, CentralPolicy, PPOSettings, ReturnScale, advantages, surrogate_loss
from soc_env.errors import ConfigError, RunError
from soc_env.wrappers import SOCVectorEnv

SMALL = PPOSettings(num_envs=4, num_steps=8, num_epochs=2, minibatch_size=16, hiddens=(8,))
TINY = {"max_steps": 5, "num_hosts": 30, "num_networks": 2}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# ---------------------------------------------------------------------- PPO
def test_advantages_by_hand():
    """Two envs, three steps; the first is cut off after its second step (7 was to come), the second ends there."""
    rewards = torch.tensor([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
    values = torch.tensor([[0.5, 0.5], [1.0, 1.0], [1.5, 1.5]])
    upcoming = torch.tensor([[1.0, 1.0], [7.0, 0.0], [2.0, 2.0]])
    ends = torch.tensor([[False, False], [True, True], [False, False]])
    found = advantages(rewards, values, upcoming, ends, 0.5, 0.8)
    last, cut, ended = 3 + 0.5 * 2 - 1.5, 2 + 0.5 * 7 - 1, 2 - 1.0
    first = 1 + 0.5 * 1 - 0.5
    assert found.numpy() == pytest.approx(
        np.array([[first + 0.4 * cut, first + 0.4 * ended], [cut, ended], [last, last]])
    )


def test_the_surrogate_by_hand():
    gains = torch.tensor([1.0, -1.0])  # normalised: 1 / sqrt(2), -1 / sqrt(2)
    ratios = torch.tensor([2.0, 0.5])
    a = 1 / math.sqrt(2)
    assert surrogate_loss(ratios.log(), gains, 0.2).item() == pytest.approx(-(1.2 * a - 0.8 * a) / 2, abs=1e-6)
    assert surrogate_loss(ratios.log(), -gains, 0.2).item() == pytest.approx(-(-2.0 * a + 0.5 * a) / 2, abs=1e-6)


def test_rewards_are_divided_by_the_deviation_of_returns():
    rng, scale, returns, all_returns = np.random.default_rng(0), ReturnScale(3, 0.9), np.zeros(3), []
    for step in range(20):
        rewards, ends = rng.normal(2.0, 3.0, 3), np.array([step % 4 == 3, False, step % 7 == 6])
        returns = 0.9 * returns + rewards
        all_returns.append(returns.copy())
        assert scale(rewards, ends) == pytest.approx(rewards / math.sqrt(np.var(all_returns) + 1e-8))
        returns[ends] = 0.0


@pytest.mark.parametrize("actions", ["discrete", "continuous"])
def test_the_policy_sends_what_the_vector_env_would_play(actions):
    env = SOCVectorEnv("soc-v1", 5, actions=actions, seed=0, **TINY)
    env.reset()
    env.action_space.seed(1)
    chosen = env.action_space.sample()
    env.step(chosen)
    policy = CentralPolicy(env, lambda seen: chosen)
    policy.reset(0)
    sent = policy(env.simulator.observations, env.simulator.decides)
    for agent, played in env.simulator.actions.items():
        assert np.array_equal(sent[agent].astype(played.dtype), played), agent


def test_what_a_time_limit_cuts_off_is_valued():
    ppo = PPO("soc-v1", "discrete", 0, SMALL, **TINY)
    for parameter in ppo.critic[-1].parameters():
        parameter.data[...] = 0.0
    ppo.critic[-1].bias.data[...] = 10.0
    seen = []
    ppo._scale = lambda rewards, ends: seen.append((rewards, ends)) or rewards
    batch = ppo._rollout()
    s, expected = SMALL, np.zeros(SMALL.num_envs)
    found = np.empty((s.num_steps, s.num_envs))
    for t in range(s.num_steps - 1, -1, -1):  # every episode goes on at a value of 10, also behind its last minute
        rewards, ends = seen[t]
        expected = rewards + s.gamma * 10 - 10 + s.gamma * s.gae_lambda * np.where(ends, 0.0, expected)
        found[t] = expected
    assert batch["advantages"].numpy() == pytest.approx(found.ravel(), abs=1e-3)
    assert sum(ends.sum() for _, ends in seen) == s.num_envs


@pytest.mark.parametrize("actions", ["discrete", "continuous"])
def test_ppo_is_a_function_of_its_seed_and_changes_with_it(actions):
    weights = []
    for seed in (0, 0, 1):
        ppo = PPO("soc-v1", actions, seed, SMALL, **TINY)
        for _ in range(2):
            ppo.iterate()
        assert ppo.num_env_steps == 2 * 4 * 8
        weights.append(torch.cat([p.detach().flatten() for p in ppo.actor.parameters()]).numpy())
    assert np.array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])


def test_ppo_learns_a_task_with_a_known_best_action():
    """Only correlating is paid."""
    ppo = PPO(
        "paper-v0", "discrete", 0, PPOSettings(num_envs=32, num_steps=16, minibatch_size=128, lr=3e-3, hiddens=(16,))
    )
    step = ppo.env.step

    def paid(actions):
        seen, rewards, *rest = step(actions)
        return seen, (actions[:, 0] == 2).astype(float), *rest

    ppo.env.step = paid
    for _ in range(8):
        ppo.iterate()
    observations = ppo.env.simulator.observations
    assert (ppo.policy()(observations, ppo.env.simulator.decides)["alert_triage_0"] == 2).mean() > 0.9


# ---------------------------------------------------------------------- the folder
class Constant:
    """A contestant that plays a script; each iteration takes a second of the clock."""

    num_env_steps = 0

    def __init__(self, task):
        assert task.config.get("is_broken") is None, "broken"

    def iterate(self):
        self.num_env_steps += 100
        Constant.clock += 1.0

    def policy(self):
        return "expert" if self.num_env_steps > 1000 else "null"

    def close(self):
        pass


@pytest.fixture
def constant(monkeypatch):
    """Curves of "hmarl" and "ppo" are those of `Constant`, trained in this process."""
    Constant.clock = 0.0
    monkeypatch.setattr(curves.time, "process_time", lambda: Constant.clock)
    for name in ("hmarl", "ppo"):
        monkeypatch.setitem(contestants.METHODS, name, Constant)
    monkeypatch.setattr(curves, "_in_another_process", curves.train_curve)


OPTIONS = ["--minutes", "0.5", "--every", "10", "--episodes", "3", "--methods"]


def test_curves_are_written_gathered_and_not_trained_twice(constant, tmp_path, capsys):
    assert main(["--out", str(tmp_path), *OPTIONS, "hmarl", "--seeds", "0", "1"]) == 0
    rows = curves.lines_of(tmp_path / "hmarl-seed1.jsonl")
    assert rows[0]["task"]["seed"] == 1
    assert [(row["cpu"], row["steps"]) for row in rows[1:-1]] == [(0, 0), (10, 1000), (20, 2000), (30, 3000)]
    values = [row["value"] for row in rows[1:-1]]
    assert values[0] == values[1] < values[2] == values[3]
    assert rows[-1].keys() == {"end"}
    assert rows[-1]["end"]["value"] != values[3], "held-out episodes are others"
    before = (tmp_path / "hmarl-seed1.jsonl").stat().st_mtime_ns
    assert main(["--out", str(tmp_path), *OPTIONS, "hmarl", "ppo", "--seeds", "0"]) == 0
    assert (tmp_path / "hmarl-seed1.jsonl").stat().st_mtime_ns == before
    result = json.loads((tmp_path / "curves.json").read_text())
    assert {name: list(seeds) for name, seeds in result["curves"].items()} == {"hmarl": ["0", "1"], "ppo": ["0"]}
    assert set(result["references"]) == {"rule-soar", "expert"}
    assert result["references"]["expert"]["value"] == values[3]
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert printed.count("0.5 CPU-minutes") == 3


def test_a_curve_that_a_kill_cut_off_is_trained_again(constant, tmp_path):
    task = Task("hmarl", "hmarl", 0, minutes=0.5, every=10, episodes=3)
    path = curves.path_of(tmp_path, task)
    curves.train_curves([task], tmp_path)
    whole = curves.lines_of(path)
    path.write_text("\n".join([json.dumps(line) for line in whole[:3]] + ['{"cpu": 2']))
    assert not curves.has_end(path)
    Constant.clock = 0.0
    curves.train_curves([task], tmp_path)
    assert [line for line in curves.lines_of(path) if "cpu" in line][1:][0]["value"] == whole[2]["value"]
    assert curves.has_end(path)


def test_a_finished_curve_of_other_settings_is_refused(constant, tmp_path, capsys):
    main(["--out", str(tmp_path), *OPTIONS, "hmarl"])
    assert main(["--out", str(tmp_path), "--minutes", "2", *OPTIONS[2:], "hmarl"]) == 2
    assert "was trained with minutes=0.5, not 2.0" in capsys.readouterr().err


def test_a_variant_of_hmarl_has_the_settings_of_a_file(constant, tmp_path):
    (tmp_path / "teacher.toml").write_text("n_step = 3\n")
    out = tmp_path / "out"
    assert main(["--out", str(out), *OPTIONS, "hmarl", "--hmarl", f"short={tmp_path / 'teacher.toml'}"]) == 0
    assert curves.lines_of(out / "short-seed0.jsonl")[0]["task"]["config"] == {"n_step": 3}
    assert curves.lines_of(out / "hmarl-seed0.jsonl")[0]["task"]["config"] == {}


def test_fields_of_the_scenario_are_those_of_all_curves(constant, tmp_path):
    assert main(["--out", str(tmp_path), *OPTIONS, "hmarl", "ppo", "--override", "num_hosts=60"]) == 0
    tasks = [curves.lines_of(path)[0]["task"] for path in sorted(tmp_path.glob("*.jsonl"))]
    assert [task["overrides"] for task in tasks] == [{"num_hosts": 60}] * 2
    assert json.loads((tmp_path / "curves.json").read_text())["overrides"] == {"num_hosts": 60}


def test_central_methods_have_a_curve_for_each_kind_of_action(constant, tmp_path):
    asked = ["hmarl", "ppo", "--actions", "discrete", "continuous"]
    assert main(["--out", str(tmp_path), *OPTIONS, *asked]) == 0
    tasks = [curves.lines_of(path)[0]["task"] for path in sorted(tmp_path.glob("*.jsonl"))]
    assert [(task["name"], task["method"], task["actions"]) for task in tasks] == [
        ("hmarl", "hmarl", "discrete"), ("ppo-continuous", "ppo", "continuous"), ("ppo", "ppo", "discrete")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--methods", "a2c"], "method 'a2c' does not exist"),
        (["--minutes", "0"], "minutes=0.0 must be a number above 0"),
        (["--every", "nan"], "every=nan must be"),
        (["--episodes", "0"], "episodes=0 must be at least 1"),
        (["--seeds", "-1"], r"seeds=\[-1\] must be"),
        (["--actions", "mixed"], "actions 'mixed' does not exist"),
        (["--scenario", "soc-v9"], "soc-v9"),
        (["--override", "num_hosts=0"], "num_hosts"),
        (["--methods", "hmarl", "hmarl"], "curves are called hmarl, hmarl; allowed: names of their own"),
        (["--methods"], "curves are called nothing"),
        (["--methods", "--hmarl", "x"], "hmarl='x'; allowed: NAME=FILE"),
        (["--methods", "--hmarl", "x=nothing.toml"], "hmarl=nothing.toml"),
    ],
)
def test_wrong_options_are_one_line(given, message, tmp_path, capsys):
    methods = [] if "--methods" in given else ["--methods", "ppo"]
    assert main(["--out", str(tmp_path / "out"), *methods, *given]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(message, error), error
    assert not (tmp_path / "out").exists()


def test_a_missing_library_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(contestants.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r'sb3-ppo needs stable_baselines3: pip install "hmarl-soc\[sb3\]"'):
        curves.train_curves([Task("sb3-ppo", "sb3-ppo", 0)], tmp_path)


def test_a_process_that_fails_is_said(tmp_path):
    task = Task("ppo", "ppo", 0, overrides={"max_steps": -1})
    with pytest.raises(RunError, match="ended with status 1; the same command goes on"):
        curves.train_curves([task], tmp_path)


def rows(*pairs):
    return [{"cpu": 60.0 * minute, "steps": 1000 * minute, "value": value} for minute, value in pairs]


def test_the_table_by_hand():
    two = {"0": rows((0, 0.0), (2, 20.0)), "1": rows((0, 10.0), (3, 40.0))}
    assert at_minutes(two, np.array([1, 2, 3])) == pytest.approx(
        np.array([[10, 20, np.nan], [20, 30, 40]]), nan_ok=True
    )
    result = {
        "scenario": "soc-v1", "metric": "score", "references": {"expert": {"value": 30.0}},
        "ends": {"hmarl": {"0": {"value": 50.0}, "1": {"value": 52.0}}},
        "curves": {"hmarl": two, "ppo": {"0": rows((0, 18.0), (4, 18.0))}},
    }  # fmt: skip
    lines = [line.split() for line in table(result)]
    assert lines[0] == ["CPU-minutes", "1", "2", "held", "out"]
    assert lines[1] == ["hmarl", "15.0", "25.0", "51.0"]
    assert lines[2] == ["ppo", "18.0", "18.0"]
    assert lines[3] == ["expert", "30.0", "30.0"]
    assert " ".join(lines[4]) == "hmarl is ahead of ppo not at minutes 1"
    figure = draw(result)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["hmarl, 2 seeds", "ppo, 1 seed"]
    assert len(list(table({**result, "curves": {"hmarl": {"0": rows((0, 1.0))}, "ppo": {"0": []}}}))) == 4


def test_sb3s_ppo_is_a_contestant():
    pytest.importorskip("stable_baselines3", reason="stable_baselines3 is not installed: its curve is NOT tested")
    task = Task("sb3-ppo", "sb3-ppo", 0, overrides=TINY, episodes=2)
    contestant = contestants.METHODS["sb3-ppo"](task)
    contestant.iterate()
    contestant.iterate()
    assert contestant.num_env_steps == 2 * 64 * 64
    assert math.isfinite(curves.play(contestant.policy(), task).mean("score"))


def test_hmarl_is_a_contestant(quiet_ray):
    small = {"train_batch_size": 64, "replay_capacity": 1_000, "learning_starts": 64, "updates_per_iteration": 1}
    task = Task("hmarl", "hmarl", 0, config=small, overrides=TINY, episodes=2)
    contestant = contestants.METHODS["hmarl"](task)
    contestant.iterate()
    assert contestant.num_env_steps >= 64
    assert math.isfinite(curves.play(contestant.policy(), task).mean("score"))
    contestant.close()
