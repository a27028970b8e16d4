"""The text and the picture of soc-v1 show what the simulator holds: what is known beside what is true."""

import subprocess
import sys
import time

import numpy as np
import pytest
from soc_states import snapshot

import soc_env
from policies.scripted import SCRIPTED
from soc_env.engine.tables import AGENTS, COORDINATOR, HUNTER, ORCHESTRATOR, TRIAGE
from soc_env.soc.text import SHOWN_CASES, WIDTH, SOCFrame, as_text


def played(policy_name="rule-soar", minutes=0, seed=1, scenario="soc-v1", **options):
    """A simulator of one env after some minutes of a scripted policy."""
    sim = soc_env.Simulator(scenario, seed=seed, autoreset=False, **options)
    sim.reset()
    policy = SCRIPTED["soc"][policy_name](sim.action_spaces, seed)
    for _ in range(minutes):
        actions = policy(dict(sim.observations), sim.decides)
        for agent in AGENTS:
            sim.actions[agent][...] = actions[agent]
        sim.step()
    return sim


@pytest.fixture(scope="module")
def attacked():
    """An hour with several intruders in, hosts isolated and offline, findings and a backlog of cases."""
    return played("escalate-all", 45, campaigns_per_hour=30.0, first_campaign=2)


# ---------------------------------------------------------------------- frame and text
def test_frame_terms_add_up_to_the_reward():
    for reward in ("dense", "sparse"):
        sim = played("random", 0, max_steps=30, reward=reward)
        for _ in range(30):
            sim.step()
            frame = SOCFrame.read(sim)
            assert sum(frame.terms.values()) == pytest.approx(frame.reward)
            assert frame.minute == sim.running_metrics()["length"][0]
        assert frame.is_over
        assert "OVER" in as_text(sim)


def test_text_counts_what_the_simulator_holds(attacked):
    text, hosts = as_text(attacked), attacked.hosts()
    net = attacked.network_of()
    for z, name in enumerate(net.zone_names):
        row = next(line for line in text.splitlines() if line.startswith(name)).split()
        own = hosts[hosts["zone"] == z]
        is_cut = (own["is_isolated"] | own["is_offline"]) != 0
        owned = own["level"] > 0
        known = [
            (own["risk"] > 0.5).sum(), (own["finding"] >= 0.5).sum(), (own["verdict"] >= 0.5).sum(),
            ((own["is_isolated"] != 0) & (own["is_offline"] == 0)).sum(), (own["is_offline"] != 0).sum(),
        ]  # fmt: skip
        true = [
            (owned & (own["level"] == 1) & ~is_cut).sum(), (owned & (own["level"] == 2) & ~is_cut).sum(),
            (owned & is_cut).sum(), (~owned & (own["campaign"] >= 0)).sum(), (own["is_encrypted"] != 0).sum(),
        ]  # fmt: skip
        assert int(row[2]) == len(own)
        assert [int(word) for word in row[5:10]] == known
        assert [int(word) for word in row[-5:]] == true
    assert (hosts["level"] > 0).any()
    assert (hosts["is_isolated"] != 0).any()
    cases = attacked.cases()
    assert f"cases {len(cases)}/24" in text
    assert text.count("ATTACK") == int(cases["is_true"][:SHOWN_CASES].sum())
    assert [int(line.split()[1]) for line in text.splitlines() if line[-6:] in ("ATTACK", "benign")] == (
        cases["id"][:SHOWN_CASES].tolist()
    )
    figures = attacked.running_metrics()[0]
    assert f"loss {figures['loss']:.1f}, score {figures['score']:+.1f}" in text
    for name in ("damage", "disruption", "effort"):
        assert f"{name} {figures[name]:.1f}" in text
    for chain in attacked.campaigns():
        assert f"{chain['family'][:18]:<18} {chain['num_live']:>3} of {chain['num_owned']:>3} hosts" in text


def test_text_of_the_last_minutes_tools():
    env = soc_env.parallel_env("soc-v1", render_mode="ansi", approval_rate=1.0)
    env.reset(seed=0)
    assert "tools in the last minute\n  none" in env.render()
    soc = env.console
    soc.edr.hunt("dmz", 0.4), soc.edr.hunt("cloud", 0.4), soc.soar.isolate(12), soc.soar.block_perimeter()
    assert "refused" not in env.render()  # queued is not played
    soc.directive({"cloud": 0.5}, hunt_posture=-1.0)
    soc.advance()
    text = env.render()
    assert "EDR   hunt dmz, cloud at 40% -> done" in text
    assert "SOAR  isolate host 12 -> started" in text
    assert "SOAR  block_perimeter -> started" in text
    assert "perimeter block awaited" in text
    assert "isolate 12, " in text
    assert "directive: hunt -1.0" in text
    assert "priority: cloud +0.5" in text
    for zone in range(5):
        soc.edr.deep_scan(zone, 1.0)
    soc.soar.reset_credentials()
    soc.advance(4)
    assert "credential reset" in env.render()
    assert "perimeter blocked" in env.render()


def test_calls_that_wait_are_not_shown():
    sim = played("null", 30)
    sim.set_calls([("isolate", 3, 0.0, 0.0)])
    assert SOCFrame.read(sim).calls == []
    sim.step()
    assert SOCFrame.read(sim).calls == [("isolate host 3", "started", "SOAR")]


def test_suspects_have_a_risk_above_one_half():
    sim = played("null", 30)
    records, tracked = sim.records(0).hosts, int(sim.records(0).env["num_tracked"])
    records["risk"][:tracked] = 0.0
    for risk, count in ((0.5, 0), (0.51, 1)):
        records["risk"][0] = risk
        assert SOCFrame.read(sim).zone_counts(int(records["zone"][0]))["suspects"] == count


def test_mission_phases_are_shown():
    sim = played("null", 400, scenario="soc-cage4-v0")
    assert "phase 3/3" in as_text(sim)
    factors = [zone["factor"] for zone in SOCFrame.read(sim).status["zones"]]
    stressed = sim.scenario.phase_zones[2]
    assert factors == [10.0 if z == stressed else 1.0 for z in range(8)]
    first = SOCFrame.read(played("null", 0, scenario="soc-cage4-v0"))
    assert {zone["factor"] for zone in first.status["zones"]} == {1.0}


@pytest.mark.parametrize(
    ("scenario", "options"),
    [
        ("soc-v1", {"num_hosts": 20, "num_zones": 1}),
        ("soc-v1", {"num_hosts": 400, "num_zones": 16}),
        ("soc-v1", {"num_hosts": 20_000}),
        ("soc-cage4-v0", {}),
    ],
)
def test_text_fits_at_any_size(scenario, options):
    sim = played("escalate-all", 0, scenario=scenario, campaigns_per_hour=20.0, **options)
    for minutes in (0, 60):
        text = as_text(played("random", minutes, scenario=scenario, campaigns_per_hour=20.0, **options))
        assert max(map(len, text.splitlines())) <= WIDTH == 110
        assert not text.endswith("\n")
    assert all(name[:13] in text for name in sim.network_of().zone_names)


def test_human_mode_prints(capsys):
    env = soc_env.parallel_env("soc-v1", render_mode="human")
    env.reset(seed=0)
    env.step({})
    assert capsys.readouterr().out.count("SOC soc-v1") == 2


# ---------------------------------------------------------------------- picture
@pytest.fixture
def picture():
    pytest.importorskip("matplotlib")
    from soc_env.soc import picture

    return picture


def canvas(sim, index=0):
    from soc_env import family_of

    return family_of(sim).canvas(sim, index)


def grids(picture, image, sim, z):
    """The parts of a picture with the squares of zone z: as known, and in truth."""
    height = (picture.BOTTOM - picture.TOP) // sim.scenario.num_zones
    top = picture.TOP + z * height + 1
    lefts = (picture.KNOWN_X, picture.TRUTH_X)
    return [image[top : top + height - 8, left : left + picture.GRID] for left in lefts]


def test_every_host_has_its_square_twice(picture, attacked):
    image, hosts = canvas(attacked).draw(), attacked.hosts()
    height = (picture.BOTTOM - picture.TOP) // 5 - 8
    seen_known, seen_true = set(), set()
    for z in range(5):
        own = hosts[hosts["zone"] == z]
        cell, columns = picture.cell_size(len(own), height)
        known, true = grids(picture, image, attacked, z)
        for k, host in enumerate(own):
            top, left = k // columns * cell, k % columns * cell
            center = (top + cell // 2, left + cell // 2)
            risk = sum(host["risk"] >= step for step in (0.05, 0.3, 0.5, 0.75))
            color = picture.OFFLINE if host["is_offline"] else picture.RISKS[risk]
            assert tuple(known[center]) == color, (z, k)
            is_marked = host["finding"] >= 0.5 or host["verdict"] >= 0.5
            edge = picture.ISOLATED if host["is_isolated"] else picture.MARKED if is_marked else color
            assert tuple(known[top, left]) == edge
            owner = host["level"] + 1 if host["level"] else int(host["campaign"] >= 0)
            truth = 4 if host["is_encrypted"] else owner
            assert tuple(true[center]) == picture.TRUTHS[truth]
            is_cut = (host["is_isolated"] or host["is_offline"]) and truth
            assert tuple(true[top, left]) == (picture.ISOLATED if is_cut else picture.TRUTHS[truth])
            seen_known.add((color, edge))
            seen_true.add(truth)
    assert len(seen_known) >= 5
    assert len(seen_true) >= 2


def test_known_side_shows_no_truth(picture):
    """With other truth behind the same knowledge only the right half of the grids changes."""
    sim = played("null", 60)
    before = canvas(sim).draw()
    records = sim.records(0).hosts
    records["level"], records["is_encrypted"] = 2 - records["level"], 1
    after = canvas(sim).draw()
    for z in range(5):
        known, true = zip(grids(picture, before, sim, z), grids(picture, after, sim, z), strict=True)
        assert np.array_equal(known[0], known[1]) is True
        changed = not np.array_equal(true[0], true[1])
        assert changed == bool((sim.hosts()["zone"][sim.hosts()["is_encrypted"] != 0] == z).any())


@pytest.mark.parametrize(
    ("num_hosts", "num_zones"), [(20, 1), (20, 5), (40, 16), (1000, 5), (30_000, 3), (100_000, 16)]
)
def test_picture_of_any_size(picture, num_hosts, num_zones):
    sim = played("random", 40, num_hosts=num_hosts, num_zones=num_zones, campaigns_per_hour=20.0)
    image = canvas(sim).draw()
    assert (image.shape, image.dtype) == ((800, 1280, 3), np.uint8)
    hosts = sim.hosts()
    for z in range(num_zones):
        own = hosts[hosts["zone"] == z]
        for part, colors in zip(grids(picture, image, sim, z), (picture.RISKS, picture.TRUTHS), strict=True):
            assert any((part == np.array(color, np.uint8)).all(-1).any() for color in colors)
        _, true = grids(picture, image, sim, z)
        for level in (1, 2):
            is_there = (own["level"] == level).any() and not own["is_encrypted"].any()
            if is_there and level == own["level"].max():
                assert (true == np.array(picture.TRUTHS[level + 1], np.uint8)).all(-1).any()


@pytest.mark.parametrize("height", [24, 58, 100, 532])
def test_all_squares_fit(picture, height):
    for count in [*range(1, 900), 3000, 50_000]:
        shown = min(count, picture._room_for(height))
        values = picture._worst(np.arange(count), shown)
        cell, columns = picture.cell_size(len(values), height)
        assert columns * cell <= picture.GRID
        assert -(-len(values) // columns) * cell <= height
        assert values[-1] == count - 1  # the worst of the last group


def test_worst_host_of_a_group_is_shown(picture):
    ranks = np.zeros(1000, int)
    ranks[[501, 502, 998]] = 2, 4, 3
    assert picture._worst(ranks, 100).tolist() == [4 if k == 50 else 3 if k == 99 else 0 for k in range(100)]


def test_picture_follows_the_episode(picture):
    env = soc_env.parallel_env("soc-v1", render_mode="rgb_array")
    env.reset(seed=3)
    first = env.render()
    kept = first.copy()
    for _ in range(40):
        env.step({HUNTER: np.ones(16), ORCHESTRATOR: np.ones(12), COORDINATOR: np.ones(8), TRIAGE: 0})
    assert not np.array_equal(env.render(), first)
    assert np.array_equal(first, kept)  # earlier pictures are not overwritten
    env.reset(seed=3)
    assert np.array_equal(env.render(), first)  # nothing is left of what was drawn before
    env.reset()  # another network
    env.render()
    twin = soc_env.parallel_env("soc-v1", render_mode="rgb_array")
    twin.reset(seed=3)
    assert np.array_equal(twin.render(), first)
    twin.reset()
    assert np.array_equal(twin.render(), env.render())
    env.close()
    assert np.array_equal(twin.render(), env.render())


def test_any_env_of_a_batch_can_be_drawn(picture):
    batch = soc_env.Simulator("soc-v1", num_envs=3, seed=[7, 8, 9], autoreset=False)
    single = soc_env.Simulator("soc-v1", seed=[8], autoreset=False)
    drawing = canvas(batch, 1)
    for sim in (batch, single):
        sim.reset()
        for agent in AGENTS:
            sim.actions[agent][...] = 0 if agent == TRIAGE else 0.6
        for _ in range(30):
            sim.step()
    assert np.array_equal(drawing.draw(), canvas(single).draw())
    assert as_text(batch, 1) == as_text(single)
    assert as_text(batch, 0) != as_text(batch, 1)


def test_rendering_changes_nothing(picture):
    sim, twin = played("rule-soar", 50), played("rule-soar", 50)
    before = snapshot(sim)
    drawing = canvas(sim)
    drawing.draw(), as_text(sim)
    assert all(np.array_equal(a, b) for a, b in zip(before, snapshot(sim), strict=True))
    for _ in range(5):
        drawing.draw(), as_text(sim)
        sim.step(), twin.step()
        assert sim.rewards[0] == twin.rewards[0]
        assert all(sim.observations[agent].tobytes() == twin.observations[agent].tobytes() for agent in AGENTS)


def test_pictures_come_fast_enough_to_watch(picture):
    for options, limit in (({}, 0.2), ({"num_hosts": 100_000}, 0.4)):
        sim = played("random", 30, **options)
        drawing = canvas(sim)
        drawing.draw()
        start = time.process_time()
        for _ in range(4):
            sim.step()
            drawing.draw()
        assert (time.process_time() - start) / 4 < limit


def test_text_needs_no_matplotlib():
    code = (
        "import sys, soc_env; env = soc_env.parallel_env('soc-v1', render_mode='ansi'); env.reset(); env.render(); "
        "print('matplotlib' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
