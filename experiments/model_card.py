"""The card of an exported team: what it was trained on, what it scored, and what it is not for.

After Mitchell et al. 2019, "Model Cards for Model Reporting". Every number comes from files of the runs.
"""

from __future__ import annotations

import os
import pathlib
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from experiments.evaluate import TRAINED, scenario_of
from experiments.families import protocol_of
from experiments.report import gap_rows, lead, template
from experiments.run_folder import CONFIG, EVALUATION, EVALUATION_TRAIN, read_results, read_run
from experiments.seeds import summarise_seeds
from experiments.tables import table_rows
from policies.scripted import label
from policies.team import SCRIPTED
from soc_env.errors import ConfigError
from soc_env.registry import family_of

TEMPLATE = "model_card.md.j2"


def model_card(run: pathlib.Path, manifest: Mapping[str, Any], others: Sequence[str | os.PathLike[str]] = ()) -> str:
    """The card as Markdown.

    Args:
        run: the run folder that the team is of, with its comparison.
        manifest: of the checkpoint that is exported.
        others: run folders of the same setting with other seeds: what another seed would have come to.

    Raises:
        CheckpointError: a folder has no comparison, or a damaged file.
        ConfigError: the comparison has no trained policy; other runs are of another setting, or of a seed twice.
    """
    results, config = read_results(run / EVALUATION), read_run(run / CONFIG)
    if TRAINED not in results:
        raise ConfigError(f"card: {str(run / EVALUATION)!r} has no result of {TRAINED}; allowed: a finished run")
    scenario, settings = scenario_of(results), results[TRAINED].settings
    protocol, columns = protocol_of(scenario), family_of(scenario).columns
    train_file = run / EVALUATION_TRAIN
    return template(TEMPLATE).render(
        scenario=scenario,
        run=config,
        command=_command(config),
        overrides=manifest["overrides"],
        settings=settings,
        steps=manifest["num_env_steps"],
        tiers=[_tier(tier, manifest) for tier in manifest["members"]],
        lead=lead(results),
        comparison=_table(*table_rows(results)),
        is_held_out=settings["overrides"].get("split") == "test",
        gap=_table(*gap_rows(results, read_results(train_file))) if train_file.exists() else "",
        seeds=_seeds([run, *others], family_of(scenario).headline) if others else None,
        noun=protocol.goal_noun,
        meaning={columns[name].label: protocol.meaning[name] for name in protocol.shown},
        note=protocol.note,
    )


def _command(config: Mapping[str, Any]) -> str:
    """The command line of the run, without the folder it was written to."""
    words = ["hmarl-soc", *config.get("command", [""])[1:]]
    if "--out" in words:
        place = words.index("--out")
        words[place : place + 2] = []
    return shlex.join(words)


def _tier(tier: str, manifest: Mapping[str, Any]) -> str:
    """A tier in a line."""
    own = manifest["tiers"][tier]
    if own["algorithm"] == SCRIPTED:
        return f"`{tier}`: scripted, `{label(own['policy'])}`"
    return f"`{tier}`: {own['algorithm']}, encoder {own['encoder']}, hidden layers {own['hiddens']}"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown; the first column are names."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _seeds(runs: Sequence[str | os.PathLike[str]], goal: str) -> dict[str, Any]:
    """What seeds came to in the goal, and the interval over them."""
    data = summarise_seeds(runs)
    column, summary = family_of(data["scenario"]).columns[goal], data["summary"][TRAINED][goal]
    means = sorted((run["seed"], run["means"][TRAINED][goal]) for run in data["runs"])
    return {
        "means": ", ".join(f"{column.format(mean)} (seed {seed})" for seed, mean in means),
        **{name: column.format(summary[name]) for name in ("mean", "low", "high")},
    }
