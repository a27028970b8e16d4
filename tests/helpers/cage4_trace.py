"""A recorded episode of CC4 as plain data, so that what reads CC4 is tested where there is no CybORG.

To record it anew (needs CYBORG_HOME): ``python tests/helpers/cage4_trace.py``. The file holds what the environment
returned and nothing of CybORG's code: labels, masks, observations, raw observations reduced to JSON, rewards, scores
and what they are made of, busy.
"""

from __future__ import annotations

import enum
import gzip
import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cyborg_bridge.checkout import importable_cyborg
from cyborg_bridge.score import Charge
from cyborg_bridge.zones import Zone

needs_cyborg = pytest.mark.skipif(
    not (os.environ.get("CYBORG_HOME") or importable_cyborg()),
    reason="CYBORG_HOME names no CybORG checkout: NOT tested against the real one",
)
FILE = Path(__file__).parents[1] / "data/cage4-trace.json.gz"
STEPS, SEED = 60, 4
RANDOM = "blue_agent_3"  # plays random valid actions, so that all kinds are in; the others follow the raw rule


def plain(value: Any) -> Any:
    """The value as JSON has it: enums by name, arrays as lists, addresses and actions as text."""
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return value.item()
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def record() -> dict[str, Any]:
    """Plays an episode of three short mission phases."""
    from cyborg_bridge import cage4_parallel_env
    from cyborg_bridge.controls import make_control

    env = cage4_parallel_env(steps=STEPS, observation="raw")
    rule, random = make_control("raw-rule"), make_control("random-valid", seed=0)
    agents = env.possible_agents
    observations, infos = env.reset(seed=SEED)
    frames = []
    frame: dict[str, Any] = {"reward": None}
    while True:
        frame["observations"] = {agent: observations[agent].tolist() for agent in agents}
        frame["raw"] = {agent: plain(env.raw_observation(agent)) for agent in agents}
        frame["score"] = infos[agents[0]]["score"]
        frame["rest"] = infos[agents[0]]["rest"]
        frame["charges"] = [list(charge) for charge in infos[agents[0]]["charges"]]
        frame["busy"] = {agent: infos[agent]["busy"] for agent in agents}
        frames.append(frame)
        if not env.agents:
            break
        actions = rule.act(observations, infos, env)
        actions[RANDOM] = random.act(observations, infos, env)[RANDOM]
        frame["actions"] = actions
        observations, rewards, _, _, infos = env.step(actions)
        frame = {"reward": rewards[agents[0]]}
    return {
        "steps": STEPS,
        "seed": SEED,
        "labels": {agent: env.action_labels(agent) for agent in agents},
        "masks": {agent: infos[agent]["action_mask"].tolist() for agent in agents},
        "frames": frames,
    }


def load() -> dict[str, Any]:
    """The recorded trace."""
    return json.loads(gzip.decompress(FILE.read_bytes()))


class Replay:
    """The recorded episode behind the reading half of `Cage4Env`; `step` takes any actions and plays what was."""

    def __init__(self, trace: dict[str, Any]) -> None:
        self.trace = trace
        self.possible_agents = list(trace["labels"])
        self.agents: list[str] = []
        self.episode = ""
        self._zones = {agent: Zone.of(labels) for agent, labels in trace["labels"].items()}

    def reset(self) -> tuple[dict[str, np.ndarray], dict[str, dict[str, Any]]]:
        self.agents, self._step = list(self.possible_agents), 0
        self.episode = uuid.uuid4().hex
        return self._seen()

    def step(self, actions: Mapping[str, int]) -> tuple[Any, ...]:
        self._step += 1
        is_over = self._step == len(self.trace["frames"]) - 1
        self.agents = [] if is_over else list(self.possible_agents)
        observations, infos = self._seen()
        rewards = dict.fromkeys(self.possible_agents, self.trace["frames"][self._step]["reward"])
        ended = dict.fromkeys(self.possible_agents, False)
        return observations, rewards, ended, dict.fromkeys(self.possible_agents, is_over), infos

    def _seen(self) -> tuple[dict[str, np.ndarray], dict[str, dict[str, Any]]]:
        frame = self.trace["frames"][self._step]
        masks = self.trace["masks"]
        observations = {agent: np.array(row, np.int64) for agent, row in frame["observations"].items()}
        infos = {
            agent: {
                "action_mask": np.array(masks[agent], np.int8),
                "score": frame["score"],
                "rest": frame["rest"],
                "charges": tuple(Charge(*charge) for charge in frame["charges"]),
                "busy": frame["busy"][agent],
            }
            for agent in self.possible_agents
        }
        return observations, infos

    def action_labels(self, agent: str) -> list[str]:
        return list(self.trace["labels"][agent])

    def raw_observation(self, agent: str) -> dict[str, Any]:
        return self.trace["frames"][self._step]["raw"][agent]

    def zone(self, agent: str) -> Zone:
        return self._zones[agent]

    def subnets(self, agent: str) -> list[str]:
        return list(self._zones[agent].subnets)

    def hosts(self, agent: str) -> dict[str, list[str]]:
        return {subnet: list(slots) for subnet, slots in self._zones[agent].hosts.items()}


if __name__ == "__main__":
    text = json.dumps(record(), separators=(",", ":"))
    FILE.write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))
    print(f"{FILE}: {FILE.stat().st_size / 1000:.0f} kB")
