"""One LearnerGroup per tier behind the interface of one.

RLlib's Algorithm, EnvRunnerGroup, checkpoints and Tune talk to a single LearnerGroup. One group for all tiers does not
work with stock learners (SAC's learner expects every module to be a SAC module, target updates loop over all modules,
epochs and minibatch size are shared), so `TieredLearnerGroup` holds one ordinary group a tier and answers for them.

RLlib cannot go on without a remote learner that has died. Here the tier's group is built anew, from a copy of its whole
state (networks, optimisers, ...) that the driver has taken since: every `COPY_SECONDS`, and after each change from
outside. So a tier whose learner dies goes back by at most so many seconds of training; the others go on.
"""

from __future__ import annotations

import contextlib
import math
import operator
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from ray.exceptions import RayError
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_RL_MODULE
from ray.rllib.core.learner.learner_group import LearnerGroup
from ray.rllib.core.rl_module.apis import TargetNetworkAPI
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.utils.actor_manager import RemoteCallResults
from ray.rllib.utils.metrics import WEIGHTS_SEQ_NO

from policies.hmarl import ray_start
from policies.hmarl.ray_start import ANSWER_SECONDS, GO_ON, first_line
from policies.runner.generators import get_generators, set_generators
from soc_env.errors import ConfigError, RunError

COPY_SECONDS = 10.0  # between copies of the state of a tier that learns remotely
MOST_DEATHS = 3  # of a tier's learners in a row, after which the run ends
GENERATORS = "generators"  # of a tier's remote learners
MODULES = f"{COMPONENT_LEARNER}/{COMPONENT_RL_MODULE}"


class TieredLearnerGroup(LearnerGroup):
    """`{tier: LearnerGroup}` that presents itself as one LearnerGroup.

    `get_state` answers two address spaces: "learner/rl_module[/<tier>]" when weights are synced to env runners, and
    "<tier>[/...]" when a checkpoint is written. Sequence numbers of weights come from a counter of this group that
    never goes back (a learner's own one does when a live run is restored, and runners then keep stale weights).
    """

    def __init__(self, *, config: Any, module_spec: MultiRLModuleSpec, placement_group: Any = None):
        # LearnerGroup.__init__ would build the one Learner that this class is there to replace.
        self.config = config.copy(copy_frozen=False)
        self._module_spec = module_spec
        self._learner = self._workers = self._worker_manager = None
        self._is_shut_down = False
        self._num_weight_syncs = 0
        self._placement_group = placement_group
        self._copies: dict[str, tuple[float, Any]] = {}  # remote tier -> when its state was taken, and the state
        self._deaths: dict[str, int] = {}  # tier -> in a row
        self._lost: dict[str, RayError] = {}  # tiers whose learners have died and could not be built anew yet
        self.groups: dict[str, LearnerGroup] = {tier: self._built(tier) for tier in module_spec.rl_module_specs}

    def _built(self, tier: str) -> LearnerGroup:
        spec = self._module_spec.rl_module_specs[tier]
        config = self.config.tier_config(tier, (spec.observation_space, spec.action_space))
        spec = MultiRLModuleSpec(rl_module_specs={tier: spec})
        return config.build_learner_group(rl_module_spec=spec, placement_group=self._placement_group)

    @property
    def is_remote(self) -> bool:
        return any(group.is_remote for group in self.groups.values())

    @property
    def is_local(self) -> bool:
        return not self.is_remote

    def __len__(self) -> int:
        return sum(len(group) for group in self.groups.values())

    def __getitem__(self, tier: str) -> LearnerGroup:
        return self.groups[tier]

    def update(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("tiers are updated one by one: learner_group.update_tier(tier, ...)")

    def update_tier(self, tier: str, **kwargs: Any) -> Any:
        """`LearnerGroup.update` of the tier's group.

        Raises:
            RunError: its learners have died and cannot be built anew.
        """
        return self._ask(tier, lambda group: group.update(**kwargs))

    @property
    def here(self) -> dict[str, Any]:
        """Tier -> its learner, of those in this process."""
        return {tier: learner for tier in self.groups if (learner := self.learner_here(tier)) is not None}

    def learner_here(self, tier: str) -> Any:
        """The tier's learner if it is in this process, else None."""
        group = self.groups[tier]
        return None if group.is_remote else _values(group.foreach_learner(lambda learner: learner))[0]

    # ---- learners that die
    def _ask(self, tier: str, call: Callable[[LearnerGroup], Any]) -> Any:
        """What `call` says of the tier's group; if learners of it have died meanwhile, of a new one."""
        while True:
            if tier in self._lost:
                self._replace(tier, self._lost[tier])
            group = self.groups[tier]
            try:
                answer = call(group)
            except RayError as error:
                if not group.is_remote or _all_live(group):
                    raise
                self._lost[tier] = error
                self._deaths[tier] = self._deaths.get(tier, 0) + 1
            else:
                self._deaths.pop(tier, None)
                return answer

    def _replace(self, tier: str, error: RayError) -> None:
        """A new group for a tier whose learners have died."""
        lost = f"tier {tier!r}: its learner died ({first_line(error)})"
        if self._deaths[tier] > MOST_DEATHS:
            raise RunError(f"{lost}, {self._deaths[tier]} in a row; {GO_ON}") from error
        taken, state = self._copies.get(tier, (None, None))
        since = "its first state" if taken is None else f"its state of {time.monotonic() - taken:.0f} s before"
        with contextlib.suppress(Exception):  # of what is dead, or was shut down before, all that matters is the end
            self.groups[tier].shutdown()
        try:
            ray_start.compare(self.config)
            self.groups[tier] = self._built(tier)
            if state is not None:
                self.groups[tier].set_state(state)
        except (ConfigError, RayError) as reason:
            raise RunError(f"{lost} and cannot be built anew ({first_line(reason)}); {GO_ON}") from error
        del self._lost[tier]
        print(f"{lost}; it goes on from {since}", file=sys.stderr, flush=True)

    def _copy(self, tier: str, *, least_age: float = 0.0) -> None:
        """Takes the whole state of a tier that learns remotely, if the newest copy is at least so old [s]."""
        taken = self._copies.get(tier, (-math.inf, None))[0]
        if self.groups[tier].is_remote and time.monotonic() - taken >= least_age:
            self._copies[tier] = (time.monotonic(), self._ask(tier, lambda group: group.get_state()))

    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any) -> dict[str, Any]:
        wanted = [components] if isinstance(components, str) else components
        if wanted is not None and all(c.split("/")[0] == COMPONENT_LEARNER for c in wanted):
            return {COMPONENT_LEARNER: self._weights(wanted, **kwargs)}
        asked = {
            tier: operator.methodcaller(
                "get_state",
                components=self._get_subcomponents(tier, components),
                not_components=self._get_subcomponents(tier, not_components),
                **kwargs,
            )
            for tier in self.groups
            if self._check_component(tier, components, not_components)
        }
        state = {tier: self._ask(tier, call) for tier, call in asked.items()}
        for tier in state:  # those of the driver are in the algorithm's state
            if self.groups[tier].is_remote and wanted is None:
                state[tier][GENERATORS] = self._ask(tier, _drawn)[0]
        return state

    def _weights(self, components: Iterable[str], **kwargs: Any) -> dict[str, Any]:
        tiers: set[str] = set()
        for component in components:
            tier = component[len(MODULES) :].strip("/") if component.startswith(MODULES) else ""
            tiers |= {tier.split("/")[0]} if tier else set(self.groups)
        weights = {}
        for tier in sorted(tiers & set(self.groups)):
            state = self._ask(tier, lambda group: group.get_state(components=MODULES, **kwargs))
            weights[tier] = state[COMPONENT_LEARNER][COMPONENT_RL_MODULE][tier]
            self._copy(tier, least_age=COPY_SECONDS)
        self._num_weight_syncs += 1
        return {COMPONENT_RL_MODULE: weights, WEIGHTS_SEQ_NO: self._num_weight_syncs}

    def hand_over(self, runner: Any) -> None:
        """Gives a runner of this process the weights of learners that are in it too, without a copy in between."""
        networks = {tier: self.edit(tier, lambda module: module, keep=False)[0] for tier in self.groups}
        self._num_weight_syncs += 1
        runner.take_weights(networks, self._num_weight_syncs)

    def set_state(self, state: dict[str, Any]) -> None:
        for tier, weights in state.get(COMPONENT_LEARNER, {}).get(COMPONENT_RL_MODULE, {}).items():
            self._set_tier(tier, {COMPONENT_LEARNER: {COMPONENT_RL_MODULE: {tier: weights}}})
        for tier in self.groups:
            if tier in state:
                self._set_tier(tier, state[tier])

    def _set_tier(self, tier: str, state: Any) -> None:
        def call(group: LearnerGroup) -> None:
            group.set_state(state)
            if group.is_remote and GENERATORS in state:  # of several learners, all draw as the first
                generators = state[GENERATORS]
                _values(group.foreach_learner(lambda learner: set_generators(generators)))
            _values(group.foreach_learner(lambda learner: None, healthy_only=False))  # raises where one has died

        self._ask(tier, call)
        self._copy(tier)

    def get_weights(self, module_ids: Iterable[str] | None = None) -> dict[str, Any]:
        return self._weights([f"{MODULES}/{tier}" for tier in module_ids or self.groups])[COMPONENT_RL_MODULE]

    def get_checkpointable_components(self) -> list[tuple[str, LearnerGroup]]:
        return list(self.groups.items())

    def foreach_learner(self, func: Callable[..., Any], **kwargs: Any) -> RemoteCallResults:
        results = RemoteCallResults()
        for tier in self.groups:
            results.result_or_errors.extend(self._ask(tier, lambda group: _answers(group, func, **kwargs)))
        return results

    def edit(self, tier: str, function: Callable[[Any], Any], *, keep: bool = True) -> list[Any]:
        """Calls `function` with the tier's module in each of its learners (also remote ones): what they return.

        `keep=False` for a change that is made anew each iteration: a learner built anew may do without it.
        """

        def call(group: LearnerGroup) -> list[Any]:
            return _values(group.foreach_learner(lambda learner: function(learner.module[tier].unwrapped())))

        answers = self._ask(tier, call)
        if keep:
            self._copy(tier)
        return answers

    def get_stats(self) -> dict[str, Any]:
        return {tier: group.get_stats() for tier, group in self.groups.items()}

    def shutdown(self) -> None:
        for group in getattr(self, "groups", {}).values():
            group.shutdown()
        self._is_shut_down = True


class TierUpdate:
    """An update of a tier that others may help with (`policies.hmarl.side_by_side.Job`).

    Args:
        group: has its learner.
        tier: which.
        batch: of the tier.
        timesteps: of RLlib's.
        asked: keyword arguments of `UpdateMixin.descend`, beside the columns.
    """

    def __init__(self, group: TieredLearnerGroup, tier: str, batch: Any, timesteps: dict[str, Any], **asked: Any):
        self.group, self.tier, self.batch, self.timesteps = group, tier, batch, timesteps
        self.learner = group.learner_here(tier)
        self.asked = {"columns": batch[tier], **asked}

    def __call__(self) -> list[dict[str, Any]]:
        asked = {name: value for name, value in self.asked.items() if name != "columns"}
        return self.group.update_tier(self.tier, batch=self.batch, timesteps=self.timesteps, **asked)

    def finish(self, measured: Any) -> list[dict[str, Any]]:
        """The results, after the learner's gradient steps have been made elsewhere."""
        return [self.learner.finish(self.timesteps, measured)]


def _values(answers: RemoteCallResults) -> list[Any]:
    """What learners say; raises the first error among it."""
    for answer in answers:
        if not answer.ok:
            raise answer.get()
    return [answer.get() for answer in answers]


def _answers(group: LearnerGroup, func: Callable[..., Any], **kwargs: Any) -> list[Any]:
    answers = group.foreach_learner(func, **kwargs)
    _values(answers)
    return list(answers)


def _drawn(group: LearnerGroup) -> list[Any]:
    """The random generators of its learners' processes."""
    return _values(group.foreach_learner(lambda learner: get_generators()))


def _all_live(group: LearnerGroup) -> bool:
    answers = group.foreach_learner(
        lambda learner: True, healthy_only=False, mark_healthy=True, timeout_seconds=ANSWER_SECONDS
    )
    return sum(answer.ok for answer in answers) == len(group)


def load_networks(state: Mapping[str, torch.Tensor], module: Any) -> str | None:
    """Gives a module the networks of `state`, its target networks too: what does not fit, or None."""
    try:
        module.load_state_dict(state, strict=False)
    except RuntimeError as error:
        return str(error).splitlines()[-1].strip()
    norms = [norm for norm, is_joint in module.input_norms() if not is_joint]
    for norm in norms[1:]:  # critics may not be averaged; they read as the actor does
        norm.load_state_dict(norms[0].state_dict())
    for network, target in module.get_target_network_pairs() if isinstance(module, TargetNetworkAPI) else ():
        target.load_state_dict(network.state_dict())
    return None
