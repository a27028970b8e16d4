"""`hmarl-soc transfer`: policies on the real CybORG CAGE Challenge 4 (CC4), by its official score.

The protocol is that of CC4's `evaluation.py`: episodes of 500 steps as CybORG counts (499 played, 498 scored), an
episode's score being the sum over steps of the team reward (the mean over the five blue agents). One thing differs:
every episode has a seed of its own instead of its place in one stream, so that all policies meet the same episodes,
and that they can be played by several processes in any order.

A policy is an entry of a table, name -> `Entry`: `control_entries` makes those of the scripted controls,
`checkpoint_entries` those of trained teams and `playbook_entries` those of the scripted teams of `soc-v1`, both through
`cyborg_bridge.soc_view`, which drives the five blue agents with the four roles. Nothing is learned here: teams that
learn on CC4 come from `experiments.transfer_train`. Finished episodes are kept in ``transfer.json`` in the output
folder and not played again: the same call goes on after an interruption, more episodes or more names are added to what
is there, also by two calls at once.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import hashlib
import json
import multiprocessing
import os
import pathlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

import numpy as np

from cyborg_bridge import cage4_parallel_env, find_cyborg, soc_desk
from cyborg_bridge.cage4 import OFFICIAL_STEPS, Cage4Env
from cyborg_bridge.checkout import checkout_version
from cyborg_bridge.controls import CONTROLS, Policy, make_control
from cyborg_bridge.soc_alerts import LEVELS
from cyborg_bridge.soc_view import SOCPolicy
from experiments.evaluate import episode_seeds, print_rows
from experiments.intervals import Estimate
from experiments.output import write_json
from experiments.provenance import provenance
from experiments.report import GREY, INK, RED, panels, write_picture
from soc_env.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RESULTS, PICTURE = "transfer.json", "transfer.png"
AXIS = (50, 100, 200, 500, 1000, 2000, 5000, 10_000)  # of the picture, in penalties
ZONES_GUARDED = (1, 3)  # by blue agents
LINE_SECONDS = 10.0  # between lines of progress where there is no terminal


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


@dataclasses.dataclass(frozen=True)
class Entry:
    """A policy to be measured.

    Attributes:
        make: seed -> policy, called for every episode with a seed for the policy's own draws. Sent to other processes,
            so it has to be picklable: a function of a module, or a `functools.partial` of one.
        observation: what the policy sees, "flat" or "raw" (see `cyborg_bridge.cage4`); it gets no more than that.
        identity: tells policies apart that may come under the same name, like those of two training runs.
    """

    make: Callable[[int], Policy]
    observation: str
    identity: str = ""


def control_entries(names: Sequence[str] | None = None) -> dict[str, Entry]:
    """Entries of the scripted controls of those names, or of all.

    Raises:
        ConfigError: there is no such control.
    """
    names = list(CONTROLS) if names is None else names
    for name in names:
        if name not in CONTROLS:
            raise ConfigError(unknown_name("control", name, CONTROLS))
    return {name: Entry(functools.partial(make_control, name), CONTROLS[name].observation) for name in names}


def checkpoint_entries(
    folder: str | os.PathLike[str], levels: Sequence[str] = LEVELS, untrained: bool = True
) -> dict[str, Entry]:
    """Entries of a team trained on a scenario of the `soc-v1` family or on CC4, and of its networks before training.

    Args:
        folder: a run folder, which stands for its best checkpoint, or a checkpoint.
        levels: observation levels; an entry each.
        untrained: whether to add the run's untrained networks, the control of every claim of transfer.

    Raises:
        CheckpointError: missing, damaged, or of another family of scenarios.
        ConfigError: no such level, or networks that are made for one number of zones.
    """
    from experiments.evaluate import UNTRAINED, checkpoint_folder

    root = pathlib.Path(folder).absolute()
    places = {root.name: checkpoint_folder(root)}
    if untrained and (start := root / "checkpoints" / "start").is_dir():
        places[f"{root.name}, {UNTRAINED}"] = start
    for place in places.values():
        for zones in ZONES_GUARDED:
            _team(str(place), zones)
    return {
        f"{name}, {_level(level)}": Entry(
            functools.partial(_checkpoint_policy, str(place), level), level, _digest(place)
        )
        for name, place in places.items()
        for level in levels
    }


def playbook_entries(names: Sequence[str], levels: Sequence[str] = LEVELS) -> dict[str, Entry]:
    """Entries of scripted teams of the `soc-v1` family, see `policies.scripted`.

    Raises:
        ConfigError: no such playbook or level.
    """
    from policies.scripted import SCRIPTED

    allowed = [
        name for name in SCRIPTED["soc"] if name not in ("oracle-observation", "best-constant")
    ]  # truth; 5 zones
    for name in names:
        if name not in allowed:
            raise ConfigError(unknown_name("playbook", name, allowed))
    return {
        f"{name} playbook, {_level(level)}": Entry(functools.partial(_playbook_policy, name, level), level)
        for name in names
        for level in levels
    }


def _digest(checkpoint: pathlib.Path) -> str:
    from policies.checkpoint import NETWORKS

    return hashlib.sha256((checkpoint / NETWORKS).read_bytes()).hexdigest()[:16]


def _level(level: str) -> str:
    if level not in LEVELS:
        raise ConfigError(unknown_name("level", level, LEVELS))
    return level


@functools.lru_cache(maxsize=16)
def _team(folder: str, num_zones: int) -> Any:
    """The trained policy of a checkpoint, for that many zones."""
    return _loaded(folder).for_zones(num_zones)


@functools.lru_cache(maxsize=8)
def _loaded(folder: str) -> Any:
    from policies.checkpoint import load_policy

    if multiprocessing.parent_process() is not None:
        import torch

        torch.set_num_threads(1)  # the processes share the cores
    return load_policy(folder, scenario=soc_desk.SCENARIO.name)


def _checkpoint_policy(folder: str, level: str, seed: int) -> Policy:
    return team_policy(functools.partial(_team, folder), level, seed)


def team_policy(for_zones: Callable[[int], Any], level: str, seed: int) -> Policy:
    """A trained team that plays CC4; `for_zones`: number of zones -> its policy for that many."""

    def make(desk: soc_desk.Desk) -> Any:
        team = for_zones(desk.scenario.num_zones)  # type: ignore[attr-defined]
        team.reset(seed)
        return team

    return SOCPolicy(make, level)


def _playbook_policy(name: str, level: str, seed: int) -> Policy:
    from policies.scripted import SCRIPTED

    return SOCPolicy(lambda desk: SCRIPTED["soc"][name](desk.action_spaces, seed), level)


# --- playing


class Task(NamedTuple):
    """One episode of one entry, as sent to a process."""

    name: str
    entry: Entry
    seed: int
    policy_seed: int
    path: str
    patch: bool


@functools.lru_cache(maxsize=4)
def _environment(path: str, observation: str, patch: bool) -> Cage4Env:
    """This process's environment of that kind: making one takes longer than resetting it."""
    return cage4_parallel_env(path, OFFICIAL_STEPS, patch=patch, observation=observation)


def play(task: Task) -> float:
    """Plays one episode; returns its official score."""
    env = _environment(task.path, task.entry.observation, task.patch)
    policy = task.entry.make(task.policy_seed)
    policy.reset()
    observations, infos = env.reset(seed=task.seed)
    score = 0.0
    while env.agents:
        observations, _, _, _, infos = env.step(policy.act(observations, infos, env))
        score += infos[env.possible_agents[0]]["score"]
    return score


def _finished(tasks: Sequence[Task], workers: int) -> Iterator[tuple[Task, float]]:
    """Plays the tasks, in this process or in several others; yields each with its score when it is done."""
    if workers == 1:
        for task in tasks:
            yield task, play(task)
        return
    context = multiprocessing.get_context("spawn")
    pool = concurrent.futures.ProcessPoolExecutor(workers, context, initializer=_start_worker)
    try:
        task_of = {pool.submit(play, task): task for task in tasks}
        for future in concurrent.futures.as_completed(task_of):
            yield task_of[future], future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _start_worker() -> None:
    """Ctrl-C reaches every process: workers end at once and the parent says what happened; they end with it, too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def transfer(
    entries: Mapping[str, Entry],
    *,
    episodes: int = 100,
    seed: int = 0,
    workers: int = 1,
    out: str | os.PathLike[str],
    path: str | os.PathLike[str] | None = None,
    patch: bool = True,
) -> dict[str, Any]:
    """Measures policies and writes ``transfer.json`` and ``transfer.png``.

    Args:
        entries: name -> policy.
        episodes: of each entry; those that the output folder holds already are not played again.
        seed: of the evaluation, at least 0.
        workers: processes; 1 plays in this one.
        out: the output folder.
        path: the CybORG checkout, see `find_cyborg`.
        patch: use the shortcuts of `cage4_parallel_env`; they change no score.

    Returns:
        What is in ``transfer.json``: protocol, versions, and for every entry, also of earlier calls, its observation
        level, scores by episode seed, the git commits they were played at, and n, mean, std, low, high.

    Raises:
        ConfigError: a number out of range, a folder that cannot be written or holds results of another protocol.
        CyborgNotFoundError, CyborgCheckoutError, CyborgDependencyError: see `cyborg_bridge.import_cyborg`.
    """
    for field, value, least in (("episodes", episodes, 1), ("seed", seed, 0), ("workers", workers, 1)):
        if value < least:
            raise ConfigError(f"{field}={value} is out of range: at least {least} is allowed")
    root = find_cyborg(path)
    file = pathlib.Path(out) / RESULTS
    found = provenance()
    protocol = {"environment": str(Cage4Env.metadata["name"]), "steps": OFFICIAL_STEPS, "seed": seed}
    data = _read(file, {**protocol, "cyborg": checkout_version(root)})
    data["versions"] = found["versions"]
    for name, entry in entries.items():
        fresh = {"observation": entry.observation, "identity": entry.identity, "git_hashes": [], "scores": {}}
        record = data["entries"].setdefault(name, fresh)
        if record["observation"] != entry.observation:
            raise ConfigError(
                f"out={str(out)!r}: {name!r} is there with observation={record['observation']!r}, not"
                f" {entry.observation!r}; choose another folder or name"
            )
        if record.get("identity", "") != entry.identity:
            raise ConfigError(f"out={str(out)!r}: {name!r} is there from another checkpoint; choose another folder")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"out={str(out)!r}: cannot be written ({error.strerror})") from error
    seeds = episode_seeds(seed, episodes).tolist()
    tasks = [
        Task(name, entry, episode, _policy_seed(seed, episode), str(root), patch)
        for episode in seeds
        for name, entry in entries.items()
        if str(episode) not in data["entries"][name]["scores"]
    ]
    with _Progress(len(tasks)) as progress:
        for task, score in _finished(tasks, workers):
            record = data["entries"][task.name]
            record["scores"][str(task.seed)] = score
            record["git_hashes"] = sorted({*record["git_hashes"], found["git_hash"] or "not a checkout"})
            _write(file, data)
            progress.show(f"{task.name} {score:,.0f}")
    _write(file, data)
    write_picture(file.with_name(PICTURE), draw(data))
    return data


def _policy_seed(seed: int, episode: int) -> int:
    return int(np.random.SeedSequence([0x9011, seed, episode]).generate_state(1)[0])


# --- results


def _read(file: pathlib.Path, protocol: dict[str, Any]) -> dict[str, Any]:
    """The results so far, or none; ConfigError when they are unreadable or of another protocol."""
    if not file.exists():
        return {"protocol": protocol, "versions": {}, "entries": {}}
    try:
        data: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        there = data["protocol"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"out={str(file.parent)!r}: {RESULTS} cannot be read ({error})") from error
    if there != protocol:
        raise ConfigError(
            f"out={str(file.parent)!r}: holds results of {there}, not of {protocol}; choose another folder"
        )
    return data


def _write(file: pathlib.Path, data: dict[str, Any]) -> None:
    """Writes the results; what another call has added to the file meanwhile stays and becomes part of `data`."""
    for name, record in _read(file, data["protocol"])["entries"].items():
        own = data["entries"].setdefault(name, record)
        if all(own.get(key) == record.get(key) for key in ("observation", "identity")):
            own["scores"] = {**record["scores"], **own["scores"]}
    for record in data["entries"].values():
        if record["scores"]:
            estimate = Estimate.of(np.array(list(record["scores"].values())))
            record.update(n=len(record["scores"]), **dataclasses.asdict(estimate))
    write_json(file, data)


def print_table(data: Mapping[str, Any], file: TextIO | None = None) -> None:
    """Prints every entry with n, mean, 95 % interval and observation level, and the published figures below."""
    header = ["policy", "sees", "n", "official score"]
    rows = [
        [
            name,
            record["observation"],
            str(record["n"]),
            f"{record['mean']:.1f} [{record['low']:.1f}, {record['high']:.1f}]",
        ]
        for name, record in _measured(data)
    ]
    rows += [[f"{figure.name}, published", "", "", f"{figure.score:g}"] for figure in PUBLISHED]
    protocol = data["protocol"]
    caption = (
        f"mean [95 % interval] over n episodes of CybORG {protocol['cyborg']['version']} CAGE Challenge 4, seed"
        f" {protocol['seed']}; published figures are quoted, not measured here"
    )
    print_rows(header, rows, caption, file or sys.stdout)


def _measured(data: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The entries with at least one episode, worst first."""
    return sorted(((k, v) for k, v in data["entries"].items() if v["scores"]), key=lambda item: item[1]["mean"])


def draw(data: Mapping[str, Any]) -> Figure:
    """Bars of penalties (the negative score) on a logarithmic axis with 95 % intervals; published figures as lines."""
    entries = _measured(data)
    figure, axes = panels(1, 1, width=11.0, height=2.6 + 0.42 * len(entries))
    panel = axes[0][0]
    for row, (_, record) in enumerate(entries):
        mean, low, high = (max(-record[key], AXIS[0]) for key in ("mean", "high", "low"))
        panel.barh(row, mean, color=GREY, height=0.66, zorder=2)
        panel.errorbar(mean, row, xerr=[[mean - low], [high - mean]], color=INK, linewidth=1.1, capsize=2.5, zorder=4)
        text = f"{record['mean']:,.0f}  (n={record['n']})"
        box = {"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.85}
        style: dict[str, Any] = {"textcoords": "offset points", "va": "center", "fontsize": 8.5, "zorder": 5}
        panel.annotate(text, (min(high, AXIS[-1]), row), xytext=(5, 0), bbox=box, **style)
    place = 0.0
    for quoted in sorted(PUBLISHED, key=lambda quoted: -quoted.score):
        panel.axvline(-quoted.score, color=RED, linestyle=(0, (4, 3)), linewidth=0.9, zorder=3)
        place = max(-quoted.score, place * 1.13)  # labels are moved apart where they would overlap
        across, upright = panel.transData, panel.transAxes
        where = {"xycoords": (across, upright), "textcoords": (across, upright), "color": RED, "fontsize": 8}
        slant = {"rotation": 38, "rotation_mode": "anchor", "ha": "left", "va": "bottom"}
        pointer = {"arrowstyle": "-", "color": RED, "linewidth": 0.5}
        text = f"{quoted.name} {quoted.score:g}"
        panel.annotate(text, (-quoted.score, 1.0), xytext=(place, 1.03), arrowprops=pointer, **where, **slant)
    panel.set_xscale("log")
    panel.set_xlim(AXIS[0], 2 * AXIS[-1])
    panel.set_xticks(AXIS, [f"-{value:,}" for value in AXIS])
    panel.minorticks_off()
    panel.set_xlabel("official score, logarithmic: further left is better", fontsize=9)
    names = [n if n.endswith(r["observation"]) else f"{n}, {r['observation']}" for n, r in entries]
    panel.set_yticks(range(len(entries)), names, fontsize=10)
    panel.set_ylim(len(entries) - 0.4, -0.6)
    return figure


class _Progress:
    """A bar with an estimate of the time left on a terminal; elsewhere a line every ten seconds."""

    def __init__(self, total: int) -> None:
        self.total, self.done = total, 0
        self.start = self.last_line = time.monotonic()
        self.is_live = sys.stderr.isatty()

    def __enter__(self) -> _Progress:
        return self

    def show(self, latest: str) -> None:
        """One more episode is done."""
        self.done += 1
        now = time.monotonic()
        left = int((now - self.start) * (self.total - self.done) / self.done)
        bar = "#" * (20 * self.done // self.total)
        text = f"{self.done:,} of {self.total:,} episodes, {left // 60}:{left % 60:02d} left  {latest}"
        if self.is_live:
            print(f"\r\x1b[K[{bar:<20}] {text}", end="", file=sys.stderr, flush=True)
        elif now - self.last_line >= LINE_SECONDS or self.done == self.total:
            self.last_line = now
            print(text, file=sys.stderr, flush=True)

    def __exit__(self, *_: object) -> None:
        if self.is_live:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
