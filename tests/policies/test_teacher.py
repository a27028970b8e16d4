"""Lessons of a teacher: what is cloned, what learning does afterwards, and what a teacher may be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("ray")

from toy import ROLES
from toy_team import assert_same, greedy_scores, learner_state, small_paper, toy_config

import soc_env
from experiments.run_settings import check_names, with_playbooks, with_preset
from policies import HMARL, HMARLConfig, save_checkpoint
from policies.hmarl import teacher as lessons
from policies.hmarl.teacher import make_teacher
from policies.learners.terms import TEACHER_ACTIONS, TEACHER_WEIGHT
from policies.presets import PRESETS, TAUGHT, preset_of
from soc_env.errors import CheckpointError, ConfigError

pytestmark = pytest.mark.usefixtures("quiet")
TIERS = ("alert_triage", "threat_hunter", "response_orchestrator", "strategic_coordinator")


class Best:
    """Names every agent's point; an agent without one, and one in a wrong form, on demand."""

    def __init__(self, action_spaces=None, seed=0, without=(), shape=None):
        self.without, self.shape, self.seen = without, shape, 0

    def reset(self, seed):
        self.seen = 0

    def __call__(self, observations, decides):
        self.seen += int(decides.all())
        acts = {a: o[:, :2] for a, o in observations.items() if a not in self.without}
        if "alert_triage_0" in acts:
            point = acts["alert_triage_0"]
            acts["alert_triage_0"] = (point[:, 0] > 0) + 2 * (point[:, 1] > 0)
        return acts if self.shape is None else {a: np.zeros(self.shape) for a in acts}

    def get_state(self):
        return {"seen": self.seen}

    def set_state(self, state):
        self.seen = state["seen"]


def taught(env=None, **settings):
    lessons = {"teacher": Best, "teacher_rounds": 3, "teacher_steps": 1024, "teacher_rest_steps": 512}
    return toy_config(**(env or {})).training(**{**lessons, **settings})


def test_lessons_make_every_tier_do_what_the_teacher_does(build, monkeypatch):
    monkeypatch.setattr(lessons, "EPOCHS", 60)  # there is little to learn from in so few steps
    algo = build(taught(teacher_rounds=4))
    before = greedy_scores(algo, tuple(ROLES))
    while algo.lessons.go_on:
        result = algo.train()
    after = greedy_scores(algo, tuple(ROLES))
    for agent, score in after.items():
        assert score > 0.8 > before[agent] + 0.05, (agent, score, before)
    assert set(result["learners"]) == set(TIERS)
    assert algo.num_env_steps == 4 * 1024
    assert len(algo.replay) == algo.num_env_steps  # what was done in lessons is learned from later
    for tier, own in algo.averaged.items():  # what a trained policy acts with is what was fitted
        assert_same({n: v.numpy() for n, v in own.items()}, algo.env_runner.module[tier].state_dict(), tier)


def test_the_teacher_acts_in_its_share_of_the_environments():
    [rollout], [own] = (
        taught().build_algo().env_runner.sample(num_timesteps=640, lesson=share, explore=False) for share in (1.0, 0.0)
    )
    for agent in ROLES:
        assert np.array_equal(rollout.joint[f"action/{agent}"], rollout.joint[f"teacher/{agent}"])
        assert not np.array_equal(own.joint[f"action/{agent}"], own.joint[f"teacher/{agent}"])
        assert len(rollout.taught[agent]) == len(rollout.seen) == 640
    assert "strategic_coordinator" not in rollout.on_policy  # what the teacher does is no decision of the policy
    assert len(own.on_policy["strategic_coordinator"][TEACHER_ACTIONS]) > 0


def test_without_a_lesson_the_teacher_is_not_asked(build):
    algo = build(taught(teacher=Best()))
    [rollout] = algo.env_runner.sample(num_timesteps=64)
    assert not rollout.taught
    assert not rollout.joint["teacher/threat_hunter_0"].any()
    assert algo.env_runner._collector.guide.policy.seen == 0


def test_policies_rest_while_critics_learn(build):
    algo = build(taught(teacher_rounds=1, imitation=0.0))
    while algo.lessons.go_on:
        algo.train()

    def networks():
        found = {}
        for tier in TIERS[1:]:
            state = algo.learner_group[tier]._learner.module[tier].unwrapped().state_dict()
            found |= {f"{tier}/{name}": value.clone() for name, value in state.items()}
        found = {name: value for name, value in found.items() if ".norm." not in name}
        acts = [n for n in found if "pi" in n.split("/")[1].split(".")[0] or ".actor" in n or "/actor" in n]
        return {n: found[n] for n in acts}, {n: v for n, v in found.items() if n.endswith(("f.weight", "head.weight"))}

    (acting, valuing), steps = networks(), algo.num_env_steps
    while algo.num_env_steps < steps + 512:
        algo.train()
    resting, learned = networks()
    for name, value in acting.items():
        assert torch.equal(value, resting[name]), name
    critics = [name for name in valuing if name not in acting and "actor" not in name]
    assert len(critics) >= 5
    assert all(not torch.equal(valuing[name], learned[name]) for name in critics)
    algo.train()
    algo.train()
    woken = networks()[0]
    assert {name.split("/")[0] for name, value in woken.items() if not torch.equal(value, resting[name])} == set(
        TIERS[1:]
    )


def test_the_imitation_term_fades_by_its_schedule(build):
    algo = build(taught(teacher_rounds=1, imitation=[[0, 4.0], [1024, 0.0]]))
    weights = []
    while algo.num_env_steps < 1024 + 1280:
        algo.train()
        weights.append(algo.batches.imitation)
    assert weights == [0, 0, 0, 0, 3.0, 2.0, 1.0, 0.0, 0.0]
    assert algo.replay.old_end == 1024
    assert algo.batches.old_share == 0.5
    drawn = algo.batches.draw("threat_hunter", 2)[0]  # of two batches of 64 rows
    assert (drawn < 1024).sum() == 64
    algo.batches.imitation = 0.5
    index = np.arange(64)
    batch = algo.batches.batch("threat_hunter", index, np.ones(64, np.float32))["threat_hunter"]
    stored = algo.replay.columns
    assert np.array_equal(batch[TEACHER_ACTIONS], stored["teacher/threat_hunter_0"][index])
    assert np.allclose(batch[TEACHER_ACTIONS], stored["obs/threat_hunter_0"][index, :2])  # what it says about that row
    assert (np.asarray(batch[TEACHER_WEIGHT]) == 0.5).all()
    algo.batches.imitation = 0.0
    batch = algo.batches.batch("threat_hunter", index, np.ones(64, np.float32))["threat_hunter"]
    assert TEACHER_ACTIONS not in batch


@pytest.mark.parametrize("iterations", [3, 6])  # within the second lesson; while policies rest
def test_a_run_that_was_stopped_goes_on_as_the_same(build, tmp_path, iterations):
    config = small_paper(teacher="rule-soar", teacher_rounds=2, teacher_steps=256, teacher_rest_steps=256)
    algo = build(config.copy())
    for _ in range(iterations):
        algo.train()
    assert algo.lessons.go_on == (iterations < 4)
    save_checkpoint(algo, tmp_path / "c")
    for _ in range(4):
        algo.train()
    torch.manual_seed(9)
    twin = build(config.copy())
    twin.restore_from_path(tmp_path / "c")
    for _ in range(4):
        twin.train()
    assert not twin.lessons.go_on
    assert_same(learner_state(twin), learner_state(algo))
    assert_same(twin.replay.columns, algo.replay.columns)


@pytest.mark.parametrize("is_choice", [False, True])
def test_rows_where_the_teacher_does_something_unusual_are_repeated(is_choice):
    said = np.zeros(1000, np.int64) if is_choice else np.zeros((1000, 3), np.float32)
    said[[7, 11, 500]] = 2
    rows = np.arange(2, 1000)
    found = lessons.with_rare_ones(rows, said, 0.3)
    rare = np.isin(found, [7, 11, 500])
    assert rare.mean() == pytest.approx(0.3, abs=0.01)
    assert np.array_equal(np.unique(found), rows)
    assert np.array_equal(lessons.with_rare_ones(rows, said, 0.0), rows)
    assert np.array_equal(lessons.with_rare_ones(rows[:4], said, 0.3), rows[:4])  # nothing unusual
    said[::2] = 1
    assert np.array_equal(lessons.with_rare_ones(rows, said, 0.3), rows)  # as many as that of themselves


def test_lessons_keep_observation_statistics_as_they_were_fitted(build):
    algo = build(taught())
    while algo.lessons.go_on:
        algo.train()
    norms = {tier: algo.env_runner.module[tier].state_dict() for tier in TIERS}
    before = {f"{t}/{n}": v.clone() for t, own in norms.items() for n, v in own.items() if n.endswith("inv_std")}
    algo.train()
    for name, value in before.items():
        tier, _, entry = name.partition("/")
        torch.testing.assert_close(algo.env_runner.module[tier].state_dict()[entry], value, rtol=1e-4, atol=1e-5)


def test_a_fit_slows_down_to_its_end(build, monkeypatch):
    made = []

    class Adam(torch.optim.Adam):
        def __init__(self, *given, **named):
            super().__init__(*given, **named)
            made.append((self, []))

        def step(self, *given):
            made[-1][1].append(self.param_groups[0]["lr"])
            return super().step(*given)

    algo = build(toy_config())
    monkeypatch.setattr(torch.optim, "Adam", Adam)
    monkeypatch.setattr(lessons, "BATCH", 16)
    size = algo.env_runner.module["threat_hunter"].observation_space.shape[0]
    seen = np.random.default_rng(0).uniform(-1, 1, (33, size)).astype(np.float32)
    algo.learner_group.edit("threat_hunter", lambda module: lessons.clone(seen, seen[:, :2], [0], module))
    [(_, rates)] = made
    assert rates == pytest.approx(np.linspace(1, 1 / 6, 6) * lessons.LEARNING_RATE)  # two passes of three steps
    for num_old, limit, fits in (
        (20, 1.0, 0),
        (20, 1e-9, 1),
        (0, 1.0, 1),
    ):  # close on the newest rows; not; all are new
        made.clear()
        monkeypatch.setattr(lessons, "CLOSE", limit)
        algo.learner_group.edit(
            "threat_hunter", lambda module, n=num_old: lessons.clone(seen, seen[:, :2], [0], module, num_old=n)
        )
        assert len(made) == fits


# ---- who may teach
SOC = soc_env.Simulator("soc-v1", num_envs=2, seed=0)
RULES = Path(soc_env.__file__).parent.parent / "policies" / "scripted" / "playbook"


def test_a_teacher_may_be_a_name_a_file_a_checkpoint_or_code(build, tmp_path):
    file = next(RULES.rglob("expert.toml"))
    named, read = (make_teacher(given, "soc-v1", SOC, 0) for given in ("expert", file))
    decides = np.ones(2, bool)
    SOC.reset(seed=0)
    assert_same(named(SOC.observations, decides), read(SOC.observations, decides))
    own = Best()
    assert make_teacher(own, "soc-v1", SOC, 0) is own
    assert isinstance(make_teacher(Best, "soc-v1", SOC, 0), Best)
    algo = build(toy_config())
    folder = save_checkpoint(algo, tmp_path / "c", replay=False)
    from policies import policy_of

    env = algo.env_runner.env
    env.reset(seed=1)
    again = make_teacher(str(folder), None, env, 0)
    assert_same(again(env.observations, env.decides), policy_of(algo)(env.observations, env.decides))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"teacher": "informed"}, "teacher 'informed' does not exist any more; it is called 'oracle-observation'"),
        ({"teacher": "expertt"}, "teacher 'expertt' does not exist; did you mean 'expert'?"),
        (
            {"teacher": 3},
            "teacher=3 must be a scripted policy's name, a playbook file, a checkpoint, a policy, or None",
        ),
        ({"teacher": "absent.toml"}, "absent.toml"),
        ({"teacher_rounds": 3}, "teacher_rounds=3 has no effect: there is no teacher"),
        ({"imitation": 1.0}, "imitation=1.0 has no effect: there is no teacher"),
        ({"teacher": "expert", "teacher_steps": 0}, "teacher_steps=0 must be"),
    ],
)
def test_what_no_teacher_is_is_refused_in_one_line(settings, message):
    with pytest.raises(ConfigError) as error:
        HMARLConfig().environment("soc-v1").training(**settings).validate()
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        (Best(without=("threat_hunter_0",)), "teacher: it says nothing for threat_hunter_0"),
        (Best(shape=(16, 5)), "teacher: alert_triage_0 acts in shape (16, 5), allowed: (16,)"),
    ],
)
def test_a_teacher_that_does_not_act_as_agents_do_is_refused(build, teacher, message):
    algo = build(taught(teacher=teacher))
    with pytest.raises(ConfigError) as error:
        algo.train()
    assert message in str(error.value)


def test_a_teacher_that_needs_the_truth_is_refused_where_nothing_tells_it(build):
    teacher = Best()
    teacher.needs_state = True
    with pytest.raises(ConfigError, match="reads the true state"):
        build(taught(teacher=teacher)).train()


def test_code_that_teaches_is_not_in_a_checkpoint(build, tmp_path):
    folder = save_checkpoint(build(taught(teacher=Best())), tmp_path / "c", replay=False)
    with pytest.raises(CheckpointError, match="needs code that a file cannot hold: 'teacher'"):
        HMARL.from_checkpoint(folder)


# ---- a run


def test_a_taught_run_has_a_preset_of_its_own(tmp_path):
    HMARLConfig().environment("paper-v0").training(**with_preset("paper-v0", {"teacher": "patient"})).validate()
    assert with_preset("paper-v0", {"teacher": "patient"})["teacher_rounds"] == TAUGHT["paper-v0"]["teacher_rounds"]
    assert "teacher_rounds" not in with_preset("paper-v0", {})
    (tmp_path / "mine.toml").write_text(next(RULES.rglob("expert.toml")).read_text())
    config = with_playbooks({"teacher": str(tmp_path / "mine.toml"), "tiers": {"threat_hunter": {"actor_lr": 2e-4}}})
    (tmp_path / "mine.toml").unlink()  # the run keeps its text
    taught, plain = with_preset("soc-v1", config), with_preset("soc-v1", {})
    assert plain == preset_of("soc-v1") == PRESETS["soc-v1"]
    HMARLConfig().environment("soc-v1").training(**taught).validate()
    for tier, changes in TAUGHT["soc-v1"]["tiers"].items():
        expected = {**PRESETS["soc-v1"]["tiers"][tier], **changes}
        expected |= {"actor_lr": 2e-4} if tier == "threat_hunter" else {}  # what the user says goes before
        assert {name: taught["tiers"][tier][name] for name in expected} == expected


def test_a_file_of_settings_names_no_code_that_teaches():
    check_names({"teacher": "expert"}, {}, "config=x")
    check_names({"teacher": "mine:Best"}, {"teacher": Best}, "config=x")
    with pytest.raises(ConfigError, match="config=x: teacher is 'mine:Best'; code that a file names is not imported"):
        check_names({"teacher": "mine:Best"}, {}, "config=x")
