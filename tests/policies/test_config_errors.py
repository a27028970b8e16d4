"""What `HMARLConfig` refuses and with which line; defaults of tiers; callbacks; evaluation."""

from __future__ import annotations

import math
import re

import pytest
from toy_hmarl import PAIR, built, toy_config

pytest.importorskip("ray")
from ray.rllib.callbacks.callbacks import RLlibCallback

from policies import HMARLConfig
from policies.hmarl.settings import REMOVED, RENAMED, HMARLSettings
from policies.runner.env_runner import ColumnarEnvRunner
from soc_env.errors import ConfigError
from soc_env.settings import field_names

pytestmark = pytest.mark.usefixtures("quiet_ray")
CALLED: list = []


# ---- names and values


@pytest.mark.parametrize("name", [*RENAMED, *REMOVED])
def test_old_names_are_refused_with_what_there_is_now(name):
    wanted = RENAMED.get(name) or REMOVED[name]
    with pytest.raises(ConfigError, match=f"{name}.*{re.escape(wanted)}"):
        HMARLConfig().training(**{name: 0.5})
    config = toy_config(**{name: 0.5})
    with pytest.raises(ConfigError, match=name):
        config.validate()


def test_names_that_do_not_exist_are_refused_wherever_they_come_from():
    with pytest.raises(ConfigError, match=r"setting 'gama' does not exist; did you mean 'gamma'\?"):
        HMARLConfig().training(gama=0.9)
    for config in (toy_config(train_batchsize=64), toy_config().update_from_dict({"train_batchsize": 64})):
        with pytest.raises(ConfigError, match="did you mean 'train_batch_size'"):
            config.validate()
    config = toy_config()
    config["train_batchsize"] = 64
    with pytest.raises(ConfigError, match="did you mean 'train_batch_size'"):
        config.build_algo()


@pytest.mark.parametrize("name", field_names(HMARLSettings))
def test_what_is_no_number_is_refused_in_one_line(name):
    for value in (math.nan, math.inf, -math.inf, "7", True, None, [1]):
        if name == "teacher" and value is None:
            continue  # nobody
        with pytest.raises(ConfigError, match=f"^{name}.*allowed|^{name}=.* must be ") as refused:
            toy_config(**{name: value}).validate()
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("set_it", "message"),
    [
        (lambda c: c.env_runners(batch_mode="complete_episodes"), "batch_mode is 'complete_episodes', which has no"),
        (lambda c: setattr(c, "rollout_fragment_length", 0), "rollout_fragment_length is 0, allowed: 'auto'"),
        (
            lambda c: c.env_runners(env_to_module_connector=lambda env: None),
            "env_to_module_connector is <lambda>, which",
        ),
        (lambda c: c.learners(num_learners=1), "num_learners is 1, which has no effect here; learners belong to tiers"),
        (lambda c: c.training(train_batch_size_per_learner=64), "train_batch_size_per_learner is 64.*train_batch_size"),
        (lambda c: c.training(learner_class=object), "learner_class is object, which has no effect"),
        (lambda c: c.rl_module(model_config={"fcnet_hiddens": [1]}), "model_config is {'fcnet_hiddens': .*'encoder'"),
        (lambda c: c.multi_agent(policies={"a"}), r"policies is \['a'\], which has no effect here"),
        (lambda c: c.multi_agent(policy_mapping_fn=lambda *a, **k: "a"), "policy_mapping_fn is .*no effect"),
        (lambda c: c.env_runners(env_runner_cls=int), "env_runner_cls is .*int.*allowed: ColumnarEnvRunner"),
        (lambda c: c.callbacks(int), "callbacks_class is .*int.*allowed: RLlibCallback"),
        (lambda c: c.evaluation(evaluation_config={"explore": False}), "evaluation_config changes explore, which has"),
        (
            lambda c: c.evaluation(evaluation_interval=1, evaluation_config={"lr": 0.1}),
            "evaluation_config: setting 'lr' does not exist; .*allowed: callbacks_class",
        ),
        (
            lambda c: c.evaluation(evaluation_force_reset_envs_before_iteration=False),
            "evaluation_force_reset_envs_before_iteration is False, which has an effect only with",
        ),
        (lambda c: c.training(num_epochs=2).tiers({"strategic_coordinator": {"algorithm": "SAC"}}), "num_epochs is 2"),
        (lambda c: setattr(c, "in_evaluation", True), "in_evaluation is True, which has no effect"),
    ],
)
def test_what_has_no_effect_is_refused_by_name(set_it, message):
    config = toy_config()
    set_it(config)
    with pytest.raises(ConfigError, match=message):
        config.build_algo()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("num_env_runners", -1, "num_env_runners is -1, allowed: an integer of 0 or more"),
        ("num_env_runners", True, "num_env_runners is True, allowed"),
        ("num_envs_per_env_runner", 0, "num_envs_per_env_runner is 0, allowed: an integer of 1 or more"),
        ("evaluation_num_env_runners", 0.5, "evaluation_num_env_runners is 0.5, allowed"),
        ("rollout_fragment_length", 1.5, "rollout_fragment_length is 1.5, allowed: 'auto'"),
        ("metrics_num_episodes_for_smoothing", 0, "metrics_num_episodes_for_smoothing is 0, allowed"),
        ("seed", "a", r"seed is 'a', allowed: None, or an integer from 0 to 2\*\*32 - 1"),
        ("seed", -1, "seed is -1, allowed: None, or"),
        ("seed", 2**32, "seed is 4294967296, allowed: None, or"),
        ("log_level", "LOUD", "log_level is 'LOUD', allowed: one of DEBUG, INFO"),
        ("policies_to_train", ["nobody"], "policies_to_train: tier 'nobody' does not exist; .*threat_hunter"),
        ("policies_to_train", "threat_hunter", "policies_to_train is 'threat_hunter', allowed: a list of tiers"),
        ("callbacks_on_episode_end", 5, "^on_episode_end is 5, allowed: a callable"),
        ("callbacks_on_sample_end", [print, "print"], "^on_sample_end is 'print', allowed: a callable"),
    ],
)
def test_values_that_would_end_late_or_never_are_refused_at_once(name, value, message):
    with pytest.raises(ConfigError, match=message) as refused:
        toy_config(**{name: value}).validate()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("method", "name", "value", "message"),
    [
        (
            "env_runners",
            "num_envs_per_env_runner",
            0,
            "^num_envs_per_env_runner is 0, allowed: an integer of 1 or more",
        ),
        (
            "env_runners",
            "num_env_runers",
            1,
            "^setting 'num_env_runers' does not exist; did you mean 'num_env_runners'",
        ),
        ("evaluation", "evaluation_duration", 0, "^evaluation_duration is 0, allowed: an integer of 1 or more"),
        ("evaluation", "evaluation_duration_unit", "days", "^evaluation_duration_unit is 'days', allowed: one of epis"),
        ("resources", "placement_strategy", "NEAR", "^placement_strategy is 'NEAR', allowed: one of PACK"),
        ("callbacks", "callbacks_class", 5, "^callbacks: .*callbacks_class"),
        ("multi_agent", "policies", 5, "^multi_agent: "),
    ],
)
def test_rllibs_own_methods_refuse_in_one_line(method, name, value, message):
    with pytest.raises(ConfigError, match=message) as refused:
        getattr(HMARLConfig(), method)(**{name: value})
    assert "\n" not in str(refused.value)


def test_an_evaluation_without_runners_of_its_own_is_refused(build):
    algo = build(toy_config())
    with pytest.raises(ConfigError, match=r"^evaluate: there are no runners for it; set evaluation_interval or"):
        algo.evaluate()


def test_callbacks_that_are_never_called_are_refused_by_name():
    class Stepping(RLlibCallback):
        def on_episode_step(self, **kwargs):
            pass

    for config in (toy_config().callbacks(Stepping), toy_config().callbacks(on_episode_step=print)):
        with pytest.raises(ConfigError, match=r"on_episode_step.*on_episode_end or on_sample_end"):
            config.build_algo()


def test_defaults_of_tiers_give_way_to_what_a_tier_says():
    config = toy_config().tiers({"threat_hunter": {"gamma": 0.3}}).training(gamma=0.7, lr=0.01)
    settings = config.tier_settings
    assert [settings[tier]["gamma"] for tier in settings] == [0.3, 0.7]
    assert settings["strategic_coordinator"]["lr"] == 0.01
    assert config.tier("threat_hunter").gamma == 0.3
    config.gamma = 0.6  # not by a method
    assert config.tier_settings["strategic_coordinator"]["gamma"] == 0.6
    config.update_from_dict({"gamma": 0.5, "tiers": {"strategic_coordinator": {"gamma": 0.4}}})
    assert [settings["gamma"] for settings in config.tier_settings.values()] == [0.3, 0.4]
    assert [s["gamma"] for s in config.copy().tier_settings.values()] == [0.3, 0.4]


# ---- what is called back


class Remembers(RLlibCallback):
    """Says what it was called with."""

    def on_environment_created(self, *, env_runner, metrics_logger=None, env, env_context, **kwargs):
        self.made = len(env.actions), env_context.worker_index

    def on_episode_end(self, *, episode, env_runner, metrics_logger, env, env_index, rl_module, **kwargs):
        assert env_runner.env is env
        assert rl_module is env_runner.module
        metrics_logger.log_value("lengths", episode["length"], reduce="item_series")
        metrics_logger.log_value("places", env_index, reduce="item_series")

    def on_sample_end(self, *, env_runner, metrics_logger, samples, **kwargs):
        metrics_logger.log_value("samples", samples[0].num_env_steps, reduce="sum")
        metrics_logger.log_value("made", sum(self.made), reduce="max")


@pytest.mark.parametrize("num_env_runners", [0, 1])
def test_callbacks_get_what_a_columnar_runner_has(num_env_runners):
    config = toy_config().callbacks(Remembers, on_train_result=lambda **kwargs: CALLED.append(kwargs["result"]))
    CALLED.clear()
    results = built(config.env_runners(num_env_runners=num_env_runners), lambda algo: algo.train()["env_runners"])
    assert list(results["lengths"]) == [10] * 8  # 16 steps of 8 environments, episodes of 10
    assert sorted(results["places"]) == list(range(8))
    assert results["samples"] == 128
    assert results["made"] == 2 + num_env_runners
    assert len(CALLED) == 1


def test_nothing_is_called_an_episode_without_a_callback(monkeypatch):
    called = []
    monkeypatch.setattr(ColumnarEnvRunner, "_call_back", lambda self, name, **kwargs: called.append(name))
    built(toy_config(), lambda algo: [algo.train() for _ in range(2)])
    assert called == ["on_environment_created", "on_sample_end", "on_sample_end"]


# ---- the algorithm


def test_the_largest_seed_plays():
    assert built(toy_config(seed=2**32 - 1), lambda algo: algo.train()["training_iteration"]) == 1


def test_evaluation_plays_other_episodes_than_training():
    def look(algo):
        runners = algo.env_runner, algo.eval_env_runner
        for runner in runners:
            runner.sample(num_timesteps=8)
        return [runner.env.observations[PAIR[0]].tolist() for runner in runners]

    first, second = built(toy_config(evaluation_interval=1), look)
    assert first != second


def test_edited_networks_are_in_learners_runners_and_averages():
    def zero(tier, module):
        for value in module.state_dict().values():
            value.zero_()

    def look(algo):
        algo.edit_networks(zero)
        learned = [g._learner.module[t].unwrapped().state_dict() for t, g in algo.learner_group.groups.items()]
        acting = [algo.env_runner.module[tier].state_dict() for tier in algo.learner_group.groups]
        return [value for state in (*learned, *acting, *algo.averaged.values()) for value in state.values()]

    assert not any(value.any() for value in built(toy_config(), look))
