"""Does MADDPG learn with several agents in one tier? Cooperative navigation, measured against published returns.

    python examples/navigation.py --steps 1000000 --seed 0 --json navigation.json --plot navigation.png

The task (Lowe et al. 2017) is MPE's `simple_spread_v3` with N = 3, 25 steps, `local_ratio` 0.5 and continuous actions:
three agents cover three landmarks and keep out of each other's way. All three are one tier: one actor, one central
critic. It trains on each agent's own reward and is evaluated greedily on 200 episodes that never change.

Published: Papoudakis et al. 2021, "Benchmarking Multi-Agent Deep Reinforcement Learning Algorithms in Cooperative
Tasks", table 3 (highest return during training, mean over 5 seeds, shared parameters; off-policy algorithms for 2
million steps). Their environment is the original one, in which every agent earns the sum over agents of

    sum over landmarks of -(distance of the nearest agent) - (agents in collision with it, itself included)

MPE2 gives each agent half of the first sum and half of the collisions, itself left out. Over 25 steps and three agents
the published return is hence exactly 2 * (sum over agents of MPE2's return) - 75, which is what this file reports.
Theirs acts in five discrete directions, ours pushes in both axes at once: a difference that no formula takes out.

`results/mpe-navigation.json` and `.png` were made by the command above.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
import time
from typing import Any

import numpy as np

from experiments.output import write_json
from experiments.plots import write_picture
from experiments.provenance import provenance

PUBLISHED = {"QMIX": -126.62, "IQL": -132.63, "MAPPO": -133.54, "MADDPG": -141.70, "COMA": -204.31}
ENVIRONMENT = "mpe2.simple_spread_v3:parallel_env"
OPTIONS: dict[str, Any] = {"N": 3, "local_ratio": 0.5, "max_cycles": 25, "continuous_actions": True}
NUM_EPISODES, EVALUATION_SEED, EVALUATION_STEPS = 200, 1_000_003, 20_000  # every so many steps
TIER = {
    "algorithm": "MADDPG",
    "gamma": 0.95,
    "hiddens": [128, 128],
    "actor_lr": [[0, 1e-3], [500_000, 1e-3], [1_000_000, 1e-4]],
    "critic_lr": [[0, 2e-3], [500_000, 2e-3], [1_000_000, 2e-4]],
    "exploration": {"std": [[0, 0.4], [300_000, 0.1]]},
    "rest": {"weight": 1e-3},
}
SETTINGS = {
    "train_batch_size": 400,
    "random_steps": 4_000,
    "learning_starts": 4_000,
    "updates_per_iteration": 16,
    "replay_batch_size": 512,
    "replay_capacity": 300_000,
    "replay": "uniform",
    "ema_tau": 0.1,
}


def published_scale(episodes: np.ndarray) -> np.ndarray:
    """Returns of MPE2, summed over agents, as the published environment counts them."""
    return 2.0 * episodes - 3.0 * OPTIONS["max_cycles"]


def evaluate(policy: Any) -> np.ndarray:
    """(NUM_EPISODES,) returns of a policy, on the published scale, always of the same episodes."""
    from policies.runner.batched_env import make_batched_env

    batch = make_batched_env(ENVIRONMENT, NUM_EPISODES, EVALUATION_SEED, OPTIONS)
    batch.reset()
    for _ in range(OPTIONS["max_cycles"]):
        for agent, action in policy(batch.observations, batch.decides).items():
            batch.actions[agent][:] = action
        batch.step()
    return published_scale(batch.episode_metrics["reward"])


def train(steps: int, seed: int = 0) -> dict[str, Any]:
    """Trains for `steps` environment steps; the curve of greedy evaluations and what it took.

    Raises:
        ConfigError: MPE2 is not installed.
    """
    import torch

    from policies import HMARLConfig, policy_of
    from policies.hmarl.ray_start import session

    torch.set_num_threads(1)
    config = HMARLConfig().environment(ENVIRONMENT, env_config=OPTIONS).tiers({"agent": TIER})
    config.env_runners(num_envs_per_env_runner=16).training(**SETTINGS).debugging(seed=seed, log_level="ERROR")
    curve: list[dict[str, float]] = []
    origin = provenance()  # of the code that is loaded now
    with session():
        start, algo = time.process_time(), config.build_algo()
        try:
            while not curve or curve[-1]["steps"] < steps:
                episodes = evaluate(policy_of(algo))
                error = float(episodes.std(ddof=1)) / NUM_EPISODES**0.5
                row = {"steps": algo.num_env_steps, "return": float(episodes.mean()), "standard_error": error}
                curve.append({**row, "cpu_seconds": round(time.process_time() - start, 1)})
                print(
                    "{steps:>9,} steps  return {return:7.1f}  {cpu_seconds:6.0f} CPU-s".format(**curve[-1]), flush=True
                )
                until = min(steps, algo.num_env_steps + EVALUATION_STEPS)
                while algo.num_env_steps < until:
                    algo.train()
        finally:
            algo.stop()
    best = max(curve, key=lambda row: row["return"])
    task = {"environment": ENVIRONMENT, **OPTIONS, "seed": seed}
    settings = {"tier": TIER, **SETTINGS}
    return {"task": task, "settings": settings, "published": PUBLISHED, "best": best, "curve": curve, **origin}


def plot(results: list[dict[str, Any]]) -> Any:
    """The curves of some runs beside the published returns."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for result in results:
        steps, returns = ([row[key] for row in result["curve"]] for key in ("steps", "return"))
        axes.plot(steps, returns, label=f"ours, MADDPG, seed {result['task']['seed']}")
    for place, (name, value) in enumerate(PUBLISHED.items()):
        axes.axhline(value, color="#9aa3ad", linewidth=1, linestyle=(0, (4, 3)))
        at = ((0.99, 0.8, 0.6)[place % 3], value)  # values lie too close to be named below each other
        coordinates = ("axes fraction", "data")
        axes.annotate(f"{name} {value:.1f}", at, xycoords=coordinates, fontsize=8, va="bottom", ha="right")
    axes.xaxis.set_major_formatter(lambda number, _: f"{number:,.0f}")
    axes.set_xlabel("environment steps")
    axes.set_ylabel("return, published scale")
    axes.set_title("Cooperative navigation; dashed: Papoudakis et al. 2021", fontsize=11, loc="left")
    axes.legend(loc="lower right", fontsize=8)
    return figure


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python examples/navigation.py", description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1_000_000, help="environment steps (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the curve")
    parser.add_argument("--plot", type=pathlib.Path, metavar="FILE", help="draw it (PNG, SVG, PDF)")
    args = parser.parse_args(arguments)
    result = train(args.steps, args.seed)
    if args.json:
        write_json(args.json, result)
    if args.plot:
        write_picture(args.plot, plot([result]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
