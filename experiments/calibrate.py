"""`hmarl-soc compare --calibrate` and `--search`: what scales soc-v1's mission score, and its best constant action.

    calibrate           `null_loss` and `clairvoyant_loss`, the two numbers that put the score between 0 and 100
    search_constants    the best constant action of at least 2,000: a wide draw, then rounds of refinement

Both are measured on episodes that nothing was chosen by; nothing is trained.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any, TextIO

import numpy as np

import soc_env
from experiments.compare import NUM_SEEDS, check_family, play
from experiments.evaluate import DEFAULT_SCENARIO
from experiments.intervals import Estimate
from experiments.output import output_errors, write_json
from experiments.progress import Progress
from experiments.provenance import provenance
from policies.scripted import ORACLE_CONTROL
from soc_env.engine.tables import COORDINATOR, HUNTER, ORCHESTRATOR, TRIAGE
from soc_env.registry import family_of

NUM_EPISODES, NUM_CONSTANTS = 1_000, 2_000
BEST_CONSTANT = "best-constant"


# --- the commands


def write_calibration(
    scenario: str = DEFAULT_SCENARIO,
    num_episodes: int = NUM_EPISODES,
    seed: int = 0,
    json_path: str | PathLike[str] | None = None,
    file: TextIO | None = None,
    **overrides: Any,
) -> dict[str, Estimate]:
    """`calibrate`, printed as fields of the scenario, and written where asked; raises as it, and for a bad file."""
    losses = calibrate(scenario, num_episodes, seed, **overrides)
    for name, loss in losses.items():
        print(f"{name}={loss.mean:.2f}  # 95 % interval {loss.low:.2f} to {loss.high:.2f}", file=file or sys.stdout)
    found = {name: dataclasses.asdict(loss) for name, loss in losses.items()}
    _write(json_path, {"scenario": scenario, "overrides": overrides, "seed": seed, **found}, file)
    return losses


def write_search(
    scenario: str = DEFAULT_SCENARIO,
    number: int = NUM_CONSTANTS,
    seed: int = 0,
    json_path: str | PathLike[str] | None = None,
    file: TextIO | None = None,
    **overrides: Any,
) -> Search:
    """`search_constants`, printed as a playbook's entry, and written where asked; raises as it, and for a bad file."""
    check_family(scenario)
    with Progress(ROUNDS, "rounds") as progress:
        found = search_constants(scenario, number, seed, progress=progress.update, **overrides)
    loss = found.loss
    text = f"best of {found.num_tried:,} constants: loss {loss.mean:.2f} [{loss.low:.2f}, {loss.high:.2f}]"
    print(f"{text}\n{as_playbook(found)}", file=file or sys.stdout)
    _write(json_path, {"scenario": scenario, "overrides": overrides, "seed": seed, **dataclasses.asdict(found)}, file)
    return found


def _write(path: str | PathLike[str] | None, data: Mapping[str, Any], file: TextIO | None) -> None:
    if path is not None:
        with output_errors():
            print(f"wrote {write_json(path, {**data, **provenance()})}", file=file or sys.stdout)


# --- what scales the mission score


def calibrate(
    scenario: str = DEFAULT_SCENARIO, num_episodes: int = NUM_EPISODES, seed: int = 0, **overrides: Any
) -> dict[str, Estimate]:
    """Mean loss of doing nothing and of the clairvoyant on the test split, the scenario's `null_loss` and
    `clairvoyant_loss`.

    Args:
        num_episodes: at least 1, spread over five network seeds.
    """
    check_family(scenario)
    column = family_of(scenario).columns["loss"]
    per_seed = math.ceil(num_episodes / NUM_SEEDS)
    settings = {**overrides, "split": "test"}
    losses = {
        "null_loss": play("null", scenario, NUM_SEEDS, per_seed, seed, **settings).estimate(column),
        "clairvoyant_loss": play(ORACLE_CONTROL, scenario, NUM_SEEDS, per_seed, seed, **settings).estimate(column),
    }
    return losses


# --- the best constant


LEVELS = ("hunt", "depth", "decoy", "intel", "contain", "remediate", "perimeter", "reset")  # in [0, 1]
POSTURES = ("priority", "hunt_posture", "triage_posture", "response_posture")  # in [-1, 1]
SWITCHES = {"intel": 0.5, "perimeter": 0.1, "reset": 0.2}  # levels that only switch, with how often they are drawn on
NUM_CHOICES = 4
ROUND_SPREAD = 0.08  # standard deviation of a child around its parent, in levels
PARENTS, CHILDREN, ROUNDS = 20, 10, 6
BATCH = 1024  # environments at once


@dataclasses.dataclass(frozen=True)
class Search:
    """Outcome of `search_constants`: the best constant and its loss on episodes that it was not chosen by."""

    best: dict[str, float]
    loss: Estimate
    num_tried: int


def draw_constants(generator: np.random.Generator, number: int) -> np.ndarray:
    """(number, 1 + levels + postures): the triage choice, levels and postures, the same in every zone."""
    constants = generator.uniform(0.0, 1.0, (number, 1 + len(LEVELS) + len(POSTURES)))
    constants[:, 0] = generator.integers(0, NUM_CHOICES, number)
    for name, share in SWITCHES.items():
        constants[:, 1 + LEVELS.index(name)] = generator.random(number) < share
    constants[:, 1 + len(LEVELS) :] = 2.0 * constants[:, 1 + len(LEVELS) :] - 1.0
    return constants


def constant_losses(constants: np.ndarray, scenario: str, seeds: Sequence[int], **overrides: Any) -> np.ndarray:
    """(constants, seeds) losses: every constant plays the episode of every seed, all of them in one batch."""
    number = len(constants)
    simulator = soc_env.Simulator(
        scenario, number * len(seeds), seed=list(seeds) * number, autoreset=False, **overrides
    )
    simulator.reset()
    rows = np.repeat(constants, len(seeds), 0)
    write_constants(simulator, rows)
    while not simulator.truncated.all():
        simulator.step()
    return simulator.episode_metrics["loss"].reshape(number, len(seeds))


def write_constants(simulator: Any, rows: np.ndarray) -> None:
    """Puts one constant an env, (num_envs, ...) as `draw_constants` gives them, into the simulator's actions."""
    zones = simulator.action_spaces[COORDINATOR].shape[0] - 3
    level = {name: 2.0 * rows[:, 1 + k : 2 + k] - 1.0 for k, name in enumerate(LEVELS)}
    posture = rows[:, 1 + len(LEVELS) :]
    every = np.ones((1, zones))
    simulator.actions[TRIAGE][:] = rows[:, 0]
    hunter = [level["hunt"] * every, level["depth"] * every, level["decoy"] * every, level["intel"]]
    response = [level["contain"] * every, level["remediate"] * every, level["perimeter"], level["reset"]]
    simulator.actions[HUNTER][:] = np.concatenate(hunter, 1)
    simulator.actions[ORCHESTRATOR][:] = np.concatenate(response, 1)
    simulator.actions[COORDINATOR][:] = np.concatenate([posture[:, :1] * every, posture[:, 1:]], 1)


def search_constants(
    scenario: str = DEFAULT_SCENARIO,
    number: int = NUM_CONSTANTS,
    seed: int = 0,
    *,
    rounds: int = ROUNDS,
    draws: int = 8,
    refined: int = 32,
    validation: int = 512,
    progress: Callable[[int, str], None] | None = None,
    **overrides: Any,
) -> Search:
    """The best constant action by mean loss on the training split.

    A wide draw of `number` constants on `draws` episodes each, then `rounds` rounds in which the best `PARENTS` and
    `CHILDREN` variations of each play `refined` fresh episodes, so that luck of the draw is not inherited. The loss
    reported is of `validation` episodes that were not used to choose.
    """
    check_family(scenario)
    generator = np.random.default_rng([0xC057, seed])

    def losses(candidates: np.ndarray, num_episodes: int) -> np.ndarray:
        seeds = generator.integers(0, 2**53, num_episodes).tolist()
        size = max(1, BATCH // num_episodes)
        parts = [candidates[k : k + size] for k in range(0, len(candidates), size)]
        return np.concatenate([constant_losses(part, scenario, seeds, **overrides).mean(1) for part in parts])

    constants, num_tried = draw_constants(generator, number), number
    best = constants[np.argsort(losses(constants, draws), kind="stable")[:PARENTS]]
    for turn in range(rounds):
        candidates = np.concatenate([best, _children(best, generator)])
        num_tried += len(candidates) - len(best)
        found = losses(candidates, refined)
        order = np.argsort(found, kind="stable")[:PARENTS]
        best = candidates[order]
        if progress is not None:
            progress(turn + 1, f"loss {found[order[0]]:.1f}")
    fresh = generator.integers(0, 2**53, validation).tolist()
    winner = best[np.argmin(losses(best[:5], validation))]
    values = [int(winner[0]), *np.round(winner[1:], 3).tolist()]
    return Search(
        best=dict(zip(("triage", *LEVELS, *POSTURES), values, strict=True)),
        loss=Estimate.of(constant_losses(winner[None], scenario, fresh, **overrides)[0]),
        num_tried=num_tried,
    )


def _children(parents: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """`CHILDREN` variations of each constant; the triage choice is inherited."""
    children = np.repeat(parents, CHILDREN, 0)
    children[:, 1:] += generator.normal(0.0, ROUND_SPREAD, children[:, 1:].shape)
    levels, postures = slice(1, 1 + len(LEVELS)), slice(1 + len(LEVELS), None)
    children[:, levels] = children[:, levels].clip(0.0, 1.0)
    children[:, postures] = children[:, postures].clip(-1.0, 1.0)
    return children


def as_playbook(search: Search) -> str:
    """The search's result as the entry of `policies.scripted.SCRIPTED["soc"]`."""
    arguments = ", ".join(f"{name}={value}" for name, value in search.best.items())
    return f'"{BEST_CONSTANT}": constant({arguments}),'
