"""Counterfactual credit: what a tier's choice is worth against an alternative, measured and not inferred.

From states that training comes through, copies of the simulator play on under the current team: once with the tier's
own choice there, and once for each alternative to it. Everything else is the same: the state, the draws of the
simulator, the noise of exploration. So the two sides share their luck, and the difference of their returns has a small
part of the variance that returns have (common random numbers: Glasserman & Yao 1992; Ng & Jordan 2000, "PEGASUS").

    difference = sum over `horizon` steps of gamma^k (reward of the alternative - reward of the choice)
                 + gamma^horizon (value where the alternative came to - value where the choice came to)

Rewards are those that the tier learns from. A tier that decides every K steps holds the alternative until its next
decision; then it goes on with its policy, as everybody else. With `hold` H the entries in which the alternative differs
are held for H decisions, and the difference is what it is worth to hold them. `policies.learners.counterfactual` says
what each algorithm learns from differences. The idea is that of difference rewards (Wolpert & Tumer 2002), of
counterfactual baselines (Foerster et al. 2018, "COMA") and of vine rollouts (Schulman et al. 2015, "TRPO").

The simulator is used as a generative model, and the true state as the start. That is a signal for training: averaged
over states that look the same to the tier, it estimates what an action is worth given what the tier sees. Acting needs
nothing of it. Scripted tiers play rollouts without what they remember of the time before.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping
from math import ceil, prod
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from ray.rllib.utils.metrics import TIMERS

from policies.hmarl.differences import Differences, spread
from policies.hmarl.futures import SEEDS, Ends, Exploring, Futures
from policies.hmarl.tier_batches import TierBatches
from policies.learners import counterfactual as learned
from policies.learners.columns import CRITIC_OBS, STATE
from policies.networks.blocks import ACTIONS, OBS, flat_dim, value_at
from policies.networks.tokens import impossible_choices
from policies.past import Past, row_size
from policies.runner.acting import PolicyOutput, act
from policies.runner.batched_env import import_path, make_batched_env
from policies.runner.rows import Columnar
from policies.scripted import Policy
from soc_env.errors import ConfigError, shown
from soc_env.memory import check_memory

CREDIT = "counterfactual"  # in results and checkpoints
PURPOSE = 12  # in seeds: no other generator of a tier has it
SMALLEST = 1e-6  # unit of differences, in units of returns


class Credit:
    """The comparisons of one tier.

    Args:
        tier: its name.
        batches: knows the team, and what a central critic reads.
        futures: copies for this tier alone, `states` of the settings a block.
        seed: of what is drawn here.

    Attributes:
        differences: the newest ones.
        budget: environment steps that rollouts may still take.
        taken: [environment steps of rollouts, environment steps of training] since the beginning.
        newest: differences of the last round [reward].
    """

    def __init__(self, tier: str, batches: TierBatches, futures: Futures, seed: list[int]):
        plan = batches.plan
        self.tier, self.batches, self.plan, self.futures = tier, batches, plan, futures
        (self.agent,) = plan.members[tier]
        self.tier_settings = plan.settings[tier]
        self.settings, self.gamma = self.tier_settings.counterfactual, self.tier_settings.gamma
        self.period = int(futures.env.decision_periods[self.agent]) if self.agent in plan.slow else 1
        self.adapter = learned.ADAPTERS[self.tier_settings.algorithm]
        self.differences = Differences(self.settings.capacity, self.settings.max_age)
        self.rng = np.random.default_rng(seed)
        self.budget, self.taken, self.num_compared = 0.0, [0, 0], 0
        self.newest = np.zeros(0)
        self.waiting: list[tuple[int, int]] = []  # (step, environment), the next last
        self.count = 0  # states that are copied

    @property
    def num_blocks(self) -> int:
        """Rollouts from a state."""
        return 1 + self.settings.num_alternatives

    @property
    def kinds(self) -> tuple[str, ...]:
        """Of alternatives, in turn; a policy that learns from its draws has draws alone."""
        return getattr(self.settings, "alternatives", ("draw",))

    # ---- states
    def begin(self, now: int, num_steps: int, num_envs: int) -> None:
        """Chooses the states of a round, if there is budget for one: steps of the next `num_steps`, environments."""
        self.waiting, self.count = [], 0
        if value_at(self.settings.weight, now) <= 0:
            return
        price = self.settings.states * self.num_blocks * self.settings.horizon
        # Episodes that end early leave some of it; what is left of more than one round is forgone.
        self.budget = min(self.budget + self.settings.share * num_steps * num_envs, 2.0 * price)
        self.taken[1] += num_steps * num_envs
        if self.budget >= price:
            number = min(self.settings.states, num_steps * num_envs)
            cells = np.sort(self.rng.choice(num_steps * num_envs, number, replace=False))[::-1]
            self.waiting = [(int(cell) // num_envs, int(cell) % num_envs) for cell in cells]

    def watch(self, env: Any, past: Mapping[str, Past], step: int) -> None:
        """Copies the states whose time has come. A tier that decides every K steps is looked at when it decides."""
        is_slow, late = self.agent in self.plan.slow, []
        while self.waiting and self.waiting[-1][0] <= step:
            cell = self.waiting.pop()
            if is_slow and not env.decides[cell[1]]:
                late.append(cell)
                continue
            self.futures.take(env, past, cell[1], self.count)
            self.count += 1
        self.waiting += late[::-1]

    # ---- a round
    def compare(self, modules: Any, now: int, values: Callable[[Columnar], np.ndarray]) -> None:
        """Rolls out what was copied: one row for each alternative that differs from the choice.

        Args:
            modules: tier -> network with the weights that training acts with.
            now: environment steps of training.
            values: columns of situations (see `policies.learners.counterfactual.Adapter`) -> (n,) [reward].
        """
        if self.count == 0:
            return
        blocks = self.futures.fan_out(self.count, self.num_blocks, self.settings.draws == "same")
        exploring = self._exploring()
        observed = {agent: self.futures.seen(agent, blocks[0]) for agent in self.plan.agents}
        self._act(modules, now, blocks, exploring)  # all, so that their noise goes on alike
        if self.tier_settings.reads_state:
            observed[STATE] = self.futures.state(blocks[0])
        taught = self.futures.taught(blocks[0], self.agent) if "teacher" in self.kinds else None
        choice, alternatives, differ = self._choices(modules[self.tier], observed, now, taught)
        acted = self._begin_with(blocks, [choice, *alternatives])
        everyone = np.concatenate(blocks)
        held = [
            (rows, own.executed != choice.executed, own.executed)
            for rows, own in zip(blocks[1:], alternatives, strict=True)
        ]

        def act_all(step: int) -> None:
            self._act(modules, now, blocks, exploring)
            if step < self.settings.hold * self.period:
                self._hold(held)

        ends = self.futures.play(everyone, self.agent, self.settings.horizon, act_all)
        returns = ends.total
        if self.settings.bootstrap:
            returns = returns + self.gamma**ends.steps * ~ends.terminated * values(self._situations(modules, ends))
        self._account(int(ends.steps.max()) * len(everyone))
        base, *others = np.split(returns, self.num_blocks)
        parts = [
            self._rows(observed, acted, choice, own, other - base, kept)
            for own, other, kept in zip(alternatives, others, differ, strict=True)
        ]
        rows_ = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        self.newest = rows_[learned.DIFFERENCE]
        self.num_compared += len(self.newest)
        self.differences.add(rows_, now)

    def _begin_with(self, blocks: list[np.ndarray], own: list[PolicyOutput]) -> Columnar:
        """Writes the first actions: the tier's own, by block, and what others do in the first one. Returns that
        block's."""
        env = self.futures.env
        for rows, one in zip(blocks, own, strict=True):
            for agent in self.plan.agents if rows is not blocks[0] else ():
                env.actions[agent][rows] = env.actions[agent][blocks[0]]
            env.actions[self.agent][rows] = one.executed
        return {agent: env.actions[agent][blocks[0]].copy() for agent in self.plan.agents}

    def _hold(self, held: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> None:
        """Writes the entries of alternatives that differ, by (rows, which entries, alternative)."""
        actions = self.futures.env.actions[self.agent]
        for rows, differs, own in held:
            actions[rows] = np.where(differs, own, actions[rows])

    def _account(self, steps: int) -> None:
        self.budget -= steps
        self.taken[0] += steps

    def _exploring(self) -> list[Exploring]:
        """Of each block; none where the team acts greedily."""
        if not self.settings.explore:
            return []
        seeds = self.rng.integers(SEEDS, size=self.num_blocks)
        return [Exploring(int(seeds[0] if self.settings.draws == "same" else seed)) for seed in seeds]

    def _act(self, modules: Any, now: int, blocks: list[np.ndarray], exploring: list[Exploring]) -> None:
        """Everybody's actions."""
        if not exploring:
            self.futures.act(np.concatenate(blocks), lambda agent, rows: self._greedy(modules, agent, rows))
        for rows, noise in zip(blocks, exploring, strict=False):
            with noise.step():
                self.futures.act(rows, functools.partial(self._explored, modules, now, noise))

    def _greedy(self, modules: Any, agent: str, rows: np.ndarray) -> np.ndarray:
        return act(modules[self.plan.tier_of[agent]], self.futures.seen(agent, rows), explore=False).executed

    def _explored(self, modules: Any, now: int, noise: Exploring, agent: str, rows: np.ndarray) -> np.ndarray:
        module, observation = modules[self.plan.tier_of[agent]], self.futures.seen(agent, rows)
        takes_noise = agent in self.plan.learning and agent not in self.plan.on_policy and not module.is_discrete
        held = None
        if takes_noise:
            held = noise.noise(agent, module.settings.exploration, (len(rows), *module.action_space.shape))
        return act(module, observation, explore=agent in self.plan.learning, t=now, noise=held).executed

    # ---- alternatives
    def _choices(
        self, module: Any, observed: Columnar, now: int, taught: np.ndarray | None
    ) -> tuple[PolicyOutput, list[PolicyOutput], list[np.ndarray]]:
        """The tier's own choice, the alternatives, and where each of those is another one: (count,)."""
        kinds, number = self.kinds, self.settings.num_alternatives
        observation, is_drawn, told = observed[self.agent], self.adapter.draws_choice, None
        if is_drawn:
            told = self.batches.seen_by_critic(self.tier, self.agent, observed, {}).get(CRITIC_OBS)
        with Exploring(int(self.rng.integers(SEEDS))).step():
            choice = act(module, observation, explore=is_drawn, t=now, with_value=is_drawn, read_by_value=told)
            draws = [
                act(module, observation, explore=True, t=now, with_value=is_drawn, read_by_value=told)
                for _ in range(number if "draw" in kinds else 0)
            ]
        others = self._others(module, observation, choice.executed) if "other" in kinds else []
        same = [] if taught is None else [PolicyOutput(taught, taught)] * number
        found = [{"draw": draws, "other": others, "teacher": same}[kinds[k % len(kinds)]][k] for k in range(number)]
        differ = [own.executed != choice.executed for own in found]
        if module.is_discrete:  # a teacher may do what masking forbids
            can = ~_impossible(module, observation)
            return (
                choice,
                found,
                [one & can[np.arange(len(can)), own.executed] for one, own in zip(differ, found, strict=True)],
            )
        return choice, found, [one.any(-1) for one in differ]

    def _others(self, module: Any, observation: np.ndarray, choice: np.ndarray) -> list[PolicyOutput]:
        """Other choices, all different; or the choice with some entries, drawn at random, at levels drawn uniformly."""
        number, count = self.settings.num_alternatives, len(choice)
        if module.is_discrete:
            order = self.rng.random((count, int(module.action_space.n)))
            order[_impossible(module, observation)] = -1.0
            order[np.arange(count), choice] = -1.0
            best = np.argsort(-order, 1)[:, :number]
            is_possible = np.take_along_axis(order, best, 1) >= 0
            other = np.where(is_possible, best, choice[:, None])
            return [PolicyOutput(column, column) for column in other.T]
        found = []
        for _ in range(number):
            other, size = choice.copy(), (count, self.settings.entries)
            entries = self.rng.random(choice.shape).argsort(1)[:, : size[1]]
            np.put_along_axis(other, entries, self.rng.uniform(-1.0, 1.0, size).astype(other.dtype), 1)
            found.append(PolicyOutput(other, other))
        return found

    # ---- columns
    def _situations(self, modules: Any, ends: Ends) -> Columnar:
        """What values of the ends are read from. Everybody acts there by their policy; slow ones hold on."""
        acted = {}
        for agent in self.plan.agents:
            tier = self.plan.tier_of[agent]
            is_held = agent in self.plan.slow and agent != self.agent or tier in self.plan.scripted
            acted[agent] = (
                ends.acted[agent] if is_held else act(modules[tier], ends.observed[agent], explore=False).executed
            )
        seen = self.batches.seen_by_critic(self.tier, self.agent, ends.observed, acted)
        return {OBS: ends.observed[self.agent], ACTIONS: acted[self.agent], **seen}

    def _rows(
        self, observed: Columnar, acted: Columnar, choice: PolicyOutput, own: PolicyOutput, difference: np.ndarray,
        kept: np.ndarray,
    ) -> Columnar:  # fmt: skip
        """The columns of one alternative, `kept` of the states."""
        columns = {learned.OBSERVED: observed[self.agent], learned.DIFFERENCE: difference.astype(np.float32)}
        if choice.logp is not None and own.logp is not None:  # draws of a policy
            columns |= {learned.CHOICE: choice.raw, learned.ALTERNATIVE: own.raw}
            columns |= {learned.CHOICE_LOGP: choice.logp, learned.ALTERNATIVE_LOGP: own.logp}
        else:
            columns |= {learned.CHOICE: choice.executed, learned.ALTERNATIVE: own.executed}
        seen = self.batches.seen_by_critic(self.tier, self.agent, observed, acted)
        columns |= {learned.READ[name]: column for name, column in seen.items()}
        return {name: column[kept] for name, column in columns.items()}

    def columns(self, num_steps: int, size: int, now: int, scale: float) -> Columnar:
        """Columns for `num_steps` gradient steps of `size` rows; none where the term has no weight or no rows.

        Args:
            num_steps, size: of the batch.
            now: environment steps of training.
            scale: unit of the tier's values [reward].
        """
        weight = value_at(self.settings.weight, now)
        if weight <= 0 or len(self.differences) == 0:
            return {}
        rows = -(-size // self.adapter.one_in)  # of each step, the first ones
        index, counts = self.differences.draw(self.rng, num_steps, rows, now)
        columns = {name: column[index] for name, column in self.differences.columns.items()}
        unit = max(self.differences.root_mean_square(), SMALLEST * scale)
        columns[learned.DIFFERENCE] = columns[learned.DIFFERENCE] / np.float32(unit)
        columns[learned.UNIT] = np.full(len(index), unit / scale, np.float32)
        columns[learned.WEIGHT] = (weight * counts).astype(np.float32)
        return {name: spread(column, num_steps, rows, size) for name, column in columns.items()}

    # ---- state
    def sizes(self) -> dict[str, tuple[int, ...]]:
        """Column -> shape of a row of it."""
        team, action = self.batches.team, self.batches.team.action_spaces[self.agent].shape or ()
        observed = {a: (part.stop - part.start,) for a, part in team.slices.items()}
        minutes = self.plan.minutes(self.agent)
        own = (row_size(*observed[self.agent], minutes),)
        found = {learned.OBSERVED: own, learned.DIFFERENCE: ()}
        found |= {learned.CHOICE: action, learned.ALTERNATIVE: action}
        if self.adapter.draws_choice:
            found |= {learned.CHOICE_LOGP: (), learned.ALTERNATIVE_LOGP: ()}
        told = observed[STATE][0] if self.tier_settings.reads_state else 0
        if told and not self.batches.is_central(self.tier):
            found[learned.TOLD] = (observed[self.agent][0] + told + (own[0] if minutes else 0),)
        if self.batches.is_central(self.tier):
            known = team.known[self.tier]
            others = sum(flat_dim(team.action_spaces[a]) for a in known if a != self.agent)
            joint = sum(observed[a][0] for a in known) + told + (own[0] if minutes else 0)
            found |= {learned.JOINT: (joint,), learned.OTHERS: (others,)}
        return found

    def get_state(self) -> dict[str, Any]:
        """All that a resumed run goes on from, as plain data."""
        return {
            "generator": dict(self.rng.bit_generator.state),
            "budget": self.budget,
            "taken": list(self.taken),
            "num_compared": self.num_compared,
            "newest": self.newest.copy(),
            "differences": self.differences.get_state(),
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on from `get_state`; CheckpointError if differences are of another tier or of other networks."""
        self.differences.check(state["differences"], self.sizes())
        self.rng.bit_generator.state = state["generator"]
        self.budget, self.taken = float(state["budget"]), [int(steps) for steps in state["taken"]]
        self.num_compared, self.newest = int(state["num_compared"]), np.array(state["newest"])
        self.differences.set_state(state["differences"])

    def measured(self) -> dict[str, float]:
        """For results."""
        found = {"share": self.taken[0] / max(1, self.taken[1]), "comparisons": float(self.num_compared)}
        if len(self.newest):
            found |= {
                "mean_abs_difference": float(np.abs(self.newest).mean()),
                "sd_difference": float(self.newest.std()),
            }
        return {**found, "rows": float(len(self.differences))}


class CounterfactualCredit:
    """What all tiers with a weight of differences do in an iteration of training.

    Args:
        config: an `HMARLConfig`.
        batches: of its tiers.
        env: the batch that training samples from; None where remote runners have it, which is allowed without any.
        scripted: makes tier -> policy of the tiers without networks.

    Raises:
        ConfigError: a tier is to compare alternatives in an environment that cannot be copied, or where it cannot.
    """

    def __init__(self, config: Any, batches: TierBatches, env: Any, scripted: Callable[[], Mapping[str, Policy]]):
        self.config, self._step = config, 0
        self.credits: dict[str, Credit] = {}
        for number, (tier, settings) in enumerate(batches.plan.settings.items()):
            if not weighs(settings):
                continue
            check_tier(tier, settings, batches, env, import_path(config.env))
            check_share(tier, settings.counterfactual, config.train_batch_size)
            own, copies = settings.counterfactual, _copies(config, tier)
            teacher = _teacher(config, tier, copies) if "teacher" in getattr(own, "alternatives", ()) else None
            futures = Futures(copies, batches.plan, scripted(), own.states, teacher)
            credit = Credit(tier, batches, futures, [config.seed or 0, number, PURPOSE])
            row = sum(prod(shape) for shape in credit.sizes().values())
            given = f"tier {tier!r}: counterfactual.capacity={own.capacity}"
            check_memory(given, 8.0 * own.capacity * row)  # [bytes] with the copy in a checkpoint
            self.credits[tier] = credit
        self._first = self.get_state()

    def begin(self, now: int) -> None:
        """Called before training samples, at `now` environment steps."""
        self._step, num_envs = 0, self.config.num_envs_per_env_runner
        for credit in self.credits.values() if now >= self.config.learning_starts else ():
            credit.begin(now, -(-self.config.train_batch_size // num_envs), num_envs)

    def watch(self, env: Any, past: Mapping[str, Past]) -> None:
        """Called before each step of that, with what agents remember."""
        for credit in self.credits.values():
            credit.watch(env, past, self._step)
        self._step += 1

    def compare(self, algo: Any) -> None:
        """Rolls out what was copied meanwhile, with the networks of an `HMARL`; its results say how it went."""
        if not self.credits:
            return
        with algo.metrics.log_time((TIMERS, CREDIT)):
            for tier, credit in self.credits.items():
                ask = functools.partial(_ask, algo.learner_group, tier)
                credit.compare(algo.env_runner.module, algo.num_env_steps, ask)
                for name, value in credit.measured().items():
                    algo.metrics.log_value((CREDIT, tier, name), value, window=1)

    def columns(self, algo: Any, tier: str, num_steps: int, size: int) -> Columnar:
        """As `Credit.columns`; none for tiers without."""
        credit = self.credits.get(tier)
        return (
            {} if credit is None else credit.columns(num_steps, size, algo.num_env_steps, algo.statistics.scale(tier))
        )

    def get_state(self) -> dict[str, Any]:
        """Tier -> its state, plain data."""
        return {tier: credit.get_state() for tier, credit in self.credits.items()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on from `get_state`; a tier that compared nothing then begins anew."""
        for tier, credit in self.credits.items():
            credit.set_state(state.get(tier, self._first[tier]))


def _impossible(module: Any, observation: np.ndarray) -> np.ndarray:
    """(B, choices), which of them masking forbids."""
    if not getattr(module.settings, "action_masking", False):
        return np.zeros((len(observation), int(module.action_space.n)), bool)
    return impossible_choices(torch.as_tensor(module.present(observation))).numpy()


def _copies(config: Any, tier: str) -> Any:
    """Environments for a tier's rollouts; ConfigError if there are too many of them."""
    own = config.tier(tier).counterfactual
    options = {k: v for k, v in dict(config.env_config).items() if k not in ("worker_index", "num_envs")}
    try:
        return make_batched_env(config.env, own.states * (1 + own.num_alternatives), config.seed or 0, options)
    except ConfigError as error:
        asked = f"counterfactual.states={own.states} with num_alternatives={own.num_alternatives}"
        raise ConfigError(f"tier {tier!r}: {asked}: {error}") from None


def _teacher(config: Any, tier: str, env: Any) -> Any:
    """A teacher for a tier's alternatives alone; ConfigError if there is none."""
    teacher = config.make_teacher(env, 0)
    if teacher is None:
        raise ConfigError(f"tier {tier!r}: counterfactual.alternatives has 'teacher', but there is no teacher")
    return copy.deepcopy(teacher) if teacher is config.teacher else teacher


def _ask(group: Any, tier: str, columns: Columnar) -> np.ndarray:
    return group.edit(tier, functools.partial(learned.values, columns=columns), keep=False)[0]


def weighs(settings: Any) -> bool:
    """Whether a tier's settings give differences a weight at any time."""
    own = getattr(settings, "counterfactual", None)
    if own is None:
        return False
    return any(weight > 0 for _, weight in own.weight) if isinstance(own.weight, tuple) else own.weight > 0


def check_tier(tier: str, settings: Any, batches: TierBatches, env: Any, name: str) -> None:
    """ConfigError if the tier cannot compare alternatives in the environments of that name."""
    plan, own = batches.plan, settings.counterfactual
    members, given = plan.members[tier], f"tier {tier!r}: counterfactual.weight={shown(own.weight)}"
    if not hasattr(env, "branch"):
        raise ConfigError(f"{given} needs environments that can be copied, with a method 'branch'; {name} has none")
    if len(members) > 1:
        raise ConfigError(f"{given} is of {len(members)} agents: {', '.join(members)}; allowed: tiers of one agent")
    if tier not in {plan.tier_of[agent] for agent in plan.learning}:
        raise ConfigError(f"{given} has no effect: the tier does not learn")
    space = batches.team.action_spaces[members[0]]
    if isinstance(space, gym.spaces.Discrete) and own.num_alternatives >= space.n:
        found = f"tier {tier!r}: counterfactual.num_alternatives={own.num_alternatives}"
        raise ConfigError(f"{found}; allowed: at most {int(space.n) - 1}, there are {int(space.n)} choices")
    if not isinstance(space, gym.spaces.Discrete) and getattr(own, "entries", 1) > flat_dim(space):
        found = f"tier {tier!r}: counterfactual.entries={own.entries}"
        raise ConfigError(f"{found}; allowed: at most {flat_dim(space)}, an action has no more")


def check_share(tier: str, own: Any, train_batch_size: int) -> None:
    """ConfigError if a tier's rollouts cannot take their share: there is one round of them an iteration."""
    one, wanted = (1 + own.num_alternatives) * own.horizon, own.share * train_batch_size
    if wanted > own.states * one:
        raise ConfigError(
            f"tier {tier!r}: counterfactual.states={own.states} are too few for share={own.share:g} of "
            f"train_batch_size={train_batch_size}: one state takes {one} steps; allowed: at least {ceil(wanted / one)}"
        )
