"""Finds the user's CybORG CAGE Challenge 4 (CC4) checkout and imports it. None of its code is in this repository."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import io
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

from soc_env.errors import HMARLSOCError, shown

REPOSITORY = "https://github.com/cage-challenge/cage-challenge-4"
HOW_TO_GET_IT = f"""\
1. get the code:      git clone {REPOSITORY}
2. say where it is:   export CYBORG_HOME=<the folder that git made, cage-challenge-4>
3. do not pip install it: its pinned requirements would replace the NumPy, PyTorch and Ray in use here"""

# What the bridge stands on, relative to the checkout: CC4's scenario and its flat wrapper. Earlier challenges (CybORG
# 1.x-3.x) and CybORG forks of other scenarios lack at least one of them.
PACKAGE = "CybORG"
PARTS_NEEDED = (
    "CybORG/__init__.py",
    "CybORG/env.py",
    "CybORG/version.txt",
    "CybORG/Agents/Wrappers/BlueFlatWrapper.py",
    "CybORG/Simulator/Scenarios/EnterpriseScenarioGenerator.py",
)
MODULES_USED = ("CybORG", "CybORG.Agents", "CybORG.Agents.Wrappers", "CybORG.Simulator.Scenarios")
GYM_VERSION = "0.26"  # the last one, and the only one whose random generator CybORG 4 works with
EXTRA = "pip install 'hmarl-soc[cyborg]'"


class CyborgNotFoundError(HMARLSOCError):
    """There is no CybORG where it was looked for; the message ends in three lines that say how to get it."""


class CyborgCheckoutError(HMARLSOCError):
    """There is something, but it is not a usable CC4: another version of CybORG, or files are missing or broken."""


class CyborgDependencyError(HMARLSOCError, ImportError):
    """A package that CybORG imports is not installed, or in a version that CybORG does not work with."""


def find_cyborg(path: str | os.PathLike[str] | None = None) -> Path:
    """Locate a CybORG CC4 checkout and check that it is one. Nothing of it is imported.

    The first of these that is given decides; a place that is named but wrong is an error, never skipped in favour of
    the next: `path`, the environment variable `CYBORG_HOME`, a `CybORG` that Python could import.

    Args:
        path: the checkout (the folder that holds `CybORG/`), or its `CybORG` package folder itself.

    Returns:
        The checkout as an absolute path: what has to be on `sys.path` for `import CybORG`.

    Raises:
        CyborgNotFoundError: nothing found, or the named place does not exist or holds no CybORG.
        CyborgCheckoutError: what was found is not CybORG 4, or files of it are missing.
    """
    if path is not None:
        if not isinstance(path, str | os.PathLike):
            raise CyborgNotFoundError(f"path={shown(path)} is no path; allowed: that of a checkout, or None")
        return checked_checkout(Path(path), "path")
    if home := os.environ.get("CYBORG_HOME"):
        return checked_checkout(Path(home), "CYBORG_HOME")
    if importable := importable_cyborg():
        return checked_checkout(importable, "the importable CybORG")
    raise CyborgNotFoundError(f"CybORG (CAGE Challenge 4) was not found; to get it:\n{HOW_TO_GET_IT}")


def importable_cyborg() -> Path | None:
    """The folder of the `CybORG` package on `sys.path`, found without importing it; None if there is none."""
    try:
        spec = importlib.util.find_spec(PACKAGE)
    except ValueError:  # a module without a spec, put into sys.modules by hand
        return None
    locations = list(spec.submodule_search_locations or ()) if spec else []
    return Path(locations[0]) if locations else None


def checked_checkout(named: Path, source: str) -> Path:
    """The checkout that `named` means, if it is a whole CC4.

    Args:
        named: checkout or package folder, as given.
        source: who named it, for the message: "path", "CYBORG_HOME", ...

    Raises:
        CyborgNotFoundError, CyborgCheckoutError: as `find_cyborg`.
    """
    folder = named.expanduser().absolute()
    if not folder.is_dir():
        raise CyborgNotFoundError(f"{source}={str(named)!r} is not a folder; to get CybORG:\n{HOW_TO_GET_IT}")
    root = folder if (folder / PACKAGE).is_dir() else folder.parent
    if not (root / PACKAGE).is_dir() or (root != folder and folder.name != PACKAGE):
        raise CyborgNotFoundError(f"{source}={str(named)!r} holds no {PACKAGE} package; to get it:\n{HOW_TO_GET_IT}")

    version = read_version(root)
    if version is not None and version.split(".")[0] != "4":
        raise CyborgCheckoutError(
            f"{source}={str(named)!r} is CybORG {version}, but CAGE Challenge 4 is CybORG 4.x: {REPOSITORY}"
        )
    missing = [part for part in PARTS_NEEDED if not (root / part).is_file()]
    if missing:
        raise CyborgCheckoutError(
            f"{source}={str(named)!r} is not a whole CAGE Challenge 4 checkout, missing: {', '.join(missing)}"
        )
    if version is None:
        raise CyborgCheckoutError(f"{source}={str(named)!r} does not say its version: {PACKAGE}/version.txt is empty")
    return root


def read_version(root: Path) -> str | None:
    """What `CybORG/version.txt` of a checkout says ("4.0"), None when it is missing or empty."""
    file = root / PACKAGE / "version.txt"
    words = file.read_text(encoding="utf-8", errors="replace").split() if file.is_file() else []
    return words[0][:20] if words else None


def checkout_version(root: Path) -> dict[str, str | None]:
    """What results say about the CybORG they were made with: its version, and its git commit where git knows one."""
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    try:
        commit = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        commit = None
    return {"version": read_version(root), "commit": commit}


# --- importing it


def import_cyborg(path: str | os.PathLike[str] | None = None) -> Path:
    """Make `import CybORG` mean the checkout that `find_cyborg` finds, and import what the bridge uses of it.

    The checkout goes in front of `sys.path`. What its imports print (gym's notice, pygame's banner, warnings) is
    swallowed. After an error everything is as before the call.

    Returns:
        The checkout.

    Raises:
        CyborgNotFoundError: as `find_cyborg`.
        CyborgCheckoutError: as `find_cyborg`; the checkout's code fails on import; another CybORG is imported already.
        CyborgDependencyError: a package that CybORG needs is missing, or gym is not 0.26.
    """
    root = find_cyborg(path)
    if (loaded := sys.modules.get(PACKAGE)) is not None:
        found = Path(str(loaded.__file__)).parent.parent
        if found.resolve() != root.resolve():
            raise CyborgCheckoutError(
                f"{str(root)!r} cannot be imported, CybORG is imported already from {str(found)!r}: start a new process"
            )
    check_gym()
    with _on_path(root), _silence():
        try:
            for module in MODULES_USED:
                importlib.import_module(module)
        except ModuleNotFoundError as error:
            name = str(error.name).split(".")[0]
            if name == PACKAGE:
                raise CyborgCheckoutError(f"{str(root)!r} is not a whole checkout, missing: {error.name}") from error
            raise CyborgDependencyError(
                f"CybORG needs the package {name!r}, which is not installed: {EXTRA}"
            ) from error
        except Exception as error:
            reason = " ".join(str(error).split())
            raise CyborgCheckoutError(f"{str(root)!r} cannot be imported ({type(error).__name__}: {reason})") from error
    return root


def check_gym() -> None:
    """CyborgDependencyError unless gym is installed in the version that CybORG works with."""
    try:
        version = importlib.metadata.version("gym")
    except importlib.metadata.PackageNotFoundError as error:
        raise CyborgDependencyError(f"CybORG needs the package 'gym', which is not installed: {EXTRA}") from error
    if not version.startswith(f"{GYM_VERSION}."):
        raise CyborgDependencyError(f"gym {version} is installed, CybORG needs {GYM_VERSION}.x: {EXTRA}")


@contextlib.contextmanager
def _on_path(root: Path) -> Iterator[None]:
    """The checkout in front of sys.path, for good; on an error it is taken away with all that was imported of it."""
    was_there = set(sys.modules)
    is_new = str(root) not in sys.path
    if is_new:
        sys.path.insert(0, str(root))
        importlib.invalidate_caches()
    try:
        yield
    except BaseException:
        if is_new:
            sys.path.remove(str(root))
        for name in set(sys.modules) - was_there:
            if name.split(".")[0] == PACKAGE:
                del sys.modules[name]
        raise


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Nothing on stdout and stderr, and no warnings."""
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield
