"""One trial: a training run in a folder of its own, which tells Tune about every validation.

The folder is an ordinary run folder, so whatever stops a trial (Ctrl-C, a killed process, a lost node), it goes on from
its own checkpoint. To copy another trial is to take that one's last checkpoint into one's own folder.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from experiments.budget import Budget, Rhythm
from experiments.families import protocol_of
from experiments.output import write_json
from experiments.run import LAST, Run, has_begun, hmarl_config
from experiments.run_folder import CONFIG, read_json
from experiments.run_lock import run_lock
from experiments.run_settings import check_names, remove_rests, with_preset
from experiments.tune.records import FOLDERS, STOP, VALUES
from experiments.tune.space import Space
from soc_env.errors import CheckpointError, ConfigError, HMARLSOCError, RunError
from soc_env.files import link_or_copy, partial_folder, replace_folder

SLOT, NUMBER, SETTINGS = "slot", "number", "values"  # the names in a trial's configuration
SCORE, SHARE, ERROR, COPIED = "validation", "share_done", "error", "copied"  # in its results
DONOR = "trial.json"  # the file of what Tune takes for a trial's checkpoint: which trial it is
PATIENCE = 60.0  # [s] for a process of a killed search to let a trial's folder go
VALIDATIONS = 12  # of a trial, so that every rung of a schedule finds a new one


def run_settings(asked: Mapping[str, Any], values: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """The settings of a trial's run, as `experiments.run_settings` has them."""
    config = with_preset(asked["scenario"], Space.of(asked["space"]).settings(values))
    shared = {name: asked[name] for name in ("scenario", "workers", "num_envs", "overrides", "budget")}
    return {**shared, "seed": seed, "adverse_start": False, "config": config}


class TrialRun(Run):
    """A run that tells about its validations, after all is on disk, and stops when a file asks it to."""

    def __init__(self, out: Path, settings: Mapping[str, Any], hint: str, tell: Callable[[dict[str, Any]], None]):
        minutes = Budget.of(settings["budget"]).minutes or 0.0
        usual = protocol_of(settings["scenario"]).validation
        often = min(usual.seconds, 60 * minutes / VALIDATIONS)
        self.validation = Rhythm(often, 1 / VALIDATIONS, least_steps=1, most_steps=usual.most_steps)
        super().__init__(out, settings, has_begun(out), hint)
        self._tell, self._stop_file = tell, out.parent.parent / STOP

    def _iterate(self) -> tuple[dict[str, Any], Mapping[str, Any]]:
        self.wants_stop |= self._stop_file.exists()
        return super()._iterate()

    def _write(self, row: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        super()._write(row, result)
        score = row.get(f"validation_{self.goal}")
        if score is not None:  # what a scheduler stops or copies is what was validated
            self._attempt("checkpoint last", self._save_last)
            self._tell({SCORE: score, "steps": row["steps"], "seconds": self.seconds})


def play(slot: Mapping[str, Any], *, out: str, asked: Mapping[str, Any]) -> None:
    """What Tune runs for a trial, in a process of its own.

    Args:
        slot: {SLOT: {NUMBER: whose settings they are, SETTINGS: place -> value}}; the trial itself is by its name.
        out: folder of the search.
        asked: `tune.json`.
    """
    from ray import tune

    name, values = tune.get_context().get_trial_name(), slot[SLOT][SETTINGS]
    folder = Path(out) / FOLDERS / name
    checkpoint = tune.get_checkpoint()
    donor = name if checkpoint is None else read_json(Path(checkpoint.path) / DONOR)["name"]
    seed = asked["seeds"][int(name)]
    try:
        settings = run_settings(asked, values, seed)
        with _own(folder):
            if donor != name:
                copy_trial(folder.parent / donor, folder, values, settings)
            _train(folder, settings, asked["hint"])
    except RunError:  # something outside failed: Tune starts the trial again
        raise
    except HMARLSOCError as error:  # it would fail again
        tune.report({ERROR: str(error), SHARE: 1.0, SCORE: -float("inf"), "steps": 0, "seconds": 0.0, COPIED: 0})


@contextlib.contextmanager
def _own(folder: Path) -> Iterator[None]:
    """Holds the lock of a trial's folder; waits for a process of a killed search, which ends with its Ray."""
    end = time.monotonic() + PATIENCE
    with contextlib.ExitStack() as held:
        while True:
            try:
                held.enter_context(run_lock(folder))
                break
            except ConfigError:
                if time.monotonic() > end:
                    raise
                time.sleep(1.0)
        remove_rests(folder)
        yield


def _train(folder: Path, settings: Mapping[str, Any], hint: str) -> None:
    from ray import tune

    budget, copied, has_told = Budget.of(settings["budget"]), num_copies(folder), False

    def tell(found: dict[str, Any]) -> None:
        nonlocal has_told
        has_told = True
        share = budget.share_done(found["seconds"], found["steps"])
        with tempfile.TemporaryDirectory() as place:
            (Path(place) / DONOR).write_text(json.dumps({"name": folder.name}))
            checkpoint = tune.Checkpoint.from_directory(place)
            tune.report({**found, SHARE: share, COPIED: copied}, checkpoint=checkpoint)

    run = TrialRun(folder, settings, hint, tell)
    try:
        run.loop()
        if not has_told:  # it was at its end when the search was killed
            tell({SCORE: run.best, "steps": run.algo.num_env_steps, "seconds": run.seconds})
    except KeyboardInterrupt:  # the file said so
        return
    finally:
        run.close()


def num_copies(folder: Path) -> int:
    """How often a trial went on from another one."""
    return len(read_json(folder / VALUES)["copies"]) if (folder / VALUES).exists() else 0


def copy_trial(donor: Path, folder: Path, values: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Makes the last checkpoint of another trial that of the one in `folder`, and notes the settings to go on with.

    The donor goes on meanwhile: a copy that it has replaced a part of is seen by its digests, and made again.

    Raises:
        CheckpointError: there is no whole checkpoint.
    """
    checkpoints = folder / "checkpoints"
    partial = partial_folder(checkpoints / LAST)
    manifest = _copied(donor / "checkpoints" / LAST, partial)
    before = read_json(folder / VALUES)["copies"] if (folder / VALUES).exists() else []
    copies = [*before, {"from": donor.name, "steps": manifest["num_env_steps"], "values": dict(values)}]
    write_json(folder / VALUES, {"values": dict(values), "copies": copies})
    write_json(folder / CONFIG, {**read_json(folder / CONFIG), **settings}, is_strict=False)
    replace_folder(partial, checkpoints / LAST)


def _copied(source: Path, target: Path) -> dict[str, Any]:
    from policies.checkpoint import read_manifest

    end = time.monotonic() + PATIENCE
    while True:
        try:
            shutil.copytree(source, target, copy_function=link_or_copy)
            return read_manifest(target)
        except (OSError, shutil.Error, CheckpointError) as error:
            shutil.rmtree(target, ignore_errors=True)
            if time.monotonic() > end:
                raise CheckpointError(f"{str(source)!r} cannot be copied ({error})") from error
            time.sleep(0.5)


def checked_config(settings: Mapping[str, Any], where: str) -> Any:
    """The HMARLConfig of a trial's run; `where` is said before what is wrong.

    Raises:
        ConfigError: a setting that is unknown, out of range, without effect, or does not fit the scenario.
    """
    try:
        check_names(settings["config"], {}, "config")
        config = hmarl_config(settings)
        config.validate()
    except HMARLSOCError as error:
        raise ConfigError(f"{where}: {error}") from None
    return config


def network_shapes(config: Any) -> dict[tuple[str, str], tuple[int, ...]]:
    """(tier, name) -> shape of everything that networks of a configuration hold, critics too."""
    small = config.copy(copy_frozen=False).env_runners(num_env_runners=0, num_envs_per_env_runner=1)
    modules = config.get_multi_rl_module_spec(spaces=small.env_runner_cls(config=small).get_spaces()).build()
    states = {tier: module.state_dict() for tier, module in modules.items()}
    return {(tier, name): tuple(value.shape) for tier, state in states.items() for name, value in state.items()}
