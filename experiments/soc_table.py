"""`hmarl-soc table`: the comparison that claims about soc-v1 rest on, its ablations, and what scales its mission score.

Every policy plays the same episodes: `episodes` of them on the networks of each of `num_seeds` network seeds, on both
splits. Episodes on the networks of one seed have these networks in common, so the seeds are clusters: a mean's 95 %
interval is Student's t over the means of the seeds, and speaks about networks that were not drawn. Fewer than five
seeds are refused unless the caller insists.

    table        the policies on both splits, with the ablations of checklist lines 3, 4, 5, 7 and 8
    calibrate    `null_loss` and `clairvoyant_loss`, the two numbers that put the mission score between 0 and 100
    search       the best constant action of at least 2,000: a wide draw, then rounds of refinement on fresh episodes

All of it is measured, nothing is trained. ``results/soc-v1-table.json`` and ``.md`` were made by
``hmarl-soc table --json results/soc-v1-table.json --markdown results/soc-v1-table.md``.
"""

from __future__ import annotations

import dataclasses
import math
import pathlib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TextIO

import numpy as np

import soc_env
from experiments.evaluate import (
    Column,
    checkpoint_folder,
    columns_of,
    fitted,
    is_soc,
    run_episodes,
    scripted_policy,
)
from experiments.intervals import Estimate
from experiments.output import output_errors, to_json, write_text
from experiments.provenance import provenance
from policies.scripted import ORACLE_CONTROL, ControlOracle, Policy, scripted
from soc_env.engine.tables import COORDINATOR, HUNTER, ORCHESTRATOR, TRIAGE
from soc_env.errors import ConfigError, unknown_name
from soc_env.soc.attack import FAMILIES

SCENARIO = "soc-v1"
NUM_SEEDS, MIN_SEEDS = 5, 5
EPISODES = 100  # on the networks of each seed
SHOWN = ("score", "loss", "reward", "sparse", "mttd", "mttc", "fdr", "action_fdr", "csr")
SPARSE = Column("sparse", "Sparse reward", decimals=2, better="higher")  # what `reward="sparse"` pays: score / 100
SPLITS = ("test", "train")
BEST_CONSTANT = "best-constant"
Progress = Callable[[str], None]


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


def network_seeds(scenario: str, num_seeds: int, **overrides: Any) -> list[int]:
    """Network seeds whose networks are all different: the generator takes `num_networks` seeds from each."""
    configured = soc_env.make_scenario(scenario, **overrides)
    return [configured.network_seed + k * configured.num_networks for k in range(num_seeds)]  # type: ignore[attr-defined]


def play(
    policy: str | Policy,
    scenario: str,
    num_seeds: int,
    episodes: int,
    seed: int = 0,
    **overrides: Any,
) -> ClusterResult:
    """The episodes of one policy: `episodes` on the networks of each of `num_seeds` network seeds.

    Args:
        policy: a callable policy, the name of a scripted one, or "oracle-control".
        seed: of the evaluation; each network seed has episodes of its own.
        **overrides: fields of the scenario.
    """
    rows = []
    for k, network_seed in enumerate(network_seeds(scenario, num_seeds, **overrides)):
        configured = soc_env.make_scenario(scenario, **{**overrides, "network_seed": network_seed})
        player: Any = fitted(policy, configured)
        if policy == ORACLE_CONTROL:
            player = ControlOracle()
        elif isinstance(policy, str):
            player = scripted_policy(policy, soc_env.Simulator(configured, seed=0).action_spaces, seed, scenario)

        def make_simulator(size: int, seeds: list[int], configured: Any = configured, player: Any = player) -> Any:
            simulator = soc_env.Simulator(configured, num_envs=size, seed=seeds)
            if isinstance(player, ControlOracle):
                player.simulator = simulator
            return simulator

        rows.append(run_episodes(player, make_simulator, episodes, _cluster_seed(seed, k)))
    names = rows[0].dtype.names or ()
    metrics = {name: np.stack([row[name].astype(np.float64) for row in rows]) for name in names}
    return ClusterResult(metrics | {"sparse": metrics["score"] / 100.0})


def _cluster_seed(seed: int, k: int) -> int:
    return int(np.random.SeedSequence([0x7AB1E, seed, k]).generate_state(1)[0])


# --- the table


@dataclasses.dataclass(frozen=True)
class Ablation:
    """A change of the scenario that takes one thing away, and what it is expected to show."""

    name: str
    overrides: Mapping[str, Any]
    expectation: str
    line: int  # of CHECKLIST.md


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
    for family in FAMILIES
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
    scenario: str = SCENARIO,
    *,
    policies: Mapping[str, str | Policy] | None = None,
    num_seeds: int = NUM_SEEDS,
    episodes: int = EPISODES,
    seed: int = 0,
    ablations: Sequence[Ablation] = (),
    ablation_episodes: int | None = None,
    insists: bool = False,
    progress: Progress | None = None,
    **overrides: Any,
) -> Table:
    """Plays every policy on both splits and on the ablations.

    Args:
        scenario: of the soc-v1 family.
        policies: name -> policy or name of a scripted one; by default all scripted ones and `oracle-control`.
        num_seeds: network seeds, the clusters of the intervals.
        episodes: on the networks of each network seed.
        seed: of the evaluation.
        ablations: changes of the scenario, played on the test split.
        ablation_episodes: as `episodes`, for the ablations; a quarter of it by default.
        insists: allow fewer than five network seeds.
        progress: called with what is being played.
        **overrides: fields of the scenario, for all of it.

    Raises:
        ConfigError: a scenario of another family, or too few network seeds.
        ScenarioError: an unknown scenario or a bad override.
    """
    check_family(scenario)
    if num_seeds < MIN_SEEDS and not insists:
        raise ConfigError(
            f"num_seeds={num_seeds}: a comparison needs at least {MIN_SEEDS} network seeds (--quick to insist)"
        )
    policies = default_policies(scenario) if policies is None else policies
    columns = {**columns_of(scenario), "sparse": SPARSE}

    def rows(title: str, number: int, **changes: Any) -> dict[str, dict[str, Estimate]]:
        found = {}
        for name, policy in policies.items():
            if progress is not None:
                progress(f"{title}: {name}")
            result = play(policy, scenario, num_seeds, number, seed, **{**overrides, **changes})
            found[name] = {key: result.estimate(column) for key, column in columns.items()}
        return found

    fewer = ablation_episodes or max(2, episodes // 4)
    splits = {split: rows(split, episodes, split=split) for split in SPLITS}
    ablated = {a.name: rows(a.name, fewer, split="test", **a.overrides) for a in ablations}
    settings = {
        "scenario": scenario,
        "scenario_hash": soc_env.make_scenario(scenario, **overrides).hash(),
        "overrides": dict(overrides),
        "seed": seed,
        "network_seeds": network_seeds(scenario, num_seeds, **overrides),
        "episodes": {"table": num_seeds * episodes, "ablations": num_seeds * fewer},
        "intervals": "95 %, Student's t over the means of the network seeds",
        "ablations": {a.name: dict(a.overrides) for a in ablations},
        **provenance(),
    }
    return Table(settings, splits, ablated)


def default_policies(scenario: str) -> dict[str, str]:
    """All scripted policies of the family and `oracle-control`, by name."""
    return {name: name for name in (*scripted(scenario), ORACLE_CONTROL)}


def check_family(scenario: str) -> None:
    """Raises ConfigError for a scenario that has no mission score."""
    if not is_soc(scenario):
        raise ConfigError(f"scenario {scenario!r} has no mission score; allowed: soc-v1, soc-cage4-v0")


def markdown(table: Table) -> str:
    """The table as it stands in the README: one for each split, one of the ablations."""
    settings, sections = table.settings, []
    columns = {**columns_of(settings["scenario"]), "sparse": SPARSE}
    for split, rows in table.splits.items():
        sections.append(f"### {settings['scenario']}, {split} split\n\n" + _markdown_rows(rows, columns, SHOWN))
    note = (
        f"Means [95 % intervals] of {settings['episodes']['table']:,} episodes on {len(settings['network_seeds'])} "
        f"network seeds, the same for every policy; intervals over the means of the network seeds. Scenario hash "
        f"{settings['scenario_hash']}."
    )
    sections.append(note)
    if table.ablations:
        compared = {"as it is": table.splits["test"], **table.ablations}
        for key in ("loss", "mttd"):
            title = f"### Ablations: {columns[key].label} on the test split"
            sections.append(title + "\n\n" + _markdown_ablations(compared, columns[key]))
        sections.append(f"{settings['episodes']['ablations']:,} episodes an ablation, intervals as above.")
    return "\n\n".join(sections) + "\n"


def _markdown_rows(
    rows: Mapping[str, Mapping[str, Estimate]], columns: Mapping[str, Column], shown: Iterable[str]
) -> str:
    shown = list(shown)
    heads = [columns[k].title for k in shown]
    lines = ["| policy | " + " | ".join(heads) + " |", "|---|" + "---:|" * len(shown)]
    for name, row in rows.items():
        lines.append(f"| {name} | " + " | ".join(row[key].format(columns[key]) for key in shown) + " |")
    return "\n".join(lines)


def _markdown_ablations(settings: Mapping[str, Mapping[str, Mapping[str, Estimate]]], column: Column) -> str:
    names = list(next(iter(settings.values())))
    lines = ["| setting | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
    for setting, rows in settings.items():
        lines.append(f"| {setting} | " + " | ".join(rows[name][column.name].format(column) for name in names) + " |")
    return "\n".join(lines)


# --- what scales the mission score


def calibrate(
    scenario: str = SCENARIO, num_episodes: int = 1000, seed: int = 0, **overrides: Any
) -> dict[str, Estimate]:
    """Mean loss of doing nothing and of the clairvoyant on the test split, the scenario's `null_loss` and
    `clairvoyant_loss`.

    Args:
        num_episodes: at least 1, spread over five network seeds.
    """
    check_family(scenario)
    column = columns_of(scenario)["loss"]
    per_seed = math.ceil(num_episodes / NUM_SEEDS)
    settings = {**overrides, "split": "test"}
    losses = {
        "null_loss": play("null", scenario, NUM_SEEDS, per_seed, seed, **settings).estimate(column),
        "clairvoyant_loss": play(ORACLE_CONTROL, scenario, NUM_SEEDS, per_seed, seed, **settings).estimate(column),
    }
    return losses


# --- the best constant


LEVELS = ("hunt", "depth", "decoy", "intel", "contain", "remediate", "perimeter", "reset")  # in [0, 1]
POSTURES = ("priority", "hunt_posture", "triage_posture", "response_posture")  # in [-1, 1]
SWITCHES = {"intel": 0.5, "perimeter": 0.1, "reset": 0.2}  # levels that only switch, with how often they are drawn on
NUM_CHOICES = 4
ROUND_SPREAD = 0.08  # standard deviation of a child around its parent, in levels
PARENTS, CHILDREN, ROUNDS = 20, 10, 6


@dataclasses.dataclass(frozen=True)
class Search:
    """Outcome of `search_constants`: the best constant and its loss on episodes that it was not chosen by."""

    best: dict[str, float]
    loss: Estimate
    num_tried: int


def draw_constants(generator: np.random.Generator, number: int) -> np.ndarray:
    """(number, 1 + levels + postures): the triage choice, levels and postures, the same in every zone."""
    constants = generator.uniform(0.0, 1.0, (number, 1 + len(LEVELS) + len(POSTURES)))
    constants[:, 0] = generator.integers(0, NUM_CHOICES, number)
    for name, share in SWITCHES.items():
        constants[:, 1 + LEVELS.index(name)] = generator.random(number) < share
    constants[:, 1 + len(LEVELS) :] = 2.0 * constants[:, 1 + len(LEVELS) :] - 1.0
    return constants


def constant_losses(constants: np.ndarray, scenario: str, seeds: Sequence[int], **overrides: Any) -> np.ndarray:
    """(constants, seeds) losses: every constant plays the episode of every seed, all of them in one batch."""
    number = len(constants)
    simulator = soc_env.Simulator(
        scenario, number * len(seeds), seed=list(seeds) * number, autoreset=False, **overrides
    )
    simulator.reset()
    rows = np.repeat(constants, len(seeds), 0)
    write_constants(simulator, rows)
    while not simulator.truncated.all():
        simulator.step()
    return simulator.episode_metrics["loss"].reshape(number, len(seeds))


def write_constants(simulator: Any, rows: np.ndarray) -> None:
    """Puts one constant an env, (num_envs, ...) as `draw_constants` gives them, into the simulator's actions."""
    zones = simulator.action_spaces[COORDINATOR].shape[0] - 3
    level = {name: 2.0 * rows[:, 1 + k : 2 + k] - 1.0 for k, name in enumerate(LEVELS)}
    posture = rows[:, 1 + len(LEVELS) :]
    every = np.ones((1, zones))
    simulator.actions[TRIAGE][:] = rows[:, 0]
    hunter = [level["hunt"] * every, level["depth"] * every, level["decoy"] * every, level["intel"]]
    response = [level["contain"] * every, level["remediate"] * every, level["perimeter"], level["reset"]]
    simulator.actions[HUNTER][:] = np.concatenate(hunter, 1)
    simulator.actions[ORCHESTRATOR][:] = np.concatenate(response, 1)
    simulator.actions[COORDINATOR][:] = np.concatenate([posture[:, :1] * every, posture[:, 1:]], 1)


def search_constants(
    scenario: str = SCENARIO,
    number: int = 2000,
    seed: int = 0,
    *,
    rounds: int = ROUNDS,
    draws: int = 8,
    refined: int = 32,
    validation: int = 512,
    batch: int = 1024,
    progress: Progress | None = None,
    **overrides: Any,
) -> Search:
    """The best constant action by mean loss on the training split.

    A wide draw of `number` constants on `draws` episodes each, then `rounds` rounds in which the best `PARENTS` and
    `CHILDREN` variations of each play `refined` fresh episodes, so that luck of the draw is not inherited. The loss
    reported is of `validation` episodes that were not used to choose.
    """
    check_family(scenario)
    generator = np.random.default_rng([0xC057, seed])
    constants = draw_constants(generator, number)
    num_tried = number

    def losses(candidates: np.ndarray, num_episodes: int) -> np.ndarray:
        seeds = generator.integers(0, 2**53, num_episodes).tolist()
        size = max(1, batch // num_episodes)
        parts = [candidates[k : k + size] for k in range(0, len(candidates), size)]
        return np.concatenate([constant_losses(part, scenario, seeds, **overrides).mean(1) for part in parts])

    best = constants[np.argsort(losses(constants, draws), kind="stable")[:PARENTS]]
    for turn in range(rounds):
        children = np.repeat(best, CHILDREN, 0)
        children[:, 1:] += generator.normal(0.0, ROUND_SPREAD, children[:, 1:].shape)
        children[:, 1 : 1 + len(LEVELS)] = children[:, 1 : 1 + len(LEVELS)].clip(0.0, 1.0)
        children[:, 1 + len(LEVELS) :] = children[:, 1 + len(LEVELS) :].clip(-1.0, 1.0)
        candidates = np.concatenate([best, children])
        num_tried += len(children)
        found = losses(candidates, refined)
        order = np.argsort(found, kind="stable")[:PARENTS]
        best = candidates[order]
        if progress is not None:
            progress(f"round {turn + 1} of {rounds}: loss {found[order[0]]:.1f}")
    fresh = generator.integers(0, 2**53, validation).tolist()
    winner = best[np.argmin(losses(best[:5], validation))]
    return Search(
        best=dict(
            zip(("triage", *LEVELS, *POSTURES), [int(winner[0]), *np.round(winner[1:], 3).tolist()], strict=True)
        ),
        loss=Estimate.of(constant_losses(winner[None], scenario, fresh, **overrides)[0]),
        num_tried=num_tried,
    )


def as_playbook(search: Search) -> str:
    """The search's result as the entry of `policies.scripted.SCRIPTED["soc"]`."""
    arguments = ", ".join(f"{name}={value}" for name, value in search.best.items())
    return f'"{BEST_CONSTANT}": constant({arguments}),'


# --- the command


def run(
    scenario: str = SCENARIO,
    *,
    policies: Sequence[str] | None = None,
    checkpoints: Sequence[pathlib.Path] = (),
    num_seeds: int = NUM_SEEDS,
    episodes: int | None = None,
    seed: int = 0,
    has_ablations: bool = True,
    insists: bool = False,
    calibrates: bool = False,
    search: int | None = None,
    json_path: pathlib.Path | None = None,
    markdown_path: pathlib.Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    file: TextIO | None = None,
) -> None:
    """`hmarl-soc table`: measures, prints and writes what was asked for.

    Args:
        episodes: of a policy on a split, spread over the network seeds; 500 by default, 1,000 to calibrate.

    Raises:
        ConfigError, ScenarioError, CheckpointError: a setting that is not allowed.
    """
    file, overrides = file or sys.stdout, dict(overrides or {})
    check_family(scenario)
    soc_env.make_scenario(scenario, **overrides)  # fails before anything slow starts
    about = {"scenario": scenario, "overrides": overrides, "seed": seed}
    if calibrates:
        losses = calibrate(scenario, episodes or 1000, seed, **overrides)
        for name, loss in losses.items():
            print(f"{name}={loss.mean:.2f}  # 95 % interval {loss.low:.2f} to {loss.high:.2f}", file=file)
        plain = {name: dataclasses.asdict(loss) for name, loss in losses.items()}
        _write(json_path, to_json({**about, **plain, **provenance()}), file)
        return
    if search is not None:
        found = search_constants(scenario, search, seed, progress=_to_stderr, **overrides)
        loss = found.loss
        print(
            f"best of {found.num_tried:,} constants: loss {loss.mean:.2f} [{loss.low:.2f}, {loss.high:.2f}]", file=file
        )
        print(as_playbook(found), file=file)
        _write(json_path, to_json({**about, **dataclasses.asdict(found), **provenance()}), file)
        return
    table = measure(
        scenario,
        policies=_named(scenario, policies, checkpoints),
        num_seeds=num_seeds,
        episodes=math.ceil((episodes or 500) / num_seeds),
        seed=seed,
        ablations=ABLATIONS if has_ablations else (),
        insists=insists,
        progress=_to_stderr,
        **overrides,
    )
    text = markdown(table)
    print(text, end="", file=file)
    _write(markdown_path, text, file)
    _write(json_path, to_json(table.to_dict()), file)


def _named(
    scenario: str, policies: Sequence[str] | None, checkpoints: Sequence[pathlib.Path]
) -> dict[str, str | Policy]:
    """Rows of the table by name: scripted policies, then checkpoints by the name of their run."""
    known = default_policies(scenario)
    rows: dict[str, str | Policy] = {}
    for name in known if policies is None else policies:
        if name not in known:
            raise ConfigError(unknown_name(f"policy of {scenario}", name, known))
        rows[name] = name
    if checkpoints:
        import policies as learned

        for folder in checkpoints:
            name = f"HMARL ({folder.resolve().name})"
            rows[name] = learned.load_policy(checkpoint_folder(folder), scenario=scenario)
    return rows


def _write(path: pathlib.Path | None, text: str, file: TextIO) -> None:
    if path is None:
        return
    with output_errors():
        print(f"wrote {write_text(path, text)}", file=file)


def _to_stderr(text: str) -> None:
    """Shows progress on a terminal, and nothing elsewhere."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
