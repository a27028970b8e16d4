"""One policy plays the whole team: Stable-Baselines3's PPO on the batch. `python examples/sb3_ppo.py`

Needs `pip install "hmarl-soc[sb3]"`.
"""

import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecMonitor

from policies.adapters import SOCVecEnv


def main(steps: int = 200_000, episodes: int = 64, **overrides: int) -> None:
    batch = SOCVecEnv("soc-v1", num_envs=32, actions="discrete", **overrides)
    env = VecMonitor(batch, info_keywords=("score",))
    ppo = PPO("MlpPolicy", env, n_steps=64, batch_size=512, gamma=0.995, seed=0, device="cpu")
    ppo.learn(steps)
    print(f"training: mission score {np.mean([info['score'] for info in ppo.ep_info_buffer]):.1f}")

    test = SOCVecEnv("soc-v1", num_envs=episodes, actions="discrete", split="test", seed=1, **overrides)
    observations, done = test.reset(), np.zeros(episodes, bool)
    while not done.any():  # all episodes have the same length
        observations, _, done, infos = test.step(ppo.predict(observations, deterministic=True)[0])
    print(f"test split: mission score {np.mean([info['score'] for info in infos]):.1f}")


if __name__ == "__main__":
    main()
