"""Whole episodes of any size and under any settings stay consistent and finite."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from soc_states import (
    assert_consistent,
    play,
)

from policies.scripted import RandomPolicy
from soc_env import Simulator
from soc_env.soc import risk
from soc_env.soc.scenario import SOCScenario

# ---------------------------------------------------------------------- sizes


def test_a_full_record_table_is_survived():
    sim = Simulator("soc-v1", num_envs=2, seed=0, autoreset=False, num_hosts=20_000, num_networks=1, alert_scaling=1.0,
                    benign_alerts_per_hour=300.0, campaigns_per_hour=60.0)  # fmt: skip
    sim.reset()
    policy = RandomPolicy(sim.action_spaces, 0)
    capacity = sim.records().hosts.shape[1]
    for _ in range(30):
        play(sim, policy, 1)
        assert (sim.records().env["num_tracked"] <= capacity).all()
    assert sim.records().env["num_tracked"].max() >= 0.95 * capacity
    assert_consistent(sim)


@pytest.mark.parametrize(("num_hosts", "num_zones"), [(20, 1), (20, 5), (32, 16), (100_000, 16)])
def test_the_smallest_and_the_largest_network(num_hosts, num_zones):
    sim = Simulator(
        "soc-v1", num_envs=2, seed=1, autoreset=False, num_hosts=num_hosts, num_zones=num_zones, num_networks=1
    )
    sim.reset()
    policy = RandomPolicy(sim.action_spaces, 0)
    for _ in range(60):
        play(sim, policy, 1)
    assert_consistent(sim)
    assert sim.running_metrics()["total_alerts"].min() > 0
    for agent, space in sim.observation_spaces.items():
        assert all(row in space for row in sim.observations[agent])


# ---------------------------------------------------------------------- anything at all


def numbers(field):
    """Values of a field of the scenario, its limits among them, within what an episode of the test can hold."""
    low, high = field.metadata["low"], field.metadata["high"]
    default = field.default
    if isinstance(default, int):
        return st.sampled_from(sorted({int(low), int(min(high, 3 * abs(default) + 1)), default}))
    return st.sampled_from(sorted({float(low), float(min(high, 3 * abs(default) + 1.0)), default}))


FREE = {
    field.name: numbers(field)
    for field in dataclasses.fields(SOCScenario)
    if "low" in field.metadata and not isinstance(field.default, tuple)
    and field.name not in ("num_hosts", "num_zones", "max_steps", "num_networks", "network_seed")
    and not field.name.endswith(("null_loss", "clairvoyant_loss"))
}  # fmt: skip

SCENARIOS = st.fixed_dictionaries(
    {"num_hosts": st.sampled_from([32, 60, 200]), "num_zones": st.sampled_from([1, 2, 5, 16]),
     "max_steps": st.sampled_from([1, 25, 60])},
    optional={**FREE, "instant_actions": st.booleans(), "persistence": st.booleans(),
              "order": st.sampled_from(["attacker_first", "defenders_first"]),
              "reward": st.sampled_from(["dense", "sparse"]), "split": st.sampled_from(["train", "test"])},
)  # fmt: skip


@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(overrides=SCENARIOS, seed=st.integers(0, 2**63))
def test_any_settings_give_consistent_finite_episodes(overrides, seed):
    sim = Simulator("soc-v1", num_envs=2, seed=seed, num_networks=1, autoreset=False, **overrides)
    sim.reset()
    policy = RandomPolicy(sim.action_spaces, 0)
    for _ in range(overrides["max_steps"]):
        play(sim, policy, 1)
        assert np.isfinite(sim.rewards).all()
        for agent, space in sim.observation_spaces.items():
            assert np.isfinite(sim.observations[agent]).all()
            assert (np.abs(sim.observations[agent]) <= 1.0).all(), agent
            assert space.shape == sim.observations[agent].shape[1:]
        assert np.isfinite(sim.state()).all()
    assert_consistent(sim)
    assert sim.truncated.all()
    for i in range(2):
        rows = sim.records(i).hosts[: sim.records().env["num_tracked"][i]]
        weight = risk.evidence(rows["process"], rows["target"], rows["source"], rows["finding"], rows["verdict"])
        np.testing.assert_allclose(rows["risk"], risk.risk_score(weight), atol=1e-12)
    for name in sim.episode_metrics.dtype.names:
        assert np.isfinite(sim.episode_metrics[name]).all(), name
    shares = ("fdr", "fpr", "action_fdr", "evidence_gated", "csr")
    assert all((sim.episode_metrics[name] >= 0.0).all() and (sim.episode_metrics[name] <= 1.0).all() for name in shares)
