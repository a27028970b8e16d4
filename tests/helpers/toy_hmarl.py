"""HMARL on the toy environment, small enough to be built a hundred times in a test module."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from toy import Matching

from policies import HMARLConfig

PAIR = ("threat_hunter_0", "strategic_coordinator_0")


def toy_config(**settings):
    """SAC and PPO on `Matching`, with settings as attributes."""
    config = HMARLConfig().environment(Matching, env_config={"agents": PAIR}).debugging(seed=0, log_level="ERROR")
    config.env_runners(num_envs_per_env_runner=8)
    config.training(train_batch_size=128, learning_starts=128, random_steps=64, updates_per_iteration=2)
    config.training(replay_batch_size=16, replay_capacity=512)
    config.tiers({"threat_hunter": {"algorithm": "SAC", "hiddens": [8]}}, replace=True)
    config.tiers({"strategic_coordinator": {"algorithm": "PPO", "hiddens": [8], "train_batch_size": 64}})
    for name, value in settings.items():
        setattr(config, name, value)
    return config


STOPPING = ThreadPoolExecutor(4)  # RLlib takes half a second to stop, mostly waiting


def built(config, look):
    """What `look` sees of the algorithm that the configuration makes."""
    algo = config.build_algo()
    try:
        return look(algo)
    finally:
        STOPPING.submit(algo.stop)
