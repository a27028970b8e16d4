"""What an `HMARL` knows beyond what RLlib keeps, as trees of plain data, so that a resumed run is the same run.

Each of `PARTS` is read from the algorithm and given back to it by a function of its own; they are given back in their
order, the random generators last, since what comes before may draw from them.
"""

from __future__ import annotations

import copy
import functools
import operator
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_RL_MODULE
from ray.rllib.utils import metrics as keys

from policies.checkpoint import STATE, read_manifest
from policies.hmarl.counterfactual import CREDIT
from policies.hmarl.learner_group import load_networks as give_networks
from policies.hmarl.moments import observation_statistics
from policies.runner.env_runner import SAMPLING
from policies.runner.generators import get_generators, set_generators
from policies.state_files import load_tree
from policies.trained import load_networks
from soc_env.errors import CheckpointError, shown, unknown_name

STATISTICS, AVERAGED, REPLAY, RUNNERS, GENERATORS = "statistics", "averaged", "joint_replay", "runners", "generators"
HEADLINES = "headlines"  # of results
LESSONS = "lessons"  # of a teacher
NOT_LASTING = (keys.SAMPLE_TIMER, keys.WEIGHTS_SEQ_NO)  # metrics that no two runs share
WEIGHTS = f"{COMPONENT_LEARNER}/{COMPONENT_RL_MODULE}"
Tree = dict[str, Any]


# ---- learning
def get_statistics(algo: Any) -> Tree:
    """Of observations and returns, and the rows that on-policy tiers have collected."""
    return {**algo.statistics.get_state(), "collected": copy.deepcopy(algo.collected)}


def set_statistics(algo: Any, state: Tree) -> None:
    reason = misfit(algo.statistics.get_state()["moments"], state["moments"])
    if reason is not None:
        raise CheckpointError(f"the checkpoint's observation statistics do not fit ({reason})")
    algo.statistics.set_state(state)
    collected = copy.deepcopy(state["collected"])
    algo.collected = {tier: collected.get(tier, []) for tier in algo.on_policy}


def get_averaged(algo: Any) -> Tree:
    """Tier -> state of its averaged networks."""
    return copy.deepcopy(algo.averaged)


def set_averaged(algo: Any, state: Tree) -> None:
    for tier, own in algo.averaged.items():
        reason = misfit(own, state.get(tier, {}))
        if reason is not None:
            raise CheckpointError(f"tier {tier!r}: the checkpoint's averaged networks do not fit ({reason})")
    algo.averaged = {tier: copy.deepcopy(dict(state[tier])) for tier in algo.averaged}


def get_replay(algo: Any) -> Tree:
    """Name -> the store's state."""
    return algo.batches.get_state()


def set_replay(algo: Any, state: Tree) -> None:
    algo.batches.set_state(state)


def check_learners(algo: Any, state: Mapping[str, Any]) -> None:
    """Raises CheckpointError if the learners' state is that of other tiers or of other networks."""
    own = algo.learner_group.get_state()
    for tier, expected in own.items():
        if tier not in state:
            raise CheckpointError(f"the checkpoint has no such tier: {unknown_name('tier', tier, state)}")
        for part in ("rl_module", "optimizer"):
            reason = misfit(expected["learner"][part], state[tier]["learner"].get(part), may_lack=part == "optimizer")
            if reason is not None:
                raise CheckpointError(f"tier {tier!r}: the checkpoint's {part} does not fit ({reason})")


def misfit(expected: Any, found: Any, path: str = "", may_lack: bool = False) -> str | None:
    """What keeps a tree of arrays from taking the place of another, or None. `may_lack` leaves out what one of them has
    and the other has not: an optimiser has moments only after its first step."""
    if isinstance(expected, Mapping):
        if not isinstance(found, Mapping):
            return f"{path or 'it'} is missing"
        for name in expected if not may_lack else [name for name in expected if name in found]:
            reason = misfit(expected[name], found.get(name), f"{path}/{name}".strip("/"), may_lack)
            if reason is not None:
                return reason
        extra = [] if may_lack else [name for name in found if name not in expected]
        return f"{path}/{extra[0]} is too much".strip("/") if extra else None
    if isinstance(expected, (np.ndarray, torch.Tensor)):
        shapes = tuple(expected.shape), tuple(getattr(found, "shape", (None,)))
        return None if shapes[0] == shapes[1] else f"{path} has shape {shapes[1]}, allowed: {shapes[0]}"
    return None


def size_of(tree: Any) -> int:
    """[bytes] of all arrays in a tree."""
    if isinstance(tree, Mapping):
        return sum(size_of(item) for item in tree.values())
    if isinstance(tree, (list, tuple)):
        return sum(size_of(item) for item in tree)
    return int(getattr(tree, "nbytes", 0))


# ---- runners and metrics
def _groups(algo: Any) -> dict[str, Any]:
    groups = {"training": algo.env_runner_group, "evaluation": algo.eval_env_runner_group}
    return {name: group for name, group in groups.items() if group is not None}


def hand_weights(algo: Any) -> None:
    """Gives all runners the learners' weights, value heads too, and waits for it: RLlib's `sync_weights` skips a remote
    runner that has not yet answered the last one."""
    state = algo.learner_group.get_state(components=WEIGHTS, inference_only=not algo.on_policy)[COMPONENT_LEARNER]
    for group in _groups(algo).values():
        group.foreach_env_runner(operator.methodcaller("set_state", state))


def _sampling_of(runner: Any) -> tuple[int, Any]:
    return int(runner.worker_index or 0), runner.get_state(components=[SAMPLING])[SAMPLING]


def get_runners(algo: Any) -> Tree:
    """Where every runner, here and elsewhere, is in its episodes."""
    return {name: dict(group.foreach_env_runner(_sampling_of)) for name, group in _groups(algo).items()}


def set_runners(algo: Any, state: Tree) -> None:
    """Runners without a state, and those whose environments are others, begin episodes at a seed of their own."""
    for name, group in _groups(algo).items():
        of_runner = copy.deepcopy(state.get(name, {}))

        def go_on(runner: Any, of_runner: Mapping[int, Any] = of_runner) -> None:
            sampling = of_runner.get(int(runner.worker_index or 0))
            if sampling is not None:
                runner.set_state({SAMPLING: sampling})

        group.foreach_env_runner(go_on)


def lasting(metrics: Mapping[str, Any]) -> Tree:
    """RLlib's state of metrics without what tells how long something took, which no two runs share, as plain data."""
    stats = {}
    for path, state in metrics["stats"].items():
        if path.startswith(keys.TIMERS) or path.split("--")[-1] in NOT_LASTING:
            continue
        stats[path] = {name: list(v) if isinstance(v, deque) else v for name, v in state.items()}
    return {"stats": stats}


def unpacked(metrics: Mapping[str, Any]) -> Tree:
    """`lasting` as RLlib takes it back."""
    stats = copy.deepcopy(dict(metrics["stats"]))
    for state in stats.values():
        if "items" in state:
            state["items"] = deque(state["items"])
    return {"stats": stats}


PARTS: dict[str, tuple[Callable[[Any], Tree], Callable[[Any, Tree], None]]] = {
    STATISTICS: (get_statistics, set_statistics),
    AVERAGED: (get_averaged, set_averaged),
    REPLAY: (get_replay, set_replay),
    HEADLINES: (lambda algo: algo.headlines.get_state(), lambda algo, state: algo.headlines.set_state(state)),
    LESSONS: (lambda algo: algo.lessons.get_state(), lambda algo, state: algo.lessons.set_state(state)),
    CREDIT: (lambda algo: algo.credit.get_state(), lambda algo, state: algo.credit.set_state(state)),
    RUNNERS: (get_runners, set_runners),
    GENERATORS: (lambda algo: get_generators(), lambda algo, state: set_generators(state)),
}


# ---- tiers that start from a checkpoint
def starting_manifest(folder: str | Path, tier: str, algorithm: str) -> dict[str, Any]:
    """The manifest of a checkpoint that a tier starts from.

    Raises:
        CheckpointError: missing or damaged, or without such a tier of that algorithm.
    """
    manifest = read_manifest(folder)
    if tier not in manifest["tiers"]:
        raise CheckpointError(f"checkpoint {str(folder)!r}: {unknown_name('tier', tier, manifest['tiers'])}")
    trained = manifest["tiers"][tier]["algorithm"]
    if trained != algorithm:
        raise CheckpointError(f"tier {tier!r}: {shown(trained)} in checkpoint {str(folder)!r}, but {algorithm} here")
    return manifest


def starting_networks(folder: str | Path, tier: str, algorithm: str) -> dict[str, torch.Tensor]:
    """The networks that a tier starts from: the averaged ones of a checkpoint, and the newest of those that are not
    averaged, critics and targets, where the checkpoint has them.

    Raises:
        CheckpointError: missing or damaged, or without such a tier of that algorithm.
    """
    folder = Path(folder).absolute()
    manifest = starting_manifest(folder, tier, algorithm)
    networks = load_networks(folder)
    if tier not in networks:
        raise CheckpointError(f"checkpoint {str(folder)!r}: {unknown_name('tier', tier, networks)}")
    newest = {}
    if manifest["kind"] == "full":
        try:
            newest = load_tree(folder, STATE)["learner_group"][tier]["learner"]["rl_module"][tier]
        except (KeyError, TypeError):
            raise CheckpointError(f"checkpoint {str(folder)!r}: {STATE}.json has no networks of {tier!r}") from None
    return {name: torch.as_tensor(value) for name, value in newest.items()} | networks[tier]


def start_tiers(algo: Any) -> None:
    """Starts the tiers of an `HMARL` from the checkpoints that they name; those keep the observation statistics they
    come with.

    Raises:
        CheckpointError: as `starting_networks`, or the networks do not fit.
    """
    given = algo.statistics.given
    for tier in algo.learner_group.groups:
        folder, algorithm = algo.plan.settings[tier].checkpoint, algo.plan.settings[tier].algorithm
        if folder is None:
            continue
        networks = starting_networks(folder, tier, algorithm)
        for reason in algo.learner_group.edit(tier, functools.partial(give_networks, networks)):
            if reason is not None:
                raise CheckpointError(f"tier {tier!r}: the networks of checkpoint {folder!r} do not fit ({reason})")
        own, joint = algo.learner_group.edit(tier, observation_statistics)[0]
        reads_all = algo.env_runner.module[tier].reads_all
        given[tier] = own, joint if any(map(reads_all, networks)) else None
        algo.statistics.mean_absolute_return[tier] = float(networks["return_scale"])
    if given:
        hand_weights(algo)
