"""Triage's tools by hand-built states: verdicts, correlation, enrichment, analyst time."""

from __future__ import annotations

import numpy as np
import pytest
from soc_states import (
    ALERT_DECAY,
    COORDINATOR,
    FINDING_DECAY,
    HOST,
    MANY,
    TRIAGE,
    assets,
    build,
    call,
    count,
    intruder,
    look,
    read,
    record,
)


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
