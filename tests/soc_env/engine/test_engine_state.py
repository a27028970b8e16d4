"""A simulator says its state, and another one goes on from it to the byte; damaged states are refused."""

import copy
import functools
import pickle

import numpy as np
import pytest
from engine_cases import TRIAGE, both_families, randomise, started
from engine_trace import outputs
from hypothesis import given, settings
from hypothesis import strategies as st

import soc_env
from policies.state_files import load_tree, save_tree
from soc_env.errors import CheckpointError

SCENARIOS = (
    {"scenario": "paper-v0"},
    {"scenario": "paper-v0", "num_hosts": 1, "max_steps": 20},
    {"scenario": "paper-v0", "num_hosts": 7, "redraw_vulnerabilities": False, "max_steps": 40},
    {"scenario": "paper-v0", "num_hosts": 3000, "coordinator_period": 1},
    {"scenario": "soc-v1", "max_steps": 50},
    {"scenario": "soc-v1", "num_hosts": 30, "num_networks": 2, "max_steps": 10},
    {"scenario": "soc-v1", "num_hosts": 3000, "num_networks": 1, "order": "defenders_first", "log_capacity": 50},
    {"scenario": "soc-cage4-v0"},
)


def played(sim, rng, steps):
    """Everything that every env shows in some random steps."""
    shown = []
    for _ in range(steps):
        randomise(sim, rng)
        sim.step()
        shown += [outputs(sim, i) for i in range(sim.num_envs)]
    return shown


def all_bytes(sim):
    return {path: array.tobytes() for path, array in leaves(sim.get_state()["arrays"])}


def under_way(scenario, steps=37, **options):
    sim = started(num_envs=3, seed=2, scenario=scenario, **options)
    played(sim, np.random.default_rng(1), steps)
    return sim


@pytest.mark.parametrize("options", SCENARIOS, ids=lambda options: "-".join(str(value) for value in options.values()))
def test_another_simulator_goes_on_to_the_byte(options, tmp_path):
    @settings(max_examples=3, deadline=None)
    @given(
        seed=st.one_of(st.integers(0, 2**70), st.lists(st.integers(0, 2**70), min_size=3, max_size=3)),
        steps=st.integers(0, 70),
        autoreset=st.booleans(),
    )
    def check(seed, steps, autoreset):
        sim = started(num_envs=3, seed=seed, autoreset=autoreset, num_threads=2, **options)
        played(sim, np.random.default_rng(0), steps)
        save_tree(tmp_path, "state", sim.get_state())
        twin = started(num_envs=3, seed=99, autoreset=autoreset, **options)
        played(twin, np.random.default_rng(5), 11)
        twin.set_state(load_tree(tmp_path, "state"))
        assert all_bytes(twin) == all_bytes(sim)
        assert twin.seed == sim.seed
        assert played(twin, np.random.default_rng(3), 100) == played(sim, np.random.default_rng(3), 100)
        sim.reset(), twin.reset()
        assert played(twin, np.random.default_rng(4), 5) == played(sim, np.random.default_rng(4), 5)
        assert all_bytes(twin) == all_bytes(sim)
        assert twin.episodes.tolist() == sim.episodes.tolist()

    check()


@both_families
def test_a_simulator_that_was_never_reset_has_a_state_too(scenario):
    sim, twin = (soc_env.Simulator(scenario, num_envs=2, seed=seed) for seed in (4, 5))
    twin.set_state(sim.get_state())
    assert not twin.is_started
    sim.reset(), twin.reset()
    assert all_bytes(twin) == all_bytes(sim)


@both_families
def test_a_state_is_a_copy(scenario):
    sim = under_way(scenario)
    state = sim.get_state()
    before = pickle.dumps(state)
    played(sim, np.random.default_rng(0), 5)
    assert pickle.dumps(state) == before
    sim.set_state(state)
    played(sim, np.random.default_rng(0), 5)
    assert pickle.dumps(state) == before


@both_families
def test_rows_of_per_env_are_all_of_an_env(scenario):
    sim = under_way(scenario)
    for array in sim.per_env().values():
        array[2] = array[0]
    for step in range(60):
        randomise(sim, np.random.default_rng(step))
        for agent in sim.agents:
            sim.actions[agent][2] = sim.actions[agent][0]
        sim.step()
        assert outputs(sim, 2) == outputs(sim, 0) != outputs(sim, 1)


def test_calls_that_wait_for_the_next_step_are_part_of_it():
    sim = under_way("soc-v1")
    sim.set_calls([("hunt", 1, 1.0, 0.5), ("isolate", 7, 0.0, 0.0)], 1)
    twin = started(num_envs=3, scenario="soc-v1")
    twin.set_state(sim.get_state())
    assert played(twin, np.random.default_rng(3), 20) == played(sim, np.random.default_rng(3), 20)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"scenario": "paper-v0"}, "made for/"),
        ({"num_envs": 4}, "num_envs=3; this simulator has 4"),
        ({"autoreset": False}, "autoreset=True; this simulator has False"),
        ({"num_hosts": 100}, "num_hosts=200; this simulator has 100"),
        ({"network_seed": 12345}, "network"),
    ],
)
def test_the_state_of_something_else_is_refused(other, message):
    sim = under_way("soc-v1", max_steps=60)
    state = sim.get_state()
    base = {"scenario": "soc-v1", "num_envs": 3} | ({} if "scenario" in other else {"max_steps": 60})
    twin = started(**{**base, **other})
    before = all_bytes(twin)
    with pytest.raises(CheckpointError) as error:
        twin.set_state(state)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert all_bytes(twin) == before


def leaves(tree, path=()):
    """(path, value) of everything that is no dict."""
    for name, value in tree.items():
        yield from leaves(value, (*path, name)) if isinstance(value, dict) else [((*path, name), value)]


def changed(state, path, value):
    """The state with another value at a path; the rest is shared with it."""
    first, *rest = path
    return {**state, first: changed(state[first], rest, value) if rest else value}


@pytest.mark.parametrize("value", [None, -1, {}, np.zeros((1, 1)), np.array([object()])])
@both_families
def test_a_state_with_anything_else_in_place_of_a_part_is_refused(scenario, value):
    state, twin = under_way(scenario).get_state(), started(num_envs=3, scenario=scenario)
    for path, own in leaves({"root": state}):
        for depth in range(2, len(path) + 1) if value is None else [len(path)]:
            if repr(own) == repr(value):
                continue
            with pytest.raises(CheckpointError):
                twin.set_state(changed({"root": state}, path[:depth], value)["root"])
    for path, array in leaves(state["arrays"]):
        with pytest.raises(CheckpointError):
            twin.set_state({**state, "arrays": changed(state["arrays"], path, array[:2])})
    with pytest.raises(CheckpointError):
        twin.set_state(value)


@both_families
def test_numbers_that_are_none_are_refused(scenario):
    state, twin = under_way(scenario).get_state(), started(num_envs=3, scenario=scenario)
    for path, array in leaves(state["arrays"]):
        if array.dtype.kind == "f" and path[0].split("/")[0] != "actions" and array.size:
            for bad in (np.nan, np.inf):
                array = array.copy()
                array.flat[-1] = bad
                with pytest.raises(CheckpointError, match="not finite"):
                    twin.set_state({**state, "arrays": changed(state["arrays"], path, array)})


@functools.cache
def small(scenario):
    sim = under_way(scenario, num_hosts=40, **({"log_capacity": 30} if scenario == "soc-v1" else {}))
    return sim.get_state(), copy.deepcopy(sim)


@both_families
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_a_damaged_state_is_refused_or_played_and_never_crashes(scenario, data):
    state, twin = small(scenario)
    found = [(path, array) for path, array in leaves(state["arrays"]) if array.size]
    arrays = state["arrays"]
    for path, array in data.draw(st.lists(st.sampled_from(found), min_size=1, max_size=3)):
        array = array.copy()
        place = data.draw(st.integers(0, array.size - 1))
        bits = data.draw(st.integers(0, 2**64 - 1) | st.integers(0, 300) | st.sampled_from([2**63, 2**64 - 1, 2**31]))
        flat = array.reshape(-1)
        flat[place : place + 1] = np.array([bits], np.uint64).view(np.uint8)[: array.itemsize].view(array.dtype)
        arrays = changed(arrays, path, array)
    try:
        twin.set_state({**state, "arrays": arrays})
    except CheckpointError:
        return
    twin.actions[TRIAGE][...] = 0
    played(twin, np.random.default_rng(0), 70)
    twin.reset()
