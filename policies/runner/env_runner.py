"""Columnar env runner: steps a batch of simulators and does one forward pass per agent and step.

RLlib's own runner builds an episode object per environment and sends every step through connectors, which costs ten to
twenty times what the policies cost. This one writes whole columns. It takes any batched environment with the attributes
of `soc_env.Simulator` (`agents, observation_spaces, action_spaces, decision_periods, actions, observations,
final_observations, rewards, terminated, truncated, decides, reset, step, episode_metrics`, and `running_metrics` where
a tier shapes its reward with metrics). Where agents have rewards and lives of their own, it also reads
`agent_rewards`, `alive`, `ended` and `agent_terminated` (see `policies.runner.batched_env.EnvBatch`).

An agent with a decision period K > 1 acts where `decides` is set; between its decisions the action is held. Its rewards
are accumulated with the step discount, R = sum gamma^k r_k over the tau steps until its next decision or the end, and
the value behind them is discounted with gamma^tau: a semi-Markov decision process (Sutton, Precup & Singh 1999).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np
import ray
import torch
from ray.rllib.core import COMPONENT_RL_MODULE
from ray.rllib.core.columns import Columns
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES, INPUT_ENV_SPACES
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.evaluation.postprocessing import Postprocessing
from ray.rllib.utils import metrics as keys
from ray.rllib.utils.checkpoints import Checkpointable
from ray.rllib.utils.debug import update_global_seed_if_necessary

from policies.algorithms import ALGORITHMS
from policies.runner.batched_env import make_batched_env
from policies.tiers import SCRIPTED, make_scripted
from soc_env.errors import ConfigError

Columnar = dict[str, np.ndarray]
WORKER_SEED_STRIDE = 7919  # so that workers and neighbouring run seeds do not share environments


@dataclass
class Rollout:
    """What one `sample` call returns (in a list of one).

    Attributes:
        seen: all observations, one row per environment step (n, sum of sizes).
        joint: joint transitions, one row per environment step: columns `obs`, `next_obs` (n, sum of sizes),
            `action/<agent>`, `reward/<agent>` (discounted sum), `terminated`, `n_step` (steps from `obs` to
            `next_obs`); where agents have lives of their own also `alive/<agent>` (when the row began) and
            `terminated/<agent>`; none if no off-policy agent acts at every step.
        decisions: the same columns for an off-policy agent that decides every K steps, one row per decision; `n_step`
            is tau; only that agent is `alive` if its tier has several.
        on_policy: PPO's columns per on-policy tier, advantages not yet standardised.
        absolute_returns: tier -> (sum of absolute discounted returns, number), for the unit of values.
        num_env_steps, num_agent_steps: counts.
    """

    seen: np.ndarray
    joint: Columnar
    decisions: dict[str, Columnar]
    on_policy: dict[str, Columnar]
    absolute_returns: dict[str, tuple[float, int]]
    num_env_steps: int
    num_agent_steps: int

    def env_steps(self) -> int:
        return self.num_env_steps

    def agent_steps(self) -> int:
        return self.num_agent_steps


@dataclass
class Action:
    """One agent's forward pass over B environments."""

    executed: np.ndarray  # as the environment takes it: clipped
    raw: np.ndarray  # as the policy drew it: log-probabilities belong to this
    inputs: np.ndarray | None = None  # parameters of the distribution (B, P)
    logp: np.ndarray | None = None
    value: np.ndarray | None = None  # in reward units


def act(
    module: Any,
    observation: np.ndarray,
    *,
    explore: bool,
    t: int = 0,
    with_value: bool = False,
    noise: torch.Tensor | None = None,
) -> Action:
    """Actions of one module for a batch of observations (B, dim); without `explore` the distribution's mode.

    `noise` (B, action dim) is standard normal noise for modules that draw Gaussian actions, in place of fresh one.
    """
    batch = {Columns.OBS: torch.from_numpy(np.ascontiguousarray(observation))}
    with_noise = {} if noise is None else {"noise": noise}
    out = module.forward_exploration(batch, t=t, **with_noise) if explore else module.forward_inference(batch)
    space = module.action_space
    if Columns.ACTIONS in out:
        raw = out[Columns.ACTIONS].numpy()
        return Action(_executed(space, raw), raw)
    inputs = out[Columns.ACTION_DIST_INPUTS]
    distribution = module.get_exploration_action_dist_cls().from_logits(inputs)
    drawn = (distribution if explore else distribution.to_deterministic()).sample()
    result = Action(_executed(space, drawn.numpy()), drawn.numpy(), inputs.numpy())
    if explore and with_value:
        result.logp = distribution.logp(drawn).numpy()
    if with_value:
        result.value = module.compute_values(batch).numpy() * float(module.return_scale)
    return result


def uniform(space: Any, n: int, noise: torch.Tensor | None = None) -> np.ndarray:
    """`n` uniform draws from a Box or Discrete space, by torch's generator (the one that is seeded here).

    `noise` (n, dim), standard normal, takes the place of fresh draws from a Box.
    """
    if isinstance(space, gym.spaces.Discrete):
        return torch.randint(int(space.n), (n,)).numpy()
    unit = (torch.rand(n, *space.shape) if noise is None else torch.special.ndtr(noise)).numpy()
    return (space.low + unit * (space.high - space.low)).astype(np.float32)


def _executed(space: Any, raw: np.ndarray) -> np.ndarray:
    return raw if isinstance(space, gym.spaces.Discrete) else np.clip(raw, space.low, space.high)


class HeldNoise:
    """Gaussian exploration noise that lasts for some steps and differs in scale.

    Args:
        shape: (environments, action dim).
        steps: mean number of steps for which it lasts.
        ladder: lowest and highest scale, log-uniform between them.
        by_draw: False: every environment has a scale of its own for good and renews all entries at once, so that some
            stay near the greedy policy and others far from it (the epsilons of Ape-X). True: every entry has a scale of
            its own and renews it with its noise. Then an unusual action does not tell how noisy the next steps will be,
            for which returns over several steps would blame it.
        seed: of the environments' scales.
    """

    def __init__(self, shape: tuple[int, ...], steps: float, ladder: Sequence[float], by_draw: bool, seed: int = 0):
        self.rate, self.by_draw = 1.0 / steps, by_draw
        self.low, self.high = math.log(ladder[0]), math.log(ladder[1])
        self.unit = torch.randn(shape)
        if by_draw:
            self.scale = self._scales()
        else:
            rungs = torch.exp(torch.linspace(self.low, self.high, shape[0]))
            order = np.random.default_rng(seed).permutation(shape[0])  # wide noise of two agents does not always meet
            self.scale = rungs[torch.from_numpy(order)].unsqueeze(1)

    def renew(self) -> None:
        """Draws anew where the time is over."""
        is_over = torch.rand(self.unit.shape if self.by_draw else self.scale.shape) < self.rate
        self.unit = torch.where(is_over, torch.randn(self.unit.shape), self.unit)
        if self.by_draw:
            self.scale = torch.where(is_over, self._scales(), self.scale)

    def scaled(self) -> torch.Tensor:
        return self.unit * self.scale

    def _scales(self) -> torch.Tensor:
        return torch.exp(self.low + (self.high - self.low) * torch.rand(self.unit.shape))


@dataclass
class OpenDecisions:
    """Decisions whose consequence is not known yet, one slot per environment, and the rows of those that closed."""

    num_envs: int
    gamma: float
    slots: dict[str, np.ndarray] = field(default_factory=dict)
    rows: list[Columnar] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.is_open = np.zeros(self.num_envs, bool)
        self.reward = np.zeros(self.num_envs)
        self.duration = np.zeros(self.num_envs, np.int64)  # [steps]

    def start(self, envs: np.ndarray, values: Mapping[str, np.ndarray | None]) -> None:
        """Opens a decision in `envs`; `values` are what its row will hold, (len(envs), ...)."""
        self.fill(envs, values)
        self.is_open[envs], self.reward[envs], self.duration[envs] = True, 0.0, 0

    def fill(self, envs: np.ndarray, values: Mapping[str, np.ndarray | None]) -> None:
        """Adds to what the rows of the decisions in `envs` will hold."""
        for name, value in values.items():
            if value is None:
                continue
            if name not in self.slots:
                self.slots[name] = np.zeros((self.num_envs, *value.shape[1:]), value.dtype)
            self.slots[name][envs] = value

    def accumulate(self, reward: np.ndarray) -> None:
        self.reward += self.gamma**self.duration * reward
        self.duration += 1

    def close(self, envs: np.ndarray, is_last: bool, **outcome: np.ndarray) -> None:
        """Closes those of `envs` that are open; `outcome` is what followed, (len(envs), ...)."""
        open_ = self.is_open[envs]
        envs = envs[open_]
        if len(envs) == 0:
            return
        row = {name: slot[envs].copy() for name, slot in self.slots.items()}
        row |= {"env": envs, "reward": self.reward[envs], "duration": self.duration[envs]}
        row |= {"is_last": np.full(len(envs), is_last), **{name: value[open_] for name, value in outcome.items()}}
        self.rows.append(row)
        self.is_open[envs] = False

    def take_rows(self) -> list[Columnar]:
        rows, self.rows = self.rows, []
        return rows


def advantages(rows: list[Columnar], num_envs: int, gamma: float, lambda_: float) -> tuple[np.ndarray, np.ndarray]:
    """Generalised advantage estimation over decisions of varying length: (advantages, value targets), in row order.

    delta = R + gamma^tau V(next) - V; A = delta + gamma^tau lambda A(next decision of the same environment). Each block
    of `rows` has an environment at most once and blocks are in time order; `next_value` is 0 after termination and
    V(last observation) after truncation.
    """
    following = np.zeros(num_envs)
    blocks: list[np.ndarray] = []
    for row in reversed(rows):
        env, discount = row["env"], gamma ** row["duration"]
        delta = row["reward"] + discount * row["next_value"] - row["value"]
        advantage = delta + discount * lambda_ * following[env] * ~row["is_last"]
        following[env] = advantage
        blocks.append(advantage)
    advantage = np.concatenate(blocks[::-1])
    return advantage, advantage + np.concatenate([row["value"] for row in rows])


def n_step_rows(steps: Columnar, n_step: int, gammas: Mapping[str, float]) -> Columnar:
    """Transitions over up to `n_step` steps, never across the end of an episode.

    Args:
        steps: (T, N, ...) columns of consecutive steps of N environments: `obs`, `next_obs` (the last observation where
            an episode ended), `action/<agent>`, `reward/<agent>`, `terminated`, `done`, and possibly `alive/<agent>`
            and `terminated/<agent>`.
        n_step: steps that are summed.
        gammas: agent -> discount per step.

    Returns:
        The first T - n_step + 1 steps as ((T - n_step + 1) * N, ...) rows, in time order.
    """
    length, num_envs = len(steps["done"]) - n_step + 1, steps["done"].shape[1]
    at_start, at_end = ("obs", "action", "alive"), ("next_obs", "terminated")
    rows = {name: column[:length] for name, column in steps.items() if name.split("/")[0] in at_start}
    last, is_alive = np.zeros((length, num_envs), np.int64), np.ones((length, num_envs), bool)
    rewards = {name: np.zeros((length, num_envs)) for name in steps if name.startswith("reward/")}
    for k in range(n_step):
        for name, total in rewards.items():
            total += gammas[name.removeprefix("reward/")] ** k * steps[name][k : k + length] * is_alive
        last[is_alive] = k
        is_alive = is_alive & ~steps["done"][k : k + length]
    at = (np.arange(length)[:, None] + last, np.arange(num_envs)[None])
    rows |= {**rewards, **{name: column[at] for name, column in steps.items() if name.split("/")[0] in at_end}}
    rows["n_step"] = (last + 1).astype(np.float32)
    return {name: column.reshape(-1, *column.shape[2:]) for name, column in rows.items()}


class ColumnarEnvRunner(EnvRunner, Checkpointable):
    """RLlib EnvRunner over one batched environment (see the module's docstring)."""

    def __init__(self, config: Any, **kwargs: Any):
        super().__init__(config=config, **kwargs)
        self._spaces = kwargs.get("spaces") or {}
        self._weights_seq_no = 0
        self._finished: list[dict[str, float]] = []
        self.env: Any = None
        self.module: Any = None
        self._is_reset = False
        worker = self.worker_index or 0
        self._seed = None if config.seed is None else int(config.seed) * WORKER_SEED_STRIDE + worker
        if worker or config.num_env_runners == 0 or config.create_env_on_local_worker:
            self.make_env()
        update_global_seed_if_necessary("torch", self._seed)
        self.make_module()

    # ---- construction
    def make_env(self) -> None:
        self.num_envs = self.config.num_envs_per_env_runner
        env_config = {k: v for k, v in dict(self.config.env_config).items() if k not in ("worker_index", "num_envs")}
        self.env = make_batched_env(self.config.env, self.num_envs, self._seed, env_config, self.worker_index or 0)
        self._is_reset = False

    def make_module(self) -> None:
        spec = self.config.get_multi_rl_module_spec(spaces=self.get_spaces(), inference_only=True)
        for tier, tier_spec in spec.rl_module_specs.items():
            if self.config.is_on_policy(tier):
                tier_spec.inference_only = False  # advantages are estimated here, with the value head
        spec.inference_only = False
        self.module = spec.build()

    def _tier_spaces(self) -> dict[str, tuple[gym.Space, gym.Space]]:
        spaces = {}
        for tier, members in self.config.members(self.env.agents).items():
            of = {a: (self.env.observation_spaces[a], self.env.action_spaces[a]) for a in members}
            spaces[tier] = of[members[0]]
            for agent, own in of.items():
                if own != spaces[tier]:
                    raise ConfigError(
                        f"tier {tier!r}: agents {members[0]!r} and {agent!r} differ in their spaces; allowed: the same"
                    )
        return spaces

    def get_spaces(self) -> dict[str, Any]:
        if self.env is None:
            return self._spaces
        joint = (gym.spaces.Dict(dict(self.env.observation_spaces)), gym.spaces.Dict(dict(self.env.action_spaces)))
        return {
            INPUT_ENV_SPACES: joint,
            INPUT_ENV_SINGLE_SPACES: joint,
            **self._tier_spaces(),
            "decision_periods": {a: self.env.decision_periods[a] for a in self.env.agents},
            "have_lives": hasattr(self.env, "alive"),
        }

    def assert_healthy(self) -> None:
        assert self.module is not None
        assert self.env is not None or not self.worker_index

    def stop(self) -> None:
        if hasattr(self.env, "close"):
            self.env.close()
        self.env = None

    # ---- sampling
    def _reset(self) -> None:
        env, settings = self.env, self.config.tier_settings
        # A restored run starts at another seed than it began with, or it would play its first episodes again.
        fresh = None if self._seed is None else self._seed + int(self.num_env_steps_sampled_lifetime)
        env.reset(seed=None if self._is_reset else fresh)
        self._is_reset = True
        self._agents = tuple(env.agents)
        self._members = self.config.members(self._agents)
        self._tier = {agent: tier for tier, members in self._members.items() for agent in members}
        self._slow = [a for a in self._agents if env.decision_periods[a] > 1]
        self._learning = [a for a in self._agents if self.config.trains(self._tier[a])]
        self._on_policy = {a for a in self._learning if self.config.is_on_policy(self._tier[a])}
        self._held = {a: np.zeros_like(env.actions[a]) for a in self._slow}
        self._open = {
            a: OpenDecisions(self.num_envs, settings[self._tier[a]]["gamma"])
            for a in self._learning
            if a in self._on_policy or a in self._slow
        }
        self._scripted = {
            tier: make_scripted(tier, settings[tier]["policy"], self.config.env, env.action_spaces, fresh or 0)
            for tier in self._members
            if settings[tier]["algorithm"] == SCRIPTED
        }
        self._return = {a: np.zeros(self.num_envs) for a in self._learning}
        self._noise = {
            a: HeldNoise((self.num_envs, *env.action_spaces[a].shape), **self._noise_settings(a), seed=i)
            for i, a in enumerate(self._agents)
            if self._has_held_noise(a)
        }
        self._latest: list[Columnar] = []  # steps whose n-step return is not complete
        self._metrics_before: Any = None

    def _noise_settings(self, agent: str) -> dict[str, Any]:
        own = self.config.tier_settings[self._tier[agent]]["exploration"]
        low, high = own["scale_range"]
        return {"steps": own["hold_steps"], "ladder": (low, high), "by_draw": low != high}

    def _has_held_noise(self, agent: str) -> bool:
        """Whether the agent's exploration noise is other than fresh draws of one scale, which modules make alone."""
        is_off_policy = agent in self._learning and agent not in self._on_policy
        algorithm = self.config.tier_settings[self._tier[agent]]["algorithm"] if is_off_policy else None
        if algorithm is None or not ALGORITHMS[algorithm].has_held_noise:
            return False
        if not isinstance(self.env.action_spaces[agent], gym.spaces.Box):
            return False
        settings = self._noise_settings(agent)
        return settings["steps"] > 1 or settings["ladder"] != (1.0, 1.0)

    @torch.no_grad()
    def sample(
        self,
        *,
        num_timesteps: int | None = None,
        num_episodes: int | None = None,
        explore: bool | None = None,
        random_actions: bool = False,
        force_reset: bool = False,
        **kwargs: Any,
    ) -> list[Rollout]:
        """Steps until `num_timesteps` environment steps or `num_episodes` episodes (counted over all environments) are
        there.
        """
        explore = self.config.explore if explore is None else explore
        with self.metrics.log_time(keys.SAMPLE_TIMER):
            if not self._is_reset or force_reset or num_episodes is not None:
                self._reset()
            if num_timesteps is None and num_episodes is None:
                num_timesteps = self.config.get_rollout_fragment_length(self.worker_index) * self.num_envs
            max_steps = math.inf if num_timesteps is None else math.ceil(num_timesteps / self.num_envs)
            wanted = math.inf if num_episodes is None else len(self._finished) + num_episodes
            fragment = _Fragment(self)
            while fragment.num_steps < max_steps and len(self._finished) < wanted:
                fragment.step(explore=explore, random_actions=random_actions)
            rollout = fragment.finish()
        self._log_counts(rollout)
        return [rollout]

    def _log_counts(self, rollout: Rollout) -> None:
        n = rollout.num_env_steps
        self.num_env_steps_sampled_lifetime += n
        self.metrics.log_value(keys.WEIGHTS_SEQ_NO, self._weights_seq_no, window=1)
        self.metrics.log_value(keys.NUM_ENV_STEPS_SAMPLED, n, reduce="sum")
        self.metrics.log_value(keys.NUM_ENV_STEPS_SAMPLED_LIFETIME, n, reduce="lifetime_sum", with_throughput=True)
        for tier in self._members:
            for key in (keys.NUM_AGENT_STEPS_SAMPLED, keys.NUM_MODULE_STEPS_SAMPLED):
                self.metrics.log_value((key, tier), n, reduce="sum")
            for key in (keys.NUM_AGENT_STEPS_SAMPLED_LIFETIME, keys.NUM_MODULE_STEPS_SAMPLED_LIFETIME):
                self.metrics.log_value((key, tier), n, reduce="lifetime_sum")

    # ---- metrics and state
    def get_metrics(self) -> Any:
        runners = self.config.num_env_runners or 1
        window = max(1, math.ceil(self.config.metrics_num_episodes_for_smoothing / runners))
        if self._finished:
            self.metrics.log_value(keys.NUM_EPISODES, len(self._finished), reduce="sum")
            self.metrics.log_value(keys.NUM_EPISODES_LIFETIME, len(self._finished), reduce="lifetime_sum")
        for episode in self._finished[-window:]:
            self.metrics.log_dict(
                {
                    keys.EPISODE_LEN_MEAN: episode["length"],
                    keys.EPISODE_RETURN_MEAN: episode["reward"],
                    "episode_metrics": {k: v for k, v in episode.items() if k not in ("length", "reward")},
                },
                window=window,
            )
            extremes = {"episode_len": episode["length"], "episode_return": episode["reward"]}
            for reduce in ("min", "max"):
                named = {f"{name}_{reduce}": value for name, value in extremes.items()}
                self.metrics.log_dict(named, reduce=reduce, window=window)
        self._finished.clear()
        return self.metrics.reduce()

    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any) -> dict[str, Any]:
        state: dict[str, Any] = {keys.NUM_ENV_STEPS_SAMPLED_LIFETIME: self.num_env_steps_sampled_lifetime}
        if self._check_component(COMPONENT_RL_MODULE, components, not_components):
            state[COMPONENT_RL_MODULE] = self.module.get_state(
                components=self._get_subcomponents(COMPONENT_RL_MODULE, components),
                not_components=self._get_subcomponents(COMPONENT_RL_MODULE, not_components),
                **kwargs,
            )
            state[keys.WEIGHTS_SEQ_NO] = self._weights_seq_no
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        if COMPONENT_RL_MODULE in state:
            seq_no = state.get(keys.WEIGHTS_SEQ_NO, 0)
            if seq_no == 0 or seq_no > self._weights_seq_no:
                weights = state[COMPONENT_RL_MODULE]
                self.module.set_state(ray.get(weights) if isinstance(weights, ray.ObjectRef) else weights)
            self._weights_seq_no = seq_no or self._weights_seq_no
        if keys.NUM_ENV_STEPS_SAMPLED_LIFETIME in state:
            self.num_env_steps_sampled_lifetime = state[keys.NUM_ENV_STEPS_SAMPLED_LIFETIME]

    def get_ctor_args_and_kwargs(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (), {"config": self.config}


class _Fragment:
    """The columns of one `sample` call while they are being filled."""

    def __init__(self, runner: ColumnarEnvRunner):
        self.runner, self.env = runner, runner.env
        self.settings = runner.config.tier_settings
        self.everyone = np.arange(runner.num_envs)
        self.columns: dict[str, list[np.ndarray]] = defaultdict(list)
        self.absolute: dict[str, list[float]] = {runner._tier[a]: [0.0, 0] for a in runner._learning}
        self.num_steps = self.num_agent_steps = 0
        self.stored = [a for a in runner._learning if a not in runner._open]  # one row a step
        self.have_lives = hasattr(self.env, "alive")

    def step(self, *, explore: bool, random_actions: bool) -> None:
        runner, env = self.runner, self.env
        observation = {a: env.observations[a].copy() for a in runner._agents}
        alive = {a: env.alive[a].copy() for a in runner._agents} if self.have_lives else None
        self._act(observation, alive, explore, random_actions)
        acted = {a: env.actions[a].copy() for a in runner._agents} if self.stored else {}
        env.step()
        self.num_steps += 1
        done = env.terminated | env.truncated
        ended = env.ended if self.have_lives else dict.fromkeys(runner._agents, done)
        followed = {a: env.observations[a].copy() for a in runner._agents}
        if done.any():
            for agent, observed in followed.items():
                observed[done] = env.final_observations[agent][done]
        rewards = self._rewards(done, ended)
        # always: observation statistics need it
        self.columns["obs"].append(np.concatenate(list(observation.values()), 1))
        if self.stored:
            self._append_joint(acted, followed, rewards, alive)
        for agent, decisions in runner._open.items():
            decisions.accumulate(rewards[agent])
        if done.any() or self.have_lives:
            self._end_lives(ended, followed)
            self._end_episodes(np.nonzero(done)[0])

    # ---- acting
    def _act(self, observation: Columnar, alive: Columnar | None, explore: bool, random_actions: bool) -> None:
        runner, env = self.runner, self.env
        for tier in runner._scripted:
            self._act_by_script(tier, observation)
        for agent in runner._agents:
            is_slow = agent in runner._slow
            if runner._tier[agent] in runner._scripted:
                continue
            acts = env.decides if is_slow else None if alive is None else alive[agent]
            envs = self.everyone if acts is None or acts.all() else np.nonzero(acts)[0]
            if len(envs):
                choice = self._choose(agent, observation[agent][envs], envs, explore, random_actions)
                (runner._held if is_slow else env.actions)[agent][envs] = choice.executed
                if agent in runner._open:
                    self._decide(agent, envs, observation, choice)
            if is_slow:
                env.actions[agent][:] = runner._held[agent]
        envs = np.nonzero(env.decides)[0]
        for agent in runner._slow:  # the joint action of a slow agent's row is the one at its decision
            if len(envs) and agent in runner._open and agent not in runner._on_policy:
                runner._open[agent].fill(envs, {f"action/{a}": env.actions[a][envs] for a in runner._agents})

    def _act_by_script(self, tier: str, observation: Columnar) -> None:
        policy: Any = self.runner._scripted[tier]
        if getattr(policy, "needs_state", False):
            policy.state = self.env.state()
        actions = policy(observation, np.array(self.env.decides))
        for agent in self.runner._members[tier]:
            self.env.actions[agent][:] = actions[agent]

    def _choose(self, agent: str, own: np.ndarray, envs: np.ndarray, explore: bool, random_actions: bool) -> Action:
        """The agent's actions in `envs`, where it observes `own`."""
        runner, on_policy = self.runner, agent in self.runner._on_policy
        t = runner.num_env_steps_sampled_lifetime
        t += self.num_steps * runner.num_envs * max(1, runner.config.num_env_runners)
        learns = agent in runner._learning
        held = runner._noise.get(agent)
        if held is not None:
            held.renew()
        choice = act(
            runner.module[runner._tier[agent]],
            own,
            explore=explore and learns,  # a frozen tier is what it has become
            t=t,
            with_value=on_policy,
            noise=None if held is None else held.scaled()[envs],
        )
        if random_actions and learns and not on_policy:
            unit = None if held is None else held.unit[envs]
            choice.executed = uniform(self.env.action_spaces[agent], len(envs), unit)
        self.num_agent_steps += len(envs)
        return choice

    def _decide(self, agent: str, envs: np.ndarray, observation: Columnar, choice: Action) -> None:
        """Closes the agent's last decision in `envs` with what is seen now, and opens the new one."""
        decisions = self.runner._open[agent]
        if agent in self.runner._on_policy:
            assert choice.value is not None
            decisions.close(envs, False, next_value=choice.value)
            values = {
                "obs": observation[agent][envs],
                "raw": choice.raw,
                "logp": choice.logp,
                "inputs": choice.inputs,
                "value": choice.value,
            }
            decisions.start(envs, values)
        else:
            joint = np.concatenate([observation[a][envs] for a in self.runner._agents], 1)
            decisions.close(envs, False, next_obs=joint, terminated=np.zeros(len(envs), bool))
            decisions.start(envs, {"joint_obs": joint})

    # ---- what followed
    def _rewards(self, done: np.ndarray, ended: Columnar) -> Columnar:
        """The reward as each agent learns from it: penalties scaled, its tier's own additions added."""
        runner, env = self.runner, self.env
        team = None if hasattr(env, "agent_rewards") else env.rewards.astype(np.float64)
        before = runner._metrics_before
        if any(self.settings[runner._tier[a]]["reward_shaping"]["metrics"] for a in runner._learning):
            runner._metrics_before = env.running_metrics()
        rewards = {}
        for agent in runner._learning:
            settings, absolute = self.settings[runner._tier[agent]], self.absolute[runner._tier[agent]]
            reward = env.agent_rewards[agent] if team is None else team
            reward = np.where(reward < 0, settings["reward_shaping"]["penalty_scale"] * reward, reward)
            for name, weight in settings["reward_shaping"]["metrics"].items():
                now = np.where(done, env.episode_metrics[name], runner._metrics_before[name])
                reward = reward + weight * (now - (0 if before is None else before[name]))
            rewards[agent] = reward
            discounted = runner._return[agent]
            discounted *= settings["gamma"]
            discounted += reward
            absolute[0] += float(np.abs(discounted).sum())
            absolute[1] += len(discounted)
            discounted[ended[agent]] = 0.0
        return rewards

    def _append_joint(self, acted: Columnar, followed: Columnar, rewards: Columnar, alive: Columnar | None) -> None:
        columns, env = self.columns, self.env
        columns["next_obs"].append(np.concatenate(list(followed.values()), 1))
        for agent in self.runner._agents:
            columns[f"action/{agent}"].append(acted[agent])
            if alive is not None:
                columns[f"alive/{agent}"].append(alive[agent])
                columns[f"terminated/{agent}"].append(env.agent_terminated[agent].copy())
        for agent in self.stored:
            columns[f"reward/{agent}"].append(rewards[agent])
        columns["terminated"].append(env.terminated.copy())
        columns["done"].append(env.terminated | env.truncated)

    def _end_lives(self, ended: Columnar, followed: Columnar) -> None:
        """Closes the last decision of agents whose episode is over."""
        runner, env = self.runner, self.env
        for agent, decisions in runner._open.items():
            envs = np.nonzero(ended[agent])[0]
            if len(envs) == 0:
                continue
            terminated = (env.agent_terminated[agent] if self.have_lives else env.terminated)[envs]
            if agent in runner._on_policy:
                module = runner.module[runner._tier[agent]]
                batch = {Columns.OBS: torch.from_numpy(followed[agent][envs])}
                value = module.compute_values(batch).numpy() * float(module.return_scale)
                decisions.close(envs, True, next_value=value * ~terminated)
            else:
                joint = np.concatenate([followed[a][envs] for a in runner._agents], 1)
                decisions.close(envs, True, next_obs=joint, terminated=terminated)

    def _end_episodes(self, envs: np.ndarray) -> None:
        episodes = self.env.episode_metrics[envs]
        for episode in episodes:
            self.runner._finished.append({name: float(episode[name]) for name in episodes.dtype.names})

    # ---- the result
    def finish(self) -> Rollout:
        runner = self.runner
        n = self.num_steps * runner.num_envs
        seen = np.concatenate(self.columns["obs"])
        joint = self._joint() if self.stored else {}
        decisions, on_policy = {}, defaultdict(list)
        for agent, open_ in runner._open.items():
            rows = open_.take_rows()
            if not rows:
                continue
            if agent in runner._on_policy:
                on_policy[runner._tier[agent]].append(self._ppo_columns(runner._tier[agent], rows))
            else:
                decisions[agent] = self._decision_columns(agent, rows)
        merged = {
            tier: {k: np.concatenate([p[k] for p in parts]) for k in parts[0]} for tier, parts in on_policy.items()
        }
        absolute = {tier: (total, count) for tier, (total, count) in self.absolute.items()}
        return Rollout(seen, joint, decisions, merged, absolute, n, self.num_agent_steps)  # type: ignore[arg-type]

    def _joint(self) -> Columnar:
        """Joint transitions over `n_step` steps; those at the end of the fragment wait for what follows."""
        runner, n_step = self.runner, self.runner.config.n_step
        latest = [{name: values[i] for name, values in self.columns.items()} for i in range(self.num_steps)]
        latest = runner._latest + latest
        runner._latest = latest[max(0, len(latest) - n_step + 1) :]
        if len(latest) < n_step:
            return {}
        steps = {name: np.stack([step[name] for step in latest]) for name in latest[0]}
        return n_step_rows(steps, n_step, {a: self.settings[runner._tier[a]]["gamma"] for a in self.stored})

    def _ppo_columns(self, tier: str, rows: list[Columnar]) -> Columnar:
        settings = self.settings[tier]
        advantage, target = advantages(rows, self.runner.num_envs, settings["gamma"], settings["lambda_"])
        scale = float(self.runner.module[tier].return_scale)
        names = {
            Columns.OBS: "obs",
            Columns.ACTIONS: "raw",
            Columns.ACTION_LOGP: "logp",
            Columns.ACTION_DIST_INPUTS: "inputs",
        }
        columns = {new: np.concatenate([row[old] for row in rows]) for new, old in names.items() if old in rows[0]}
        columns[Postprocessing.ADVANTAGES] = advantage.astype(np.float32)
        columns[Postprocessing.VALUE_TARGETS] = (target / scale).astype(np.float32)
        return columns

    def _decision_columns(self, agent: str, rows: list[Columnar]) -> Columnar:
        names = {"obs": "joint_obs", "next_obs": "next_obs", "terminated": "terminated", "n_step": "duration"}
        names |= {f"action/{a}": f"action/{a}" for a in self.runner._agents} | {f"reward/{agent}": "reward"}
        columns = {new: np.concatenate([row[old] for row in rows]) for new, old in names.items()}
        members = self.runner._members[self.runner._tier[agent]]
        for member in members if len(members) > 1 else ():
            columns[f"alive/{member}"] = np.full(len(columns["n_step"]), member == agent)
            columns.setdefault(f"reward/{member}", np.zeros(len(columns["n_step"])))
        return columns
