"""Copies of environments in which the team plays on: what `policies.hmarl.counterfactual` compares."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Discrete

from policies.learners.columns import STATE
from policies.past import Past
from policies.runner.exploration import HeldNoise
from policies.runner.plan import Plan
from policies.runner.rows import Columnar, shaped_reward
from policies.scripted import Policy

SEEDS = 2**62  # of torch's generator


class Exploring:
    """The noise of one block of rollouts while the team explores: the same in blocks of the same seeds."""

    def __init__(self, seed: int):
        self.seeds = np.random.default_rng(seed)
        self.held: dict[str, HeldNoise] = {}

    @contextmanager
    def step(self) -> Iterator[None]:
        """Within it torch draws from the next of the block's seeds; its own generator stays where it is."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(self.seeds.integers(SEEDS)))
            yield

    def noise(self, agent: str, settings: Any, shape: tuple[int, ...]) -> torch.Tensor:
        """Noise of an agent whose network takes it, as long-lived as in training."""
        if agent not in self.held:
            self.held[agent] = HeldNoise(shape, settings.hold_steps, settings.scale_range)
        else:
            self.held[agent].renew()
        return self.held[agent].scaled()


@dataclass
class Ends:
    """Where rollouts came to, (n, ...) by row.

    Attributes:
        total: discounted rewards.
        steps: environment steps.
        terminated: whether the episode ended, other than by its length.
        observed, acted: agent -> what its network reads last, and the action in force then; where the tier's critics
            read the state, `STATE` -> the last one is observed too.
    """

    total: np.ndarray
    steps: np.ndarray
    terminated: np.ndarray
    observed: Columnar
    acted: Columnar


class Futures:
    """Copies of environments in blocks: the first has the tier's own choices, each of the others an alternative.

    Args:
        env: a batch of `num_states` environments a block, with `branch`.
        plan: who acts when.
        scripted: tier -> policy of the tiers without networks, for this alone.
        num_states: environments of a block.
        teacher: what it would do is an alternative; None without.
    """

    def __init__(
        self, env: Any, plan: Plan, scripted: Mapping[str, Policy], num_states: int, teacher: Policy | None = None
    ):
        self.env, self.plan, self.scripted, self.num_states = env, plan, scripted, num_states
        self.teacher = teacher
        env.reset()
        seen = {agent: env.observations[agent] for agent in plan.remembering}
        self.past = {agent: Past(len(of), of.shape[1], plan.minutes(agent)) for agent, of in seen.items()}

    def take(self, source: Any, past: Mapping[str, Past], index: int, slot: int) -> None:
        """Copies environment `index` of another batch, with what agents remember there, into place `slot` of the first
        block."""
        source.branch([index], [slot], into=self.env)
        for agent, own in self.past.items():
            own.take(past[agent], index, slot)

    def fan_out(self, count: int, num_blocks: int, keep_draws: bool) -> list[np.ndarray]:
        """Copies the first `count` environments of the first block into the others: the rows of each block."""
        first = np.arange(count)
        blocks = [first + block * self.num_states for block in range(num_blocks)]
        for rows in blocks[1:]:
            self.env.branch(first, rows, keep_draws=keep_draws)
            for past in self.past.values():
                past.take(past, first, rows)
        for policy in self.scripted.values():
            policy.reset(0)
        return blocks

    def observed(self, rows: np.ndarray) -> Columnar:
        """Agent -> what it sees in these rows. Copies."""
        return {agent: self.env.observations[agent][rows] for agent in self.plan.agents}

    def state(self, rows: np.ndarray) -> np.ndarray:
        """(len(rows), size) float32: the truth in these rows."""
        return np.asarray(self.env.state()[rows], np.float32)

    def seen(self, agent: str, rows: np.ndarray) -> np.ndarray:
        """What the agent's network reads in these rows, with the past if it has memory. A copy."""
        observed = self.env.observations[agent][rows]
        return self.past[agent].beside(observed, rows) if agent in self.past else observed

    def taught(self, rows: np.ndarray, agent: str) -> np.ndarray:
        """What the teacher, without memory of the time before, would have the agent do in these rows."""
        assert self.teacher is not None
        self.teacher.reset(0)
        space = self.env.action_spaces[agent]
        acted = self._scripted(self.teacher, self.observed(rows), np.array(self.env.decides[rows]), rows)[agent]
        return acted if isinstance(space, Discrete) else np.clip(acted, space.low, space.high)

    def act(self, rows: np.ndarray, choose: Callable[[str, np.ndarray], np.ndarray]) -> None:
        """Writes everybody's actions in these rows; `choose` (agent, rows) -> actions, of those with networks."""
        env, plan = self.env, self.plan
        for tier, policy in self.scripted.items():
            acted = self._scripted(policy, self.observed(rows), np.array(env.decides[rows]), rows)
            for agent in plan.members[tier]:
                env.actions[agent][rows] = acted[agent]
        for agent in plan.agents:
            if plan.tier_of[agent] in self.scripted:
                continue
            acts = env.decides[rows] if agent in plan.slow else np.ones(len(rows), bool)
            if acts.any():
                env.actions[agent][rows[acts]] = choose(agent, rows)[acts]

    def _scripted(self, policy: Any, observed: Columnar, decides: np.ndarray, rows: np.ndarray) -> Columnar:
        if getattr(policy, "needs_state", False):
            policy.state = self.state(rows)
        return policy(observed, decides)

    def play(self, rows: np.ndarray, agent: str, horizon: int, act_all: Callable[[int], None]) -> Ends:
        """Plays on from actions that are written: at most `horizon` steps, each row until its episode ends; `act_all`
        (step) writes those of each step after the first."""
        env, settings, n = self.env, self.plan.of_agent(agent), len(rows)
        shaping = settings.reward_shaping
        before = env.running_metrics() if shaping.metrics else None
        ends = Ends(np.zeros(n), np.zeros(n, np.int64), np.zeros(n, bool), {}, {})
        goes_on, is_told = np.ones(n, bool), agent in self.plan.told
        for step in range(horizon):
            if step:
                act_all(step)
            for agent_, past in self.past.items():
                past.push(env.observations[agent_])
            env.step()
            done = env.terminated | env.truncated
            after = env.running_metrics() if shaping.metrics else None
            reward = shaped_reward(shaping, env.rewards.astype(np.float64), done, env.episode_metrics, before, after)
            before = after
            ends.total += settings.gamma**step * reward[rows] * goes_on
            ends.steps += goes_on
            ended = goes_on & done[rows]
            self._note(ends, rows, ended, env.final_observations)
            if is_told and ended.any():
                ends.observed.setdefault(STATE, np.zeros((n, *env.state_space.shape), np.float32))
                ends.observed[STATE][ended] = env.final_states[rows[ended]]
            for past in self.past.values():
                past.forget(done)
            ends.terminated |= ended & env.terminated[rows]
            goes_on &= ~done[rows]
            if not goes_on.any():
                break
        self._note(ends, rows, goes_on, env.observations)
        if is_told:
            now = self.state(rows)
            ends.observed[STATE] = np.where(goes_on[:, None], now, ends.observed.get(STATE, now))
        return ends

    def _note(self, ends: Ends, rows: np.ndarray, where: np.ndarray, observations: Columnar) -> None:
        which = rows[where]
        for kept, now in ((ends.observed, observations), (ends.acted, self.env.actions)):
            for agent in self.plan.agents:
                new = now[agent][which]
                if kept is ends.observed and agent in self.past:
                    new = self.past[agent].beside(new, which)
                if agent not in kept:
                    kept[agent] = np.zeros((len(rows), *new.shape[1:]), new.dtype)
                kept[agent][where] = new
