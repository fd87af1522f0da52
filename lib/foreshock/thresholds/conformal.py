"""Conformal p-values of event runs, their selection, and both as one threshold on event scores.

Windows overlap, so not events are judged but event runs, by the highest score of their events.
P-values: Vovk, Gammerman & Shafer, "Algorithmic Learning in a Random World" (2005), chapter 2.
Selection by Benjamini and Hochberg holds the false discovery rate: Bates, Candès, Lei, Romano &
Sesia, "Testing for Outliers with Conformal p-Values", Ann. Statist. 51 (2023), section 2.

All supposes that calibration runs and ordinary test runs are exchangeable. Runs of a sequence
depend on each other. By simulation (tests/thresholds/conformal_simulation.py) that did no harm if
sequences are alike, or if the tested ones are those calibrated on. If they differ and new ones are
tested, a few sequences of many runs promise too much: calibrate on one run of each, at random
(Dunn, Wasserman & Ramdas, "Distribution-Free Prediction Sets for Two-Layer Hierarchical Models",
J. Am. Stat. Assoc. 118 (2023)).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor

import numpy as np
import numpy.typing as npt

from foreshock.statistics.arrays import BoolArray, Float64Array, Int64Array

LEAST_CALIBRATION = 20
# Relative. A p-value that equals its bound but for rounding counts as within it.
ROUNDING = 1e-12


@dataclass(frozen=True)
class Cut:
    """A threshold: an event is an anomaly if its score lies above, so a run is if its highest does.

    n: calibration runs. risk: the chance that a run like those lies above; 0 if the threshold is
    there to flag nothing. units: test runs judged; flagged: how many lie above. reason: why none
    could be flagged, or why the threshold is not finite; else None.
    """

    threshold: float
    n: int
    risk: float
    units: int = 0
    flagged: int = 0
    reason: str | None = None

    @property
    def expected_false(self) -> float:
        """How many test runs would be flagged if all were like calibration's.

        Over `flagged`, it estimates the false share.
        """
        return self.units * self.risk


def unit_maxima(
    event_runs: npt.ArrayLike, scores: npt.ArrayLike
) -> tuple[Int64Array, Float64Array]:
    """The event runs that occur, sorted, and the highest score of each: (E,), (E,) -> (U,), (U,).

    Maxima of parts are joined by a second call. Raises ValueError for NaN, or if the lengths
    differ.

    >>> unit_maxima([7, 3, 7], [1.0, 2.0, 5.0])
    (array([3, 7]), array([2., 5.]))
    """
    run_ids, values = np.asarray(event_runs, np.int64), _without_nan(scores, "event")
    if run_ids.shape != values.shape:
        raise ValueError(f"{run_ids.shape} unit ids, {values.shape} scores")
    if not len(run_ids):
        return run_ids, values
    # reduceat goes from one start to the next, so the events of a run must lie together.
    order = np.argsort(run_ids, kind="stable")
    run_ids = run_ids[order]
    starts = np.concatenate([[0], np.flatnonzero(np.diff(run_ids)) + 1])
    return run_ids[starts], np.maximum.reduceat(values[order], starts)


def p_values(calibration: npt.ArrayLike, test: npt.ArrayLike, seed: int) -> Float64Array:
    """Randomised conformal p-values: (n,), (m,) -> (m,), exactly uniform if exchangeable.

    p = (#{c > s} + U (1 + #{c = s})) / (n + 1). U is drawn by rank among the test scores, so
    arrival changes nothing but which of equal scores gets which of their p-values. Infinite scores
    are ranked as numbers are. Raises ValueError for NaN. Vovk et al., chapter 2 (smoothed conformal
    predictors).
    """
    sorted_calibration = np.sort(_without_nan(calibration, "calibration"))
    test_scores = _without_nan(test, "test")
    n = len(sorted_calibration)
    generator = np.random.default_rng([seed, n, len(test_scores)])
    # 1 − [0, 1) is (0, 1]: a draw of 0 could give a p-value of 0, which no score deserves.
    uniform_draws = np.empty(len(test_scores))
    uniform_draws[np.argsort(test_scores, kind="stable")] = 1 - generator.random(len(test_scores))
    below = np.searchsorted(sorted_calibration, test_scores, side="left")
    up_to = np.searchsorted(sorted_calibration, test_scores, side="right")
    larger = n - up_to
    return np.asarray((larger + uniform_draws * (1 + up_to - below)) / (n + 1), np.float64)


def benjamini_hochberg(p: npt.ArrayLike, level: float) -> BoolArray:
    """Which hypotheses are rejected: (m,) p-values -> (m,).

    Raises ValueError for a p-value outside [0, 1] or a level outside (0, 1). Benjamini & Hochberg,
    "Controlling the False Discovery Rate", J. R. Stat. Soc. B 57 (1995), section 3.1.

    >>> benjamini_hochberg([0.01, 0.04, 0.03, 0.8], 0.1)
    array([ True,  True,  True, False])
    """
    values = np.asarray(p, np.float64)
    count = len(values)
    _check_level(level)
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError("p-values lie between 0 and 1")
    ranked = np.sort(values)
    bounds = level * np.arange(1, count + 1) / max(count, 1) * (1 + ROUNDING)
    within = np.flatnonzero(ranked <= bounds)
    if not len(within):
        return np.zeros(count, np.bool_)
    return np.asarray(values <= ranked[within[-1]])


def fdr_cut(calibration: npt.ArrayLike, test: npt.ArrayLike, level: float) -> Cut | str:
    """The threshold above which lie exactly the test runs that Benjamini–Hochberg rejects.

    calibration: (n,) scores of runs; test: (m,). Returns why there is no threshold if there is
    none. P-values have U = 1, for a verdict must not depend on a seed: equal scores get equal
    p-values, so the rejected are those above one value, the highest calibration score below them
    all, and a tie with it is not flagged. For independent runs the rate holds, ties or not: given
    the calibration scores and an ordinary run's in one bag, its p-value is uniform or larger, and
    no other falls as it rises (Bates et al., section 2). If none is rejected, the threshold is the
    highest score, and `reason` says so. Raises ValueError for NaN.

    >>> cut = fdr_cut(range(100), [50, 60, 150, 160], 0.1)
    >>> cut.threshold, cut.flagged
    (99.0, 2)
    """
    _check_level(level)
    sorted_calibration = np.sort(_without_nan(calibration, "calibration"))
    test_scores = _without_nan(test, "test")
    n, test_count = len(sorted_calibration), len(test_scores)
    if too_few := _too_few(n, level):
        return too_few
    if not test_count:
        return "no test units"
    ranks = 1 + n - np.searchsorted(sorted_calibration, test_scores, side="left")
    is_rejected = benjamini_hochberg(ranks / (n + 1), level)
    if is_rejected.any():
        lowest_rank = int(ranks[is_rejected].max())
        return _cut_at(sorted_calibration, lowest_rank, test_count, int(is_rejected.sum()))
    # Said so that a user can tell few anomalies from a level that cannot be met.
    enough = ceil(test_count / (level * (n + 1)) * (1 - ROUNDING))
    reason = (
        f"none of {test_count} units is rejected at a false discovery rate of {level:g}; {enough} "
        f"above all {n} calibration units would be"
    )
    highest = float(max(sorted_calibration[-1], test_scores.max()))
    return Cut(highest, n, 0.0, test_count, 0, reason)


def risk_cut(calibration: npt.ArrayLike, level: float) -> Cut | str:
    """The threshold that a run like calibration's exceeds with probability `level` at most.

    Returns why there is no threshold if there is none. Split conformal: the
    ceil((n + 1) (1 − level))-th smallest score. Vovk et al., chapter 4; Lei et al.,
    "Distribution-Free Predictive Inference for Regression", J. Am. Stat. Assoc. 113 (2018), section
    2.2. Raises ValueError for NaN.

    >>> risk_cut(range(99), 0.05).threshold
    94.0
    """
    _check_level(level)
    sorted_calibration = np.sort(_without_nan(calibration, "calibration"))
    n = len(sorted_calibration)
    return _too_few(n, level) or _cut_at(sorted_calibration, _rank(n, level))


def _cut_at(
    sorted_calibration: Float64Array, rank: int, test_count: int = 0, flagged: int = 0
) -> Cut:
    """The cut at the rank-th highest calibration score.

    Above it lie the runs of p-value rank / (n + 1) and less.
    """
    n = len(sorted_calibration)
    threshold = float(sorted_calibration[n - rank])
    reason = None
    # No error: scores may be infinite, and the threshold still tells which runs lie above.
    if not np.isfinite(threshold):
        reason = f"calibration unit {rank} of {n} from the top scores {threshold:g}"
    return Cut(threshold, n, rank / (n + 1), test_count, flagged, reason)


def _rank(n: int, level: float) -> int:
    """The largest r with r / (n + 1) <= level."""
    return floor(level * (n + 1) * (1 + ROUNDING))


def _too_few(n: int, level: float) -> str | None:
    """Why n calibration runs are too few for a level, if they are."""
    # The least p-value is 1 / (n + 1): with fewer runs no score can be within the level.
    least = max(LEAST_CALIBRATION, ceil((1 - ROUNDING) / level) - 1)
    return f"{n} calibration units, of at least {least} wanted for {level:g}" if n < least else None


def _without_nan(scores: npt.ArrayLike, whose: str) -> Float64Array:
    values = np.asarray(scores, np.float64)
    nan_count = int(np.isnan(values).sum())
    if nan_count:
        raise ValueError(f"{nan_count} {whose} scores are NaN")
    return values


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"a level lies between 0 and 1, received {level!r}")
