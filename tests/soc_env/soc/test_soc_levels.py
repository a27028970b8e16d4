"""Privilege levels in `soc-v2`: what EDR says of them, whom response takes, what a kill ends, and what agents see."""

import numpy as np
import pytest
from soc_states import (
    COUNT,
    HUNTER,
    ORCHESTRATOR,
    TRIAGE,
    build,
    call,
    intruder,
    level,
    look,
    ordinary_host,
    play,
    read,
    record,
)

import soc_env
from policies.scripted import SCRIPTED
from soc_env import SCENARIOS, Simulator
from soc_env.engine.tables import AGENTS
from soc_env.soc import risk
from soc_env.soc.attack import CHANNELS, TECHNIQUES
from soc_env.soc.kernels.state import ADMIN, USER
from soc_env.soc.scenario import ADDED
from soc_env.soc.tables import LEVEL_FEATURES, TOOLS, TRIAGE_TOOLS, features, layout, layout_of, tools

ZONE = 1
PROCESS = CHANNELS.index("process")


def settled(scenario="soc-v2", **fields):
    """A simulator with hosts of a zone as given by name: `one={...}`, each with a number that it returns too."""
    probe = Simulator(scenario, num_envs=1, seed=0, num_networks=1, campaigns_per_hour=0.0, benign_alerts_per_hour=0.0)
    probe.reset()
    numbers = [ordinary_host(probe, ZONE, skip) for skip in range(len(fields))]
    rows = [{"host": number, **own} for number, own in zip(numbers, fields.values(), strict=True)]
    return build(hosts=rows, campaigns=[{}], scenario=scenario), *numbers


def finding(user=True):
    return {"finding": risk.USER_FINDING, "known_level": USER} if user else {
        "finding": risk.ADMIN_FINDING, "known_level": ADMIN}  # fmt: skip


def held(own=USER, **fields):
    """Fields of a host of the first campaign."""
    return {name: value for name, value in intruder(0, own, **fields).items() if name != "host"}


# ---------------------------------------------------------------------- findings
@pytest.mark.parametrize(("own", "known", "weight"), [(USER, 1, risk.USER_FINDING), (ADMIN, 2, risk.ADMIN_FINDING)])
def test_a_finding_says_the_intruders_level(own, known, weight):
    found = 0
    for seed in range(40):
        sim, host = settled(one=held(own, process=1.0))
        sim.records(0).env["seed_key"] += np.uint64(seed)
        sim.records().network["hunt_capacity"] = 1e9
        call(sim, ("deep_scan", ZONE, 1.0, 1.0))
        row = record(sim, host)
        if row["finding"] > 0.0:
            found += 1
            assert row["known_level"] == known
            assert row["finding"] == pytest.approx(weight * 0.5 ** (1 / 60))
            assert read(sim, TRIAGE, f"zone{ZONE}_admin_findings") == pytest.approx(0.2 * (own == ADMIN))
            assert read(sim, TRIAGE, f"zone{ZONE}_user_findings") == pytest.approx(0.2 * (own == USER))
            assert read(sim, TRIAGE, f"zone{ZONE}_top_level") == 0.5 * known
    assert 5 < found <= 40


def test_a_false_finding_looks_like_a_users():
    sim, host = settled(one={"process": 1.0})
    sim.records().world["false_finding"] = 1.0
    sim.records().network["hunt_capacity"] = 1e9
    call(sim, ("deep_scan", ZONE, 1.0, 1.0))
    assert record(sim, host)["known_level"] == USER
    assert record(sim, host)["finding"] == pytest.approx(risk.USER_FINDING * 0.5 ** (1 / 60))
    assert sim.records(0).env["counts"][COUNT["false_findings"]] >= 1  # and one on a host without a record


@pytest.mark.parametrize("user", [True, False])
def test_a_look_that_finds_nothing_takes_weight_from_a_user_finding_alone(user):
    sim, host = settled(one={"process": 1.0, "last_hunt": -1, **finding(user)})
    sim.records().world["false_finding"] = 0.0
    sim.records().network["hunt_capacity"] = 1e9
    call(sim, ("deep_scan", ZONE, 1.0, 1.0))
    kept = 0.4 if user else 1.0
    weight = (risk.USER_FINDING if user else risk.ADMIN_FINDING) * kept * 0.5 ** (1 / 60)
    assert record(sim, host)["finding"] == pytest.approx(weight)
    assert record(sim, host)["known_level"] == (USER if user else ADMIN)


def test_a_level_is_forgotten_with_its_finding():
    sim, host = settled(one={"process": 1.0, "finding": 0.5, "known_level": USER})
    sim.step()
    assert record(sim, host)["finding"] < 0.5
    assert record(sim, host)["known_level"] == 0


@pytest.mark.parametrize("is_first", [True, False])
def test_the_host_with_an_admin_finding_is_the_most_suspect(is_first):
    rows = [{"finding": 0.6, "known_level": ADMIN, "last_hunt": -1}, {"process": 9.0, "verdict": 4.0}]
    one, two = rows if is_first else rows[::-1]
    sim, *hosts = settled(one=one, two=two)
    root, user = hosts if is_first else hosts[::-1]
    sim.step()
    zone = f"zone{ZONE}"
    assert sim.records(0).env["top_host"][ZONE] == root
    assert read(sim, TRIAGE, f"{zone}_top_risk") == pytest.approx(record(sim, root)["risk"])
    assert read(sim, TRIAGE, f"{zone}_second_risk") == pytest.approx(record(sim, user)["risk"])
    assert read(sim, TRIAGE, f"{zone}_top_level") == 1.0
    assert read(sim, TRIAGE, f"{zone}_top_look") == 1.0
    sim.actions[ORCHESTRATOR][:, sim.scenario.num_zones + ZONE] = level(0.95)
    sim.decode()
    assert [(row["tool"], row["target"]) for row in sim.calls(0)] == [("reimage", root)]


# ---------------------------------------------------------------------- kill
def outcome_of_kill(**fields):
    sim, host = settled(one={"process": 1.0, **fields})
    return call(sim, ("kill_process", host))[0]


def test_a_kill_needs_a_process_and_no_admin_finding():
    assert outcome_of_kill(has_process=1) == "started"
    assert outcome_of_kill(has_process=0) == "refused"
    assert outcome_of_kill(has_process=1, **finding(user=True)) == "started"
    assert outcome_of_kill(has_process=1, **finding(user=False)) == "refused"
    sim, host = settled()[0], None
    host = ordinary_host(sim, ZONE)
    assert call(sim, ("kill_process", host)) == ["refused"]  # nothing is on record
    assert record(sim, host) is None


@pytest.mark.parametrize(
    ("own", "exposed", "left"), [(USER, 1, 0), (USER, 0, USER), (ADMIN, 1, ADMIN), (ADMIN, 0, ADMIN)]
)
def test_a_kill_ends_a_user_level_intruder_that_raised_an_alert(own, exposed, left):
    sim, host = settled(one=held(own, process=1.0, has_process=1, is_exposed=exposed, is_persistent=1) | finding())
    sim.set_calls([("kill_process", host, 0.0, 0.0)])
    for _ in range(1 + tools(sim.scenario)[TOOLS.index(next(t for t in TOOLS if t.name == "kill_process"))].minutes):
        sim.step()
    row = record(sim, host)
    assert row["level"] == left
    assert row["is_persistent"] == 1
    assert row["has_process"] == 0
    assert row["process"] < 0.3
    assert 0.5 < row["finding"] < 0.7  # a quarter of a user finding's weight
    assert row["known_level"] == USER
    assert sim.records(0).env["counts"][COUNT["disruption"]] == 0.0


def test_a_vain_kill_is_free_and_a_vain_rebuild_is_not():
    for tool, term in (("kill_process", 0.0), ("reimage", 0.25)):
        sim, host = settled(one={"process": 1.0, "has_process": 1})
        call(sim, (tool, host))
        assert sim.reward_terms[0, 3] == term
        assert sim.records(0).env["clean_actions"] == 1.0
        price = sim.calls(0)[0]["price"]
        assert (price == 0.0) == (tool == "kill_process")
    sim, host = settled("soc-v1", one={"process": 1.0})
    call(sim, ("kill_process", host))
    assert sim.reward_terms[0, 3] == 0.25
    value = sim.hosts(0)["value"][host]
    assert sim.calls(0)[0]["price"] == pytest.approx(0.2 * (0.5 + value))


def test_the_vector_kills_the_most_suspect_host_that_can_be():
    sim, _, killable, isolated = settled(
        one={"process": 9.0},
        two={"process": 1.0, "has_process": 1},
        three={"process": 2.0, "has_process": 1, "is_isolated": 1},
    )
    sim.step()
    zone = f"zone{ZONE}"
    assert read(sim, TRIAGE, f"{zone}_killable") == pytest.approx(0.4)
    assert read(sim, TRIAGE, f"{zone}_kill_risk") == pytest.approx(record(sim, isolated)["risk"])
    sim.actions[ORCHESTRATOR][:, sim.scenario.num_zones + ZONE] = level(0.65)
    for expected in (isolated, killable):
        sim.decode()
        assert [(row["tool"], row["target"]) for row in sim.calls(0)] == [("kill_process", expected)]
        record(sim, isolated)["has_process"] = 0
        sim.actions[ORCHESTRATOR][:, sim.scenario.num_zones + ZONE] = level(0.0)
        sim.step()
        sim.actions[ORCHESTRATOR][:, sim.scenario.num_zones + ZONE] = level(0.65)


def test_an_alert_about_a_process_exposes_its_intruder_and_no_other():
    rules = {channel: next(k for k, row in enumerate(TECHNIQUES) if row.channel == channel) for channel in CHANNELS}
    for channel, campaign, exposed in (("process", 0, 1), ("process", 1, 0), ("process", -1, 0), ("identity", 0, 0)):
        sim, host = settled(one=held())
        env = sim.records(0).env
        env["pending"][0] = (0, rules[channel], host, -1, 0.9, 0.9, campaign)
        env["num_pending"] = 1
        sim.step()
        row = record(sim, host)
        assert (row["has_process"], row["is_exposed"]) == (channel == "process", exposed), (channel, campaign)


def test_a_new_compromise_is_not_exposed_by_alerts_of_the_last():
    sim, host = settled(one=held(has_process=1, is_exposed=1, process=1.0))
    sim.set_calls([("kill_process", host, 0.0, 0.0)])
    for _ in range(5):
        sim.step()
    assert record(sim, host)["level"] == 0
    sim2, host2 = settled(one={"has_process": 1, "is_exposed": 1, "process": 1.0, "is_persistent": 1, "campaign": 0})
    campaign = sim2.records(0).env["campaigns"][0]
    campaign["plan"], campaign["timer"], campaign["num_latent"] = 1, 0, 1
    sim2.records().world["families"]["reentry"] = 1.0
    sim2.step()
    assert record(sim2, host2)["level"] == USER
    assert record(sim2, host2)["is_exposed"] == 0


# ---------------------------------------------------------------------- tables
def test_old_scenarios_are_what_they_were():
    for name in ("soc-v1", "soc-cage4-v0"):
        scenario = SCENARIOS[name]
        assert tools(scenario) == TOOLS
        assert {field: getattr(scenario, field) for field in ADDED} == ADDED
        assert layout(TRIAGE, scenario.num_zones).size == len(features(TRIAGE, scenario.num_zones))
        assert Simulator(name).feature_tables[HUNTER] == features(HUNTER, scenario.num_zones)
    new = tools(SCENARIOS["soc-v2"])
    changed = [tool.name for tool, old in zip(new, TOOLS, strict=True) if tool != old]
    assert changed == ["kill_process"]
    kill = new[[tool.name for tool in TOOLS].index("kill_process")]
    assert (kill.minutes, kill.disruption, kill.failure) == (3, 0.0, 0.0)
    assert kill.price(SCENARIOS["soc-v2"], 1.0) == 0.0
    assert Simulator("soc-v2").tool_table == new


def test_every_size_is_of_one_layout():
    for agent in AGENTS:
        for zones in range(1, 17):
            for has_levels in (False, True):
                shape = layout(agent, zones, has_levels)
                assert layout_of(agent, shape.size) == shape
        assert layout_of(agent, 7) is None


def test_numbers_of_the_kill_are_settings():
    sim = build(scenario="soc-v1", kill_minutes=5, kill_disruption=0.4, kill_failure=1.0)
    host = ordinary_host(sim, ZONE)
    call(sim, ("kill_process", host))
    value = sim.hosts(0)["value"][host]
    assert sim.calls(0)[0]["price"] == pytest.approx(0.4 * (0.5 + value))
    assert sim.records(0).env["job_end"][ZONE] == sim.records(0).env["step"] + 5
    assert not set(sim.features(TRIAGE)) & {f"zone0_{row.name}" for row in LEVEL_FEATURES}


def test_prices_are_the_effort_and_disruption_that_a_minute_adds():
    """The price of every call of an episode, summed, against the analysts' time that the simulator counts."""
    sim = Simulator("soc-v2", num_envs=2, seed=3, autoreset=False, max_steps=60)
    sim.reset()
    policy = SCRIPTED["soc"]["expert"](sim.action_spaces, 0)
    total = np.zeros(2)
    for _ in range(60):
        play(sim, policy, 1)
        for i in range(2):
            for row in sim.calls(i):
                tool = next(tool for tool in sim.tool_table if tool.name == row["tool"])
                is_host = tool.target == "host" and tool.platform == "SOAR"
                value = sim.hosts(i)["value"][row["target"]] if is_host else 0.0
                interrupted = tool.disruption * (0.5 + value) if is_host and row["price"] > 0.0 else 0.0
                total[i] += row["price"] - interrupted
    effort = sim.episode_metrics["effort"]
    assert (effort > 0.5).all()
    np.testing.assert_allclose(total, effort, rtol=1e-6)
    assert len(TRIAGE_TOOLS) == 4


def test_console_says_level_process_and_price():
    env = soc_env.parallel_env("soc-v2", seed=0, approval_rate=1.0)
    env.reset(seed=0)
    soc = env.console
    sim = env.simulator
    host = ordinary_host(sim, ZONE)
    env_row = sim.records(0).env
    env_row["pending"][0] = (0, next(k for k, row in enumerate(TECHNIQUES) if row.channel == "process"), host, -1,
                             0.9, 0.9, -1)  # fmt: skip
    env_row["num_pending"] = 1
    soc.advance()
    (row,) = [row for row in soc.siem.hosts() if row["host"] == host]
    assert (row["level"], row["has_process"]) == (None, True)
    kill, rebuild = soc.soar.kill_process(host), soc.soar.reimage(host)
    assert kill.price is None
    soc.advance()
    assert (kill.outcome, kill.price) == ("started", 0.0)
    assert (rebuild.outcome, rebuild.price) == ("busy", 0.0)
    old = soc_env.parallel_env("soc-v1", seed=0)
    old.reset(seed=0)
    old.console.advance(20)
    assert not {"level", "has_process"} & old.console.siem.hosts()[0].keys()


@pytest.mark.parametrize("name", ["soc-v2", "soc-cage4-v1"])
def test_features_of_levels_are_counts_of_the_records(name):
    sim = Simulator(name, num_envs=4, seed=2, autoreset=False, split="test")
    sim.reset()
    policy = SCRIPTED["soc"]["expert"](sim.action_spaces, 0)
    seen = np.zeros(6)
    for minutes in (30, 30, 30):
        play(sim, policy, minutes)
        look(sim)
        for i in range(4):
            hosts = sim.hosts(i)
            for z in range(sim.scenario.num_zones):
                own = hosts[hosts["zone"] == z]
                stands = own["finding"] >= 0.5
                admin = own["known_level"] == ADMIN
                assert not (admin & ~stands).any()
                can = (own["has_process"] != 0) & ~admin & (own["is_offline"] == 0) & (own["risk"] > 0)
                wanted = [admin.sum() / 5, (stands & ~admin).sum() / 5, None, None, can.sum() / 5,
                          own["risk"][can].max(initial=0.0)]  # fmt: skip
                for k, (row, value) in enumerate(zip(LEVEL_FEATURES, wanted, strict=True)):
                    found = read(sim, TRIAGE, f"zone{z}_{row.name}", i)
                    assert value is None or found == pytest.approx(min(1.0, value), abs=1e-6), row.name
                    seen[k] += found
    assert (seen > 0).all()
