"""One training run: the algorithm, its folder, its budget, and going on after a stop or a crash.

    <out>/config.json        what was asked for, the budget, the scenario in full, versions, git hash
    <out>/progress.csv       one row an iteration (training episodes, exploration on) with validation columns (greedy)
    <out>/checkpoints/       last (to resume), best (by validation), start (the untrained networks)
    <out>/tensorboard/       the same numbers and every learner's losses
    <out>/run.lock           held for as long as the run lasts (`experiments.run_lock`)

Validation episodes (their own seed) choose `best`, by the headline metric of the scenario's family.

A run that was killed, at whatever moment, goes on from `last`, whose state is exact where sampling and learning are in
this process. With a budget in steps, validations and checkpoints are at points that depend on steps alone: the resumed
run ends with the same bytes as one that was never stopped, but for times. With a budget in minutes the state is as
exact, but points and end go by the clock. With remote runners or learners (`workers`), whose order of work is the
operating system's, a resumed run is a run like it, not the same one.

A disk that is full does not end training: what cannot be written is said once and tried again, and `last` stays the
newest checkpoint that is whole. Only where the last one of all cannot be written the run fails, with one line.
"""

from __future__ import annotations

import math
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import soc_env
from experiments import garbage
from experiments.budget import Budget, Points, Rhythm
from experiments.evaluate import evaluate
from experiments.families import protocol_of
from experiments.output import write_json
from experiments.progress import Progress
from experiments.provenance import command, provenance
from experiments.run_folder import CONFIG, PROGRESS
from experiments.run_record import Curves, ProgressFile
from experiments.run_settings import plain
from soc_env.errors import ActionError, CheckpointError, ConfigError, RunError, shown, unknown_name
from soc_env.registry import family_of
from soc_env.settings import field_names

if TYPE_CHECKING:
    from soc_env.engine.tables import Column

VALIDATION_SEED = 1_000_003  # an offset that keeps its episodes apart from training's and the evaluation's
ADVERSE_BIAS = 2.0  # tanh(2) = 0.96: hunting, isolation and remediation nearly full
SHOWN = ("reward", "score", "mttd", "mttc", "mttr", "fpr", "fdr", "csr")  # in the line of progress, where there are any
START, LAST, BEST = "start", "last", "best"  # checkpoints


def hmarl_config(settings: Mapping[str, Any]) -> Any:
    """The HMARLConfig of a run's settings (`config.json`).

    Raises:
        ConfigError: an unknown setting.
    """
    from policies import HMARLConfig
    from policies.hmarl.ray_start import quiet
    from policies.hmarl.settings import HMARLSettings, check_old_names

    quiet()  # RLlib comments on configurations too, which are made before a session
    check_old_names(settings["config"])
    allowed = (*field_names(HMARLSettings), "tiers")
    for name in settings["config"]:
        if name not in allowed:
            raise ConfigError(unknown_name("config: setting", name, allowed))
    config = (
        HMARLConfig()
        .environment(settings["scenario"], env_config=settings["overrides"])
        .env_runners(num_env_runners=settings["workers"], num_envs_per_env_runner=settings["num_envs"])
        .debugging(seed=settings["seed"], log_level="ERROR")
    )
    return config.training(**settings["config"])


def start_adversely(algo: Any) -> None:
    """Biases the actors of all tiers to the high ends of their actions, before squashing or clipping."""
    algo.edit_networks(lambda tier, module: module.bias_actions(ADVERSE_BIAS))


class Run:
    """One training run: the algorithm, its folder and its display.

    Attributes that another task than a scenario's sets: `validation`, `checkpoint` (how often), `family`,
    `own_columns`; methods: `aims`, `description`, `measure`.

    Args:
        out: the run folder, whose lock the caller holds.
        settings: those of config.json (`experiments.run_settings`).
        resume: go on from the folder's `last`, if the run got so far.
        hint: what the user is told to do to go on.

    Raises:
        CheckpointError: a damaged checkpoint.
        RunError: the folder cannot be written.
    """

    validation: Rhythm | None = None  # None: as the scenario's protocol says
    checkpoint: Rhythm | None = None
    family: str | None = None  # of the agents' observations, where the environment is none of our scenarios
    own_columns: Mapping[str, Column] = {}  # of metrics that the family has not

    @classmethod
    def go(
        cls, out: Path, settings: Mapping[str, Any], resume: bool, hint: str, ray_address: str | None = None
    ) -> None:
        """Trains in a folder, until the budget is used up; remote parts run on the Ray cluster of that address."""
        from policies.hmarl.ray_start import session

        with session(ray_address):
            run = cls(out, settings, resume, hint)
            garbage.go_on()
            try:
                run.loop()
            finally:
                run.close()

    def __init__(self, out: Path, settings: Mapping[str, Any], resume: bool, hint: str):
        self.out, self.settings, self.hint = out, settings, hint
        self.budget, self.checkpoints = Budget.of(settings["budget"]), out / "checkpoints"
        import torch

        torch.set_num_threads(1)  # networks this small lose more to a second thread's hand-over than they gain
        self.metrics, self.goal = self.aims()
        self.seconds, self.best = 0.0, -math.inf
        self.wants_stop, self._failed = False, dict[str, str]()
        self.columns = {**family_of(self.family or settings["scenario"]).columns, **self.own_columns}
        self.latest = dict[str, float]()
        config = hmarl_config(settings)
        manifest = self._found() if resume and has_begun(out) else None
        self.algo = config.build_algo()
        try:
            if manifest is None:
                self._begin()
            else:
                self.seconds = number_of(manifest, "seconds", self.checkpoints / LAST)
                self.algo.restore_from_path(self.checkpoints / LAST)
            columns = ("iteration", "steps", "seconds", "steps_per_second", *self.metrics)
            columns += tuple(f"validation_{name}" for name in self.metrics)
            self.csv = ProgressFile(out / PROGRESS, columns, self.algo.num_env_steps)
        except OSError as error:
            self.algo.stop()
            raise RunError(f"{written(error)}; make room, then go on with: {hint}") from error
        except BaseException:
            self.algo.stop()
            raise
        self.curves = Curves(out / "tensorboard", self.algo.num_env_steps)

    def _begin(self) -> None:
        if self.settings["adverse_start"]:
            start_adversely(self.algo)
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        if not (self.out / CONFIG).exists():
            origin = provenance()
            found = {"versions": origin["versions"], "git": origin["git_hash"], "command": command()}
            settings = {**plain(self.settings), "scenario_fields": self.description(), **found}
            write_json(self.out / CONFIG, settings, is_strict=False)
        self.save(START, replay=False)
        self.save(LAST, replay=False)  # so that a run killed in its first minute can be resumed

    def _found(self) -> dict[str, Any] | None:
        """The manifest of `last`, or None if nothing was learned before it: the run then begins once more."""
        manifest = last_manifest(self.checkpoints)
        # The best mark is that of `best` itself: `last` may be older, if the run was killed after a validation.
        if (self.checkpoints / BEST).exists():
            self.best = number_of(read_manifest(self.checkpoints / BEST), self._mark, self.checkpoints / BEST)
        return manifest if number_of(manifest, "num_env_steps", self.checkpoints / LAST) else None

    @property
    def _mark(self) -> str:
        return f"best_validation_{self.goal}"

    def aims(self) -> tuple[tuple[str, ...], str]:
        """The metrics of progress.csv, and the one that the best checkpoint is chosen by."""
        scenario = self.settings["scenario"]
        return protocol_of(scenario).progress, family_of(scenario).headline

    def description(self) -> dict[str, Any]:
        """What config.json keeps of the environment."""
        scenario = soc_env.make_scenario(self.settings["scenario"], **self.settings["overrides"])
        return {"hash": scenario.hash(), **scenario.to_dict()}

    def measure(self, policy: Any) -> dict[str, float]:
        """Metric -> mean over validation episodes of a greedy policy."""
        scenario, overrides = self.settings["scenario"], self.settings["overrides"]
        seed, num_episodes = self.settings["seed"] + VALIDATION_SEED, protocol_of(scenario).validation_episodes
        result = evaluate(policy, scenario, num_episodes, seed, **overrides)
        return {name: result.mean(name) for name in self.metrics}

    def close(self) -> None:
        self.csv.close()
        self.curves.close()
        self.algo.stop()

    # --- writing

    def save(self, name: str, *, replay: bool, **info: Any) -> None:
        """Writes a checkpoint; OSError if it cannot be written, then the one before is still there."""
        from policies import save_checkpoint

        info = {"seconds": self.seconds, "seed": self.settings["seed"], **info}
        info |= {"family": self.family} if self.family else {}
        try:
            save_checkpoint(self.algo, self.checkpoints / name, replay=replay, **info)
        except OSError as error:
            error.filename = error.filename or str(self.checkpoints / name)
            raise

    def _save_last(self) -> None:
        self.csv.sync()  # a checkpoint without its rows would resume a run with a gap
        self.save(LAST, replay=True)

    def _attempt(self, what: str, write: Callable[[], None]) -> bool:
        """Whether something could be written. If not, the user is told, once in a run."""
        try:
            write()
        except OSError as error:
            if what not in self._failed:
                print(f"warning: {what}: {written(error)}; training goes on", file=sys.stderr, flush=True)
            self._failed[what] = written(error)
            return False
        return True

    # --- the loop

    def loop(self) -> None:
        """Trains until the budget is used up or a signal says stop; the last checkpoint is always written.

        Raises:
            KeyboardInterrupt: a signal said stop.
            RunError: something outside failed, for example the last checkpoint could not be written.
        """
        at, is_saved = (self.seconds, self.algo.num_env_steps), True
        validation, checkpoint = (Points(rhythm, self.budget, *at) for rhythm in self._rhythms())
        done = self.budget.share_done(*at)
        with stop_on_signal(self._stop), Progress(done=done) as progress:
            while done < 1.0 and not self.wants_stop:
                row, result = self._iterate()
                at = self.seconds, self.algo.num_env_steps
                done = self.budget.share_done(*at)
                if validation.is_due(*at) or done >= 1.0:
                    row |= self.validate()
                self._write(row, result)
                is_saved = checkpoint.is_due(*at) and self._attempt("checkpoint last", self._save_last)
                progress.update(done, self._note(row))
            is_saved = is_saved or self._attempt("checkpoint last", self._save_last)
        if not is_saved:
            raise RunError(f"{self._failed['checkpoint last']}; make room, then go on with: {self.hint}")
        if self.wants_stop:
            print(f"stopped at {self.algo.num_env_steps:,} steps; go on with: {self.hint}")
            raise KeyboardInterrupt

    def _rhythms(self) -> list[Rhythm]:
        """Of validations and checkpoints."""
        own = {"validation": self.validation, "checkpoint": self.checkpoint}
        return [rhythm or getattr(protocol_of(self.settings["scenario"]), name) for name, rhythm in own.items()]

    def _iterate(self) -> tuple[dict[str, Any], Mapping[str, Any]]:
        """One iteration: its row of progress.csv and RLlib's result."""
        start, steps_before = time.monotonic(), self.algo.num_env_steps
        try:
            result = self.algo.train()
        except RunError as error:
            raise RunError(f"{error}; go on with: {self.hint}") from error
        row = self._row(result, time.monotonic() - start, steps_before)
        self.seconds += time.monotonic() - start
        return row, result

    def _note(self, row: Mapping[str, Any]) -> str:
        """The newest of the numbers that a user follows, for the line of progress."""
        self.latest |= {name: value for name, value in row.items() if isinstance(value, (int, float))}
        parts = [f"{self.latest['steps']:,} steps", f"{self.latest['steps_per_second']:,.0f}/s"]
        goal = f"validation_{self.goal}"
        for name in (*SHOWN, goal):
            if name in self.latest:
                column = self.columns[name.removeprefix("validation_")]
                label = f"greedy {column.label.lower()}" if name == goal else column.label
                parts.append(f"{label} {column.format(self.latest[name])}{'%' if column.unit == '%' else ''}")
        return "  ".join(parts)

    def _stop(self) -> None:
        self.wants_stop = True

    def _row(self, result: Mapping[str, Any], seconds: float, steps_before: int) -> dict[str, Any]:
        runners = result.get("env_runners", {})  # none of the remote ones may have answered in time
        episodes = {"reward": runners.get("episode_return_mean"), "length": runners.get("episode_len_mean")}
        episodes |= runners.get("episode_metrics", {})
        now = self.algo.num_env_steps
        row = {"iteration": result["training_iteration"], "steps": now, "seconds": round(self.seconds + seconds, 2)}
        row["steps_per_second"] = round((now - steps_before) / max(seconds, 1e-9), 1)
        # RLlib says NaN for an iteration in which no episode ended; a gap says it better.
        known = {name: episodes.get(name) for name in self.metrics}
        return row | {name: value for name, value in known.items() if value is not None and math.isfinite(value)}

    def validate(self) -> dict[str, float]:
        """Greedy episodes of the newest networks; the best so far is kept.

        Raises:
            RunError: the networks no longer act.
        """
        from policies import policy_of

        try:
            means = self.measure(policy_of(self.algo))
        except ActionError as error:
            steps = self.algo.num_env_steps
            raise RunError(f"validation after {steps:,} steps: {error}; checkpoint last is from before") from error
        goal = means[self.goal]
        if math.isfinite(goal) and goal > self.best:
            mark = {self._mark: goal}
            if self._attempt("checkpoint best", lambda: self.save(BEST, replay=False, **mark)):
                self.best = goal
        return {f"validation_{name}": value for name, value in means.items() if math.isfinite(value)}

    def _write(self, row: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        self._attempt(PROGRESS, lambda: self.csv.append(row))
        scalars: dict[str, Any] = {f"episodes/{name}": row.get(name) for name in self.metrics}
        scalars |= {f"validation/{name}": row.get(f"validation_{name}") for name in self.metrics}
        for tier, values in result.get("learners", {}).items():
            scalars |= {f"{tier}/{name}": value for name, value in values.items()}
        self._attempt("tensorboard", lambda: self.curves.append(scalars, row["steps"]))


# --- the folder


def last_manifest(checkpoints: Path) -> dict[str, Any]:
    """The manifest of `last`, after the rests of a kill are put right.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    from policies.hmarl.saving import recover_checkpoint

    for name in (START, BEST, LAST):
        recover_checkpoint(checkpoints / name)
    return read_manifest(checkpoints / LAST)


def read_manifest(folder: Path) -> dict[str, Any]:
    """That of `policies.checkpoint`, which is imported when it is needed."""
    from policies import checkpoint

    return checkpoint.read_manifest(folder)


def number_of(manifest: Mapping[str, Any], name: str, folder: Path) -> float:
    """A finite number of a manifest; CheckpointError if it has none by that name."""
    value = manifest.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise CheckpointError(f"checkpoint {str(folder)!r}: {name} is {shown(value)}, allowed: a finite number")
    return value


def has_begun(out: Path) -> bool:
    """Whether a folder's run got further than writing its settings; if not, resuming it is starting it."""
    return (out / PROGRESS).exists() or (out / "checkpoints" / LAST).exists()


def is_trained(out: Path, budget: Budget) -> bool:
    """Whether the folder's run has used up its budget.

    Raises:
        CheckpointError: `last` is missing or damaged.
    """
    if not has_begun(out):
        return False
    last = last_manifest(out / "checkpoints")
    seconds, steps = (number_of(last, name, out / "checkpoints" / LAST) for name in ("seconds", "num_env_steps"))
    return budget.share_done(seconds, int(steps)) >= 1.0


def written(error: OSError) -> str:
    """One line about a file that cannot be written."""
    subject = f"{error.filename!r} " if error.filename else ""
    return f"{subject}cannot be written ({error.strerror or error})"


# --- what happens around a run


@contextmanager
def stop_on_signal(stop: Callable[[], None]) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM calls `stop`; a second one acts as usual."""

    def handle(signum: int, frame: Any) -> None:
        stop()
        for s, handler in before.items():
            signal.signal(s, handler)

    before = {}
    try:
        for s in (signal.SIGINT, signal.SIGTERM):
            before[s] = signal.signal(s, handle)
    except ValueError:  # not in the main thread: signals are the caller's
        pass
    try:
        yield
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)
