"""One mechanic of `soc-v1` at a time: hand-built states, a minute or a few, exact values. Probabilities are tested at 0
and 1, and as rates over many envs that start from the same state (fixed seeds, 4.5 standard errors).

Sections: risk, queue, sensors, triage, hunting, response, network-wide tools, actions into calls, losses, campaigns,
metrics, sizes.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from soc_states import (
    ACTIVE,
    COORDINATOR,
    CORRELATE,
    COUNT,
    ENRICH,
    ESCALATE,
    HUNTER,
    NONE,
    ORCHESTRATOR,
    OVER,
    SUPPRESS,
    TRIAGE,
    assert_consistent,
    assert_rate,
    assets,
    build,
    call,
    count,
    idle,
    look,
    ordinary_host,
    place_campaign,
    play,
    record,
    set_plan,
    tool_row,
    zone_hosts,
)

from policies.scripted import RandomPolicy
from soc_env import Simulator
from soc_env.errors import ConfigError
from soc_env.soc import risk
from soc_env.soc.attack import TECHNIQUES
from soc_env.soc.networks import Network
from soc_env.soc.scenario import SOCScenario

MANY = 400
ALERT_DECAY, FINDING_DECAY = 0.5 ** (1 / 20), 0.5 ** (1 / 60)
HOST = 20  # some host; what it is like does not matter where it is used


def score_of(weight):
    return weight / (weight + 1.0)


def read(sim, agent, name, i=0):
    return float(sim.observations[agent][i, sim.features(agent).index(name)])


# ---------------------------------------------------------------------- risk
def test_counters_and_findings_decay_with_their_half_lives():
    sim = build(hosts=({"host": HOST, "process": 1.0, "target": 2.0, "source": 3.0, "finding": 4.0, "verdict": 0.5},))
    for minutes in range(1, 41):
        sim.step()
        row = record(sim, HOST)
        for name, start in (("process", 1.0), ("target", 2.0), ("source", 3.0)):
            assert row[name] == pytest.approx(start * ALERT_DECAY**minutes)
        for name, start in (("finding", 4.0), ("verdict", 0.5)):
            assert row[name] == pytest.approx(start * FINDING_DECAY**minutes)
        weight = 0.9 * row["process"] + 0.3 * row["target"] + 0.9 * row["source"] + row["finding"] + row["verdict"]
        assert row["risk"] == pytest.approx(score_of(weight))
    assert row["process"] == pytest.approx(0.25)  # two half-lives


def test_a_host_is_forgotten_once_nothing_speaks_against_it():
    sim = build(hosts=(
        {"host": 20, "process": 0.0235, "last_alert": 0},
        {"host": 21, "process": 0.0235, "last_alert": 0, "level": 1, "campaign": 0},
        {"host": 22, "process": 0.0235, "is_isolated": 1},
    ), campaigns=({},))  # fmt: skip
    sim.step()
    assert all(record(sim, host) is not None for host in (20, 21, 22))  # evidence 0.0204, kept above 0.02
    sim.step()
    assert record(sim, 20) is None
    for host in (21, 22):
        row = record(sim, host)
        assert (row["process"], row["risk"]) == (0.0, 0.0)
    assert record(sim, 21)["last_alert"] == -1  # looks like any other host
    assert_consistent(sim)


def test_the_picture_of_a_zone():
    hosts = [int(h) for h in zone_hosts(build(), 1)[:7]]
    sim = build(hosts=(
        {"host": hosts[3], "process": 1.0}, {"host": hosts[1], "process": 1.0}, {"host": hosts[0], "source": 0.5},
        {"host": hosts[4], "finding": 6.0, "is_isolated": 1}, {"host": hosts[5], "verdict": 0.2, "is_isolated": 1},
        {"host": hosts[6], "verdict": 2.0, "is_offline": 1},
    ))  # fmt: skip
    env = sim.records(0).env
    assert env["top_host"][1] == hosts[1]  # the lower number among equals
    assert (env["top_risk"][1], env["second_risk"][1]) == pytest.approx((score_of(0.9), score_of(0.9)))
    assert (env["isolated_host"][1], env["least_host"][1]) == (hosts[4], hosts[5])
    assert (env["isolated"][1], env["offline"][1], env["suspects"][1]) == (2, 1, 2)
    assert (env["findings_standing"][1], env["incidents"][1]) == (1, 1)
    assert env["evidence"][1] == pytest.approx(0.9 + 0.9 + 0.45 + 6.0 + 0.2 + 2.0)
    assert env["sources"][1] == pytest.approx(0.5)
    assert read(sim, TRIAGE, "zone1_top_risk") == pytest.approx(score_of(0.9))
    assert read(sim, TRIAGE, "zone1_isolated_least") == pytest.approx(score_of(0.2))
    assert read(sim, TRIAGE, "zone1_evidence") == pytest.approx(env["evidence"][1] / (env["evidence"][1] + 5.0))


# ---------------------------------------------------------------------- queue
def alert(sim, host, rule, severity=0.6, confidence=0.6, source=-1, campaign=0, i=0):
    """An alert that reaches the SIEM in the next minute."""
    env = sim.records(i).env
    row = env["pending"][env["num_pending"]]
    row["due"], row["rule"], row["host"], row["source"] = 0, rule, host, source
    row["severity"], row["confidence"], row["campaign"] = severity, confidence, campaign
    env["num_pending"] += 1


PROCESS, NETWORK, IDENTITY = (
    next(k for k, row in enumerate(TECHNIQUES) if row.channel == channel)
    for channel in ("process", "network", "identity")
)
WEIGHT = 0.6 * (0.4 + 0.6 * 0.6)  # of the alert above


@pytest.mark.parametrize(("rule", "share"), [(PROCESS, 1.0), (IDENTITY, 0.6)])
def test_an_alert_weighs_on_its_host_and_opens_a_case(rule, share):
    sim = build(step=4, auto_close=0.0)
    alert(sim, HOST, rule)
    sim.step()
    row, (case,) = record(sim, HOST), sim.cases()
    assert row["process"] == pytest.approx(share * WEIGHT * ALERT_DECAY)
    assert (row["target"], row["source"], row["last_alert"]) == (0.0, 0.0, 5)
    assert (case["host"], case["source"], case["rule"], case["num_alerts"]) == (HOST, -1, rule, 1)
    assert (case["opened"], case["is_true"], case["campaign"]) == (5, 1, 0)
    assert (count(sim, "total_alerts"), count(sim, "true_alerts"), count(sim, "cases")) == (1, 1, 1)


def test_a_network_alert_weighs_on_both_ends():
    sim = build(auto_close=0.0)
    alert(sim, HOST, NETWORK, source=70, campaign=-1)
    sim.step()
    assert record(sim, HOST)["target"] == pytest.approx(WEIGHT * ALERT_DECAY)
    assert record(sim, 70)["source"] == pytest.approx(WEIGHT * ALERT_DECAY)
    assert (record(sim, HOST)["process"], record(sim, 70)["target"]) == (0.0, 0.0)
    (case,) = sim.cases()
    assert (case["source"], case["is_true"], case["campaign"]) == (70, 0, -1)
    assert (count(sim, "total_alerts"), count(sim, "true_alerts")) == (1, 0)


def test_a_later_alert_joins_the_case_of_its_host():
    sim = build(step=10, cases=({"host": HOST, "rule": PROCESS, "severity": 0.5, "confidence": 0.5},))
    alert(sim, HOST, IDENTITY, severity=0.9, confidence=0.4)
    sim.step()
    (case,) = sim.cases()
    assert (case["num_alerts"], case["severity"], case["rule"], case["is_true"]) == (2, 0.9, IDENTITY, 1)
    assert case["confidence"] == pytest.approx(1.0 - 0.5 * (1.0 - 0.5 * 0.4))


@pytest.mark.parametrize(
    ("case", "arriving"),
    [
        ({"host": HOST, "rule": NETWORK, "source": 5}, {"rule": PROCESS}),  # of another kind
        ({"host": HOST, "rule": NETWORK, "source": 5}, {"rule": NETWORK, "source": 6}),  # from elsewhere
        ({"host": HOST + 1, "rule": PROCESS}, {"rule": PROCESS}),  # about another host
        ({"host": HOST, "rule": PROCESS, "opened": -21}, {"rule": PROCESS}),  # 31 minutes later, minute 10
    ],
)
def test_an_alert_about_something_else_opens_its_own_case(case, arriving):
    sim = build(step=9, cases=(case,), auto_close=0.0)
    alert(sim, HOST, **arriving)
    sim.step()
    assert len(sim.cases()) == 2
    assert set(sim.cases()["num_alerts"]) == {1}


def test_rank_is_of_severity_confidence_risk_priority_and_age():
    sim = build(step=29, hosts=({"host": HOST, "finding": 1.0},), sla_minutes=100, case_expiry=100,
                cases=({"host": HOST, "severity": 0.7, "confidence": 0.3, "opened": 0},))  # fmt: skip
    zone = int(sim.cases()["zone"][0])
    sim.actions[COORDINATOR][:, zone] = 0.4
    sim.step()
    expected = 0.3 * 0.7 + 0.3 * 0.3 + 0.25 * score_of(1.0) + 0.15 * 0.5 * 1.4 + 0.2 * 30 / 60
    assert sim.cases()["rank"][0] == pytest.approx(expected)


def test_the_best_ranked_case_is_shown_first():
    severities = [0.1, 0.9, 0.5, 0.9, 0.3, 0.7, 0.2, 0.8, 0.6, 0.4]
    sim = build(cases=[{"host": 10 + k, "severity": s} for k, s in enumerate(severities)])
    sim.step()
    shown = [read(sim, TRIAGE, f"case{k}_severity") for k in range(8)]
    assert shown == pytest.approx([0.9, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3])
    assert list(sim.records().env["order"][0, :2]) == [1, 3]  # the older of two equals first
    assert [read(sim, HUNTER, f"case{k}_severity") for k in range(3)] == pytest.approx([0.9, 0.9, 0.8])
    sim.set_calls([])
    idle(sim)
    sim.decode()
    assert sim.calls()[0]["target"] == 1


def test_a_full_queue_drops_its_lowest_ranked():
    cases = [{"host": 30 + k, "severity": 0.5 + 0.1 * k, "rank": 0.5 + 0.1 * k, "is_true": 1} for k in range(3)]
    sim = build(cases=cases, queue_capacity=3, auto_close=0.0)
    alert(sim, HOST, PROCESS, severity=0.02, confidence=0.02)  # lower than all
    sim.step()
    assert set(sim.cases()["host"]) == {30, 31, 32}
    assert (count(sim, "dropped_cases"), count(sim, "missed_cases")) == (1, 1)
    assert read(sim, TRIAGE, "dropped") == pytest.approx(0.9 / 2.9)
    alert(sim, HOST, PROCESS, severity=1.0, confidence=1.0)
    sim.step()
    assert set(sim.cases()["host"]) == {HOST, 31, 32}
    assert (count(sim, "dropped_cases"), count(sim, "missed_cases")) == (2, 2)
    assert read(sim, TRIAGE, "queue") == 1.0


@pytest.mark.parametrize(("posture", "is_closed"), [(-1.0, False), (0.0, False), (0.9, True)])
def test_the_posture_closes_weak_cases_by_themselves(posture, is_closed):
    sim = build(auto_close=0.2)
    sim.actions[COORDINATOR][:, -2] = posture
    alert(sim, HOST, IDENTITY, severity=0.3, confidence=0.2, campaign=0)
    sim.step()  # rank 0.09 + 0.06 + 0.25 risk + 0.075 = 0.24
    assert len(sim.cases()) == (0 if is_closed else 1)
    assert count(sim, "auto_closed") == count(sim, "missed_cases") == float(is_closed)
    assert read(sim, TRIAGE, "auto_closed") == pytest.approx(0.9 / 2.9 if is_closed else 0.0)


def test_cases_age_breach_the_service_level_once_and_expire():
    sim = build(cases=({"host": HOST, "is_true": 1},), sla_minutes=3, case_expiry=6)
    for minute in range(1, 7):
        sim.step()
        assert count(sim, "sla_breaches") == float(minute >= 3)
        assert len(sim.cases()) == (1 if minute < 6 else 0)
        if minute < 6:
            assert read(sim, TRIAGE, "case0_overdue") == float(minute >= 3)
            assert read(sim, TRIAGE, "case0_age") == pytest.approx(minute / 60)
    assert (count(sim, "expired_cases"), count(sim, "missed_cases")) == (1, 1)


# ---------------------------------------------------------------------- sensors
def watch(num_envs, detection=0.5, delay=0.0, **overrides):
    """Intruders in mid-plan whose next attempt ends in the next minute, seen with some probability."""
    sim = build(num_envs=num_envs, hosts=({"host": HOST, "level": 1, "campaign": 0},), auto_close=0.0, **overrides)
    (_, _, rule, _) = set_plan(
        sim, ("initial-access", "execution", "execution", "impact"), detection=detection, success=0.0
    )
    sim.records().world["rules"]["delay"][0, rule] = delay
    for env in sim.records().env:
        place_campaign(env, 0, plan=1, via=HOST, technique=rule, timer=1, num_live=1, num_owned=1)
    return sim


@pytest.mark.parametrize(
    ("overrides", "stealth", "share"),
    [({"sensor_coverage": 1.0}, 0.0, 1.0), ({"sensor_coverage": 0.4}, 0.0, 0.4), ({"sensor_coverage": 0.0}, 0.0, 0.0),
     ({"sensor_coverage": 1.0, "alert_drop": 0.3}, 0.0, 0.7), ({"sensor_coverage": 1.0}, 0.5, 0.5)],
)  # fmt: skip
def test_an_attempt_is_seen_as_far_as_sensors_reach(overrides, stealth, share):
    sim = watch(MANY, detection=0.8, **overrides)
    sim.records().env["campaigns"]["stealth"] = stealth
    sim.step()
    seen = np.array([len(sim.cases(i)) for i in range(MANY)])
    assert set(seen) <= {0, 1}
    assert_rate(seen.sum(), MANY, 0.8 * share)


def test_alerts_take_their_exponential_time():
    sim = watch(MANY, detection=1.0, delay=4.0, sensor_coverage=1.0, alert_delay=2.0)
    arrived = np.full(MANY, -1)
    for env in sim.records().env:
        env["campaigns"][0]["loops_left"] = 0
    for minute in range(90):
        sim.step()
        sim.records().env["campaigns"]["timer"] = 1_000_000
        sim.records().env["campaigns"]["technique"] = -1
        new = (sim.records().env["counts"][:, COUNT["total_alerts"]] > 0) & (arrived < 0)
        arrived[new] = minute
    assert (arrived >= 0).all()
    mean = 1.0 / (np.exp(1 / 8.0) - 1.0)  # of the whole minutes of an exponential delay of 8
    assert abs(arrived.mean() - mean) < 4.5 * np.sqrt(mean * (mean + 1) / MANY)


def quiet_soc(num_envs=16, **overrides):
    """No intruders; benign activity alone."""
    sim = Simulator("soc-v1", num_envs=num_envs, seed=3, autoreset=False, **{"campaigns_per_hour": 0.0} | overrides)
    sim.reset()
    sim.records().env["num_campaigns"] = 1
    idle(sim)
    return sim


@pytest.mark.parametrize("num_hosts", [20, 200, 3200, 100_000])
def test_benign_alerts_grow_with_the_root_of_the_hosts(num_hosts):
    sim = quiet_soc(num_hosts=num_hosts, num_networks=1)
    minutes = 100
    for _ in range(minutes):
        sim.step()
    expected = 16 * minutes * 48.0 / 60.0 * (num_hosts / 200) ** 0.5
    total = sim.running_metrics()["total_alerts"].sum()
    assert abs(total - expected) < 4.5 * np.sqrt(expected)
    assert sim.running_metrics()["true_alerts"].sum() == 0


def test_badly_tuned_rules_name_the_same_few_hosts():
    sim = Simulator("soc-v1", seed=0, log_capacity=100_000, campaigns_per_hour=0.0, benign_alerts_per_hour=1200.0,
                    lookalike_share=0.0, num_networks=1, autoreset=False)  # fmt: skip
    sim.reset()
    sim.records().env["num_campaigns"] = 1
    idle(sim)
    for _ in range(200):
        sim.step()
    alerts = [entry for entry in sim.log() if entry["kind"] == "alert"]
    hosts = np.bincount([entry["b"] for entry in alerts], minlength=200)
    noisy = np.argsort(hosts)[-8:]  # 4 % of 200
    share = hosts[noisy].sum() / len(alerts)
    assert_rate(hosts[noisy].sum(), len(alerts), 0.4 + 0.6 * 8 / 200) if len(set(noisy)) == 8 else None
    assert 0.38 < share < 0.48


def test_lookalikes_are_as_confident_as_the_real_thing():
    confidence = {}
    for share in (0.0, 1.0):
        sim = Simulator("soc-v1", seed=0, log_capacity=50_000, campaigns_per_hour=0.0, benign_alerts_per_hour=600.0,
                        lookalike_share=share, autoreset=False)  # fmt: skip
        sim.reset()
        sim.records().env["num_campaigns"] = 1
        idle(sim)
        for _ in range(200):
            sim.step()
        alerts = [entry for entry in sim.log() if entry["kind"] == "alert"]
        rules = np.array([TECHNIQUES[entry["a"]].confidence for entry in alerts])
        assert all(0.02 <= entry["x"] <= 1.0 for entry in alerts)
        confidence[share] = np.mean([entry["y"] for entry in alerts]) / rules.mean()
    assert confidence[0.0] == pytest.approx(0.65, abs=0.03)
    assert confidence[1.0] == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("num_hosts", [20, 200, 5000])
def test_raw_events_are_50_a_host_and_hour(num_hosts):
    sim = quiet_soc(num_envs=8, num_hosts=num_hosts)
    for _ in range(120):
        sim.step()
    hourly = sim.running_metrics()["raw_events"].mean() / 2.0
    assert hourly == pytest.approx(
        50.0 * num_hosts, rel=0.12 if num_hosts == 20 else 0.03
    )  # zones of 4 hosts: no less than 0


def test_an_attempt_shows_in_the_raw_events_of_its_zone():
    sim = watch(1, detection=0.0)
    rule = sim.records().env["campaigns"][0, 0]["technique"]
    sim.records().world["rules"]["events"][0, rule] = 500.0
    twin = watch(1, detection=0.0)
    twin.records().world["rules"]["events"][0, rule] = 0.0
    sim.step()
    twin.step()
    zone = record(sim, HOST)["zone"]
    assert count(sim, "raw_events") == count(twin, "raw_events") + 500.0
    shift = 500.0 / sim.records().network["event_scale"][0, zone]
    events, usual = sim.records(0).env["events"], twin.records(0).env["events"]
    assert events[zone] == pytest.approx(min(1.0, usual[zone] + shift))
    others = [z for z in range(5) if z != zone]
    np.testing.assert_array_equal(events[others], usual[others])
    sim.step()
    assert abs(sim.records().env["events"][0, zone]) < 1.0  # it is over


# ---------------------------------------------------------------------- triage
def intruder(host, level=1, **fields):
    return {"host": host, "level": level, "campaign": 0, "since": 0, **fields}


def test_escalating_a_true_case_accuses_detects_and_takes_time():
    sim = build(
        step=7, hosts=(intruder(HOST),), campaigns=({"start": 2},), cases=({"host": HOST, "is_true": 1, "campaign": 0},)
    )
    value = assets(sim)["value"][HOST]
    assert call(sim, ("escalate", 0)) == ["done"]
    env, row = sim.records(0).env, record(sim, HOST)
    assert row["verdict"] == pytest.approx(2.0 * FINDING_DECAY)
    assert len(sim.cases()) == 0
    assert (env["campaigns"][0]["detected"], env["campaigns"][0]["acknowledged"]) == (8, 8)
    assert sim.reward_terms[0, 0] == pytest.approx(1.0 + value)
    assert sim.reward_terms[0, 3] == 0.0
    assert env["analyst_time"] == pytest.approx(2.0 - 4.0)  # half of four analysts, minus the verdict
    assert count(sim, "effort") == pytest.approx(0.01 * 4.0)
    assert (count(sim, "true_positives"), count(sim, "false_positives"), count(sim, "missed_cases")) == (1, 0, 0)
    assert sim.running_metrics()["mttd"][0] == 8 - 2


def test_a_verdict_on_a_connection_accuses_its_source():
    sim = build(
        hosts=(intruder(70),), campaigns=({},), cases=({"host": HOST, "source": 70, "is_true": 1, "campaign": 0},)
    )
    call(sim, ("escalate", 0))
    assert record(sim, 70)["verdict"] == pytest.approx(2.0 * FINDING_DECAY)
    assert record(sim, HOST)["verdict"] == pytest.approx(0.5 * FINDING_DECAY)
    assert sim.records().env["campaigns"][0, 0]["detected"] == 1


def test_a_verdict_on_the_target_of_a_connection_detects_nobody():
    sim = build(
        hosts=(intruder(HOST),), campaigns=({},), cases=({"host": HOST, "source": 70, "is_true": 1, "campaign": 0},)
    )
    call(sim, ("escalate", 0))
    assert sim.records().env["campaigns"][0, 0]["detected"] == -1
    assert sim.reward_terms[0, 0] == 0.0


def test_escalating_a_benign_case_costs():
    sim = build(cases=({"host": HOST},))
    call(sim, ("escalate", 0))
    assert (count(sim, "true_positives"), count(sim, "false_positives")) == (0, 1)
    assert count(sim, "disruption") == pytest.approx(0.1)
    assert sim.reward_terms[0].tolist() == pytest.approx([0.0, 0.0, 5.0 * (0.1 + 0.04), 0.25])
    assert sim.rewards[0] == pytest.approx(-0.3 * 5.0 * 0.14 - 2.0 * 0.25)


def test_verdicts_on_a_host_add_up_to_twice_the_weight_of_one():
    sim = build(hosts=({"host": HOST, "verdict": 3.0},), cases=({"host": HOST},))
    call(sim, ("escalate", 0))
    assert record(sim, HOST)["verdict"] == pytest.approx(4.0 * FINDING_DECAY)


def test_suppressing_calms_both_hosts():
    hosts = ({"host": HOST, "process": 1.0, "target": 1.0, "finding": 1.0}, {"host": 70, "source": 1.0})
    sim = build(hosts=hosts, cases=({"host": HOST, "source": 70, "is_true": 1},))
    assert call(sim, ("suppress", 0)) == ["done"]
    row = record(sim, HOST)
    assert (row["process"], row["target"]) == pytest.approx((0.3 * ALERT_DECAY, 0.3 * ALERT_DECAY))
    assert row["finding"] == pytest.approx(FINDING_DECAY)
    assert record(sim, 70)["source"] == pytest.approx(0.3 * ALERT_DECAY)
    assert (len(sim.cases()), count(sim, "missed_cases")) == (0, 1)
    assert count(sim, "analyst_minutes") == 1.0


def test_shares_of_false_positives_are_of_verdicts():
    benign, true = ({"host": host} for host in range(10, 16)), {"host": 30, "is_true": 1}
    late = {"host": 40, "opened": 0}
    sim = build(
        step=50, cases=(*benign, true, true | {"host": 31}, late), analyst_time=8.0, case_expiry=51, analysts=9.0
    )
    assert sim.running_metrics()[["fdr", "fpr"]][0].tolist() == (0.0, 0.0)  # no verdict yet
    verdicts = ["escalate", "escalate", "suppress", "suppress", "suppress", "enrich", "escalate", "suppress"]
    outcomes = []
    for case, tool in enumerate(verdicts):  # one a minute: the analysts' time is short
        sim.records().env["analyst_time"] = 8.0
        outcomes += call(sim, (tool, case))
    assert outcomes == ["done"] * 8
    metrics = sim.running_metrics()[0]
    assert (metrics["true_positives"], metrics["false_positives"], metrics["true_negatives"]) == (1, 2, 3)
    assert (metrics["expired_cases"], metrics["missed_cases"]) == (1, 1)
    assert metrics["fdr"] == pytest.approx(2 / 3)  # of those escalated
    assert metrics["fpr"] == pytest.approx(2 / 5)  # of the benign ones with a verdict: neither enriched nor expired


def test_correlating_merges_all_cases_that_share_a_host():
    sim = build(cases=(
        {"host": 1, "severity": 0.2, "confidence": 0.1},
        {"host": 10, "severity": 0.4, "confidence": 0.5, "rule": 3},
        {"host": 10, "source": 30, "severity": 0.8, "confidence": 0.6, "rule": 5, "num_alerts": 4, "is_true": 1,
         "campaign": 2},
        {"host": 31, "source": 32},
        {"host": 33, "source": 10, "confidence": 0.2},
    ))  # fmt: skip
    assert call(sim, ("correlate", 1)) == ["done"]
    cases = {int(case["id"]): case for case in sim.cases()}
    assert set(cases) == {0, 1, 3}
    kept = cases[1]
    assert (kept["severity"], kept["rule"], kept["num_alerts"], kept["is_true"], kept["campaign"]) == (0.8, 5, 6, 1, 2)
    assert kept["confidence"] == pytest.approx(1.0 - 0.5 * (1.0 - 0.7 * 0.2) * (1.0 - 0.7 * 0.6))
    assert kept["source"] == 30


def test_enrichment_then_query_and_no_third_reading():
    sim = build(num_envs=MANY, cases=({"host": HOST, "is_true": 1}, {"host": 50}), analyst_time=8.0)
    assert call(sim, ("query", 0)) == ["refused"]
    readings = {}
    for tool, spread, field in (("enrich", 0.5, "reading"), ("query", 0.35, "second_reading")):
        outcomes = call(sim, (tool, 0), (tool, 1))
        assert outcomes == ["done", "done"]
        for case_id, centre in ((0, 0.68), (1, 0.32)):
            row = np.array([env["cases"][env["cases"]["id"] == case_id][field][0] for env in sim.records().env])
            assert ((row >= 0) & (row <= 1)).all()
            assert abs(np.clip(row, 0.0, 1.0).mean() - centre) < 0.05
            readings[tool, case_id] = row
            assert row.std() < spread / np.sqrt(6) * 1.1
        sim.records().env["analyst_time"] = 8.0
    assert readings["query", 0].std() < readings["enrich", 0].std()
    assert call(sim, ("enrich", 0), ("query", 0)) == ["refused", "refused"]
    assert read(sim, TRIAGE, "case0_enriched") == 1.0


def test_without_time_or_case_nothing_is_triaged():
    sim = build(cases=({"host": HOST},), analyst_time=-6.0)
    assert call(sim, ("suppress", 0)) == ["no_time"]  # -6 + 2
    assert call(sim, ("suppress", 5)) == ["refused"]
    sim.records().env["analyst_time"] = -1.9
    assert call(sim, ("escalate", 0)) == ["done"]  # the last minute in hand is enough to begin
    assert sim.records().env["analyst_time"][0] == pytest.approx(0.1 - 4.0)


@pytest.mark.parametrize(("posture", "minutes"), [(-1.0, 3.0), (0.0, 2.0), (1.0, 1.0)])
def test_analysts_are_shared_by_posture_and_their_time_is_capped(posture, minutes):
    sim = build()
    sim.actions[COORDINATOR][:, -3] = posture
    sim.step()
    assert sim.records().env["analyst_time"][0] == pytest.approx(minutes)
    for _ in range(10):
        sim.step()
    assert sim.records().env["analyst_time"][0] == 8.0
    assert read(sim, TRIAGE, "analyst_time") == 1.0


def test_the_mask_allows_what_triage_can_do():
    sim = build(cases=({"host": HOST},), analyst_time=1.0)
    assert sim.action_masks()[TRIAGE][0].tolist() == [1, 1, 1, 1]
    sim.records().env["cases"]["enriched"][0, 0] = 2
    look(sim)
    assert sim.action_masks()[TRIAGE][0].tolist() == [1, 1, 1, 0]
    sim.records().env["analyst_time"] = 0.0
    look(sim)
    assert sim.action_masks()[TRIAGE][0].tolist() == [0, 0, 0, 1]
    assert build(analyst_time=5.0).action_masks()[TRIAGE][0].tolist() == [0, 0, 0, 1]


# ---------------------------------------------------------------------- hunting
EVERYWHERE = {"hunt_hosts_per_minute": 1e6}  # every host is examined


@pytest.mark.parametrize(
    ("level", "depth", "stealth", "chance"),
    [(1, 0.0, 0.0, 0.5 * 0.35), (1, 1.0, 0.0, 0.5), (2, 0.4, 0.0, 0.85 * 0.61), (2, 1.0, 0.6, 0.85 * 0.7)],
)
def test_examining_finds_an_intruder_or_clears_it(level, depth, stealth, chance):
    hosts = (intruder(HOST, level, process=1.0, verdict=1.0),)
    sim = build(num_envs=MANY, hosts=hosts, campaigns=({"stealth": stealth},), step=9, **EVERYWHERE)
    zone = int(record(sim, HOST)["zone"])
    call(sim, ("deep_scan" if depth > 0.5 else "hunt", zone, 1.0, depth))
    found = np.array([record(sim, HOST, i)["finding"] > 0 for i in range(MANY)])
    assert_rate(found.sum(), MANY, chance)
    weight, kept = (6.0 if depth > 0.5 else 1.5) * FINDING_DECAY, (0.8 - 0.4 * depth) * ALERT_DECAY
    for i in range(MANY):
        row, campaign = record(sim, HOST, i), sim.records(i).env["campaigns"][0]
        assert row["last_hunt"] == 10
        assert row["finding"] == pytest.approx(weight if found[i] else 0.0)
        assert row["process"] == pytest.approx(ALERT_DECAY if found[i] else kept)
        assert (campaign["detected"] == 10) == found[i]
        assert count(sim, "findings", i) == found[i]
    assert read(sim, HUNTER, f"zone{zone}_last_hunt") == 0.0


def test_examining_a_clean_host_errs_or_clears_it():
    sim = build(num_envs=MANY, hosts=({"host": HOST, "source": 1.0},), **EVERYWHERE | {"false_finding": 0.1})
    call(sim, ("hunt", int(record(sim, HOST)["zone"]), 1.0, 0.5))
    found = np.array([record(sim, HOST, i)["finding"] > 0 for i in range(MANY)])
    assert_rate(found.sum(), MANY, 0.1 * 2.0)  # twice as many at half depth
    sources = np.array([record(sim, HOST, i)["source"] for i in range(MANY)])
    np.testing.assert_allclose(sources, np.where(found, 1.0, 0.6) * ALERT_DECAY)


def test_a_hunt_prefers_suspects_and_shares_its_capacity():
    suspects = [{"host": h, "finding": 3.0} for h in (60, 61)] + [{"host": 62, "verdict": 1.0}]
    sim = build(num_envs=MANY, hosts=suspects, hunt_hosts_per_minute=1.0)
    zone = int(record(sim, 60)["zone"])
    assert zone == int(record(sim, 62)["zone"])
    call(sim, ("hunt", zone, 1.0, 0.0))
    size = len(zone_hosts(sim, zone))
    total = 0.02 * size + 2 * 0.75 + 0.5
    for host, score in ((60, 0.75), (61, 0.75), (62, 0.5)):
        examined = sum(record(sim, host, i)["last_hunt"] >= 0 for i in range(MANY))
        assert_rate(examined, MANY, (score + 0.02) / total)


def test_nobody_looks_twice_within_five_minutes_nor_at_what_is_down():
    sim = build(hosts=({"host": 60, "verdict": 2.0}, {"host": 61, "verdict": 2.0, "is_offline": 1}), **EVERYWHERE)
    zone = int(record(sim, 60)["zone"])
    verdicts = []
    for _ in range(7):
        call(sim, ("hunt", zone, 1.0, 0.0))
        verdicts.append(record(sim, 60)["verdict"])
    drops = [b / a < 0.9 for a, b in zip([2.0, *verdicts], verdicts, strict=False)]
    assert drops == [True, False, False, False, False, True, False]
    assert record(sim, 61)["last_hunt"] == -1


def test_hunting_costs_the_hunters_share_of_the_analysts():
    sim = build()
    call(sim, ("hunt", 0, 0.25, 0.0))
    assert count(sim, "analyst_minutes") == pytest.approx(2.0 * 0.25)
    call(sim, *(("hunt", z, 1.0, 0.0) for z in range(5)))
    assert count(sim, "analyst_minutes") == pytest.approx(2.0 * 1.25)


def test_decoys_are_set_up_stand_an_hour_and_are_two_a_zone():
    sim = build(decoy_minutes=60)
    assert call(sim, ("deploy_decoy", 2), ("deploy_decoy", 2), ("deploy_decoy", 2)) == ["started", "started", "refused"]
    assert sim.records().env["decoy_ready"][0, 2].tolist() == [6, 6]
    assert read(sim, HUNTER, "zone2_decoys") == 1.0
    for _ in range(64):
        sim.step()
        assert read(sim, HUNTER, "zone2_decoys") == 1.0
    sim.step()  # minute 66
    assert read(sim, HUNTER, "zone2_decoys") == 0.0


def test_an_intel_sweep_finds_known_intruders_and_waits():
    hosts = (intruder(HOST), {**intruder(60), "campaign": 1}, {"host": 90, "finding": 0.2}, intruder(91, is_offline=1))
    sim = build(num_envs=MANY, hosts=hosts, campaigns=({"is_known": 1}, {}))
    assert call(sim, ("intel_sweep", 0)) == ["done"]
    for host, chance in ((HOST, 0.6), (60, 0.03)):
        rows = np.array([record(sim, host, i)["finding"] for i in range(MANY)])
        assert set(np.round(rows, 9)) <= {0.0, round(6.0 * FINDING_DECAY, 9)}
        assert_rate((rows > 0).sum(), MANY, chance)
    assert record(sim, 91)["finding"] == 0.0
    assert record(sim, 90)["finding"] == pytest.approx(0.2 * FINDING_DECAY)
    assert read(sim, HUNTER, "intel_wait") == 1.0
    for _ in range(14):
        assert call(sim, ("intel_sweep", 0)) == ["refused"]
    assert call(sim, ("intel_sweep", 0)) == ["done"]


@pytest.mark.parametrize(("failure", "level", "known"), [(0.0, 1, 1), (0.0, 0, 0), (1.0, 1, 0)])
def test_forensics_make_an_intruder_known(failure, level, known):
    hosts = ({"host": HOST, "finding": 2.0, "level": level, "campaign": 0 if level else -1},)
    sim = build(hosts=hosts, campaigns=({},))
    tool_row(sim, "collect_forensics")["failure"] = failure
    assert call(sim, ("collect_forensics", HOST)) == ["failed" if failure else "done"]
    assert sim.records().env["campaigns"][0, 0]["is_known"] == known
    assert read(sim, HUNTER, "indicators") == pytest.approx(known / 3)
    assert count(sim, "analyst_minutes") == 2.0
    assert call(sim, ("collect_forensics", HOST)) == ["failed" if failure else "refused"]
    assert call(sim, ("collect_forensics", 99)) == ["refused"]


# ---------------------------------------------------------------------- response
def response_state(level=1, host=None, **fields):
    """One host in the state, that no approval is needed for."""
    host = ordinary_host(build()) if host is None else host
    row = {"host": host, "finding": 4.0, "level": level, "campaign": 0 if level else -1, "since": 0, **fields}
    sim = build(hosts=(row,), campaigns=({"start": 0},), step=10)
    for name in ("isolate", "kill_process", "reimage"):
        tool_row(sim, name)["failure"] = 0.0
    return sim, host


def test_isolation_takes_a_minute_and_cuts_off():
    sim, host = response_state()
    value, users = assets(sim)["value"][host], assets(sim)["users"][host]
    assert call(sim, ("isolate", host)) == ["started"]
    zone = int(record(sim, host)["zone"])
    assert not record(sim, host)["is_isolated"]
    assert count(sim, "disruption") == pytest.approx(0.1 * (0.5 + value))
    assert read(sim, ORCHESTRATOR, f"zone{zone}_executor") == pytest.approx(1 / 15)
    assert call(sim, ("kill_process", host)) == ["started"]  # the isolation is done first
    assert record(sim, host)["is_isolated"] == 1
    assert sim.reward_terms[0, 1] == pytest.approx((1.0 + value) / (1.0 + 12 / 30))  # minute 12
    assert (sim.records().env["num_cut"][0], sim.records().env["users_cut"][0]) == (1, pytest.approx(users))
    assert sim.records().env["campaigns"][0, 0]["has_hosts_lost"] == 1
    assert sim.running_metrics()["contained"][0] == 1
    assert_consistent(sim)
    assert call(sim, ("isolate", ordinary_host(sim, skip=1))) == ["busy"]
    sim.step()
    assert call(sim, ("isolate", host)) == ["refused"]
    assert call(sim, ("release", host)) == ["started"]
    sim.step()
    assert record(sim, host)["is_isolated"] == 0
    assert sim.records().env["num_cut"][0] == 0
    assert call(sim, ("release", host)) == ["refused"]
    assert_consistent(sim)


def test_a_response_on_a_clean_host_is_a_false_positive():
    sim, host = response_state(level=0, finding=0.0)
    call(sim, ("isolate", host))
    assert sim.reward_terms[0, 3] == 0.25
    metrics = sim.running_metrics()[0]
    assert (metrics["actions"], metrics["action_fdr"], metrics["evidence_gated"]) == (1, 1.0, 0.0)
    sim.step()
    assert record(sim, host)["is_isolated"] == 1  # although nothing speaks against it
    sim, host = response_state(level=1)
    call(sim, ("isolate", host))
    metrics = sim.running_metrics()[0]
    assert (metrics["action_fdr"], metrics["evidence_gated"]) == (0.0, 1.0)


def test_a_failed_isolation_changes_nothing():
    sim, host = response_state()
    tool_row(sim, "isolate")["failure"] = 1.0
    call(sim, ("isolate", host))
    sim.step()
    assert record(sim, host)["is_isolated"] == 0
    assert sim.records().env["job_tool"][0].max() == -1


@pytest.mark.parametrize(("level", "persistent"), [(1, 0), (1, 1), (2, 1)])
def test_killing_ends_user_level_and_leaves_persistence(level, persistent):
    sim, host = response_state(level=level, is_persistent=persistent, process=1.0)
    assert call(sim, ("kill_process", host)) == ["started"]
    sim.step()
    assert record(sim, host)["level"] == level
    before = record(sim, host)["process"]
    sim.step()
    row = record(sim, host)
    assert row["process"] == pytest.approx(0.5 * before * ALERT_DECAY)
    assert row["level"] == (2 if level == 2 else 0)
    assert row["is_persistent"] == persistent
    assert row["campaign"] == (0 if persistent else -1)


def test_reimaging_takes_eight_minutes_offline_and_removes_everything():
    sim, host = response_state(level=2, is_persistent=1, is_isolated=1, is_encrypted=1, verdict=2.0, process=2.0)
    value, zone = assets(sim)["value"][host], int(record(sim, host)["zone"])
    assert call(sim, ("reimage", host)) == ["started"]
    assert count(sim, "disruption") >= 0.5 * (0.5 + value)
    assert sim.reward_terms[0, 1] == pytest.approx((1.0 + value) / (1.0 + 11 / 30))  # contained at once, minute 11
    for left in range(8, 0, -1):
        assert read(sim, ORCHESTRATOR, f"zone{zone}_executor") == pytest.approx(left / 15)
        assert (record(sim, host)["is_offline"], sim.records().env["num_cut"][0]) == (1, 1)
        assert call(sim, *((("isolate", host),) if left > 1 else ())) == ["busy"] * (left > 1)
    assert record(sim, host) is None  # nothing is left to remember
    assert_consistent(sim)
    assert sim.records().env["num_cut"][0] == 0
    assert sim.records().env["campaigns"][0, 0]["num_owned"] == 0


def test_a_failed_reimage_leaves_the_intruder():
    sim, host = response_state(level=2)
    tool_row(sim, "reimage")["failure"] = 1.0
    call(sim, ("reimage", host))
    for _ in range(8):
        sim.step()
    row = record(sim, host)
    assert (row["is_offline"], row["level"]) == (0, 2)


@pytest.mark.parametrize("tool", ["isolate", "kill_process", "reimage"])
def test_a_host_that_is_down_takes_no_orders(tool):
    sim, host = response_state(is_offline=1)
    assert call(sim, (tool, host)) == ["refused"]


@pytest.mark.parametrize(
    ("weight", "rate", "posture", "outcome"),
    [(0.0, 0.0, 0.0, "denied"), (0.0, 1.0, 0.0, "started"), (1.4, 0.0, 0.0, "denied"), (1.6, 0.0, 0.0, "started"),
     (1.4, 0.0, 1.0, "started"), (1.6, 0.0, -1.0, "denied")],
)  # fmt: skip
def test_critical_hosts_need_approval(weight, rate, posture, outcome):
    """Certain from a risk score of 0.6, 30 % more or less by posture: 1.4 scores 0.583, 1.6 scores 0.615."""
    critical = int(np.flatnonzero(assets(build())["role"] == 2)[0])
    for tool in ("isolate", "reimage"):
        sim = build(hosts=({"host": critical, "verdict": weight, "is_persistent": 1, "campaign": 0},), campaigns=({},),
                    approval_rate=rate, approval_minutes=3)  # fmt: skip
        sim.actions[COORDINATOR][:, -1] = posture
        assert call(sim, (tool, critical)) == [outcome]
        if outcome == "started":
            minutes = {"isolate": 1, "reimage": 8}[tool]
            assert sim.records().env["job_end"][0].max() == 1 + minutes + 3
        else:
            assert (count(sim, "actions"), sim.records().env["job_tool"][0].max()) == (0, -1)
    assert call(build(hosts=({"host": critical, "verdict": 0.0},), approval_rate=0.0), ("kill_process", critical)) == [
        "started"
    ]


def test_instant_actions_are_done_in_the_same_minute_and_never_fail():
    critical = int(np.flatnonzero(assets(build())["role"] == 2)[0])
    hosts = (intruder(critical, 2, is_persistent=1), intruder(ordinary_host(build()), 1))
    sim = build(hosts=hosts, campaigns=({"has_credentials": 1},), instant_actions=True, approval_rate=0.0)
    assert call(sim, ("reimage", critical), ("kill_process", hosts[1]["host"])) == ["done", "done"]
    assert record(sim, critical) is None
    assert call(sim, ("isolate", 5), ("isolate", 5), ("deploy_decoy", 0), ("reset_credentials", 0)) == [
        "done", "refused", "started", "started"]  # fmt: skip
    assert record(sim, 5)["is_isolated"] == 1
    assert call(sim, ("block_perimeter", 0)) == ["started"]
    assert sim.records().env["perimeter"][0] == 2


# ---------------------------------------------------------------------- network-wide tools
def test_the_perimeter_waits_for_approval_hurts_and_opens():
    sim = build(approval_minutes=3)
    assert call(sim, ("block_perimeter", 0)) == ["started"]
    assert call(sim, ("block_perimeter", 0)) == ["refused"]
    assert read(sim, TRIAGE, "perimeter") == 0.5
    losses = []
    for _ in range(4):
        before = count(sim, "disruption")
        call(sim)
        losses.append(count(sim, "disruption") - before)
    assert losses == pytest.approx([0.0, 0.0, 0.25, 0.25])  # approved after 3 minutes, set up after one more
    assert read(sim, TRIAGE, "perimeter") == 1.0
    assert call(sim, ("unblock_perimeter", 0)) == ["done"]
    assert call(sim, ("unblock_perimeter", 0)) == ["refused"]
    assert read(sim, TRIAGE, "perimeter") == 0.0


def test_a_credential_reset_takes_credentials_hurts_and_waits():
    sim = build(
        campaigns=({"has_credentials": 1, "start": 0, "num_owned": 1},), hosts=(intruder(HOST),), approval_minutes=3
    )
    assert call(sim, ("reset_credentials", 0)) == ["started"]
    # leave expiry by itself out of it
    for minute in range(2, 14):
        assert read(sim, TRIAGE, "reset") == 1.0
        before = count(sim, "disruption")
        sim.records().env["campaigns"]["has_credentials"][0, 0] = 1
        assert call(sim, ("reset_credentials", 0)) == ["refused"]
        assert count(sim, "disruption") - before == pytest.approx(0.3 if minute < 14 else 0.0)
    sim.records().env["campaigns"]["has_credentials"][0, 0] = 1
    sim.step()  # minute 14 = 1 + 10 + 3
    assert sim.records().env["campaigns"]["has_credentials"][0, 0] == 0
    assert read(sim, TRIAGE, "reset") == 0.0
    assert read(sim, TRIAGE, "reset_wait") == pytest.approx((31 - 14) / 30)
    for _ in range(16):
        assert call(sim, ("reset_credentials", 0)) == ["refused"]
    assert call(sim, ("reset_credentials", 0)) == ["started"]


# ---------------------------------------------------------------------- actions into calls
def calls_of(sim):
    sim.decode()
    return [(row["tool"], row["target"], round(row["level"], 6), round(row["depth"], 6)) for row in sim.calls()]


def level(x):
    return 2.0 * x - 1.0


def test_idle_actions_ask_for_nothing():
    assert calls_of(build()) == []


@pytest.mark.parametrize(
    ("choice", "enriched", "tool"),
    [
        (ESCALATE, 0, "escalate"),
        (SUPPRESS, 0, "suppress"),
        (CORRELATE, 0, "correlate"),
        (ENRICH, 0, "enrich"),
        (ENRICH, 1, "query"),
    ],
)
def test_triage_works_on_the_first_case(choice, enriched, tool):
    sim = build(cases=({"host": HOST, "enriched": enriched}, {"host": 5}), analyst_time=1.0)
    sim.actions[TRIAGE][...] = choice
    assert calls_of(sim) == [(tool, 0, 0.0, 0.0)]
    sim.records().env["analyst_time"] = 0.0
    assert calls_of(sim) == []


def test_hunting_levels():
    sim = build()
    sim.actions[HUNTER][:, :5] = level(np.array([0.04, 0.06, 1.0, 0.0, 0.5]))
    sim.actions[HUNTER][:, 5:10] = level(np.array([1.0, 0.5, 0.6, 1.0, 0.0]))
    sim.actions[HUNTER][:, 10:15] = level(np.array([0.5, 0.51, 0.0, 0.0, 0.0]))
    sim.actions[HUNTER][:, 15] = level(0.51)
    expected = [("hunt", 1, 0.06, 0.5), ("deploy_decoy", 1, 0.0, 0.0), ("deep_scan", 2, 1.0, 0.6),
                ("hunt", 4, 0.5, 0.0),
                ("intel_sweep", 0, 0.0, 0.0)]  # fmt: skip
    assert [(t, z, pytest.approx(a, abs=1e-6), pytest.approx(d, abs=1e-6)) for t, z, a, d in calls_of(sim)] == expected
    sim.records().env["intel_allowed"] = 5
    sim.records().env["decoy_ready"][0, 1] = 0
    assert {tool for tool, *_ in calls_of(sim)} == {"hunt", "deep_scan"}


def test_a_deep_scan_collects_forensics_on_the_first_fresh_finding():
    hosts = [int(h) for h in zone_hosts(build(), 1)[:3]]
    rows = (
        {"host": hosts[2], "finding": 1.0},
        {"host": hosts[1], "finding": 1.0},
        {"host": hosts[0], "finding": 1.0, "is_collected": 1},
    )
    sim = build(hosts=rows)
    sim.actions[HUNTER][:, 1], sim.actions[HUNTER][:, 6] = 1.0, level(0.6)
    assert [(t, x) for t, x, *_ in calls_of(sim)] == [("deep_scan", 1), ("collect_forensics", hosts[1])]
    sim.actions[HUNTER][:, 6] = level(0.5)
    assert [t for t, *_ in calls_of(sim)] == ["hunt"]


ZONE_HOSTS = [int(h) for h in zone_hosts(build(), 1)]
SUSPECT = {"host": ZONE_HOSTS[4], "verdict": 1.0}
ISOLATED = {"host": ZONE_HOSTS[5], "verdict": 0.5, "is_isolated": 1}
SURE = {"host": ZONE_HOSTS[6], "verdict": 3.0, "is_isolated": 1}


@pytest.mark.parametrize(
    ("hosts", "contain", "remediate", "expected"),
    [
        ((SUSPECT,), 0.76, 0.0, ("isolate", SUSPECT["host"])),
        ((SUSPECT,), 0.75, 0.0, None),
        ((SUSPECT,), 1.0, 1.0, ("isolate", SUSPECT["host"])),  # containment first
        ((), 0.9, 0.0, None),
        ((), 1.0, 0.0, ("isolate", ZONE_HOSTS[0])),  # blind
        (({**SUSPECT, "verdict": 0.1},), 0.9, 0.0, None),  # below the floor of 0.1
        (({**SUSPECT, "verdict": 0.12},), 0.9, 0.0, ("isolate", SUSPECT["host"])),
        ((SUSPECT, ISOLATED), 0.5, 0.51, ("kill_process", SUSPECT["host"])),
        ((SUSPECT, ISOLATED), 0.5, 0.76, ("reimage", SUSPECT["host"])),
        ((SUSPECT, SURE), 0.5, 0.76, ("reimage", SURE["host"])),
        ((SUSPECT, SURE), 0.5, 0.5, None),
        ((SURE, ISOLATED), 0.24, 0.0, ("release", ISOLATED["host"])),
        ((SURE, ISOLATED), 0.25, 0.0, None),
        ((SURE, ISOLATED), 0.0, 1.0, ("reimage", SURE["host"])),
        ((SUSPECT,), 0.0, 0.0, None),  # nobody to release
    ],
)
def test_response_levels(hosts, contain, remediate, expected):
    sim = build(hosts=hosts)
    sim.actions[ORCHESTRATOR][:, 1], sim.actions[ORCHESTRATOR][:, 6] = level(contain), level(remediate)
    found = calls_of(sim)
    assert [(t, x) for t, x, *_ in found] == ([] if expected is None else [expected])
    sim.records().env["job_tool"][0, 1], sim.records().env["job_end"][0, 1] = 10, 99
    assert calls_of(sim) == []  # the executor is at work


def test_blind_isolation_goes_on_to_the_next_host_in_reach():
    sim = build(hosts=({"host": ZONE_HOSTS[1], "is_isolated": 1}, {"host": ZONE_HOSTS[2], "is_offline": 1}))
    sim.actions[ORCHESTRATOR][:, 1] = 1.0
    targets = []
    for _ in range(5):
        targets += [x for _, x, *_ in calls_of(sim)]  # nothing while the executor is at work
        sim.step()
    assert targets == [ZONE_HOSTS[0], ZONE_HOSTS[3], ZONE_HOSTS[4]]


def test_network_levels():
    sim = build()
    sim.actions[ORCHESTRATOR][:, 10:] = level(np.array([0.51, 0.51]))
    assert [t for t, *_ in calls_of(sim)] == ["block_perimeter", "reset_credentials"]
    sim.records().env["perimeter"], sim.records().env["reset_allowed"] = 1, 30
    assert calls_of(sim) == []
    sim.records().env["perimeter"] = 2
    assert calls_of(sim) == []
    sim.actions[ORCHESTRATOR][:, 10] = level(0.5)
    assert [t for t, *_ in calls_of(sim)] == ["unblock_perimeter"]


def test_the_directive_changes_on_the_coordinators_minutes_only():
    sim = build(coordinator_period=5)
    held = []
    for minute in range(1, 12):
        sim.actions[COORDINATOR][...] = 0.05 * minute
        sim.step()
        held.append(round(float(sim.records().env["directive"][0, 0]) / 0.05))
    assert held == [1, 1, 1, 1, 1, 6, 6, 6, 6, 6, 11]
    assert sim.decides[0] == (sim.records().env["step"][0] % 5 == 0)


def test_set_calls_takes_the_place_of_the_actions_for_one_minute():
    sim = build(cases=({"host": HOST}, {"host": 5}), analyst_time=8.0)
    sim.actions[TRIAGE][...] = SUPPRESS
    assert call(sim, ("enrich", 1)) == ["done"]
    assert {int(case["id"]) for case in sim.cases()} == {0, 1}
    sim.step()
    assert len(sim.cases()) == 1
    for bad in (
        ("format_disk", 0, 0, 0),
        ("isolate", 200, 0, 0),
        ("isolate", -1, 0, 0),
        ("hunt", 5, 0, 0),
        ("hunt", 0, 1.5, 0),
    ):
        with pytest.raises(ConfigError):
            sim.set_calls([bad])
    with pytest.raises(ConfigError):
        sim.set_calls([("hunt", 0, 0.0, 0.0)] * 97)


def test_an_undefended_zone_has_no_sensors_and_takes_no_orders():
    sim = build(hosts=(intruder(HOST, verdict=2.0),), undefended_zones=(0,), auto_close=0.0, sensor_coverage=1.0)
    assert record(sim, HOST)["zone"] == 0
    (_, _, rule, _) = set_plan(sim, ("initial-access", "execution", "execution", "impact"), detection=1.0)
    sim.records().world["rules"]["events"][0, rule] = 500.0
    place_campaign(sim.records(0).env, 0, plan=1, via=HOST, technique=rule, timer=1, num_live=1, num_owned=1)
    orders = (
        ("isolate", HOST),
        ("reimage", HOST),
        ("hunt", 0, 1.0, 0.0),
        ("deep_scan", 0, 1.0, 1.0),
        ("deploy_decoy", 0),
    )
    assert call(sim, *orders) == ["refused"] * 5
    assert (len(sim.cases()), read(sim, TRIAGE, "zone0_events"), read(sim, HUNTER, "zone0_last_hunt")) == (0, 0.0, 1.0)
    sim.actions[HUNTER][...] = sim.actions[ORCHESTRATOR][...] = 1.0
    assert {target for tool, target, *_ in calls_of(sim) if tool in ("hunt", "deep_scan", "deploy_decoy")} == {
        1,
        2,
        3,
        4,
    }
    assert not [
        target for tool, target, *_ in calls_of(sim) if tool in ("isolate", "reimage") and target in zone_hosts(sim, 0)
    ]
    assert (sim.running_metrics()["compromised"][0], sim.records().env["campaigns"]["is_contained"][0, 0]) == (0, 1)


# ---------------------------------------------------------------------- losses
def small_network(path):
    """Two zones of four hosts; service 1 needs service 0, service 2 needs both."""
    network = Network(
        name="small", zone_names=("front", "back"), zone_value=np.array([0.5, 1.0]), segment_names=("a", "b"),
        segment_zone=np.array([0, 1]), start=np.array([0, 10, 20]), reach=np.ones((2, 2), bool),
        is_entry=np.array([True, False]), host_role=np.zeros(20, np.uint8), host_value=np.full(20, 0.5, np.float32),
        host_vulnerability=np.full(20, 0.5, np.float32),
        host_service=np.array([0, 0, 1, 1, *[-1] * 6, 2, 2, 2, 2, *[-1] * 6], np.int16),
        host_users=np.arange(20, dtype=np.float32), service_names=("directory", "mail", "shop"),
        service_value=np.array([0.5, 0.3, 0.2]), service_zone=np.array([0, 0, 1]),
        service_depends=np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0]], bool),
    )  # fmt: skip
    return str(network.save(path / "small.graphml"))


SMALL = {"num_zones": 2, "num_hosts": 20, "phase_zones": (-1, 0, 1), "phase_values": (1.0, 2.0, 3.0)}


@pytest.mark.parametrize(
    ("down", "works"),
    [((), (1.0, 1.0, 1.0)), ((0,), (0.5, 0.5, 0.5)), ((2,), (1.0, 0.5, 0.5)), ((0, 2), (0.5, 0.25, 0.25)),
     ((10, 11, 12), (1.0, 1.0, 0.25)), ((0, 1), (0.0, 0.0, 0.0)), ((19,), (1.0, 1.0, 1.0)),
     ((0, 2, 10), (0.5, 0.25, 0.1875))],
)  # fmt: skip
def test_a_service_works_as_far_as_its_hosts_and_what_it_needs(tmp_path, down, works):
    states = ("is_isolated", "is_offline", "is_encrypted")
    hosts = [{"host": h, states[k % 3]: 1} for k, h in enumerate(down)]
    sim = build(hosts=hosts, network=small_network(tmp_path), **SMALL)
    before = count(sim, "disruption")
    sim.step()
    lost = np.array([0.5, 0.3, 0.2]) * (1.0 - np.array(works))
    assert sim.records().env["service_loss"][0] == pytest.approx(lost.sum())
    assert count(sim, "disruption") - before == pytest.approx(4.0 * lost.sum() + 0.002 * sum(down))
    assert read(sim, TRIAGE, "service_loss") == pytest.approx(lost.sum())
    assert read(sim, TRIAGE, "zone0_outage") == pytest.approx(lost[:2].sum() / 0.8)
    assert read(sim, TRIAGE, "zone1_outage") == pytest.approx(lost[2] / 0.2)
    assert count(sim, "disruption_minutes") == len(down)
    assert_consistent(sim)


@pytest.mark.parametrize(
    ("step", "factors"), [(0, (1, 1)), (65, (1, 1)), (66, (2, 1)), (132, (2, 1)), (133, (1, 3)), (198, (1, 3))]
)
def test_mission_phases_change_what_zones_are_worth(tmp_path, step, factors):
    hosts = (intruder(0, 1), intruder(15, 2), intruder(1, 2, is_isolated=1))
    sim = build(hosts=hosts, campaigns=({},), step=step, network=small_network(tmp_path), max_steps=200, **SMALL)
    sim.step()
    damage = 0.1 * 0.5 * 0.5 * factors[0] + 0.3 * 0.5 * 1.0 * factors[1]
    assert count(sim, "damage") == pytest.approx(damage)
    assert sim.reward_terms[0, 1] == pytest.approx(-damage)
    unit = 1.0 / 3.0
    assert read(sim, TRIAGE, "zone0_value") == pytest.approx(0.5 * factors[0] * unit)
    assert read(sim, TRIAGE, "zone1_value") == pytest.approx(1.0 * factors[1] * unit)
    phase = (step + 1) * 3 // 200
    assert [read(sim, TRIAGE, f"phase_{k}") for k in range(3)] == [float(k == phase) for k in range(3)]


# ---------------------------------------------------------------------- campaigns
ONE = (intruder(HOST),)


def in_plan(tactics, plan, num_envs=64, hosts=ONE, campaign=None, world=None, minutes=2, **overrides):
    """Envs after an attempt at one step of a hand-made plan; it works in 95 % of them."""
    sim = build(num_envs=num_envs, hosts=hosts, **overrides)
    set_plan(sim, tactics, **(world or {}))
    for env in sim.records().env:
        place_campaign(env, 0, plan=plan, timer=0, num_live=1, num_owned=1, **(campaign or {}))
    for _ in range(minutes):
        sim.step()
    return sim


def test_an_attempt_takes_the_techniques_minutes():
    sim = in_plan(("initial-access", "execution", "impact"), 1, world={"minutes": 4}, minutes=4)
    assert (sim.records().env["campaigns"]["plan"][:, 0] == 1).all()
    sim.step()
    moved = sim.records().env["campaigns"]["plan"][:, 0] == 2
    assert_rate(moved.sum(), 64, 0.95)
    assert (sim.records().env["campaigns"]["technique"][:, 0] == -1).all()


def test_initial_access_takes_an_entry_host():
    sim = build(num_envs=MANY)
    set_plan(sim, ("initial-access", "execution", "impact"), success=0.4, entry=(0.0, 1.0, 0.0, 0.0))
    for env in sim.records().env:
        place_campaign(env, 0, plan=0, timer=0, start=-1)
    for _ in range(2):
        sim.step()
    net, chances, taken = sim.network_of(), [], 0
    is_server = np.flatnonzero((assets(sim)["role"] == 1) & net.is_entry[assets(sim)["segment"]])
    for i in range(MANY):
        hosts, campaign = sim.hosts(i), sim.records(i).env["campaigns"][0]
        own = np.flatnonzero(hosts["level"])
        assert len(own) <= 1
        assert (campaign["start"] == 2) == (len(own) == 1) == (campaign["plan"] == 1)
        if len(own):
            taken += 1
            assert net.is_entry[hosts["segment"][own[0]]]
            assert hosts["since"][own[0]] == 2
            chances.append(hosts["role"][own[0]] == 1)
    assert np.mean(chances) > 0.8  # where 24 draws hit a server at all
    mean = 0.4 * (0.5 + assets(sim)["vulnerability"][is_server].mean())
    assert 0.75 * mean < taken / MANY < 1.25 * mean
    assert sim.running_metrics()["blast_radius"].sum() == taken


@pytest.mark.parametrize(("credentials", "help_"), [(0, 1.0), (1, 1.4)])
def test_lateral_movement_takes_a_host_in_reach_and_credentials_help(credentials, help_):
    sim = in_plan(("initial-access", "lateral-movement", "impact"), 1, num_envs=MANY, world={"success": 0.4},
                  campaign={"has_credentials": credentials})  # fmt: skip
    net, segment, hits = sim.network_of(), assets(sim)["segment"], 0
    reach = net.reach[segment[HOST]]
    for i in range(MANY):
        own = [h for h in np.flatnonzero(sim.hosts(i)["level"]) if h != HOST]
        for host in own:
            assert reach[segment[host]]
        hits += len(own)
    chances = np.minimum(0.95, 0.4 * help_ * (0.5 + assets(sim)["vulnerability"]))
    assert_rate(hits, MANY, np.mean([chances[segment == s].mean() for s in np.flatnonzero(reach)]))


def test_lateral_movement_of_some_families_prefers_value():
    shares = []
    for preference in (0.0, 1.0):
        sim = in_plan(
            ("initial-access", "lateral-movement", "impact"), 1, num_envs=MANY, world={"prefers_value": preference}
        )
        net, segment = sim.network_of(), assets(sim)["segment"]
        values = np.where(net.reach[segment[HOST]], net.zone_value[net.segment_zone], -1.0)
        zones = [
            sim.hosts(i)["segment"][h] for i in range(MANY) for h in np.flatnonzero(sim.hosts(i)["level"]) if h != HOST
        ]
        shares.append(np.mean(np.array(zones) == values.argmax()))
    assert shares[1] > shares[0] + 0.4


@pytest.mark.parametrize(
    ("tactic", "check"),
    [
        ("persistence", lambda sim, i: record(sim, HOST, i)["is_persistent"] == 1),
        ("privilege-escalation", lambda sim, i: record(sim, HOST, i)["level"] == 2),
        ("credential-access", lambda sim, i: sim.records(i).env["campaigns"][0]["has_credentials"] == 1),
        ("defense-evasion", lambda sim, i: sim.records(i).env["campaigns"][0]["stealth"] == pytest.approx(0.35)),
    ],
)
def test_what_a_tactic_does(tactic, check):
    sim = in_plan(("initial-access", tactic, "impact"), 1, campaign={"stealth": 0.3})
    worked = sim.records().env["campaigns"]["plan"][:, 0] == 2
    assert_rate(worked.sum(), 64, 0.95)
    for i in range(64):
        assert check(sim, i) == worked[i]


@pytest.mark.parametrize("tactic", ["execution", "discovery", "collection", "command-and-control"])
def test_other_tactics_only_go_on(tactic):
    sim = in_plan(("initial-access", tactic, "impact"), 1)
    assert_rate((sim.records().env["campaigns"]["plan"][:, 0] == 2).sum(), 64, 0.95)
    for i in range(64):
        rows = sim.hosts(i)
        assert rows["level"].sum() == 1
        assert rows["is_persistent"].sum() == 0


def test_the_loop_is_walked_as_often_as_planned():
    tactics = ("initial-access", "execution", "discovery", "collection", "impact")
    sim = in_plan(tactics, 1, num_envs=32, campaign={"loops_left": 2}, world={"loop": (1, 2, 3, 3)}, minutes=0)
    visits = [[1] for _ in range(32)]
    for _ in range(60):
        sim.step()
        for i, plan in enumerate(sim.records().env["campaigns"]["plan"][:, 0]):
            if plan != visits[i][-1]:
                visits[i].append(int(plan))
    assert all(v == [1, 2, 1, 2, 1, 2, 3, 4] for v in visits)


def test_dwell_is_an_exponential_pause():
    sim = in_plan(("initial-access", "execution", "execution", "impact"), 1, num_envs=MANY, world={"dwell": 5.0})
    moved = sim.records().env["campaigns"]["plan"][:, 0] == 2
    waits = sim.records().env["campaigns"]["timer"][moved, 0] - 1.0
    mean = 1.0 / (np.exp(1 / 5.0) - 1.0)
    assert abs(waits.mean() - mean) < 4.5 * np.sqrt(mean * (mean + 1) / moved.sum())


def goal(name, num_envs=16, minutes=2, rule_minutes=1, **overrides):
    tactic = "exfiltration" if name == "exfiltrate" else "impact"
    world = {"goal": name, "minutes": rule_minutes}
    return in_plan(("initial-access", "execution", tactic), 2, num_envs, world=world, minutes=minutes, **overrides)


def test_encryption_destroys_a_host_once():
    sim = goal("encrypt", minutes=20)
    net, rows = sim.network_of(), assets(sim)
    value = rows["value"][HOST] * net.zone_value[net.segment_zone[rows["segment"][HOST]]]
    for i in range(16):
        assert record(sim, HOST, i)["is_encrypted"] == 1
        assert count(sim, "encrypted", i) == 1
        assert sim.records().env["num_cut"][i] == 1
        living = 20 * 0.1 * value  # it is still the intruder's
        assert count(sim, "damage", i) == pytest.approx(living + 2.0 * value, rel=1e-6)
    assert_consistent(sim)
    assert read(sim, TRIAGE, "encrypted") > 0


@pytest.mark.parametrize(("name", "loss"), [("exfiltrate", 1.0), ("abuse", 0.5)])
def test_theft_and_abuse_go_on_for_an_hour_at_most(name, loss):
    sim = goal(name, minutes=199, rule_minutes=2)
    net, rows = sim.network_of(), assets(sim)
    unit = rows["value"][HOST] * net.zone_value[net.segment_zone[rows["segment"][HOST]]]
    assert (sim.records().env["campaigns"]["goal_minutes"][:, 0] == 60).all()
    for i in range(16):
        assert count(sim, "exfiltrated", i) == (60 if name == "exfiltrate" else 0)
        phases = sim.records().world["phase_factor"][0, :, record(sim, HOST, i)["zone"]]
        assert (phases == 1).all()
        assert count(sim, "damage", i) == pytest.approx(unit * (60 * loss + 199 * 0.1), rel=1e-5)


def test_a_blocked_perimeter_stops_nine_in_ten():
    for tactics, plan, got in (
        (("initial-access", "execution", "impact"), 0, lambda sim: sim.records().env["campaigns"]["plan"][:, 0] == 1),
        (
            ("initial-access", "execution", "exfiltration"),
            2,
            lambda sim: sim.records().env["campaigns"]["goal_minutes"][:, 0] > 0,
        ),
    ):
        sim = build(num_envs=MANY, hosts=(intruder(HOST),) if plan else ())
        set_plan(sim, tactics, goal="exfiltrate" if plan else "abuse")
        sim.records().env["perimeter"] = 2
        sim.actions[ORCHESTRATOR][:, 10] = 1.0
        for env in sim.records().env:
            place_campaign(env, 0, plan=plan, timer=0, num_live=plan // 2, num_owned=plan // 2, start=0 if plan else -1)
        for _ in range(2):
            sim.step()
        assert_rate(got(sim).sum(), MANY, 0.1 * 0.95)


def test_decoys_catch_who_comes_near():
    sim = build(num_envs=MANY, hosts=(intruder(HOST),), auto_close=0.0)
    set_plan(sim, ("initial-access", "lateral-movement", "impact"))
    sim.records().env["decoy_ready"][:, :5] = 0
    for env in sim.records().env:
        place_campaign(env, 0, plan=1, timer=0, num_live=1, num_owned=1)
    for _ in range(2):
        sim.step()
    caught = 0
    for i in range(MANY):
        for case in sim.cases(i):
            caught += 1
            assert (case["source"], case["severity"], case["confidence"], case["is_true"]) == (HOST, 0.9, 0.95, 1)
            assert sim.hosts(i)["level"].sum() == 1  # the move came to nothing
    assert_rate(caught, MANY, 2 / (2 + 6))


def test_a_decoy_that_is_not_ready_catches_nobody():
    sim = build(num_envs=64, hosts=(intruder(HOST),), auto_close=0.0)
    set_plan(sim, ("initial-access", "lateral-movement", "impact"))
    sim.records().env["decoy_ready"][:, :5] = 30
    for env in sim.records().env:
        place_campaign(env, 0, plan=1, timer=0, num_live=1, num_owned=1)
    for _ in range(2):
        sim.step()
    assert sum(len(sim.cases(i)) for i in range(64)) == 0


def test_an_intruder_acts_from_hosts_in_reach_only():
    hosts = (intruder(HOST, is_isolated=1), intruder(60, is_offline=1), intruder(61))
    sim = in_plan(("initial-access", "execution", "impact"), 1, hosts=hosts, minutes=1)
    assert set(sim.records().env["campaigns"]["via"][:, 0]) == {61}
    place = sim.records().slots[:, 61] - 1
    for i in range(64):
        sim.records(i).hosts[place[i]]["is_isolated"] = 1
    sim.step()
    assert (sim.records().env["campaigns"]["plan"][:, 0] == 1).all()  # the attempt is lost


# ---- persistence, reactions, arrivals
def lost(hosts=(), num_envs=MANY, reentry=0.3, minutes=1, campaign=None, **overrides):
    """Campaigns that have just lost their last host."""
    sim = build(num_envs=num_envs, hosts=hosts, **overrides)
    set_plan(sim, ("initial-access", "execution", "impact"), reentry=reentry)
    latent = sum(1 for row in hosts if row.get("campaign") == 0)
    for env in sim.records().env:
        place_campaign(env, 0, plan=2, timer=0, start=0, num_latent=latent, **(campaign or {}))
    for _ in range(minutes):
        sim.step()
    return sim


LATENT = {"host": HOST, "campaign": 0, "is_persistent": 1}


def test_persistence_brings_an_intruder_back():
    sim = lost((LATENT,))
    back = np.array([record(sim, HOST, i)["level"] == 1 for i in range(MANY)])
    assert_rate(back.sum(), MANY, 0.3)
    assert (sim.records().env["campaigns"]["plan"][back, 0] == 1).all()
    assert (sim.records().env["campaigns"]["state"][:, 0] == ACTIVE).all()
    assert sim.running_metrics()["blast_radius"].sum() == back.sum()


@pytest.mark.parametrize("state", ["is_isolated", "is_offline"])
def test_persistence_behind_a_cut_waits(state):
    sim = lost(({**LATENT, state: 1},), reentry=1.0, minutes=5)
    assert not any(record(sim, HOST, i)["level"] for i in range(0, MANY, 20))
    assert (sim.records().env["campaigns"]["state"][:, 0] == ACTIVE).all()


def test_stolen_credentials_bring_an_intruder_back_elsewhere():
    sim = lost((), reentry=1.0, campaign={"has_credentials": 1})
    is_back = np.array([(sim.hosts(i)["level"] > 0).sum() for i in range(MANY)])
    assert is_back.mean() > 0.9
    sim = lost((), reentry=1.0, campaign={"has_credentials": 1}, minutes=0)
    sim.records().env["perimeter"] = 2
    sim.actions[ORCHESTRATOR][:, 10] = 1.0
    sim.step()
    assert_rate(sum((sim.hosts(i)["level"] > 0).sum() for i in range(MANY)), MANY, 0.1)


@pytest.mark.parametrize(("hosts", "overrides"), [((), {}), ((LATENT,), {"persistence": False})])
def test_without_a_way_back_a_campaign_is_over(hosts, overrides):
    sim = lost(hosts, num_envs=4, **overrides)
    assert (sim.records().env["campaigns"]["state"][:, 0] == OVER).all()
    assert (sim.records().env["campaigns"]["eradicated"][:, 0] == 1).all()
    assert sim.running_metrics()["eradicated"].tolist() == [1] * 4
    if hosts:
        assert record(sim, HOST) is None  # what it left behind means nothing


def test_credentials_expire():
    sim = build(
        num_envs=MANY, hosts=(intruder(HOST),), campaigns=({"has_credentials": 1, "num_owned": 1, "num_live": 1},)
    )
    for _ in range(60):
        sim.step()
    kept = sim.records().env["campaigns"]["has_credentials"][:, 0].sum()
    assert_rate(kept, MANY, (1 - 1 / 240) ** 60)


@pytest.mark.parametrize("reaction", ["hide", "rush", "spread"])
def test_reactions_to_a_lost_host(reaction):
    tactics = ("initial-access", "execution", "execution", "collection", "impact")
    sim = build(hosts=(intruder(HOST),))
    set_plan(sim, tactics, reaction=reaction)
    place_campaign(
        sim.records(0).env,
        0,
        plan=2,
        timer=5,
        technique=3,
        via=HOST,
        num_live=1,
        num_owned=1,
        has_hosts_lost=1,
        stealth=0.2,
    )
    sim.step()
    campaign = sim.records(0).env["campaigns"][0]
    assert campaign["has_hosts_lost"] == 0
    if reaction == "hide":
        assert (campaign["timer"], campaign["technique"]) == (7, -1)
        assert campaign["stealth"] == pytest.approx(0.3)
    elif reaction == "rush":
        assert campaign["plan"] == 4
    else:
        assert campaign["timer"] <= 1


def test_the_first_campaign_starts_within_its_minutes():
    sim = Simulator("soc-v1", num_envs=MANY, seed=0, autoreset=False, first_campaign=20, campaigns_per_hour=0.0)
    sim.reset()
    idle(sim)
    first = np.full(MANY, -1)
    for minute in range(1, 22):
        sim.step()
        first[(sim.records().env["num_campaigns"] > 0) & (first < 0)] = minute
    assert first.min() == 1
    assert first.max() <= 20
    assert abs(first.mean() - 10.5) < 4.5 * np.sqrt((20**2 - 1) / 12 / MANY)
    assert (sim.records().env["num_campaigns"] == 1).all()


def test_later_campaigns_arrive_at_their_rate_up_to_the_limit():
    sim = build(num_envs=MANY, max_campaigns=2)
    sim.records().world["arrival"] = 0.06
    for env in sim.records().env:
        place_campaign(env, 0)
        place_campaign(env, 1, state=NONE, start=-1)
    sim.records().world["families"]["entry_roles"] = 0.0
    sim.step()
    assert_rate((sim.records().env["campaigns"]["state"][:, 1] == ACTIVE).sum(), MANY, 0.03)
    assert (sim.records().env["campaigns"]["state"][:, 2] == NONE).all()


def test_campaigns_are_of_the_splits_families_in_equal_shares():
    sim = Simulator("soc-v1", num_envs=MANY, seed=5, autoreset=False, split="test", first_campaign=1)
    sim.reset()
    idle(sim)
    sim.step()
    families = np.bincount(sim.records().env["campaigns"]["family"][:, 0], minlength=8)
    assert len(sim.families) == 8
    assert families.min() > 0
    assert abs(families - MANY / 8).max() < 4.5 * np.sqrt(MANY / 8)
    only = Simulator("soc-v1", families=("wiper", "insider"))
    assert {family.name for family in only.families} == {"wiper", "insider"}


# ---------------------------------------------------------------------- metrics
def test_times_are_censored_at_the_present_minute():
    sim = build(step=100, hosts=({**intruder(HOST), "campaign": 1},), campaigns=(
        {"start": 40, "detected": 50, "acknowledged": 45, "contained": 70, "eradicated": 90, "state": OVER},
        {"start": 60, "detected": 80},
    ))  # fmt: skip
    sim.step()
    m = sim.running_metrics()[0]
    assert (m["campaigns"], m["detected"], m["eradicated"], m["contained"]) == (2, 2, 1, 1)
    assert m["mttd"] == (10 + 20) / 2
    assert m["mtta"] == (5 + 41) / 2
    assert m["mttc"] == (30 + 41) / 2
    assert m["mttr"] == (50 + 41) / 2
    assert m["csr"] == 0.5
    assert m["compromised"] == 1


def test_a_slot_that_is_used_again_keeps_its_campaign_in_the_metrics():
    over = {"state": OVER, "start": 10, "detected": 14, "contained": 20, "eradicated": 30, "is_contained": 1}
    sim = build(step=50, campaigns=(over,), max_campaigns=1)
    before = sim.running_metrics()[0]
    sim.records().world["arrival"] = 1.0
    sim.step()
    assert sim.records().env["campaigns"]["state"][0, 0] == ACTIVE
    assert sim.records().env["past_campaigns"][0].tolist() == [1, 1, 1, 1, 4, 41, 10, 20, 0]
    after = sim.running_metrics()[0]
    for name in ("campaigns", "detected", "contained", "eradicated", "mttd", "mttc", "mttr", "csr"):
        assert after[name] == before[name], name


def test_an_episode_without_a_campaign_has_no_times():
    m = build(step=5).running_metrics()[0]
    for name in ("mttd", "mtta", "mttc", "mttr", "csr", "fdr", "fpr", "action_fdr", "evidence_gated", "campaigns"):
        assert m[name] == 0.0, name


# ---------------------------------------------------------------------- sizes
def test_a_full_record_table_is_survived():
    sim = Simulator("soc-v1", num_envs=2, seed=0, autoreset=False, num_hosts=20_000, num_networks=1, alert_scaling=1.0,
                    benign_alerts_per_hour=300.0, campaigns_per_hour=60.0)  # fmt: skip
    sim.reset()
    policy = RandomPolicy(sim.action_spaces, 0)
    capacity = sim.records().hosts.shape[1]
    for _ in range(30):
        play(sim, policy, 1)
        assert (sim.records().env["num_tracked"] <= capacity).all()
    assert sim.records().env["num_tracked"].max() >= 0.95 * capacity
    assert_consistent(sim)


@pytest.mark.parametrize(("num_hosts", "num_zones"), [(20, 1), (20, 5), (32, 16), (100_000, 16)])
def test_the_smallest_and_the_largest_network(num_hosts, num_zones):
    sim = Simulator(
        "soc-v1", num_envs=2, seed=1, autoreset=False, num_hosts=num_hosts, num_zones=num_zones, num_networks=1
    )
    sim.reset()
    policy = RandomPolicy(sim.action_spaces, 0)
    for _ in range(60):
        play(sim, policy, 1)
    assert_consistent(sim)
    assert sim.running_metrics()["total_alerts"].min() > 0
    for agent, space in sim.observation_spaces.items():
        assert all(row in space for row in sim.observations[agent])


# ---------------------------------------------------------------------- anything at all
def numbers(field):
    """Values of a field of the scenario, its limits among them, within what an episode of the test can hold."""
    low, high = field.metadata["low"], field.metadata["high"]
    default = field.default
    if isinstance(default, int):
        return st.sampled_from(sorted({int(low), int(min(high, 3 * abs(default) + 1)), default}))
    return st.sampled_from(sorted({float(low), float(min(high, 3 * abs(default) + 1.0)), default}))


FREE = {
    field.name: numbers(field)
    for field in dataclasses.fields(SOCScenario)
    if "low" in field.metadata and not isinstance(field.default, tuple)
    and field.name not in ("num_hosts", "num_zones", "max_steps", "num_networks", "network_seed")
    and not field.name.endswith(("null_loss", "clairvoyant_loss"))
}  # fmt: skip
SCENARIOS = st.fixed_dictionaries(
    {"num_hosts": st.sampled_from([32, 60, 200]), "num_zones": st.sampled_from([1, 2, 5, 16]),
     "max_steps": st.sampled_from([1, 25, 60])},
    optional={**FREE, "instant_actions": st.booleans(), "persistence": st.booleans(),
              "order": st.sampled_from(["attacker_first", "defenders_first"]),
              "reward": st.sampled_from(["dense", "sparse"]), "split": st.sampled_from(["train", "test"])},
)  # fmt: skip


@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(overrides=SCENARIOS, seed=st.integers(0, 2**63))
def test_any_settings_give_consistent_finite_episodes(overrides, seed):
    sim = Simulator("soc-v1", num_envs=2, seed=seed, num_networks=1, autoreset=False, **overrides)
    sim.reset()
    policy = RandomPolicy(sim.action_spaces, 0)
    for _ in range(overrides["max_steps"]):
        play(sim, policy, 1)
        assert np.isfinite(sim.rewards).all()
        for agent, space in sim.observation_spaces.items():
            assert np.isfinite(sim.observations[agent]).all()
            assert (np.abs(sim.observations[agent]) <= 1.0).all(), agent
            assert space.shape == sim.observations[agent].shape[1:]
        assert np.isfinite(sim.state()).all()
    assert_consistent(sim)
    assert sim.truncated.all()
    for i in range(2):
        rows = sim.records(i).hosts[: sim.records().env["num_tracked"][i]]
        weight = risk.evidence(rows["process"], rows["target"], rows["source"], rows["finding"], rows["verdict"])
        np.testing.assert_allclose(rows["risk"], risk.risk_score(weight), atol=1e-12)
    for name in sim.episode_metrics.dtype.names:
        assert np.isfinite(sim.episode_metrics[name]).all(), name
    shares = ("fdr", "fpr", "action_fdr", "evidence_gated", "csr")
    assert all((sim.episode_metrics[name] >= 0.0).all() and (sim.episode_metrics[name] <= 1.0).all() for name in shares)
