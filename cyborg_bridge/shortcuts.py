"""Run-time speed-ups of one CybORG object: work that nobody reads is skipped, what comes out stays the same.

No file and no class of CybORG is changed: the shortcuts are attributes of one SimulationController and of its reward
calculators, and go when they are taken away. Profiled at checkout 8c3c50c, per cent of a step's time:

* 55: a full true state for each of three teams' rewards. CC4's reward calculators do not look at it.
* 20: filtering every agent's observation by address, most of which hold no host and so no address; the set of the
  network's addresses is built anew each time.

`tests/cyborg_bridge/test_cage4_live.py` holds whole episodes with and without them against each other, byte by byte.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# Reward calculators known not to read `current_state`; any other one keeps its true state.
BLIND_REWARDS = ("BlueRewardMachine", "EmptyRewardCalculator")


def apply_shortcuts(controller: Any) -> Callable[[], None]:
    """Speeds up one CybORG `SimulationController`, resets included.

    Returns:
        A function that takes everything back; calling it again does nothing.
    """
    blind = [
        calculator
        for team in controller.team_reward_calculators.values()
        for calculator in team.values()
        if type(calculator).__name__ in BLIND_REWARDS
    ]
    for calculator in blind:
        calculator.calculate_simulation_reward = _reward_without_true_state(calculator)
    controller._filter_obs = _filter_hosts_only(controller)

    def undo() -> None:
        for calculator in blind:
            vars(calculator).pop("calculate_simulation_reward", None)
        vars(controller).pop("_filter_obs", None)

    return undo


def _reward_without_true_state(calculator: Any) -> Callable[[Any], float]:
    def reward(controller: Any) -> float:
        return calculator.calculate_reward(
            None, controller.action, controller.observation, controller.done, controller.state
        )

    return reward


def _filter_hosts_only(controller: Any) -> Callable[..., Any]:
    """The controller's `_filter_obs`, for observations that hold a host; the others are returned as they are."""
    known: dict[str, Any] = {"map": None, "addresses": frozenset()}  # of the current episode

    def filter_obs(observation: Any, agent_name: str | None = None) -> Any:
        if not any(
            isinstance(entry, dict) or hasattr(entry, "filter_addresses") for entry in observation.data.values()
        ):
            return observation
        if known["map"] is not controller.hostname_ip_map:
            known.update(map=controller.hostname_ip_map, addresses=frozenset(controller.hostname_ip_map.values()))
        cidrs = controller.subnet_cidr_map
        allowed = cidrs if agent_name is None else controller.agent_interfaces[agent_name].allowed_subnets
        observation.filter_addresses(
            ips=known["addresses"], cidrs=[cidrs[name] for name in allowed], include_localhost=False
        )
        return observation

    return filter_obs
