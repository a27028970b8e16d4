"""What a minute costs, what it earns, and what an episode amounted to."""

from __future__ import annotations

from soc_env.engine.jit import kernel
from soc_env.soc.kernels.campaign import NONE, clear_host_counts, count_host, elapsed, keep_times
from soc_env.soc.kernels.hosts import is_live, zone_factor
from soc_env.soc.kernels.state import (
    ADMIN,
    N_ACTION_FDR,
    N_ACTIONS,
    N_ANALYST_MINUTES,
    N_CAMPAIGNS,
    N_COMPROMISED,
    N_CONTAINED,
    N_CSR,
    N_DAMAGE,
    N_DETECTED,
    N_DISRUPTION,
    N_DISRUPTION_MINUTES,
    N_EFFORT,
    N_ERADICATED,
    N_EVIDENCE_GATED,
    N_FALSE_POSITIVES,
    N_FDR,
    N_FPR,
    N_LENGTH,
    N_LOSS,
    N_MTTA,
    N_MTTC,
    N_MTTD,
    N_MTTR,
    N_REWARD,
    N_SCORE,
    N_TRUE_NEGATIVES,
    N_TRUE_POSITIVES,
)

COST_UNIT = 5.0  # loss of the cost term: at the default weights it then weighs as much as damage


@kernel
def spend(world, env, minutes):
    """Analysts' time costs."""
    env["counts"][N_ANALYST_MINUTES] += minutes
    env["effort_now"] += world["analyst_loss"] * minutes


@kernel
def count_losses(world, net, assets, env, hosts):
    """Adds the minute's damage and disruption; intruders' own doings are in `damage_now` already."""
    clear_host_counts(env)
    for place in range(env["num_tracked"]):
        record = hosts[place]
        if record["campaign"] < 0:
            continue
        count_host(world, env, record)
        if is_live(record):
            rate = world["admin_damage"] if record["level"] == ADMIN else world["user_damage"]
            env["damage_now"] += rate * assets[record["host"]]["value"] * zone_factor(world, net, env, record["zone"])
    keep_times(env)
    count_outages(world, net, env)
    lost = world["service_loss"] * env["service_loss"] + world["host_outage"] * env["users_cut"]
    if env["perimeter"] == 2:
        lost += world["perimeter_loss"]
    if env["reset_end"] >= 0:
        lost += world["reset_loss"]
    env["disruption_now"] += lost
    counts = env["counts"]
    counts[N_DISRUPTION_MINUTES] += env["num_cut"]
    counts[N_DAMAGE] += env["damage_now"]
    counts[N_DISRUPTION] += env["disruption_now"]
    counts[N_EFFORT] += env["effort_now"]


@kernel
def count_outages(world, net, env):
    """A service works as far as its hosts do and as the weakest service that it needs."""
    for z in range(world["num_zones"]):
        env["outage"][z] = 0.0
    env["service_loss"] = 0.0
    if env["num_cut"] == 0:
        return
    for k in range(net["num_services"]):
        works = max(0.0, 1.0 - env["service_down"][k] * net["per_service_host"][k])
        needed = 1.0
        for j in range(k):
            if net["depends"][k, j] != 0:
                needed = min(needed, env["works"][j])
        env["works"][k] = works * needed
        lost = net["service_value"][k] * (1.0 - env["works"][k])
        env["service_loss"] += lost
        env["outage"][net["service_zone"][k]] += lost
    for z in range(world["num_zones"]):
        if net["zone_service_value"][z] > 0.0:
            env["outage"][z] = min(1.0, env["outage"][z] / net["zone_service_value"][z])


@kernel
def score(world, env, terms, is_last):
    """The reward terms of the minute; returns their weighted sum. terms: (4,) float64."""
    if world["is_sparse"] != 0:
        for k in range(4):
            terms[k] = 0.0
        if is_last:
            unit = world["score_scale"] / 100.0
            terms[0] = unit * world["null_loss"]
            terms[1] = -unit * env["counts"][N_DAMAGE]
            terms[2] = -unit * (env["counts"][N_DISRUPTION] + env["counts"][N_EFFORT])
        return terms[0] + terms[1] + terms[2]  # the mission score / 100, whatever the weights of the dense terms
    else:
        terms[0] = env["term_detection"]
        terms[1] = env["term_response"] - env["damage_now"]
        terms[2] = COST_UNIT * (env["disruption_now"] + env["effort_now"])
        terms[3] = env["term_false"]
    weights = world["weights"]
    return weights[0] * terms[0] + weights[1] * terms[1] + weights[2] * terms[2] + weights[3] * terms[3]


@kernel
def ratio(part, whole):
    """part / whole, 0 of nothing."""
    return part / whole if whole > 0.0 else 0.0


@kernel
def write_metrics(world, env, row):
    """row: (len(METRICS),) float64, the episode so far; times are censored at the present minute."""
    counts, past, now = env["counts"], env["past_campaigns"], env["step"]
    campaigns, detected, contained, eradicated = past[0], past[1], past[2], past[3]
    to_detect, to_acknowledge, to_contain, to_eradicate = past[4], past[5], past[6], past[7]
    compromised = 0
    for c in range(world["max_campaigns"]):
        campaign = env["campaigns"][c]
        begin = campaign["start"]
        if campaign["state"] == NONE or begin < 0:
            continue
        campaigns += 1.0
        detected += 1.0 if campaign["detected"] >= 0 else 0.0
        contained += campaign["is_contained"]
        eradicated += 1.0 if campaign["eradicated"] >= 0 else 0.0
        to_detect += elapsed(campaign["detected"], begin, now)
        to_acknowledge += elapsed(campaign["acknowledged"], begin, now)
        to_contain += elapsed(campaign["contained"], begin, now)
        to_eradicate += elapsed(campaign["eradicated"], begin, now)
        compromised += campaign["num_defended"]
    for k in range(counts.shape[0]):
        row[k] = counts[k]
    row[N_REWARD] = env["reward"]
    row[N_LOSS] = counts[N_DAMAGE] + counts[N_DISRUPTION] + counts[N_EFFORT]
    row[N_SCORE] = (world["null_loss"] - row[N_LOSS]) * world["score_scale"]
    row[N_LENGTH] = now
    row[N_MTTD] = ratio(to_detect, campaigns)
    row[N_MTTA] = ratio(to_acknowledge, campaigns)
    row[N_MTTC] = ratio(to_contain, campaigns)
    row[N_MTTR] = ratio(to_eradicate, campaigns)
    row[N_FDR] = ratio(counts[N_FALSE_POSITIVES], counts[N_FALSE_POSITIVES] + counts[N_TRUE_POSITIVES])
    row[N_FPR] = ratio(counts[N_FALSE_POSITIVES], counts[N_FALSE_POSITIVES] + counts[N_TRUE_NEGATIVES])
    row[N_ACTION_FDR] = ratio(env["clean_actions"], counts[N_ACTIONS])
    row[N_EVIDENCE_GATED] = ratio(env["gated_actions"], counts[N_ACTIONS])
    row[N_CSR] = ratio(contained, campaigns)
    row[N_CAMPAIGNS] = campaigns
    row[N_DETECTED] = detected
    row[N_CONTAINED] = contained
    row[N_ERADICATED] = eradicated
    row[N_COMPROMISED] = compromised
