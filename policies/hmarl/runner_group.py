"""The runners that an algorithm samples with: the driver's alone, without Ray, or remote ones that may fail.

RLlib's `EnvRunnerGroup` starts Ray even where it has no remote runner, and leaves one that hangs in service, so that
every iteration waits for it anew. `runner_groups` makes RLlib build these two in its place.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
import ray.rllib.algorithms.algorithm as rllib_algorithm
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_RL_MODULE
from ray.rllib.env.env_runner_group import EnvRunnerGroup
from ray.rllib.utils.actor_manager import FaultTolerantActorManager
from ray.rllib.utils.metrics import WEIGHTS_SEQ_NO

from policies.hmarl.ray_start import GO_ON, first_line
from policies.runner.rows import Rollout
from soc_env.errors import RunError

PATIENCE = 120.0  # [s] without a sample of any remote runner, after which the run ends
CALLS_WAITING = 8  # of one kind, for one runner, before further ones are left out; two an iteration are usual

Samples = tuple[list[Rollout], list[Any]]
"""Rollouts, and the runners' metrics."""


class LocalRunnerGroup(EnvRunnerGroup):
    """The driver's runner alone. Nothing in it needs Ray."""

    def __init__(self, *, config: Any, logdir: str | None = None, tune_trial_id: str | None = None, **kwargs: Any):
        # EnvRunnerGroup.__init__ would put the configuration into Ray's object store, for remote runners.
        self.env_runner_cls = config.env_runner_cls
        self._remote_config, self._remote_config_obj_ref = config, None
        self._env_creator, self._policy_class = kwargs.get("env_creator"), None
        self._logdir, self._tune_trial_id, self._pg_offset = logdir, tune_trial_id, 0
        self._remote_args: dict[str, Any] = {}
        self._ignore_ray_errors_on_env_runners = True
        self._worker_manager = FaultTolerantActorManager(init_id=1)
        self._num_env_runners_dropped_lifetime = 0
        self._setup(config=config, num_env_runners=0, local_env_runner=True)

    def sync_weights(
        self,
        policies: list[str] | None = None,
        from_worker_or_learner_group: Any = None,
        to_worker_indices: list[int] | None = None,
        global_vars: Any = None,
        timeout_seconds: float | None = 0.0,
        inference_only: bool | None = False,
    ) -> None:
        """Gives the driver's runner the learners' weights."""
        if policies is None and not from_worker_or_learner_group.is_remote:
            from_worker_or_learner_group.hand_over(self.local_env_runner)
            return
        component = f"{COMPONENT_LEARNER}/{COMPONENT_RL_MODULE}"
        wanted = [component] if policies is None else [f"{component}/{tier}" for tier in policies]
        state = from_worker_or_learner_group.get_state(components=wanted, inference_only=inference_only)
        state = state[COMPONENT_LEARNER]
        self.local_env_runner.set_state({name: state[name] for name in (COMPONENT_RL_MODULE, WEIGHTS_SEQ_NO)})

    def sample(self, num_env_steps: int, timeout_s: float | None = None, **kwargs: Any) -> Samples:
        """Samples until `num_env_steps` environment steps are there."""
        rollouts: list[Rollout] = []
        metrics = []
        while sum(rollout.env_steps() for rollout in rollouts) < num_env_steps:
            rollouts += self.local_env_runner.sample(**kwargs)
            metrics.append(self.local_env_runner.get_metrics())
        return rollouts, metrics


class RemoteRunnerGroup(EnvRunnerGroup):
    """Remote runners: one that dies comes back, one that hangs is killed, and training goes on meanwhile."""

    def __init__(self, *, config: Any, **kwargs: Any):
        # RLlib leaves out a call to a runner that has not finished one like it: weights that follow a number of steps,
        # as after a restoration, would not arrive, and the runner would act with old ones.
        config = config.copy(copy_frozen=False)
        config.max_requests_in_flight_per_env_runner = CALLS_WAITING
        config.freeze()
        self._places: dict[int, tuple[str, int]] = {}  # runner -> node and process
        self._why: dict[int, str] = {}  # runner -> why it failed last
        self._silent_since = time.monotonic()
        super().__init__(config=config, **kwargs)

    def sample(self, num_env_steps: int, timeout_s: float | None = None, **kwargs: Any) -> Samples:
        """Samples on all healthy runners at once, in rounds, until `num_env_steps` environment steps are there; less,
        or nothing, if runners have failed.

        Raises:
            RunError: no runner has answered for `PATIENCE`, or one has died and is not to be restarted.
        """
        rollouts: list[Rollout] = []
        metrics = []
        while sum(rollout.env_steps() for rollout in rollouts) < num_env_steps:
            answered = self._round(timeout_s, kwargs)
            if not answered:
                break
            for runner in sorted(answered):
                sampled, of_runner, self._places[runner] = answered[runner]
                rollouts += sampled
                metrics.append(of_runner)
        return rollouts, metrics

    def _round(self, timeout_s: float | None, kwargs: dict[str, Any]) -> dict[int, Any]:
        """One sample of every healthy runner: runner -> what it says, of those that answer."""
        asked = self._worker_manager.healthy_actor_ids()
        results = self._worker_manager.foreach_actor(
            lambda runner: (runner.sample(**kwargs), runner.get_metrics(), _place()), timeout_seconds=timeout_s
        )
        answers = {result.actor_id: result for result in results}
        silent = sorted(set(asked) - set(answers))
        for runner in silent:
            self._kill(runner, timeout_s)
        failed = {runner: first_line(answer.get()) for runner, answer in answers.items() if not answer.ok}
        failed |= dict.fromkeys(silent, f"no answer within sample_timeout_s={timeout_s}")
        answered = {runner: answer.get() for runner, answer in answers.items() if answer.ok}
        self._check(failed, bool(answered))
        return answered

    def _check(self, failed: dict[int, str], has_answers: bool) -> None:
        self._why |= failed
        for runner, reason in failed.items():
            if not self._ignore_ray_errors_on_env_runners:
                raise RunError(f"env runner {runner} is lost ({reason}), restart_failed_env_runners is False; {GO_ON}")
        now = time.monotonic()
        if has_answers:
            self._silent_since = now
        elif now - self._silent_since > PATIENCE:
            each = ", ".join(f"{runner} ({reason})" for runner, reason in sorted(self._why.items()))
            raise RunError(f"no env runner has sampled for {now - self._silent_since:.0f} s: {each}; {GO_ON}")

    def _kill(self, runner: int, timeout_s: float | None) -> None:
        """Takes a runner that does not answer out of service; Ray starts it anew if it may be restarted."""
        print(f"env runner {runner} has not answered for {timeout_s} s and is killed", file=sys.stderr, flush=True)
        self._worker_manager.set_actor_state(runner, healthy=False)
        ray.kill(self._worker_manager.actors()[runner], no_restart=False)
        node, process = self._places.get(runner, ("", 0))
        if node == ray.get_runtime_context().get_node_id():  # a stopped process does not hear Ray
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


def _place() -> tuple[str, int]:
    """The node and the process that this is called in."""
    return ray.get_runtime_context().get_node_id(), os.getpid()


# --- in RLlib's place


def runner_group(*, config: Any, **kwargs: Any) -> EnvRunnerGroup:
    """The group for `config`, with the arguments that RLlib's has."""
    return (RemoteRunnerGroup if config.num_env_runners else LocalRunnerGroup)(config=config, **kwargs)


_lock = threading.RLock()


@contextmanager
def runner_groups() -> Iterator[None]:
    """While an algorithm of ours is set up: `Algorithm.setup` has no other way to say of which class its groups are."""
    with _lock:
        before = rllib_algorithm.EnvRunnerGroup
        rllib_algorithm.EnvRunnerGroup = runner_group
        try:
            yield
        finally:
            rllib_algorithm.EnvRunnerGroup = before
