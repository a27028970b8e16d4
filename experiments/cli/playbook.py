"""`hmarl-soc playbook`, the command about playbook files; as `experiments.cli.commands` has the others."""

from __future__ import annotations

from typing import Annotated

import typer

from experiments.cli.options import INSTEAD, exclusive, flag

PLAYBOOK_HELP = "A playbook file (.toml), or the name of one that ships: rule-soar, expert, ..."
Playbook = Annotated[str | None, typer.Argument(metavar="FILE|NAME", help=PLAYBOOK_HELP, show_default="with --names")]
SOURCE_HELP = "Print the file itself, to start your own from."
NAMES_HELP = "Print what rules can name: actions and their levels, features, functions."


def playbook(
    playbook: Playbook = None,
    source: Annotated[bool, flag("--source", SOURCE_HELP, INSTEAD)] = False,
    names: Annotated[bool, flag("--names", NAMES_HELP, INSTEAD)] = False,
) -> None:
    """Check a playbook file, and show its rules as they are understood.

    A mistake is one line with the file's name, the line, and what is allowed; the exit status is then 2.
    A checked file is a policy: wherever a command takes the name of one, it takes the file, as in evaluate --policy.

    Examples:
        hmarl-soc playbook mine.toml
        hmarl-soc playbook expert --source
        hmarl-soc playbook --names
    """
    exclusive(playbook=playbook, names=names)
    from experiments import playbooks
    from soc_env.errors import ConfigError

    if names:
        playbooks.print_names()
    elif playbook is None:
        raise ConfigError("no playbook: FILE, NAME or --names is needed")
    elif source:
        playbooks.print_source(playbook)
    else:
        playbooks.print_playbook(playbook)
