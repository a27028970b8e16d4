"""A step of `SOCVectorEnv` in Stable-Baselines3's terms; needs only the environment."""

from __future__ import annotations

from typing import Any

import numpy as np

Step = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]
VecStep = tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]


def vec_step(step: Step, seconds: float) -> VecStep:
    """What a VecEnv returns for a step.

    Args:
        step: What `SOCVectorEnv.step` returned.
        seconds: Since the start, for the log.

    Returns:
        observations (num_envs, size); rewards (num_envs,) float32; dones (num_envs,) bool; an info for each env. Those
        of ended episodes have `terminal_observation`, `TimeLimit.truncated` (cut off and not over, so that learners
        value what would have come), `episode` as SB3's Monitor writes it (r, l, t), and all of `episode_metrics`.
    """
    observations, rewards, terminated, truncated, of_ended = step
    infos: list[dict[str, Any]] = [{} for _ in range(len(rewards))]
    for i in np.flatnonzero(terminated | truncated):
        metrics = {name: float(values[i]) for name, values in of_ended["final_info"].items()}
        infos[i] = {
            **metrics,
            "terminal_observation": of_ended["final_obs"][i],
            "TimeLimit.truncated": bool(truncated[i] and not terminated[i]),
            "episode": {"r": metrics["reward"], "l": int(metrics["length"]), "t": round(seconds, 6)},
        }
    return observations, rewards.astype(np.float32), terminated | truncated, infos
