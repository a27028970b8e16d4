"""Intruders by hand-built states: plans, techniques, damage, persistence, reactions, arrivals."""

from __future__ import annotations

import numpy as np
import pytest
from soc_states import (
    ACTIVE,
    HOST,
    MANY,
    NONE,
    ORCHESTRATOR,
    OVER,
    TRIAGE,
    assert_consistent,
    assert_rate,
    assets,
    build,
    count,
    idle,
    intruder,
    lost,
    place_campaign,
    read,
    record,
    set_plan,
)

from soc_env import Simulator

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
