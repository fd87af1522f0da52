"""Intervals of metrics by block bootstrap: whole blocks of time are drawn with replacement, for events near each other are alike.

Künsch, "The Jackknife and the Bootstrap for General Stationary Observations", Ann. Statist. 17 (1989), with blocks that do not overlap.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

REPLICATES = 200
LEAST_BLOCKS, WANTED_BLOCKS = 10, 20
DAY = 86_400_000_000
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Interval = tuple[float | None, float | None]


def block_length(low: int, high: int) -> int:
    """Microseconds of a block of time: a day where there are at least 20, else a twentieth of [low, high]."""
    return (
        DAY if high - low >= WANTED_BLOCKS * DAY else max(1, -(-(high - low + 1) // WANTED_BLOCKS))
    )


def time_blocks(times: npt.ArrayLike, low: int, high: int) -> Ints:
    """The block (n,) of each time (n,), microseconds, of a split that reaches from low to high; days are those of UTC."""
    t, length = np.asarray(times, np.int64), block_length(low, high)
    return t // DAY if length == DAY else (t - low) // length


def intervals(
    evaluate: Callable[[Floats], dict[str, float | None]],
    blocks: npt.ArrayLike,
    seed: int,
    replicates: int = REPLICATES,
) -> dict[str, Interval]:
    """The 95 % percentile interval of each metric; `evaluate` takes the weight (n,) of each row, its block's draws.

    (null, null) with fewer than 10 blocks, or where a metric is null in more than half of the replicates.
    """
    ids, place = np.unique(np.asarray(blocks), return_inverse=True)
    if len(ids) < LEAST_BLOCKS:
        return {name: (None, None) for name in evaluate(np.ones(len(place)))}
    rng = np.random.default_rng([seed, len(ids)])
    found: dict[str, list[float]] = {}
    for _ in range(replicates):
        draws = np.bincount(rng.integers(0, len(ids), len(ids)), minlength=len(ids)).astype(
            np.float64
        )
        for name, value in evaluate(draws[place]).items():
            found.setdefault(name, []).extend([] if value is None else [value])
    made: dict[str, Interval] = {}
    for name, values in found.items():
        low, high = (
            np.quantile(values, [0.025, 0.975]) if 2 * len(values) > replicates else (None, None)
        )
        made[name] = (None, None) if low is None or high is None else (float(low), float(high))
    return made


class Ranking:
    """ROC AUC and average precision of scores (n,) with labels (n,), sorted once, for many weights (n,)."""

    def __init__(self, score: npt.ArrayLike, label: npt.ArrayLike) -> None:
        s = np.asarray(score, np.float64)
        self._order = np.argsort(-s, kind="stable")
        self._label = np.asarray(label, np.float64)[self._order]
        ordered = s[self._order]
        self._last = (
            np.append(np.flatnonzero(np.diff(ordered)), len(s) - 1)
            if len(s)
            else np.zeros(0, np.int64)
        )  # of each value

    def _counts(self, weight: npt.ArrayLike) -> tuple[Floats, Floats]:
        w = np.asarray(weight, np.float64)[self._order]
        return np.cumsum(w * self._label)[self._last], np.cumsum(w * (1 - self._label))[self._last]

    def roc_auc(self, weight: npt.ArrayLike) -> float | None:
        """Ties count half; null where one class has no weight."""
        tp, fp = self._counts(weight)
        if not len(tp) or tp[-1] <= 0 or fp[-1] <= 0:
            return None
        before = np.concatenate([[0.0], tp[:-1]])
        return float((np.diff(fp, prepend=0.0) * (tp + before) / 2).sum() / (tp[-1] * fp[-1]))

    def pr_auc(self, weight: npt.ArrayLike) -> float | None:
        """Average precision; null where one class has no weight."""
        tp, fp = self._counts(weight)
        if not len(tp) or tp[-1] <= 0 or fp[-1] <= 0:
            return None
        named = tp + fp
        precision = np.divide(tp, named, out=np.zeros_like(tp), where=named > 0)
        return float((np.diff(tp, prepend=0.0) * precision).sum() / tp[-1])
