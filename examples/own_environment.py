"""Four algorithms on four agents of an environment that is not ours: `python examples/own_environment.py`.

Needs `pip install mpe2`. Any PettingZoo ParallelEnv or RLlib MultiAgentEnv will do.
"""

import numpy as np
from mpe2 import simple_tag_v3

from policies import HMARLConfig
from policies.runner.batched_env import DiscretizeActions

TIERS = {
    "prey": {"algorithm": "DQN", "agents": ["agent_0"]},
    "driver": {"algorithm": "PPO", "agents": ["adversary_0"]},
    "flanker": {"algorithm": "SAC", "agents": ["adversary_1"]},
    "closer": {"algorithm": "MADDPG", "agents": ["adversary_2"]},
}


def make_env(**options):
    env = simple_tag_v3.parallel_env(continuous_actions=True, **options)
    return DiscretizeActions(env, {"agent_0": np.eye(5)})  # stay, or a full push in one of four directions


def main(iterations: int = 100) -> None:
    config = HMARLConfig().environment(make_env, env_config={"max_cycles": 50}).tiers(TIERS)
    algo = config.env_runners(num_envs_per_env_runner=16).debugging(seed=0).build_algo()
    for _ in range(iterations):
        result = algo.train()
    print(result["env_runners"]["episode_metrics"])  # reward/agent_0, reward/adversary_0, ...
    algo.stop()


if __name__ == "__main__":
    main()
