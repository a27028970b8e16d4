"""Ray Tune with ASHA over learning rates of two tiers: `python examples/tune_asha.py`, some two minutes.

Trials that are behind are stopped at 1/9 and 1/3 of the iterations, not before the third. A search that was killed goes
on with `python examples/tune_asha.py --resume`: Tune unpickles what it wrote itself, so resume only a folder that is
yours. `hmarl-soc tune` does the same from a file, and resumes from plain data.
"""

import argparse
from pathlib import Path

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler

from policies import HMARL
from policies.hmarl.ray_start import quiet
from policies.presets import PRESETS

FOLDER = Path("tune").absolute()
SCORE = "score"  # mission score of training episodes: a top-level key that every result has


def space(iterations: int) -> dict:
    """What HMARLConfig takes. "tiers" is merged into the default tiers; distributions may stand at any depth."""
    settings = {**PRESETS["soc-v1"], "learning_starts": 4_096, "replay_capacity": 20_000}
    tiers = {tier: dict(own) for tier, own in settings.pop("tiers").items()}
    steps = iterations * settings["train_batch_size"]
    tiers["alert_triage"] |= {"lr": tune.loguniform(1e-5, 1e-2), "epsilon": [[0, 1.0], [steps // 2, 0.05]]}
    tiers["response_orchestrator"] |= {"actor_lr": tune.loguniform(1e-5, 1e-2)}
    return {"env": "soc-v1", "env_config": {"max_steps": 96}, "seed": 0, "tiers": tiers, **settings}


def main(iterations: int = 27, trials: int = 6, resume: bool = False, **changes: object) -> list[tuple]:
    quiet()
    if not ray.is_initialized():
        ray.init(address="local", log_to_driver=False)  # on a cluster: address="auto"
    if resume:
        tuner = tune.Tuner.restore(str(FOLDER / "asha"), trainable=HMARL, resume_errored=True)
    else:
        first = min(iterations, max(3, iterations // 9))  # the first episodes end in iteration 3
        scheduler = ASHAScheduler(grace_period=first, max_t=iterations, reduction_factor=3)
        keep = tune.CheckpointConfig(
            checkpoint_frequency=3, num_to_keep=1, checkpoint_score_attribute=SCORE, checkpoint_at_end=True
        )
        tuner = tune.Tuner(
            HMARL,
            param_space={**space(iterations), **changes},
            tune_config=tune.TuneConfig(metric=SCORE, mode="max", num_samples=trials, scheduler=scheduler),
            run_config=tune.RunConfig(name="asha", storage_path=str(FOLDER), checkpoint_config=keep, verbose=0),
        )
    rows = []
    for result in tuner.fit():
        tiers, found = result.config["tiers"], result.metrics
        rates = (tiers["alert_triage"]["lr"], tiers["response_orchestrator"]["actor_lr"])
        rows.append((*rates, found[SCORE], found["training_iteration"], found["num_env_steps_sampled_lifetime"]))
    rows.sort(key=lambda row: -row[2])
    print("alert_triage.lr  response_orchestrator.actor_lr  score  iterations   steps")
    for triage, response, score, iteration, steps in rows:
        print(f"{triage:15.1e}  {response:30.1e}  {score:5.1f}  {iteration:10}  {steps:6,.0f}")
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iterations", type=int, default=27, help="of a trial that is not stopped")
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--resume", action="store_true")
    main(**vars(parser.parse_args()))
