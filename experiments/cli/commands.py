"""A function for each command: its options with default, range and help, and what it calls.

A function's text is the command's help: its first paragraph is the line in the list of commands, and its examples are
shown below the options. Options of one command stand over its function, those of several in `experiments.cli.options`.
"""

from __future__ import annotations

import pathlib
import sys
from typing import Annotated, Any

import typer

from experiments.cli.machine import bench
from experiments.cli.options import (
    BARE,
    BUDGET,
    DEFAULT_SCENARIO,
    INSTEAD,
    MOST_PROCESSES,
    MOST_SEED,
    OUTPUT,
    POLICIES,
    RUN,
    SCENARIO_OPTION,
    TASK,
    EvaluationSeed,
    JsonFile,
    Overrides,
    PlotFile,
    Scenario,
    exclusive,
    file,
    flag,
    integer,
    named_policy,
    names_in,
    parse_overrides,
    place,
    positive,
    scripted_names,
    several,
)
from experiments.cli.playbook import playbook
from experiments.cli.risk import risk_model
from experiments.cli.transfer import transfer

# --- train

ScenarioOrDefault = Annotated[str | None, typer.Option("--scenario", **SCENARIO_OPTION, show_default=DEFAULT_SCENARIO)]
Seed = Annotated[int | None, integer(0, "Seed of simulator, networks and draws.", TASK, MOST_SEED, show_default="0")]
Minutes = Annotated[
    float | None,
    positive("Train for this many minutes.", BUDGET, show_default="10, without --steps; resumed: the run's"),
]
Steps = Annotated[int | None, integer(1, "Train for this many environment steps.", BUDGET)]
EnvRunners = Annotated[
    int | None,
    integer(0, "Remote env runners; 0 samples in this process.", BUDGET, MOST_PROCESSES, show_default="0"),
]
RAY_HELP = "Run remote parts on the Ray cluster there; RAY_ADDRESS says it too."
RayAddress = Annotated[str | None, place(RAY_HELP, BUDGET, "HOST:PORT", show_default="a private Ray, on this machine")]
NumEnvs = Annotated[
    int | None, integer(1, "Environments of each env runner.", BUDGET, show_default="256 on paper-v0, 64 on the others")
]
RunFolder = Annotated[pathlib.Path | None, place("Run folder.", RUN, show_default="runs/SCENARIO-seedSEED")]
RESUME_HELP = "Go on with the run in the folder, with its own settings; only the budget can be changed."
Resume = Annotated[bool, flag("--resume", RESUME_HELP, RUN)]
Config = Annotated[
    pathlib.Path | None, place("Settings of HMARLConfig: TOML, YAML or JSON, by the suffix.", RUN, "FILE")
]
ADVERSE_HELP = "Start from actors biased to full hunting, isolation and remediation."
AdverseStart = Annotated[bool, flag("--adverse-start", ADVERSE_HELP, RUN)]
TEACHER_HELP = "Learn first what this one does: a scripted policy, a playbook file, a run or a checkpoint."
Teacher = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FILE|DIR",
        help=TEACHER_HELP,
        autocompletion=scripted_names,
        rich_help_panel=RUN,
        show_default="none: from scratch",
    ),
]
CREDIT_HELP = "Learn from choices that are played again in copies of the simulator; soc-v1 has a preset for it."
Credit = Annotated[bool, flag("--credit", CREDIT_HELP, RUN)]
NoEvaluation = Annotated[bool, flag("--no-evaluation", "Skip the evaluation and the report at the end.", OUTPUT)]


def train(
    scenario: ScenarioOrDefault = None,
    override: Overrides = None,
    seed: Seed = None,
    minutes: Minutes = None,
    steps: Steps = None,
    workers: EnvRunners = None,
    num_envs: NumEnvs = None,
    out: RunFolder = None,
    resume: Resume = False,
    config: Config = None,
    teacher: Teacher = None,
    credit: Credit = False,
    adverse_start: AdverseStart = False,
    no_evaluation: NoEvaluation = False,
    ray_address: RayAddress = None,
) -> None:
    """Train the four tiers together, then evaluate them beside scripted policies.

    The run folder holds config.json, progress.csv, tensorboard/, checkpoints/, evaluation.json and report.html.
    Ctrl-C writes a checkpoint and stops; --resume goes on, also after a kill. The budget is that of the whole run.

    Examples:
        hmarl-soc train --teacher expert --minutes 5 --out runs/first
        hmarl-soc train --resume --out runs/first
        hmarl-soc train --steps 2000000 --workers 2 --override num_hosts=500 --seed 1 --config settings.toml
    """
    exclusive(minutes=minutes, steps=steps)
    from experiments.train import train

    train(
        scenario,
        seed=seed,
        minutes=minutes,
        steps=steps,
        workers=workers,
        out=out,
        resume=resume,
        overrides=parse_overrides(override),
        num_envs=num_envs,
        adverse_start=adverse_start or None,
        **_learning(config, teacher, credit),
        evaluation=not no_evaluation,
        ray_address=ray_address,
    )


def _learning(path: pathlib.Path | None, teacher: str | None, credit: bool) -> dict[str, Any]:
    """Settings from a file, and a teacher that goes before the file's; whether there is credit."""
    settings = {} if path is None else _read_config(path)
    return {"config": settings if teacher is None else {**settings, "teacher": teacher}, "credit": credit}


def _read_config(path: pathlib.Path, option: str = "config") -> dict[str, Any]:
    from experiments.cli.config_file import read_config
    from experiments.run_settings import check_names, with_playbooks

    settings = read_config(path, option)
    check_names(settings, {}, f"{option}={path}")
    return with_playbooks(settings)


# --- tune

SPACE_HELP = "The search space: settings as of --config, some of which are distributions."
SpaceFile = Annotated[pathlib.Path | None, place(SPACE_HELP, TASK, "FILE", show_default="required, without --resume")]
Samples = Annotated[int, integer(1, "Trials; with a grid, trials of each of its points.", BUDGET)]
Scheduler = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="asha stops poor trials early, pbt lets them copy good ones and change settings, none does neither.",
        autocompletion=names_in(("asha", "pbt", "none")),
        rich_help_panel=BUDGET,
    ),
]
TRIAL_MINUTES_HELP = "Train each trial for this many minutes at most."
TrialMinutes = Annotated[float | None, positive(TRIAL_MINUTES_HELP, BUDGET, show_default="10, without --steps")]
TrialSteps = Annotated[int | None, integer(1, "Train each trial for this many environment steps at most.", BUDGET)]
TrialWorkers = Annotated[int, integer(0, "Remote env runners of a trial; 0 samples in its process.", BUDGET)]
Parallel = Annotated[
    int | None, integer(1, "Most trials at once.", BUDGET, show_default="as many as there are CPUs; all with pbt")
]
SearchFolder = Annotated[pathlib.Path, place("Folder of the search.", RUN)]
RESUME_SEARCH_HELP = "Go on with the search in the folder, with its own settings; trials that are over stay."
ResumeSearch = Annotated[bool, flag("--resume", RESUME_SEARCH_HELP, RUN)]


def tune(
    space: SpaceFile = None,
    scenario: Scenario = DEFAULT_SCENARIO,
    override: Overrides = None,
    seed: Annotated[int, integer(0, "Seed of what is drawn, and of every trial's training.", TASK)] = 0,
    samples: Samples = 8,
    scheduler: Scheduler = "asha",
    minutes: TrialMinutes = None,
    steps: TrialSteps = None,
    workers: TrialWorkers = 0,
    num_envs: NumEnvs = None,
    parallel: Parallel = None,
    out: SearchFolder = pathlib.Path("runs/tune"),
    resume: ResumeSearch = False,
    ray_address: RayAddress = None,
) -> None:
    """Search settings: train many times with values from a search space, and list them by their validation.

    The output folder holds tune.json, trials.json, trials.csv, trials.md, and a run folder for each trial. Ctrl-C
    writes a checkpoint of every running trial and stops; --resume goes on, also after a kill.

    Examples:
        hmarl-soc tune --space space.toml --samples 16 --minutes 5 --out runs/search
        hmarl-soc tune --resume --out runs/search
        hmarl-soc tune --space space.yaml --scheduler pbt --samples 4 --steps 400000 --scenario paper-v0
    """
    exclusive(minutes=minutes, steps=steps)
    exclusive(space=space, resume=resume)
    settings = None if space is None else _read_config(space, "space")
    given: dict[str, Any] = {"samples": samples, "scheduler": scheduler, "seed": seed, "parallel": parallel}
    given |= {"minutes": minutes, "steps": steps, "workers": workers, "num_envs": num_envs}
    given["overrides"] = parse_overrides(override)
    from experiments.tune.search import tune

    tune(settings, scenario, **given, out=out, resume=resume, ray_address=ray_address)


# --- evaluate

Checkpoint = Annotated[pathlib.Path | None, place("A checkpoint, or a run folder for its best one.", POLICIES)]
POLICY_HELP = (
    "A scripted policy, for example rule-soar or expert (a wrong name lists them), a playbook file (.toml), or "
    "package.module:name of your own."
)
PolicyName = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help=POLICY_HELP,
        autocompletion=scripted_names,
        rich_help_panel=POLICIES,
    ),
]
SAMPLED_HELP = "Draw a checkpoint's actions instead of taking the greedy ones."
Sampled = Annotated[bool, flag("--sampled", SAMPLED_HELP, POLICIES)]
ScenarioOrOwn = Annotated[
    str | None,
    typer.Option(**SCENARIO_OPTION, show_default=f"{DEFAULT_SCENARIO}, or what the checkpoint was trained on"),
]
JsonOrPrinted = Annotated[
    str | None,
    typer.Option(
        metavar="[FILE]",
        help="Write settings, summary and every episode to FILE; without FILE print them instead of the table.",
        rich_help_panel=OUTPUT,
    ),
]


def evaluate(
    checkpoint: Checkpoint = None,
    policy: PolicyName = None,
    sampled: Sampled = False,
    scenario: ScenarioOrOwn = None,
    override: Overrides = None,
    seed: EvaluationSeed = 0,
    episodes: Annotated[int, integer(1, "Episodes.", BUDGET)] = 500,
    num_envs: Annotated[int, integer(1, "Environments stepped at once.", BUDGET)] = 512,
    json: JsonOrPrinted = None,
) -> None:
    """Measure a checkpoint or a scripted policy; never trains.

    Score and reward, times to detect and to contain, false alarms and containment with 95 % intervals; all other
    metrics are in the JSON. The same seed gives the same episodes to every policy.

    Examples:
        hmarl-soc evaluate --policy rule-soar --episodes 2000
        hmarl-soc evaluate --policy mine.toml --override split=test
        hmarl-soc evaluate --policy expert --override split=test --override families=espionage,web_shell
        hmarl-soc evaluate --checkpoint runs/first --sampled
        hmarl-soc evaluate --scenario paper-v0 --policy zeros --override num_hosts=1000 --json zeros.json
    """
    _check_subject(policy, checkpoint, sampled)
    from experiments.evaluate import evaluate, evaluate_checkpoint
    from experiments.output import output_errors, write_text
    from experiments.progress import Progress
    from experiments.tables import print_table

    settings: dict[str, Any] = {"num_episodes": episodes, "seed": seed, "num_envs": num_envs}
    settings |= parse_overrides(override)
    with Progress(episodes, "episodes") as progress:
        settings["progress"] = progress.update
        if checkpoint is None:
            result = evaluate(named_policy(policy), scenario or DEFAULT_SCENARIO, **settings)
        else:
            result = evaluate_checkpoint(checkpoint, scenario, deterministic=not sampled, **settings)
    if json == BARE:
        sys.stdout.write(result.to_json())
        return
    print_table({result.policy: result})
    if json is not None:
        with output_errors("--json"):
            print(f"wrote {write_text(json, result.to_json())}")


def _check_subject(policy: str | None, checkpoint: pathlib.Path | None, sampled: bool) -> None:
    """Refuses none or two subjects, and what does not apply to a scripted one."""
    from soc_env.errors import ConfigError

    exclusive(policy=policy, checkpoint=checkpoint)
    if policy is None and checkpoint is None:
        raise ConfigError("nothing to measure: --policy or --checkpoint is needed")
    if sampled and checkpoint is None:
        raise ConfigError("--sampled applies to --checkpoint only: scripted policies have one way of acting")


# --- compare

NAMED_HELP = "As --policy of evaluate."
PolicyNames = Annotated[
    list[str] | None,
    several("--policies", "NAME...", NAMED_HELP, POLICIES, show_default="all", autocompletion=scripted_names),
]
Checkpoints = Annotated[
    list[pathlib.Path] | None,
    several("--checkpoint", "DIR...", "Checkpoints or run folders, a row each.", POLICIES),
]
ComparedEpisodes = Annotated[
    int | None, integer(1, "Episodes of a policy on a split, over all network seeds.", BUDGET, show_default="500")
]
MOST_CLUSTERS = 10_000
NetworkSeeds = Annotated[int, integer(1, "Network seeds; fewer than 5 with --quick only.", BUDGET, MOST_CLUSTERS)]
CALIBRATE_HELP = "Measure null_loss and clairvoyant_loss on the test split."
SEARCH_HELP = "Search the best of N constant actions and refine it."


def compare(
    policies: PolicyNames = None,
    checkpoint: Checkpoints = None,
    scenario: Scenario = DEFAULT_SCENARIO,
    override: Overrides = None,
    seed: EvaluationSeed = 0,
    episodes: ComparedEpisodes = None,
    network_seeds: NetworkSeeds = 5,
    quick: Annotated[bool, flag("--quick", "Allow fewer than 5 network seeds.", BUDGET)] = False,
    no_ablations: Annotated[bool, flag("--no-ablations", "The table only.", BUDGET)] = False,
    calibrate: Annotated[bool, flag("--calibrate", CALIBRATE_HELP, INSTEAD)] = False,
    search: Annotated[int | None, integer(1, SEARCH_HELP, INSTEAD, 10**7)] = None,
    json: JsonFile = None,
    markdown: Annotated[pathlib.Path | None, file("--markdown", "Write the tables to FILE.")] = None,
) -> None:
    """Compare policies on soc-v1 over network seeds and splits, with ablations; never trains.

    Intervals are over the means of the network seeds. A checkpoint's row has the name of its run folder.

    Examples:
        hmarl-soc compare --json compare.json --markdown compare.md
        hmarl-soc compare --checkpoint runs/a runs/b --policies rule-soar expert --no-ablations
        hmarl-soc compare --calibrate --episodes 1000
        hmarl-soc compare --search 2000
    """
    exclusive(calibrate=calibrate, search=search)
    overrides = parse_overrides(override)
    if calibrate:
        from experiments.calibrate import NUM_EPISODES, write_calibration

        write_calibration(scenario, episodes or NUM_EPISODES, seed, json, **overrides)
    elif search is not None:
        from experiments.calibrate import write_search

        write_search(scenario, search, seed, json, **overrides)
    else:
        from experiments.compare import ABLATIONS, compare_policies

        sample: dict[str, Any] = {"num_seeds": network_seeds, "seed": seed, "allow_few_seeds": quick}
        sample |= {"ablations": () if no_ablations else ABLATIONS, "episodes": episodes, "overrides": overrides}
        named = [named_policy(policy) for policy in policies or ()]
        rows: dict[str, Any] = {"policies": named or None, "checkpoints": checkpoint or ()}
        compare_policies(scenario, json_path=json, markdown_path=markdown, **rows, **sample)


# --- aggregate

Runs = Annotated[
    list[str], typer.Argument(metavar="[NAME=]RUN...", help="Run folders with an evaluation, of setting NAME.")
]


def aggregate(runs: Runs, json: JsonFile = None, plot: PlotFile = None) -> None:
    """Put runs with several seeds together, of one setting or of several; never trains.

    Every policy's means over the runs with 95 % intervals over runs; the JSON also holds every run's greedy curve.
    With names, settings are compared: greedy HMARL of each, and differences to the first one by seed.

    Examples:
        hmarl-soc aggregate runs/soc-v1-seed0 runs/soc-v1-seed1 runs/soc-v1-seed2 --json seeds.json --plot seeds.png
        hmarl-soc aggregate shared=runs/a0 shared=runs/a1 uniform=runs/b0 uniform=runs/b1 --plot replay.png
    """
    from experiments.seeds import aggregate

    aggregate(runs, json, plot)


# --- export


def export(
    run: Annotated[pathlib.Path, typer.Argument(metavar="RUN", help="Run folder or checkpoint.", show_default=False)],
    out: Annotated[pathlib.Path | None, place("The new folder.", OUTPUT, show_default="RUN/policy")] = None,
    onnx: Annotated[bool, flag("--onnx", "Also an ONNX file of each tier; needs hmarl-soc[export].", OUTPUT)] = False,
    card: Annotated[bool, flag("--card", "Also a model card, of a finished run.", OUTPUT)] = False,
    seeds: Annotated[
        list[str] | None, several("--seeds", "RUN...", "With --card: runs of the same setting, other seeds.", OUTPUT)
    ] = None,
) -> None:
    """Write a trained policy as a small folder that acts without RLlib, and as ONNX for other runtimes.

    Examples:
        hmarl-soc export runs/first
        hmarl-soc export runs/first --onnx --out soc-policy
        hmarl-soc export runs/seed0 --card --seeds runs/seed1 runs/seed2 --out soc-team
    """
    from experiments.export import export
    from soc_env.errors import ConfigError

    if seeds and not card:
        raise ConfigError("--seeds has no effect without --card")
    export(run, out, onnx=onnx, card=(seeds or ()) if card else None)


LEARNING, MEASURING = "Learning", "Measuring"
PANELS = {
    "train": LEARNING,
    "tune": LEARNING,
    "evaluate": MEASURING,
    "compare": MEASURING,
    "aggregate": MEASURING,
    "transfer": MEASURING,
    "export": LEARNING,
    "playbook": MEASURING,
    "risk_model": LEARNING,
    "bench": "This machine",
}
COMMANDS = (train, tune, risk_model, evaluate, compare, aggregate, transfer, playbook, export, bench)
