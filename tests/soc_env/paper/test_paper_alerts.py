"""Alerts and triage of `paper-v0` by hand-built states, against the published rules."""

from __future__ import annotations

import numpy as np
import pytest
from paper_states import CERTAIN, assert_rate, build, order

import soc_env

TRIAGE, HUNTER, ORCHESTRATOR, COORDINATOR = soc_env.AGENTS
ESCALATE, SUPPRESS, CORRELATE, ENRICH = range(4)
RECONNAISSANCE, ACCESS, EXECUTION, LATERAL, EXFILTRATION = range(5)


# ---------------------------------------------------------------- section 4: alerts


LOUD = {"phase_noise": (0.1, 0.2, 0.3, 0.4, 0.5), "stealth": 0.0, "true_alert_gain": 10.0}  # a true alert every step


def test_true_alerts_carry_the_acted_phase_and_the_noise_of_the_next():
    sim = build(phase=ACCESS, targets=[3], steps_in_phase=2, access_rate=1.0, min_phase_steps=3, **CERTAIN, **LOUD)
    order(sim, triage=CORRELATE)  # leaves a single alert as it is
    sim.step()
    (alert,) = sim.alerts(0)
    assert sim.campaign(0)["phase"] == EXECUTION
    assert alert["severity"] == np.float32(0.25)
    assert alert["noise"] == np.float32(0.3)
    assert alert["confidence"] == np.float32(0.65)
    assert (alert["segment"], alert["is_true"], alert["step"]) == (0, 1, 1)


def test_reconnaissance_is_silent_even_when_it_ends():
    sim = build(min_phase_steps=3, **LOUD)
    for _ in range(3):
        sim.step()
    assert sim.campaign(0)["phase"] == ACCESS
    assert len(sim.alerts(0)) == 0
    sim.step()
    assert len(sim.alerts(0)) == 1


@pytest.mark.parametrize(
    ("phase", "chance"), [(ACCESS, 0.18), (EXECUTION, 0.30), (LATERAL, 0.24), (EXFILTRATION, 0.36)]
)
def test_true_alert_rate(phase, chance):
    sim = build(phase=phase, true_alert_gain=2.0, num_envs=6000)
    sim.step()
    assert_rate(sim.records().env["total_alerts"].sum(), 6000, chance)


def test_false_alerts():
    sim = build(false_alert_rate=1.0, num_envs=3000)
    order(sim, triage=CORRELATE)  # leaves a single alert as it is
    sim.step()
    alerts = np.concatenate([sim.alerts(i) for i in range(sim.num_envs)])
    assert len(alerts) == 3000
    assert not alerts["is_true"].any()
    for field, limit in (("severity", 0.5), ("confidence", 0.4), ("noise", 0.3)):
        assert 0 <= alerts[field].min() < 0.02 * limit
        assert 0.98 * limit < alerts[field].max() < limit
        assert alerts[field].mean() == pytest.approx(limit / 2, abs=4.5 * limit / np.sqrt(12 * 3000))
    counts = np.bincount(alerts["segment"], minlength=5)
    assert counts.size == 5
    assert ((counts - 600) ** 2 / 600).sum() < 25


def test_false_alert_rate():
    sim = build(false_alert_rate=0.3, num_envs=6000)
    sim.step()
    assert_rate(sim.records().env["total_alerts"].sum(), 6000, 0.3)


def test_the_queue_keeps_the_newest_fifty():
    sim = build(phase=ACCESS, false_alert_rate=1.0, **LOUD)
    for _ in range(40):
        sim.step()
    alerts = sim.alerts(0)
    assert len(alerts) == 50
    assert sim.records(0).env["total_alerts"] == 80
    assert alerts["step"].tolist() == [step for step in range(16, 41) for _ in range(2)]
    assert alerts["is_true"].tolist() == [1, 0] * 25
    assert sim.observations[TRIAGE][0, 0] == 1.0


# ---------------------------------------------------------------- section 5: triage


QUEUE = [(1, 0.2, 0), (0, 0.9, 1), (1, 0.7, 1), (2, 0.1, 0), (1, 0.7, 0), (1, 0.6, 1)]


def test_escalating_counts_and_removes_the_oldest():
    for is_true, counts in ((1, (1, 0)), (0, (0, 1))):
        sim = build(alerts=[(1, 0.2, is_true), (2, 0.3, 0)])
        order(sim, triage=ESCALATE)
        sim.step()
        assert sim.alerts(0)["segment"].tolist() == [2]
        row = sim.running_metrics()[0]
        assert (row["true_positives"], row["false_positives"]) == counts
        assert (row["false_escalations"], row["missed_alerts"]) == (1 - is_true, 0)
        assert sim.rewards[0] == 0.0  # escalated false alerts cost nothing


def test_suppressing_a_true_alert_costs_one():
    for is_true, reward in ((1, -1.0), (0, 0.0)):
        sim = build(alerts=[(1, 0.2, is_true), (2, 0.3, 1)])
        order(sim, triage=SUPPRESS)
        sim.step()
        assert sim.alerts(0)["segment"].tolist() == [2]
        assert sim.rewards[0] == reward
        assert sim.reward_terms[0].tolist() == [0.0, 0.0, 0.0, -reward / 2]
        row = sim.running_metrics()[0]
        assert (row["false_escalations"], row["missed_alerts"]) == (0, is_true)
        sim.actions[TRIAGE][...] = ENRICH
        sim.step()
        assert sim.rewards[0] == 0.0  # for one step


def test_correlating_keeps_the_first_of_highest_severity():
    sim = build(alerts=QUEUE)
    order(sim, triage=CORRELATE)
    sim.step()
    kept = [(alert["segment"], round(float(alert["severity"]), 3), alert["is_true"]) for alert in sim.alerts(0)]
    assert kept == [(0, 0.9, 1), (1, 0.7, 1), (2, 0.1, 0)]


def test_correlating_in_a_wrapped_queue():
    sim = build(alerts=QUEUE)
    env = sim.records(0).env
    ring = env["alerts"].copy()
    env["queue_head"] = 47
    env["alerts"][[47, 48, 49, 0, 1, 2]] = ring[:6]
    order(sim, triage=CORRELATE)
    sim.step()
    assert sim.alerts(0)["segment"].tolist() == [0, 1, 2]
    assert sim.observations[TRIAGE][0, [1, 7, 13]].tolist() == [np.float32(x) for x in (0.9, 0.7, 0.1)]


def test_enriching_raises_confidence_to_one_at_most():
    sim = build(alerts=QUEUE)
    seen = []
    for _ in range(4):
        sim.step()
        seen.append(float(sim.alerts(0)["confidence"][0]))
    assert seen == [pytest.approx(x) for x in (0.7, 0.9, 1.0, 1.0)]
    assert len(sim.alerts(0)) == 6


@pytest.mark.parametrize("choice", range(4))
def test_triage_of_an_empty_queue_does_nothing(choice):
    sim = build()
    order(sim, triage=choice)
    sim.step()
    assert sim.rewards[0] == 0.0
    assert sim.running_metrics()[0]["false_positives"] == 0
