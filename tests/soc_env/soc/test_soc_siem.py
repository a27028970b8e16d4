"""The SIEM of `soc-v1` by hand-built states: risk scores, the queue of cases, sensors."""

from __future__ import annotations

import numpy as np
import pytest
from soc_states import (
    ALERT_DECAY,
    COORDINATOR,
    COUNT,
    FINDING_DECAY,
    HOST,
    HUNTER,
    MANY,
    TRIAGE,
    assert_consistent,
    assert_rate,
    build,
    count,
    idle,
    place_campaign,
    read,
    record,
    set_plan,
    zone_hosts,
)

from soc_env import Simulator
from soc_env.soc.attack import TECHNIQUES


def score_of(weight):
    return weight / (weight + 1.0)


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
    assert hosts[noisy].min() > 2 * np.delete(hosts, noisy).max()  # they are eight, and nobody else is one of them
    assert_rate(hosts[noisy].sum(), len(alerts), 0.4 + 0.6 * 8 / 200)
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
