"""Hunting and response of `paper-v0` by hand-built states, against the published rules."""

from __future__ import annotations

import numpy as np
import pytest
from paper_states import assert_counters_fit, assert_rate, build, order

import soc_env

TRIAGE, HUNTER, ORCHESTRATOR, COORDINATOR = soc_env.AGENTS
ESCALATE, SUPPRESS, CORRELATE, ENRICH = range(4)
RECONNAISSANCE, ACCESS, EXECUTION, LATERAL, EXFILTRATION = range(5)
DETECTION_TERM, RESPONSE_TERM, COST_TERM, FALSE_POSITIVE_TERM = range(4)
STARTS = (0, 40, 80, 120, 160, 200)
DMZ, CORPORATE, DEVELOPMENT, DATA_CENTER, CLOUD = STARTS[:5]  # first host of each segment


# ---------------------------------------------------------------- section 5: hunting


def test_hunting_finds_a_compromised_host():
    rate = []
    for seed in range(200):
        sim = build([(1, 4)], step=6, stealth=0.0, seed=seed, false_scan_rate=0.0)
        order(sim, intensity=1.0, scope=1.0)
        sim.step()
        rate.append(sim.hosts(0)["is_detected"][1])
        if rate[-1]:
            assert sim.reward_terms[0].tolist() == [0.8, 0.0, 0.0, 0.0]
            metrics = sim.running_metrics()[0]
            assert (metrics["mttd"], metrics["true_positives"]) == (7, 1)
            assert_counters_fit(sim)
            sim.step()
            assert sim.rewards[0] == 0.0  # found once
    assert_rate(sum(rate), 200, 0.8)


@pytest.mark.parametrize("stage", [1, 2, 3, 4])
def test_detection_rate(stage):
    sim = build([(1, stage), (170, stage)], num_envs=5000)
    order(sim, intensity=[0.5, 0, 0, 0, 1.0], scope=[0.5, 0, 0, 0, 1.0])
    sim.step()
    found = np.array([sim.records().footholds[:, k]["is_detected"].sum() for k in (0, 1)])
    assert_rate(found[0], 5000, 0.5 * 0.5 * 0.65 * stage / 5)
    assert_rate(found[1], 5000, 1.0 * 1.0 * 0.65 * stage / 5)


def test_hunting_starts_above_its_threshold():
    sim = build(hunt_threshold=0.5)
    order(sim, intensity=[0.5, 0.5078125, 0.25, 0.75, 0.0])
    sim.step()
    assert sim.running_metrics()[0]["total_scans"] == 80  # segments 1 and 3


def test_clean_footholds_are_not_detected():
    sim = build([(1, 2, "c")], num_envs=500)
    order(sim, intensity=1.0, scope=1.0)
    sim.step()
    assert sim.records().footholds[:, 0]["is_detected"].sum() == 0


def test_false_scans_need_high_intensity_and_hit_clean_hosts_isolated_or_not():
    compromised = [(host, 1, "d") for host in range(40)]
    sim = build(compromised, isolated=range(40, 80), num_envs=2000)
    order(sim, intensity=[1.0, 1.0, 0.6875, 0.71875, 0.0])
    sim.step()
    false_scans = sim.records().env["false_scans"]
    assert_rate(false_scans.sum(), 2000 * 80, 0.05)  # 40 isolated in Corporate, 40 in DataCenter
    np.testing.assert_array_equal(sim.reward_terms[:, FALSE_POSITIVE_TERM], 0.5 * false_scans)
    np.testing.assert_array_equal(sim.rewards, -1.0 * false_scans)
    np.testing.assert_array_equal(sim.running_metrics()["false_positives"], false_scans)
    assert (sim.records().env["total_scans"] == 160).all()


def test_directive_boosts_hunt_scope_and_isolation():
    sim = build([(1, 4)], hunt_threshold=0.5, num_envs=3000)
    order(sim, intensity=0.4375, scope=0.25)
    sim.actions[COORDINATOR][...] = -1.0
    sim.actions[COORDINATOR][:, 0] = 0.0  # 0.4375 + 0.15
    sim.actions[COORDINATOR][:, 1] = 1.0  # 0.25 + 0.2
    sim.step()
    assert (sim.records().env["total_scans"] == 200).all()
    assert_rate(sim.records().footholds[:, 0]["is_detected"].sum(), 3000, 0.5875 * 0.45 * 0.65 * 4 / 5)


@pytest.mark.parametrize("entry", range(8))
def test_only_three_directive_entries_matter(entry):
    sim = build([(1, 2, "d")], isolation_threshold=0.5, num_envs=1)
    order(sim, intensity=0.25, scope=0.5, isolate=0.5)
    sim.actions[COORDINATOR][:, entry] = 1.0
    sim.step()
    has_effect = (
        sim.running_metrics()[0]["total_scans"] > 0,
        sim.records(0).env["isolation"][0] > 0.5,
        sim.records(0).env["directive"][1] > 0,
    )
    assert has_effect == (entry == 0, entry == 4, entry == 1)


# ---------------------------------------------------------------- section 5: response


def test_isolation_hits_detected_compromised_hosts_only():
    sim = build([(1, 2, "d"), (2, 2), (41, 3, "di"), (42, 0, "c")], detection_step=2, step=5, over_isolation_rate=0.0)
    order(sim, isolate=1.0)
    sim.step()
    hosts = sim.hosts(0)
    assert np.flatnonzero(hosts["is_isolated"]).tolist() == [1, 41]
    assert sim.reward_terms[0].tolist() == [0.0, 1 / 4, pytest.approx(0.06), 0.0]
    assert sim.rewards[0] == pytest.approx(1.5 / 4 - 0.3 * 0.06)
    assert_counters_fit(sim)


def test_isolation_needs_its_threshold():
    sim = build([(1, 2, "d")])
    order(sim, isolate=0.5)
    for _ in range(20):
        sim.step()
    assert not sim.hosts(0)["is_isolated"].any()


def test_isolation_rate_is_its_level():
    sim = build([(1, 2, "d"), (2, 1)], detection_step=0, num_envs=4000)
    order(sim, isolate=0.75)
    sim.step()
    assert_rate(sim.records().env["isolations"].sum(), 4000, 0.75)


def test_over_isolation_hits_clean_hosts_again_and_again():
    sim = build([(1, 2, "d"), (2, 2), (3, 0, "c")], isolated=[5], detection_step=0, over_isolation_rate=1.0)
    order(sim, isolate=[1.0, 0.875, 0, 0, 0])
    sim.step()
    assert sim.hosts(0)["is_isolated"][:40].sum() == 39  # all but the undetected one
    assert not sim.hosts(0)["is_isolated"][40:].any()
    assert sim.reward_terms[0, COST_TERM] == pytest.approx(0.6 * (0.1 + 0.2 * 38))
    assert_counters_fit(sim)
    sim.step()  # isolated clean hosts cost again
    assert sim.reward_terms[0, COST_TERM] == pytest.approx(0.6 * 0.2 * 38)
    assert_counters_fit(sim)


def test_over_isolation_rate():
    sim = build(num_envs=2000)
    order(sim, isolate=[0.0, 0.0, 1.0, 0.0, 0.0])
    sim.step()
    hits = sim.records().env["isolated"][:, 2]
    assert_rate(hits.sum(), 2000 * 40, 0.02)
    assert hits.var() == pytest.approx(40 * 0.02 * 0.98, rel=0.2)
    per_host = sum(sim.hosts(i)["is_isolated"][80:120].astype(int) for i in range(2000))
    assert ((per_host - 40) ** 2 / (40 * 0.98)).sum() < 40 + 4.5 * np.sqrt(80)


def test_remediation_cleans_isolated_compromised_hosts_only():
    sim = build([(1, 3, "di"), (2, 3, "d"), (3, 0, "ci"), (50, 1)], isolated=[10], detection_step=1, step=3)
    order(sim, remediate=1.0)
    sim.step()
    hosts = sim.hosts(0)
    assert np.flatnonzero(hosts["is_compromised"]).tolist() == [2, 50]
    assert np.flatnonzero(hosts["is_isolated"]).tolist() == [3, 10]  # isolated clean hosts are never released
    assert np.flatnonzero(hosts["is_detected"]).tolist() == [2]
    assert hosts["stage"][1] == 0
    assert sim.campaign(0)["footholds"] == [1, 2, 3, 50]  # the attacker's list keeps it
    assert sim.rewards[0] == 0.0
    assert_counters_fit(sim)


def test_remediation_rate_and_threshold():
    for remediate, chance in ((0.5, 0.0), (0.75, 0.75)):
        sim = build([(1, 3, "di"), (2, 3)], num_envs=3000)
        order(sim, remediate=remediate)
        sim.step()
        cleaned = (sim.records().footholds[:, 0]["stage"] == 0).sum()
        assert abs(cleaned - 3000 * chance) <= 4.5 * np.sqrt(3000 * chance * (1 - chance))


def test_remediation_in_the_same_step_zeroes_the_detection_reward():
    finds = 0
    for seed in range(20):
        sim = build([(1, 4), (60, 1)], stealth=0.0, false_scan_rate=0.0, over_isolation_rate=0.0, seed=seed, step=4)
        order(sim, intensity=[1, 0, 0, 0, 0], scope=1.0, isolate=1.0, remediate=1.0)
        sim.step()
        if sim.records(0).env["true_positives"]:
            finds += 1
            assert sim.reward_terms[0].tolist() == [0.0, 1.0, pytest.approx(0.06), 0.0]
            assert not sim.hosts(0)["is_compromised"][1]
    assert finds > 10


def test_the_detection_reward_counts_in_the_step_of_detection():
    for seed in range(20):
        sim = build([(1, 4), (60, 1)], stealth=0.0, false_scan_rate=0.0, over_isolation_rate=0.0, seed=seed, step=4)
        order(sim, intensity=[1, 0, 0, 0, 0], scope=1.0, isolate=1.0)
        sim.step()
        if sim.records(0).env["true_positives"]:
            assert sim.reward_terms[0].tolist() == [0.8, 1.0, pytest.approx(0.06), 0.0]
            return
    pytest.fail("nothing was ever detected")


def test_containment_when_every_compromised_host_is_isolated():
    sim = build([(1, 2, "d"), (41, 3, "di"), (42, 0, "c")], detection_step=2, step=9, over_isolation_rate=0.0)
    order(sim, isolate=1.0)
    sim.step()
    assert sim.reward_terms[0].tolist() == [0.0, 5 + 1 / 8, pytest.approx(0.06), 0.0]
    assert sim.terminated[0]
    metrics = sim.episode_metrics[0]
    assert (metrics["csr"], metrics["mttr"], metrics["mttd"], metrics["compromised"]) == (1, 10, 2, 2)
    assert sim.state()[0, -2:].tolist() == [1.0, 0.0]  # is_contained, is_exfiltrated


def test_no_containment_once_everything_is_remediated():
    sim = build([(1, 2, "di")], detection_step=2, step=9)
    order(sim, remediate=1.0)
    sim.step()
    assert not sim.terminated[0]
    assert sim.running_metrics()[0]["compromised"] == 0


def test_containment_after_remediation_of_some():
    for seed in range(30):
        sim = build([(1, 2, "di"), (41, 2, "di")], detection_step=2, step=9, seed=seed)
        order(sim, remediate=0.75)
        sim.step()
        assert sim.terminated[0] == (sim.running_metrics()[0]["compromised"] > 0)


def test_containment_and_exfiltration_in_one_step():
    sim = build(
        [(CLOUD, 3, "d")], phase=EXFILTRATION, exfiltration_rate=1.0, detection_step=0, step=10, over_isolation_rate=0.0
    )
    order(sim, isolate=1.0)
    sim.step()
    assert sim.reward_terms[0].tolist() == [-10.0, 5 + 1 / 11, pytest.approx(0.09), 0.0]
    assert sim.episode_metrics[0]["csr"] == sim.episode_metrics[0]["exfiltrated"] == 1
