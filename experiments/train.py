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
from experiments import garbage
from experiments.budget import DEFAULT_MINUTES, Budget
from experiments.final import finish, is_finished
from experiments.run import Run, hmarl_config, is_trained
from experiments.run_lock import run_lock, shown_path
from experiments.run_settings import (
    check_names,
    check_same,
    check_space,
    new_settings,
    of_file,
    read_settings,
    record_budget,
    remove_rests,
    resume_hint,
    with_credit,
    with_defaults,
    with_given,
    with_playbooks,
)
from soc_env.errors import HMARLSOCError


def train(
    scenario: str | None = None,
    *,
    seed: int | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    workers: int | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    overrides: Mapping[str, Any] | None = None,
    num_envs: int | None = None,
    adverse_start: bool | None = None,
    config: Mapping[str, Any] | None = None,
    credit: bool = False,
    evaluation: bool = True,
    ray_address: str | None = None,
) -> Path:
    """Trains until a budget is used up, then compares; returns the run folder, which no other run can use meanwhile.

    Args:
        scenario, overrides, seed: the environment, default soc-v1; of everything drawn in the run, default 0.
        minutes, steps: the whole run's budget, one of them; default 10 minutes, resumed: what the folder has recorded.
        workers, ray_address: remote env runners, default none; the Ray cluster of remote parts, default a private Ray.
        out: run folder; default `runs/<scenario>-seed<seed>`.
        resume: go on with the folder's own settings; any given here have to be the same, but for the budget.
        num_envs: environments of each env runner; default `NUM_ENVS`'s.
        config: settings of HMARLConfig by name, "tiers" among them; code of yours has to be given again to resume.
        adverse_start, credit: actors begin by hunting, isolating and remediating fully; with the preset of credit.
        evaluation: end with the comparison and report.

    Raises:
        ScenarioError, ConfigError: a setting that is not allowed, or a folder in use, too small, or not to be written.
        CheckpointError: nothing to resume, or a damaged file of it.
        RunError: something outside failed, for example the disk is full or Ray is lost; the message says how to go on.
        KeyboardInterrupt: stopped by the user, after everything is written.
    """
    asked = {"scenario": scenario, "seed": seed, "workers": workers, "num_envs": num_envs}
    given = ({**asked, "adverse_start": adverse_start}, overrides or {}, config or {}, Budget.asked(minutes, steps))
    out = Path(out or "runs/{scenario}-seed{seed}".format(**with_defaults(asked))).absolute()
    if resume:
        read_settings(out)  # or there is no run, and no folder is made
    with run_lock(out), garbage.paused():
        remove_rests(out)
        _go(out, _settings(out, resume, credit, *given), resume, evaluation, ray_address)
    return out


def _check(settings: Mapping[str, Any]) -> None:
    """Raises before anything slow starts."""
    soc_env.make_scenario(settings["scenario"], **settings["overrides"])
    hmarl_config(settings).validate()


def _settings(
    out: Path,
    resume: bool,
    credit: bool,
    asked: Mapping[str, Any],
    overrides: Mapping[str, Any],
    config: Mapping[str, Any],
    budget: Budget | None,
) -> dict[str, Any]:
    """The settings of a run that begins, or of the one in a folder, where a budget that is asked for is recorded."""
    config = with_playbooks(config)
    found = read_settings(out) if resume else with_defaults(asked)
    if credit:
        config = with_credit(found["scenario"], config)
    if not resume:
        settings = new_settings(out, asked, overrides, config, budget or Budget(DEFAULT_MINUTES))
        _check(settings)
        return settings
    settings = found
    check_same(out, settings, asked, overrides, config)
    try:
        check_names(settings["config"], config, "config")
        settings["config"] = with_given(settings["config"], config)
        _check(settings)
    except HMARLSOCError as error:
        raise of_file(out, error) from None
    if budget is not None and budget.to_plain() != settings["budget"]:
        record_budget(out, budget)
        settings["budget"] = budget.to_plain()
    return settings


def _go(out: Path, settings: Mapping[str, Any], resume: bool, evaluation: bool, ray_address: str | None) -> None:
    """What is left to do: training, the comparison, or nothing, and then to say so."""
    budget, hint = Budget.of(settings["budget"]), resume_hint(out, evaluation=evaluation)
    if not (resume and is_trained(out, budget)):
        check_space(out, settings)
        _compile(settings)
        Run.go(out, settings, resume, hint, ray_address)
    elif not evaluation or is_finished(out):
        more = resume_hint(out, budget.doubled(), evaluation=evaluation)
        print(f"{shown_path(out)}: the run has used up its budget of {budget}; to train on: {more}")
        return
    if evaluation:
        garbage.go_on()  # a run that was there has not done so
        finish(out, settings, hint)


def _compile(settings: Mapping[str, Any]) -> None:
    """Has the simulator compiled where no cache has it yet, so that a first run's minutes go into training."""
    simulator = soc_env.Simulator(settings["scenario"], seed=0)  # of any size: all have the same kernels
    simulator.reset()
    simulator.step()
