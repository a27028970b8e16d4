"""HMARL: one RLlib Algorithm in which every tier learns with its own algorithm.

    from policies import HMARLConfig

    config = (
        HMARLConfig()
        .environment("paper-v0", env_config={"num_hosts": 200})
        .tiers({"threat_hunter": {"algorithm": "SAC", "actor_lr": 1e-4}})
        .env_runners(num_env_runners=2, num_envs_per_env_runner=64)
        .debugging(seed=0)
    )
    result = config.build_algo().train()

One iteration (Algorithm 1 of the paper): all tiers act together for `train_batch_size` environment steps; the joint
transitions go into one prioritised replay; each off-policy tier takes `updates_per_iteration` gradient steps on batches
drawn by its own priorities; each on-policy tier updates once it has collected its own `train_batch_size` decisions.

Any PettingZoo ParallelEnv or RLlib MultiAgentEnv can be its environment, see `policies.runner.batched_env`.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
import tempfile
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from ray._common.deprecation import DEPRECATED_VALUE
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.learner_group import LearnerGroup
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES
from ray.rllib.utils import metrics as keys

from policies import tiers as tier_data
from policies.algorithms import ALGORITHMS
from policies.hmarl import ray_start, rllib_settings
from policies.hmarl.counterfactual import CounterfactualCredit
from policies.hmarl.durable import DurableAlgorithm
from policies.hmarl.fit import check_fit
from policies.hmarl.learner_group import TieredLearnerGroup, TierUpdate
from policies.hmarl.moments import Statistics
from policies.hmarl.replay import JointReplay
from policies.hmarl.results import Headlines
from policies.hmarl.rllib_settings import TIER_DEFAULTS, as_tier_setting, unknown_setting
from policies.hmarl.runner_group import runner_groups
from policies.hmarl.segments import Segments
from policies.hmarl.settings import HMARLSettings, check_old_names
from policies.hmarl.side_by_side import Job, SideBySide, Update
from policies.hmarl.soundness import check_losses, check_networks, check_rollouts, learning
from policies.hmarl.state import hand_weights, start_tiers
from policies.hmarl.teacher import Lessons, make_teacher
from policies.hmarl.tier_batches import JOINT, Team, TierBatches
from policies.hmarl.torch_start import lean_torch
from policies.learners import LEARNERS, build_config, names_in_rllib
from policies.learners.terms import RESTS
from policies.networks.blocks import flat_dim, value_at
from policies.runner.batched_env import import_path
from policies.runner.env_runner import ColumnarEnvRunner
from policies.runner.plan import check_told, make_scripted
from policies.runner.rows import Rollout
from policies.scripted import kept
from policies.team import SCRIPTED
from policies.tiers import DEFAULT_TIERS
from soc_env.errors import ConfigError
from soc_env.settings import field_names, merged


@rllib_settings.refuses_in_one_line
class HMARLConfig(AlgorithmConfig):
    """Configuration of `HMARL`; see the module's docstring for an example.

    It has the settings of `HMARLSettings`, tiers (`tiers`), and those of RLlib's that mean something here, by the
    methods that RLlib has for them (`policies.hmarl.rllib_settings`); others are refused by name when the algorithm is
    built. `training(lr=..., gamma=..., grad_clip=..., grad_clip_by=..., num_epochs=..., minibatch_size=...)` are
    defaults of every tier whose algorithm has such a setting; what `tiers` says goes before them.

    Callbacks (`callbacks(on_episode_end=...)`, or a subclass of RLlibCallback) are called with the keyword arguments of
    RLlib, with these differences for want of episode objects: `on_episode_end` gets `episode`, the metrics by name of
    the episode that ended (`reward`, `length`, ...), and `env_index`, after the `sample` call in which it ended;
    `on_sample_end` gets `samples`, a list of one `Rollout`; `env` is the whole batch. What they log to `metrics_logger`
    is in the results. `on_episode_created`, `on_episode_start` and `on_episode_step` are refused.
    """

    def __init__(self, algo_class: type | None = None):
        super().__init__(algo_class=algo_class or HMARL)
        for name, value in dataclasses.asdict(HMARLSettings()).items():
            setattr(self, name, value)
        for name in TIER_DEFAULTS:
            setattr(self, name, None)  # each tier its own
        self._tiers: dict[str, dict[str, Any]] = {}  # as they were given
        self.tiers(DEFAULT_TIERS)
        self.env = "soc-v1"
        self.env_runner_cls = ColumnarEnvRunner
        self.num_env_runners, self.num_envs_per_env_runner = 0, 64
        self.rollout_fragment_length = "auto"  # train_batch_size over all environments
        self.create_local_env_runner = True  # holds the modules that give the other tiers' next actions
        self.metrics_num_episodes_for_smoothing = 500

    # ---- settings
    def tiers(self, tiers: Mapping[str, Mapping[str, Any]], *, replace: bool = False) -> HMARLConfig:
        """Sets or changes tiers: `{"alert_triage": {"algorithm": "DQN", "lr": 3e-4}, ...}`.

        Settings of a tier that is there are merged (those of its parts one by one), or replaced when its algorithm
        changes. `replace=True` drops the other tiers; those of `DEFAULT_TIERS` need no dropping where the environment
        has no agents of theirs.

        Raises:
            ConfigError: unknown algorithm or setting, or an agent that two tiers name.
        """
        if replace:
            self._tiers = {}
        for tier, settings in tier_data.well_formed(tiers).items():
            changed = tier_data.changed(tier, self._tiers.get(tier, {}), copy.deepcopy(dict(settings)))
            tier_data.parse(tier, changed, of_all=field_names(HMARLSettings), of_rllib=names_in_rllib)  # raises
            self._tiers[tier] = changed
        self.multi_agent(policies=self.tier_networks(), policy_mapping_fn=tier_data.mapping(self.tier_settings))
        return self

    @property
    def tier_settings(self) -> dict[str, dict[str, Any]]:
        """Tier -> all of its settings, plain data: what was given, then this configuration's defaults of tiers, then
        the algorithm's."""
        return {tier: tier_data.complete(tier, self._with_defaults(given)) for tier, given in self._tiers.items()}

    def tier_networks(self) -> set[str]:
        """The tiers that have networks."""
        return {tier for tier, settings in self._tiers.items() if settings["algorithm"] != SCRIPTED}

    def _with_defaults(self, given: Mapping[str, Any]) -> dict[str, Any]:
        defaults: dict[str, Any] = {}
        for name in TIER_DEFAULTS:
            value = getattr(self, name)
            if value is not None:
                defaults = merged(defaults, as_tier_setting(given["algorithm"], name, value))
        return merged(defaults, given)

    def tier(self, tier: str) -> Any:
        """The tier's settings with typed access, `config.tier("threat_hunter").exploration.hold_steps`."""
        return tier_data.parse(tier, self._with_defaults(self._tiers[tier]))

    def members(self, agents: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Tier -> its agents among `agents`, in their order; of the tiers of `DEFAULT_TIERS` those that have any.

        Raises:
            ConfigError: an agent without a tier, or a tier or a named agent that `agents` do not have.
        """
        agents = tuple(agents)
        assert self.policy_mapping_fn is not None
        return tier_data.members({a: self.policy_mapping_fn(a, None) for a in agents}, self.tier_settings)

    def trains(self, tier: str) -> bool:
        """Whether the tier learns: it has networks, is "trainable", and `policies_to_train` does not leave it out."""
        settings, chosen = self.tier_settings[tier], self.policies_to_train
        if settings["algorithm"] == SCRIPTED or not settings["trainable"]:
            return False
        return chosen is None or bool(chosen(tier, None) if callable(chosen) else tier in chosen)

    def known_agents(self, tier: str, agents: Iterable[str]) -> tuple[str, ...]:
        """The agents whose transitions the tier's replay holds and its central critic reads."""
        return self.members(agents)[tier] if self.replay == "separate" else tuple(agents)

    def make_teacher(self, env: Any, seed: int) -> Any:
        """The teacher's policy for an environment with these spaces, or None."""
        return None if self.teacher is None else make_teacher(self.teacher, self.env, env, seed)

    def is_on_policy(self, tier: str) -> bool:
        """Whether the tier learns from its newest decisions alone."""
        return ALGORITHMS[self._tiers[tier]["algorithm"]].is_on_policy

    def training(self, *, tiers: Any = NotProvided, **settings: Any) -> HMARLConfig:
        """RLlib's `training`, and the settings of `HMARLSettings`; `tiers` as in `tiers()` (for Tune's param_space).

        Raises:
            ConfigError: a setting that does not exist.
        """
        check_old_names(settings)
        own = {name: settings.pop(name) for name in field_names(HMARLSettings) if name in settings}
        allowed = [name for name in inspect.signature(AlgorithmConfig.training).parameters if name != "self"]
        for name in settings:
            if name not in allowed:
                raise ConfigError(unknown_setting(name))
        super().training(**settings)
        if "teacher" in own:
            own["teacher"] = kept(own["teacher"], "teacher")
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
        """Checks all settings; `build_algo` calls it.

        Raises:
            ConfigError: the first that is unknown, out of range or without effect.
        """
        rllib_settings.check(self, [given["algorithm"] for given in self._tiers.values()])
        rllib_settings.make_plain(self)
        check_fit(self)
        with rllib_settings.one_line():
            super().validate()
        self.simple_optimizer = DEPRECATED_VALUE  # which RLlib decides by itself, and would be refused next time

    def get_evaluation_config_object(self) -> AlgorithmConfig | None:
        """The configuration of evaluation runners."""
        if self.in_evaluation:
            raise ConfigError(
                f"in_evaluation is True, which has no effect here; {rllib_settings.REFUSED['in_evaluation']}"
            )
        return super().get_evaluation_config_object()

    # ---- what RLlib asks for
    def tier_config(
        self,
        tier: str,
        spaces: tuple[gym.Space, gym.Space],
        joint: Sequence[Mapping[str, gym.Space]] | None = None,
        state: gym.Space | None = None,
    ) -> AlgorithmConfig:
        """The tier's own algorithm configuration, built anew from the plain data; `joint` are the observation and
        action spaces, by agent, that a central critic reads, `state` that of the environment.
        """
        sizes = {}
        if joint is not None:
            observed, acted = (sum(flat_dim(space) for space in spaces_.values()) for spaces_ in joint)
            sizes = {"joint_obs_dim": observed, "other_action_dim": acted - flat_dim(spaces[1])}
        settings = self.tier(tier)
        if settings.reads_state and state is not None:
            sizes["state_dim"] = flat_dim(state)
        return build_config(tier, settings, spaces, self.seed, **sizes)

    def get_default_rl_module_spec(self) -> MultiRLModuleSpec:
        entries = {tier: LEARNERS[self._tiers[tier]["algorithm"]] for tier in self.tier_networks()}
        return MultiRLModuleSpec(rl_module_specs={t: RLModuleSpec(module_class=e.module) for t, e in entries.items()})

    def get_default_learner_class(self) -> type:
        return LEARNERS["PPO"].learner  # never built: TieredLearnerGroup holds one learner a tier

    def get_multi_rl_module_spec(
        self, *, env: Any = None, spaces: Any = None, inference_only: bool = False, **kwargs: Any
    ) -> MultiRLModuleSpec:
        joint, specs = spaces[INPUT_ENV_SINGLE_SPACES], {}
        for tier in self.members(joint[0]):
            if tier not in self.tier_networks():
                continue
            known = self.known_agents(tier, joint[0])
            state = check_told(tier, self.tier(tier), spaces.get("state"), import_path(self.env))
            config = self.tier_config(tier, spaces[tier], tuple({a: part[a] for a in known} for part in joint), state)
            spec = config.get_multi_rl_module_spec(spaces={tier: spaces[tier]}, inference_only=inference_only)
            specs[tier] = spec.rl_module_specs[tier]
            specs[tier].inference_only = inference_only
        return MultiRLModuleSpec(rl_module_specs=specs, inference_only=inference_only)

    def build_learner_group(
        self, *, env: Any = None, spaces: Any = None, rl_module_spec: Any = None, placement_group: Any = None
    ) -> LearnerGroup:
        spec = rl_module_spec or self.get_multi_rl_module_spec(env=env, spaces=spaces)
        return TieredLearnerGroup(config=self.copy(), module_spec=spec, placement_group=placement_group)


class HMARL(DurableAlgorithm):
    """Trains all tiers of an `HMARLConfig` at once; an ordinary RLlib Algorithm in every other respect.

    Attributes:
        plan: who acts when, and for which tier.
        on_policy, off_policy: tiers that learn, by how.
        batches: replay of the off-policy tiers.
        credit: what tiers learn from alternatives to their choices.
        segments: name of a store -> the files that hold its rows.
        statistics: of observations and returns.
        averaged: tier -> state of its averaged networks.
        collected: on-policy tier -> its decisions since its last update.
    """

    @classmethod
    def get_default_config(cls) -> HMARLConfig:
        return HMARLConfig()

    @staticmethod
    def _get_env_id_and_creator(env_specifier: Any, config: AlgorithmConfig) -> tuple[str, Any]:
        """The environment's name; our runner makes its environments itself (`policies.runner.batched_env`)."""
        return import_path(env_specifier), None

    @classmethod
    def default_resource_request(cls, config: Any) -> Any:
        is_built = isinstance(config, AlgorithmConfig)
        return ray_start.resource_request(config if is_built else cls.get_default_config().update_from_dict(config))

    def _setup_logdir(self) -> None:
        self._logdir = tempfile.gettempdir()  # RLlib would make an empty folder in the home folder, if it may
        if self._storage:
            super()._setup_logdir()

    def setup(self, config: AlgorithmConfig) -> None:
        self.side_by_side = SideBySide(config.learner_processes)
        with ray_start.building(self), runner_groups(), lean_torch():
            super().setup(config)
            self._set_up_tiers()

    def cleanup(self) -> None:
        super().cleanup()
        self.side_by_side.close()
        ray_start.release(self)

    def _set_up_tiers(self) -> None:
        spaces = self.env_runner_group.get_spaces()
        self.team = Team.of(self.config, spaces)
        self.plan = self.team.plan
        self.agents, self.slow_agents = self.plan.agents, self.plan.slow
        self.on_policy = self.plan.learning_tiers(is_on_policy=True)
        self.off_policy = self.plan.learning_tiers(is_on_policy=False)
        self.statistics, scripted = Statistics(self.plan, self.team.slices, self.team.known), self.scripted_policies()
        self.batches = TierBatches(self.config, self.team, scripted, lambda: self.env_runner.module, self.statistics)
        self.credit = CounterfactualCredit(self.config, self.batches, self.env_runner.env, self.scripted_policies)
        self.env_runner.watch = self.credit.watch
        self.saves_replay, self.segments = True, {n: Segments(n, replay) for n, replay in self.batches.replays.items()}
        self.collected: dict[str, list[dict[str, np.ndarray]]] = {tier: [] for tier in self.on_policy}
        self.lessons = Lessons(self.config, self.team, [*self.on_policy, *self.off_policy])
        start_tiers(self)
        self.averaged, self.headlines = self._newest_networks(), Headlines(self.config.env)

    def scripted_policies(self, seed: int = 0) -> dict[str, Any]:
        """Tier -> a policy of its own of every scripted tier."""
        settings, env = self.config.tier_settings, self.config.env
        return {
            tier: make_scripted(tier, settings[tier]["policy"], env, self.team.action_spaces, seed)
            for tier in self.plan.scripted
        }

    @property
    def replay(self) -> JointReplay | None:
        """The store that tiers share, if there is one."""
        return self.batches.replays.get(JOINT)

    def edit_networks(self, edit: Callable[[str, Any], None]) -> None:
        """Calls `edit(tier, module)` for every tier's networks, in place: also of runners, and the averaged ones."""
        for tier in self.learner_group.groups:
            self.learner_group.edit(tier, functools.partial(edit, tier))
        hand_weights(self)
        self.averaged = self._newest_networks()

    # ---- averaged networks (Polyak & Juditsky 1992): greedy actions without the noise of single updates
    def _newest_networks(self) -> dict[str, dict[str, torch.Tensor]]:
        return {
            tier: {name: value.clone() for name, value in self.env_runner.module[tier].state_dict().items()}
            for tier in self.learner_group.groups
        }

    def _average(self, rate: float) -> None:
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

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """RLlib's evaluation; ConfigError without runners for it, where RLlib explores in training's environments."""
        if self.eval_env_runner_group is None and self.config.custom_evaluation_function is None:
            raise ConfigError(rllib_settings.NO_EVALUATION)
        return super().evaluate(*args, **kwargs)

    # ---- one iteration
    def get_auto_filled_metrics(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """As in RLlib; `result["config"]` has the key "tiers", as search spaces have."""
        found = super().get_auto_filled_metrics(*args, **kwargs)
        found["config"]["tiers"] = found["config"].pop("_tiers")
        return found

    def step(self) -> dict[str, Any]:
        """RLlib's result of an iteration, and the headlines (`policies.hmarl.results`)."""
        return self.headlines.added(super().step())

    def training_step(self) -> None:
        """One iteration: all tiers act; off-policy tiers learn meanwhile, from rows of before, on-policy tiers then."""
        self.side_by_side.start(self.learner_group.here)
        is_time = not self.lessons.go_on and self.num_env_steps >= self.config.learning_starts
        timesteps = self._timesteps() if is_time else {}
        with self.side_by_side.beside([self._update_off_policy(t, timesteps) for t in self.off_policy if is_time]):
            rollouts = self._sample()
            newest = self._take_in(rollouts) if rollouts else {}
        self.metrics.log_value((keys.TIMERS, keys.LEARNER_UPDATE_TIMER), self.side_by_side.seconds)
        if self.lessons.go_on:
            if rollouts and self.lessons.take(rollouts):  # else networks read as they were fitted
                self._set_statistics(newest, newest)
            return self._share_networks(1.0) if rollouts and self.lessons.hold(self) else None
        if rollouts:
            self._set_statistics(newest, self.off_policy)
            self._share_networks(value_at(self.config.ema_tau, self.num_env_steps))

    def _timesteps(self) -> dict[str, int]:
        """The time, for learners; batches are told too."""
        steps = self.num_env_steps
        self.batches.imitation, self.batches.old_share = self.lessons.imitation(steps), self.lessons.old_share(steps)
        return {keys.NUM_ENV_STEPS_SAMPLED_LIFETIME: steps, **({RESTS: 1} if self.lessons.rest(steps) else {})}

    def _share_networks(self, rate: float) -> None:
        """Gives runners the newest networks; the averaged ones follow by `rate`."""
        for name, replay in self.batches.replays.items():
            self.metrics.log_value(("replay", name, "size"), len(replay), window=1)
        with self.metrics.log_time((keys.TIMERS, keys.SYNCH_WORKER_WEIGHTS_TIMER)):
            # Every tier, updated or not, has new statistics; a PPO tier's value head is needed in the runner.
            is_lean = not self.on_policy
            self.env_runner_group.sync_weights(from_worker_or_learner_group=self.learner_group, inference_only=is_lean)
        self._average(rate)
        check_networks(self.averaged, self.num_env_steps)

    @property
    def num_env_steps(self) -> int:
        """Environment steps sampled since the beginning."""
        return int(self.metrics.peek((keys.ENV_RUNNER_RESULTS, keys.NUM_ENV_STEPS_SAMPLED_LIFETIME), default=0))

    def _sample(self) -> list[Rollout]:
        with self.metrics.log_time((keys.TIMERS, keys.ENV_RUNNER_SAMPLING_TIMER)):
            steps, timeout_s = self.config.train_batch_size, self.config.sample_timeout_s
            if not self.lessons.rest(self.num_env_steps):
                self.credit.begin(self.num_env_steps)
            how = {"random_actions": self.num_env_steps < self.config.random_steps}
            how |= self.lessons.sampling(self.num_env_steps)
            rollouts, runner_metrics = self.env_runner_group.sample(steps, timeout_s, **how)
        self.metrics.aggregate(runner_metrics, key=keys.ENV_RUNNER_RESULTS)
        return rollouts

    def _take_in(self, rollouts: list[Rollout]) -> dict[str, Any]:
        """Stores what was sampled; on-policy tiers learn. Tier -> newest statistics, which those tiers have then."""
        check_rollouts(rollouts, self.team.slices, self.num_env_steps)
        with self.metrics.log_time((keys.TIMERS, keys.REPLAY_BUFFER_ADD_DATA_TIMER)):
            self.batches.store(rollouts)
            for rollout in rollouts:
                for tier, rows in rollout.on_policy.items():
                    self.collected[tier].append(rows)
            newest = self.statistics.update(rollouts, [*self.on_policy, *self.off_policy])
        if not self.lessons.go_on:
            self._set_statistics(newest, self.on_policy)
            self.credit.compare(self)
            timesteps = self._timesteps()
            self.side_by_side([self._update_on_policy(tier, timesteps) for tier in self.on_policy])
        return newest

    def _set_statistics(self, newest: Mapping[str, Any], tiers: Iterable[str]) -> None:
        for tier in tiers:
            self.learner_group.edit(tier, lambda module, new=newest[tier]: module.set_statistics(*new), keep=False)

    def _learned(self, tier: str, **kwargs: Any) -> Generator[Job, Any, Any]:
        """What the tier's learner says of its update, which runs beside those of others."""
        with learning(tier, self.num_env_steps):
            results = yield TierUpdate(self.learner_group, tier, **kwargs)
            check_losses(tier, results, self.num_env_steps)
        return results

    def _update_on_policy(self, tier: str, timesteps: dict[str, int]) -> Update:
        """All epochs over the tier's decisions, if it has collected enough."""
        parts, settings = self.collected[tier], self.plan.settings[tier]
        if sum(len(part[Columns.OBS]) for part in parts) < settings.train_batch_size:
            return
        self.collected[tier] = []
        more = self.credit.columns(self, tier, 1, sum(len(part[Columns.OBS]) for part in parts))
        batch = self.batches.of_decisions(tier, parts, more, rests=RESTS in timesteps)
        results = yield from self._learned(
            tier,
            batch=batch,
            timesteps=timesteps,
            num_epochs=settings.num_epochs,
            minibatch_size=min(settings.minibatch_size, batch.count),
            shuffle_batch_per_epoch=True,
        )
        self.metrics.aggregate(results, key=keys.LEARNER_RESULTS)

    def _update_off_policy(self, tier: str, timesteps: dict[str, int]) -> Update:
        """`updates_per_iteration` gradient steps, in one call of the learner: a call costs more than a step."""
        replay = self.batches.replay_of(tier)
        if replay.trees[tier].total == 0:  # no rows, or none that is complete
            return
        num_updates, size = self.config.updates_per_iteration, self.config.replay_batch_size
        (index, batch), drawn_at = self.batches.draw(tier, num_updates), replay.num_added
        batch[tier].update(self.credit.columns(self, tier, num_updates, size))
        results = yield from self._learned(tier, batch=batch, timesteps=timesteps, minibatch_size=size)
        if self.config.replay_priority == "td_error":
            errors = [e for result in results if tier in result for e in result[tier].pop(keys.TD_ERROR_KEY).items]
            replay.update_priorities(tier, index, np.concatenate(errors, dtype=np.float64), drawn_at)
        self.metrics.aggregate(results, key=keys.LEARNER_RESULTS)
