"""Run-time speed-ups of one CybORG object: work that nobody reads is skipped, what comes out stays the same.

No file and no class of CybORG is changed: the shortcuts are attributes of one SimulationController and of objects that
it owns, and go when they are taken away. CybORG draws the same random numbers in the same order. Profiled at checkout
8c3c50c, per cent of the step's time that was left when each was found:

* 55: a full true state for each of three teams' rewards. CC4's reward calculators do not look at it.
* 20: filtering every agent's observation by address, most of which hold no host and so no address; the set of the
  network's addresses is built anew each time.
* 20: which servers a green user may reach, though that changes with the mission phase only.
* 13: routes through a network without the hosts that block, though they change with a firewall only.
* 6: who can hear whom, host by host. 2: the network's links, though nothing in CC4 is wireless.

`tests/cyborg_bridge/test_cage4_live.py` holds whole episodes with and without them against each other, byte by byte.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

# Reward calculators known not to read `current_state`; any other one keeps its true state.
BLIND_REWARDS = ("BlueRewardMachine", "EmptyRewardCalculator")
ACCESS = "GreenAccessService"  # the action that asks which servers are within reach


def apply_shortcuts(controller: Any) -> Callable[[], None]:
    """Speeds up one CybORG `SimulationController`, resets included.

    Returns:
        A function that takes everything back; calling it again does nothing.
    """
    return Shortcuts(controller).undo


class BlindReward:
    """A calculator's `calculate_simulation_reward` without the true state that it does not read."""

    def __init__(self, calculator: Any) -> None:
        self.calculator = calculator

    def __call__(self, controller: Any) -> float:
        """The reward of the controller's last step."""
        return self.calculator.calculate_reward(
            None, controller.action, controller.observation, controller.done, controller.state
        )


class Shortcuts:
    """What is put in the place of methods of one controller, and what is kept from step to step.

    All of it is attributes of objects, no closures: so it goes along when the environment is copied or pickled.
    """

    def __init__(self, controller: Any) -> None:
        """Args:
        controller: the CybORG `SimulationController` to speed up.
        """
        self.controller = controller
        self.blind = [
            calculator
            for team in controller.team_reward_calculators.values()
            for calculator in team.values()
            if type(calculator).__name__ in BLIND_REWARDS
        ]
        for calculator in self.blind:
            calculator.calculate_simulation_reward = BlindReward(calculator)
        controller._filter_obs = self.filter_obs
        controller.execute_action = self.execute_action
        controller.sort_action_order = self.sort_action_order
        controller.get_connected_agents = self.get_connected_agents
        self._notice()

    def undo(self) -> None:
        """Takes everything back."""
        for calculator in self.blind:
            vars(calculator).pop("calculate_simulation_reward", None)
        for name in ("_filter_obs", "execute_action", "sort_action_order", "get_connected_agents"):
            vars(self.controller).pop(name, None)
        vars(self.controller.state).pop("update_data_links", None)

    def _notice(self) -> None:
        """Forgets what was known of the last episode: every episode has a new state, on another network."""
        state = self.controller.state
        self._state = state
        self._addresses = frozenset(state.ip_addresses)
        self._reachable: dict[Hashable, np.ndarray] = {}
        self._blocks: dict[str, list[str]] = {}
        self._routes: dict[Hashable, list[str] | None] = {}
        kinds = {interface.interface_type for host in state.hosts.values() for interface in host.interfaces}
        self._is_wired = "wireless" not in kinds
        if self._is_wired:
            state.update_data_links = leave_links

    # ------------------------------------------------------------------ observations
    def filter_obs(self, observation: Any, agent_name: str | None = None) -> Any:
        """As the controller's, for observations that hold a host; the others are returned as they are."""
        if not any(
            isinstance(entry, dict) or hasattr(entry, "filter_addresses") for entry in observation.data.values()
        ):
            return observation
        if self._state is not self.controller.state:
            self._notice()
        cidrs = self.controller.subnet_cidr_map
        allowed = cidrs if agent_name is None else self.controller.agent_interfaces[agent_name].allowed_subnets
        observation.filter_addresses(
            ips=self._addresses, cidrs=[cidrs[name] for name in allowed], include_localhost=False
        )
        return observation

    # ------------------------------------------------------------------ actions
    def execute_action(self, action: Any) -> Any:
        """As the controller's; a green user's choice among the servers within reach is made from a kept list."""
        state = self.controller.state
        if type(action).__name__ != ACCESS:
            return action.execute(state)
        action.random_reachable_ip = functools.partial(self._random_reachable_ip, action)
        try:
            return action.execute(state)
        finally:
            del action.random_reachable_ip

    def _random_reachable_ip(self, action: Any, state: Any) -> Any:
        if self._state is not state:
            self._notice()
        key = (action.ip_address, *action.allowed_subnets)
        if key not in self._reachable:
            asked = SimpleNamespace(
                ip_addresses=state.ip_addresses,
                hostname_subnet_map=state.hostname_subnet_map,
                subnet_name_to_cidr=state.subnet_name_to_cidr,
                np_random=SimpleNamespace(choice=_as_array),
            )
            self._reachable[key] = type(action).random_reachable_ip(action, asked)
        return state.np_random.choice(self._reachable[key])

    def sort_action_order(self, actions: Mapping[str, Sequence[Any]]) -> list[tuple[str, Any]]:
        """As the controller's, with routes that are found once for a state of the firewalls."""
        controller = self.controller
        if self._state is not controller.state:
            self._notice()
        if not self._is_wired:
            return type(controller).sort_action_order(controller, actions)
        blocks = controller.state.blocks
        if blocks != self._blocks:
            self._blocks = {place: list(sources) for place, sources in blocks.items()}
            self._routes.clear()
        routed = [action for begun in actions.values() for action in begun if hasattr(action, "get_route")]
        for action in routed:
            action.get_route = functools.partial(self._route, type(action).get_route)
        try:
            return type(controller).sort_action_order(controller, actions)
        finally:
            for action in routed:
                vars(action).pop("get_route", None)

    def _route(
        self, find: Callable[..., list[str] | None], state: Any, target: str, source: str, routing: bool = False
    ) -> list[str] | None:
        key = (find, target, source, routing)
        if key not in self._routes:
            self._routes[key] = find(state, target, source, routing)
        route = self._routes[key]
        return None if route is None else list(route)

    # ------------------------------------------------------------------ messages
    def get_connected_agents(self, agent: str) -> list[str]:
        """As the controller's: the other agents with a first session on a host that the agent's first session reaches;
        the agent itself if it has none."""
        state = self.controller.state
        homes = [session.hostname for session in state.sessions[agent].values() if session.parent is None]
        if not homes:
            return [agent]
        reached: Collection[str] = next((part for part in state.connected_components if homes[-1] in part), frozenset())
        return [
            other
            for other, sessions in state.sessions.items()
            if other != agent
            and any(session.parent is None and session.hostname in reached for session in sessions.values())
        ]


def _as_array(addresses: list[Any]) -> np.ndarray:
    """What `Generator.choice` would make of a list at every call."""
    array = np.empty(len(addresses), object)
    array[:] = addresses
    return array


def leave_links() -> None:
    """`State.update_data_links` where all links are wired: they and what they connect stay as they are."""
