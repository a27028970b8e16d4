"""Counter-based random draws: each is a pure function of (seed key, episode, step, stream, index).

There is no generator state, so neither the order of evaluation nor the batch size nor the number of threads can change
a trajectory. A stream belongs to one mechanic, see a family's `kernels/draws.py`; the low 40 bits of a counter are the
index inside it (host, edge, feature, try). The mixing function is that of SplitMix64 (Steele, Lea & Flood 2014).
"""

from __future__ import annotations

import math
import statistics

import numpy as np

from soc_env.engine.jit import kernel

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
MIX_1, MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
EPISODE_STEP = np.uint64(0xD1342543DE82EF95)
U0, U1, U11, U12, U20, U24, U27, U30, U31, U32, U36, U48 = (
    np.uint64(k) for k in (0, 1, 11, 12, 20, 24, 27, 30, 31, 32, 36, 48)
)
TABLE_BITS = np.uint64(0xFFF)
TABLE_SIZE = 4096
HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


def noise_table() -> np.ndarray:
    """(4096,) float32: quantiles of the standard normal distribution, scaled to unit variance. Bounded by 3.7."""
    normal = statistics.NormalDist()
    table = np.array([normal.inv_cdf((k + 0.5) / TABLE_SIZE) for k in range(TABLE_SIZE)])
    return (table / table.std()).astype(np.float32)


@kernel
def mix(z):
    """64 bits in, 64 well-mixed bits out (a bijection)."""
    z = (z ^ (z >> U30)) * MIX_1
    z = (z ^ (z >> U27)) * MIX_2
    return z ^ (z >> U31)


@kernel
def step_key(seed_key, episode, step):
    """Key of all draws of one step of one episode; step < 2**20."""
    return mix(seed_key + ((np.uint64(episode) << U20) + np.uint64(step)) * EPISODE_STEP)


@kernel
def bits(key, stream, index):
    """64 random bits."""
    return mix(key + (stream + np.uint64(index)) * GOLDEN)


@kernel
def uniform(key, stream, index):
    """Uniform in [0, 1), 53 bits."""
    return np.float64(bits(key, stream, index) >> U11) * (1.0 / 9007199254740992.0)


@kernel
def below(key, stream, index, n):
    """Uniform integer in [0, n), 0 < n < 2**31; off by less than n / 2**32."""
    return np.int64(((bits(key, stream, index) >> U32) * np.uint64(n)) >> U32)


@kernel
def inverse_normal(u):
    """Quantile of the standard normal distribution for 0 < u < 1, relative error about 1e-16 (Wichura 1988, AS241)."""
    q = u - 0.5
    if abs(q) <= 0.425:
        r = 0.180625 - q * q
        num = (((((((2.5090809287301226727e3 * r + 3.3430575583588128105e4) * r + 6.7265770927008700853e4) * r
            + 4.5921953931549871457e4) * r + 1.3731693765509461125e4) * r + 1.9715909503065514427e3) * r
            + 1.3314166789178437745e2) * r + 3.3871328727963666080e0) * q  # fmt: skip
        den = (((((((5.2264952788528545610e3 * r + 2.8729085735721942674e4) * r + 3.9307895800092710610e4) * r
            + 2.1213794301586595867e4) * r + 5.3941960214247511077e3) * r + 6.8718700749205790830e2) * r
            + 4.2313330701600911252e1) * r + 1.0)  # fmt: skip
        return num / den
    r = math.sqrt(-math.log(u if q <= 0.0 else 1.0 - u))
    if r <= 5.0:
        r = r - 1.6
        num = (((((((7.74545014278341407640e-4 * r + 2.27238449892691845833e-2) * r + 2.41780725177450611770e-1) * r
            + 1.27045825245236838258e0) * r + 3.64784832476320460504e0) * r + 5.76949722146069140550e0) * r
            + 4.63033784615654529590e0) * r + 1.42343711074968357734e0)  # fmt: skip
        den = (((((((1.05075007164441684324e-9 * r + 5.47593808499534494600e-4) * r + 1.51986665636164571966e-2) * r
            + 1.48103976427480074590e-1) * r + 6.89767334985100004550e-1) * r + 1.67638483018380384940e0) * r
            + 2.05319162663775882187e0) * r + 1.0)  # fmt: skip
    else:
        r = r - 5.0
        num = (((((((2.01033439929228813265e-7 * r + 2.71155556874348757815e-5) * r + 1.24266094738807843860e-3) * r
            + 2.65321895265761230930e-2) * r + 2.96560571828504891230e-1) * r + 1.78482653991729133580e0) * r
            + 5.46378491116411436990e0) * r + 6.65790464350110377720e0)  # fmt: skip
        den = (((((((2.04426310338993978564e-15 * r + 1.42151175831644588870e-7) * r + 1.84631831751005468180e-5) * r
            + 7.86869131145613259100e-4) * r + 1.48753612908506148525e-2) * r + 1.36929880922735805310e-1) * r
            + 5.99832206555887937690e-1) * r + 1.0)  # fmt: skip
    return num / den if q > 0.0 else -num / den


@kernel
def power(base, exponent):
    """base ** exponent for an integer exponent >= 0, by squaring: the same bits on every machine."""
    result = 1.0
    while exponent > 0:
        if exponent & 1:
            result *= base
        base *= base
        exponent >>= 1
    return result


@kernel
def stirling_error(k):
    """log(k!) minus Stirling's approximation of it."""
    if k < 10:
        total = 0.0
        for j in range(2, k + 1):
            total += math.log(np.float64(j))
        return total - ((k + 0.5) * math.log(k + 1.0) - (k + 1.0) + HALF_LOG_2PI)
    r = 1.0 / (k + 1.0)
    return (1.0 / 12.0 - (1.0 / 360.0 - 1.0 / 1260.0 * r * r) * r * r) * r


@kernel
def binomial(n, p, key, stream, index):
    """Binomial(n, p) for 0 <= p <= 0.5 in time independent of n; uses indices from `index` on."""
    if n <= 0 or p <= 0.0:
        return 0
    if n * p < 10.0:
        return _binomial_by_inversion(n, p, uniform(key, stream, index))
    return _binomial_by_rejection(n, p, key, stream, index)


@kernel
def _binomial_by_inversion(n, p, u):
    chance, odds, k = power(1.0 - p, n), p / (1.0 - p), 0
    while u > chance and k < n:
        u -= chance
        k += 1
        chance *= odds * (n - k + 1) / k
    return k


@kernel
def _binomial_by_rejection(n, p, key, stream, index):
    """Transformed rejection (BTRS, Hoermann 1993), n * p >= 10."""
    spread = math.sqrt(n * p * (1.0 - p))
    b = 1.15 + 2.53 * spread
    a = -0.0873 + 0.0248 * b + 0.01 * p
    centre = n * p + 0.5
    accept = 0.92 - 4.2 / b
    odds = p / (1.0 - p)
    alpha = (2.83 + 5.1 / b) * spread
    mode = int(math.floor((n + 1) * p))
    while True:
        u = uniform(key, stream, index) - 0.5
        v = uniform(key, stream, index + 1)
        index += 2
        us = 0.5 - abs(u)
        if us <= 0.0:  # u is exactly -0.5
            continue
        k = int(math.floor((2.0 * a / us + b) * u + centre))
        if us >= 0.07 and v <= accept:
            return k
        if k < 0 or k > n or v <= 0.0:
            continue
        v = math.log(v * alpha / (a / (us * us) + b))
        bound = (
            (mode + 0.5) * math.log((mode + 1.0) / (odds * (n - mode + 1.0)))
            + (n + 1.0) * math.log((n - mode + 1.0) / (n - k + 1.0))
            + (k + 0.5) * math.log(odds * (n - k + 1.0) / (k + 1.0))
            + stirling_error(mode) + stirling_error(n - mode) - stirling_error(k) - stirling_error(n - k)
        )  # fmt: skip
        if v <= bound:
            return k


@kernel
def write_noise(out, scale, table, key, stream, index):
    """out[:] = scale * standard normal noise; five 12-bit table draws from each 64 bits.

    Args:
        out: (n,) float32.
        scale: float32, standard deviation.
        table: (4096,) float32, see `noise_table`.
        index: First index used; ceil(n / 5) are.
    """
    n = out.shape[0]
    whole = n - n % 5
    for j in range(0, whole, 5):
        z = bits(key, stream, index)
        index += 1
        out[j] = scale * table[z & TABLE_BITS]
        out[j + 1] = scale * table[(z >> U12) & TABLE_BITS]
        out[j + 2] = scale * table[(z >> U24) & TABLE_BITS]
        out[j + 3] = scale * table[(z >> U36) & TABLE_BITS]
        out[j + 4] = scale * table[(z >> U48) & TABLE_BITS]
    if whole < n:
        z = bits(key, stream, index)
        for j in range(whole, n):
            out[j] = scale * table[z & TABLE_BITS]
            z = z >> U12
