"""`hmarl-soc train`: trains HMARL, shows how it goes, and leaves a run folder that says everything about the run.

The folder is that of `experiments.run`, and at the end of a run
    <out>/evaluation.json, report.html   the comparison that ends it
    <out>/evaluation-train.json          soc-v1 only: the same on the networks and attackers trained on
    <out>/attention.json                 with attention only: what the policy looks at in one moment

The final comparison is on episodes that neither training nor validation has seen, on soc-v1 those of the test split.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import soc_env
from experiments.families import protocol_of
from experiments.output import write_json
from experiments.progress import Progress
from experiments.run import Run, read_settings, shown_path
from soc_env.errors import ConfigError

EVALUATION_SEED = 2_000_003  # an offset that keeps its episodes apart from training's and validation's
EVALUATION_EPISODES = 1_000
# What the published task needs. Hunting above intensity 0.7 costs 2 a segment and step, a hundred times what any other
# choice is worth a step: critics that are to see the rest learn from a tenth of it. Effects are small against the
# noise of returns, so exploration noise is held for some steps, and every draw has its own scale, from nearly none to
# nearly the whole range. Segments nearly share their outputs (group_deviation): a single one otherwise drifts over a
# cliff. Where a critic has nothing to say, actions stay in the middle (pre_tanh_l2); beyond a cliff the reward is flat,
# and response sees the way back by the noise that it is improved at (actor_noise). Over environment steps: the critics
# learn first; when the large losses are gone, what is left to win is smaller than the noise of critics that learn fast
# and than the pull to the middle, which both fade.
_ACTOR_CRITIC = {
    "hiddens": [128, 128],
    "critic": "additive",
    "actor_lr": [[0, 0.0], [240_000, 0.0], [400_000, 3e-4], [1_600_000, 3e-4], [2_800_000, 1.5e-4], [4_000_000, 3e-5]],
    "critic_lr": [[0, 1e-3], [600_000, 1e-3], [1_400_000, 3e-4], [2_800_000, 1e-4], [4_000_000, 3e-5]],
    "critic_layer_norm": True,
    "action_bins": 21,
    "action_groups": [5, 5],  # by segment: intensity and scope, isolation and remediation
    "group_deviation": 0.004,
    "mean_bound": 1.5,
    "noise_steps": 3.0,
    "noise_by_draw": True,
    "penalty_scale": 0.1,
}
PRESETS: dict[str, dict[str, Any]] = {
    # Simulation is nearly free, so a tier draws a row half a time on average. With two to four draws a row, critics
    # show ripples between neighbouring actions larger than what those differ by, and reward stops near 11.2.
    "paper-v0": {
        "train_batch_size": 8192,
        "random_steps": 8_192,
        "learning_starts": 8_192,
        "updates_per_iteration": 8,
        "replay_batch_size": 512,
        "replay_capacity": 300_000,
        "replay_alpha": 0.3,
        "replay_beta": 1.0,
        "n_step": 3,
        "average_rate": [[0, 0.05], [1_200_000, 0.05], [2_800_000, 0.01]],
        "tiers": {
            # Triage learns from its own mistakes: the published reward never charges a false escalation, its
            # false-positive rate does, and what a suppressed alert costs is lost in what the others do. It also acts on
            # alerts that come in while its queue looks empty. It learns in minutes and then stands still.
            "alert_triage": {
                "gamma": 0.3,
                "hiddens": [128, 128],
                "lr": [[0, 1e-3], [800_000, 1e-3], [1_200_000, 3e-4], [2_400_000, 3e-5], [3_600_000, 0.0]],
                "epsilon": [[0, 1.0], [400_000, 0.3]],
                "penalty_scale": 0.0,
                "metric_rewards": {"false_escalations": -1.0, "missed_alerts": -2.0},
            },
            "threat_hunter": {
                **_ACTOR_CRITIC,
                "gamma": 0.99,  # a host that is found in a later stage is worth more
                "pre_tanh_l2": [[0, 0.02], [1_000_000, 0.02], [2_800_000, 0.002]],
                "alpha_lr": 1e-3,
                "initial_alpha": 0.003,
                "target_entropy": -36,
                "initial_log_std": -3.5,
                "log_std_range": [-4.0, -3.0],
                "noise_ladder": [1.0, 10.0],
            },
            "response_orchestrator": {
                **_ACTOR_CRITIC,
                "gamma": 0.95,
                "pre_tanh_l2": [[0, 0.0025], [1_000_000, 0.0025], [2_800_000, 0.0005]],
                "noise_std": 0.05,
                "noise_ladder": [1.0, 8.0],
                "penalty_scale": 0.5,  # over-isolation costs little a step, but every step
                "actor_noise": [0.01, [[0, 0.5], [1_200_000, 0.5], [2_000_000, 0.25]]],
            },
            "strategic_coordinator": {
                "gamma": 0.99,
                "hiddens": [128, 128],
                "train_batch_size": 1024,
                "lr": [[0, 3e-4], [1_200_000, 3e-4], [2_000_000, 1e-5]],
                "entropy_coeff": 0.0,
                "initial_log_std": -2.0,
                "penalty_scale": 0.05,
            },
        },
    }
}
# What soc-v1 needs. The effect of one tool call is small against the noise of returns and comes late (a rebuilt host
# pays over the rest of the shift), so hunting and response also earn the fall in compromised hosts at once: a
# potential, which moves rewards in time and hardly changes which policy is best; triage earns its verdicts. These are
# parts of learning alone. Nothing is explored uniformly, and scales of noise belong to single draws: returns over
# several steps would blame an unusual action for the unusual ones that follow it. Response learns first, by the noise
# that it explores with (actor_noise: a tool has no gradient below its threshold), then hunting; networks are shared
# between zones.
_ZONES = {"network": "zones", "hiddens": [64, 64]}
_ZONE_ACTOR = {
    **_ZONES,
    "gamma": 0.95,
    "metric_rewards": {"compromised": -5.0},
    "critic_lr": 2e-3,
    "critic": "additive",
    "critic_layer_norm": True,
    "action_bins": 9,
    "mean_bound": 1.5,
    "pre_tanh_l2": 0.01,
}
PRESETS["soc-v1"] = {
    "train_batch_size": 2048,
    "random_steps": 0,
    "learning_starts": 10_000,
    "updates_per_iteration": 12,
    "replay_batch_size": 256,
    "replay_capacity": 300_000,
    "replay_alpha": 0.3,
    "replay_beta": 1.0,
    "n_step": 12,
    "average_rate": 0.1,
    "tiers": {
        "alert_triage": {
            **_ZONES,
            "gamma": 0.7,
            "lr": [[0, 5e-4], [400_000, 5e-4], [1_000_000, 1e-4]],
            "epsilon": [[0, 1.0], [50_000, 1.0], [300_000, 0.05]],
            "metric_rewards": {"true_positives": 2.0, "false_positives": -0.3, "missed_cases": -1.0},
        },
        "threat_hunter": {
            **_ZONE_ACTOR,
            "actor_lr": [[0, 0.0], [100_000, 0.0], [150_000, 3e-4]],
            "log_std_range": [-1.6, -0.6],
            "initial_log_std": -1.0,
            "initial_alpha": 0.001,
            "alpha_lr": 1e-4,
            "target_entropy": -20,
            "noise_steps": 4.0,
        },
        "response_orchestrator": {
            **_ZONE_ACTOR,
            "initial_action": [0.0, 0.0, -0.6, -0.6],
            "actor_lr": [[0, 0.0], [30_000, 0.0], [40_000, 5e-4]],
            "actor_noise": [0.15, 1.0],
            "noise_std": [[0, 0.35], [400_000, 0.3], [1_000_000, 0.1]],
            "noise_ladder": [0.3, 3.0],
            "noise_by_draw": True,
        },
        "strategic_coordinator": {
            **_ZONES,
            "gamma": 0.98,
            "train_batch_size": 2048,
            "entropy_coeff": 0.0,
            "initial_log_std": -1.5,
        },
    },
}
PRESET_OF = {"soc-cage4-v0": "soc-v1"}  # scenarios that use another's preset
NUM_ENVS = {"paper-v0": 256}  # environments of an env runner where it is not DEFAULT_NUM_ENVS
DEFAULT_NUM_ENVS = 64
DEFAULT_ALGORITHMS = {"alert_triage": "DQN", "threat_hunter": "SAC", "response_orchestrator": "MADDPG"}
DEFAULT_ALGORITHMS["strategic_coordinator"] = "PPO"  # as in policies.tiers, which needs ray to be imported


def train(
    scenario: str = "soc-v1",
    *,
    seed: int = 0,
    minutes: float | None = None,
    steps: int | None = None,
    workers: int = 0,
    out: str | Path | None = None,
    resume: bool = False,
    overrides: Mapping[str, Any] | None = None,
    num_envs: int | None = None,
    adverse_start: bool = False,
    config: Mapping[str, Any] | None = None,
    evaluation: bool = True,
) -> Path:
    """Trains until a budget is used up, then compares; returns the run folder.

    Args:
        scenario, overrides: the environment.
        seed: of everything drawn in the run.
        minutes, steps: the whole run's budget, also over resumptions; one of them (10 minutes if neither).
        workers: remote env runners; 0 samples in this process.
        out: run folder; default `runs/<scenario>-seed<seed>`.
        resume: go on from the folder's last checkpoint; all settings but the budget are then the folder's own.
        num_envs: environments of each env runner; default `NUM_ENVS`'s.
        adverse_start: start from actors that hunt, isolate and remediate fully.
        config: settings of HMARLConfig by name, "tiers" among them.
        evaluation: end with the comparison and report.

    Raises:
        ScenarioError, ConfigError: a setting that is not allowed.
        CheckpointError: nothing to resume, or a damaged checkpoint.
        KeyboardInterrupt: stopped by the user, after everything is written.
    """
    out = Path(out or f"runs/{scenario}-seed{seed}").absolute()
    if resume:
        settings = read_settings(out)
    else:
        asked = {"scenario": scenario, "seed": seed, "workers": workers, "num_envs": num_envs}
        settings = _new_settings(out, {**asked, "adverse_start": adverse_start}, overrides or {}, config or {})
    soc_env.make_scenario(settings["scenario"], **settings["overrides"])  # fails before anything slow starts
    Run.go(out, settings, resume, 10.0 if minutes is None and steps is None else minutes, steps)
    if evaluation:
        _finish(out, settings)
    return out


def _new_settings(
    out: Path, asked: Mapping[str, Any], overrides: Mapping[str, Any], config: Mapping[str, Any]
) -> dict[str, Any]:
    """The settings of a run that begins, completed; ConfigError where the folder has a run."""
    if (out / "config.json").exists():
        raise ConfigError(f"out: {str(out)!r} holds a run already; allowed: a new folder, or --resume to go on with it")
    scenario = asked["scenario"]
    num_envs = NUM_ENVS.get(scenario, DEFAULT_NUM_ENVS) if asked["num_envs"] is None else asked["num_envs"]
    config = with_preset(scenario, dict(config))
    return {**asked, "num_envs": num_envs, "overrides": dict(overrides), "config": config}


def _finish(out: Path, settings: Mapping[str, Any]) -> None:
    """The comparison of the trained policy with the untrained and the scripted ones: table, JSON, report."""
    from experiments.attention import explained_moment
    from experiments.evaluate import UNTRAINED
    from experiments.report import write_report
    from experiments.tables import print_table

    held_out = protocol_of(settings["scenario"]).held_out
    tested = _compare(out, settings, held_out)
    if held_out and settings["overrides"].get("split", "train") == "train":
        trained_on = _compare(out, settings, {}, leave_out=("random", UNTRAINED))
        write_json(out / "evaluation-train.json", {name: result.to_dict() for name, result in trained_on.items()})
        print("on the networks and attackers of the training split:")
        print_table(trained_on)
        print("on the held-out networks and attackers of the test split:")
    scenario = soc_env.make_scenario(settings["scenario"], **{**settings["overrides"], **held_out})
    if moment := explained_moment(_best(out), scenario, settings["seed"] + EVALUATION_SEED):
        write_json(out / "attention.json", moment)
    write_json(out / "evaluation.json", {name: result.to_dict() for name, result in tested.items()})
    print_table(tested)
    print(f"report: {shown_path(write_report(out))}")


def _compare(
    out: Path, settings: Mapping[str, Any], overrides: Mapping[str, Any], leave_out: tuple[str, ...] = ()
) -> dict[str, Any]:
    from experiments.evaluate import TRAINED, UNTRAINED, compare
    from policies.checkpoint import load_policy

    scenario = settings["scenario"]
    named: dict[str, Any] = {name: name for name in protocol_of(scenario).compared}
    named[UNTRAINED] = load_policy(out / "checkpoints" / "start")
    named[TRAINED] = _best(out)
    named = {name: policy for name, policy in named.items() if name not in leave_out}
    overrides = {**settings["overrides"], **overrides}
    seed = settings["seed"] + EVALUATION_SEED
    with Progress(len(named) * EVALUATION_EPISODES, "episodes", label="comparing") as progress:
        order = list(named)

        def show(name: str, num_finished: int) -> None:
            progress.update(order.index(name) * EVALUATION_EPISODES + num_finished, name)

        return compare(named, scenario, EVALUATION_EPISODES, seed, progress=show, **overrides)


def _best(out: Path) -> Any:
    from experiments.evaluate import checkpoint_folder
    from policies.checkpoint import load_policy

    return load_policy(checkpoint_folder(out))


def with_preset(scenario: str, config: dict[str, Any]) -> dict[str, Any]:
    """The scenario's preset with the user's settings on top: what the folder records and a resumption uses."""
    preset = copy.deepcopy(PRESETS.get(PRESET_OF.get(scenario, scenario), {}))
    tiers = preset.get("tiers", {})
    for tier, own in dict(config.get("tiers", {})).items():
        keeps = "algorithm" not in own or own["algorithm"] == DEFAULT_ALGORITHMS.get(tier)
        tiers[tier] = {**(tiers.get(tier, {}) if keeps else {}), **own}
    return {**preset, **config, **({"tiers": tiers} if tiers else {})}
