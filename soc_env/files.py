"""Files and folders that are written whole or not at all, and are on the disk when they have their name."""

import contextlib
import errno
import os
import pathlib
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from typing import IO

UNSYNCED = (errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EBADF)  # where folders cannot be synced, the file is
MAX_NAME = 200  # of a name's characters in its partial file's: file systems allow 255 bytes


@contextlib.contextmanager
def new_file(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A binary file that takes the name `path` once it is complete and on the disk: a reader, also one after a power
    cut, sees the old content or the new, never a part. Makes missing folders.

    Raises:
        OSError: it cannot be written; names `path`.
    """
    path = pathlib.Path(path)
    partial = str(path.with_name(f".{path.name[:MAX_NAME]}.{secrets.token_hex(4)}.partial"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        sync(path.parent)
    except OSError as error:
        if error.errno is not None and error.filename in (partial, None):  # None: the disk is full, or fails
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        with contextlib.suppress(OSError):  # it has its name, or was never made
            os.unlink(partial)


def sync(path: str | os.PathLike[str]) -> None:
    """Puts a file's content on the disk, or the names in a folder: after it a new or renamed file survives a power cut
    by its name.

    Raises:
        OSError: the device fails. Where folders cannot be synced, it does nothing for them.
    """
    is_folder = os.path.isdir(path)
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:  # a folder that may be written but not read, and every folder on Windows
        if is_folder:
            return
        raise
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not is_folder or error.errno not in UNSYNCED:
            raise
    finally:
        os.close(descriptor)


def link_or_copy(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """A second name for a file that is never written again; a copy on a file system without links.

    Raises:
        FileNotFoundError: there is no such file.
    """
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(source, target)


# ---- folders
def partial_folder(folder: pathlib.Path) -> pathlib.Path:
    """A name of its own, beside `folder`, for what will take its place."""
    return folder.with_name(f".{folder.name}.{secrets.token_hex(8)}.partial")


def retired_folder(folder: pathlib.Path) -> pathlib.Path:
    """Where `replace_folder` puts the folder before while none has the name."""
    return folder.with_name(f".{folder.name}.old")


def remove_leftovers(folder: pathlib.Path) -> None:
    """Removes what killed processes have left of replacements of `folder`, which nobody may be making."""
    for partial in folder.parent.glob(f".{folder.name}.*.partial"):
        shutil.rmtree(partial, ignore_errors=True)
    if folder.exists():
        shutil.rmtree(retired_folder(folder), ignore_errors=True)


def recover_folder(folder: pathlib.Path) -> None:
    """Puts the folder before back if a process was killed in `replace_folder` between the two renamings, and removes
    what killed ones have left."""
    if not folder.exists() and retired_folder(folder).exists():
        os.rename(retired_folder(folder), folder)
        sync(folder.parent)
    remove_leftovers(folder)


def sync_tree(folder: pathlib.Path) -> None:
    """`sync` of all files and folders in a folder, and of itself."""
    for path in folder.rglob("*"):
        sync(path)
    sync(folder)


def replace_folder(
    partial: pathlib.Path, folder: pathlib.Path, at_step: Callable[[str], None] = lambda step: None
) -> None:
    """Gives a folder the name of another one, which is put aside whole and deleted when the new one is in place:
    deleting it under its name could be interrupted half way.

    Args:
        partial: the new one, complete, with a name as `partial_folder` gives.
        folder: the name.
        at_step: called with "retired" while none has the name, "placed" and "cleaned".

    Raises:
        OSError: it cannot be renamed; the one before has its name, and `partial` is removed.
    """
    retired = retired_folder(folder)
    if folder.exists():
        shutil.rmtree(retired, ignore_errors=True)
        os.rename(folder, retired)
    at_step("retired")
    try:
        os.rename(partial, folder)
    except OSError:
        if retired.exists():
            os.rename(retired, folder)
        shutil.rmtree(partial, ignore_errors=True)
        raise
    sync(folder.parent)
    at_step("placed")
    shutil.rmtree(retired, ignore_errors=True)
    at_step("cleaned")


def remove_partials(folder: str | os.PathLike[str], names: Iterable[str]) -> None:
    """Removes what killed processes have left of `new_file` for files of these names, which nobody may be writing."""
    for name in names:
        for partial in pathlib.Path(folder).glob(f".{name[:MAX_NAME]}.{'[0-9a-f]' * 8}.partial"):
            with contextlib.suppress(OSError):
                partial.unlink()
