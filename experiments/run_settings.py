"""The settings of a run: config.json as it is written, read back, and compared with what a resumption asks for.

config.json is input like any other: it may be damaged, edited or of another version. Nothing in it is imported: a name
of the form "package.module:name" counts only where the caller gives it again.
"""

from __future__ import annotations

import json
import math
import os
import shlex
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import soc_env
from experiments.budget import Budget
from experiments.output import write_json
from experiments.run_folder import ATTENTION, CONFIG, EVALUATION, EVALUATION_TRAIN, PROGRESS
from experiments.run_lock import HOLDER, shown_path
from policies.presets import CREDIT, DEFAULT_NUM_ENVS, NUM_ENVS, PRESET_OF, credit_of, preset_of, with_changes
from soc_env.errors import CheckpointError, ConfigError, HMARLSOCError, shown
from soc_env.files import remove_partials
from soc_env.registry import kept_overrides
from soc_env.settings import merged

DEFAULTS: dict[str, Any] = {"scenario": "soc-v1", "seed": 0, "workers": 0, "num_envs": None, "adverse_start": False}
KINDS: dict[str, tuple[type, int | None]] = {  # of config.json's settings: type, the least that is allowed
    "scenario": (str, None),
    "seed": (int, 0),
    "workers": (int, 0),
    "num_envs": (int, 1),
    "overrides": (dict, None),
    "adverse_start": (bool, None),
    "config": (dict, None),
    "budget": (dict, None),
}
MAX_CONFIG_BYTES = 1 << 24
PACKED_BYTES = 2  # of a number of a replayed row: on paper-v0 1.9, on soc-v1 1.1, since next observations stand once
SPARE_BYTES = 1 << 25  # [bytes] for networks, results and what is not counted
TEMPORARY = (CONFIG, PROGRESS, EVALUATION, EVALUATION_TRAIN, ATTENTION, HOLDER)  # files that only the run writes


def new_settings(
    out: Path, asked: Mapping[str, Any], overrides: Mapping[str, Any], config: Mapping[str, Any], budget: Budget
) -> dict[str, Any]:
    """The settings of a run that begins, completed.

    Args:
        out: its folder.
        asked: what the caller gave of `DEFAULTS`; None is not given.
        overrides, config: fields of the scenario, settings of HMARLConfig.
        budget: of the run.

    Raises:
        ConfigError: the folder has a run already.
    """
    if (out / CONFIG).exists():
        raise ConfigError(f"out: {str(out)!r} holds a run already; allowed: a new folder, or --resume to go on with it")
    found = with_defaults(asked)
    scenario = found["scenario"]
    if found["num_envs"] is None:
        found["num_envs"] = NUM_ENVS.get(scenario, DEFAULT_NUM_ENVS)
    config = with_preset(scenario, dict(config))
    return {**found, "overrides": kept_overrides(overrides), "config": config, "budget": budget.to_plain()}


def with_defaults(asked: Mapping[str, Any]) -> dict[str, Any]:
    """`asked` with what was not given filled in."""
    return {**DEFAULTS, **{name: value for name, value in asked.items() if value is not None}}


def with_preset(scenario: str, config: dict[str, Any]) -> dict[str, Any]:
    """The scenario's preset with the user's settings on top: what the folder records and a resumption uses."""
    from policies.tiers import DEFAULT_TIERS, well_formed

    preset = preset_of(scenario, is_taught=config.get("teacher") is not None)
    tiers = preset.get("tiers", {})
    for tier, own in well_formed(config.get("tiers", {}), "config: tiers").items():
        keeps = "algorithm" not in own or own["algorithm"] == DEFAULT_TIERS.get(tier, {}).get("algorithm")
        tiers[tier] = merged(tiers.get(tier, {}) if keeps else {}, own)
    return {**preset, **config, **({"tiers": tiers} if tiers else {})}


def with_credit(scenario: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The user's settings over those of counterfactual credit, which a tier of another algorithm has not.

    Raises:
        ConfigError: the scenario has none.
    """
    from policies.tiers import DEFAULT_TIERS, well_formed

    changes = credit_of(scenario, is_taught=config.get("teacher") is not None)
    if not changes:
        allowed = ", ".join(sorted({*CREDIT, *(name for name, of in PRESET_OF.items() if of in CREDIT)}))
        raise ConfigError(f"credit: there is no preset of it for scenario {scenario!r}; allowed: {allowed}")
    given = well_formed(config.get("tiers", {}), "config: tiers")
    usual = {tier: own["algorithm"] for tier, own in DEFAULT_TIERS.items()}
    for tier, own in given.items():
        if own.get("algorithm", usual.get(tier)) != usual.get(tier):
            changes["tiers"].pop(tier, None)
    return with_changes(changes, {**config, "tiers": given})


def with_given(found: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """A run's recorded settings with those that are given again, which may be code, in their places."""
    tiers = {tier: merged(found.get("tiers", {}).get(tier, {}), own) for tier, own in config.get("tiers", {}).items()}
    return merged(found, {**config, **({"tiers": tiers} if tiers else {})})


def with_playbooks(config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with the text of each playbook file that a scripted tier or the teacher names: a run needs the file no
    more. A teacher's folder is named in full.

    Raises:
        ConfigError: a file that cannot be read or is no playbook; one line with file and line.
    """
    from policies.scripted import is_file, kept

    found, tiers = dict(config), config.get("tiers")
    if isinstance(tiers, Mapping):
        found["tiers"] = {
            tier: {**own, "policy": kept(own["policy"], f"tier {shown(tier)}: policy")}
            if isinstance(own, Mapping) and is_file(own.get("policy"))
            else own
            for tier, own in tiers.items()
        }
    teacher = found.get("teacher")
    if is_file(teacher):
        found["teacher"] = kept(teacher, "teacher")
    elif isinstance(teacher, (str, Path)) and os.path.isdir(teacher):
        found["teacher"] = os.path.abspath(teacher)  # a resumption may be started elsewhere
    return found


# --- config.json, read back


def read_settings(out: Path) -> dict[str, Any]:
    """The settings of the run in a folder, by the names of `KINDS`.

    Raises:
        CheckpointError: there is no run, or its config.json is damaged or of another version; names the field.
    """
    found = _read(out)
    subject = f"out: {str(out / CONFIG)!r}"
    for name, (kind, least) in KINDS.items():
        if name not in found:
            raise CheckpointError(f"{subject} has no {name!r}: it is damaged, or of another version of hmarl-soc")
        value = found[name]
        is_kind = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
        if not is_kind or (least is not None and value < least):
            allowed = kind.__name__ + ("" if least is None else f" of at least {least}")
            raise CheckpointError(f"{subject}: {name} is {shown(value)}, allowed: {allowed}")
    try:
        Budget.of(found["budget"])
    except ConfigError as error:
        raise CheckpointError(f"{subject}: {error}") from None
    return {name: found[name] for name in KINDS}


def _read(out: Path) -> dict[str, Any]:
    path = out / CONFIG
    try:
        with path.open("rb") as file:
            text = file.read(MAX_CONFIG_BYTES + 1)
        if len(text) <= MAX_CONFIG_BYTES:
            found = json.loads(text)
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(f"out: {str(out)!r} holds no run to resume (it has no {CONFIG})") from None
    except OSError as error:
        raise CheckpointError(f"out: {str(path)!r} cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError):
        raise CheckpointError(f"out: {str(path)!r} is damaged: it is no JSON") from None
    if len(text) > MAX_CONFIG_BYTES:
        raise CheckpointError(f"out: {str(path)!r} is too large: allowed are {MAX_CONFIG_BYTES} bytes")
    if not isinstance(found, dict):
        raise CheckpointError(f"out: {str(path)!r} is damaged: it holds a {type(found).__name__}, not settings by name")
    return found


def remove_rests(out: Path) -> None:
    """Removes what killed runs have left half written; the caller holds the folder's lock."""
    remove_partials(out, TEMPORARY)


def record_budget(out: Path, budget: Budget) -> None:
    """Changes the budget in a folder's config.json, and nothing else."""
    write_json(out / CONFIG, {**_read(out), "budget": budget.to_plain()}, is_strict=False)


def check_same(
    out: Path,
    found: Mapping[str, Any],
    asked: Mapping[str, Any],
    overrides: Mapping[str, Any],
    config: Mapping[str, Any],
) -> None:
    """Refuses to resume a run with other settings than its own: they would have no effect.

    Args:
        out: its folder.
        found: the run's settings.
        asked, overrides, config: what the caller gave; None, or left out, is not given.

    Raises:
        ConfigError: the first that differs, by name.
    """
    pairs = [(name, value, found[name]) for name, value in asked.items() if value is not None]
    if overrides:
        own = soc_env.make_scenario(found["scenario"], **found["overrides"]).to_dict()
        asked_for = {**found["overrides"], **kept_overrides(overrides)}
        wanted = soc_env.make_scenario(found["scenario"], **asked_for).to_dict()
        pairs += [(f"override {name}", wanted.get(name), own.get(name)) for name in overrides]
    pairs += [(f"config {path}", value, was) for path, value, was in _leaves(config, found["config"], "")]
    for name, value, was in pairs:
        if was is MISSING or plain(value) != plain(was):
            has = "has no such setting" if was is MISSING else f"has {shown(plain(was))}"
            raise ConfigError(
                f"{name}={shown(plain(value))}: the run in {shown_path(out)!r} {has}; a resumed run keeps its "
                "settings, only --minutes or --steps may be given"
            )


MISSING = object()


def _leaves(given: Mapping[str, Any], found: Any, place: str) -> Iterator[tuple[str, Any, Any]]:
    """(place, value in `given`, value in `found`) of everything in `given`."""
    for name, value in given.items():
        was = found.get(name, MISSING) if isinstance(found, Mapping) else MISSING
        if isinstance(value, Mapping) and isinstance(was, Mapping):
            yield from _leaves(value, was, f"{place}{name}.")
        else:
            yield f"{place}{name}", value, was


def plain(value: Any) -> Any:
    """As config.json holds it: lists for tuples, and what can be imported by its path."""

    try:
        return json.loads(json.dumps(value))
    except TypeError:  # there is code in it
        from policies.runner.batched_env import with_paths

        return with_paths(value)


def check_names(config: Mapping[str, Any], given: Mapping[str, Any], subject: str) -> None:
    """Refuses settings from a file that name code which is not ours.

    Args:
        config: settings of HMARLConfig from a file.
        given: those that the caller gives, who may name any code of the same.
        subject: where `config` is from, for the message.

    Raises:
        ConfigError: a scripted tier's policy, or a teacher, "package.module:name".
    """
    from policies.scripted import is_code

    teacher = config.get("teacher")
    if teacher is not None and is_code(teacher) and "teacher" not in given:
        raise ConfigError(
            f"{subject}: teacher is {shown(teacher)}; code that a file names is not imported, allowed: the name of a "
            "scripted policy of ours, a playbook file, a checkpoint, or the same setting given to `train`"
        )
    tiers, own = config.get("tiers"), given.get("tiers", {})
    for tier, settings in tiers.items() if isinstance(tiers, Mapping) else ():
        policy = settings.get("policy") if isinstance(settings, Mapping) else None
        if policy is not None and is_code(policy) and "policy" not in own.get(tier, {}):
            raise ConfigError(
                f"{subject}: tier {tier!r} has policy {shown(policy)}; code that a file names is not imported, "
                "allowed: the name of a scripted policy of ours, a playbook file, or the same setting given to `train` "
                "in Python"
            )


# --- what a user is told


def resume_hint(out: Path, budget: Budget | None = None, *, evaluation: bool = True) -> str:
    """The command that goes on with a run, to be pasted as it stands.

    Args:
        out: its folder.
        budget: one that is not the recorded one.
        evaluation: whether it ends with the comparison.
    """
    path = shown_path(out)
    words = ["hmarl-soc", "train", "--resume", "--out", f"./{path}" if path.startswith("-") else path]
    words += budget.option().split() if budget else []
    return shlex.join([*words, *([] if evaluation else ["--no-evaluation"])])


def check_space(out: Path, settings: Mapping[str, Any]) -> None:
    """Refuses a run whose checkpoint would not fit on the disk: most of it is the replay.

    Raises:
        ConfigError: says how much is needed.
    """
    from policies.hmarl.settings import HMARLSettings

    capacity = settings["config"].get("replay_capacity", HMARLSettings.replay_capacity)
    steps = settings["budget"].get("steps")
    simulator = soc_env.Simulator(settings["scenario"], num_envs=1, seed=0, **settings["overrides"])
    numbers = sum(math.prod(space.shape or ()) for space in simulator.observation_spaces.values())
    numbers += sum(1 + math.prod(space.shape or ()) for space in simulator.action_spaces.values())  # reward, action
    needed = PACKED_BYTES * numbers * (capacity if steps is None else min(capacity, steps)) + SPARE_BYTES
    there = out / "checkpoints" / "last"
    needed -= sum(file.stat().st_size for file in there.rglob("*") if file.is_file()) if there.exists() else 0
    free = shutil.disk_usage(out).free
    if free < needed:
        raise ConfigError(
            f"out: {shown_path(out)!r} has {free / 2**20:,.0f} MiB free, but a checkpoint may take "
            f"{needed / 2**20:,.0f} MiB more; allowed: a folder on a larger disk, or a smaller replay_capacity "
            f"(now {capacity:,})"
        )


def of_file(out: Path, error: HMARLSOCError) -> CheckpointError:
    """The error of a setting that stands in a run's config.json, with the file's name."""
    return CheckpointError(f"out: {os.fspath(out / CONFIG)!r}: {error}")
