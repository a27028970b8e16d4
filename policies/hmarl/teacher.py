"""Start from a playbook: tiers learn first to do what a teacher does, then to do better.

Lessons are DAgger (Ross, Gordon & Bagnell 2011, "A Reduction of Imitation Learning and Structured Prediction to
No-Regret Online Learning"): in rounds, the team acts, a teacher says what it would do in each situation, and every
tier's network is fitted to that, on the situations of all rounds. In the first round the teacher acts itself, in later
ones ever less: pure cloning fails where the clone's own mistakes lead to what the teacher has never seen.

After the lessons tiers learn as they always do. Critics begin anew, so policies rest at first (`teacher_rest_steps`),
and an imitation term (`policies.learners.terms`) holds policies near the teacher, ever more loosely (`imitation`).
The rows of the lessons are in the replay that tiers share, and make up a share of each batch (`teacher_share`) as long
as they are there (Ball et al. 2023, "Efficient Online Reinforcement Learning with Offline Data").

Deliberate differences from DAgger: networks are fitted on from where they are, not anew; half of the situations are
kept.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ray.rllib.core.rl_module.apis import TargetNetworkAPI
from ray.rllib.utils.metrics import LEARNER_RESULTS, TIMERS

from policies.checkpoint import checkpoint_folder
from policies.hmarl.chains import Chains
from policies.hmarl.moments import Statistics, observation_statistics
from policies.learners.terms import imitation_errors
from policies.loading import load_policy
from policies.networks.blocks import value_at
from policies.runner.rows import AGE, STREAM, Rollout
from policies.scripted import Policy, builder_of, is_file, is_policy, make_policy
from soc_env.errors import CheckpointError, ConfigError

SHARES = (1.0, 0.3, 0.3)  # of environments that the teacher acts in, by round; none in later ones
EPOCHS, BATCH, LEARNING_RATE = 2, 1024, 1e-3  # of a round's fit: over all situations so far
CLOSE = 1e-5  # error at which a tier does what it is taught already: it is not fitted in that round
KEPT = 2  # of so many neighbouring rows one is kept
ROWS = "rows"


class Lessons:
    """Where an `HMARL` is in its lessons, and what the teacher has said.

    Args:
        config: an `HMARLConfig`.
        team: who they are.
        tiers: those that learn.

    Attributes:
        round: the number of the present one; `teacher_rounds` when lessons are over.
        ended_at: environment steps when they were over.
    """

    def __init__(self, config: Any, team: Any, tiers: Iterable[str]):
        self.config, self.team, self.tiers = config, team, tuple(tiers)
        self.num_rounds = config.teacher_rounds if config.teacher is not None else 0
        self.round = self.steps = self.ended_at = 0
        self._rows: dict[str, list[tuple[np.ndarray, ...]]] = {tier: [] for tier in self.tiers}

    @property
    def go_on(self) -> bool:
        """Whether lessons are not over."""
        return self.round < self.num_rounds

    def sampling(self, num_env_steps: int) -> dict[str, Any]:
        """How runners are to sample: what `ColumnarEnvRunner.sample` takes."""
        if self.go_on:
            share = SHARES[self.round] if self.round < len(SHARES) else 0.0
            return {"lesson": share, "explore": False, "random_actions": False}
        return {"lesson": 0.0} if self.imitation(num_env_steps) else {}

    def since(self, num_env_steps: int) -> int:
        """Environment steps since lessons were over."""
        return num_env_steps - self.ended_at

    def imitation(self, num_env_steps: int) -> float:
        """The weight of the imitation term; 0 without a teacher."""
        if self.config.teacher is None:
            return 0.0
        return value_at(self.config.imitation, self.since(num_env_steps))

    def old_share(self, num_env_steps: int) -> float | None:
        """The share of each batch from the rows of the lessons; None without lessons."""
        return value_at(self.config.teacher_share, self.since(num_env_steps)) if self.num_rounds else None

    def rest(self, num_env_steps: int) -> bool:
        """Whether policies do not learn by rewards: in lessons, and while critics learn."""
        rest_steps = -1 if self.config.teacher is None else self.config.teacher_rest_steps
        return self.go_on or self.since(num_env_steps) <= rest_steps

    # ---- a round
    def take(self, rollouts: Iterable[Rollout]) -> bool:
        """Keeps what the teacher has said; whether the round has all of its situations."""
        for rollout in rollouts:
            self.steps += rollout.num_env_steps
            for tier in self.tiers:
                for agent in self.team.plan.members[tier]:
                    self._rows[tier].append(self._of_agent(rollout, agent))
        return self.is_due

    @property
    def is_due(self) -> bool:
        """Whether the round has all of its situations."""
        return self.steps >= self.config.teacher_steps

    def _of_agent(self, rollout: Rollout, agent: str) -> tuple[np.ndarray, ...]:
        """Situations and what the teacher would do there; with memory all of them, with their places, and which are
        lessons."""
        every = np.arange(len(rollout.seen))
        alive = rollout.taught.get(f"alive/{agent}", np.ones(len(every), bool))
        is_lesson = (every % KEPT == 0) & alive
        part = self.team.slices[agent]
        if self.team.plan.minutes(agent):
            places = rollout.places[STREAM], rollout.places[AGE]
            return rollout.seen[:, part].copy(), rollout.taught[agent], is_lesson, *places
        return rollout.seen[is_lesson, part], rollout.taught[agent][is_lesson]

    def hold(self, algo: Any) -> bool:
        """A part of a lesson of an `HMARL`, after it has sampled; whether networks have been fitted."""
        algo.collected = {tier: [] for tier in algo.on_policy}
        if not self.is_due:
            return False
        with algo.metrics.log_time((TIMERS, "lesson")):
            errors = self.teach(algo.learner_group, algo.statistics, algo.num_env_steps)
        for tier, error in errors.items():
            algo.metrics.log_value((LEARNER_RESULTS, tier, "imitation_error"), error, window=1)
        for replay in algo.batches.replays.values() if not self.go_on else ():
            replay.mark_old()
        return True

    def teach(self, learner_group: Any, statistics: Statistics, num_env_steps: int) -> dict[str, float]:
        """Ends the round: every tier's network is fitted. Tier -> mean imitation error of the last epoch.

        After the last one tiers keep the observation statistics that they were fitted with: the team then comes to
        other situations, and a feature that hardly moved in the lessons would soon be read in other units.
        """
        errors = {}
        for number, tier in enumerate(self.tiers):
            rows = tuple(np.concatenate(part) for part in zip(*self._rows[tier], strict=True))
            num_old = len(self._rows[tier][0][0]) if self.round else 0
            self._rows[tier] = [rows]
            seed = [self.config.seed or 0, number, self.round]
            minutes = self.team.plan.minutes(self.team.plan.members[tier][0])
            past = PastOf(minutes, *rows[2:]) if minutes else None
            rare_share = self.config.teacher_rare_share
            fit = functools.partial(clone, rows[0], rows[1], seed, past=past, num_old=num_old, rare_share=rare_share)
            errors[tier] = learner_group.edit(tier, fit)[0]
        self.round, self.steps, self.ended_at = self.round + 1, 0, num_env_steps
        if not self.go_on:
            self._rows = {tier: [] for tier in self.tiers}
            for tier in self.tiers:
                statistics.given[tier] = learner_group.edit(tier, observation_statistics)[0][0], None
        return errors

    # ---- state
    def get_state(self) -> dict[str, Any]:
        """Plain data, for `set_state`."""
        rows = {tier: [[part.copy() for part in pair] for pair in pairs] for tier, pairs in self._rows.items()}
        return {"round": self.round, "steps": self.steps, "ended_at": self.ended_at, ROWS: rows}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on from `get_state`."""
        self.round, self.steps, self.ended_at = (int(state[name]) for name in ("round", "steps", "ended_at"))
        self._rows = {tier: [tuple(pair) for pair in state[ROWS].get(tier, [])] for tier in self.tiers}


class PastOf:
    """The past of situations that were collected step by step.

    Args:
        minutes: how many observations before each of them are read.
        is_lesson: (n,) whether a situation is one to learn from; the others are past to later ones.
        stream, age: (n,) as `policies.runner.rows` has them.
    """

    def __init__(self, minutes: int, is_lesson: np.ndarray, stream: np.ndarray, age: np.ndarray):
        self.minutes, self.chains = minutes, Chains(len(age), minutes)
        self.chains.add(0, {STREAM: stream, AGE: age}, 0)
        self.lessons = np.nonzero(is_lesson & (self.chains.reach >= 0))[0]

    def beside(self, observation: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Rows of `policies.past`: (len(rows), .)."""
        past = torch.from_numpy(self.chains.past(rows.numpy(), self.minutes, 0))
        seen = past >= 0
        observed = observation[past.clamp_min(0)] * seen.unsqueeze(-1)
        return torch.cat([observation[rows], observed.flatten(1), seen.float()], 1)


def clone(
    observation: np.ndarray,
    taught: np.ndarray,
    seed: list[int],
    module: Any,
    past: PastOf | None = None,
    num_old: int = 0,
    rare_share: float = 0.0,
) -> float:
    """Fits a tier's network to a teacher, unless it is `CLOSE` on the newest rows: mean error of the last epoch, or
    there (`policies.learners.terms`).

    Args:
        observation: (n, size).
        taught: (n, dim) actions, or (n,) choices.
        seed: of the order of rows.
        module: the tier's RLModule, changed in place; target networks follow at once.
        past: of these observations, if the module has memory.
        num_old: rows of earlier rounds, which come first.
        rare_share: see `with_rare_ones`.
    """
    seen, said = torch.from_numpy(observation), torch.from_numpy(np.ascontiguousarray(taught))

    def errors_of(rows: torch.Tensor) -> torch.Tensor:
        return imitation_errors(module, seen[rows] if past is None else past.beside(seen, rows), said[rows])

    lessons = np.arange(len(seen)) if past is None else past.lessons
    newest = lessons[lessons >= num_old]
    if 0 < len(newest) < len(lessons):
        with torch.no_grad():
            mean = float(errors_of(torch.from_numpy(newest)).mean())
        if mean < CLOSE:
            return mean
    lessons = with_rare_ones(lessons, taught, rare_share)
    mean = _fit(module, errors_of, lessons, np.random.default_rng(seed))
    for network, target in module.get_target_network_pairs() if isinstance(module, TargetNetworkAPI) else ():
        target.load_state_dict(network.state_dict())
    return mean


def with_rare_ones(lessons: np.ndarray, taught: np.ndarray, share: float) -> np.ndarray:
    """Rows to fit to, those where the teacher does something unusual repeated until they are `share` of all.

    A response team that acts in one minute of a hundred is otherwise fitted to rest: its mean error is small so.

    Args:
        lessons: rows of `taught`.
        taught: (n, dim) actions, or (n,) choices; unusual is what differs from the commonest.
        share: 0 leaves the rows as they are.
    """
    if not share or not len(lessons):
        return lessons
    _, kind, count = np.unique(np.round(taught[lessons], 3), axis=0, return_inverse=True, return_counts=True)
    rare = lessons[kind.reshape(-1) != count.argmax()]
    wanted = share / (1.0 - share) * (len(lessons) - len(rare))
    times = int(wanted / len(rare)) if len(rare) else 0
    return np.concatenate([lessons, *[rare] * (times - 1)]) if times > 1 else lessons


def _fit(
    module: Any, errors_of: Callable[[torch.Tensor], torch.Tensor], lessons: np.ndarray, rng: np.random.Generator
) -> float:
    """Passes over rows `lessons` with ever smaller steps: mean error of the last one."""
    optimizer, mean = torch.optim.Adam(module.parameters(), LEARNING_RATE, fused=True), 0.0
    num_steps = EPOCHS * ceil(len(lessons) / BATCH)
    slowing = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 1.0 / max(1, num_steps), max(1, num_steps - 1))
    for _ in range(EPOCHS if len(lessons) else 0):
        order, total = torch.from_numpy(lessons[rng.permutation(len(lessons))]), 0.0
        for rows in order.split(BATCH):
            error = errors_of(rows).mean()
            optimizer.zero_grad(set_to_none=True)
            error.backward()
            optimizer.step()
            slowing.step()
            total += float(error.detach()) * len(rows)
        mean = total / len(lessons)
    optimizer.zero_grad(set_to_none=True)
    return mean


# ---- who teaches
def is_trained(teacher: Any) -> bool:
    """Whether it names the folder of a trained policy."""
    return isinstance(teacher, (str, Path)) and not is_file(teacher) and checkpoint_folder(teacher).is_dir()


def check_teacher(teacher: Any, env: Any) -> None:
    """ConfigError unless a setting `teacher` stands for a policy, or for none; what its agents are is not asked yet."""
    if teacher is not None and not is_policy(teacher) and not is_trained(teacher):
        builder_of(teacher, env, "teacher")


def make_teacher(teacher: Any, env: Any, spaces: Any, seed: int) -> Policy:
    """The policy that a setting `teacher` stands for.

    Args:
        teacher: what `policies.scripted.builder_of` takes, a policy itself, or the folder of a trained one: a run, a
            checkpoint, an export, or the name of a team that ships with the package.
        env: what the configuration says.
        spaces: has `observation_spaces` and `action_spaces` by agent.
        seed: of its draws.

    Raises:
        ConfigError: there is no such policy, or it does not fit the environment.
    """
    if is_policy(teacher):
        teacher.reset(seed)
        return teacher
    if is_trained(teacher):
        try:
            return load_policy(teacher, env=spaces, seed=seed)
        except CheckpointError as error:
            raise ConfigError(f"teacher: {error}") from None
    return make_policy(teacher, env, spaces.action_spaces, seed, "teacher")
