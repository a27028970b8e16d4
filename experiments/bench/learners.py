"""The parts of the benchmark that need the [train] extra: env runners and the learners of all tiers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import soc_env
from experiments.bench.measure import Case, Effort, Measurement, measure
from experiments.evaluate import one_thread
from experiments.progress import Progress

TRAINING_SCENARIO = "paper-v0"  # of the runners and learners
STOCK_ENVS = 16
COLUMNAR_ENVS = (16, 64, 256)
LEARNER_ROWS = 256  # batch size of a gradient step


def bench_runners(_scenarios: Sequence[str], effort: Effort, progress: Progress) -> list[Measurement]:
    """The same networks acting in both runners; the coordinator acts on its decision steps only, in both."""
    from policies.hmarl.ray_start import quiet

    quiet()  # RLlib 2.60 warns about its own deprecated calls
    with one_thread():
        columnar = (64,) if effort.is_quick else COLUMNAR_ENVS
        cases = [_stock_case(STOCK_ENVS), *(_columnar_case(n) for n in columnar)]
        return measure("runners", cases, effort, progress)


def _stock_case(num_envs: int) -> Case:
    from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner
    from ray.rllib.env.wrappers.pettingzoo_env import ParallelPettingZooEnv
    from ray.tune.registry import register_env

    class StockRunner(MultiAgentEnvRunner):
        def make_module(self) -> None:
            """As in RLlib, but with the value heads, which the columnar runner has and evaluates too."""
            spec = self.config.get_multi_rl_module_spec(env=self.env.unwrapped, spaces=self.get_spaces())
            self.module = spec.build()

    name = "hmarl-soc-bench"
    register_env(name, lambda _: ParallelPettingZooEnv(soc_env.parallel_env(TRAINING_SCENARIO, coordinator="absent")))
    runner = StockRunner(config=_runner_config(name, num_envs))

    def work() -> int:
        episodes = runner.sample(num_timesteps=10 * num_envs)
        return sum(episode.env_steps() for episode in episodes)

    work()
    parameters = {"scenario": TRAINING_SCENARIO, "runner": "stock", "num_envs": num_envs}
    return Case(f"{TRAINING_SCENARIO}, RLlib's stock runner, {num_envs} envs", "env-steps/CPU-s", work, parameters)


def _columnar_case(num_envs: int) -> Case:
    from policies.runner.env_runner import ColumnarEnvRunner

    runner = ColumnarEnvRunner(config=_runner_config(TRAINING_SCENARIO, num_envs))

    def work() -> int:
        return sum(rollout.env_steps() for rollout in runner.sample(num_timesteps=20 * num_envs))

    work()
    parameters = {"scenario": TRAINING_SCENARIO, "runner": "columnar", "num_envs": num_envs}
    return Case(f"{TRAINING_SCENARIO}, columnar runner, {num_envs} envs", "env-steps/CPU-s", work, parameters)


def _runner_config(env: str, num_envs: int) -> Any:
    from policies import HMARLConfig

    config = HMARLConfig().environment(env).debugging(seed=0, log_level="ERROR")
    return config.env_runners(num_env_runners=0, num_envs_per_env_runner=num_envs)


def bench_learners(_scenarios: Sequence[str], effort: Effort, progress: Progress) -> list[Measurement]:
    """Gradient steps on `LEARNER_ROWS` real rows, each tier's learner alone; replay and sampling are not in it.

    As in training, an off-policy learner makes all gradient steps of an iteration in one call.
    """
    from policies.hmarl.ray_start import session

    with one_thread(), session():
        config = _runner_config(TRAINING_SCENARIO, 64).training(learning_starts=0, updates_per_iteration=1)
        algorithm = config.build_algo()
        try:
            for _ in range(4):  # fills the replay and sets the statistics
                algorithm.train()
            cases = [_off_policy_case(algorithm, tier) for tier in algorithm.off_policy]
            cases += [_on_policy_case(algorithm, tier) for tier in algorithm.on_policy]
            return measure("learners", cases, effort, progress)
        finally:
            algorithm.stop()


def _off_policy_case(algorithm: Any, tier: str) -> Case:
    from policies import HMARLConfig

    replay, defaults = algorithm.batches.replay_of(tier), HMARLConfig()
    num_steps = defaults.updates_per_iteration
    batch = algorithm.batches.batch(tier, *replay.sample(tier, num_steps * LEARNER_ROWS, 0.4))
    per_step = num_steps / defaults.train_batch_size
    return _learner_case(algorithm, tier, batch, per_step, num_steps, minibatch_size=LEARNER_ROWS)


def _on_policy_case(algorithm: Any, tier: str) -> Case:
    from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch

    (rollout,) = algorithm.env_runner.sample(num_timesteps=20 * LEARNER_ROWS)
    columns = {name: column[:LEARNER_ROWS] for name, column in rollout.on_policy[tier].items()}
    batch = MultiAgentBatch({tier: SampleBatch(columns)}, env_steps=LEARNER_ROWS)
    settings = algorithm.config.tier(tier)
    period = soc_env.make_scenario(TRAINING_SCENARIO).coordinator_period
    per_step = settings.num_epochs / settings.minibatch_size / period  # a decision every `period` steps
    return _learner_case(algorithm, tier, batch, per_step, 1, num_epochs=1, minibatch_size=LEARNER_ROWS)


def _learner_case(algorithm: Any, tier: str, batch: Any, per_step: float, num_steps: int, **options: Any) -> Case:
    """`per_step`: gradient steps that training with default settings takes per environment step; `num_steps`: those of
    a call with `batch`.
    """
    timesteps = {"num_env_steps_sampled_lifetime": algorithm.num_env_steps}
    group = algorithm.learner_group[tier]
    name = algorithm.config.tier(tier).algorithm

    def work() -> int:
        group.update(batch=batch, timesteps=timesteps, **options)
        return num_steps

    work()
    parameters = {
        "scenario": TRAINING_SCENARIO,
        "tier": tier,
        "algorithm": name,
        "rows": LEARNER_ROWS,
        "updates_per_env_step": per_step,
    }
    return Case(f"{TRAINING_SCENARIO}, {tier} ({name}), {LEARNER_ROWS} rows", "updates/CPU-s", work, parameters)
