"""SOAR tools by hand-built states: jobs on hosts, approval, the perimeter, credentials."""

from __future__ import annotations

import numpy as np
import pytest
from soc_states import (
    ALERT_DECAY,
    COORDINATOR,
    HOST,
    ORCHESTRATOR,
    TRIAGE,
    assert_consistent,
    assets,
    build,
    call,
    count,
    intruder,
    ordinary_host,
    read,
    record,
    tool_row,
)

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
