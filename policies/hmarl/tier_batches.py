"""The stores of transitions, and the batches that off-policy tiers draw from them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES
from ray.rllib.evaluation.postprocessing import Postprocessing
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch

from policies.algorithms import ALGORITHMS
from policies.hmarl.moments import Statistics
from policies.hmarl.replay import DetectionPriority, JointReplay
from policies.learners.columns import (
    CRITIC_NEXT_OBS,
    CRITIC_OBS,
    JOINT_NEXT_OBS,
    JOINT_OBS,
    OTHER_ACTIONS,
    OTHER_NEXT_ACTIONS,
    STATE,
    with_state,
)
from policies.learners.terms import TEACHER_ACTIONS, TEACHER_WEIGHT
from policies.networks.blocks import encode_actions, flat_dim
from policies.runner.acting import act
from policies.runner.plan import Plan
from policies.runner.rows import AGE, STREAM, Columnar, Rollout
from policies.scripted import Policy
from soc_env.errors import CheckpointError, ConfigError

IN_NEXT_STATE = {CRITIC_OBS: CRITIC_NEXT_OBS, JOINT_OBS: JOINT_NEXT_OBS, OTHER_ACTIONS: OTHER_NEXT_ACTIONS}
JOINT = "joint"  # the store that tiers share; other stores have the name of their tier


@dataclass(frozen=True)
class Team:
    """What is known of the agents before anything is sampled.

    Attributes:
        plan: who acts when, and for which tier.
        slices: agent -> its part of all observations; behind them `STATE` -> the state, where critics read it.
        action_spaces: agent -> space as tiers see it.
        known: tier -> the agents whose transitions its store holds and its central critic reads.
        have_lives: whether agents may leave before the episode ends.
    """

    plan: Plan
    slices: Mapping[str, slice]
    action_spaces: Mapping[str, gym.Space]
    known: Mapping[str, tuple[str, ...]]
    have_lives: bool

    def size(self, agent: str) -> int:
        """Entries of the agent's observation."""
        part = self.slices[agent]
        return part.stop - part.start

    @classmethod
    def of(cls, config: Any, spaces: Mapping[str, Any]) -> Team:
        """The team of an `HMARLConfig` in an environment with these `spaces`, as runners say them."""
        plan = Plan.of(config, spaces["decision_periods"])
        observed, action_spaces = spaces[INPUT_ENV_SINGLE_SPACES]
        sizes = {agent: flat_dim(observed[agent]) for agent in plan.agents}
        if plan.told:
            sizes[STATE] = flat_dim(spaces["state"])
        ends = np.cumsum([0, *sizes.values()]).tolist()
        return cls(
            plan=plan,
            slices={name: slice(ends[i], ends[i + 1]) for i, name in enumerate(sizes)},
            action_spaces=action_spaces,
            known={tier: config.known_agents(tier, plan.agents) for tier in plan.members},
            have_lives=spaces["have_lives"],
        )


class TierBatches:
    """Replay of the off-policy tiers.

    Tiers that decide every K steps have stores of their own, whose rows are decisions. The others share the joint
    store, whose rows are steps, or with `replay="separate"` have one each without other tiers' agents.

    Args:
        config: an `HMARLConfig`.
        team: who they are.
        scripted: tier -> policy of the tiers without networks.
        modules: gives tier -> RLModule with the newest weights, which say what the other agents do next.
        statistics: units of rewards.

    Attributes:
        replays: name -> store.
        store_of: off-policy tier -> the name of its store.
    """

    def __init__(
        self,
        config: Any,
        team: Team,
        scripted: Mapping[str, Policy],
        modules: Callable[[], Any],
        statistics: Statistics,
    ):
        self.config, self.team, self.plan = config, team, team.plan
        self.scripted, self.modules, self.statistics = scripted, modules, statistics
        tiers = self.plan.learning_tiers(is_on_policy=False)
        is_shared = config.replay != "separate"
        self.store_of = {t: JOINT if is_shared and not self.plan.is_slow(t) else t for t in tiers}
        algorithms = {tier: ALGORITHMS[self.plan.settings[tier].algorithm] for tier in tiers}
        self._central = {tier for tier, algorithm in algorithms.items() if algorithm.has_central_critic}
        self.replays: dict[str, JointReplay] = {}
        for name in dict.fromkeys(self.store_of.values()):
            own = [tier for tier, store in self.store_of.items() if store == name]
            seed = [config.seed or 0, *([] if name == JOINT else [list(self.plan.members).index(name)])]
            self.replays[name] = self._build(own, seed)
        self.imitation = 0.0  # weight of the term, of all rows
        self.old_share: float | None = None  # of each batch, from the rows of lessons
        self._paper_priority = None
        if config.replay_priority == "paper":
            self._paper_priority = DetectionPriority(config.env, config.env_config)

    def _is_masked(self, tiers: Iterable[str]) -> bool:
        """Whether rows may stand for some of the tiers' agents only: those that take part, or that decided."""
        return self.team.have_lives or any(self.plan.is_slow(t) and len(self.plan.members[t]) > 1 for t in tiers)

    def _minutes(self, tiers: list[str]) -> int:
        """The most past observations that are read of a row: by the tiers, and by others that say what they do next.

        Raises:
            ConfigError: there are any, but rows are decisions, between which others observe too.
        """
        own = [a for tier in tiers for a in self.plan.members[tier]]
        others = [
            a for tier in tiers if tier in self._central for a in self.team.known[tier] if a not in self.plan.slow
        ]
        most = max((*own, *others), key=self.plan.minutes)
        if self.plan.is_slow(tiers[0]) and self.plan.minutes(most):
            (tier,), period = tiers, self.plan.periods[own[0]]
            raise ConfigError(
                f"tier {self.plan.tier_of[most]!r}: memory.minutes={self.plan.minutes(most)}, but tier {tier!r} acts "
                f"every {period} steps, and its replay has no others; allowed: 0, or an algorithm that is on-policy"
            )
        return self.plan.minutes(most)

    def _build(self, tiers: list[str], seed: list[int]) -> JointReplay:
        columns: dict[str, tuple[tuple[int, ...], Any]] = {}
        for agent in self.team.known[tiers[0]]:
            part, space = self.team.slices[agent], self.team.action_spaces[agent]
            is_discrete = isinstance(space, gym.spaces.Discrete)
            size = (part.stop - part.start,)
            columns |= {f"obs/{agent}": (size, np.float32), f"next_obs/{agent}": (size, np.float32)}
            columns[f"action/{agent}"] = ((), np.int64) if is_discrete else (space.shape or (), np.float32)
            if self.team.have_lives:
                columns[f"terminated/{agent}"] = ((), np.bool_)
        if any(self.plan.settings[tier].reads_state for tier in tiers):
            part = self.team.slices[STATE]
            columns |= dict.fromkeys((f"obs/{STATE}", f"next_obs/{STATE}"), ((part.stop - part.start,), np.float32))
        columns |= {"terminated": ((), np.bool_), "n_step": ((), np.float32)}
        for agent in (a for tier in tiers for a in self.plan.members[tier]):
            columns[f"reward/{agent}"] = ((), np.float32)
            if self.config.teacher is not None:
                columns[f"teacher/{agent}"] = columns[f"action/{agent}"]
            if self._is_masked(tiers):
                columns[f"alive/{agent}"] = ((), np.bool_)
        minutes = self._minutes(tiers)
        columns |= dict.fromkeys((STREAM, AGE) if minutes else (), ((), np.int64))
        alpha = 0.0 if self.config.replay == "uniform" else self.config.replay_alpha
        return JointReplay(self.config.replay_capacity, columns, tiers, alpha, seed, minutes)

    def replay_of(self, tier: str) -> JointReplay:
        """The store that an off-policy tier draws from."""
        return self.replays[self.store_of[tier]]

    # ---- in
    def store(self, rollouts: Iterable[Rollout]) -> None:
        """Adds the rollouts' rows to the stores."""
        for rollout in rollouts:
            for name in dict.fromkeys(self.store_of.values()):
                is_slow = name != JOINT and self.plan.is_slow(name)
                if rollout.joint and not is_slow:
                    self._add(self.replays[name], rollout.joint)
            for agent, rows in rollout.decisions.items():
                self._add(self.replays[self.plan.tier_of[agent]], rows)

    def _add(self, replay: JointReplay, rows: Mapping[str, np.ndarray]) -> None:
        """Adds the store's columns of joint rows. Rows that no agent of a tier has part in are never drawn by it."""
        columns = dict(rows)
        for agent, part in self.team.slices.items():
            columns |= {f"{name}/{agent}": rows[name][:, part] for name in ("obs", "next_obs")}
        scale = {}
        for tier in replay.trees:
            alive = [rows[f"alive/{a}"] for a in self.plan.members[tier] if f"alive/{a}" in replay.shapes]
            if alive:
                scale[tier] = np.any(alive, 0).astype(np.float64)
            if self._paper_priority is not None:
                scale[tier] = scale.get(tier, 1.0) * self._paper_priority(columns)
        replay.add({name: columns[name] for name in replay.shapes}, scale)

    # ---- out
    def draw(self, tier: str, num_steps: int) -> tuple[np.ndarray, MultiAgentBatch]:
        """Rows for `num_steps` gradient steps of the tier: their numbers in its store, and its columns of them."""
        replay, size = self.replay_of(tier), self.config.replay_batch_size
        index, weights = replay.sample(tier, size * num_steps, self.config.replay_beta, self.old_share)
        # Drawn rows are in the order of the ring: every gradient step gets rows of all ages.
        order = np.arange(len(index)).reshape(size, num_steps).T.ravel()
        index, weights = index[order], weights[order]
        return index, self.batch(tier, index, weights)

    def of_decisions(self, tier: str, parts: list[Columnar], more: Columnar, *, rests: bool) -> MultiAgentBatch:
        """The decisions that an on-policy tier has collected, with `more` columns, advantages standardised; where its
        policy `rests` they are 0: its value function learns alone."""
        columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        advantage = columns[Postprocessing.ADVANTAGES]
        advantage = (advantage - advantage.mean()) / max(1e-4, float(advantage.std()))
        columns[Postprocessing.ADVANTAGES] = np.zeros_like(advantage) if rests else advantage
        if self.imitation:
            columns[TEACHER_WEIGHT] = np.full(len(advantage), self.imitation, np.float32)
        else:
            columns.pop(TEACHER_ACTIONS, None)
        return MultiAgentBatch({tier: SampleBatch({**columns, **more})}, env_steps=len(advantage))

    def batch(self, tier: str, index: np.ndarray, weights: np.ndarray) -> MultiAgentBatch:
        """The tier's columns of the rows `index` of its store, rewards in units of its return scale.

        The rows of a tier with several agents are dealt out among them; each row stands for one that has part in it.
        """
        replay, members = self.replay_of(tier), self.plan.members[tier]
        if len(members) == 1:
            batch = {**self._columns(tier, members[0], index), "weights": weights}
            return MultiAgentBatch({tier: SampleBatch(batch)}, env_steps=len(index))
        masks = [replay.columns[f"alive/{a}"][index] for a in members if f"alive/{a}" in replay.columns]
        alive = np.stack(masks, 1) if masks else np.ones((len(index), len(members)), bool)
        turn = np.arange(len(index)) % alive.sum(1)
        represented = (alive.cumsum(1) > turn[:, None]).argmax(1)
        batch = Columnar()
        for number, agent in enumerate(members):
            rows = np.nonzero(represented == number)[0]
            for name, part in self._columns(tier, agent, index[rows]).items():
                if name not in batch:
                    batch[name] = np.zeros((len(index), *part.shape[1:]), part.dtype)
                batch[name][rows] = part
        return MultiAgentBatch({tier: SampleBatch({**batch, "weights": weights})}, env_steps=len(index))

    def _columns(self, tier: str, agent: str, index: np.ndarray) -> Columnar:
        replay = self.replay_of(tier)
        stored = replay.columns
        columns = {
            Columns.OBS: replay.read(agent, index, self.plan.minutes(agent)),
            Columns.NEXT_OBS: replay.read(agent, index, self.plan.minutes(agent), is_next=True),
            Columns.ACTIONS: stored[f"action/{agent}"][index],
            Columns.REWARDS: stored[f"reward/{agent}"][index] / np.float32(self.statistics.scale(tier)),
            Columns.TERMINATEDS: stored[f"terminated/{agent}" if self.team.have_lives else "terminated"][index],
            "n_step": stored["n_step"][index],
        }
        if self.imitation:
            columns[TEACHER_ACTIONS] = stored[f"teacher/{agent}"][index]
            columns[TEACHER_WEIGHT] = np.full(len(index), self.imitation, np.float32)
        return columns | self._read_by_critics(tier, agent, index, columns)

    def _read_by_critics(self, tier: str, agent: str, index: np.ndarray, columns: Columnar) -> Columnar:
        """What the tier's critics read beside the agent's own columns, which are given."""
        if tier not in self._central and not self.plan.settings[tier].reads_state:
            return {}
        replay, size = self.replay_of(tier), self.team.size(agent)
        others = [a for a in self._order_of_critic(tier, agent) if a != agent] if tier in self._central else []
        known = [*others, STATE] if self.plan.settings[tier].reads_state else others
        now = {a: replay.take(f"obs/{a}", index) for a in known} | {agent: columns[Columns.OBS]}
        following = {a: replay.take(f"next_obs/{a}", index) for a in known}
        acted = {a: replay.take(f"action/{a}", index) for a in others}
        present = {a: following[a] for a in others} | {agent: columns[Columns.NEXT_OBS][:, :size]}
        after = {a: self._next_action(a, replay, index, present, acted[a]) for a in others}
        following[agent] = columns[Columns.NEXT_OBS]
        gone = {a: replay.take(f"terminated/{a}", index) for a in others if self.team.have_lives}
        found = self.seen_by_critic(tier, agent, now, acted)
        then = self.seen_by_critic(tier, agent, following, after, gone)
        return found | {IN_NEXT_STATE[name]: column for name, column in then.items()}

    def is_central(self, tier: str) -> bool:
        """Whether the tier learns off-policy with a critic that reads every agent it knows."""
        return tier in self._central

    def seen_by_critic(
        self, tier: str, agent: str, observed: Columnar, acted: Columnar, gone: Mapping[str, np.ndarray] | None = None
    ) -> Columnar:
        """What the tier's critics read beside the agent's own columns where agents see and do this, (B, ...): of agents
        with memory rows of `policies.past`; if they read the state, `STATE` is among what is observed. Who is gone
        (B,) does nothing."""
        if tier not in self._central:
            told = self.plan.settings[tier].reads_state
            return {CRITIC_OBS: with_state(observed[agent], observed[STATE], self.team.size(agent))} if told else {}
        order = self._order_of_critic(tier, agent)
        coded = {a: encode_actions(self.team.action_spaces[a], acted[a]) for a in order if a != agent}
        others = [action * ~gone[a][:, None] if gone else action for a, action in coded.items()]
        none = np.zeros((len(observed[agent]), 0), np.float32)
        present = [observed[a][:, : self.team.size(a)] for a in order]
        present += [observed[STATE]] if self.plan.settings[tier].reads_state else []
        return {
            JOINT_OBS: np.concatenate([*present, observed[agent] if self.plan.minutes(agent) else none], 1),
            OTHER_ACTIONS: np.concatenate([none, *others], 1),
        }

    def _order_of_critic(self, tier: str, agent: str) -> list[str]:
        """The agents as the tier's central critic reads them: its own are turned so that `agent` takes the first of
        their places, since one critic rates them all and has to know whom."""
        members = self.plan.members[tier]
        first = members.index(agent)
        turned = iter(members[first:] + members[:first])
        return [next(turned) if a in members else a for a in self.team.known[tier]]

    def _next_action(
        self, agent: str, replay: JointReplay, index: np.ndarray, following: Mapping[str, np.ndarray], held: np.ndarray
    ) -> np.ndarray:
        """What another agent's newest policy does in the next state; a slow one holds on to what it did, a scripted
        one is asked without its memory."""
        tier = self.plan.tier_of[agent]
        if agent in self.plan.slow:
            return held
        if tier in self.scripted:
            if set(following) < set(self.plan.agents):
                return held
            self.scripted[tier].reset(0)
            return self.scripted[tier](following, np.ones(len(held), bool))[agent]
        with torch.no_grad():
            minutes = self.plan.minutes(agent)
            own = replay.read(agent, index, minutes, is_next=True) if minutes else following[agent]
            return act(self.modules()[tier], own, explore=False).executed

    # ---- checkpoints
    def get_state(self, *, with_rows: bool = True) -> dict[str, Any]:
        """Name -> the store's state."""
        return {name: replay.get_state(with_rows=with_rows) for name, replay in self.replays.items()}

    def fitting(self, state: Mapping[str, Mapping[str, Any]]) -> list[str]:
        """The stores that can go on from those of `state`. One that a tier draws from which did not learn then has no
        rewards for it: it is left out, to begin empty.

        Raises:
            CheckpointError: it was of other stores.
        """
        then = {tier for of_store in state.values() for tier in of_store["leaves"]}
        fits = [name for name, replay in self.replays.items() if then.issuperset(replay.trees)]
        for name in self.replays:
            if name not in fits:
                new = ", ".join(repr(tier) for tier in self.replays[name].trees if tier not in then)
                warnings.warn(
                    f"tiers {new} did not learn in the checkpoint: replay {name!r} begins empty", stacklevel=2
                )
        if set(fits) - set(state):
            raise CheckpointError(
                f"the checkpoint's replay has stores {sorted(state)}, allowed: {sorted(self.replays)}; it is of "
                "another version or setting"
            )
        return fits

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on from `get_state`; raises as `fitting` does."""
        fits = self.fitting(state)
        for name, replay in self.replays.items():
            if name in fits:
                replay.set_state(state[name])
            else:
                replay.clear()
