"""Who is measured on CC4: a table, name -> `Entry`.

`control_entries` makes those of the scripted controls, `checkpoint_entries` those of trained teams and
`playbook_entries` those of the scripted teams of `soc-v1`, both through `cyborg_bridge.soc_view`, which drives the five
blue agents with the four roles.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import multiprocessing
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cyborg_bridge import soc_siem
from cyborg_bridge.controls import CONTROLS, Policy, make_control
from cyborg_bridge.soc_alerts import LEVELS
from cyborg_bridge.soc_view import SOCPolicy, check_level
from experiments.evaluate import UNTRAINED
from soc_env.errors import ConfigError, unknown_name

ZONES_GUARDED = (1, 3)  # by blue agents
UNFIT = ("oracle-observation", "best-constant", "expert-learned")  # the truth; 5 zones; a risk model, see `_loaded`


@dataclasses.dataclass(frozen=True)
class Entry:
    """A policy to be measured.

    Attributes:
        make: seed -> policy, called for every episode with a seed for the policy's own draws. Sent to other processes,
            so it has to be picklable: a function of a module, or a `functools.partial` of one.
        observation: what the policy sees, "flat" or "raw" (see `cyborg_bridge.cage4`); it gets no more than that.
        identity: tells policies apart that may come under the same name, like those of two training runs.
        kind: "control", "playbook", "learned" or "untrained": for the picture.
    """

    make: Callable[[int], Policy]
    observation: str
    identity: str = ""
    kind: str = "control"


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
    from policies.checkpoint import checkpoint_folder

    root = pathlib.Path(folder).absolute()
    places = {root.name: checkpoint_folder(root)}
    if untrained and (start := root / "checkpoints" / "start").is_dir():
        places[f"{root.name}, {UNTRAINED}"] = start
    for place in places.values():
        for zones in ZONES_GUARDED:
            _team(str(place), zones)
    return {
        f"{name}, {check_level(level)}": Entry(
            functools.partial(_checkpoint_policy, str(place), level), level, _digest(place), kind
        )
        for (name, place), kind in zip(places.items(), ("learned", "untrained"), strict=False)
        for level in levels
    }


def playbook_entries(
    names: Sequence[str], levels: Sequence[str] = LEVELS, scenario: str = soc_siem.VIEWS[-1]
) -> dict[str, Entry]:
    """Entries of scripted teams of the `soc-v1` family: names, playbook files or `"package.module:name"`.

    Args:
        names: of them.
        levels: observation levels; an entry each.
        scenario: by whose tables they are shown CC4, see `cyborg_bridge.soc_view`.

    Raises:
        ConfigError: no such playbook, level or scenario, or a file that is none, or one that reads what `scenario` does
            not show.
    """
    from policies.scripted import SCRIPTED, builder_of, is_code, kept, label

    soc_siem.view_scenario(scenario)
    allowed = [name for name in SCRIPTED["soc"] if name not in UNFIT]
    entries = {}
    for policy in map(kept, names):
        if isinstance(policy, str) and not is_code(policy) and policy not in allowed:
            raise ConfigError(unknown_name("playbook", policy, allowed))
        builder_of(policy, scenario, "playbook")  # raises before anything is played
        identity = policy["sha256"][:16] if isinstance(policy, Mapping) else ""
        for level in levels:
            make = functools.partial(_playbook_policy, policy, check_level(level), scenario)
            own = f"{scenario} {identity}".strip()
            entries[f"{label(policy)} playbook, {level}"] = Entry(make, level, own, "playbook")
    return entries


def _digest(checkpoint: pathlib.Path) -> str:
    from policies.checkpoint import NETWORKS

    return hashlib.sha256((checkpoint / NETWORKS).read_bytes()).hexdigest()[:16]


@functools.lru_cache(maxsize=16)
def _team(folder: str, num_zones: int) -> Any:
    """The trained policy of a checkpoint, for that many zones."""
    return _loaded(folder).for_zones(num_zones)


@functools.lru_cache(maxsize=8)
def _loaded(folder: str) -> Any:
    from policies.loading import load_policy
    from policies.scripted import own_overrides

    if multiprocessing.parent_process() is not None:
        import torch

        torch.set_num_threads(1)  # the processes share the cores
    policy = load_policy(folder, scenario=soc_siem.SCENARIO.name)
    if own_overrides(policy):
        raise ConfigError(
            f"checkpoint {folder!r} was trained with a learned risk model, which has not seen CC4's alerts; allowed: a "
            "team trained by the SIEM's formula (risk_model='')"
        )
    return policy


def _checkpoint_policy(folder: str, level: str, seed: int) -> Policy:
    return team_policy(functools.partial(_team, folder), level, seed)


def team_policy(for_zones: Callable[[int], Any], level: str, seed: int) -> Policy:
    """A trained team that plays CC4, by the tables that it was trained on; `for_zones`: number of zones -> its policy
    for that many."""

    def make(siem: soc_siem.ExternalSIEM) -> Any:
        team = for_zones(siem.scenario.num_zones)  # type: ignore[attr-defined]
        team.reset(seed)
        return team

    return SOCPolicy(make, level, view_of(for_zones(1).has_levels))


def view_of(has_levels: bool) -> str:
    """The scenario by whose tables CC4 is shown, see `cyborg_bridge.soc_view`, to who reads finding levels or not."""
    return next(name for name in soc_siem.VIEWS if soc_siem.view_scenario(name).finding_levels == has_levels)


def _playbook_policy(policy: Any, level: str, scenario: str, seed: int) -> Policy:
    from policies.scripted import builder_of

    builder = builder_of(policy, scenario, "playbook")
    return SOCPolicy(lambda siem: builder(siem.action_spaces, seed), level, scenario)
