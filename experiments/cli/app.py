"""The commands under one name: what `hmarl-soc` without a command says, and how words become a call."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer
import typer.core
import typer.main

from experiments.cli import INTERRUPTED, PROG, commands
from experiments.cli.options import BARE

RENAMED = {"table": "compare", "seeds": "aggregate"}  # names of commands that were


class Group(typer.core.TyperGroup):
    """The list of commands; a name of before is answered with that of today."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of a name, or None."""
        if cmd_name in RENAMED:
            ctx.fail(f"Command {cmd_name!r} is now called {RENAMED[cmd_name]!r}: {PROG} {RENAMED[cmd_name]}")
        return super().get_command(ctx, cmd_name)


class Command(typer.core.TyperCommand):
    """A command some of whose options take several words, or none: ``--only batched hosts``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Puts the values of the words into the context; returns the words that are left."""
        shown = {name: param.metavar or "" for param in self.params for name in param.opts}
        many = {name for name, metavar in shown.items() if "..." in metavar}
        bare = {name for name, metavar in shown.items() if metavar.startswith("[")}
        return super().parse_args(ctx, spread(args, many, bare))


def spread(words: Sequence[str], many: set[str], bare: set[str]) -> list[str]:
    """Words as typer reads them, which knows only options of one value.

    Args:
        words: after the command.
        many: options with one value or more: each value gets the option's name before it.
        bare: options that may stand alone: these get the value `BARE`.
    """
    found: list[str] = []
    option, has_value = "", False
    for word in words:
        if word.startswith("--"):
            found += [BARE] if option in bare and not has_value else []
            option, has_value = word, False
            found.append(word)
        else:
            found += [option, word] if option in many and has_value else [word]
            has_value = True
    return found + ([BARE] if option in bare and not has_value else [])


def _version(is_asked: bool) -> None:
    if not is_asked:
        return
    from soc_env.versions import versions

    print(PROG, versions("hmarl-soc").get("hmarl-soc", "(not installed: run from a source tree)"))
    raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", help="Print the version and stop.", callback=_version, is_eager=True)
]


def _build() -> typer.Typer:
    app = typer.Typer(
        cls=Group,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    def root(version: Version = False) -> None:
        """Four agents that learn together to run a security operations centre (SOC)."""

    app.callback()(root)
    for function in commands.COMMANDS:
        _add(app, function)
    return app


def _add(app: typer.Typer, function: Callable[..., None]) -> None:
    """A command from a function: its name, its options, and its text, whose examples keep their lines."""
    text, _, examples = inspect.cleandoc(function.__doc__ or "").partition("Examples:\n")
    paragraphs = [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]
    lines = [line.strip() for line in examples.splitlines() if line.strip()]
    app.command(
        function.__name__.replace("_", "-"),
        cls=Command,
        help="\n\n".join(paragraphs).strip(),
        epilog="\b\n" + "\n".join(["Examples:", *(f"  {line}" for line in lines)]),
        rich_help_panel=commands.PANELS[function.__name__],
        context_settings={"help_option_names": ["-h", "--help"]},
    )(function)


app = _build()


def run(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status.

    Raises:
        KeyboardInterrupt: Ctrl-C.
        typer.BadParameter and its relatives: words that are no call of a command.
        HMARLSOCError: what a command refuses.
    """
    try:
        status = typer.main.get_command(app).main(argv, prog_name=PROG, standalone_mode=False)
    except typer.Abort:
        raise KeyboardInterrupt from None
    if status == INTERRUPTED:  # typer's word for Ctrl-C
        raise KeyboardInterrupt
    return status or 0
