"""The order of a step, and the one compiled function that Python calls."""

from __future__ import annotations

from soc_env.engine.draws import bits, step_key
from soc_env.engine.jit import entry_point, kernel, part
from soc_env.engine.outputs import NUM_TERMS, clear_outputs, has_bad_action, pay_nothing
from soc_env.engine.tables import AGENTS, COORDINATOR, HUNTER, ORCHESTRATOR, TRIAGE
from soc_env.paper.kernels.alerts import raise_alerts, triage
from soc_env.paper.kernels.attacker import advance_campaign
from soc_env.paper.kernels.defence import hold_directive, hunt, respond
from soc_env.paper.kernels.draws import NETWORK
from soc_env.paper.kernels.hosts import clean_all, vulnerability
from soc_env.paper.kernels.observation import (
    observe_coordinator,
    observe_hunter,
    observe_orchestrator,
    observe_triage,
    write_metrics,
    write_state,
)
from soc_env.paper.kernels.reward import score
from soc_env.paper.kernels.state import NEVER
from soc_env.paper.tables import ACTIONS, DIRECTIVE_SIZE, FEATURES, STATE

# What `run` does with each env of its slice.
STEP, STEP_AND_RESET, RESET, METRICS_ONLY, STATE_ONLY = range(5)

# Flat buffers hold one contiguous block of (num_envs, size) per agent, in this order.
OBSERVATION_SIZES = {agent: len(FEATURES[agent]) for agent in AGENTS}
BOX_SIZES = {agent: len(ACTIONS[agent]) for agent in AGENTS if agent != TRIAGE}
STATE_SIZE = len(STATE)


def _offset(sizes: dict[str, int], agent: str) -> int:
    names = list(sizes)
    return sum(sizes[name] for name in names[: names.index(agent)])


SEE_TRIAGE, SEE_HUNTER, SEE_ORCHESTRATOR, SEE_COORDINATOR = (_offset(OBSERVATION_SIZES, agent) for agent in AGENTS)
TRIAGE_SIZE, HUNTER_SIZE, ORCHESTRATOR_SIZE, COORDINATOR_SIZE = OBSERVATION_SIZES.values()
ACT_HUNTER, ACT_ORCHESTRATOR, ACT_COORDINATOR = (
    _offset(BOX_SIZES, agent) for agent in (HUNTER, ORCHESTRATOR, COORDINATOR)
)
HUNTER_ACTIONS, ORCHESTRATOR_ACTIONS, COORDINATOR_ACTIONS = BOX_SIZES.values()


@kernel
def play_step(world, env, footholds, marks, i, num_envs, box_actions, choice, terms):
    """One step of one env, in the published order. Returns the reward."""
    env["step"] += 1
    key = step_key(env["seed_key"], env["episode"], env["step"])
    acted_phase = advance_campaign(world, env, footholds, marks, key)
    raise_alerts(world, env, key, acted_phase)
    # kernels cannot return views, so each agent's row is cut out here
    row = ACT_COORDINATOR * num_envs + i * COORDINATOR_ACTIONS
    hold_directive(world, env, box_actions[row : row + COORDINATOR_ACTIONS])
    row = ACT_HUNTER * num_envs + i * HUNTER_ACTIONS
    hunt(world, env, footholds, marks, key, box_actions[row : row + HUNTER_ACTIONS])
    triage(env, choice)
    row = ACT_ORCHESTRATOR * num_envs + i * ORCHESTRATOR_ACTIONS
    respond(world, env, footholds, marks, key, box_actions[row : row + ORCHESTRATOR_ACTIONS])
    reward = score(world, env, footholds, terms)
    env["reward"] += reward
    return reward


@kernel
def start_episode(world, env, marks):
    """The next episode of the env's seed."""
    clean_all(env, marks)
    env["episode"] += 1
    env["step"] = 0
    if world["redraw_vulnerabilities"] != 0:
        env["network_key"] = bits(step_key(env["seed_key"], env["episode"], 0), NETWORK, 0)
    env["is_over"] = 0
    env["phase"] = 0
    env["steps_in_phase"] = 0
    env["num_targets"] = 0
    env["is_exfiltrated"] = 0
    env["detection_step"] = NEVER
    env["containment_step"] = NEVER
    env["is_contained"] = 0
    for k in range(DIRECTIVE_SIZE):
        env["directive"][k] = 0.0
    env["reward"] = 0.0
    env["true_positives"] = 0
    env["false_positives"] = 0
    env["false_escalations"] = 0
    env["missed_alerts"] = 0
    env["total_scans"] = 0
    env["total_alerts"] = 0
    env["queue_head"] = 0
    env["queue_length"] = 0


@kernel
def observe(world, env, footholds, i, num_envs, flat):
    """Writes the four observations of env i into a flat buffer."""
    key = step_key(env["seed_key"], env["episode"], env["step"])
    row = SEE_TRIAGE * num_envs + i * TRIAGE_SIZE
    observe_triage(world, env, flat[row : row + TRIAGE_SIZE])
    row = SEE_HUNTER * num_envs + i * HUNTER_SIZE
    observe_hunter(world, env, footholds, key, flat[row : row + HUNTER_SIZE])
    row = SEE_ORCHESTRATOR * num_envs + i * ORCHESTRATOR_SIZE
    observe_orchestrator(world, env, key, flat[row : row + ORCHESTRATOR_SIZE])
    row = SEE_COORDINATOR * num_envs + i * COORDINATOR_SIZE
    observe_coordinator(world, env, key, flat[row : row + COORDINATOR_SIZE])


@entry_point
def run(
    worlds, envs, all_footholds, all_marks, box_actions, choices, observations, finals, rewards, flags, metrics,
    first, last, mode, is_checked,
):  # fmt: skip
    """Steps, resets or reads the envs first..last-1.

    Args:
        worlds: (1,) WORLD.
        envs: (num_envs,) EPISODE.
        all_footholds: (num_envs, num_hosts) FOOTHOLD.
        all_marks: (num_envs, 2, words) uint64, a bit per host: COMPROMISED, ISOLATED.
        box_actions: (num_envs * 36,) float32, blocks of hunter, orchestrator, coordinator.
        choices: (num_envs,) int32, triage.
        observations: (num_envs * 352,) float32, blocks of the four agents.
        finals: The same for the last observations of episodes that ended, and after them (num_envs * STATE_SIZE,) their
            last states; the states alone if STATE_ONLY.
        rewards: (num_envs * 5,) float64, rewards then reward terms.
        flags: (num_envs * 3,) bool, blocks terminated, truncated, decides.
        metrics: (num_envs,) METRIC.
        first: First env.
        last: One past the last env.
        mode: STEP, STEP_AND_RESET, RESET, METRICS_ONLY or STATE_ONLY.
        is_checked: Whether all actions of all envs are checked first.

    Returns:
        False, with nothing changed, if a checked action is NaN or not a choice.
    """
    if is_checked and has_bad_action(box_actions, choices):
        return False
    world, num_envs = worlds[0], envs.shape[0]
    for i in range(first, last):
        if mode == METRICS_ONLY:
            write_metrics(world, envs[i], metrics[i])
        elif mode == STATE_ONLY:
            write_state(world, envs[i], finals[i * STATE_SIZE : (i + 1) * STATE_SIZE])
        else:
            step_env(
                world, envs[i], all_footholds[i], all_marks[i], i, num_envs, box_actions, choices[i], observations,
                finals, rewards, flags, metrics[i], mode,
            )  # fmt: skip
    return True


@part
def step_env(
    world, env, footholds, marks, i, num_envs, box_actions, choice, observations, finals, rewards, flags, row, mode
):  # fmt: skip
    """A step of env i, or the start of an episode; one that is over waits for reset."""
    terms = rewards[num_envs + NUM_TERMS * i : num_envs + NUM_TERMS * (i + 1)]
    if mode == RESET:
        start_episode(world, env, marks)
        clear_outputs(i, num_envs, rewards, terms, flags)
    elif env["is_over"] != 0:
        pay_nothing(i, rewards, terms)
        return
    else:
        rewards[i] = play_step(world, env, footholds, marks, i, num_envs, box_actions, choice, terms)
        end_step(world, env, footholds, marks, i, num_envs, observations, finals, flags, row, mode)
    flags[2 * num_envs + i] = env["is_over"] == 0 and env["step"] % world["coordinator_period"] == 0
    observe(world, env, footholds, i, num_envs, observations)


@part
def end_step(world, env, footholds, marks, i, num_envs, observations, finals, flags, row, mode):
    """Ends the episode if it was its last step, and starts the next one if `mode` says so."""
    is_terminated = env["is_contained"] != 0 or env["is_exfiltrated"] != 0
    is_truncated = env["step"] >= world["max_steps"]
    flags[i] = is_terminated
    flags[num_envs + i] = is_truncated
    if is_terminated or is_truncated:
        env["is_over"] = 1
        write_metrics(world, env, row)
        if mode == STEP_AND_RESET:
            observe(world, env, footholds, i, num_envs, finals)
            first = observations.shape[0] + i * STATE_SIZE
            write_state(world, env, finals[first : first + STATE_SIZE])
            start_episode(world, env, marks)


@entry_point
def read_vulnerabilities(worlds, network_key, out):
    """out[h] = vulnerability of host h. Args: worlds (1,) WORLD; network_key (1,) uint64; out (num_hosts,) float64."""
    for host in range(out.shape[0]):
        out[host] = vulnerability(worlds[0], network_key[0], host)
