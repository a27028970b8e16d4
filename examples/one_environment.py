"""One soc-v1 environment through PettingZoo, with random actions: `python examples/one_environment.py`."""

import soc_env

NUM_HOSTS, SEED = 200, 0


def main(max_steps: int = 200) -> None:
    env = soc_env.parallel_env("soc-v1", num_hosts=NUM_HOSTS, max_steps=max_steps, render_mode="ansi")
    observations, infos = env.reset(seed=SEED)
    episode_return = 0.0
    while env.agents:
        actions = {agent: env.action_space(agent).sample() for agent in env.agents}
        observations, rewards, terminations, truncations, infos = env.step(actions)
        episode_return += rewards["alert_triage_0"]  # the team reward: the same number for every agent
    print(env.render())
    print(f"return {episode_return:.1f}, mission score {env.metrics()['score']:.1f}")


if __name__ == "__main__":
    main()
