"""What experiments do with a family: every name they use is one that the family has."""

import pytest

import soc_env
from experiments.families import PROTOCOLS, FamilyProtocol, protocol_of
from policies.scripted import SCRIPTED, scripted
from soc_env.errors import ScenarioError
from soc_env.paper.tables import METRICS as PAPER_METRICS
from soc_env.registry import FAMILIES, family_of
from soc_env.soc.tables import METRICS


def test_each_family_has_its_columns_policies_and_goal() -> None:
    assert set(family_of("soc-v1").columns) == {metric.name for metric in METRICS}
    assert set(family_of("paper-v0").columns) == {metric.name for metric in PAPER_METRICS}
    assert set(protocol_of("soc-v1").shown) == {"score", "loss", "reward", "mttd", "mttc", "fdr", "action_fdr", "csr"}
    assert protocol_of("soc-cage4-v0") is protocol_of("soc-v1")
    assert (family_of("soc-v1").headline, family_of("paper-v0").headline) == ("score", "reward")
    assert scripted("soc-v1") is scripted("soc-cage4-v0") is SCRIPTED["soc"]
    assert scripted("paper-v0") is SCRIPTED["paper"]
    assert scripted(soc_env.make_scenario("soc-v1", split="test")) is SCRIPTED["soc"]
    with pytest.raises(ScenarioError, match="'soc-v2'"):
        protocol_of("soc-v3")


@pytest.mark.parametrize(("name", "protocol"), PROTOCOLS.items())
def test_a_protocol_names_only_what_its_family_has(name: str, protocol: FamilyProtocol) -> None:
    family = FAMILIES[name]
    assert {*protocol.shown, *protocol.curves, *protocol.progress, *protocol.gap, "csr"} <= set(family.columns)
    assert set(protocol.meaning) == set(protocol.shown)
    assert {*protocol.compared, *protocol.outliers} <= set(SCRIPTED[name])
    assert {*protocol.references, *protocol.outliers} <= set(protocol.compared)
    assert family.headline in {*protocol.shown} & {*protocol.curves} & {*protocol.progress}
    soc_env.make_scenario(family.default_scenario, **protocol.held_out)


def test_every_family_has_a_protocol() -> None:
    assert set(PROTOCOLS) == set(FAMILIES)
