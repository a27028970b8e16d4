"""A scripted control on the real CAGE Challenge 4: `CYBORG_HOME=cage-challenge-4 python examples/cage4.py`."""

from cyborg_bridge import cage4_parallel_env
from cyborg_bridge.controls import make_control


def main(steps: int = 500) -> None:
    env = cage4_parallel_env(observation="raw", patch=True, steps=steps)
    policy = make_control("raw-rule")
    policy.reset()
    observations, infos = env.reset(seed=0)
    score = 0.0
    while env.agents:
        actions = policy.act(observations, infos, env)
        observations, rewards, terminations, truncations, infos = env.step(actions)
        score += infos["blue_agent_0"]["score"]
    print(f"official score {score:.0f} of an episode of {steps} steps")


if __name__ == "__main__":
    main()
