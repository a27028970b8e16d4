"""Learned risk models: what they read, where their score counts, and what their files may be."""

import copy
import json

import numpy as np
import pytest
from soc_states import HOST, TRIAGE, build, play

from policies.scripted import scripted
from soc_env import Simulator, make_scenario
from soc_env.errors import CheckpointError, ConfigError, HMARLSOCError
from soc_env.soc.kernels.rating import read_all
from soc_env.soc.kernels.state import WATCHED
from soc_env.soc.risk import NEGLIGIBLE, evidence
from soc_env.soc.risk_model import INPUTS, SHIPPED, RiskModel, kept

SIZE = len(INPUTS)
PLACE = {name: k for k, name in enumerate(INPUTS)}
HISTORY = ("alerts", "precision", "sharpness", "stage", "peer", "reading", "looked", "cleared", "rules_seen")


def model(bias=0.0, **weights):
    """A model of one unit: log-odds = bias + sum of weights * inputs, where that is above the bias."""
    hidden = np.zeros((1, SIZE))
    for name, weight in weights.items():
        hidden[0, PLACE[name]] = weight
    return RiskModel(hidden, np.zeros(1), np.ones(1), bias)


def file_of(folder, found, name="model.json"):
    path = folder / name
    path.write_text(found.text())
    return str(path)


def inputs_of(sim):
    records = sim.records()
    rows = np.full((*records.hosts.shape, SIZE), np.nan)
    read_all(records.world, records.assets, records.env, records.hosts, rows)
    return rows


def under_way(minutes=60, num_envs=4, policy="expert", **options):
    sim = Simulator("soc-v1", num_envs=num_envs, seed=3, autoreset=False, split="test", **options)
    sim.reset()
    play(sim, scripted("soc-v1")[policy](sim.action_spaces, 0), minutes)
    return sim


def weight_of(rows):
    return evidence(*(rows[name] for name in ("process", "target", "source", "finding", "verdict")))


# ---------------------------------------------------------------------- the score
def test_a_score_is_the_root_of_the_models_probability_and_0_without_evidence():
    sim, found = under_way(risk_model="learned"), RiskModel.find("learned")
    rows, num_seen = inputs_of(sim), 0
    for i, num_tracked in enumerate(sim.records().env["num_tracked"]):
        hosts = sim.records(i).hosts[:num_tracked]
        has_evidence = weight_of(hosts) >= NEGLIGIBLE
        np.testing.assert_allclose(
            hosts["risk"][has_evidence] ** 2, found.probability(rows[i, :num_tracked][has_evidence]), rtol=1e-9
        )
        assert not hosts["risk"][~has_evidence].any()
        num_seen += has_evidence.sum()
    assert num_seen > 20


def test_agents_and_tools_go_by_the_models_score(tmp_path):
    """Two hosts of a zone; the model rates the one higher that the formula rates lower."""
    hosts = ({"host": HOST, "process": 3.0}, {"host": HOST + 1, "target": 1.0})
    by_formula = build(hosts=hosts)
    zone = by_formula.hosts()["zone"][HOST]
    assert by_formula.records(0).env["top_host"][zone] == HOST
    sim = build(hosts=hosts, risk_model=file_of(tmp_path, model(bias=-2.0, target=4.0)))
    env = sim.records(0).env
    assert env["top_host"][zone] == HOST + 1
    score = np.sqrt(1.0 / (1.0 + np.exp(2.0 - 4.0 * sim.hosts()["target"][HOST + 1])))
    assert env["top_risk"][zone] == pytest.approx(score)
    seen = dict(zip(sim.features(TRIAGE), sim.observations[TRIAGE][0], strict=True))
    assert seen[f"zone{zone}_top_risk"] == pytest.approx(score)
    assert seen[f"zone{zone}_second_risk"] == pytest.approx(np.sqrt(1.0 / (1.0 + np.exp(2.0))))


@pytest.mark.parametrize(("verdict", "outcome"), [(4.0, "started"), (0.01, "denied")])
def test_approval_goes_by_the_formula(tmp_path, verdict, outcome):
    """A model that is sure of every host opens no way round approval, one that suspects none closes no way."""
    path = file_of(tmp_path, model(bias=-20.0 if outcome == "started" else 20.0))
    critical = int(np.flatnonzero(build().hosts()["role"] == 2)[0])
    sim = build(hosts=({"host": critical, "verdict": verdict, "process": 0.1},), approval_rate=0.0, risk_model=path)
    sim.set_calls([("reimage", critical, 0.0, 0.0)])
    sim.step()
    assert [call["outcome"] for call in sim.calls()] == [outcome]


# ---------------------------------------------------------------------- what it reads
def test_inputs_of_a_host_are_what_the_soc_knows_of_it():
    fields = {"process": 0.4, "target": 0.3, "source": 0.2, "finding": 1.5, "verdict": 2.0}
    sim = build(hosts=({"host": HOST, **fields}, {"host": HOST + 1, "process": 1.0}), risk_model="learned", step=100)
    history = dict(zip(HISTORY, (2.0, 0.5, 1.8, 0.7, 0.6, 0.3, 0.4, 1.0, 0b1011), strict=True))
    row = sim.records(0).hosts[sim.records(0).slots[HOST] - 1]
    for name, value in {**history, "last_alert": 90, "last_hunt": 20, "is_isolated": 1}.items():
        row[name] = value
    seen = dict(zip(INPUTS, inputs_of(sim)[0, sim.records(0).slots[HOST] - 1], strict=True))
    weight, asset = weight_of(row), sim.records(0).assets[HOST]
    others = sim.records(0).env["all_evidence"] - weight
    segment = sim.records(0).env["segment_evidence"][asset["segment"]] - weight
    expected = fields | {
        "formula": weight / (weight + 1), "log_evidence": np.log(weight + 0.05), "isolated": 1, "alert_age": 0.5,
        "hunt_age": 3.0, "alerts": 2.0, "precision": 0.5, "sharpness": 1.8, "mean_precision": 0.5 / 2.1,
        "mean_sharpness": 1.8 / 2.1, "rules": 1.0, "stage": 0.7, "peer": 0.6, "reading": 0.3, "looked": 0.4,
        "cleared": 1.0, "value": asset["value"], "vulnerability": asset["vulnerability"],
        "overall": others / (others + 10), "segment": segment / (segment + 2), "clock": 0.5,
        "workstation": asset["role"] == 0, "server": asset["role"] == 1, "domain_controller": asset["role"] == 2,
    }  # fmt: skip
    for name in ("process", "target", "source", "finding", "verdict"):
        expected[name] = row[name]
    for name, value in expected.items():
        assert seen[name] == pytest.approx(float(value)), name
    assert segment > 0.8


def test_a_networks_alerts_leave_a_history_on_both_sides():
    sim = under_way(risk_model="learned", minutes=40)
    rows = np.concatenate([sim.records(i).hosts[:n] for i, n in enumerate(sim.records().env["num_tracked"])])
    has_evidence = weight_of(rows) >= NEGLIGIBLE
    for name in HISTORY:
        assert (rows[name][has_evidence] != 0).any(), name
        assert not rows[name][~has_evidence].any(), f"{name} tells of hosts that look as those without a record"
    assert rows["alerts"][has_evidence].max() > 1.5


def test_nothing_is_kept_without_a_model_and_watching_changes_nothing():
    plain, watched = (Simulator("soc-v1", num_envs=3, seed=5, autoreset=False) for _ in range(2))
    watched.records().world["risk_model"]["kind"] = WATCHED
    for sim in (plain, watched):
        sim.reset()
        play(sim, scripted("soc-v1")["expert"](sim.action_spaces, 0), 90)
    for agent, seen in plain.observations.items():
        np.testing.assert_array_equal(seen, watched.observations[agent])
    np.testing.assert_array_equal(plain.records().hosts["risk"], watched.records().hosts["risk"])
    assert not any(plain.records().hosts[name].any() for name in HISTORY)
    assert all(watched.records().hosts[name].any() for name in HISTORY)
    assert not plain.records().env["segment_evidence"].any()


# ---------------------------------------------------------------------- scenario and state
def test_a_scenario_is_named_by_the_models_content(tmp_path):
    plain = make_scenario("soc-v1")
    assert plain.replace(risk_model="").hash() == plain.hash() == "48cac33d964b"
    first, same = (file_of(tmp_path, model(bias=1.0), name) for name in ("a.json", "b.json"))
    other = file_of(tmp_path, model(bias=2.0), "c.json")
    hashes = [plain.replace(risk_model=path).hash() for path in (first, same, other, "learned")]
    assert hashes[0] == hashes[1]
    assert len({*hashes, plain.hash()}) == 4
    short = plain.replace(num_hosts=50, risk_model=first)
    assert short.hash() != hashes[0]
    assert type(plain)(**short.to_dict()) == short


def test_a_state_is_taken_back_by_the_same_model_only(tmp_path):
    path = file_of(tmp_path, model(bias=1.0))
    sims = [Simulator("soc-v1", seed=0, risk_model=name) for name in ("learned", str(SHIPPED["learned"]), path, "")]
    for sim in sims:
        sim.reset()
    state = copy.deepcopy(sims[0].get_state())
    sims[1].set_state(state)
    for sim in sims[2:]:
        with pytest.raises(CheckpointError, match="made for risk_model="):
            sim.set_state(state)


# ---------------------------------------------------------------------- files
def test_a_file_is_read_as_it_was_written(tmp_path):
    rng = np.random.default_rng(0)
    found = RiskModel(rng.normal(size=(5, SIZE)), rng.normal(size=5), rng.normal(size=5), 0.25, {"seed": 1})
    again = RiskModel.load(file_of(tmp_path, found))
    assert again.hash() == found.hash()
    assert again.card == {"seed": 1}
    rows = rng.normal(size=(7, SIZE))
    np.testing.assert_array_equal(again.probability(rows), found.probability(rows))


def spoilt(**changes):
    return json.dumps({**json.loads(model().text()), **changes})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[]", "no risk model of format 1"),
        (spoilt(format=2), "no risk model of format 1"),
        (json.dumps({"format": 1}), "'inputs' is missing"),
        (spoilt(inputs=["a"]), "made for other inputs"),
        (spoilt(hidden_bias=[]), "has 0 units"),
        (spoilt(hidden_bias=7), "has 0 units"),
        (spoilt(hidden_bias=[0.0] * 65), "has 65 units"),
        (spoilt(output=[1.0, 2.0]), "output must be numbers of shape"),
        (spoilt(output=["x"]), "output must be numbers"),
        (spoilt(output_bias=1e9), "output_bias must be numbers"),
        (spoilt(hidden=[[1.0]]), "hidden must be numbers of shape"),
        (spoilt(hidden=None), "hidden must be numbers of shape"),
        (model().text().replace("0.0]", "NaN]", 1), "hidden must be numbers"),
        (" " * (2**20 + 1), "too large"),
    ],
)
def test_a_file_that_is_no_model_is_refused_in_one_line(tmp_path, text, message):
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        Simulator("soc-v1", risk_model=str(path))
    assert message in str(caught.value)
    assert "bad.json" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300 + len(str(path))


@pytest.mark.parametrize("value", [7, None, "a\nb", True])
def test_only_a_name_or_a_path_is_a_risk_model(value):
    with pytest.raises(HMARLSOCError, match="risk_model="):
        make_scenario("soc-v1", risk_model=value)


def test_a_models_text_stands_for_its_file(tmp_path):
    path = file_of(tmp_path, model(bias=1.0))
    assert kept("") == ""
    assert kept("learned") == "learned"
    assert kept(kept(path)) == kept(path)
    by_file, by_text = (make_scenario("soc-v1", risk_model=name) for name in (path, kept(path)))
    assert by_file.hash() == by_text.hash()
    with pytest.raises(ConfigError, match="risk_model, as text: no JSON"):
        make_scenario("soc-v1", risk_model="{").hash()


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match="none.json' cannot be read"):
        Simulator("soc-v1", risk_model=str(tmp_path / "none.json"))


def test_the_model_that_ships_is_small_and_has_a_card():
    for path in SHIPPED.values():
        assert path.stat().st_size < 64 * 1024
        assert RiskModel.load(path).card
