"""Rows of experience: decisions every K steps, returns over n steps, exploration, penalties."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from toy import BOX2

pytest.importorskip("ray")

from toy_team import PAIR, assert_same, toy_config

from policies.runner.acting import act
from policies.runner.exploration import HeldNoise
from policies.runner.rows import OpenDecisions, advantages, n_step_rows

pytestmark = pytest.mark.usefixtures("quiet")


# ---- decisions every K steps


def test_smdp_rewards_and_advantages_by_hand():
    gamma, lambda_ = 0.9, 0.8
    open_ = OpenDecisions(1, gamma)
    env = np.array([0])
    open_.start(env, {"value": np.array([1.0])})
    for r in (1.0, 2.0, 4.0):
        open_.accumulate(np.array([r]))
    open_.close(env, False, next_value=np.array([3.0]))
    open_.start(env, {"value": np.array([3.0])})
    for r in (5.0, 7.0):
        open_.accumulate(np.array([r]))
    open_.close(env, True, next_value=np.array([10.0]))  # truncated: the last state's value counts
    rows = open_.take_rows()
    first, second = 1 + 0.9 * 2 + 0.81 * 4, 5 + 0.9 * 7
    assert [float(r["reward"][0]) for r in rows] == pytest.approx([first, second])
    delta2 = second + 0.81 * 10 - 3
    delta1 = first + 0.729 * 3 - 1
    advantage, target = advantages(rows, 1, gamma, lambda_)
    assert advantage == pytest.approx([delta1 + 0.729 * lambda_ * delta2, delta2])
    assert target == pytest.approx(advantage + np.array([1.0, 3.0]))


def test_last_decision_of_an_episode_does_not_leak_into_the_next():
    open_ = OpenDecisions(1, 1.0)
    env = np.array([0])
    for is_last, value in ((True, 0.0), (False, 100.0)):
        open_.start(env, {"value": np.array([0.0])})
        open_.accumulate(np.array([1.0]))
        open_.close(env, is_last, next_value=np.array([value]))
    advantage, _ = advantages(open_.take_rows(), 1, 1.0, 1.0)
    assert advantage.tolist() == [1.0, 101.0]


@pytest.mark.parametrize("terminates", [False, True])
def test_truncation_bootstraps_and_termination_does_not(build, terminates):
    algo = build(toy_config({"threat_hunter": "SAC"}, agents=("threat_hunter_0",), length=4, terminates=terminates))
    [rollout] = algo.env_runner.sample(num_timesteps=16 * 8)
    ends = np.arange(8 * 16).reshape(8, 16)[3::4].ravel()
    assert rollout.joint["terminated"][ends].all() == terminates
    assert rollout.joint["terminated"].sum() == (len(ends) if terminates else 0)


@pytest.mark.parametrize("algorithm", ["PPO", "SAC", "MADDPG"])
def test_slow_tier_acts_only_on_its_beat(build, algorithm):
    tiers = {"threat_hunter": "SAC", "strategic_coordinator": algorithm}
    agents = ("threat_hunter_0", "strategic_coordinator_0")
    algo = build(toy_config(tiers, agents=agents, period=5, slow=agents[1:], length=12))
    [rollout] = algo.env_runner.sample(num_timesteps=16 * 24)
    held = rollout.joint["action/strategic_coordinator_0"].reshape(24, 16, 2)
    for start, stop in ((0, 5), (5, 10), (10, 12), (12, 17)):  # the episode of 12 steps cuts the third short
        assert (held[start:stop] == held[start]).all()
        assert start == 0 or not np.array_equal(held[start], held[start - 1])
    if algorithm != "PPO":
        rows = rollout.decisions["strategic_coordinator_0"]
        assert sorted(set(rows["n_step"].tolist())) == [2, 5]
    for _ in range(6):
        algo.train()  # and it learns from them without complaint


def test_off_policy_rows_of_a_slow_tier_span_its_decision(build):
    tiers = {"strategic_coordinator": {"algorithm": "SAC", "gamma": 1.0}}
    agents = ("strategic_coordinator_0",)
    algo = build(toy_config(tiers, agents=agents, period=4, slow=agents, length=8))
    [rollout] = algo.env_runner.sample(num_timesteps=16 * 8)
    rows = rollout.decisions["strategic_coordinator_0"]
    earned = 1 - np.abs(rows["action/strategic_coordinator_0"] - rows["obs"][:, :2]).mean(1)
    assert rows["reward/strategic_coordinator_0"] == pytest.approx(
        4 * earned, rel=1e-5
    )  # the point stays for four steps


def test_decisions_of_slow_agents_in_one_tier_speak_for_their_own_agent(build):
    agents = ("strategic_coordinator_0", "strategic_coordinator_1")
    env = {"agents": agents, "spaces": dict.fromkeys(agents, BOX2), "period": 4, "slow": agents, "length": 8}
    algo = build(toy_config({"strategic_coordinator": "SAC"}, **env))
    algo.train()
    replay = algo.batches.replay_of("strategic_coordinator")
    assert len(replay) == 2 * 16 * 4  # agents, environments, decisions: the last ones closed by the episode's end
    of = {agent: replay.columns[f"alive/{agent}"][: len(replay)] for agent in agents}
    assert (of[agents[0]] ^ of[agents[1]]).all()
    index, weights = replay.sample("strategic_coordinator", 256)
    batch = algo.batches.batch("strategic_coordinator", index, weights)["strategic_coordinator"]
    for agent in agents:
        rows = of[agent][index]
        assert 100 < rows.sum() < 156
        for name, column in (("obs", "obs"), ("actions", "action"), ("new_obs", "next_obs")):
            assert np.array_equal(batch[name][rows], replay.take(f"{column}/{agent}", index[rows])), name
    assert (batch["rewards"] != 0).all()


# ---- n-step returns and exploration


def test_n_step_rows_by_hand():
    # two environments, five steps; the second one's episode is truncated after its third step
    steps = {
        "obs": np.arange(10.0).reshape(5, 2, 1),
        "next_obs": np.arange(10.0).reshape(5, 2, 1) + 2,
        "action/a_0": np.arange(10).reshape(5, 2),
        "reward/a": np.array([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0], [8.0, 80.0], [16.0, 160.0]]),
        "reward/b": np.ones((5, 2)),
        "terminated": np.zeros((5, 2), bool),
        "done": np.array([[0, 0], [0, 0], [0, 1], [0, 0], [0, 0]], bool),
    }
    steps["next_obs"][2, 1] = 99.0  # the last observation of the truncated episode
    rows = n_step_rows(steps, 3, {"a": 0.5, "b": 1.0})
    assert rows["obs"][:, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert rows["action/a_0"].tolist() == [0, 1, 2, 3, 4, 5]
    assert rows["reward/a"].tolist() == [1 + 1 + 1, 10 + 10 + 10, 2 + 2 + 2, 20 + 20, 4 + 4 + 4, 40]
    assert rows["reward/b"].tolist() == [3, 3, 3, 2, 3, 1]
    assert rows["n_step"].tolist() == [3, 3, 3, 2, 3, 1]
    assert rows["next_obs"][:, 0].tolist() == [6, 99, 8, 99, 10, 99]
    assert not rows["terminated"].any()
    one = n_step_rows(steps, 1, {"a": 0.5, "b": 1.0})
    assert np.array_equal(one["reward/a"], steps["reward/a"].ravel())
    assert np.array_equal(one["next_obs"], steps["next_obs"].reshape(-1, 1))


def test_n_step_rows_do_not_depend_on_where_fragments_end(build):
    def rows(*fragments):
        config = toy_config({"threat_hunter": "SAC"}, agents=("threat_hunter_0",), length=7).training(n_step=3)
        algo = build(config)
        parts = [algo.env_runner.sample(num_timesteps=16 * n)[0].joint for n in fragments]
        return {name: np.concatenate([part[name] for part in parts if part]) for name in parts[-1]}

    whole, pieces = rows(20), rows(1, 1, 6, 12)
    assert len(whole["obs"]) == 16 * (20 - 2)
    assert_same(whole, pieces)


@pytest.mark.parametrize("algorithm", ["SAC", "MADDPG"])
@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_held_noise_lasts_and_is_scaled(build, algorithm, scale):
    settings = {"algorithm": algorithm, "exploration": {"hold_steps": 4.0, "scale_range": [scale, scale]}}
    settings |= {"actor": {"initial_log_std": -3.0}} if algorithm == "SAC" else {}
    if algorithm == "MADDPG":
        settings["exploration"]["std"] = 0.05
    algo = build(toy_config({"threat_hunter": settings}, agents=("threat_hunter_0",)))
    runner = algo.env_runner
    [rollout] = runner.sample(num_timesteps=16 * 400)
    obs = rollout.joint["obs"]
    with torch.no_grad():
        greedy = act(runner.module["threat_hunter"], obs, explore=False).executed
    taken = rollout.joint["action/threat_hunter_0"]
    noise = (np.arctanh(taken) - np.arctanh(greedy) if algorithm == "SAC" else taken - greedy).reshape(400, 16, 2)
    is_same = np.isclose(noise[1:], noise[:-1], rtol=0.05, atol=1e-3).all(-1)  # the spread varies with the state
    assert is_same.mean() == pytest.approx(0.75, abs=0.03)  # all entries at once
    assert noise.std((0, 2)) / scale == pytest.approx(np.full(16, 0.05), rel=0.25)


def test_noise_with_a_range_of_scales_does_not_tell_how_noisy_the_next_steps_are():
    torch.manual_seed(0)
    shape, drawn = (16, 3), []
    noise = HeldNoise(shape, hold_steps=4.0, scale_range=[0.5, 8.0])
    for _ in range(4_000):
        noise.renew()
        drawn.append(noise.scaled().clone())
    values = torch.stack(drawn).numpy()  # (steps, envs, entries)
    is_same = values[1:] == values[:-1]
    assert is_same.mean() == pytest.approx(0.75, abs=0.01)
    assert is_same.all(-1).mean() == pytest.approx(0.75**3, abs=0.01)  # entries renew by themselves
    assert values.std((0, 2)) == pytest.approx(np.full(16, values.std()), rel=0.1)  # no environment is noisier
    later = [np.corrcoef(np.abs(values[:-lag]).ravel(), np.abs(values[lag:]).ravel())[0, 1] for lag in (4, 20)]
    assert later[0] == pytest.approx(0.75**4, abs=0.04)  # as long as it is held, no longer
    assert later[1] == pytest.approx(0.0, abs=0.02)


def test_penalties_are_scaled_for_the_tier_that_says_so(build):
    tiers = {
        "threat_hunter": {"algorithm": "SAC", "reward_shaping": {"penalty_scale": 0.1}},
        "response_orchestrator": "MADDPG",
    }
    algo = build(toy_config(tiers, agents=PAIR))
    runner = algo.env_runner
    [rollout] = runner.sample(num_timesteps=16 * 50)
    plain = rollout.joint["reward/response_orchestrator_0"]
    assert (plain < 0).any()
    assert (plain > 0).any()
    scaled = np.where(plain < 0, 0.1 * plain, plain)
    assert rollout.joint["reward/threat_hunter_0"] == pytest.approx(scaled)
