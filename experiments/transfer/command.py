"""What `hmarl-soc transfer` asks for: entries of every kind, trained where asked, played, shown."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

from experiments.transfer.entries import Entry, checkpoint_entries, control_entries, playbook_entries
from experiments.transfer.play import PICTURE, RESULTS, transfer
from experiments.transfer.plot import print_table
from soc_env.errors import ConfigError


def run(
    *,
    controls: Sequence[str] | None,
    playbooks: Sequence[str],
    checkpoints: Sequence[pathlib.Path],
    levels: Sequence[str],
    train_steps: int | None,
    out: pathlib.Path,
    seed: int,
    workers: int,
    path: pathlib.Path | None,
    **settings: Any,
) -> None:
    """Measures who is named, prints the table and says what was written.

    Args:
        controls: names of scripted controls; None for all.
        playbooks: names of scripted teams.
        checkpoints: run folders, of different names.
        levels: observation levels of teams.
        train_steps: steps of CC4 of every team that is trained on it; None trains none.
        out, seed, workers, path, settings: as of `play.transfer`.

    Raises:
        ConfigError: names or folders that do not fit, or nothing to play.
    """
    names = [run.absolute().name for run in checkpoints]
    if len(set(names)) < len(names):
        raise ConfigError(f"checkpoint is {names}, allowed: runs in folders of different names")
    entries: dict[str, Entry] = control_entries(controls) | playbook_entries(playbooks, levels)
    for folder in checkpoints:
        entries |= checkpoint_entries(folder, levels)
    if train_steps is not None:
        from experiments.transfer.train import trained_entries

        own = {"seed": seed, "path": path, "workers": workers if workers > 1 else 0}
        entries |= trained_entries(out, train_steps, levels, checkpoints, **own)
    if not entries:
        raise ConfigError("nothing to play: name --controls, --checkpoint, --playbooks or --train-steps")
    print_table(transfer(entries, seed=seed, workers=workers, out=out, path=path, **settings))
    print(f"wrote {out / RESULTS} and {out / PICTURE}")
