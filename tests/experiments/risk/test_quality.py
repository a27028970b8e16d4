"""Average precision, AUC, reliability and their intervals, against values by hand."""

import numpy as np
import pytest

from experiments.risk.quality import Bin, Ranking, bootstrapped, calibration_error, reliability


def measured(scores: list[float], is_bad: list[int], weights: list[float] | None = None) -> tuple[float, float]:
    ranking = Ranking(np.array(scores), np.array(is_bad, bool))
    own = np.ones(len(scores)) if weights is None else np.array(weights)
    return ranking.precision(own), ranking.auc(own)


@pytest.mark.parametrize(
    ("scores", "is_bad", "precision", "auc"),
    [
        ([0.9, 0.8, 0.7, 0.6], [1, 0, 1, 0], (1 + 2 / 3) / 2, 3 / 4),
        ([0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1], 1.0, 1.0),
        ([0.4, 0.3, 0.2, 0.1], [0, 0, 0, 1], 1 / 4, 0.0),
        ([0.5, 0.5, 0.5, 0.5], [1, 0, 0, 0], 1 / 4, 0.5),  # ties: one step
        ([0.9, 0.5, 0.5, 0.1], [0, 1, 0, 0], 1 / 3, (1 + 0.5) / 3),
    ],
)
def test_measures_of_few_scores(scores: list[float], is_bad: list[int], precision: float, auc: float) -> None:
    assert measured(scores, is_bad) == pytest.approx((precision, auc))


def test_a_weight_is_so_many_rows() -> None:
    generator = np.random.default_rng(0)
    scores, is_bad = generator.integers(0, 6, 40) / 5, generator.integers(0, 2, 40)
    weights = generator.integers(0, 4, 40)
    repeated = np.repeat(np.arange(40), weights)
    expected = measured(scores[repeated].tolist(), is_bad[repeated].tolist())
    assert measured(scores.tolist(), is_bad.tolist(), weights.tolist()) == pytest.approx(expected)


def test_without_bad_ones_nothing_is_measured() -> None:
    assert np.isnan(measured([0.1, 0.2], [0, 0])).all()


def test_intervals_are_over_episodes_and_not_over_hosts() -> None:
    """The same values a hundred times in each episode tell no more than once."""
    generator = np.random.default_rng(1)
    values = generator.normal(size=30)

    def width(copies: int) -> float:
        found = bootstrapped(
            lambda weights: float((weights * np.repeat(values, copies)).sum() / weights.sum()),
            np.repeat(np.arange(30), copies), seed=0,
        )  # fmt: skip
        assert found.low < found.mean < found.high
        return found.high - found.low

    assert width(100) == pytest.approx(width(1))
    assert width(1) == pytest.approx(2 * 1.96 * values.std() / np.sqrt(30), rel=0.2)


def test_a_reliability_curve_says_what_was_said_and_what_was_true() -> None:
    bins = reliability(np.array([0.0, 0.001, 0.3, 0.3, 1.0]), np.array([False, True, True, False, True]))
    assert bins == [Bin(2, pytest.approx(0.0005), 0.5), Bin(2, pytest.approx(0.3), 0.5), Bin(1, 1.0, 1.0)]
    assert calibration_error(bins) == pytest.approx((2 * 0.4995 + 2 * 0.2) / 5)
