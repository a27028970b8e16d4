"""Going on from a checkpoint: the same run, the configuration's own settings, also back in place."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

pytest.importorskip("ray")

from toy_team import FAST, SMALL, assert_same, learner_state, small_paper, toy_config

from policies import HMARL, save_checkpoint
from policies.presets import PRESETS
from soc_env.errors import CheckpointError

pytestmark = pytest.mark.usefixtures("quiet_ray")


def files_of(folder):
    return json.loads((folder / "hmarl.json").read_text())["files"]


def lasting(result):
    """An iteration's result without what no two runs share."""
    if not isinstance(result, dict):
        return repr(result)
    gone = ("config", "date", "pid", "hostname", "node_ip", "trial_id", "perf", "weights_seq_no", "sample")
    kept = {k: v for k, v in result.items() if k not in gone and not any(w in k for w in ("time", "since_restore"))}
    return {name: lasting(value) for name, value in kept.items() if "throughput" not in name}


def test_a_resumed_run_is_the_same_run_to_the_byte(tmp_path):
    algo = small_paper().build_algo()
    for _ in range(5):
        algo.train()
    save_checkpoint(algo, tmp_path / "middle")
    whole = [lasting(algo.train()) for _ in range(3)]
    save_checkpoint(algo, tmp_path / "whole")
    algo.stop()
    torch.manual_seed(99)
    twin = HMARL.from_checkpoint(tmp_path / "middle")
    assert [lasting(twin.train()) for _ in range(3)] == whole
    save_checkpoint(twin, tmp_path / "resumed")
    twin.stop()
    resumed, expected = files_of(tmp_path / "resumed"), files_of(tmp_path / "whole")
    is_rows = "replay/joint-"  # those of the whole run are cut at other places
    assert [n for n in expected if not n.startswith(is_rows) and expected[n] != resumed[n]] in (
        [],
        ["replay/stores.json"],
    )


def test_settings_of_a_checkpoint_make_its_configuration_again(tmp_path):
    config = small_paper(gamma=0.97)
    algo = config.build_algo()
    folder = save_checkpoint(algo, tmp_path / "c")
    algo.stop()
    twin = HMARL.from_checkpoint(folder)
    assert twin.config.tier_settings == algo.config.tier_settings
    for name in ("train_batch_size", "ema_tau", "seed", "num_envs_per_env_runner", "gamma", "env", "env_config"):
        assert getattr(twin.config, name) == getattr(algo.config, name), name
    twin.stop()


def test_code_that_a_file_cannot_hold_is_named(tmp_path):
    config = small_paper()
    config.callbacks_on_train_result, config.policies_to_train = print, lambda tier, batch: True
    algo = config.build_algo()
    folder = save_checkpoint(algo, tmp_path / "c")
    algo.stop()
    with pytest.raises(
        CheckpointError, match="needs code.*'callbacks_on_train_result', 'policies_to_train'; pass config="
    ):
        HMARL.from_checkpoint(folder)
    twin = HMARL.from_checkpoint(folder, config=config.copy(copy_frozen=False))
    assert twin.num_env_steps == algo.num_env_steps
    twin.stop()


def test_the_environment_of_a_user_is_passed_by_the_caller(build, tmp_path):
    algo = build(toy_config())
    algo.train()
    folder = save_checkpoint(algo, tmp_path / "c")
    with pytest.raises(CheckpointError, match="needs code that a file cannot hold: the environment; pass config="):
        HMARL.from_checkpoint(folder)
    twin = HMARL.from_checkpoint(folder, config=toy_config())
    assert_same(learner_state(algo), learner_state(twin))
    twin.train()
    twin.stop()


# ---- back in place


def test_going_back_in_place_brings_everything_back(build, tmp_path):
    config = small_paper().evaluation(
        evaluation_interval=100, evaluation_duration=4, evaluation_config={"explore": False}
    )
    algo = build(config)
    for _ in range(3):
        algo.train()
    older = algo.get_state()
    folder = save_checkpoint(algo, tmp_path / "older")
    evaluated = algo.evaluate()["env_runners"]["episode_return_mean"]
    algo.set_state(older)
    after = lasting(algo.train()["learners"])
    for go_back in (lambda: algo.set_state(older), lambda: algo.restore_from_path(folder)):
        algo.train()
        go_back()
        assert_same(algo.get_state(not_components="runners"), {k: v for k, v in older.items() if k != "runners"})
        for tier in algo.learner_group.groups:
            newest = learner_state(algo)[tier]["rl_module"][tier]
            for name, value in algo.env_runner.module[tier].state_dict().items():
                assert np.array_equal(value.numpy(), newest[name]), (tier, name)
        assert algo.evaluate()["env_runners"]["episode_return_mean"] == evaluated
        go_back()
        assert lasting(algo.train()["learners"]) == after


def test_a_checkpoint_without_replay_leaves_an_empty_one(build, tmp_path):
    algo = build(small_paper())
    algo.train()
    folder = save_checkpoint(algo, tmp_path / "c", replay=False)
    algo.train()
    assert len(algo.replay) > 0
    algo.restore_from_path(folder)
    assert len(algo.replay) == 0
    algo.train()


# ---- what belongs to the configuration


def rates(algo):
    return {
        f"{tier}/{name}": float(optimizer.param_groups[0]["lr"])
        for tier, group in algo.learner_group.groups.items()
        for name, optimizer in group._learner._named_optimizers.items()
    }


def test_learning_rates_are_the_configurations_from_the_first_step(build, tmp_path):
    donor = build(small_paper())
    for _ in range(3):
        donor.train()
    folder = save_checkpoint(donor, tmp_path / "donor")
    config = small_paper().tiers({"threat_hunter": {"actor_lr": 7e-5}, "alert_triage": {"lr": [[0, 0.5], [768, 0.1]]}})
    heir = build(config)
    heir.restore_from_path(folder)
    found, before = rates(heir), rates(donor)
    assert found["threat_hunter/threat_hunter_policy"] == 7e-5 != before["threat_hunter/threat_hunter_policy"]
    assert found["alert_triage/alert_triage_default_optimizer"] == pytest.approx(11 / 30)  # after 256 of 768 steps
    same = [name for name in found if name.startswith(("response", "strategic")) or name.endswith("qf")]
    assert len(same) >= 3
    assert all(found[name] == before[name] for name in same)


@pytest.mark.parametrize("how", ["trainable", "policies_to_train"])
def test_who_is_trained_is_the_configurations_and_not_the_checkpoints(build, tmp_path, how):
    def config(frozen):
        made = small_paper()
        if frozen and how == "trainable":
            return made.tiers({"threat_hunter": {"trainable": False}})
        if frozen:
            made.multi_agent(policies_to_train=[t for t in made.tier_settings if t != "threat_hunter"])
        return made

    def network(algo):
        state = algo.env_runner.module["threat_hunter"].state_dict()
        return {name: value.clone() for name, value in state.items() if "norm" not in name}

    for frozen in (True, False):
        source = build(config(not frozen))
        for _ in range(3):
            source.train()
        target = build(config(frozen))
        if frozen:
            target.restore_from_path(save_checkpoint(source, tmp_path / f"{how}-{frozen}"))
            assert len(target.replay) == len(source.replay)
        else:
            with pytest.warns(UserWarning, match="tiers 'threat_hunter' did not learn.*'joint' begins empty"):
                target.restore_from_path(save_checkpoint(source, tmp_path / f"{how}-{frozen}"))
        before = network(target)
        for _ in range(2):
            target.train()
        after = network(target)
        assert all(torch.equal(value, after[name]) for name, value in before.items()) == frozen


def test_what_does_not_fit_is_named(build, tmp_path):
    folder = save_checkpoint(build(toy_config()), tmp_path / "c")
    wider = {t: {**SMALL, **FAST[a], "algorithm": a} for t, a in (("alert_triage", "DQN"), ("threat_hunter", "SAC"))}
    wider["threat_hunter"]["hiddens"] = [8, 8]
    with pytest.raises(CheckpointError, match="tier 'threat_hunter': the checkpoint's rl_module does not fit.*shape"):
        build(toy_config(wider, agents=("alert_triage_0", "threat_hunter_0"))).restore_from_path(folder)
    with pytest.raises(CheckpointError, match="tier 'scout'"):
        build(
            toy_config({"scout": {"algorithm": "SAC", "agents": ["threat_hunter_0"]}}, agents=("threat_hunter_0",))
        ).restore_from_path(folder)


def test_presets_are_made_again_from_their_checkpoints():
    """Their settings are plain; no algorithm is built."""
    from policies.hmarl.description import PLAIN

    for preset in PRESETS.values():
        assert set(preset) - {"tiers"} <= set(PLAIN)
        assert json.loads(json.dumps(preset)) is not None


# ---- RLlib's own


def test_a_folder_of_rllib_needs_trust(build, tmp_path):
    algo = build(toy_config({"threat_hunter": "SAC"}, agents=("threat_hunter_0",)))
    from ray.rllib.utils.checkpoints import Checkpointable

    Checkpointable.save_to_path(algo, str(tmp_path / "pickles"))
    assert list((tmp_path / "pickles").rglob("*.pkl"))
    for read in (algo.restore_from_path, HMARL.from_checkpoint, algo.load_checkpoint):
        with pytest.raises(CheckpointError, match=r"has no hmarl\.json.*trust=True"):
            read(tmp_path / "pickles")
    algo.restore_from_path(tmp_path / "pickles", trust=True)
