"""Many environments as arrays: which constant level of hunting loses least? `python examples/batch.py`."""

import numpy as np

import soc_env

NUM_ENVS, LEVELS = 256, 8


def main(max_steps: int = 200) -> None:
    sim = soc_env.Simulator("soc-v1", num_envs=NUM_ENVS, seed=0, max_steps=max_steps, autoreset=False)
    sim.reset()
    level = np.repeat(np.linspace(0, 1, LEVELS), NUM_ENVS // LEVELS)  # a group of environments each
    sim.actions["threat_hunter_0"][:] = -1.0  # off: an entry x stands for the level (x + 1) / 2
    sim.actions["threat_hunter_0"][:, :5] = (2 * level - 1)[:, None]  # the five zones' hunts, written in place
    sim.actions["response_orchestrator_0"][:, 5:10] = 0.8  # reimage what is suspect
    sim.actions["alert_triage_0"][:] = 3  # enrich
    while not sim.truncated.all():
        sim.step()
    loss = sim.episode_metrics["loss"].reshape(LEVELS, -1)
    for hunts, losses in zip(np.linspace(0, 1, LEVELS), loss, strict=True):
        print(f"hunt at {hunts:4.0%}: loss {losses.mean():6.1f} +- {losses.std() / len(losses) ** 0.5:.1f}")


if __name__ == "__main__":
    main()
