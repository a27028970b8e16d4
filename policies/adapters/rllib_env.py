"""The simulator as an RLlib MultiAgentEnv, for RLlib's stock algorithms and env runners.

`HMARL` does not use it (its columnar runner steps a batched `soc_env.Simulator`, about ten times as fast).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ray.rllib.env.multi_agent_env import MultiAgentEnv

import soc_env


class SOCMultiAgentEnv(MultiAgentEnv):
    """`soc_env.parallel_env(coordinator="absent")` in RLlib's terms.

    The coordinator is in no dict between its decisions; its reward is then the sum since the last one. The end is told
    by `__all__` alone: RLlib records per-agent truncations beside `__all__` as terminations, which would keep a cut-off
    episode from bootstrapping. Every agent gets the last observation.

    The team's reward goes to each agent, so that RLlib's `episode_return_mean` is four times it.
    """

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        """Builds the environment.

        Args:
            config: `scenario` (default "soc-v1") and the arguments of `soc_env.parallel_env`. With an int `seed` each
                sub-environment of each env runner plays a stream of its own that depends on it.

        Raises:
            ScenarioError: Unknown scenario or override, or a value out of range.
            ConfigError: An unknown option, or `coordinator`, which is fixed here.
        """
        options = dict(config or {})
        if options.pop("coordinator", "absent") != "absent":
            raise soc_env.ConfigError("coordinator is fixed in SOCMultiAgentEnv; allowed: 'absent'")
        if options.get("seed") is not None:
            place = (options["seed"], getattr(config, "worker_index", 0), getattr(config, "vector_index", 0))
            options["seed"] = int(np.random.SeedSequence(place).generate_state(1, np.uint64)[0])
        self.env = soc_env.parallel_env(**options, coordinator="absent")
        self.render_mode = self.env.render_mode
        self.metadata = self.env.metadata
        self.possible_agents = list(self.env.possible_agents)
        self.agents = list(self.possible_agents)
        self.observation_spaces = self.env.observation_spaces
        self.action_spaces = self.env.action_spaces
        super().__init__()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """Observations and infos of all agents: the coordinator decides in the first step."""
        observations, infos = self.env.reset(seed, options)
        self.agents = list(self.env.agents)
        return observations, infos

    def step(self, action_dict: dict[str, Any]) -> tuple[dict, dict, dict, dict, dict]:
        """The five dicts of the agents that act next, or of all agents at the end."""
        observations, rewards, terminations, truncations, infos = self.env.step(action_dict)
        agent = next(iter(terminations))
        is_terminated = terminations[agent]
        is_truncated = truncations[agent] and not is_terminated
        self.agents = list(self.env.agents)
        return observations, rewards, {"__all__": is_terminated}, {"__all__": is_truncated}, infos

    def metrics(self) -> dict[str, float | int]:
        """The episode so far, as `SOCEnv.metrics`."""
        return self.env.metrics()

    def render(self) -> Any:
        """The environment's frame."""
        return self.env.render()

    def close(self) -> None:
        """Closes the environment."""
        self.env.close()
