"""The comparison that ends a run: the trained policy beside the untrained and the scripted ones; files, table, report.

Each policy's episodes are kept in `<file>.part` as soon as they are played, so that a command that is stopped or killed
goes on with the next policy. A result is used again where nothing that it depends on has changed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import soc_env
from experiments.evaluate import TRAINED, UNTRAINED, EvaluationResult, compare
from experiments.families import protocol_of
from experiments.output import write_json
from experiments.progress import Progress
from experiments.provenance import provenance
from experiments.run import read_manifest, stop_on_signal, written
from experiments.run_folder import ATTENTION, EVALUATION, EVALUATION_TRAIN, REPORT, read_results
from experiments.run_lock import shown_path
from soc_env.errors import HMARLSOCError, RunError

EVALUATION_SEED = 2_000_003  # an offset that keeps its episodes apart from training's and validation's
EVALUATION_EPISODES = 1_000
STEPS = "num_env_steps"  # in the settings of the trained policy's result: which checkpoint it is of


class _Stopped(Exception):
    """A signal said stop."""


def finish(out: Path, settings: Mapping[str, Any], hint: str) -> None:
    """Makes what is missing of the comparison and the report, and prints the tables.

    Args:
        out: the run folder, whose lock the caller holds.
        settings: of the run.
        hint: what the user is told to do to go on.

    Raises:
        KeyboardInterrupt: a signal said stop; what is computed is kept.
        RunError: a file cannot be written.
    """
    stopped: list[bool] = []
    try:
        with stop_on_signal(lambda: stopped.append(True)):
            _finish(out, settings, stopped)
    except _Stopped:
        print(f"stopped before the end of the comparison; go on with: {hint}")
        raise KeyboardInterrupt from None
    except OSError as error:
        raise RunError(f"{written(error)}; training is whole: make room, then go on with: {hint}") from error


def is_finished(out: Path) -> bool:
    """Whether the comparison is there and is of the run's best checkpoint of now."""
    from policies.checkpoint import checkpoint_folder

    if not (out / REPORT).exists():
        return False
    trained = _read(out / EVALUATION).get(TRAINED)
    return trained is not None and trained.settings.get(STEPS) == read_manifest(checkpoint_folder(out))[STEPS]


def _finish(out: Path, settings: Mapping[str, Any], stopped: list[bool]) -> None:
    from experiments.attention import explained_moment
    from experiments.report import write_report
    from experiments.tables import print_table

    held_out = protocol_of(settings["scenario"]).held_out
    policies = _policies(out, settings)
    tested = _compare(out, settings, policies, held_out, EVALUATION, stopped)
    if held_out and settings["overrides"].get("split", "train") == "train":
        known = {name: policy for name, policy in policies.items() if name not in ("random", UNTRAINED)}
        trained_on = _compare(out, settings, known, {}, EVALUATION_TRAIN, stopped)
        print("on the networks and attackers of the training split:")
        print_table(trained_on)
        print("on the held-out networks and attackers of the test split:")
    print_table(tested)
    scenario = soc_env.make_scenario(settings["scenario"], **{**settings["overrides"], **held_out})
    if moment := explained_moment(policies[TRAINED], scenario, settings["seed"] + EVALUATION_SEED):
        write_json(out / ATTENTION, moment)
    print(f"report: {shown_path(write_report(out))}")


def _policies(out: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Name -> policy, those that the run is compared with, then its own."""
    from policies import load_policy
    from policies.scripted import is_code

    code: dict[str, Any] = {}  # of the caller, since no file may name any
    for tier, own in settings["config"].get("tiers", {}).items():
        policy = own.get("policy")
        if policy is not None and is_code(policy):
            code[tier] = policy
    named: dict[str, Any] = {name: name for name in protocol_of(settings["scenario"]).compared}
    named[UNTRAINED] = load_policy(out / "checkpoints" / "start", scripted=code)
    named[TRAINED] = load_policy(out, scripted=code)
    return named


def _compare(
    out: Path,
    settings: Mapping[str, Any],
    policies: Mapping[str, Any],
    fields: Mapping[str, Any],
    file: str,
    stopped: list[bool],
) -> dict[str, EvaluationResult]:
    """Results by name, which are then in `file`; those that are there already are not made again."""
    overrides, part = {**settings["overrides"], **fields}, out / f"{file}.part"
    known, results = {**_read(out / file), **_read(part)}, dict[str, EvaluationResult]()
    with Progress(len(policies) * EVALUATION_EPISODES, "episodes", label="comparing") as progress:
        for number, (name, policy) in enumerate(policies.items()):

            def show(name: str, num_finished: int, before: int = number * EVALUATION_EPISODES) -> None:
                progress.update(before + num_finished, name)
                if stopped and num_finished < EVALUATION_EPISODES:
                    raise _Stopped

            own = {STEPS: policy.manifest[STEPS]} if name == TRAINED else {}
            if _is_of_now(known.get(name), settings, overrides, own):
                results[name] = known[name]
                continue
            seed = settings["seed"] + EVALUATION_SEED
            found = compare({name: policy}, settings["scenario"], EVALUATION_EPISODES, seed, progress=show, **overrides)
            results[name] = found[name].with_settings(own)
            write_json(part, {done: result.to_dict() for done, result in results.items()})
            if stopped and len(results) < len(policies):
                raise _Stopped
    write_json(out / file, {name: result.to_dict() for name, result in results.items()})
    with contextlib.suppress(OSError):
        part.unlink()
    return results


def _is_of_now(
    result: EvaluationResult | None, settings: Mapping[str, Any], overrides: Mapping[str, Any], own: Mapping[str, Any]
) -> bool:
    """Whether a result is what would be computed now: same episodes, same code, same checkpoint."""
    expected = {
        "scenario": settings["scenario"],
        "scenario_hash": soc_env.make_scenario(settings["scenario"], **overrides).hash(),
        "seed": settings["seed"] + EVALUATION_SEED,
        "num_episodes": EVALUATION_EPISODES,
        **provenance(),
        **own,
    }
    return result is not None and all(result.settings.get(name) == value for name, value in expected.items())


def _read(path: Path) -> dict[str, EvaluationResult]:
    """The results in a file; none where it is missing or damaged, then they are made again."""
    try:
        return read_results(path)
    except (HMARLSOCError, KeyError, TypeError, AttributeError, ValueError):
        return {}
