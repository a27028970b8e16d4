"""Learners of single tiers, in soc-v1 with two zones, and batches for them."""

import gymnasium as gym
import numpy as np
import torch
from ray.rllib.core.columns import Columns

from policies.learners import build_config
from policies.learners.columns import (
    CRITIC_NEXT_OBS,
    CRITIC_OBS,
    JOINT_NEXT_OBS,
    JOINT_OBS,
    OTHER_ACTIONS,
    OTHER_NEXT_ACTIONS,
    with_state,
)
from policies.tiers import parse
from soc_env.engine.tables import AGENTS
from soc_env.soc.tables import actions, layout, state_features

ZONES, ROWS = 2, 32
TIMES = {"num_env_steps_sampled_lifetime": 1000}
ADDITIVE = {"critic": {"kind": "additive", "bins": 5, "layer_norm": True}}
SIZES = {"hiddens": [16, 12]}


def learner_of(tier, settings, **more):
    """A learner of the tier, in soc-v1 with two zones, and a batch for it."""
    torch.manual_seed(0)
    agent = f"{tier}_0"
    obs_dim, num_actions = layout(agent, ZONES).size, len(actions(agent, ZONES))
    box = gym.spaces.Box(-1, 1, (num_actions,))
    spaces = (gym.spaces.Box(-9, 9, (obs_dim,)), gym.spaces.Discrete(num_actions) if "triage" in tier else box)
    joint = sum(layout(one, ZONES).size for one in AGENTS)
    others = sum(len(actions(one, ZONES)) for one in AGENTS) - num_actions
    parsed = parse(tier, {**SIZES, **settings, **more})
    sizes = {"joint_obs_dim": joint, "other_action_dim": others} if parsed.algorithm == "MADDPG" else {}
    told = len(state_features(ZONES)) if parsed.reads_state else 0
    sizes |= {"state_dim": told} if told else {}
    config = build_config(tier, parsed, spaces, 0, **sizes)
    learner = config.build_learner(spaces={tier: spaces})
    with torch.no_grad():  # outputs begin near zero, where many gradients are
        for parameter in learner.module[tier].unwrapped().parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    batch = batch_of(learner.module[tier].unwrapped(), obs_dim, joint + told, others)
    rng = np.random.default_rng(1)
    is_own = told and parsed.algorithm != "MADDPG"  # which has the state behind the joint observation
    for new, own in ((CRITIC_OBS, Columns.OBS), (CRITIC_NEXT_OBS, Columns.NEXT_OBS)) if is_own else ():
        batch[new] = with_state(batch[own], rng.normal(size=(ROWS, told)).astype(np.float32), obs_dim)
    return learner, batch


def batch_of(module, obs_dim, joint, others, rows=ROWS):
    rng = np.random.default_rng(0)

    def normal(*shape):
        return rng.normal(size=shape).astype(np.float32)

    def level(*shape):
        return rng.uniform(-1, 1, shape).astype(np.float32)

    space = module.action_space
    inputs = normal(rows, space.n) if module.is_discrete else np.concatenate([level(rows, space.shape[0])] * 2, 1)
    return {
        Columns.OBS: normal(rows, obs_dim),
        Columns.NEXT_OBS: normal(rows, obs_dim),
        Columns.ACTIONS: rng.integers(space.n, size=rows) if module.is_discrete else level(rows, space.shape[0]),
        Columns.REWARDS: 2 * normal(rows),
        Columns.TERMINATEDS: rng.random(rows) < 0.2,
        "n_step": rng.integers(1, 4, rows).astype(np.float32),
        "weights": rng.random(rows, np.float32),
        JOINT_OBS: normal(rows, joint),
        JOINT_NEXT_OBS: normal(rows, joint),
        OTHER_ACTIONS: level(rows, others),
        OTHER_NEXT_ACTIONS: level(rows, others),
        Columns.ACTION_LOGP: -2.0 - rng.random(rows, np.float32),
        Columns.ACTION_DIST_INPUTS: inputs,
        "advantages": normal(rows),
        "value_targets": normal(rows),
    }
