"""What a result was made with: versions, the git commit, the command."""

from __future__ import annotations

import functools
import pathlib
import platform
import subprocess
import sys
from typing import Any

from soc_env.versions import versions

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGES = ("hmarl-soc", "numpy", "numba", "torch", "ray")  # that numbers depend on


def provenance() -> dict[str, Any]:
    """What the same call gives the same result with: `versions` of packages and `git_hash`.

    A scenario's own mark is `Scenario.hash()`; results keep it beside this as `scenario_hash`.
    """
    return {"versions": {"python": platform.python_version(), **versions(*PACKAGES)}, "git_hash": git_hash()}


def command() -> list[str]:
    """The command line of this process. Runs keep it; results do not, so that the same seed gives the same bytes."""
    return list(sys.argv)


@functools.cache
def git_hash(root: pathlib.Path = ROOT) -> str | None:
    """The checkout's commit, with "-dirty" when tracked files were changed; None when installed as a package."""
    root = root.resolve()

    def git(*arguments: str) -> str:
        call = ["git", "-C", str(root), *arguments]
        return subprocess.run(call, capture_output=True, text=True, timeout=10, check=True).stdout.strip()

    try:
        if pathlib.Path(git("rev-parse", "--show-toplevel")).resolve() != root:
            return None  # somebody else's repository, with this package installed somewhere below it
        is_dirty = bool(git("status", "--porcelain", "--untracked-files=no"))
        return git("rev-parse", "HEAD") + ("-dirty" if is_dirty else "")
    except (OSError, subprocess.SubprocessError):
        return None
