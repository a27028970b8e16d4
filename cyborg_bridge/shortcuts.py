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
* 8: entries of the flat vectors that change with the mission phase only, by way of a graph.
* 10: making an array of the same few options for each choice of each green user, and checking it.

`tests/cyborg_bridge/test_cage4_live.py` holds whole episodes with and without them against each other, byte by byte.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from cyborg_bridge.zones import Zone

# Reward calculators known not to read `current_state`; any other one keeps its true state.
BLIND_REWARDS = ("BlueRewardMachine", "EmptyRewardCalculator")
ACCESS = "GreenAccessService"  # the action that asks which servers are within reach
USER = "EnterpriseGreenAgent"  # the agent that draws nothing but its class of action
EVENTS = {
    "processes": ("old_process_creation", "process_creation"),
    "connections": ("old_network_connections", "network_connections"),
}
"""Flags of a vector -> the events of a host that set them."""


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
        controller.send_messages = self.send_messages
        controller.get_connected_agents = self.get_connected_agents
        self._homes: dict[str, list[str]] | None = None
        self._notice()

    def undo(self) -> None:
        """Takes everything back."""
        for calculator in self.blind:
            vars(calculator).pop("calculate_simulation_reward", None)
        for name in ("_filter_obs", "execute_action", "sort_action_order", "send_messages", "get_connected_agents"):
            vars(self.controller).pop(name, None)
        vars(self.controller.state).pop("update_data_links", None)
        for agent in self._users():
            if isinstance(agent.np_random, KeptOptions):
                agent.np_random = agent.np_random.generator

    def _notice(self) -> None:
        """Forgets what was known of the last episode: every episode has a new state, on another network."""
        state = self.controller.state
        self._state = state
        self._addresses = frozenset(state.ip_addresses)
        self._reachable: dict[Hashable, list[Any]] = {}
        self._blocks: dict[str, list[str]] = {}
        self._routes: dict[Hashable, list[str] | None] = {}
        kinds = {interface.interface_type for host in state.hosts.values() for interface in host.interfaces}
        self._is_wired = "wireless" not in kinds
        if self._is_wired:
            state.update_data_links = leave_links
        for agent in self._users():
            if not isinstance(agent.np_random, KeptOptions):
                agent.np_random = KeptOptions(agent.np_random)

    def _users(self) -> list[Any]:
        agents = (interface.agent for interface in self.controller.agent_interfaces.values())
        return [agent for agent in agents if type(agent).__name__ == USER]

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
                np_random=SimpleNamespace(choice=_as_it_is),
            )
            self._reachable[key] = type(action).random_reachable_ip(action, asked)
        return choose(state.np_random, self._reachable[key])

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
    def send_messages(self, messages: Any = None) -> None:
        """As the controller's; while it sends, sessions stay where they are."""
        self._homes = self._find_homes()
        try:
            type(self.controller).send_messages(self.controller, messages)
        finally:
            self._homes = None

    def _find_homes(self) -> dict[str, list[str]]:
        """Agent -> hosts of its sessions without a parent."""
        return {
            agent: [session.hostname for session in sessions.values() if session.parent is None]
            for agent, sessions in self.controller.state.sessions.items()
        }

    def get_connected_agents(self, agent: str) -> list[str]:
        """As the controller's: the other agents with a first session on a host that the agent's first session reaches;
        the agent itself if it has none."""
        homes = self._find_homes() if self._homes is None else self._homes
        if not homes[agent]:
            return [agent]
        parts = self.controller.state.connected_components
        reached: Collection[str] = next((part for part in parts if homes[agent][-1] in part), frozenset())
        return [other for other, hosts in homes.items() if other != agent and any(host in reached for host in hosts)]


class KeptOptions:
    """The random generator of a green user, who needs nothing of it but `choice`."""

    def __init__(self, generator: Any) -> None:
        self.generator = generator

    def choice(self, options: Sequence[Any]) -> Any:
        """As the generator's."""
        return choose(self.generator, options)


def choose(generator: Any, options: Sequence[Any]) -> Any:
    """As `generator.choice(options)` of a list of objects, which makes an array of it and takes long for its checks."""
    if CHOICE_IS_INTEGERS:
        return options[generator.integers(0, len(options))]
    return generator.choice(options)


def _is_choice_integers() -> bool:
    """Whether this NumPy draws one of n options as it draws a whole number below n; it says so nowhere."""
    one, other = (np.random.default_rng(0) for _ in range(2))
    numbers = [n for n in (1, 2, 3, 7, 16, 50) for _ in range(40)]
    drawn = [(one.choice(list(range(n))), other.integers(0, n)) for n in numbers]
    return all(a == b for a, b in drawn) and one.bit_generator.state == other.bit_generator.state


CHOICE_IS_INTEGERS = _is_choice_integers()


class Vectors:
    """A BlueFlatWrapper's `observation_change`: of each agent's first vector in a mission phase the entries that stay
    are kept, and what changes is filled in."""

    def __init__(self, wrapper: Any, zones: Mapping[str, Zone]) -> None:
        """Args:
        wrapper: the BlueFlatWrapper.
        zones: agent -> what is where in its vectors.
        """
        self.wrapper, self.zones = wrapper, zones
        self._policies: Any = None
        self._kept: dict[tuple[str, int], np.ndarray] = {}

    def __call__(self, agent: str, observation: Mapping[str, Any]) -> np.ndarray:
        """(entries,) int64, a fresh array."""
        state = self.wrapper.env.environment_controller.state
        if self._policies is not self.wrapper.comms_policies:  # new ones every episode
            self._policies, self._kept = self.wrapper.comms_policies, {}
        key = agent, state.mission_phase
        if key not in self._kept or "message" not in observation:
            vector = type(self.wrapper).observation_change(self.wrapper, agent, observation)
            self._kept[key] = vector.copy()
            return vector
        zone, vector = self.zones[agent], self._kept[key].copy()
        for subnet in zone.subnets:
            fields, blocked = zone.fields[subnet], state.blocks.get(subnet, ())
            vector[fields["blocked"]] = [source in blocked for source in zone.all_subnets]
            hosts = [state.hosts.get(slot) for slot in zone.hosts[subnet]]
            for flag, (old, new) in EVENTS.items():
                vector[fields[flag]] = [
                    host is not None and bool(getattr(host.events, old) or getattr(host.events, new)) for host in hosts
                ]
        messages = np.concatenate(observation["message"])
        vector[-len(messages) :] = messages
        return vector


def _as_it_is(options: list[Any]) -> list[Any]:
    return options


def leave_links() -> None:
    """`State.update_data_links` where all links are wired: they and what they connect stay as they are."""
