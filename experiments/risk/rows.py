"""What a risk model learns from: hosts with evidence, as the SOC knows them, and the truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import soc_env
from experiments.evaluate import acting
from soc_env.soc.kernels.rating import read_all
from soc_env.soc.kernels.state import WATCHED
from soc_env.soc.risk_model import INPUTS, RiskModel
from soc_env.soc.scenario import SOCScenario

NUM_ENVS = 64  # of a simulator; each has networks of its own
EVERY = 5  # [min] between two looks at an episode: the rows of neighbouring minutes are nearly the same
FIRST = 10  # [min] before which hardly any host has evidence


@dataclass(frozen=True)
class Rows:
    """Hosts with evidence, at some minutes of some episodes.

    Attributes:
        inputs: (N, I) float32, in the order of `soc_env.soc.risk_model.INPUTS`.
        is_bad: (N,) bool, the truth: an intruder controls the host, or left persistence or destruction there.
        formula: (N,) float64, the SIEM's risk score.
        episode: (N,) int64, which episode a row is of.
    """

    inputs: np.ndarray
    is_bad: np.ndarray
    formula: np.ndarray
    episode: np.ndarray

    def __len__(self) -> int:
        return len(self.is_bad)

    @classmethod
    def join(cls, parts: list[Rows]) -> Rows:
        """Those of all parts; an episode keeps its number."""
        names = ("inputs", "is_bad", "formula", "episode")
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def gather(
    policy: Any,
    scenario: SOCScenario,
    num_episodes: int,
    seed: int,
    *,
    first_episode: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Rows:
    """Plays whole episodes and notes the rows of every `EVERY` minutes.

    Args:
        policy: what `experiments.evaluate.acting` makes a policy of.
        scenario: its split, and the risk model that is played by; rows are noted also where there is none.
        num_episodes: episodes, each block of `NUM_ENVS` on networks of its own.
        seed: of the episodes and of the networks.
        first_episode: number of the first one.
        progress: called with the number of episodes played.
    """
    parts = []
    for block in range(0, num_episodes, NUM_ENVS):
        size = min(NUM_ENVS, num_episodes - block)
        draw = np.random.SeedSequence([0xBE11EF, seed, block]).generate_state(2)
        # below the offset of the test split's networks, so that no network is in both
        own = scenario if scenario.network else scenario.replace(network_seed=int(draw[0] % 900_000))
        simulator = soc_env.Simulator(own, num_envs=size, seed=int(draw[1]), autoreset=False)
        if not own.risk_model:
            simulator.records().world["risk_model"]["kind"] = WATCHED
        simulator.reset()
        player = acting(policy, own, own.name, seed)
        parts += _play(simulator, player, first_episode + block)
        if progress is not None:
            progress(block + size)
    return Rows.join(parts)


def _play(simulator: Any, player: Any, first_episode: int) -> list[Rows]:
    """The rows of one episode of each env."""
    found, records = [], simulator.records()
    inputs = np.empty((*records.hosts.shape, len(INPUTS)))
    while not simulator.truncated.all():
        if getattr(player, "needs_state", False):
            player.state = simulator.state()
        for agent, action in player(simulator.observations, simulator.decides).items():
            simulator.actions[agent][...] = action
        simulator.step()
        minute = int(simulator.records(0).env["step"])
        if minute >= FIRST and minute % EVERY == 0:
            inputs[...] = np.nan
            read_all(records.world, records.assets, records.env, records.hosts, inputs)
            is_up = records.hosts["is_offline"] == 0  # one that is being rebuilt is out of everybody's reach
            env, place = np.nonzero(~np.isnan(inputs[:, :, 0]) & is_up)
            hosts = records.hosts[env, place]
            is_bad = (hosts["level"] > 0) | (hosts["is_persistent"] != 0) | (hosts["is_encrypted"] != 0)
            seen = inputs[env, place]
            found.append(Rows(seen.astype(np.float32), is_bad, seen[:, FORMULA], env + first_episode))
    return found


FORMULA = list(INPUTS).index("formula")


def probabilities(model: RiskModel, rows: Rows) -> np.ndarray:
    """(N,) what the model says of the rows."""
    return model.probability(rows.inputs.astype(np.float64))
