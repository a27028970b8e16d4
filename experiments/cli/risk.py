"""`hmarl-soc risk-model`, the command that trains one; as `experiments.cli.commands` has the others."""

from __future__ import annotations

import pathlib
from typing import Annotated

import typer

from experiments.cli.options import (
    BUDGET,
    DEFAULT_SCENARIO,
    MOST_SEED,
    OUTPUT,
    POLICIES,
    TASK,
    JsonFile,
    Overrides,
    PlotFile,
    Scenario,
    integer,
    named_policy,
    parse_overrides,
    place,
    scripted_names,
)

POLICY_HELP = "Plays after the first round, and in the test: a scripted policy, or a playbook file (.toml)."
OwnPolicy = Annotated[
    str,
    typer.Option("--policy", metavar="NAME", help=POLICY_HELP, autocompletion=scripted_names, rich_help_panel=POLICIES),
]
MOST_EPISODES, MOST_ROUNDS, MOST_UNITS = 10**6, 100, 64


def risk_model(
    out: Annotated[pathlib.Path, place("The model's file.", OUTPUT, "FILE")] = pathlib.Path("risk-model.json"),
    scenario: Scenario = DEFAULT_SCENARIO,
    override: Overrides = None,
    policy: OwnPolicy = "expert-learned",
    episodes: Annotated[int, integer(1, "Episodes of a round.", BUDGET, MOST_EPISODES)] = 512,
    test_episodes: Annotated[int, integer(1, "Episodes of the test.", BUDGET, MOST_EPISODES)] = 256,
    rounds: Annotated[int, integer(1, "Rounds of playing and fitting.", BUDGET, MOST_ROUNDS)] = 3,
    units: Annotated[int, integer(1, "Units of the hidden layer.", TASK, MOST_UNITS)] = 16,
    seed: Annotated[int, integer(0, "Seed of all of it.", TASK, MOST_SEED)] = 0,
    json: JsonFile = None,
    plot: PlotFile = None,
) -> None:
    """Train a learned risk model: who is compromised, from what the SOC knows.

    The first round plays the expert by the SIEM's formula, the others --policy by the model so far, all on the train
    split. The model is judged on the test split: other networks, and families of attackers that it has not seen. The
    file has a card: average precision and AUC beside the formula's, and a reliability curve, which --plot draws.

    Examples:
        hmarl-soc risk-model --out risk.json --json card.json --plot reliability.png
        hmarl-soc risk-model --rounds 2 --episodes 128 --override num_hosts=500 --out large.json
        hmarl-soc risk-model --policy mine.toml --seed 1
    """
    from experiments.risk.command import train_risk_model

    train_risk_model(
        out,
        scenario,
        policy=named_policy(policy),
        episodes=episodes,
        test_episodes=test_episodes,
        rounds=rounds,
        units=units,
        seed=seed,
        json_path=json,
        plot_path=plot,
        **parse_overrides(override),
    )
