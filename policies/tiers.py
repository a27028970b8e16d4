"""Tiers as plain data: which algorithm trains which agents, with which settings.

A tier is a policy shared by some agents: those that its setting "agents" names, or else those of its role
(`threat_hunter_0`, `threat_hunter_1`, ... belong to tier `threat_hunter`). Its settings are a dict with the key
"algorithm" and that algorithm's settings (`policies.algorithms`), those of a part in a dict of their own:

    {"algorithm": "SAC", "actor_lr": 1e-4, "critic": {"kind": "additive", "bins": 21}}

Nothing but strings, numbers, lists and dicts, so it goes through Tune search spaces, JSON and checkpoints; `parse`
makes the typed settings of it. What is left out has its default. A name that would have no effect is an error.

A tier with the algorithm "scripted" has no network: its "policy" says what it does, see `policies.runner.plan`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from policies.algorithms import ALGORITHMS
from policies.algorithms.names import explain
from policies.algorithms.settings import TierSettings
from policies.scripted import kept
from policies.team import SCRIPTED
from soc_env.errors import ConfigError, shown, unknown_name
from soc_env.settings import check_fields, field_names, from_plain, merged, names, to_plain

MASKED = "alert_triage"  # the tier whose choices can be masked, in the soc-v1 family
DEFAULT_TIERS: dict[str, dict[str, Any]] = {
    "alert_triage": {"algorithm": "DQN"},
    "threat_hunter": {"algorithm": "SAC"},
    "response_orchestrator": {"algorithm": "MADDPG"},
    "strategic_coordinator": {"algorithm": "PPO"},
}


def tier_of(agent_id: str, *args: Any, named: Mapping[str, str] | None = None, **kwargs: Any) -> str:
    """RLlib policy mapping: the tier that names the agent, else `threat_hunter_0` -> `threat_hunter`; a name without
    an index is its own tier."""
    if named and agent_id in named:
        return named[agent_id]
    role, _, index = agent_id.rpartition("_")
    return role if role and index.isdigit() else agent_id


def mapping(tiers: Mapping[str, Mapping[str, Any]]) -> Callable[..., str]:
    """`tier_of` with the agents that tiers name; ConfigError if two tiers name the same one."""
    named: dict[str, str] = {}
    for tier, settings in tiers.items():
        for agent in settings["agents"]:
            if named.setdefault(agent, tier) != tier:
                raise ConfigError(
                    f"agent {agent!r} is named by tiers {named[agent]!r} and {tier!r}; allowed: one of them"
                )
    return functools.partial(tier_of, named=named)


@dataclass(frozen=True)
class ScriptedSettings:
    """Settings of a tier without networks."""

    policy: Any = None
    agents: tuple[str, ...] = names("agents it acts for; none: those of its name", "assumption")
    algorithm: str = SCRIPTED
    trainable: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_fields(self, ConfigError)
        if self.policy is None:
            raise ConfigError("policy is missing; a scripted tier needs the name of one")


def well_formed(tiers: Any, where: str = "tiers") -> Mapping[str, Mapping[str, Any]]:
    """`tiers`; ConfigError unless they are settings by name of tier, whose names can be those of files."""
    if not isinstance(tiers, Mapping):
        raise ConfigError(f"{where}={shown(tiers)} must be settings by name of tier")
    for tier, settings in tiers.items():
        is_name = isinstance(tier, str) and 0 < len(tier) <= 100 and tier.isprintable()
        if not is_name or set(tier) & set('<>:"/\\|?*') or tier[-1] in " ." or tier[0] == ".":
            raise ConfigError(f"{where}: {shown(tier)} is no name of a tier; allowed: what a file may be called")
        if not isinstance(settings, Mapping):
            raise ConfigError(f"tier {tier!r}={shown(settings)} must be settings by name")
    return tiers


def members(tier_of_agent: Mapping[str, str], tiers: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    """Tier -> its agents; of the tiers of `DEFAULT_TIERS` those that have any.

    Raises:
        ConfigError: an agent without a tier, or a tier or a named agent that the environment does not have.
    """
    for agent, tier in tier_of_agent.items():
        if tier not in tiers:
            raise ConfigError(
                f"agent {agent!r} belongs to tier {tier!r}, which does not exist; name the agent in the setting "
                f"'agents' of one of the tiers: {', '.join(tiers)}"
            )
    found = {tier: tuple(a for a, own in tier_of_agent.items() if own == tier) for tier in tiers}
    for tier, own in found.items():
        absent = set(tiers[tier]["agents"]) - set(tier_of_agent)
        if absent or not own and tier not in DEFAULT_TIERS:
            missing = f"no agent {min(absent)!r}" if absent else "no agents of it"
            raise ConfigError(f"tier {tier!r}: the environment has {missing}; agents: {', '.join(tier_of_agent)}")
    return {tier: own for tier, own in found.items() if own}


def changed(tier: str, before: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """A tier's settings with some changed, or new ones where the algorithm changes.

    A scripted tier's playbook file is read here and never again: from now on its text is the setting.

    Raises:
        ConfigError: that file cannot be read or is no playbook.
    """
    keeps = settings.get("algorithm", before.get("algorithm")) == before.get("algorithm")
    found = merged(before if keeps else {}, settings)
    if found.get("algorithm") == SCRIPTED and "policy" in found:
        found["policy"] = kept(found["policy"], f"tier {tier!r}: policy")
    return found


def without_starts(tiers: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The tiers without the checkpoints that they once started from."""
    return {tier: {**own, "checkpoint": None} if "checkpoint" in own else own for tier, own in tiers.items()}


def parse(
    tier: str,
    plain: Mapping[str, Any],
    of_all: Collection[str] = (),
    of_rllib: Callable[[str], Collection[str]] = lambda algorithm: (),
) -> Any:
    """The typed settings of a tier: a `TierSettings` of its algorithm, or `ScriptedSettings`.

    Args:
        tier: its name.
        plain: its settings; what is missing has its default.
        of_all: names that hold for all tiers, to say so where one is among a tier's.
        of_rllib: algorithm -> RLlib's own names, likewise.

    Raises:
        ConfigError: no or an unknown algorithm, a name that is no setting of it, or a value that is not allowed.
    """
    algorithm = plain.get("algorithm")
    if algorithm != SCRIPTED and (not isinstance(algorithm, str) or algorithm not in ALGORITHMS):
        raise ConfigError(unknown_name(f"tier {tier!r}: algorithm", algorithm, (*ALGORITHMS, SCRIPTED)))
    kind: type = ScriptedSettings if algorithm == SCRIPTED else ALGORITHMS[algorithm].settings
    for name in plain if algorithm != SCRIPTED else ():
        if name not in field_names(kind):
            raise ConfigError(f"tier {tier!r}: {explain(algorithm, name, of_all, of_rllib(algorithm))}")
    try:
        settings = from_plain(kind, plain, ConfigError)
    except ConfigError as error:
        raise ConfigError(f"tier {tier!r}: {error}") from None
    if getattr(settings, "action_masking", False) and tier != MASKED:
        raise ConfigError(
            f"tier {tier!r}: action_masking=True has no effect; it has one on {MASKED} of soc-v1's family"
        )
    return settings


def complete(tier: str, plain: Mapping[str, Any], of_all: Collection[str] = ()) -> dict[str, Any]:
    """`plain` with every default filled in, as plain data; raises as `parse` does."""
    settings = parse(tier, plain, of_all)
    if isinstance(settings, TierSettings):
        return to_plain(settings)
    return {"algorithm": SCRIPTED, "policy": settings.policy, "agents": list(settings.agents)}
