"""What `hmarl-soc transfer` asks for: entries of every kind, trained where asked, played, shown."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from cyborg_bridge.soc_alerts import LEVELS
from cyborg_bridge.soc_batch import check_reward
from cyborg_bridge.soc_view import check_level
from experiments.transfer.entries import Entry, checkpoint_entries, control_entries, playbook_entries
from experiments.transfer.play import PICTURE, RESULTS, transfer
from experiments.transfer.tables import print_decomposition, print_table
from soc_env.errors import ConfigError, shown, unknown_name


def run(
    *,
    controls: Sequence[str] | None,
    playbooks: Sequence[str],
    checkpoints: Sequence[pathlib.Path],
    levels: Sequence[str] | None,
    training: Mapping[str, Any],
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
        training: of every team that is trained on CC4, None for what is not asked for: `steps` of CC4, `reward` (what
            it learns from), `teacher` (who gives it lessons first).
        reference: the entry that others are held against, see `comparison.reference_of`.
        decomposition: whether to print what the scores are made of, too.
        out, seed, workers, path, settings: as of `play.transfer`.

    Raises:
        ConfigError: names, levels or folders that do not fit, nothing to play, or a setting that nothing has a use for.
    """
    trains = training["steps"] is not None
    _check(checkpoints, levels, training, has_teams=bool(playbooks or checkpoints or trains))
    teams = levels or LEVELS
    entries: dict[str, Entry] = control_entries(controls) | playbook_entries(playbooks, teams)
    for folder in checkpoints:
        entries |= checkpoint_entries(folder, teams)
    if trains:
        own = {name: value for name, value in training.items() if value is not None and name != "steps"}
        own |= {"seed": seed, "path": path, "workers": workers if workers > 1 else 0}
        entries |= _trained(out, training["steps"], teams, checkpoints, **own)
    _check_entries(entries, reference, has_more=(out / RESULTS).exists())
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


def _check_entries(entries: Mapping[str, Entry], reference: str | None, has_more: bool) -> None:
    """ConfigError if there is nothing to play, or no such reference; has_more: the folder may hold it."""
    if not entries:
        raise ConfigError("nothing to play: name --controls, --checkpoint, --playbooks or --train-steps")
    if reference is not None and reference not in entries and not has_more:
        raise ConfigError(unknown_name("reference", reference, entries))


def _check(
    checkpoints: Sequence[pathlib.Path], levels: Sequence[str] | None, training: Mapping[str, Any], has_teams: bool
) -> None:
    """ConfigError for names that do not fit, and for settings that nothing has a use for."""
    for name in ("reward", "teacher"):
        if training[name] is not None and training["steps"] is None:
            raise ConfigError(f"{name}={shown(training[name])} is of training: allowed only with --train-steps")
    if training["reward"] is not None:
        check_reward(training["reward"])
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
