"""paper-v0: what the published task needs.

Hunting above intensity 0.7 costs 2 a segment and step, a hundred times what any other choice is worth a step: critics
that are to see the rest learn from a tenth of it. Effects are small against the noise of returns, so exploration noise
is held for some steps, and every draw has its own scale, from nearly none to nearly the whole range. Segments nearly
share their outputs: a single one otherwise drifts over a cliff. Where a critic has nothing to say, actions stay in the
middle (`rest`); beyond a cliff the reward is flat, and response sees the way back by the noise that it is improved at
(`smoothing`). Over environment steps: the critics learn first; when the large losses are gone, what is left to win is
smaller than the noise of critics that learn fast and than the pull to the middle, which both fade.
"""

from __future__ import annotations

from typing import Any

_ACTOR_CRITIC: dict[str, Any] = {
    "hiddens": [128, 128],  # search
    # an additive critic sees effects that are small beside the value of the state; points 0.1 apart: search
    "critic": {"kind": "additive", "bins": 21, "layer_norm": True},
    # the critics learn first; both slow down as less is left to win; the steps are from the search
    "actor_lr": [[0, 0.0], [240_000, 0.0], [400_000, 3e-4], [1_600_000, 3e-4], [2_800_000, 1.5e-4], [4_000_000, 3e-5]],
    "critic_lr": [[0, 1e-3], [600_000, 1e-3], [1_400_000, 3e-4], [2_800_000, 1e-4], [4_000_000, 3e-5]],
    "segment_sharing": 0.004,  # of intensity and scope, isolation and remediation; search
}
PAPER_V0: dict[str, Any] = {
    # Simulation is nearly free, so a tier draws a row half a time on average. With two to four draws a row, critics
    # show ripples between neighbouring actions larger than what those differ by, and reward stops near 11.2.
    "train_batch_size": 8192,
    "updates_per_iteration": 8,
    "replay_batch_size": 512,
    "random_steps": 8_192,  # one iteration
    "learning_starts": 8_192,
    "replay_capacity": 300_000,  # search
    # greedy actions without the noise of single updates; over more iterations when networks change less
    "ema_tau": [[0, 0.05], [1_200_000, 0.05], [2_800_000, 0.01]],
    "tiers": {
        # Triage learns from its own mistakes: the published reward never charges a false escalation, its
        # false-positive rate does, and what a suppressed alert costs is lost in what the others do. It also acts on
        # alerts that come in while its queue looks empty. It learns in minutes and then stands still.
        "alert_triage": {
            "gamma": 0.3,  # search
            "hiddens": [128, 128],
            "lr": [[0, 1e-3], [800_000, 1e-3], [1_200_000, 3e-4], [2_400_000, 3e-5], [3_600_000, 0.0]],
            "epsilon": [[0, 1.0], [400_000, 0.3]],  # search
            "reward_shaping": {"penalty_scale": 0.0, "metrics": {"false_escalations": -1.0, "missed_alerts": -2.0}},
        },
        "threat_hunter": {
            **_ACTOR_CRITIC,
            "gamma": 0.99,  # a host that is found in a later stage is worth more
            "rest": {"weight": [[0, 0.02], [1_000_000, 0.02], [2_800_000, 0.002]]},
            "actor": {"mean_bound": 1.5, "initial_log_std": -3.5, "log_std_range": [-4.0, -3.0]},
            # times e^-3.5: from nearly none to a third of the range to an end
            "exploration": {"hold_steps": 3.0, "scale_range": [1.0, 10.0]},
            "reward_shaping": {"penalty_scale": 0.1},  # the cliff at 0.7, see above
        },
        "response_orchestrator": {
            **_ACTOR_CRITIC,
            "gamma": 0.95,
            "rest": {"weight": [[0, 0.0025], [1_000_000, 0.0025], [2_800_000, 0.0005]]},
            "actor": {"mean_bound": 1.5, "smoothing": [0.01, [[0, 0.5], [1_200_000, 0.5], [2_000_000, 0.25]]]},
            "exploration": {"std": 0.05, "hold_steps": 3.0, "scale_range": [1.0, 8.0]},  # up to 0.4
            "reward_shaping": {"penalty_scale": 0.5},  # over-isolation costs little a step, but every step
        },
        "strategic_coordinator": {
            "hiddens": [128, 128],
            "lr": [[0, 3e-4], [1_200_000, 3e-4], [2_000_000, 1e-5]],
        },
    },
}
# What differs where a teacher begins. Levels are worth something up to the cliffs, and a step beyond costs a hundred
# times as much, so networks are fitted until they are within hundredths of what they are taught: fifteen rounds, which
# is 491,520 steps. After five the standard deviation of intensity is still .07. Policies reach the ends of their range,
# nothing pulls them to the middle, and what they learn by is no longer smoothed over the cliffs.
PAPER_V0_TAUGHT: dict[str, Any] = {
    "teacher_rounds": 15,
    "imitation": [[0, 10.0], [2_000_000, 1.0]],
    "tiers": {
        "alert_triage": {"epsilon": 0.05, "lr": 3e-5},
        "threat_hunter": {
            "actor_lr": 3e-5,
            "critic_lr": 3e-4,
            "rest": {"weight": 0.0},
            "actor": {"mean_bound": 3.0, "initial_log_std": -3.5, "log_std_range": [-4.0, -3.0]},
        },
        "response_orchestrator": {
            "actor_lr": 3e-5,
            "critic_lr": 3e-4,
            "rest": {"weight": 0.0},
            "actor": {"mean_bound": 3.0, "smoothing": [0.01, 0.03]},
        },
        "strategic_coordinator": {"lr": 1e-5},
    },
}
