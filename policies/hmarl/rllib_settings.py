"""Every public setting that `HMARLConfig` inherits from RLlib: it works, or setting it is refused by name.

RLlib's `AlgorithmConfig` has some 240 public settings for many kinds of algorithm, runner and learner. `WORKS` says
what those do that have an effect here. `REFUSED` says of the others what to use instead; a value other than RLlib's
default is a `ConfigError` when the algorithm is built. `TIER_DEFAULTS` are handed to every tier whose algorithm has
them. A setting that is in none of the three is new in RLlib, and a test fails until it is classed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import functools
import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from numbers import Integral, Real
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.utils import force_list

from policies.algorithms import ALGORITHMS
from policies.hmarl.settings import HMARLSettings, check_old_names
from policies.runner.env_runner import NUM_SEEDS, ColumnarEnvRunner
from policies.team import SCRIPTED
from policies.tiers import tier_of
from soc_env.errors import ConfigError, HMARLSOCError, shown, unknown_name
from soc_env.settings import field_names

# Defaults of every tier whose algorithm has such a setting; None leaves each tier its own.
TIER_DEFAULTS = ("lr", "gamma", "grad_clip", "grad_clip_by", "num_epochs", "minibatch_size")

WORKS: dict[str, str] = {
    "algo_class": "what `build_algo` builds",
    # resources
    "placement_strategy": "the resource request of a Tune trial",
    "num_cpus_for_main_process": "the resource request of a Tune trial",
    "custom_resources_for_main_process": "the resource request of a Tune trial",
    "num_cpus_per_env_runner": "remote runners are started with it",
    "custom_resources_per_env_runner": "remote runners are started with it",
    # environment and runners
    "env": "the environment",
    "env_config": "its options",
    "env_runner_cls": "a subclass of ColumnarEnvRunner that samples",
    "num_env_runners": "remote runners; 0 samples in the driver",
    "num_envs_per_env_runner": "environments of a runner's batch",
    "create_env_on_local_worker": "the driver's runner has environments too",
    "validate_env_runners_after_construction": "remote runners are asked whether they are healthy",
    "sample_timeout_s": "how long the driver waits for remote runners",
    "rollout_fragment_length": "steps of each environment in one `sample` call; rounds until train_batch_size",
    "explore": "whether tiers explore while sampling",
    # callbacks
    "callbacks_class": "subclasses of RLlibCallback, those methods that are named here",
    "callbacks_on_algorithm_init": "algorithm, metrics_logger",
    "callbacks_on_train_result": "algorithm, metrics_logger, result",
    "callbacks_on_checkpoint_loaded": "algorithm, metrics_logger",
    "callbacks_on_evaluate_start": "algorithm, metrics_logger",
    "callbacks_on_evaluate_end": "algorithm, metrics_logger, evaluation_metrics",
    "callbacks_on_env_runners_recreated": "algorithm, env_runner_group, env_runner_indices, is_evaluation",
    "callbacks_on_environment_created": "env_runner, metrics_logger, env (the batch), env_context",
    "callbacks_on_sample_end": "env_runner, metrics_logger, samples (a list of one Rollout)",
    "callbacks_on_episode_end": "env_runner, metrics_logger, episode (its metrics by name), env, env_index, rl_module",
    # which tiers learn
    "policies_to_train": "tiers that learn; None for all that are trainable",
    # evaluation
    "evaluation_interval": "iterations between evaluations",
    "evaluation_duration": "episodes or environment steps of an evaluation",
    "evaluation_duration_unit": "which of them",
    "evaluation_config": "what evaluation runners have otherwise, see EVALUATION",
    "evaluation_num_env_runners": "remote runners of evaluations",
    "evaluation_sample_timeout_s": "how long the driver waits for them",
    "evaluation_force_reset_envs_before_iteration": "False with steps on remote runners: episodes go on",
    "evaluation_unhealthy_workers_timeout_s": "how long the driver waits for lost ones to come back",
    "evaluation_error_after_n_consecutive_skips": "when it gives up",
    "custom_evaluation_function": "called instead of the evaluation",
    # results
    "metrics_num_episodes_for_smoothing": "newest episodes in means",
    "min_time_s_per_iteration": "`train` repeats until it has taken so long",
    "min_train_timesteps_per_iteration": "`train` repeats until so many rows were learned from",
    "min_sample_timesteps_per_iteration": "`train` repeats until so many steps were sampled",
    "log_level": "RLlib's logger",
    "seed": "networks, environments, draws",
    # failures
    "restart_failed_env_runners": "remote runners that die come back",
    "ignore_env_runner_failures": "training goes on without them",
    "max_num_env_runner_restarts": "how often they come back",
    "delay_between_env_runner_restarts_s": "pause before a runner that failed ends itself",
    "env_runner_health_probe_timeout_s": "how long they are asked",
    "env_runner_restore_timeout_s": "how long they are given to take the weights",
}

# What evaluation_config may change.
EVALUATION = (
    "env",
    "env_config",
    "explore",
    "seed",
    "num_envs_per_env_runner",
    "num_cpus_per_env_runner",
    "custom_resources_per_env_runner",
    "metrics_num_episodes_for_smoothing",
    "callbacks_class",
    "callbacks_on_environment_created",
    "callbacks_on_sample_end",
    "callbacks_on_episode_end",
)

NO_EVALUATION = (
    "evaluate: there are no runners for it; set evaluation_interval or evaluation_num_env_runners, or play "
    "`policies.policy_of(algo)`"
)
_OLD = "RLlib's old API stack does not exist here; its new one has the setting under another name or not at all"
_OFFLINE = "HMARL learns from what it samples, not from recorded data"
_NO_CONNECTORS = "there are no connectors; change the environment (`soc_env.wrappers`) or the module"
_LEARNERS = "learners belong to tiers: `tiers({tier: {'num_learners': n, 'num_gpus_per_learner': m}})`"
_MODEL = "networks are settings of tiers: `tiers({tier: {'encoder': ..., 'hiddens': [...]}})`"
_ONE_PROCESS = "the batch of environments is stepped in the runner's own process"
_COMPILE = "networks are not compiled: of this size they gain nothing"
_TIERS = "tiers decide it: `tiers({tier: {...}})`"
_EPISODES = "a columnar runner has no episode objects; use on_episode_end or on_sample_end"
_CPU = "acting uses CPUs, and a driver's learners the first GPU"

_GROUPS: tuple[tuple[str, str], ...] = (
    (
        _OLD,
        "extra_python_environs_for_driver extra_python_environs_for_worker num_gpus eager_tracing eager_max_retraces "
        "tf_session_args local_tf_session_args enable_tf1_exec_eagerly preprocessor_pref sample_collector "
        "compress_observations update_worker_filter_stats use_worker_filter_stats sampler_perf_stats_ema_coef "
        "exploration_config enable_rl_module_and_learner enable_env_runner_and_connector_v2 policy_map_capacity "
        "policy_states_are_swappable observation_fn keep_per_episode_custom_metrics "
        "metrics_episode_collection_timeout_s export_native_model_files checkpoint_trainable_policies_only "
        "log_sys_usage fake_sampler env_task_fn enable_connectors simple_optimizer monitor evaluation_num_episodes "
        "metrics_smoothing_episodes timesteps_per_iteration min_iter_time_s collect_metrics_timeout "
        "min_time_s_per_reporting min_train_timesteps_per_reporting min_sample_timesteps_per_reporting "
        "input_evaluation policy_map_cache worker_cls synchronize_filters enable_async_evaluation "
        "custom_async_evaluation_function auto_wrap_old_gym_envs always_attach_evaluation_results",
    ),
    (
        _OFFLINE,
        "input_ offline_data_class input_read_method input_read_method_kwargs input_read_schema input_read_episodes "
        "input_read_sample_batches input_read_batch_size input_filesystem input_filesystem_kwargs "
        "input_compress_columns input_spaces_jsonable materialize_data materialize_mapped_data map_batches_kwargs "
        "iter_batches_kwargs ignore_final_observation prelearner_class prelearner_buffer_class "
        "prelearner_buffer_kwargs prelearner_module_synch_period prelearner_use_recorded_module_states "
        "dataset_num_iters_per_learner input_config actions_in_input_normalized postprocess_inputs "
        "shuffle_buffer_size output output_config output_compress_columns output_max_file_size "
        "output_max_rows_per_file output_write_remaining_data output_write_method output_write_method_kwargs "
        "output_filesystem output_filesystem_kwargs output_write_episodes offline_sampling "
        "off_policy_estimation_methods ope_split_batch_by_episode offline_evaluation_interval "
        "num_offline_eval_runners offline_evaluation_type offline_eval_runner_class offline_loss_for_module_fn "
        "offline_evaluation_duration offline_evaluation_parallel_to_training offline_evaluation_timeout_s "
        "num_cpus_per_offline_eval_runner num_gpus_per_offline_eval_runner custom_resources_per_offline_eval_runner "
        "restart_failed_offline_eval_runners ignore_offline_eval_runner_failures "
        "max_num_offline_eval_runner_restarts offline_eval_runner_restore_timeout_s "
        "max_requests_in_flight_per_offline_eval_runner validate_offline_eval_runners_after_construction "
        "offline_eval_runner_health_probe_timeout_s offline_eval_rl_module_inference_only "
        "broadcast_offline_eval_runner_states offline_eval_batch_size_per_runner dataset_num_iters_per_eval_runner "
        "callbacks_on_offline_eval_runners_recreated callbacks_on_evaluate_offline_start "
        "callbacks_on_evaluate_offline_end",
    ),
    (
        _NO_CONNECTORS,
        "add_default_connectors_to_env_to_module_pipeline add_default_connectors_to_module_to_env_pipeline "
        "add_default_connectors_to_learner_pipeline _env_to_module_connector _module_to_env_connector "
        "_learner_connector episode_lookback_horizon",
    ),
    (
        "the driver sends every runner the number of steps and the weights, and nothing else is to be merged",
        "merge_env_runner_states broadcast_env_runner_states use_env_runner_state_server "
        "env_runner_state_server_max_concurrency sync_filters_on_rollout_workers_timeout_s "
        "_dont_auto_sync_env_runner_states",
    ),
    (
        _LEARNERS,
        "num_learners num_cpus_per_learner num_gpus_per_learner custom_resources_per_learner "
        "num_aggregator_actors_per_learner "
        "max_requests_in_flight_per_aggregator_actor max_requests_in_flight_per_learner torch_ddp_kwargs "
        "torch_skip_nan_gradients log_gradients _torch_grad_scaler_class _torch_lr_scheduler_classes _learner_class "
        "learner_config_dict optimizer",
    ),
    (_CPU, "num_gpus_per_env_runner local_gpu_idx _fake_gpus"),
    (_MODEL, "model _model_config _rl_module_spec action_mask_key"),
    (
        _COMPILE,
        "torch_compile_learner torch_compile_learner_what_to_compile torch_compile_learner_dynamo_backend "
        "torch_compile_learner_dynamo_mode torch_compile_worker torch_compile_worker_dynamo_backend "
        "torch_compile_worker_dynamo_mode",
    ),
    (
        _ONE_PROCESS,
        "gym_env_vectorize_mode remote_worker_envs remote_env_batch_wait_ms restart_failed_sub_environments",
    ),
    (_EPISODES, "callbacks_on_episode_created callbacks_on_episode_start callbacks_on_episode_step episodes_to_numpy"),
    (_TIERS, "policies policy_mapping_fn algorithm_config_overrides_per_module"),
)

REFUSED: dict[str, str] = {name: reason for reason, names in _GROUPS for name in names.split()} | {
    "framework_str": "allowed: 'torch'",
    "observation_space": "the environment says what agents observe",
    "action_space": "the environment says what agents do",
    "clip_rewards": "shape a tier's reward: `tiers({tier: {'reward_shaping': {...}}})`",
    "normalize_actions": "tiers always act in [-1, 1]",
    "clip_actions": "actions are always cut off at the ends of their range",
    "disable_env_checking": "environments are checked by what they do",
    "render_env": "play a policy in `soc_env.parallel_env(..., render_mode='rgb_array')`",
    "create_local_env_runner": "the driver's runner holds the networks that say what other tiers do next",
    "max_requests_in_flight_per_env_runner": "runners are asked one request at a time",
    "batch_mode": "rows go on over the end of a fragment, so none has to be complete",
    "observation_filter": "networks normalise what they read",
    "count_steps_by": "allowed: 'env_steps'",
    "shuffle_batch_per_epoch": "on-policy tiers always shuffle",
    "_train_batch_size_per_learner": "use train_batch_size, environment steps an iteration",
    "evaluation_parallel_to_training": "evaluation reads networks that must not change meanwhile",
    "evaluation_auto_duration_min_env_steps_per_sample": "it needs evaluation_parallel_to_training",
    "evaluation_auto_duration_max_env_steps_per_sample": "it needs evaluation_parallel_to_training",
    "in_evaluation": "RLlib sets it for evaluation runners",
    "stats_cls_lookup": "log with the reductions that RLlib has",
    "num_consecutive_env_runner_failures_tolerance": "RLlib counts no failures; see restart_failed_env_runners",
    "buffer_size": "use replay_capacity",
    "prioritized_replay": "use replay",
    "replay_sequence_length": "no tier learns from sequences",
    "replay_mode": "use replay",
    "prioritized_replay_alpha": "use replay_alpha",
    "prioritized_replay_beta": "use replay_beta",
    "prioritized_replay_eps": "it is a constant, `policies.hmarl.replay.PRIORITY_FLOOR`",
}
# RLlib itself sets these for evaluation runners, after it has taken evaluation_config in.
_SET_IN_EVALUATION = ("batch_mode", "in_evaluation")
_BOOKKEEPING = ("class",)  # RLlib's own, of a configuration that was read from a checkpoint


def as_tier_setting(algorithm: str, name: str, value: Any) -> dict[str, Any]:
    """One of `TIER_DEFAULTS` as a tier with this algorithm has it; empty if it has no such setting."""
    if algorithm == SCRIPTED:
        return {}
    declared = {spec.name: spec for spec in dataclasses.fields(ALGORITHMS[algorithm].settings)}
    if name in declared:
        return {name: value}
    return {"rllib": {name: value}} if name in field_names(declared["rllib"].metadata["part"]) else {}


_SECONDS = ("evaluation_sample_timeout_s", "evaluation_unhealthy_workers_timeout_s",
            "env_runner_health_probe_timeout_s", "env_runner_restore_timeout_s",
            "delay_between_env_runner_restarts_s")  # fmt: skip
_SECONDS_OR_NONE = ("sample_timeout_s", "min_time_s_per_iteration")
_AT_LEAST = ("min_train_timesteps_per_iteration", "min_sample_timesteps_per_iteration")
# RLlib's methods by which settings are made; training is ours.
METHODS = (
    *("environment", "env_runners", "evaluation", "callbacks", "debugging"),
    *("fault_tolerance", "reporting", "resources", "multi_agent"),
)
UNITS, STRATEGIES = ("episodes", "timesteps"), ("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD")
LOG_LEVELS = ("DEBUG", "INFO", "WARN", "WARNING", "ERROR", "CRITICAL")  # those of Python's `logging`


def _is_whole(low: int, end: float = math.inf) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, Integral) and not isinstance(value, bool) and low <= int(value) < end


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    return is_number and bool(0 <= value < math.inf)


def _or_none(is_allowed: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or is_allowed(value)


# Values that RLlib takes as they come, so that a wrong one would end late or never: (setting, check, what is allowed).
_VALUES: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("num_env_runners", _is_whole(0), "an integer of 0 or more"),
    ("num_envs_per_env_runner", _is_whole(1), "an integer of 1 or more"),
    ("evaluation_num_env_runners", _is_whole(0), "an integer of 0 or more"),
    ("rollout_fragment_length", lambda value: value == "auto" or _is_whole(1)(value), "'auto', or an integer >= 1"),
    ("metrics_num_episodes_for_smoothing", _is_whole(1), "an integer of 1 or more"),
    ("seed", lambda value: value is None or _is_whole(0, NUM_SEEDS)(value), "None, or an integer from 0 to 2**32 - 1"),
    ("evaluation_interval", _or_none(_is_whole(0)), "an integer of 0 or more, or None"),
    ("explore", lambda value: isinstance(value, bool), "True or False"),
    ("evaluation_duration", _is_whole(1), "an integer of 1 or more"),
    ("evaluation_duration_unit", lambda value: value in UNITS, f"one of {', '.join(UNITS)}"),
    ("placement_strategy", lambda value: value in STRATEGIES, f"one of {', '.join(STRATEGIES)}"),
    ("env_config", lambda value: isinstance(value, Mapping), "options by name"),
    ("env", lambda value: isinstance(value, str) or callable(value), "the name of a scenario, or what makes one"),
    *((name, _is_number, "a number of 0 or more") for name in ("num_cpus_per_env_runner", *_SECONDS)),
    *((name, _or_none(_is_number), "a number of 0 or more, or None") for name in _SECONDS_OR_NONE),
    *((name, _is_whole(0), "an integer of 0 or more") for name in _AT_LEAST),
    ("log_level", lambda value: value in LOG_LEVELS, f"one of {', '.join(LOG_LEVELS)}"),
)


@functools.cache
def rllib_defaults() -> Mapping[str, Any]:
    """RLlib's own settings by name, with their defaults."""
    return vars(AlgorithmConfig())


def check(config: Any, algorithms: Iterable[str]) -> None:
    """Checks what an `HMARLConfig` holds of RLlib's settings; `algorithms` are those of its tiers.

    Raises:
        ConfigError: a name that does not exist, or a setting that has no effect.
    """
    known, defaults = vars(config), rllib_defaults()
    check_old_names(known)
    for name in known:
        if not name.startswith("_") and name not in (*defaults, *field_names(HMARLSettings), *_BOOKKEEPING):
            raise ConfigError(unknown_setting(name))
    for name, instead in REFUSED.items():
        skips = name in ("policies", "policy_mapping_fn") or config.in_evaluation and name in _SET_IN_EVALUATION
        if not skips and not _is_default(known.get(name), defaults[name]):
            raise ConfigError(f"{name.lstrip('_')} is {shown(known[name])}, which has no effect here; {instead}")
    for name, is_allowed, allowed in _VALUES:
        if not is_allowed(known[name]):
            raise ConfigError(f"{name} is {shown(known[name])}, allowed: {allowed}")
    for name in TIER_DEFAULTS:
        value = known[name]
        if value is not None and not any(as_tier_setting(algorithm, name, value) for algorithm in algorithms):
            raise ConfigError(f"{name} is {value!r}, which has no effect: no tier's algorithm has such a setting")
    _check_tiers(config)
    _check_callbacks(config)
    _check_evaluation(config)
    cls = config.env_runner_cls
    if not isinstance(cls, type) or not issubclass(cls, ColumnarEnvRunner):
        raise ConfigError(f"env_runner_cls is {cls!r}, allowed: ColumnarEnvRunner or a subclass of it")


def refuses_in_one_line(cls: type) -> type:
    """A configuration whose methods refuse, as ConfigError of one line, what RLlib's own refuse in their ways: names
    that do not exist, and values (of `_VALUES` before RLlib sees them)."""
    for name in METHODS:
        setattr(cls, name, _refusing(name, getattr(cls, name)))
    return cls


def _refusing(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    allowed = inspect.signature(method).parameters

    @functools.wraps(method)
    def call(self: Any, *args: Any, **settings: Any) -> Any:
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in allowed.values()):
            for setting in settings:
                if setting not in allowed:
                    raise ConfigError(unknown_setting(setting))
        for setting, is_allowed, what in _VALUES:
            if setting in settings and not is_allowed(settings[setting]):
                raise ConfigError(f"{setting} is {shown(settings[setting])}, allowed: {what}")
        try:
            return method(self, *args, **settings)
        except HMARLSOCError:
            raise
        except (ValueError, TypeError, AttributeError) as error:
            raise ConfigError(f"{name}: {' '.join(str(error).split())}") from error

    return call


def make_plain(config: Any) -> None:
    """Checks those of `HMARLSettings`, and keeps NumPy's numbers (which Tune draws) as Python's.

    Raises:
        ConfigError: a value that is not allowed.
    """
    own = vars(HMARLSettings(**{name: getattr(config, name) for name in field_names(HMARLSettings)}))
    whole = {name: getattr(config, name) for name, _, _ in _VALUES}
    whole = {n: int(v) for n, v in whole.items() if isinstance(v, Integral) and not isinstance(v, bool)}
    for name, value in {**own, **whole}.items():
        before = getattr(config, name)
        if type(value) is not type(before) or value != before:
            setattr(config, name, value)


@contextlib.contextmanager
def one_line() -> Iterator[None]:
    """Within it what RLlib refuses of a configuration is a ConfigError of one line."""
    try:
        yield
    except HMARLSOCError:
        raise
    except (ValueError, NotImplementedError) as error:
        raise ConfigError(" ".join(str(error).split())) from error


def unknown_setting(name: str) -> str:
    """One line about a setting that does not exist, with the closest one that does."""
    near = difflib.get_close_matches(name, [*WORKS, *TIER_DEFAULTS, *field_names(HMARLSettings)], 1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return (
        f"setting {name!r} does not exist; {hint}allowed: those of `policies.hmarl.settings.HMARLSettings`, and of "
        "RLlib's those in `policies.hmarl.rllib_settings.WORKS`"
    )


def _is_default(value: Any, default: Any) -> bool:
    try:
        return value is default or type(value) is type(default) and bool(value == default)
    except (TypeError, ValueError):  # arrays
        return False


def _check_tiers(config: Any) -> None:
    """That policies and their agents are those that tiers say, and that those named to be trained exist."""
    if set(config.policies) != config.tier_networks():
        raise ConfigError(f"policies is {sorted(config.policies)}, which has no effect here; {_TIERS}")
    mapping = config.policy_mapping_fn
    if not isinstance(mapping, functools.partial) or mapping.func is not tier_of:
        raise ConfigError(f"policy_mapping_fn is {mapping!r}, which has no effect here; {_TIERS} by 'agents'")
    chosen, tiers = config.policies_to_train, config.tier_networks()
    if chosen is not None and not callable(chosen):
        if not isinstance(chosen, (list, set, tuple)):
            raise ConfigError(f"policies_to_train is {shown(chosen)}, allowed: a list of tiers, a callable, or None")
        for tier in chosen:
            if tier not in tiers:
                raise ConfigError(unknown_name("policies_to_train: tier", tier, tiers))


def _check_callbacks(config: Any) -> None:
    for name in (name for name in WORKS if name.startswith("callbacks_on_")):
        for function in force_list(getattr(config, name)):
            if not callable(function):
                event = name.removeprefix("callbacks_")
                raise ConfigError(f"{event} is {shown(function)}, allowed: a callable, a list of them, or None")
    for cls in force_list(config.callbacks_class):
        if not isinstance(cls, type) or not issubclass(cls, RLlibCallback):
            raise ConfigError(f"callbacks_class is {cls!r}, allowed: RLlibCallback or subclasses of it")
        for name in dir(cls):
            is_called = f"callbacks_{name}" in WORKS or name == "on_workers_recreated"
            if not name.startswith("on_") or is_called:
                continue
            if getattr(cls, name) is not getattr(RLlibCallback, name, None):
                instead = REFUSED.get(f"callbacks_{name}", _EPISODES)
                raise ConfigError(f"callbacks_class {cls.__name__} has {name}, which is never called here; {instead}")


def _check_evaluation(config: Any) -> None:
    if config.in_evaluation:
        return
    changes = config.evaluation_config or {}
    if not isinstance(changes, Mapping):
        raise ConfigError(f"evaluation_config is a {type(changes).__name__}, allowed: a dict, or None")
    for name in changes:
        if name not in EVALUATION:
            raise ConfigError(unknown_name("evaluation_config: setting", name, EVALUATION))
    has_runners = bool(config.evaluation_interval or config.evaluation_num_env_runners)
    if changes and not has_runners:
        raise ConfigError(
            f"evaluation_config changes {', '.join(changes)}, which has no effect without evaluation_interval or "
            "evaluation_num_env_runners: `evaluate` then plays on the training runner"
        )
    goes_on = config.evaluation_num_env_runners > 0 and config.evaluation_duration_unit == "timesteps"
    if not config.evaluation_force_reset_envs_before_iteration and not goes_on:
        raise ConfigError(
            "evaluation_force_reset_envs_before_iteration is False, which has an effect only with "
            "evaluation_num_env_runners and evaluation_duration_unit='timesteps': else all start anew"
        )
