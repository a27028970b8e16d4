"""One LearnerGroup per tier behind the interface of one.

RLlib's Algorithm, EnvRunnerGroup, checkpoints and Tune talk to a single LearnerGroup. One group for all tiers does not
work with stock learners (SAC's learner expects every module to be a SAC module, target updates loop over all modules,
epochs and minibatch size are shared), so `TieredLearnerGroup` holds one ordinary group a tier and answers for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_RL_MODULE
from ray.rllib.core.learner.learner_group import LearnerGroup
from ray.rllib.core.rl_module.apis import TargetNetworkAPI
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.utils.actor_manager import RemoteCallResults
from ray.rllib.utils.metrics import WEIGHTS_SEQ_NO

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
        specs = module_spec.rl_module_specs
        self.groups: dict[str, LearnerGroup] = {
            tier: self.config.tier_config(tier, (spec.observation_space, spec.action_space)).build_learner_group(
                rl_module_spec=MultiRLModuleSpec(rl_module_specs={tier: spec}), placement_group=placement_group
            )
            for tier, spec in specs.items()
        }

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
        raise NotImplementedError("tiers are updated one by one: learner_group[tier].update(...)")

    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any) -> dict[str, Any]:
        wanted = [components] if isinstance(components, str) else components
        if wanted is not None and all(c.split("/")[0] == COMPONENT_LEARNER for c in wanted):
            return {COMPONENT_LEARNER: self._weights(wanted, **kwargs)}
        return {
            tier: group.get_state(
                components=self._get_subcomponents(tier, components),
                not_components=self._get_subcomponents(tier, not_components),
                **kwargs,
            )
            for tier, group in self.groups.items()
            if self._check_component(tier, components, not_components)
        }

    def _weights(self, components: Iterable[str], **kwargs: Any) -> dict[str, Any]:
        tiers: set[str] = set()
        for component in components:
            tier = component[len(MODULES) :].strip("/") if component.startswith(MODULES) else ""
            tiers |= {tier.split("/")[0]} if tier else set(self.groups)
        weights = {}
        for tier in sorted(tiers & set(self.groups)):
            state = self.groups[tier].get_state(components=MODULES, **kwargs)
            weights[tier] = state[COMPONENT_LEARNER][COMPONENT_RL_MODULE][tier]
        self._num_weight_syncs += 1
        return {COMPONENT_RL_MODULE: weights, WEIGHTS_SEQ_NO: self._num_weight_syncs}

    def set_state(self, state: dict[str, Any]) -> None:
        for tier, weights in state.get(COMPONENT_LEARNER, {}).get(COMPONENT_RL_MODULE, {}).items():
            self.groups[tier].set_state({COMPONENT_LEARNER: {COMPONENT_RL_MODULE: {tier: weights}}})
        for tier, group in self.groups.items():
            if tier in state:
                group.set_state(state[tier])

    def get_weights(self, module_ids: Iterable[str] | None = None) -> dict[str, Any]:
        return self._weights([f"{MODULES}/{tier}" for tier in module_ids or self.groups])[COMPONENT_RL_MODULE]

    def get_checkpointable_components(self) -> list[tuple[str, LearnerGroup]]:
        return list(self.groups.items())

    def foreach_learner(self, func: Callable[..., Any], **kwargs: Any) -> RemoteCallResults:
        results = RemoteCallResults()
        for group in self.groups.values():
            results.result_or_errors.extend(group.foreach_learner(func, **kwargs))
        return results

    def edit(self, tier: str, function: Callable[[Any], Any]) -> list[Any]:
        """Calls `function` with the tier's module in each of its learners (also remote ones): what they return."""
        results = self.groups[tier].foreach_learner(lambda learner: function(learner.module[tier].unwrapped()))
        return [result.get() for result in results]

    def get_stats(self) -> dict[str, Any]:
        return {tier: group.get_stats() for tier, group in self.groups.items()}

    def shutdown(self) -> None:
        for group in getattr(self, "groups", {}).values():
            group.shutdown()
        self._is_shut_down = True


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
