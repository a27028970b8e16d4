"""Hand-built states of `soc-v1`, and ways to play them, for the tests of its engine.

The tests look at one mechanic at a time: hand-built states, a minute or a few, exact values. Probabilities are tested
at 0 and 1, and as rates over many envs that start from the same state (fixed seeds, 4.5 standard errors).
"""

from __future__ import annotations

import numpy as np

from policies.scripted import SCRIPTED
from soc_env import Simulator
from soc_env.engine.tables import AGENTS
from soc_env.soc.attack import GOALS, REACTIONS, TACTICS, TECHNIQUES
from soc_env.soc.kernels.state import METRICS, NEVER
from soc_env.soc.tables import TOOL_NAMES

TRIAGE, HUNTER, ORCHESTRATOR, COORDINATOR = AGENTS
ESCALATE, SUPPRESS, CORRELATE, ENRICH = range(4)
NONE, ACTIVE, OVER = range(3)
MANY = 400  # envs of a rate
ALERT_DECAY, FINDING_DECAY = 0.5 ** (1 / 20), 0.5 ** (1 / 60)
HOST = 20  # some host; what it is like does not matter where it is used
COUNT = {metric.name: k for k, metric in enumerate(METRICS)}

# Nothing happens unless a test asks for it.
QUIET = {
    "campaigns_per_hour": 0.0, "benign_alerts_per_hour": 0.0, "false_finding": 0.0, "alert_drop": 0.0,
    "alert_delay": 0.0, "coordinator_period": 1, "num_networks": 1,
}  # fmt: skip


# ---------------------------------------------------------------------- playing
def play(sim, policy, minutes):
    """Plays a policy, whose state it hands over if it needs one."""
    for _ in range(minutes):
        act(sim, policy)
        sim.step()


def level(x):
    """The action's entry of a level in [0, 1]."""
    return 2.0 * x - 1.0


def act(sim, policy):
    """Writes a policy's actions."""
    if getattr(policy, "needs_state", False):
        policy.state = sim.state()
    for agent, action in policy(sim.observations, sim.decides).items():
        sim.actions[agent] = action


def episodes(name, num_envs=8, seed=11, scenario="soc-v1", **overrides):
    """Metrics of one episode an env under a playbook."""
    sim = Simulator(scenario, num_envs=num_envs, seed=seed, autoreset=False, **overrides)
    sim.reset()
    play(sim, SCRIPTED["soc"][name](sim.action_spaces, 0), sim.scenario.max_steps)
    return sim.episode_metrics.copy()


def mean(metrics, name):
    return float(metrics[name].mean())


# ---------------------------------------------------------------------- states by hand
def build(
    hosts=(), campaigns=(), cases=(), step=0, num_envs=1, seed=0, analyst_time=0.0, scenario="soc-v1", **overrides
):
    """A simulator whose envs all stand in the given state, with quiet sensors and no arrivals.

    Args:
        hosts: Fields of HOST of each host that has a record.
        campaigns: Fields of CAMPAIGN of each, by slot.
        cases: Fields of CASE of each, best rank first.
        step: The minute that has just ended.
    """
    quiet = {name: value for name, value in QUIET.items() if name != "num_networks" or "network" not in overrides}
    settings = quiet | overrides
    sim = Simulator(scenario, num_envs=num_envs, seed=seed, autoreset=False, log_capacity=256, **settings)
    sim.reset()
    idle(sim)
    for i in range(num_envs):
        sim.records(i).env["num_campaigns"] = 1  # no first campaign
        for fields in hosts:
            place_host(sim, i, **fields)
    settle(sim)
    for i in range(num_envs):
        env = sim.records(i).env
        env["step"], env["analyst_time"] = step, analyst_time
        records = sim.records(i).hosts[: env["num_tracked"]]
        for c, fields in enumerate(campaigns):
            own = records[(records["campaign"] == c) & (records["level"] > 0)]
            counts = {
                "num_owned": len(own),
                "num_live": int(((own["is_isolated"] == 0) & (own["is_offline"] == 0)).sum()),
            }
            place_campaign(env, c, **counts | fields)
        for fields in cases:
            place_case(sim, i, **fields)
    look(sim)
    return sim


def intruder(host, level=1, **fields):
    """Fields of a compromised host of the first campaign."""
    return {"host": host, "level": level, "campaign": 0, "since": 0, **fields}


def lost(hosts=(), num_envs=MANY, reentry=0.3, minutes=1, campaign=None, **overrides):
    """Campaigns that have just lost their last host."""
    sim = build(num_envs=num_envs, hosts=hosts, **overrides)
    set_plan(sim, ("initial-access", "execution", "impact"), reentry=reentry)
    latent = sum(1 for row in hosts if row.get("campaign") == 0)
    for env in sim.records().env:
        place_campaign(env, 0, plan=2, timer=0, start=0, num_latent=latent, **(campaign or {}))
    for _ in range(minutes):
        sim.step()
    return sim


def idle(sim):
    """Actions that ask for nothing but an enrichment."""
    zones = sim.scenario.num_zones
    sim.actions[TRIAGE][...] = ENRICH
    sim.actions[HUNTER][...] = -1.0
    sim.actions[ORCHESTRATOR][...] = -1.0
    sim.actions[ORCHESTRATOR][:, :zones] = 0.0  # neither isolates nor releases
    sim.actions[COORDINATOR][...] = 0.0


def settle(sim):
    """A minute without decay, so that the SOC's picture fits the records; what it counted is taken back."""
    world = sim.records().world
    decays = world["alert_decay"][0], world["finding_decay"][0]
    world["alert_decay"], world["finding_decay"] = 1.0, 1.0
    sim.step()
    world["alert_decay"], world["finding_decay"] = decays
    for name in ("counts", "reward", "num_log", "num_cases"):
        sim.records().env[name] = 0


def place_host(sim, i, host, **fields):
    """Gives a host a record, and corrects what hangs on it."""
    _, network, assets, env, records, slots, _ = sim.records(i)
    place = env["num_tracked"]
    assert slots[host] == 0
    row = np.zeros(1, records.dtype)
    row["host"], row["segment"] = host, assets["segment"][host]
    row["zone"] = network["segment_zone"][assets["segment"][host]]
    for name in ("campaign", "since", "last_alert", "last_hunt"):
        row[name] = NEVER
    for name, value in fields.items():
        row[name] = value
    records[place] = row[0]
    env["num_tracked"] = place + 1
    slots[host] = place + 1
    if row["is_isolated"][0] or row["is_offline"][0] or row["is_encrypted"][0]:
        env["num_cut"] += 1
        env["users_cut"] += assets["users"][host]
        if assets["service"][host] >= 0:
            env["service_down"][assets["service"][host]] += 1


def place_campaign(env, c, **fields):
    """Puts an intruder into a slot."""
    campaign = env["campaigns"][c]
    for name in campaign.dtype.names:
        campaign[name] = 0
    for name in ("technique", "via", "target", "detected", "acknowledged", "contained", "eradicated"):
        campaign[name] = NEVER
    campaign["state"], campaign["start"], campaign["timer"] = ACTIVE, 0, 1_000_000  # it sleeps
    for name, value in fields.items():
        campaign[name] = value


def place_case(sim, i, host, **fields):
    """Opens a case, ranked behind those before it."""
    _, network, assets, env, *_ = sim.records(i)
    k = env["num_cases"]
    case = env["cases"][k]
    case["id"], case["host"], case["source"], case["campaign"] = env["next_case"], host, -1, -1
    case["zone"] = network["segment_zone"][assets["segment"][host]]
    case["rule"], case["num_alerts"], case["opened"] = 0, 1, env["step"]
    case["severity"], case["confidence"], case["rank"] = 0.5, 0.5, 1.0 - 0.01 * k
    case["enriched"], case["is_overdue"], case["is_true"] = 0, 0, 0
    case["reading"], case["second_reading"] = 0.5, 0.5
    for name, value in fields.items():
        case[name] = value
    env["order"][k] = k
    env["num_cases"] += 1
    env["next_case"] += 1


# ---------------------------------------------------------------------- rules and plans by hand
def rule_of(tactic):
    """Index of a technique of a tactic."""
    return next(k for k, row in enumerate(TECHNIQUES) if row.tactic == tactic)


def set_plan(sim, tactics, loop=(1, 1, 1, 1), goal="abuse", reaction="hide", success=10.0, minutes=1, detection=0.0,
             dwell=0.0, stealth=0.0, reentry=0.0, entry=(1.0, 1.0, 1.0, 1.0), prefers_value=0.0):  # fmt: skip
    """All families get this plan: one technique a tactic, each with the same chances; returns their indices.

    success is that of the rule; every attempt is capped at 0.95.
    """
    world = sim.records().world[0]
    rules = [rule_of(tactic) for tactic in tactics]
    for rule in rules:
        row = world["rules"][rule]
        row["success"], row["minutes"], row["detection"], row["delay"] = success, minutes, detection, 0.0
    families = world["families"]
    for k, (tactic, rule) in enumerate(zip(tactics, rules, strict=True)):
        families["tactic"][:, k] = TACTICS.index(tactic)
        families["num_choices"][:, k] = 1
        families["choice"][:, k, :] = rule
        families["cumulative"][:, k, :] = 1.0
    families["plan_length"] = len(tactics)
    families["loop"] = loop
    families["goal"], families["reaction"] = GOALS.index(goal), REACTIONS.index(reaction)
    families["dwell"], families["stealth"], families["reentry"] = dwell, stealth, reentry
    families["entry_roles"], families["prefers_value"] = entry, prefers_value
    return rules


def tool_row(sim, name):
    """The kernels' numbers of a tool, to be changed."""
    return sim.records(0).world["tools"][TOOL_NAMES.index(name)]


# ---------------------------------------------------------------------- reading
def record(sim, host, i=0):
    """A host's record, or None."""
    records = sim.records(i)
    place = records.slots[host] - 1
    return records.hosts[place] if place >= 0 else None


def assets(sim, i=0):
    """ASSET of every host of the network of env i."""
    return sim.records(i).assets


def zone_hosts(sim, zone, i=0):
    """Hosts of a zone, in order."""
    net = sim.network_of(i)
    return np.flatnonzero(net.segment_zone[assets(sim, i)["segment"]] == zone)


def ordinary_host(sim, zone=1, skip=0):
    """A host that needs no approval."""
    rows = assets(sim)
    plain = [h for h in zone_hosts(sim, zone) if rows["value"][h] < 0.9 and rows["role"][h] != 2]
    return int(plain[skip])


def call(sim, *calls):
    """Carries out calls in every env in the next minute; returns their outcomes in env 0."""
    for i in range(sim.num_envs):
        sim.set_calls([(name, target, *(rest or (0.0, 0.0))) for name, target, *rest in calls], i)
    sim.step()
    return [row["outcome"] for row in sim.calls(0)]


def look(sim):
    """Draws the observations up anew, after a change by hand."""
    sim.observe()


def snapshot(sim):
    """Copies of all that a simulator holds and shows."""
    shown = (*sim.observations.values(), *sim.final_observations.values(), sim.rewards, sim.reward_terms,
             sim.terminated, sim.truncated, sim.decides, sim.episode_metrics)  # fmt: skip
    return [array.copy() for array in (*sim.records(), sim.raw_actions, *shown)]


def read(sim, agent, name, i=0):
    """An entry of an agent's observation."""
    return float(sim.observations[agent][i, sim.features(agent).index(name)])


def count(sim, name, i=0):
    """A metric that is counted as it happens."""
    return float(sim.records(i).env["counts"][COUNT[name]])


def assert_rate(hits, trials, chance):
    """Whether a count fits its probability, within 4.5 standard errors."""
    error = 4.5 * np.sqrt(trials * chance * (1.0 - chance)) + 1e-9
    assert abs(hits - trials * chance) <= error, (hits / trials, chance)


def assert_consistent(sim):
    """Whether what is kept from minute to minute equals a recount over all hosts."""
    for i in range(sim.num_envs):
        _, _, rows, env, every, slots, _ = sim.records(i)
        hosts = sim.hosts(i)
        cut = (hosts["is_isolated"] != 0) | (hosts["is_offline"] != 0) | (hosts["is_encrypted"] != 0)
        assert env["num_cut"] == cut.sum()
        np.testing.assert_allclose(env["users_cut"], rows["users"][cut].sum(dtype=float), atol=1e-6)
        services = rows["service"][cut]
        down = np.bincount(services[services >= 0], minlength=len(env["service_down"]))
        np.testing.assert_array_equal(env["service_down"], down)
        zones = sim.scenario.num_zones
        for name, field in (("isolated", "is_isolated"), ("offline", "is_offline")):
            is_counted = (hosts[field] != 0) & ((hosts["is_offline"] == 0) | (name == "offline"))
            recount = np.bincount(hosts["zone"][is_counted], minlength=zones)
            np.testing.assert_array_equal(env[name][:zones], recount, err_msg=name)
        assert 0 <= env["num_cases"] <= sim.scenario.queue_capacity
        records = every[: env["num_tracked"]]
        np.testing.assert_array_equal(slots[records["host"]], np.arange(1, len(records) + 1))
        assert np.count_nonzero(slots) == len(records)
        assert len(np.unique(records["host"])) == len(records)
        for c, campaign in enumerate(env["campaigns"][: sim.scenario.max_campaigns]):
            own = hosts[(hosts["campaign"] == c) & (hosts["level"] > 0)]
            in_reach = (own["is_isolated"] == 0) & (own["is_offline"] == 0)
            assert (campaign["num_owned"], campaign["num_live"]) == (len(own), in_reach.sum())
        for name in env.dtype.names:
            assert env[name].dtype.kind != "f" or np.isfinite(env[name]).all(), name
        for name in hosts.dtype.names:
            assert np.isfinite(hosts[name]).all(), name
