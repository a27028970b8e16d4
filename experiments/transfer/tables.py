"""The tables of `hmarl-soc transfer`: scores, rests and differences, beside what others have published."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TextIO

from experiments.tables import print_rows
from experiments.transfer.comparison import LEAST_PAIRS, Row, full_n, points_of, reference_of, rows_of


class Published(NamedTuple):
    """A figure of somebody else's, by the same protocol."""

    name: str
    score: float
    source: str


SUBMISSION = "submission to CC4, as quoted by third parties"
PUBLISHED = (
    Published("UC heuristic (winner)", -113.0, SUBMISSION),
    Published("lancer", -118.0, SUBMISSION),
    Published("H-MARL Expert", -129.5, "Singh et al., as quoted by third parties"),
    Published("punch", -142.0, SUBMISSION),
    Published("flat IPPO", -181.6, "baseline of Singh et al., as quoted by third parties"),
    Published("Cybermonic GNN-PPO", -193.0, SUBMISSION),
    Published("PPO of CybORG, 3M steps", -1854.0, "as quoted by third parties"),
    Published("HMARL-SOC", -6003.6, "manuscript: -30,018 summed over five agents; per agent as the protocol has it"),
)


def print_table(data: Mapping[str, Any], asked: str | None = None, file: TextIO | None = None) -> None:
    """Prints every entry by level, the worst first, and the published figures below.

    Args:
        data: what is in ``transfer.json``.
        asked: the entry that others are held against; None takes the raw rule if it is there.
        file: where to print; standard output by default.

    Raises:
        ConfigError: there is no such entry.
    """
    reference = reference_of(data, asked)
    rows = rows_of(data, reference)
    header = ["policy", "sees", "n", "official score", "rest"]
    header += ["pairs", f"rest - {reference}", f"score - {reference}", "differs"] if reference else []
    cells = [_cells(row, full_n(rows))[: len(header)] for row in rows]
    blank = [""] * (len(header) - 4)
    said = [k for k in range(len(header)) if k == 0 or any(row[k] for row in cells)]  # older files have no rests
    cells += [[f"{figure.name}, published", "", "", f"{figure.score:g}", *blank] for figure in PUBLISHED]
    shown = [[row[k] for k in said] for row in (header, *cells)]
    print_rows(shown[0], shown[1:], _caption(data, rows, reference), file or sys.stdout)


def _cells(row: Row, most: int) -> list[str]:
    episodes = str(row.score.n) if row.score.n == most else f"{row.score.n} of {most}"
    pairs = max(row.rest_gain.n, row.score_gain.n)
    gains = [row.rest_gain.text("+"), row.score_gain.text("+")]
    differs = f"{row.differs}, by score" if row.score_gain.n and not row.rest_gain.n else row.differs
    own = [row.score.text(), row.rest.text()]
    return [row.name, row.observation, episodes, *own, str(pairs) if pairs else "", *gains, differs]


def _caption(data: Mapping[str, Any], rows: Sequence[Row], reference: str | None) -> str:
    protocol = data["protocol"]
    parts = [
        f"mean [95 % interval, cut at 0, the best score there is] over n episodes of CybORG"
        f" {protocol['cyborg']['version']} CAGE Challenge 4, seed {protocol['seed']}",
    ]
    if any(row.rest.n for row in rows):
        parts.append("rest: the score without red's Impacts in the contractor and internet zones, which nobody guards")
    if reference:
        parts.append(
            f"differences: minus {reference} on the episodes that both have played, above 0 is better; differs: the"
            f" interval of the rest leaves out 0, row by row, from {LEAST_PAIRS} pairs on"
        )
    if any(row.rest.n < row.score.n for row in rows):
        parts.append("episodes of older versions have no rest: another folder plays them anew")
    return "; ".join([*parts, "published figures are quoted, not measured here"])


def print_decomposition(data: Mapping[str, Any], file: TextIO | None = None) -> None:
    """Prints what every entry's score is made of: mean points an episode by kind, zone and mission phase."""
    table = []
    for row in rows_of(data, None):
        found = list(points_of(data["entries"][row.name]))
        for kind, zone, phases in found:
            table.append([row.name, row.observation, kind, zone, *(f"{p:,.2f}" for p in (*phases, sum(phases)))])
        if found:
            sums = [sum(phases[k] for _, _, phases in found) for k in range(len(found[0][2]))]
            table.append([row.name, row.observation, "all", "all", *(f"{p:,.2f}" for p in (*sums, sum(sums)))])
    header = ["policy", "sees", "kind", "zone", "phase 0", "phase 1", "phase 2", "all"]
    caption = (
        "mean points an episode; LWF, ASF: a green user's local work, access fails; RIA: red's Impacts, which are"
        " charged when they fail too; action cost: Restores; what never cost anything is left out"
    )
    print_rows(header, table, caption, file or sys.stdout)
