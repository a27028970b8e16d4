"""Steps a batch of environments with the tiers' policies and writes what learners need, in columns."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.evaluation.postprocessing import Postprocessing

from policies.learners.columns import CRITIC_OBS, with_state
from policies.learners.terms import TEACHER_ACTIONS
from policies.past import Past
from policies.runner.acting import PolicyOutput, act, value_of
from policies.runner.exploration import HeldNoise, uniform
from policies.runner.guide import Guide
from policies.runner.plan import Plan
from policies.runner.rows import (
    AGE,
    STREAM,
    Columnar,
    OpenDecisions,
    Rollout,
    advantages,
    n_step_rows,
    shaped_reward,
)
from policies.runner.traces import Traces
from policies.scripted import Policy, identity
from soc_env.engine.state import take
from soc_env.errors import CheckpointError


@dataclass
class Fragment:
    """One call of `Collector.collect`: how to act, and the columns while they are being filled.

    Attributes:
        module: tier -> RLModule.
        explore: whether tiers that learn explore.
        random_actions: whether off-policy tiers act uniformly.
        first_step: environment steps of all runners before it, for schedules.
        steps_at_once: environment steps of all runners a step of it.
        traces: recordings of the networks of `module`, if they are to be used.
        lesson: share of the environments in which the teacher acts; None: it is not asked.
        watch: called with the environments, and agent -> its past, before each step of them.
    """

    module: Any
    explore: bool
    random_actions: bool
    first_step: int
    steps_at_once: int
    lesson: float | None = None
    taught: dict[str, list[np.ndarray]] = field(default_factory=lambda: defaultdict(list))
    watch: Callable[[Any, Mapping[str, Past]], None] | None = None
    traces: Traces | None = None
    columns: dict[str, list[np.ndarray]] = field(default_factory=lambda: defaultdict(list))
    absolute: dict[str, list[float]] = field(default_factory=dict)  # tier -> [sum of absolute returns, number]
    episodes: list[tuple[int, dict[str, float]]] = field(default_factory=list)  # (environment, metrics), as they end
    num_steps: int = 0
    num_agent_steps: int = 0

    @property
    def now(self) -> int:
        """Environment steps before the next one."""
        return self.first_step + self.num_steps * self.steps_at_once


class Collector:
    """From one reset of the environments to the next: what of a decision outlasts a fragment is kept here.

    Args:
        env: the batch (see `policies.runner.env_runner`), already reset.
        plan: who acts when, and for which tier.
        scripted: tier -> policy of the tiers without networks.
        n_step: steps whose rewards the row of an agent with one row a step sums.
        teacher: says what it would do, where it is asked.
        worker: number of the runner, which tells its environments from those of others.

    Attributes:
        past: agent -> its last observations, of those with memory.
        age: (N,) steps since the episode began.
    """

    def __init__(
        self,
        env: Any,
        plan: Plan,
        scripted: Mapping[str, Policy],
        n_step: int,
        teacher: Any = None,
        worker: int = 0,
    ):
        self.env, self.plan, self.scripted, self.n_step = env, plan, scripted, n_step
        self.guide = None if teacher is None else Guide(teacher, env, plan)
        self.num_envs, self.stored = len(env.decides), plan.stored
        self.everyone = np.arange(self.num_envs)
        self.have_lives = hasattr(env, "alive")
        self.held = {a: np.zeros_like(env.actions[a]) for a in plan.slow}
        self.open = {a: OpenDecisions(self.num_envs, plan.of_agent(a).gamma) for a in plan.waiting}
        self.returns = {a: np.zeros(self.num_envs) for a in plan.learning}
        self.noise = {a: self._held_noise(a) for a in plan.learning if self._holds_noise(a)}
        sizes = {a: env.observations[a].shape[1] for a in plan.remembering}
        self.past = {a: Past(self.num_envs, size, plan.minutes(a)) for a, size in sizes.items()}
        self.stream, self.age = worker * self.num_envs + self.everyone, np.zeros(self.num_envs, np.int64)
        self.latest: list[Columnar] = []  # steps whose n-step return is not complete
        self.metrics_before: Any = None
        self.told = plan.told
        self.state: np.ndarray | None = None  # (N, size) before the present step, where critics read it
        self.reads_metrics = any(plan.of_agent(a).reward_shaping.metrics for a in plan.learning)

    # ---- state
    def made_for(self) -> dict[str, Any]:
        """What a state has to be of to be taken back here, in plain values."""
        return {
            "num_envs": self.num_envs,
            "agents": list(self.plan.agents),
            "held": list(self.held),
            "open": list(self.open),
            "returns": list(self.returns),
            "noise": list(self.noise),
            "n_step": self.n_step,
            "scripted": {tier: identity(self.plan.settings[tier].policy) for tier in self.scripted},
            **({} if self.guide is None else {"teacher": self.guide.name}),
            **({"past": {agent: past.minutes for agent, past in self.past.items()}} if self.past else {}),
            **({"told": sorted(self.told)} if self.told else {}),
        }

    def get_state(self) -> dict[str, Any]:
        """All that outlasts a fragment, as plain data: held actions and noise, open decisions, returns, the tail of
        n-step returns, and what scripted policies remember. Copies. Call it between fragments."""
        before = self.metrics_before
        return {
            "held": {agent: action.copy() for agent, action in self.held.items()},
            "open": {agent: decisions.get_state() for agent, decisions in self.open.items()},
            "returns": {agent: returns.copy() for agent, returns in self.returns.items()},
            "noise": {agent: noise.get_state() for agent, noise in self.noise.items()},
            "latest": [{name: column.copy() for name, column in step.items()} for step in self.latest],
            "metrics_before": None if before is None else before.copy(),
            "scripted": {
                tier: policy.get_state() for tier, policy in self.scripted.items() if hasattr(policy, "get_state")
            },
            **({} if self.guide is None else {"teacher": self.guide.get_state()}),
            **({"age": self.age.copy(), "past": self._past_state()} if self.past else {}),
        }

    def _past_state(self) -> dict[str, Any]:
        return {agent: past.get_state() for agent, past in self.past.items()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on where `get_state` was called, if the environments do so too.

        Raises:
            CheckpointError: it is not what the `get_state` of a collector with the same `made_for` returned.
        """
        try:
            for agent, held in self.held.items():
                take(state["held"][agent], held, f"held/{agent}")
            for agent, decisions in self.open.items():
                decisions.set_state(state["open"][agent])
            for agent, returns in self.returns.items():
                take(state["returns"][agent], returns, f"returns/{agent}")
            for agent, noise in self.noise.items():
                noise.set_state(state["noise"][agent])
            self.latest = [{name: column.copy() for name, column in step.items()} for step in state["latest"]]
            before = state["metrics_before"]
            self.metrics_before = None if before is None else before.copy()
            for tier, remembered in state["scripted"].items():
                policy: Any = self.scripted[tier]
                policy.set_state(remembered)
            if self.guide is not None:
                self.guide.set_state(state["teacher"])
            for agent, past in self.past.items():
                past.set_state(state["past"][agent])
            if self.past:
                take(state["age"], self.age, "age")
        except CheckpointError:
            raise
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(f"state of the collector is damaged ({type(error).__name__}: {error})") from error

    def _holds_noise(self, agent: str) -> bool:
        """Whether the agent's exploration noise is other than fresh draws of one scale, which modules make alone."""
        if agent in self.plan.on_policy or not isinstance(self.env.action_spaces[agent], gym.spaces.Box):
            return False
        exploration = self.plan.of_agent(agent).exploration
        return exploration.hold_steps > 1 or list(exploration.scale_range) != [1.0, 1.0]

    def _held_noise(self, agent: str) -> HeldNoise:
        exploration = self.plan.of_agent(agent).exploration
        shape = (self.num_envs, *self.env.action_spaces[agent].shape)
        return HeldNoise(shape, exploration.hold_steps, exploration.scale_range)

    def collect(self, fragment: Fragment, *, num_steps: float, num_episodes: float) -> Rollout:
        """Fills the fragment until it has `num_steps` steps of every environment, or `num_episodes` have ended."""
        fragment.absolute = {self.plan.tier_of[a]: [0.0, 0] for a in self.plan.learning}
        if fragment.traces is not None:
            fragment.traces.refresh()
        while fragment.num_steps < num_steps and len(fragment.episodes) < num_episodes:
            if fragment.watch is not None:
                fragment.watch(self.env, self.past)
            self._step(fragment)
        return self._finish(fragment)

    def _step(self, fragment: Fragment) -> None:
        env, agents = self.env, self.plan.agents
        observation = {a: env.observations[a].copy() for a in agents}
        self.state = self._read_state()
        alive = {a: env.alive[a].copy() for a in agents} if self.have_lives else None
        if self.guide is not None:
            self._ask(fragment, observation, alive)
        self._act(fragment, observation, alive)
        acted = {a: env.actions[a].copy() for a in agents} if self.stored else {}
        env.step()
        fragment.num_steps += 1
        done = env.terminated | env.truncated
        ended = env.ended if self.have_lives else dict.fromkeys(agents, done)
        followed = {a: env.observations[a].copy() for a in agents}
        state = self._read_state()
        if done.any():
            for agent, observed in followed.items():
                observed[done] = env.final_observations[agent][done]
            if state is not None:
                state[done] = env.final_states[done]
        rewards = self._rewards(fragment, done, ended)
        # always: observation statistics need it
        fragment.columns["obs"].append(whole(observation, self.state))
        if self.past:
            self._remember(fragment, observation)
        if self.stored:
            self._append_joint(fragment, acted, whole(followed, state), rewards, alive)
        for agent, decisions in self.open.items():
            decisions.accumulate(rewards[agent])
        if done.any() or self.have_lives:
            self._end_lives(fragment, ended, followed, state)
            self._end_episodes(fragment, np.nonzero(done)[0])
        if self.past and done.any():
            self.age[done] = 0
            for past in self.past.values():
                past.forget(done)

    def _remember(self, fragment: Fragment, observation: Columnar) -> None:
        """The step is over: what was observed in it is past."""
        fragment.columns[STREAM].append(self.stream)
        fragment.columns[AGE].append(self.age.copy())
        for agent, past in self.past.items():
            past.push(observation[agent])
        self.age += 1

    def _read_state(self) -> np.ndarray | None:
        """(N, size) float32: the truth, where critics read it."""
        return np.asarray(self.env.state(), np.float32) if self.told else None

    # ---- acting
    def _seen(self, agent: str, observation: np.ndarray, envs: np.ndarray) -> np.ndarray:
        """What the agent's network reads in `envs`, where it observes that: with the past, if it has memory."""
        return self.past[agent].beside(observation, envs) if agent in self.past else observation

    def _act(self, fragment: Fragment, observation: Columnar, alive: Columnar | None) -> None:
        env, plan = self.env, self.plan
        for tier in plan.scripted:
            self._act_by_script(tier, observation)
        for agent in plan.agents:
            is_slow = agent in self.held
            if plan.tier_of[agent] in self.scripted:
                continue
            acts = env.decides if is_slow else None if alive is None else alive[agent]
            envs = self.everyone if acts is None or acts.all() else np.nonzero(acts)[0]
            if len(envs):
                own = self._seen(agent, observation[agent][envs], envs)
                choice = self._choose(fragment, agent, own, envs)
                if self.guide is not None:
                    choice.executed = self.guide.lead(agent, envs, choice.executed)
                (self.held if is_slow else env.actions)[agent][envs] = choice.executed
                if agent in self.open:
                    self._decide(agent, envs, observation, own, choice)
            if is_slow:
                env.actions[agent][:] = self.held[agent]
        envs = np.nonzero(env.decides)[0]
        for agent in plan.slow:  # the joint action of a slow agent's row is the one at its decision
            if len(envs) and agent in self.open and agent not in plan.on_policy:
                self.open[agent].fill(envs, {f"action/{a}": env.actions[a][envs] for a in plan.agents})
                self.open[agent].fill(envs, {f"teacher/{a}": said[envs] for a, said in self._taught().items()})

    def _taught(self) -> Columnar:
        return {} if self.guide is None else self.guide.taught

    def _ask(self, fragment: Fragment, observation: Columnar, alive: Columnar | None) -> None:
        """Asks the teacher about the present step, and keeps what it says."""
        assert self.guide is not None
        self.guide.ask(fragment.lesson, observation)
        for agent, said in self.guide.taught.items() if fragment.lesson is not None else ():
            fragment.taught[agent].append(said)
            if alive is not None:
                fragment.taught[f"alive/{agent}"].append(alive[agent])

    def _act_by_script(self, tier: str, observation: Columnar) -> None:
        policy: Any = self.scripted[tier]
        if getattr(policy, "needs_state", False):
            policy.state = self.env.state()
        actions = policy(observation, np.array(self.env.decides))
        for agent in self.plan.members[tier]:
            self.env.actions[agent][:] = actions[agent]

    def _choose(self, fragment: Fragment, agent: str, own: np.ndarray, envs: np.ndarray) -> PolicyOutput:
        """The agent's actions in `envs`, where its network reads `own`."""
        on_policy, learns = agent in self.plan.on_policy, agent in self.returns
        held = self.noise.get(agent)
        if held is not None:
            held.renew()
        choice = act(
            fragment.module[self.plan.tier_of[agent]],
            own,
            explore=fragment.explore and learns,  # a frozen tier is what it has become
            t=fragment.now,
            with_value=on_policy,
            read_by_value=self._read_by_value(agent, own, envs, self.state) if on_policy else None,
            noise=None if held is None else held.scaled()[envs],
            traces=fragment.traces,
        )
        if fragment.random_actions and learns and not on_policy:
            unit = None if held is None else held.unit[envs]
            choice.executed = uniform(self.env.action_spaces[agent], len(envs), unit)
        fragment.num_agent_steps += len(envs)
        return choice

    def _read_by_value(self, agent: str, own: np.ndarray, envs: np.ndarray, state: np.ndarray | None) -> Any:
        """What the agent's value function reads in `envs` where that is not its network's `own`, or None."""
        if state is None or agent not in self.told:
            return None
        return with_state(own, state[envs], self.env.observations[agent].shape[1])

    def _decide(
        self, agent: str, envs: np.ndarray, observation: Columnar, own: np.ndarray, choice: PolicyOutput
    ) -> None:
        """Closes the agent's last decision in `envs` with what is seen now, and opens the new one."""
        decisions = self.open[agent]
        if agent in self.plan.on_policy:
            assert choice.value is not None
            decisions.close(envs, False, next_value=choice.value)
            values = {
                "obs": own,
                "raw": choice.raw,
                "inputs": choice.inputs,
                "value": choice.value,
                "read_by_value": choice.read_by_value,
                **({} if self.guide is None else {"teacher": self.guide.taught[agent][envs]}),
            }
            decisions.start(envs, values)
            if self.guide is not None:  # what the teacher does is no decision of the policy
                decisions.is_open[envs[self.guide.leads[envs]]] = False
        else:
            joint = whole(observation, self.state)[envs]
            decisions.close(envs, False, next_obs=joint, terminated=np.zeros(len(envs), bool))
            decisions.start(envs, {"joint_obs": joint})

    # ---- what followed
    def _rewards(self, fragment: Fragment, done: np.ndarray, ended: Columnar) -> Columnar:
        """The reward as each agent learns from it: penalties scaled, its tier's own additions added."""
        env, before = self.env, self.metrics_before
        team = None if hasattr(env, "agent_rewards") else env.rewards.astype(np.float64)
        if self.reads_metrics:
            self.metrics_before = env.running_metrics()
        rewards = {}
        for agent in self.plan.learning:
            settings, absolute = self.plan.of_agent(agent), fragment.absolute[self.plan.tier_of[agent]]
            reward = env.agent_rewards[agent] if team is None else team
            reward = shaped_reward(
                settings.reward_shaping, reward, done, env.episode_metrics, before, self.metrics_before
            )
            rewards[agent] = reward
            discounted = self.returns[agent]
            discounted *= settings.gamma
            discounted += reward
            absolute[0] += float(np.abs(discounted).sum())
            absolute[1] += len(discounted)
            discounted[ended[agent]] = 0.0
        return rewards

    def _append_joint(
        self, fragment: Fragment, acted: Columnar, following: np.ndarray, rewards: Columnar, alive: Columnar | None
    ) -> None:
        columns, env = fragment.columns, self.env
        columns["next_obs"].append(following)
        for agent in self.plan.agents:
            columns[f"action/{agent}"].append(acted[agent])
            if alive is not None:
                columns[f"alive/{agent}"].append(alive[agent])
                columns[f"terminated/{agent}"].append(env.agent_terminated[agent].copy())
        for agent, said in self._taught().items():
            columns[f"teacher/{agent}"].append(said)
        for agent in self.stored:
            columns[f"reward/{agent}"].append(rewards[agent])
        columns["terminated"].append(env.terminated.copy())
        columns["done"].append(env.terminated | env.truncated)

    def _end_lives(self, fragment: Fragment, ended: Columnar, followed: Columnar, state: np.ndarray | None) -> None:
        """Closes the last decision of agents whose episode is over; `followed` and `state` are what came then."""
        env = self.env
        for agent, decisions in self.open.items():
            envs = np.nonzero(ended[agent])[0]
            if len(envs) == 0:
                continue
            terminated = (env.agent_terminated[agent] if self.have_lives else env.terminated)[envs]
            if agent in self.plan.on_policy:
                module = fragment.module[self.plan.tier_of[agent]]
                own = self._seen(agent, followed[agent][envs], envs)
                told = self._read_by_value(agent, own, envs, state)
                value = np.zeros(len(envs), np.float32)
                if not terminated.all():
                    value = value_of(module, own if told is None else told, fragment.traces) * ~terminated
                decisions.close(envs, True, next_value=value)
            else:
                joint = whole(followed, state)[envs]
                decisions.close(envs, True, next_obs=joint, terminated=terminated)

    def _end_episodes(self, fragment: Fragment, envs: np.ndarray) -> None:
        episodes = self.env.episode_metrics[envs]
        for index, episode in zip(envs.tolist(), episodes, strict=True):
            fragment.episodes.append((index, {name: float(episode[name]) for name in episodes.dtype.names}))

    # ---- the result
    def _finish(self, fragment: Fragment) -> Rollout:
        decisions, on_policy = {}, defaultdict(list)
        for agent, open_ in self.open.items():
            rows = open_.take_rows()
            if not rows:
                continue
            tier = self.plan.tier_of[agent]
            if agent in self.plan.on_policy:
                on_policy[tier].append(self._ppo_columns(fragment, tier, rows))
            else:
                decisions[agent] = self._decision_columns(agent, rows)
        return Rollout(
            seen=np.concatenate(fragment.columns["obs"]),
            joint=self._joint(fragment) if self.stored else {},
            decisions=decisions,
            on_policy={
                tier: {k: np.concatenate([p[k] for p in parts]) for k in parts[0]} for tier, parts in on_policy.items()
            },
            absolute_returns={tier: (total, int(count)) for tier, (total, count) in fragment.absolute.items()},
            num_env_steps=fragment.num_steps * self.num_envs,
            num_agent_steps=fragment.num_agent_steps,
            taught={name: np.concatenate(parts) for name, parts in fragment.taught.items()},
            places={name: np.concatenate(fragment.columns[name]) for name in (STREAM, AGE) if self.past},
        )

    def _joint(self, fragment: Fragment) -> Columnar:
        """Joint transitions over `n_step` steps; those at the end of the fragment wait for what follows."""
        columns, n_step = fragment.columns, self.n_step
        latest = [{name: values[i] for name, values in columns.items()} for i in range(fragment.num_steps)]
        latest = self.latest + latest
        self.latest = latest[max(0, len(latest) - n_step + 1) :]
        if len(latest) < n_step:
            return {}
        steps = {name: np.stack([step[name] for step in latest]) for name in latest[0]}
        return n_step_rows(steps, n_step, {a: self.plan.of_agent(a).gamma for a in self.stored})

    def _ppo_columns(self, fragment: Fragment, tier: str, rows: list[Columnar]) -> Columnar:
        settings = self.plan.settings[tier]
        advantage, target = advantages(rows, self.num_envs, settings.gamma, settings.lambda_)
        module = fragment.module[tier]
        scale = float(module.return_scale)
        names = {
            Columns.OBS: "obs",
            Columns.ACTIONS: "raw",
            Columns.ACTION_DIST_INPUTS: "inputs",
            TEACHER_ACTIONS: "teacher",
            CRITIC_OBS: "read_by_value",
        }
        columns = {new: np.concatenate([row[old] for row in rows]) for new, old in names.items() if old in rows[0]}
        drawn = (torch.from_numpy(columns[name]) for name in (Columns.ACTIONS, Columns.ACTION_DIST_INPUTS))
        columns[Columns.ACTION_LOGP] = module.log_prob(*drawn).numpy()
        columns[Postprocessing.ADVANTAGES] = advantage.astype(np.float32)
        columns[Postprocessing.VALUE_TARGETS] = (target / scale).astype(np.float32)
        return columns

    def _decision_columns(self, agent: str, rows: list[Columnar]) -> Columnar:
        names = {"obs": "joint_obs", "next_obs": "next_obs", "terminated": "terminated", "n_step": "duration"}
        names |= {f"action/{a}": f"action/{a}" for a in self.plan.agents} | {f"reward/{agent}": "reward"}
        names |= {f"teacher/{a}": f"teacher/{a}" for a in self._taught()}
        columns = {new: np.concatenate([row[old] for row in rows]) for new, old in names.items()}
        members = self.plan.members[self.plan.tier_of[agent]]
        for member in members if len(members) > 1 else ():
            columns[f"alive/{member}"] = np.full(len(columns["n_step"]), member == agent)
            columns.setdefault(f"reward/{member}", np.zeros(len(columns["n_step"])))
        return columns


def whole(observation: Columnar, state: np.ndarray | None) -> np.ndarray:
    """(N, sum of sizes): what all agents observe, side by side, and the state behind it where critics read that."""
    return np.concatenate([*observation.values(), *([] if state is None else [state])], 1)
