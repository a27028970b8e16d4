"""Intruders: campaigns that arrive, walk through their family's plan, come back, react, and are counted."""

from __future__ import annotations

from soc_env.engine.draws import below, uniform
from soc_env.engine.jit import kernel
from soc_env.soc.attack import REACTIONS
from soc_env.soc.kernels.attempts import (
    GAVE_UP,
    REACTED,
    RETURNED,
    STARTED,
    STEALTH_LIMIT,
    entry_host,
    finish_attempt,
    passes_perimeter,
    plan_attempt,
    take,
)
from soc_env.soc.kernels.draws import ARRIVAL, FAMILY_CHOICE, REENTRY
from soc_env.soc.kernels.hosts import LOG_CAMPAIGN, is_live, is_quiet, log, track
from soc_env.soc.kernels.state import NEVER

NONE, ACTIVE, OVER = range(3)  # states of a campaign
HIDE, RUSH, SPREAD = (REACTIONS.index(name) for name in ("hide", "rush", "spread"))
CREDENTIAL_LIFE = 1.0 / 240.0  # probability a minute that stolen credentials expire


@kernel
def advance_campaigns(world, net, assets, env, hosts, slots, logs, key):
    """A minute of every intruder. Call with `count_hosts` up to date."""
    for c in range(world["max_campaigns"]):
        campaign = env["campaigns"][c]
        if campaign["state"] != ACTIVE:
            if is_arriving(world, env, key, c):
                start(world, env, logs, campaign, key, c)
            continue
        if campaign["plan"] > 0 and campaign["num_owned"] == 0:
            come_back(world, net, assets, env, hosts, slots, logs, campaign, key, c)
            continue
        if campaign["has_hosts_lost"] != 0:
            react(world, env, logs, campaign, c)
        if campaign["has_credentials"] != 0 and uniform(key, REENTRY, 8 * c + 3) < CREDENTIAL_LIFE:
            campaign["has_credentials"] = 0
        if campaign["timer"] > 0:
            campaign["timer"] -= 1
            if campaign["timer"] > 0:
                continue
        if campaign["technique"] < 0:
            plan_attempt(world, net, assets, env, hosts, campaign, key, c)
        else:
            finish_attempt(world, net, assets, env, hosts, slots, logs, campaign, key, c)


@kernel
def count_hosts(world, env, hosts):
    """Hosts of every campaign: in reach, owned at all, and those where only its persistence is left."""
    clear_host_counts(env)
    for place in range(env["num_tracked"]):
        if hosts[place]["campaign"] >= 0:
            count_host(world, env, hosts[place])


@kernel
def clear_host_counts(env):
    """Before a count."""
    for c in range(env["campaigns"].shape[0]):
        campaign = env["campaigns"][c]
        campaign["num_live"] = 0
        campaign["num_defended"] = 0
        campaign["num_owned"] = 0
        campaign["num_latent"] = 0


@kernel
def count_host(world, env, record):
    """Adds a host to its campaign's count."""
    campaign = env["campaigns"][record["campaign"]]
    if record["level"] == 0:
        campaign["num_latent"] += 1
        return
    campaign["num_owned"] += 1
    if is_live(record):
        campaign["num_live"] += 1
        campaign["num_defended"] += world["is_defended"][record["zone"]]


@kernel
def keep_times(env):
    """Containment and eradication of campaigns that have begun."""
    for c in range(env["campaigns"].shape[0]):
        campaign = env["campaigns"][c]
        if campaign["start"] < 0 or campaign["state"] == NONE:
            continue
        campaign["is_contained"] = 1 if campaign["num_defended"] == 0 else 0
        if campaign["is_contained"] != 0 and campaign["contained"] < 0:
            campaign["contained"] = env["step"]
        if campaign["state"] == OVER and campaign["eradicated"] < 0:
            campaign["eradicated"] = env["step"]


@kernel
def is_arriving(world, env, key, c):
    """Whether a new campaign takes this slot: one within the first minutes, later ones at random."""
    if env["num_campaigns"] == 0:
        if c != 0:
            return False
        left = max(1, world["first_campaign"] - env["step"] + 1)
        return uniform(key, ARRIVAL, c) < 1.0 / left
    if c == 0 and env["campaigns"][0]["state"] == NONE:
        return False
    return uniform(key, ARRIVAL, c) < world["arrival"] / world["max_campaigns"]


@kernel
def start(world, env, logs, campaign, key, c):
    """A campaign of a random family begins. The times of one that was here before are kept in sums."""
    if campaign["state"] == OVER:
        bury(env, campaign)
    env["num_campaigns"] += 1
    family = below(key, FAMILY_CHOICE, c, world["num_families"])
    row = world["families"][family]
    campaign["state"] = ACTIVE
    campaign["family"] = family
    campaign["plan"] = 0
    campaign["loops_left"] = row["loop"][2] - 1 + below(key, FAMILY_CHOICE, c + 8, row["loop"][3] - row["loop"][2] + 1)
    campaign["timer"] = 0
    campaign["technique"] = -1
    campaign["via"] = -1
    campaign["target"] = -1
    campaign["has_credentials"] = 0
    campaign["stealth"] = min(STEALTH_LIMIT, row["stealth"] * world["stealth_factor"])
    campaign["has_hosts_lost"] = 0
    campaign["is_known"] = 0
    campaign["goal_minutes"] = 0
    campaign["start"] = NEVER
    campaign["detected"] = NEVER
    campaign["acknowledged"] = NEVER
    campaign["contained"] = NEVER
    campaign["eradicated"] = NEVER
    campaign["is_contained"] = 0
    log(env, logs, LOG_CAMPAIGN, c, STARTED, family, 0, 0.0, 0.0)


@kernel
def elapsed(minute, begin, now):
    """Minutes from `begin` to an event, or to now while there was none; 0 for what came before."""
    return max(0, (minute if minute >= 0 else now) - begin)


@kernel
def bury(env, campaign):
    """Adds a finished campaign to the sums over past ones: number, detected, contained, eradicated, and four times."""
    if campaign["start"] < 0:
        return
    past, begin, now = env["past_campaigns"], campaign["start"], env["step"]
    past[0] += 1.0
    past[1] += 1.0 if campaign["detected"] >= 0 else 0.0
    past[2] += campaign["is_contained"]
    past[3] += 1.0
    past[4] += elapsed(campaign["detected"], begin, now)
    past[5] += elapsed(campaign["acknowledged"], begin, now)
    past[6] += elapsed(campaign["contained"], begin, now)
    past[7] += elapsed(campaign["eradicated"], begin, now)
    campaign["start"] = NEVER
    campaign["state"] = NONE


@kernel
def come_back(world, net, assets, env, hosts, slots, logs, campaign, key, c):
    """A campaign without a host returns through its persistence or with stolen credentials, or is over."""
    campaign["technique"] = -1
    campaign["timer"] = 0
    if world["has_persistence"] == 0 or (campaign["num_latent"] == 0 and campaign["has_credentials"] == 0):
        campaign["state"] = OVER
        drop_persistence(hosts, env, c)
        log(env, logs, LOG_CAMPAIGN, c, GAVE_UP, 0, 0, 0.0, 0.0)
        return
    family = world["families"][campaign["family"]]
    if uniform(key, REENTRY, 8 * c) >= family["reentry"]:
        return
    for place in range(env["num_tracked"]):
        record = hosts[place]
        if record["campaign"] == c and record["is_persistent"] != 0 and is_quiet(record):
            take(world, env, logs, campaign, record, c)
            resume(env, logs, campaign, c)
            return
    if campaign["has_credentials"] != 0 and passes_perimeter(world, env, key, 8 * c + 1):
        host = entry_host(world, net, assets, env, hosts, slots, key, c, family)
        if host >= 0:
            place = track(net, assets, env, hosts, slots, host)
            if place >= 0:
                take(world, env, logs, campaign, hosts[place], c)
                resume(env, logs, campaign, c)


@kernel
def resume(env, logs, campaign, c):
    """Goes on after its first step."""
    campaign["plan"] = 1
    campaign["timer"] = 1
    log(env, logs, LOG_CAMPAIGN, c, RETURNED, 0, 0, 0.0, 0.0)


@kernel
def drop_persistence(hosts, env, c):
    """What a campaign that is over left behind means nothing any more."""
    for place in range(env["num_tracked"]):
        if hosts[place]["campaign"] == c:
            hosts[place]["campaign"] = -1
            hosts[place]["is_persistent"] = 0


@kernel
def react(world, env, logs, campaign, c):
    """The intruder noticed that a host was cut off or cleaned."""
    campaign["has_hosts_lost"] = 0
    family = world["families"][campaign["family"]]
    reaction = family["reaction"]
    log(env, logs, LOG_CAMPAIGN, c, REACTED, reaction, 0, 0.0, 0.0)
    if reaction == HIDE:
        campaign["stealth"] = min(STEALTH_LIMIT, campaign["stealth"] + 0.1 * world["stealth_factor"])
        campaign["technique"] = -1
        campaign["timer"] = 8
    elif reaction == RUSH:
        if campaign["plan"] > 1 and campaign["plan"] < family["plan_length"] - 1:
            campaign["plan"] = family["plan_length"] - 1
            campaign["technique"] = -1
            campaign["timer"] = 1
    else:
        campaign["timer"] = min(campaign["timer"], 1)
