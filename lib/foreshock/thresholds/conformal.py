"""Conformal p-values of units, their selection by Benjamini and Hochberg, and both as one threshold on event scores.

Windows overlap, so not events are judged but units (`interval`), by the highest score of their events. P-values: Vovk, Gammerman &
Shafer, "Algorithmic Learning in a Random World" (2005), chapter 2. Selected so, they hold the false discovery rate: Bates, Candès, Lei,
Romano & Sesia, "Testing for Outliers with Conformal p-Values", Ann. Statist. 51 (2023), section 2.

All supposes that calibration units and ordinary test units are exchangeable. Units of a sequence depend on each other. By simulation
(tests/thresholds/conformal_simulation.py) that did no harm where sequences are alike, or where those tested are those calibrated on. Where
they differ and new ones are tested, a few sequences of many units promise too much: calibrate on one unit of each, at random (Dunn,
Wasserman & Ramdas, "Distribution-Free Prediction Sets for Two-Layer Hierarchical Models", J. Am. Stat. Assoc. 118 (2023)).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor

import numpy as np
import numpy.typing as npt

LEAST_CALIBRATION = 20
ROUNDING = 1e-12  # relative; a p-value equal to its bound but for rounding is within it
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Cut:
    """A threshold: an event is an anomaly where its score lies above, so a unit is flagged where its highest does.

    n: calibration units. risk: the chance that a unit like those lies above; 0 where the threshold is there to flag nothing. units: test
    units judged; flagged: how many lie above. reason: why none could be flagged, or why the threshold is not finite; else None.
    """

    threshold: float
    n: int
    risk: float
    units: int = 0
    flagged: int = 0
    reason: str | None = None

    @property
    def expected_false(self) -> float:
        """How many test units would be flagged if all were like the calibration's; over `flagged`, it estimates the false share."""
        return self.units * self.risk


def unit_maxima(units: npt.ArrayLike, scores: npt.ArrayLike) -> tuple[Ints, Floats]:
    """The units there are, sorted, and the highest score of each: (E,), (E,) -> (U,), (U,).

    Maxima of parts may be joined by a second call. Raises ValueError for NaN, or where the lengths differ.
    """
    ids, values = np.asarray(units, np.int64), _scores(scores, "event")
    if ids.shape != values.shape:
        raise ValueError(f"{ids.shape} unit ids, {values.shape} scores")
    if not len(ids):
        return ids, values
    order = np.argsort(ids, kind="stable")
    ids = ids[order]
    starts = np.concatenate([[0], np.flatnonzero(np.diff(ids)) + 1])
    return ids[starts], np.maximum.reduceat(values[order], starts)


def p_values(calibration: npt.ArrayLike, test: npt.ArrayLike, seed: int) -> Floats:
    """Randomised conformal p-values (#{c > s} + U (1 + #{c = s})) / (n + 1): (n,), (m,) -> (m,), exactly uniform where exchangeable.

    U is drawn by rank among the test scores, so arrival changes nothing but which of equal scores gets which of their p-values.
    Infinite scores are ranked as numbers are; raises ValueError for NaN. Vovk et al., chapter 2 (smoothed conformal predictors).
    """
    c, s = np.sort(_scores(calibration, "calibration")), _scores(test, "test")
    u = np.empty(len(s))
    u[np.argsort(s, kind="stable")] = 1 - np.random.default_rng([seed, len(c), len(s)]).random(
        len(s)
    )
    below, up_to = np.searchsorted(c, s, side="left"), np.searchsorted(c, s, side="right")
    return np.asarray((len(c) - up_to + u * (1 + up_to - below)) / (len(c) + 1), np.float64)


def benjamini_hochberg(p: npt.ArrayLike, level: float) -> Bools:
    """Which hypotheses are rejected: (m,) p-values -> (m,). Raises ValueError for p-values or levels that are none.

    Benjamini & Hochberg, "Controlling the False Discovery Rate", J. R. Stat. Soc. B 57 (1995), section 3.1.
    """
    values, m = np.asarray(p, np.float64), len(np.asarray(p))
    _check(level)
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError("p-values lie between 0 and 1")
    ranked = np.sort(values)
    within = np.flatnonzero(ranked <= level * np.arange(1, m + 1) / max(m, 1) * (1 + ROUNDING))
    return np.asarray(values <= ranked[within[-1]]) if len(within) else np.zeros(m, np.bool_)


def fdr_cut(calibration: npt.ArrayLike, test: npt.ArrayLike, level: float) -> Cut | str:
    """The threshold above which lie just the test units that Benjamini–Hochberg rejects at a false discovery rate; or why there is none.

    calibration: (n,) unit scores; test: (m,). P-values with U = 1, for a verdict must not hang on a seed: equal scores get equal ones, so
    the rejected are those above one value, the highest calibration score below them all, and a tie with it is not flagged. For independent
    units the rate holds, ties or not: given the calibration scores and an ordinary unit's in one bag, its p-value is uniform or larger,
    and no other falls as it rises (Bates et al., section 2). Where none is rejected the threshold is the highest score there is, and
    `reason` says so. Raises ValueError for NaN.
    """
    _check(level)
    c, s = np.sort(_scores(calibration, "calibration")), _scores(test, "test")
    n, m = len(c), len(s)
    if lacking := _lacking(n, level):
        return lacking
    if not m:
        return "no test units"
    ranks = 1 + n - np.searchsorted(c, s, side="left")
    rejected = benjamini_hochberg(ranks / (n + 1), level)
    if not rejected.any():
        least = ceil(m / (level * (n + 1)) * (1 - ROUNDING))
        why = f"none of {m} units is rejected at a false discovery rate of {level:g}; {least} above all {n} calibration units would be"
        return Cut(float(max(c[-1], s.max())), n, 0.0, m, 0, why)
    return _cut(c, int(ranks[rejected].max()), m, int(rejected.sum()))


def risk_cut(calibration: npt.ArrayLike, level: float) -> Cut | str:
    """The threshold that a unit like the n calibration ones exceeds with probability `level` at most; or why there is none.

    Split conformal: the ceil((n + 1) (1 − level))-th smallest. Vovk et al., chapter 4; Lei et al., "Distribution-Free Predictive
    Inference for Regression", J. Am. Stat. Assoc. 113 (2018), section 2.2. Raises ValueError for NaN.
    """
    _check(level)
    c = np.sort(_scores(calibration, "calibration"))
    return _lacking(len(c), level) or _cut(c, _rank(len(c), level))


def _cut(c: Floats, rank: int, units: int = 0, flagged: int = 0) -> Cut:
    """The cut at the rank-th highest of sorted calibration scores: above it lie the units of p-value rank / (n + 1) and less."""
    threshold = float(c[len(c) - rank])
    reason = (
        None
        if np.isfinite(threshold)
        else f"calibration unit {rank} of {len(c)} from the top scores {threshold:g}"
    )
    return Cut(threshold, len(c), rank / (len(c) + 1), units, flagged, reason)


def _rank(n: int, level: float) -> int:
    """The largest r with r / (n + 1) <= level."""
    return floor(level * (n + 1) * (1 + ROUNDING))


def _lacking(n: int, level: float) -> str | None:
    """Why n calibration units are too few for a level, if they are."""
    least = max(LEAST_CALIBRATION, ceil((1 - ROUNDING) / level) - 1)
    return f"{n} calibration units, of at least {least} wanted for {level:g}" if n < least else None


def _scores(values: npt.ArrayLike, whose: str) -> Floats:
    found = np.asarray(values, np.float64)
    if np.isnan(found).any():
        raise ValueError(f"{int(np.isnan(found).sum())} {whose} scores are NaN")
    return found


def _check(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"a level lies between 0 and 1, received {level!r}")
