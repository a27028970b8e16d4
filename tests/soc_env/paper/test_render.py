"""The text and the picture show what the simulator holds."""

import subprocess
import sys

import numpy as np
import pytest

import soc_env
from soc_env import AGENTS
from soc_env.engine.pen import Canvas
from soc_env.paper.text import CONTAINED, EXFILTRATED, RUNNING, TIME_OUT, PaperFrame, as_text

TRIAGE, HUNTER, ORCHESTRATOR, COORDINATOR = AGENTS
OFF = {TRIAGE: 3, **{agent: -np.ones(size) for agent, size in ((HUNTER, 16), (ORCHESTRATOR, 12), (COORDINATOR, 8))}}


def played(steps, actions=None, seed=3, **options):
    """An environment after some steps, all-zeros actions by default."""
    env = soc_env.parallel_env("paper-v0", **options)
    env.reset(seed=seed)
    for _ in range(steps):
        if env.agents:
            env.step(actions or {TRIAGE: 3})
    return env


def ended(outcome, actions):
    """An environment whose episode ended so."""
    for seed in range(200):
        env = played(200, actions, seed, render_mode="rgb_array")
        if PaperFrame.read(env.simulator).outcome == outcome:
            return env
    raise AssertionError(f"no episode ended {outcome}")


# ---------------------------------------------------------------------- frame and text
def test_frame_before_the_first_step():
    frame = PaperFrame.read(played(0).simulator)
    assert (frame.step, frame.outcome, frame.triage, frame.reward) == (0, RUNNING, None, 0.0)
    assert not frame.levels.any()
    assert not frame.boosts.any()
    assert frame.next_decision == "decides in the next step"


def test_frame_shows_the_last_actions_as_levels():
    hunt, respond = np.linspace(-1, 1, 16), np.linspace(1, -1, 12)
    env = played(3, {TRIAGE: 2, HUNTER: hunt, ORCHESTRATOR: respond * 2, COORDINATOR: [1, -1, 0, 0, 0, 0, 0, 0]})
    frame = PaperFrame.read(env.simulator)
    assert frame.triage == "correlate"
    np.testing.assert_allclose(frame.levels[:, 0], (hunt[:5] + 1) / 2, atol=1e-6)
    np.testing.assert_allclose(frame.levels[:, 1], (hunt[5:10] + 1) / 2, atol=1e-6)
    np.testing.assert_allclose(frame.levels[:, 2], (np.clip(2 * respond[:5], -1, 1) + 1) / 2, atol=1e-6)
    np.testing.assert_allclose(frame.levels[:, 3], (np.clip(2 * respond[5:10], -1, 1) + 1) / 2, atol=1e-6)
    np.testing.assert_allclose(frame.boosts, [0.3, 0.0, 0.1, 0.0])
    assert frame.steps_to_decision == 2
    assert frame.next_decision == "held, next decision in 3 steps"


def test_frame_terms_add_up_to_the_reward():
    env = soc_env.parallel_env("paper-v0")
    env.reset(seed=1)
    while env.agents:
        env.step({TRIAGE: 1, HUNTER: np.ones(16), ORCHESTRATOR: np.ones(12)})
        frame = PaperFrame.read(env.simulator)
        assert sum(frame.terms.values()) == pytest.approx(frame.reward)
        assert frame.metrics == pytest.approx(env.metrics())


@pytest.mark.parametrize(
    ("outcome", "actions", "word"), [(CONTAINED, {TRIAGE: 3}, "CONTAINED"), (EXFILTRATED, OFF, "EXFILTRATED")]
)
def test_outcomes(outcome, actions, word):
    env = ended(outcome, actions)
    text = as_text(env.simulator)
    assert word in text
    assert "the episode is over" in text
    frame = PaperFrame.read(env.simulator)
    assert frame.campaign["is_contained" if outcome == CONTAINED else "is_exfiltrated"]
    late = played(9, OFF, max_steps=9)
    assert PaperFrame.read(late.simulator).outcome == TIME_OUT
    assert "TIME OUT" in as_text(late.simulator)


def test_text_has_the_figures():
    env = played(15, render_mode="ansi")
    text, figures = env.render(), env.metrics()
    assert isinstance(text, str)
    lines = text.splitlines()
    assert lines[0] == (
        f"SOC paper-v0 | step 15/200 | RUNNING | reward {PaperFrame.read(env.simulator).reward:+.2f}, "
        f"episode {figures['reward']:+.2f}"
    )
    hosts = env.simulator.hosts()
    for s, segment in enumerate(env.scenario.segments):
        own = hosts[hosts["segment"] == s]
        row = next(line for line in lines if line.startswith(segment.name)).split()
        counts = [len(own), *(int(own[name].sum()) for name in ("is_compromised", "is_detected", "is_isolated"))]
        by_stage = [int((own["is_compromised"] & (own["stage"] == stage)).sum()) for stage in range(1, 5)]
        assert [int(word) for word in row[1:9]] == counts + by_stage
    assert hosts["is_compromised"].any()
    alerts = env.simulator.alerts()
    assert f"alerts {len(alerts)}/50, triage: enrich" in text
    assert text.count("ATTACK") == int(alerts["is_true"][:10].sum())
    assert f"scans {figures['total_scans']}" in text
    assert max(map(len, lines)) <= 100


def test_text_of_the_smallest_and_a_large_network():
    for num_hosts in (1, 5000):
        lines = as_text(played(12, num_hosts=num_hosts).simulator).splitlines()
        assert max(map(len, lines)) <= 100
        rows = [next(line for line in lines if line.startswith(name)).split() for name in ("DMZ", "Cloud")]
        assert int(rows[0][1]) + 4 * int(rows[1][1]) in (1, num_hosts)


def test_human_mode_prints_every_frame(capsys):
    env = soc_env.parallel_env("paper-v0", render_mode="human")
    env.reset(seed=0)
    env.step({})
    env.step({})
    assert env.render() is None
    printed = capsys.readouterr().out
    assert [f"step {step}/200" in printed for step in range(4)] == [True, True, True, False]
    assert printed.count("SOC paper-v0") == 4


def test_render_tolerates_an_argument_and_needs_a_mode():
    assert played(1, render_mode="ansi").render("human").startswith("SOC")
    with pytest.warns(UserWarning, match="render_mode"):
        assert played(1).render() is None


def test_rendering_changes_nothing():
    pytest.importorskip("matplotlib")
    env, twin = soc_env.parallel_env("paper-v0", render_mode="rgb_array"), soc_env.parallel_env("paper-v0")
    env.reset(seed=2)
    twin.reset(seed=2)
    for _ in range(12):
        env.render()
        frame, other = env.step({}), twin.step({})
        assert frame[1] == other[1]
        if not env.agents:
            break
        assert all(np.array_equal(frame[0][agent], other[0][agent]) for agent in AGENTS)


# ---------------------------------------------------------------------- picture
@pytest.fixture
def picture():
    pytest.importorskip("matplotlib")
    from soc_env.paper import picture

    return picture


def zone_pixels(picture, image, s):
    """The part of a picture in which the hosts of zone s stand."""
    x, y = picture.ZONE_PLACES[s]
    top = y + picture.GRID_TOP
    return image[top : top + picture.GRID_HEIGHT, x + 8 : x + 8 + picture.GRID_WIDTH]


def count_color(image, color):
    return int((image == np.array(color, np.uint8)).all(axis=-1).sum())


@pytest.mark.parametrize("num_hosts", [1, 7, 200, 5000, 60_000])
def test_picture_of_any_size(picture, num_hosts):
    env = played(20, num_hosts=num_hosts, render_mode="rgb_array")
    image = env.render()
    assert image.shape == (*Canvas.size, 3)
    assert image.dtype == np.uint8
    sizes = np.bincount(env.simulator.hosts()["segment"], minlength=5)
    for s in range(5):
        shown = sum(count_color(zone_pixels(picture, image, s), color) for color in picture.STAGES)
        assert (shown > 0) == (sizes[s] > 0)


def test_every_host_has_its_square(picture):
    env = played(30, render_mode="rgb_array")
    image, hosts = env.render(), env.simulator.hosts()
    cell, columns = picture._cell_size(40)
    assert hosts["is_compromised"].any()
    seen = set()
    for s in range(5):
        pixels = zone_pixels(picture, image, s)
        for k, host in enumerate(hosts[hosts["segment"] == s]):
            top, left = k // columns * cell, k % columns * cell
            inside = pixels[top + cell // 2, left + cell // 2].tolist()
            edge = pixels[top, left].tolist()
            stage = max(1, host["stage"]) if host["is_compromised"] else 0
            fill = list(picture.STAGES[stage])
            frame = list(picture.ISOLATED if host["is_isolated"] else picture.DETECTED if host["is_detected"] else fill)
            assert (inside, edge) == (fill, frame), (s, k)
            seen.add((stage > 0, tuple(frame)))
    assert len(seen) >= 2


def test_worst_host_of_a_group_is_shown(picture):
    hosts = np.zeros(picture.MAX_CELLS * 3 - 1, soc_env.Simulator("paper-v0", seed=0).hosts().dtype)
    hosts["is_compromised"][[4, 5, 9000 % len(hosts)]] = True
    hosts["stage"][[4, 5]] = 2, 4
    hosts["is_isolated"][7] = True
    stage, frame = picture._cells(hosts)
    assert len(stage) == picture.MAX_CELLS
    assert stage[1] == 4  # hosts 3, 4, 5
    assert frame[2] == 2  # hosts 6, 7, 8
    assert stage[9000 % len(hosts) // 3] == 1  # compromised at stage 0 counts as 1
    assert np.count_nonzero(stage) == 2
    assert np.count_nonzero(frame) == 1


@pytest.mark.parametrize("count", [1, 40, 41, 200, 1000, 2400])
def test_all_squares_fit(picture, count):
    cell, columns = picture._cell_size(count)
    assert columns * cell <= picture.GRID_WIDTH
    assert -(-count // columns) * cell <= picture.GRID_HEIGHT
    assert cell >= picture.SMALLEST_CELL


def test_picture_follows_the_episode(picture):
    env = soc_env.parallel_env("paper-v0", render_mode="rgb_array")
    env.reset(seed=3)
    first = env.render()
    kept = first.copy()
    env.step({HUNTER: np.ones(16), ORCHESTRATOR: np.ones(12), COORDINATOR: np.ones(8), TRIAGE: 0})
    second = env.render()
    assert not np.array_equal(first, second)
    assert np.array_equal(first, kept)  # earlier pictures are not overwritten
    actions = (slice(picture.ACTIONS_TOP, picture.BOTTOM), slice(picture.SIDE, None))
    assert count_color(first[actions], picture.ASKED) == 0
    assert count_color(second[actions], picture.ASKED) > 1000
    env.reset(seed=3)
    assert np.array_equal(env.render(), first)
    twin = soc_env.parallel_env("paper-v0", render_mode="rgb_array")
    twin.reset(seed=3)
    assert np.array_equal(twin.render(), first)


def test_outcome_has_its_color(picture):
    for outcome, actions in ((CONTAINED, {TRIAGE: 3}), (EXFILTRATED, OFF)):
        badge = ended(outcome, actions).render()[14:20, -170:-30]
        assert count_color(badge, picture.OUTCOME_COLORS[outcome]) == badge.shape[0] * badge.shape[1]


def test_any_env_of_a_batch_can_be_drawn(picture):
    sim = soc_env.Simulator("paper-v0", num_envs=3, seed=[7, 8, 9], autoreset=False)
    sim.reset()
    single = soc_env.parallel_env("paper-v0", render_mode="rgb_array")
    single.reset(seed=8)
    canvas = soc_env.family_of(sim).canvas(sim, index=1)
    for agent in AGENTS:
        sim.actions[agent][...] = 3 if agent == TRIAGE else 0.25
    for _ in range(12):
        sim.step()
        single.step(
            {TRIAGE: 3, HUNTER: np.full(16, 0.25), ORCHESTRATOR: np.full(12, 0.25), COORDINATOR: np.full(8, 0.25)}
        )
    assert np.array_equal(canvas.draw(), single.render())
    assert as_text(sim, 1) == as_text(single.simulator)
    assert as_text(sim, 0) != as_text(sim, 1)


def test_pictures_come_fast_enough_to_watch(picture):
    import time

    env = played(10, render_mode="rgb_array")
    env.render()
    start = time.process_time()
    for _ in range(10):
        env.step({}) if env.agents else env.reset(seed=4)
        env.render()
    assert (time.process_time() - start) / 10 < 1 / env.metadata["render_fps"]


def test_copies_and_close_work_after_drawing(picture):
    import copy

    env = played(3, render_mode="rgb_array")
    image = env.render()
    assert np.array_equal(copy.deepcopy(env).render(), image)
    env.close()
    assert np.array_equal(env.render(), image)


def test_without_matplotlib_the_error_names_the_extra():
    code = """
import sys
sys.modules["matplotlib"] = None
import soc_env
env = soc_env.parallel_env("paper-v0", render_mode="rgb_array")
env.reset(seed=0)
try:
    env.render()
except ImportError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == 'render_mode="rgb_array" needs matplotlib: pip install "hmarl-soc[render]"'


def test_matplotlib_is_not_loaded_before_a_picture_is_asked_for():
    code = (
        "import sys, soc_env; env = soc_env.parallel_env('paper-v0', render_mode='ansi'); env.reset(); env.render(); "
    )
    code += "print('matplotlib' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
