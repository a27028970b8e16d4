"""Tables of the command line, from the functions that are its commands."""

from __future__ import annotations

from typing import Any

import typer.main

from experiments.cli.app import RENAMED, app
from tables.environment import code_of
from tables.markdown import table


def _commands() -> dict[str, Any]:
    return typer.main.get_command(app).commands  # type: ignore[attr-defined]


def commands() -> str:
    """One line a command."""
    rows = [(code_of(name), command.get_short_help_str(200)) for name, command in _commands().items()]
    return table(("command", "what it does"), rows)


def options() -> str:
    """Every command with its options and examples."""
    return "\n\n".join(_section(name, command) for name, command in _commands().items())


def _section(name: str, command: Any) -> str:
    examples = [line.strip() for line in (command.epilog or "").splitlines() if line.strip().startswith("hmarl-soc")]
    rows = [_option(param) for param in command.params if param.name != "help"]
    return "\n\n".join([
        f"## {name}",
        command.help,
        table(("option", "value", "default", "meaning"), rows),
        "```shell\n" + "\n".join(examples) + "\n```",
    ])  # fmt: skip


def _option(param: Any) -> tuple[str, str, str, str]:
    if param.param_type_name == "argument":
        return code_of(param.metavar), "", "required", getattr(param, "help", "") or ""
    value = "" if getattr(param, "is_flag", False) else code_of(param.metavar or "TEXT")
    return code_of(", ".join(param.opts)), value, _default(param), param.help or ""


def _default(param: Any) -> str:
    if isinstance(param.show_default, str):
        return param.show_default
    if param.default is None or param.default is False or param.default == () or callable(param.default):
        return ""
    return code_of(str(param.default))


def renamed_commands() -> str:
    """Commands of before."""
    return table(("name of before", "now"), [(code_of(old), code_of(new)) for old, new in RENAMED.items()])


TABLES = {"commands": commands, "options": options, "renamed-commands": renamed_commands}
