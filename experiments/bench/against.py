"""`hmarl-soc bench --against CHECKOUT`: training with this build beside training with another one.

Each row trains with both builds in turn, each time in a process of its own (`experiments.bench.measured_run`) whose
working folder and PYTHONPATH are that build's: pair after pair, the order reversed from pair to pair, so that a slow
spell of the machine hits both. What is shown is the median of the pairs' ratios, with the lowest and highest.

Rows, all with each build's own preset, seed and number of environments:
    soc-v1, paper-v0   training steps per CPU-second of the process, in iterations alone and with all that a run of
                       800,000 steps has between them (validation, checkpoints, progress); its start: wall and CPU
                       seconds from the start of Python to the end of the first iteration
    attention          the same on soc-v1, all tiers with encoder="attention"
    cores              wall time of soc-v1's iterations on one core and on two, and the second over the first
    memory             peak memory of a run of soc-v1 that has filled its replay and written it as a checkpoint, with
                       one gradient step an iteration and otherwise the preset
    score              CPU seconds from the start of Python to the first validation with a score of 79 on soc-v1, which
                       dc36ab0's runs of 800,000 steps had at their end: from scratch with both builds, and with what
                       this build has beside (`HERE_ALONE`) against the other from scratch. Not in a comparison that
                       names no rows: a run takes minutes

A build whose preset makes more or fewer gradient steps for an environment step is compared all the same, and the table
says so.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TextIO

from experiments.bench.measure import machine
from experiments.bench.measured_run import BUDGET
from experiments.bench.text import machine_line, shown
from experiments.output import output_errors, write_json
from experiments.progress import Progress
from experiments.provenance import git_hash, provenance
from soc_env.errors import ConfigError, RunError, unknown_name
from soc_env.errors import shown as shown_value

HERE, THERE = "this build", "the other"
PAIRS, QUICK_PAIRS = 5, 2
STEPS, QUICK_STEPS = 81_920, 6_144  # that are measured of a run: two validations of a whole one, at least
FEWER = 0.125  # of them in rows whose iterations take long
MORE = 4  # times as many on paper-v0, whose steps take a quarter of the time
MEMORY_ROWS = 20_000  # of the replay in the quick variant of the memory row
MIB = 2**20  # [bytes]
PROGRAM = pathlib.Path(__file__).with_name("measured_run.py")
PACKAGES = ("soc_env", "policies", "experiments")
CARRIED = ("PATH", "HOME", "TMPDIR", "LANG", "HMARL_SOC_CACHE_DIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV")


@dataclasses.dataclass(frozen=True)
class Task:
    """What a process trains, and how far; `measured_run` reads it.

    Attributes:
        scenario: which preset.
        encoder: of all tiers; None for the preset's own.
        settings: of the learner, beside the preset's.
        steps: environment steps that are measured.
        is_filled: until the replay is full, instead.
        until: a validated score that ends the run, instead.
        cores: numbers of the CPUs it may use; None for all.
    """

    scenario: str
    encoder: str | None = None
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    steps: int = STEPS
    is_filled: bool = False
    until: float | None = None
    cores: Sequence[int] | None = None


Found = Mapping[str, Any]  # what `measured_run` found
Number = tuple[str, str, Callable[[Found], float], bool]  # label, unit, value, whether more is better


def _rate(part: str) -> Callable[[Found], float]:
    return lambda found: found[part]["steps"] / found[part]["cpu"]


SPEED: tuple[Number, ...] = (
    ("iterations", "steps/CPU-s", _rate("iterations"), True),
    ("whole run", "steps/CPU-s", _rate("run"), True),
    ("start", "s", lambda found: found["start"]["wall"], False),
    ("start, CPU", "CPU-s", lambda found: found["start"]["cpu"], False),
)
MEMORY: tuple[Number, ...] = (("peak memory", "MiB", lambda found: found["peak"] / MIB, False),)
WALL: tuple[Number, ...] = (
    ("wall time", "ms/step", lambda f: 1000 * f["iterations"]["wall"] / f["iterations"]["steps"], False),
)
REACHED: tuple[Number, ...] = (("to a score of 79", "CPU-s", lambda found: found["reached"]["cpu"], False),)
ONE_CORE, TWO_CORES = "soc-v1, one core", "soc-v1, two cores"
SCORE, SCRATCH = 79.0, "soc-v1, from scratch"
HERE_ALONE: dict[str, Mapping[str, Any]] = {  # compared with the other build from scratch
    "soc-v1, with a teacher": {"teacher": "expert"},
}
UNASKED = ("soc-v1", "paper-v0", "attention", "cores", "memory")
ROWS = (*UNASKED, "score")


def tasks_of(row: str, quick: bool) -> dict[str, tuple[Task, tuple[Number, ...]]]:
    """Label -> what is trained and what is read of it."""
    steps = QUICK_STEPS if quick else STEPS
    less = max(QUICK_STEPS, int(FEWER * steps))
    if row == "cores":
        cores, half = sorted(os.sched_getaffinity(0))[:2], max(QUICK_STEPS, steps // 2)
        on = {ONE_CORE: cores[:1], TWO_CORES: cores}
        return {label: (Task("soc-v1", steps=half, cores=own), WALL) for label, own in on.items()}
    if row == "memory":
        few = {"updates_per_iteration": 1, **({"replay_capacity": MEMORY_ROWS} if quick else {})}
        return {"soc-v1, full replay": (Task("soc-v1", settings=few, is_filled=True), MEMORY)}
    if row == "score":
        whole = Task("soc-v1", steps=BUDGET, until=SCORE)
        ways = {SCRATCH: {}, **HERE_ALONE}
        return {label: (dataclasses.replace(whole, settings=own), REACHED) for label, own in ways.items()}
    if row == "attention":
        return {"soc-v1, attention": (Task("soc-v1", "attention", steps=less), SPEED[:2])}
    return {row: (Task(row, steps=steps if row == "soc-v1" else MORE * steps), SPEED)}


def compare(
    checkout: str | os.PathLike[str],
    only: Sequence[str] | None = None,
    pairs: int | None = None,
    quick: bool = False,
    json_path: str | os.PathLike[str] | None = None,
    file: TextIO | None = None,
) -> dict[str, Any]:
    """Measures both builds, prints a table, and writes the results where asked. After Ctrl-C what is there is shown.

    Args:
        checkout: folder of the other build: soc_env, policies, experiments.
        only: names of `ROWS`; `UNASKED` by default.
        pairs: of runs, in each row; memory is measured once.
        quick: shorter runs, fewer pairs and a small replay.
        json_path: JSON file to write.
        file: where the table goes; standard output by default.

    Returns:
        Plain data: versions, git_hash, machine, against, rows (by label) and runs, the process's own numbers.

    Raises:
        ConfigError: no checkout, an unknown row, or an unwritable file.
        RunError: a build does not train.
        KeyboardInterrupt: Ctrl-C.
    """
    file, folders = file or sys.stdout, {HERE: PROGRAM.parents[2], THERE: checked(checkout)}
    chosen = chosen_rows(only)
    pairs = pairs or (QUICK_PAIRS if quick else PAIRS)
    load_before, runs = os.getloadavg(), list[dict[str, Any]]()
    try:
        for row in chosen:
            runs.extend(_turns(row, tasks_of(row, quick), folders, 1 if row == "memory" else pairs))
    finally:
        rows = {key: value for row in chosen for key, value in rows_of(row, quick, runs).items()}
        result = {
            **provenance(),
            "machine": {**machine(), "load_before": load_before, "load_after": os.getloadavg()},
            "against": {"folder": str(folders[THERE]), "git_hash": git_hash(folders[THERE])},
            "rows": rows,
            "runs": {str(number): run for number, run in enumerate(runs)},
        }
        if rows:
            _tell(result, json_path, file)
    return result


def _tell(result: Mapping[str, Any], json_path: str | os.PathLike[str] | None, file: TextIO) -> None:
    print_rows(result, file)
    if json_path is not None:
        with output_errors():
            print(f"wrote {write_json(json_path, result)}", file=file)


def checked(checkout: str | os.PathLike[str]) -> pathlib.Path:
    """The folder, if it has our packages; ConfigError if not."""
    folder = pathlib.Path(checkout).absolute()
    missing = [name for name in PACKAGES if not (folder / name / "__init__.py").is_file()]
    if missing:
        raise ConfigError(
            f"--against={shown_value(str(checkout))} has no package {missing[0]!r}; "
            f"allowed: a checkout of hmarl-soc, with {', '.join(PACKAGES)}"
        )
    return folder


def chosen_rows(only: Sequence[str] | None) -> list[str]:
    """Those of `ROWS` that are asked for; ConfigError for an unknown one."""
    for name in only or ():
        if name not in ROWS:
            raise ConfigError(unknown_name("row of the comparison", name, ROWS))
    return [name for name in ROWS if name in (only or UNASKED)]


# --- measuring


def _turns(
    row: str, tasks: Mapping[str, tuple[Task, Any]], folders: Mapping[str, pathlib.Path], pairs: int
) -> Iterator[dict[str, Any]]:
    """The runs of a row, as they end: {"label", "build", "pair", and what was found}. The first pair comes after a run
    of each build that compiles what it needs and is not counted."""
    order = [(label, build) for label in tasks for build in folders if build == HERE or label not in HERE_ALONE]
    warm = dataclasses.replace(next(iter(tasks.values()))[0], steps=1, is_filled=False, until=None, cores=None)
    done, total = 0, len(folders) + pairs * len(order)
    with Progress(label=row) as progress:

        def show(share: float) -> None:
            progress.update((done + share) / total)

        for folder in folders.values():
            measured(warm, folder, 0, show)
            done += 1
        for pair in range(pairs):
            for label, build in order if pair % 2 == 0 else order[::-1]:
                progress.update(note=f"{label}, pair {pair + 1} of {pairs}, {build}")
                found = measured(tasks[label][0], folders[build], pair, show)
                done += 1
                yield {"label": label, "build": build, "pair": pair, **found}


def measured(task: Task, folder: pathlib.Path, seed: int, show: Callable[[float], None]) -> dict[str, Any]:
    """What `measured_run` finds in a process of its own; `show` is told the share that is done.

    Raises:
        RunError: it did not end well; the last line of what it said.
    """
    environment = {name: os.environ[name] for name in CARRIED if name in os.environ}
    order = json.dumps({**dataclasses.asdict(task), "seed": seed, "spawned": time.time()})
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM.read_text(encoding="utf-8"), order],
            cwd=folder,
            env={**environment, "PYTHONPATH": str(folder), "PYTHONWARNINGS": "ignore"},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,  # Ctrl-C is ours; the process is told below
        )
        try:
            found = None
            assert process.stdout is not None
            for line in process.stdout:
                said = json.loads(line)
                found = said.get("found", found)
                show(said.get("share", 1.0))
            process.wait()
        finally:
            _end(process)
        if process.returncode or found is None:
            errors.seek(0)
            lines = [line.strip() for line in errors if line.strip()] or ["nothing said"]
            raise RunError(f"{str(folder)!r} does not train {task.scenario!r}: {lines[-1]}")
        return found


def _end(process: subprocess.Popen[str], seconds: float = 20.0) -> None:
    """Ends a process that still runs: politely first, since it may have to end processes of its own."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


# --- the table


def rows_of(row: str, quick: bool, runs: Sequence[Found]) -> dict[str, dict[str, Any]]:
    """Label -> unit, medians of both builds, ratio (median, low, high; above 1 is in this build's favour) and number
    of pairs, of those rows of which there is a pair."""
    found, pairs = {}, dict[str, list[dict[str, Found]]]()
    for label, (_, numbers) in tasks_of(row, quick).items():
        pairs[label] = _pairs([run for run in runs if run["label"] == _label(label, run["build"])])
        for name, unit, value, is_more_better in numbers if pairs[label] else ():
            values = [[value(pair[build]) for build in (HERE, THERE)] for pair in pairs[label]]
            found[f"{label}, {name}"] = _row(unit, values, is_more_better) | _work(pairs[label])
            if row == "score":
                found[f"{label}, {name}"] |= {"unreached": _unreached(pairs[label])}
    if row == "cores" and pairs[TWO_CORES]:
        wall = WALL[0][2]
        both = zip(pairs[TWO_CORES], pairs[ONE_CORE], strict=False)
        values = [[wall(two[build]) / wall(one[build]) for build in (HERE, THERE)] for two, one in both]
        found["soc-v1, two cores over one"] = _row("times", values, False) | _work(pairs[TWO_CORES])
    return found


def _label(label: str, build: str) -> str:
    """Of the runs that stand for a build in the row with that label."""
    return SCRATCH if label in HERE_ALONE and build == THERE else label


def _row(unit: str, values: Sequence[Sequence[float]], is_more_better: bool) -> dict[str, Any]:
    ratios = [here / there if is_more_better else there / here for here, there in values]
    of_here, of_there = zip(*values, strict=True)
    return {
        "unit": unit,
        HERE: statistics.median(of_here),
        THERE: statistics.median(of_there),
        "ratio": statistics.median(ratios),
        "low": min(ratios),
        "high": max(ratios),
        "pairs": len(ratios),
    }


def _pairs(runs: Sequence[Found]) -> list[dict[str, Found]]:
    """Build -> run, of the pairs of which both are there."""
    of = {(run["pair"], run["build"]): run for run in runs}
    numbers = dict.fromkeys(pair for pair, _ in of)
    return [{b: of[n, b] for b in (HERE, THERE)} for n in numbers if (n, HERE) in of and (n, THERE) in of]


def _unreached(pairs: Sequence[Mapping[str, Found]]) -> dict[str, int]:
    """Build -> number of runs that ended below the score: their time is that of the whole run."""
    return {b: sum(pair[b]["reached"]["score"] < SCORE for pair in pairs) for b in (HERE, THERE)}


def _work(pairs: Sequence[Mapping[str, Found]]) -> dict[str, Any]:
    """Rows that are learned from for a step of the environment, of this build over the other: 1 if it is equal work."""
    here, there = (pairs[0][build]["updates_per_step"] * pairs[0][build]["rows_per_update"] for build in (HERE, THERE))
    return {"work": here / there}


def print_rows(result: Mapping[str, Any], file: TextIO) -> None:
    """A plain table, a ratio a line."""
    rows, other = result["rows"], result["against"]
    width = max(map(len, rows))
    print(f"\n{HERE}: {result['git_hash']}\n{THERE}:  {other['git_hash'] or other['folder']}\n", file=file)
    print(f"{'':<{width}}  {HERE:>11}  {THERE:>11}  {'unit':<11}  ratio (lowest to highest, pairs)", file=file)
    for label, row in rows.items():
        spread = f"({row['low']:.2f} to {row['high']:.2f}, {row['pairs']})"
        note = "" if row["work"] == 1.0 else f"  learns from {row['work']:.2f} times as many rows a step"
        for build, number in row.get("unreached", {}).items():
            note += f"  not reached by {build} in {number}" if number else ""
        values = f"{shown(row[HERE]):>11}  {shown(row[THERE]):>11}  {row['unit']:<11}"
        print(f"{label:<{width}}  {values}  {row['ratio']:5.2f} {spread}{note}", file=file)
    print(f"\n{machine_line(result['machine'])}", file=file)
    print("medians over pairs of runs in turn; a ratio above 1 is in favour of this build", file=file)
