"""The order of a minute, and the one compiled function that Python calls."""

from __future__ import annotations

import numpy as np

from soc_env.engine.draws import below, mix, step_key
from soc_env.engine.jit import entry_point, kernel, part
from soc_env.engine.outputs import NUM_TERMS, clear_outputs, has_bad_action, pay_nothing
from soc_env.soc.kernels.campaign import NONE, advance_campaigns, count_hosts
from soc_env.soc.kernels.decode import decode, hold_directive
from soc_env.soc.kernels.draws import NETWORK_CHOICE
from soc_env.soc.kernels.hosts import LOG_CALL, forget_all, log
from soc_env.soc.kernels.hunting import hunt_as_called, hunt_share, use_edr
from soc_env.soc.kernels.observe import CASE_SIZE, CLOCK_SIZE, TRIAGE_CASES, observe, write_state
from soc_env.soc.kernels.outcomes import count_losses, score, write_metrics
from soc_env.soc.kernels.response import change_network, finish_jobs, start_job
from soc_env.soc.kernels.siem import count_events, deliver, raise_benign_alerts, summarise, work_queue
from soc_env.soc.kernels.state import MAX_ZONES, NEVER
from soc_env.soc.kernels.triage import work_case
from soc_env.soc.tables import EDR, MAX_ANALYST_TIME, MAX_DECOYS, SIEM, TOOLS

# What `run` does with each env of its slice; those after RESET play nothing.
STEP, STEP_AND_RESET, RESET, METRICS_ONLY, STATE_ONLY, DECODE_ONLY, OBSERVE_ONLY = range(7)

# Who carries out a tool: triage, hunting, response on a host, response on the whole network.
ON_CASE, BY_EDR, ON_HOST, ON_NETWORK = range(4)
GROUPS = tuple(
    {SIEM: ON_CASE, EDR: BY_EDR}.get(tool.platform, ON_HOST if tool.target == "host" else ON_NETWORK) for tool in TOOLS
)


@kernel
def play_step(
    world, net, assets, env, hosts, slots, logs, i, num_envs, box_actions, choice, terms
):  # fmt: skip
    """One minute of one env. Returns the reward."""
    if env["has_calls"] == 0:
        decode(world, net, env, hosts, slots, i, num_envs, box_actions, choice)
    env["has_calls"] = 0
    env["step"] += 1
    key = step_key(env["seed_key"], env["episode"], env["step"])
    begin_minute(env)
    zones = world["num_zones"]
    row = (3 * zones + 1 + 2 * zones + 2) * num_envs + i * (zones + 3)
    hold_directive(world, env, box_actions[row : row + zones + 3])
    if world["attacker_first"] != 0:
        advance_campaigns(world, net, assets, env, hosts, slots, logs, key)
    finish_jobs(world, assets, env, hosts, slots, logs, key)
    carry_out(world, net, assets, env, hosts, slots, logs, key)
    if world["attacker_first"] == 0:
        count_hosts(world, env, hosts)
        advance_campaigns(world, net, assets, env, hosts, slots, logs, key)
    count_losses(world, net, assets, env, hosts)
    count_events(world, net, env, key)
    deliver(world, net, assets, env, hosts, slots, logs)
    raise_benign_alerts(world, net, assets, env, hosts, slots, logs, key)
    work_queue(world, env, hosts, slots, logs)
    summarise(world, net, assets, env, hosts, slots)
    reward = score(world, env, terms, env["step"] >= world["max_steps"])
    env["reward"] += reward
    return reward


@kernel
def carry_out(world, net, assets, env, hosts, slots, logs, key):
    """All calls of this minute, in order; then the hunts among them, together."""
    share = hunt_share(world, env)
    env["analyst_time"] = min(MAX_ANALYST_TIME, env["analyst_time"] + world["analysts"] * (1.0 - share))
    for k in range(env["num_calls"]):
        call = env["calls"][k]
        tool, target = call["tool"], call["target"]
        call["outcome"] = use(world, net, assets, env, hosts, slots, logs, key, tool, target)
        log(env, logs, LOG_CALL, tool, target, call["outcome"], 0, call["level"], call["depth"])
    hunt_as_called(world, net, assets, env, hosts, slots, logs, key, share)


@kernel
def use(world, net, assets, env, hosts, slots, logs, key, tool, target):
    """One call of a tool. Returns the outcome."""
    group = GROUPS[tool]
    if group == ON_CASE:
        return work_case(world, net, assets, env, hosts, slots, logs, key, tool, target)
    if group == ON_HOST:
        return start_job(world, net, assets, env, hosts, slots, logs, key, tool, target)
    if group == ON_NETWORK:
        return change_network(world, env, tool)
    return use_edr(world, assets, env, hosts, slots, logs, key, tool, target)


@kernel
def begin_minute(env):
    """Nothing earned or lost yet."""
    env["term_detection"] = 0.0
    env["term_response"] = 0.0
    env["term_false"] = 0.0
    env["damage_now"] = 0.0
    env["disruption_now"] = 0.0
    env["effort_now"] = 0.0


@kernel
def start_episode(world, networks, all_assets, env, hosts, slots):
    """The next episode of the env's seed: a network, an empty queue, and nobody in it yet."""
    forget_all(env, hosts, slots)
    env["episode"] += 1
    env["step"] = 0
    env["is_over"] = 0
    env["num_log"] = 0
    key = step_key(env["seed_key"], env["episode"], 0)
    env["network"] = below(key, NETWORK_CHOICE, 0, networks.shape[0])
    env["network_key"] = mix(np.uint64(env["network"]) + np.uint64(1))
    clear_intruders(env)
    clear_queue(env)
    clear_tools(env)
    clear_services(env)
    env["reward"] = 0.0
    env["gated_actions"] = 0.0
    env["clean_actions"] = 0.0
    for k in range(env["counts"].shape[0]):
        env["counts"][k] = 0.0
    begin_minute(env)
    summarise(world, networks[env["network"]], all_assets[env["network"]], env, hosts, slots)


@kernel
def clear_intruders(env):
    """No campaign, and no alert of one on its way."""
    for c in range(env["campaigns"].shape[0]):
        env["campaigns"][c]["state"] = NONE
        env["campaigns"][c]["start"] = NEVER
        env["campaigns"][c]["is_known"] = 0
    for k in range(env["past_campaigns"].shape[0]):
        env["past_campaigns"][k] = 0.0
    env["num_campaigns"] = 0
    env["num_pending"] = 0
    env["num_known"] = 0
    for z in range(MAX_ZONES):
        env["attack_events"][z] = 0.0
        env["events"][z] = 0.0


@kernel
def clear_queue(env):
    """No case, no analyst time, no directive."""
    env["num_cases"] = 0
    env["next_case"] = 0
    env["analyst_time"] = 0.0
    env["recent_drops"] = 0.0
    env["recent_closures"] = 0.0
    env["recent_encryptions"] = 0.0
    for k in range(env["directive"].shape[0]):
        env["directive"][k] = 0.0


@kernel
def clear_tools(env):
    """No call, no job, no decoy, an open perimeter."""
    env["has_calls"] = 0
    env["num_calls"] = 0
    for z in range(MAX_ZONES):
        env["job_tool"][z] = -1
        env["job_end"][z] = NEVER
        env["blind_next"][z] = 0
        env["last_hunt"][z] = NEVER
        for k in range(MAX_DECOYS):
            env["decoy_ready"][z, k] = NEVER
    env["perimeter"] = 0
    env["reset_end"] = NEVER
    env["reset_allowed"] = 0
    env["intel_allowed"] = 0


@kernel
def clear_services(env):
    """All services work."""
    for k in range(env["service_down"].shape[0]):
        env["service_down"][k] = 0
    for z in range(MAX_ZONES):
        env["outage"][z] = 0.0
    env["service_loss"] = 0.0
    env["users_cut"] = 0.0
    env["num_cut"] = 0


@entry_point
def run(
    worlds, networks, all_assets, envs, all_hosts, all_slots, all_logs, box_actions, choices, observations, finals,
    rewards, flags, metrics, first, last, mode, is_checked,
):  # fmt: skip
    """Steps, resets or reads the envs first..last-1.

    Args:
        worlds: (1,) WORLD.
        networks: (K,) NETWORK.
        all_assets: (K, num_hosts) ASSET.
        envs: (num_envs,) EPISODE.
        all_hosts: (num_envs, capacity) HOST.
        all_slots: (num_envs, num_hosts) int16, place of a host's record + 1, 0 for none.
        all_logs: (num_envs, entries) LOG, no entries where no log is kept.
        box_actions: float32, blocks of hunter, orchestrator, coordinator.
        choices: (num_envs,) int32, triage.
        observations: float32, blocks of the four agents.
        finals: The same for the last observations of episodes that ended, and after them (num_envs * size,) their last
            states; the states alone if STATE_ONLY.
        rewards: (num_envs * 5,) float64, rewards then reward terms.
        flags: (num_envs * 3,) bool, blocks terminated, truncated, decides.
        metrics: (num_envs, len(METRICS)) float64.
        first: First env.
        last: One past the last env.
        mode: One of the constants above.
        is_checked: Whether all actions of all envs are checked first.

    Returns:
        False, with nothing changed, if a checked action is NaN or not a choice.
    """
    if is_checked and has_bad_action(box_actions, choices):
        return False
    world, num_envs = worlds[0], envs.shape[0]
    for i in range(first, last):
        if mode > RESET:
            read_env(
                world, networks, all_assets, envs[i], all_hosts[i], all_slots[i], i, num_envs, box_actions, choices[i],
                observations, finals, metrics[i], mode,
            )  # fmt: skip
        else:
            step_env(
                world, networks, all_assets, envs[i], all_hosts[i], all_slots[i], all_logs[i], i, num_envs,
                box_actions, choices[i], observations, finals, rewards, flags, metrics[i], mode,
            )  # fmt: skip
    return True


@part
def step_env(
    world, networks, all_assets, env, hosts, slots, logs, i, num_envs, box_actions, choice, observations, finals,
    rewards, flags, row, mode,
):  # fmt: skip
    """A step of env i, or the start of an episode; one that is over waits for reset."""
    terms = rewards[num_envs + NUM_TERMS * i : num_envs + NUM_TERMS * (i + 1)]
    if mode == RESET:
        start_episode(world, networks, all_assets, env, hosts, slots)
        clear_outputs(i, num_envs, rewards, terms, flags)
    elif env["is_over"] != 0:
        pay_nothing(i, rewards, terms)
        return
    else:
        net, assets = networks[env["network"]], all_assets[env["network"]]
        rewards[i] = play_step(world, net, assets, env, hosts, slots, logs, i, num_envs, box_actions, choice, terms)
        end_step(world, networks, all_assets, env, hosts, slots, i, num_envs, observations, finals, flags, row, mode)
    flags[2 * num_envs + i] = env["is_over"] == 0 and env["step"] % world["coordinator_period"] == 0
    k = env["network"]
    observe(world, networks[k], all_assets[k], env, hosts, slots, observations, i, num_envs)


@part
def end_step(world, networks, all_assets, env, hosts, slots, i, num_envs, observations, finals, flags, row, mode):
    """Ends the episode if it was its last minute, and starts the next one if `mode` says so."""
    is_truncated = env["step"] >= world["max_steps"]
    flags[i] = False
    flags[num_envs + i] = is_truncated
    if is_truncated:
        env["is_over"] = 1
        write_metrics(world, env, row)
        if mode == STEP_AND_RESET:
            k = env["network"]
            observe(world, networks[k], all_assets[k], env, hosts, slots, finals, i, num_envs)
            tell_state(world, env, hosts, i, num_envs, finals, finals[observations.shape[0] :])
            start_episode(world, networks, all_assets, env, hosts, slots)


@kernel
def tell_state(world, env, hosts, i, num_envs, observations, states):
    """Writes the state of env i into a flat buffer of states, with what triage sees by `observations`."""
    size = world["num_zones"] * (world["zone_size"] + 1) + 3 + TRIAGE_CASES * CASE_SIZE + CLOCK_SIZE
    total = states.shape[0] // num_envs
    seen = observations[i * size : (i + 1) * size]
    write_state(world, env, hosts, seen, states[i * total : (i + 1) * total])


@kernel
def read_env(
    world, networks, all_assets, env, hosts, slots, i, num_envs, box_actions, choice, observations, finals, row, mode
):  # fmt: skip
    """What `run` does with an env without playing it."""
    net, assets = networks[env["network"]], all_assets[env["network"]]
    if mode == METRICS_ONLY:
        write_metrics(world, env, row)
    elif mode == STATE_ONLY:
        tell_state(world, env, hosts, i, num_envs, observations, finals)
    elif mode == DECODE_ONLY:
        decode(world, net, env, hosts, slots, i, num_envs, box_actions, choice)
    else:
        observe(world, net, assets, env, hosts, slots, observations, i, num_envs)
