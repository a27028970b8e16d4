"""Which rows a tier learns from, and in what scale: replay settings, statistics, rewards of metrics."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("ray")

from toy_team import PAIR, toy_config

import soc_env
from policies.hmarl.algorithm import HMARLConfig
from policies.hmarl.moments import Moments
from policies.tiers import tier_of
from soc_env.errors import ConfigError

pytestmark = pytest.mark.usefixtures("quiet")


# ---- what the replay's settings change


def replay_config(**settings):
    """Two tiers on paper-v0, tiny: triage by DQN, response by MADDPG."""
    config = HMARLConfig().environment("paper-v0", env_config={"num_hosts": 20, "max_steps": 40})
    config.env_runners(num_envs_per_env_runner=8).debugging(seed=0, log_level="ERROR")
    config.training(train_batch_size=256, learning_starts=256, random_steps=256, updates_per_iteration=2)
    config.training(replay_batch_size=64, replay_capacity=2048, **settings)
    hunter = {"algorithm": "scripted", "policy": "rule-soar"}
    return config.tiers({**{tier: {"hiddens": [16]} for tier in config.policies}, "threat_hunter": hunter})


def drawn(algo, tier, num_rows=4096):
    """Shares in which the tier draws the rows of its store."""
    replay = algo.batches.replay_of(tier)
    index, _ = replay.sample(tier, num_rows)
    return np.bincount(index, minlength=len(replay)) / num_rows


def test_replay_settings_decide_which_rows_are_drawn(build):
    triage, response = "alert_triage", "response_orchestrator"
    algos = {}
    for name, settings in {
        "shared": {},
        "uniform": {"replay": "uniform"},
        "separate": {"replay": "separate"},
        "paper": {"replay_priority": "paper", "replay_alpha": 1.0},
    }.items():
        algos[name] = build(replay_config(**settings))
        for _ in range(3):
            algos[name].train()
    shares = {name: {tier: drawn(algo, tier) for tier in (triage, response)} for name, algo in algos.items()}
    for tier in (triage, response):
        even = np.full(768, 1 / 768)
        assert shares["uniform"][tier] == pytest.approx(even, abs=2 / 4096)
        for name in ("shared", "separate", "paper"):
            assert np.abs(shares[name][tier] - even).sum() > 0.1, (name, tier)  # more than stratification leaves
    # by TD errors the tiers differ in what they draw, by the paper's priority they do not
    assert np.abs(shares["shared"][triage] - shares["shared"][response]).sum() > 0.1
    assert shares["paper"][triage] == pytest.approx(shares["paper"][response], abs=2 / 4096)
    replay = algos["paper"].replay
    names = soc_env.features("alert_triage_0", "paper-v0")
    seen = replay.columns["obs/alert_triage_0"][:768]
    confidence, severity = (
        seen[:, [k for k, name in enumerate(names) if name.endswith(end)]] for end in ("_confidence", "_severity")
    )
    expected = np.maximum((confidence * severity).max(1), 0.02)
    assert shares["paper"][triage] == pytest.approx(expected / expected.sum(), abs=2 / 4096)
    assert set(algos["separate"].batches.replays) == {triage, response}
    assert set(algos["shared"].batches.replays) == {"joint"}


def test_separate_stores_hold_nothing_of_other_tiers(build):
    algo, shared = (build(replay_config(replay=replay)) for replay in ("separate", "shared"))
    triage, response = (algo.batches.replays[tier].shapes for tier in ("alert_triage", "response_orchestrator"))
    for shapes, agent in ((triage, "alert_triage_0"), (response, "response_orchestrator_0")):
        own = {f"{name}/{agent}" for name in ("obs", "next_obs", "action", "reward")}
        assert set(shapes) == own | {"terminated", "n_step"}
    for one in (algo, shared):
        one.train()
        one.train()
    sizes = {}
    for name, one in (("separate", algo), ("shared", shared)):
        replay = one.batches.replay_of("response_orchestrator")
        index, weights = replay.sample("response_orchestrator", 8)
        batch = one.batches.batch("response_orchestrator", index, weights)["response_orchestrator"]
        sizes[name] = (batch["joint_obs"].shape[1], batch["other_actions"].shape[1])
        if name == "separate":
            assert np.array_equal(batch["joint_obs"], batch["obs"])
    # the central critic then reads no more than its own agent
    assert sizes == {"separate": (96, 0), "shared": (64 + 128 + 64 + 96, 4 + 16 + 8)}
    rows = [one.batches.replay_of(t).sample(t, 64)[0] for one in (algo, shared) for t in one.off_policy]
    assert not np.array_equal(np.sort(rows[0]), np.sort(rows[1]))  # and nothing aligns what two tiers draw


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"replay": "seperate"},
            r"replay 'seperate' does not exist; did you mean 'separate'\? allowed: separate, shared, uni",
        ),
        ({"replay_priority": "td"}, "replay_priority 'td' does not exist.*allowed: paper, td_error"),
        (
            {"replay": "uniform", "replay_priority": "paper"},
            "replay_priority is 'paper', but a uniform replay has none",
        ),
    ],
)
def test_bad_replay_settings_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        replay_config(**settings).validate()


# ---- statistics


def test_moments_equal_numpy():
    rng = np.random.default_rng(0)
    rows = rng.normal(3, 2, (1000, 4))
    moments = Moments(4)
    for part in np.split(rows, [1, 10, 400]):
        moments.add(part)
    assert moments.mean == pytest.approx(rows.mean(0))
    assert moments.variance == pytest.approx(rows.var(0))


def test_new_return_scale_keeps_what_values_mean(build):
    algo = build(toy_config())
    algo.train()
    obs = torch.rand(8, 3)
    for tier, group in algo.learner_group.groups.items():
        module = group._learner.module[tier].unwrapped()
        own = next(n for n, is_joint in module.input_norms() if not is_joint)
        statistics = (own.mean.numpy().copy(), 1.0 / own.inv_std.numpy() ** 2 - 1e-6)
        joints = [n for n, is_joint in module.input_norms() if is_joint]
        joint = (joints[0].mean.numpy().copy(), 1.0 / joints[0].inv_std.numpy() ** 2 - 1e-6) if joints else statistics
        heads = list(module.value_heads())
        assert heads, tier
        features = [torch.rand(8, head.in_features) for head in heads]
        before = [head(f) * module.return_scale for head, f in zip(heads, features, strict=True)]
        module.set_statistics(statistics, joint, 7.0 * float(module.return_scale))
        after = [head(f) * module.return_scale for head, f in zip(heads, features, strict=True)]
        for b, a in zip(before, after, strict=True):
            assert torch.allclose(a, b, rtol=1e-4, atol=1e-5), tier
    assert obs.shape == (8, 3)


def test_observation_statistics_reach_every_module(build):
    algo = build(toy_config())
    for _ in range(3):
        algo.train()
    for tier in algo.config.tier_settings:
        [agent] = [a for a in algo.agents if tier_of(a) == tier]
        for norm, is_joint in algo.learner_group[tier]._learner.module[tier].unwrapped().input_norms():
            part = slice(None) if is_joint else algo.team.slices[agent]
            assert norm.mean.numpy() == pytest.approx(algo.statistics.moments.mean[part], abs=1e-5), tier


def test_metric_rewards_go_to_their_tier_only(build):
    tiers = {
        "threat_hunter": "SAC",
        "response_orchestrator": {"algorithm": "MADDPG", "reward_shaping": {"metrics": {"length": 2.0}}},
    }
    algo = build(toy_config(tiers, agents=PAIR, length=4))
    [rollout] = algo.env_runner.sample(num_timesteps=16 * 9)
    extra = rollout.joint["reward/response_orchestrator_0"] - rollout.joint["reward/threat_hunter_0"]
    assert extra == pytest.approx(np.full(16 * 9, 2.0))  # the episode grows by one step a step, also where it ends
