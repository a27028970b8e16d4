"""Networks that act, without RLlib: one of each kind, with weights that tell actions apart, and folders of them."""

from __future__ import annotations

import functools

import numpy as np
import torch
from safetensors.torch import save_file

import soc_env
from policies.algorithms import ALGORITHMS
from policies.checkpoint import NETWORKS, write_manifest
from policies.tiers import parse
from soc_env.settings import to_plain

OPTIONS = {"soc-v1": {"num_networks": 1}}
HALF_WAY = [[0, 0.9], [14_000, 0.1]]  # a schedule
CASES = [  # scenario, tier, algorithm, settings beside the encoder
    ("soc-v1", "alert_triage", "DQN", {"action_masking": True, "epsilon": HALF_WAY}),
    ("soc-v1", "alert_triage", "DQN", {"dueling": False, "epsilon": HALF_WAY}),
    ("soc-v1", "alert_triage", "PPO", {"action_masking": True}),
    ("soc-v1", "threat_hunter", "SAC", {"segment_sharing": 0.3}),
    ("soc-v1", "response_orchestrator", "MADDPG", {"segment_sharing": 0.3, "exploration": {"std": HALF_WAY}}),
    ("paper-v0", "alert_triage", "SAC", {}),
    ("paper-v0", "threat_hunter", "SAC", {"actor": {"log_std_range": [-3.0, 0.5]}}),
    ("paper-v0", "response_orchestrator", "MADDPG", {"rest": {"action": [0.2] * 4}, "segment_sharing": 0.0}),
    ("paper-v0", "strategic_coordinator", "PPO", {}),
]


@functools.cache
def _simulator(scenario):
    return soc_env.Simulator(scenario, num_envs=64, seed=0, **OPTIONS.get(scenario, {}))


def spaces_of(scenario, tier):
    simulator, agent = _simulator(scenario), f"{tier}_0"
    return simulator.observation_spaces[agent], simulator.action_spaces[agent]


@functools.cache
def _played(scenario):
    simulator = _simulator(scenario)
    simulator.reset()
    for _ in range(5):
        simulator.step()
    return {agent: seen.copy() for agent, seen in simulator.observations.items()}


def observations_of(scenario, number):
    """{agent: (number, size)} of episodes that have begun."""
    return {agent: seen[:number].copy() for agent, seen in _played(scenario).items()}


@torch.no_grad()
def network_for(scenario, tier, algorithm, **settings):
    """An untrained network as it acts, small, with large weights and statistics as if it had seen something."""
    torch.manual_seed(0)
    own = parse(tier, {"algorithm": algorithm, "hiddens": [16, 16], **settings})
    network = ALGORITHMS[algorithm].policy(own, tier, *spaces_of(scenario, tier)).eval()
    for parameter in network.parameters():
        parameter.add_(0.3 * torch.randn_like(parameter))
    for norm, _ in network.input_norms():
        norm.mean.copy_(torch.rand(norm.mean.shape) / 4)
        norm.inv_std.copy_(1 + torch.rand(norm.mean.shape))
    return network


def write_policy(folder, scenario, modules, *, scripted=None, tiers=None, slow_agents=(), num_env_steps=0, beside=None):
    """Writes what `load_policy` reads; `tiers` changes settings in the manifest, `scripted` is tier -> policy, `beside`
    are weights that acting does not need."""
    states = {f"{tier}/{name}": value for tier, one in modules.items() for name, value in one.state_dict().items()}
    save_file({**{name: value.contiguous() for name, value in states.items()}, **(beside or {})}, folder / NETWORKS)
    settings = {tier: {**to_plain(module.settings), **(tiers or {}).get(tier, {})} for tier, module in modules.items()}
    for tier, policy in (scripted or {}).items():
        settings[tier] = {"algorithm": "scripted", "policy": policy, "agents": []}
    manifest = {
        "kind": "policy",
        "scenario": scenario,
        "overrides": {},
        "tiers": settings,
        "spaces": {tier: _plain_spaces(*spaces_of(scenario or "paper-v0", tier)) for tier in settings},
        "agents": [f"{tier}_0" for tier in settings],
        "members": {tier: [f"{tier}_0"] for tier in settings},
        "slow_agents": list(slow_agents),
        "num_env_steps": num_env_steps,
        "config": {},
        "versions": {"hmarl-soc": "0"},
    }
    write_manifest(folder, manifest)
    return folder


def _plain_spaces(observes, acts):
    is_discrete = acts.__class__.__name__ == "Discrete"
    acted = {"kind": "Box", "shape": list(acts.shape), "low": -1.0, "high": 1.0}
    return {
        "observation": {"kind": "Box", "shape": [int(np.prod(observes.shape))]},
        "action": {"kind": "Discrete", "n": int(acts.n)} if is_discrete else acted,
    }
