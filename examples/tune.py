"""Search a learning rate with Ray Tune: `python examples/tune.py`. On a cluster, ray.init(address="auto") first."""

from pathlib import Path

from ray import tune

from policies import HMARL, HMARLConfig


def main(iterations: int = 200, **changes: object) -> None:
    space = {
        "env": "soc-v1",
        "seed": 0,
        "num_env_runners": 0,  # a trial samples in its driver
        "tiers": {"threat_hunter": {"actor_lr": tune.grid_search([1e-4, 3e-4])}},
        **changes,
    }
    run = tune.RunConfig(stop={"training_iteration": iterations}, storage_path=str(Path("tune").absolute()), verbose=0)
    results = tune.Tuner(HMARL, param_space=space, run_config=run).fit()
    best = results.get_best_result("env_runners/episode_return_mean", mode="max")
    hunter = HMARLConfig.from_dict(best.config).tier("threat_hunter")
    print(hunter.actor_lr, best.metrics["env_runners"]["episode_return_mean"])


if __name__ == "__main__":
    main()
