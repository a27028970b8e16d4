"""Options that several commands have, and how the values of options are read."""

from __future__ import annotations

import json
import math
import os
import pathlib
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any

import typer

DEFAULT_SCENARIO = "soc-v1"
MOST = 10**12  # of any number that is given, where nothing less is said
MOST_SEED, MOST_PROCESSES = 2**32 - 1, 1024
BARE = "-"  # the value of an option that stands alone where it may have a value
TASK, POLICIES, BUDGET, RUN, OUTPUT = "What is played", "Who plays", "How much", "The run", "Output"  # panels of help
INSTEAD = "Instead of the table"


# --- kinds of options


def integer(least: int, help: str, panel: str, most: int = MOST, **settings: Any) -> Any:
    """An option for a whole number from `least` to `most`, in the digits 0 to 9."""

    def parse(given: str | int) -> int:  # typer hands its default over too
        text = str(given)
        is_number = re.fullmatch(r"[-+]?[0-9]{1,30}", text)
        value = int(text) if is_number else least - 1
        if not least <= value <= most:
            from soc_env.errors import shown

            bounds = f"of at least {least}" if value < least else f"from {least} to {most}"
            raise typer.BadParameter(f"{shown(text)} is not allowed: a whole number {bounds} is")
        return value

    return typer.Option(
        parser=parse, metavar="N", help=f"{help.rstrip('.')} (at least {least}).", rich_help_panel=panel, **settings
    )


def positive(help: str, panel: str, most: float = MOST, **settings: Any) -> Any:
    """An option for a number above 0, at most `most`, in the digits 0 to 9."""

    def parse(given: str | float) -> float:
        text = str(given)
        is_number = re.fullmatch(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,5})?", text)
        value = float(text) if is_number else math.nan
        if not 0 < value <= most:
            from soc_env.errors import shown

            bounds = f"from above 0 to {most:g}" if value > most else "above 0"
            raise typer.BadParameter(f"{shown(text)} is not allowed: a number {bounds} is")
        return value

    return typer.Option(
        parser=parse, metavar="X", help=f"{help.rstrip('.')} (above 0).", rich_help_panel=panel, **settings
    )


def flag(name: str, help: str, panel: str) -> Any:
    """An option that stands alone."""
    return typer.Option(name, help=help, rich_help_panel=panel)


def place(help: str, panel: str, metavar: str = "DIR", **settings: Any) -> Any:
    """An option for a folder or a file that is read, a folder that is made, or an address."""
    return typer.Option(metavar=metavar, help=help, rich_help_panel=panel, **settings)


def several(name: str, metavar: str, help: str, panel: str, **settings: Any) -> Any:
    """An option for one word or more: ``--only batched hosts`` or ``--only batched --only hosts``."""
    return typer.Option(name, metavar=metavar, help=help, rich_help_panel=panel, **settings)


def file(name: str, help: str) -> Any:
    """An option for a file to write."""
    return typer.Option(name, metavar="FILE", help=help, rich_help_panel=OUTPUT)


# --- completion: looked up when a shell asks for it


def names_in(names: Iterable[str]) -> Callable[[str], list[str]]:
    """Completes one of some names."""
    return lambda incomplete: [name for name in names if name.startswith(incomplete)]


def _scenarios(incomplete: str) -> list[str]:
    from soc_env import SCENARIOS

    return names_in(SCENARIOS)(incomplete)


def scripted_names(incomplete: str) -> list[str]:
    """Scripted policies of all families that begin so."""
    from policies.scripted import scripted
    from soc_env import SCENARIOS

    return names_in(dict.fromkeys(name for scenario in SCENARIOS for name in scripted(scenario)))(incomplete)


def named_policy(word: Any) -> str:
    """A policy as a command line names it; one of the user's own may lie in the current folder."""
    from policies.scripted import is_code

    if is_code(str(word)) and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    return str(word)


# --- options of several commands

SCENARIO_OPTION: dict[str, Any] = {
    "metavar": "NAME",
    "help": "The scenario; a wrong name lists them.",
    "autocompletion": _scenarios,
    "rich_help_panel": TASK,
}
Scenario = Annotated[str, typer.Option("--scenario", **SCENARIO_OPTION)]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--override",
        metavar="KEY=VALUE",
        help="Change a field of the scenario, for example num_hosts=500; can be given several times.",
        show_default=False,
        rich_help_panel=TASK,
    ),
]
EvaluationSeed = Annotated[int, integer(0, "Seed of the evaluation.", TASK, MOST_SEED)]
JsonFile = Annotated[pathlib.Path | None, file("--json", "Write everything to FILE.")]
PlotFile = Annotated[pathlib.Path | None, file("--plot", "Draw it into FILE (PNG, SVG, PDF).")]
AGAINST = "Train with this build and with the one in a checkout, in turn; --only has names of rows."
Against = Annotated[pathlib.Path | None, place(AGAINST, TASK)]
Pairs = Annotated[int | None, integer(1, "Runs of either build, with --against.", BUDGET, 100, show_default="5")]


def exclusive(**options: Any) -> None:
    """Refuses more than one of some options; those that were not given are None or False.

    Raises:
        ConfigError: two of them were given.
    """
    from soc_env.errors import ConfigError

    given = [
        "--" + name.replace("_", "-") + ("" if value is True else f"={value}")
        for name, value in options.items()
        if value is not None and value is not False
    ]
    if len(given) > 1:
        raise ConfigError(f"{given[0]} is not allowed with {given[1]}: one of them is")


# --- values of scenario fields


def parse_overrides(pairs: Sequence[str] | None) -> dict[str, Any]:
    """``["num_hosts=500", "split=test"]`` as a dict; values are JSON, or text where they are not.

    What is a list in the scenario may be written with commas: ``families=espionage`` or ``phase_values=1,2,2``.

    Raises:
        ConfigError: a pair that is none, or a key given twice.
    """
    from soc_env.errors import ConfigError, shown

    overrides: dict[str, Any] = {}
    for pair in pairs or ():
        key, is_pair, text = pair.partition("=")
        if not is_pair or not key.isidentifier():
            raise ConfigError(f"--override={shown(pair)}: KEY=VALUE is allowed, for example num_hosts=500")
        if key in overrides:
            raise ConfigError(f"--override={shown(pair)}: {key} was given twice, once is allowed")
        overrides[key] = _value(text)
        if _is_list(key) and not isinstance(overrides[key], list):
            overrides[key] = [_value(item.strip()) for item in text.split(",") if item.strip()]
    return overrides


def _value(text: str) -> Any:
    try:
        return json.loads(text.lower() if text.lower() in ("true", "false") else text)
    except (ValueError, RecursionError):
        return text


def _is_list(key: str) -> bool:
    """Whether a field of that name is a list of values in some scenario."""
    import dataclasses

    import soc_env

    fields = (spec for scenario in soc_env.SCENARIOS.values() for spec in dataclasses.fields(scenario))
    return any(spec.name == key and isinstance(spec.default, tuple) for spec in fields)
