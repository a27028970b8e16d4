"""The command: what is checked before Ray starts, Ray Tune over all trials, and the table of what came out."""

from __future__ import annotations

import functools
import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import soc_env
from experiments.budget import DEFAULT_MINUTES, Budget
from experiments.output import write_json
from experiments.progress import Progress
from experiments.provenance import command, provenance
from experiments.run import stop_on_signal
from experiments.run_folder import read_json
from experiments.run_lock import run_lock, shown_path
from experiments.tables import print_rows
from experiments.tune.records import FAILED, FINISHED, OVER, RUNNING, SEARCH, STOP, STOPPED, Records, Trial
from experiments.tune.space import Space
from experiments.tune.trial import (
    COPIED,
    ERROR,
    NUMBER,
    SCORE,
    SETTINGS,
    SHARE,
    SLOT,
    checked_config,
    network_shapes,
    play,
    run_settings,
)
from policies.hmarl import ray_start
from policies.presets import DEFAULT_NUM_ENVS, NUM_ENVS
from soc_env.errors import CheckpointError, ConfigError, RunError, unknown_name
from soc_env.registry import family_of, kept_overrides

SCHEDULERS = ("asha", "pbt", "none")
DEFAULT_SAMPLES = 8
OF_TUNE = "ray"  # in the search's folder: what Tune writes of itself
KINDS = {  # of what `tune.json` has to hold
    "scenario": str,
    "overrides": dict,
    "scheduler": str,
    "budget": dict,
    "workers": int,
    "num_envs": int,
    "space": dict,
    "seeds": list,
    "hint": str,
}
FAILURES = 2  # times that a trial whose process ends is started again


def tune(
    space: Mapping[str, Any] | None = None,
    scenario: str = "soc-v1",
    *,
    samples: int = DEFAULT_SAMPLES,
    scheduler: str = "asha",
    seed: int = 0,
    minutes: float | None = None,
    steps: int | None = None,
    workers: int = 0,
    num_envs: int | None = None,
    overrides: Mapping[str, Any] | None = None,
    parallel: int | None = None,
    out: str | Path = "runs/tune",
    resume: bool = False,
    ray_address: str | None = None,
) -> Records:
    """Trains with settings from a search space; returns what is known of every trial.

    Args:
        space: settings of HMARLConfig by name, some of which are distributions (`experiments.tune.space`).
        samples: times that every point of the grid is trained; without a grid the number of trials.
        seed: of what is drawn, and of every trial's training; of a grid alone sample i has seed + i.
        minutes, steps, workers, num_envs, scenario, overrides: of each trial, as `experiments.train.train` has them.
        parallel: most trials at once; None for as many as there are CPUs, of pbt for all, which share the CPUs.
        out: folder of the search; on a cluster one that all nodes share.
        resume: go on with the search in the folder; only `parallel` and `ray_address` count then.
        ray_address: of a Ray cluster that trials run on, in place of a private Ray.

    Raises:
        ScenarioError, ConfigError, CheckpointError: something that is not allowed or damaged; nothing was started.
        RunError, KeyboardInterrupt: no trial has been validated; stopped by the user.
    """
    ray_start.quiet()
    out = Path(out).absolute()
    budget = (Budget.asked(minutes, steps) or Budget(DEFAULT_MINUTES)).to_plain()
    given = {"scenario": scenario, "samples": samples, "scheduler": scheduler, "seed": seed, "budget": budget}
    given |= {"workers": workers, "num_envs": num_envs or NUM_ENVS.get(scenario, DEFAULT_NUM_ENVS)}
    given |= {"overrides": kept_overrides(overrides or {}), "space": space}
    with run_lock(out):
        search = Search(out, *(_read(out) if resume else _new(out, given)), parallel)
        if search.waiting():
            with ray_start.session(ray_address, starts_for=search.parts()):
                search.run()
        return search.finish()


def _read(out: Path) -> tuple[dict[str, Any], Records]:
    if not (out / SEARCH).exists():
        raise CheckpointError(f"out: {str(out)!r} holds no search to resume (it has no {SEARCH})")
    asked = read_json(out / SEARCH)
    for name, kind in KINDS.items():
        if not isinstance(asked, dict) or not isinstance(asked.get(name), kind):
            raise CheckpointError(f"out: {str(out / SEARCH)!r} is damaged: it has no {name} of type {kind.__name__}")
    _check_asked(asked)
    return asked, Records.read(out, family_of(asked["scenario"]).headline)


def _check_asked(asked: Mapping[str, Any]) -> None:
    if asked["scheduler"] not in SCHEDULERS:
        raise ConfigError(unknown_name("scheduler", asked["scheduler"], SCHEDULERS))
    soc_env.make_scenario(asked["scenario"], **asked["overrides"])
    Budget.of(asked["budget"])


def _new(out: Path, asked: dict[str, Any]) -> tuple[dict[str, Any], Records]:
    """Draws the trials and checks everything; writes nothing."""
    if (out / SEARCH).exists():
        raise ConfigError(f"out: {str(out)!r} holds a search already; allowed: a new folder, or --resume to go on")
    if asked["space"] is None:
        raise ConfigError("space is missing: a search that begins needs one")
    _check_asked(asked)
    space = Space.of(asked["space"])
    drawn = space.draw(asked["samples"], asked["seed"])
    if asked["scheduler"] == "pbt" and len(drawn) < 2:
        raise ConfigError("samples: pbt needs two trials or more, which copy each other")
    per_sample = len(drawn) // asked["samples"] if space.is_all_grid else len(drawn)
    asked["seeds"] = [asked["seed"] + number // per_sample for number in range(len(drawn))]
    _check(space, asked, drawn)
    asked["hint"] = shlex.join(["hmarl-soc", "tune", "--resume", "--out", shown_path(out)])
    trials = [Trial(number, values, asked["seeds"][number]) for number, values in enumerate(drawn)]
    return asked, Records(out, family_of(asked["scenario"]).headline, trials)


def _check(space: Space, asked: Mapping[str, Any], drawn: list[dict[str, Any]]) -> None:
    """Builds the configuration of both ends of every distribution, and of every trial."""
    cases = [*space.extremes(), *((f"trial {number:03d}", values) for number, values in enumerate(drawn))]
    first = None
    for where, values in cases:
        config = checked_config(run_settings(asked, values, asked["seed"]), f"space: {where}")
        if asked["scheduler"] == "pbt":
            shapes = network_shapes(config)
            first = first or shapes
            if shapes != first:
                raise ConfigError(
                    f"space: {where} gives networks of other shapes, which pbt cannot copy; allowed: settings that "
                    "leave the networks as they are, or --scheduler asha"
                )


class Search:
    """All trials of a search that are not over, under Ray Tune.

    Attributes:
        records: what is known of every trial; its files are up to date after every result.
    """

    def __init__(self, out: Path, asked: Mapping[str, Any], records: Records, parallel: int | None):
        self.out, self.asked, self.records, self.parallel = out, asked, records, parallel
        self.is_stopped = False
        self._shares = {t.number: 1.0 if t.status in OVER else 0.0 for t in records.trials}
        self._progress: Progress | None = None

    def waiting(self) -> list[Trial]:
        """The trials that are not over."""
        return [trial for trial in self.records.trials if trial.status not in OVER]

    def parts(self) -> list[Any]:
        """What a private Ray is started for. Trials of PBT wait for each other, so all of them run at once: to take
        turns, which Tune would have them do, costs each the start of a process every time."""
        needs = [request(self.asked, {SLOT: {SETTINGS: t.values}}).required_resources for t in self.waiting()]
        most = {name: max(need.get(name, 0.0) for need in needs) for need in needs for name in need}
        together = max(1, int(len(os.sched_getaffinity(0)) // most["CPU"]))
        number = self.parallel or (len(needs) if self.asked["scheduler"] == "pbt" else together)
        return [ray_start.Part("trial", min(number, len(needs)), most)]

    def run(self) -> None:
        """Runs them.

        Raises:
            ConfigError: a trial asks for more than Ray has.
        """
        self._check_resources()
        self._begin()
        tuner = self._tuner()
        with _quiet_tune(), stop_on_signal(self.stop), Progress(done=self.share()) as self._progress:
            try:
                tuner.fit()
            finally:
                self._end()

    def _tuner(self) -> Any:
        from ray.tune import FailureConfig, RunConfig, TuneConfig, Tuner, grid_search, with_parameters, with_resources

        from experiments.tune.schedule import SCHEDULERS as builders
        from experiments.tune.watch import Stop, Watch

        asked, budget, watch = dict(self.asked), Budget.of(self.asked["budget"]), Watch(self)
        time = ("steps", budget.steps) if budget.steps else ("seconds", 60 * (budget.minutes or 0.0))
        scheduler = builders[asked["scheduler"]](self.records, Space.of(asked["space"]).distributions, *time)
        slots = [{NUMBER: trial.number, SETTINGS: trial.values} for trial in self.waiting()]
        trainable = with_parameters(play, out=str(self.out), asked=asked)
        return Tuner(
            with_resources(trainable, functools.partial(request, asked)),
            param_space={SLOT: grid_search(slots)},
            tune_config=TuneConfig(
                scheduler=scheduler,
                max_concurrent_trials=self.parallel,
                trial_name_creator=_name,
                trial_dirname_creator=_name,
                reuse_actors=False,
            ),
            run_config=RunConfig(
                name=OF_TUNE,
                storage_path=str(self.out),
                callbacks=[watch],
                stop=Stop(watch),
                failure_config=FailureConfig(max_failures=FAILURES),
                verbose=0,
            ),
        )

    def _begin(self) -> None:
        if not (self.out / SEARCH).exists():
            origin = provenance()
            found = {"versions": origin["versions"], "git": origin["git_hash"], "command": command()}
            write_json(self.out / SEARCH, {**self.asked, **found}, is_strict=False)
        self.records.write()
        self._end()

    def _end(self) -> None:
        """Removes what is of one process alone; nothing that Tune wrote is ever read."""
        (self.out / STOP).unlink(missing_ok=True)
        shutil.rmtree(self.out / OF_TUNE, ignore_errors=True)

    def _check_resources(self) -> None:
        """A trial that fits nowhere would wait for ever."""
        import ray

        there = ray.cluster_resources()
        for trial in self.waiting():
            wanted = request(self.asked, {SLOT: {SETTINGS: trial.values}})
            for name, amount in wanted.required_resources.items():
                if amount > there.get(name, 0.0):
                    raise ConfigError(
                        f"trial {trial.name} needs {amount:g} {name}, but Ray has {there.get(name, 0.0):g}: fewer "
                        "workers or learners are allowed, or a larger cluster"
                    )

    # ---- what trials tell
    def stop(self) -> None:
        """Asks the running trials to write what they have."""
        self.is_stopped = True
        (self.out / STOP).touch()

    def started(self, number: int, values: Mapping[str, Any]) -> None:
        trial = self.records.trials[number]
        trial.status, trial.values = RUNNING, dict(values)
        self.records.write()

    def told(self, number: int, values: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        """A trial has been validated, or has refused."""
        trial = self.records.trials[number]
        if ERROR in result:
            trial.error = result[ERROR]
        elif SCORE in result:
            trial.values, trial.copied = dict(values), result[COPIED]
            trial.steps, trial.seconds = result["steps"], result["seconds"]
            trial.score = max(result[SCORE], -float("inf") if trial.score is None else trial.score)
            trial.told.append({"steps": trial.steps, "seconds": trial.seconds, SCORE: result[SCORE]})
            if not (self.records.folder(trial) / "checkpoints").is_dir():
                raise RunError(
                    f"trial {trial.name} writes on another machine: {str(self.out)!r} must be a folder that all nodes "
                    "of the cluster share"
                )
        self._shares[number] = result.get(SHARE, 0.0)
        self.records.write()
        self.show()

    def ended(self, number: int, error: str | None = None) -> None:
        """A trial is over: it has used its budget, the scheduler or the user has stopped it, or it has failed."""
        trial = self.records.trials[number]
        trial.error = trial.error or error
        if trial.error:
            trial.status = FAILED
        elif self._shares[number] >= 1.0:
            trial.status = FINISHED
        else:
            trial.status = RUNNING if self.is_stopped else STOPPED
        if trial.status in OVER:
            self._shares[number] = 1.0
        self.records.write()
        self.show()

    def share(self) -> float:
        return sum(self._shares.values()) / len(self._shares)

    def show(self) -> None:
        """The line of progress over all trials."""
        over, best = sum(t.status in OVER for t in self.records.trials), self.records.best()
        note = f"{over} of {len(self.records.trials)} trials over"
        if best is not None:
            note += f"  best {self.records.metric} {best.score:.2f} (trial {best.name})"
        if self._progress is not None:
            self._progress.update(self.share(), note)

    def finish(self) -> Records:
        """Prints the table, and where the best checkpoint is."""
        header, rows = self.records.table()
        asked, best = self.asked, self.records.best()
        budget = Budget.of(asked["budget"])
        caption = f"{self.records.metric}: best greedy validation; {asked['scenario']}, {budget} a trial at most"
        print_rows(header, rows, caption, sys.stdout)
        if best is not None:
            print(f"best: hmarl-soc evaluate --checkpoint {shown_path(self.records.folder(best))}")
        if self.is_stopped:
            print(f"go on with: {asked['hint']}")
            raise KeyboardInterrupt
        if best is None:
            first = self.records.trials[0]
            raise RunError(f"no trial was validated; trial {first.name}: {first.error}")
        return self.records


def request(asked: Mapping[str, Any], slot: Mapping[str, Any]) -> Any:
    """What a trial needs: its own process, its remote env runners and its tiers' remote learners."""
    from experiments.run import hmarl_config
    from policies import HMARL

    return HMARL.default_resource_request(hmarl_config(run_settings(asked, slot[SLOT][SETTINGS], 0)))


def _name(trial: Any) -> str:
    return f"{trial.config[SLOT][NUMBER]:03d}"


@contextmanager
def _quiet_tune() -> Any:
    """Tune without files and handlers of its own, as far as it can be had."""
    wanted = {
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # a trial's folder has its own
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        "RAY_AIR_NEW_OUTPUT": "0",  # the old one is silent when it is told to be
        "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a trial that refuses its settings has no score
    }
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
