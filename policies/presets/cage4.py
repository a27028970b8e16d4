"""CAGE-4: what differs from soc-v1's preset where the tiers train on CC4 itself.

Schedules are over shares of the budget. All tiers also learn from the fall in the hosts of their zones that red holds:
CC4's penalties are sparse and shared by five SOCs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_HELD = {"reward_shaping": {"metrics": {"compromised": -1.0}}}  # the true state, a potential of training alone
# What differs for all tiers, as found in the search of November 2026.
CAGE4_RUN: Mapping[str, Any] = {
    "train_batch_size": 2000,
    "learning_starts": 10_000,
    "updates_per_iteration": 24,
    "replay_capacity": 100_000,
    "n_step": 12,
    "replay_alpha": 0.3,
    "replay_beta": 1.0,
    "ema_tau": 0.1,
}
# What soc-v1 no longer needs (docs/learning/presets.md) and nobody has tried without here, as `replay_alpha`,
# `replay_beta` and `ema_tau` above.
_HUNTING = {
    "exploration": {"hold_steps": 4.0},
    "initial_alpha": 0.001,
    "alpha_lr": 1e-4,
    "target_entropy": -20.0,
}
_COORDINATOR = {"gamma": 0.98, "train_batch_size": 2048, "entropy_coeff": 0.0, "actor": {"initial_log_std": -1.5}}
# Fine-tuning: critics learn CC4's rewards while the actors rest, then small steps at little noise; a good start is lost
# by anything bolder.
CAGE4_TUNED: Mapping[str, Mapping[str, Any]] = {
    "alert_triage": {**_HELD, "gamma": 0.9, "lr": [[0, 0.0], [0.15, 2e-5], [1, 2e-5]], "epsilon": 0.02},
    "threat_hunter": {
        **_HELD,
        "actor_lr": [[0, 0.0], [0.3, 0.0], [0.4, 3e-5], [1, 1e-5]],
        "critic_lr": 1e-3,
        "actor": {"log_std_range": [-3.0, -1.6]},
        **_HUNTING,
    },
    "response_orchestrator": {
        **_HELD,
        "actor_lr": [[0, 0.0], [0.2, 0.0], [0.3, 5e-5], [1, 1e-5]],
        "critic_lr": 1e-3,
        "exploration": {"std": 0.1},
        "actor": {"smoothing": [0.05, 0.3]},
    },
    "strategic_coordinator": {
        **_HELD,
        **_COORDINATOR,
        "lr": [[0, 0.0], [0.3, 0.0], [0.4, 3e-5], [1, 1e-5]],
    },
}
# After lessons: soc-v1's small steps. No potential: `compromised` counts what a user-level session holds too, and to
# leave such a host alone is worth more than to restore it.
_NO_POTENTIAL: dict[str, Any] = {"reward_shaping": {"metrics": {}}}
CAGE4_TAUGHT: Mapping[str, Mapping[str, Any]] = {
    "alert_triage": _NO_POTENTIAL,
    "threat_hunter": _NO_POTENTIAL,
    "response_orchestrator": _NO_POTENTIAL,
    "strategic_coordinator": {},
}
# From scratch: soc-v1's order of learning, stretched over the budget.
CAGE4_FROM_SCRATCH: Mapping[str, Mapping[str, Any]] = {
    "alert_triage": {
        **_HELD,
        "gamma": 0.9,
        "lr": [[0, 5e-4], [1, 1e-4]],
        "epsilon": [[0, 1.0], [0.3, 0.05], [1, 0.02]],
    },
    "threat_hunter": {**_HELD, **_HUNTING, "actor_lr": [[0, 0.0], [0.1, 0.0], [0.15, 3e-4], [1, 1e-4]]},
    "response_orchestrator": {
        **_HELD,
        "actor_lr": [[0, 0.0], [0.05, 0.0], [0.08, 5e-4], [1, 1e-4]],
        "exploration": {"std": [[0, 0.35], [0.4, 0.3], [1, 0.1]]},
    },
    "strategic_coordinator": {**_HELD, **_COORDINATOR},
}
