"""Search a learning rate with Ray Tune: `python examples/tune.py`. On a cluster, ray.init(address="auto") first."""

from ray import tune

from policies import HMARL


def main(iterations: int = 200, **changes: object) -> None:
    space = {
        "env": "soc-v1",
        "seed": 0,
        "num_env_runners": 0,  # a trial samples in its driver
        "tiers": {"threat_hunter": {"actor_lr": tune.grid_search([1e-4, 3e-4])}},
        **changes,
    }
    goal = "env_runners/episode_return_mean"
    tuner = tune.Tuner(
        HMARL,
        param_space=space,
        tune_config=tune.TuneConfig(metric=goal, mode="max"),
        run_config=tune.RunConfig(stop={"training_iteration": iterations}, verbose=0),
    )
    best = tuner.fit().get_best_result(filter_nan_and_inf=False)
    print(best.config["tiers"], best.metrics["env_runners"].get("episode_return_mean"))


if __name__ == "__main__":
    main()
