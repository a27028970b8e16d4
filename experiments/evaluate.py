"""Evaluation: fixed episodes of a fixed policy, with intervals. Nothing here trains.

How episodes are chosen. Episode i of an evaluation has a seed of its own, derived from the evaluation's seed and i
alone, and plays in a slot of a batch of which only the first episode counts. So every episode that is started is also
counted: taking the first `num_episodes` to finish instead would favour short episodes (here: quick containments, so a
better score). It also follows that

* the same seed gives the same result, byte for byte, and `num_envs` changes nothing but speed for a policy whose
  actions do not depend on its batch (all scripted ones but "random", whose draws are per batch; a network's forward
  pass may differ in the last bit between batch sizes),
* all policies of a comparison meet the same episodes (same networks, same attacker draws), so their differences can
  be taken in pairs, episode by episode.

The metrics are those of the scenario's family, its `soc_env.registry.Family.columns`.

Intervals over episodes are those of `experiments.intervals`. paper-v0's episodes are independent, each with its own
network. Those of soc-v1 share a few networks: the intervals here are about those networks; `experiments.compare` has
the ones about networks not seen.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np

import soc_env
from experiments.intervals import Estimate
from experiments.output import to_json
from experiments.provenance import provenance
from soc_env.errors import ConfigError, shown
from soc_env.memory import check_memory
from soc_env.registry import family_of

if TYPE_CHECKING:
    from policies.scripted import Policy

DEFAULT_SCENARIO = "soc-v1"
DEFAULT_NUM_ENVS = 512
DEFAULT_NUM_EPISODES = 500
EPISODE_BYTES = 1_000  # of an episode's metrics in a result, about
TRAINED, UNTRAINED = "HMARL", "untrained"  # names of the rows of a comparison that reports point out


# --- results


@dataclasses.dataclass(frozen=True)
class EvaluationResult:
    """What came out, and everything needed to repeat it.

    Attributes:
        policy: name of the policy.
        settings: scenario and its hash, overrides, seed, episodes, environments per batch, versions, git commit.
        episodes: one column per metric, each ``(num_episodes,) float64``, and ``seed``, ``(num_episodes,) int64``.
        summary: estimate per column of the scenario's family.
    """

    policy: str
    settings: dict[str, Any]
    episodes: dict[str, np.ndarray]
    summary: dict[str, Estimate]

    @classmethod
    def of_episodes(cls, policy: str, settings: dict[str, Any], rows: np.ndarray) -> EvaluationResult:
        """From what `run_episodes` gives; `settings` has the scenario's name, the seed and the number of episodes."""
        columns = family_of(settings["scenario"]).columns
        metrics = {key: rows[key].astype(np.float64) for key in columns}
        return cls(
            policy=policy,
            settings=settings,
            episodes={"seed": episode_seeds(settings["seed"], settings["num_episodes"]), **metrics},
            summary={key: Estimate.of_column(column, metrics) for key, column in columns.items()},
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data, the same for the same seed: no timestamps, no durations."""
        return {
            "policy": self.policy,
            **self.settings,
            "summary": {name: dataclasses.asdict(estimate) for name, estimate in self.summary.items()},
            "episodes": {name: column.tolist() for name, column in self.episodes.items()},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> EvaluationResult:
        """The inverse of `to_dict`, for reports made later.

        Raises:
            ConfigError: A result of a time when soc-v1's `fdr` and `action_fdr` were called `fpr` and `action_fpr`.
        """
        if "action_fpr" in data["summary"]:
            raise ConfigError(
                f"the result of policy {data['policy']!r} is of an older hmarl-soc: its 'fpr' and 'action_fpr' are "
                "'fdr' and 'action_fdr' now, and 'fpr' is another metric: evaluate again"
            )
        own = ("policy", "summary", "episodes")
        return cls(
            policy=data["policy"],
            settings={key: value for key, value in data.items() if key not in own},
            episodes={key: np.asarray([_number(v) for v in column]) for key, column in data["episodes"].items()},
            summary={
                key: Estimate(**{name: _number(value) for name, value in estimate.items()})
                for key, estimate in data["summary"].items()
            },
        )

    def with_settings(self, more: Mapping[str, Any]) -> EvaluationResult:
        """The same with more settings."""
        return dataclasses.replace(self, settings={**self.settings, **more})

    def to_json(self) -> str:
        """One line per entry of `to_dict`, so that files can be read and compared by eye."""
        return to_json(self.to_dict())

    def mean(self, metric: str) -> float:
        """Mean of a metric over the episodes, in the simulator's unit (shares, not per cent)."""
        return self.summary[metric].mean


def _number(value: Any) -> Any:
    """NaN for JSON's null, which stands for a metric that is undefined."""
    return math.nan if value is None else value


# --- running episodes


def episode_seeds(seed: int, num_episodes: int) -> np.ndarray:
    """Seed of each episode, ``(num_episodes,) int64`` below 2**53; a longer evaluation starts with the same ones."""
    words = np.random.SeedSequence([0xE7A1, seed]).generate_state(num_episodes, np.uint64)
    return (words >> np.uint64(11)).astype(np.int64)  # 53 bits survive JSON readers that know doubles only


def run_episodes(
    policy: Policy,
    make_simulator: Callable[[int, list[int]], Any],
    num_episodes: int,
    seed: int,
    num_envs: int = DEFAULT_NUM_ENVS,
    progress: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Play episodes and return their metrics.

    Args:
        policy: a callable policy, see `policies.scripted`.
        make_simulator: ``(num_envs, seeds) -> simulator`` with autoreset, one seed per environment.
        num_episodes: how many episodes; each gets a slot of its own, see the module's text.
        seed: of the evaluation.
        num_envs: slots played at once.
        progress: called with the number of episodes finished so far.

    Returns:
        ``(num_episodes,)`` structured array, the simulator's `episode_metrics` of each episode in order of its seed.
    """
    check_memory(f"num_episodes={shown(num_episodes)}", EPISODE_BYTES * num_episodes)
    seeds = episode_seeds(seed, num_episodes)
    batches = []
    for start in range(0, num_episodes, num_envs):
        batch_seeds = seeds[start : start + num_envs].tolist()
        policy.reset(int(np.random.SeedSequence([0x9011, seed, start]).generate_state(1)[0]))
        with one_thread() if "torch" in sys.modules else contextlib.nullcontext():  # whoever acts by it has imported it
            batches.append(_first_episodes(policy, make_simulator(len(batch_seeds), batch_seeds)))
        if progress is not None:
            progress(start + len(batch_seeds))
    return np.concatenate(batches)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch computes in one thread, and its sums are in one order whatever the machine has.

    On a busy machine the hand-over to a second thread cost twenty times what networks of ours do.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _first_episodes(policy: Policy, simulator: Any) -> np.ndarray:
    """Metrics of the first episode of every slot, however long it takes; what a slot plays after it is ignored, and
    networks do not act there."""
    simulator.reset()
    metrics = simulator.episode_metrics.copy()
    is_open, takes_rows = np.ones(simulator.num_envs, bool), getattr(policy, "takes_rows", False)
    while is_open.any():
        if getattr(policy, "needs_state", False):
            policy.state = simulator.state()  # type: ignore[attr-defined]
        where = {"acts": is_open} if takes_rows else {}
        for agent, action in policy(simulator.observations, simulator.decides, **where).items():
            simulator.actions[agent][...] = action
        simulator.step()
        has_finished = is_open & (simulator.terminated | simulator.truncated)
        metrics[has_finished] = simulator.episode_metrics[has_finished]
        is_open &= ~has_finished
    return metrics


def acting(policy: Any, configured: Any, scenario: str, seed: int = 0) -> Policy:
    """A policy that plays a configured scenario: made of a name, a file or a builder, or fitted to its zones.

    Args:
        policy: a policy, or what `policies.scripted.builder_of` takes.
        configured: the scenario; `scenario` is its name.
        seed: of the draws of a policy that is made.

    Raises:
        ConfigError: there is no such policy, or it cannot act on that many zones.
    """
    from policies.scripted import is_policy, make_policy

    if not is_policy(policy):
        spaces = soc_env.Simulator(configured, seed=0).action_spaces
        return make_policy(policy, scenario, spaces, seed, f"policy of {scenario}")
    num_zones = getattr(configured, "num_zones", None)
    return policy.for_zones(num_zones) if num_zones is not None and hasattr(policy, "for_zones") else policy


def evaluate(
    policy: Any,
    scenario: str = DEFAULT_SCENARIO,
    num_episodes: int = DEFAULT_NUM_EPISODES,
    seed: int = 0,
    *,
    num_envs: int = DEFAULT_NUM_ENVS,
    name: str | None = None,
    progress: Callable[[int], None] | None = None,
    **overrides: Any,
) -> EvaluationResult:
    """Evaluate a policy on a scenario.

    Args:
        policy: a policy, or what one is made of: a name, a playbook file, ... (`policies.scripted.builder_of`).
        scenario: name of the scenario.
        num_episodes: episodes, at least 1.
        seed: of the evaluation, at least 0.
        num_envs: environments stepped at once; the default is part of what makes result files repeatable.
        name: how the result is called; by default as `policies.scripted.label` calls the policy.
        progress: called with the number of episodes finished so far.
        **overrides: fields of the scenario to change; a policy that was made for a risk model plays with it by default.

    Raises:
        ConfigError: a number out of range, an unknown policy, or a playbook file that is none.
        ScenarioError: an unknown scenario or a bad override.
    """
    _check(num_episodes=(num_episodes, 1), seed=(seed, 0), num_envs=(num_envs, 1))
    from policies.scripted import label, own_overrides, playbook_of

    overrides = {**own_overrides(policy), **overrides}
    configured = soc_env.make_scenario(scenario, **overrides)

    def make_simulator(size: int, seeds: list[int]) -> soc_env.Simulator:
        return soc_env.Simulator(configured, num_envs=size, seed=seeds)

    playbook = playbook_of(policy)
    name = name or label(policy)
    policy = acting(playbook or policy, configured, scenario, seed)
    rows = run_episodes(policy, make_simulator, num_episodes, seed, num_envs, progress)
    changed = {key: configured.to_dict()[key] for key in overrides}
    settings: dict[str, Any] = {"scenario": scenario, "scenario_hash": configured.hash(), "overrides": changed}
    settings |= {"seed": seed, "num_episodes": num_episodes, "num_envs": num_envs, **provenance()}
    settings |= {"playbook": playbook.to_plain()} if playbook else {}
    return EvaluationResult.of_episodes(name, settings, rows)


def _check(**numbers: tuple[int, int]) -> None:
    """Name -> (value, least value allowed)."""
    for name, (value, least) in numbers.items():
        if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
            raise ConfigError(f"{name}={shown(value)} is out of range: a whole number of at least {least} is allowed")


def evaluate_checkpoint(
    checkpoint: str | os.PathLike[str],
    scenario: str | None = None,
    *,
    deterministic: bool = True,
    seed: int = 0,
    **arguments: Any,
) -> EvaluationResult:
    """Evaluate a trained checkpoint; needs torch, never trains.

    Args:
        checkpoint: the checkpoint's folder, or a run folder for its best one.
        scenario: another scenario of the family that it was trained on; None for that one with its overrides.
        deterministic: greedy actions; otherwise drawn as in training.
        seed: of the evaluation, and of drawn actions.
        **arguments: the other arguments of `evaluate`; overrides come on top of those of the training, on the scenario
            trained on.

    Raises:
        CheckpointError: the checkpoint is missing, truncated or of a scenario of another family.
        ConfigError: another number of zones than its networks can act on.
    """
    import policies

    policy = policies.load_policy(checkpoint, deterministic=deterministic, scenario=scenario)
    name = "HMARL (greedy)" if deterministic else "HMARL (sampled)"
    own = policy.manifest["scenario"]
    arguments = {**(policy.manifest["overrides"] if scenario in (None, own) else {}), **arguments}
    return evaluate(policy, scenario or own, seed=seed, name=name, **arguments)


# --- comparison


def compare(
    policies: Mapping[str, Any],
    scenario: str = DEFAULT_SCENARIO,
    num_episodes: int = DEFAULT_NUM_EPISODES,
    seed: int = 0,
    *,
    num_envs: int = DEFAULT_NUM_ENVS,
    progress: Callable[[str, int], None] | None = None,
    **overrides: Any,
) -> dict[str, EvaluationResult]:
    """Evaluate several policies on the very same episodes.

    Args:
        policies: name -> policy, or what one is made of, as for `evaluate`; in the order of the table.
        progress: called with a policy's name and the number of its episodes finished so far.

    Returns:
        name -> result, in the same order. The other arguments are those of `evaluate`.
    """
    results = {}
    for name, policy in policies.items():
        report = None if progress is None else functools.partial(progress, name)
        results[name] = evaluate(
            policy, scenario, num_episodes, seed, num_envs=num_envs, name=name, progress=report, **overrides
        )
    return results


def paired_gain(result: EvaluationResult, reference: EvaluationResult, metric: str = "reward") -> Estimate:
    """What `result` adds to `reference`, from differences episode by episode of the same seeds.

    Raises:
        ConfigError: the two did not play the same episodes.
    """
    same_scenario = result.settings["scenario_hash"] == reference.settings["scenario_hash"]
    if not same_scenario or not np.array_equal(result.episodes["seed"], reference.episodes["seed"]):
        raise ConfigError(f"{result.policy!r} and {reference.policy!r} did not play the same episodes")
    return Estimate.of(result.episodes[metric] - reference.episodes[metric])


def scenario_of(results: Mapping[str, EvaluationResult]) -> str:
    """Name of the scenario that results to be shown together were made on."""
    return next(iter(results.values())).settings["scenario"]
