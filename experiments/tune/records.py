"""What a search writes about its trials: plain data, from which it goes on and of which its table is made."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Any

from experiments.output import write_json, write_text
from experiments.run_folder import read_json
from soc_env.errors import CheckpointError

SEARCH, TRIALS, TABLE_CSV, TABLE_MARKDOWN = "tune.json", "trials.json", "trials.csv", "trials.md"
FOLDERS, STOP = "trials", "stop"  # of the trials' run folders; a file that asks all running trials to stop
VALUES = "trial.json"  # in a trial's folder, where its settings were changed on the way
WAITING, RUNNING, FINISHED, STOPPED, FAILED = "waiting", "unfinished", "finished", "stopped early", "failed"
OVER = (FINISHED, STOPPED, FAILED)  # trials that are not run again


@dataclass
class Trial:
    """One trial, as the table has it.

    Attributes:
        number: from 0.
        values: place in the space -> its value; the newest ones, where a scheduler has changed them.
        seed: of its training.
        status: one of those above.
        score: the best validation so far; None before the first.
        steps, seconds: of training.
        copied: how often it went on from another trial's networks.
        told: its validations: steps, seconds, score.
        error: why it failed.
    """

    number: int
    values: dict[str, Any]
    seed: int
    status: str = WAITING
    score: float | None = None
    steps: int = 0
    seconds: float = 0.0
    copied: int = 0
    told: list[dict[str, float]] = field(default_factory=list)
    error: str | None = None

    @property
    def name(self) -> str:
        return f"{self.number:03d}"


@dataclass
class Records:
    """The trials of a search in the folder `out`; `write` brings the files up to date."""

    out: Path
    metric: str
    trials: list[Trial] = field(default_factory=list)

    @classmethod
    def read(cls, out: Path, metric: str) -> Records:
        """What a search has left, with the values that its trials have in their own folders.

        Raises:
            CheckpointError: a file is missing or damaged.
        """
        plain = read_json(out / TRIALS)
        try:
            trials = [Trial(**entry) for entry in plain["trials"]]
            is_good = bool(trials) and all(map(_is_good, trials, range(len(trials))))
        except (KeyError, TypeError):
            is_good = False
        if not is_good:
            raise CheckpointError(f"out: {str(out / TRIALS)!r} is damaged: it does not hold the trials of a search")
        for trial in trials:
            if (changed := out / FOLDERS / trial.name / VALUES).exists():
                trial.values |= read_json(changed)["values"]
        return cls(out, metric, trials)

    def folder(self, trial: Trial) -> Path:
        """Its run folder."""
        return self.out / FOLDERS / trial.name

    def best(self) -> Trial | None:
        """The trial with the best score, whose checkpoint is there."""
        scored = [trial for trial in self.trials if trial.score is not None]
        return max(scored, key=lambda trial: trial.score, default=None)  # type: ignore[arg-type, return-value]

    def write(self) -> None:
        """The records and their table, each whole or not at all."""
        header, rows = self.table()
        write_json(self.out / TRIALS, {"metric": self.metric, "trials": list(map(dataclasses.asdict, self.trials))})
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([header, *rows])
        write_text(self.out / TABLE_CSV, text.getvalue())
        write_text(self.out / TABLE_MARKDOWN, markdown(header, rows))

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows, the best trial first, then those without a score in their order."""
        places = list(self.trials[0].values)
        order = sorted(self.trials, key=lambda t: (t.score is None, -(t.score or 0.0), t.number))
        header = ["trial", *(place.removeprefix("tiers.") for place in places), self.metric, "steps", "minutes"]
        header += ["status"]
        rows = []
        for trial in order:
            status = trial.status if not trial.copied else f"{trial.status}, copied {trial.copied}x"
            status = f"{status}: {trial.error}" if trial.error else status
            score = "" if trial.score is None else f"{trial.score:.2f}"
            cells = [trial.name, *(shown_value(trial.values[place]) for place in places), score]
            rows.append([*cells, f"{trial.steps:,}", f"{trial.seconds / 60:.1f}", status])
        return header, rows


def _is_good(trial: Trial, number: int) -> bool:
    """Whether a trial that was read has fields of their types."""
    kinds = {"number": int, "values": dict, "seed": int, "status": str, "steps": int, "copied": int, "told": list}
    has_kinds = all(isinstance(getattr(trial, name), kind) for name, kind in kinds.items())
    numbers = (trial.seconds, 0.0 if trial.score is None else trial.score)
    has_numbers = all(isinstance(value, (int, float)) for value in numbers)
    is_known = trial.status in (WAITING, RUNNING, *OVER) and isinstance(trial.error, (str, NoneType))
    return has_kinds and has_numbers and is_known and trial.number == number


def shown_value(value: Any) -> str:
    """A setting in a table."""
    return f"{value:.4g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; numbers are on the right, the first and last columns on the left."""
    rules = [" --- ", *(" ---: " for _ in header[1:-1]), " --- "]
    lines = [header, *rows]
    body = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines]
    return "".join([body[0], "|" + "|".join(rules) + "|\n", *body[1:]])
