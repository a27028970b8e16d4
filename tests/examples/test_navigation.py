"""Cooperative navigation: how returns are brought to the published scale, and that the command leaves what it says."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("ray")
pytest.importorskip("mpe2")
from mpe2 import simple_spread_v3

from examples import navigation


def test_published_scale_by_hand():
    """The original reward, computed from the positions: 25 steps, every agent earning the sum over agents."""
    env = simple_spread_v3.parallel_env(**navigation.OPTIONS)
    env.reset(seed=0)
    for agent in env.possible_agents:
        env.action_space(agent).seed(0)  # all push the same way
    world, ours, published, num_collisions = env.unwrapped.world, 0.0, 0.0, 0
    for number, agent in enumerate(world.agents):
        agent.state.p_pos = np.array([0.1 * number, 0.0])
    while env.agents:
        rewards = env.step({agent: env.action_space(agent).sample() for agent in env.agents})[1]
        ours += sum(rewards.values())
        places, marks = (np.array([one.state.p_pos for one in part]) for part in (world.agents, world.landmarks))
        nearest = np.linalg.norm(places[:, None] - marks[None], axis=-1).min(0).sum()
        meets = np.linalg.norm(places[:, None] - places[None], axis=-1) < 0.3  # twice the radius; itself included
        num_collisions += meets.sum() - 3
        published += sum(-nearest - meets[k].sum() for k in range(3))
    assert num_collisions > 0
    assert navigation.published_scale(np.array(ours)) == pytest.approx(published)


def test_command_writes_curve_and_plot(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(navigation, "NUM_EPISODES", 30)
    files = [str(tmp_path / name) for name in ("curve.json", "curve.png")]
    assert navigation.main(["--steps", "800", "--seed", "3", "--json", files[0], "--plot", files[1]]) == 0
    result = json.loads((tmp_path / "curve.json").read_text())
    assert [row["steps"] for row in result["curve"]] == [0, 800]
    assert result["task"]["seed"] == 3
    assert result["best"] == max(result["curve"], key=lambda row: row["return"])
    assert -300 < result["curve"][0]["return"] < -150
    assert (tmp_path / "curve.png").read_bytes()[:4] == b"\x89PNG"
    assert "800 steps  return" in capsys.readouterr().out
