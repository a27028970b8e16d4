"""Population-based training of a tier's learning rate with Ray Tune: `python examples/tune_pbt.py`, some minutes.

Every few iterations the worst of four trials copies the networks, optimisers and replay of the best, and goes on with
its learning rate times 0.8 or 1.2, or a new one. What may be searched so are settings that leave networks as they are.
"""

import argparse
from pathlib import Path

import ray
from ray import tune
from ray.tune.schedulers import PopulationBasedTraining

from policies import HMARL
from policies.hmarl.ray_start import quiet
from policies.presets import PRESETS

SCORE = "score"  # mission score of training episodes: a top-level key that every result has
RATE = tune.loguniform(1e-5, 1e-2)


class Rates(tune.Callback):
    """Notes the rate that each trial has used, iteration by iteration."""

    def __init__(self) -> None:
        self.used: dict[str, list[float]] = {}

    def on_trial_result(self, iteration: int, trials: list, trial: object, result: dict, **info: object) -> None:
        used = self.used.setdefault(trial.trial_id, [])
        rate = result["config"]["tiers"]["response_orchestrator"]["actor_lr"]
        if used[-1:] != [rate]:
            used.append(rate)


def main(iterations: int = 24, trials: int = 4, interval: int = 4, **changes: object) -> list[tuple]:
    quiet()
    if not ray.is_initialized():
        ray.init(address="local", num_cpus=trials, log_to_driver=False)  # all at once; else PBT has them take turns
    settings = {**PRESETS["soc-v1"], "learning_starts": 4_096, "replay_capacity": 20_000, "seed": 0}
    tiers = {tier: dict(own) for tier, own in settings.pop("tiers").items()}
    tiers["response_orchestrator"] |= {"actor_lr": RATE}
    scheduler = PopulationBasedTraining(
        time_attr="training_iteration",
        perturbation_interval=interval,
        hyperparam_mutations={"tiers": {"response_orchestrator": {"actor_lr": RATE}}},
    )
    rates = Rates()
    tuner = tune.Tuner(
        HMARL,
        param_space={"env": "soc-v1", "env_config": {"max_steps": 96}, "tiers": tiers, **settings, **changes},
        tune_config=tune.TuneConfig(metric=SCORE, mode="max", num_samples=trials, scheduler=scheduler),
        run_config=tune.RunConfig(
            name="pbt",
            storage_path=str(Path("tune").absolute()),
            stop={"training_iteration": iterations},
            callbacks=[rates],
            checkpoint_config=tune.CheckpointConfig(num_to_keep=4),
            verbose=0,
        ),
    )
    rows = [(r.metrics[SCORE], r.metrics["training_iteration"], rates.used[r.metrics["trial_id"]]) for r in tuner.fit()]
    print("score  iterations  response_orchestrator.actor_lr, one after the other")
    for score, iteration, used in sorted(rows, key=lambda row: -row[0]):
        print(f"{score:5.1f}  {iteration:10}  {'  '.join(f'{rate:.1e}' for rate in used)}")
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iterations", type=int, default=24, help="of every trial")
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("--interval", type=int, default=4, help="iterations between copies")
    main(**vars(parser.parse_args()))
