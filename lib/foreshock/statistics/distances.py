"""How far two distributions lie apart, from mergeable histograms: effect sizes, not tests.

Distances are those of quantile functions, so the number of events does not enter. The trimmed
Wasserstein distance is that of Munk and Czado, "Nonparametric Validation of Similar Distributions
and Assessment of Goodness of Fit", J. R. Stat. Soc. B 60 (1998). PSI is the population stability
index over the deciles of the reference, half an event added to each.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foreshock.statistics.arrays import Float64Array
from foreshock.statistics.histogram import Histogram, key_values

TRIM = 0.05  # of each tail
TRIMMED_LEVELS = np.linspace(TRIM, 1 - TRIM, 181)
DECILES = np.arange(1, 10) / 10
# The lower 16 bits of a value in the middle of its bin.
BIN_MIDDLE = 0x8000


@dataclass(frozen=True)
class Effect:
    """From one distribution to another; `wasserstein` and `trimmed` in units of a spread.

    trimmed: the distance of the middle 90 % alone. quantile_ratio: of the 0.99 quantiles of scores,
    or of the ranges between the quantiles 0.01 and 0.99 of features; null if undefined.
    """

    wasserstein: float
    trimmed: float
    psi: float
    quantile_ratio: float | None


def total(histograms: Iterable[Histogram]) -> Histogram:
    """The sum of histograms, merged in pairs.

    >>> total([Histogram.of([1.0]), Histogram.of([2.0, 3.0])]).n
    3
    """
    # In pairs: one after another, every sum would carry all bins of those before it.
    level = list(histograms) or [Histogram()]
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=False)
        unpaired = level[len(level) & ~1 :]
        level = [first + second for first, second in pairs] + unpaired
    return level[0]


def points(histogram: Histogram) -> tuple[Float64Array, Float64Array]:
    """The values (b,) of a histogram's bins, ascending, and their counts (b,).

    A bin stands for its middle, kept within the histogram's minimum and maximum.

    >>> values, counts = points(Histogram.of([2.0, 2.0]))
    >>> values.tolist(), counts.tolist()
    ([2.0], [2.0])
    """
    keys = (histogram.bins.astype(np.uint32) << 16) | BIN_MIDDLE
    middles = key_values(keys).astype(np.float64)
    values = np.clip(middles, histogram.minimum, histogram.maximum)
    return values, histogram.counts.astype(np.float64)


def quantiles(histogram: Histogram, levels: npt.ArrayLike) -> Float64Array:
    """Quantiles at several levels, to the histogram's bound of 1/128 of their value.

    Raises ValueError for an empty histogram.

    >>> quantiles(Histogram.of([1.0, 2.0, 4.0, 4.0]), [0.25, 1.0]).round(1)
    array([1., 4.])
    """
    if not histogram.n:
        raise ValueError("an empty histogram has no quantile")
    values, counts = points(histogram)
    shares = np.cumsum(counts) / counts.sum()
    # Shares are rounded: a level that equals one must not fall into the bin after it.
    ranks = np.searchsorted(shares, np.asarray(levels, np.float64) - 1e-12)
    return np.asarray(values[np.minimum(ranks, len(values) - 1)])


def spread(histogram: Histogram) -> float:
    """The interquartile range; the standard deviation if that is 0; 1 if both are.

    It is never 0, so distances can be divided by it. Raises ValueError for an empty histogram.

    >>> spread(Histogram.of([3.0, 3.0]))
    1.0
    """
    low, high = quantiles(histogram, [0.25, 0.75])
    return float(high - low) or histogram.std or 1.0


def effect(reference: Histogram, other: Histogram, unit: float, *, score: bool) -> Effect:
    """The effect sizes from one distribution that is not empty to another.

    unit: the spread that distances are measured in. score: whether the values are scores, whose
    upper quantiles are compared, and not features, whose ranges are.

    >>> shifted = effect(Histogram.of(range(100)), Histogram.of(range(50, 150)), 10.0, score=False)
    >>> round(shifted.wasserstein), round(shifted.trimmed)
    (5, 5)
    """
    wasserstein = _wasserstein(points(reference), points(other)) / unit
    differences = quantiles(reference, TRIMMED_LEVELS) - quantiles(other, TRIMMED_LEVELS)
    reference_low, reference_high = quantiles(reference, [0.01, 0.99])
    other_low, other_high = quantiles(other, [0.01, 0.99])
    if score:
        numerator, denominator = other_high, reference_high
    else:
        numerator, denominator = other_high - other_low, reference_high - reference_low
    return Effect(
        wasserstein=wasserstein,
        trimmed=float(np.abs(differences).mean()) / unit,
        psi=_stability_index(reference, other),
        quantile_ratio=float(numerator / denominator) if denominator > 0 else None,
    )


def _wasserstein(
    reference: tuple[Float64Array, Float64Array], other: tuple[Float64Array, Float64Array]
) -> float:
    """The area between two distribution functions, each of (values, counts)."""
    support = np.union1d(reference[0], other[0])
    first_function, second_function = (
        np.concatenate([[0.0], np.cumsum(counts)])[np.searchsorted(values, support, side="right")]
        / counts.sum()
        for values, counts in (reference, other)
    )
    gaps = np.abs(first_function - second_function)[:-1]
    return float((gaps * np.diff(support)).sum())


def _stability_index(reference: Histogram, other: Histogram) -> float:
    """Σ (q − p) log(q / p) over the deciles of the reference."""
    edges = np.unique(quantiles(reference, DECILES))
    # Half an event each: where one side is empty, the logarithm stays finite.
    reference_counts, other_counts = (
        np.bincount(np.searchsorted(edges, values), weights=counts, minlength=len(edges) + 1) + 0.5
        for values, counts in (points(reference), points(other))
    )
    reference_shares = reference_counts / reference_counts.sum()
    other_shares = other_counts / other_counts.sum()
    differences = other_shares - reference_shares
    return float((differences * np.log(other_shares / reference_shares)).sum())
