"""One self-contained HTML page about a run: what was learned, beside what, and with which settings.

No network, no scripts: text, a table, and charts drawn by matplotlib as SVG inside the file. Written atomically.
"""

from __future__ import annotations

import base64
import csv
import dataclasses
import html
import io
import itertools
import json
import os
import pathlib
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from experiments.evaluate import (
    HEADLINE,
    PUBLISHED,
    TRAINED,
    UNTRAINED,
    Column,
    EvaluationResult,
    columns_of,
    goal_of,
    headline_of,
    is_soc,
    paired_gain,
    print_rows,
    scenario_of,
    table_rows,
)
from experiments.intervals import Estimate
from experiments.output import write_text
from soc_env.errors import CheckpointError, ConfigError
from soc_env.files import new_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STRONG, SOFT, GREY, INK, RED = "#0b6e8a", "#7fb9c9", "#b9bec5", "#20262d", "#b3362b"

# Rows that may leave a chart, so that the policies worth comparing fill it.
FLOORS, SOC_FLOORS = ("random", "null"), ("random", "isolate-all")
YARDSTICKS = ((UNTRAINED, "#d08a2e"), ("rule-soar", "#6d747c"), ("expert", "#5b8c3a"))  # in curves, with their colours
YARDSTICK_STYLE: dict[str, Any] = {"linestyle": (0, (4, 3)), "linewidth": 1.2}
STEPS, SECONDS, VALIDATION = "steps", "seconds", "validation_"  # columns of progress.csv, and a prefix
SETTING_COLORS = (STRONG, "#d08a2e", "#7a5ba6", "#5b8c3a", RED, GREY)
TRAINING_STYLE = {"color": SOFT, "linewidth": 1.3, "label": "training episodes"}
VALIDATION_STYLE = {"color": STRONG, "linewidth": 1.6, "marker": "o", "markersize": 3, "zorder": 4, "label": "greedy"}
CURVE_TEXT = """<h2>Learning curve</h2><p class=note>Light: the episodes trained on, exploration included.
Dark: greedy validation episodes, which choose the best checkpoint. The comparison above uses other episodes.</p>"""
GAP_TEXT = """<h2>Held-out networks and attackers</h2><p class=note>The same policies on the training split and on the
test split, whose networks and additional attacker families training never met. Gap: test minus train; scripted policies
show how much harder the test split is for anybody.</p>"""
ATTENTION_TEXT = """<h2>What the trained team looks at</h2><p class=note>The busiest step ({minute}) of a test
episode. A row is where a decision is made: in a zone (segment), or for the whole network (context). Its cells sum to 1:
the share of each zone, case (alert) and of the context in what that decision hears, mean over heads. Absent cases have
none.</p>"""

MEANING = {
    "reward": "sum of the four reward terms over an episode",
    "mttd": "mean time to detect: step of the first detection; the episode limit if there was none",
    "mttr": "mean time to respond: step of containment, from the start; the episode limit if there was none",
    "fpr": "false positives per clean host scan",
    "csr": "containment success rate: share of episodes in which every compromised host ended up isolated",
}
SOC_MEANING = {
    "score": "mission score: 0 as doing nothing on the test split, 100 as a clairvoyant defender",
    "loss": "damage by intruders + disruption by the response + analyst time, in minutes of a host of value 1",
    "reward": "sum of the four dense reward terms over an episode; what the team learns from",
    "mttd": "mean time to detect: from a campaign's first host to its first escalation or finding, to the end if none",
    "mttc": "mean time to contain: from the first host until all its hosts are cut off or clean, to the end if never",
    "fdr": "false discovery rate: share of escalated cases that were benign; 0 for who escalates nothing",
    "action_fdr": "share of response actions on hosts that hit clean hosts",
    "csr": "containment success rate: share of campaigns contained at the end",
}
GAP = ("score", "loss", "reward")  # metrics of the train/test table
CURVES = ("score", "loss", "reward", "mttc", "csr")  # panels of soc-v1's learning curve


def write_report(folder: str | os.PathLike[str]) -> pathlib.Path:
    """Write ``report.html`` into a run folder, from the files of the run.

    Args:
        folder: holds ``evaluation.json`` (name -> `EvaluationResult.to_dict`) and, where there was training,
            ``progress.csv`` and ``config.json``, for soc-v1 also ``evaluation-train.json``.

    Returns:
        The path written.

    Raises:
        CheckpointError: there is no evaluation to report.
    """
    folder = pathlib.Path(folder)
    results = _read_results(folder / "evaluation.json")
    config = _read_json(folder / "config.json") if (folder / "config.json").exists() else None
    curve = read_progress(folder / "progress.csv", curves_of(scenario_of(results)))
    on_train = folder / "evaluation-train.json"
    trained_on = _read_results(on_train) if on_train.exists() else None
    attended = _read_json(folder / "attention.json") if (folder / "attention.json").exists() else None
    return write_text(folder / "report.html", page(results, curve, config, trained_on, attended))


def page(
    results: Mapping[str, EvaluationResult],
    curve: Mapping[str, np.ndarray] | None = None,
    config: Mapping[str, Any] | None = None,
    trained_on: Mapping[str, EvaluationResult] | None = None,
    attended: Mapping[str, Any] | None = None,
) -> str:
    """The page as text.

    Args:
        results: name -> result, as `experiments.evaluate.compare` gives them.
        curve: the learning curve, as `read_progress` gives it.
        config: the run's configuration, shown in full.
        trained_on: results on the training split, where `results` are of the test split.
        attended: what the trained team attends to, as `experiments.attention.explained_moment` gives it.
    """
    scenario = scenario_of(results)
    settings, columns = next(iter(results.values())).settings, columns_of(scenario)
    meaning = SOC_MEANING if is_soc(scenario) else MEANING
    title = f"HMARL-SOC on {scenario}" + (f", seed {config['seed']}" if config else "")
    sections = [
        _lead(results),
        "<h2>Comparison</h2>",
        _table(*table_rows(results)),
        f"<p class=note>Mean [95&nbsp;% interval] of {settings['num_episodes']:,} episodes, the same for every policy."
        f" {_intervals_note(settings)}</p>",
        _picture(draw_bars(results), "The same numbers as bars with 95 % intervals; an arrow marks a bar that is cut"),
        "" if trained_on is None else GAP_TEXT + _table(*gap_rows(results, trained_on)),
        "" if curve is None else CURVE_TEXT + _picture(draw_curve(curve, results), "Learning curve"),
        ""
        if attended is None
        else ATTENTION_TEXT.format(minute=attended["minute"])
        + _picture(
            draw_attention(attended["agents"]), "Attention of each agent's decisions to zones, cases and the context"
        ),
        "<h2>Reading the columns</h2>",
        _definitions({columns[key].label: meaning[key] for key in headline_of(scenario)}),
        "<h2>How to repeat this</h2>",
        _definitions(_settings(settings, config)),
        "" if config is None else _details("Full configuration of the run", config),
    ]
    return PAGE.format(title=html.escape(title), body="\n".join(section for section in sections if section))


def curves_of(scenario: str) -> tuple[str, ...]:
    """The metrics whose learning curves are drawn."""
    return CURVES if is_soc(scenario) else headline_of(scenario)


def gap_rows(
    tested: Mapping[str, EvaluationResult], trained_on: Mapping[str, EvaluationResult]
) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the train/test table: what is lost on networks and attackers that training never met."""
    columns = columns_of(scenario_of(tested))
    header, rows = ["policy"], []
    for key in GAP:
        header += [f"{columns[key].label}, train", "test", "gap"]
    for name in (name for name in tested if name in trained_on):
        row = [name]
        for key in GAP:
            before, after = trained_on[name].summary[key], tested[name].summary[key]
            gap = Estimate.of_change(before, after)  # independent episodes
            row += [estimate.format(columns[key]) for estimate in (before, after, gap)]
        rows.append(row)
    return header, rows


# --- several runs


def summarise_seeds(folders: Sequence[str | os.PathLike[str]], least: int = 2) -> dict[str, Any]:
    """What runs of one setting with several seeds came to.

    Args:
        folders: run folders, each with its ``evaluation.json``, ``config.json`` and ``progress.csv``.
        least: runs wanted.

    Returns:
        Plain data: scenario, scenario_hash, overrides, num_episodes; `runs`, each with seed, steps, minutes, git,
        means (policy -> metric -> mean) and curve (steps, seconds, and greedy means of the curves' metrics); `summary`
        (policy -> metric -> mean, std, low, high), 95 % intervals over the means of the runs.

    Raises:
        CheckpointError: a folder without an evaluation.
        ConfigError: fewer runs, the same seed twice, or runs of different scenarios.
    """
    runs: list[dict[str, Any]] = []
    about: dict[str, Any] = {}
    for folder in map(pathlib.Path, folders):
        results = _read_results(folder / "evaluation.json")
        settings = results[TRAINED].settings
        here = {name: settings[name] for name in ("scenario", "scenario_hash", "overrides", "num_episodes")}
        if about and here != about:
            raise ConfigError(f"runs: {str(folder)!r} is of {here}, the first one of {about}; allowed: one setting")
        about = here
        config = _read_json(folder / "config.json")
        curve = read_progress(folder / "progress.csv", (SECONDS, *curves_of(here["scenario"]))) or {}
        is_known = np.isfinite(curve[VALIDATION + goal_of(here["scenario"])])
        greedy = {name: curve[VALIDATION + name][is_known].tolist() for name in curves_of(here["scenario"])}
        runs.append(
            {
                "seed": config["seed"],
                "steps": int(curve[STEPS][-1]),
                "minutes": round(float(curve[SECONDS][-1]) / 60, 2),
                "git": config["git"],
                "means": {name: {k: e.mean for k, e in result.summary.items()} for name, result in results.items()},
                "curve": {key: curve[key][is_known].tolist() for key in (STEPS, SECONDS)} | greedy,
            }
        )
    seeds = [run["seed"] for run in runs]
    if len(runs) < least or len(set(seeds)) < len(seeds):
        raise ConfigError(f"runs: their seeds are {seeds}; allowed: {least} or more runs with different seeds")
    policies = [name for name in runs[0]["means"] if all(name in run["means"] for run in runs)]
    summary = {
        name: {
            metric: dataclasses.asdict(Estimate.of(np.array([run["means"][name][metric] for run in runs])))
            for metric in runs[0]["means"][name]
        }
        for name in policies
    }
    return {**about, "runs": runs, "summary": summary}


def print_seeds(data: Mapping[str, Any], file: TextIO | None = None) -> None:
    """Prints `summarise_seeds`: every run's greedy HMARL, then every policy over the runs."""
    columns = [columns_of(data["scenario"])[name] for name in headline_of(data["scenario"])]
    header = ["policy"] + [c.title for c in columns]
    rows = [
        [f"{TRAINED}, seed {run['seed']}"] + [c.format(run["means"][TRAINED][c.name]) for c in columns]
        for run in data["runs"]
    ]
    for name, estimates in data["summary"].items():
        rows.append([name] + [Estimate(**estimates[c.name]).within(c.bounds).format(c) for c in columns])
    caption = (
        f"means of {data['num_episodes']} episodes of {data['scenario']} ({data['scenario_hash']}) a run;"
        f" below, mean [95 % interval] over {len(data['runs'])} runs"
    )
    print_rows(header, rows, caption, file or sys.stdout)


def draw_seeds(data: Mapping[str, Any]) -> Figure:
    """Greedy validation of every run over environment steps, their mean, and the yardsticks of the final evaluation."""
    columns, names = columns_of(data["scenario"]), curves_of(data["scenario"])
    figure, axes = panels(1, len(names), width=13.0, height=2.9)
    end = max(run["curve"][STEPS][-1] for run in data["runs"])
    grid = np.linspace(0, end, 60)[1:]
    for panel, name in zip(axes[0], names, strict=True):
        column, lines = columns[name], []
        for k, run in enumerate(data["runs"]):
            steps, values = run["curve"][STEPS], column.scale * np.array(run["curve"][name])
            panel.plot(steps, values, color=SOFT, linewidth=1.0, label=None if k else "a seed, greedy")
            lines.append(np.interp(grid, steps, values, left=np.nan, right=np.nan))
        is_seen = np.isfinite(lines).all(0)
        mean = np.mean(lines, 0)
        panel.plot(grid[is_seen], mean[is_seen], color=STRONG, linewidth=2.0, zorder=4, label="their mean")
        _draw_yardsticks(panel, column, {policy: found[name]["mean"] for policy, found in data["summary"].items()})
        lowest, highest = np.nanquantile(lines, [0.1, 1.0])
        if name == goal_of(data["scenario"]) and np.nanmin(lines) < lowest - 2 * (highest - lowest):
            panel.set_ylim(bottom=lowest - (highest - lowest))
        _finish_curve(panel, column)
    _legend_below(figure, axes)
    return figure


# --- several settings


def compare_settings(groups: Mapping[str, Sequence[str | os.PathLike[str]]]) -> dict[str, Any]:
    """What settings come to, each over its runs, and what each adds to the first one on the seeds they share.

    Args:
        groups: name of a setting -> its run folders.

    Returns:
        Plain data: `settings`, name -> `summarise_seeds`; `gains`, name -> metric -> n, mean, std, low, high of the
        difference of two runs of the same seed (greedy HMARL, episodes of the same seeds), 95 % intervals over seeds;
        {} for a setting that shares no seed with the first.

    Raises:
        As `summarise_seeds`, also for settings of different scenarios.
    """
    settings = {name: summarise_seeds(folders, least=1) for name, folders in groups.items()}
    about = [{key: data[key] for key in ("scenario", "scenario_hash", "overrides")} for data in settings.values()]
    for name, here in zip(settings, about, strict=True):
        if here != about[0]:
            raise ConfigError(f"runs: {name!r} is of {here}, the first one of {about[0]}; allowed: one scenario")
    by_seed = {name: {run["seed"]: run["means"][TRAINED] for run in data["runs"]} for name, data in settings.items()}
    first, *others = by_seed
    gains: dict[str, Any] = {}
    for name in others:
        pairs = [(by_seed[name][seed], own) for seed, own in by_seed[first].items() if seed in by_seed[name]]
        gains[name] = {
            metric: {"n": len(pairs)}
            | dataclasses.asdict(Estimate.of(np.array([one[metric] - other[metric] for one, other in pairs])))
            for metric in (pairs[0][0] if pairs else ())
        }
    return {"settings": settings, "gains": gains}


def print_settings(data: Mapping[str, Any], file: TextIO | None = None) -> None:
    """Prints `compare_settings`: greedy HMARL of every setting, then the gains over the first one."""
    settings = data["settings"]
    first = next(iter(settings))
    scenario = settings[first]["scenario"]
    columns = [columns_of(scenario)[name] for name in headline_of(scenario)]
    header = ["setting", "seeds", "steps", *(c.title for c in columns)]
    rows = []
    for name, found in settings.items():
        steps = np.mean([run["steps"] for run in found["runs"]])
        n, summary = len(found["runs"]), found["summary"][TRAINED]
        own = [_over_seeds(Estimate(**summary[c.name]).within(c.bounds), n, c) for c in columns]
        rows.append([name, str(n), f"{steps:,.0f}", *own])
    for name, gain in data["gains"].items():
        if gain:
            n = gain[columns[0].name]["n"]
            parts = [{key: gain[c.name][key] for key in ("mean", "std", "low", "high")} for c in columns]
            own = [_over_seeds(Estimate(**part), n, c) for part, c in zip(parts, columns, strict=True)]
            rows.append([f"{name} - {first}", str(n), "", *own])
    caption = (
        f"greedy HMARL, means of {settings[first]['num_episodes']} episodes of {scenario}"
        f" ({settings[first]['scenario_hash']}) a run; mean [95 % interval] over seeds, differences by seed"
    )
    print_rows(header, rows, caption, file or sys.stdout)


def _over_seeds(estimate: Estimate, n: int, column: Column) -> str:
    return estimate.format(column) if n > 1 else column.format(estimate.mean)  # one seed has no spread


def draw_settings(data: Mapping[str, Any]) -> Figure:
    """Greedy validation of the settings' runs (thin) and their mean (thick), over steps above and minutes below."""
    settings = data["settings"]
    scenario = next(iter(settings.values()))["scenario"]
    columns, names = columns_of(scenario), curves_of(scenario)
    figure, axes = panels(2, len(names), width=13.0, height=5.4)
    for row, (key, unit, label) in enumerate(((STEPS, 1.0, "environment steps"), (SECONDS, 60.0, "minutes"))):
        for panel, name in zip(axes[row], names, strict=True):
            column, lowest = columns[name], []
            for (setting, found), color in zip(settings.items(), itertools.cycle(SETTING_COLORS), strict=False):
                curves = [(np.array(run["curve"][key]) / unit, run["curve"][name]) for run in found["runs"]]
                grid = np.linspace(max(x[0] for x, _ in curves), min(x[-1] for x, _ in curves), 60)
                for x, values in curves:
                    panel.plot(x, column.scale * np.array(values), color=color, linewidth=0.7, alpha=0.4)
                mean = column.scale * np.mean([np.interp(grid, x, values) for x, values in curves], 0)
                panel.plot(grid, mean, color=color, linewidth=2.0, zorder=4, label=setting)
                lowest.append(np.quantile(mean, 0.15))
            if name == goal_of(scenario):
                panel.set_ylim(bottom=min(lowest))  # the first steps would hide the rest
            _finish_curve(panel, column, label)
    _legend_below(figure, axes)
    return figure


def _read_results(path: pathlib.Path) -> dict[str, EvaluationResult]:
    return {name: EvaluationResult.from_dict(data) for name, data in _read_json(path).items()}


def _read_json(path: pathlib.Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"report: {str(path)!r} cannot be read ({error})") from error


# --- text


def _lead(results: Mapping[str, EvaluationResult]) -> str:
    """The finding in a sentence: what training added to the untrained network, and the level reached."""
    if TRAINED not in results:
        return ""
    trained, goal = results[TRAINED], goal_of(scenario_of(results))
    columns = columns_of(scenario_of(results))
    shown, csr = columns[goal], columns["csr"].format(trained.summary["csr"].mean)
    noun = "mission score" if goal == "score" else goal
    sentence = f"The trained team reaches a {noun} of <b>{shown.format(trained.summary[goal].mean)}</b>"
    sentence += f" and contains <b>{csr}&nbsp;%</b> of the {'campaigns' if goal == 'score' else 'attacks'}."
    if UNTRAINED in results:
        gain = paired_gain(trained, results[UNTRAINED], goal)
        if gain.low > 0:
            finding = f"Training adds <b>{shown.format(gain.mean)}</b> to the untrained network's {noun}"
        elif gain.high < 0:
            finding = f"Training costs <b>{shown.format(-gain.mean)}</b> of the untrained network's {noun}"
        else:
            finding = f"Training has not changed the {noun} by more than chance"
        sentence += f" {finding} ({_interval(gain, shown)})."
    if goal == "score":
        for name in (name for name in ("rule-soar", "expert") if name in results):
            gain = paired_gain(trained, results[name], goal)
            side = "above" if gain.mean > 0 else "below"
            sentence += f" It is <b>{shown.format(abs(gain.mean))}</b> {side} {name} ({_interval(gain, shown)})."
    return f"<p class=lead>{sentence}</p>"


def _interval(gain: Estimate, column: Column) -> str:
    interval = f"{column.format(gain.low)} to {column.format(gain.high)}"
    return f"difference on the same episodes: 95&nbsp;% interval {interval}"


def _intervals_note(settings: Mapping[str, Any]) -> str:
    if is_soc(settings["scenario"]):
        split = settings["overrides"].get("split", "train")
        held_out = " and attacker families that training never met" if split == "test" else ""
        return f"Student's t. Split: {split}{f', networks{held_out}' if held_out else ''}."
    return f"Student's t; Wilson for CSR. {_published_note(settings)}"


def _published_note(settings: Mapping[str, Any]) -> str:
    if settings["scenario"] != "paper-v0":
        return ""
    return (
        "Published figures: manuscript, Table II, from the last 2,000 of 10,000 training episodes with exploration on. "
        "On paper-v0 small outputs already score well (see <i>zeros</i>), so an untrained network looks good: "
        "what counts is what training adds."
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [
        "<table><thead><tr>" + "".join(f"<th>{html.escape(cell)}</th>" for cell in header) + "</tr></thead><tbody>"
    ]
    for row in rows:
        kind = {TRAINED: " class=trained", PUBLISHED: " class=published"}.get(row[0], "")
        cells = "".join(f"<td>{_cell(cell)}</td>" for cell in row[1:])
        lines.append(f"<tr{kind}><th scope=row>{html.escape(row[0])}</th>{cells}</tr>")
    return "\n".join([*lines, "</tbody></table>"])


def _cell(text: str) -> str:
    """A number large, its interval small below it."""
    value, _, interval = text.partition(" ")
    return html.escape(value) + (f"<small>{html.escape(interval)}</small>" if interval else "")


def _settings(settings: Mapping[str, Any], config: Mapping[str, Any] | None) -> dict[str, str]:
    rows = {
        "scenario": f"{settings['scenario']} (hash {settings['scenario_hash']})",
        "overrides": ", ".join(f"{key}={value}" for key, value in settings["overrides"].items()) or "none",
        "evaluation": f"seed {settings['seed']}, {settings['num_episodes']} episodes, {settings['num_envs']} at once",
        "versions": ", ".join(f"{name} {version}" for name, version in settings["versions"].items()),
        "git commit": settings["git_hash"] or "not run from a checkout",
    }
    if config and "command" in config:
        rows = {"command": shlex.join(["hmarl-soc", *config["command"][1:]]), **rows}
    return rows


def _definitions(rows: Mapping[str, str]) -> str:
    return "<dl>" + "".join(f"<dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd>" for k, v in rows.items()) + "</dl>"


def _details(summary: str, data: Mapping[str, Any]) -> str:
    text = html.escape(json.dumps(data, indent=2, default=str))
    return f"<details><summary>{summary}</summary><pre>{text}</pre></details>"


# --- charts


def draw_bars(results: Mapping[str, EvaluationResult]) -> Figure:
    """One panel per curve's metric, one bar per policy, with intervals and the published figure as a line."""
    scenario, names = scenario_of(results), list(results)
    keys, columns, is_paper = curves_of(scenario), columns_of(scenario), scenario == "paper-v0"
    figure, axes = panels(1, len(keys), width=13.0, height=0.9 + 0.42 * len(results), sharey=True)
    for panel, key in zip(axes[0], keys, strict=True):
        column = columns[key]
        published = column.published if is_paper else None
        values = {name: column.scale * result.summary[key].mean for name, result in results.items()}
        floors = FLOORS if is_paper else SOC_FLOORS
        in_focus = [value for name, value in values.items() if name not in floors] or list(values.values())
        panel.set_xlim(*bar_limits([*in_focus, *([] if published is None else [published])], list(values.values())))
        for row, name in enumerate(names):
            _draw_bar(panel, row, name, results[name].summary[key], column)
        if published is not None:
            panel.axvline(published, color=RED, linestyle=(0, (4, 3)), linewidth=1.2, zorder=3)
            panel.text(published, -0.72, f"published {published:g}", color=RED, fontsize=8, ha="center", va="bottom")
        if key == "csr":
            panel.set_xticks([0, 25, 50, 75, 100])
        panel.set_title(_panel_title(column), fontsize=10.5, color=INK, loc="left", pad=16)
    axes[0][0].set_yticks(range(len(names)), names, fontsize=10)
    for label in axes[0][0].get_yticklabels():
        label.set_fontweight("bold" if label.get_text() == TRAINED else "normal")
    axes[0][0].set_ylim(len(names) - 0.4, -0.6)
    return figure


def _draw_bar(panel: Axes, row: int, name: str, estimate: Estimate, column: Column) -> None:
    """A bar with its interval and number; where it leaves the panel it is cut, with an arrow at the number."""
    mean, low, high = (column.scale * value for value in (estimate.mean, estimate.low, estimate.high))
    left, right = panel.get_xlim()
    color = {TRAINED: STRONG, UNTRAINED: SOFT}.get(name, GREY)
    panel.barh(row, min(max(mean, left), right), color=color, height=0.66, zorder=2)
    text = column.format(estimate.mean)
    style: dict[str, Any] = {"va": "center", "fontsize": 8.5, "zorder": 5}
    if mean < left:
        panel.annotate(f"◀ {text}", (left, row), xytext=(3, 0), textcoords="offset points", **style)
    elif mean > right:
        panel.annotate(f"{text} ▶", (right, row), xytext=(-3, 0), textcoords="offset points", ha="right", **style)
    else:
        panel.errorbar(mean, row, xerr=[[mean - low], [high - mean]], color=INK, linewidth=1.1, capsize=2.5, zorder=4)
        box = {"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.85}
        panel.annotate(text, (max(high, 0.0), row), xytext=(5, 0), textcoords="offset points", bbox=box, **style)


def bar_limits(in_focus: Sequence[float], values: Sequence[float]) -> tuple[float, float]:
    """Limits of a bar panel: all of the values in focus and room for numbers; others may be cut, not dwarf them."""
    bottom, top = min([*in_focus, 0.0]), max([*in_focus, 0.0])
    span = (top - bottom) or 1.0
    has_cut = min(values) < bottom - 0.1 * span
    return bottom - (0.5 * span if has_cut else 0.1 * span if bottom < 0 else 0.0), top + 0.42 * span


def draw_curve(curve: Mapping[str, np.ndarray], results: Mapping[str, EvaluationResult]) -> Figure:
    """Training as it went, one panel per headline metric over environment steps; the yardsticks as lines beside it."""
    scenario = scenario_of(results)
    keys, columns, is_paper = curves_of(scenario), columns_of(scenario), scenario == "paper-v0"
    figure, axes = panels(1, len(keys), width=13.0, height=2.9)
    for panel, key in zip(axes[0], keys, strict=True):
        column = columns[key]
        for name, style in ((key, TRAINING_STYLE), (VALIDATION + key, VALIDATION_STYLE)):
            is_known = np.isfinite(curve[name])  # iterations without a finished or a validation episode have no mean
            panel.plot(curve[STEPS][is_known], column.scale * curve[name][is_known], **style)
        _draw_yardsticks(panel, column, {name: result.mean(key) for name, result in results.items()})
        if is_paper and column.published is not None:
            panel.axhline(column.published, color=RED, label="published", **YARDSTICK_STYLE)
        if is_paper and np.nanmin([*curve[key], 0.0]) < -50:  # an adverse start: from thousands below zero
            panel.set_yscale("symlog", linthresh=10)
        _finish_curve(panel, column)
    _legend_below(figure, axes)
    return figure


def draw_attention(agents: Mapping[str, Mapping[str, Any]]) -> Figure:
    """One heat map an agent: decisions in rows, tokens in columns; see `experiments.attention.explained_moment`."""
    figure, axes = panels(2, 2, width=13.0, height=6.4)
    for panel in axes.flat:
        panel.set_visible(False)
    for panel, (agent, own) in zip(axes.flat, agents.items(), strict=False):
        names, rows = own["tokens"], own["decisions"]
        shares = np.array(own["shares"])[[names.index(name) for name in rows]]
        panel.set_visible(True)
        panel.imshow(shares, cmap="Blues", vmin=0, vmax=max(0.5, float(shares.max())), aspect="auto")
        for (row, column), share in np.ndenumerate(shares):
            if share > 0:
                color = "white" if share > 0.3 else INK
                panel.text(column, row, f"{share:.2f}", ha="center", va="center", fontsize=7.5, color=color)
        panel.grid(visible=False)
        panel.set_xticks(range(len(names)), names, rotation=40, ha="right", rotation_mode="anchor")
        panel.set_yticks(range(len(rows)), rows)
        panel.set_title(agent.removesuffix("_0").replace("_", " "), fontsize=10.5, color=INK, loc="left")
    return figure


def _draw_yardsticks(panel: Axes, column: Column, means: Mapping[str, float]) -> None:
    """A line at the mean, by policy, of every yardstick that was measured."""
    for name, color in YARDSTICKS:
        if name in means:
            panel.axhline(column.scale * means[name], color=color, label=name, **YARDSTICK_STYLE)


def _legend_below(figure: Figure, axes: np.ndarray) -> None:
    labelled = axes[0][0].get_legend_handles_labels()
    figure.legend(*labelled, loc="outside lower center", ncols=6, frameon=False, fontsize=9)


def _finish_curve(panel: Axes, column: Column, label: str = "environment steps") -> None:
    panel.set_title(_panel_title(column), fontsize=10.5, color=INK, loc="left")
    panel.xaxis.set_major_formatter(_short_number)
    panel.locator_params(axis="x", nbins=4)
    panel.set_xlabel(label, fontsize=8.5)


def read_progress(path: str | os.PathLike[str], keys: Sequence[str] = HEADLINE) -> dict[str, np.ndarray] | None:
    """Steps and metrics `keys` of a run's progress.csv, NaN where empty; None when there are fewer than two rows.

    Columns: steps, the metrics of training episodes, and the same with "validation_" before.
    """
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    names = (STEPS, *keys, *(VALIDATION + key for key in keys))
    columns = {name: np.array([float(row.get(name) or "nan") for row in rows]) for name in names}
    return columns if len(rows) > 1 else None


def _short_number(value: float, _: float) -> str:
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _panel_title(column: Column) -> str:
    return f"{column.title}, {column.better} is better"


def panels(rows: int, columns: int, width: float, height: float, sharey: bool = False) -> tuple[Figure, np.ndarray]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, sharey=sharey, squeeze=False)
    for panel in axes.flat:
        panel.spines[["top", "right"]].set_visible(False)
        panel.spines[["left", "bottom"]].set_color("#9aa1a9")
        panel.tick_params(labelsize=8.5, colors=INK, length=3)
        panel.grid(axis="both", color="#e7e9ec", linewidth=0.7, zorder=0)
        panel.set_axisbelow(True)
    return figure, axes


def write_picture(path: str | os.PathLike[str], figure: Figure) -> pathlib.Path:
    """Writes SVG or PDF if the name ends so, else PNG, whole or not at all; returns the path."""
    path = pathlib.Path(path)
    kind = path.suffix[1:].lower()
    with new_file(path) as file:
        figure.savefig(file, dpi=130, format=kind if kind in ("svg", "pdf") else "png")
    return path


def _picture(figure: Figure, alternative: str) -> str:
    """The figure as an SVG inside an <img>, where its ids cannot clash with another's."""
    import matplotlib

    file = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "hmarl-soc"}):  # the same figure gives the same bytes
        figure.savefig(file, format="svg", metadata={"Date": None})
    data = base64.b64encode(file.getvalue().encode()).decode()
    return f'<img alt="{html.escape(alternative)}" src="data:image/svg+xml;base64,{data}">'


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #20262d; max-width: 1100px; margin: 2rem auto; padding: 0 1rem; }}
h1 {{ font-size: 1.6rem; margin: 0 0 .5rem; }} h2 {{ font-size: 1.15rem; margin: 2rem 0 .5rem; }}
.lead {{ font-size: 1.1rem; border-left: 4px solid #0b6e8a; padding-left: .8rem; }}
.note {{ color: #5b636c; font-size: .88rem; }}
table {{ border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .35rem .6rem; text-align: right; border-bottom: 1px solid #e3e6e9; }}
th:first-child {{ text-align: left; font-weight: 500; }} thead th {{ border-bottom: 2px solid #20262d; }}
td small {{ display: block; color: #5b636c; font-size: .75rem; }}
tr.trained {{ background: #e6f2f5; }} tr.trained th, tr.trained td {{ font-weight: 700; }}
tr.trained small {{ font-weight: 400; }}
tr.published {{ color: #b3362b; font-style: italic; }}
img {{ width: 100%; margin-top: .8rem; }}
dl {{ display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; font-size: .92rem; }} dd {{ margin: 0; }}
dt {{ color: #5b636c; }}
pre {{ background: #f5f6f7; padding: 1rem; overflow: auto; font-size: .8rem; }}
</style></head><body>
<h1>{title}</h1>
{body}
</body></html>
"""
