"""The environment as PyMARL wants it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from soc_env.engine.scenario import Scenario
from soc_env.errors import ActionError
from soc_env.parallel import parallel_env


class PyMARLEnv:
    """PyMARL's MultiAgentEnv: homogenised Discrete actions with masks, lists in the order of the agents.

    Attributes:
        n_agents: 4.
        episode_limit: Steps after which an episode is truncated.
    """

    def __init__(self, scenario: str | Scenario = "soc-v1", seed: int | None = None, **overrides: Any) -> None:
        """Args: as `parallel_env`. PyMARL passes its `env_args` here."""
        self.env = parallel_env(scenario, actions="discrete", masks="obs", homogenize=True, seed=seed, **overrides)
        self._agents = list(self.env.possible_agents)
        self.n_agents = len(self._agents)
        self.episode_limit = self.env.max_cycles
        self._next_seed: int | None = None

    def reset(self) -> tuple[list[np.ndarray], np.ndarray]:
        """Starts the next episode; observations and state."""
        self._last, _ = self.env.reset(self._next_seed)
        self._next_seed = None
        return self.get_obs(), self.get_state()

    def step(self, actions: Sequence[Any]) -> tuple[float, bool, dict[str, Any]]:
        """One step.

        Args:
            actions: A choice per agent.

        Returns:
            The team's reward, whether the episode is over, and an info whose `episode_limit` is True if it was cut off
            (the learner then bootstraps); the last one of an episode also has the metrics.
        """
        if len(actions) != self.n_agents:
            raise ActionError(f"actions have {len(actions)} entries; allowed: {self.n_agents}, one per agent")
        joint = dict(zip(self._agents, actions, strict=True))
        self._last, rewards, terminations, truncations, _ = self.env.step(joint)
        first = self._agents[0]
        is_over = terminations[first] or truncations[first]
        info: dict[str, Any] = dict(self.env.metrics()) if is_over else {}
        info["episode_limit"] = truncations[first] and not terminations[first]
        return rewards[first], is_over, info

    def get_obs(self) -> list[np.ndarray]:
        """An observation per agent."""
        return [self.get_obs_agent(index) for index in range(self.n_agents)]

    def get_obs_agent(self, agent_id: int) -> np.ndarray:
        """(get_obs_size(),) float32."""
        return self._last[self._agents[agent_id]]["observation"]

    def get_obs_size(self) -> int:
        """Entries of an observation."""
        return self.env.layout.observation_size(self._agents[0])

    def get_state(self) -> np.ndarray:
        """(get_state_size(),) float32, the global state."""
        return self.env.state()

    def get_state_size(self) -> int:
        """Entries of the state."""
        return self.env.state_space.shape[0]  # type: ignore[index]

    def get_avail_actions(self) -> list[list[int]]:
        """A 0/1 mask per agent."""
        return [self.get_avail_agent_actions(index) for index in range(self.n_agents)]

    def get_avail_agent_actions(self, agent_id: int) -> list[int]:
        """One agent's 0/1 mask."""
        return self._last[self._agents[agent_id]]["action_mask"].tolist()

    def get_total_actions(self) -> int:
        """Choices of every agent, padding included."""
        return self.env.layout.action_size(self._agents[0])

    def get_env_info(self) -> dict[str, int]:
        """What PyMARL sizes its networks and buffers by."""
        return {
            "state_shape": self.get_state_size(),
            "obs_shape": self.get_obs_size(),
            "n_actions": self.get_total_actions(),
            "n_agents": self.n_agents,
            "episode_limit": self.episode_limit,
        }

    def get_stats(self) -> dict[str, float]:
        """Nothing beyond the infos."""
        return {}

    def seed(self, seed: int | None = None) -> None:
        """The next `reset` starts the stream of episodes of this seed."""
        self._next_seed = seed

    def render(self) -> Any:
        """The environment's frame, if it was given a render_mode."""
        return self.env.render()

    def save_replay(self) -> None:
        """PyMARL asks for it; there are no replay files."""

    def close(self) -> None:
        """Closes the environment."""
        self.env.close()
