"""No setting of `HMARLConfig` is accepted and ignored: each of RLlib's and of ours changes something, or is refused."""

from __future__ import annotations

import logging
import math
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from toy import Matching

pytest.importorskip("ray")
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.env.env_runner_group import EnvRunnerGroup
from ray.rllib.utils.actor_manager import FaultTolerantActorManager

from policies import HMARL, HMARLConfig
from policies.hmarl import algorithm
from policies.hmarl.rllib_settings import REFUSED, TIER_DEFAULTS, WORKS
from policies.hmarl.settings import REMOVED, RENAMED, HMARLSettings
from policies.runner.env_runner import ColumnarEnvRunner
from soc_env.errors import ConfigError
from soc_env.settings import field_names

pytestmark = pytest.mark.usefixtures("quiet_ray")
PAIR = ("threat_hunter_0", "strategic_coordinator_0")


class OtherRunner(ColumnarEnvRunner):
    """A runner of one's own."""


class OtherHMARL(HMARL):
    """An algorithm of one's own."""


class OtherMatching(Matching):
    """Another environment: it pays twice as much."""

    def score(self, agent):
        return 2 * super().score(agent)


def toy_config(**settings):
    """SAC and PPO on `Matching`, with settings as attributes."""
    config = HMARLConfig().environment(Matching, env_config={"agents": PAIR}).debugging(seed=0, log_level="ERROR")
    config.env_runners(num_envs_per_env_runner=8)
    config.training(train_batch_size=128, learning_starts=128, random_steps=64, updates_per_iteration=2)
    config.training(replay_batch_size=16, replay_capacity=512)
    config.tiers({"threat_hunter": {"algorithm": "SAC", "hiddens": [8]}}, replace=True)
    config.tiers({"strategic_coordinator": {"algorithm": "PPO", "hiddens": [8], "train_batch_size": 64}})
    for name, value in settings.items():
        setattr(config, name, value)
    return config


STOPPING = ThreadPoolExecutor(4)  # RLlib takes half a second to stop, mostly waiting


def built(config, look):
    """What `look` sees of the algorithm that the configuration makes."""
    algo = config.build_algo()
    try:
        return look(algo)
    finally:
        STOPPING.submit(algo.stop)


# ---- what is looked at: each probe takes a configuration and returns something to compare


def training(config):
    """Everything that two iterations leave behind."""

    def look(algo):
        results = [algo.train() for _ in range(2)]
        runners = results[-1]["env_runners"]
        learned = {t: g._learner.get_state()["rl_module"][t] for t, g in algo.learner_group.groups.items()}
        numbers = [np.sum(np.abs(value)) for state in learned.values() for value in state.values()]
        numbers += [float(value.abs().sum()) for state in algo.averaged.values() for value in state.values()]
        numbers += [len(replay) for replay in algo.batches.replays.values()]
        for replay in algo.batches.replays.values():
            numbers += [float(np.abs(column.astype(float)).sum()) for column in replay.columns.values()]
            numbers += [tree.total for tree in replay.trees.values()]
        numbers += [runners["num_env_steps_sampled_lifetime"], runners.get("episode_return_mean", 0.0)]
        return [round(float(number), 6) for number in numbers], sorted(algo.batches.replays)

    return built(config, look)


def rounds(config):
    """How often the runner samples in an iteration."""

    def look(algo):
        calls, sample = [], algo.env_runner.sample
        algo.env_runner.sample = lambda **kwargs: calls.append(1) or sample(**kwargs)
        algo.train()
        return len(calls)

    return built(config, look)


def steps_of_train(config):
    """How many training steps one call of `train` makes."""
    return built(config, lambda algo: algo.train()["num_training_step_calls_per_iteration"])


def request(config):
    """The resources that a Tune trial asks for."""
    asked = HMARL.default_resource_request(config)
    return asked.bundles, asked.strategy


def group_of_runners(config):
    """How remote runners would be started, and whether training goes on without them."""
    group = EnvRunnerGroup(env_creator=None, default_policy_class=None, config=config, _setup=False)
    return group._remote_args, group._ignore_ray_errors_on_env_runners


def validates_runners(config, monkeypatch):
    """Whether remote runners are checked when they are there."""
    seen = []
    monkeypatch.setattr(EnvRunnerGroup, "add_workers", lambda self, number, validate=None, **kw: seen.append(validate))
    built(config, lambda algo: None)
    return seen


def sampling_timeout(config, monkeypatch):
    """How long the driver waits for samples."""
    seen = []
    real = algorithm.synchronous_parallel_sample
    monkeypatch.setattr(
        algorithm,
        "synchronous_parallel_sample",
        lambda **kwargs: seen.append(kwargs["sample_timeout_s"]) or real(**kwargs),
    )
    built(config, lambda algo: algo.train())
    return seen


def probing(config, monkeypatch):
    """How long lost runners are asked, and given to take the weights."""
    seen = []

    def look(algo):
        monkeypatch.setattr(
            FaultTolerantActorManager,
            "probe_unhealthy_actors",
            lambda self, timeout_seconds=None, **kwargs: seen.append(timeout_seconds) or [1],
        )
        monkeypatch.setattr(
            algo.env_runner_group, "foreach_env_runner", lambda **kwargs: seen.append(kwargs.get("timeout_seconds"))
        )
        algo.restore_env_runners(algo.env_runner_group)

    built(config, look)
    return seen


def pause_of_a_failed_runner(config, monkeypatch):
    """How long a runner waits before it ends itself."""
    seen = []

    def fail(runner):
        raise ValueError("on purpose")

    def look(algo):
        monkeypatch.setattr("ray.rllib.utils.actor_manager.time.sleep", seen.append)
        with pytest.raises(SystemExit):
            algo.env_runner.apply(fail)
        monkeypatch.undo()

    built(config, look)
    return seen


def classes(config):
    """What is built."""
    return built(config, lambda algo: (type(algo), type(algo.env_runner)))


def environment_of_the_driver(config):
    """Whether the driver's runner has environments beside those of remote ones."""
    spaces = ColumnarEnvRunner(toy_config(), worker_index=0).get_spaces()
    config = config.copy(copy_frozen=False)
    config.num_env_runners = 1
    return ColumnarEnvRunner(config, worker_index=0, spaces=spaces).env is None


def level(config):
    """RLlib's log level."""
    before = logging.getLogger("ray.rllib").level
    try:
        return built(config, lambda algo: logging.getLogger("ray.rllib").level)
    finally:
        logging.getLogger("ray.rllib").setLevel(before)


def evaluations(config):
    """The results of evaluations during three iterations."""

    def look(algo):
        results = [algo.train().get("evaluation", {}).get("env_runners", {}) for _ in range(3)]
        shown = ("num_episodes", "num_env_steps_sampled", "episode_return_mean")
        return [[round(float(r[name]), 6) for name in shown if name in r] for r in results]

    return built(config, look)


class FakeGroup:
    """Remote evaluation runners that never answer; says what they were asked."""

    def __init__(self, healthy):
        self.healthy, self.asked = list(healthy), []

    def num_remote_env_runners(self):
        return 1

    def num_healthy_remote_workers(self):
        return self.healthy.pop(0) if len(self.healthy) > 1 else self.healthy[0]

    def foreach_env_runner(self, func=None, kwargs=None, timeout_seconds=None, **rest):
        self.asked.append((timeout_seconds, (kwargs or {}).get("_force_reset")))
        return []

    def __getattr__(self, name):
        return lambda *args, **kwargs: self.asked.append(name) or []


def remote_evaluation(config, monkeypatch):
    """What remote evaluation runners are asked, and how long the driver waits."""
    monkeypatch.setattr(EnvRunnerGroup, "add_workers", lambda *args, **kwargs: None)
    config = config.copy(copy_frozen=False)
    config.evaluation_num_env_runners, config.create_env_on_local_worker = 1, True
    config.evaluation_duration_unit = "timesteps"

    def look(algo):
        algo.eval_env_runner_group = group = FakeGroup([1, 1, 1, 1, 0])
        algo.evaluate()
        return [asked for asked in group.asked if isinstance(asked, tuple)]

    return built(config, look)


def lost_evaluation(config):
    """What happens when no evaluation runner is there for two evaluations."""

    def look(algo):
        algo.eval_env_runner_group = group = FakeGroup([0])
        try:
            algo.evaluate()
            algo.evaluate()
        except RuntimeError as error:
            return str(error)[:40]
        return group.asked

    return built(config, look)


def calls(name):
    """A probe: whether the callback is called, and with what."""

    def probe(config):
        CALLED.clear()
        config = config.copy(copy_frozen=False)
        config.evaluation_interval = 1

        def look(algo):
            algo.restore_env_runners = lambda group: [1]  # as if it had come back
            algo.train()
            algo.load_checkpoint(algo.save_to_path())

        built(config, look)
        return [call for call in CALLED if call[0] == name]

    return probe


CALLED: list = []


def remember(name):
    def callback(**kwargs):
        CALLED.append((name, tuple(sorted(kwargs))))

    return callback


class Watching(RLlibCallback):
    """Counts episodes."""

    def on_episode_end(self, *, episode, metrics_logger=None, **kwargs):
        metrics_logger.log_value("watched", episode["length"], reduce="sum")


def watched(config):
    return built(config, lambda algo: algo.train()["env_runners"].get("watched"))


def evaluates_by(algo, group):
    CALLED.append(("custom", group))
    return {}, 7, 7


def own_evaluation(config):
    """Whether the function evaluates in place of RLlib."""
    CALLED.clear()
    built(config, lambda algo: algo.evaluate())
    return list(CALLED)


EVALUATING = {"evaluation_interval": 1, "evaluation_duration": 8}
CALLBACKS = [name.removeprefix("callbacks_") for name in WORKS if name.startswith("callbacks_on")]
# Name -> (another value, what shows it, settings beside it).
CASES: dict[str, tuple] = {
    "algo_class": (OtherHMARL, classes),
    "env_runner_cls": (OtherRunner, classes),
    "placement_strategy": ("SPREAD", request),
    "num_cpus_for_main_process": (3, request),
    "custom_resources_for_main_process": ({"extra": 1}, request),
    "num_env_runners": (2, request),
    "evaluation_num_env_runners": (2, request, {"evaluation_interval": 1}),
    "num_cpus_per_env_runner": (2, group_of_runners),
    "custom_resources_per_env_runner": ({"extra": 1}, group_of_runners),
    "restart_failed_env_runners": (False, group_of_runners),
    "ignore_env_runner_failures": (True, group_of_runners, {"restart_failed_env_runners": False}),
    "max_num_env_runner_restarts": (7, group_of_runners),
    "validate_env_runners_after_construction": (False, validates_runners),
    "sample_timeout_s": (7.0, sampling_timeout),
    "env_runner_health_probe_timeout_s": (7.0, probing),
    "env_runner_restore_timeout_s": (7.0, probing),
    "delay_between_env_runner_restarts_s": (7.0, pause_of_a_failed_runner),
    "create_env_on_local_worker": (True, environment_of_the_driver),
    "rollout_fragment_length": (4, rounds),
    "env": (OtherMatching, training),
    "env_config": ({"agents": PAIR, "length": 5}, training),
    "num_envs_per_env_runner": (16, training),
    "explore": (False, training, {"random_steps": 0}),
    "policies_to_train": (["threat_hunter"], training),
    "seed": (1, training),
    "metrics_num_episodes_for_smoothing": (1, training),
    "log_level": ("DEBUG", level),
    "min_time_s_per_iteration": (0.5, steps_of_train),
    "min_sample_timesteps_per_iteration": (256, steps_of_train),
    "min_train_timesteps_per_iteration": (2000, steps_of_train),
    "evaluation_interval": (2, evaluations),
    "evaluation_duration": (20, evaluations, {"evaluation_interval": 1}),
    "evaluation_duration_unit": ("timesteps", evaluations, {"evaluation_interval": 1, "evaluation_duration": 80}),
    "evaluation_config": ({"explore": False}, evaluations, EVALUATING),
    "custom_evaluation_function": (evaluates_by, own_evaluation),
    "evaluation_sample_timeout_s": (0.01, remote_evaluation, EVALUATING),
    "evaluation_force_reset_envs_before_iteration": (
        False,
        remote_evaluation,
        {**EVALUATING, "evaluation_duration_unit": "timesteps", "evaluation_num_env_runners": 1},
    ),
    "evaluation_unhealthy_workers_timeout_s": (0.05, lost_evaluation, EVALUATING),
    "evaluation_error_after_n_consecutive_skips": (2, lost_evaluation, EVALUATING),
    "callbacks_class": (Watching, watched),
    **{f"callbacks_{name}": (remember(name), calls(name)) for name in CALLBACKS},
    # ours
    "train_batch_size": (64, training),
    "replay": ("separate", training),
    "replay_priority": (
        "paper",
        lambda config: config.validate() or config.replay_priority,
        {"env": "paper-v0", "env_config": {}},
    ),
    "replay_capacity": (64, training),
    "replay_alpha": (0.9, training),
    "replay_beta": (1.0, training),
    "replay_batch_size": (8, training),
    "learning_starts": (10_000, training),
    "random_steps": (0, training),
    "updates_per_iteration": (3, training),
    "n_step": (3, training),
    "ema_tau": (0.5, training),
    # defaults of tiers
    "lr": (1e-2, training),
    "gamma": (0.5, training),
    "grad_clip": (1e-3, training),
    "grad_clip_by": ("value", training, {"grad_clip": 1e-3}),
    "num_epochs": (2, training),
    "minibatch_size": (16, training),
}
PUBLIC = sorted(
    {name for name in vars(AlgorithmConfig()) if not name.startswith("_")}
    | {name for name in vars(HMARLConfig()) if not name.startswith("_")}
    | set(REFUSED)
)
_seen: dict = {}


def look_with(probe, monkeypatch, config):
    takes_patch = "monkeypatch" in probe.__code__.co_varnames[: probe.__code__.co_argcount]
    return probe(config, monkeypatch) if takes_patch else probe(config)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_setting_changes_something_or_is_refused(name, monkeypatch):
    if name in REFUSED:
        config = toy_config()
        setattr(config, name, another(getattr(config, name)))
        with pytest.raises(ConfigError, match=name.lstrip("_")):
            config.build_algo()
        return
    assert name in CASES, f"{name} is new: class it in policies/hmarl/rllib_settings.py and show here what it changes"
    value, probe, *beside = CASES[name]
    beside = beside[0] if beside else {}
    key = (probe, str(beside))
    if key not in _seen:
        with monkeypatch.context() as patch:
            _seen[key] = look_with(probe, patch, toy_config(**beside))
    with monkeypatch.context() as patch:
        changed = look_with(probe, patch, toy_config(**{**beside, name: value}))
    assert changed != _seen[key], f"{name}={value!r} changes nothing"


def another(value):
    """A value other than `value`, of its type where it has one."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, dict):
        return {**value, "other": 1}
    if isinstance(value, (list, set)):
        return type(value)([*value, "other"])
    return "other" if value is None else None


def test_all_names_are_classed_once():
    classed = [*WORKS, *REFUSED, *TIER_DEFAULTS, *field_names(HMARLSettings)]
    inherited = vars(AlgorithmConfig())
    assert {name for name in inherited if not name.startswith("_")} <= set(classed)
    assert set(WORKS) | set(REFUSED) | set(TIER_DEFAULTS) <= set(inherited)  # nothing that RLlib no longer has
    assert not set(WORKS) & set(REFUSED)


def test_the_same_configuration_trains_the_same():
    assert training(toy_config()) == training(toy_config())


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
        with pytest.raises(ConfigError, match=f"^{name}.*allowed|^{name}=.* must be ") as refused:
            toy_config(**{name: value}).validate()
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("set_it", "message"),
    [
        (lambda c: c.env_runners(batch_mode="complete_episodes"), "batch_mode is 'complete_episodes', which has no"),
        (lambda c: setattr(c, "rollout_fragment_length", 0), "rollout_fragment_length is 0, allowed: 'auto'"),
        (lambda c: c.env_runners(env_to_module_connector=lambda env: None), "env_to_module_connector is 'function'"),
        (lambda c: c.learners(num_learners=1), "num_learners is 1, which has no effect here; learners belong to tiers"),
        (lambda c: c.training(train_batch_size_per_learner=64), "train_batch_size_per_learner is 64.*train_batch_size"),
        (lambda c: c.training(learner_class=object), "learner_class is 'type', which has no effect"),
        (lambda c: c.rl_module(model_config={"fcnet_hiddens": [1]}), "model_config is 'dict'.*'encoder'"),
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
