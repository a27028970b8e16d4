"""Scenes for tests of networks: the same one with zones in another order, or with more of them."""

import pytest

pytest.importorskip("ray")
import gymnasium as gym
import torch
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES

import soc_env
from policies import HMARLConfig
from policies.networks.tokens import CASE_ZONE, ENTRIES, PRESENT, own_tokens
from policies.tiers import DEFAULT_TIERS, tier_of
from policies.trained import TrainedPolicy
from soc_env.engine.tables import AGENTS, TRIAGE
from soc_env.paper.tables import FEATURES
from soc_env.soc.tables import ZONE_FEATURES, layout

ZONES = 5
WIDTH = len(ZONE_FEATURES)


def swap(observation, order, shape):
    """The same scene with its zones in another order."""
    out = observation.clone()
    zones = observation[:, : shape.case_start].unflatten(1, (shape.num_zones, WIDTH))
    out[:, : shape.case_start] = zones[:, order].flatten(1)
    priorities = slice(shape.directive_start, shape.directive_start + shape.num_zones)
    out[:, priorities] = observation[:, priorities][:, order]
    return out


def swap_action(action, order, agent):
    per_zone, _ = ENTRIES[agent]
    out = action.clone()
    for k in range(per_zone):
        group = slice(k * len(order), (k + 1) * len(order))
        out[..., group] = action[..., group][..., order]
    return out


def joined(features):
    """A body's features, (B, all of them)."""
    return features if torch.is_tensor(features) else torch.cat([part.flatten(1) for part in features], 1)


def heads(network):
    return {"attention_heads": 2} if network == "attention" else {}


def policy_of(network, scenario="soc-v1", **settings):
    """Untrained tiers with weights large enough to tell actions apart, and statistics as if they had seen something."""
    torch.manual_seed(0)
    simulator = soc_env.Simulator(scenario, num_envs=1, seed=0)
    settings = {"encoder": network, "hiddens": [16, 12], **heads(network), **settings}
    config = HMARLConfig().tiers(dict.fromkeys(DEFAULT_TIERS, settings))
    spaces = {tier_of(a): (simulator.observation_spaces[a], simulator.action_spaces[a]) for a in simulator.agents}
    joint = [gym.spaces.Dict(dict(own)) for own in (simulator.observation_spaces, simulator.action_spaces)]
    spec = config.get_multi_rl_module_spec(spaces={**spaces, INPUT_ENV_SINGLE_SPACES: tuple(joint)})
    modules = spec.build()
    with torch.no_grad():
        for module in modules._rl_modules.values():
            for parameter in module.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
            for norm, _ in module.input_norms():
                norm.mean.copy_(torch.rand(norm.mean.shape) / 4)
                norm.inv_std.copy_(1 + torch.rand(norm.mean.shape))
            for head, num_parts in module.action_heads():
                head.bias.chunk(num_parts)[0].add_(torch.rand(head.bias.chunk(num_parts)[0].shape) / 4)
    return TrainedPolicy(dict(modules._rl_modules))


def scenes(num_zones, num_scenes=6):
    """{agent: (N, size)} in which every feature is in use; half of the cases exist."""
    generator = torch.Generator().manual_seed(1)
    found = {}
    for agent in AGENTS:
        shape = layout(agent, num_zones)
        seen = torch.rand(num_scenes, shape.size, generator=generator)
        cases = seen[:, shape.case_start : shape.directive_start].view(num_scenes, shape.num_cases, -1)
        cases[..., PRESENT] = (cases[..., PRESENT] > 0.5).float()
        cases[..., CASE_ZONE] = (cases[..., CASE_ZONE] * num_zones).floor() / 16
        found[agent] = seen
    return found


def paper_scenes(num_scenes=6):
    """{agent: (N, size)} of paper-v0 in which every entry is in use; half of the alerts exist."""
    generator = torch.Generator().manual_seed(1)
    found = {agent: torch.rand(num_scenes, len(rows), generator=generator) for agent, rows in FEATURES.items()}
    alerts = found[TRIAGE][:, own_tokens(TRIAGE, 64).cases]
    alerts[..., 2] = (alerts[..., 2] * ZONES).floor() / ZONES
    alerts *= (alerts[..., :1] > 0.5).float()
    found[TRIAGE][:, own_tokens(TRIAGE, 64).cases] = alerts
    return found


def with_zones_renamed(seen, order, shape):
    """`swap`, and cases name their zones by the new order."""
    out = swap(seen, order, shape)
    cases = out[:, shape.case_start : shape.directive_start].view(len(out), shape.num_cases, -1)
    old = (cases[..., CASE_ZONE] * 16).round().long()
    cases[..., CASE_ZONE] = torch.argsort(order)[old] / 16
    return out


def as_arrays(observations):
    return {agent: seen.numpy() for agent, seen in observations.items()}


def response_module(settings):
    return module_of("response_orchestrator", settings)


def module_of(tier, settings):
    """The untrained module of a tier of soc-v1, with its settings replaced."""
    simulator = soc_env.Simulator("soc-v1", num_envs=1, seed=0, num_networks=1)
    joint = simulator.observation_spaces, simulator.action_spaces
    spaces = {tier_of(agent): (joint[0][agent], joint[1][agent]) for agent in simulator.agents}
    config = HMARLConfig().tiers({tier: settings})
    return config.get_multi_rl_module_spec(spaces={**spaces, INPUT_ENV_SINGLE_SPACES: joint}).build()[tier]
