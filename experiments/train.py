"""`hmarl-soc train`: trains HMARL, shows how it goes, and leaves a run folder that says everything about the run.

The folder is that of `experiments.run`, and at the end of a run
    <out>/evaluation.json, report.html   the comparison that ends it
    <out>/evaluation-train.json          soc-v1 only: the same on the networks and attackers trained on
    <out>/attention.json                 with attention only: what the policy looks at in one moment

The final comparison is on episodes that neither training nor validation has seen, on soc-v1 those of the test split.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import soc_env
from experiments.families import protocol_of
from experiments.output import write_json
from experiments.progress import Progress
from experiments.run import Run, read_settings, shown_path
from experiments.run_folder import ATTENTION, CONFIG, EVALUATION, EVALUATION_TRAIN
from policies.presets import DEFAULT_NUM_ENVS, NUM_ENVS, preset_of
from soc_env.errors import ConfigError
from soc_env.settings import merged

EVALUATION_SEED = 2_000_003  # an offset that keeps its episodes apart from training's and validation's
EVALUATION_EPISODES = 1_000


def train(
    scenario: str = "soc-v1",
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
    """Trains until a budget is used up, then compares; returns the run folder.

    Args:
        scenario, overrides: the environment.
        seed: of everything drawn in the run.
        minutes, steps: the whole run's budget, also over resumptions; one of them (10 minutes if neither).
        workers: remote env runners; 0 samples in this process.
        out: run folder; default `runs/<scenario>-seed<seed>`.
        resume: go on from the folder's last checkpoint; all settings but the budget are then the folder's own.
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
    if resume:
        settings = read_settings(out)
    else:
        asked = {"scenario": scenario, "seed": seed, "workers": workers, "num_envs": num_envs}
        settings = _new_settings(out, {**asked, "adverse_start": adverse_start}, overrides or {}, config or {})
    soc_env.make_scenario(settings["scenario"], **settings["overrides"])  # fails before anything slow starts
    Run.go(out, settings, resume, 10.0 if minutes is None and steps is None else minutes, steps)
    if evaluation:
        _finish(out, settings)
    return out


def _new_settings(
    out: Path, asked: Mapping[str, Any], overrides: Mapping[str, Any], config: Mapping[str, Any]
) -> dict[str, Any]:
    """The settings of a run that begins, completed; ConfigError where the folder has a run."""
    if (out / CONFIG).exists():
        raise ConfigError(f"out: {str(out)!r} holds a run already; allowed: a new folder, or --resume to go on with it")
    scenario = asked["scenario"]
    num_envs = NUM_ENVS.get(scenario, DEFAULT_NUM_ENVS) if asked["num_envs"] is None else asked["num_envs"]
    config = with_preset(scenario, dict(config))
    return {**asked, "num_envs": num_envs, "overrides": dict(overrides), "config": config}


def _finish(out: Path, settings: Mapping[str, Any]) -> None:
    """The comparison of the trained policy with the untrained and the scripted ones: table, JSON, report."""
    from experiments.attention import explained_moment
    from experiments.evaluate import UNTRAINED
    from experiments.report import write_report
    from experiments.tables import print_table

    held_out = protocol_of(settings["scenario"]).held_out
    tested = _compare(out, settings, held_out)
    if held_out and settings["overrides"].get("split", "train") == "train":
        trained_on = _compare(out, settings, {}, leave_out=("random", UNTRAINED))
        write_json(out / EVALUATION_TRAIN, {name: result.to_dict() for name, result in trained_on.items()})
        print("on the networks and attackers of the training split:")
        print_table(trained_on)
        print("on the held-out networks and attackers of the test split:")
    scenario = soc_env.make_scenario(settings["scenario"], **{**settings["overrides"], **held_out})
    if moment := explained_moment(_best(out), scenario, settings["seed"] + EVALUATION_SEED):
        write_json(out / ATTENTION, moment)
    write_json(out / EVALUATION, {name: result.to_dict() for name, result in tested.items()})
    print_table(tested)
    print(f"report: {shown_path(write_report(out))}")


def _compare(
    out: Path, settings: Mapping[str, Any], overrides: Mapping[str, Any], leave_out: tuple[str, ...] = ()
) -> dict[str, Any]:
    from experiments.evaluate import TRAINED, UNTRAINED, compare
    from policies.trained import load_policy

    scenario = settings["scenario"]
    named: dict[str, Any] = {name: name for name in protocol_of(scenario).compared}
    named[UNTRAINED] = load_policy(out / "checkpoints" / "start")
    named[TRAINED] = _best(out)
    named = {name: policy for name, policy in named.items() if name not in leave_out}
    overrides = {**settings["overrides"], **overrides}
    seed = settings["seed"] + EVALUATION_SEED
    with Progress(len(named) * EVALUATION_EPISODES, "episodes", label="comparing") as progress:
        order = list(named)

        def show(name: str, num_finished: int) -> None:
            progress.update(order.index(name) * EVALUATION_EPISODES + num_finished, name)

        return compare(named, scenario, EVALUATION_EPISODES, seed, progress=show, **overrides)


def _best(out: Path) -> Any:
    from policies.trained import load_policy

    return load_policy(out)


def with_preset(scenario: str, config: dict[str, Any]) -> dict[str, Any]:
    """The scenario's preset with the user's settings on top: what the folder records and a resumption uses."""
    from policies.tiers import DEFAULT_TIERS

    preset = preset_of(scenario)
    tiers = preset.get("tiers", {})
    for tier, own in dict(config.get("tiers", {})).items():
        keeps = "algorithm" not in own or own["algorithm"] == DEFAULT_TIERS.get(tier, {}).get("algorithm")
        tiers[tier] = merged(tiers.get(tier, {}) if keeps else {}, own)
    return {**preset, **config, **({"tiers": tiers} if tiers else {})}
