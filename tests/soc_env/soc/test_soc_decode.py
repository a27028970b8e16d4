"""Action vectors decoded into calls, by hand-built states."""

from __future__ import annotations

import numpy as np
import pytest
from soc_states import (
    COORDINATOR,
    CORRELATE,
    ENRICH,
    ESCALATE,
    HOST,
    HUNTER,
    ORCHESTRATOR,
    SUPPRESS,
    TRIAGE,
    build,
    call,
    intruder,
    level,
    place_campaign,
    read,
    record,
    set_plan,
    zone_hosts,
)

from soc_env.errors import ConfigError


def calls_of(sim):
    sim.decode()
    return [(row["tool"], row["target"], round(row["level"], 6), round(row["depth"], 6)) for row in sim.calls()]


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
