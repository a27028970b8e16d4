"""Draws one minute of soc-v1 into a PNG: `python examples/picture.py picture.png`. Needs hmarl-soc[render]."""

import sys

import matplotlib.image
import numpy as np

import soc_env
from policies.scripted import scripted

MINUTE, SEED = 90, 3


def main(path: str = "picture.png") -> None:
    env = soc_env.parallel_env("soc-v1", render_mode="rgb_array")
    policy = scripted("soc-v1")["rule-soar"](env.action_spaces, 0)  # acts on batches: a leading axis of one
    observations, infos = env.reset(seed=SEED)
    for _ in range(MINUTE):
        batch = {agent: observation[None] for agent, observation in observations.items()}
        decides = np.array([infos["strategic_coordinator_0"]["decides"] == 1])
        actions = {agent: action[0] for agent, action in policy(batch, decides).items()}
        observations, _, _, _, infos = env.step(actions)
    matplotlib.image.imsave(path, env.render())
    print(f"wrote {path}: score {env.metrics()['score']:.1f} so far")


if __name__ == "__main__":
    main(*sys.argv[1:])
