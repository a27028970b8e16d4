"""Policies of the `soc-v1` family that are shown the truth. No fair players: they show the room above the fair ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from policies.scripted.base import Actions, Observations, Spaces
from policies.scripted.soc import NEUTRAL, OFF, REIMAGE, RELEASE, Playbook, box, choose
from soc_env.engine.tables import COORDINATOR, HUNTER, ORCHESTRATOR, TRIAGE
from soc_env.soc.kernels.state import USER
from soc_env.soc.tables import CORRELATE, ESCALATE, SUPPRESS, ZONE_TRUTH, features, state_features

TRUTH = {feature.name: k for k, feature in enumerate(ZONE_TRUTH)}


class ObservationOracle(Playbook):
    """The truth instead of observations, and the agents' own actions: what perfect detection would be worth.

    `policy.state = simulator.state()` has to be set before each call. It has the same tools as everybody.
    """

    needs_state = True

    def __init__(self, action_spaces: Spaces, seed: int = 0):
        super().__init__(action_spaces, seed)
        names = [feature.name for feature in state_features(self.num_zones)][len(features(TRIAGE, self.num_zones)) :]
        self._case = names.index("truth_case0_is_true")  # behind the truth about zones, which is first
        self.state = np.zeros((0, 0), np.float32)

    def __call__(self, observations: Observations, decides: np.ndarray) -> Actions:
        seen = self.view(observations, TRIAGE)
        n, zones = len(decides), self.num_zones
        truths = self.state[:, observations[TRIAGE].shape[1] :]  # what triage sees is repeated before it
        truth = truths[:, : self._case].reshape(n, zones, len(ZONE_TRUTH))
        compromised, worst = truth[:, :, TRUTH["compromised"]], truth[:, :, TRUTH["worst_risk"]]
        clean, contained = truth[:, :, TRUTH["clean_risk"]], truth[:, :, TRUTH["contained"]]
        is_true = truths[:, self._case] > 0.5
        triage = np.select([seen.case("related")[:, 0] > 0.2, is_true], [CORRELATE, ESCALATE], SUPPRESS)
        is_hidden = (compromised > 0) & (worst <= clean)  # it stands behind a clean host: look
        effort = np.where(is_hidden, 1.0, np.where(compromised > 0, 0.3, OFF))
        is_first = (worst > 0) & (worst >= clean) & (worst >= seen.zone("top_risk") - 1e-6)
        remediate = choose((is_first | (contained > 0), REIMAGE), default=OFF)
        contain = choose(((contained == 0) & (seen.zone("isolated") > 0), RELEASE), default=NEUTRAL)
        directive = np.zeros((n, zones + 3), np.float32)
        directive[:, zones] = 1.0  # hunters get the time
        directive[:, :zones] = np.where(compromised > 0, 1.0, -1.0)
        return {
            TRIAGE: triage.astype(np.int32),
            HUNTER: box(effort, 0.95 * np.ones((n, zones)), np.zeros((n, zones)), np.ones(n)),
            ORCHESTRATOR: box(contain, remediate, np.zeros(n), np.zeros(n)),
            COORDINATOR: directive,
        }


class ControlOracle:
    """The truth, and calls in place of actions: rebuilds, zone by zone, the most valuable host an intruder owns. Where
    findings have levels it kills what can be killed, which is free, instead.

    It is the clairvoyant defender that scores 100, see `clairvoyant_loss` of the scenario. It uses the tools that
    everybody has, with their durations, failures and approvals, so it is not perfect. It sends no actions: its calls go
    to `simulator`, which whoever makes the simulator has to set.
    """

    simulator: Any = None

    def reset(self, seed: int) -> None:
        """Nothing to forget."""

    def __call__(self, observations: Observations, decides: np.ndarray) -> Actions:
        for index in range(len(decides)):
            hosts = self.simulator.hosts(index)
            is_lost = (hosts["level"] > 0) | (hosts["is_persistent"] > 0) | (hosts["is_encrypted"] > 0)
            lost = hosts[is_lost & (hosts["is_offline"] == 0)]
            lost = lost[np.argsort(-lost["value"], kind="stable")]
            _, first = np.unique(lost["zone"], return_index=True)
            has_levels = self.simulator.scenario.finding_levels
            tools = ["kill_process" if has_levels and _can_kill(host) else "reimage" for host in lost[first]]
            calls = [(tool, int(host), 0.0, 0.0) for tool, host in zip(tools, lost["host"][first], strict=True)]
            self.simulator.set_calls(calls, index)
        return {}


def _can_kill(host: np.void) -> bool:
    """Whether a kill ends all of an intruder's on the host, where findings have levels."""
    is_exposed = host["level"] == USER and host["is_exposed"] and host["has_process"] and host["known_level"] <= USER
    return bool(is_exposed and not host["is_persistent"] and not host["is_encrypted"])
