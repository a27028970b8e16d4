"""`hmarl-soc bench`, the command about this machine and this build; as `experiments.cli.commands` has the others."""

from __future__ import annotations

from typing import Annotated

import typer

from experiments.cli.options import (
    BUDGET,
    SCENARIO_OPTION,
    TASK,
    Against,
    JsonFile,
    Pairs,
    PlotFile,
    flag,
    several,
)

Parts = Annotated[list[str] | None, several("--only", "PART...", "Only these parts; an unknown one lists them.", TASK)]
OnlyScenarios = Annotated[
    list[str] | None,
    typer.Option(
        **{**SCENARIO_OPTION, "help": "Only this scenario; can be given several times."},
        show_default="paper-v0 and soc-v1",
    ),
]


def bench(
    quick: Annotated[bool, flag("--quick", "Fewer sizes and repeats: a minute or two.", BUDGET)] = False,
    only: Parts = None,
    scenario: OnlyScenarios = None,
    against: Against = None,
    pairs: Pairs = None,
    json: JsonFile = None,
    plot: PlotFile = None,
) -> None:
    """Measure the speed of simulator, runners and learners on this machine.

    Rates are per CPU-second, so a busy machine disturbs them less.

    Examples:
        hmarl-soc bench --quick
        hmarl-soc bench --against ../older-checkout --only soc-v1 memory
        hmarl-soc bench --only batched hosts --json bench.json --plot bench.png
        hmarl-soc bench --scenario soc-v1
    """
    from experiments import bench as measured

    chosen = only or None
    if measured.is_comparison(against, pairs=pairs, scenario=scenario, plot=plot):
        assert against is not None
        measured.compare(against, only=chosen, pairs=pairs, quick=quick, json_path=json)
    else:
        measured.bench(only=chosen, scenarios=scenario or None, quick=quick, json_path=json, plot_path=plot)
