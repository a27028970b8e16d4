"""What CC4's score is made of: every charge of a step, by kind, zone and mission phase.

| kind | what is charged (source: CC4's BlueRewardMachine and Restore) |
|---|---|
| LWF | a green user's local work fails, in the user's zone |
| ASF | a green user's access to a service fails, in the user's zone |
| RIA | an Impact of red that worked, in its host's zone |
| RIA failed | an Impact of red that did not: CC4 charges it all the same |
| action cost | a Restore, at the step at which it begins, in its host's zone |

The *rest* is the score without red's Impacts where no blue agent guards, which blue cannot change: those in the
contractor zone in mission phase 0 are about half of a good score, and most of how it differs from episode to episode.

A `ScoreWatch` sits at one environment's own reward calculator; no class of CybORG is changed. `Cage4Env` holds its
charges against CybORG's reward in every step and raises `ScoreError` where they do not add up to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from cyborg_bridge.zones import ZONE_OF_SUBNET
from soc_env.errors import HMARLSOCError, unknown_name

WORK, ACCESS, IMPACT, FAILED_IMPACT, COST = KINDS = ("LWF", "ASF", "RIA", "RIA failed", "action cost")
IMPACTS = (IMPACT, FAILED_IMPACT)
CHARGED = {"GreenLocalWork": "LWF", "GreenAccessService": "ASF", "Impact": "RIA"}  # action -> column of CC4's table
PHASES = 3  # of the mission
UNGUARDED = {"contractor_network_subnet": "contractor", "internet_subnet": "internet"}
ZONES = {**ZONE_OF_SUBNET, **UNGUARDED}
"""Subnet -> zone, of all that can be charged."""


class Price(NamedTuple):
    """What red on a host can cost, in points, above 0."""

    work: int
    """A user's local work that fails."""
    impact: int
    """An Impact."""


_HEADQUARTERS = (Price(1, 3),) * PHASES
PRICES: dict[str, tuple[Price, ...]] = {
    "public_access_zone_subnet": _HEADQUARTERS,
    "admin_network_subnet": _HEADQUARTERS,
    "office_network_subnet": _HEADQUARTERS,
    "restricted_zone_a_subnet": (Price(1, 1), Price(2, 3), Price(1, 3)),
    "operational_zone_a_subnet": (Price(1, 1), Price(10, 10), Price(1, 1)),
    "restricted_zone_b_subnet": (Price(1, 1), Price(1, 1), Price(2, 3)),
    "operational_zone_b_subnet": (Price(1, 1), Price(1, 1), Price(10, 10)),
}
"""Guarded subnet -> by mission phase (source: columns LWF and RIA of CC4's BlueRewardMachine). Policies go by it; what
is charged is read from CybORG itself."""
RESTORE_PRICE = 1  # points; the only action of blue's that costs any


def is_stressed(subnet: str, phase: int) -> bool:
    """Whether the mission phase is about that operational zone: what fails there costs ten times as much."""
    return PRICES[subnet][phase].work == 10


class ScoreError(HMARLSOCError, RuntimeError):
    """CybORG's score of a step is not what its charges add up to: a CybORG that this module does not know."""


class Charge(NamedTuple):
    """One charge of one step."""

    kind: str
    """One of `KINDS`."""
    zone: str
    """One of `ZONES`."""
    phase: int
    """Mission phase: 0, 1 or 2."""
    points: float
    """Below 0. What costs nothing is no charge."""

    @property
    def is_in_the_rest(self) -> bool:
        """Whether blue could have done something about it."""
        return not (self.kind in IMPACTS and self.zone in UNGUARDED.values())


def rest_of(charges: Iterable[Charge]) -> float:
    """The part of a score that blue can change."""
    return sum((charge.points for charge in charges if charge.is_in_the_rest), 0.0)


class ScoreWatch:
    """Reads off what a CybORG's reward calculator charges, when it does; it changes nothing of what that returns.

    Args:
        controller: CybORG's SimulationController, of one environment.
    """

    def __init__(self, controller: Any) -> None:
        self._controller = controller
        (self._machine,) = controller.team_reward_calculators["Blue"].values()
        self._machine.calculate_reward = self.calculate_reward  # of this one object
        self._columns: dict[type, str | None] = {}
        self._charges: list[Charge] = []

    def calculate_reward(
        self, current_state: Any, actions: Mapping[str, Any], observations: Mapping[str, Any], done: bool, state: Any
    ) -> float:
        """CybORG's own, called through its reward calculator."""
        machine = self._machine
        charged = type(machine).calculate_reward(machine, current_state, actions, observations, done, state)
        # No entry of CC4's table is above 0, so that nothing was charged where the sum is 0.
        self._charges = list(self._read(actions, observations, state)) if charged else []
        return charged

    def _read(self, actions: Mapping[str, Any], observations: Mapping[str, Any], state: Any) -> Iterable[Charge]:
        phase = int(state.mission_phase)
        table = self._machine.get_phase_rewards(phase)
        for agent, begun in actions.items():
            column = self._column(type(begun[0])) if begun else None
            # As CybORG asks, and in that order: who has lost all sessions may have no observation.
            if column is None or not any(session.active for session in state.sessions[agent].values()):
                continue
            success = observations[agent].observations[0].data["success"]
            if column == IMPACT:
                is_charged, kind = "red" in agent and success, IMPACT if success == True else FAILED_IMPACT  # noqa: E712
            else:
                is_charged, kind = "green" in agent and success == False, column  # noqa: E712
            if is_charged:
                action = begun[0]
                host = action.hostname if column == IMPACT else state.ip_addresses[action.ip_address]
                subnet = state.hostname_subnet_map[host].value
                if points := float(table[subnet][column]):
                    yield Charge(kind, _zone(subnet), phase, points)

    def _column(self, kind: type) -> str | None:
        """The column of CC4's table that actions of a class are charged by; None for those that cost nothing there."""
        if kind not in self._columns:
            columns = (CHARGED[parent.__name__] for parent in kind.__mro__ if parent.__name__ in CHARGED)
            self._columns[kind] = next(columns, None)
        return self._columns[kind]

    def charges(self, submitted: Sequence[tuple[Any, str | None]], score: float) -> tuple[Charge, ...]:
        """The charges of the step that CybORG has just made.

        Args:
            submitted: of every blue agent, CybORG's action and the subnet it is about.
            score: CybORG's own of the step.

        Raises:
            ScoreError: they do not add up to `score`.
        """
        phase = int(self._controller.state.mission_phase)
        costs = [(subnet, float(action.cost)) for action, subnet in submitted if action.cost]
        found = (*self._charges, *(Charge(COST, _zone(subnet), phase, cost) for subnet, cost in costs))
        total = sum((charge.points for charge in found), 0.0)
        if total != score:
            raise ScoreError(
                f"step {self._controller.step_count}: the charges add up to {total:g}, CybORG's score is {score:g}; "
                "this CybORG charges something that cyborg_bridge.score does not know"
            )
        return found


def _zone(subnet: str | None) -> str:
    if subnet not in ZONES:
        raise ScoreError(unknown_name("charged subnet", subnet, ZONES))
    return ZONES[subnet]
