"""Who acts when, and for which tier: what the runner and the algorithm both read from configuration and environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym

from policies.scripted import Policy, make_policy
from policies.team import SCRIPTED
from soc_env.errors import ConfigError


@dataclass(frozen=True)
class Plan:
    """The team of one environment.

    Attributes:
        agents: all of them, in the environment's order.
        periods: agent -> steps between two of its decisions.
        members: tier -> its agents.
        tier_of: agent -> its tier.
        settings: tier -> its settings, as `HMARLConfig.tier` has them.
        learning: agents whose tier learns.
        on_policy: those of them that learn from their newest decisions alone.
        slow: agents that decide every K > 1 steps.
        scripted: tiers without networks.
    """

    agents: tuple[str, ...]
    periods: Mapping[str, int]
    members: Mapping[str, tuple[str, ...]]
    tier_of: Mapping[str, str]
    settings: Mapping[str, Any]
    learning: tuple[str, ...]
    on_policy: frozenset[str]
    slow: tuple[str, ...]
    scripted: tuple[str, ...]

    @classmethod
    def of(cls, config: Any, periods: Mapping[str, int]) -> Plan:
        """The plan of an `HMARLConfig` for an environment with these agents and decision periods."""
        agents = tuple(periods)
        members = config.members(agents)
        tier_of = {agent: tier for tier, own in members.items() for agent in own}
        learning = tuple(agent for agent in agents if config.trains(tier_of[agent]))
        return cls(
            agents=agents,
            periods=dict(periods),
            members=members,
            tier_of=tier_of,
            settings={tier: config.tier(tier) for tier in members},
            learning=learning,
            on_policy=frozenset(agent for agent in learning if config.is_on_policy(tier_of[agent])),
            slow=tuple(agent for agent in agents if periods[agent] > 1),
            scripted=tuple(tier for tier in members if config.tier_settings[tier]["algorithm"] == SCRIPTED),
        )

    def of_agent(self, agent: str) -> Any:
        """The settings of the agent's tier."""
        return self.settings[self.tier_of[agent]]

    @property
    def told(self) -> frozenset[str]:
        """Learning agents with critics that read the environment's state."""
        return frozenset(agent for agent in self.learning if self.of_agent(agent).reads_state)

    def minutes(self, agent: str) -> int:
        """Past observations that the agent's networks read beside the present one; 0 without memory."""
        memory = getattr(self.of_agent(agent), "memory", None)
        return 0 if memory is None else memory.minutes

    @property
    def remembering(self) -> list[str]:
        """Agents whose networks have memory."""
        return [agent for agent in self.agents if self.minutes(agent)]

    def learning_tiers(self, *, is_on_policy: bool) -> list[str]:
        """The tiers that learn in this way, in the order of tiers."""
        found = {self.tier_of[a] for a in self.learning if (a in self.on_policy) == is_on_policy}
        return [tier for tier in self.members if tier in found]

    def is_slow(self, tier: str) -> bool:
        """Whether the tier's rows are decisions that last several steps."""
        return self.members[tier][0] in self.slow

    @property
    def waiting(self) -> list[str]:
        """Learning agents whose rows wait for the consequence of a decision."""
        return [a for a in self.learning if a in self.on_policy or a in self.slow]

    @property
    def stored(self) -> list[str]:
        """Learning agents with one row a step."""
        return [a for a in self.learning if a not in self.on_policy and a not in self.slow]


def spaces_of_tiers(members: Mapping[str, Sequence[str]], env: Any) -> dict[str, tuple[gym.Space, gym.Space]]:
    """Tier -> observation and action space, which all of its agents have.

    Args:
        members: tier -> its agents.
        env: has `observation_spaces` and `action_spaces` by agent.

    Raises:
        ConfigError: agents of a tier differ.
    """
    spaces = {}
    for tier, agents in members.items():
        of = {agent: (env.observation_spaces[agent], env.action_spaces[agent]) for agent in agents}
        spaces[tier] = of[agents[0]]
        for agent, own in of.items():
            if own != spaces[tier]:
                raise ConfigError(
                    f"tier {tier!r}: agents {agents[0]!r} and {agent!r} differ in their spaces; allowed: the same"
                )
    return spaces


def told_state(env: Any) -> gym.spaces.Box | None:
    """The space of what an environment tells critics, or None: it needs `state_space`, `state()` and `final_states`."""
    space = getattr(env, "state_space", None)
    is_told = isinstance(space, gym.spaces.Box) and hasattr(env, "state") and hasattr(env, "final_states")
    return space if is_told else None


def check_told(tier: str, settings: Any, space: gym.Space | None, name: str) -> gym.Space | None:
    """`space`, that of the state which environments of that name tell, if the tier's critics read it; else None.

    Raises:
        ConfigError: they read it, and there is none.
    """
    if settings.reads_state and space is None:
        raise ConfigError(
            f"tier {tier!r}: critic.reads_state=True needs environments with state() and state_space; {name} has none"
        )
    return space if settings.reads_state else None


def make_scripted(tier: str, policy: Any, env: Any, action_spaces: Mapping[str, Any], seed: int) -> Policy:
    """The policy of a scripted tier, in the interface of `policies.scripted`.

    Args:
        tier: for messages.
        policy: in any form that `policies.scripted.builder_of` knows.
        env: what the configuration says.
        action_spaces: agent -> space as tiers see it, of all agents.
        seed: of its draws.

    Raises:
        ConfigError: there is no such policy.
    """
    return make_policy(policy, env, action_spaces, seed, f"tier {tier!r}: policy")
