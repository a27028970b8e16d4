"""The same seed gives the same bytes: in any process, batch and thread, in plain Python, and in copies."""

import copy
import functools
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from engine_cases import both_families, randomise, started
from engine_trace import CASES, SLOW_IN_PLAIN_PYTHON, digests_of_case, play

import soc_env

ROOT = Path(__file__).parents[3]
TRIAGE, HUNTER, ORCHESTRATOR, COORDINATOR = soc_env.AGENTS
BOX_AGENTS = (HUNTER, ORCHESTRATOR, COORDINATOR)


def in_another_process(*arguments, **environment):
    """Runs Python at the root; returns its standard output."""
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


# ---------------------------------------------------------------- determinism


@functools.cache
def own_digests():
    return {name: digests_of_case(name) for name in CASES}


def test_twice_in_one_process():
    assert {name: digests_of_case(name) for name in CASES} == own_digests()


def test_in_another_process():
    assert json.loads(in_another_process("tests/helpers/engine_trace.py")) == own_digests()


def test_plain_python_gives_the_same_bits():
    names = [name for name in CASES if name not in SLOW_IN_PLAIN_PYTHON]
    plain = in_another_process("-W", "error", "tests/helpers/engine_trace.py", *names, NUMBA_DISABLE_JIT="1")
    assert json.loads(plain) == {name: own_digests()[name] for name in names}


@pytest.mark.parametrize("name", ["random", "7 hosts", "fixed networks", "soc", "soc order"])
def test_in_any_batch(name):
    for num_envs in (1, 64):
        digests = digests_of_case(name, num_envs=num_envs)
        shared = min(num_envs, 3)
        assert digests[:shared] == own_digests()[name][:shared]


@pytest.mark.parametrize("num_threads", [2, 3, 5])
def test_on_threads(num_threads):
    for name in ("random", "max", "soc", "soc max"):
        assert digests_of_case(name, num_threads=num_threads) == own_digests()[name]


@pytest.mark.parametrize(("name", "scenario"), [("random", "paper-v0"), ("soc", "soc-v1")])
def test_envs_and_seeds_differ(name, scenario):
    digests = digests_of_case(name, num_envs=8)
    assert len(set(digests)) == 8
    steps, policy, _ = CASES[name]
    seeds = (0, 1, 2, 2**63, 2**64, 2**200)
    by_seed = [play(started(seed=seed, scenario=scenario), steps, policy, [0])[0] for seed in seeds]
    assert len(set(by_seed)) == 6


@both_families
def test_a_seed_per_env_behaves_as_env_0_of_that_seed(scenario):
    sim = started(scenario=scenario, num_envs=3, seed=[7, 2**70, 7])
    batch = play(sim, 80, "random", [0, 0, 0])
    alone = [play(started(scenario=scenario, seed=seed), 80, "random", [0])[0] for seed in (7, 2**70)]
    assert batch == [alone[0], alone[1], alone[0]]
    assert play(started(scenario=scenario, num_envs=2, seed=np.array([7, 9])), 80, "random", [0, 0])[0] == alone[0]


@both_families
def test_reset_with_a_seed_starts_over(scenario):
    sim = started(scenario=scenario, num_envs=2, seed=4)
    expected = play(sim, 100, "random", range(2))
    for resets in ([4], [4, 4], [9, 4], [None, 4]):
        for seed in resets:
            sim.reset(seed=seed)
        assert play(sim, 100, "random", range(2)) == expected


@both_families
def test_reset_without_a_seed_goes_on(scenario):
    sim = started(scenario=scenario, seed=4)
    first = {agent: array.copy() for agent, array in sim.observations.items()}
    sim.reset()
    assert not np.array_equal(sim.observations[HUNTER], first[HUNTER])
    assert sim.episodes.tolist() == [1]
    again = started(scenario=scenario, seed=4)
    again.reset()
    np.testing.assert_array_equal(again.observations[HUNTER], sim.observations[HUNTER])
    assert play(again, 60, "random", [0]) == play(sim, 60, "random", [0])


@both_families
def test_autoreset_plays_the_same_episodes_as_reset(scenario):
    auto, manual = started(scenario=scenario, seed=8), started(scenario=scenario, seed=8, autoreset=False)
    rng = np.random.default_rng(0)
    ends = 0
    while ends < 4:
        randomise(auto, rng)
        for agent in auto.agents:
            manual.actions[agent] = auto.actions[agent]
        auto.step()
        manual.step()
        is_end = auto.terminated[0] or auto.truncated[0]
        last = auto.final_observations if is_end else auto.observations
        for agent in auto.agents:
            np.testing.assert_array_equal(last[agent], manual.observations[agent])
        np.testing.assert_array_equal(auto.final_states if is_end else auto.state(), manual.state())
        assert auto.rewards[0] == manual.rewards[0]
        assert auto.episode_metrics[0] == manual.episode_metrics[0]
        if is_end:
            ends += 1
            assert manual.terminated[0] == auto.terminated[0]
            manual.reset()
            for agent in auto.agents:
                np.testing.assert_array_equal(auto.observations[agent], manual.observations[agent])
            assert auto.decides[0]


@both_families
def test_without_a_seed_runs_differ(scenario):
    sims = [soc_env.Simulator(scenario) for _ in range(2)]
    for sim in sims:
        sim.reset()
    again = started(scenario=scenario, seed=sims[0].seed)
    np.testing.assert_array_equal(again.observations[HUNTER], sims[0].observations[HUNTER])
    first, other, repeated = (play(sim, 60, "random", [0]) for sim in (*sims, again))
    assert first == repeated != other


def test_the_dynamics_have_not_changed_unnoticed():
    # A golden trace. If a change of the dynamics is meant, bump the scenario's version and renew these numbers.
    sim = started(num_envs=64, seed=123)
    rng = np.random.default_rng(123)
    for _ in range(300):
        randomise(sim, rng)
        sim.step()
    metrics = sim.episode_metrics
    seen = {name: round(float(metrics[name].mean()), 6) for name in ("reward", "length", "mttd", "csr", "total_scans")}
    expected = {"reward": -269.678031, "length": 61.0, "mttd": 9.46875, "csr": 0.765625, "total_scans": 10316.25}
    assert seen == expected


# ---------------------------------------------------------------- copies


@both_families
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda sim: pickle.loads(pickle.dumps(sim))])
@pytest.mark.parametrize("num_threads", [1, 2])
def test_copies_go_on_where_the_original_stands(scenario, duplicate, num_threads):
    sim = started(scenario=scenario, num_envs=4, seed=2, num_threads=num_threads)
    rng = np.random.default_rng(0)
    for _ in range(17):
        randomise(sim, rng)
        sim.step()
    twin = duplicate(sim)
    np.testing.assert_array_equal(twin.observations[HUNTER], sim.observations[HUNTER])
    assert not np.shares_memory(twin.observations[HUNTER], sim.observations[HUNTER])
    np.testing.assert_array_equal(twin.actions[HUNTER], sim.actions[HUNTER])
    expected = play(sim, 60, "random", range(4))
    assert play(twin, 60, "random", range(4)) == expected


@both_families
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_threads_after_a_fork(scenario):
    sim = started(scenario=scenario, num_envs=4, seed=2, num_threads=2)
    sim.step()
    child = os.fork()
    if child == 0:
        sim.step()
        os._exit(0 if sim.running_metrics()["length"].tolist() == [2] * 4 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
