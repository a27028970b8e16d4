"""The batched simulator of the `soc-v1` family."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import networkx as nx
import numpy as np

from soc_env.engine.simulator import Simulator
from soc_env.engine.state import Limits, Tree
from soc_env.engine.tables import AGENTS, TRIAGE
from soc_env.errors import ConfigError, ScenarioError, shown
from soc_env.memory import check_memory
from soc_env.soc.attack import TECHNIQUES
from soc_env.soc.intruders import INTRUDER_FAMILIES, families
from soc_env.soc.kernels import step as kernels
from soc_env.soc.kernels.state import (
    ASSET,
    EPISODE,
    HOST,
    LOG,
    LOG_KINDS,
    MAX_TRACKED,
    Records,
)
from soc_env.soc.kernels.world import make_networks, make_world
from soc_env.soc.limits import check_records, network_digest, state_limits
from soc_env.soc.networks import Network, cage4, enterprise
from soc_env.soc.risk_model import RiskModel
from soc_env.soc.scenario import SOCScenario
from soc_env.soc.tables import (
    CHOICES_READ,
    DEEP_SCAN,
    DONE,
    ENRICH_CHOICE,
    FAILED,
    HUNT,
    HUNT_SHARE,
    HUNT_SHARE_SPAN,
    METRICS,
    OUTCOMES,
    POSTURE_HUNT,
    PRIORITY_WEIGHT,
    REWARD_TERMS,
    STARTED,
    TOOL_NAMES,
    TOOLS,
    actions,
    features,
    possible_choices,
    state_features,
    tools,
)

NETWORK_BYTES = 100  # of a host of a generated network, about
PAID_OUTCOMES = (DONE, STARTED, FAILED)
TEST_SEEDS = 1_000_000  # offset of the generator's seeds of the test split
GENERATORS = {
    "enterprise": lambda scenario, seed: enterprise(scenario.num_hosts, seed, scenario.num_zones),
    "cage4": lambda scenario, seed: cage4(seed),
}


@functools.lru_cache(maxsize=8)
def scenario_networks(scenario: SOCScenario) -> tuple[Network, ...]:
    """The networks that a scenario's episodes play on.

    Raises:
        ConfigError: A network file that is broken, or that does not have the scenario's number of zones.
    """
    if scenario.network:
        network = Network.load(scenario.network)
        if network.num_zones != scenario.num_zones:
            raise ScenarioError(
                f"num_zones={scenario.num_zones} does not fit the network file, which has {network.num_zones}: "
                f"give num_zones={network.num_zones}"
            )
        return (network,)
    check_memory(
        f"num_networks={scenario.num_networks} of num_hosts={scenario.num_hosts}",
        scenario.num_networks * scenario.num_hosts * NETWORK_BYTES,
    )
    first = scenario.network_seed + (TEST_SEEDS if scenario.split == "test" else 0)
    return tuple(GENERATORS[scenario.topology](scenario, first + k) for k in range(scenario.num_networks))


class SOCSimulator(Simulator):
    """`Simulator` of `soc-v1` and its kin.

    Adds `networks`, `campaigns`, `cases`, `calls`, `decode`, `set_calls`, `log` and `action_masks`. Episodes always
    last `max_steps` minutes: `terminated` stays False.
    """

    kernels = kernels
    num_shared = 3
    constants = (*Simulator.constants, "networks", "families")
    lists = {"hosts": "num_tracked", "log": "num_log"}
    metric_table, reward_table, tool_table = METRICS, REWARD_TERMS, TOOLS  # `tools(scenario)` from the start on
    scenario: SOCScenario
    _engine: Records

    def __init__(self, *args: Any, log_capacity: int = 0, **kwargs: Any) -> None:
        """As `Simulator`; log_capacity: entries of the event log kept of each env's episode, see `log`."""
        if isinstance(log_capacity, bool) or not isinstance(log_capacity, int) or log_capacity < 0:
            raise ConfigError(f"log_capacity={shown(log_capacity)} must be an integer of at least 0")
        self._log_capacity = log_capacity
        super().__init__(*args, **kwargs)

    def _make_engine(self) -> Records:
        scenario, n = self.scenario, self.num_envs
        zones = scenario.num_zones
        has_levels, self.tool_table = scenario.finding_levels, tools(scenario)
        self.feature_tables = {agent: features(agent, zones, has_levels) for agent in AGENTS}
        self.action_tables = {agent: actions(agent, zones) for agent in AGENTS}
        self.state_table = state_features(zones, has_levels)
        names = self.features(TRIAGE)
        self._mask_columns = [names.index(name) for name in CHOICES_READ]
        self.networks = self._choose_networks()
        self.families = (
            tuple(family for family in INTRUDER_FAMILIES if family.name in scenario.families)
            if scenario.families
            else families("train") + (families("test") if scenario.split == "test" else ())
        )
        networks, assets = make_networks(scenario, list(self.networks))
        num_hosts = assets.shape[1]
        of_hosts = min(num_hosts, MAX_TRACKED) * HOST.itemsize + 2 * num_hosts
        kept = f", log_capacity={shown(self._log_capacity)}" if self._log_capacity else ""
        self._check_memory(EPISODE.itemsize + of_hosts + self._log_capacity * LOG.itemsize, kept)
        return Records(
            make_world(scenario, self.families),
            networks,
            assets,
            np.zeros(n, EPISODE),
            np.zeros((n, min(num_hosts, MAX_TRACKED)), HOST),
            np.zeros((n, num_hosts), np.int16),
            np.zeros((n, self._log_capacity), LOG),
        )

    def _choose_networks(self) -> tuple[Network, ...]:
        """What episodes play on."""
        return scenario_networks(self.scenario)

    def _metric_rows(self, metrics: np.ndarray) -> np.ndarray:
        return metrics.view(np.float64).reshape(self.num_envs, len(METRICS))

    def made_for(self) -> dict[str, Any]:
        """The networks and the risk model themselves in place of the names of their files."""
        model = self.scenario.risk_model and RiskModel.find(self.scenario.risk_model).hash()
        return {**super().made_for(), "network": network_digest(self._engine), "risk_model": model}

    def _state_limits(self) -> Limits:
        return state_limits(self.scenario, self._engine, len(self.families))

    def _check_records(self, arrays: Tree) -> None:
        check_records(self._engine, arrays)

    # ------------------------------------------------------------------ reading
    def network_of(self, index: int = 0) -> Network:
        """The network that env `index` plays on."""
        return self.networks[int(self._engine.env["network"][index])]

    def network(self, index: int = 0) -> nx.DiGraph:
        """The network of env `index` as a graph, see `Network.to_graph`."""
        return self.network_of(index).to_graph()

    def hosts(self, index: int = 0) -> np.ndarray:
        """(num_hosts,) structured, a copy: the fields of `HOST` for every host, of ASSET too (value, role, ...)."""
        net = self.network_of(index)
        extra = [(name, ASSET[name]) for name in ("value", "vulnerability", "role", "service")]
        out = np.zeros(net.num_hosts, [*((name, HOST[name]) for name in HOST.names or ()), *extra])
        out["host"] = np.arange(net.num_hosts)
        records = self.records(index)
        assets = records.assets
        for name, _ in extra:
            out[name] = assets[name]
        out["segment"] = assets["segment"]
        out["zone"] = net.segment_zone[out["segment"]]
        out["campaign"] = -1
        for name in ("since", "last_alert", "last_hunt"):
            out[name] = -1
        tracked = records.hosts[: records.env["num_tracked"]]
        for name in HOST.names or ():
            out[name][tracked["host"]] = tracked[name]
        return out

    def cases(self, index: int = 0) -> np.ndarray:
        """(open cases,) structured, best rank first, a copy; `is_true` and `campaign` are the truth."""
        env = self.records(index).env
        cases = env["cases"][: env["num_cases"]]
        return cases[np.argsort(-cases["rank"], kind="stable")]

    def campaigns(self, index: int = 0) -> list[dict[str, Any]]:
        """The intruders of an env in plain values: family, state, plan step, tactic, hosts, times (the truth)."""
        env, found = self.records(index).env, []
        for row in env["campaigns"][: self.scenario.max_campaigns]:
            if row["state"] == 0:
                continue
            family = self.families[row["family"]]
            plain = {name: row[name].item() for name in row.dtype.names}
            plan = min(plain["plan"], len(family.plan) - 1)
            technique = TECHNIQUES[plain["technique"]].id if plain["technique"] >= 0 else None
            names = {"family": family.name, "tactic": family.plan[plan].tactic, "technique": technique}
            found.append(plain | names | {"state": ("none", "active", "over")[plain["state"]]})
        return found

    def calls(self, index: int = 0) -> list[dict[str, Any]]:
        """The tool calls of the last minute, with their outcomes and their price.

        A price is in units of the mission loss, see `Tool.price`; that of a hunt is its share of the hunters' time.
        What was not begun (refused, denied, busy, no time) costs nothing, and neither does what `decode` gives yet.
        """
        env = self.records(index).env
        calls = env["calls"][: env["num_calls"]]
        prices = self._prices(index, calls)
        return [_plain_call(call, price) for call, price in zip(calls, prices, strict=True)]

    def _prices(self, index: int, calls: np.ndarray) -> list[float]:
        scenario, records = self.scenario, self.records(index)
        is_paid, tools = np.isin(calls["outcome"], PAID_OUTCOMES), self.tool_table
        held, zones = records.env["directive"], scenario.num_zones
        is_hunt = np.isin(calls["tool"], (HUNT, DEEP_SCAN))
        effort = np.zeros(len(calls))
        targets = calls["target"][is_hunt]
        effort[is_hunt] = (is_paid * calls["level"])[is_hunt] * (1.0 + PRIORITY_WEIGHT * held[targets])
        time = scenario.analysts * (HUNT_SHARE + HUNT_SHARE_SPAN * held[zones + POSTURE_HUNT])
        prices = []
        for k, call in enumerate(calls):
            tool = tools[call["tool"]]
            value = float(records.assets["value"][call["target"]]) if tool.target == "host" else 0.0
            prices.append(float(is_paid[k]) * tool.price(scenario, value))
            if effort[k] > 0.0:
                prices[k] = float(scenario.analyst_loss * time * effort[k] / max(1.0, effort.sum()))
        return prices

    def action_masks(self) -> dict[str, np.ndarray]:
        """agent -> (num_envs, choices) int8 of the Discrete agents: what triage may choose, see `possible_choices`."""
        seen = self.observations[TRIAGE]
        can, can_enrich = possible_choices(*(seen[:, column] for column in self._mask_columns))
        mask = np.empty((self.num_envs, self.num_choices), np.int8)
        mask[:, :ENRICH_CHOICE] = can[:, None]
        mask[:, ENRICH_CHOICE] = can_enrich
        return {TRIAGE: mask}

    def mask_reader(self, index: int = 0) -> Callable[[], np.ndarray]:
        """As `Simulator.mask_reader`."""
        every = np.ones(self.num_choices, np.int8)
        only_enrich = np.eye(self.num_choices, dtype=np.int8)[ENRICH_CHOICE]
        all_but_enrich = every - only_enrich
        see = self.observations[TRIAGE][index].item
        has_case, reads, minutes = self._mask_columns

        def read() -> np.ndarray:
            if see(has_case) <= 0 or see(minutes) <= 0:
                return only_enrich
            return every if see(reads) < 1 else all_but_enrich

        return read

    def observe(self) -> None:
        """Draws `observations` up anew, as they are after a step: for whoever changed `records`."""
        self._run_all(kernels.OBSERVE_ONLY, False)

    # ------------------------------------------------------------------ calls instead of action vectors
    def decode(self) -> None:
        """Turns the present actions into calls without playing them, see `calls`; `step` would carry out these."""
        next_hosts = self._engine.env[
            "blind_next"
        ].copy()  # of blind isolation: goes on only when the calls are carried out
        kernels.run(*self._arguments, 0, self.num_envs, kernels.DECODE_ONLY, False)
        self._engine.env["blind_next"] = next_hosts

    def set_calls(self, calls: list[tuple[str, int, float, float]], index: int = 0) -> None:
        """The next step of env `index` carries out these calls instead of decoding hunter, triage and response actions.

        Args:
            calls: (tool, target, level, depth); `TOOLS` has the targets; level and depth in [0, 1] are for hunts.
            index: Which env.

        Raises:
            ConfigError: An unknown tool, a target out of range, a level or depth outside [0, 1], or too many calls.
        """
        env = self.records(index).env
        if len(calls) > len(env["calls"]):
            raise ConfigError(f"calls: {len(calls)} in one minute; allowed: at most {len(env['calls'])}")
        rows = [self._checked_call(call, index) for call in calls]
        for place, row in enumerate(rows):
            env["calls"][place] = row
        env["num_calls"] = len(rows)
        env["has_calls"] = 1

    def _checked_call(self, call: tuple[str, int, float, float], index: int) -> tuple[int, int, float, float, int]:
        name, target, level, depth = call
        if name not in TOOL_NAMES:
            raise ConfigError(f"tool {name!r} does not exist; allowed: {', '.join(TOOL_NAMES)}")
        tool = TOOLS[TOOL_NAMES.index(name)]
        num_hosts = self.network_of(index).num_hosts
        limit = {"zone": self.scenario.num_zones, "host": num_hosts, "case": 2**62, "network": 1}[tool.target]
        if not 0 <= target < limit:
            raise ConfigError(f"{name}: {tool.target} {target!r} is out of range; allowed: 0 to {limit - 1}")
        for label, value in (("level", level), ("depth", depth)):
            if not 0.0 <= value <= 1.0:
                raise ConfigError(f"{name}: {label} is {value!r}; allowed: 0 to 1")
        return TOOL_NAMES.index(name), int(target), float(level), float(depth), OUTCOMES.index("refused")

    def log(self, index: int = 0) -> list[dict[str, Any]]:
        """The event log of the episode as plain data (needs `log_capacity`): step, kind, a, b, c, d, x, y as in LOG."""
        env = self.records(index).env
        rows = self.records(index).log[: env["num_log"]]
        return [{**{n: row[n].item() for n in LOG.names or ()}, "kind": LOG_KINDS[row["kind"]]} for row in rows]


def _plain_call(call: np.void, price: float) -> dict[str, Any]:
    tool = TOOLS[call["tool"]]
    return {
        "tool": tool.name,
        "platform": tool.platform,
        "target": call["target"].item(),
        "level": call["level"].item(),
        "depth": call["depth"].item(),
        "outcome": OUTCOMES[call["outcome"]],
        "price": price,
    }
