"""What the algorithms' modules and learners share, beside RLlib's own.

Values are learned in units of the running mean absolute return. `set_statistics` changes that unit and rescales the
value heads so that the values they stand for stay the same (Pop-Art without the mean: van Hasselt et al. 2016,
"Learning values across many orders of magnitude"); the published reward spans from +12 to -2,000 an episode.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from ray.rllib.core.learner.learner import Learner
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME, WEIGHTS_SEQ_NO
from ray.rllib.utils.numpy import convert_to_numpy
from ray.rllib.utils.torch_utils import convert_to_torch_tensor
from torch import nn

from policies.algorithms import ALGORITHMS
from policies.algorithms.network import TierNetwork
from policies.networks.blocks import value_at
from soc_env.errors import ConfigError
from soc_env.settings import from_plain

# What a central critic reads beside its own agent's columns.
JOINT_OBS, JOINT_NEXT_OBS = "joint_obs", "joint_next_obs"  # (B, sum of observation sizes)
# (B, sum of the other agents' flat action sizes)
OTHER_ACTIONS, OTHER_NEXT_ACTIONS = "other_actions", "other_next_actions"
JOINT_COLUMNS = (JOINT_OBS, JOINT_NEXT_OBS, OTHER_ACTIONS, OTHER_NEXT_ACTIONS)


# ---- modules
def take_settings(module: Any) -> None:
    """Gives a `TierNetwork` that is an RLModule the settings that it was made with."""
    config = module.model_config
    plain = config["settings"]
    module.settings = from_plain(ALGORITHMS[plain["algorithm"]].settings, plain, ConfigError)
    module.role = config["role"]


class StatisticsMixin(TierNetwork):
    """`TierNetwork` whose statistics change as it learns, and whose value heads then keep their meaning."""

    def value_heads(self) -> Iterable[nn.Linear]:
        """The linear layers that put out values."""
        raise NotImplementedError

    @torch.no_grad()
    def set_statistics(
        self, own: tuple[np.ndarray, np.ndarray], joint: tuple[np.ndarray, np.ndarray], return_scale: float
    ) -> None:
        """New (mean, variance) of the own and of the joint observation, and the unit of values [reward]."""
        for norm, is_joint in self.input_norms():
            norm.set(*(joint if is_joint else own))
        ratio = float(self.return_scale) / return_scale
        for head in self.value_heads():
            head.weight.mul_(ratio)
            head.bias.mul_(ratio)
        self.return_scale.fill_(return_scale)

    @torch.no_grad()
    def bias_actions(self, value: float) -> None:
        """Adds `value` to every action output before squashing or clipping (the adverse start of the experiments)."""
        for head, num_parts in self.action_heads():
            head.bias.chunk(num_parts)[0].add_(value)


def existing(module: Any, *names: str) -> list[Any]:
    """Those of the named parts that a module has: copies for inference lack critics."""
    return [getattr(module, name) for name in names if hasattr(module, name)]


# ---- learners
class CheckpointStateMixin:
    """A learner's whole state, so that a restored run goes on as if it had never stopped.

    It holds what RLlib 2.60 leaves out: SAC's temperature, PPO's KL coefficient, the clock of the target updates and
    that of schedules. It lacks what belongs to the configuration: which tiers are trained, and learning rates, which
    are those of this learner's own settings at the time of the state.
    """

    EXTRA = "algorithm_state"
    clock: int | None = None  # [environment steps] at the last update

    def before_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        super().before_gradient_based_update(timesteps=timesteps)  # type: ignore[misc]
        self.clock = int(timesteps.get(NUM_ENV_STEPS_SAMPLED_LIFETIME, 0))

    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any) -> dict[str, Any]:
        state = super().get_state(components, not_components=not_components, **kwargs)  # type: ignore[misc]
        del state["should_module_be_updated"]
        if self._check_component(self.EXTRA, components, not_components):  # type: ignore[attr-defined]
            state[self.EXTRA] = {
                "clock": self.clock,
                "last_target_update": dict(getattr(self, "last_update_ts_by_mid", {})),
                **{name: {k: float(v.detach()) for k, v in values.items()} for name, values in self._tensors().items()},
            }
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on from `get_state`, also backwards: RLlib's refuses weights of a lower number."""
        left_out = ("should_module_be_updated", WEIGHTS_SEQ_NO)
        super().set_state({name: part for name, part in state.items() if name not in left_out})  # type: ignore[misc]
        self._weights_seq_no = state.get(WEIGHTS_SEQ_NO, 0)
        extra = state.get(self.EXTRA)
        if extra is None:
            return
        if hasattr(self, "last_update_ts_by_mid"):
            self.last_update_ts_by_mid.update(extra["last_target_update"])
        for name, tensors in self._tensors().items():
            for module_id, value in extra[name].items():
                tensors[module_id].data.fill_(value)  # in place: an optimiser may hold it
        self.clock = extra["clock"]
        self._set_schedules()

    def _tensors(self) -> dict[str, Any]:
        names = ("curr_log_alpha", "curr_kl_coeffs_per_module")
        return {name: getattr(self, name) for name in names if hasattr(self, name)}

    def _set_schedules(self) -> None:
        """Sets learning rates and what else has a schedule to the settings' value at the last update."""
        for optimizer, schedule in self._optimizer_lr_schedules.items():  # type: ignore[attr-defined]
            rate = schedule.update(timestep=self.clock or 0)
            self._set_optimizer_lr(  # type: ignore[attr-defined]
                optimizer, lr=rate if self.clock is not None else schedule.get_current_value()
            )
        if hasattr(self, "entropy_coeff_schedulers_per_module"):
            for module_id, _ in self.module.items():  # type: ignore[attr-defined]
                self.entropy_coeff_schedulers_per_module[module_id].update(timestep=self.clock or 0)

    def _get_optimizer_state(self) -> dict[str, Any]:
        """Optimiser -> parameter -> its moments and steps."""
        optimizers = self._named_optimizers  # type: ignore[attr-defined]
        return {name: convert_to_numpy(optimizer.state_dict()["state"]) for name, optimizer in optimizers.items()}

    def _set_optimizer_state(self, state: dict[str, Any]) -> None:
        for name, optimizer in self._named_optimizers.items():  # type: ignore[attr-defined]
            moments = convert_to_torch_tensor(state[name], device=self._device)  # type: ignore[attr-defined]
            optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})


class FusedUpdateMixin(CheckpointStateMixin):
    """Makes many small gradient steps in one call cheap, and follows each of them with the target networks.

    RLlib updates targets once a call, checks every gradient for NaN one tensor at a time, and steps Adam tensor by
    tensor; with networks of this size that costs more than the gradients.
    """

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        super().configure_optimizers_for_module(module_id=module_id, config=config)  # type: ignore[misc]
        for _, optimizer in self.get_optimizers_for_module(module_id):  # type: ignore[attr-defined]
            for group in optimizer.param_groups:
                group["fused"], group["foreach"] = True, False

    def apply_gradients(self, gradients_dict: Any) -> None:
        for reference, gradient in gradients_dict.items():
            self._params[reference].grad = gradient  # type: ignore[attr-defined]  # clipped by value: another tensor
        for optimizer in self._optimizer_parameters:  # type: ignore[attr-defined]
            optimizer.step()
        for module_id, module in self.module.items():  # type: ignore[attr-defined]
            config = self.config.get_config_for_module(module_id)  # type: ignore[attr-defined]
            if config.target_network_update_freq == 0:
                follow(module.unwrapped().get_target_network_pairs(), config.tau)

    def after_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        if self.config.target_network_update_freq == 0:  # type: ignore[attr-defined]
            Learner.after_gradient_based_update(self, timesteps=timesteps)  # type: ignore[arg-type]
        else:
            super().after_gradient_based_update(timesteps=timesteps)  # type: ignore[misc]


@torch.no_grad()
def follow(pairs: Iterable[tuple[Any, Any]], tau: float) -> None:
    """Moves target networks by the share `tau` towards their main networks."""
    main, target = [], []
    for network, follower in pairs:
        main += list(network.parameters())
        target += list(follower.parameters())
    torch._foreach_lerp_(target, main, tau)


class ActionPenaltyMixin:
    """Learner whose actor's output before the tanh is pulled to where it starts, as the settings `rest` say."""

    env_steps = 0

    def before_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        super().before_gradient_based_update(timesteps=timesteps)  # type: ignore[misc]
        self.env_steps = timesteps.get(NUM_ENV_STEPS_SAMPLED_LIFETIME, 0)

    def pull(self, weight: float | Sequence[Sequence[float]], output: torch.Tensor, initial: torch.Tensor) -> Any:
        """The penalty at this time of training: scalar."""
        return value_at(weight, self.env_steps) * (output - initial).pow(2).mean()
