"""Peaks over threshold: a generalised Pareto tail over a high quantile, by maximum likelihood, and the quantile of a wanted risk.

Pickands, "Statistical Inference Using Extreme Order Statistics", Ann. Statist. 3 (1975). The likelihood is profiled over
theta = shape / scale as in Grimshaw, "Computing Maximum Likelihood Estimates for the Generalized Pareto Distribution", Technometrics 35
(1993); the interval is that of the profile likelihood of the quantile itself (Coles, "An Introduction to Statistical Modeling of
Extreme Values", 2001, section 4.3.3). Pure NumPy and SciPy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats

from foreshock.thresholds.interval import LEAST_BLOCKS, bootstrap_blocks

LEAST_EXCESSES = 50
SHARE, MOST_SHARE, MOST_EXCESSES = 0.02, 0.1, 20_000
LEAST_SHAPE = -1.0  # below it the likelihood has no maximum
COVERAGE = 0.95
HOPELESS = 1e300
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Tail:
    """A fitted tail: P(value > start + y) = share × (1 + shape × y / scale) ^ (−1 / shape).

    log_likelihood: of the excesses; p: of Anderson and Darling's statistic, small where the tail is no Pareto tail.
    """

    start: float
    share: float
    shape: float
    scale: float
    log_likelihood: float
    p: float

    def quantile(self, risk: float) -> float:
        """The value exceeded with probability `risk`, at most `share`."""
        return self.start + self.scale * float(_growth(self.shape, self.share / risk))


def excess_share(n: int, risk: float) -> float:
    """Which share of n values the tail is fitted to: 2 %, more of few and less of many, and never less than five times the risk."""
    wanted = min(max(SHARE * n, 2 * LEAST_EXCESSES), MOST_EXCESSES) / max(n, 1)
    return min(max(wanted, 5 * risk), max(MOST_SHARE, 5 * risk), 1.0)


def fit_tail(excesses: npt.ArrayLike, start: float, n: int) -> Tail:
    """The tail of n values of which these exceed `start`, by so much (all > 0), in any order.

    Raises ValueError for fewer than LEAST_EXCESSES, or where fewer than ten of them differ.
    """
    y = np.asarray(excesses, np.float64)
    if len(y) < LEAST_EXCESSES:
        raise ValueError(f"{len(y)} excesses, fewer than {LEAST_EXCESSES}")
    if len(np.unique(y)) < 10:
        raise ValueError(f"the {len(y)} excesses have only {len(np.unique(y))} values")
    unit = float(np.median(y))  # the mean of a very heavy tail says nothing of its scale
    shape, scale, likelihood = _fit(y / unit)
    found = likelihood - len(y) * np.log(unit)
    uniform = np.sort(stats.genpareto.cdf(y / unit, shape, scale=scale))
    return Tail(
        float(start),
        len(y) / n,
        shape,
        scale * unit,
        float(found),
        _anderson_darling_p(uniform, shape),
    )


def interval(
    excesses: npt.ArrayLike, tail: Tail, risk: float, spread: float = 1.0
) -> tuple[float, float]:
    """The 95 % profile-likelihood interval of the quantile of a risk.

    spread: the `dispersion` of the excesses; where they come in clusters it is above 1, and the likelihood counts for that much less.
    """
    unit = float(np.mean(np.asarray(excesses, np.float64)))
    y = np.asarray(excesses, np.float64) / unit
    times = tail.share / risk
    best = tail.log_likelihood + len(y) * np.log(unit)
    middle = (tail.quantile(risk) - tail.start) / unit
    allowed = 0.5 * float(stats.chi2.ppf(COVERAGE, 1)) * max(1.0, spread)

    def lacking(q: float) -> float:
        return best - _profile(y, q, times, tail.shape) - allowed

    ends = []
    for step in (0.9, 1.1):
        inner = outer = middle
        for _ in range(200):
            outer *= step
            if step < 1 and outer < 1e-9 * middle:
                break
            if lacking(outer) > 0:
                break
            inner = outer
        ends.append(
            float(optimize.brentq(lacking, inner, outer, xtol=1e-6 * middle))
            if lacking(outer) > 0
            else outer
        )
    return tail.start + ends[0] * unit, tail.start + ends[1] * unit


def dispersion(units: npt.ArrayLike, sizes: npt.ArrayLike, excess_units: npt.ArrayLike) -> float:
    """How much more the excesses vary between blocks of time than if they fell independently: at least 1, and 1 with few blocks.

    Pearson's statistic over the bootstrap's blocks (`interval.bootstrap_blocks`). units: (U,) sorted ids; sizes: (U,) events in each;
    excess_units: the unit of each excess.
    """
    ids, events = np.asarray(units, np.int64), np.asarray(sizes, np.float64)
    block = bootstrap_blocks(ids)
    count = int(block[-1]) + 1 if len(block) else 0
    if count < LEAST_BLOCKS:
        return 1.0
    home = block[np.searchsorted(ids, np.asarray(excess_units, np.int64))]
    found = np.bincount(home, minlength=count)
    expected = np.bincount(block, weights=events, minlength=count) * len(home) / events.sum()
    return max(1.0, float(np.square(found - expected).sum() / expected.sum() * count / (count - 1)))


def _growth(shape: float, times: float) -> float:
    """((times ^ shape) − 1) / shape, and its limit log(times)."""
    return (
        float(np.log(times))
        if abs(shape) < 1e-9
        else float(np.expm1(shape * np.log(times)) / shape)
    )


def _log_likelihood(y: Floats, shape: float, scale: float) -> float:
    if scale <= 0:
        return -np.inf
    bent = shape * y / scale
    if max(abs(shape), float(np.abs(bent).max())) < 1e-9:
        return float(-len(y) * np.log(scale) - y.sum() / scale)
    if bent.min() <= -1:
        return -np.inf
    return float(-len(y) * np.log(scale) - (1 + 1 / shape) * np.log1p(bent).sum())


def _fit(y: Floats) -> tuple[float, float, float]:
    """(shape, scale, log-likelihood) of excesses whose median is 1; theta is then 2 ^ shape − 1."""
    highest, mean = float(y.max()), float(y.mean())

    def tail(theta: float) -> tuple[float, float]:
        shape = float(np.log1p(theta * y).mean())
        return shape, mean if abs(theta) * highest < 1e-9 else shape / theta

    def profile(theta: float) -> float:
        shape, scale = tail(theta)
        return (
            -len(y) * (np.log(scale) + shape + 1) if shape > LEAST_SHAPE and scale > 0 else -np.inf
        )

    near = (np.geomspace(1e-9, 0.999, 120) - 1) / highest
    grid = np.concatenate([near, [0.0], np.geomspace(1e-4 / max(mean, 1.0), 1e4, 160)])
    grid.sort()
    values = np.array([profile(t) for t in grid])
    at = int(np.argmax(values))
    low, high = grid[max(at - 1, 0)], grid[min(at + 1, len(grid) - 1)]
    found = optimize.minimize_scalar(
        lambda t: -profile(t), bounds=(low, high), method="bounded", options={"xatol": 1e-12}
    )
    theta = float(found.x) if -found.fun >= values[at] else float(grid[at])
    shape, scale = tail(theta)
    return shape, scale, _log_likelihood(y, shape, scale)


def _profile(y: Floats, q: float, times: float, near: float) -> float:
    """The log-likelihood of the best tail whose quantile lies q above the start."""

    def lacking(shape: float) -> float:
        return min(-_log_likelihood(y, shape, q / _growth(shape, times)), HOPELESS)

    best = np.inf
    for low, high in ((LEAST_SHAPE, near), (near, near + 1), (near + 1, near + 4)):
        if low < high:
            best = min(
                best,
                float(optimize.minimize_scalar(lacking, bounds=(low, high), method="bounded").fun),
            )
    return -best


def _anderson_darling_p(uniform: Floats, shape: float) -> float:
    """The p-value of Anderson and Darling's statistic where both parameters were estimated, between 0.001 and 0.5.

    As in Choulakian & Stephens, "Goodness-of-Fit Tests for the Generalized Pareto Distribution", Technometrics 43 (2001), the law
    depends on the shape alone; its quantiles here are our own, of 3,000 samples of 500 a shape, seed 1.
    """
    n = len(uniform)
    u = np.clip(uniform, 1e-12, 1 - 1e-12)
    statistic = -n - float(
        ((2 * np.arange(1, n + 1) - 1) * (np.log(u) + np.log1p(-u[::-1]))).mean()
    )
    row = [float(np.interp(shape, SHAPES, column)) for column in STATISTICS.T]
    return float(np.exp(np.interp(statistic, row, np.log(PROBABILITIES))))


PROBABILITIES = np.array([0.5, 0.25, 0.1, 0.05, 0.025, 0.01, 0.005, 0.001])
SHAPES = np.array([-0.5, -0.25, 0.0, 0.25, 0.5, 1.0])
STATISTICS = np.array(
    [
        [0.457, 0.663, 0.958, 1.211, 1.437, 1.732, 2.012, 2.318],
        [0.432, 0.621, 0.87, 1.051, 1.257, 1.537, 1.781, 2.149],
        [0.396, 0.568, 0.798, 0.96, 1.176, 1.485, 1.674, 2.085],
        [0.369, 0.512, 0.707, 0.87, 1.042, 1.231, 1.401, 1.613],
        [0.356, 0.503, 0.685, 0.812, 0.973, 1.203, 1.297, 1.603],
        [0.336, 0.467, 0.643, 0.771, 0.899, 1.109, 1.312, 1.605],
    ]
)
