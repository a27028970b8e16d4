"""Settings of `HMARL` itself, beside those of tiers and of RLlib."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from policies.hmarl.replay import REPLAY_PRIORITIES, REPLAYS
from policies.hmarl.side_by_side import AUTO
from soc_env.errors import ConfigError, shown
from soc_env.settings import STEPS, Schedule, check_fields, choice, schedule, setting

PER, OURS, DAGGER = "Schaul et al. 2016", "assumption", "Ross et al. 2011"


OF_TEACHER = (
    "teacher_rounds", "teacher_steps", "teacher_rare_share", "teacher_rest_steps", "teacher_share", "imitation",
)  # fmt: skip


@dataclass(frozen=True)
class HMARLSettings:
    """What `HMARLConfig.training(...)` takes beside tiers and their defaults.

    `replay` is "shared": one store of joint transitions for all tiers; "uniform": the same, drawn uniformly;
    "separate": a store for each tier that holds its own agents' transitions alone, so that rows of two tiers are not
    drawn together and a central critic reads no more than the tier's own agents.

    `replay_priority` is "td_error": each tier's own newest TD error; "paper": detection confidence x response urgency
    when the row is stored, the same for all tiers (`policies.hmarl.replay.DetectionPriority`).

    While networks still change a lot, an average over many iterations acts like none of them: start `ema_tau` high.
    """

    train_batch_size: int = setting(1024, 1, STEPS, "environment steps an iteration", OURS)
    replay: str = choice("shared", REPLAYS, "what off-policy tiers share", "paper, shared replay of tier 3")
    replay_priority: str = choice("td_error", REPLAY_PRIORITIES, "by what rows are drawn", f"{PER}; paper")
    replay_capacity: int = setting(100_000, 1, STEPS, "joint transitions kept", "paper")
    replay_alpha: float = setting(0.6, 0.0, 1.0, "exponent of priorities; 0 draws uniformly", PER)
    replay_beta: float = setting(0.4, 0.0, 1.0, "exponent of importance weights", PER)
    replay_batch_size: int = setting(256, 1, STEPS, "rows of an off-policy gradient step", "paper")
    learning_starts: int = setting(5_000, 0, STEPS, "environment steps before off-policy tiers learn", OURS)
    random_steps: int = setting(2_000, 0, STEPS, "environment steps in which off-policy tiers act uniformly", OURS)
    updates_per_iteration: int = setting(8, 1, STEPS, "gradient steps of each off-policy tier an iteration", OURS)
    n_step: int = setting(
        1,
        1,
        10_000,
        "rewards that an off-policy tier that acts at every step sums before it bootstraps",
        "Watkins 1989",
    )
    learner_processes: int | str = setting(
        AUTO,
        1,
        1024,
        "processes in which tiers learn at the same time, which changes nothing but the time; auto: after 20 s of "
        "learning as many as there are cores, but 1 where PyTorch has several threads for each, or where Ray is used",
        OURS,
        words=(AUTO,),
    )
    ema_tau: Schedule = schedule(
        1.0,
        1e-9,
        1.0,
        "share by which the averaged networks, which trained policies act with, follow the newest ones an iteration",
        "Polyak & Juditsky 1992",
    )

    teacher: Any = field(default=None, metadata={"unit": "who teaches (`policies.hmarl.teacher`)", "source": OURS})
    teacher_rounds: int = setting(5, 0, 1000, "rounds of lessons; 0 for none", DAGGER)
    teacher_steps: int = setting(25_600, 1, STEPS, "environment steps of a round", OURS)
    teacher_rare_share: float = setting(
        0.0,
        0.0,
        0.9,
        "share of a fit's rows, at least, where the teacher does anything but what it does mostly; 0: as they come",
        OURS,
    )
    teacher_rest_steps: int = setting(
        50_000, 0, STEPS, "environment steps after the lessons in which critics learn and policies rest", OURS
    )
    teacher_share: Schedule = schedule(
        ((0, 0.5), (150_000, 0.5), (300_000, 0.1)),
        0.0,
        1.0,
        "share of each batch from the rows of the lessons, while they are in the replay; steps count as above",
        "Ball et al. 2023",
    )
    imitation: Schedule = schedule(
        ((0, 10.0), (400_000, 0.0)),
        0.0,
        1e6,
        "weight of the imitation term; its environment steps count from the end of the lessons",
        "Schmitt et al. 2018",
    )

    def __post_init__(self) -> None:
        check_fields(self, ConfigError)
        is_name = isinstance(self.teacher, str) and self.teacher and self.teacher.isprintable()
        if not (self.teacher is None or is_name or callable(self.teacher) or isinstance(self.teacher, Mapping)):
            raise ConfigError(
                f"teacher={shown(self.teacher)} must be a scripted policy's name, a playbook file, a checkpoint, a "
                "policy, or None"
            )
        for name in OF_TEACHER if self.teacher is None else ():
            if getattr(self, name) != getattr(type(self), name):
                raise ConfigError(f"{name}={shown(getattr(self, name))} has no effect: there is no teacher")
        if self.replay_batch_size > self.replay_capacity:
            raise ConfigError(
                f"replay_batch_size={self.replay_batch_size} must be at most replay_capacity={self.replay_capacity}"
            )
        if self.replay == "uniform" and self.replay_priority != "td_error":
            raise ConfigError(f"replay_priority is {self.replay_priority!r}, but a uniform replay has none")


RENAMED = {"average_rate": "ema_tau"}
REMOVED = {
    "return_scale_rate": "it is a constant, `policies.hmarl.moments.RETURN_SCALE_RATE`",
    "checkpoint_replay": "leave the replay out with `save_checkpoint(algo, folder, replay=False)`",
    "action_bias": "change networks after they are built, with `algo.edit_networks(...)`",
}


def check_old_names(names: Any) -> None:
    """ConfigError if one of `names` is that of an earlier version."""
    for name in names:
        if name in RENAMED:
            raise ConfigError(f"setting {name!r} is now {RENAMED[name]!r}")
        if name in REMOVED:
            raise ConfigError(f"setting {name!r} no longer exists: {REMOVED[name]}")
