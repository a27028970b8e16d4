"""No setting of `HMARLConfig` is accepted and ignored: each of RLlib's and of ours changes something, or is refused."""

from __future__ import annotations

import functools
import logging
import tempfile

import numpy as np
import pytest
from toy import Matching
from toy_hmarl import PAIR, built, toy_config

pytest.importorskip("ray")
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.env.env_runner_group import EnvRunnerGroup
from ray.rllib.utils.actor_manager import FaultTolerantActorManager

from policies import HMARL, HMARLConfig
from policies.hmarl import side_by_side
from policies.hmarl.learner_process import ProcessLost
from policies.hmarl.rllib_settings import REFUSED, TIER_DEFAULTS, WORKS
from policies.hmarl.runner_group import LocalRunnerGroup
from policies.hmarl.settings import HMARLSettings
from policies.runner.env_runner import ColumnarEnvRunner
from policies.tiers import DEFAULT_TIERS
from soc_env.errors import ConfigError
from soc_env.settings import field_names

pytestmark = pytest.mark.usefixtures("quiet_ray")


class OtherRunner(ColumnarEnvRunner):
    """A runner of one's own."""


class OtherHMARL(HMARL):
    """An algorithm of one's own."""


class OtherMatching(Matching):
    """Another environment: it pays twice as much."""

    def score(self, agent):
        return 2 * super().score(agent)


class Still:
    """A teacher that acts as it always does."""

    def __init__(self, action_spaces, seed=0):
        self.action_spaces = action_spaces

    def reset(self, seed):
        """Nothing to forget."""

    def __call__(self, observations, decides):
        return {a: np.zeros((len(o), *self.action_spaces[a].shape), np.float32) for a, o in observations.items()}


class Seldom(Still):
    """A teacher that acts otherwise in one situation of ten."""

    def __call__(self, observations, decides):
        acts = super().__call__(observations, decides)
        first = {a: o[:, 0] for a, o in observations.items()}
        return {a: np.where((first[a] >= np.quantile(first[a], 0.9))[:, None], 0.5, act) for a, act in acts.items()}


TAUGHT = {"teacher": Still, "teacher_rounds": 1, "teacher_steps": 128, "teacher_rest_steps": 0}


# ---- what is looked at: each probe takes a configuration and returns something to compare


def training(config, iterations=2):
    """Everything that iterations leave behind."""

    def look(algo):
        results = [algo.train() for _ in range(iterations)]
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


def training_longer(config):
    """The same of three: off-policy tiers learn in the second for the first time."""
    return training(config, 3)


def processes(config, monkeypatch):
    """The tiers that can learn in each process that is started."""
    started = []

    def start(learners):
        started.append(sorted(learners))
        raise ProcessLost("a test")

    monkeypatch.setattr(side_by_side, "LearnerProcess", start)
    built(config, lambda algo: [algo.train() for _ in range(2)])
    return started


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
    real = LocalRunnerGroup.sample
    monkeypatch.setattr(
        LocalRunnerGroup,
        "sample",
        lambda self, steps, timeout_s, **kwargs: seen.append(timeout_s) or real(self, steps, timeout_s, **kwargs),
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
        is_set = getattr(config, f"callbacks_{name}") is not None
        return [call for call in all_calls() if call[0] == name] if is_set else []

    return probe


CALLED: list = []


def remember(name):
    def callback(**kwargs):
        CALLED.append((name, tuple(sorted(kwargs))))

    return callback


@functools.cache
def all_calls():
    """What is called in one run with every callback."""
    CALLED.clear()
    config = toy_config(evaluation_interval=1, **{f"callbacks_{name}": remember(name) for name in CALLBACKS})

    def look(algo):
        algo.restore_env_runners = lambda group: [1]  # as if it had come back
        algo.train()
        with tempfile.TemporaryDirectory() as folder:
            algo.load_checkpoint(algo.save_to_path(folder))

    built(config, look)
    return list(CALLED)


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
    if config.custom_evaluation_function is None:
        with pytest.raises(ConfigError, match="there are no runners for it"):
            built(config, lambda algo: algo.evaluate())
    else:
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
        lambda config: config.tiers(DEFAULT_TIERS, replace=True).validate() or config.replay_priority,
        {"env": "paper-v0", "env_config": {}},
    ),
    "replay_capacity": (64, training),
    "replay_alpha": (0.9, training),
    "replay_beta": (1.0, training_longer),
    "replay_batch_size": (8, training),
    "learning_starts": (10_000, training),
    "random_steps": (0, training),
    "updates_per_iteration": (3, training),
    "n_step": (3, training),
    "ema_tau": (0.5, training),
    "learner_processes": (2, processes, {"learner_processes": 1}),
    "teacher": (Still, training),
    "teacher_rounds": (0, training, TAUGHT),
    "teacher_steps": (256, training, TAUGHT),
    "teacher_rare_share": (0.5, training, {**TAUGHT, "teacher": Seldom}),
    "teacher_rest_steps": (10_000, training, TAUGHT),
    "teacher_share": (0.0, training_longer, TAUGHT),
    "imitation": (0.0, training, TAUGHT),
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
