"""The verdict: why a detector flags what it flags, from facts of the run, in sentences with their evidence and a remedy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from foreshock import columns as C
from foreshock.diagnosis import tails
from foreshock.diagnosis.drift import LEAST_EVENTS, SHIFTED, VALIDATION, Comparison, limit_of, since
from foreshock.diagnosis.facts import (
    CONTAMINATED,
    CONTAMINATED_CALIBRATION,
    DRIFTED,
    HEALTHY,
    NO_SIGNAL,
    ORDER,
    OUT_OF_REACH,
    OUT_OF_SUPPORT,
    OVER_FITTED,
    UNDER_FITTED,
    Cause,
    Facts,
    Ranked,
)
from foreshock.settings.root import ENSEMBLE
from foreshock.statistics.distances import quantiles
from foreshock.statistics.histogram import Histogram

UNREACHED = 0.05  # of a feature's training values
LEAST_EXPLAINED, FLAT, OF_REACHABLE = 0.1, 0.1, 1 / 3
NOTHING, STILL, WORSE = (
    0.01,
    0.05,
    -0.1,
)  # explained share and spread of a feature that is never reconstructed; or a share as low as this
TRIVIAL = (
    "zscore",
    "last_value",
    "isolation_forest",
)  # expect no window, so there is nothing to fit too little
OVER_RATIO = 1.2
SIGNAL, LEAST_POSITIVE = 0.65, 10


def verdict(facts: Facts) -> dict[str, Any]:
    """{causes, features, text}: the causes in order, `healthy` alone where there is none."""
    found = [
        cause
        for check in (_reach, _fit, _drift, _overfit, tails.support, _signal)
        if (cause := check(facts))
    ]
    names = {c.name for c in found}
    # The errors of a model that learned nothing, or cannot reach the data, have the tails of the data itself.
    if not names & {OUT_OF_REACH, UNDER_FITTED}:
        found += [c] if (c := tails.contaminated(facts)) else []
    if not names & {OUT_OF_REACH, UNDER_FITTED, DRIFTED, OVER_FITTED}:
        found += [c] if (c := tails.contaminated_calibration(facts)) else []
    found.sort(key=lambda c: ORDER.index(c.name))
    sentences = [f"{c.text} {c.remedy}" for c in found] or [_healthy(facts)]
    sentences += [*_rivals(facts), *(_lost(facts) if UNDER_FITTED not in names else ())]
    features = list(dict.fromkeys(f for c in found for f in c.features))
    return {
        "causes": [c.name for c in found] or [HEALTHY],
        "features": features,
        "text": " ".join(sentences),
    }


def _mean(shares: dict[str, float | None]) -> float | None:
    known = [max(v, -1.0) for v in shares.values() if v is not None]
    return sum(known) / len(known) if known else None


def _names(found: dict[str, float], form: str, most: int = 3) -> str:
    return ", ".join(
        f"{name} ({format(value, form)})" for name, value in list(found.items())[:most]
    )


def _reach(facts: Facts) -> Cause | None:
    outside = (facts.explained or {}).get("outside", {})
    bad = {f: v for f, v in sorted(outside.items(), key=lambda i: -i[1]) if v > UNREACHED}
    if not bad:
        return None
    return Cause(
        OUT_OF_REACH,
        f"The output cannot reach the data: `model.output: {facts.output}` leaves out the scaled values of "
        f"{_names(bad, '.0%')} of training events, so their error is large whatever is learned and hides the anomalies.",
        "Set model.output: linear.",
        tuple(bad),
    )


def _fit(facts: Facts) -> Cause | None:
    if facts.explained is None or facts.model in TRIVIAL:
        return None
    share, spread = facts.explained["share"], facts.explained["spread"]
    whole = _mean(share)
    outside = facts.explained["outside"]
    bound = _mean({f: v for f, v in spread.items()}) or 0.0
    far, reach = (
        max(outside.values(), default=0) > UNREACHED,
        _mean(facts.explained.get("reachable") or {}),
    )
    # Where much lies out of reach, less can be explained: the fit is to blame too where it is far below even that.
    least = OF_REACHABLE * reach if far and reach is not None else LEAST_EXPLAINED
    flat = bound < FLAT or (far and reach is not None)
    if whole is None or whole >= least or (far and not flat):
        return None
    penalties = ", ".join(f"model.{k}: {v:g}" for k, v in facts.penalties.items() if v)
    evidence = f"it explains {whole:.1%} of the training data's squared distance from the median"
    if far and reach is not None:
        evidence += f", of {reach:.1%} that lie within its output's range"
    if flat and penalties:
        return Cause(
            UNDER_FITTED,
            f"The model is under-fitted, regularised flat: with {penalties} what it expects varies {bound:.1%} as "
            f"much as the data, and {evidence}.",
            f"Leave out {penalties.replace(':', '')}, or lower it a hundredfold.",
        )
    if flat:
        return Cause(
            UNDER_FITTED,
            f"The model is under-fitted: it expects nearly the same everywhere ({bound:.1%} of the data's "
            f"variation), and {evidence}.",
            "Train longer, with a higher training.learning_rate, or with more units.",
        )
    return Cause(
        UNDER_FITTED,
        f"The model is under-fitted: {evidence}, no better than a constant.",
        "Train longer, or use a larger network.",
    )


def _drift(facts: Facts) -> Cause | None:
    moved = [
        c
        for c in facts.comparisons
        if c.group == C.ALL
        and c.feature is not None
        and c.from_split == C.TRAIN
        and c.to_split in (C.CALIBRATION, C.TEST)
        and c.verdict == SHIFTED
        and c.trimmed is not None
    ]
    if not moved:
        return None
    moved.sort(key=lambda c: -((c.trimmed or 0) / limit_of(c.band)))
    best: dict[str, Comparison] = {}
    for c in moved:
        best.setdefault(c.feature or "", c)
    names = ", ".join(
        f"{f} (by {c.trimmed:.2g} of its train spread from train to {c.to_split}"
        + (f"; {c.band:.2g} is ordinary" if c.band is not None else "")
        + ")"
        for f, c in list(best.items())[:3]
    )
    first = next(iter(best.values()))
    at = since(facts.shapes, first.feature, first.band) if facts.time_partitions else None
    when = f" since partition {at}" if at is not None else ""
    return Cause(
        DRIFTED,
        f"The data drifted{when}: {names}.",
        "Train again on newer data, or use a feature that does not move, such as a ratio.",
        tuple(best),
    )


def _level(histogram: Histogram, at: float) -> float:
    return float(quantiles(histogram, [at])[0])


def _overfit(facts: Facts) -> Cause | None:
    """Errors of windows the model did not learn from against those it did, where their features are alike."""
    train = facts.shapes.of(C.TRAIN, None)
    slices = [h for h in facts.shapes.slices(C.TRAIN, None) if h.n]
    for split in (C.OUT_OF_FOLD, VALIDATION, C.CALIBRATION):
        other = facts.shapes.of(split, None)
        moved = any(
            (c.from_split, c.to_split) == (C.TRAIN, split)
            and c.feature is not None
            and c.verdict == SHIFTED
            for c in facts.comparisons
        )
        if min(train.n, other.n) < LEAST_EVENTS or moved:
            continue
        ratios = [_level(other, q) / max(_level(train, q), 1e-30) for q in (0.5, 0.9)]
        ordinary = max(
            (_level(s, 0.5) / max(_level(train, 0.5), 1e-30) for s in slices), default=1.0
        )
        if min(ratios) > max(OVER_RATIO, 1.1 * ordinary):
            where = (
                "on windows of train that it was fitted without (out of fold)"
                if split == C.OUT_OF_FOLD
                else f"on {split}, whose features are like those of train"
            )
            return Cause(
                OVER_FITTED,
                f"The model is over-fitted: {where}, its errors are {ratios[0]:.2g} times those on the windows that "
                f"it learned from (median; {ratios[1]:.2g} times at 0.9).",
                "Train on more data or with fewer units, and never take a threshold from training errors.",
            )
    return None


def _signal(facts: Facts) -> Cause | None:
    """No detector separates the labelled events; not said of a handful of them, nor without an interval."""
    known = [r for r in facts.ranked if r.value is not None]
    few = facts.positive is not None and facts.positive < LEAST_POSITIVE
    if not known or few or any(r.high is None or r.high >= SIGNAL for r in known):
        return None
    best = max(known, key=lambda r: r.value or 0)
    why = ""
    if (
        best.within is not None
        and (best.value or 0) > 0.52
        and best.within < (best.value or 0) - 0.02
    ):
        why = f" What lifts it above 0.5 is that the labelled events cluster in time: within blocks of time it is {best.within:.2f}."
    return Cause(
        NO_SIGNAL,
        f"There is no signal: the labelled events are hardly separated by any detector (best ROC AUC "
        f"{best.value:.2f} by {best.detector}, 95 % interval up to {best.high:.2f}).{why}",
        "Other features or another entity are needed; no threshold can help.",
    )


def _healthy(facts: Facts) -> str:
    n = sum(facts.shapes.of(s, None).n for s in (C.CALIBRATION, C.TEST))
    if not facts.shapes.of(C.TRAIN, None).n:
        return (
            "Nothing suspicious was found in the run; there is no train split to compare its "
            f"{n} judged events with."
        )
    apart = [
        f"by {c.trimmed:.2g} of their train spread in {c.to_split}"
        for c in facts.comparisons
        if c.group == C.ALL
        and c.feature is None
        and c.from_split == C.TRAIN
        and c.to_split in (C.CALIBRATION, C.TEST)
        and c.verdict == SHIFTED
    ]
    if apart:
        return (
            f"Nothing suspicious was found in the features of the {n} judged events, but their scores lie apart from train's "
            f"({' and '.join(apart)}) though no feature alone moved: true anomalies explain that, or a relation between features that "
            "changed."
        )
    return (
        f"The run is healthy: its {n} judged events are distributed like train, and the model "
        "explains them as well."
    )


def _lost(facts: Facts) -> Iterator[str]:
    """Features that a mean over all of them hides."""
    if facts.explained is None or facts.model in TRIVIAL:
        return
    spread, outside = facts.explained["spread"], facts.explained["outside"]
    lost = {
        f: v
        for f, v in sorted(facts.explained["share"].items(), key=lambda i: i[1] or 0)
        if v is not None
        and outside.get(f, 0) <= UNREACHED
        and (v < WORSE or (v <= NOTHING and (spread.get(f) or 0) < STILL))
    }
    if lost:
        yield (
            f"The model never reconstructs {_names(lost, '.0%', 8)}; in brackets, the share explained of their squared distance from "
            "the median. Errors there only measure the values themselves: leave such a feature out, or give the model more units."
        )


def _rivals(facts: Facts) -> Iterator[str]:
    own = next((r for r in facts.ranked if r.detector == facts.model), None)
    if own is None or own.value is None:
        return
    better = sorted(
        (
            r
            for r in facts.ranked
            if r.value is not None and r.value > own.value and r.detector != own.detector
        ),
        key=lambda r: -(r.value or 0),
    )
    if not better:
        return
    best, alone = better[0], next((r for r in better if r.detector != ENSEMBLE), None)
    said = (
        f"{best.detector} {_beats(best, own)} {own.detector} on the labelled test events (ROC AUC {best.value:.3f} against "
        f"{own.value:.3f})"
    )
    if best.detector == ENSEMBLE and alone is not None:
        said += f", and {alone.detector} alone {_beats(alone, own)} it too ({alone.value:.3f})"
    yield said + "."


def _beats(other: Ranked, own: Ranked) -> str:
    return (
        "beats"
        if own.high is not None and other.low is not None and other.low > own.high
        else "is no worse than"
    )


__all__ = [
    "CONTAMINATED",
    "CONTAMINATED_CALIBRATION",
    "HEALTHY",
    "OUT_OF_SUPPORT",
    "Facts",
    "Ranked",
    "verdict",
]
