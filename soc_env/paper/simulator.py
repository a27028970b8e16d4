"""The batched simulator of `paper-v0`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import networkx as nx
import numpy as np

from soc_env.engine.seeds import episode_keys
from soc_env.engine.simulator import Simulator
from soc_env.engine.state import Limits, Tree
from soc_env.engine.tables import TRIAGE, index_of
from soc_env.paper.kernels import step as kernels
from soc_env.paper.kernels.state import COMPROMISED, EPISODE, FOOTHOLD, ISOLATED, NUM_MARKS, Records, make_world
from soc_env.paper.limits import check_records, state_limits
from soc_env.paper.networks import host_vulnerabilities, network_graph, segment_starts
from soc_env.paper.scenario import PaperScenario
from soc_env.paper.tables import ACTIONS, FEATURES, METRICS, PHASES, REWARD_TERMS, STATE

QUEUE = index_of(FEATURES[TRIAGE], "queue")
ENRICH = [action.name for action in ACTIONS[TRIAGE]].index("enrich")  # the last choice


class PaperSimulator(Simulator):
    """`Simulator` of the published task; adds `alerts` and `campaign`."""

    kernels = kernels
    num_shared = 1
    lists = {"footholds": "num_footholds"}
    metric_table, reward_table, state_table = METRICS, REWARD_TERMS, STATE
    feature_tables, action_tables = FEATURES, ACTIONS
    scenario: PaperScenario
    _engine: Records

    def _make_engine(self) -> Records:
        n, num_hosts = self.num_envs, self.scenario.num_hosts
        self._check_memory(EPISODE.itemsize + num_hosts * FOOTHOLD.itemsize + NUM_MARKS * num_hosts // 8)
        self._starts = segment_starts(num_hosts)
        return Records(
            make_world(self.scenario, self._starts),
            np.zeros(n, EPISODE),
            np.zeros((n, num_hosts), FOOTHOLD),
            np.zeros((n, NUM_MARKS, (num_hosts + 63) // 64), np.uint64),
        )

    def _settle_network(self) -> None:
        self._engine.env["network_key"] = episode_keys("network", self.seed, self.num_envs)

    def _state_limits(self) -> Limits:
        return state_limits(self.scenario)

    def _check_records(self, arrays: Tree) -> None:
        check_records(self._starts, arrays)

    def network(self, index: int = 0) -> nx.DiGraph:
        """The network of an env's current episode, see `networks.network_graph`."""
        return network_graph(self.scenario, self._starts, self._vulnerabilities(index))

    def hosts(self, index: int = 0) -> np.ndarray:
        """(num_hosts,) structured: segment, vulnerability, is_compromised, stage, is_detected, is_isolated. A copy."""
        fields = [("segment", "i4"), ("vulnerability", "f8"), ("is_compromised", "?"), ("stage", "i4"),
                  ("is_detected", "?"), ("is_isolated", "?")]  # fmt: skip
        out = np.zeros(self.scenario.num_hosts, fields)
        records = self.records(index)
        footholds = records.footholds[: records.env["num_footholds"]]
        for name in ("stage", "is_detected"):
            out[name][footholds["host"]] = footholds[name]
        out["is_compromised"] = _unpacked(records.marks[COMPROMISED], len(out))
        out["is_isolated"] = _unpacked(records.marks[ISOLATED], len(out))
        out["segment"] = np.repeat(np.arange(len(self._starts) - 1), np.diff(self._starts))
        out["vulnerability"] = self._vulnerabilities(index)
        return out

    def action_masks(self) -> dict[str, np.ndarray]:
        """As `Simulator.action_masks`: with an empty queue triage may only enrich, which then does nothing."""
        mask = np.ones((self.num_envs, self.num_choices), np.int8)
        mask[self.observations[TRIAGE][:, QUEUE] <= 0, :ENRICH] = 0
        return {TRIAGE: mask}

    def mask_reader(self, index: int = 0) -> Callable[[], np.ndarray]:
        """As `Simulator.mask_reader`."""
        every = np.ones(self.num_choices, np.int8)
        only_enrich = np.eye(self.num_choices, dtype=np.int8)[ENRICH]
        see = self.observations[TRIAGE][index].item
        return lambda: every if see(QUEUE) > 0 else only_enrich

    def alerts(self, index: int = 0) -> np.ndarray:
        """(queue length,) structured, oldest first: severity, confidence, noise, step, segment, is_true. A copy."""
        env = self.records(index).env
        ring = env["alerts"]
        return ring[(env["queue_head"] + np.arange(env["queue_length"])) % len(ring)]

    def campaign(self, index: int = 0) -> dict[str, Any]:
        """The attack on an env, in plain Python values.

        Returns:
            episode, step, phase (0..4), phase_name, steps_in_phase, visible_noise, targets (hosts), footholds (hosts
            ever compromised, in order), is_contained, is_exfiltrated, detection_step and containment_step (None if
            not yet), directive (8 floats in force).
        """
        env = self.records(index).env
        plain = {name: env[name].item() for name in ("episode", "step", "phase", "steps_in_phase")}
        return plain | {
            "phase_name": PHASES[env["phase"]],
            "visible_noise": float(self._engine.world["visible_noise"][0, env["phase"]]),
            "targets": env["targets"][: env["num_targets"]].tolist(),
            "footholds": self.records(index).footholds[: env["num_footholds"]]["host"].tolist(),
            "is_contained": bool(env["is_contained"]),
            "is_exfiltrated": bool(env["is_exfiltrated"]),
            "detection_step": env["detection_step"].item() if env["detection_step"] >= 0 else None,
            "containment_step": env["containment_step"].item() if env["containment_step"] >= 0 else None,
            "directive": env["directive"].tolist(),
        }

    def _vulnerabilities(self, index: int) -> np.ndarray:
        return host_vulnerabilities(self._engine.world, self._engine.env["network_key"][index])


def _unpacked(words: np.ndarray, count: int) -> np.ndarray:
    """(count,) bool from 64 bits a word, lowest first."""
    bits = words[:, None] >> np.arange(64, dtype=np.uint64) & np.uint64(1)
    return bits.ravel()[:count].astype(bool)
