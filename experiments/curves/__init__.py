"""Score against CPU time: HMARL beside PPO, ours and Stable-Baselines3's, on the same scenario and validation episodes.

    python -m experiments.curves --out runs/curves --minutes 10 --seeds 0 1 2
    python -m experiments.curves --out runs/curves --minutes 10 --hmarl teacher=teacher.toml

What is compared. Each curve is trained in a process of its own, on one thread. Its clock is the CPU time of that
process while it is built, samples and learns; imports, compiled code and validation do not count. Every `every` seconds
of it the greedy policy plays the validation episodes of training runs (`experiments.run.VALIDATION_SEED`), the same for
all. After the budget it plays held-out episodes, on soc-v1 of the test split.

What it leaves in `out`. A file `<name>-seed<k>.jsonl` a curve, written as it goes: the task, a row a validation, and at
the end `{"end": ...}`. `curves.json` and `curves.png` are made anew from all such files after each curve. A curve that
has its end is not trained again; one without is started afresh. Several processes may fill one folder with other seeds
or names at the same time.

The central methods are told in `experiments.curves.ppo`, the contestants in `experiments.curves.contestants`.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import multiprocessing
import os
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.curves.contestants import METHODS, Task, check_can_train
from experiments.evaluate import EvaluationResult, evaluate
from experiments.families import protocol_of
from experiments.output import output_errors, write_json
from experiments.plots import write_picture
from experiments.provenance import provenance
from soc_env.errors import ConfigError, RunError, shown
from soc_env.registry import family_of

REFERENCES = ("rule-soar", "expert")  # drawn as lines, where the family has them
RESULT, PICTURE = "curves.json", "curves.png"
IMPORTED = {"hmarl": "policies.hmarl.algorithm", "ppo": "experiments.curves.ppo", "sb3-ppo": "stable_baselines3"}
Row = dict[str, float]


def train_curves(tasks: Sequence[Task], out: pathlib.Path) -> dict[str, Any]:
    """Trains the curves that are missing in a folder, one after the other, and returns what `curves.json` holds.

    Raises:
        ConfigError: A method whose library is missing, a curve of other settings in the folder, or a folder that cannot
            be written.
        RunError: A process ended without its curve.
    """
    for task in tasks:
        check_can_train(task.method)
        _check_same(task, path_of(out, task))
    with output_errors("out"):
        out.mkdir(parents=True, exist_ok=True)
        for task in tasks:
            if not has_end(path_of(out, task)):
                print(f"{task.name}, seed {task.seed}: {task.minutes:g} CPU-minutes", flush=True)
                _in_another_process(task, path_of(out, task))
            found = gather(out, tasks[0])
        return found


def path_of(out: pathlib.Path, task: Task) -> pathlib.Path:
    """The file of a curve."""
    return out / f"{task.name}-seed{task.seed}.jsonl"


def _in_another_process(task: Task, path: pathlib.Path) -> None:
    """Trains where nothing else takes memory or time, and no library has been started."""
    process = multiprocessing.get_context("spawn").Process(target=train_curve, args=(task, path))
    process.start()
    try:
        process.join()
    finally:
        if process.is_alive():
            process.terminate()
            process.join()
    if process.exitcode:
        raise RunError(f"{path}: its process ended with status {process.exitcode}; the same command goes on")


def train_curve(task: Task, path: pathlib.Path) -> None:
    """Trains one contestant and writes its curve, line by line."""
    import torch

    torch.set_num_threads(1)
    _warm_up(task)
    begun, spent, due = time.process_time(), 0.0, 0.0
    contestant = METHODS[task.method](task)
    with path.open("w", encoding="utf-8") as file:
        _say(file, {"task": dataclasses.asdict(task), **provenance(), "cpus": os.cpu_count()})
        while True:
            spent += time.process_time() - begun
            is_done = spent >= 60 * task.minutes
            if spent >= due or is_done:
                row = {"cpu": spent, "steps": contestant.num_env_steps, **_look(contestant.policy(), task)}
                _say(file, {**row, "load": os.getloadavg()[0]})
                due = (spent // task.every + 1) * task.every
            if is_done:
                break
            begun = time.process_time()
            contestant.iterate()
        _say(file, {"end": _look(contestant.policy(), task, is_held_out=True)})
    contestant.close()


def _warm_up(task: Task) -> None:
    """Everything that is compiled or imported once, so that no contestant's clock has it."""
    evaluate("null", task.scenario, 2, 0, **{**task.overrides, "max_steps": 2})
    importlib.import_module(IMPORTED[task.method])


def _look(policy: Any, task: Task, is_held_out: bool = False) -> Row:
    """The headline metric of the greedy policy with its interval over episodes."""
    result = play(policy, task, is_held_out)
    found = result.summary[family_of(task.scenario).headline]
    return {"value": found.mean, "low": found.low, "high": found.high, "episodes": task.episodes}


def play(policy: Any, task: Task, is_held_out: bool = False) -> EvaluationResult:
    """The validation episodes of training runs, or as many held-out ones."""
    from experiments.run import VALIDATION_SEED

    overrides = {**task.overrides, **(protocol_of(task.scenario).held_out if is_held_out else {})}
    seed = 0 if is_held_out else VALIDATION_SEED
    return evaluate(policy, task.scenario, task.episodes, seed, name=task.name, **overrides)


def _say(file: Any, line: Mapping[str, Any]) -> None:
    file.write(json.dumps(line) + "\n")
    file.flush()


def lines_of(path: pathlib.Path) -> list[dict[str, Any]]:
    """The whole lines of a curve's file; a last one that a kill cut off is left out."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found


def has_end(path: pathlib.Path) -> bool:
    """Whether a curve is trained to its end."""
    return any("end" in line for line in lines_of(path)[-1:])


def _check_same(task: Task, path: pathlib.Path) -> None:
    """ConfigError where a finished curve in the folder was trained with other settings."""
    if not has_end(path):
        return
    found = lines_of(path)[0]["task"]
    for name, value in json.loads(json.dumps(dataclasses.asdict(task))).items():
        if found.get(name) != value:
            raise ConfigError(f"out: {path} was trained with {name}={shown(found.get(name))}, not {shown(value)}")


def gather(out: pathlib.Path, task: Task) -> dict[str, Any]:
    """Reads all curves of a folder, and writes and returns what is known; `task`: whose scenario references play."""
    from experiments.curves.draw import draw

    curves: dict[str, dict[str, list[Row]]] = {}
    ends: dict[str, dict[str, Row]] = {}
    for path in sorted(out.glob("*-seed*.jsonl")):
        lines = lines_of(path)
        if not lines:
            continue
        own, seed = lines[0]["task"], str(lines[0]["task"]["seed"])
        curves.setdefault(own["name"], {})[seed] = [line for line in lines[1:] if "cpu" in line]
        if "end" in lines[-1]:
            ends.setdefault(own["name"], {})[seed] = lines[-1]["end"]
    references = _references(out, task)
    result = {
        "scenario": task.scenario, "metric": family_of(task.scenario).headline, "overrides": dict(task.overrides),
        **provenance(), "references": references, "ends": ends, "curves": curves,
    }  # fmt: skip
    write_json(out / RESULT, result)
    write_picture(out / PICTURE, draw(result))
    return result


def _references(out: pathlib.Path, task: Task) -> dict[str, Row]:
    """Scripted policies on the same validation episodes; played once a folder."""
    lines = json.loads((out / RESULT).read_text(encoding="utf-8")) if (out / RESULT).exists() else {}
    if lines.get("scenario") == task.scenario and lines.get("overrides") == dict(task.overrides):
        return lines["references"]
    known = [name for name in REFERENCES if name in protocol_of(task.scenario).compared]
    return {name: _look(name, task) for name in known}
