"""Losses and metrics by hand-built states."""

from __future__ import annotations

import numpy as np
import pytest
from soc_states import (
    ACTIVE,
    HOST,
    OVER,
    TRIAGE,
    assert_consistent,
    build,
    count,
    intruder,
    read,
)

from soc_env.soc.networks import Network

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


SMALL = {"num_zones": 2, "phase_zones": (-1, 0, 1), "phase_values": (1.0, 2.0, 3.0)}


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
