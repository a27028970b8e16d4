"""`hmarl-soc transfer`, the command that measures policies on CC4; as `experiments.cli.commands` has the others."""

from __future__ import annotations

import pathlib
from typing import Annotated, Any

import typer

from experiments.cli.options import (
    BARE,
    BUDGET,
    MOST_PROCESSES,
    OUTPUT,
    POLICIES,
    TASK,
    EvaluationSeed,
    flag,
    integer,
    named_policy,
    names_in,
    place,
    scripted_names,
    several,
)

LEVELS = ("flat", "raw")  # what a team may see of CC4
Controls = Annotated[
    list[str] | None,
    several("--controls", "[NAME...]", "Scripted ones; all without a NAME.", POLICIES),
]
Playbooks = Annotated[
    list[str] | None,
    several("--playbooks", "NAME...", "Teams as --policy of evaluate; a wrong name lists them.", POLICIES),
]
TEAMS_HELP = "Run folders of soc-cage4-v0 or soc-v1: the trained team, and the run's untrained networks, zero-shot."
Teams = Annotated[list[pathlib.Path] | None, several("--checkpoint", "RUN...", TEAMS_HELP, POLICIES)]
TRAIN_HELP = "Train on CC4 too, N steps each: the team of every --checkpoint (fine-tuning), and one from scratch."
Levels = Annotated[
    list[str] | None,
    several("--level", "NAME...", "What teams see.", TASK, show_default="flat raw", autocompletion=names_in(LEVELS)),
]
Checkout = Annotated[pathlib.Path | None, place("The checkout of CybORG.", TASK, show_default="CYBORG_HOME")]
TEACHER_HELP = "What --train-steps learns to do first: a playbook, or a run; as --teacher of train."
TEACHER: dict[str, Any] = {
    "metavar": "NAME|FILE|DIR", "help": TEACHER_HELP, "autocompletion": scripted_names, "show_default": "nobody",
}  # fmt: skip
REWARD_HELP = "What --train-steps learns from: score, the official one, or rest, its part that blue can change."
REWARD: dict[str, Any] = {"metavar": "NAME", "help": REWARD_HELP, "autocompletion": names_in(("rest", "score"))}
Reward = Annotated[str | None, typer.Option(rich_help_panel=POLICIES, show_default="rest", **REWARD)]
REFERENCE_HELP = "The policy that others are held against, episode by episode."
Reference = Annotated[
    str | None, typer.Option(metavar="NAME", help=REFERENCE_HELP, rich_help_panel=OUTPUT, show_default="raw-rule")
]
DECOMPOSITION_HELP = "Also a table of what scores are made of: kind, zone, mission phase."
NO_PATCH_HELP = "CybORG without the bridge's shortcuts: the same scores, slower."


def transfer(
    controls: Controls = None,
    playbooks: Playbooks = None,
    checkpoint: Teams = None,
    train_steps: Annotated[int | None, integer(1, TRAIN_HELP, POLICIES, 10**11)] = None,
    teacher: Annotated[str | None, typer.Option(rich_help_panel=POLICIES, **TEACHER)] = None,
    level: Levels = None,
    reward: Reward = None,
    cyborg: Checkout = None,
    seed: EvaluationSeed = 0,
    episodes: Annotated[int, integer(1, "Episodes of each; 100 is the official number.", BUDGET, 10**6)] = 100,
    workers: Annotated[int, integer(1, "Processes; 1 plays in this one.", BUDGET, MOST_PROCESSES)] = 1,
    no_patch: Annotated[bool, flag("--no-patch", NO_PATCH_HELP, BUDGET)] = False,
    out: Annotated[pathlib.Path, place("Output folder.", OUTPUT)] = pathlib.Path("runs/transfer"),
    reference: Reference = None,
    decomposition: Annotated[bool, flag("--decomposition", DECOMPOSITION_HELP, OUTPUT)] = False,
) -> None:
    """Measure policies on the real CybORG CAGE Challenge 4 by its official score, also trained on it.

    Needs a checkout of CybORG (CYBORG_HOME) and the extra "cyborg". The output folder gets transfer.json and
    transfer.png; episodes that it holds already are not played again, and a training that stopped goes on.

    Examples:
        hmarl-soc transfer --controls sleep flat-rule --episodes 20 --workers 2
        hmarl-soc transfer --checkpoint runs/soc-v1-seed0 --controls raw-rule --out runs/cage4
        hmarl-soc transfer --checkpoint runs/soc-v1-seed0 --train-steps 60000 --level raw --out runs/cage4
        hmarl-soc transfer --train-steps 60000 --teacher examples/cage4_playbook.toml --level raw --out runs/cage4
    """
    from experiments.transfer import command

    command.run(
        controls=None if BARE in (controls or ()) else controls or (),
        playbooks=[named_policy(playbook) for playbook in playbooks or ()],
        checkpoints=checkpoint or (),
        levels=level or None,
        training={"steps": train_steps, "reward": reward, "teacher": teacher and named_policy(teacher)},
        reference=reference,
        decomposition=decomposition,
        episodes=episodes,
        seed=seed,
        workers=workers,
        out=out,
        path=cyborg,
        patch=not no_patch,
    )
