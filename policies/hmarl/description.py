"""An `HMARL` in plain data, for the manifest of its checkpoints, and its configuration made of such data again."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from policies.checkpoint import plain_spaces
from policies.hmarl.rllib_settings import TIER_DEFAULTS, WORKS
from policies.hmarl.settings import HMARLSettings
from policies.runner.batched_env import import_path, with_paths
from policies.scripted import is_code, is_file
from policies.team import SCRIPTED
from policies.tiers import without_starts
from soc_env import SCENARIOS
from soc_env.errors import CheckpointError, shown
from soc_env.registry import kept_overrides
from soc_env.settings import field_names
from soc_env.versions import versions

ELSEWHERE = ("env", "env_config", "tiers")  # in the manifest's other fields
CODE = ("algo_class", "env_runner_cls", "custom_evaluation_function", "callbacks_class")


def _is_code(name: str) -> bool:
    return name in CODE or name.startswith("callbacks_")


SETTINGS = (*WORKS, *TIER_DEFAULTS, *field_names(HMARLSettings))
PLAIN = tuple(name for name in SETTINGS if name not in ELSEWHERE and not _is_code(name))


def describe(algo: Any) -> dict[str, Any]:
    """The manifest's fields that say what the algorithm is and how far it has got; code is named, not stored."""
    config = algo.config
    is_ours = isinstance(config.env, str) and config.env in SCENARIOS
    return {
        "scenario": config.env if is_ours else None,
        "environment": import_path(config.env),  # for the reader's eye
        "overrides": with_paths(kept_overrides(config.env_config) if is_ours else dict(config.env_config)),
        "tiers": with_paths(config.tier_settings),
        "spaces": {tier: _spaces_of(algo, members[0]) for tier, members in algo.plan.members.items()},
        "agents": list(algo.agents),
        "members": {tier: list(members) for tier, members in algo.plan.members.items()},
        "slow_agents": list(algo.slow_agents),
        "num_env_steps": algo.num_env_steps,
        "config": _changed(config),
        "versions": versions("hmarl-soc", "ray", "torch", "numpy"),  # what the networks were made with
    }


def _spaces_of(algo: Any, agent: str) -> dict[str, Any]:
    part = algo.team.slices[agent]
    return plain_spaces(part.stop - part.start, algo.team.action_spaces[agent])


def _plain(value: Any) -> Any:
    """The value with lists for tuples; TypeError if JSON has no such thing."""
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (Integral, Real)):
        return int(value) if isinstance(value, Integral) else float(value)
    raise TypeError(f"{type(value).__name__} is no plain data")


def _changed(config: Any) -> dict[str, Any]:
    """The settings that are not the default ones: {"settings": name -> value, "code": names}."""
    default, settings, code = type(config)(), {}, []
    for name in (name for name in SETTINGS if name not in ELSEWHERE and name != "algo_class"):
        value, usual = getattr(config, name), getattr(default, name)
        if value is usual:
            continue
        try:
            plain = _plain(value)
        except TypeError:
            code.append(name)
            continue
        if _is_code(name):
            code.append(name)
        elif plain != _plain(usual):
            settings[name] = plain
    return {"settings": settings, "code": code}


def configure(config: Any, folder: Path, manifest: Mapping[str, Any]) -> Any:
    """Gives a new `HMARLConfig` the settings of a checkpoint: `config` itself.

    Names in the manifest are looked up in our own tables, never imported.

    Raises:
        CheckpointError: an environment, a scripted policy or a setting that is code; the message says which.
    """
    plain = manifest["config"]
    code = [shown(name) for name in plain.get("code", ())]
    evaluated = plain.get("settings", {}).get("evaluation_config") or {}
    for env in (manifest["scenario"], evaluated.get("env", manifest["scenario"])):
        if not isinstance(env, str) or env not in SCENARIOS:
            code.append("the environment")
    for tier, settings in manifest["tiers"].items():
        policy = settings.get("policy")
        if settings["algorithm"] == SCRIPTED and (is_code(policy) or is_file(policy)):
            code.append(f"the policy of tier {tier!r}")
    teacher = plain.get("settings", {}).get("teacher")
    if teacher is not None and (is_code(teacher) or is_file(teacher)):
        code.append("the teacher")
    if code:
        raise CheckpointError(
            f"checkpoint {str(folder)!r} needs code that a file cannot hold: {', '.join(dict.fromkeys(code))}; pass "
            "config=, an HMARLConfig that has it"
        )
    for name, value in plain.get("settings", {}).items():
        if name not in PLAIN:
            raise CheckpointError(f"checkpoint {str(folder)!r}: field 'config' has {shown(name)}, which is no setting")
        setattr(config, name, value)
    config.environment(manifest["scenario"], env_config=dict(manifest["overrides"]))
    return config.tiers(without_starts(manifest["tiers"]), replace=True)  # what they started from is in the state
