"""HMARL's four tiers trained on CC4 itself, from a checkpoint (fine-tuning) or from new networks (from scratch).

The environment is `cyborg_bridge.soc_batch`: five SOCs a CC4 episode, one set of weights. The run loop and the folder
are those of `experiments.run`. Teams learn from the rest, the part of the official score that blue can change
(`cyborg_bridge.score`), and its mean over validation episodes decides what is "best"; both are recorded.
A checkpoint from here plays through `experiments.transfer.play` like any other.

CC4's penalties are sparse and shared by five SOCs, so every tier also learns from the fall in the hosts of its zones
that red holds (`compromised`, the true state: a potential of training, never observed; policies act without it). A
budget counts steps of CC4; each is five environment steps of the run folder, one a SOC. Schedules are shares of it.
"""

from __future__ import annotations

import functools
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cyborg_bridge import find_cyborg, soc_siem
from cyborg_bridge.checkout import checkout_version
from cyborg_bridge.soc_batch import REWARDS, TEAMS, check_num_envs, check_reward
from experiments import garbage
from experiments.budget import Budget, Rhythm
from experiments.evaluate import episode_seeds
from experiments.progress import Progress
from experiments.run import VALIDATION_SEED, Run, is_trained
from experiments.run_folder import CONFIG
from experiments.run_lock import run_lock, shown_path
from experiments.run_settings import (
    check_names,
    of_file,
    plain,
    read_settings,
    record_budget,
    remove_rests,
    with_playbooks,
)
from experiments.transfer.entries import UNFIT, Entry, checkpoint_entries, team_policy, view_of
from experiments.transfer.play import Task, play
from policies.presets import CAGE4_FROM_SCRATCH, CAGE4_RUN, CAGE4_TAUGHT, CAGE4_TUNED, preset_of
from soc_env.engine.tables import Column
from soc_env.errors import ConfigError, unknown_name
from soc_env.settings import merged

ENVIRONMENT = "cyborg_bridge.soc_batch:SOCBatch"
METRICS = ("reward", "length", "score", "rest", "compromised")
REWARD = "rest"  # of the two that `SOCBatch` knows
FIRST_REWARD = "score"  # of runs from before there was a choice
VALIDATION_EPISODES = 10
NUM_ENVS = 4 * TEAMS


def preset(steps: int, start: pathlib.Path | None = None, is_taught: bool = False) -> dict[str, Any]:
    """Settings of HMARLConfig for a budget of CC4 steps.

    Args:
        steps: of CC4; schedules are shares of them.
        start: a checkpoint whose networks all tiers start from.
        is_taught: whether a teacher begins.
    """
    own = CAGE4_TAUGHT if is_taught else CAGE4_FROM_SCRATCH if start is None else CAGE4_TUNED
    home = preset_of("soc-v1", is_taught=is_taught)
    tiers: dict[str, dict[str, Any]] = {}
    for tier, settings in home["tiers"].items():
        tiers[tier] = merged(settings, _timed(own[tier], TEAMS * steps))
        if start is not None:
            tiers[tier]["checkpoint"] = str(start)
    return {**home, **CAGE4_RUN, "tiers": tiers}


def _timed(value: Any, steps: int) -> Any:
    """Schedules over shares of the budget, over environment steps, also those within parts."""
    if isinstance(value, Mapping):
        return {name: _timed(within, steps) for name, within in value.items()}
    is_schedule = isinstance(value, list) and isinstance(value[0], list)
    return [[round(share * steps), then] for share, then in value] if is_schedule else value


class Cage4Run(Run):
    """A `Run` on CC4: validated by what it learns from, at the level that it trains at."""

    validation = Rhythm(seconds=240.0, share=1 / 4, least_steps=10_000, most_steps=100_000)  # takes half a minute
    checkpoint = Rhythm(seconds=60.0, share=1 / 20, least_steps=10_000, most_steps=15_000)  # about a minute on a core
    family = soc_siem.SCENARIO.name
    own_columns = {"rest": Column("rest", "Rest", decimals=1, better="higher")}

    def __init__(self, *given: Any) -> None:
        self.on_validation: Callable[[int], None] = lambda number: None  # is told the episodes done so far
        super().__init__(*given)

    def aims(self) -> tuple[tuple[str, ...], str]:
        overrides = self.settings["overrides"]
        if "reward" in overrides:
            return METRICS, overrides["reward"]
        return tuple(name for name in METRICS if name != "rest"), FIRST_REWARD  # as its progress.csv has them

    def description(self) -> dict[str, Any]:
        return {"cyborg": checkout_version(find_cyborg(self.settings["overrides"].get("path")))}

    def measure(self, policy: Any) -> dict[str, float]:
        overrides = self.settings["overrides"]
        level, for_zones = overrides["level"], functools.cache(policy.for_zones)
        entry = Entry(functools.partial(team_policy, for_zones, level), level)
        root = str(find_cyborg(overrides.get("path")))
        seeds = episode_seeds(self.settings["seed"] + VALIDATION_SEED, VALIDATION_EPISODES).tolist()
        played = []
        for number, seed in enumerate(seeds, 1):
            played.append(play(Task("", entry, seed, 0, root, patch=True)))
            self.on_validation(number)
        return {name: sum(getattr(one, name) for one in played) / len(played) for name in REWARDS}

    def loop(self) -> None:
        if self.algo.num_env_steps == 0:
            with Progress(VALIDATION_EPISODES, "episodes", label="before training", num_slow=1) as progress:
                self.on_validation = progress.update
                self.validate()  # what training has to beat
            self.on_validation = lambda number: None  # the bar of training is there now
        super().loop()


def train_on_cage4(
    out: str | pathlib.Path,
    level: str,
    steps: int,
    *,
    start: str | pathlib.Path | None = None,
    seed: int = 0,
    workers: int = 0,
    num_envs: int = NUM_ENVS,
    path: str | pathlib.Path | None = None,
    config: Mapping[str, Any] | None = None,
    reward: str = REWARD,
    scenario: str | None = None,
    teacher: Any = None,
) -> pathlib.Path:
    """Trains until the run has `steps` CC4 steps, and returns its folder; a folder that has a run goes on with it.

    Args:
        out: the run folder.
        level, steps: what the roles see, "flat" or "raw"; of CC4, over all episodes side by side and all calls.
        start: run folder (its best checkpoint) or checkpoint to start from; None for new networks.
        seed: of networks, draws and episodes; validation and evaluation have episodes of their own.
        workers, num_envs: remote env runners (0 samples in this process); rows of each, five a CC4 episode.
        path, reward: the CybORG checkout, see `find_cyborg`; what is learned from and validated by, see `SOCBatch`.
        config, scenario: settings in place of the preset's; by whose tables CC4 is shown (None: the start's).
        teacher: who gives lessons on CC4 first, as `HMARLConfig.teacher`: 25,600 steps of CC4, which count.

    Raises:
        ConfigError: a bad setting, or a folder whose run is another one, that is in use, or not to be written.
        CheckpointError: `start` or the folder is missing, damaged, or does not fit.
        CyborgNotFoundError, CyborgCheckoutError, CyborgDependencyError: see `import_cyborg`.
        RunError: something outside failed, for example the disk is full.
        KeyboardInterrupt: stopped by the user, after everything is written.
    """
    out = pathlib.Path(out).absolute()
    checkpoint, shown_by = _begun(start, scenario)
    _check(num_envs, reward, path)
    asked: dict[str, Any] = {"scenario": ENVIRONMENT, "seed": seed, "workers": workers, "num_envs": num_envs}
    asked |= {"adverse_start": False, "budget": Budget(steps=TEAMS * steps).to_plain()}
    asked["overrides"] = {"level": level, "reward": reward, "scenario": shown_by}
    asked["overrides"] |= {} if path is None else {"path": str(path)}
    asked["config"] = _settings(steps, checkpoint, config or {}, teacher)
    with run_lock(out):
        _go(out, asked, config or {})
    return out


def _check(num_envs: int, reward: str, path: str | pathlib.Path | None) -> None:
    check_num_envs(num_envs)
    check_reward(reward)
    find_cyborg(path)


def _settings(steps: int, checkpoint: pathlib.Path | None, config: Mapping[str, Any], teacher: Any) -> dict[str, Any]:
    """The preset with what is given in its place."""
    own = {**config, **({} if teacher is None else {"teacher": lessons_by(teacher)})}
    return with_playbooks({**preset(steps, checkpoint, is_taught=own.get("teacher") is not None), **own})


def lessons_by(teacher: Any) -> Any:
    """A teacher as a run on CC4 keeps it: the rows of CC4 are no scenario, so a playbook's name becomes its text.

    Raises:
        ConfigError: there is no such teacher.
    """
    from policies.hmarl.teacher import is_trained
    from policies.scripted import is_code, is_file, kept
    from policies.scripted.playbook import SHIPPED, shipped_file

    if isinstance(teacher, str) and not (is_file(teacher) or is_code(teacher) or is_trained(teacher)):
        names = [name for name in SHIPPED if name not in UNFIT]
        if teacher not in names:
            raise ConfigError(f"{unknown_name('teacher', teacher, names)}, a playbook file, or a run")
        teacher = shipped_file(teacher)
    return kept(teacher, "teacher")


def _begun(start: str | pathlib.Path | None, scenario: str | None) -> tuple[pathlib.Path | None, str]:
    """The checkpoint that a team starts from, None for new networks, and by whose tables CC4 is shown to it."""
    from policies.checkpoint import checkpoint_folder
    from policies.loading import load_policy

    checkpoint = None if start is None else checkpoint_folder(pathlib.Path(start).absolute())
    if scenario is None:
        scenario = soc_siem.VIEWS[-1] if checkpoint is None else view_of(load_policy(checkpoint).has_levels)
    return checkpoint, soc_siem.view_scenario(scenario).name


def _go(out: pathlib.Path, asked: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Trains what is missing of the run in a folder, whose lock is held."""
    remove_rests(out)
    resume = (out / CONFIG).exists()
    settings = _resumed(out, asked, config) if resume else asked
    if not (resume and is_trained(out, Budget.of(settings["budget"]))):
        with garbage.paused():
            Cage4Run.go(out, settings, resume, f"the same command ({shown_path(out)} is kept)")


def _resumed(out: pathlib.Path, asked: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the run in a folder, with the budget asked for; ConfigError if it is another run."""
    found = read_settings(out)
    overrides = [dict(settings["overrides"]) for settings in (found, asked)]
    for name, was, now in (
        *((name, found[name], asked[name]) for name in ("scenario", "seed")),
        ("reward", *(own.pop("reward", FIRST_REWARD) for own in overrides)),
        ("start", _starts(found), _starts(asked)),
        ("teacher", *(plain(settings["config"].get("teacher")) for settings in (found, asked))),
        ("scenario", *(own.pop("scenario", soc_siem.VIEWS[0]) for own in overrides)),
        ("overrides", *overrides),
    ):
        if was != now:
            raise ConfigError(f"out: {str(out)!r} holds a run with {name}={was!r}, not {now!r}")
    try:
        check_names(found["config"], config, "config")
    except ConfigError as error:
        raise of_file(out, error) from None
    if found["budget"] != asked["budget"]:
        record_budget(out, Budget.of(asked["budget"]))
    return {**found, "budget": asked["budget"]}


def _starts(settings: Mapping[str, Any]) -> dict[str, Any]:
    tiers = settings["config"].get("tiers", {})
    return {tier: own.get("checkpoint") for tier, own in tiers.items() if isinstance(own, Mapping)}


def trained_entries(
    out: str | pathlib.Path, steps: int, levels: Sequence[str], starts: Sequence[str | pathlib.Path], **settings: Any
) -> dict[str, Entry]:
    """Trains a team from new networks and one from each of `starts`, at each level, and makes entries of them.

    Args:
        out: folder of the run folders ``LEVEL/from-scratch`` (with a teacher ``LEVEL/taught``) and
            ``LEVEL/fine-tuned-RUN``; those that have their steps are not trained again.
        steps: of CC4, of every run.
        levels, starts: observation levels; run folders or checkpoints to fine-tune.
        settings: as of `train_on_cage4`, which also names the errors.
    """
    if settings.get("teacher") is not None:
        settings["teacher"] = lessons_by(settings["teacher"])  # once, before anything is trained
    entries: dict[str, Entry] = {}
    for level in levels:
        for start in (None, *starts):
            new = "from-scratch" if settings.get("teacher") is None else "taught"
            name = new if start is None else f"fine-tuned-{pathlib.Path(start).name}"
            print(f"training {name}, {level}, {steps:,} steps of CC4", file=sys.stderr)
            run = train_on_cage4(pathlib.Path(out) / level / name, level, steps, start=start, **settings)
            entries |= checkpoint_entries(run, [level], untrained=start is None)
    return entries
