"""What a person sees of a `paper-v0` episode: a `PaperFrame` read off the simulator, and its text form.

Both and the picture (`picture.py`) show the truth (undetected intruders, labels of alerts): they are for people, agents
never see them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from soc_env.engine.tables import COORDINATOR, HUNTER, ORCHESTRATOR, TRIAGE
from soc_env.paper.scenario import PaperScenario
from soc_env.paper.simulator import PaperSimulator
from soc_env.paper.tables import ACTIONS, MAX_STAGE, METRICS, QUEUE_CAPACITY, REWARD_TERMS

RUNNING, CONTAINED, EXFILTRATED, TIME_OUT = "running", "contained", "exfiltrated", "time out"
TOOLS = ("hunt", "scope", "isolate", "remediate")
TRIAGE_NAMES = tuple(action.name for action in ACTIONS[TRIAGE])
SHOWN_ALERTS = 10


@dataclass(frozen=True)
class PaperFrame:
    """One moment of one env.

    Attributes:
        scenario: What is played.
        step: Steps played in this episode.
        outcome: RUNNING, CONTAINED, EXFILTRATED (even if contained in the same step) or TIME_OUT.
        hosts: As `Simulator.hosts`.
        alerts: As `Simulator.alerts`.
        campaign: As `Simulator.campaign`.
        metrics: The episode so far, name -> value.
        reward: Reward of the last step.
        terms: Weighted reward terms of the last step, name -> value.
        levels: (num_segments, 4) what was asked of `TOOLS` in the last step, in [0, 1]; zeros before the first.
        boosts: (4,) what the directive adds to each of them, up to a level of 1.
        triage: Name of the last choice; None before the first step.
        steps_to_decision: Steps in which the directive is still held; 0 means the coordinator decides in the next.
    """

    scenario: PaperScenario
    step: int
    outcome: str
    hosts: np.ndarray
    alerts: np.ndarray
    campaign: dict[str, Any]
    metrics: dict[str, float]
    reward: float
    terms: dict[str, float]
    levels: np.ndarray
    boosts: np.ndarray
    triage: str | None
    steps_to_decision: int

    @property
    def next_decision(self) -> str:
        """When the coordinator's action counts again, in words."""
        if self.outcome != RUNNING:
            return "the episode is over"
        if self.steps_to_decision == 0:
            return "decides in the next step"
        return f"held, next decision in {self.steps_to_decision + 1} steps"

    @classmethod
    def read(cls, sim: PaperSimulator, index: int = 0) -> PaperFrame:
        """The present moment of env `index`."""
        scenario, campaign = sim.scenario, sim.campaign(index)
        step, num_segments = campaign["step"], len(scenario.segments)
        asked = np.concatenate([sim.actions[HUNTER][index, : 2 * num_segments],
                                sim.actions[ORCHESTRATOR][index, : 2 * num_segments]])  # fmt: skip
        levels = (np.clip(asked.astype(np.float64), -1, 1) + 1) / 2 * (step > 0)
        priorities = dict(zip((action.name for action in ACTIONS[COORDINATOR]), campaign["directive"], strict=True))
        directive = [priorities[name] for name in ("hunt_priority", "scope_priority", "isolation_priority")]
        full = np.array([scenario.hunt_boost, scenario.scope_boost, scenario.isolation_boost])
        row = sim.running_metrics()[index]
        return cls(
            scenario=scenario,
            step=step,
            outcome=_outcome(sim, index, campaign),
            hosts=sim.hosts(index),
            alerts=sim.alerts(index),
            campaign=campaign,
            metrics={metric.name: float(row[metric.name]) for metric in METRICS},
            reward=float(sim.rewards[index]),
            terms={
                term.name: float(value * weight) + 0.0  # no -0.0
                for term, value, weight in zip(REWARD_TERMS, sim.reward_terms[index], scenario.weights, strict=True)
            },
            levels=levels.reshape(len(TOOLS), num_segments).T,
            boosts=np.append((np.array(directive) + 1) / 2 * full, 0.0) * (step > 0),
            triage=TRIAGE_NAMES[sim.actions[TRIAGE][index]] if step > 0 else None,
            steps_to_decision=-step % scenario.coordinator_period,
        )


def _outcome(sim: PaperSimulator, index: int, campaign: dict[str, Any]) -> str:
    if campaign["is_exfiltrated"]:
        return EXFILTRATED
    if campaign["is_contained"]:
        return CONTAINED
    return TIME_OUT if campaign["step"] >= sim.scenario.max_steps else RUNNING


def as_text(sim: PaperSimulator, index: int = 0) -> str:
    """Env `index` as a page of text of at most 100 columns, without a newline at the end."""
    frame = PaperFrame.read(sim, index)
    return "\n".join([*_head(frame), "", *_zones(frame), "", *_alerts(frame), "", *_figures(frame)])


def _head(frame: PaperFrame) -> list[str]:
    chain = frame.campaign
    return [
        f"SOC {frame.scenario.name} | step {frame.step}/{frame.scenario.max_steps} | {frame.outcome.upper()} | "
        f"reward {frame.reward:+.2f}, episode {frame.metrics['reward']:+.2f}",
        f"attacker: {chain['phase_name']} for {chain['steps_in_phase']} steps, {len(chain['footholds'])} footholds",
    ]


def _zones(frame: PaperFrame) -> list[str]:
    stages = " ".join(f"st{stage}" for stage in range(1, MAX_STAGE + 1))
    lines = [f"{'zone':<13} hosts   comp det iso   {stages}   {'   '.join(TOOLS)}"]
    for s, segment in enumerate(frame.scenario.segments):
        hosts = frame.hosts[frame.hosts["segment"] == s]
        by_stage = np.bincount(hosts["stage"][hosts["is_compromised"]], minlength=MAX_STAGE + 1)
        effort = np.minimum(1, frame.levels[s] + frame.boosts)
        compromised, detected, isolated = (
            hosts[f"is_{name}"].sum() for name in ("compromised", "detected", "isolated")
        )
        lines.append(
            f"{segment.name[:13]:<13} {len(hosts):>5}  {compromised:>5} {detected:>3} {isolated:>3}   "
            f"{' '.join(f'{n:>3}' for n in by_stage[1:])}   "
            + "   ".join(f"{level:>{len(tool)}.2f}" for level, tool in zip(effort, TOOLS, strict=True))
        )
    return lines


def _alerts(frame: PaperFrame) -> list[str]:
    lines = [f"alerts {len(frame.alerts)}/{QUEUE_CAPACITY}, triage: {frame.triage or 'nothing yet'}"]
    for alert in frame.alerts[:SHOWN_ALERTS]:
        segment = frame.scenario.segments[alert["segment"]].name
        lines.append(
            f"  {frame.step - alert['step']:>3} steps old  {segment:<13} severity {alert['severity']:.2f}  "
            f"confidence {alert['confidence']:.2f}  {'ATTACK' if alert['is_true'] else 'benign'}"
        )
    if len(frame.alerts) > SHOWN_ALERTS:
        lines.append(f"  ... and {len(frame.alerts) - SHOWN_ALERTS} newer")
    return lines


def _figures(frame: PaperFrame) -> list[str]:
    boost = "  ".join(f"{tool} +{value:.2f}" for tool, value in zip(TOOLS[:3], frame.boosts, strict=False))
    terms = "  ".join(f"{name} {value:+.2f}" for name, value in frame.terms.items())
    figures, chain = frame.metrics, frame.campaign
    detected, contained = (chain[name] or "none yet" for name in ("detection_step", "containment_step"))
    return [
        f"directive: {boost}  ({frame.next_decision})",
        f"reward of the step: {terms}",
        f"detected at {detected}  contained at {contained}  false positive rate {figures['fpr']:.2%}",
        f"true positives {figures['true_positives']:.0f}  false positives {figures['false_positives']:.0f}  "
        f"scans {figures['total_scans']:.0f}  alerts raised {figures['total_alerts']:.0f}",
    ]
