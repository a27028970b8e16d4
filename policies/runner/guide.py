"""A teacher beside the policies that learn: what it would do in each situation, and where it acts in their place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from policies.runner.batched_env import import_path
from policies.runner.plan import Plan
from policies.runner.rows import Columnar
from soc_env.errors import ConfigError


class Guide:
    """Asks the teacher, once a step, for all environments of a batch.

    Args:
        policy: of the teacher: `policies.scripted.Policy`, any callable of its form, or a trained policy. It is told
            that every agent decides at every step: what it says between two decisions is a lesson too.
        env: the batch.
        plan: who learns.

    Attributes:
        taught: learning agent -> what the teacher would do in the present step; zeros where it was not asked.
        leads: (N,) where it acts itself.
    """

    def __init__(self, policy: Any, env: Any, plan: Plan):
        self.policy, self.env, self.agents = policy, env, plan.learning
        self.name = import_path(type(policy))
        if getattr(policy, "needs_state", False) and not hasattr(env, "state"):
            raise ConfigError(f"teacher: {self.name} reads the true state, which the environment does not tell")
        self.leads = np.zeros(len(env.decides), bool)
        self._everyone = np.ones(len(env.decides), bool)
        self.taught: Columnar = self._nothing()

    def ask(self, share: float | None, observation: Columnar) -> None:
        """Asks about a step; `share` of the environments are drawn in which the teacher acts. None: it is not asked."""
        num_envs = len(self._everyone)
        self.leads = np.zeros(num_envs, bool)
        if share is None:
            self.taught = self._nothing()
            return
        if getattr(self.policy, "needs_state", False):
            self.policy.state = self.env.state()
        said = self.policy(observation, self._everyone)
        self.taught = {agent: self._checked(agent, said) for agent in self.agents}
        if share > 0:  # no draws of its own where it never acts
            self.leads = (torch.rand(num_envs) < share).numpy()

    def lead(self, agent: str, envs: np.ndarray, executed: np.ndarray) -> np.ndarray:
        """The agent's actions in `envs`: the teacher's where it acts, else those that were executed without it."""
        leads = self.leads[envs]
        if agent not in self.taught or not leads.any():
            return executed
        actions = executed.copy()
        actions[leads] = self.taught[agent][envs[leads]]
        return actions

    def _nothing(self) -> Columnar:
        return {agent: np.zeros_like(self.env.actions[agent]) for agent in self.agents}

    def _checked(self, agent: str, said: Mapping[str, Any]) -> np.ndarray:
        """What the teacher says for an agent, as the environment takes it.

        Raises:
            ConfigError: it says nothing, or what is no action of the agent.
        """
        space, own = self.env.action_spaces[agent], self.env.actions[agent]
        if agent not in said:
            raise ConfigError(f"teacher: it says nothing for {agent}; it has to act for {', '.join(self.agents)}")
        actions = np.array(said[agent], own.dtype)
        if actions.shape != own.shape:
            raise ConfigError(f"teacher: {agent} acts in shape {actions.shape}, allowed: {own.shape}")
        if isinstance(space, gym.spaces.Discrete):
            wrong = (actions < 0) | (actions >= int(space.n))
            allowed = f"0 to {int(space.n) - 1}"
        else:
            actions, wrong, allowed = np.clip(actions, space.low, space.high), np.isnan(actions), "numbers"
        if wrong.any():
            raise ConfigError(f"teacher: {agent} does {actions[wrong][0]}, allowed: {allowed}")
        return actions

    # ---- state
    def get_state(self) -> Any:
        """What the teacher remembers, as plain data; None if it says nothing of it."""
        return self.policy.get_state() if hasattr(self.policy, "get_state") else None

    def set_state(self, state: Any) -> None:
        """Goes on from `get_state`."""
        if state is not None:
            self.policy.set_state(state)
