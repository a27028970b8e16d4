"""`python -m experiments.curves`: see the package."""

from __future__ import annotations

import argparse
import math
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import soc_env
from experiments import curves
from experiments.cli.config_file import read_config
from experiments.cli.options import parse_overrides
from experiments.curves.contestants import CENTRAL, METHODS, NEEDS, Task, can_train
from experiments.curves.draw import table
from experiments.families import protocol_of
from soc_env.errors import ConfigError, HMARLSOCError, shown, unknown_name

ACTIONS = ("discrete", "continuous")  # the first is in no curve's name


def main(given: Sequence[str] | None = None) -> int:
    """Trains what is missing and prints the table. Returns the exit status."""
    try:
        options = _parser().parse_args(given)
        result = curves.train_curves(tasks_of(options), options.out)
    except HMARLSOCError as error:
        print(f"curves: error: {error}", file=sys.stderr)
        return 2
    print(*table(result), f"wrote {options.out / curves.RESULT} and {curves.PICTURE}", sep="\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    about = (curves.__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m experiments.curves", description=about)
    add = parser.add_argument
    add("--out", type=pathlib.Path, required=True, metavar="DIR", help="folder of the curves")
    add("--minutes", type=float, default=10.0, help="CPU time of each curve (default: 10)")
    add("--every", type=float, default=30.0, metavar="SECONDS", help="CPU time between validations (default: 30)")
    add("--seeds", type=int, nargs="+", default=[0], metavar="N", help="a curve of each method for each (default: 0)")
    add("--scenario", default="soc-v1", help="default: soc-v1")
    add("--override", nargs="+", default=[], metavar="KEY=VALUE", help="fields of the scenario, for all curves")
    add("--methods", nargs="*", default=None, metavar="NAME", help=f"of {', '.join(METHODS)} (default: the installed)")
    kinds = "of the central methods, a curve for each: discrete (default), continuous"
    add("--actions", nargs="+", default=["discrete"], metavar="KIND", help=kinds)
    add("--hmarl", nargs="+", default=[], metavar="NAME=FILE", help="curves of HMARL with the settings of a file")
    add("--episodes", type=int, default=None, metavar="N", help="of a validation (default: those of training runs)")
    return parser


def tasks_of(options: argparse.Namespace) -> list[Task]:
    """The curves that are asked for.

    Raises:
        ConfigError: A method, kind of action, number, file or name that is none.
        ScenarioError: An unknown scenario.
    """
    overrides = parse_overrides(options.override)
    soc_env.make_scenario(options.scenario, **overrides)
    for name in ("minutes", "every"):
        value = getattr(options, name)
        if not (math.isfinite(value) and value > 0):
            raise ConfigError(f"{name}={shown(value)} must be a number above 0")
    for kind in options.actions:
        if kind not in ACTIONS:
            raise ConfigError(unknown_name("actions", kind, ACTIONS))
    if options.episodes is not None and options.episodes < 1:
        raise ConfigError(f"episodes={options.episodes} must be at least 1")
    if min(options.seeds) < 0:
        raise ConfigError(f"seeds={options.seeds} must be integers of at least 0")
    common: dict[str, Any] = {"scenario": options.scenario, "minutes": options.minutes, "every": options.every}
    common["overrides"] = overrides
    common["episodes"] = options.episodes or protocol_of(options.scenario).validation_episodes
    kinds: list[tuple[str, str, dict[str, Any]]] = []
    for method in _methods(options.methods):
        of_method = options.actions if method in CENTRAL else ACTIONS[:1]
        kinds += [
            (method if kind == ACTIONS[0] else f"{method}-{kind}", method, {"actions": kind}) for kind in of_method
        ]
    kinds += [(*_variant(one), {"config": _config(one)}) for one in options.hmarl]
    names = [name for name, _, _ in kinds]
    if len(set(names)) < len(names) or not names:
        raise ConfigError(
            f"curves are called {', '.join(names) or 'nothing'}; allowed: names of their own, at least one"
        )
    return [Task(name, method, seed, **{**common, **own}) for seed in options.seeds for name, method, own in kinds]


def _methods(asked: Sequence[str] | None) -> list[str]:
    if asked is None:
        for name in METHODS:
            if not can_train(name):
                print(f'without {name}: it needs pip install "hmarl-soc[{NEEDS[name][1]}]"')
        return [name for name in METHODS if can_train(name)]
    for name in asked:
        if name not in METHODS:
            raise ConfigError(unknown_name("method", name, METHODS))
    return list(asked)


def _variant(text: str) -> tuple[str, str]:
    name, equals, _ = text.partition("=")
    if not equals or not name.replace("-", "").replace("_", "").isalnum():
        raise ConfigError(f"hmarl={shown(text)}; allowed: NAME=FILE, the name of letters, digits, - and _")
    return name, "hmarl"


def _config(text: str) -> dict[str, Any]:
    return read_config(pathlib.Path(text.partition("=")[2]), "hmarl")


if __name__ == "__main__":
    sys.exit(main())
