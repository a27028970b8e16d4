"""The PettingZoo environment says its state, and another one goes on from it."""

import numpy as np
import pytest

import soc_env
from policies.state_files import load_tree, save_tree
from soc_env.errors import CheckpointError

OPTIONS = [
    {"scenario": "paper-v0", "max_steps": 20},
    {"scenario": "soc-v1", "max_steps": 20, "coordinator": "absent"},
    {"scenario": "soc-v1", "max_steps": 20, "actions": "discrete", "masks": "info"},
]


def play(env, rng, steps):
    """All that random steps return, as text; episodes that end start again."""
    shown = []
    for _ in range(steps):
        if not env.agents:
            shown.append(env.reset())
        actions = {}
        for agent in env.agents:
            space = env.action_space(agent)
            drawn = rng.random(space.shape or ())
            actions[agent] = int(drawn * space.n) if hasattr(space, "n") else (2 * drawn - 1).astype(np.float32)
        shown.append(env.step(actions))
    with np.printoptions(floatmode="unique", threshold=10**6):
        return repr(shown)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("steps", [0, 9, 20])
def test_another_environment_goes_on_as_the_first_would(options, steps, tmp_path):
    env, twin = (soc_env.parallel_env(**options) for _ in range(2))
    env.reset(seed=3)
    play(env, np.random.default_rng(0), steps)
    save_tree(tmp_path, "state", env.get_state())
    twin.set_state(load_tree(tmp_path, "state"))
    assert twin.agents == env.agents
    np.testing.assert_array_equal(twin.state(), env.state())
    assert play(twin, np.random.default_rng(1), 25) == play(env, np.random.default_rng(1), 25)


def test_the_trace_has_the_minutes_before_the_state_and_calls_of_the_console():
    env, twin = (soc_env.parallel_env("soc-v1", max_steps=40) for _ in range(2))
    env.reset(seed=3)
    play(env, np.random.default_rng(0), 6)
    env.console.edr.hunt(1)
    env.console.advance(2)
    twin.set_state(env.get_state())
    for one in (env, twin):
        play(one, np.random.default_rng(1), 5)
    assert twin.trace().minutes == env.trace().minutes
    assert len(env.trace().minutes) == 13


def test_a_state_before_the_first_reset():
    env, twin = (soc_env.parallel_env(seed=seed) for seed in (3, 4))
    twin.set_state(env.get_state())
    assert twin.agents == []
    assert repr(twin.reset()) == repr(env.reset())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"agents": ["nobody"]}, "agents is"),
        ({"agents": np.zeros(3)}, "agents is"),
        ({"owed": float("nan")}, "owed is nan"),
        ({"before": np.zeros((2, 3))}, "before is float64"),
        ({"before": None}, "before is None"),
        ({"called": {1: [("hunt", "x", 0, 0)]}}, "no call of a tool"),
        ({"called": 3}, "no call of a tool"),
        ({"options": {}}, "missing"),
        ({"simulator": {}}, "missing"),
        ({"else": 0}, "else is unknown"),
    ],
)
def test_a_damaged_state_is_refused_with_nothing_changed(change, message):
    env = soc_env.parallel_env()
    env.reset(seed=0)
    state, before = env.get_state(), repr(env.get_state())
    with pytest.raises(CheckpointError, match=message):
        env.set_state({**state, **change})
    assert repr(env.get_state()) == before


@pytest.mark.parametrize("options", [{"max_steps": 30}, {"coordinator": "absent"}, {"num_hosts": 50}])
def test_the_state_of_another_environment_is_refused_and_named(options):
    env, other = soc_env.parallel_env(), soc_env.parallel_env(**options)
    env.reset(seed=0)
    with pytest.raises(CheckpointError, match=next(iter(options))):
        other.set_state(env.get_state())
