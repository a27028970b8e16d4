"""What every algorithm's settings have in common, and what an algorithm is to a tier.

An algorithm's file declares its settings once, as a frozen dataclass: `setting(default, lowest, highest, meaning,
source)`. Such a declaration is checked, shown in the docs, and refused where it would have no effect:

* `only=("encoder", "attention")`: it has an effect only where that other setting of the same part has that value;
* `space="Box"`: only where the tier's action space is one.

Where a condition does not hold, a value other than the default is a ConfigError. `to_rllib` maps settings to RLlib's
names, `body` to what networks are made of; modules, learners and runners read the rest from the settings themselves.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import gymnasium as gym

from policies.networks.build import BodySpec
from policies.networks.memory import HEADS, KINDS
from policies.networks.zones import ENCODERS
from soc_env.errors import ConfigError
from soc_env.settings import (
    STEPS,
    Schedule,
    amounts,
    check_fields,
    choice,
    flag,
    names,
    numbers,
    part,
    schedule,
    setting,
    text,
    to_plain,
)

ANY = "a value"  # of `only`: whatever is not None
OURS = "assumption"


@dataclass(frozen=True)
class Part:
    """Settings that belong together; frozen and checked."""

    def __post_init__(self) -> None:
        check_fields(self, ConfigError)
        for spec in dataclasses.fields(self):
            other, wanted = spec.metadata.get("only", (None, None))
            value = getattr(self, spec.name)
            if other is None or value == default_of(spec):
                continue
            found = getattr(self, other)
            if found is None if wanted == ANY else found != wanted:
                needed = f"where {other} has {ANY}" if wanted == ANY else f"with {other}={wanted!r}"
                raise ConfigError(f"{spec.name}={value!r} has no effect, {other} is {found!r}; it has one {needed}")

    def check_space(self, space: str, where: str = "") -> None:
        """ConfigError if a setting that was changed has no effect in action spaces of that kind, "Box" or
        "Discrete"."""
        for spec in dataclasses.fields(self):
            value, wanted = getattr(self, spec.name), spec.metadata.get("space", space)
            if wanted != space and value != default_of(spec):
                shown = to_plain(value) if isinstance(value, Part) else value
                raise ConfigError(
                    f"{where}{spec.name}={shown!r} has no effect on {space} actions; it has one on {wanted} actions"
                )
            if isinstance(value, Part):
                value.check_space(space, f"{where}{spec.name}.")


def default_of(spec: Any) -> Any:
    """The default of a dataclass field."""
    return spec.default if spec.default is not dataclasses.MISSING else spec.default_factory()


@dataclass(frozen=True)
class RewardShaping(Part):
    """What a tier learns from beside the team's reward. Evaluations and results never see it.

    A metric that rises and falls with the state (hosts compromised, say) is a potential: its increases add up to its
    last value, so it moves rewards in time (Ng, Harada & Russell 1999, there with gamma in the difference). Others
    change the task that the tier solves.
    """

    penalty_scale: float = setting(1.0, 0.0, 1e6, "factor on negative rewards; gains stay as they are", OURS)
    metrics: dict[str, float] = amounts(-1e6, 1e6, "episode metric -> reward per unit of its increase", OURS)


@dataclass(frozen=True)
class Gradients(Part):
    """RLlib's own settings that every learner reads."""

    grad_clip: float | None = setting(
        None, 1e-9, 1e9, "largest gradient, in the measure of grad_clip_by; None for any", "RLlib", is_optional=True
    )
    grad_clip_by: str = choice(
        "global_norm",
        ("value", "norm", "global_norm"),
        "what is clipped: entries, each tensor's norm, or the norm of all that an optimiser holds",
        "RLlib",
        only=("grad_clip", ANY),
    )


@dataclass(frozen=True)
class OffPolicyGradients(Gradients):
    """RLlib's own settings that off-policy learners read too."""

    target_network_update_freq: int = setting(
        0, 0, STEPS, "environment steps between updates of target networks; 0: after every gradient step", "RLlib"
    )


@dataclass(frozen=True)
class StateCritic(Part):
    """What critics read beside observations. Policies read observations alone."""

    reads_state: bool = flag(
        False, "critics read the environment's `state()` too, the truth: in training alone", "Pinto et al. 2018"
    )


@dataclass(frozen=True)
class Critic(StateCritic):
    """How a critic reads actions, and what it is made of."""

    kind: str = choice(
        "joint",
        ("joint", "additive"),
        "joint: reads actions in its first layer; additive: a value for each entry of its own action "
        "(`networks.blocks.ActionValues`)",
        "Tavakoli et al. 2018, for additive",
        space="Box",
    )
    bins: int = setting(
        0, 0, 1024, "points of the hat basis in which actions are read, 2 or more; 0 for raw actions", OURS, space="Box"
    )
    layer_norm: bool = flag(False, "normalise hidden layers", "Ba et al. 2016")
    twin: bool = flag(True, "two critics, of which the lower counts", "Fujimoto et al. 2018", space="Box")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bins < 2 and (self.bins or self.kind == "additive"):
            raise ConfigError(f"bins={self.bins} must be 2 or more{'' if self.bins else ' for an additive critic'}")


@dataclass(frozen=True)
class Exploration(Part):
    """Gaussian noise on actions, by how long it lasts and how much its scale varies.

    Where scales differ, every entry of an action has one of its own and renews it with its noise, so that an unusual
    action does not tell how noisy the next steps will be; at a common scale all entries are renewed at once.
    """

    hold_steps: float = setting(1.0, 1.0, 1e6, "mean number of steps for which noise is held", OURS)
    scale_range: tuple[float, float] = numbers(
        (1.0, 1.0), 1e-3, 1e3, "lowest and highest factor on the noise, log-uniform", OURS, sizes=(2,), is_range=True
    )


@dataclass(frozen=True)
class Rest(Part):
    """Where an actor starts, and how strongly it is pulled back there.

    The pull, an L2 penalty on the distance before the tanh, decides where the critic has nothing to say: an action that
    matters in one episode of three otherwise drifts to an end of its range, where it is never tried again.
    """

    action: tuple[float, ...] = numbers(
        (), -0.999, 0.999, "the action: a value for each group of zones and each entry beside; [] for the middle", OURS
    )
    weight: Schedule = schedule(0.0, 0.0, 1e6, "weight of the pull", OURS)


@dataclass(frozen=True)
class Memory(Part):
    """What a tier's networks read of the minutes before the present one (`policies.past`, `policies.networks.memory`).

    They get the agent's last observations, from its episode's beginning on; actors, values and critics alike.
    """

    minutes: int = setting(0, 0, 1024, "environment steps before the present one that are read; 0: no memory", OURS)
    kind: str = choice(
        "attention",
        tuple(KINDS),
        "what is made of them. attention: they are weighted by what the present asks; gru: they are read in order",
        "Vaswani et al. 2017; Cho et al. 2014",
    )
    size: int = setting(32, HEADS, 4096, f"of the summary; a multiple of {HEADS} with attention", OURS)

    def __post_init__(self) -> None:
        super().__post_init__()
        for spec in dataclasses.fields(self) if self.minutes == 0 else ():
            if (value := getattr(self, spec.name)) != spec.default:
                raise ConfigError(f"{spec.name}={value!r} has no effect, minutes is 0")
        if self.kind == "attention" and self.size % HEADS:
            raise ConfigError(f"size={self.size} must be a multiple of {HEADS} with kind='attention'")


@dataclass(frozen=True)
class Counterfactual(Part):
    """What a tier learns from alternatives to its choices that are rolled out in copies of the simulator.

    From the same state, with the same draws, the team plays on once with the tier's own choice and once for each
    alternative; it learns from the difference of its discounted rewards (`policies.hmarl.counterfactual`).
    """

    weight: Schedule = schedule(0.0, 0.0, 1e6, "weight of the differences in the loss; 0 rolls nothing out", OURS)
    share: float = setting(0.2, 1e-6, 1e3, "environment steps of rollouts for each one of training", OURS)
    horizon: int = setting(50, 1, 100_000, "environment steps of a rollout", "Schulman et al. 2015, vine")
    hold: int = setting(1, 1, 100_000, "decisions for which the entries in which an alternative differs are held", OURS)
    states: int = setting(64, 1, 1_000_000, "states from which the team is rolled out at once", OURS)
    num_alternatives: int = setting(1, 1, 1_000, "alternatives at a state", "Schulman et al. 2015, vine")
    draws: str = choice(
        "same",
        ("same", "fresh"),
        "random draws of an alternative's rollout: those of the tier's own choice, or others",
        "Glasserman & Yao 1992, common random numbers",
    )
    explore: bool = flag(False, "the team explores in rollouts, with the same noise where draws are the same", OURS)
    bootstrap: bool = flag(True, "what follows a rollout counts by the tier's own values", "Sutton 1988")
    capacity: int = setting(8_192, 1, STEPS, "newest differences kept", OURS)
    max_age: int = setting(200_000, 1, STEPS, "environment steps after which a difference is no longer used", OURS)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hold > self.horizon:
            raise ConfigError(f"hold={self.hold} is longer than a rollout; allowed: at most horizon={self.horizon}")


@dataclass(frozen=True)
class ChoiceCounterfactual(Counterfactual):
    """As `Counterfactual`, for values of choices."""

    alternatives: tuple[str, ...] = choice(
        ("other",), ("other", "teacher"), "in turn. other: another choice; teacher: what the teacher does", OURS
    )


@dataclass(frozen=True)
class ActionCounterfactual(Counterfactual):
    """As `Counterfactual`, for critics that read the action."""

    alternatives: tuple[str, ...] = choice(
        ("other",),
        ("other", "draw", "teacher"),
        "in turn. other: another choice, or entries of the action at other levels; draw: what the tier does when it "
        "explores; teacher: what the teacher does",
        OURS,
    )
    entries: int = setting(
        1, 1, 1_000_000, "entries of the action, drawn at random, that are other in `other`", OURS, space="Box"
    )


@dataclass(frozen=True)
class TierSettings(Part):
    """Settings of every tier that learns."""

    algorithm: str = ""
    agents: tuple[str, ...] = names(
        "agents it acts for; none: those whose name is the tier's, with or without index", OURS
    )
    trainable: bool = flag(
        True, "False: it acts, greedily, and neither its networks nor its statistics ever change", OURS
    )
    checkpoint: str | None = text("folder of a checkpoint whose tier of this name it starts from", OURS)
    num_learners: int = setting(0, 0, 1024, "remote learners; 0 trains in the driver", "RLlib")
    num_gpus_per_learner: float = setting(
        0.0, 0.0, 64.0, "GPUs of each learner, a share of one or a whole number; 0 learns on CPUs", "RLlib"
    )
    custom_resources_per_learner: dict[str, float] = amounts(
        0.0,
        1e6,
        "resources of a Ray cluster that each remote learner takes, by name: on which nodes it may run",
        "RLlib",
    )
    gamma: float = setting(
        0.99, 0.0, 1.0, "discount per environment step, also of a tier that decides every K steps", "Sutton et al. 1999"
    )
    hiddens: tuple[int, ...] = numbers((256, 256), 1, 65_536, "sizes of hidden layers", OURS, is_whole=True, longest=64)
    encoder: str = choice(
        "mlp", ("mlp", *ENCODERS), "how observations are read; all but mlp by tokens (`networks.zones`)", OURS
    )
    attention_heads: int = setting(
        4, 1, 64, "heads; d_k is the size of a layer", "paper", only=("encoder", "attention")
    )
    memory: Memory = part(Memory)
    reward_shaping: RewardShaping = part(RewardShaping)
    counterfactual: Counterfactual = part(Counterfactual)

    def __post_init__(self) -> None:
        super().__post_init__()
        least = 2 if self.encoder == "attention" else 1
        if len(self.hiddens) < least:
            wanted = "2 layers or more with attention: it is between them" if least > 1 else "one layer size or more"
            raise ConfigError(f"hiddens={list(self.hiddens)!r} must be {wanted}")
        self._check_resources()

    def _check_resources(self) -> None:
        asked, gpus = self.custom_resources_per_learner, self.num_gpus_per_learner
        if not (gpus <= 1 or gpus == int(gpus)):
            raise ConfigError(f"num_gpus_per_learner={gpus:g} must be a share of 1, or a whole number")
        for name, amount in asked.items():
            if not (0 < amount <= 1 or 1 < amount == int(amount)):
                raise ConfigError(
                    f"custom_resources_per_learner: {name}={amount:g} must be a share of 1, or a whole number"
                )
        if asked and not self.num_learners:
            raise ConfigError(f"custom_resources_per_learner={asked!r} has no effect with num_learners=0")

    @property
    def reads_state(self) -> bool:
        """Whether it has critics that read the environment's state."""
        return False

    def body(self, role: str) -> BodySpec:
        """What the networks of a tier of that name are made of."""
        memory = (self.memory.kind, self.memory.minutes, self.memory.size) if self.memory.minutes else None
        return BodySpec(self.hiddens, self.encoder, role, self.attention_heads, memory=memory)

    def to_rllib(self) -> dict[str, Any]:
        """The settings of the algorithm's RLlib configuration that ours stand for."""
        return {"gamma": self.gamma}


@dataclass(frozen=True)
class ActorCriticSettings(TierSettings):
    """Settings of off-policy tiers with an actor and a critic of actions."""

    tau: float = setting(0.01, 1e-9, 1.0, "share by which target networks follow at an update", OURS)
    critic: Critic = part(Critic)
    rest: Rest = part(Rest, space="Box")
    counterfactual: ActionCounterfactual = part(ActionCounterfactual)
    exploration: Exploration = part(Exploration, space="Box")
    segment_sharing: float | None = setting(
        None,
        0.0,
        0.99,
        "zones share their outputs and differ by this share of their own one; None for outputs of their own",
        OURS,
        is_optional=True,
        space="Box",
    )
    rllib: OffPolicyGradients = part(OffPolicyGradients)

    @property
    def reads_state(self) -> bool:
        return self.critic.reads_state

    def body(self, role: str) -> BodySpec:
        return dataclasses.replace(super().body(role), has_groups=self.segment_sharing is not None)

    def critic_body(self, role: str) -> BodySpec:
        """As `body`, of critics."""
        critic, spec = self.critic, super().body(role)
        return dataclasses.replace(
            spec,
            layer_norm=critic.layer_norm,
            bins=critic.bins,
            is_additive=critic.kind == "additive",
            reads_state=critic.reads_state,
        )

    def to_rllib(self) -> dict[str, Any]:
        return {**super().to_rllib(), "tau": self.tau, **vars(self.rllib)}


@dataclass(frozen=True)
class Algorithm:
    """One algorithm that a tier can take; `policies.learners` has what it learns with.

    Attributes:
        settings: its settings, declared.
        policy: the class of its network as it acts, a `policies.algorithms.network.TierPolicy`.
        action_spaces: what it can act in.
        is_on_policy: whether it learns from its newest decisions alone.
        has_central_critic: whether its critic reads every agent's observation and action.
    """

    settings: type[TierSettings]
    policy: type
    action_spaces: tuple[type[gym.Space], ...]
    is_on_policy: bool = False
    has_central_critic: bool = False

    def check_space(self, tier: str, settings: TierSettings, space: gym.Space) -> None:
        """ConfigError if the algorithm does not fit the tier's action space, or a setting has no effect there."""
        if not isinstance(space, self.action_spaces):
            allowed = " or ".join(one.__name__ for one in self.action_spaces)
            raise ConfigError(f"tier {tier!r}: {settings.algorithm} needs a {allowed} action space, got {space}")
        try:
            settings.check_space(type(space).__name__)
        except ConfigError as error:
            raise ConfigError(f"tier {tier!r}: {error}") from None
