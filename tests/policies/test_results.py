"""The keys of a result that Tune goes by: always there, never NaN."""

from __future__ import annotations

import math

import pytest

pytest.importorskip("ray")
from toy_hmarl import toy_config

from policies import HMARLConfig
from policies.hmarl.results import Headlines
from soc_env import SCENARIOS, family_of

pytestmark = pytest.mark.usefixtures("quiet")


def runners(**said):
    return {"env_runners": said, "training_iteration": 1}


def test_before_the_first_episode_ends_a_headline_is_worse_than_every_value():
    result = Headlines("soc-v1").added(runners(num_env_steps_sampled=3))
    assert result["episode_return_mean"] == result["score"] == result["csr"] == -math.inf
    assert result["loss"] == result["mttd"] == math.inf
    assert result["training_iteration"] == 1


@pytest.mark.parametrize("nothing", [{}, {"episode_return_mean": math.nan, "episode_metrics": {"score": math.nan}}])
def test_an_iteration_without_an_episode_repeats_the_newest_values(nothing):
    headlines = Headlines("soc-v1")
    headlines.added(runners(episode_return_mean=5.0, episode_metrics={"score": 70.0, "campaigns": 2.0}))
    result = headlines.added(runners(**nothing))
    assert (result["episode_return_mean"], result["score"], result["csr"]) == (5.0, 70.0, -math.inf)
    assert "campaigns" not in result  # no end of it is better


def test_a_resumed_run_repeats_the_newest_values():
    before, after = Headlines("soc-v1"), Headlines("soc-v1")
    before.added(runners(episode_return_mean=5.0, episode_metrics={"score": 70.0}))
    after.added(runners(episode_return_mean=1.0, episode_metrics={"score": 2.0, "csr": 0.5}))
    after.set_state(before.get_state())
    assert after.added(runners()) == before.added(runners())


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_headline_of_every_family_is_a_key(scenario):
    headline = family_of(scenario).headline
    assert {"reward": "episode_return_mean"}.get(headline, headline) in Headlines(scenario).latest


@pytest.mark.parametrize("env", ["elsewhere.envs:Maze", dict])
def test_other_environments_have_their_return_alone(env):
    assert list(Headlines(env).latest) == ["episode_return_mean"]


def test_train_has_the_headlines_and_the_tiers_as_they_were_given(build):
    config = toy_config()
    result = build(config).train()
    assert result["episode_return_mean"] == result["env_runners"]["episode_return_mean"]
    again = HMARLConfig().tiers(result["config"]["tiers"], replace=True)
    assert again.tier_settings == config.tier_settings
    long = HMARLConfig().environment("soc-v1", env_config={"num_hosts": 60})
    long.env_runners(num_envs_per_env_runner=2).training(train_batch_size=2)
    first = build(long).train()
    assert first["episode_return_mean"] == first["score"] == -math.inf
