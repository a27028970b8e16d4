"""Rounds of playing and fitting, the model's file, and its card."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Mapping
from os import PathLike
from typing import Any, TextIO, cast

import soc_env
from experiments.evaluate import DEFAULT_SCENARIO
from experiments.output import output_errors, to_json, write_json, write_text
from experiments.progress import Progress
from experiments.provenance import provenance
from experiments.risk.quality import (
    Ranking,
    bootstrapped,
    calibration_error,
    draw_reliability,
    reliability,
)
from experiments.risk.rows import Rows, gather, probabilities
from policies.scripted import label, playbook_of
from soc_env.errors import ConfigError, shown
from soc_env.registry import family_of
from soc_env.soc.risk_model import MAX_UNITS, RiskModel
from soc_env.soc.scenario import SOCScenario

FIRST_POLICY, OWN_POLICY = "expert", "expert-learned"
EPISODES, TEST_EPISODES, ROUNDS, UNITS = 512, 256, 3, 16


def train_risk_model(
    out: str | PathLike[str],
    scenario: str = DEFAULT_SCENARIO,
    *,
    policy: Any = OWN_POLICY,
    episodes: int = EPISODES,
    test_episodes: int = TEST_EPISODES,
    rounds: int = ROUNDS,
    units: int = UNITS,
    seed: int = 0,
    json_path: str | PathLike[str] | None = None,
    plot_path: str | PathLike[str] | None = None,
    file: TextIO | None = None,
    **overrides: Any,
) -> RiskModel:
    """Trains a risk model and writes its file.

    The first round plays `expert` by the SIEM's formula, the others `policy` by the model of the round before: a team
    that acts on a belief changes what there is to believe. Each round fits a fresh model to the rows of all rounds.
    Same arguments, same file.

    Args:
        out: the file to write.
        scenario: one of the `soc-v1` family; played on its train split, judged on its test split.
        policy: of the rounds after the first, and of the test; a name or a playbook's file.
        episodes: of a round.
        test_episodes: of the test.
        rounds: at least 1.
        units: of the hidden layer, 1 to 64.
        seed: of all of it.
        json_path: the card, beside that in the model's file.
        plot_path: the reliability curve.
        file: where results are printed.
        **overrides: fields of the scenario.

    Raises:
        ConfigError, ScenarioError: bad arguments, or a file that cannot be written.
    """
    numbers = {"episodes": episodes, "test_episodes": test_episodes, "rounds": rounds, "units": units}
    configured = _checked(scenario, overrides, numbers)
    model, rows, held_out = _learn(configured, policy, numbers, seed)
    card = make_card(model, rows, held_out, seed) | _about(configured, policy, overrides, {**numbers, "seed": seed})
    model = dataclasses.replace(model, card=json.loads(to_json(card)))  # plain data, null for NaN
    _write(model, out, json_path, plot_path, file or sys.stdout)
    return model


def _learn(configured: SOCScenario, policy: Any, numbers: Mapping[str, int], seed: int) -> tuple[RiskModel, Rows, Rows]:
    """The model of the last round, the rows of all rounds, and those of the test."""
    from experiments.risk.fit import fit

    episodes, parts, played, model = numbers["episodes"], [], 0, None
    with Progress(numbers["rounds"] * episodes + numbers["test_episodes"], "episodes") as progress:
        for turn in range(numbers["rounds"]):
            own = configured.replace(split="train", risk_model=model.text().strip() if model else "")
            show = _counter(progress, played, f"round {turn}")
            player = policy if model else FIRST_POLICY
            parts.append(gather(player, own, episodes, seed * 1_000 + turn, first_episode=played, progress=show))
            played += episodes
            model = fit(Rows.join(parts), seed, numbers["units"])
        assert model is not None  # at least one round
        test = configured.replace(split="test", risk_model=model.text().strip())
        show = _counter(progress, played, "test")
        held_out = gather(policy, test, numbers["test_episodes"], seed * 1_000 + 999, progress=show)
    return model, Rows.join(parts), held_out


def _counter(progress: Progress, played: int, note: str) -> Callable[[int], None]:
    return lambda done: progress.update(played + done, note)


def _checked(scenario: str, overrides: Mapping[str, Any], numbers: Mapping[str, int]) -> SOCScenario:
    for name, value in numbers.items():
        most = MAX_UNITS if name == "units" else 1_000_000
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
            raise ConfigError(f"{name}={shown(value)} is out of range: a whole number from 1 to {most} is allowed")
    for name in ("split", "risk_model"):
        if name in overrides:
            raise ConfigError(f"{name}={shown(overrides[name])} is what this command sets itself")
    configured = soc_env.make_scenario(scenario, **overrides)
    if family_of(configured).name != "soc":
        raise ConfigError(f"scenario {scenario!r} has no risk score of hosts; allowed: those of the soc-v1 family")
    return cast(SOCScenario, configured)


def make_card(model: RiskModel, rows: Rows, held_out: Rows, seed: int) -> dict[str, Any]:
    """What is known of a model's quality, on rows that it was not trained on, as plain data."""
    said = probabilities(model, held_out)
    bins = reliability(said, held_out.is_bad)
    quality: dict[str, Any] = {}
    for name, scores in (("model", said), ("formula", held_out.formula)):
        ranking = Ranking(scores, held_out.is_bad)
        for measure, of in (("average_precision", ranking.precision), ("auc", ranking.auc)):
            quality[f"{measure}_{name}"] = dataclasses.asdict(bootstrapped(of, held_out.episode, seed))
    return {
        "model": model.hash(),
        "train": {"rows": len(rows), "bad": float(rows.is_bad.mean())},
        "test": {"rows": len(held_out), "bad": float(held_out.is_bad.mean()), "said": float(said.mean())},
        **quality,
        "calibration_error": calibration_error(bins),
        "reliability": [dataclasses.asdict(one) for one in bins],
    }


def _about(scenario: SOCScenario, policy: Any, overrides: dict[str, Any], numbers: dict[str, int]) -> dict[str, Any]:
    """Everything needed to make the file again."""
    playbook = playbook_of(policy)
    policies = {"first": FIRST_POLICY, "own": label(policy)} | ({"sha256": playbook.sha256} if playbook else {})
    return {
        "scenario": scenario.name, "scenario_hash": scenario.hash(), "overrides": dict(overrides), **numbers,
        "policies": policies, "intervals": "95 %, bootstrap over test episodes", **provenance(),
    }  # fmt: skip


def _write(model: RiskModel, out: Any, json_path: Any, plot_path: Any, file: TextIO) -> None:
    card = model.card
    for name in ("average_precision", "auc"):
        texts = [f"{of} {card[f'{name}_{of}']['mean']:.3f} [{card[f'{name}_{of}']['low']:.3f}, "
                 f"{card[f'{name}_{of}']['high']:.3f}]" for of in ("model", "formula")]  # fmt: skip
        print(f"{name.replace('_', ' ')}: {', '.join(texts)}", file=file)
    print(f"calibration error: {card['calibration_error']:.4f} (bad: {card['test']['bad']:.4f} of hosts)", file=file)
    with output_errors():
        print(f"wrote {write_text(out, model.text())}", file=file)
        if json_path is not None:
            print(f"wrote {write_json(json_path, card)}", file=file)
        if plot_path is not None:
            from experiments.plots import write_picture

            print(f"wrote {write_picture(plot_path, draw_reliability(card))}", file=file)
