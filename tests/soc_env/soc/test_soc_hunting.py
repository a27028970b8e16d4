"""EDR tools by hand-built states: hunts, decoys, sweeps, forensics."""

from __future__ import annotations

import numpy as np
import pytest
from soc_states import (
    ALERT_DECAY,
    FINDING_DECAY,
    HOST,
    HUNTER,
    MANY,
    assert_rate,
    build,
    call,
    count,
    intruder,
    read,
    record,
    tool_row,
    zone_hosts,
)

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
