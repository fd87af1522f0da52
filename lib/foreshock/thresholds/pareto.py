"""Peaks over threshold: a generalised Pareto tail, and the quantile of a wanted risk.

The tail above a high quantile is fitted by maximum likelihood: Pickands, "Statistical Inference
Using Extreme Order Statistics", Ann. Statist. 3 (1975). The likelihood is profiled over
theta = shape / scale: Grimshaw, "Computing Maximum Likelihood Estimates for the Generalized Pareto
Distribution", Technometrics 35 (1993). The interval is that of the profile likelihood of the
quantile itself: Coles, "An Introduction to Statistical Modeling of Extreme Values" (2001), section
4.3.3.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foreshock.statistics.arrays import Float64Array
from foreshock.thresholds.interval import LEAST_BLOCKS, bootstrap_blocks

LEAST_EXCESSES, LEAST_DISTINCT = 50, 10
USUAL_SHARE, LARGEST_SHARE, MOST_EXCESSES = 0.02, 0.1, 20_000
# The likelihood has no maximum below it.
LEAST_SHAPE = -1.0
COVERAGE = 0.95
# Stands for an infinite loss, which the optimiser does not take.
HOPELESS = 1e300
# A shape this near to 0 is an exponential tail.
NEARLY_ZERO = 1e-9

# Quantiles of Anderson and Darling's statistic, a row a shape, a column a probability of exceeding.
# They are our own, of 3,000 samples of 500 excesses a shape, seed 1.
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


@dataclass(frozen=True)
class Tail:
    """A fitted tail: P(value > start + y) = share × (1 + shape × y / scale) ^ (−1 / shape).

    log_likelihood: of the excesses. p: the p-value of Anderson and Darling's statistic; it is small
    if the tail is no Pareto tail.

    >>> exponential = Tail(10.0, 0.02, 0.0, 2.0, log_likelihood=-1.0, p=0.5)
    >>> round(exponential.quantile(0.002), 3)  # 10 + 2 log(0.02 / 0.002)
    14.605
    """

    start: float
    share: float
    shape: float
    scale: float
    log_likelihood: float
    p: float

    def quantile(self, risk: float) -> float:
        """The value exceeded with probability `risk`.

        risk: above 0 and at most `share`, for the tail says nothing of values below its start.
        """
        return self.start + self.scale * float(_growth(self.shape, self.share / risk))


def excess_share(n: int, risk: float) -> float:
    """The share of n values that the tail is fitted to.

    It is 2 %, more if there are few values and less if there are many. It is never less than five
    times the risk.

    >>> excess_share(100_000, 1e-4), excess_share(1_000, 1e-4), excess_share(10_000_000, 1e-4)
    (0.02, 0.1, 0.002)
    """
    usual_share = min(max(USUAL_SHARE * n, 2 * LEAST_EXCESSES), MOST_EXCESSES) / max(n, 1)
    return min(max(usual_share, 5 * risk), max(LARGEST_SHARE, 5 * risk), 1.0)


def fit_tail(excesses: npt.ArrayLike, start: float, n: int) -> Tail:
    """The tail of n values, some of which exceed `start` by these excesses (all > 0), in any order.

    Raises ValueError for fewer than 50 excesses, or if fewer than ten of them differ.
    """
    # Here, because scipy.stats takes a second to load.
    from scipy import stats

    values = np.asarray(excesses, np.float64)
    if len(values) < LEAST_EXCESSES:
        raise ValueError(f"{len(values)} excesses, fewer than {LEAST_EXCESSES}")
    distinct_count = len(np.unique(values))
    if distinct_count < LEAST_DISTINCT:
        raise ValueError(f"the {len(values)} excesses have only {distinct_count} values")
    # In units of the median: the mean of a very heavy tail says nothing of its scale.
    median = float(np.median(values))
    shape, scale, log_likelihood = _fit(values / median)
    uniform_values = np.sort(stats.genpareto.cdf(values / median, shape, scale=scale))
    return Tail(
        start=float(start),
        share=len(values) / n,
        shape=shape,
        scale=scale * median,
        log_likelihood=float(log_likelihood - len(values) * np.log(median)),
        p=_anderson_darling_p(uniform_values, shape),
    )


def interval(
    excesses: npt.ArrayLike, tail: Tail, risk: float, spread: float = 1.0
) -> tuple[float, float]:
    """The 95 % profile-likelihood interval of the quantile of a risk.

    spread: the `dispersion` of the excesses. It is above 1 if they come in clusters, and the
    likelihood then counts for that much less.
    """
    from scipy import optimize, stats

    # In units of the mean, so that steps and tolerances suit scores of any size.
    mean = float(np.mean(np.asarray(excesses, np.float64)))
    values = np.asarray(excesses, np.float64) / mean
    ratio = tail.share / risk
    best_likelihood = tail.log_likelihood + len(values) * np.log(mean)
    middle = (tail.quantile(risk) - tail.start) / mean
    allowed_loss = 0.5 * float(stats.chi2.ppf(COVERAGE, 1)) * max(1.0, spread)

    def loss_beyond_allowed(quantile: float) -> float:
        likelihood = _profile(values, quantile, ratio, tail.shape)
        return float(best_likelihood - likelihood - allowed_loss)

    ends = []
    for step in (0.9, 1.1):
        inner = outer = middle
        # Outward by a tenth until the likelihood falls too far; the end lies in the last step.
        for _ in range(200):
            outer *= step
            if step < 1 and outer < NEARLY_ZERO * middle:
                break
            if loss_beyond_allowed(outer) > 0:
                break
            inner = outer
        if loss_beyond_allowed(outer) > 0:
            outer = float(optimize.brentq(loss_beyond_allowed, inner, outer, xtol=1e-6 * middle))
        ends.append(outer)
    return tail.start + ends[0] * mean, tail.start + ends[1] * mean


def dispersion(
    event_runs: npt.ArrayLike, run_sizes: npt.ArrayLike, excess_runs: npt.ArrayLike
) -> float:
    """How much more the excesses vary between blocks of time than if they fell independently.

    It is at least 1, and 1 if there are few blocks. It is Pearson's statistic over the bootstrap's
    blocks (`interval.bootstrap_blocks`). event_runs: (U,) sorted ids; run_sizes: (U,) events in
    each; excess_runs: the event run of each excess.
    """
    run_ids = np.asarray(event_runs, np.int64)
    event_counts = np.asarray(run_sizes, np.float64)
    block = bootstrap_blocks(run_ids)
    block_count = int(block[-1]) + 1 if len(block) else 0
    if block_count < LEAST_BLOCKS:
        return 1.0
    excess_blocks = block[np.searchsorted(run_ids, np.asarray(excess_runs, np.int64))]
    observed = np.bincount(excess_blocks, minlength=block_count)
    events_by_block = np.bincount(block, weights=event_counts, minlength=block_count)
    expected = events_by_block * len(excess_blocks) / event_counts.sum()
    pearson = np.square(observed - expected).sum() / expected.sum()
    return max(1.0, float(pearson * block_count / (block_count - 1)))


def _growth(shape: float, ratio: float) -> float:
    """((ratio ^ shape) − 1) / shape, and its limit log(ratio) if the shape is 0."""
    if abs(shape) < NEARLY_ZERO:
        return float(np.log(ratio))
    return float(np.expm1(shape * np.log(ratio)) / shape)


def _log_likelihood(values: Float64Array, shape: float, scale: float) -> float:
    if scale <= 0:
        return -np.inf
    bent = shape * values / scale
    if max(abs(shape), float(np.abs(bent).max())) < NEARLY_ZERO:
        return float(-len(values) * np.log(scale) - values.sum() / scale)
    # A negative shape ends the tail: no value can lie beyond its end.
    if bent.min() <= -1:
        return -np.inf
    return float(-len(values) * np.log(scale) - (1 + 1 / shape) * np.log1p(bent).sum())


def _fit(values: Float64Array) -> tuple[float, float, float]:
    """(shape, scale, log-likelihood) of excesses whose median is 1; theta is then 2 ^ shape − 1."""
    from scipy import optimize

    highest, mean = float(values.max()), float(values.mean())

    def shape_and_scale(theta: float) -> tuple[float, float]:
        shape = float(np.log1p(theta * values).mean())
        return shape, mean if abs(theta) * highest < NEARLY_ZERO else shape / theta

    def profile_likelihood(theta: float) -> float:
        shape, scale = shape_and_scale(theta)
        if shape <= LEAST_SHAPE or scale <= 0:
            return -np.inf
        return float(-len(values) * (np.log(scale) + shape + 1))

    # theta > −1 / highest; the likelihood may have two maxima, so a grid comes first.
    negative_thetas = (np.geomspace(1e-9, 0.999, 120) - 1) / highest
    positive_thetas = np.geomspace(1e-4 / max(mean, 1.0), 1e4, 160)
    grid = np.concatenate([negative_thetas, [0.0], positive_thetas])
    grid.sort()
    likelihoods = np.array([profile_likelihood(theta) for theta in grid])
    best = int(np.argmax(likelihoods))
    bounds = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    search = optimize.minimize_scalar(
        lambda theta: -profile_likelihood(theta),
        bounds=bounds,
        method="bounded",
        options={"xatol": 1e-12},
    )
    is_better = -search.fun >= likelihoods[best]
    theta = float(search.x) if is_better else float(grid[best])
    shape, scale = shape_and_scale(theta)
    return shape, scale, _log_likelihood(values, shape, scale)


def _profile(values: Float64Array, quantile: float, ratio: float, near_shape: float) -> float:
    """The log-likelihood of the best tail whose quantile lies so far above the start."""

    def loss(shape: float) -> float:
        return min(-_log_likelihood(values, shape, quantile / _growth(shape, ratio)), HOPELESS)

    from scipy import optimize

    least_loss = np.inf
    # A bounded search finds one minimum; the likelihood may have one in each of these ranges.
    for low, high in (
        (LEAST_SHAPE, near_shape),
        (near_shape, near_shape + 1),
        (near_shape + 1, near_shape + 4),
    ):
        if low < high:
            search = optimize.minimize_scalar(loss, bounds=(low, high), method="bounded")
            least_loss = min(least_loss, float(search.fun))
    return -least_loss


def _anderson_darling_p(uniform_values: Float64Array, shape: float) -> float:
    """The p-value of Anderson and Darling's statistic, between 0.001 and 0.5.

    Both parameters were estimated, so the law depends on the shape alone: Choulakian & Stephens,
    "Goodness-of-Fit Tests for the Generalized Pareto Distribution", Technometrics 43 (2001).
    """
    n = len(uniform_values)
    # At both ends one of the logarithms would be infinite.
    clipped = np.clip(uniform_values, 1e-12, 1 - 1e-12)
    weights = 2 * np.arange(1, n + 1) - 1
    statistic = -n - float((weights * (np.log(clipped) + np.log1p(-clipped[::-1]))).mean())
    quantiles = [float(np.interp(shape, SHAPES, column)) for column in STATISTICS.T]
    # In logarithms of the probability the table is nearly straight.
    return float(np.exp(np.interp(statistic, quantiles, np.log(PROBABILITIES))))
