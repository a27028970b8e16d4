"""What `hmarl-soc transfer` asks for: entries of every kind, trained where asked, played, shown."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

from cyborg_bridge.soc_alerts import LEVELS
from cyborg_bridge.soc_batch import check_reward
from experiments.transfer.entries import Entry, check_level, checkpoint_entries, control_entries, playbook_entries
from experiments.transfer.play import PICTURE, RESULTS, transfer
from experiments.transfer.tables import print_decomposition, print_table
from soc_env.errors import ConfigError, shown


def run(
    *,
    controls: Sequence[str] | None,
    playbooks: Sequence[str],
    checkpoints: Sequence[pathlib.Path],
    levels: Sequence[str] | None,
    train_steps: int | None,
    teacher: str | None = None,
    reward: str | None,
    reference: str | None,
    decomposition: bool,
    out: pathlib.Path,
    seed: int,
    workers: int,
    path: pathlib.Path | None,
    **settings: Any,
) -> None:
    """Measures who is named, prints the table and says what was written.

    Args:
        controls, playbooks: names of scripted controls (None for all of them), and of scripted teams.
        checkpoints: run folders, of different names.
        levels: observation levels of teams; None for all.
        train_steps, reward: CC4 steps of every team that is trained on it (None: none), and what it learns from.
        teacher: who gives those teams lessons first; None for nobody.
        reference: the entry that others are held against, see `comparison.reference_of`.
        decomposition: whether to print what the scores are made of, too.
        out, seed, workers, path, settings: as of `play.transfer`.

    Raises:
        ConfigError: names, levels or folders that do not fit, nothing to play, or a setting that nothing has a use for.
    """
    trains = train_steps is not None
    if teacher is not None and not trains:
        raise ConfigError(f"teacher={shown(teacher)} is of training: allowed only with --train-steps")
    _check(checkpoints, levels, reward, trains, has_teams=bool(playbooks or checkpoints or trains))
    teams = levels or LEVELS
    entries: dict[str, Entry] = control_entries(controls) | playbook_entries(playbooks, teams)
    for folder in checkpoints:
        entries |= checkpoint_entries(folder, teams)
    if train_steps is not None:
        own: dict[str, Any] = {"seed": seed, "path": path, "workers": workers if workers > 1 else 0, "teacher": teacher}
        own |= {} if reward is None else {"reward": reward}
        entries |= _trained(out, train_steps, teams, checkpoints, **own)
    if not entries:
        raise ConfigError("nothing to play: name --controls, --checkpoint, --playbooks or --train-steps")
    data = transfer(entries, seed=seed, workers=workers, out=out, path=path, reference=reference, **settings)
    _show(data, reference, decomposition)
    print(f"wrote {out / RESULTS} and {out / PICTURE}")


def _show(data: dict[str, Any], reference: str | None, decomposition: bool) -> None:
    print_table(data, reference)
    if decomposition:
        print_decomposition(data)


def _trained(*given: Any, **own: Any) -> dict[str, Entry]:
    """`train.trained_entries`, which needs what training needs."""
    from experiments.transfer.train import trained_entries

    return trained_entries(*given, **own)


def _check(
    checkpoints: Sequence[pathlib.Path], levels: Sequence[str] | None, reward: str | None, trains: bool, has_teams: bool
) -> None:
    """ConfigError for names that do not fit, and for settings that nothing has a use for."""
    if reward is not None:
        if not trains:
            raise ConfigError(f"reward={shown(reward)} is of training: allowed only with --train-steps")
        check_reward(reward)
    if levels is not None and not has_teams:
        raise ConfigError(
            f"level={' '.join(levels)} is of teams: allowed only with --checkpoint, --playbooks or --train-steps; "
            "controls see what they are made for"
        )
    for level in levels or ():
        check_level(level)
    names = [run.absolute().name for run in checkpoints]
    if len(set(names)) < len(names):
        raise ConfigError(f"checkpoint is {names}, allowed: runs in folders of different names")
