"""Rows of a replay as files that never change: a checkpoint writes the rows added since the one before, and links the
rest.

A segment holds the rows of the numbers `first` to `end`. It is written once, hard-linked from checkpoint to checkpoint
(copied where links are not possible), and left out when the ring has overwritten all of its rows. Its name has the
digest of its content, so one of another history, from before a run was set back, is never taken for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow
from safetensors.numpy import load_file, save

from policies.hmarl.following import NEXT_OBS, OBS
from policies.hmarl.replay import Columns, JointReplay
from policies.hmarl.row_keys import row_keys
from soc_env.errors import CheckpointError
from soc_env.files import link_or_copy

MAX_ROWS = 32_768  # of a segment: what is in memory twice while it is written
MAX_SEGMENTS = 256  # of a store; beyond, all of its rows are written anew
SOURCE = "next_obs"
BLOCK = 1024  # rows that are handled at once
CODEC = pyarrow.Codec("zstd", 1)


class Segment(NamedTuple):
    """A file of rows."""

    file: str
    first: int
    end: int
    bytes: int
    sha256: str

    def entry(self) -> dict[str, Any]:
        """What the manifest says of it."""
        return {"bytes": self.bytes, "sha256": self.sha256}


class Segments:
    """The files that hold the rows of one store, as they were last written or read.

    Args:
        name: of the store.
        replay: the store.
    """

    def __init__(self, name: str, replay: JointReplay):
        self.name, self.replay = name, replay
        self.known: list[Segment] = []
        self.place = Path()  # the folder they were last in
        self._history = replay.history

    def write(self, folder: Path, place: Path) -> list[Segment]:
        """Puts all rows of the store into `folder`, whose name will be `place`.

        Raises:
            OSError: a file cannot be written.
        """
        if self._history is not self.replay.history:  # rows have changed under their numbers
            self.known, self._history = [], self.replay.history
        first, end = self.replay.first, self.replay.num_added
        kept = [part for part in self.known if part.end > first and _relinked(self.place / part.file, folder, part)]
        if len(kept) > MAX_SEGMENTS:
            for part in kept:
                (folder / part.file).unlink()
            kept = []
        begin, written = first, []
        for stop, onward in [*((part.first, part.end) for part in kept), (end, end)]:
            written += [self._written(folder, k, min(k + MAX_ROWS, stop)) for k in range(begin, stop, MAX_ROWS)]
            begin = onward
        self.known, self.place = sorted([*kept, *written], key=lambda part: part.first), place
        return self.known

    def _written(self, folder: Path, first: int, end: int) -> Segment:
        content = save(packed(self.replay.rows(first, end)))
        digest = hashlib.sha256(content).hexdigest()
        file = f"{self.name}-{first:012d}-{end:012d}-{digest[:16]}.safetensors"
        (folder / file).write_bytes(content)
        return Segment(file, first, end, len(content), digest)

    def read(self, folder: Path, state: Mapping[str, Any], files: Mapping[str, Mapping[str, Any]]) -> None:
        """Gives the store the state and rows of a checkpoint.

        Args:
            folder: with its segments.
            state: the store's `get_state` without rows, and its "segments".
            files: name -> size and SHA-256, of the segments.

        Raises:
            CheckpointError: damaged, or of a store with other columns.
        """
        listed = [Segment(file, first, end, **files[file]) for file, first, end in state["segments"]]
        ends = [part.first for part in listed[1:]] + [state["num_added"]]
        oldest = state["num_added"] - max(len(leaves) for leaves in state["leaves"].values())
        are_whole = all(
            part.end == end and 0 < end - part.first <= MAX_ROWS for part, end in zip(listed, ends, strict=False)
        )
        if not are_whole or (listed[0].first > oldest if listed else oldest != state["num_added"]):
            raise CheckpointError(f"{str(folder)!r} does not have every row of replay {self.name!r}")
        self.replay.set_state(state, self._rows(folder, listed))
        self.known, self.place, self._history = listed, folder, self.replay.history

    def _rows(self, folder: Path, listed: list[Segment]) -> Iterator[tuple[int, Columns]]:
        expected = self.replay.shapes
        for part in listed:
            try:
                yield part.first, unpacked(load_file(folder / part.file), expected, part.end - part.first)
            except Exception as error:  # safetensors raises its own, which derives from Exception alone
                raise CheckpointError(f"{str(folder / part.file)!r} cannot be read ({error})") from error


def _relinked(source: Path, folder: Path, part: Segment) -> bool:
    """Whether the segment could be taken over from where it last was."""
    try:
        if source.stat().st_size != part.bytes:
            return False
        link_or_copy(source, folder / part.file)
    except FileNotFoundError:
        return False
    return True


# ---- rows <-> bytes
def packed(columns: Columns) -> dict[str, np.ndarray]:
    """The columns of n rows as compressed bytes, by name.

    Observations of all agents stand beside each other, since they have much in common. Next observations that are those
    of another row are not stored twice: `SOURCE` says of which.
    """
    seen = [name for name in columns if name.startswith(OBS)]
    following = [NEXT_OBS + name.removeprefix(OBS) for name in seen]
    parts = {name: [values] for name, values in columns.items() if name not in (*seen, *following)}
    if seen:
        source = _sources([columns[name] for name in seen], [columns[name] for name in following])
        parts[SOURCE] = [source]
        parts[OBS] = [columns[name] for name in seen]
        parts[NEXT_OBS] = [columns[name][source < 0] for name in following]
    return {name: _deflated(values) for name, values in parts.items()}


def _sources(seen: list[np.ndarray], following: list[np.ndarray]) -> np.ndarray:
    """For every row the number of one whose observations are its next ones, bit for bit, or -1: (n,) int32.

    Where rows that differ have the same key, one of them is not found, and stored twice.
    """
    key, wanted = row_keys(seen), row_keys(following)
    order = np.argsort(key, kind="stable")
    source = order[np.minimum(np.searchsorted(key[order], wanted), len(order) - 1)] if len(order) else order
    same = key[source] == wanted
    for before, after in zip(seen, following, strict=True):
        for k in range(0, len(source), BLOCK):
            part = slice(k, k + BLOCK)
            same[part] &= (before.view(np.uint32)[source[part]] == after.view(np.uint32)[part]).all(1)
    return np.where(same, source, -1).astype(np.int32)


def _deflated(parts: list[np.ndarray]) -> np.ndarray:
    """Arrays of n rows, side by side, as compressed bytes; block by block, since fresh memory is dear."""
    flat = [part.reshape(len(part), int(np.prod(part.shape[1:]))) for part in parts]
    block = np.empty((BLOCK, sum(part.shape[1] for part in flat)), flat[0].dtype)
    frames = []
    for k in range(0, len(flat[0]), BLOCK):
        rows = np.concatenate([part[k : k + BLOCK] for part in flat], 1, out=block[: len(flat[0]) - k])
        frames.append(CODEC.compress(pyarrow.py_buffer(rows), asbytes=True))
    return np.frombuffer(b"".join(frames), np.uint8)


def unpacked(
    parts: Mapping[str, np.ndarray], expected: Mapping[str, tuple[tuple[int, ...], Any]], num_rows: int
) -> dict[str, np.ndarray]:
    """The columns that `packed` was given.

    Args:
        parts: what it made of them.
        expected: name -> (shape of one entry, dtype) of the columns that are wanted.
        num_rows: how many rows.

    Raises:
        CheckpointError: they are not those.
    """

    def part(name: str, rows: int, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        if name not in parts:
            raise CheckpointError(f"column {name!r} is missing")
        size = rows * int(np.prod(shape)) * np.dtype(dtype).itemsize
        data = CODEC.decompress(parts[name].tobytes(), decompressed_size=size, asbytes=True) if size else b""
        return np.frombuffer(data, dtype).reshape(rows, *shape)

    sizes = {name.removeprefix(OBS): shape[0] for name, (shape, _) in expected.items() if name.startswith(OBS)}
    columns = {
        name: part(name, num_rows, shape, dtype)
        for name, (shape, dtype) in expected.items()
        if not name.startswith((OBS, NEXT_OBS))
    }
    if not sizes:
        return columns
    source = part(SOURCE, num_rows, (), np.int32)
    own = source < 0
    width, dtype = (sum(sizes.values()),), next(d for name, (_, d) in expected.items() if name.startswith(OBS))
    before = part(OBS, num_rows, width, dtype)
    if num_rows and int(source.max()) >= num_rows:
        raise CheckpointError(f"column {SOURCE!r} names row {int(source.max())} of {num_rows}")
    after = before[source]
    after[own] = part(NEXT_OBS, int(own.sum()), width, dtype)
    ends = np.cumsum([0, *sizes.values()])
    for k, agent in enumerate(sizes):
        columns[OBS + agent] = before[:, ends[k] : ends[k + 1]]
        columns[NEXT_OBS + agent] = after[:, ends[k] : ends[k + 1]]
    return columns
