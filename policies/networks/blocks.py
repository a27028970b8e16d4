"""RLModules of the stock algorithms, on one encoder of ours.

RLlib's PPO, SAC and DQN *learners* are used unchanged. Their default *modules* are kept too, but for the networks
inside: the encoder here normalises observations with statistics that travel with the weights (so a restored module
    takes raw observations), and SAC's critic
is one MLP over [observation, action] instead of RLlib's three stacked encoders (0.5 M against 2.9 M parameters, a
quarter of the time an update).

Values are learned in units of the running mean absolute return. `set_statistics` changes that unit and rescales the
value heads so that the values they stand for stay the same (Pop-Art without the mean: van Hasselt et al. 2016,
"Learning values across many orders of magnitude"); the published reward spans from +12 to -2,000 an episode.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from ray.rllib.algorithms.dqn.dqn_learner import QF_PREDS
from ray.rllib.algorithms.dqn.torch.default_dqn_torch_rl_module import DefaultDQNTorchRLModule
from ray.rllib.algorithms.ppo.torch.default_ppo_torch_rl_module import DefaultPPOTorchRLModule
from ray.rllib.algorithms.sac.torch.default_sac_torch_rl_module import DefaultSACTorchRLModule
from ray.rllib.core.columns import Columns
from ray.rllib.core.models.base import ACTOR, CRITIC, ENCODER_OUT
from ray.rllib.utils.schedules.scheduler import Scheduler
from torch import nn

from soc_env.errors import ConfigError

OBSERVATION_CLIP = 10.0  # [standard deviations]
VARIANCE_FLOOR = 1e-6  # features that hardly move are not blown up to noise of unit size


def flat_dim(space: gym.Space) -> int:
    """Number of reals that stand for one element of `space` (a Discrete is one-hot)."""
    return int(space.n) if isinstance(space, gym.spaces.Discrete) else int(np.prod(space.shape or ()))


def value_at(schedule: float | Sequence[Sequence[float]], env_steps: int) -> float:
    """A setting that is a number, or a schedule of RLlib's form [[0, number], [steps, number], ...], at that time."""
    if not isinstance(schedule, Sequence):
        return schedule
    steps, numbers = zip(*schedule, strict=True)
    return float(np.interp(env_steps, steps, numbers))


def encode_actions(space: gym.Space, actions: np.ndarray) -> np.ndarray:
    """(B,) or (B, dim) actions as (B, flat_dim) float32, Discrete ones one-hot."""
    if isinstance(space, gym.spaces.Discrete):
        return np.eye(int(space.n), dtype=np.float32)[np.asarray(actions, np.int64)]
    return np.asarray(actions, np.float32)


class RunningNorm(nn.Module):
    """(x - mean) / std with given statistics; identity until they are set."""

    mean: torch.Tensor
    inv_std: torch.Tensor

    def __init__(self, dim: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("inv_std", torch.ones(dim))

    def set(self, mean: np.ndarray, var: np.ndarray) -> None:
        self.mean.copy_(torch.as_tensor(mean))
        self.inv_std.copy_(torch.as_tensor(1.0 / np.sqrt(var + VARIANCE_FLOOR)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return ((x - self.mean) * self.inv_std).clamp(-OBSERVATION_CLIP, OBSERVATION_CLIP)


class ActionCode(nn.Module):
    """Actions in [-1, 1] as overlapping triangles: (B, dim) -> (B, dim * num_bins).

    Entry k of an action is 1 at the k-th of `num_bins` evenly spaced points and falls to 0 at its neighbours, so a
    linear layer can express any piecewise linear function of each action, thresholds included. A critic that reads
    raw actions smears a threshold over its neighbourhood, and the actor climbs down that slope.
    """

    centres: torch.Tensor

    def __init__(self, num_bins: int):
        super().__init__()
        self.register_buffer("centres", torch.linspace(-1.0, 1.0, num_bins))
        self.per_width = (num_bins - 1) / 2.0

    def forward(self, actions: torch.Tensor) -> torch.Tensor:
        distance = (actions.unsqueeze(-1) - self.centres).abs() * self.per_width
        return (1.0 - distance).clamp_min(0.0).flatten(-2)


class MLP(nn.Module):
    """Normalised observation (and extra inputs, coded if `action_bins`) -> ReLU layers -> features (B, hiddens[-1])."""

    def __init__(
        self, obs_dim: int, hiddens: Sequence[int], extra_dim: int = 0, layer_norm: bool = False, action_bins: int = 0
    ):
        super().__init__()
        self.code = ActionCode(action_bins) if action_bins else None
        extra_dim *= max(1, action_bins)
        self.norm = RunningNorm(obs_dim)
        self.reads_actions = extra_dim > 0
        layers: list[nn.Module] = []
        dim = obs_dim + extra_dim
        for hidden in hiddens:
            layers += [nn.Linear(dim, hidden), *([nn.LayerNorm(hidden)] if layer_norm else []), nn.ReLU()]
            dim = hidden
        self.layers = nn.Sequential(*layers)
        self.out_dim = dim

    def forward(self, observation: torch.Tensor, *extra: torch.Tensor) -> torch.Tensor:
        if self.code is not None:
            extra = tuple(self.code(x) for x in extra)
        return self.layers(torch.cat([self.norm(observation), *extra], -1))


class ReadsBatch:
    """A body in RLlib's encoder interface; reads the actions too if `reads_actions`."""

    def forward(self, batch: dict[str, Any]) -> dict[str, Any]:
        extra = (batch[Columns.ACTIONS],) if self.reads_actions else ()  # type: ignore[attr-defined]
        return {ENCODER_OUT: super().forward(batch[Columns.OBS], *extra)}  # type: ignore[misc]


class Encoder(ReadsBatch, MLP):  # type: ignore[misc]
    """`MLP` in RLlib's encoder interface."""


def make_body(
    config: Mapping[str, Any],
    obs_dim: int,
    action_dims: Sequence[int] = (),
    *,
    is_critic: bool = False,
    is_joint: bool = False,
    is_encoder: bool = False,
    keeps_zones: bool = False,
) -> Any:
    """The hidden part of a network, as the tier's setting `network` names it.

    Args:
        config: the module's: hiddens, network, role, and of critics critic_layer_norm, action_bins.
        obs_dim: size of what it observes.
        action_dims: sizes of the actions that it reads too: all other agents' together first if it reads the joint
            observation, then the own.
        is_critic: whether the settings for critics hold.
        is_joint: whether it reads the observations of all agents.
        is_encoder: whether it takes RLlib's batches.
        keeps_zones: whether actions follow, which may want features of every zone.
    """
    if action_dims and config.get("critic", "joint") == "additive":
        rest = ({**config, "critic": "joint"}, obs_dim, action_dims[:-1])
        inner = make_body(*rest, is_critic=True, is_joint=is_joint, keeps_zones=True)
        return (ActionValuesEncoder if is_encoder else ActionValues)(inner, action_dims[-1], config["action_bins"])
    layer_norm = is_critic and config.get("critic_layer_norm", False)
    bins = config.get("action_bins", 0) if action_dims else 0
    if config.get("network", "mlp") != "mlp":
        from policies.networks import tokens, zones

        agent = tokens.agent_of(config.get("role"))
        acting = [other for other in tokens.AGENTS if other != agent] if is_joint else []
        acting += [agent] * (len(action_dims) - is_joint)
        return (zones.ZoneEncoder if is_encoder else zones.ZoneMLP)(
            agent,
            tokens.joint_tokens(obs_dim) if is_joint else tokens.own_tokens(agent, obs_dim),
            config["hiddens"],
            acting,
            mixing=zones.MIXINGS[config["network"]],
            heads=config.get("attention_heads", 4),
            layer_norm=layer_norm,
            action_bins=bins,
            keeps_zones=keeps_zones,
        )
    body = Encoder if is_encoder else MLP
    return body(obs_dim, config["hiddens"], sum(action_dims), layer_norm, bins)


class ActionValues(nn.Module):
    """A critic's body that is additive in its own action: features, and after them the action's value, (B, width + 1).

    Every entry of the action has a piecewise linear value (`ActionCode`) whose values at the points come from the
    features, minus their mean. What an action is worth in which state is then linear in the features, where a critic
    that reads both in its first layer has to find the product of the two, which takes long where the effects of actions
    are small beside the value of the state. `body` reads the observation and the other actions.
    """

    reads_actions = True

    def __init__(self, body: Any, action_dim: int, num_bins: int):
        super().__init__()
        self.body, self.code, self.action_dim = body, ActionCode(num_bins), action_dim
        self.values = action_layer(body, action_dim, num_bins)
        self.width = getattr(body, "width", body.out_dim)
        self.out_dim = self.width + 1

    def forward(self, observation: torch.Tensor, *actions: torch.Tensor) -> torch.Tensor:
        features = self.body(observation, *actions[:-1])
        values = self.values(features).unflatten(-1, (-1, self.action_dim))  # (B, points, entries)
        weights = self.code(actions[-1]).unflatten(-1, (self.action_dim, -1)).transpose(1, 2)
        value = ((values - values.mean(1, keepdim=True)) * weights).sum((1, 2))
        return torch.cat([features[:, -self.width :], value.unsqueeze(-1)], -1)


class ActionValuesEncoder(ReadsBatch, ActionValues):  # type: ignore[misc]
    """`ActionValues` in RLlib's encoder interface."""


def value_layer(body: Any, num_values: int = 1) -> nn.Linear:
    """The output layer of a critic on `body`; takes the action's value as it is where the body has one."""
    layer = nn.Linear(body.out_dim, num_values)
    if isinstance(body, ActionValues):
        nn.init.ones_(layer.weight[:, -1:])
    return layer


class ActorCriticEncoder(nn.Module):
    """Separate encoders for PPO's policy and value function."""

    def __init__(self, config: Mapping[str, Any], obs_dim: int, keeps_zones: bool = False):
        super().__init__()
        self.actor_encoder = make_body(config, obs_dim, is_encoder=True, keeps_zones=keeps_zones)
        self.critic_encoder = make_body(config, obs_dim, is_encoder=True)

    def forward(self, batch: dict[str, Any]) -> dict[str, Any]:
        out = {ACTOR: self.actor_encoder(batch)[ENCODER_OUT]}
        if hasattr(self, "critic_encoder"):  # taken away from inference-only copies
            out[CRITIC] = self.critic_encoder(batch)[ENCODER_OUT]
        return {ENCODER_OUT: out}


class GaussianHead(nn.Module):
    """Mean by a small linear layer and a tanh (a mean beyond the clipping range would get no gradient from clipped
    actions), and a log standard deviation that does not depend on the state, nor on the zone: (B, 2 dim)."""

    places: torch.Tensor

    def __init__(self, body: Any, action_dim: int, initial_log_std: float):
        super().__init__()
        self.mean: Any = action_layer(body, action_dim, 1)
        self.register_buffer("places", shared_entries(body, action_dim), persistent=False)
        self.log_std = nn.Parameter(torch.full((int(self.places[-1]) + 1,), float(initial_log_std)))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        mean = torch.tanh(self.mean(features))
        return torch.cat([mean, self.log_std[self.places].expand_as(mean)], -1)


class BoundedMeanHead(nn.Module):
    """Mean and log standard deviation of a tanh-squashed Gaussian: (B, 2 dim). The mean before the tanh stays within
    +-`bound`, away from the flat ends where gradients and exploration die."""

    linear: Any
    initial: torch.Tensor

    def __init__(self, body: Any, action_dim: int, config: Mapping[str, Any]):
        super().__init__()
        self.linear = actor_layer(body, action_dim, 2, config)
        self.register_buffer("initial", initial_action(body, action_dim, config), persistent=False)
        self.bound, self.log_std_range = config["mean_bound"], config["log_std_range"]
        nn.init.constant_(self.linear.bias.chunk(2)[1], config["initial_log_std"])

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        mean, log_std = self.linear(features).chunk(2, -1)
        mean = mean + self.initial
        if self.log_std_range is not None:
            low, high = self.log_std_range
            middle, half = (low + high) / 2, (high - low) / 2
            log_std = middle + soft_bound(log_std - middle, half)
        return torch.cat([soft_bound(mean, self.bound), log_std], -1)


def soft_bound(x: torch.Tensor, bound: float) -> torch.Tensor:
    """Nearly the identity around 0, never beyond +-`bound`."""
    return bound * torch.tanh(x / bound)


def small_linear(in_dim: int, out_dim: int) -> nn.Linear:
    """Output layer that starts near zero: actors begin in the middle of their range."""
    layer = nn.Linear(in_dim, out_dim)
    nn.init.orthogonal_(layer.weight, 0.01)
    nn.init.zeros_(layer.bias)
    return layer


class GroupedLinear(nn.Module):
    """Output layer for actions that mean the same in several places: (B, in_dim) -> (B, num_parts * action_dim).

    The first `groups[0]` actions share an output, the next `groups[1]` another, and so on; each adds an output of its
    own at the scale `deviation`. What is learned where much happens then also holds where little does, instead of
    drifting there. Actions beyond the groups have only their own output. The bias is not trained.
    """

    bias: torch.Tensor
    place: torch.Tensor
    scale: torch.Tensor

    def __init__(self, in_dim: int, action_dim: int, num_parts: int, groups: Sequence[int], deviation: float):
        super().__init__()
        self.out_features = num_parts * action_dim
        own = [-1] * (action_dim - sum(groups))
        group = [k for k, size in enumerate(groups) for _ in range(size)] + own
        place = [part * (len(groups) + 1) + (k if k >= 0 else len(groups)) for part in range(num_parts) for k in group]
        self.register_buffer("place", torch.tensor(place), persistent=False)
        scale = [1.0 if k < 0 else deviation for k in group] * num_parts
        self.register_buffer("scale", torch.tensor(scale), persistent=False)
        self.register_buffer("bias", torch.zeros(self.out_features))
        self.num_parts = num_parts
        self.own = small_linear(in_dim, self.out_features)
        self.shared = small_linear(in_dim, num_parts * len(groups))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        shared = self.shared(features).unflatten(-1, (self.num_parts, -1))
        shared = nn.functional.pad(shared, (0, 1)).flatten(-2)  # a zero for actions without a group
        return self.scale * self.own(features) + shared[:, self.place] + self.bias


def action_layer(
    body: Any, action_dim: int, num_parts: int, groups: Sequence[int] = (), deviation: float = 0.0
) -> nn.Module:
    """The output layer of an actor on `body`, near zero at the start, `num_parts` numbers an action: by zones where the
    body keeps them (with any `groups`, zones differ by `deviation` alone), else `GroupedLinear` if there are groups."""
    if hasattr(body, "action_layer"):
        return body.action_layer(num_parts, deviation if groups else 1.0)
    if groups:
        return GroupedLinear(body.out_dim, action_dim, num_parts, groups, deviation)
    return small_linear(body.out_dim, num_parts * action_dim)


def actor_layer(body: Any, action_dim: int, num_parts: int, config: Mapping[str, Any]) -> Any:
    """`action_layer` with the tier's settings."""
    groups, deviation = config["action_groups"], config.get("group_deviation", 0.1)
    return action_layer(body, action_dim, num_parts, groups, deviation)


def shared_entries(body: Any, action_dim: int, groups: Sequence[int] = ()) -> torch.Tensor:
    """Numbers of the values that an action's entries share, (action_dim,) int64: one for each zone-wise run of entries
    where the body keeps zones, for each group where there are groups, and for each entry beyond."""
    sizes = list(body.group_sizes() if hasattr(body, "group_sizes") else groups)
    sizes += [1] * (action_dim - sum(sizes))
    return torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))


def initial_action(body: Any, action_dim: int, config: Mapping[str, Any]) -> torch.Tensor:
    """The setting `initial_action` before the tanh, spread over the entries of the action: (action_dim,).

    Raises:
        ConfigError: not one value for each group and each entry beside, or not within -1 and 1.
    """
    values = torch.tensor([float(value) for value in config["initial_action"]])
    if not len(values):
        return torch.zeros(action_dim)
    places = shared_entries(body, action_dim, config.get("action_groups", ()))
    number = int(places[-1]) + 1
    if len(values) != number or bool((values.abs() >= 1).any()):
        raise ConfigError(f"initial_action is {config['initial_action']!r}, allowed: {number} numbers between -1 and 1")
    return torch.atanh(values)[places]


class Normalised:
    """What the tiers' modules share: statistics as buffers, value heads that keep their meaning.

    Classes that mix it in say which linear layers put out values (`value_heads`) and actions (`action_heads`).
    """

    return_scale: torch.Tensor

    def value_heads(self) -> Iterable[nn.Linear]:
        raise NotImplementedError

    def action_heads(self) -> Iterable[tuple[Any, int]]:
        """(output layer of an actor, number of equal parts of its outputs, the first of which are actions); none for
        value-based algorithms.
        """
        return ()

    def init_statistics(self) -> None:
        self.register_buffer("return_scale", torch.ones(()))  # type: ignore[attr-defined]

    def input_norms(self) -> Iterable[tuple[RunningNorm, bool]]:
        """(normaliser, whether it reads the joint observation)."""
        for module in self.modules():  # type: ignore[attr-defined]
            if isinstance(module, RunningNorm):
                yield module, False

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


def _existing(module: nn.Module, *names: str) -> list[nn.Linear]:
    return [getattr(module, name) for name in names if hasattr(module, name)]


def masked(config: Mapping[str, Any], values: torch.Tensor, observation: torch.Tensor, filler: float) -> torch.Tensor:
    """The choices' values (B, choices), those of impossible choices replaced by `filler` if the setting `use_mask` is
    on. What is possible is read off the observation, so that next states are masked too."""
    if not config.get("use_mask"):
        return values
    from policies.networks.tokens import impossible_choices

    return values.masked_fill(impossible_choices(observation), filler)


class PPOModule(Normalised, DefaultPPOTorchRLModule):
    """Stock PPO forward passes; model_config: hiddens, initial_log_std."""

    def setup(self) -> None:
        hiddens = self.model_config["hiddens"]
        is_discrete = isinstance(self.action_space, gym.spaces.Discrete)
        obs_dim = self.observation_space.shape[0]
        self.encoder = ActorCriticEncoder(self.model_config, obs_dim, keeps_zones=not is_discrete)
        if is_discrete:
            self.pi: nn.Module = small_linear(hiddens[-1], int(self.action_space.n))
        else:
            num_actions, log_std = self.action_space.shape[0], self.model_config["initial_log_std"]
            self.pi = GaussianHead(self.encoder.actor_encoder, num_actions, log_std)
        self.vf = nn.Linear(hiddens[-1], 1)
        self.init_statistics()

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return self._masked(batch, super()._forward(batch, **kwargs))

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return self._masked(batch, super()._forward_train(batch, **kwargs))

    def _masked(self, batch: dict[str, Any], out: dict[str, Any]) -> dict[str, Any]:
        logits, lowest = out[Columns.ACTION_DIST_INPUTS], torch.finfo(torch.float32).min
        out[Columns.ACTION_DIST_INPUTS] = masked(self.model_config, logits, batch[Columns.OBS], lowest)
        return out

    def value_heads(self) -> Iterable[nn.Linear]:
        return _existing(self, "vf")

    def action_heads(self) -> Iterable[tuple[Any, int]]:
        return [(self.pi.mean, 1)] if isinstance(self.pi, GaussianHead) else []


class SACModule(Normalised, DefaultSACTorchRLModule):
    """Stock SAC forward passes with plain critics; model_config: hiddens, twin_q, mean_bound, initial_log_std."""

    def setup(self) -> None:
        hiddens, self.twin_q = self.model_config["hiddens"], self.model_config["twin_q"]
        obs_dim = self.observation_space.shape[0]
        is_discrete = isinstance(self.action_space, gym.spaces.Discrete)
        num_actions = flat_dim(self.action_space)
        self.pi_encoder = make_body(self.model_config, obs_dim, is_encoder=True, keeps_zones=not is_discrete)
        if is_discrete:
            self.pi: nn.Module = small_linear(hiddens[-1], num_actions)
        else:
            self.pi = BoundedMeanHead(self.pi_encoder, num_actions, self.model_config)
        if not self.inference_only:
            for critic in ("qf", "qf_twin") if self.twin_q else ("qf",):
                acted = () if is_discrete else (num_actions,)
                encoder = make_body(self.model_config, obs_dim, acted, is_critic=True, is_encoder=True)
                setattr(self, f"{critic}_encoder", encoder)
                setattr(self, critic, value_layer(encoder, num_actions if is_discrete else 1))
        self.init_statistics()

    def _forward_exploration(
        self, batch: dict[str, Any], noise: torch.Tensor | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        out = self._forward_inference(batch)
        if noise is not None:
            mean, log_std = out[Columns.ACTION_DIST_INPUTS].chunk(2, -1)
            out[Columns.ACTIONS] = torch.tanh(mean + log_std.exp() * noise)
        return out

    def value_heads(self) -> Iterable[nn.Linear]:
        return _existing(self, "qf", "qf_twin", "target_qf", "target_qf_twin")

    def action_heads(self) -> Iterable[tuple[Any, int]]:
        return [(self.pi.linear, 2)] if isinstance(self.pi, BoundedMeanHead) else []


class DQNModule(Normalised, DefaultDQNTorchRLModule):
    """Stock (double, dueling) DQN forward passes; model_config: hiddens, epsilon, dueling, double_q, num_atoms."""

    def setup(self) -> None:
        config = self.model_config
        self.uses_dueling, self.uses_double_q = config["dueling"], config["double_q"]
        self.num_atoms = config["num_atoms"]
        self.epsilon_schedule = Scheduler(fixed_value_or_schedule=config["epsilon"], framework=self.framework)
        self.encoder = make_body(config, self.observation_space.shape[0], is_encoder=True)
        self.af = nn.Linear(self.encoder.out_dim, int(self.action_space.n))
        if self.uses_dueling:
            self.vf = nn.Linear(self.encoder.out_dim, 1)
        self.init_statistics()

    def _qf_forward_helper(self, batch: dict[str, Any], encoder: Any, head: Any) -> dict[str, Any]:
        out = super()._qf_forward_helper(batch, encoder, head)
        # RLlib's exploration and loss leave values of minus infinity out
        out[QF_PREDS] = masked(self.model_config, out[QF_PREDS], batch[Columns.OBS], -torch.inf)
        return out

    def value_heads(self) -> Iterable[nn.Linear]:
        return _existing(self, "af", "vf", "_target_af", "_target_vf")
