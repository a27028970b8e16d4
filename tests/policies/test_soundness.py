"""NaN and infinity end training in one line that names the tier or agent, and never reach a store or a checkpoint."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from toy import Matching
from toy_hmarl import PAIR, built, toy_config

pytest.importorskip("ray")
from policies.hmarl.algorithm import HMARL
from policies.hmarl.soundness import check_networks
from soc_env.errors import RunError


class Broken(Matching):
    """From its third step on a reward or an observation is what `what` says."""

    def __init__(self, what="", value=math.nan, num_envs=8, **kwargs):
        super().__init__(num_envs=num_envs, **kwargs)
        self.what, self.value, self.count = what, value, 0

    def step(self):
        super().step()
        self.count += 1
        if self.count > 2 and self.what == "reward":
            self.rewards[-1] = self.value
        if self.count > 2 and self.what == "observation":
            self.observations[PAIR[1]][0, 1] = self.value


def train(algo, iterations):
    for _ in range(iterations):
        algo.train()


def ends(config, message, iterations=3):
    """Trains until it ends; the algorithm's stores hold nothing but numbers then."""

    def look(algo: HMARL):
        with pytest.raises(RunError, match=message) as error:
            train(algo, iterations)
        assert "\n" not in str(error.value)
        for replay in algo.batches.replays.values():
            for column in replay.rows(replay.first, replay.num_added).values():
                assert np.isfinite(column).all()

    built(config, look)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_reward_that_is_no_number_ends_training(value):
    config = toy_config().environment(Broken, env_config={"what": "reward", "value": value, "agents": PAIR})
    ends(config, r"tier '\w+': a reward is NaN or infinite at 128 environment steps")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_observation_that_is_no_number_ends_training(value):
    config = toy_config().environment(Broken, env_config={"what": "observation", "value": value, "agents": PAIR})
    ends(config, f"{PAIR[1]} observes NaN or infinity at 128 environment steps")


@pytest.mark.parametrize("tier", ["threat_hunter", "strategic_coordinator"])
def test_a_learner_that_diverges_ends_training(tier):
    config = toy_config()

    def look(algo: HMARL):
        def poison(name, module):
            if name == tier:
                for value in module.parameters():
                    if value.requires_grad:
                        value.data.fill_(1e38)  # finite, but no product of two is

        algo.edit_networks(poison)
        with pytest.raises(RunError, match=f"tier '{tier}': (its loss is|its networks)") as error:
            train(algo, 3)
        assert "\n" not in str(error.value)
        assert "newest checkpoint is from before" in str(error.value)

    built(config, look)


def test_networks_are_named():
    check_networks({"a": {"x": torch.ones(3), "n": torch.tensor(3)}}, 5)
    with pytest.raises(
        RunError, match=r"^tier 'b': its networks hold NaN or infinity \(w\) at 1,000 environment steps"
    ):
        check_networks({"a": {"x": torch.ones(3)}, "b": {"w": torch.tensor([1.0, math.nan])}}, 1_000)
