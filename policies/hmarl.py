"""HMARL: one RLlib Algorithm in which every tier learns with its own algorithm.

    from policies import HMARLConfig

    config = (
        HMARLConfig()
        .environment("paper-v0", env_config={"num_hosts": 200})
        .tiers({"threat_hunter": {"algorithm": "SAC", "actor_lr": 1e-4}})
        .env_runners(num_env_runners=2, num_envs_per_env_runner=64)
        .debugging(seed=0)
    )
    algo = config.build_algo()
    result = algo.train()

One iteration (Algorithm 1 of the paper): all tiers act together for `train_batch_size` environment steps; the joint
transitions go into one prioritised replay; each off-policy tier takes `updates_per_iteration` gradient steps on batches
drawn by its own priorities; each on-policy tier updates once it has collected its own `train_batch_size` decisions.
Differences from the paper are in the README.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.learner_group import LearnerGroup
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES
from ray.rllib.evaluation.postprocessing import Postprocessing
from ray.rllib.execution.rollout_ops import synchronous_parallel_sample
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from ray.rllib.utils import metrics as keys
from ray.rllib.utils.numpy import convert_to_numpy

from policies import tiers as tier_data
from policies.env_runner import ColumnarEnvRunner, Rollout, act
from policies.learner_group import TieredLearnerGroup
from policies.maddpg import JOINT_NEXT_OBS, JOINT_OBS, OTHER_ACTIONS, OTHER_NEXT_ACTIONS
from policies.modules import encode_actions, flat_dim
from policies.replay import JointReplay
from policies.tiers import ALGORITHMS, DEFAULT_TIERS, Spaces, tier_of

REPLAY, STATISTICS = "joint_replay", "statistics"
RETURN_SCALE_FLOOR = 1e-3  # [reward] a task that pays nothing is not scaled up without end
SETTINGS = (
    "replay_capacity",
    "replay_alpha",
    "replay_beta",
    "replay_batch_size",
    "checkpoint_replay",
    "learning_starts",
    "random_steps",
    "updates_per_iteration",
    "n_step",
    "average_rate",
    "return_scale_rate",
    "action_bias",
)


class HMARLConfig(AlgorithmConfig):
    """Configuration of `HMARL`; see the module's docstring for an example.

    Settings of `training(...)` beside RLlib's own:
        replay_capacity: joint transitions kept.
        replay_alpha, replay_beta: exponents of priorities and importance weights (alpha 0 draws uniformly).
        replay_batch_size: rows of an off-policy update.
        checkpoint_replay: whether checkpoints hold the replay (needed to go on exactly as if never stopped).
        learning_starts: environment steps before off-policy tiers update.
        random_steps: environment steps in which off-policy tiers act uniformly at random.
        updates_per_iteration: gradient steps of each off-policy tier an iteration.
        n_step: steps whose rewards an off-policy tier that acts at every step sums before it bootstraps.
        average_rate: share by which the averaged networks, which `TrainedPolicy` acts with, follow the newest ones an
            iteration; 1 for the newest ones themselves.
        return_scale_rate: weight of the newest iteration in the running mean absolute return.
        action_bias: added to every actor's outputs at the start (adverse-start experiments); 0 for none.
    """

    def __init__(self, algo_class: type | None = None):
        super().__init__(algo_class=algo_class or HMARL)
        self.tier_settings: dict[str, dict[str, Any]] = {}
        self.tiers(DEFAULT_TIERS)
        self.replay_capacity, self.replay_batch_size = 100_000, 256
        self.replay_alpha, self.replay_beta = 0.6, 0.4
        self.checkpoint_replay = True
        self.learning_starts, self.random_steps = 5_000, 2_000
        self.updates_per_iteration = 8
        self.n_step, self.average_rate = 1, 1.0
        self.return_scale_rate = 0.05
        self.action_bias = 0.0
        self.lr = None
        self.train_batch_size = 1024  # environment steps an iteration
        self.env = "paper-v0"
        self.env_runner_cls = ColumnarEnvRunner
        self.num_env_runners, self.num_envs_per_env_runner = 0, 64
        self.rollout_fragment_length = "auto"  # train_batch_size over all environments
        self.create_local_env_runner = True  # holds the modules that give the other tiers' next actions
        self.metrics_num_episodes_for_smoothing = 500

    # ---- settings
    def tiers(self, tiers: Mapping[str, Mapping[str, Any]], *, replace: bool = False) -> HMARLConfig:
        """Sets or changes tiers: `{"alert_triage": {"algorithm": "DQN", "lr": 3e-4}, ...}`.

        Settings of a tier that is there are merged, or replaced when its algorithm changes. `replace=True` drops the
        other tiers.

        Raises:
            ConfigError: unknown algorithm or setting.
        """
        if replace:
            self.tier_settings = {}
        for tier, settings in tiers.items():
            before = self.tier_settings.get(tier, {})
            keeps = settings.get("algorithm", before.get("algorithm")) == before.get("algorithm")
            self.tier_settings[tier] = tier_data.complete(tier, {**(before if keeps else {}), **settings})
        self.multi_agent(policies=set(self.tier_settings), policy_mapping_fn=tier_of)
        return self

    def training(self, *, tiers: Any = NotProvided, **settings: Any) -> HMARLConfig:
        """RLlib's `training`, and the settings named in the class docstring; `tiers` as in `tiers()` (for Tune's
        param_space).
        """
        own = {name: settings.pop(name) for name in SETTINGS if name in settings}
        super().training(**settings)
        for name, value in own.items():
            setattr(self, name, value)
        return self if tiers is NotProvided else self.tiers(tiers)

    def update_from_dict(self, config_dict: dict[str, Any]) -> HMARLConfig:
        """As in RLlib; the key "tiers" is merged as `tiers()` does (Tune hands search spaces over this way)."""
        config_dict = dict(config_dict)
        changed = config_dict.pop("tiers", None)
        super().update_from_dict(config_dict)
        return self if changed is None else self.tiers(changed)

    def validate(self) -> None:
        super().validate()
        for name in ("replay_capacity", "replay_batch_size", "updates_per_iteration", "n_step"):
            if getattr(self, name) < 1:
                raise tier_data.ConfigError(f"{name} is {getattr(self, name)!r}, allowed: 1 or more")
        for name in ("return_scale_rate", "average_rate"):
            if not 0 < getattr(self, name) <= 1:
                raise tier_data.ConfigError(f"{name} is {getattr(self, name)!r}, allowed: above 0, at most 1")

    # ---- what RLlib asks for
    def tier_config(
        self, tier: str, spaces: Spaces, joint: tuple[gym.spaces.Dict, gym.spaces.Dict] | None = None
    ) -> AlgorithmConfig:
        """The tier's own algorithm configuration, built anew from the plain data; `joint` are all agents' spaces (for
        central critics).
        """
        sizes = {}
        if joint is not None:
            observed, acted = (sum(flat_dim(space) for space in spaces_.values()) for spaces_ in joint)
            sizes = {"joint_obs_dim": observed, "other_action_dim": acted - flat_dim(spaces[1])}
        return tier_data.build_config(tier, self.tier_settings[tier], spaces, self.seed, **sizes)

    def get_default_rl_module_spec(self) -> MultiRLModuleSpec:
        entries = {tier: ALGORITHMS[settings["algorithm"]] for tier, settings in self.tier_settings.items()}
        return MultiRLModuleSpec(rl_module_specs={t: RLModuleSpec(module_class=e.module) for t, e in entries.items()})

    def get_default_learner_class(self) -> type:
        return ALGORITHMS["PPO"].learner  # never built: TieredLearnerGroup holds one learner a tier

    def get_multi_rl_module_spec(
        self, *, env: Any = None, spaces: Any = None, inference_only: bool = False, **kwargs: Any
    ) -> MultiRLModuleSpec:
        joint = (spaces or {}).get(INPUT_ENV_SINGLE_SPACES)
        policies, _ = AlgorithmConfig.get_multi_agent_setup(self, env=env, spaces=spaces)
        specs = {}
        for tier in self.tier_settings:
            own = (policies[tier].observation_space, policies[tier].action_space)
            config = self.tier_config(tier, own, joint)
            spec = config.get_multi_rl_module_spec(spaces={tier: own}, inference_only=inference_only)
            specs[tier] = spec.rl_module_specs[tier]
            specs[tier].inference_only = inference_only
        return MultiRLModuleSpec(rl_module_specs=specs, inference_only=inference_only)

    def build_learner_group(
        self, *, env: Any = None, spaces: Any = None, rl_module_spec: Any = None, placement_group: Any = None
    ) -> LearnerGroup:
        spec = rl_module_spec or self.get_multi_rl_module_spec(env=env, spaces=spaces)
        return TieredLearnerGroup(config=self.copy(), module_spec=spec, placement_group=placement_group)


class Moments:
    """Running mean and variance of vectors, merged batch by batch (Chan et al. 1983)."""

    def __init__(self, dim: int):
        self.count, self.mean, self.m2 = 0, np.zeros(dim), np.zeros(dim)

    def add(self, rows: np.ndarray) -> None:
        n, mean = len(rows), rows.mean(0, dtype=np.float64)
        delta, total = mean - self.mean, self.count + n
        self.m2 = self.m2 + ((rows - mean) ** 2).sum(0) + delta**2 * (self.count * n / total)
        self.mean = self.mean + delta * (n / total)
        self.count = total

    @property
    def variance(self) -> np.ndarray:
        return self.m2 / max(1, self.count) if self.count else np.ones_like(self.m2)


class HMARL(Algorithm):
    """Trains all tiers of an `HMARLConfig` at once; an ordinary RLlib Algorithm in every other respect."""

    @classmethod
    def get_default_config(cls) -> HMARLConfig:
        return HMARLConfig()

    @classmethod
    def default_resource_request(cls, config: Any) -> Any:
        if not isinstance(config, AlgorithmConfig):
            config = cls.get_default_config().update_from_dict(config)
        request = config.copy(copy_frozen=False)
        request.num_learners = sum(s["num_learners"] for s in config.tier_settings.values())
        return Algorithm.default_resource_request.__func__(cls, request)

    def setup(self, config: AlgorithmConfig) -> None:
        super().setup(config)
        settings = self.config.tier_settings
        specs = self.learner_group._module_spec.rl_module_specs
        spaces = self.env_runner_group.get_spaces()
        self._periods = spaces["decision_periods"]
        self.agents = tuple(self._periods)
        self._action_space = {a: specs[tier_of(a)].action_space for a in self.agents}
        ends = np.cumsum([0] + [flat_dim(specs[tier_of(a)].observation_space) for a in self.agents])
        self._slice = {a: slice(int(ends[i]), int(ends[i + 1])) for i, a in enumerate(self.agents)}
        self._members = {tier: [a for a in self.agents if tier_of(a) == tier] for tier in settings}
        self.on_policy = [t for t, s in settings.items() if ALGORITHMS[s["algorithm"]].is_on_policy]
        self.off_policy = [t for t in settings if t not in self.on_policy]
        self.slow_agents = tuple(a for a, period in self._periods.items() if period > 1)
        self._slow = [t for t in self.off_policy if self._periods[self._members[t][0]] > 1]
        self.replay = self._build_replay(
            [t for t in self.off_policy if t not in self._slow], list(settings), int(ends[-1])
        )
        self.decision_replay = {t: self._build_replay([t], [t], int(ends[-1])) for t in self._slow}
        self.saves_replay = self.config.checkpoint_replay
        self._collected: dict[str, list[dict[str, np.ndarray]]] = {tier: [] for tier in self.on_policy}
        self.moments = Moments(int(ends[-1]))
        self.mean_absolute_return: dict[str, float] = {}
        if self.config.action_bias:
            self._bias_actions(self.config.action_bias)
        self.averaged = self._newest_networks()

    def _build_replay(self, tiers: list[str], rewarded: list[str], dim: int) -> JointReplay:
        columns: dict[str, tuple[tuple[int, ...], Any]] = {
            "obs": ((dim,), np.float32),
            "next_obs": ((dim,), np.float32),
        }
        for agent, space in self._action_space.items():
            is_discrete = isinstance(space, gym.spaces.Discrete)
            columns[f"action/{agent}"] = ((), np.int64) if is_discrete else (space.shape, np.float32)
        columns |= {f"reward/{tier}": ((), np.float32) for tier in rewarded}
        columns |= {"terminated": ((), np.bool_), "n_step": ((), np.float32)}
        capacity = self.config.replay_capacity if tiers else 1
        return JointReplay(capacity, columns, tiers, self.config.replay_alpha, seed=self.config.seed or 0)

    def _bias_actions(self, value: float) -> None:
        for tier, group in self.learner_group.groups.items():
            group.foreach_learner(lambda learner, t=tier: learner.module[t].unwrapped().bias_actions(value))
        self.env_runner_group.sync_weights(from_worker_or_learner_group=self.learner_group)

    # ---- averaged networks (Polyak & Juditsky 1992): greedy actions without the noise of single updates
    def _newest_networks(self) -> dict[str, dict[str, torch.Tensor]]:
        return {
            tier: {name: value.clone() for name, value in self.env_runner.module[tier].state_dict().items()}
            for tier in self.config.tier_settings
        }

    def _average(self) -> None:
        rate = self.config.average_rate
        for tier, average in self.averaged.items():
            newest = self.env_runner.module[tier].state_dict()
            for name, value in average.items():
                value.lerp_(newest[name], rate)

    def averaged_modules(self) -> dict[str, Any]:
        """The tiers' modules with averaged weights: copies, to act with."""
        modules = {tier: copy.deepcopy(self.env_runner.module[tier]) for tier in self.averaged}
        for tier, module in modules.items():
            module.load_state_dict(self.averaged[tier])
        return modules

    # ---- one iteration
    def training_step(self) -> None:
        rollouts = self._sample()
        if not rollouts:
            return
        timesteps = {keys.NUM_ENV_STEPS_SAMPLED_LIFETIME: self.num_env_steps}
        with self.metrics.log_time((keys.TIMERS, keys.REPLAY_BUFFER_ADD_DATA_TIMER)):
            self._store(rollouts)
            self._update_statistics(rollouts)
        updated = set()
        with self.metrics.log_time((keys.TIMERS, "on_policy_update")):
            for tier in self.on_policy:
                if self._update_on_policy(tier, timesteps):
                    updated.add(tier)
        if timesteps[keys.NUM_ENV_STEPS_SAMPLED_LIFETIME] >= self.config.learning_starts:
            with self.metrics.log_time((keys.TIMERS, "off_policy_update")):
                for tier in self.off_policy:
                    if self._update_off_policy(tier, timesteps):
                        updated.add(tier)
        self.metrics.log_value(("replay", "size"), len(self.replay), window=1)
        with self.metrics.log_time((keys.TIMERS, keys.SYNCH_WORKER_WEIGHTS_TIMER)):
            # Every tier, updated or not, has new statistics; a PPO tier's value head is needed in the runner.
            self.env_runner_group.sync_weights(
                from_worker_or_learner_group=self.learner_group, inference_only=not self.on_policy
            )
        self._average()

    @property
    def num_env_steps(self) -> int:
        """Environment steps sampled since the beginning."""
        return int(self.metrics.peek((keys.ENV_RUNNER_RESULTS, keys.NUM_ENV_STEPS_SAMPLED_LIFETIME), default=0))

    def _sample(self) -> list[Rollout]:
        with self.metrics.log_time((keys.TIMERS, keys.ENV_RUNNER_SAMPLING_TIMER)):
            parts, runner_metrics = synchronous_parallel_sample(
                worker_set=self.env_runner_group,
                max_env_steps=self.config.train_batch_size,
                concat=False,
                sample_timeout_s=self.config.sample_timeout_s,
                random_actions=self.num_env_steps < self.config.random_steps,
                _uses_new_env_runners=True,
                _return_metrics=True,
            )
        self.metrics.aggregate(runner_metrics, key=keys.ENV_RUNNER_RESULTS)
        return [rollout for part in parts for rollout in part]

    def _store(self, rollouts: Iterable[Rollout]) -> None:
        for rollout in rollouts:
            if rollout.joint and self.replay.trees:
                self.replay.add(rollout.joint)
            for agent, rows in rollout.decisions.items():
                self.decision_replay[tier_of(agent)].add(rows)
            for tier, rows in rollout.on_policy.items():
                self._collected[tier].append(rows)

    def _update_statistics(self, rollouts: list[Rollout]) -> None:
        """Newest observation statistics and return scale of every tier, from the rollouts into the learners'
        modules.
        """
        for rollout in rollouts:
            self.moments.add(rollout.seen)
        rate = self.config.return_scale_rate
        for tier in self.config.tier_settings:
            total = sum(r.absolute_returns[tier][0] for r in rollouts)
            count = sum(r.absolute_returns[tier][1] for r in rollouts)
            newest = total / max(1, count)
            before = self.mean_absolute_return.get(tier, newest)
            self.mean_absolute_return[tier] = before + rate * (newest - before)
        mean, variance = self.moments.mean.astype(np.float32), self.moments.variance.astype(np.float32)
        for tier, group in self.learner_group.groups.items():
            own = self._slice[self._members[tier][0]]
            scale = max(RETURN_SCALE_FLOOR, self.mean_absolute_return[tier])
            args = ((mean[own], variance[own]), (mean, variance), scale)
            group.foreach_learner(_set_statistics(tier, args))

    def _update_on_policy(self, tier: str, timesteps: dict[str, int]) -> bool:
        parts, settings = self._collected[tier], self.config.tier_settings[tier]
        if sum(len(part[Columns.OBS]) for part in parts) < settings["train_batch_size"]:
            return False
        columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        self._collected[tier] = []
        advantage = columns[Postprocessing.ADVANTAGES]
        columns[Postprocessing.ADVANTAGES] = (advantage - advantage.mean()) / max(1e-4, float(advantage.std()))
        num_rows = len(advantage)
        results = self.learner_group[tier].update(
            batch=MultiAgentBatch({tier: SampleBatch(columns)}, env_steps=num_rows),
            timesteps=timesteps,
            num_epochs=settings["num_epochs"],
            minibatch_size=min(settings["minibatch_size"], num_rows),
            shuffle_batch_per_epoch=True,
        )
        self.metrics.aggregate(results, key=keys.LEARNER_RESULTS)
        return True

    def _update_off_policy(self, tier: str, timesteps: dict[str, int]) -> bool:
        """`updates_per_iteration` gradient steps, in one call of the learner: a call costs more than a step."""
        replay, size = self.decision_replay.get(tier, self.replay), self.config.replay_batch_size
        if len(replay) == 0:
            return False
        num_steps, members = self.config.updates_per_iteration, len(self._members[tier])
        index, weights = replay.sample(tier, size * num_steps, self.config.replay_beta)
        # Drawn rows are in the order of the ring: every agent and every gradient step gets rows of all ages.
        deal = np.argsort(np.arange(len(index)) % members, kind="stable")
        columns = self.tier_batch(tier, replay, index[deal], weights[deal])[tier]
        order = np.arange(len(index)).reshape(size, num_steps).T.ravel()
        batch = MultiAgentBatch({tier: SampleBatch({n: v[order] for n, v in columns.items()})}, env_steps=len(index))
        results = self.learner_group[tier].update(batch=batch, timesteps=timesteps, minibatch_size=size)
        errors = [e for result in results if tier in result for e in result[tier].pop(keys.TD_ERROR_KEY).peek()]
        td_error = np.concatenate([np.atleast_1d(convert_to_numpy(e)) for e in errors])
        replay.update_priorities(tier, index[deal][order], td_error)
        self.metrics.aggregate(results, key=keys.LEARNER_RESULTS)
        return True

    def tier_batch(self, tier: str, replay: JointReplay, index: np.ndarray, weights: np.ndarray) -> MultiAgentBatch:
        """The tier's columns of the joint rows `index`, rewards in units of its return scale.

        The rows of a tier with several agents are dealt out among them: the first part speaks for the first agent, and
            so on.
        """
        members = self._members[tier]
        parts = zip(members, np.array_split(index, len(members)), strict=True)
        columns = [
            self._agent_columns(tier, agent, {n: v[rows] for n, v in replay.columns.items()}) for agent, rows in parts
        ]
        batch = {name: np.concatenate([part[name] for part in columns]) for name in columns[0]}
        return MultiAgentBatch({tier: SampleBatch({**batch, "weights": weights})}, env_steps=len(index))

    def _agent_columns(self, tier: str, agent: str, rows: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        scale = np.float32(max(RETURN_SCALE_FLOOR, self.mean_absolute_return[tier]))
        columns = {
            Columns.OBS: rows["obs"][:, self._slice[agent]],
            Columns.NEXT_OBS: rows["next_obs"][:, self._slice[agent]],
            Columns.ACTIONS: rows[f"action/{agent}"],
            Columns.REWARDS: rows[f"reward/{tier}"] / scale,
            Columns.TERMINATEDS: rows["terminated"],
            "n_step": rows["n_step"],
        }
        if self.config.tier_settings[tier]["algorithm"] == "MADDPG":
            others = [a for a in self.agents if a != agent]
            now = [encode_actions(self._action_space[a], rows[f"action/{a}"]) for a in others]
            after = [encode_actions(self._action_space[a], self._next_action(a, rows)) for a in others]
            none = np.zeros((len(rows["obs"]), 0), np.float32)
            columns |= {JOINT_OBS: rows["obs"], JOINT_NEXT_OBS: rows["next_obs"]}
            columns |= {
                OTHER_ACTIONS: np.concatenate([none, *now], 1),
                OTHER_NEXT_ACTIONS: np.concatenate([none, *after], 1),
            }
        return columns

    def _next_action(self, agent: str, rows: Mapping[str, np.ndarray]) -> np.ndarray:
        """What another agent's newest policy does in the next state; a slow one holds on to what it did."""
        if self._periods[agent] > 1:
            return rows[f"action/{agent}"]
        module = self.env_runner.module[tier_of(agent)]
        with torch.no_grad():
            return act(module, rows["next_obs"][:, self._slice[agent]], explore=False).executed

    # ---- checkpoints: RLlib stores learners and runners, this adds what only the driver knows
    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any) -> dict[str, Any]:
        state = super().get_state(components, not_components=not_components, **kwargs)
        if self._check_component(STATISTICS, components, not_components):
            state[STATISTICS] = {
                "moments": vars(self.moments).copy(),
                "mean_absolute_return": dict(self.mean_absolute_return),
                "collected": copy.deepcopy(self._collected),
                "averaged": copy.deepcopy(self.averaged),
            }
        if self.saves_replay and self._check_component(REPLAY, components, not_components):
            replays = {"": self.replay, **self.decision_replay}
            state[REPLAY] = {name: replay.get_state() for name, replay in replays.items()}
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        if STATISTICS in state:
            vars(self.moments).update(state[STATISTICS]["moments"])
            self.mean_absolute_return = dict(state[STATISTICS]["mean_absolute_return"])
            self._collected = copy.deepcopy(state[STATISTICS]["collected"])
            self.averaged = copy.deepcopy(state[STATISTICS]["averaged"])
        for name, replay_state in state.get(REPLAY, {}).items():
            (self.decision_replay[name] if name else self.replay).set_state(replay_state)


def _set_statistics(tier: str, args: tuple[Any, ...]) -> Callable[[Any], None]:
    """A function for learners (also remote ones) that hands new statistics to the tier's module."""
    return lambda learner: learner.module[tier].unwrapped().set_statistics(*args)
