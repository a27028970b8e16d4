"""Whole environments are copied to other places and go on from there to the byte, or with draws of their own."""

import copy
import gc
import pickle
import weakref

import numpy as np
import pytest
from engine_cases import both_families, randomise, started
from engine_trace import outputs
from hypothesis import given, settings
from hypothesis import strategies as st

import soc_env
from soc_env.engine.state import packed
from soc_env.errors import ConfigError, HMARLSOCError

SCENARIOS = (
    {"scenario": "paper-v0", "num_hosts": 7, "redraw_vulnerabilities": False, "max_steps": 40},
    {"scenario": "paper-v0", "num_hosts": 3000, "coordinator_period": 1, "max_steps": 50},
    {"scenario": "soc-v1", "num_hosts": 30, "num_networks": 2, "max_steps": 25, "log_capacity": 60},
    {"scenario": "soc-v1", "num_hosts": 3000, "num_networks": 1, "max_steps": 50},
    {"scenario": "soc-cage4-v0", "max_steps": 45},
)


def played(sim, rng, steps):
    for _ in range(steps):
        randomise(sim, rng)
        sim.step()
    return sim


def under_way(num_envs=4, steps=23, seed=3, **options):
    return played(started(num_envs=num_envs, seed=seed, **options), np.random.default_rng(seed), steps)


def continuations(places, steps, seed=0):
    """For each (simulator, env) of a list what it shows in some steps, all under the same random actions."""
    rng, shown = np.random.default_rng(seed), [[outputs(sim, i)] for sim, i in places]
    sims = {id(sim): sim for sim, _ in places}.values()
    size = sum(array.shape[1] for array in places[0][0].actions.values() if array.ndim == 2)
    for _ in range(steps):
        boxes, choice = rng.uniform(-1.1, 1.1, size), rng.integers(0, 4)
        for sim in sims:
            first = 0
            for array in sim.actions.values():
                if array.ndim == 1:
                    array[:] = choice
                else:
                    array[:] = boxes[first : first + array.shape[1]]
                    first += array.shape[1]
            sim.step()
        for (sim, i), seen in zip(places, shown, strict=True):
            seen.append(outputs(sim, i))
    return shown


def contents(sim, env=None):
    """Everything of one env that counts, or of all of them: of lists what is in use."""
    arrays, every = sim.per_env(), []
    for i in range(sim.num_envs) if env is None else [env]:
        lengths = {name: sim.records(i).env[count] for name, count in sim.lists.items()}
        every += [(name, array[i][: lengths[name]] if name in lengths else array[i]) for name, array in arrays.items()]
    return [(name, values(packed(array))) for name, array in every]  # without the gaps between fields


def values(tree):
    return {name: values(own) for name, own in tree.items()} if isinstance(tree, dict) else np.asarray(tree).tobytes()


@pytest.mark.parametrize("options", SCENARIOS, ids=lambda options: "-".join(str(value) for value in options.values()))
def test_a_branch_goes_on_to_the_byte_in_any_other_simulator(options):
    @settings(max_examples=4, deadline=None)
    @given(
        pairs=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), min_size=1, unique_by=lambda pair: pair[1]),
        steps=st.integers(0, 60),
        autoreset=st.booleans(),
        is_fresh=st.booleans(),
    )
    def check(pairs, steps, autoreset, is_fresh):
        sim = under_way(steps=steps, autoreset=autoreset, num_threads=2, **options)
        into = soc_env.Simulator(num_envs=6, seed=99, autoreset=autoreset, **options)
        if not is_fresh:
            into.reset()
            played(into, np.random.default_rng(5), 31)
        before = contents(sim)
        source, target = zip(*pairs, strict=True)
        sim.branch(source, np.array(target), into)
        assert contents(sim) == before
        for i, j in pairs:
            assert contents(into, j) == contents(sim, i)
        shown = continuations([(sim, i) for i in source] + [(into, j) for j in target], 80)
        assert shown[: len(pairs)] == shown[len(pairs) :]
        for i, j in pairs:
            assert contents(into, j) == contents(sim, i)

    check()


@both_families
def test_without_autoreset_the_two_end_alike_and_start_the_same_next_episode(scenario):
    sim = under_way(scenario=scenario, max_steps=30, autoreset=False)
    sim.branch(1, [0, 3])
    places = [(sim, 0), (sim, 1), (sim, 3)]
    first, second, third = continuations(places, 12)
    assert first == second == third
    assert sim.truncated.all()
    sim.branch(1, 2)  # what has ended may be copied to where nothing resets
    sim.reset()
    first, second, third = continuations(places, 12)
    assert first == second == third != continuations([(sim, 2)], 0)[0]


@both_families
def test_where_nothing_resets_the_episode_ends_with_the_same_outcome(scenario):
    sim, into = under_way(scenario=scenario, max_steps=30), soc_env.Simulator(scenario, max_steps=30, autoreset=False)
    sim.branch(1, 0, into)
    first, second = continuations([(sim, 1), (into, 0)], 6)
    assert first == second
    continuations([(sim, 1), (into, 0)], 1)
    assert sim.truncated[1]
    assert into.truncated[0]
    for name in ("rewards", "reward_terms", "terminated", "episode_metrics"):
        assert getattr(sim, name)[1].tobytes() == getattr(into, name)[0].tobytes()
    for agent in sim.agents:
        assert sim.final_observations[agent][1].tobytes() == into.observations[agent][0].tobytes()


@both_families
def test_envs_are_swapped_and_fanned_out_in_place(scenario):
    sim = under_way(scenario=scenario, num_envs=5)
    old = [contents(sim, i) for i in range(5)]
    sim.branch([0, 1, 2, 2], [1, 0, 3, 4])
    assert [contents(sim, i) for i in range(5)] == [old[k] for k in (1, 0, 2, 2, 2)]
    sim.branch(4, range(5))
    assert [contents(sim, i) for i in range(5)] == [old[2]] * 5
    sim.branch([], [])
    sim.branch(np.int32(0), np.zeros(0))
    assert [contents(sim, i) for i in range(5)] == [old[2]] * 5


def test_a_simulator_that_was_never_reset_is_reset_first():
    sim, into, other = under_way(), soc_env.Simulator("paper-v0", num_envs=3, seed=8), started(num_envs=3, seed=8)
    sim.branch(2, 1, into)
    assert into.is_started
    assert [contents(into, i) for i in (0, 2)] == [contents(other, i) for i in (0, 2)]
    assert contents(into, 1) == contents(sim, 2)


def test_calls_that_wait_for_the_next_step_are_copied():
    sim = under_way(scenario="soc-v1")
    sim.set_calls([("hunt", 1, 1.0, 0.5), ("isolate", 7, 0.0, 0.0)], 1)
    sim.branch(1, 0)
    sim.step()
    assert sim.calls(0) == sim.calls(1)
    assert [call["tool"] for call in sim.calls(0)] == ["hunt", "isolate"]


def test_a_shorter_log_keeps_the_entries_that_fit_and_changes_nothing_else():
    options = {"scenario": "soc-v1", "max_steps": 60}
    sim = under_way(log_capacity=500, **options)
    assert len(sim.log(1)) > 40
    for capacity in (0, 40, 500, 600):
        into = soc_env.Simulator(log_capacity=capacity, num_envs=2, **options)
        sim.branch(1, 0, into)
        assert into.log() == sim.log(1)[:capacity]
        twin = copy.deepcopy(sim)
        shown = continuations([(twin, 1), (into, 0)], 50)
        assert shown[0] == shown[1]
        assert into.log() == twin.log(1)[: min(capacity, 500)] or capacity > 500


@both_families
def test_draws_of_their_own_start_from_the_same_state_and_differ(scenario):
    sim, into = under_way(scenario=scenario), soc_env.Simulator(scenario, num_envs=4, seed=3)
    places = [(into, 0), (into, 1), (sim, 2)]

    def branched(targets=(0, 1), **options):
        sim.branch(2, targets, into, **options)
        twins = [(copy.deepcopy(owner), i) for owner, i in places]
        return continuations(twins, 12)

    fresh = branched(keep_draws=False)
    assert fresh[0][0] == fresh[1][0] == fresh[2][0]
    assert len({tuple(shown) for shown in fresh}) == 3
    assert branched(keep_draws=False) == fresh
    assert branched((1, 0), keep_draws=False) == fresh
    streams = [branched(keep_draws=False, stream=k)[0] for k in (0, 1, 2)]
    assert streams[0] == fresh[0]
    assert len({tuple(shown) for shown in streams}) == 3
    kept = branched()
    assert kept[0] == kept[1] == kept[2] == fresh[2]
    into.reset(seed=4)
    assert branched(keep_draws=False)[0] not in fresh


def test_draws_of_their_own_are_those_of_the_moment_and_the_source_too():
    sim, into = under_way(scenario="paper-v0"), soc_env.Simulator("paper-v0", num_envs=4, seed=3)
    keys = []
    for _ in range(3):
        sim.branch(range(4), range(4), into, keep_draws=False)
        keys += into.records().env["seed_key"].tolist()
        sim.branch([0, 0, 0], [1, 2, 3], into, keep_draws=False)
        keys += into.records().env["seed_key"].tolist()[1:]
        sim.step()
    assert len(set(keys)) == len(keys)
    assert not set(keys) & set(sim.records().env["seed_key"].tolist())


def test_the_average_over_draws_of_their_own_is_that_of_the_scenario():
    """Compromised hosts after ten steps: by fresh draws from one first state, and by as many seeds."""
    options = {"scenario": "paper-v0", "num_hosts": 30}
    sim, into = started(num_envs=1, **options), soc_env.Simulator(num_envs=2000, seed=1, **options)
    sim.branch(0, range(2000), into, keep_draws=False)
    other = started(num_envs=2000, seed=2, **options)
    means = []
    for one in (into, other):
        for _ in range(10):
            one.step()
        means.append(one.records().env["compromised"].sum(axis=1).mean())
    assert means[0] == pytest.approx(means[1], rel=0.1)


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        (0, 9, "target has env 9; allowed: 0 to 3"),
        (-1, 0, "source has env -1; allowed: 0 to 3"),
        ([0, 1], [2], "source has 2 envs and target 1; allowed: as many, or a single source"),
        (0, [2, 2], "target has env 2 more than once; allowed: each env once"),
        (0.0, 1, "source=0.0 must be the number of an env, or a sequence of such"),
        (True, 1, "source=True must be"),
        (0, [True], r"target=\[True\] must be"),
        (0, None, "target=None must be"),
        (0, [[1]], r"target=\[\[1\]\] must be"),
        (0, [[1], [1, 2]], "target=.* must be"),
        (0, [2**70], "target=.* must be"),
        (0, "1", "target='1' must be"),
    ],
)
def test_envs_that_do_not_exist_are_refused(source, target, message):
    sim = under_way()
    before = contents(sim)
    with pytest.raises(ConfigError, match=message) as error:
        sim.branch(source, target)
    assert "\n" not in str(error.value)
    assert contents(sim) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep_draws": 1}, "keep_draws=1 must be True or False"),
        ({"stream": -1, "keep_draws": False}, "stream=-1 must be"),
        ({"stream": 2**63, "keep_draws": False}, "stream=.* must be"),
        ({"stream": True, "keep_draws": False}, "stream=True must be"),
        ({"stream": 1}, "stream=1 needs keep_draws=False"),
        ({"into": "paper-v0"}, "into='paper-v0' must be a simulator"),
    ],
)
def test_other_arguments_that_mean_nothing_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        under_way().branch(0, 1, **options)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"scenario": "paper-v0"}, "into has name='paper-v0', this simulator 'soc-v1'"),
        ({"max_steps": 61}, "into has max_steps=61, this simulator 60; allowed: the same scenario and networks"),
        ({"network_seed": 12345}, "into has network="),
    ],
)
def test_a_simulator_of_something_else_is_refused(other, message):
    sim, into = under_way(scenario="soc-v1", max_steps=60), started(**{"scenario": "soc-v1", "max_steps": 60} | other)
    before = contents(into)
    for _ in range(2):
        with pytest.raises(ConfigError, match=message):
            sim.branch(0, 0, into)
    assert contents(into) == before


@both_families
def test_a_simulator_whose_shared_records_were_changed_is_refused(scenario):
    sim, into = under_way(scenario=scenario), started(scenario=scenario)
    into.records().world["max_steps"] += 1
    with pytest.raises(ConfigError, match="into has another world"):
        sim.branch(0, 0, into)


def test_an_ended_episode_is_not_put_where_nothing_waits():
    sim, into = under_way(scenario="soc-v1", max_steps=20, autoreset=False), started(scenario="soc-v1", max_steps=20)
    with pytest.raises(ConfigError, match="source env 2 has ended and waits for reset, but into has autoreset=True"):
        sim.branch(2, 0, into)


def test_branching_before_reset_is_refused():
    with pytest.raises(HMARLSOCError, match="reset"):
        soc_env.Simulator("paper-v0").branch(0, 0)


@both_families
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda sim: pickle.loads(pickle.dumps(sim))])
def test_copies_of_simulators_branch_on_their_own(scenario, copied):
    sim = under_way(scenario=scenario)
    sim.branch(0, 1)
    twin = copied(sim)
    before = contents(sim)
    twin.branch([2, 3], [3, 2])
    twin.branch(0, 0, keep_draws=False)
    assert contents(sim) == before
    assert contents(twin, 2) == contents(sim, 3)
    sim.branch(1, 0, twin)
    twin.branch(0, 0, sim)
    assert contents(twin, 0) == contents(sim, 1)


def test_branching_keeps_no_simulator_alive():
    gc.disable()
    try:
        sim, into = under_way(), started(num_envs=2)
        sim.branch(0, 1, into)
        dead = weakref.ref(into)
        del into
        assert dead() is None
    finally:
        gc.enable()
