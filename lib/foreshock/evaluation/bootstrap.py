"""Intervals of metrics by block bootstrap: whole blocks of time are drawn with replacement.

Events near each other are alike, so single events must not be drawn. Künsch, "The Jackknife and the
Bootstrap for General Stationary Observations", Ann. Statist. 17 (1989), with blocks that do not
overlap.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from foreshock.statistics.arrays import Float64Array, Int64Array

REPLICATES = 200
LEAST_BLOCKS, USUAL_BLOCKS = 10, 20
DAY = 86_400_000_000  # microseconds
Interval = tuple[float | None, float | None]


def block_length(low: int, high: int) -> int:
    """Microseconds of a block of time, for a split that reaches from low to high.

    A block is a day if there are at least 20 days, else a twentieth of [low, high].

    >>> block_length(0, 30 * DAY) == DAY, block_length(0, 1999)
    (True, 100)
    """
    if high - low >= USUAL_BLOCKS * DAY:
        return DAY
    # Rounded up: rounding down could make one block more than wanted, of a few events.
    return max(1, -(-(high - low + 1) // USUAL_BLOCKS))


def time_blocks(times: npt.ArrayLike, low: int, high: int) -> Int64Array:
    """The block (n,) of each time (n,), in microseconds, of a split that reaches from low to high.

    Days are those of UTC.

    >>> time_blocks([0, 99, 100], 0, 1999).tolist()
    [0, 0, 1]
    """
    microseconds, length = np.asarray(times, np.int64), block_length(low, high)
    if length == DAY:
        return microseconds // DAY
    return (microseconds - low) // length


def intervals(
    evaluate: Callable[[Float64Array], dict[str, float | None]],
    blocks: npt.ArrayLike,
    seed: int,
    replicates: int = REPLICATES,
) -> dict[str, Interval]:
    """The 95 % percentile interval of each metric.

    evaluate: metrics by name, from the weight (n,) of each row, which is how often its block was
    drawn. blocks: (n,). An interval is (null, null) with fewer than 10 blocks, or if the metric is
    null in more than half of the replicates.
    """
    block_ids, place = np.unique(np.asarray(blocks), return_inverse=True)
    block_count = len(block_ids)
    if block_count < LEAST_BLOCKS:
        return {name: (None, None) for name in evaluate(np.ones(len(place)))}
    generator = np.random.default_rng([seed, block_count])
    values_by_name: dict[str, list[float]] = {}
    for _ in range(replicates):
        drawn_blocks = generator.integers(0, block_count, block_count)
        draws = np.bincount(drawn_blocks, minlength=block_count).astype(np.float64)
        for name, value in evaluate(draws[place]).items():
            # A replicate may draw no anomaly. Its metrics are null and say nothing of the spread.
            values_by_name.setdefault(name, []).extend([] if value is None else [value])
    return {
        name: _percentile_interval(values, replicates) for name, values in values_by_name.items()
    }


def _percentile_interval(values: list[float], replicates: int) -> Interval:
    # An interval of the few replicates in which the metric exists would be too narrow.
    if 2 * len(values) <= replicates:
        return None, None
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


class Ranking:
    """ROC AUC and average precision of scores (n,) with labels (n,), sorted once, for many weights.

    >>> ranking = Ranking([0.1, 0.4, 0.8], [0, 1, 1])
    >>> ranking.roc_auc([1, 1, 1]), ranking.pr_auc([1, 0, 1])
    (1.0, 1.0)
    """

    def __init__(self, score: npt.ArrayLike, label: npt.ArrayLike) -> None:
        scores = np.asarray(score, np.float64)
        self._order = np.argsort(-scores, kind="stable")
        self._label = np.asarray(label, np.float64)[self._order]
        descending = scores[self._order]
        # Where each distinct score ends: equal scores are one step of the curves.
        self._last = np.zeros(0, np.int64)
        if len(scores):
            self._last = np.append(np.flatnonzero(np.diff(descending)), len(scores) - 1)

    def _counts(self, weight: npt.ArrayLike) -> tuple[Float64Array, Float64Array]:
        weights = np.asarray(weight, np.float64)[self._order]
        true_positives = np.cumsum(weights * self._label)[self._last]
        false_positives = np.cumsum(weights * (1 - self._label))[self._last]
        return true_positives, false_positives

    def roc_auc(self, weight: npt.ArrayLike) -> float | None:
        """The ROC AUC under weights (n,); ties count half. Null if one class has no weight.

        weight: how often each row counts, 0 or more, in the order of the scores.

        >>> Ranking([0.5, 0.5], [0, 1]).roc_auc([1, 1])
        0.5
        """
        true, false = self._counts(weight)
        if not len(true) or true[-1] <= 0 or false[-1] <= 0:
            return None
        before = np.concatenate([[0.0], true[:-1]])
        area = (np.diff(false, prepend=0.0) * (true + before) / 2).sum()
        return float(area / (true[-1] * false[-1]))

    def pr_auc(self, weight: npt.ArrayLike) -> float | None:
        """The average precision under weights (n,). Null if one class has no weight.

        It is the sum of precision × gain in recall over the distinct scores, from the highest down.

        >>> Ranking([0.9, 0.8], [0, 1]).pr_auc([1, 1])
        0.5
        """
        true, false = self._counts(weight)
        if not len(true) or true[-1] <= 0 or false[-1] <= 0:
            return None
        flagged = true + false
        # The highest scores may have no weight in a replicate: 0 / 0 adds nothing there.
        precision = np.divide(true, flagged, out=np.zeros_like(true), where=flagged > 0)
        return float((np.diff(true, prepend=0.0) * precision).sum() / true[-1])
