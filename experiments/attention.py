"""What a policy with attention looks at, in one step of one episode."""

from __future__ import annotations

from typing import Any

import numpy as np

import soc_env
from policies.networks.tokens import own_tokens
from soc_env.engine.tables import TRIAGE


def explained_moment(policy: Any, scenario: Any, seed: int) -> dict[str, Any]:
    """What a policy with attention looks at in one step of an episode: that with most cases in view.

    Args:
        policy: a trained policy.
        scenario: the scenario of the episode.
        seed: of the episode.

    Returns:
        {} without attention, else "minute", its number, and "agents": {agent: {"tokens": names, "decisions": names of
        those whose features actions come from, "shares": (T, T), mean over heads}}.
    """
    simulator = soc_env.Simulator(scenario, num_envs=1, seed=[seed])
    if not policy.attention(simulator.reset()):
        return {}
    minute, seen = _fullest_minute(policy, simulator)
    agents = {}
    for agent, shares in policy.attention(seen).items():
        tokens = policy.tokens(agent)
        names = {"tokens": tokens.names, "decisions": tokens.decisions(agent)}
        agents[agent] = {**names, "shares": np.round(shares[0].mean(0), 4).tolist()}
    return {"minute": minute, "agents": agents}


def _fullest_minute(policy: Any, simulator: Any) -> tuple[int, dict[str, np.ndarray]]:
    """The first step in which triage is shown most cases, and what everybody saw then; plays the episode."""
    most, found = -1, (0, simulator.observations)
    tokens = own_tokens(TRIAGE, simulator.observations[TRIAGE].shape[1])
    shown = tokens.cases[:, tokens.present]
    for step in range(simulator.scenario.max_steps):
        seen = {agent: observation.copy() for agent, observation in simulator.observations.items()}
        if (num_cases := int((seen[TRIAGE][0, shown] > 0).sum())) > most:
            most, found = num_cases, (step, seen)
        for agent, action in policy(seen, simulator.decides).items():
            simulator.actions[agent][...] = action
        simulator.step()
        if simulator.terminated[0]:
            break
    return found
