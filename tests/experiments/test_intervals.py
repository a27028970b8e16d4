"""Intervals and tests: printed tables, hand-computed numbers, and what the formulas written by hand gave before."""

import numpy as np
import pytest

from experiments.intervals import Estimate, holm, mean_interval, paired_test, proportion_interval, t_quantile
from soc_env.registry import FAMILIES


@pytest.mark.parametrize(
    ("degrees", "expected"),  # source: a printed table of Student's t, two-sided 95 %
    [(1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764), (9, 2.2622), (30, 2.0423), (99, 1.9842), (1999, 1.9612)],
)
def test_t_quantile(degrees: int, expected: float) -> None:
    assert t_quantile(degrees) == pytest.approx(expected, abs=5e-5)


def test_t_quantile_continues_smoothly_to_the_normal_one() -> None:
    assert t_quantile(2001) == pytest.approx(t_quantile(2000), abs=2e-6)
    assert t_quantile(10**9) == pytest.approx(1.959964, abs=1e-6)


def test_mean_interval_by_hand() -> None:
    """1..5: mean 3, standard deviation sqrt(2.5), t(4) = 2.77645, half width 2.77645 * sqrt(2.5 / 5) = 1.96324."""
    low, high = mean_interval(np.arange(1.0, 6.0))
    assert (low, high) == pytest.approx((1.03676, 4.96324), abs=1e-5)
    assert mean_interval(np.array([7.0])) == (7.0, 7.0)


@pytest.mark.parametrize(
    ("successes", "trials", "expected"),  # source: Newcombe 1998, Statistics in Medicine 17, Table I, method 3
    [(81, 263, (0.2553, 0.3662)), (15, 148, (0.0624, 0.1605)), (0, 20, (0.0, 0.1611)), (1, 29, (0.0061, 0.1718))],
)
def test_proportion_interval(successes: int, trials: int, expected: tuple[float, float]) -> None:
    assert proportion_interval(successes, trials) == pytest.approx(expected, abs=5e-5)
    mirrored = proportion_interval(trials - successes, trials)
    assert mirrored == pytest.approx((1 - expected[1], 1 - expected[0]), abs=5e-5)


def test_mean_interval_covers_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    samples = generator.normal(3.0, 2.0, (4000, 8))
    covers = [low <= 3.0 <= high for low, high in map(mean_interval, samples)]
    assert np.mean(covers) == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / 4000))


def test_estimates_take_the_interval_of_their_kind() -> None:
    values = np.array([1.0, 1.0, 1.0, 0.0])
    assert Estimate.of(values) == Estimate(0.75, 0.5, *mean_interval(values))
    assert Estimate.of(values, is_proportion=True) == Estimate(0.75, 0.5, *proportion_interval(3, 4))


# --- against the formulas that stood here before, computed with them


@pytest.mark.parametrize(
    ("degrees", "before"),
    [
        (1, 12.706204736174696),
        (2, 4.302652729749458),
        (3, 3.182446305283707),
        (4, 2.776445105197791),
        (9, 2.2621571627982044),
        (99, 1.9842169515864243),
        (499, 1.9647293909876655),
        (999, 1.9623414611335201),
        (1999, 1.961151420170575),
        (2000, 1.9611508260994854),
    ],
)
def test_quantiles_are_those_of_the_series(degrees: int, before: float) -> None:
    assert t_quantile(degrees) == pytest.approx(before, rel=1e-11)


def test_quantiles_beyond_2000_degrees_were_good_to_a_millionth() -> None:
    assert t_quantile(2001) == pytest.approx(1.9611495273837816, rel=1e-6)
    assert t_quantile(5000) == pytest.approx(1.9604384387861138, rel=1e-6)


@pytest.mark.parametrize(
    ("successes", "trials", "before"),
    [
        (0, 1, (0.0, 0.7934506856227626)),
        (1, 1, (0.20654931437723745, 1.0)),
        (0, 20, (0.0, 0.16112515805281938)),
        (20, 20, (0.8388748419471806, 1.0)),
        (1, 29, (0.006113214292762653, 0.17175521879320288)),
        (81, 263, (0.2552885198782742, 0.36620957698280004)),
        (497, 500, (0.9825097478959467, 0.9979574037280398)),
        (1000, 1000, (0.996173241514445, 1.0)),
    ],
)
def test_proportions_are_those_of_the_formula(successes: int, trials: int, before: tuple[float, float]) -> None:
    low, high = proportion_interval(successes, trials)
    assert (low, high) == pytest.approx(before, abs=1e-12)
    assert (low == 0.0, high == 1.0) == (successes == 0, successes == trials)  # to the last bit


@pytest.mark.parametrize(
    ("values", "before"),
    [
        ([2.9863464402689535, 5.0922865846098055], (-9.339936805622699, 17.418569830501458)),
        ([4.483176842576966, 4.447913083299981, 6.237552446668152], (2.5143924418496506, 7.598035806513748)),
        ([2.0, 2.0, 2.0], (2.0, 2.0)),
    ],
)
def test_mean_intervals_are_those_of_the_formula(values: list[float], before: tuple[float, float]) -> None:
    assert mean_interval(np.array(values)) == pytest.approx(before, abs=1e-9)


# --- columns


def test_a_metric_without_its_count_is_left_out() -> None:
    """Two of three episodes have no campaign: the third alone says what the time to detect is."""
    column = FAMILIES["soc"].columns["mttd"]
    episodes = {"mttd": np.array([0.0, 30.0, 0.0]), "campaigns": np.array([0.0, 2.0, 0.0])}
    assert Estimate.of_column(column, episodes).mean == 30.0
    assert Estimate.of_column(FAMILIES["soc"].columns["fdr"], {"fdr": np.array([0.0, 0.3])}).mean == pytest.approx(0.15)
    assert Estimate.of_column(column, {name: 0 * values for name, values in episodes.items()}).mean == 0.0


# --- clusters and changes


def test_clusters_count_by_their_means() -> None:
    clusters = [np.array([1.0, 3.0]), np.array([]), np.array([6.0])]
    found = Estimate.of_clusters(clusters)
    assert (found.mean, found.low, found.high) == (4.0, *mean_interval(np.array([2.0, 6.0])))
    assert found.std == pytest.approx(np.std([1.0, 3.0, 6.0], ddof=1))
    assert Estimate.of_clusters([np.array([])]) == Estimate(0.0, 0.0, 0.0, 0.0)


def test_the_interval_of_a_change_has_both_spreads() -> None:
    change = Estimate.of_change(Estimate(1.0, 9.0, 0.7, 1.3), Estimate(3.0, 9.0, 2.6, 3.4))
    assert (change.mean, change.low, change.high) == pytest.approx((2.0, 1.5, 2.5))


# --- tests


def test_a_paired_test_by_hand() -> None:
    """Of the 32 changes of sign of (1, -2, 3, 4, 5), sum 11, six are at least as far from 0: p = 6 / 32."""
    found = paired_test(np.array([1.0, -2.0, 3.0, 4.0, 5.0]))
    assert found.p == pytest.approx(6 / 32)
    assert found.least_p == pytest.approx(2 / 32)


@pytest.mark.parametrize(("num_pairs", "least"), [(1, 1.0), (2, 0.5), (5, 0.0625), (13, 2 / 2**13), (20, 0.0002)])
def test_the_smallest_p_is_what_a_difference_of_one_sign_reaches(num_pairs: int, least: float) -> None:
    found = paired_test(np.arange(1.0, num_pairs + 1))
    assert found.least_p == pytest.approx(least)
    assert found.p == found.least_p
    assert paired_test(np.zeros(num_pairs)).p == 1.0


def test_holm_leaves_out_what_could_not_be_compared() -> None:
    """0.01 and 0.04 of two comparisons: twice the first; the second stays. The third says nothing and costs nothing."""
    corrected = holm([0.04, float("nan"), 0.01])
    assert corrected[::2] == pytest.approx([0.04, 0.02])
    assert np.isnan(corrected[1])
    assert np.isnan(holm([float("nan")])).all()
