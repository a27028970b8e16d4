"""`hmarl-soc`: the command line. Arguments in, exit status out; the work is done by the other modules.

Exit status: 0 done, 1 the reader of the output has gone, 2 bad input (one line on standard error, no traceback), 130
interrupted with Ctrl-C. Needs the [eval] extra. Heavy imports happen inside the commands, so that ``--help`` is quick
and ``evaluate --policy`` needs no torch or ray.

===============  ======================================================================================================
app              the commands under one name, with shell completion
commands         a function for each command: its options with default, range and help
options          options that several commands have, and how values are read
config_file      settings from TOML, YAML and JSON
===============  ======================================================================================================
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

PROG = "hmarl-soc"
INTERRUPTED = 130
OUR_PACKAGES = ("soc_env", "policies", "experiments", "cyborg_bridge")
EVAL_PACKAGES = ("typer", "rich", "scipy", "statsmodels", "jinja2", "yaml")  # of the [eval] extra


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    try:
        from experiments.cli.app import run

        status = run(argv)
        sys.stdout.flush()  # a reader that has gone shows here, not in the interpreter's shutdown
        return status
    except KeyboardInterrupt:
        print(f"\n{PROG}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # for example `hmarl-soc evaluate ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        message = _bad_input(error)
        if message is None:
            raise
        print(f"{PROG}: error: {' '.join(message.split())}", file=sys.stderr)
        return _status(error)


def _status(error: Exception) -> int:
    """1 if something outside failed while the command ran (`RunError`), 2 for wrong use."""
    from soc_env.errors import RunError

    return 1 if isinstance(error, RunError) else 2


def _bad_input(error: Exception) -> str | None:
    """The one line that an error is told with, or None for a fault of ours."""
    if isinstance(error, ModuleNotFoundError):
        missing = (error.name or "").partition(".")[0]
        if not missing or missing in OUR_PACKAGES:
            return None
        extra = "eval" if missing in EVAL_PACKAGES else "train"
        return f'{missing} is not installed; this command needs: pip install "hmarl-soc[{extra}]"'
    if hasattr(error, "format_message"):  # typer's: an option or argument that cannot be read
        context = getattr(error, "ctx", None)
        hint = "" if context is None else f" (see {context.command_path} --help)"
        return str(error.format_message()).rstrip(".") + hint
    from soc_env.errors import HMARLSOCError

    return str(error) if isinstance(error, HMARLSOCError) else None
