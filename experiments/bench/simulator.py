"""The parts of the benchmark that play the simulator alone: PettingZoo, batches, sizes, branches, memory."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.vector.utils import batch_space

import soc_env
from experiments.bench.measure import Case, Effort, Measurement, measure
from experiments.progress import Progress
from soc_env.engine.tables import TRIAGE
from soc_env.registry import family_of

NUM_HOSTS = 200
BATCHES = (1, 16, 64, 256, 1024, 4096)  # both kinds of actions of soc-v1 together: 0.5 GB
HOSTS = (50, 200, 500, 2_000, 10_000, 100_000)
HOST_ENVS = 64  # environments of the hosts part
ONE_AT_ONCE, MANY_AT_ONCE = "1 at once", f"{HOST_ENVS} at once"  # environments that a call of `branch` copies
KINDS = ("zeros", "random")  # of actions
CALL_STEPS = 4096  # environment steps, at least, between two looks at the clock
ACTION_SETS = 8  # random actions drawn beforehand and used in turn


@dataclass(frozen=True)
class Subject:
    """How fast this version promises a scenario's simulator to be, and how its growth with hosts is measured.

    Attributes:
        single_goal: env-steps per CPU-second, at least, of one environment through PettingZoo.
        batched_goal: env-steps per CPU-second, at least, of the best batch at `NUM_HOSTS` hosts.
        growth_goal: times, at most, that a step at the most hosts costs one at `NUM_HOSTS`.
        size_overrides: fields of the scenario in the parts that vary the number of hosts.
    """

    single_goal: int
    batched_goal: int
    growth_goal: int
    size_overrides: dict[str, Any]


SCENARIOS: dict[str, Subject] = {
    "paper-v0": Subject(100_000, 700_000, 25, {}),
    "soc-v1": Subject(50_000, 250_000, 40, {"num_networks": 1}),  # of each size one to make and to hold
}


def action_sets(simulator: soc_env.Simulator, kind: str) -> list[dict[str, np.ndarray]]:
    """Actions to use in turn: all zeros with triage "enrich", or uniform ones."""
    if kind == "zeros":
        buffers = {agent: simulator.actions[agent] for agent in simulator.agents}
        choices = family_of(simulator).actions(TRIAGE, simulator.scenario)
        enrich = [choice.name for choice in choices].index("enrich")
        return [{a: np.full_like(b, enrich if a == TRIAGE else 0) for a, b in buffers.items()}]
    spaces = {agent: batch_space(simulator.action_spaces[agent], simulator.num_envs) for agent in simulator.agents}
    for index, space in enumerate(spaces.values()):
        space.seed(index)
    return [
        {agent: space.sample().astype(simulator.actions[agent].dtype) for agent, space in spaces.items()}
        for _ in range(ACTION_SETS)
    ]


def simulator_case(scenario: str, num_envs: int, num_hosts: int, kind: str, **overrides: Any) -> Case:
    """Environment steps through the array API with auto-reset, writing the actions included."""
    simulator = soc_env.Simulator(scenario, num_envs=num_envs, seed=0, num_hosts=num_hosts, **overrides)
    simulator.reset()
    pairs = [[(simulator.actions[a], action) for a, action in s.items()] for s in action_sets(simulator, kind)]
    episode_steps = simulator.scenario.max_steps
    steps_per_call = episode_steps * -(-CALL_STEPS // (num_envs * episode_steps))
    clock = 0

    def work() -> int:
        nonlocal clock
        for _ in range(steps_per_call):
            for buffer, action in pairs[clock % len(pairs)]:
                buffer[...] = action
            simulator.step()
            clock += 1
        return steps_per_call * num_envs

    parameters = {"scenario": scenario, "num_envs": num_envs, "num_hosts": num_hosts, "actions": kind, **overrides}
    envs = "1 env" if num_envs == 1 else f"{num_envs:,} envs"
    return Case(f"{scenario}, {envs}, {num_hosts:,} hosts, {kind}", "env-steps/CPU-s", work, parameters)


def pettingzoo_case(scenario: str, kind: str) -> Case:
    """Steps of one environment through PettingZoo's dicts, resets included."""
    environment = soc_env.parallel_env(scenario, num_hosts=NUM_HOSTS)
    environment.reset(seed=0)
    sets = [
        {a: v[0] if v.ndim > 1 else int(v[0]) for a, v in s.items()} for s in action_sets(environment.simulator, kind)
    ]

    def work() -> int:
        for actions in sets * (512 // len(sets)):
            environment.step(actions)
            if not environment.agents:
                environment.reset()
        return 512

    parameters = {"scenario": scenario, "num_hosts": NUM_HOSTS, "actions": kind}
    return Case(f"{scenario}, 1 env, {NUM_HOSTS} hosts, {kind}", "env-steps/CPU-s", work, parameters)


def bench_pettingzoo(scenarios: Sequence[str], effort: Effort, progress: Progress) -> list[Measurement]:
    """Steps of one environment through PettingZoo, both kinds of actions."""
    return measure("pettingzoo", [pettingzoo_case(s, kind) for s in scenarios for kind in KINDS], effort, progress)


def bench_batched(scenarios: Sequence[str], effort: Effort, progress: Progress) -> list[Measurement]:
    """Steps through the array API at `NUM_HOSTS` hosts, by the number of environments."""
    batches = (1, 64, 256) if effort.is_quick else BATCHES
    cases = [simulator_case(s, n, NUM_HOSTS, kind) for s in scenarios for n in batches for kind in KINDS]
    return measure("batched", cases, effort, progress)


def bench_hosts(scenarios: Sequence[str], effort: Effort, progress: Progress) -> list[Measurement]:
    """Steps of `HOST_ENVS` environments, by the number of hosts."""
    sizes = (200, 2_000, 100_000) if effort.is_quick else HOSTS
    cases = [
        simulator_case(s, HOST_ENVS, n, kind, **SCENARIOS[s].size_overrides)
        for s in scenarios
        for n in sizes
        for kind in KINDS
    ]
    return measure("hosts", cases, effort, progress)


def branch_case(scenario: str, num_envs: int, num_hosts: int, **overrides: Any) -> Case:
    """Environments in the middle of an episode copied into another simulator, see `Simulator.branch`."""
    settings = {"num_envs": num_envs, "num_hosts": num_hosts, **overrides}
    simulator, into = (soc_env.Simulator(scenario, seed=seed, **settings) for seed in (0, 1))
    sets = action_sets(simulator, "random")
    for one in (simulator, into):
        one.reset()
        for clock in range(one.scenario.max_steps // 2):
            for agent, action in sets[clock % len(sets)].items():
                one.actions[agent] = action
            one.step()
    envs = np.arange(num_envs)
    num_calls = -(-CALL_STEPS // (8 * num_envs))

    def work() -> int:
        for _ in range(num_calls):
            simulator.branch(envs, envs, into)
        return num_calls * num_envs

    kind = ONE_AT_ONCE if num_envs == 1 else MANY_AT_ONCE
    parameters = {"scenario": scenario, "kind": kind, "actions": "random", **settings}
    return Case(f"{scenario}, {kind}, {num_hosts:,} hosts", "envs/CPU-s", work, parameters)


def bench_branch(scenarios: Sequence[str], effort: Effort, progress: Progress) -> list[Measurement]:
    """Environments copied per CPU-second: one, and many at once, by the number of hosts."""
    cases = [
        branch_case(s, num_envs, num_hosts, **SCENARIOS[s].size_overrides)
        for s in scenarios
        for num_envs in (1, HOST_ENVS)
        for num_hosts in (NUM_HOSTS, HOSTS[-1])
    ]
    return measure("branch", cases, effort, progress)


def bench_memory(scenarios: Sequence[str], effort: Effort, progress: Progress) -> list[Measurement]:
    """State of an environment, and what a process of its own grows by, divided by the environments it steps."""
    sizes = (200, 100_000) if effort.is_quick else HOSTS
    subjects = [(scenario, num_hosts) for scenario in scenarios for num_hosts in sizes]
    rows = []
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:  # nothing freed to be used again
        for index, (scenario, num_hosts) in enumerate(subjects):
            num_envs, state, resident = pool.apply(_memory_of, (scenario, num_hosts))
            overrides = SCENARIOS[scenario].size_overrides
            for kind, value in (("state and buffers", float(state)), ("resident", resident)):
                parameters = {"scenario": scenario, "num_hosts": num_hosts, "num_envs": num_envs, "kind": kind}
                name = f"{scenario}, {num_hosts:,} hosts, {kind}"
                rows.append(
                    Measurement("memory", name, "bytes/env", value, value, value, 1, {**parameters, **overrides})
                )
            progress.update((index + 1) / len(subjects))
    return rows


def _memory_of(scenario: str, num_hosts: int) -> tuple[int, int, float]:
    """(environments, bytes of state and buffers of one, bytes by which this process grew for one in an episode)."""
    settings = {"num_hosts": num_hosts, **SCENARIOS[scenario].size_overrides}
    warm_up = soc_env.Simulator(scenario, num_envs=64, seed=0, **settings)  # code, world, networks and caches
    warm_up.reset()
    warm_up.step()
    num_envs = min(8192, max(64, 64 * 2**20 // warm_up.nbytes()))  # enough to stand out from the allocator's own
    before = resident_bytes()
    simulator = soc_env.Simulator(scenario, num_envs=num_envs, seed=0, **settings)
    simulator.reset()
    for _ in range(simulator.scenario.max_steps):
        simulator.step()
    return num_envs, simulator.nbytes(), max(0, resident_bytes() - before) / num_envs


def resident_bytes() -> int:
    """Memory of this process that is in RAM; 0 where the system does not say."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
