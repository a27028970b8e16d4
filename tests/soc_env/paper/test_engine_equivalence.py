"""Whether `paper-v0` is the published simulator: episode statistics under scripted policies.

`data/reference_stats.json` was measured on the published code. Each of our means must lie within 4 standard errors,
ours and theirs combined, both with networks as clusters: episodes on one network share its vulnerabilities.
"""

import json
from pathlib import Path

import numpy as np
import pytest

import soc_env

REFERENCE = json.loads((Path(__file__).parents[2] / "data" / "reference_stats.json").read_text())
METRICS = list(REFERENCE["entries"][0]["metrics"])
TRIAGE, HUNTER, ORCHESTRATOR, COORDINATOR = soc_env.AGENTS
NUM_NETWORKS, EPISODES_PER_NETWORK = 1000, 8
# As published: one network per environment for good, and a directive that counts at every step.
PUBLISHED = {"redraw_vulnerabilities": False, "coordinator_period": 1}


def play_random(sim, rng):
    for agent in (HUNTER, ORCHESTRATOR, COORDINATOR):
        sim.actions[agent][...] = rng.uniform(-1, 1, sim.actions[agent].shape)
    sim.actions[TRIAGE][...] = rng.integers(0, 4, sim.num_envs)


def play_constant(triage, hunter, orchestrator, coordinator):
    def policy(sim, rng):
        del rng
        for agent, value in zip(sim.agents, (triage, hunter, orchestrator, coordinator), strict=True):
            sim.actions[agent][...] = value

    return policy


POLICIES = {"random": play_random, "zeros": play_constant(0, 0, 0, 0), "max": play_constant(1, 1, 1, 1)}


def level(intensity):
    """The action that sets a tool to a level in [0, 1]."""
    return 2 * intensity - 1


def episodes(policy, num_networks=NUM_NETWORKS, per_network=EPISODES_PER_NETWORK, seed=2024, **overrides):
    """(networks, episodes, metrics): the first episodes of each network, so that short ones are not preferred."""
    sim = soc_env.Simulator("paper-v0", num_envs=num_networks, seed=seed, **(PUBLISHED | overrides))
    sim.reset()
    rng = np.random.default_rng(seed)
    rows = np.zeros((num_networks, per_network, len(METRICS)))
    played = np.zeros(num_networks, int)
    while played.min() < per_network:
        policy(sim, rng)
        sim.step()
        for i in np.flatnonzero((sim.terminated | sim.truncated) & (played < per_network)):
            rows[i, played[i]] = sim.episode_metrics[METRICS][i].tolist()
            played[i] += 1
    return rows


def estimates(rows):
    """Mean and clustered standard error of each metric."""
    per_network = rows.mean(axis=1)
    return per_network.mean(axis=0), per_network.std(axis=0, ddof=1) / np.sqrt(len(per_network))


@pytest.mark.parametrize(
    "entry", REFERENCE["entries"], ids=lambda entry: f"{entry['policy']}-{entry['num_hosts']}hosts"
)
def test_statistics_of_the_published_simulator(entry):
    means, errors = estimates(episodes(POLICIES[entry["policy"]], num_hosts=entry["num_hosts"]))
    far = {}
    for name, mean, error in zip(METRICS, means, errors, strict=True):
        published, published_error = entry["metrics"][name]
        z = (mean - published) / max(1e-12, np.hypot(error, published_error))
        if abs(z) > 4:
            far[name] = (round(z, 1), mean, published)
    assert not far


def test_doing_nothing():
    # 4.6 % exfiltrate, 67 % hang in execution for good, 3.86 hosts compromised at the end, reward -0.46.
    rows = episodes(play_constant(3, -1, -1, -1))
    means, errors = (dict(zip(METRICS, values, strict=True)) for values in estimates(rows))
    published = {"exfiltrated": (0.046, 0.0047), "compromised": (3.86, 0.035), "reward": (-0.46, 0.047)}
    for name, (mean, error) in published.items():  # errors of 2,000 episodes
        assert abs(means[name] - mean) < 4 * np.hypot(errors[name], error), (name, means[name])
    assert means["total_scans"] == means["csr"] == 0


def test_most_attacks_hang_in_execution():
    sim = soc_env.Simulator("paper-v0", num_envs=3000, seed=5, autoreset=False, **PUBLISHED)
    sim.reset()
    play_constant(3, -1, -1, -1)(sim, None)
    for _ in range(200):
        sim.step()
    hung = np.mean([sim.campaign(i)["phase_name"] == "execution" for i in range(sim.num_envs)])
    assert abs(hung - 0.67) < 4 * np.hypot(0.0105, np.sqrt(0.67 * 0.33 / 3000))


@pytest.mark.parametrize(("first_step", "published"), [(0, 11.35), (12, 12.09)])
def test_best_known_constants(first_step, published):
    # Hunt .699, scope 1, isolate .899, no remediation; the hunt may start late. Standard deviation of an episode 1.99.
    hunting = np.zeros(16)
    hunting[:5], hunting[5:10] = level(0.699), 1.0
    isolating = np.full(12, -1.0)
    isolating[:5] = level(0.899)

    def policy(sim, rng):
        del rng
        sim.actions[COORDINATOR][...] = -1
        sim.actions[TRIAGE][...] = 3
        sim.actions[ORCHESTRATOR][...] = isolating
        steps = sim.observations[COORDINATOR][:, 20] * sim.scenario.max_steps
        sim.actions[HUNTER][...] = np.where(np.rint(steps)[:, None] + 1 >= first_step, hunting, -1.0)

    means, errors = estimates(episodes(policy))
    assert abs(means[0] - published) < 4 * np.hypot(errors[0], 1.99 / np.sqrt(2000)), means[0]


def test_the_period_changes_only_when_the_directive_counts():
    # A constant directive is in force from the first step on, whatever the period.
    often = episodes(POLICIES["zeros"], num_networks=20, per_network=3)
    seldom = episodes(POLICIES["zeros"], num_networks=20, per_network=3, coordinator_period=5)
    np.testing.assert_array_equal(often, seldom)
