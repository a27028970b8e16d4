"""`hmarl-soc bench`: how fast the simulator, the runners and the learners are on this machine.

Rates are units per CPU-second of this process (`time.process_time`), so that a busy machine disturbs them less than
wall time would. The cases of a part take turns, repeat after repeat, so that a slow spell of the machine hits all of
them; what is shown is the median over repeats, with the lowest and highest. Torch runs on one thread.

Parts, the first four of both scenarios of `SCENARIOS`, the others of `TRAINING_SCENARIO`:
    pettingzoo  one environment through PettingZoo's dicts
    batched     the array API at 200 hosts, 1 to 4,096 environments, random and zero actions
    hosts       64 environments, 50 to 100,000 hosts
    memory      bytes an environment takes
    runners     RLlib's stock MultiAgentEnvRunner and our columnar one, same networks (needs the [train] extra)
    learners    gradient steps of each tier's learner (needs the [train] extra)

A minute of `soc-v1` costs twice as much late in an episode as early, and its episodes never get out of step with each
other, so a batch is always measured over whole episodes' lengths.

The results of version 0.1.0 (``results/bench-0.1.0.json`` and ``.png``) were made by
``hmarl-soc bench --json results/bench-0.1.0.json --plot results/bench-0.1.0.png``.
"""

from __future__ import annotations

import dataclasses
import gc
import logging
import multiprocessing
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
from gymnasium.vector.utils import batch_space

import soc_env
from experiments.output import output_errors, write_json
from experiments.plots import panels, write_picture
from experiments.provenance import provenance
from soc_env.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NUM_HOSTS = 200
BATCHES = (1, 16, 64, 256, 1024, 4096)  # both kinds of actions of soc-v1 together: 0.5 GB
HOSTS = (50, 200, 500, 2_000, 10_000, 100_000)
HOST_ENVS = 64  # environments of the hosts part
KINDS = ("zeros", "random")  # of actions
STOCK_ENVS = 16
COLUMNAR_ENVS = (16, 64, 256)
LEARNER_ROWS = 256  # batch size of a gradient step
CALL_STEPS = 4096  # environment steps, at least, between two looks at the clock
ACTION_SETS = 8  # random actions drawn beforehand and used in turn


@dataclasses.dataclass(frozen=True)
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
TRAINING_SCENARIO = "paper-v0"  # of the runners and learners


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One number of the table.

    Attributes:
        part: which part of the benchmark.
        label: what was measured, unique within the part.
        unit: of the number.
        value, low, high: median, lowest and highest of the repeats.
        num_repeats: how many there were.
        parameters: what set this case apart, for plots and comparisons.
    """

    part: str
    label: str
    unit: str
    value: float
    low: float
    high: float
    num_repeats: int
    parameters: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Case:
    """Something to measure: `work()` does a small amount of it and returns how many units that was."""

    label: str
    unit: str
    work: Callable[[], int]
    parameters: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Effort:
    """How long to measure."""

    num_repeats: int = 7
    seconds: float = 0.5  # CPU time of a repeat
    is_quick: bool = False


QUICK = Effort(num_repeats=3, seconds=0.15, is_quick=True)


def bench(
    only: Sequence[str] | None = None,
    scenarios: Sequence[str] | None = None,
    quick: bool = False,
    json_path: str | os.PathLike[str] | None = None,
    plot_path: str | os.PathLike[str] | None = None,
    file: TextIO | None = None,
) -> dict[str, Any]:
    """Measure, print a table, and write the results where asked.

    Args:
        only: names of `PARTS`; all by default, without those whose extra is not installed.
        scenarios: names of `SCENARIOS`; all by default.
        quick: fewer sizes and shorter repeats.
        json_path: JSON file to write.
        plot_path: file to draw (PNG, SVG, PDF).
        file: where the table goes; standard output by default.

    Returns:
        ``{"version": ..., "machine": ..., "effort": ..., "measurements": [...], "goals": [...]}``.

    Raises:
        ConfigError: an unknown part or scenario, a part that does not measure the scenarios, or a file that cannot be
            written.
        ModuleNotFoundError: a part was asked for by name whose extra is not installed.
    """
    file = file or sys.stdout
    effort = QUICK if quick else Effort()
    load_before = os.getloadavg()
    measurements: list[Measurement] = []
    chosen = _chosen_scenarios(scenarios)
    for name in _chosen_parts(only, chosen, file):
        with _Progress(name) as progress:
            measurements += PARTS[name](chosen, effort, progress)
    goals = check_goals(measurements)
    result = {
        **provenance(),
        "machine": {**machine(), "load_before": load_before, "load_after": os.getloadavg()},
        "effort": dataclasses.asdict(effort),
        "goals": {goal["name"]: goal for goal in goals},
        "measurements": {f"{m.part}: {m.label}": dataclasses.asdict(m) for m in measurements},
    }
    print_measurements(measurements, goals, result["machine"], file)
    with output_errors():
        if json_path is not None:
            print(f"wrote {write_json(json_path, result)}", file=file)
        if plot_path is not None:
            version = result["versions"].get("hmarl-soc", "(not installed)")
            about = f"hmarl-soc {version}, {_machine_line(result['machine'])}"
            print(f"wrote {write_picture(plot_path, draw(measurements, about))}", file=file)
    return result


def _chosen_scenarios(names: Sequence[str] | None) -> list[str]:
    for name in names or ():
        if name not in SCENARIOS:
            raise ConfigError(unknown_name("scenario of the benchmark", name, SCENARIOS))
    return [name for name in SCENARIOS if not names or name in names]


def _chosen_parts(only: Sequence[str] | None, scenarios: Sequence[str], file: TextIO) -> list[str]:
    is_trained = TRAINING_SCENARIO in scenarios
    if only is not None:
        for name in only:
            if name not in PARTS:
                raise ConfigError(unknown_name("part of the benchmark", name, PARTS))
            if name in TRAINING_PARTS and not is_trained:
                raise ConfigError(
                    f"part of the benchmark {name!r} measures {TRAINING_SCENARIO} only, "
                    f"which is not among the scenarios given: {', '.join(scenarios)}"
                )
        return [name for name in PARTS if name in only]
    without = f"without {' and '.join(TRAINING_PARTS)}: they"
    if not is_trained:
        print(f"{without} measure {TRAINING_SCENARIO} only", file=file)
        return [name for name in PARTS if name not in TRAINING_PARTS]
    try:
        import ray
        import torch

        del ray, torch
    except ModuleNotFoundError:
        print(f'{without} need pip install "hmarl-soc[train]"', file=file)
        return [name for name in PARTS if name not in TRAINING_PARTS]
    return list(PARTS)


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    model = platform.processor()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            model = next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass  # not Linux, or an architecture that does not say
    return {
        "cpu": model or "unknown",
        "num_cpus": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
    }


# --- measuring


def measure(part: str, cases: Sequence[Case], effort: Effort, progress: _Progress) -> list[Measurement]:
    """Median rate of every case, in turns; each has been warmed up by one call before."""
    for case in cases:
        case.work()
    rates: dict[str, list[float]] = {case.label: [] for case in cases}
    gc.collect()
    for repeat in range(effort.num_repeats):
        for index, case in enumerate(cases):
            rates[case.label].append(_rate(case, effort.seconds))
            progress.show((repeat * len(cases) + index + 1) / (effort.num_repeats * len(cases)))
    return [_summary(part, case, rates[case.label]) for case in cases]


def _rate(case: Case, seconds: float) -> float:
    """Units per CPU-second over at least that many CPU-seconds."""
    start, num_units, elapsed = time.process_time(), 0, 0.0
    while elapsed < seconds:
        num_units += case.work()
        elapsed = time.process_time() - start
    return num_units / elapsed


def _summary(part: str, case: Case, values: Sequence[float]) -> Measurement:
    median = statistics.median(values)
    return Measurement(part, case.label, case.unit, median, min(values), max(values), len(values), case.parameters)


class _Progress:
    """One line on a terminal, with an estimate of the time left in the part; elsewhere a line when a part begins."""

    def __init__(self, part: str) -> None:
        self.part, self.start = part, time.monotonic()
        self.is_live = sys.stderr.isatty()

    def __enter__(self) -> _Progress:
        print(f"{self.part} ...", end="" if self.is_live else "\n", file=sys.stderr, flush=True)
        return self

    def show(self, share: float) -> None:
        left = (time.monotonic() - self.start) * (1 - share) / share
        if self.is_live:
            print(f"\r\x1b[K{self.part} {share:4.0%}, {left:.0f} s left", end="", file=sys.stderr, flush=True)

    def __exit__(self, *_: object) -> None:
        if self.is_live:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


# --- the simulator


def _action_sets(simulator: soc_env.Simulator, kind: str) -> list[dict[str, np.ndarray]]:
    """Actions to use in turn: all zeros with triage "enrich", or uniform ones."""
    if kind == "zeros":
        shapes = {agent: simulator.actions[agent] for agent in simulator.agents}
        return [
            {a: np.full_like(buffer, 3) if buffer.ndim == 1 else np.zeros_like(buffer) for a, buffer in shapes.items()}
        ]
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
    pairs = [[(simulator.actions[a], action) for a, action in s.items()] for s in _action_sets(simulator, kind)]
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
        {a: v[0] if v.ndim > 1 else int(v[0]) for a, v in s.items()} for s in _action_sets(environment.simulator, kind)
    ]

    def work() -> int:
        for actions in sets * (512 // len(sets)):
            environment.step(actions)
            if not environment.agents:
                environment.reset()
        return 512

    parameters = {"scenario": scenario, "num_hosts": NUM_HOSTS, "actions": kind}
    return Case(f"{scenario}, 1 env, {NUM_HOSTS} hosts, {kind}", "env-steps/CPU-s", work, parameters)


def _bench_pettingzoo(scenarios: Sequence[str], effort: Effort, progress: _Progress) -> list[Measurement]:
    return measure("pettingzoo", [pettingzoo_case(s, kind) for s in scenarios for kind in KINDS], effort, progress)


def _bench_batched(scenarios: Sequence[str], effort: Effort, progress: _Progress) -> list[Measurement]:
    batches = (1, 64, 256) if effort.is_quick else BATCHES
    cases = [simulator_case(s, n, NUM_HOSTS, kind) for s in scenarios for n in batches for kind in KINDS]
    return measure("batched", cases, effort, progress)


def _bench_hosts(scenarios: Sequence[str], effort: Effort, progress: _Progress) -> list[Measurement]:
    sizes = (200, 2_000, 100_000) if effort.is_quick else HOSTS
    cases = [
        simulator_case(s, HOST_ENVS, n, kind, **SCENARIOS[s].size_overrides)
        for s in scenarios
        for n in sizes
        for kind in KINDS
    ]
    return measure("hosts", cases, effort, progress)


def _bench_memory(scenarios: Sequence[str], effort: Effort, progress: _Progress) -> list[Measurement]:
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
            progress.show((index + 1) / len(subjects))
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


# --- runners and learners


class _OneTorchThread:
    """Within it torch computes on one thread, so that CPU time is comparable."""

    def __enter__(self) -> None:
        import torch

        self.before = torch.get_num_threads()
        torch.set_num_threads(1)

    def __exit__(self, *_: object) -> None:
        import torch

        torch.set_num_threads(self.before)


def _bench_runners(_scenarios: Sequence[str], effort: Effort, progress: _Progress) -> list[Measurement]:
    """The same networks acting in both runners; the coordinator acts on its decision steps only, in both."""
    _quiet_loggers()
    with _OneTorchThread():
        columnar = (64,) if effort.is_quick else COLUMNAR_ENVS
        cases = [_stock_case(STOCK_ENVS), *(_columnar_case(n) for n in columnar)]
        return measure("runners", cases, effort, progress)


def _quiet_loggers() -> None:
    """RLlib 2.60 warns about its own deprecated calls."""
    for name in ("ray", "ray.rllib", "ray._common.deprecation"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _stock_case(num_envs: int) -> Case:
    from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner
    from ray.rllib.env.wrappers.pettingzoo_env import ParallelPettingZooEnv
    from ray.tune.registry import register_env

    class StockRunner(MultiAgentEnvRunner):
        def make_module(self) -> None:
            """As in RLlib, but with the value heads, which the columnar runner has and evaluates too."""
            spec = self.config.get_multi_rl_module_spec(env=self.env.unwrapped, spaces=self.get_spaces())
            self.module = spec.build()

    name = "hmarl-soc-bench"
    register_env(name, lambda _: ParallelPettingZooEnv(soc_env.parallel_env(TRAINING_SCENARIO, coordinator="absent")))
    runner = StockRunner(config=_runner_config(name, num_envs))

    def work() -> int:
        episodes = runner.sample(num_timesteps=10 * num_envs)
        return sum(episode.env_steps() for episode in episodes)

    work()
    parameters = {"scenario": TRAINING_SCENARIO, "runner": "stock", "num_envs": num_envs}
    return Case(f"{TRAINING_SCENARIO}, RLlib's stock runner, {num_envs} envs", "env-steps/CPU-s", work, parameters)


def _columnar_case(num_envs: int) -> Case:
    from policies.runner.env_runner import ColumnarEnvRunner

    runner = ColumnarEnvRunner(config=_runner_config(TRAINING_SCENARIO, num_envs))

    def work() -> int:
        return sum(rollout.env_steps() for rollout in runner.sample(num_timesteps=20 * num_envs))

    work()
    parameters = {"scenario": TRAINING_SCENARIO, "runner": "columnar", "num_envs": num_envs}
    return Case(f"{TRAINING_SCENARIO}, columnar runner, {num_envs} envs", "env-steps/CPU-s", work, parameters)


def _runner_config(env: str, num_envs: int) -> Any:
    from policies import HMARLConfig

    config = HMARLConfig().environment(env).debugging(seed=0, log_level="ERROR")
    return config.env_runners(num_env_runners=0, num_envs_per_env_runner=num_envs)


def _bench_learners(_scenarios: Sequence[str], effort: Effort, progress: _Progress) -> list[Measurement]:
    """Gradient steps on `LEARNER_ROWS` real rows, each tier's learner alone; replay and sampling are not in it.

    As in training, an off-policy learner makes all gradient steps of an iteration in one call.
    """
    from experiments.run import quiet_ray

    with _OneTorchThread(), quiet_ray():
        config = _runner_config(TRAINING_SCENARIO, 64).training(learning_starts=0, updates_per_iteration=1)
        algorithm = config.build_algo()
        try:
            for _ in range(4):  # fills the replay and sets the statistics
                algorithm.train()
            cases = [_off_policy_case(algorithm, tier) for tier in algorithm.off_policy]
            cases += [_on_policy_case(algorithm, tier) for tier in algorithm.on_policy]
            return measure("learners", cases, effort, progress)
        finally:
            algorithm.stop()


def _off_policy_case(algorithm: Any, tier: str) -> Case:
    from policies import HMARLConfig

    replay, defaults = algorithm.batches.replay_of(tier), HMARLConfig()
    num_steps = defaults.updates_per_iteration
    batch = algorithm.batches.batch(tier, *replay.sample(tier, num_steps * LEARNER_ROWS, 0.4))
    per_step = num_steps / defaults.train_batch_size
    return _learner_case(algorithm, tier, batch, per_step, num_steps, minibatch_size=LEARNER_ROWS)


def _on_policy_case(algorithm: Any, tier: str) -> Case:
    from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch

    (rollout,) = algorithm.env_runner.sample(num_timesteps=20 * LEARNER_ROWS)
    columns = {name: column[:LEARNER_ROWS] for name, column in rollout.on_policy[tier].items()}
    batch = MultiAgentBatch({tier: SampleBatch(columns)}, env_steps=LEARNER_ROWS)
    settings = algorithm.config.tier_settings[tier]
    period = soc_env.make_scenario(TRAINING_SCENARIO).coordinator_period
    per_step = settings["num_epochs"] / settings["minibatch_size"] / period  # a decision every `period` steps
    return _learner_case(algorithm, tier, batch, per_step, 1, num_epochs=1, minibatch_size=LEARNER_ROWS)


def _learner_case(algorithm: Any, tier: str, batch: Any, per_step: float, num_steps: int, **options: Any) -> Case:
    """`per_step`: gradient steps that training with default settings takes per environment step; `num_steps`: those of
    a call with `batch`.
    """
    timesteps = {"num_env_steps_sampled_lifetime": algorithm.num_env_steps}
    group = algorithm.learner_group[tier]
    name = algorithm.config.tier_settings[tier]["algorithm"]

    def work() -> int:
        group.update(batch=batch, timesteps=timesteps, **options)
        return num_steps

    work()
    parameters = {
        "scenario": TRAINING_SCENARIO,
        "tier": tier,
        "algorithm": name,
        "rows": LEARNER_ROWS,
        "updates_per_env_step": per_step,
    }
    return Case(f"{TRAINING_SCENARIO}, {tier} ({name}), {LEARNER_ROWS} rows", "updates/CPU-s", work, parameters)


PARTS: dict[str, Callable[[Sequence[str], Effort, _Progress], list[Measurement]]] = {
    "pettingzoo": _bench_pettingzoo,
    "batched": _bench_batched,
    "hosts": _bench_hosts,
    "memory": _bench_memory,
    "runners": _bench_runners,
    "learners": _bench_learners,
}
TRAINING_PARTS = ("runners", "learners")  # need the [train] extra


# --- goals


def check_goals(measurements: Sequence[Measurement]) -> list[dict[str, Any]]:
    """The speed this version promises, beside what was measured; goals whose parts were not measured are left out."""
    goals = [goal for scenario in SCENARIOS for goal in _simulator_goals(scenario, measurements)]
    return goals + _training_goals(measurements)


def _simulator_goals(scenario: str, measurements: Sequence[Measurement]) -> list[dict[str, Any]]:
    subject, rate = SCENARIOS[scenario], "env-steps/CPU-s"
    own = [m for m in measurements if m.parameters["scenario"] == scenario]
    slower = min(_values(own, "pettingzoo"), default=None)
    name = "one env through PettingZoo, slower actions"
    goals = _goal(scenario, name, slower, rate, at_least=subject.single_goal)
    for kind in KINDS:
        best = max(_values(own, "batched", actions=kind), default=None)
        name = f"batched, {NUM_HOSTS} hosts, {kind}, best batch"
        goals += _goal(scenario, name, best, rate, at_least=subject.batched_goal)
    for kind in KINDS:
        small = _values(own, "hosts", actions=kind, num_hosts=NUM_HOSTS)
        large = _values(own, "hosts", actions=kind, num_hosts=HOSTS[-1])
        ratio = small[0] / large[0] if small and large else None
        name = f"cost of a step at {HOSTS[-1]:,} hosts over that at {NUM_HOSTS}, {kind}"
        goals += _goal(scenario, name, ratio, "times", at_most=subject.growth_goal)
    return goals


def _training_goals(measurements: Sequence[Measurement]) -> list[dict[str, Any]]:
    stock = _values(measurements, "runners", runner="stock")
    columnar = _values(measurements, "runners", runner="columnar", num_envs=64)
    ratio = columnar[0] / stock[0] if stock and columnar else None
    name = f"columnar runner, 64 envs, over the stock runner, {STOCK_ENVS} envs"
    goals = _goal(TRAINING_SCENARIO, name, ratio, "times", at_least=8)
    learning = sum(m.parameters["updates_per_env_step"] / m.value for m in measurements if m.part == "learners")
    share = 1 / (1 + learning * columnar[0]) if learning and columnar else None
    name = "share of sampling in the CPU time of training, from the rates above"
    return goals + _goal(TRAINING_SCENARIO, name, share, "share", at_most=0.5)


def _goal(scenario: str, name: str, value: float | None, unit: str, **bound: float) -> list[dict[str, Any]]:
    """No goal where nothing was measured; `bound` is either `at_least` or `at_most`."""
    if value is None:
        return []
    is_met = bound.get("at_least", value) <= value <= bound.get("at_most", value)
    row = {"name": f"{scenario}, {name}", "scenario": scenario, "value": value, "unit": unit, **bound, "is_met": is_met}
    return [row]


def _values(measurements: Sequence[Measurement], part: str, **parameters: Any) -> list[float]:
    wanted = parameters.items()
    return [m.value for m in measurements if m.part == part and wanted <= m.parameters.items()]


# --- showing


def print_measurements(
    measurements: Sequence[Measurement], goals: Sequence[Mapping[str, Any]], about: Mapping[str, Any], file: TextIO
) -> None:
    """A plain table, part by part, then the goals."""
    width = max([len(m.label) for m in measurements] + [len(goal["name"]) for goal in goals])
    part = ""
    for m in measurements:
        if m.part != part:
            part = m.part
            print(f"\n{part}", file=file)
        spread = f"  ({_shown(m.low)} to {_shown(m.high)})" if m.num_repeats > 1 else ""
        print(f"  {m.label:<{width}}  {_shown(m.value):>11} {m.unit}{spread}", file=file)
    if goals:
        print("\ngoals", file=file)
    for goal in goals:
        bound = f"at least {goal['at_least']:,}" if "at_least" in goal else f"at most {goal['at_most']:,}"
        verdict = "met" if goal["is_met"] else "MISSED"
        print(f"  {goal['name']:<{width}}  {_shown(goal['value']):>11} {goal['unit']}  ({bound}: {verdict})", file=file)
    print(f"\n{_machine_line(about)}", file=file)
    print("rates per CPU-second of this process: median (lowest to highest) of the repeats", file=file)


def _machine_line(about: Mapping[str, Any]) -> str:
    load = " to ".join(f"{about[when][0]:.2f}" for when in ("load_before", "load_after"))
    return f"{about['cpu']}, {about['num_cpus']} CPUs, {about['system']}, load average {load}"


def _shown(value: float) -> str:
    """Three significant digits, with separators."""
    if value >= 100:
        digits = len(str(int(value)))
        return f"{round(value, 3 - digits):,.0f}"
    return f"{value:.3g}"


def draw(measurements: Sequence[Measurement], about: str = "") -> Figure:
    """One panel for each part that was measured; `about` is written below them."""
    drawers = {name: DRAWERS[name] for name in PARTS if any(m.part == name for m in measurements)}
    columns = min(3, len(drawers))
    rows = -(-len(drawers) // columns)
    figure, axes = panels(rows, columns, width=5.0 * columns, height=3.9 * rows)
    for panel, (name, drawer) in zip(axes.flat, drawers.items(), strict=False):
        drawer(panel, [m for m in measurements if m.part == name])
    for panel in axes.flat[len(drawers) :]:
        panel.set_visible(False)
    figure.supxlabel(about, fontsize=9, x=0.01, ha="left")
    return figure


LEGEND = {"fontsize": 8, "handlelength": 3.5, "framealpha": 0.85, "edgecolor": "none"}  # long enough to show dashes
BLUE, ORANGE, GREY, RED = "#0b6e8a", "#d08a2e", "#8a9099", "#b3362b"
COLORS = dict(zip(SCENARIOS, (BLUE, ORANGE), strict=True))
STYLES = {"zeros": "-", "random": "--", "state and buffers": "-", "resident": "--"}


def _draw_lines(
    panel: Any, measurements: Sequence[Measurement], x: str, group: str, value: Callable[[Measurement], float]
) -> None:
    """Logarithmic lines over parameter `x` with the spread of the repeats.

    One line for each scenario (colour) and value of parameter `group` (style).
    """
    for scenario, name in dict.fromkeys((m.parameters["scenario"], m.parameters[group]) for m in measurements):
        own = [m for m in measurements if (m.parameters["scenario"], m.parameters[group]) == (scenario, name)]
        xs, ys = [m.parameters[x] for m in own], [value(m) for m in own]
        ends = [sorted(value(dataclasses.replace(m, value=end)) for end in (m.low, m.high)) for m in own]
        color, label = COLORS[scenario], f"{scenario}, {name}"
        panel.fill_between(xs, *zip(*ends, strict=True), color=color, alpha=0.15, linewidth=0)
        panel.plot(xs, ys, STYLES[name], color=color, marker="o", markersize=4, linewidth=1.6, label=label)
    _log_axis(panel.set_xscale, panel.xaxis, sorted({m.parameters[x] for m in measurements}))
    _log_axis(panel.set_yscale, panel.yaxis, None)
    panel.legend(**LEGEND)


def _log_axis(set_scale: Callable[[str], None], axis: Any, ticks: Sequence[float] | None) -> None:
    """A logarithmic axis with plain numbers, at `ticks` or at 1, 2, 5, 10, 20, ..."""
    from matplotlib.ticker import FixedLocator, LogLocator, NullLocator

    set_scale("log")
    axis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=20) if ticks is None else FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda number, _: f"{number:,.0f}" if number >= 1 else f"{number:g}")


def _draw_batched(panel: Any, measurements: Sequence[Measurement]) -> None:
    _draw_lines(panel, measurements, "num_envs", "actions", lambda m: m.value)
    for scenario in _scenarios_of(measurements):
        goal = SCENARIOS[scenario].batched_goal
        panel.axhline(goal, color=COLORS[scenario], linestyle=":", linewidth=1.4, label=f"{scenario}, goal")
    panel.set_ylim(top=6.0 * panel.get_ylim()[1])  # room for the legend above the lines
    panel.legend(loc="upper left", ncols=2, **LEGEND)
    _title(panel, f"Batched, {NUM_HOSTS} hosts", "environments", "env-steps per CPU-second")


def _draw_hosts(panel: Any, measurements: Sequence[Measurement]) -> None:
    _draw_lines(panel, measurements, "num_hosts", "actions", lambda m: 1e6 / m.value)
    _title(panel, f"Growth with hosts, {HOST_ENVS} envs", "hosts", "CPU time of an env-step [µs]")


def _draw_memory(panel: Any, measurements: Sequence[Measurement]) -> None:
    shown = [m for m in measurements if m.value > 0]
    _draw_lines(panel, shown, "num_hosts", "kind", lambda m: m.value / 1024)
    _title(panel, "Memory of an environment", "hosts", "KiB")


def _draw_bars(panel: Any, measurements: Sequence[Measurement], labels: Sequence[str]) -> None:
    """Horizontal bars with the spread of the repeats and the number."""
    for row, m in enumerate(measurements):
        panel.barh(row, m.value, color=_bar_color(m), height=0.6, zorder=2)
        panel.errorbar(m.value, row, xerr=[[m.value - m.low], [m.high - m.value]], color="#20262d", capsize=3, zorder=3)
        text = (max(m.value, m.high), row)
        panel.annotate(_shown(m.value), text, xytext=(5, 0), textcoords="offset points", va="center", fontsize=9)
    panel.set_yticks(range(len(labels)), labels, fontsize=9)
    panel.set_ylim(len(labels) - 0.4, -0.6)
    panel.set_xlim(0, 1.25 * max(m.high for m in measurements))
    panel.locator_params(axis="x", nbins=5)
    panel.xaxis.set_major_formatter(lambda number, _: f"{number:,.0f}")


def _bar_color(measurement: Measurement) -> str:
    return GREY if measurement.parameters.get("runner") == "stock" else COLORS[measurement.parameters["scenario"]]


def _draw_pettingzoo(panel: Any, measurements: Sequence[Measurement]) -> None:
    _draw_bars(panel, measurements, [m.parameters["actions"] for m in measurements])
    for scenario in _scenarios_of(measurements):
        panel.plot([], [], color=COLORS[scenario], linewidth=6, label=scenario)  # for the legend
    rows = range(len(measurements))
    goals = [SCENARIOS[m.parameters["scenario"]].single_goal for m in measurements]
    ends = [row - 0.4 for row in rows], [row + 0.4 for row in rows]
    panel.vlines(goals, *ends, color=RED, linestyle=(0, (4, 3)), linewidth=1.2, label="goal", zorder=4)
    panel.legend(loc="lower right", **LEGEND)
    _title(panel, f"One env through PettingZoo, {NUM_HOSTS} hosts", "env-steps per CPU-second", "")


def _draw_runners(panel: Any, measurements: Sequence[Measurement]) -> None:
    _draw_bars(
        panel, measurements, [f"{m.parameters['runner']}\n{m.parameters['num_envs']} envs" for m in measurements]
    )
    _title(panel, f"Env runners, same networks, {TRAINING_SCENARIO}", "env-steps per CPU-second", "")


def _draw_learners(panel: Any, measurements: Sequence[Measurement]) -> None:
    labels = [f"{m.parameters['tier'].replace('_', ' ')}\n{m.parameters['algorithm']}" for m in measurements]
    _draw_bars(panel, measurements, labels)
    _title(panel, f"Learners, {LEARNER_ROWS} rows a step, {TRAINING_SCENARIO}", "gradient steps per CPU-second", "")


def _scenarios_of(measurements: Sequence[Measurement]) -> list[str]:
    return list(dict.fromkeys(m.parameters["scenario"] for m in measurements))


def _title(panel: Any, title: str, x: str, y: str) -> None:
    panel.set_title(title, fontsize=11, loc="left")
    panel.set_xlabel(x, fontsize=9)
    panel.set_ylabel(y, fontsize=9)


DRAWERS: dict[str, Callable[[Any, Sequence[Measurement]], None]] = {
    "pettingzoo": _draw_pettingzoo,
    "batched": _draw_batched,
    "hosts": _draw_hosts,
    "memory": _draw_memory,
    "runners": _draw_runners,
    "learners": _draw_learners,
}
