"""Which Ray a run uses: none where nothing is remote, else one of its own, unless the user says otherwise.

Remote are `num_env_runners`, `evaluation_num_env_runners` and each tier's `num_learners`. Where they are all 0, Ray is
never started. Else, in this order:

1. A Ray that this process has initialised already is used as it is (`ray.init(...)` before, or a trial of Tune).
2. An address that the user names is joined: `--ray-address`, `session(address)` or the variable RAY_ADDRESS.
3. Otherwise Ray is started for this process alone and ends with the last algorithm that uses it. Ray's own `init()`
   would look for any cluster on the machine and join it; this one never does. It has as many CPUs as are asked for, or
   as the machine has if that is more: asking for more than there are is slow, but works.

Lines on standard error say which. What the parts ask for is compared with what a cluster has before they are built:
Ray would wait for ever.
"""

from __future__ import annotations

import logging
import math
import os
import secrets
import socket
import sys
import threading
import warnings
import weakref
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import ray
import torch
from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]
from ray.tune.execution.placement_groups import PlacementGroupFactory

from soc_env.errors import ConfigError, RunError

ADDRESS, TOKEN = "RAY_ADDRESS", "RAY_AUTH_TOKEN"  # Ray's own environment variables
ANSWER_SECONDS = 10.0  # within which what lives answers
GO_ON = "go on from the newest checkpoint (--resume)"
_TOKEN_SETTINGS = ("RAY_AUTH_MODE", TOKEN, "RAY_AUTH_TOKEN_PATH")
LOGGERS = ("ray", "ray.rllib", "ray.tune", "ray._common.deprecation", "ray._private", "tensorboardX.x2num")


@dataclass(frozen=True)
class Part:
    """Processes that run apart from the driver: `number` of them, `name` in words, each of which needs `resources`."""

    name: str
    number: int
    resources: Mapping[str, float]


def remote_parts(config: Any) -> list[Part]:
    """What an `HMARLConfig` asks Ray for: runners, evaluation runners, then each tier's learners; empty if nothing."""
    evaluation = config.get_evaluation_config_object() if config.evaluation_num_env_runners else config
    parts = [
        Part("env runners", config.num_env_runners, _of_runner(config)),
        Part("evaluation runners", config.evaluation_num_env_runners, _of_runner(evaluation)),
    ]
    for tier, settings in config.tier_settings.items():
        number = settings.get("num_learners", 0)
        parts.append(Part(f"learners of tier {tier!r}", number, _of_learner(settings) if number else {}))
    return [part for part in parts if part.number]


def _of_runner(config: Any) -> dict[str, float]:
    return {"CPU": config.num_cpus_per_env_runner, **config.custom_resources_per_env_runner}


def _of_learner(settings: Mapping[str, Any]) -> dict[str, float]:
    """As RLlib asks for it: a learner on a GPU takes no CPU of its own."""
    gpus = settings["num_gpus_per_learner"]
    return {**({"GPU": gpus} if gpus else {"CPU": 1}), **settings["custom_resources_per_learner"]}


def resource_request(config: Any) -> PlacementGroupFactory:
    """What a trial of Tune reserves: the driver and its learners, then every remote part."""
    main = {"CPU": max(1, config.num_cpus_for_main_process), **config.custom_resources_for_main_process}
    gpus = sum(s.get("num_gpus_per_learner", 0) for s in config.tier_settings.values() if not s.get("num_learners"))
    parts = [dict(part.resources) for part in remote_parts(config) for _ in range(part.number)]
    return PlacementGroupFactory([{**main, "GPU": gpus}, *parts], strategy=config.placement_strategy)


@dataclass(eq=False)
class _State:
    """Of this process: the Ray that was started or joined here, and who uses it."""

    address: str | None = None  # that `session` was given
    owns: bool = False
    users: weakref.WeakSet[Any] = field(default_factory=weakref.WeakSet)
    before: dict[str, str | None] = field(default_factory=dict)  # environment variables to put back
    lock: Any = field(default_factory=threading.RLock)


_state = _State()


@contextmanager
def session(address: str | None = None, *, starts_for: list[Part] | None = None) -> Iterator[None]:
    """Around a command: Ray and RLlib are quiet, what is built inside joins `address`, and no Ray of ours stays.

    `starts_for` says what needs Ray in any case, beside algorithms that are built here: trials of Tune.

    Raises:
        ConfigError: with `starts_for`, an address that cannot be used.
        RunError: with `starts_for`, Ray cannot be started.
    """
    quiet()
    if address is not None and ray.is_initialized():
        raise ConfigError(
            f"ray_address is {address!r}, which has no effect: Ray is initialised in this process already"
        )
    _state.address = address
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if starts_for is not None:
                _see_to_ray(starts_for)
                _state.users.add(_state)
            yield
        finally:
            _state.address = None
            _state.users.clear()
            _shut_down()


def quiet() -> None:
    """Keeps Ray and RLlib from talking about what users need not know."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("PYTHONWARNINGS", "ignore::DeprecationWarning")
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("ray.rllib.utils.actor_manager").setLevel(logging.CRITICAL)  # of what is lost we tell ourselves


@contextmanager
def building(algo: Any) -> Iterator[None]:
    """Around the set-up of an algorithm: sees to it that there is a Ray for what its `config` has remote.

    An algorithm that was built says `release` when it stops.

    Raises:
        ConfigError: an address that cannot be used, or more asked for than a cluster has.
        RunError: Ray cannot be started.
    """
    parts = remote_parts(algo.config)
    _check_own_gpus(algo.config)
    if not parts:
        if _state.address is not None:
            raise ConfigError(
                f"ray_address is {_state.address!r}, which has no effect: nothing is remote (num_env_runners, "
                "evaluation_num_env_runners and each tier's num_learners are 0)"
            )
        yield
        return
    _see_to_ray(parts)
    _state.users.add(algo)
    try:
        compare(algo.config)
        _check_room()
        yield
    except BaseException:
        release(algo)
        raise


def _check_own_gpus(config: Any) -> None:
    for tier, settings in config.tier_settings.items():
        gpus, there = settings.get("num_gpus_per_learner", 0), torch.cuda.device_count()
        if gpus > there and not settings["num_learners"]:
            raise ConfigError(
                f"tier {tier!r}: num_gpus_per_learner={gpus:g}, but this process has {there} GPUs; allowed: 0, or "
                "num_learners=1 on a Ray cluster that has some"
            )


def _see_to_ray(parts: list[Part]) -> None:
    with _state.lock:
        if not ray.is_initialized():
            address = _state.address or os.environ.get(ADDRESS)
            if address in (None, "", "local"):
                _start(parts)
            else:
                _join(str(address))
            _state.owns = True


def release(algo: Any) -> None:
    """An algorithm has stopped; the last one that had something remote ends a Ray of ours."""
    with _state.lock:
        if algo in _state.users:
            _state.users.discard(algo)
            if not _state.users:
                _shut_down()


def _shut_down() -> None:
    if _state.owns:
        _state.owns = False
        _end()


def _end() -> None:
    ray.shutdown()
    for name, value in _state.before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    _state.before = {}
    forget_token()


def forget_token() -> None:
    """Makes Ray read its token settings anew: it keeps the first ones of a process, and a Ray that is started after
    they have changed in the environment is then refused its own token."""
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


def _total(parts: list[Part]) -> Counter[str]:
    total: Counter[str] = Counter()
    for part in parts:
        for name, amount in part.resources.items():
            total[name] += part.number * amount  # type: ignore[assignment]
    return total


def _named(parts: list[Part]) -> str:
    return ", ".join(f"{part.number} {part.name}" for part in parts)


def _start(parts: list[Part]) -> None:
    needed = _total(parts)
    if needed["GPU"] > torch.cuda.device_count():
        raise ConfigError(
            f"{_named(parts)} need {needed['GPU']:g} GPU together, this machine has {torch.cuda.device_count()}; "
            "allowed: num_gpus_per_learner=0, or a cluster that has some, by its address"
        )
    there = len(os.sched_getaffinity(0))
    # A node has whole numbers above 1 of what shares are taken of.
    own = {name: math.ceil(amount) for name, amount in needed.items() if name not in ("CPU", "GPU")}
    _state.before = {name: os.environ.get(name) for name in _TOKEN_SETTINGS}
    mode, *tokens = _state.before.values()
    if mode != "disabled" and not any(tokens):
        os.environ[TOKEN] = secrets.token_hex(32)  # else Ray keeps one in the home folder, which has to be writable
    forget_token()
    try:
        ray.init(
            address="local",
            num_cpus=max(there, math.ceil(needed["CPU"])),
            resources=own or None,
            include_dashboard=False,
            logging_level=logging.ERROR,
            log_to_driver=False,
        )
    except Exception as error:
        _end()
        raise RunError(f"Ray could not be started on this machine ({first_line(error)}); {_WITHOUT}") from error
    shared = ", which they share" if needed["CPU"] > there else ""
    _say(f"private, on this machine, {needed['CPU']:g} of {there} CPUs{shared}")


_WITHOUT = "a run with nothing remote needs none: no env runners of their own (workers 0) and num_learners 0"


def _join(address: str) -> None:
    if "://" in address:
        raise ConfigError(
            f"ray_address is {address!r}, allowed: HOST:PORT of a cluster that this machine belongs to, or 'auto'; "
            "from elsewhere use `ray job submit`"
        )
    try:
        if address != "auto":
            host, _, port = address.rpartition(":")
            socket.create_connection((host, int(port)), ANSWER_SECONDS).close()  # Ray would try for minutes
        forget_token()
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    except Exception as error:
        _end()
        raise ConfigError(f"ray_address: no Ray cluster can be joined at {address!r} ({_why(error)})") from error
    _say(f"cluster at {address}, {ray.cluster_resources().get('CPU', 0):g} CPUs")


def _why(error: Exception) -> str:
    mode = os.environ.get("RAY_AUTH_MODE")
    if mode is None:
        return f"{first_line(error)}; a cluster with token authentication needs RAY_AUTH_MODE=token and its token"
    return first_line(error)


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or its name."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return text if len(text) <= 200 else text[:197] + "..."


def compare(config: Any) -> None:
    """ConfigError if the cluster has less than `config` asks for."""
    if ray.util.get_current_placement_group() is not None:  # a trial of Tune: its request has been granted
        return
    parts, there = remote_parts(config), ray.cluster_resources()
    for name, amount in _total(parts).items():
        if amount > there.get(name, 0):
            raise ConfigError(
                f"{_named(parts)} need {amount:g} {name} together, the Ray cluster has {there.get(name, 0):g}; Ray "
                "would wait for ever"
            )


def _check_room() -> None:
    """ConfigError if the algorithms of this process ask together for more than the Ray that was begun for them has."""
    if not _state.owns or ray.util.get_current_placement_group() is not None:
        return
    algorithms = [user for user in list(_state.users) if user is not _state]
    together, there = sum((_total(remote_parts(one.config)) for one in algorithms), Counter()), ray.cluster_resources()
    for name, amount in together.items():
        if amount > there.get(name, 0):
            raise ConfigError(
                f"the {len(algorithms)} algorithms of this process need {amount:g} {name} together, their Ray has "
                f"{there.get(name, 0):g}; stop one before, or begin with ray.init(address='local', num_cpus=...)"
            )


def _say(text: str) -> None:
    print(f"Ray: {text}", file=sys.stderr, flush=True)
