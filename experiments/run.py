"""One training run: the algorithm, its folder, its budget, and going on after a stop or a crash.

    <out>/config.json        what was asked for, the scenario in full, versions, git hash
    <out>/progress.csv       one row an iteration (training episodes, exploration on) with validation columns (greedy)
    <out>/checkpoints/       last (to resume), best (by validation), start (the untrained networks)
    <out>/tensorboard/       the same numbers and every learner's losses

Validation episodes (their own seed) choose `best`, by the headline metric of the scenario's family.
"""

from __future__ import annotations

import csv
import json
import math
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import soc_env
from experiments.evaluate import evaluate
from experiments.families import protocol_of
from experiments.output import write_json
from experiments.progress import Progress
from experiments.provenance import command, provenance
from experiments.run_folder import CONFIG, PROGRESS
from soc_env.errors import CheckpointError, ConfigError, unknown_name
from soc_env.registry import family_of
from soc_env.settings import field_names

VALIDATION_SEED = 1_000_003  # an offset that keeps its episodes apart from training's and the evaluation's
VALIDATION_SECONDS, CHECKPOINT_SECONDS = 20.0, 60.0  # how often
ADVERSE_BIAS = 2.0  # tanh(2) = 0.96: hunting, isolation and remediation nearly full
SHOWN = ("reward", "score", "mttd", "mttc", "mttr", "fpr", "fdr", "csr")  # in the line of progress, where there are any
RUN_SETTINGS = ("scenario", "seed", "workers", "num_envs", "overrides", "adverse_start", "config")  # of a run


def hmarl_config(settings: Mapping[str, Any]) -> Any:
    """The HMARLConfig of a run's settings (`config.json`).

    Raises:
        ConfigError: an unknown setting.
    """
    from policies import HMARLConfig
    from policies.hmarl.settings import HMARLSettings, check_old_names

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

    Attributes that another task than a scenario's sets: `validation_seconds`, `checkpoint_seconds` (how often),
    `resume_with` (what the user is told to do; {} is the folder); methods: `aims`, `description`, `measure`.
    """

    validation_seconds, checkpoint_seconds = VALIDATION_SECONDS, CHECKPOINT_SECONDS
    resume_with = "hmarl-soc train --resume --out {}"
    family: str | None = None  # of the agents' observations, where the environment is none of our scenarios

    @classmethod
    def go(
        cls,
        out: Path,
        settings: Mapping[str, Any],
        resume: bool,
        minutes: float | None,
        steps: int | None,
        ray_address: str | None = None,
    ) -> None:
        """Trains in a folder, until the budget is used up; remote parts run on the Ray cluster of that address."""
        from policies.hmarl.ray_start import session

        with session(ray_address):
            run = cls(out, settings, resume)
            try:
                run.loop(minutes, steps)
            finally:
                run.close()

    def __init__(self, out: Path, settings: Mapping[str, Any], resume: bool):
        self.out, self.settings = out, settings
        self.checkpoints = out / "checkpoints"
        import torch

        torch.set_num_threads(1)  # networks this small lose more to a second thread's hand-over than they gain
        config = hmarl_config(settings)
        manifest = last_manifest(self.checkpoints) if resume and has_begun(out) else None
        self.algo = config.build_algo()
        if settings["adverse_start"] and manifest is None:
            start_adversely(self.algo)
        self.metrics, self.goal = self.aims()
        self.seconds, self.best = 0.0, -float("inf")
        self.wants_stop = False
        self.columns, self.latest = family_of(self.family or settings["scenario"]).columns, dict[str, float]()
        if manifest is not None:
            self.algo.restore_from_path(self.checkpoints / "last")
            self.seconds, self.best = manifest["seconds"], manifest[f"best_validation_{self.goal}"]
        else:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            origin = provenance()
            found = {"versions": origin["versions"], "git": origin["git_hash"], "command": command()}
            settings = {**settings, "scenario_fields": self.description(), **found}
            write_json(out / CONFIG, settings, is_strict=False)
            self.save("start", replay=False)
            self.save("last", replay=False)  # so that a run killed in its first minute can be resumed
        from tensorboardX import SummaryWriter

        columns = ("iteration", "steps", "seconds", "steps_per_second", *self.metrics)
        columns += tuple(f"validation_{name}" for name in self.metrics)
        self.csv = ProgressFile(out / PROGRESS, columns, self.algo.num_env_steps)
        self.tensorboard = SummaryWriter(str(out / "tensorboard"), purge_step=self.algo.num_env_steps or None)

    def aims(self) -> tuple[tuple[str, ...], str]:
        """The metrics of progress.csv, and the one that the best checkpoint is chosen by."""
        scenario = self.settings["scenario"]
        return protocol_of(scenario).progress, family_of(scenario).headline

    def description(self) -> dict[str, Any]:
        """What config.json keeps of the environment."""
        return scenario_fields(self.settings)

    def measure(self, policy: Any) -> dict[str, float]:
        """Metric -> mean over validation episodes of a greedy policy."""
        scenario, overrides = self.settings["scenario"], self.settings["overrides"]
        seed, num_episodes = self.settings["seed"] + VALIDATION_SEED, protocol_of(scenario).validation_episodes
        result = evaluate(policy, scenario, num_episodes, seed, **overrides)
        return {name: result.mean(name) for name in self.metrics}

    def close(self) -> None:
        self.csv.close()
        self.tensorboard.close()
        self.algo.stop()

    def save(self, name: str, *, replay: bool) -> None:
        from policies import save_checkpoint

        info = {"seconds": self.seconds, f"best_validation_{self.goal}": self.best, "seed": self.settings["seed"]}
        info |= {"family": self.family} if self.family else {}
        save_checkpoint(self.algo, self.checkpoints / name, replay=replay, **info)

    def loop(self, minutes: float | None, steps: int | None) -> None:
        """Trains until the budget is used up or a signal says stop; the last checkpoint is always written.

        Raises:
            KeyboardInterrupt: a signal said stop.
        """
        budget = minutes * 60 if minutes is not None else None
        validated = saved = self.seconds
        done = self._share_done(budget, steps)
        with stop_on_signal(self._stop), Progress(done=done) as progress:
            while done < 1.0 and not self.wants_stop:
                row, result = self._iterate()
                done = self._share_done(budget, steps)
                if done >= 1.0 or self.seconds - validated >= self.validation_seconds:
                    row |= self.validate()
                    validated = self.seconds
                self._write(row, result)
                if self.seconds - saved >= self.checkpoint_seconds:
                    self.save("last", replay=True)
                    saved = self.seconds
                progress.update(done, self._note(row))
            self.save("last", replay=True)
        if self.wants_stop:
            go_on = self.resume_with.format(shown_path(self.out))
            print(f"stopped at {self.algo.num_env_steps:,} steps; go on with: {go_on}")
            raise KeyboardInterrupt

    def _iterate(self) -> tuple[dict[str, Any], Mapping[str, Any]]:
        """One iteration: its row of progress.csv and RLlib's result."""
        start, steps_before = time.monotonic(), self.algo.num_env_steps
        result = self.algo.train()
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

    def _share_done(self, budget: float | None, steps: int | None) -> float:
        shares = [self.seconds / budget] if budget else []
        shares += [self.algo.num_env_steps / steps] if steps else []
        return min(1.0, max(shares))

    def _row(self, result: Mapping[str, Any], seconds: float, steps_before: int) -> dict[str, Any]:
        runners = result["env_runners"]
        episodes = {"reward": runners.get("episode_return_mean"), "length": runners.get("episode_len_mean")}
        episodes |= runners.get("episode_metrics", {})
        now = self.algo.num_env_steps
        row = {"iteration": result["training_iteration"], "steps": now, "seconds": round(self.seconds + seconds, 2)}
        row["steps_per_second"] = round((now - steps_before) / seconds, 1)
        # RLlib says NaN for an iteration in which no episode ended; a gap says it better.
        known = {name: episodes.get(name) for name in self.metrics}
        return row | {name: value for name, value in known.items() if value is not None and math.isfinite(value)}

    def validate(self) -> dict[str, float]:
        """Greedy episodes of the newest networks; the best so far is kept."""
        from policies import policy_of

        means = {f"validation_{name}": value for name, value in self.measure(policy_of(self.algo)).items()}
        if means[f"validation_{self.goal}"] > self.best:
            self.best = means[f"validation_{self.goal}"]
            self.save("best", replay=False)
        return means

    def _write(self, row: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        self.csv.append(row)
        scalars: dict[str, Any] = {f"episodes/{name}": row.get(name) for name in self.metrics}
        scalars |= {f"validation/{name}": row.get(f"validation_{name}") for name in self.metrics}
        for tier, values in result.get("learners", {}).items():
            scalars |= {f"{tier}/{name}": value for name, value in values.items()}
        for name, value in scalars.items():
            if isinstance(value, (int, float)) or getattr(value, "ndim", None) == 0:
                number = float(value)  # type: ignore[arg-type]
                if math.isfinite(number):  # no episode has ended yet: nothing to draw
                    self.tensorboard.add_scalar(name, number, row["steps"])


class ProgressFile:
    """progress.csv: a row is on disk before the next iteration; rows after a restored checkpoint are dropped."""

    def __init__(self, path: Path, columns: tuple[str, ...], steps: int):
        self._columns, rows = columns, []
        if path.exists():
            with path.open(newline="") as file:
                rows = [row for row in csv.DictReader(file) if int(row["steps"]) <= steps]
        partial = path.with_suffix(".partial")
        self._file = partial.open("w", newline="")
        self._writer = csv.DictWriter(self._file, columns, extrasaction="ignore")
        self._writer.writeheader()
        self._writer.writerows(rows)
        self._file.flush()
        os.replace(partial, path)

    def append(self, row: Mapping[str, Any]) -> None:
        self._writer.writerow({name: row.get(name, "") for name in self._columns})
        self._file.flush()

    def close(self) -> None:
        self._file.close()


# --- the folder


def shown_path(path: Path) -> str:
    """`path` as the user would type it from here."""
    return os.path.relpath(path)


def read_settings(out: Path) -> dict[str, Any]:
    try:
        settings = json.loads((out / CONFIG).read_text())
    except FileNotFoundError:
        raise CheckpointError(f"out: {str(out)!r} holds no run to resume (it has no config.json)") from None
    except ValueError:
        raise CheckpointError(f"out: {str(out / 'config.json')!r} is damaged") from None
    return {name: settings[name] for name in RUN_SETTINGS}


def last_manifest(checkpoints: Path) -> dict[str, Any]:
    from policies.checkpoint import read_manifest
    from policies.hmarl.saving import recover_checkpoint

    for name in ("best", "last"):
        recover_checkpoint(checkpoints / name)
    return read_manifest(checkpoints / "last")


def has_begun(out: Path) -> bool:
    """Whether a folder's run got further than writing its settings; if not, resuming it is starting it."""
    return (out / PROGRESS).exists() or (out / "checkpoints" / "last").exists()


def scenario_fields(settings: Mapping[str, Any]) -> dict[str, Any]:
    scenario = soc_env.make_scenario(settings["scenario"], **settings["overrides"])
    return {"hash": scenario.hash(), **scenario.to_dict()}


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
