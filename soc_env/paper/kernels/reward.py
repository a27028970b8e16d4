"""The reward of a step, from the events that the mechanics left in the episode record."""

from __future__ import annotations

from soc_env.engine.jit import kernel
from soc_env.paper.kernels.defence import detection_credit


@kernel
def score(world, env, footholds, terms):
    """Writes the four reward terms of `tables.REWARD_TERMS` and returns their weighted sum.

    Args:
        terms: (4,) float64, written: detection, response, cost, false_positive.
    """
    detection = detection_credit(env, footholds)
    if env["is_exfiltrated"] != 0:
        detection -= world["exfiltration_penalty"]
    response = 0.0
    if env["isolations"] > 0:
        response = env["isolations"] / max(1, env["step"] - env["detection_step"])
    if env["is_contained"] != 0:
        response += world["containment_bonus"]
    terms[0] = detection
    terms[1] = response
    terms[2] = env["cost"]
    terms[3] = 0.5 * (env["false_scans"] + env["suppressed"])
    weights = world["weights"]
    return terms[0] * weights[0] + terms[1] * weights[1] + terms[2] * weights[2] + terms[3] * weights[3]
