"""Directive, clock, metrics, observations and bookkeeping of `paper-v0` by hand-built states."""

from __future__ import annotations

import re

import numpy as np
import pytest
from paper_states import assert_counters_fit, build, order

import soc_env

TRIAGE, HUNTER, ORCHESTRATOR, COORDINATOR = soc_env.AGENTS
ESCALATE, SUPPRESS, CORRELATE, ENRICH = range(4)
RECONNAISSANCE, ACCESS, EXECUTION, LATERAL, EXFILTRATION = range(5)


QUEUE = [(1, 0.2, 0), (0, 0.9, 1), (1, 0.7, 1), (2, 0.1, 0), (1, 0.7, 0), (1, 0.6, 1)]


# ---------------------------------------------------------------- sections 2 and 5: directive and clock


def test_the_directive_is_held_between_decisions():
    sim = build(coordinator_period=3)
    held, decides = [], []
    for step in range(7):
        decides.append(bool(sim.decides[0]))
        sim.actions[COORDINATOR][...] = step / 8
        sim.step()
        held.append(sim.campaign(0)["directive"][0])
    assert decides == [True, False, False, True, False, False, True]
    assert held == [0.0, 0.0, 0.0, 3 / 8, 3 / 8, 3 / 8, 6 / 8]
    sim.reset()
    assert sim.campaign(0)["directive"] == [0.0] * 8
    assert sim.decides[0]


def test_actions_are_clipped():
    sim = build()
    sim.actions[COORDINATOR][...] = [5.0, -7.0, 0.25, np.inf, -np.inf, 1.0, -1.0, 0.0]
    sim.step()
    assert sim.campaign(0)["directive"] == [1.0, -1.0, 0.25, 1.0, -1.0, 1.0, -1.0, 0.0]


def test_time_limit():
    sim = build(max_steps=3)
    ends = []
    for _ in range(3):
        sim.step()
        ends.append((bool(sim.terminated[0]), bool(sim.truncated[0])))
    assert ends == [(False, False), (False, False), (False, True)]
    metrics = sim.episode_metrics[0]
    assert (metrics["length"], metrics["mttd"], metrics["mttr"], metrics["csr"]) == (3, 3, 3, 0)


# ---------------------------------------------------------------- section 7: metrics


def test_false_positive_rate_is_per_host_scan_and_at_most_one():
    sim = build(alerts=[(1, 0.2, 0)])
    order(sim, triage=ESCALATE)
    sim.step()
    assert sim.running_metrics()[0]["fpr"] == 1.0  # no scan and one escalated false alert
    sim = build(alerts=[(1, 0.2, 0)])
    order(sim, triage=ESCALATE, intensity=[0.5, 0, 0, 0, 0])
    sim.step()
    assert sim.running_metrics()[0]["fpr"] == 1 / 40


# ---------------------------------------------------------------- section 8: observations and state


def test_observations_show_the_state():
    sim = build(
        [(1, 4, "d"), (2, 2, "di"), (47, 1), (170, 0, "c")], isolated=[10, 199], phase=LATERAL, alerts=QUEUE, step=49
    )  # fmt: skip
    sim.step()
    seen = {
        agent: dict(zip(soc_env.features(agent, "paper-v0"), sim.observations[agent][0], strict=True))
        for agent in sim.agents
    }
    segments = {
        "segment0_compromised": 2 / 40, "segment0_stage": 6 / 40 / 5, "segment0_detected": 2 / 40,
        "segment0_isolated": 2 / 40, "segment1_compromised": 1 / 40, "segment1_stage": 1 / 40 / 5,
        "segment1_detected": 0, "segment1_isolated": 0, "segment4_compromised": 0, "segment4_isolated": 1 / 40,
    }  # fmt: skip
    for agent in (HUNTER, ORCHESTRATOR, COORDINATOR):
        assert {name: seen[agent][name] for name in segments} == pytest.approx(segments)
    expected = {"clock": 50 / 200, "queue": 6 / 50, "compromised": 3 / 200, "detected": 2 / 4}
    assert {name: seen[COORDINATOR][name] for name in expected} == pytest.approx(expected)
    expected = {"flow0_compromised": 2 / 40, "flow1_compromised": 1 / 40, "flow3_attacker_noise": 0.12}
    assert {name: seen[HUNTER][name] for name in expected} == pytest.approx(expected)
    expected = {"isolated": 3 / 200, "plan0_compromised": 2 / 40, "plan0_isolated": 2 / 40, "plan3_value": 1.0}
    assert {name: seen[ORCHESTRATOR][name] for name in expected} == pytest.approx(expected)
    expected = {
        "queue": 6 / 50, "alert0_severity": 0.2, "alert0_confidence": 0.7, "alert0_segment": 0.2, "alert0_is_true": 0,
        "alert0_time": 0, "alert0_noise": 0.1, "alert1_is_true": 1, "alert3_segment": 0.4, "alert6_severity": 0,
        "unused_2": 0,
    }  # fmt: skip
    assert {name: seen[TRIAGE][name] for name in expected} == pytest.approx(expected)


def test_endpoints_show_the_stage_in_noise():
    sim = build([(1, 4), (47, 2), (48, 4)], phase=LATERAL, num_envs=4000)
    sim.step()
    endpoints = sim.observations[HUNTER][:, 80:].astype(float)
    signal = np.zeros(48)
    signal[[1, 47]] = 0.3 * np.array([4, 2]) / 5
    np.testing.assert_allclose(endpoints.mean(0), signal, atol=4.5 * 0.15 / np.sqrt(4000))
    np.testing.assert_allclose(endpoints.std(0), 0.15, rtol=0.08)


@pytest.mark.parametrize(
    ("agent", "pattern", "scale"),
    [
        (COORDINATOR, r"noise_\d+", 0.1),
        (HUNTER, r"flow\d_noise_\d", 0.2),
        (HUNTER, r"intel_\d", 0.1),
        (ORCHESTRATOR, r"plan\d_noise_\d", 0.1),
    ],
)
def test_sensor_noise(agent, pattern, scale):
    sim = build(num_envs=3000)
    columns = [k for k, name in enumerate(soc_env.features(agent, "paper-v0")) if re.fullmatch(pattern, name)]
    noise = sim.observations[agent][:, columns].astype(float)
    np.testing.assert_allclose(noise.mean(0), 0.0, atol=4.5 * scale / np.sqrt(3000))
    np.testing.assert_allclose(noise.std(0), scale, rtol=0.08)
    correlation = np.corrcoef(noise.T) - np.eye(len(columns))
    assert np.abs(correlation).max() < 5 / np.sqrt(3000)


def test_endpoints_of_hosts_that_do_not_exist_are_zero():
    sim = build(num_hosts=7)
    assert np.all(sim.observations[HUNTER][0, 80:87] != 0)
    assert np.all(sim.observations[HUNTER][0, 87:] == 0)


def test_state_is_the_truth():
    sim = build(
        [(1, 4, "d"), (2, 2, "di"), (170, 3)], phase=LATERAL, steps_in_phase=4, alerts=QUEUE, step=9, detection_step=6,
        coordinator_period=5,
    )  # fmt: skip
    sim.actions[COORDINATOR][...] = 0.5
    sim.step()  # step 10: not a decision, but the next one is
    row = dict(zip((feature.name for feature in soc_env.paper.tables.STATE), sim.state()[0], strict=True))
    expected = {
        "segment0_compromised": 2 / 40, "segment0_quarantined": 1 / 40, "segment4_quarantined": 0, "phase_3": 1,
        "phase_2": 0, "steps_in_phase": 5 / 200, "attacker_noise": 0.12, "footholds": 3 / 200, "true_alerts": 3 / 50,
        "false_alerts": 3 / 50, "oldest_is_true": 0, "directive_0": 0.0, "clock": 10 / 200, "steps_to_decision": 0,
        "has_detected": 1, "detection_time": 6 / 200, "is_contained": 0, "is_exfiltrated": 0,
    }  # fmt: skip
    assert {name: row[name] for name in expected} == pytest.approx(expected)
    sim.step()
    row = dict(zip((feature.name for feature in soc_env.paper.tables.STATE), sim.state()[0], strict=True))
    assert row["directive_0"] == 0.5
    assert row["steps_to_decision"] == pytest.approx(4 / 5)


# ---------------------------------------------------------------- bookkeeping


@pytest.mark.parametrize("num_hosts", [7, 60, 200])
def test_counters_follow_the_hosts_through_whole_episodes(num_hosts):
    sim = soc_env.Simulator("paper-v0", num_envs=4, seed=1, num_hosts=num_hosts)
    sim.reset()
    rng = np.random.default_rng(0)
    for _ in range(150):
        for agent in sim.agents:
            shape = sim.actions[agent].shape
            sim.actions[agent] = rng.integers(0, 4, shape) if agent == TRIAGE else rng.uniform(-1, 1, shape)
        sim.step()
        assert_counters_fit(sim)


def test_a_new_episode_starts_clean():
    sim = soc_env.Simulator("paper-v0", num_envs=1, seed=1, autoreset=False)
    sim.reset()
    for agent in sim.agents:
        sim.actions[agent][...] = 1
    for _ in range(60):
        sim.step()
    assert sim.hosts(0)["is_isolated"].sum() > 50
    sim.reset()
    hosts = sim.hosts(0)
    assert not any(hosts[name].any() for name in ("is_compromised", "stage", "is_detected", "is_isolated"))
    assert sim.campaign(0)["footholds"] == []
    assert len(sim.alerts(0)) == 0
    assert sim.running_metrics()[0].tolist() == (0, 0, 200, 200, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    assert_counters_fit(sim)
