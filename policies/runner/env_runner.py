"""Columnar env runner: steps a batch of simulators and does one forward pass per agent and step.

RLlib's own runner builds an episode object per environment and sends every step through connectors, which costs ten to
twenty times what the policies cost. This one writes whole columns (`policies.runner.collector`). It takes any batched
environment with the attributes of `soc_env.Simulator` (`agents, observation_spaces, action_spaces, decision_periods,
actions, observations, final_observations, rewards, terminated, truncated, decides, reset, step, episode_metrics`, and
`running_metrics` where a tier's rewards are shaped by metrics). Where agents have rewards and lives of their own, it
also reads `agent_rewards`, `alive`, `ended` and `agent_terminated` (see `policies.runner.batched_env.SyncVectorEnv`);
where critics read the truth, `state_space`, `state()` and `final_states`.

A batch that has `get_state() -> tree` and `set_state(tree)` (plain data, see `policies.state_files`; None if it has no
state to say) goes on after a restart where it stood: `get_state(components=["sampling"])`. One that has not starts new
episodes, at a fresh seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import ray
import torch
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.callbacks.utils import make_callback
from ray.rllib.core import COMPONENT_RL_MODULE
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES, INPUT_ENV_SPACES
from ray.rllib.env.env_context import EnvContext
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.utils import force_list
from ray.rllib.utils import metrics as keys
from ray.rllib.utils.checkpoints import Checkpointable
from ray.rllib.utils.debug import update_global_seed_if_necessary

from policies.runner.batched_env import import_path, make_batched_env
from policies.runner.collector import Collector, Fragment
from policies.runner.generators import get_generators, set_generators
from policies.runner.plan import Plan, make_scripted, spaces_of_tiers, told_state
from policies.runner.rows import Rollout
from policies.runner.traces import Traces
from soc_env.engine.state import check_names
from soc_env.errors import CheckpointError, shown

WORKER_SEED_STRIDE = 7919  # so that workers and neighbouring run seeds do not share environments
NUM_SEEDS = 2**32  # that NumPy's global generator takes
SAMPLING = "sampling"  # the part of a runner's state that is there only if it is asked for by name
EVALUATION_SEEDS = 1_000_003  # from here, so that evaluation plays other episodes than training


class ColumnarEnvRunner(EnvRunner, Checkpointable):
    """RLlib EnvRunner over one batched environment (see the module's docstring).

    Attributes:
        env: the batch; None in a driver whose remote runners step the environments.
        module: tier -> RLModule.
        num_envs: environments of the batch.
        watch: called with `env`, and agent -> its past, before each step of training's sampling, or None.
    """

    def __init__(self, config: Any, **kwargs: Any):
        super().__init__(config=config, **kwargs)
        self._spaces = kwargs.get("spaces") or {}
        self._weights_seq_no = 0
        self._finished: list[dict[str, float]] = []
        self._callbacks: list[RLlibCallback] = [make() for make in force_list(config.callbacks_class)]
        self.env: Any = None
        self.module: Any = None
        self.watch: Callable[[Any, Mapping[str, Any]], None] | None = None
        self._collector: Collector | None = None
        worker = self.worker_index or 0
        offset = worker + EVALUATION_SEEDS * config.in_evaluation
        self._seed = None if config.seed is None else int(config.seed) * WORKER_SEED_STRIDE + offset
        if worker or config.num_env_runners == 0 or config.create_env_on_local_worker:
            self.make_env()
        update_global_seed_if_necessary("torch", None if self._seed is None else self._seed % NUM_SEEDS)
        self.make_module()

    # ---- construction
    def make_env(self) -> None:
        """Makes the batch; the callback `on_environment_created` gets it whole."""
        self.num_envs = self.config.num_envs_per_env_runner
        env_config = {k: v for k, v in dict(self.config.env_config).items() if k not in ("worker_index", "num_envs")}
        worker = self.worker_index or 0
        self.env = make_batched_env(self.config.env, self.num_envs, self._seed, env_config, worker)
        self._collector = None
        context = EnvContext(env_config, worker_index=worker, num_workers=self.config.num_env_runners)
        self._call_back("on_environment_created", env=self.env, env_context=context)

    def make_module(self) -> None:
        """Builds the tiers' modules, those of PPO with their value heads: advantages are estimated here."""
        spec = self.config.get_multi_rl_module_spec(spaces=self.get_spaces(), inference_only=True)
        for tier, tier_spec in spec.rl_module_specs.items():
            if self.config.is_on_policy(tier):
                tier_spec.inference_only = False
        spec.inference_only = False
        self.module, self._traces = spec.build(), Traces(self.config.num_envs_per_env_runner)

    def get_spaces(self) -> dict[str, Any]:
        """Spaces of the environment and of every tier; also each agent's decision period, whether agents have lives of
        their own, and the space of the state that critics may read."""
        if self.env is None:
            return self._spaces
        joint = (gym.spaces.Dict(dict(self.env.observation_spaces)), gym.spaces.Dict(dict(self.env.action_spaces)))
        return {
            INPUT_ENV_SPACES: joint,
            INPUT_ENV_SINGLE_SPACES: joint,
            **spaces_of_tiers(self.config.members(self.env.agents), self.env),
            "decision_periods": {a: self.env.decision_periods[a] for a in self.env.agents},
            "have_lives": hasattr(self.env, "alive"),
            "state": told_state(self.env),
        }

    def assert_healthy(self) -> None:
        assert self.module is not None
        assert self.env is not None or not self.worker_index

    def stop(self) -> None:
        if hasattr(self.env, "close"):
            self.env.close()
        self.env = None

    @property
    def _num_runners(self) -> int:
        """Runners that sample at the same time as this one, itself included."""
        return max(1, self.config.num_env_runners)

    # ---- sampling
    def _reset(self) -> Collector:
        """Starts the environments anew, and with them all that outlasts a fragment."""
        # A restored run starts at another seed than it began with, or it would play its first episodes again.
        fresh = None if self._seed is None else self._seed + int(self.num_env_steps_sampled_lifetime)
        self.env.reset(seed=fresh if self._collector is None else None)
        self._collector = self._make_collector(fresh or 0)
        return self._collector

    def _make_collector(self, seed: int) -> Collector:
        plan = Plan.of(self.config, {a: self.env.decision_periods[a] for a in self.env.agents})
        scripted = {
            tier: make_scripted(
                tier, self.config.tier_settings[tier]["policy"], self.config.env, self.env.action_spaces, seed
            )
            for tier in plan.scripted
        }
        teacher, worker = self.config.make_teacher(self.env, seed), int(self.worker_index or 0)
        return Collector(self.env, plan, scripted, self.config.n_step, teacher, worker)

    @torch.no_grad()
    def sample(
        self,
        *,
        num_timesteps: int | None = None,
        num_episodes: int | None = None,
        explore: bool | None = None,
        random_actions: bool = False,
        lesson: float | None = None,
        force_reset: bool = False,
        **kwargs: Any,
    ) -> list[Rollout]:
        """Steps until `num_timesteps` environment steps or `num_episodes` episodes (counted over all environments) are
        there. With `lesson` the teacher is asked at every step, and acts itself in that share of the environments.
        """
        with self.metrics.log_time(keys.SAMPLE_TIMER):
            collector = self._collector
            if collector is None or force_reset or num_episodes is not None:
                collector = self._reset()
            if num_timesteps is None and num_episodes is None:
                num_timesteps = self.config.get_rollout_fragment_length(self.worker_index) * self.num_envs
            fragment = Fragment(
                self.module,
                explore=self.config.explore if explore is None else explore,
                random_actions=random_actions,
                first_step=self.num_env_steps_sampled_lifetime,
                steps_at_once=self.num_envs * self._num_runners,
                traces=self._traces,
                lesson=lesson,
                watch=self.watch,
            )
            rollout = collector.collect(
                fragment,
                num_steps=math.inf if num_timesteps is None else math.ceil(num_timesteps / self.num_envs),
                num_episodes=math.inf if num_episodes is None else num_episodes,
            )
        self._log_counts(rollout, collector.plan)
        self._finish_episodes(fragment.episodes)
        self._call_back("on_sample_end", samples=[rollout])
        return [rollout]

    def _log_counts(self, rollout: Rollout, plan: Plan) -> None:
        n = rollout.num_env_steps
        # The driver tells the true number after each iteration; but RLlib leaves that call out where a runner still
        # takes its weights, and schedules must not depend on who is how fast.
        self.num_env_steps_sampled_lifetime += n * self._num_runners
        self.metrics.log_value(keys.WEIGHTS_SEQ_NO, self._weights_seq_no, window=1)
        self.metrics.log_value(keys.NUM_ENV_STEPS_SAMPLED, n, reduce="sum")
        self.metrics.log_value(keys.NUM_ENV_STEPS_SAMPLED_LIFETIME, n, reduce="lifetime_sum", with_throughput=True)
        for tier in plan.members:
            for key in (keys.NUM_AGENT_STEPS_SAMPLED, keys.NUM_MODULE_STEPS_SAMPLED):
                self.metrics.log_value((key, tier), n, reduce="sum")
            for key in (keys.NUM_AGENT_STEPS_SAMPLED_LIFETIME, keys.NUM_MODULE_STEPS_SAMPLED_LIFETIME):
                self.metrics.log_value((key, tier), n, reduce="lifetime_sum")

    # ---- callbacks
    def _call_back(self, name: str, **kwargs: Any) -> None:
        functions = getattr(self.config, f"callbacks_{name}")
        make_callback(
            name, self._callbacks, functions, kwargs={"env_runner": self, "metrics_logger": self.metrics, **kwargs}
        )

    def _has_callback(self, name: str) -> bool:
        is_set = getattr(self.config, f"callbacks_{name}") is not None
        return is_set or any(getattr(type(c), name) is not getattr(RLlibCallback, name) for c in self._callbacks)

    def _finish_episodes(self, episodes: list[tuple[int, dict[str, float]]]) -> None:
        self._finished += [metrics for _, metrics in episodes]
        if self._has_callback("on_episode_end"):
            for index, metrics in episodes:
                self._call_back(
                    "on_episode_end", episode=dict(metrics), env=self.env, rl_module=self.module, env_index=index
                )

    # ---- metrics and state
    def get_metrics(self) -> Any:
        """RLlib's result of this runner since the last call; means are over the newest episodes."""
        runners = self.config.num_env_runners or 1
        window = max(1, math.ceil(self.config.metrics_num_episodes_for_smoothing / runners))
        if self._finished:
            self.metrics.log_value(keys.NUM_EPISODES, len(self._finished), reduce="sum")
            self.metrics.log_value(keys.NUM_EPISODES_LIFETIME, len(self._finished), reduce="lifetime_sum")
            self._log_episodes(self._finished[-window:], window)
        self._finished.clear()
        return self.metrics.reduce()

    def _log_episodes(self, episodes: list[dict[str, float]], window: int) -> None:
        """Their means and extremes, one value for all of them: RLlib would make that of single ones, at a price."""
        names = dict.fromkeys(name for episode in episodes for name in episode)
        columns = {name: [episode[name] for episode in episodes if name in episode] for name in names}
        returns, lengths = columns.pop("reward"), columns.pop("length")
        means: dict[tuple[str, ...], list[float]] = {
            (keys.EPISODE_LEN_MEAN,): lengths,
            (keys.EPISODE_RETURN_MEAN,): returns,
        }
        means |= {("episode_metrics", name): column for name, column in columns.items()}
        for key, column in means.items():
            self.metrics.log_value(key, _known(np.nanmean, column), window=window)
        for reduce, extreme in (("min", np.nanmin), ("max", np.nanmax)):
            for name, column in (("episode_len", lengths), ("episode_return", returns)):
                self.metrics.log_value(f"{name}_{reduce}", _known(extreme, column), reduce=reduce, window=window)

    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any) -> dict[str, Any]:
        """As RLlib's, and "sampling" if it is among `components` by name: plain data, see `_sampling_state`."""
        state: dict[str, Any] = {keys.NUM_ENV_STEPS_SAMPLED_LIFETIME: self.num_env_steps_sampled_lifetime}
        if self._check_component(COMPONENT_RL_MODULE, components, not_components):
            state[COMPONENT_RL_MODULE] = self.module.get_state(
                components=self._get_subcomponents(COMPONENT_RL_MODULE, components),
                not_components=self._get_subcomponents(COMPONENT_RL_MODULE, not_components),
                **kwargs,
            )
            state[keys.WEIGHTS_SEQ_NO] = self._weights_seq_no
        if SAMPLING in force_list(components):
            state[SAMPLING] = self._sampling_state()
        return state

    def take_weights(self, networks: Mapping[str, Any], number: int) -> None:
        """As `set_state`, from the learners' own modules in this process: tier -> module."""
        if number <= self._weights_seq_no:
            return
        self._weights_seq_no = number
        with torch.no_grad():
            for tier, network in networks.items():
                newest = network.state_dict()
                for name, own in self.module[tier].state_dict().items():
                    own.copy_(newest[name])

    def set_state(self, state: dict[str, Any]) -> None:
        """Takes a state back. Weights are taken if they are newer than the present ones, or if the state holds
        "sampling" too: then the runner goes back to where it was.

        Raises:
            CheckpointError: "sampling" is damaged.
        """
        if COMPONENT_RL_MODULE in state:
            seq_no = state.get(keys.WEIGHTS_SEQ_NO, 0)
            if seq_no == 0 or seq_no > self._weights_seq_no or SAMPLING in state:
                weights = state[COMPONENT_RL_MODULE]
                self.module.set_state(ray.get(weights) if isinstance(weights, ray.ObjectRef) else weights)
            self._weights_seq_no = seq_no or self._weights_seq_no
        if keys.NUM_ENV_STEPS_SAMPLED_LIFETIME in state:
            self.num_env_steps_sampled_lifetime = state[keys.NUM_ENV_STEPS_SAMPLED_LIFETIME]
        if SAMPLING in state:
            self._restore_sampling(state[SAMPLING])

    def _sampling_state(self) -> dict[str, Any]:
        """What sampling goes on from: environments, collector, episodes not yet reported, steps sampled; of a remote
        runner also its process's generators (those of the driver belong to the algorithm's state)."""
        env, collector = None, None
        if self._collector is not None and hasattr(self.env, "get_state") and hasattr(self.env, "set_state"):
            env = self.env.get_state()
        if self._collector is not None and env is not None:
            collector = self._collector.get_state()
        return {
            "made_for": self._made_for(),
            "env": env,
            "collector": collector,
            "finished": [dict(episode) for episode in self._finished],
            "num_env_steps": int(self.num_env_steps_sampled_lifetime),
            **({"generators": get_generators()} if self.worker_index else {}),
        }

    def _made_for(self) -> dict[str, Any]:
        """Which sampling goes on exactly. A state of another one is no error: its episodes end here."""
        env_config = {name: import_path(value) for name, value in dict(self.config.env_config).items()}
        collector = None if self._collector is None else self._collector.made_for()
        return {"env": import_path(self.config.env), "env_config": env_config, "collector": collector}

    def _restore_sampling(self, state: Mapping[str, Any]) -> None:
        """Goes on where `_sampling_state` was called; where that cannot be, with new episodes at a fresh seed."""
        names = ("made_for", "env", "collector", "finished", "num_env_steps", "generators")
        check_names({"generators": None, **state}, names, SAMPLING)
        steps, finished = state["num_env_steps"], state["finished"]
        if not isinstance(steps, int) or steps < 0 or not isinstance(finished, list):
            raise CheckpointError(f"state: num_env_steps is {shown(steps)}, finished {shown(finished)}: they misfit")
        self.num_env_steps_sampled_lifetime, self._finished = steps, [dict(episode) for episode in finished]
        self._collector = None
        if self.env is not None and state["collector"] is not None:
            with torch.random.fork_rng(devices=[]):  # its first noise is replaced
                self._collector = self._make_collector(0)
            if self._made_for() == state["made_for"]:
                self.env.set_state(state["env"])
                self._collector.set_state(state["collector"])
            else:
                self._collector = None
        if "generators" in state:
            set_generators(state["generators"])

    def get_ctor_args_and_kwargs(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (), {"config": self.config}


def _known(of: Callable[[list[float]], Any], values: list[float]) -> float:
    """`of` the values that are numbers; NaN if none are."""
    return math.nan if np.isnan(values).all() else float(of(values))
