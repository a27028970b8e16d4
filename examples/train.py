"""Train the four tiers on soc-v1 with the preset's settings, then play them: `python examples/train.py`."""

import numpy as np

import soc_env
from policies import HMARLConfig, load_policy, save_checkpoint
from policies.presets import PRESETS

FOLDER = "my-checkpoint"


def main(iterations: int = 100, **changes: object) -> None:
    settings = {**PRESETS["soc-v1"], **changes}
    config = HMARLConfig().environment("soc-v1").training(**settings).debugging(seed=0)
    algo = config.env_runners(num_envs_per_env_runner=64).build_algo()
    for iteration in range(iterations):
        result = algo.train()["env_runners"]
        print(iteration, result.get("episode_return_mean"))
    save_checkpoint(algo, FOLDER)
    algo.stop()

    policy = load_policy(FOLDER)
    sim = soc_env.Simulator("soc-v1", num_envs=32, seed=1, split="test", autoreset=False)
    observations = sim.reset()
    while not sim.truncated.all():
        for agent, action in policy(observations, np.asarray(sim.decides, bool)).items():
            sim.actions[agent][:] = action
        sim.step()
    print(f"mission score on the test split: {sim.episode_metrics['score'].mean():.1f}")


if __name__ == "__main__":
    main()
