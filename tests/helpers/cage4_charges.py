"""What CC4's reward calculator was given, recorded step by step, so that charges are tested where there is no CybORG.

To record it anew (needs CYBORG_HOME): ``python tests/helpers/cage4_charges.py``. The file holds no code of
CybORG's, but its table of points, the actions that the table is about (of those that went well only every tenth
step's), and the scores that CybORG gave.
"""

from __future__ import annotations

import enum
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cyborg_bridge.score import CHARGED, ScoreWatch

FILE = Path(__file__).parents[1] / "data/cage4-charges.json.gz"
STEPS, SEED = 150, 6  # three mission phases of 50 steps
POLICIES = ("sleep", "raw-rule", "random-valid")


class Success(enum.Enum):
    """As CybORG's: equal to a truth value, and never false by itself."""

    TRUE, UNKNOWN, FALSE, IN_PROGRESS = range(1, 5)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, bool):
            return self is (Success.TRUE if other else Success.FALSE)
        return self is other

    __hash__ = enum.Enum.__hash__


ACTIONS = {name: type(name, (), {}) for name in (*CHARGED, "Sleep")}


class Machine:
    """A reward calculator that charges what it is told to."""

    def __init__(self, table: dict[str, Any]) -> None:
        self.table, self.charged = table, 0.0

    def get_phase_rewards(self, phase: int) -> dict[str, dict[str, float]]:
        return self.table[str(phase)]

    def calculate_reward(self, *_: Any) -> float:
        return self.charged


class Scene:
    """A watched reward calculator whose steps are written by hand: rows of agent, action, success, host, active."""

    def __init__(self, table: dict[str, Any]) -> None:
        self.machine = Machine(table)
        self.controller = SimpleNamespace(team_reward_calculators={"Blue": {"machine": self.machine}}, step_count=7)
        self.watch = ScoreWatch(self.controller)

    def step(self, phase: int, rows: list[list[Any]], charged: float, costs: list[Any], score: float) -> Any:
        hosts = {row[3]: row[3] for row in rows}
        sessions = {row[0]: {0: SimpleNamespace(active=row[4])} for row in rows}  # without one, nothing is observed
        state = SimpleNamespace(
            mission_phase=phase,
            ip_addresses=hosts,
            hostname_subnet_map={host: SimpleNamespace(value=subnet_of(host)) for host in hosts},
            sessions=sessions,
        )
        actions: dict[str, list[Any]] = {"green_agent_99": []}
        observations = {}
        for agent, name, success, host, _ in rows:
            action = ACTIONS[name]()
            action.hostname = action.ip_address = host  # type: ignore[attr-defined]
            actions[agent] = [action]
            seen = [SimpleNamespace(data={"success": Success[success]})]
            observations[agent] = SimpleNamespace(observations=seen if sessions[agent][0].active else [])
        self.controller.state, self.machine.charged = state, charged
        # As CybORG calls it: through the object, whose attribute the watch is.
        assert self.machine.calculate_reward(None, actions, observations, False, state) == charged
        return self.watch.charges([(SimpleNamespace(cost=cost), subnet) for subnet, cost in costs], score)


def subnet_of(host: str) -> str:
    """The subnet of a host by its name."""
    return "internet_subnet" if "internet" in host else host[: host.index("_subnet") + len("_subnet")]


def record() -> dict[str, Any]:
    """An episode of each policy: its steps as `Scene.step` takes them."""
    from cyborg_bridge import cage4_parallel_env

    env = cage4_parallel_env(steps=STEPS, observation="raw", patch=True)
    machine = env.wrapper.env.environment_controller.team_reward_calculators["Blue"]["BlueRewardMachine"]
    table = {str(phase): machine.get_phase_rewards(phase) for phase in range(3)}
    return {"table": table, "episodes": {name: list(_episode(env, machine, name)) for name in POLICIES}}


def _episode(env: Any, machine: Any, name: str) -> Iterator[list[Any]]:
    from cyborg_bridge.controls import make_control

    policy, watched, rows = make_control(name, seed=0), machine.calculate_reward, []

    def calculate(true_state: Any, actions: Any, observations: Any, done: bool, state: Any) -> float:
        every = env.wrapper.env.environment_controller.step_count % 10 == 0
        for agent, begun in actions.items():
            if begun and (kind := type(begun[0]).__name__) in CHARGED:
                active = any(session.active for session in state.sessions[agent].values())
                success = observations[agent].observations[0].data["success"].name if active else "UNKNOWN"
                host = begun[0].hostname if kind == "Impact" else state.ip_addresses[begun[0].ip_address]
                assert "internet" in host or host.startswith(state.hostname_subnet_map[host].value)
                if every or success != "TRUE" or "red" in agent:
                    rows.append([agent, kind, success, host, active])
        return watched(true_state, actions, observations, done, state)

    machine.calculate_reward = calculate
    observations, infos = env.reset(seed=SEED)
    while env.agents:
        rows.clear()
        actions = policy.act(observations, infos, env)
        begun = [(a, i) for a, i in actions.items() if not infos[a]["busy"]]
        sent = [(env.zone(a).orders[i].subnet, env.wrapper.actions(a)[i].cost) for a, i in begun]
        observations, rewards, _, _, infos = env.step(actions)
        phase, score = int(observations[env.possible_agents[0]][0]), rewards[env.possible_agents[0]]
        costs = [[subnet, cost] for subnet, cost in sent if cost]
        yield [phase, list(rows), score - sum(cost for _, cost in costs), costs, score]
    machine.calculate_reward = watched


def load() -> dict[str, Any]:
    """The recorded episodes."""
    return json.loads(gzip.decompress(FILE.read_bytes()))


if __name__ == "__main__":
    text = json.dumps(record(), separators=(",", ":"))
    FILE.write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))
    print(f"{FILE}: {FILE.stat().st_size // 1000} kB")
