"""Causes that lie in the model or the data.

They are: out of reach, under-fitted, drifted, over-fitted, no signal. Each function gives the cause
with its evidence, or None.
"""

from __future__ import annotations

from collections.abc import Mapping

from foreshock import columns as C
from foreshock.detectors import entry_of
from foreshock.diagnosis.drift import LEAST_EVENTS, VALIDATION, Comparison, limit_of, since
from foreshock.diagnosis.facts import (
    DRIFTED,
    NO_SIGNAL,
    OUT_OF_REACH,
    OVER_FITTED,
    UNDER_FITTED,
    UNREACHED,
    Cause,
    Facts,
)
from foreshock.statistics.distances import quantiles
from foreshock.statistics.histogram import Histogram

# A model is under-fitted if it explains less than this, or less than that part of what it could.
LEAST_EXPLAINED, LEAST_OF_REACHABLE = 0.1, 1 / 3
# A share of the data's spread: what the model expects hardly varies below it.
FLAT = 0.1
OVER_RATIO = 1.2
SIGNAL, LEAST_POSITIVE = 0.65, 10
# A ROC AUC below the first is no better than chance. Clustering in time lifts it if without
# clusters it is lower by the second.
CHANCE, CLUSTERED = 0.52, 0.02
TINY = 1e-30


def name_values(values: Mapping[str, float], form: str, most: int = 3) -> str:
    """The first names with their values, as in `gas (56%), value (12%)`.

    >>> name_values({"gas": 0.56, "value": 0.12}, ".0%")
    'gas (56%), value (12%)'
    """
    return ", ".join(
        f"{name} ({format(value, form)})" for name, value in list(values.items())[:most]
    )


def out_of_reach(facts: Facts) -> Cause | None:
    """Training values that the output's range leaves out.

    It needs `facts.explained`; features with more than 5 % of such values carry the cause.
    """
    outside: Mapping[str, float] = (facts.explained or {}).get("outside", {})
    by_share = sorted(outside.items(), key=lambda item: -item[1])
    unreached = {feature: share for feature, share in by_share if share > UNREACHED}
    if not unreached:
        return None
    return Cause(
        OUT_OF_REACH,
        f"The output cannot reach the data: `model.output: {facts.output}` leaves out the scaled "
        f"values of {name_values(unreached, '.0%')} of training events, so their error is large "
        "whatever is learned and hides the anomalies.",
        "Set model.output: linear.",
        tuple(unreached),
    )


def _mean(shares: Mapping[str, float | None]) -> float | None:
    # A single feature that is far worse than its median must not hide how the rest fares.
    known = [max(share, -1.0) for share in shares.values() if share is not None]
    return sum(known) / len(known) if known else None


def under_fitted(facts: Facts) -> Cause | None:
    """A model that explains next to nothing of its training windows.

    It needs `facts.explained`, and is said only of detectors that can be under-fitted.
    """
    if facts.explained is None or not entry_of(facts.model).can_underfit:
        return None
    share = _mean(facts.explained["share"])
    spread = _mean(facts.explained["spread"]) or 0.0
    reachable = _mean(facts.explained.get("reachable") or {})
    is_far = max(facts.explained["outside"].values(), default=0) > UNREACHED
    # If much lies out of reach, less can be explained. The fit is to blame too if it is far below
    # even that.
    is_bounded = is_far and reachable is not None
    least = LEAST_EXPLAINED
    if is_far and reachable is not None:
        least = LEAST_OF_REACHABLE * reachable
    is_flat = spread < FLAT or is_bounded
    if share is None or share >= least or (is_far and not is_flat):
        return None
    evidence = f"it explains {share:.1%} of the training data's squared distance from the median"
    if is_bounded:
        evidence += f", of {reachable:.1%} that lie within its output's range"
    return _under_fitted_cause(facts, evidence, spread, is_flat=is_flat)


def _under_fitted_cause(facts: Facts, evidence: str, spread: float, *, is_flat: bool) -> Cause:
    penalties = ", ".join(
        f"model.{name}: {value:g}" for name, value in facts.penalties.items() if value
    )
    if is_flat and penalties:
        return Cause(
            UNDER_FITTED,
            f"The model is under-fitted, regularised flat: with {penalties} what it expects varies "
            f"{spread:.1%} as much as the data, and {evidence}.",
            f"Leave out {penalties.replace(':', '')}, or lower it a hundredfold.",
        )
    if is_flat:
        return Cause(
            UNDER_FITTED,
            f"The model is under-fitted: it expects nearly the same everywhere ({spread:.1%} of "
            f"the data's variation), and {evidence}.",
            "Train longer, with a higher training.learning_rate, or with more units.",
        )
    return Cause(
        UNDER_FITTED,
        f"The model is under-fitted: {evidence}, no better than a constant.",
        "Train longer, or use a larger network.",
    )


def drifted(facts: Facts) -> Cause | None:
    """Features of calibration or test that lie apart from train.

    The three that moved farthest, against what is ordinary, are the evidence.
    """
    shifts = [
        comparison
        for comparison in facts.shifts_from_train(of_scores=False)
        if comparison.trimmed is not None
    ]
    if not shifts:
        return None
    shifts.sort(key=lambda shift: -((shift.trimmed or 0) / limit_of(shift.band)))
    farthest: dict[str, Comparison] = {}
    for shift in shifts:
        farthest.setdefault(shift.feature or "", shift)
    evidence = ", ".join(_shift_text(name, shift) for name, shift in list(farthest.items())[:3])
    first = next(iter(farthest.values()))
    day = since(facts.shapes, first.feature, first.band) if facts.time_partitions else None
    when = f" since partition {day}" if day is not None else ""
    return Cause(
        DRIFTED,
        f"The data drifted{when}: {evidence}.",
        "Train again on newer data, or use a feature that does not move, such as a ratio.",
        tuple(farthest),
    )


def _shift_text(feature: str, shift: Comparison) -> str:
    ordinary = f"; {shift.band:.2g} is ordinary" if shift.band is not None else ""
    return (
        f"{feature} (by {shift.trimmed:.2g} of its train spread from train to {shift.to_split}"
        f"{ordinary})"
    )


def _level(histogram: Histogram, level: float) -> float:
    return float(quantiles(histogram, [level])[0])


def _has_moved(facts: Facts, split: str) -> bool:
    return any(
        (comparison.from_split, comparison.to_split) == (C.TRAIN, split)
        and comparison.feature is not None
        and comparison.is_shifted
        for comparison in facts.comparisons
    )


def over_fitted(facts: Facts) -> Cause | None:
    """Errors of windows that the model did not learn from, against those of windows that it did.

    Only splits whose features are like those of train are compared.
    """
    train = facts.shapes.of(C.TRAIN, None)
    slices = [histogram for histogram in facts.shapes.slices(C.TRAIN, None) if histogram.n]
    for split in (C.OUT_OF_FOLD, VALIDATION, C.CALIBRATION):
        other = facts.shapes.of(split, None)
        if min(train.n, other.n) < LEAST_EVENTS or _has_moved(facts, split):
            continue
        median_ratio, high_ratio = (
            _level(other, level) / max(_level(train, level), TINY) for level in (0.5, 0.9)
        )
        train_median = max(_level(train, 0.5), TINY)
        ordinary = max((_level(part, 0.5) / train_median for part in slices), default=1.0)
        if min(median_ratio, high_ratio) > max(OVER_RATIO, 1.1 * ordinary):
            where = f"on {split}, whose features are like those of train"
            if split == C.OUT_OF_FOLD:
                where = "on windows of train that it was fitted without (out of fold)"
            return Cause(
                OVER_FITTED,
                f"The model is over-fitted: {where}, its errors are {median_ratio:.2g} times "
                f"those on the windows that it learned from (median; {high_ratio:.2g} times at "
                "0.9).",
                "Train on more data or with fewer units, and never take a threshold from training "
                "errors.",
            )
    return None


def no_signal(facts: Facts) -> Cause | None:
    """No detector separates the labelled events.

    It is not said of a handful of them, nor without an interval.
    """
    known = [ranked for ranked in facts.ranked if ranked.value is not None]
    is_handful = facts.positive is not None and facts.positive < LEAST_POSITIVE
    if not known or is_handful:
        return None
    if any(ranked.high is None or ranked.high >= SIGNAL for ranked in known):
        return None
    best = max(known, key=lambda ranked: ranked.value or 0)
    auc = best.value or 0
    clustering = ""
    if best.within is not None and auc > CHANCE and best.within < auc - CLUSTERED:
        clustering = (
            " What lifts it above 0.5 is that the labelled events cluster in time: within blocks "
            f"of time it is {best.within:.2f}."
        )
    return Cause(
        NO_SIGNAL,
        "There is no signal: the labelled events are hardly separated by any detector (best ROC "
        f"AUC {best.value:.2f} by {best.detector}, 95 % interval up to "
        f"{best.high:.2f}).{clustering}",
        "Other features or another entity are needed; no threshold can help.",
    )
