"""soc-v1 and its like: what the task needs.

The effect of one tool call is small against the noise of returns and comes late (a rebuilt host pays over the rest of
the shift), so hunting and response also earn the fall in compromised hosts at once: a potential, which moves rewards in
time and hardly changes which policy is best; triage earns its verdicts. These are parts of learning alone. Nothing is
explored uniformly, and scales of response's noise are those of single draws: returns over several steps would blame an
unusual action for the unusual ones that follow it. Response learns first, by the noise that it explores with
(`smoothing`: a tool has no gradient below its threshold), then hunting; networks are shared between zones.
"""

from __future__ import annotations

from typing import Any

_ZONES: dict[str, Any] = {"encoder": "zones", "hiddens": [64, 64]}  # shared between zones; size: search
_ZONE_ACTOR: dict[str, Any] = {
    **_ZONES,
    "gamma": 0.95,  # search
    "reward_shaping": {"metrics": {"compromised": -5.0}},  # the potential; its weight is from the search
    "critic_lr": 2e-3,  # search
    "critic": {"kind": "additive", "bins": 9, "layer_norm": True},  # points 0.25 apart: search
    "rest": {"weight": 0.01},  # search
}
SOC_V1: dict[str, Any] = {
    "train_batch_size": 2048,  # search, as updates and replay below
    "updates_per_iteration": 12,
    "replay_batch_size": 256,
    "replay_capacity": 300_000,
    "random_steps": 0,  # nothing is explored uniformly, see above
    "learning_starts": 10_000,
    "n_step": 12,  # search
    "tiers": {
        "alert_triage": {
            **_ZONES,
            "gamma": 0.7,  # search
            "lr": [[0, 5e-4], [400_000, 5e-4], [1_000_000, 1e-4]],
            "epsilon": [[0, 1.0], [50_000, 1.0], [300_000, 0.05]],
            # its own verdicts; weights: search
            "reward_shaping": {"metrics": {"true_positives": 2.0, "false_positives": -0.3, "missed_cases": -1.0}},
        },
        "threat_hunter": {
            **_ZONE_ACTOR,
            "actor_lr": [[0, 0.0], [100_000, 0.0], [150_000, 3e-4]],  # after response
            "actor": {"mean_bound": 1.5, "initial_log_std": -1.0, "log_std_range": [-1.6, -0.6]},  # search
        },
        "response_orchestrator": {
            **_ZONE_ACTOR,
            # isolation and remediation from the middle, perimeter block and credential reset from below it: search
            "rest": {"action": [0.0, 0.0, -0.6, -0.6], "weight": 0.01},
            "actor_lr": [[0, 0.0], [30_000, 0.0], [40_000, 5e-4]],  # first of the actors
            "actor": {"mean_bound": 1.5, "smoothing": [0.15, 1.0]},
            # scales belong to single draws, see above; numbers: search
            "exploration": {"std": [[0, 0.35], [400_000, 0.3], [1_000_000, 0.1]], "scale_range": [0.3, 3.0]},
        },
        "strategic_coordinator": _ZONES,
    },
}
# What differs where a teacher begins. Its lessons are the first 133,120 steps (five rounds of 25,600, in whole
# iterations), after which the preset above would still explore as one does who knows nothing. From a good policy both
# exploration and steps are small, as in CAGE-4's fine-tuning (`policies.presets.cage4`): a good start is lost by
# anything bolder. Policies rest while critics learn: `teacher_rest_steps`.
SOC_V1_TAUGHT: dict[str, Any] = {
    "tiers": {
        "alert_triage": {"epsilon": 0.05, "lr": 1e-4},
        "threat_hunter": {"actor_lr": 1e-4},
        "response_orchestrator": {"actor_lr": 1e-4, "exploration": {"std": 0.1, "scale_range": [0.3, 3.0]}},
        "strategic_coordinator": {"lr": 1e-4},
    },
}
# What differs with counterfactual credit (`--credit`, docs/learning/counterfactual.md): the simulator is a generative
# model in training. Triage and the coordinator have none: with a learned risk model their choices are worth next to
# nothing.
_CREDIT: dict[str, Any] = {"weight": 1.0, "states": 128, "capacity": 16_384, "max_age": 300_000}
SOC_V1_CREDIT: dict[str, Any] = {
    "tiers": {
        # One minute of hunting in one zone is worth nothing that could be measured: all of it changes, for ten minutes.
        "threat_hunter": {"counterfactual": {**_CREDIT, "share": 1.0, "horizon": 20, "entries": 16, "hold": 10}},
        # A host is rebuilt after eight minutes.
        "response_orchestrator": {"counterfactual": {**_CREDIT, "share": 1.5, "horizon": 15, "entries": 3}},
    },
}
# The same where no teacher begins. Critics know sooner from differences than from returns what to do, so actors begin
# sooner: response after some 700 differences. Begun at 10,000 steps, it went to an end of its range and stayed there
# for 50,000 steps. Response also pays the mission's loss, which prices a blocked perimeter as the score does.
SOC_V1_CREDIT_SCRATCH: dict[str, Any] = {
    "learning_starts": 4096,
    "tiers": {
        "alert_triage": {"epsilon": [[0, 1.0], [20_000, 1.0], [80_000, 0.1]]},
        "threat_hunter": {"actor_lr": [[0, 0.0], [40_000, 0.0], [50_000, 3e-4]]},
        "response_orchestrator": {
            "actor_lr": [[0, 0.0], [15_000, 0.0], [25_000, 5e-4]],
            "reward_shaping": {"metrics": {"compromised": -5.0, "loss": -1.0}},
        },
    },
}
