"""What the algorithms' modules and learners share, beside RLlib's own.

Values are learned in units of the running mean absolute return. `set_statistics` changes that unit and rescales the
value heads so that the values they stand for stay the same (Pop-Art without the mean: van Hasselt et al. 2016,
"Learning values across many orders of magnitude"); the published reward spans from +12 to -2,000 an episode.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.learner import Learner
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME, WEIGHTS_SEQ_NO
from ray.rllib.utils.numpy import convert_to_numpy
from ray.rllib.utils.torch_utils import convert_to_torch_tensor
from torch import nn

from policies.algorithms import ALGORITHMS
from policies.algorithms.network import TierNetwork
from policies.learners.update import Batch, UpdateMixin
from policies.networks.blocks import MLP, HatBasis, value_at
from policies.networks.passes import Workspace
from policies.networks.zones import ZoneMLP
from soc_env.errors import ConfigError
from soc_env.settings import from_plain


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
class CheckpointStateMixin(UpdateMixin):
    """A learner's whole state, so that a restored run goes on as if it had never stopped.

    It holds what RLlib 2.60 leaves out: SAC's temperature, PPO's KL coefficient, the clock of the target updates and
    that of schedules, and where the generator stands that gradient steps draw from. It lacks what belongs to the
    configuration: which tiers are trained, and learning rates, which are those of this learner's own settings at the
    time of the state.
    """

    EXTRA, GENERATOR = "algorithm_state", "generator"
    clock: int | None = None  # [environment steps] at the last update

    def build(self) -> None:
        super().build()  # type: ignore[misc]
        self.generator, self.workspace = torch.Generator(self._device), Workspace()  # type: ignore[attr-defined]
        (tier,) = self.module.keys()  # type: ignore[attr-defined]
        for part in self.module[tier].unwrapped().modules():  # type: ignore[attr-defined]
            if isinstance(part, ZoneMLP | MLP | HatBasis):
                part.uses_kernels = part.fits_kernels
        digest = hashlib.sha256(f"{self.config.seed or 0} {tier}".encode()).digest()  # type: ignore[attr-defined]
        self.generator.manual_seed(int.from_bytes(digest[:7]))

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
                **{
                    name: {k: float(v.detach()) for k, v in values.items()}
                    for name, values in self.loss_weights().items()
                },
            }
        if self._check_component(self.GENERATOR, components, not_components):  # type: ignore[attr-defined]
            state[self.GENERATOR] = self.generator.get_state()
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on from `get_state`, also backwards: RLlib's refuses weights of a lower number."""
        left_out = ("should_module_be_updated", WEIGHTS_SEQ_NO)
        super().set_state({name: part for name, part in state.items() if name not in left_out})  # type: ignore[misc]
        self._weights_seq_no = state.get(WEIGHTS_SEQ_NO, 0)
        if self.GENERATOR in state:  # a checkpoint of before has none
            self.generator.set_state(torch.as_tensor(state[self.GENERATOR], dtype=torch.uint8, device="cpu"))
        extra = state.get(self.EXTRA)
        if extra is None:
            return
        if hasattr(self, "last_update_ts_by_mid"):
            self.last_update_ts_by_mid.update(extra["last_target_update"])
        for name, tensors in self.loss_weights().items():
            for module_id, value in extra[name].items():
                tensors[module_id].data.fill_(value)  # in place: an optimiser may hold it
        self.set_clock(extra["clock"])

    @property
    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """By name."""
        return self._named_optimizers  # type: ignore[attr-defined, no-any-return]

    @property
    def spec(self) -> Any:
        """Of its networks."""
        return self._module_spec  # type: ignore[attr-defined]

    def loss_weights(self) -> dict[str, dict[str, torch.Tensor]]:
        """Name -> module -> weight of a part of its loss that changes as it learns."""
        names = ("curr_log_alpha", "curr_kl_coeffs_per_module")
        return {name: getattr(self, name) for name in names if hasattr(self, name)}

    def set_clock(self, clock: int | None) -> None:
        """Sets learning rates and what else has a schedule to the settings' value at the last update, which was then
        [environment steps]; None for none."""
        self.clock = clock
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


class OffPolicyLearnerMixin(CheckpointStateMixin):
    """A learner whose target networks follow after every gradient step, or every so many environment steps."""

    def after_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        if self.config.target_network_update_freq == 0:  # type: ignore[attr-defined]
            Learner.after_gradient_based_update(self, timesteps=timesteps)  # type: ignore[arg-type]
        else:
            super().after_gradient_based_update(timesteps=timesteps)  # type: ignore[misc]


def discount(config: Any, batch: Batch) -> torch.Tensor:
    """What the value of the next state counts in a row's target: (B,)."""
    return config.gamma ** batch["n_step"] * (1.0 - batch[Columns.TERMINATEDS].float())


def spread_of(values: torch.Tensor) -> dict[str, torch.Tensor]:
    """Mean, highest and lowest value, under RLlib's names."""
    return {"qf_mean": values.mean(), "qf_max": values.max(), "qf_min": values.min()}


class ActionPenaltyMixin:
    """Learner whose actor's output before the tanh is pulled to where it starts, as the settings `rest` say."""

    env_steps = 0

    def before_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        super().before_gradient_based_update(timesteps=timesteps)  # type: ignore[misc]
        self.env_steps = timesteps.get(NUM_ENV_STEPS_SAMPLED_LIFETIME, 0)

    def pull(self, weight: float | Sequence[Sequence[float]], output: torch.Tensor, initial: torch.Tensor) -> Any:
        """The penalty at this time of training: scalar."""
        return value_at(weight, self.env_steps) * (output - initial).pow(2).mean()
