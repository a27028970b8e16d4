"""Calibration of the mission score and the search of the best constant action."""

from typing import Any

import numpy as np
import pytest

import soc_env
from experiments import calibrate as calibration
from experiments import cli
from experiments.calibrate import (
    LEVELS,
    POSTURES,
    Search,
    as_playbook,
    calibrate,
    constant_losses,
    draw_constants,
    search_constants,
    write_constants,
)
from experiments.intervals import Estimate
from policies.scripted import ConstantPolicy
from policies.scripted import soc as playbooks

SHORT = {"max_steps": 25}


def run(*arguments: str) -> int:
    try:
        return cli.main(arguments)
    except SystemExit as stop:
        return int(stop.code or 0)


def test_the_control_oracle_is_far_below_doing_nothing() -> None:
    losses = calibrate("soc-v1", num_episodes=20)
    assert list(losses) == ["null_loss", "clairvoyant_loss"]
    assert losses["clairvoyant_loss"].mean < 0.2 * losses["null_loss"].mean
    assert losses["null_loss"].mean > 30
    fields = {name: loss.mean for name, loss in losses.items()}
    assert soc_env.make_scenario("soc-v1", **fields).hash()  # they are fields of the scenario, in its order


def test_calibrate_s_command_prints_the_two_fields(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("compare", "--calibrate", "--episodes", "5", "--override", "max_steps=40") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition("=")[0] for line in lines] == ["null_loss", "clairvoyant_loss"]
    assert all(float(line.partition("=")[2].split()[0]) >= 0 for line in lines)


# --- the constant search


def test_a_drawn_constant_does_what_its_playbook_does() -> None:
    """The fast batch of the search and `playbooks.constant` send the same actions."""
    simulator = soc_env.Simulator("soc-v1", num_envs=2, seed=0)
    rows = draw_constants(np.random.default_rng(3), 2)
    write_constants(simulator, rows)
    for index, row in enumerate(rows):
        named = dict(zip(("triage", *LEVELS, *POSTURES), row.tolist(), strict=True))
        triage = int(named.pop("triage"))
        policy = playbooks.constant(triage, **named)(simulator.action_spaces)
        for agent, action in policy({}, np.ones(1, bool)).items():
            np.testing.assert_allclose(simulator.actions[agent][index], action[0], atol=1e-6)


def test_losses_of_constants_are_those_of_their_episodes() -> None:
    rows = draw_constants(np.random.default_rng(3), 3)
    losses = constant_losses(rows, "soc-v1", [5, 9], **SHORT)
    assert losses.shape == (3, 2)
    alone = constant_losses(rows[2:], "soc-v1", [9], **SHORT)
    assert losses[2, 1] == alone[0, 0]


def test_the_search_finds_a_better_constant_than_it_drew() -> None:
    settings: dict[str, Any] = {"draws": 2, "refined": 6, "validation": 48, **SHORT}
    drawn = search_constants("soc-v1", 30, rounds=0, **settings)
    refined = search_constants("soc-v1", 30, rounds=3, **settings)
    assert drawn.num_tried == 30
    assert refined.num_tried == 30 + 3 * calibration.PARENTS * calibration.CHILDREN
    assert refined.loss.mean < drawn.loss.mean
    entry = as_playbook(refined)
    assert entry.startswith('"best-constant": constant(triage=')
    builder = eval("{" + entry + "}", {"constant": playbooks.constant})["best-constant"]
    assert isinstance(builder(soc_env.Simulator("soc-v1").action_spaces), ConstantPolicy)


def test_the_search_s_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    found = Search({"triage": 1, "hunt": 0.5}, Estimate(70.0, 1.0, 69.0, 71.0), 2200)
    monkeypatch.setattr(calibration, "search_constants", lambda *_, **__: found)
    assert run("compare", "--search", "2000") == 0
    out = capsys.readouterr().out
    assert "best of 2,200 constants: loss 70.00 [69.00, 71.00]" in out
    assert '"best-constant": constant(triage=1, hunt=0.5),' in out
