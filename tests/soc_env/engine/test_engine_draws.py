"""The random draws: known values, distributions, and their independence of everything but their key."""

import statistics

import numba
import numpy as np
import pytest

from soc_env.engine import draws
from soc_env.engine.jit import IS_COMPILED
from soc_env.paper.kernels.draws import FALSE_SCAN

KEY = np.uint64(0x0123456789ABCDEF)
STREAM = FALSE_SCAN


@numba.njit
def uniforms(key, count):
    out = np.empty(count)
    for k in range(count):
        out[k] = draws.uniform(key, STREAM, k)
    return out


@numba.njit
def integers(key, count, n):
    out = np.empty(count, np.int64)
    for k in range(count):
        out[k] = draws.below(key, STREAM, k, n)
    return out


@numba.njit
def binomials(key, count, n, p):
    out = np.empty(count, np.int64)
    for k in range(count):
        out[k] = draws.binomial(n, p, key, STREAM, k * 1000)
    return out


@numba.njit
def quantiles(points):
    out = np.empty(points.shape[0])
    for k in range(points.shape[0]):
        out[k] = draws.inverse_normal(points[k])
    return out


@numba.njit
def mixed(words):
    out = np.empty(words.shape[0], np.uint64)
    for k in range(words.shape[0]):
        out[k] = draws.mix(words[k])
    return out


@numba.njit
def noise(key, count, table, first):
    out = np.empty(count, np.float32)
    draws.write_noise(out, np.float32(0.5), table, key, STREAM, first)
    return out


@numba.njit
def keys(seed_key, episodes, steps):
    out = np.empty((episodes, steps), np.uint64)
    for episode in range(episodes):
        for step in range(steps):
            out[episode, step] = draws.step_key(seed_key, episode, step)
    return out


@pytest.fixture(autouse=True)
def _wrapping_is_meant():
    with np.errstate(over="ignore"):
        yield


def test_mix_is_splitmix64():
    # First outputs of SplitMix64 seeded with 0: mix(k * golden ratio).
    states = np.array([1, 2, 3], np.uint64) * draws.GOLDEN
    assert [hex(word) for word in mixed(states)] == ["0xe220a8397b1dcdaf", "0x6e789e6aa1b965f4", "0x6c45d188009454f"]


def test_step_keys_never_collide():
    table = keys(KEY, 200, 201)
    assert np.unique(table).size == table.size


def test_uniform_moments():
    draw = uniforms(KEY, 100_000)
    assert draw.min() >= 0.0
    assert draw.max() < 1.0
    assert abs(draw.mean() - 0.5) < 4 * np.sqrt(1 / 12 / draw.size)
    assert abs(np.corrcoef(draw[:-1], draw[1:])[0, 1]) < 4 / np.sqrt(draw.size)


def test_below_is_uniform():
    counts = np.bincount(integers(KEY, 70_000, 7), minlength=7)
    assert counts.size == 7
    assert ((counts - 10_000) ** 2 / 10_000).sum() < 30  # chi-square with 6 degrees of freedom: p about 4e-5


def test_inverse_normal_is_accurate():
    points = np.concatenate([np.linspace(1e-6, 1 - 1e-6, 5001), [0.075, 0.925, 2.0**-54, 1 - 2.0**-53, 1e-300]])
    expected = [statistics.NormalDist().inv_cdf(u) for u in points]
    np.testing.assert_allclose(quantiles(points), expected, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize(
    ("n", "p"), [(1, 0.05), (40, 0.05), (199, 0.05), (200, 0.05), (201, 0.05), (30, 0.5), (5000, 0.01), (50, 0.3)]
)
def test_binomial_has_its_distribution(n, p):
    count = 40_000 if IS_COMPILED else 4_000
    draw = binomials(KEY, count, n, p)
    chances = np.empty(n + 1)
    log_chance = n * np.log1p(-p)
    for k in range(n + 1):
        chances[k] = np.exp(log_chance)
        log_chance += np.log((n - k) / (k + 1) * p / (1 - p)) if k < n else 0.0
    assert draw.min() >= 0
    assert draw.max() <= n
    observed = np.bincount(draw, minlength=n + 1)
    usual = count * chances >= 10
    cells = np.append(observed[usual], observed[~usual].sum())
    expected = np.append(count * chances[usual], count * chances[~usual].sum() + 1e-9)
    cells, expected = cells[expected > 1], expected[expected > 1]
    chi_square, freedom = ((cells - expected) ** 2 / expected).sum(), len(cells) - 1
    assert abs(chi_square - freedom) < 4.5 * np.sqrt(2 * max(1, freedom))


def test_binomial_corners():
    assert binomials(KEY, 10, 0, 0.3).tolist() == [0] * 10
    assert binomials(KEY, 10, 1000, 0.0).tolist() == [0] * 10


def test_noise_table_is_a_bounded_unit_normal():
    table = draws.noise_table()
    assert table.shape == (4096,)
    assert abs(float(table.mean())) < 1e-6
    assert float(table.std()) == pytest.approx(1.0, abs=1e-6)
    assert 3.6 < np.abs(table).max() < 3.7
    assert np.all(np.diff(table) > 0)


@pytest.mark.parametrize("count", [1, 4, 5, 8, 40, 48])
def test_noise_uses_fresh_bits_for_every_entry(count):
    table = draws.noise_table()
    whole = noise(KEY, 50, table, 0)
    np.testing.assert_array_equal(noise(KEY, count, table, 0), whole[:count])
    np.testing.assert_array_equal(noise(KEY, 5, table, 1), whole[5:10])
    assert np.unique(whole).size > 45
    assert whole.std() == pytest.approx(0.5, rel=0.35)
