"""`hmarl-soc compare`: the comparison that claims about soc-v1 rest on, with its ablations. Never trains.

Every policy plays the same episodes: `episodes` of them on the networks of each of `num_seeds` network seeds, on both
splits. Episodes on the networks of one seed have these networks in common, so the seeds are clusters: a mean's 95 %
interval is Student's t over the means of the seeds, and speaks about networks that were not drawn. Fewer than five
seeds are refused unless the caller allows them. An ablation takes one thing away and says what that should show.

``results/soc-v1-table.json`` and ``.md`` were made by
``hmarl-soc compare --json results/soc-v1-table.json --markdown results/soc-v1-table.md``.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, TextIO

import numpy as np

import soc_env
from experiments.evaluate import DEFAULT_SCENARIO, acting, run_episodes
from experiments.intervals import Estimate
from experiments.output import output_errors, write_json, write_text
from experiments.progress import Progress
from experiments.provenance import provenance
from policies.scripted import (
    ORACLE_CONTROL,
    ControlOracle,
    builder_of,
    is_code,
    label,
    own_overrides,
    playbook_of,
    scripted,
)
from soc_env.engine.tables import Column
from soc_env.errors import ConfigError, unknown_name
from soc_env.registry import FAMILIES, family_of
from soc_env.soc.intruders import INTRUDER_FAMILIES
from soc_env.soc.risk_model import RiskModel

NUM_SEEDS, MIN_SEEDS = 5, 5
EPISODES = 100  # on the networks of each seed
SHOWN = ("score", "loss", "reward", "sparse", "mttd", "mttc", "fdr", "action_fdr", "csr")
SPARSE = Column("sparse", "Sparse reward", decimals=2, better="higher")  # what `reward="sparse"` pays: score / 100
COLUMNS = {**FAMILIES["soc"].columns, SPARSE.name: SPARSE}
SPLITS = ("test", "train")


def compare_policies(
    scenario: str = DEFAULT_SCENARIO,
    *,
    policies: Sequence[str] | None = None,
    checkpoints: Sequence[str | PathLike[str]] = (),
    episodes: int | None = None,
    json_path: str | PathLike[str] | None = None,
    markdown_path: str | PathLike[str] | None = None,
    file: TextIO | None = None,
    overrides: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Table:
    """Measures the policies, prints their tables, and writes them where asked.

    Args:
        scenario: one with a mission score.
        policies: names, "oracle-control", playbook files, or "package.module:name"; all scripted ones by default.
        checkpoints: run folders or checkpoints, rows to add under the name of the folder.
        episodes: of a policy on a split, spread over the network seeds; 500 by default.
        json_path: JSON file to write, with all metrics.
        markdown_path: file to write the tables to.
        file: where the tables go; standard output by default.
        overrides: fields of the scenario to change.
        **settings: num_seeds, seed, ablations and allow_few_seeds, as `measure` takes them.

    Raises:
        ConfigError, ScenarioError, CheckpointError: a setting that is not allowed, or a file that cannot be written.
    """
    file, overrides = file or sys.stdout, overrides or {}
    check_family(scenario)
    soc_env.make_scenario(scenario, **overrides)  # fails before anything slow starts
    named = _named(scenario, policies, checkpoints)
    per_seed = math.ceil((episodes or NUM_SEEDS * EPISODES) / settings.get("num_seeds", NUM_SEEDS))
    parts = len(named) * (len(SPLITS) + len(settings.get("ablations", ())))
    with Progress(parts, "parts") as progress:
        show = _counter(progress)
        table = measure(scenario, policies=named, episodes=per_seed, progress=show, **settings, **overrides)
    text = markdown(table)
    print(text, end="", file=file)
    with output_errors():
        if markdown_path is not None:
            print(f"wrote {write_text(markdown_path, text)}", file=file)
        if json_path is not None:
            print(f"wrote {write_json(json_path, table.to_dict())}", file=file)
    return table


def _counter(progress: Progress) -> Callable[[str], None]:
    """What is told as a part begins: those before are done."""
    num_begun = 0

    def show(part: str) -> None:
        nonlocal num_begun
        progress.update(num_begun, part)
        num_begun += 1

    return show


def _named(scenario: str, policies: Sequence[Any] | None, checkpoints: Sequence[str | PathLike[str]]) -> dict[str, Any]:
    """Rows of the table by name: scripted policies, then checkpoints by the name of their run."""
    known = default_policies(scenario)
    rows: dict[str, Any] = {}
    for policy in known if policies is None else policies:
        found = playbook_of(policy) or policy
        if isinstance(found, str) and not is_code(found) and found not in known:
            raise ConfigError(unknown_name(f"policy of {scenario}", found, known))
        if found != ORACLE_CONTROL:
            builder_of(found, scenario, f"policy of {scenario}")  # raises before anything is played
        rows[label(found)] = found
    if checkpoints:
        import policies as learned

        for folder in map(Path, checkpoints):
            name = f"HMARL ({folder.resolve().name})"
            rows[name] = learned.load_policy(folder, scenario=scenario)
    return rows


# --- episodes, cluster by cluster


@dataclasses.dataclass(frozen=True)
class ClusterResult:
    """A policy's episodes under one setting.

    Attributes:
        metrics: metric -> (num_seeds, episodes) float64.
    """

    metrics: dict[str, np.ndarray]

    def estimate(self, column: Column) -> Estimate:
        """Mean over all episodes; interval over the means of the seeds.

        A metric that some count has to precede (`Column.given`) is averaged over the episodes that have it.
        """
        values = self.metrics[column.name]
        has = self.metrics[column.given] > 0 if column.given else np.ones(values.shape, bool)
        clusters = [row[keep] for row, keep in zip(values, has, strict=True)]
        return Estimate.of_clusters(clusters).within(column.bounds)

    def estimates(self) -> dict[str, Estimate]:
        """Those of every metric, by name."""
        return {name: self.estimate(column) for name, column in COLUMNS.items()}


def network_seeds(scenario: str, num_seeds: int, **overrides: Any) -> list[int]:
    """Network seeds whose networks are all different: the generator takes `num_networks` seeds from each."""
    configured = soc_env.make_scenario(scenario, **overrides)
    return [configured.network_seed + k * configured.num_networks for k in range(num_seeds)]  # type: ignore[attr-defined]


def play(
    policy: Any,
    scenario: str,
    num_seeds: int,
    episodes: int,
    seed: int = 0,
    **overrides: Any,
) -> ClusterResult:
    """The episodes of one policy: `episodes` on the networks of each of `num_seeds` network seeds.

    Args:
        policy: a policy, what one is made of (`policies.scripted.builder_of`), or "oracle-control"; one that was made
            for a risk model plays with it.
        seed: of the evaluation; each network seed has episodes of its own.
        **overrides: fields of the scenario.
    """
    rows, overrides = [], {**own_overrides(policy), **overrides}
    for k, network_seed in enumerate(network_seeds(scenario, num_seeds, **overrides)):
        configured = soc_env.make_scenario(scenario, **{**overrides, "network_seed": network_seed})
        is_control = isinstance(policy, str) and policy == ORACLE_CONTROL
        player: Any = ControlOracle() if is_control else acting(policy, configured, scenario, seed)

        def make_simulator(size: int, seeds: list[int], configured: Any = configured, player: Any = player) -> Any:
            simulator = soc_env.Simulator(configured, num_envs=size, seed=seeds)
            if isinstance(player, ControlOracle):
                player.simulator = simulator
            return simulator

        rows.append(run_episodes(player, make_simulator, episodes, cluster_seed(seed, k)))
    names = rows[0].dtype.names or ()
    metrics = {name: np.stack([row[name].astype(np.float64) for row in rows]) for name in names}
    return ClusterResult(metrics | {"sparse": metrics["score"] / 100.0})


def cluster_seed(seed: int, k: int) -> int:
    """Seed of the episodes on the networks of the k-th network seed."""
    return int(np.random.SeedSequence([0x7AB1E, seed, k]).generate_state(1)[0])


# --- the table


@dataclasses.dataclass(frozen=True)
class Ablation:
    """A change of the scenario that takes one thing away, and what it is expected to show."""

    name: str
    overrides: Mapping[str, Any]
    expectation: str
    line: int  # number of the requirement that it shows, as in tests/soc_env/soc/test_soc_checklist.py


ABLATIONS: tuple[Ablation, ...] = (
    Ablation(
        "perfect sensors",
        {"sensor_coverage": 1.0, "alert_drop": 0.0, "alert_delay": 0.0, "stealth_factor": 0.0, "false_finding": 0.0},
        "intruders are detected sooner",
        3,
    ),
    Ablation("instant actions", {"instant_actions": True}, "response is free of waiting: policies change places", 4),
    Ablation("defenders first", {"order": "defenders_first"}, "the ranking survives the order of acting", 5),
    Ablation(
        "no benign users",
        {
            "benign_alerts_per_hour": 0.0,
            "false_finding": 0.0,
            "service_loss": 0.0,
            "host_outage": 0.0,
            "perimeter_loss": 0.0,
            "reset_loss": 0.0,
            "interruption": 0.0,
        },
        "nobody to disturb: isolating everything beats all who need evidence",
        7,
    ),
    Ablation("no persistence", {"persistence": False}, "lost intruders stay out: less damage", 8),
)
ABLATIONS += tuple(
    Ablation(f"only {family.name}", {"families": [family.name]}, "families differ in what they cost", 8)
    for family in INTRUDER_FAMILIES
)


@dataclasses.dataclass(frozen=True)
class Table:
    """What `measure` found.

    Attributes:
        settings: everything needed to repeat it.
        splits: split -> policy -> metric -> estimate.
        ablations: ablation -> policy -> metric -> estimate, on the test split.
    """

    settings: dict[str, Any]
    splits: dict[str, dict[str, dict[str, Estimate]]]
    ablations: dict[str, dict[str, dict[str, Estimate]]]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, the same for the same seed."""

        def plain(rows: Mapping[str, Mapping[str, Estimate]]) -> dict[str, Any]:
            return {name: {k: dataclasses.asdict(e) for k, e in row.items()} for name, row in rows.items()}

        data: dict[str, Any] = dict(self.settings)
        data |= {f"split {name}": plain(rows) for name, rows in self.splits.items()}
        return data | {f"ablation {name}": plain(rows) for name, rows in self.ablations.items()}


def measure(
    scenario: str = DEFAULT_SCENARIO,
    *,
    policies: Mapping[str, Any] | None = None,
    num_seeds: int = NUM_SEEDS,
    episodes: int = EPISODES,
    seed: int = 0,
    ablations: Sequence[Ablation] = (),
    ablation_episodes: int | None = None,
    allow_few_seeds: bool = False,
    progress: Callable[[str], None] | None = None,
    **overrides: Any,
) -> Table:
    """Plays every policy on both splits and on the ablations.

    Args:
        scenario: one with a mission score.
        policies: name -> policy, or what `play` makes one of; all scripted ones and `oracle-control` by default.
        num_seeds, episodes: network seeds, the clusters of the intervals; episodes on the networks of each.
        seed: of the evaluation.
        ablations, ablation_episodes: played on the test split; a quarter of `episodes` by default.
        allow_few_seeds: allow fewer than five network seeds.
        progress: called with what is being played.
        **overrides: fields of the scenario, for all of it.

    Raises:
        ConfigError, ScenarioError: a scenario without a score, too few network seeds, or a bad override.
    """
    check_family(scenario)
    _check_seeds(num_seeds, 1 if allow_few_seeds else MIN_SEEDS)
    policies = default_policies(scenario) if policies is None else policies

    def rows(title: str, number: int, **changes: Any) -> dict[str, dict[str, Estimate]]:
        found = {}
        for name, policy in policies.items():
            if progress is not None:
                progress(f"{title}: {name}")
            found[name] = play(policy, scenario, num_seeds, number, seed, **{**overrides, **changes}).estimates()
        return found

    fewer = ablation_episodes or max(2, episodes // 4)
    splits = {split: rows(split, episodes, split=split) for split in SPLITS}
    ablated = {a.name: rows(a.name, fewer, split="test", **a.overrides) for a in ablations}
    about = _about(scenario, num_seeds, seed, (episodes, fewer), ablations, overrides)
    return Table(about | _playbooks(policies) | _risk_models(policies, overrides), splits, ablated)


def _risk_models(policies: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Digests of the learned risk models that rows are played with, by row."""
    found = {}
    for name, policy in policies.items():
        if path := {**own_overrides(policy), **overrides}.get("risk_model"):
            found[name] = RiskModel.find(path).hash()
    return {"risk_models": found} if found else {}


def _playbooks(policies: Mapping[str, Any]) -> dict[str, Any]:
    """The texts of those that are files."""
    found = {name: playbook.to_plain() for name, policy in policies.items() if (playbook := playbook_of(policy))}
    return {"playbooks": found} if found else {}


def _about(
    scenario: str,
    num_seeds: int,
    seed: int,
    numbers: tuple[int, int],
    ablations: Sequence[Ablation],
    overrides: Mapping[str, Any],
) -> dict[str, Any]:
    """Everything needed to repeat a table; `numbers` are the episodes of a policy on a seed, and of an ablation."""
    return {
        "scenario": scenario,
        "scenario_hash": soc_env.make_scenario(scenario, **overrides).hash(),
        "overrides": dict(overrides),
        "seed": seed,
        "network_seeds": network_seeds(scenario, num_seeds, **overrides),
        "episodes": {"table": num_seeds * numbers[0], "ablations": num_seeds * numbers[1]},
        "intervals": "95 %, Student's t over the means of the network seeds",
        "ablations": {a.name: dict(a.overrides) for a in ablations},
        **provenance(),
    }


def _check_seeds(num_seeds: int, least: int) -> None:
    if num_seeds < least:
        text = f"a comparison needs at least {least} network seeds"
        raise ConfigError(f"num_seeds={num_seeds}: {text}" + (" (--quick allows fewer)" if least > 1 else ""))


def default_policies(scenario: str) -> dict[str, str]:
    """All scripted policies of the family and `oracle-control`, by name."""
    return {name: name for name in (*scripted(scenario), ORACLE_CONTROL)}


def check_family(scenario: str) -> None:
    """Raises ConfigError for a scenario that has no mission score."""
    if family_of(scenario).headline != "score":
        allowed = [name for family in FAMILIES.values() if family.headline == "score" for name in family.scenarios]
        raise ConfigError(f"scenario {scenario!r} has no mission score; allowed: {', '.join(allowed)}")


def markdown(table: Table) -> str:
    """The table as the docs have it: one for each split, one of the ablations."""
    settings, sections = table.settings, []
    for split, rows in table.splits.items():
        sections.append(f"### {settings['scenario']}, {split} split\n\n" + _markdown_rows(rows, SHOWN))
    note = (
        f"Means [95 % intervals] of {settings['episodes']['table']:,} episodes on {len(settings['network_seeds'])} "
        f"network seeds, the same for every policy; intervals over the means of the network seeds. Scenario hash "
        f"{settings['scenario_hash']}."
    )
    if "risk_models" in settings:
        note += f" With a learned risk model in the place of the SIEM's formula: {', '.join(settings['risk_models'])}."
    sections.append(note)
    if table.ablations:
        compared = {"as it is": table.splits["test"], **table.ablations}
        for key in ("loss", "mttd"):
            title = f"### Ablations: {COLUMNS[key].label} on the test split"
            sections.append(title + "\n\n" + _markdown_ablations(compared, COLUMNS[key]))
        sections.append(f"{settings['episodes']['ablations']:,} episodes an ablation, intervals as above.")
    return "\n\n".join(sections) + "\n"


def _markdown_rows(rows: Mapping[str, Mapping[str, Estimate]], shown: Sequence[str]) -> str:
    heads = [COLUMNS[k].title for k in shown]
    lines = ["| policy | " + " | ".join(heads) + " |", "|---|" + "---:|" * len(shown)]
    for name, row in rows.items():
        lines.append(f"| {name} | " + " | ".join(row[key].format(COLUMNS[key]) for key in shown) + " |")
    return "\n".join(lines)


def _markdown_ablations(settings: Mapping[str, Mapping[str, Mapping[str, Estimate]]], column: Column) -> str:
    names = list(next(iter(settings.values())))
    lines = ["| setting | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
    for setting, rows in settings.items():
        lines.append(f"| {setting} | " + " | ".join(rows[name][column.name].format(column) for name in names) + " |")
    return "\n".join(lines)
