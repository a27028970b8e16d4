"""The PettingZoo environment itself; the package's docstring is its page."""

from __future__ import annotations

import copy
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Space
from pettingzoo import AECEnv, ParallelEnv
from pettingzoo.utils.conversions import parallel_to_aec

from soc_env.engine.scenario import Scenario
from soc_env.engine.state import check_fit, check_names, check_same
from soc_env.engine.tables import AGENTS, COORDINATOR, TRIAGE
from soc_env.errors import ActionError, CheckpointError, ConfigError, HMARLSOCError, shown, unknown_name
from soc_env.options import ApiOptions
from soc_env.registry import Simulator, family_of, idle_actions
from soc_env.soc.console import Console
from soc_env.soc.trace import Call, RecordedStep, Trace

RENDER_MODES = ("human", "ansi", "rgb_array")
OTHERS = tuple(agent for agent in AGENTS if agent != COORDINATOR)
Infos = dict[str, dict[str, Any]]
StepReturn = tuple[dict[str, Any], dict[str, float], dict[str, bool], dict[str, bool], Infos]


class ResetNeeded(HMARLSOCError, gymnasium.error.ResetNeeded):
    """`step` without a running episode; `state`, `metrics` or `render` before the first `reset`."""


class SOCEnv(ParallelEnv[str, Any, Any]):
    """One SOC episode at a time as PettingZoo dicts; the package's docstring is its documentation.

    Attributes:
        scenario: The frozen `Scenario` that is played.
        simulator: The one-env `Simulator` underneath: to look at, not to step.
        layout: The options of the dict API.
        possible_agents: The four agents, triage first.
        agents: Those that act in the next step; empty before `reset` and after the end.
        observation_spaces: dict agent -> its space.
        action_spaces: dict agent -> its space.
        state_space: Box of `state()`.
        max_cycles: Steps after which an episode is truncated; may be assigned, counts from the next `reset`.
        render_mode: As given.
    """

    metadata: dict[str, Any] = {
        "name": "soc_v1",
        "render_modes": list(RENDER_MODES),
        "render_fps": 5,
        "is_parallelizable": True,
    }

    def __init__(
        self,
        scenario: str | Scenario = "soc-v1",
        render_mode: str | None = None,
        *,
        actions: str = "mixed",
        masks: str = "none",
        homogenize: bool = False,
        coordinator: str = "present",
        seed: int | None = None,
        **overrides: Any,
    ) -> None:
        """Arguments as in the package's docstring.

        Raises:
            ScenarioError: Unknown scenario, unknown override, or one that is out of range.
            ConfigError: An option, a render mode or a seed that does not exist, or options that contradict each other.
        """
        if render_mode is not None and render_mode not in RENDER_MODES:
            raise ConfigError(unknown_name("render_mode", render_mode, RENDER_MODES))
        self.render_mode = render_mode
        self._first_seed = secrets.randbits(64) if seed is None else seed
        self.simulator = self._make_simulator(scenario, **overrides)
        self.scenario = self.simulator.scenario
        self.layout = ApiOptions.of(
            self.simulator, actions=actions, masks=masks, homogenize=homogenize, coordinator=coordinator
        )
        self.max_cycles = self.scenario.max_steps
        self.metadata = {**type(self).metadata, "name": _versioned_name(self.scenario.name)}
        self.possible_agents = list(AGENTS)
        self.agents: list[str] = []
        self.observation_spaces: dict[str, Space] = {agent: self.layout.observation_space(agent) for agent in AGENTS}
        self.action_spaces: dict[str, Space] = {agent: self.layout.action_space(agent) for agent in AGENTS}
        self.state_space = self.simulator.state_space
        self._owed = 0.0  # rewards of an absent coordinator since its last decision
        self._canvas: Any = None
        self._console: Console | None = None
        self._before: list[bytes] = []  # for each minute of the episode, the actions of the one before it
        self._called: dict[int, list[Call]] = {}  # minute -> calls of the console
        self._bind()

    def observation_space(self, agent: str) -> Space:
        """The agent's observation space, always the same object."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Space:
        """The agent's action space, always the same object."""
        return self.action_spaces[agent]

    # ------------------------------------------------------------------ episodes
    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict[str, Any], Infos]:
        """Starts an episode.

        Args:
            seed: Integer of at least 0 to start that seed's stream of episodes; None plays the stream's next episode.
            options: Ignored; none are defined.

        Returns:
            Observations and infos by agent.

        Raises:
            ConfigError: A bad seed.
            ScenarioError: A bad `max_cycles`.
        """
        if self.max_cycles != self.scenario.max_steps:
            self._change_horizon()
        self.simulator.reset(seed)
        for agent, held in self._held.items():
            held[:] = self._idle[agent]
        self._owed = 0.0
        self._before, self._called = [], {}
        if self._console is not None:
            self._console.forget()
        self.agents = list(AGENTS)  # the coordinator decides in the first step
        if self.render_mode == "human":
            self.render()
        return self._observations(AGENTS), self._infos(AGENTS, False)

    def step(self, actions: Mapping[str, Any]) -> StepReturn:
        """One step of the team.

        Args:
            actions: agent -> action. A missing agent, or None, holds; other keys are ignored.

        Returns:
            Observations, rewards, terminations, truncations and infos by agent, all of them fresh objects.

        Raises:
            ActionError: A wrong shape or type, NaN, or a choice out of range; nothing has changed then.
            ResetNeeded: Before `reset`, or after the end of the episode.
        """
        if not self.agents:
            raise ResetNeeded("step() needs a running episode: call reset() first")
        self._act(actions)
        reward, is_terminated, is_truncated = self._reward(0), self._terminated(0), self._truncated(0)
        is_over = is_terminated or is_truncated
        agents: tuple[str, ...] = AGENTS
        rewards = dict.fromkeys(AGENTS, reward)
        if self.layout.coordinator == "absent":
            agents = self._settle_absence(rewards, is_over)
        if is_over:
            self.agents = []
        if self.render_mode == "human":
            self.render()
        return (
            self._observations(agents),
            rewards,
            dict.fromkeys(agents, is_terminated),
            dict.fromkeys(agents, is_truncated),
            self._infos(agents, is_over),
        )

    def _act(self, actions: Mapping[str, Any]) -> None:
        """Steps the simulator, or raises ActionError with everything as it was."""
        held = self._remember()
        self._choice[0] = self._enrich
        try:
            for agent, read in self._readers if self._decides(0) else self._readers_between_decisions:
                action = actions.get(agent)
                if action is not None:
                    read(action)
            if self._console is not None:
                self._console.before_step()
            self.simulator.step()
        except ActionError:
            nans = [agent for agent, array in self._held.items() if np.isnan(array).any()]
            self.simulator.raw_actions[:] = np.frombuffer(held, np.float32)
            if nans:
                raise ActionError(f"{nans[0]}: the action has NaN; allowed: numbers, clipped to [-1, 1]") from None
            raise
        self._before.append(held)
        if self._console is not None:
            self._note_calls(self._console)

    def _note_calls(self, console: Console) -> None:
        calls = console.collect()
        if calls is not None:
            self._called[len(self._before)] = calls

    def _settle_absence(self, rewards: dict[str, float], is_over: bool) -> tuple[str, ...]:
        """Moves the coordinator's reward to the frame in which it is back. Returns the agents of this frame."""
        self._owed += rewards.pop(COORDINATOR)
        is_back = is_over or self._decides(0)
        if is_back:
            rewards[COORDINATOR], self._owed = self._owed, 0.0
        self.agents = list(AGENTS if is_back else OTHERS)
        return AGENTS if is_back else OTHERS

    def _observations(self, agents: Sequence[str]) -> dict[str, Any]:
        viewers = self._viewers
        return {agent: viewers[agent]() for agent in agents}

    def _infos(self, agents: Sequence[str], is_over: bool) -> Infos:
        is_running = 0 if is_over else 1
        infos: Infos = {agent: {"decides": is_running} for agent in agents}
        if is_running and not self._decides(0) and COORDINATOR in infos:
            infos[COORDINATOR]["decides"] = 0
        for agent, mask in self._info_masks:
            if agent in infos:
                infos[agent]["action_mask"] = mask()
        return infos

    # ------------------------------------------------------------------ state
    def get_state(self) -> dict[str, Any]:
        """The episode at this moment as plain data: dicts of NumPy arrays, numbers and strings. Copies.

        Another environment of the same scenario and options that takes it with `set_state` goes on exactly as this one,
        in this episode and those after it, and its `trace` has the minutes before too. Calls that are queued at the
        console are not part of it.
        """
        return {
            "simulator": self.simulator.get_state(),
            "options": dict(self.layout.options),
            "agents": list(self.agents),
            "owed": float(self._owed),
            "before": np.frombuffer(b"".join(self._before), np.float32).reshape(len(self._before), self._row_size),
            "called": {minute: list(calls) for minute, calls in self._called.items()},
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on where `get_state` was called, whatever was played here before.

        Raises:
            CheckpointError: It is of another scenario, horizon or options, or damaged; names what differs. Nothing has
                changed then.
        """
        check_names(state, ("simulator", "options", "agents", "owed", "before", "called"), "environment")
        check_same(state["options"], self.layout.options)
        before, owed = state["before"], state["owed"]
        rows = len(before) if isinstance(before, np.ndarray) and before.ndim else 0
        check_fit(before, np.zeros((rows, self._row_size), np.float32), "before", is_finite=False)
        if repr(state["agents"]) not in map(repr, ([], list(AGENTS), list(OTHERS))):
            raise CheckpointError(f"state: agents is {shown(state['agents'])}; allowed: those of a step, or none")
        if not isinstance(owed, float) or not np.isfinite(owed):
            raise CheckpointError(f"state: owed is {shown(owed)}; allowed: a number")
        called = _checked_calls(state["called"])
        self.simulator.set_state(state["simulator"])
        self._before, self._owed, self.agents = [row.tobytes() for row in before], owed, list(state["agents"])
        self._called = called
        if self._console is not None:
            self._console.forget()

    def clone(self) -> SOCEnv:
        """Another environment at this moment of this episode, which goes on exactly as this one would.

        Under the same actions the two return the same, bit for bit, also in later episodes. Neither knows of the other:
        spaces, with their random states, are copies, and what is queued at the console is queued there too. Only the
        scenario's tables and networks, which never change, are shared. `copy.deepcopy` does the same, and it copies
        wrappers around the environment too.
        """
        return copy.deepcopy(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> SOCEnv:
        twin = memo[id(self)] = object.__new__(type(self))
        twin.simulator = copy.deepcopy(self.simulator, memo)  # first: it says what need not be copied
        twin.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        if self._console is not None:
            twin.console.take_over(self._console)
        return twin

    # ------------------------------------------------------------------ by hand, and afterwards
    @property
    def console(self) -> Console:
        """The SIEM, EDR and SOAR as a Python API, see `soc_env.soc.console`.

        Raises:
            ConfigError: `paper-v0` has none.
        """
        if self._console is None:
            build = self._of_family("console")
            self._console = build(self.simulator, play=self.step)
        return self._console

    def trace(self) -> Trace:
        """The episode so far as plain data: actions, events, losses, outcomes; see `soc_env.soc.trace`.

        Raises:
            ResetNeeded: Before the first `reset`.
            ConfigError: `paper-v0` has none.
            TraceError: Something else than `step` and the console changed the episode.
        """
        self._check_started("trace")
        write, sim = self._of_family("trace_of"), self.simulator
        rows = [*self._before[1:], self._remember()][: len(self._before)]
        script = [
            RecordedStep(
                {agent: action[0] for agent, action in sim.split_actions(np.frombuffer(row, np.float32)).items()},
                self._called.get(minute),
            )
            for minute, row in enumerate(rows, 1)
        ]
        return write(sim, script, self.layout.options)

    def audit(self) -> list[dict[str, Any]]:
        """Every tool call of the episode so far with its outcome, see `Trace.audit`; raises as `trace`."""
        return self.trace().audit()

    def _of_family(self, what: str) -> Callable[..., Any]:
        """The family's `console` or `trace_of`; ConfigError if it has none."""
        found = getattr(family_of(self.scenario), what)
        if found is None:
            what = what.removesuffix("_of")
            raise ConfigError(f"{what} needs a scenario of the soc-v1 family; this is {self.scenario.name}")
        return found

    # ------------------------------------------------------------------ reading
    def features(self, agent: str) -> list[str]:
        """Names of the entries of the agent's own observation (before `homogenize`), by index."""
        return self.simulator.features(agent)

    def state(self) -> np.ndarray:
        """(entries of `state_space`,) float32: the truth, for centralised critics. A fresh array.

        Raises:
            ResetNeeded: Before the first `reset`.
        """
        self._check_started("state")
        return self.simulator.state()[0]

    def metrics(self) -> dict[str, float | int]:
        """The episode so far, as `simulator.metric_table`: rates, times and losses are float, counts int.

        Raises:
            ResetNeeded: Before the first `reset`.
        """
        self._check_started("metrics")
        row = self.simulator.running_metrics()[0]
        return {m.name: int(row[m.name]) if m.is_count else float(row[m.name]) for m in self.simulator.metric_table}

    def render(self, *_: Any) -> str | np.ndarray | None:
        """The current frame as `render_mode` asks; arguments are tolerated and ignored.

        Returns:
            "ansi": text. "rgb_array": (height, width, 3) uint8. "human": None, after printing the text.

        Raises:
            ResetNeeded: Before the first `reset`.
            ImportError: "rgb_array" without matplotlib.
        """
        self._check_started("render")
        if self.render_mode is None:
            gymnasium.logger.warn("render() does nothing without a render_mode; pass one to parallel_env()")
            return None
        if self.render_mode == "rgb_array":
            if self._canvas is None:
                self._canvas = family_of(self.scenario).canvas(self.simulator)
            return self._canvas.draw()
        text = family_of(self.scenario).as_text(self.simulator, 0)
        if self.render_mode == "ansi":
            return text
        print(text)
        return None

    def close(self) -> None:
        """Frees the drawing surface. May be called twice; `reset` and `step` still work afterwards."""
        self._canvas = None

    def _check_started(self, method: str) -> None:
        if not self.simulator.is_started:
            raise ResetNeeded(f"{method}() needs an episode: call reset() first")

    def __repr__(self) -> str:
        layout = ", ".join(f"{name}={value!r}" for name, value in self.layout.options.items())
        return f"SOCEnv({self.scenario.name!r}, num_hosts={self.scenario.num_hosts}, {layout})"

    def __str__(self) -> str:
        return self.metadata["name"]

    # ------------------------------------------------------------------ plumbing
    def _bind(self) -> None:
        """Points everything at the simulator's buffers; they are others in a copy."""
        sim, layout = self.simulator, self.layout
        self._reward, self._decides = sim.rewards.item, sim.decides.item
        self._terminated, self._truncated = sim.terminated.item, sim.truncated.item
        self._held = {agent: sim.actions[agent] if agent == TRIAGE else sim.actions[agent][0] for agent in AGENTS}
        self._choice = self._held[TRIAGE]
        self._enrich = [action.name for action in sim.action_tables[TRIAGE]].index("enrich")
        self._idle = {TRIAGE: self._enrich, **idle_actions(sim.scenario)}
        self._remember, self._row_size = sim.raw_actions.tobytes, sim.raw_actions.size
        self._readers = [(agent, layout.reader(agent, self._held[agent])) for agent in AGENTS]
        self._readers_between_decisions = [pair for pair in self._readers if pair[0] != COORDINATOR]
        own_masks = {TRIAGE: sim.mask_reader(), COORDINATOR: self._coordinator_reader()}
        masks = {agent: layout.masker(agent, own_masks.get(agent)) for agent in AGENTS if layout.is_discrete(agent)}
        self._info_masks = list(masks.items()) if layout.masks == "info" else []
        self._viewers = {agent: layout.viewer(agent, sim.observations[agent][0], masks.get(agent)) for agent in AGENTS}
        self._canvas = self._console = None

    def _coordinator_reader(self) -> Callable[[], np.ndarray]:
        """A function that returns its mask: all choices when it decides, else only the first, which is ignored."""
        every = np.ones(self.layout.own_size(COORDINATOR), np.int8)
        first = (np.arange(every.size) == 0).astype(np.int8)
        decides = self._decides
        return lambda: every if decides(0) else first

    def _make_simulator(self, scenario: str | Scenario, **overrides: Any) -> Simulator:
        return Simulator(scenario, seed=self._first_seed, autoreset=False, **overrides)

    def _change_horizon(self) -> None:
        """A simulator of `max_cycles` steps that has played as many episodes of the same seed as this one."""
        old = self.simulator
        self.scenario = self.scenario.replace(max_steps=self.max_cycles)
        self.simulator = self._make_simulator(self.scenario)
        if old.is_started:
            self.simulator.reset(old.seed)
            for _ in range(int(old.episodes[0])):
                self.simulator.reset()
        self._bind()

    def __getstate__(self) -> dict[str, Any]:
        bound = {
            "_reward", "_decides", "_terminated", "_truncated", "_held", "_choice", "_enrich", "_idle", "_remember",
            "_readers", "_readers_between_decisions", "_info_masks", "_viewers", "_canvas", "_console", "_row_size",
        }  # fmt: skip
        return {name: value for name, value in self.__dict__.items() if name not in bound}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._bind()


def _checked_calls(called: Any) -> dict[int, list[Call]]:
    """Minute -> calls of the console, as `SOCEnv` keeps them; CheckpointError if they are none."""
    try:
        rows = {int(minute): list(calls) for minute, calls in called.items()}
        return {
            minute: [(str(tool), int(target), float(level), float(depth)) for tool, target, level, depth in calls]
            for minute, calls in rows.items()
        }
    except (TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"state: called has what is no call of a tool ({error})") from None


def _versioned_name(scenario: str) -> str:
    """PettingZoo's form of a scenario's name: "paper-v0" -> "soc_paper_v0"."""
    name = scenario.replace("-", "_")
    return name if name.startswith("soc_") else f"soc_{name}"


def parallel_env(scenario: str | Scenario = "soc-v1", render_mode: str | None = None, **options: Any) -> SOCEnv:
    """The environment in PettingZoo's Parallel API.

    Args:
        scenario: A key of `SCENARIOS`, or a scenario.
        render_mode: None, "human", "ansi" or "rgb_array".
        **options: Those of `SOCEnv` and fields of the scenario.

    Raises:
        ScenarioError: Unknown scenario, unknown override, or one that is out of range.
        ConfigError: An option or a render mode that does not exist, or options that contradict each other.
    """
    return SOCEnv(scenario, render_mode, **options)


def env(scenario: str | Scenario = "soc-v1", render_mode: str | None = None, **options: Any) -> AECEnv:
    """The environment in PettingZoo's AEC API, with its order-enforcing wrapper. Arguments as in `parallel_env`.

    Raises:
        ConfigError: `coordinator="absent"`, which the AEC form cannot express.
    """
    if options.get("coordinator") == "absent":
        raise ConfigError("coordinator='absent' is for parallel_env; allowed in env: 'present'")
    return parallel_to_aec(parallel_env(scenario, render_mode, **options))
