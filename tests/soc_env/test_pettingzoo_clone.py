"""A clone of an environment goes on exactly as the original would, and neither knows of the other."""

import copy
import pickle

import numpy as np
import pytest
from gymnasium.spaces import Discrete

import soc_env
from soc_env import parallel_env
from soc_env.wrappers import CentralGym, Discretize, Homogenize, SOCVectorEnv

OPTIONS = [
    {"scenario": "paper-v0", "max_steps": 20},
    {"scenario": "paper-v0", "max_steps": 20, "actions": "discrete", "masks": "obs", "homogenize": True},
    {"scenario": "soc-v1", "max_steps": 20, "coordinator": "absent"},
    {"scenario": "soc-v1", "max_steps": 20, "actions": "discrete", "masks": "info", "render_mode": "ansi"},
    {"scenario": "soc-v1", "max_steps": 20, "actions": "continuous"},
]


def drawn(space, rng):
    if isinstance(space, Discrete):
        return int(rng.integers(space.n))
    return rng.uniform(-1, 1, space.shape).astype(np.float32)


def play(env, seed, steps):
    """All that random steps return and show, as text; episodes that end start again."""
    rng, shown = np.random.default_rng(seed), []
    for _ in range(steps):
        if not env.agents:
            shown.append(env.reset())
        actions = {agent: drawn(env.action_space(agent), rng) for agent in env.agents if rng.random() < 0.8}
        shown += [env.step(actions), env.state().tobytes(), env.metrics(), list(env.agents)]
        if env.render_mode:
            shown.append(env.render())
    return pickle.dumps(shown)


def under_way(options, steps=9):
    env = parallel_env(**options)
    env.reset(seed=3)
    play(env, 0, steps)
    return env


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("steps", [0, 9, 20])
def test_a_clone_goes_on_as_the_original_would(options, steps):
    env, alone = under_way(options, steps), under_way(options, steps)
    twin = env.clone()
    assert twin.agents == env.agents
    shown = play(twin, 1, 50)
    assert play(env, 1, 50) == shown == play(alone, 1, 50)
    assert play(twin, 2, 3) != shown


def test_before_the_first_reset_a_clone_plays_the_same_stream():
    env = parallel_env("paper-v0")
    assert repr(env.clone().reset()) == repr(env.reset())


def test_the_clone_of_a_trace_has_the_minutes_before():
    env = under_way(OPTIONS[3])
    env.console.edr.hunt(1)
    env.console.advance(2)
    twin = env.clone()
    play(env, 1, 5), play(twin, 1, 5)
    assert twin.trace().minutes == env.trace().minutes
    assert len(env.trace().minutes) == 16


@pytest.mark.parametrize("is_submitted", [False, True])
def test_what_is_queued_at_the_console_is_queued_at_the_clones_too(is_submitted):
    env = under_way({"scenario": "soc-v1", "max_steps": 20})
    call = env.console.edr.hunt(1)
    env.console.directive(hunt_posture=0.5)
    if is_submitted:
        env.console.submit()
    twin = env.clone()
    queued = [*twin.console.queued]
    for _ in range(2):
        played = [one.step({}) if is_submitted else one.console.advance() for one in (twin, env)]
        assert repr(played[0]) == repr(played[1])
    assert twin.audit() == env.audit() != []
    assert call.outcome == "done"
    if not is_submitted:
        assert queued[0] is not call
        assert queued[0].outcome == "done"


def test_spaces_of_a_clone_draw_what_the_originals_would_and_are_its_own():
    env = under_way(OPTIONS[2])
    for agent in env.possible_agents:
        env.action_space(agent).seed(4)
    twin = env.clone()
    for agent in env.possible_agents:
        theirs = [twin.action_space(agent).sample() for _ in range(3)]
        assert repr(theirs) == repr([env.action_space(agent).sample() for _ in range(3)])


def test_a_changed_horizon_counts_in_the_clone_too():
    env = under_way(OPTIONS[0])
    env.max_cycles = 7
    twin = env.clone()
    shown = [play(one, 1, 40) for one in (env, twin)]
    assert shown[0] == shown[1]
    assert twin.scenario.max_steps == 7


def test_deep_copies_of_wrapped_environments_go_on_alike():
    discrete = Homogenize(Discretize(parallel_env("paper-v0", max_steps=20)))
    discrete.reset(seed=1)
    for twin in (discrete.clone(), copy.deepcopy(discrete)):
        assert isinstance(twin, Homogenize)
        assert play_wrapped(twin) == play_wrapped(copy.deepcopy(discrete))
    outer = Discretize(parallel_env("paper-v0", max_steps=20))
    outer.reset(seed=1)
    assert play_wrapped(outer.clone()) == play_wrapped(outer)


def play_wrapped(env):
    rng, shown = np.random.default_rng(0), []
    while env.agents:
        shown.append(env.step({agent: drawn(env.action_space(agent), rng) for agent in env.agents}))
    return repr(shown)


def test_a_deep_copy_of_the_aec_form_goes_on_alike():
    env = soc_env.env("soc-v1", max_steps=10)
    env.reset(seed=1)
    env.step(0)
    shown = []
    for one in (copy.deepcopy(env), env):
        rng, seen = np.random.default_rng(0), []
        for agent in one.agent_iter():
            *last, is_truncated, _ = one.last()
            seen.append(last)
            one.step(None if is_truncated else drawn(one.action_space(agent), rng))
        shown.append(repr(seen))
    assert shown[0] == shown[1]


def test_a_deep_copy_of_the_central_form_goes_on_alike():
    env = CentralGym(parallel_env("soc-v1", max_steps=10))
    env.reset(seed=1)
    twin = copy.deepcopy(env)
    env.action_space.seed(0), twin.action_space.seed(0)
    for _ in range(10):
        assert repr(twin.step(twin.action_space.sample())) == repr(env.step(env.action_space.sample()))


@pytest.mark.parametrize("actions", ["continuous", "discrete"])
def test_a_clone_of_the_vector_form_goes_on_alike(actions):
    env = SOCVectorEnv("paper-v0", 3, actions=actions, seed=0, max_steps=10)
    env.reset()
    env.action_space.seed(0)
    for _ in range(4):
        env.step(env.action_space.sample())
    twin = env.clone()
    assert twin.simulator is not env.simulator
    for _ in range(20):
        assert repr(twin.step(twin.action_space.sample())) == repr(env.step(env.action_space.sample()))
