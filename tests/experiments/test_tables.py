"""Printed tables: the numbers, their units and the published figures."""

import io

from experiments.evaluate import compare
from experiments.tables import PUBLISHED, print_table
from soc_env.registry import FAMILIES

COLUMNS = FAMILIES["paper"].columns


def test_the_table() -> None:
    results = compare({"nothing": "null", "zeros": "zeros"}, "paper-v0", num_episodes=300, seed=6)
    file = io.StringIO()
    print_table(results, file)
    lines = file.getvalue().splitlines()
    for name in ("nothing", "zeros"):
        (line,) = [line for line in lines if line.strip().startswith(name)]
        for metric in ("reward", "mttd", "mttr", "fpr", "csr"):
            estimate, column = results[name].summary[metric], COLUMNS[metric]
            assert f"{column.format(estimate.mean)} [{column.format(estimate.low)}, " in line
    (published,) = [line for line in lines if PUBLISHED in line]
    assert published.split()[-5:] == ["6.9", "16.8", "93.2", "0.17", "71"]
    assert "300 episodes of paper-v0" in file.getvalue()


def test_numbers_are_shown_in_their_unit() -> None:
    assert COLUMNS["csr"].format(0.975) == "97.5"
    assert COLUMNS["fpr"].format(0.0017) == "0.170"
    assert COLUMNS["reward"].format(-300.5) == "-300"
    assert COLUMNS["reward"].format(10.677) == "10.68"
    assert COLUMNS["reward"].format(99.996) == "100"  # not 100.00


def test_the_printed_table_has_the_family_s_metrics() -> None:
    results = compare({"null": "null", "rule-soar": "rule-soar"}, "soc-v1", 4, split="test", max_steps=25)
    file = io.StringIO()
    print_table(results, file)
    text = file.getvalue()
    for label in ("Score", "Loss", "MTTC [min]", "Action FDR [%]", "CSR [%]", "4 episodes of soc-v1", "split=test"):
        assert label in text
    assert "published" not in text
    estimate, column = results["rule-soar"].summary["loss"], FAMILIES["soc"].columns["loss"]
    assert estimate.format(column) in text
