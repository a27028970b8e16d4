"""Rows that learners learn from: what `sample` returns, and the arithmetic of decisions that last several steps.

An agent with a decision period K > 1 acts every K steps; between its decisions the action is held. Its rewards are
accumulated with the step discount, R = sum gamma^k r_k over the tau steps until its next decision or the end, and the
value behind them is discounted with gamma^tau: a semi-Markov decision process (Sutton, Precup & Singh 1999).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from soc_env.engine.state import take
from soc_env.errors import CheckpointError

Columnar = dict[str, np.ndarray]
STREAM, AGE = "stream", "age"  # columns: number of the environment among all runners', steps since its episode began


@dataclass
class Rollout:
    """What one `sample` call returns (in a list of one).

    Attributes:
        seen: all observations, one row per environment step (n, sum of sizes); here and in the columns `obs` and
            `next_obs` below the state stands behind them where critics read it.
        joint: joint transitions, one row per environment step: columns `obs`, `next_obs` (n, sum of sizes),
            `action/<agent>`, `reward/<agent>` (discounted sum), `terminated`, `n_step` (steps from `obs` to
            `next_obs`); where agents have lives of their own also `alive/<agent>` (when the row began) and
            `terminated/<agent>`; none if no off-policy agent acts at every step.
        decisions: the same columns for an off-policy agent that decides every K steps, one row per decision; `n_step`
            is tau; only that agent is `alive` if its tier has several.
        on_policy: PPO's columns per on-policy tier, advantages not yet standardised.
        taught: where a teacher was asked, agent -> what it would have done, one row per environment step as in `seen`;
            where agents have lives of their own also `alive/<agent>`.
        places: where a tier has memory, `STREAM` and `AGE` of each row of `seen`; `joint` has them too.
        absolute_returns: tier -> (sum of absolute discounted returns, number), for the unit of values.
        num_env_steps, num_agent_steps: counts.
    """

    seen: np.ndarray
    joint: Columnar
    decisions: dict[str, Columnar]
    on_policy: dict[str, Columnar]
    absolute_returns: dict[str, tuple[float, int]]
    num_env_steps: int
    num_agent_steps: int
    taught: Columnar = field(default_factory=dict)
    places: Columnar = field(default_factory=dict)

    def env_steps(self) -> int:
        return self.num_env_steps

    def agent_steps(self) -> int:
        return self.num_agent_steps


@dataclass
class OpenDecisions:
    """Decisions whose consequence is not known yet, one slot per environment, and the rows of those that closed."""

    num_envs: int
    gamma: float
    slots: dict[str, np.ndarray] = field(default_factory=dict)
    rows: list[Columnar] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.is_open = np.zeros(self.num_envs, bool)
        self.reward = np.zeros(self.num_envs)
        self.duration = np.zeros(self.num_envs, np.int64)  # [steps]

    def start(self, envs: np.ndarray, values: Mapping[str, np.ndarray | None]) -> None:
        """Opens a decision in `envs`; `values` are what its row will hold, (len(envs), ...)."""
        self.fill(envs, values)
        self.is_open[envs], self.reward[envs], self.duration[envs] = True, 0.0, 0

    def fill(self, envs: np.ndarray, values: Mapping[str, np.ndarray | None]) -> None:
        """Adds to what the rows of the decisions in `envs` will hold."""
        for name, value in values.items():
            if value is None:
                continue
            if name not in self.slots:
                self.slots[name] = np.zeros((self.num_envs, *value.shape[1:]), value.dtype)
            self.slots[name][envs] = value

    def accumulate(self, reward: np.ndarray) -> None:
        self.reward += self.gamma**self.duration * reward
        self.duration += 1

    def close(self, envs: np.ndarray, is_last: bool, **outcome: np.ndarray) -> None:
        """Closes those of `envs` that are open; `outcome` is what followed, (len(envs), ...)."""
        open_ = self.is_open[envs]
        envs = envs[open_]
        if len(envs) == 0:
            return
        row = {name: slot[envs].copy() for name, slot in self.slots.items()}
        row |= {"env": envs, "reward": self.reward[envs], "duration": self.duration[envs]}
        row |= {"is_last": np.full(len(envs), is_last), **{name: value[open_] for name, value in outcome.items()}}
        self.rows.append(row)
        self.is_open[envs] = False

    def get_state(self) -> dict[str, Any]:
        """The open decisions; rows of closed ones have been taken before. Copies."""
        arrays = {"is_open": self.is_open, "reward": self.reward, "duration": self.duration}
        slots = {name: slot.copy() for name, slot in self.slots.items()}
        return {"slots": slots, **{name: array.copy() for name, array in arrays.items()}}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Waits for the consequences of another one's decisions; CheckpointError if they are of another batch."""
        for name in ("is_open", "reward", "duration"):
            take(state[name], getattr(self, name), name)
        for name, slot in state["slots"].items():
            if len(slot) != self.num_envs:
                raise CheckpointError(f"state: slots/{name} has {len(slot)} rows; allowed: {self.num_envs}")
        self.slots = {name: slot.copy() for name, slot in state["slots"].items()}
        self.rows = []

    def take_rows(self) -> list[Columnar]:
        rows, self.rows = self.rows, []
        return rows


def shaped_reward(
    shaping: Any, reward: np.ndarray, done: np.ndarray, ended: Any, before: Any, after: Any
) -> np.ndarray:
    """The reward (N,) of a step as a tier learns from it: penalties scaled, its own additions added.

    Args:
        shaping: the tier's setting `reward_shaping`.
        reward: (N,) of the environment.
        done: (N,) whether an episode ended in the step.
        ended: (N,) metrics of the episodes that ended.
        before, after: (N,) metrics of the episodes under way, before and after the step; None before the first.
    """
    reward = np.where(reward < 0, shaping.penalty_scale * reward, reward)
    for name, weight in shaping.metrics.items():
        now = np.where(done, ended[name], after[name])
        reward = reward + weight * (now - (0 if before is None else before[name]))
    return reward


def advantages(rows: list[Columnar], num_envs: int, gamma: float, lambda_: float) -> tuple[np.ndarray, np.ndarray]:
    """Generalised advantage estimation over decisions of varying length: (advantages, value targets), in row order.

    delta = R + gamma^tau V(next) - V; A = delta + gamma^tau lambda A(next decision of the same environment). Each block
    of `rows` has an environment at most once and blocks are in time order; `next_value` is 0 after termination and
    V(last observation) after truncation.
    """
    following = np.zeros(num_envs)
    blocks: list[np.ndarray] = []
    for row in reversed(rows):
        env, discount = row["env"], gamma ** row["duration"]
        delta = row["reward"] + discount * row["next_value"] - row["value"]
        advantage = delta + discount * lambda_ * following[env] * ~row["is_last"]
        following[env] = advantage
        blocks.append(advantage)
    advantage = np.concatenate(blocks[::-1])
    return advantage, advantage + np.concatenate([row["value"] for row in rows])


def n_step_rows(steps: Columnar, n_step: int, gammas: Mapping[str, float]) -> Columnar:
    """Transitions over up to `n_step` steps, never across the end of an episode.

    Args:
        steps: (T, N, ...) columns of consecutive steps of N environments: `obs`, `next_obs` (the last observation where
            an episode ended), `action/<agent>`, `reward/<agent>`, `terminated`, `done`, and possibly `alive/<agent>`
            and `terminated/<agent>`; with a teacher `teacher/<agent>`; with memory `STREAM` and `AGE`.
        n_step: steps that are summed.
        gammas: agent -> discount per step.

    Returns:
        The first T - n_step + 1 steps as ((T - n_step + 1) * N, ...) rows, in time order.
    """
    length, num_envs = len(steps["done"]) - n_step + 1, steps["done"].shape[1]
    at_start, at_end = ("obs", "action", "alive", "teacher", STREAM, AGE), ("next_obs", "terminated")
    rows = {name: column[:length] for name, column in steps.items() if name.split("/")[0] in at_start}
    last, is_alive = np.zeros((length, num_envs), np.int64), np.ones((length, num_envs), bool)
    rewards = {name: np.zeros((length, num_envs)) for name in steps if name.startswith("reward/")}
    for k in range(n_step):
        for name, total in rewards.items():
            total += gammas[name.removeprefix("reward/")] ** k * steps[name][k : k + length] * is_alive
        last[is_alive] = k
        is_alive = is_alive & ~steps["done"][k : k + length]
    at = (np.arange(length)[:, None] + last, np.arange(num_envs)[None])
    rows |= {**rewards, **{name: column[at] for name, column in steps.items() if name.split("/")[0] in at_end}}
    rows["n_step"] = (last + 1).astype(np.float32)
    return {name: column.reshape(-1, *column.shape[2:]) for name, column in rows.items()}
