"""What experiments do and show for each family of scenarios.

What a family is (its columns, its goal) is `soc_env.registry`'s; here is what is a choice of ours: which policies a
run is compared with, on how many episodes, and which metrics its tables and charts show.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from experiments.budget import Rhythm
from soc_env.registry import family_of


@dataclass(frozen=True)
class FamilyProtocol:
    """How experiments treat a family.

    Attributes:
        shown: metrics of printed tables, in order.
        curves: metrics whose learning curves are drawn.
        progress: metrics of a run's progress file.
        compared: scripted policies that a run is compared with at its end.
        references: those of `compared` that a report's first sentence names.
        outliers: those whose bars may leave a chart, so that the policies worth comparing fill it.
        validation_episodes: greedy episodes that choose the best checkpoint.
        validation: how often they are played. They are to cost a run a tenth of its time or less.
        checkpoint: how often a run that is killed can go on.
        held_out: fields of the scenario in the comparison that ends a run; {} where nothing is held out.
        gap: metrics of the table that sets training's episodes beside held-out ones.
        goal_noun: what the goal is called in a sentence.
        attack_noun: what `csr` counts, in a sentence.
        meaning: metric -> what it says, for every one of `shown`.
        note: said below a report's table.
        log_below: a learning curve that goes below it is drawn logarithmically; None for none.
    """

    shown: tuple[str, ...]
    curves: tuple[str, ...]
    progress: tuple[str, ...]
    compared: tuple[str, ...]
    outliers: tuple[str, ...]
    validation_episodes: int
    validation: Rhythm
    checkpoint: Rhythm
    goal_noun: str
    attack_noun: str
    meaning: Mapping[str, str]
    references: tuple[str, ...] = ()
    held_out: Mapping[str, Any] = field(default_factory=dict)
    gap: tuple[str, ...] = ()
    note: str = ""
    log_below: float | None = None


PROTOCOLS: dict[str, FamilyProtocol] = {
    "paper": FamilyProtocol(
        shown=("reward", "mttd", "mttr", "fpr", "csr"),
        curves=("reward", "mttd", "mttr", "fpr", "csr"),
        progress=("reward", "length", "mttd", "mttr", "fpr", "csr"),
        compared=("random", "null", "rule-soar", "zeros", "best-constant", "patient"),
        references=("best-constant", "patient"),
        outliers=("random", "null"),
        validation_episodes=512,
        # Takes as long as 8,000 steps of training: a third of a second, and training is fast here.
        validation=Rhythm(seconds=20.0, share=1 / 20, least_steps=80_000, most_steps=200_000),
        checkpoint=Rhythm(seconds=60.0, share=1 / 10, least_steps=160_000, most_steps=200_000),  # ten seconds
        goal_noun="reward",
        attack_noun="attacks",
        meaning={
            "reward": "sum of the four reward terms over an episode",
            "mttd": "mean time to detect: step of the first detection; the episode limit if there was none",
            "mttr": "mean time to respond: step of containment, from the start; the episode limit if there was none",
            "fpr": "false positives per clean host scan",
            "csr": "containment success rate: share of episodes in which every compromised host ended up isolated",
        },
        note=(
            "Published figures: manuscript, Table II, from the last 2,000 of 10,000 training episodes with exploration "
            "on. On paper-v0 small outputs already score well (see zeros), so an untrained network looks good: what "
            "counts is what training adds."
        ),
        log_below=-50.0,  # an adverse start: from thousands below zero
    ),
    "soc": FamilyProtocol(
        shown=("score", "loss", "reward", "mttd", "mttc", "fdr", "action_fdr", "csr"),
        curves=("score", "loss", "reward", "mttc", "csr"),
        progress=("reward", "score", "loss", "damage", "disruption", "mttd", "mttc", "fdr", "action_fdr", "csr"),
        compared=("random", "null", "isolate-all", "rule-soar", "expert"),
        references=("rule-soar", "expert"),
        outliers=("random", "isolate-all"),
        validation_episodes=256,
        # Takes as long as two iterations of 2,048 steps.
        validation=Rhythm(seconds=20.0, share=1 / 20, least_steps=10_000, most_steps=200_000),
        checkpoint=Rhythm(seconds=60.0, share=1 / 10, least_steps=10_000, most_steps=200_000),
        held_out={"split": "test"},
        gap=("score", "loss", "reward"),
        goal_noun="mission score",
        attack_noun="campaigns",
        meaning={
            "score": "mission score: 0 as doing nothing on the test split, 100 as a clairvoyant defender",
            "loss": "damage by intruders + disruption by the response + analyst time, in minutes of a host of value 1",
            "reward": "sum of the four dense reward terms over an episode; what the team learns from",
            "mttd": (
                "mean time to detect: from a campaign's first host to its first escalation or finding, to the end if "
                "none"
            ),
            "mttc": (
                "mean time to contain: from the first host until all its hosts are cut off or clean, to the end if "
                "never"
            ),
            "fdr": "false discovery rate: share of escalated cases that were benign; 0 for who escalates nothing",
            "action_fdr": "share of response actions on hosts that hit clean hosts",
            "csr": "containment success rate: share of campaigns contained at the end",
        },
    ),
}
"""By name of the family."""


def protocol_of(scenario: Any) -> FamilyProtocol:
    """The protocol of a scenario's family; the scenario by name or itself, ScenarioError for an unknown name."""
    return PROTOCOLS[family_of(scenario).name]
