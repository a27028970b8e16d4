"""Tiers as plain data: which algorithm trains which agents, with which settings.

A tier is a policy shared by some agents: those that its setting "agents" names, or else those of its role
(`threat_hunter_0`, `threat_hunter_1`, ... belong to tier `threat_hunter`). Its settings are a flat dict with the key
"algorithm" and, beside it, that algorithm's own RLlib settings (`SACConfig`'s for SAC, and so on) and the keys of
`COMMON`. Nothing but strings, numbers, lists and dicts, so it goes through Tune search spaces, JSON and checkpoints.

A tier with the algorithm "scripted" has no network: its "policy" says what it does, see
`policies.runner.plan`.
"""

from __future__ import annotations

import copy
import difflib
import functools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.dqn.torch.dqn_torch_learner import DQNTorchLearner
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.algorithms.sac import SACConfig
from ray.rllib.algorithms.sac.torch.sac_torch_learner import SACTorchLearner
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.learner import POLICY_LOSS_KEY, Learner
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from policies.algorithms.maddpg import MADDPGConfig, MADDPGModule, MADDPGTorchLearner, PullsActor
from policies.networks.blocks import BoundedMeanHead, DQNModule, PPOModule, SACModule
from policies.networks.zones import MIXINGS
from soc_env.errors import ConfigError, unknown_name

Spaces = tuple[gym.Space, gym.Space]


class CompleteState:
    """Puts into a learner's state what RLlib 2.60 leaves out, so that a restored run goes on as if it had never
    stopped: SAC's temperature, PPO's KL coefficient, the clock of the target updates."""

    EXTRA = "algorithm_state"

    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any) -> dict[str, Any]:
        state = super().get_state(components, not_components=not_components, **kwargs)  # type: ignore[misc]
        if self._check_component(self.EXTRA, components, not_components):  # type: ignore[attr-defined]
            state[self.EXTRA] = {
                "last_target_update": dict(getattr(self, "last_update_ts_by_mid", {})),
                **{name: {k: float(v.detach()) for k, v in values.items()} for name, values in self._tensors().items()},
            }
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)  # type: ignore[misc]
        extra = state.get(self.EXTRA)
        if extra is None:
            return
        if hasattr(self, "last_update_ts_by_mid"):
            self.last_update_ts_by_mid.update(extra["last_target_update"])
        for name, tensors in self._tensors().items():
            for module_id, value in extra[name].items():
                tensors[module_id].data.fill_(value)  # in place: an optimiser may hold it

    def _tensors(self) -> dict[str, Any]:
        names = ("curr_log_alpha", "curr_kl_coeffs_per_module")
        return {name: getattr(self, name) for name in names if hasattr(self, name)}


class ManySteps(CompleteState):
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
        for optimizer in self._optimizer_parameters:  # type: ignore[attr-defined]
            optimizer.step()
        for module_id, module in self.module._rl_modules.items():  # type: ignore[attr-defined]
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


class PPOLearner(CompleteState, PPOTorchLearner):
    """RLlib's PPO learner with its whole state in checkpoints."""


class SACLearner(PullsActor, ManySteps, SACTorchLearner):
    """RLlib's SAC learner with its whole state in checkpoints, and a pull of the actor's mean (`PullsActor`)."""

    def compute_loss_for_module(self, *, module_id: str, config: Any, batch: Any, fwd_out: Any) -> Any:
        total = super().compute_loss_for_module(module_id=module_id, config=config, batch=batch, fwd_out=fwd_out)
        module = self.module[module_id].unwrapped()
        weight = module.model_config["pre_tanh_l2"]
        if weight and isinstance(module.pi, BoundedMeanHead):
            mean = fwd_out[Columns.ACTION_DIST_INPUTS].chunk(2, -1)[0]
            pull = self.pull(weight, mean, module.pi.initial)
            self._temp_losses[module_id, POLICY_LOSS_KEY] = self._temp_losses[module_id, POLICY_LOSS_KEY] + pull
            total = total + pull
        return total


class DQNLearner(ManySteps, DQNTorchLearner):
    """RLlib's DQN learner with its whole state in checkpoints."""


class MADDPGLearner(ManySteps, MADDPGTorchLearner):
    """Our MADDPG learner with its whole state in checkpoints."""


@dataclass(frozen=True)
class AlgorithmEntry:
    """One algorithm that a tier can take, with the defaults we train with."""

    config: type[AlgorithmConfig]
    module: type
    learner: type
    action_spaces: tuple[type[gym.Space], ...]
    is_on_policy: bool
    defaults: Mapping[str, Any] = field(default_factory=dict)
    has_central_critic: bool = False


BOX, DISCRETE = gym.spaces.Box, gym.spaces.Discrete
ALGORITHMS: dict[str, AlgorithmEntry] = {
    "PPO": AlgorithmEntry(
        PPOConfig,
        PPOModule,
        PPOLearner,
        (BOX, DISCRETE),
        True,
        {
            "lr": 3e-4,
            "lambda_": 0.95,
            "num_epochs": 4,
            "minibatch_size": 256,
            "train_batch_size": 1024,  # decisions collected before an update
            "clip_param": 0.2,
            "use_kl_loss": False,
            "entropy_coeff": 0.003,
            "vf_clip_param": 1e6,
            "grad_clip": 0.5,
            "grad_clip_by": "global_norm",
            "initial_log_std": -0.7,
            "use_mask": False,  # soc-v1's triage: impossible choices are never drawn
        },
    ),
    "SAC": AlgorithmEntry(
        SACConfig,
        SACModule,
        SACLearner,
        (BOX, DISCRETE),
        False,
        {
            "actor_lr": 3e-4,
            "critic_lr": 6e-4,
            "alpha_lr": 6e-4,
            "lr": None,
            "initial_alpha": 0.01,
            "initial_log_std": -2.0,
            "log_std_range": None,  # [lowest, highest] of the Gaussian before the tanh
            "mean_bound": 3.0,  # of the Gaussian's mean before the tanh
            "critic": "joint",  # or "additive": see modules.ActionValues
            "critic_layer_norm": False,
            "action_groups": [],  # sizes of leading runs of actions with a shared output, see modules.action_layer
            "group_deviation": 0.1,  # scale of each action's own output beside the shared one; 0 for none
            "initial_action": [],  # that the actor starts at, one value a group or entry; [] for the middle
            "action_bins": 0,  # resolution at which critics read actions, see modules.ActionCode; 0: raw
            "pre_tanh_l2": 0.0,  # or a schedule, see maddpg.PullsActor
            "tau": 0.01,
            "target_network_update_freq": 0,
        },
    ),
    "DQN": AlgorithmEntry(
        DQNConfig,
        DQNModule,
        DQNLearner,
        (DISCRETE,),
        False,
        {
            "lr": 3e-4,
            "double_q": True,
            "dueling": True,
            "tau": 0.01,
            "target_network_update_freq": 0,
            "epsilon": [[0, 1.0], [50_000, 0.05]],
            "use_mask": False,  # soc-v1's triage: impossible choices are neither taken nor part of a target's maximum
        },
    ),
    "MADDPG": AlgorithmEntry(
        MADDPGConfig,
        MADDPGModule,
        MADDPGLearner,
        (BOX,),
        False,
        {
            "actor_lr": 1e-4,
            "critic_lr": 6e-4,
            "tau": 0.01,
            "noise_std": 0.15,
            "mean_bound": 3.0,
            "pre_tanh_l2": 1e-2,
            "critic": "joint",
            "action_bins": 0,
        },
        has_central_critic=True,
    ),
}
# Settings that every tier has beside its algorithm's own.
COMMON: dict[str, Any] = {
    "agents": [],  # that the tier acts for; none: those whose name is the tier's, with an index or without
    "trainable": True,  # False: the tier acts, greedily, and neither its networks nor its statistics ever change
    "checkpoint": None,  # folder written by save_checkpoint whose tier of this name it starts from
    "gamma": 0.99,  # discount per environment step, also of a tier that decides every K steps (SMDP)
    "hiddens": [256, 256],
    "network": "mlp",  # or "zones" or "attention": read by tokens with shared weights, see `policies.networks.zones`
    "attention_heads": 4,  # of network "attention"; d_k is the size of a layer
    "num_learners": 0,  # remote learners of this tier; 0 trains in the driver
    "noise_steps": 1.0,  # mean number of steps for which an off-policy tier's Gaussian exploration noise is held
    "noise_ladder": [1.0, 1.0],  # lowest and highest scale of that noise: of environments, or of draws if
    "noise_by_draw": False,  # this is True; see env_runner.HeldNoise
    "penalty_scale": 1.0,  # the tier learns from negative rewards times this (gains stay as they are)
    "metric_rewards": {},  # episode metric -> reward per unit of its increase, added for this tier only
}
# Those of them that neither RLlib's config classes nor modules know.
RUNNER_ONLY = (
    "agents", "trainable", "checkpoint", "metric_rewards", "noise_steps", "noise_ladder", "noise_by_draw",
    "penalty_scale",
)  # fmt: skip
SCRIPTED = "scripted"  # the algorithm of a tier without networks; it has the settings "policy" and "agents" alone
# Settings that RLlib's config classes do not know.
MODULE_ONLY = (
    "initial_log_std", "log_std_range", "mean_bound", "critic", "critic_layer_norm", "action_bins", "action_groups",
    "group_deviation", "initial_action", "pre_tanh_l2", "use_mask",
)  # fmt: skip

# Numbers that may be schedules over environment steps; so may those of actor_noise, and learning rates (see RLlib).
_NOT_NEGATIVE = ("a number of 0 or more", lambda x: 0 <= x < math.inf)
TIMED: dict[str, tuple[str, Callable[[float], bool]]] = {
    "pre_tanh_l2": _NOT_NEGATIVE,
    "noise_std": _NOT_NEGATIVE,
    "epsilon": ("0 to 1", lambda x: 0 <= x <= 1),
}
NETWORKS, CRITICS = ("mlp", *MIXINGS), ("joint", "additive")
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


def complete(tier: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """`settings` with the algorithm's and the common defaults filled in.

    Raises:
        ConfigError: no or an unknown algorithm, or a setting it does not have.
    """
    algorithm = settings.get("algorithm")
    if algorithm == SCRIPTED:
        return _complete_scripted(tier, settings)
    if algorithm not in ALGORITHMS:
        raise ConfigError(unknown_name(f"tier {tier!r}: algorithm", algorithm, (*ALGORITHMS, SCRIPTED)))
    entry = ALGORITHMS[algorithm]
    known = set(vars(entry.config())) | set(COMMON) | set(entry.defaults) | {"algorithm"}
    for name in settings:
        if name not in known:
            public = {key for key in known if not key.startswith("_")}
            near = difflib.get_close_matches(str(name), sorted(public), 1)
            hint = f", did you mean {near[0]!r}?" if near else ""
            raise ConfigError(f"tier {tier!r}: {algorithm} has no setting {name!r}{hint}")
    merged = {**copy.deepcopy(COMMON), **copy.deepcopy(dict(entry.defaults)), **copy.deepcopy(dict(settings))}
    for name, kinds in (("network", NETWORKS), ("critic", CRITICS)):
        if name in merged and merged[name] not in kinds:
            raise ConfigError(unknown_name(f"tier {tier!r}: {name}", merged[name], kinds))
    if merged.get("critic") == "additive" and merged["action_bins"] < 2:
        raise ConfigError(
            f"tier {tier!r}: action_bins is {merged['action_bins']!r}, an additive critic needs 2 or more"
        )
    _check_agents(tier, merged["agents"])
    for name, (allowed, fits) in TIMED.items():
        if name in merged:
            check_schedule(f"tier {tier!r}: {name}", merged[name], allowed, fits)
    noise = merged.get("actor_noise", [])
    if not isinstance(noise, (list, tuple)) or len(noise) not in (0, 2):
        raise ConfigError(f"tier {tier!r}: actor_noise is {noise!r}, allowed: [], or [lowest, highest] deviation")
    for scale in noise:
        check_schedule(f"tier {tier!r}: part of actor_noise", scale, "a number above 0", lambda x: 0 < x < math.inf)
    if not isinstance(merged["trainable"], bool):
        raise ConfigError(f"tier {tier!r}: trainable is {merged['trainable']!r}, allowed: True or False")
    if not 0.0 <= merged["gamma"] <= 1.0:
        raise ConfigError(f"tier {tier!r}: gamma is {merged['gamma']!r}, allowed: 0 to 1")
    if not merged["hiddens"] or any(not isinstance(h, int) or h < 1 for h in merged["hiddens"]):
        raise ConfigError(
            f"tier {tier!r}: hiddens is {merged['hiddens']!r}, allowed: a list of layer sizes of 1 or more"
        )
    if merged.get("use_mask", False) not in (False, True) or (merged.get("use_mask") and tier != "alert_triage"):
        raise ConfigError(
            f"tier {tier!r}: use_mask is {merged['use_mask']!r}, allowed: True or False for alert_triage of the soc-v1 "
            "family, False elsewhere"
        )
    heads = merged["attention_heads"]
    if not isinstance(heads, int) or isinstance(heads, bool) or heads < 1:
        raise ConfigError(f"tier {tier!r}: attention_heads is {heads!r}, allowed: a whole number of 1 or more")
    if merged["network"] == "attention" and len(merged["hiddens"]) < 2:
        raise ConfigError(
            f"tier {tier!r}: hiddens is {merged['hiddens']!r}, attention needs 2 layers or more: it is between them"
        )
    return merged


def _complete_scripted(tier: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    for name in settings:
        if name not in ("algorithm", "policy", "agents"):
            raise ConfigError(unknown_name(f"tier {tier!r}: setting of a scripted tier", name, ("policy", "agents")))
    if "policy" not in settings:
        raise ConfigError(f"tier {tier!r}: policy is missing; a scripted tier needs the name of one")
    _check_agents(tier, settings.get("agents", []))
    return {"agents": [], **settings}


def _check_agents(tier: str, agents: Any) -> None:
    if not isinstance(agents, (list, tuple)) or any(not isinstance(agent, str) for agent in agents):
        raise ConfigError(f"tier {tier!r}: agents is {agents!r}, allowed: a list of agents' names")


def check_schedule(what: str, value: Any, allowed: str, fits: Callable[[float], bool]) -> None:
    """ConfigError unless `value` is a number that fits, or a schedule [[0, number], [steps, number], ...] of such."""
    try:
        points = value if isinstance(value, (list, tuple)) else [[0, value]]
        steps, numbers = zip(*points, strict=True)
        is_good = steps[0] == 0 and list(steps) == sorted(set(steps)) and all(map(fits, numbers))
    except (TypeError, ValueError):  # no pairs, none at all, or not numbers
        is_good = False
    if not is_good:
        raise ConfigError(
            f"{what} is {value!r}, allowed: {allowed}, or a schedule over environment steps, "
            "[[0, number], [steps, number], ...]"
        )


def build_config(
    tier: str, settings: Mapping[str, Any], spaces: Spaces, seed: int | None, **extra: Any
) -> AlgorithmConfig:
    """The tier's own RLlib configuration; `extra` are MADDPG's sizes of the joint inputs.

    Raises:
        ConfigError: the algorithm does not fit the tier's action space.
    """
    settings = complete(tier, settings)
    algorithm = settings.pop("algorithm")
    entry = ALGORITHMS[algorithm]
    if not isinstance(spaces[1], entry.action_spaces):
        allowed = " or ".join(space.__name__ for space in entry.action_spaces)
        raise ConfigError(f"tier {tier!r}: {algorithm} needs a {allowed} action space, got {spaces[1]}")
    num_learners, hiddens = settings.pop("num_learners"), settings.pop("hiddens")
    for name in RUNNER_ONLY:
        del settings[name]
    model = {"hiddens": list(hiddens), "role": tier}
    model |= {name: settings.pop(name) for name in ("network", "attention_heads")}
    if algorithm != "MADDPG":  # its configuration class is ours and knows them
        model |= {name: settings.pop(name) for name in MODULE_ONLY if name in settings}
    config = entry.config()
    config.update_from_dict({**settings, **(extra if algorithm == "MADDPG" else {})})
    config.environment(env=None).framework("torch").debugging(seed=seed)
    config.multi_agent(policies={tier}, policy_mapping_fn=tier_of).learners(num_learners=num_learners)
    config.rl_module(rl_module_spec=RLModuleSpec(module_class=entry.module, model_config=model))
    config._learner_class = entry.learner
    return config
