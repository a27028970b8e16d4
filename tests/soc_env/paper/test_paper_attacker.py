"""The world and the attacker of `paper-v0` by hand-built states, against the published rules."""

from __future__ import annotations

import numpy as np
import pytest
from paper_states import CERTAIN, assert_counters_fit, assert_rate, build, hold_still, order

import soc_env

TRIAGE, HUNTER, ORCHESTRATOR, COORDINATOR = soc_env.AGENTS
ESCALATE, SUPPRESS, CORRELATE, ENRICH = range(4)
RECONNAISSANCE, ACCESS, EXECUTION, LATERAL, EXFILTRATION = range(5)
STARTS = (0, 40, 80, 120, 160, 200)
DMZ, CORPORATE, DEVELOPMENT, DATA_CENTER, CLOUD = STARTS[:5]  # first host of each segment


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
