"""One mechanic at a time: hand-built states, one step, exact values. Probabilities are tested at 0 and 1, and as rates
over many envs that start from the same state (fixed seeds, 4.5 standard errors).

Sections named below are those of the description of the published simulator that `soc_env` documents.
"""

from __future__ import annotations

import re

import numpy as np
import pytest

import soc_env
from soc_env.paper.kernels.state import COMPROMISED, ISOLATED

TRIAGE, HUNTER, ORCHESTRATOR, COORDINATOR = soc_env.AGENTS
ESCALATE, SUPPRESS, CORRELATE, ENRICH = range(4)
RECONNAISSANCE, ACCESS, EXECUTION, LATERAL, EXFILTRATION = range(5)
DETECTION_TERM, RESPONSE_TERM, COST_TERM, FALSE_POSITIVE_TERM = range(4)
VALUES = (0.6, 0.8, 0.7, 1.0, 0.9)
STARTS = (0, 40, 80, 120, 160, 200)
DMZ, CORPORATE, DEVELOPMENT, DATA_CENTER, CLOUD = STARTS[:5]  # first host of each segment

# Nothing happens unless a test asks for it.
QUIET = {
    "access_rate": 0.0, "execution_rate": 0.0, "lateral_rate": 0.0, "exfiltration_rate": 0.0, "true_alert_gain": 0.0,
    "false_alert_rate": 0.0, "coordinator_period": 1, "min_phase_steps": 100,
}  # fmt: skip
CERTAIN = {"vulnerability_low": 1.0, "vulnerability_high": 1.0}  # every host has vulnerability 1


def build(
    footholds=(), isolated=(), phase=RECONNAISSANCE, steps_in_phase=0, targets=None, alerts=(), step=0,
    detection_step=-1, num_envs=1, seed=0, **overrides,
):  # fmt: skip
    """A simulator whose envs all stand in the given state.

    Args:
        footholds: (host, stage) or (host, stage, flags) with flags of "c" not compromised (clean), "d" detected, "i"
            isolated, and a digit for the number of copies.
        isolated: Further hosts, isolated while clean.
        alerts: (segment, severity, is_true), oldest first; confidence 0.5, noise 0.1, raised at step 0.
    """
    sim = soc_env.Simulator("paper-v0", num_envs=num_envs, seed=seed, autoreset=False, **(QUIET | overrides))
    sim.reset()
    for i in range(num_envs):
        _, env, _, marks = sim.records(i)
        env["phase"], env["steps_in_phase"], env["step"], env["detection_step"] = (
            phase,
            steps_in_phase,
            step,
            detection_step,
        )
        if targets is not None:
            env["num_targets"] = len(targets)
            env["targets"][: len(targets)] = targets
        for host, stage, *rest in footholds:
            place_foothold(sim, i, host, stage, rest[0] if rest else "")
        for host in isolated:
            marks[ISOLATED, host >> 6] |= np.uint64(1) << np.uint64(host & 63)
            env["isolated"][segment_of(sim, host)] += 1
        for segment, severity, is_true in alerts:
            env["alerts"][env["queue_length"]] = (severity, 0.5, 0.1, 0, segment, is_true)
            env["queue_length"] += 1
    hold_still(sim)
    return sim


def place_foothold(sim, i, host, stage, flags):
    _, env, records, marks = sim.records(i)
    segment = segment_of(sim, host)
    copies = next((int(flag) for flag in flags if flag.isdigit()), 1)
    record = records[env["num_footholds"]]
    record["host"], record["segment"], record["stage"], record["copies"] = host, segment, stage, copies
    record["is_detected"], record["is_fresh"] = "d" in flags, 0
    env["num_footholds"] += 1
    env["stage_sum"][segment] += stage
    for mark, is_set in ((COMPROMISED, "c" not in flags), (ISOLATED, "i" in flags)):
        if is_set:
            marks[mark, host >> 6] |= np.uint64(1) << np.uint64(host & 63)
    env["compromised"][segment] += "c" not in flags
    env["isolated"][segment] += "i" in flags
    env["quarantined"][segment] += "i" in flags and "c" not in flags
    env["detected"][segment] += "d" in flags


def segment_of(sim, host):
    return int(np.searchsorted(sim.records(0).world["start"], host, side="right")) - 1


def hold_still(sim):
    """Actions that do nothing: no hunt, no response, no boost, enrich."""
    for agent in (HUNTER, ORCHESTRATOR, COORDINATOR):
        sim.actions[agent][...] = -1.0
    sim.actions[TRIAGE][...] = ENRICH


def order(sim, intensity=0.0, scope=0.0, isolate=0.0, remediate=0.0, triage=ENRICH):
    """Tool levels in [0, 1], for all segments or one per segment."""
    sim.actions[HUNTER][:, :5] = 2 * np.array(intensity) - 1
    sim.actions[HUNTER][:, 5:10] = 2 * np.array(scope) - 1
    sim.actions[ORCHESTRATOR][:, :5] = 2 * np.array(isolate) - 1
    sim.actions[ORCHESTRATOR][:, 5:10] = 2 * np.array(remediate) - 1
    sim.actions[TRIAGE][...] = triage


def assert_rate(hits, trials, chance):
    """Whether a count fits its probability."""
    assert abs(hits - trials * chance) < 4.5 * np.sqrt(trials * chance * (1 - chance)), (hits / trials, chance)


def assert_counters_fit(sim):
    """Whether the incremental counters equal a recount over all hosts."""
    for i in range(sim.num_envs):
        hosts, env = sim.hosts(i), sim.records(i).env
        for s in range(5):
            own = hosts[hosts["segment"] == s]
            assert env["compromised"][s] == own["is_compromised"].sum()
            assert env["isolated"][s] == own["is_isolated"].sum()
            assert env["detected"][s] == own["is_detected"].sum()
            assert env["quarantined"][s] == (own["is_compromised"] & own["is_isolated"]).sum()
            assert env["stage_sum"][s] == own["stage"].sum()


# ---------------------------------------------------------------- section 1: world
@pytest.mark.parametrize(("num_hosts", "sizes"), [(200, [40] * 5), (7, [2, 2, 1, 1, 1]), (1, [1, 0, 0, 0, 0])])
def test_hosts_are_split_over_segments(num_hosts, sizes):
    sim = soc_env.Simulator("paper-v0", num_hosts=num_hosts, seed=0)
    sim.reset()
    assert np.bincount(sim.hosts(0)["segment"], minlength=5).tolist() == sizes


def test_vulnerabilities_are_clipped_normals():
    sim = soc_env.Simulator("paper-v0", num_hosts=100_000, seed=0)
    sim.reset()
    hosts = sim.hosts(0)
    for segment, mean in enumerate((0.4, 0.3, 0.35, 0.2, 0.25)):
        drawn = hosts["vulnerability"][hosts["segment"] == segment]
        assert drawn.min() >= 0.05
        assert drawn.max() <= 0.95
        assert np.median(drawn) == pytest.approx(mean, abs=4.5 * 0.1 * 1.2533 / np.sqrt(drawn.size))
        assert np.mean(np.abs(drawn - mean) < 0.1) == pytest.approx(0.6827, abs=0.015)
    assert (hosts["vulnerability"] == 0.05).any()


def test_vulnerabilities_are_redrawn_or_kept():
    fresh, kept = (
        soc_env.Simulator("paper-v0", seed=3),
        soc_env.Simulator("paper-v0", seed=3, redraw_vulnerabilities=False),
    )
    seen = {}
    for name, sim in (("fresh", fresh), ("kept", kept)):
        sim.reset()
        first = sim.hosts(0)["vulnerability"]
        sim.reset()
        second = sim.hosts(0)["vulnerability"]
        sim.reset(seed=99)
        seen[name] = (first, second, sim.hosts(0)["vulnerability"])
    assert (seen["fresh"][0] != seen["fresh"][1]).mean() > 0.9
    np.testing.assert_array_equal(seen["kept"][0], seen["kept"][1])
    np.testing.assert_array_equal(seen["kept"][0], seen["kept"][2])


# ---------------------------------------------------------------- section 3: attacker
def test_reconnaissance_takes_three_steps_and_finds_the_most_vulnerable_entry_hosts():
    sim = build(min_phase_steps=3)
    phases = []
    for _ in range(4):
        sim.step()
        phases.append(sim.campaign(0)["phase"])
    assert phases == [RECONNAISSANCE, RECONNAISSANCE, ACCESS, ACCESS]
    vulnerable = np.argsort(-sim.hosts(0)["vulnerability"][:40], kind="stable")
    assert sim.campaign(0)["targets"] == vulnerable[:5].tolist()


def test_reconnaissance_passes_over_isolated_hosts():
    sim = build()
    sim.step()
    best = sim.campaign(0)["targets"]
    sim = build(isolated=[best[1], best[3]])
    sim.step()
    vulnerable = np.argsort(-sim.hosts(0)["vulnerability"][:40], kind="stable").tolist()
    assert sim.campaign(0)["targets"] == [host for host in vulnerable if host not in (best[1], best[3])][:5]


def test_reconnaissance_looks_again_when_a_target_is_cut_off_on_the_way():
    sim = build(over_isolation_rate=0.5)
    sim.step()
    before = sim.campaign(0)["targets"]
    order(sim, isolate=[1, 0, 0, 0, 0])
    sim.step()
    hold_still(sim)
    sim.step()
    hosts = sim.hosts(0)[:40]
    assert hosts["is_isolated"][before].any()
    ranked = [host for host in np.argsort(-hosts["vulnerability"]) if not hosts["is_isolated"][host]]
    assert sim.campaign(0)["targets"] == ranked[:5]


def test_reconnaissance_fails_while_the_entry_segment_is_isolated():
    sim = build(isolated=range(40), min_phase_steps=1)
    for _ in range(5):
        sim.step()
    assert sim.campaign(0)["phase"] == RECONNAISSANCE
    assert sim.campaign(0)["targets"] == []


def test_reconnaissance_takes_what_there_is():
    sim = build(num_hosts=7)
    sim.step()
    assert sorted(sim.campaign(0)["targets"]) == [0, 1]


def test_access_compromises_all_targets_that_are_not_isolated():
    sim = build(phase=ACCESS, targets=[3, 5, 7], isolated=[5], access_rate=1.0, **CERTAIN)
    sim.step()
    hosts = sim.hosts(0)
    assert np.flatnonzero(hosts["is_compromised"]).tolist() == [3, 7]
    assert hosts["stage"][[3, 5, 7]].tolist() == [1, 0, 1]
    assert sim.campaign(0)["footholds"] == [3, 7]
    assert_counters_fit(sim)


def test_access_tries_compromised_targets_again():
    sim = build(
        [(3, 2, "d")], phase=ACCESS, targets=[3], steps_in_phase=2, access_rate=1.0, min_phase_steps=3, **CERTAIN
    )
    sim.step()
    assert sim.hosts(0)["stage"][3] == 1
    assert sim.hosts(0)["is_detected"][3]
    assert sim.records(0).footholds[0]["copies"] == 2
    assert sim.campaign(0)["footholds"] == [3]
    assert sim.campaign(0)["phase"] == EXECUTION  # it counts as a success
    assert_counters_fit(sim)


def test_access_rate():
    sim = build(phase=ACCESS, targets=[2, 9, 11, 30], num_envs=4000, access_rate=0.5)
    chances = sum(0.5 * sim.hosts(i)["vulnerability"][[2, 9, 11, 30]] for i in range(sim.num_envs)) / sim.num_envs
    sim.step()
    hits = sum(sim.hosts(i)["is_compromised"][[2, 9, 11, 30]].astype(int) for i in range(sim.num_envs))
    for hit, chance in zip(hits, chances, strict=True):
        assert_rate(hit, sim.num_envs, chance)


def test_a_phase_ends_on_success_after_three_steps_only():
    sim = build(phase=ACCESS, targets=[3], steps_in_phase=1, access_rate=1.0, min_phase_steps=3, **CERTAIN)
    sim.step()
    assert (sim.campaign(0)["phase"], sim.campaign(0)["steps_in_phase"]) == (ACCESS, 2)
    sim.step()
    assert (sim.campaign(0)["phase"], sim.campaign(0)["steps_in_phase"]) == (EXECUTION, 0)
    sim = build(phase=ACCESS, targets=[3], steps_in_phase=9, min_phase_steps=3)
    sim.step()
    assert sim.campaign(0)["phase"] == ACCESS


def test_execution_reaches_clean_footholds_too_but_not_isolated_ones():
    state = [(1, 1), (2, 0, "c"), (3, 1, "i"), (4, 3), (50, 1)]
    sim = build(state, phase=EXECUTION, execution_rate=1.0, steps_in_phase=2, min_phase_steps=3)
    sim.step()
    hosts = sim.hosts(0)
    assert hosts["stage"][[1, 2, 3, 4, 50]].tolist() == [2, 2, 1, 3, 2]
    assert not hosts["is_compromised"][2]
    assert sim.campaign(0)["phase"] == LATERAL
    assert_counters_fit(sim)


def test_execution_on_a_clean_foothold_is_a_success():
    sim = build([(2, 0, "c")], phase=EXECUTION, execution_rate=1.0, steps_in_phase=2, min_phase_steps=3)
    sim.step()
    assert sim.campaign(0)["phase"] == LATERAL


def test_execution_hangs_when_every_foothold_is_past_it():
    sim = build([(1, 2), (2, 1, "i")], phase=EXECUTION, execution_rate=1.0, steps_in_phase=1, min_phase_steps=3)
    for _ in range(10):
        sim.step()
    assert sim.campaign(0)["phase"] == EXECUTION


@pytest.mark.parametrize("copies", [1, 2, 5])
def test_execution_tries_every_copy(copies):
    sim = build([(1, 1, str(copies))], phase=EXECUTION, execution_rate=0.2, num_envs=4000)
    sim.step()
    assert_rate((sim.records().footholds[:, 0]["stage"] == 2).sum(), 4000, 1 - 0.8**copies)


def test_lateral_movement_tries_each_edge_out_of_the_sources_once():
    sim = build([(1, 2)], phase=LATERAL, lateral_rate=1.0, **CERTAIN)
    sim.step()
    hosts = sim.hosts(0)
    assert [int(hosts["is_compromised"][a:b].sum()) for a, b in zip(STARTS, STARTS[1:], strict=False)] == [
        1,
        1,
        1,
        0,
        0,
    ]
    assert set(hosts["stage"][hosts["is_compromised"]]) == {2, 3}
    assert_counters_fit(sim)
    sim.step()  # now from DMZ, Corporate and Development
    hosts = sim.hosts(0)
    assert [int(hosts["is_compromised"][a:b].sum()) for a, b in zip(STARTS, STARTS[1:], strict=False)] == [
        2,
        3,
        3,
        2,
        1,
    ]


def test_lateral_movement_needs_a_source_on_the_network_compromised_or_not():
    for flags, expected in (("", 2), ("c", 2), ("i", 0), ("ci", 0)):
        sim = build([(1, 2, flags)], phase=LATERAL, lateral_rate=1.0, **CERTAIN)
        sim.step()
        assert len(sim.campaign(0)["footholds"]) == 1 + expected


def test_lateral_movement_takes_the_only_host_left():
    taken = [(host, 2) for host in range(40, 60)]
    sim = build([(1, 2), *taken], isolated=range(61, 80), phase=LATERAL, lateral_rate=1.0, **CERTAIN)
    sim.step()
    hosts = sim.hosts(0)
    assert hosts["is_compromised"][60]
    assert not hosts["is_compromised"][61:80].any()


def test_lateral_movement_skips_segments_without_candidates():
    sim = build([(1, 2)], isolated=range(40, 80), phase=LATERAL, lateral_rate=1.0, **CERTAIN)
    sim.step()
    hosts = sim.hosts(0)
    assert not hosts["is_compromised"][40:80].any()
    assert hosts["is_compromised"][80:120].sum() == 1


def test_lateral_movement_puts_a_clean_foothold_back_with_another_copy():
    sim = build(
        [(1, 2), (60, 0, "c")],
        isolated=[h for h in range(40, 80) if h != 60],
        phase=LATERAL,
        lateral_rate=1.0,
        **CERTAIN,
    )
    sim.step()
    record = sim.records(0).footholds[1]
    assert (record["host"], record["stage"], record["copies"]) == (60, 3, 2)
    assert sim.campaign(0)["footholds"][:2] == [1, 60]
    assert len(set(sim.campaign(0)["footholds"])) == len(sim.campaign(0)["footholds"])
    assert_counters_fit(sim)


@pytest.mark.parametrize("num_left", [3, 8, 30])  # below 8 by search, from 8 by trial
def test_lateral_targets_are_equally_likely(num_left):
    left = [40 + 40 * k // num_left for k in range(num_left)]
    isolated = [h for h in range(40, 80) if h not in left]
    sim = build([(1, 2)], isolated=isolated, phase=LATERAL, lateral_rate=1.0, num_envs=3000, **CERTAIN)
    sim.step()
    hits = [h for i in range(3000) for h in sim.campaign(i)["footholds"] if 40 <= h < 80]
    counts = np.array([hits.count(h) for h in left])
    assert counts.sum() == 3000
    expected = 3000 / num_left
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert abs(chi_square - (num_left - 1)) < 4.5 * np.sqrt(2 * (num_left - 1))


def test_exfiltration_stages_valuable_hosts_and_ends_the_episode():
    state = [(CLOUD, 3), (DATA_CENTER, 3, "i"), (DATA_CENTER + 1, 2), (CORPORATE, 3)]
    sim = build(state, phase=EXFILTRATION, exfiltration_rate=1.0)
    sim.step()
    hosts = sim.hosts(0)
    assert hosts["stage"][[CLOUD, DATA_CENTER, DATA_CENTER + 1, CORPORATE]].tolist() == [4, 3, 2, 3]
    assert sim.reward_terms[0].tolist() == [-10.0, 0.0, 0.0, 0.0]
    assert sim.rewards[0] == -10.0
    assert sim.terminated[0]
    assert not sim.truncated[0]
    assert sim.episode_metrics[0]["exfiltrated"] == 1
    assert sim.state()[0, -2:].tolist() == [0.0, 1.0]  # is_contained, is_exfiltrated
    assert_counters_fit(sim)


def test_exfiltration_without_staged_data_never_ends():
    sim = build([(CORPORATE, 3), (CLOUD, 2)], phase=EXFILTRATION, exfiltration_rate=1.0)
    for _ in range(10):
        sim.step()
    assert not sim.terminated[0]
    assert sim.campaign(0)["footholds"] == [CORPORATE, CLOUD]  # no more lateral movement


def test_exfiltration_rate():
    sim = build([(CLOUD, 3)], phase=EXFILTRATION, exfiltration_rate=0.3, num_envs=4000)
    sim.step()
    assert_rate(sim.terminated.sum(), 4000, 0.3)
    assert (sim.records().footholds[:, 0]["stage"] == 4).all()


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
