"""How kernels are compiled and where the result is kept.

Numba's own cache looks only at the file of the cached function, so a change in a helper would go unnoticed. Here the
cache folder's name is a hash of every source file that the function's module imports, directly or not, of the data
beside them, and of the versions of Python, Numba and NumPy. What no kernel imports does not count, so a change in a
picture compiles nothing anew.

A cache is code that will be run, so it lives in a folder that only its user can write: `$HMARL_SOC_CACHE_DIR` if set,
else `hmarl-soc` in `$XDG_CACHE_HOME` or `~/.cache`. Where none can be had (read-only home, no home) kernels are
compiled in memory, which takes about ten seconds a process.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import re
import stat
import sys
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba.core import options as numba_options

# An absolute import, as all of this project are: the module and the names of one form, the modules of the other.
_IMPORT = re.compile(r"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+import[ \t]+(\([^)]*\)|[^\n]*)|import[ \t]+([^\n]*))", re.M)
_COMMENT = re.compile(r"#[^\n]*")

CACHE_VARIABLE = "HMARL_SOC_CACHE_DIR"
IS_COMPILED = not numba.config.DISABLE_JIT

# error_model: division like NumPy's. The other options are private to Numba and only save time, so each is used only
# where this Numba knows it: _nrt=False drops reference counting (kernels allocate nothing), the wrappers are for calls
# from Python, which inner kernels never get.
_KNOWN = dir(numba_options.DefaultOptions)
_ENTRY_OPTIONS = {"error_model": "numpy", "nogil": True} | ({"_nrt": False} if "_nrt" in _KNOWN else {})
_INNER_OPTIONS = {"error_model": "numpy"} | {
    name: value
    for name, value in {"_nrt": False, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}.items()
    if name in _KNOWN
}


def kernel(function: Callable) -> Callable:
    """Compiles a function that only other kernels call. It must not allocate."""
    return numba.njit(**_INNER_OPTIONS)(function)


def part(function: Callable) -> Callable:
    """As `kernel`, for a part of one that was cut off only to be read: it is put back where it is called."""
    return numba.njit(forceinline=True, **_INNER_OPTIONS)(function)


def entry_point(function: Callable) -> Callable:
    """Compiles a function that Python calls, releases the GIL in it, and keeps the result between runs if it can."""
    return _entry_point(function, _ENTRY_OPTIONS)


def fast_entry_point(function: Callable) -> Callable:
    """As `entry_point`, for sums whose order does not matter: several entries of an array are added at once."""
    return _entry_point(function, {**_ENTRY_OPTIONS, "fastmath": {"reassoc", "contract", "nsz"}})


def _entry_point(function: Callable, options: dict[str, Any]) -> Callable:
    if not IS_COMPILED:
        # 64-bit draws wrap around on purpose
        return np.errstate(over="ignore")(function)
    folder = cache_folder(pathlib.Path(function.__code__.co_filename))
    if folder is None:
        return numba.njit(**options)(function)
    previous = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(folder)
    try:
        return numba.njit(cache=True, **options)(function)
    except (RuntimeError, OSError):
        return numba.njit(**options)(function)
    finally:
        numba.config.CACHE_DIR = previous


def cache_folder(source: pathlib.Path) -> pathlib.Path | None:
    """The folder of kernels compiled from a module, made if missing; None if no private one can be had.

    Args:
        source: The module's file.
    """
    for base in _candidates():
        try:
            folder = base / source_hash(source)
            base.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
            if _is_private(folder):
                return folder
        except OSError:
            continue
    return None


def source_hash(source: pathlib.Path) -> str:
    """Hex digest of everything that code compiled from a module depends on.

    Args:
        source: The module's file.

    Raises:
        OSError: It cannot be read.
    """
    root = _root(source)
    digest = hashlib.sha256(f"{sys.version} {numba.__version__} {np.__version__} {root}".encode())
    for file in sources_of(source):
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def sources_of(source: pathlib.Path) -> list[pathlib.Path]:
    """The files that a module depends on, sorted: itself, what it imports of its own package and of `soc_env`, what
    those import, and all that lies in a folder `data` beside one of them.

    Imports are read off the text, wherever in a file they stand, which takes a tenth of the time of parsing it.
    """
    roots = {_root(source), pathlib.Path(__file__).parents[2]}
    packages = {source.relative_to(_root(source)).parts[0], "soc_env"}
    found, waiting = {source}, [source]
    while waiting:
        for file in _imported(waiting.pop(), roots, packages):
            if file not in found:
                found.add(file)
                waiting.append(file)
    beside = {folder / "data" for folder in {file.parent for file in found}}
    data = {file for folder in beside if folder.is_dir() for file in folder.iterdir() if file.is_file()}
    return sorted(found | data)


def _root(source: pathlib.Path) -> pathlib.Path:
    """The folder that a module's top-level package lies in."""
    folder = source.parent
    while (folder / "__init__.py").is_file():
        folder = folder.parent
    return folder


def _imported(source: pathlib.Path, roots: set[pathlib.Path], packages: set[str]) -> set[pathlib.Path]:
    """The files of `packages` that a file imports: modules, and the `__init__.py` that a name comes from."""
    found: set[pathlib.Path | None] = set()
    for module, names, modules in _IMPORT.findall(source.read_text(encoding="utf-8")):
        for name in _names(modules):
            found.add(_file_of(name, roots, packages))
        for name in _names(names) if module else ():
            found.add(_file_of(f"{module}.{name}", roots, packages) or _file_of(module, roots, packages))
    return {file for file in found if file is not None}


def _names(listed: str) -> list[str]:
    """What stands between the commas of an import, without comments and other names given to it."""
    return [name.split()[0] for name in _COMMENT.sub("", listed).strip("() \n\t").split(",") if name.strip()]


def _file_of(module: str, roots: set[pathlib.Path], packages: set[str]) -> pathlib.Path | None:
    """The file of a module of one of `packages`; None if there is none."""
    if module.partition(".")[0] not in packages:
        return None
    for root in roots:
        path = root.joinpath(*module.split("."))
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file():
                return file
    return None


def _candidates() -> list[pathlib.Path]:
    """Where the cache may lie, best first."""
    override = os.environ.get(CACHE_VARIABLE)
    if override:
        return [pathlib.Path(override)]
    folders = []
    if os.environ.get("XDG_CACHE_HOME"):
        folders.append(pathlib.Path(os.environ["XDG_CACHE_HOME"]))
    with contextlib.suppress(RuntimeError):  # no home at all
        folders.append(pathlib.Path.home() / ".cache")
    return [folder / "hmarl-soc" for folder in folders]


def _is_private(folder: pathlib.Path) -> bool:
    """Whether the folder is ours, writable, writable by nobody else, and safe from being replaced."""
    if not os.access(folder, os.W_OK | os.X_OK):
        return False
    if not hasattr(os, "getuid"):  # Windows: profile folders are private
        return True
    ours, parent = folder.stat(), folder.parent.stat()
    is_replaceable = parent.st_mode & stat.S_IWOTH and not parent.st_mode & stat.S_ISVTX
    return ours.st_uid == os.getuid() and not ours.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not is_replaceable
