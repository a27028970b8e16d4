"""Tables of `policies`: every setting of a tier, from the dataclasses that declare them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from policies.algorithms import ALGORITHMS
from policies.algorithms.names import RENAMED
from policies.algorithms.settings import TierSettings
from policies.hmarl.rllib_settings import TIER_DEFAULTS, WORKS
from policies.hmarl.settings import HMARLSettings
from policies.scripted.playbook import reference, shipped_file
from policies.tiers import DEFAULT_TIERS, ScriptedSettings
from tables.environment import code_of
from tables.markdown import allowed, code, table

COLUMNS = ("setting", "default", "allowed", "meaning", "has an effect", "source")


def _rows(kind: type, prefix: str = "", space: str = "") -> Iterator[tuple[str, ...]]:
    """The settings of a dataclass, those of a part as `part.name`."""
    for spec in dataclasses.fields(kind):
        meta = spec.metadata
        name, where = f"{prefix}{spec.name}", meta.get("space", space)
        if "part" in meta:
            yield from _rows(meta["part"], f"{name}.", where)
        elif spec.name != "algorithm" and "unit" in meta:
            default = spec.default if spec.default is not dataclasses.MISSING else {}
            yield code_of(name), code(default), allowed(meta), meta["unit"], _effect(meta, where), meta["source"]


def _effect(metadata: Any, space: str) -> str:
    conditions = []
    if "only" in metadata:
        other, value = metadata["only"]
        conditions.append(f"with `{other}`: {code(value) if value != 'a value' else value}")
    if space:
        conditions.append(f"on {space} actions")
    return ", ".join(conditions)


def hmarl_settings() -> str:
    """What holds for all tiers: `HMARLConfig.training(...)`."""
    columns = [0, 1, 2, 3, 5]
    return table([COLUMNS[c] for c in columns], ([row[c] for c in columns] for row in _rows(HMARLSettings)))


def rllib_settings() -> str:
    """Settings that `HMARLConfig` has from RLlib and that have an effect."""
    return table(("setting", "what it does here"), [(code_of(name), what) for name, what in WORKS.items()])


def tier_defaults() -> str:
    """RLlib's training settings that are handed to tiers."""
    return ", ".join(code_of(name) for name in TIER_DEFAULTS)


def tier_settings() -> str:
    """What every tier that learns has."""
    return table(COLUMNS, _rows(TierSettings))


def algorithm_settings(name: str) -> str:
    """What the algorithm has beside."""
    shared = {row[0] for row in _rows(TierSettings)}
    return table(COLUMNS, (row for row in _rows(ALGORITHMS[name].settings) if row[0] not in shared))


def scripted_settings() -> str:
    """What a scripted tier has."""
    forms = "a name, a [playbook file](playbooks.md), a builder, or `package.module:name`"
    policy = (code_of("policy"), "", forms, "who plays it", "", "")
    return table(COLUMNS, [policy, *_rows(ScriptedSettings)])


def algorithms() -> str:
    """What each algorithm can do."""
    rows = [
        (code_of(name), " or ".join(space.__name__ for space in entry.action_spaces),
         "newest decisions" if entry.is_on_policy else "replay",
         "every agent's observation and action" if entry.has_central_critic else "its own",
         ", ".join(code_of(tier) for tier, settings in DEFAULT_TIERS.items() if settings["algorithm"] == name))
        for name, entry in ALGORITHMS.items()
    ]  # fmt: skip
    return table(("algorithm", "acts in", "learns from", "its critic reads", "tiers that have it by default"), rows)


def renamed_settings() -> str:
    """Names of before, refused with the new one in the message."""
    return table(("name of before", "now"), [(code_of(old), new) for old, new in RENAMED.items()])


def playbook_actions() -> str:
    """What rules set."""
    rows = [(*map(code_of, row[:2]), *row[2:]) for row in reference.action_rows()]
    return table(reference.ACTION_COLUMNS, rows)


def playbook_features() -> str:
    """What conditions read."""
    rows = [(", ".join(code_of(name) for name in row[0].split(", ")), *row[1:]) for row in reference.feature_rows()]
    return table(reference.FEATURE_COLUMNS, rows)


def playbook_functions() -> str:
    """What expressions call."""
    return table(reference.FUNCTION_COLUMNS, [(code_of(shape), gives) for shape, gives in reference.function_rows()])


def playbook_file(name: str) -> str:
    """A playbook that ships, as it is."""
    return f"```toml\n{shipped_file(name).text.strip()}\n```"


TABLES = {
    "playbook-actions": playbook_actions,
    "playbook-features": playbook_features,
    "playbook-functions": playbook_functions,
    "playbook-file": playbook_file,
    "hmarl-settings": hmarl_settings,
    "rllib-settings": rllib_settings,
    "tier-defaults": tier_defaults,
    "tier-settings": tier_settings,
    "algorithm-settings": algorithm_settings,
    "scripted-settings": scripted_settings,
    "algorithms": algorithms,
    "renamed-settings": renamed_settings,
}
