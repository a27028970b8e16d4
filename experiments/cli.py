"""`hmarl-soc`: the command line. Arguments in, exit status out; the work is done by the other modules.

Exit status: 0 done, 2 bad input (one line on standard error, no traceback), 130 interrupted with Ctrl-C.
Heavy imports happen inside the commands, so that ``--help`` is quick and ``evaluate --policy`` needs no torch or ray.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

PROG = "hmarl-soc"
DEFAULT_SCENARIO = "soc-v1"
POLICY_HELP = (
    "a scripted policy; soc-v1: null, random, isolate-all, escalate-all, suppress-all, best-constant, rule-soar, "
    "expert, oracle-observation (sees the truth); paper-v0: random, null, zeros, best-constant, rule-soar"
)
OUR_PACKAGES = ("soc_env", "policies", "experiments", "cyborg_bridge")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    try:
        args = build_parser().parse_args(argv)
        status: int = args.run(args)
        sys.stdout.flush()  # a reader that has gone shows here, not in the interpreter's shutdown
        return status
    except KeyboardInterrupt:
        print(f"\n{PROG}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # for example `hmarl-soc evaluate ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if not missing or missing in OUR_PACKAGES:
            raise
        return _fail(f'{missing} is not installed; this command needs: pip install "hmarl-soc[train]"')
    except Exception as error:
        from soc_env.errors import HMARLSOCError

        if not isinstance(error, HMARLSOCError):
            raise
        return _fail(" ".join(str(error).split()))


def _fail(message: str) -> int:
    print(f"{PROG}: error: {message}", file=sys.stderr)
    return 2


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as all our errors do."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{PROG}: error: {message} (see {self.prog} --help)\n")


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = _Parser(
        prog=PROG,
        description="Four agents that learn together to run a security operations centre (SOC).",
        epilog=f"`{PROG} COMMAND --help` lists a command's options.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_train(commands)
    _add_evaluate(commands)
    _add_table(commands)
    _add_seeds(commands)
    _add_transfer(commands)
    _add_bench(commands)
    return parser


class _Version(argparse.Action):
    """Prints the version, looked up only when it is asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help="print the version and stop")

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        import importlib.metadata

        try:
            version = importlib.metadata.version("hmarl-soc")
        except importlib.metadata.PackageNotFoundError:
            version = "(not installed: run from a source tree)"
        print(PROG, version)
        parser.exit(0)


# --- train


def _add_train(commands: Any) -> None:
    parser = _command(
        commands,
        "train",
        "train the four tiers together, then evaluate them beside scripted policies",
        f"""examples:
  {PROG} train --minutes 3 --out runs/first
  {PROG} train --resume --out runs/first --minutes 10
  {PROG} train --steps 2000000 --workers 2 --override num_hosts=500 --seed 1
The run folder holds config.json, progress.csv, tensorboard/, checkpoints/, evaluation.json and report.html.
Ctrl-C writes a checkpoint and stops; --resume goes on. The budget counts the whole run, resumptions included.""",
    )
    _add_scenario(parser, DEFAULT_SCENARIO, DEFAULT_SCENARIO)
    parser.add_argument("--seed", type=_integer(0), default=0, help="of simulator, networks and draws (default: 0)")
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--minutes", type=_positive_number, metavar="M", help="train for this long (default: 10)")
    budget.add_argument("--steps", type=_integer(1), metavar="N", help="train for this many environment steps")
    parser.add_argument(
        "--workers", type=_integer(0), default=0, metavar="N", help="remote env runners; 0 (default): sample here"
    )
    parser.add_argument(
        "--num-envs",
        type=_integer(1),
        metavar="N",
        help="environments of each env runner (default: 256 on paper-v0, 64 on the others)",
    )
    parser.add_argument("--out", type=pathlib.Path, metavar="DIR", help="run folder (default: runs/SCENARIO-seedSEED)")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with the run in the folder, with its own settings; only the budget is taken from here",
    )
    parser.add_argument(
        "--adverse-start",
        action="store_true",
        help="start from actors biased to full hunting, isolation and remediation",
    )
    parser.add_argument("--config", type=pathlib.Path, metavar="FILE", help="JSON file with settings of HMARLConfig")
    parser.add_argument(
        "--no-evaluation", dest="evaluation", action="store_false", help="skip the evaluation and the report at the end"
    )
    parser.set_defaults(run=_train)


def _train(args: argparse.Namespace) -> int:
    config = None if args.config is None else _read_config(args.config)
    from experiments.train import train

    train(
        args.scenario,
        seed=args.seed,
        minutes=args.minutes,
        steps=args.steps,
        workers=args.workers,
        out=args.out,
        resume=args.resume,
        overrides=_parse_overrides(args.override),
        num_envs=args.num_envs,
        adverse_start=args.adverse_start,
        config=config,
        evaluation=args.evaluation,
    )
    return 0


def _read_config(path: pathlib.Path) -> dict[str, Any]:
    from soc_env.errors import ConfigError

    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"config={path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise ConfigError(f"config={path}: is not JSON ({error})") from error
    if not isinstance(config, dict):
        raise ConfigError(f"config={path}: holds a {type(config).__name__}, a JSON object of settings is allowed")
    return config


# --- evaluate


def _add_evaluate(commands: Any) -> None:
    parser = _command(
        commands,
        "evaluate",
        "measure a checkpoint or a scripted policy; never trains",
        f"""examples:
  {PROG} evaluate --policy rule-soar --episodes 2000
  {PROG} evaluate --policy expert --override split=test --override families=espionage,web_shell
  {PROG} evaluate --checkpoint runs/first --sampled
  {PROG} evaluate --scenario paper-v0 --policy zeros --override num_hosts=1000 --json zeros.json
Score and reward, times to detect and to contain, false positives and CSR with 95 % intervals; the rest is in the JSON.
The same seed gives the same episodes to every policy.""",
    )
    subject = parser.add_mutually_exclusive_group(required=True)
    subject.add_argument(
        "--checkpoint", type=pathlib.Path, metavar="DIR", help="a checkpoint, or a run folder for its best one"
    )
    subject.add_argument("--policy", metavar="NAME", help=POLICY_HELP)
    _add_scenario(parser, None, f"{DEFAULT_SCENARIO}, or what the checkpoint was trained on")
    parser.add_argument("--episodes", type=_integer(1), default=500, metavar="N", help="default: 500")
    parser.add_argument("--seed", type=_integer(0), default=0, help="seed of the evaluation (default: 0)")
    parser.add_argument("--num-envs", type=_integer(1), default=512, metavar="N", help="stepped at once (default: 512)")
    parser.add_argument(
        "--sampled", action="store_true", help="draw a checkpoint's actions instead of taking the greedy ones"
    )
    parser.add_argument(
        "--json",
        nargs="?",
        const="-",
        metavar="FILE",
        help="write settings, summary and every episode to FILE; without FILE print them instead of the table",
    )
    parser.set_defaults(run=_evaluate)


def _evaluate(args: argparse.Namespace) -> int:
    from soc_env.errors import ConfigError

    if args.sampled and args.checkpoint is None:
        raise ConfigError("--sampled applies to --checkpoint only: scripted policies have one way of acting")
    from experiments.evaluate import evaluate, evaluate_checkpoint
    from experiments.output import output_errors, write_text
    from experiments.tables import print_table

    settings = {
        "num_episodes": args.episodes,
        "seed": args.seed,
        "num_envs": args.num_envs,
        "progress": _episode_counter(args.episodes),
        **_parse_overrides(args.override),
    }
    if args.checkpoint is None:
        result = evaluate(args.policy, args.scenario or DEFAULT_SCENARIO, **settings)
    else:
        result = evaluate_checkpoint(args.checkpoint, args.scenario, deterministic=not args.sampled, **settings)
    if args.json == "-":
        sys.stdout.write(result.to_json())
        return 0
    print_table({result.policy: result})
    if args.json is not None:
        with output_errors("--json"):
            print(f"wrote {write_text(args.json, result.to_json())}")
    return 0


def _episode_counter(num_episodes: int) -> Callable[[int], None] | None:
    """Shows progress on a terminal, and nothing elsewhere."""
    if not sys.stderr.isatty():
        return None

    def show(num_finished: int) -> None:
        end = "\r\x1b[K" if num_finished >= num_episodes else ""
        print(f"\r{num_finished:,} of {num_episodes:,} episodes{end}", end="", file=sys.stderr, flush=True)

    return show


# --- table


def _add_table(commands: Any) -> None:
    parser = _command(
        commands,
        "table",
        "compare policies on soc-v1 over network seeds and splits, with ablations; never trains",
        f"""examples:
  {PROG} table --json table.json --markdown table.md
  {PROG} table --checkpoint runs/a runs/b --policies rule-soar expert --no-ablations
  {PROG} table --calibrate --episodes 1000
  {PROG} table --search 2000
Intervals are over the means of the network seeds. A checkpoint's row has the name of its run folder.""",
    )
    parser.add_argument("--scenario", metavar="NAME", default=DEFAULT_SCENARIO, help=f"default: {DEFAULT_SCENARIO}")
    _add_override(parser)
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--calibrate", action="store_true", help="measure null_loss and clairvoyant_loss on the test split instead"
    )
    what.add_argument(
        "--search", type=_integer(1), metavar="N", help="search the best of N constant actions and refine it, instead"
    )
    parser.add_argument("--policies", nargs="+", metavar="NAME", help="scripted ones (default: all) or oracle-control")
    parser.add_argument("--checkpoint", nargs="+", type=pathlib.Path, default=[], metavar="DIR", help="rows to add")
    parser.add_argument(
        "--episodes", type=_integer(1), metavar="N", help="of a policy on a split, over all seeds (default: 500)"
    )
    parser.add_argument("--network-seeds", type=_integer(1), default=5, metavar="N", help="default and least: 5")
    parser.add_argument("--seed", type=_integer(0), default=0, help="seed of the evaluation (default: 0)")
    parser.add_argument("--no-ablations", dest="ablations", action="store_false", help="the table only")
    parser.add_argument("--quick", action="store_true", help="allow fewer than 5 network seeds")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write all metrics to FILE")
    parser.add_argument("--markdown", type=pathlib.Path, metavar="FILE", help="write the tables to FILE")
    parser.set_defaults(run=_table)


def _table(args: argparse.Namespace) -> int:
    overrides = _parse_overrides(args.override)
    if args.calibrate:
        from experiments.calibrate import NUM_EPISODES, write_calibration

        write_calibration(args.scenario, args.episodes or NUM_EPISODES, args.seed, args.json, **overrides)
    elif args.search is not None:
        from experiments.calibrate import write_search

        write_search(args.scenario, args.search, args.seed, args.json, **overrides)
    else:
        from experiments.compare import ABLATIONS, compare_policies

        compare_policies(
            args.scenario,
            policies=args.policies,
            checkpoints=args.checkpoint,
            episodes=args.episodes or 500,
            json_path=args.json,
            markdown_path=args.markdown,
            overrides=overrides,
            num_seeds=args.network_seeds,
            seed=args.seed,
            ablations=ABLATIONS if args.ablations else (),
            allow_few_seeds=args.quick,
        )
    return 0


# --- seeds


def _add_seeds(commands: Any) -> None:
    parser = _command(
        commands,
        "seeds",
        "put runs with several seeds together, of one setting or of several; never trains",
        f"""examples:
  {PROG} seeds runs/soc-v1-seed0 runs/soc-v1-seed1 runs/soc-v1-seed2 --json seeds.json --plot seeds.png
  {PROG} seeds shared=runs/a0 shared=runs/a1 uniform=runs/b0 uniform=runs/b1 --plot replay.png
Every policy's means over the runs with 95 % intervals over runs; the JSON also holds every run's greedy curve.
With names, settings are compared: greedy HMARL of each, and differences to the first one by seed.""",
    )
    parser.add_argument(
        "runs", nargs="+", metavar="[NAME=]RUN", help="a run folder with an evaluation, of setting NAME"
    )
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write everything to FILE")
    parser.add_argument("--plot", type=pathlib.Path, metavar="FILE", help="draw the curves into FILE (PNG, SVG, PDF)")
    parser.set_defaults(run=_seeds)


def _seeds(args: argparse.Namespace) -> int:
    from experiments.seeds import aggregate

    aggregate(args.runs, args.json, args.plot)
    return 0


# --- transfer


def _add_transfer(commands: Any) -> None:
    parser = _command(
        commands,
        "transfer",
        "measure policies on the real CybORG CAGE Challenge 4 by its official score, also trained on it",
        f"""examples:
  {PROG} transfer --controls sleep flat-rule --episodes 20 --workers 2
  {PROG} transfer --checkpoint runs/soc-v1-seed0 --episodes 100 --out runs/cage4
  {PROG} transfer --checkpoint runs/soc-v1-seed0 --train-steps 60000 --level raw --out runs/cage4
  {PROG} transfer --controls flat-rule --playbooks expert --level raw
Needs a checkout of CybORG (CYBORG_HOME) and pip install "hmarl-soc[cyborg]". The output folder gets transfer.json and
transfer.png; episodes that it holds already are not played again, and a training that stopped goes on.""",
    )
    parser.add_argument(
        "--controls", nargs="*", metavar="NAME", help="scripted ones (default: all; a wrong name lists them)"
    )
    parser.add_argument(
        "--checkpoint",
        nargs="+",
        type=pathlib.Path,
        default=[],
        metavar="RUN",
        help="run folders of soc-cage4-v0 or soc-v1: the trained team, and the run's untrained networks, zero-shot",
    )
    parser.add_argument(
        "--train-steps",
        type=_integer(1),
        metavar="N",
        help="train on CC4 too, N steps each: the team of every --checkpoint (fine-tuning), and one from scratch",
    )
    parser.add_argument(
        "--playbooks", nargs="+", default=[], metavar="NAME", help="scripted teams of soc-v1 (a wrong name lists them)"
    )
    parser.add_argument(
        "--level", nargs="+", default=["flat", "raw"], metavar="NAME", help="what teams see: flat, raw (default: both)"
    )
    parser.add_argument(
        "--episodes", type=_integer(1), default=100, metavar="N", help="of each (default: 100, the official number)"
    )
    parser.add_argument("--seed", type=_integer(0), default=0, help="seed of the evaluation (default: 0)")
    parser.add_argument("--workers", type=_integer(1), default=1, metavar="N", help="processes (default: 1, this one)")
    parser.add_argument(
        "--out",
        type=pathlib.Path,
        default=pathlib.Path("runs/transfer"),
        metavar="DIR",
        help="output folder (default: runs/transfer)",
    )
    parser.add_argument("--cyborg", type=pathlib.Path, metavar="DIR", help="the checkout (default: CYBORG_HOME)")
    parser.add_argument(
        "--no-patch",
        dest="patch",
        action="store_false",
        help="CybORG without the bridge's shortcuts: the same scores, slower",
    )
    parser.set_defaults(run=_transfer)


def _transfer(args: argparse.Namespace) -> int:
    from experiments.transfer import (
        PICTURE,
        RESULTS,
        checkpoint_entries,
        control_entries,
        playbook_entries,
        print_table,
        transfer,
    )
    from soc_env.errors import ConfigError

    names = [run.absolute().name for run in args.checkpoint]
    if len(set(names)) < len(names):
        raise ConfigError(f"checkpoint is {names}, allowed: runs in folders of different names")
    entries = control_entries(args.controls) | playbook_entries(args.playbooks, args.level)
    for run in args.checkpoint:
        entries |= checkpoint_entries(run, args.level)
    if args.train_steps is not None:
        from experiments.transfer_train import trained_entries

        settings = {"seed": args.seed, "path": args.cyborg, "workers": args.workers if args.workers > 1 else 0}
        entries |= trained_entries(args.out, args.train_steps, args.level, args.checkpoint, **settings)
    if not entries:
        raise ConfigError("nothing to play: name --controls, --checkpoint, --playbooks or --train-steps")
    data = transfer(
        entries,
        episodes=args.episodes,
        seed=args.seed,
        workers=args.workers,
        out=args.out,
        path=args.cyborg,
        patch=args.patch,
    )
    print_table(data)
    print(f"wrote {args.out / RESULTS} and {args.out / PICTURE}")
    return 0


# --- bench


def _add_bench(commands: Any) -> None:
    parser = _command(
        commands,
        "bench",
        "measure the speed of simulator, runners and learners on this machine",
        f"""examples:
  {PROG} bench --quick
  {PROG} bench --only batched hosts --json bench.json --plot bench.png
  {PROG} bench --scenario soc-v1
Rates are per CPU-second, so a busy machine disturbs them less.""",
    )
    parser.add_argument("--quick", action="store_true", help="fewer sizes and repeats: a minute or two")
    parser.add_argument("--only", nargs="+", metavar="PART", help="only these parts; an unknown one lists them")
    parser.add_argument(
        "--scenario",
        action="append",
        metavar="NAME",
        help="only this scenario, can be given several times; default: paper-v0 and soc-v1",
    )
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the measurements to FILE")
    parser.add_argument("--plot", type=pathlib.Path, metavar="FILE", help="draw them into FILE (PNG, SVG, PDF)")
    parser.set_defaults(run=_bench)


def _bench(args: argparse.Namespace) -> int:
    from experiments.bench import bench

    bench(only=args.only, scenarios=args.scenario, quick=args.quick, json_path=args.json, plot_path=args.plot)
    return 0


# --- shared arguments


def _command(commands: Any, name: str, summary: str, epilog: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    return parser


def _add_scenario(parser: argparse.ArgumentParser, default: str | None, help_default: str) -> None:
    parser.add_argument(
        "--scenario",
        metavar="NAME",
        default=default,
        help=f"default: {help_default}",
    )
    _add_override(parser)


def _add_override(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--override",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a field of the scenario, for example num_hosts=500; can be given several times",
    )


def _parse_overrides(pairs: Sequence[str]) -> dict[str, Any]:
    """``["num_hosts=500", "split=test"]`` as a dict; values are JSON, or text where they are not.

    What is a list in the scenario may be written with commas: ``families=espionage`` or ``phase_values=1,2,2``.
    """
    from soc_env.errors import ConfigError

    overrides: dict[str, Any] = {}
    for pair in pairs:
        key, is_pair, text = pair.partition("=")
        if not is_pair or not key.isidentifier():
            raise ConfigError(f"--override={pair}: KEY=VALUE is allowed, for example num_hosts=500")
        if key in overrides:
            raise ConfigError(f"--override={pair}: {key} was given twice, once is allowed")
        overrides[key] = _value(text)
        if _is_list(key) and not isinstance(overrides[key], list):
            overrides[key] = [_value(item.strip()) for item in text.split(",") if item.strip()]
    return overrides


def _value(text: str) -> Any:
    try:
        return json.loads(text.lower() if text.lower() in ("true", "false") else text)
    except ValueError:
        return text


def _is_list(key: str) -> bool:
    """Whether a field of that name is a list of values in some scenario."""
    import dataclasses

    import soc_env

    fields = (spec for scenario in soc_env.SCENARIOS.values() for spec in dataclasses.fields(scenario))
    return any(spec.name == key and isinstance(spec.default, tuple) for spec in fields)


def _integer(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not allowed: a whole number of at least {least} is")
        return value

    return parse


def _positive_number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed: a number above 0 is")
    return value


if __name__ == "__main__":
    sys.exit(main())
