"""`hmarl-soc train`: trains HMARL, shows how it goes, and leaves a run folder that says everything about the run.

    <out>/config.json        what was asked for, the scenario in full, versions, git hash
    <out>/progress.csv       one row an iteration (training episodes, exploration on) with validation columns (greedy)
    <out>/checkpoints/       last (to resume), best (by validation), start (the untrained networks)
    <out>/tensorboard/       the same numbers and every learner's losses
    <out>/evaluation.json, report.html   the comparison that ends a run
    <out>/evaluation-train.json          soc-v1 only: the same on the networks and attackers trained on

Validation episodes (their own seed) choose `best`, by reward on paper-v0 and by mission score on soc-v1; the final
comparison is on episodes that neither training nor validation has seen, on soc-v1 those of the test split.
"""

from __future__ import annotations

import csv
import json
import logging
import math
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import soc_env
from experiments.output import write_json
from experiments.provenance import command, provenance
from policies.presets import DEFAULT_NUM_ENVS, NUM_ENVS, preset_of
from soc_env.errors import CheckpointError, ConfigError, unknown_name
from soc_env.settings import field_names, merged

METRICS = ("reward", "length", "mttd", "mttr", "fpr", "csr")
SOC_METRICS = ("reward", "score", "loss", "damage", "disruption", "mttd", "mttc", "fdr", "action_fdr", "csr")
COMPARED = ("random", "null", "rule-soar", "zeros")
SOC_COMPARED = ("random", "null", "isolate-all", "rule-soar", "expert")
VALIDATION_SEED, EVALUATION_SEED = (
    1_000_003,
    2_000_003,
)  # offsets that keep their episodes apart from each other and from training's
VALIDATION_EPISODES, SOC_VALIDATION_EPISODES, EVALUATION_EPISODES = 512, 256, 1_000
VALIDATION_SECONDS, CHECKPOINT_SECONDS, LINE_SECONDS = 20.0, 60.0, 10.0  # how often
ADVERSE_BIAS = 2.0  # tanh(2) = 0.96: hunting, isolation and remediation nearly full
DEFAULT_ALGORITHMS = {"alert_triage": "DQN", "threat_hunter": "SAC", "response_orchestrator": "MADDPG"}
DEFAULT_ALGORITHMS["strategic_coordinator"] = "PPO"  # as in policies.tiers, which needs ray to be imported


def train(
    scenario: str = "paper-v0",
    *,
    seed: int = 0,
    minutes: float | None = None,
    steps: int | None = None,
    workers: int = 0,
    out: str | Path | None = None,
    resume: bool = False,
    overrides: Mapping[str, Any] | None = None,
    num_envs: int | None = None,
    adverse_start: bool = False,
    config: Mapping[str, Any] | None = None,
    evaluation: bool = True,
) -> Path:
    """Trains until `minutes` of training or `steps` environment steps are reached, then compares; returns the run
    folder.

    Args:
        scenario, overrides: the environment.
        seed: of everything drawn in the run.
        minutes, steps: the whole run's budget, also over resumptions; one of them (10 minutes if neither).
        workers: remote env runners; 0 samples in this process.
        out: run folder; default `runs/<scenario>-seed<seed>`.
        resume: go on from the folder's last checkpoint; every other setting is then the folder's own, but for the
            budget.
        num_envs: environments of each env runner; default `NUM_ENVS`'s.
        adverse_start: start from actors that hunt, isolate and remediate fully.
        config: settings of HMARLConfig by name, "tiers" among them.
        evaluation: end with the comparison and report.

    Raises:
        ScenarioError, ConfigError: a setting that is not allowed.
        CheckpointError: nothing to resume, or a damaged checkpoint.
        KeyboardInterrupt: stopped by the user, after everything is written.
    """
    out = Path(out or f"runs/{scenario}-seed{seed}").absolute()
    if minutes is None and steps is None:
        minutes = 10.0
    if resume:
        settings = read_settings(out)
    else:
        if (out / "config.json").exists():
            raise ConfigError(
                f"out: {str(out)!r} holds a run already; allowed: a new folder, or --resume to go on with it"
            )
        settings = {
            "scenario": scenario,
            "seed": seed,
            "workers": workers,
            "num_envs": NUM_ENVS.get(scenario, DEFAULT_NUM_ENVS) if num_envs is None else num_envs,
            "overrides": dict(overrides or {}),
            "adverse_start": adverse_start,
            "config": _with_preset(scenario, dict(config or {})),
        }
    soc_env.make_scenario(settings["scenario"], **settings["overrides"])  # fails before anything slow starts
    Run.go(out, settings, resume, minutes, steps)
    if evaluation:
        _finish(out, settings)
    return out


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
    """Biases the actors of all tiers to the high ends of their actions."""
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
    def go(cls, out: Path, settings: Mapping[str, Any], resume: bool, minutes: float | None, steps: int | None) -> None:
        """Trains in a folder, until the budget is used up."""
        with _quiet_ray():
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
        manifest = _last_manifest(self.checkpoints) if resume and _has_begun(out) else None
        self.algo = config.build_algo()
        if settings["adverse_start"]:
            start_adversely(self.algo)
        self.metrics, self.goal = self.aims()
        self.seconds, self.best = 0.0, -float("inf")
        self.wants_stop = False
        if manifest is not None:
            self.algo.restore_from_path(self.checkpoints / "last")
            self.seconds, self.best = manifest["seconds"], manifest[f"best_validation_{self.goal}"]
        else:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            origin = provenance()
            found = {"versions": origin["versions"], "git": origin["git_hash"], "command": command()}
            settings = {**settings, "scenario_fields": self.description(), **found}
            write_json(out / "config.json", settings, is_strict=False)
            self.save("start", replay=False)
            self.save("last", replay=False)  # so that a run killed in its first minute can be resumed
        from tensorboardX import SummaryWriter

        columns = ("iteration", "steps", "seconds", "steps_per_second", *self.metrics)
        columns += tuple(f"validation_{name}" for name in self.metrics)
        self.csv = _ProgressFile(out / "progress.csv", columns, self.algo.num_env_steps)
        self.tensorboard = SummaryWriter(str(out / "tensorboard"), purge_step=self.algo.num_env_steps or None)

    def aims(self) -> tuple[tuple[str, ...], str]:
        """The metrics of progress.csv, and the one that the best checkpoint is chosen by."""
        from experiments.evaluate import goal_of

        return metrics_of(self.settings["scenario"]), goal_of(self.settings["scenario"])

    def description(self) -> dict[str, Any]:
        """What config.json keeps of the environment."""
        return _scenario_fields(self.settings)

    def measure(self, policy: Any) -> dict[str, float]:
        """Metric -> mean over validation episodes of a greedy policy."""
        from experiments.evaluate import evaluate

        seed, overrides = self.settings["seed"] + VALIDATION_SEED, self.settings["overrides"]
        num_episodes = SOC_VALIDATION_EPISODES if self.goal == "score" else VALIDATION_EPISODES
        result = evaluate(policy, self.settings["scenario"], num_episodes, seed, **overrides)
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
        """Trains until the budget is used up or a signal says stop; the last checkpoint is always written."""
        budget = minutes * 60 if minutes is not None else None
        validated = saved = self.seconds
        row: dict[str, Any] = {}
        with _stop_on_signal(self._stop), _display(self.metrics) as show:
            done = self._share_done(budget, steps)
            while done < 1.0 and not self.wants_stop:
                start, steps_before = time.monotonic(), self.algo.num_env_steps
                result = self.algo.train()
                row = self._row(result, time.monotonic() - start, steps_before)
                self.seconds += time.monotonic() - start
                done = self._share_done(budget, steps)
                if done >= 1.0 or self.seconds - validated >= self.validation_seconds:
                    row |= self.validate()
                    validated = self.seconds
                self._write(row, result)
                if self.seconds - saved >= self.checkpoint_seconds:
                    self.save("last", replay=True)
                    saved = self.seconds
                show(row, done, self.seconds)
            self.save("last", replay=True)
        if self.wants_stop:
            print(
                f"stopped at {self.algo.num_env_steps:,} steps; go on with: {self.resume_with.format(_shown(self.out))}"
            )
            raise KeyboardInterrupt

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


class _ProgressFile:
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


def metrics_of(scenario: str) -> tuple[str, ...]:
    """The episode metrics of a run's progress.csv."""
    from experiments.evaluate import is_soc

    return SOC_METRICS if is_soc(scenario) else METRICS


def _finish(out: Path, settings: Mapping[str, Any]) -> None:
    """The comparison of the trained policy with the untrained and the scripted ones: table, JSON, report."""
    from experiments.evaluate import UNTRAINED, is_soc
    from experiments.report import write_report
    from experiments.tables import print_table

    if is_soc(settings["scenario"]):
        tested = _compare(out, settings, {"split": "test"})
        if settings["overrides"].get("split", "train") == "train":
            trained_on = _compare(out, settings, {}, leave_out=("random", UNTRAINED))
            write_json(out / "evaluation-train.json", {name: result.to_dict() for name, result in trained_on.items()})
            print("on the networks and attackers of the training split:")
            print_table(trained_on)
            print("on the held-out networks and attackers of the test split:")
    else:
        tested = _compare(out, settings, {})
    if moment := explained_moment(_best(out), settings):
        write_json(out / "attention.json", moment)
    write_json(out / "evaluation.json", {name: result.to_dict() for name, result in tested.items()})
    print_table(tested)
    report = write_report(out)
    print(f"report: {_shown(report)}")


def _compare(
    out: Path, settings: Mapping[str, Any], overrides: Mapping[str, Any], leave_out: tuple[str, ...] = ()
) -> dict[str, Any]:
    from experiments.evaluate import TRAINED, UNTRAINED, compare, is_soc
    from policies.checkpoint import load_policy

    scenario = settings["scenario"]
    named: dict[str, Any] = {name: name for name in (SOC_COMPARED if is_soc(scenario) else COMPARED)}
    named[UNTRAINED] = load_policy(out / "checkpoints" / "start")
    named[TRAINED] = _best(out)
    named = {name: policy for name, policy in named.items() if name not in leave_out}
    overrides = {**settings["overrides"], **overrides}
    return compare(named, scenario, EVALUATION_EPISODES, settings["seed"] + EVALUATION_SEED, **overrides)


def _best(out: Path) -> Any:
    from experiments.evaluate import checkpoint_folder
    from policies.checkpoint import load_policy

    return load_policy(checkpoint_folder(out))


def explained_moment(policy: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a policy with attention looks at in one step of a test episode: that with most cases in view.

    Returns:
        {} without attention, else "minute", its number, and "agents": {agent: {"tokens": names, "decisions": names of
        those whose features actions come from, "shares": (T, T), mean over heads}}.
    """
    import numpy as np

    from experiments.evaluate import is_soc
    from policies.networks.tokens import own_tokens
    from soc_env.engine.tables import TRIAGE

    split = {"split": "test"} if is_soc(settings["scenario"]) else {}
    scenario = soc_env.make_scenario(settings["scenario"], **{**settings["overrides"], **split})
    simulator = soc_env.Simulator(scenario, num_envs=1, seed=[settings["seed"] + EVALUATION_SEED])
    observations, most, found = simulator.reset(), -1, {}
    if not policy.attention(observations):
        return {}
    tokens = own_tokens(TRIAGE, observations[TRIAGE].shape[1])  # who is shown most cases
    shown = tokens.cases[:, tokens.present]
    for step in range(scenario.max_steps):
        seen = {agent: observation.copy() for agent, observation in simulator.observations.items()}
        if (num_cases := int((seen[TRIAGE][0, shown] > 0).sum())) > most:
            most, found = num_cases, {"minute": step, "seen": seen}
        for agent, action in policy(seen, simulator.decides).items():
            simulator.actions[agent][...] = action
        simulator.step()
        if simulator.terminated[0]:
            break
    agents = {}
    for agent, shares in policy.attention(found.pop("seen")).items():
        tokens = policy.tokens(agent)
        names = {"tokens": tokens.names, "decisions": tokens.decisions(agent)}
        agents[agent] = {**names, "shares": np.round(shares[0].mean(0), 4).tolist()}
    return {**found, "agents": agents}


# ---- small things
def _with_preset(scenario: str, config: dict[str, Any]) -> dict[str, Any]:
    """The scenario's preset with the user's settings on top: what the folder records and a resumption uses."""
    preset = preset_of(scenario)
    tiers = preset.get("tiers", {})
    for tier, own in dict(config.get("tiers", {})).items():
        keeps = "algorithm" not in own or own["algorithm"] == DEFAULT_ALGORITHMS.get(tier)
        tiers[tier] = merged(tiers.get(tier, {}) if keeps else {}, own)
    return {**preset, **config, **({"tiers": tiers} if tiers else {})}


def _shown(path: Path) -> str:
    """`path` as the user would type it from here."""
    return os.path.relpath(path)


def read_settings(out: Path) -> dict[str, Any]:
    try:
        settings = json.loads((out / "config.json").read_text())
    except FileNotFoundError:
        raise CheckpointError(f"out: {str(out)!r} holds no run to resume (it has no config.json)") from None
    except ValueError:
        raise CheckpointError(f"out: {str(out / 'config.json')!r} is damaged") from None
    return {
        name: settings[name]
        for name in ("scenario", "seed", "workers", "num_envs", "overrides", "adverse_start", "config")
    }


def _last_manifest(checkpoints: Path) -> dict[str, Any]:
    from policies.checkpoint import read_manifest
    from policies.hmarl.saving import recover_checkpoint

    for name in ("best", "last"):
        recover_checkpoint(checkpoints / name)
    return read_manifest(checkpoints / "last")


def _has_begun(out: Path) -> bool:
    """Whether a folder's run got further than writing its settings; if not, resuming it is starting it."""
    return (out / "progress.csv").exists() or (out / "checkpoints" / "last").exists()


def _scenario_fields(settings: Mapping[str, Any]) -> dict[str, Any]:
    scenario = soc_env.make_scenario(settings["scenario"], **settings["overrides"])
    return {"hash": scenario.hash(), **scenario.to_dict()}


@contextmanager
def _stop_on_signal(stop: Callable[[], None]) -> Iterator[None]:
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


@contextmanager
def _quiet_ray() -> Iterator[None]:
    """Starts a local Ray without dashboard and chatter, unless one is running; stops what it started."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("PYTHONWARNINGS", "ignore::DeprecationWarning")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import ray

        for name in ("ray", "ray.rllib", "ray.tune", "ray._common.deprecation", "ray._private"):
            logging.getLogger(name).setLevel(logging.ERROR)
        owns = not ray.is_initialized()
        if owns:
            ray.init(include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
        try:
            yield
        finally:
            if owns:
                ray.shutdown()


@contextmanager
def _display(metrics: tuple[str, ...]) -> Iterator[Callable[[Mapping[str, Any], float, float], None]]:
    """A live bar on a terminal, a line every ten seconds elsewhere."""
    is_soc = "score" in metrics
    latest: dict[str, float] = {}

    def text(row: Mapping[str, Any]) -> str:
        latest.update({k: v for k, v in row.items() if isinstance(v, (int, float))})
        get = latest.get
        parts = [f"{get('steps', 0):,} steps", f"{get('steps_per_second', 0):,.0f}/s"]
        shown = {"return": ("reward", "{:.2f}"), "MTTD": ("mttd", "{:.1f}"), "MTTR": ("mttr", "{:.1f}")}
        shown |= {"FPR": ("fpr", "{:.3%}"), "CSR": ("csr", "{:.1%}"), "greedy return": ("validation_reward", "{:.2f}")}
        if is_soc:
            shown = {"return": ("reward", "{:.1f}"), "score": ("score", "{:.1f}"), "MTTD": ("mttd", "{:.1f}")}
            shown |= {"MTTC": ("mttc", "{:.1f}"), "FDR": ("fdr", "{:.0%}"), "CSR": ("csr", "{:.0%}")}
            shown["greedy score"] = ("validation_score", "{:.1f}")
        return "  ".join(
            parts + [f"{label} {form.format(get(key))}" for label, (key, form) in shown.items() if key in latest]
        )

    def left(done: float, seconds: float, began: float) -> str:
        rest = (seconds) * (1 - done) / done if done > 0 else 0.0
        return f"{int(rest // 60)}:{int(rest % 60):02d} left"

    if sys.stdout.isatty():
        from rich.progress import BarColumn, Progress, TextColumn

        columns = (
            BarColumn(20),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[left]}"),
            TextColumn("{task.description}"),
        )
        with Progress(*columns, transient=False) as progress:
            task = progress.add_task("starting", total=1.0, left="")

            def show(row: Mapping[str, Any], done: float, seconds: float) -> None:
                progress.update(task, completed=done, description=text(row), left=left(done, seconds, 0.0))

            yield show
        return
    last = [0.0]

    def line(row: Mapping[str, Any], done: float, seconds: float) -> None:
        described = text(row)
        if done >= 1.0 or time.monotonic() - last[0] >= LINE_SECONDS:
            last[0] = time.monotonic()
            print(f"[{done:4.0%}, {left(done, seconds, 0.0)}]  {described}", flush=True)

    yield line
