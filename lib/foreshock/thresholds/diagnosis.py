"""The verdict: why a detector flags what it flags, from facts of the run, in sentences with their evidence and a remedy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from foreshock import columns as C
from foreshock.scaling.histogram import Histogram
from foreshock.thresholds.shift import LEAST_EVENTS, SHIFTED, VALIDATION, Comparison, Shapes, limit_of, points, quantiles, since

HEALTHY = "healthy"
OUT_OF_REACH, UNDER_FITTED, OVER_FITTED = "output_out_of_reach", "under_fitted", "over_fitted"
DRIFTED, CONTAMINATED = "drifted", "contaminated_training"
OUT_OF_SUPPORT, NO_SIGNAL = "threshold_out_of_support", "no_signal"
ORDER = (OUT_OF_REACH, UNDER_FITTED, DRIFTED, OVER_FITTED, CONTAMINATED, OUT_OF_SUPPORT, NO_SIGNAL)

UNREACHED = 0.05  # of a feature's training values
LEAST_EXPLAINED, FLAT = 0.1, 0.1
TRIVIAL = ("zscore", "last_value", "isolation_forest")  # expect no window, so there is nothing to fit too little
OVER_RATIO = 1.2
TAIL_STRETCH = 6.0  # how many times the upper quartile's distance from the median, in logarithms, an ordinary score may reach
LEAST_TAIL, ALIKE = 0.002, 0.8
MOST_FLAGGED = 0.5
LEAST_EXPECTED = 5  # events above a threshold, by its level, from which on none at all is no chance
SIGNAL = 0.65


@dataclass(frozen=True)
class Ranked:
    """A detector's ROC AUC on labelled test events with its interval; within: the AUC of
    pairs in the same block of time alone, where it is known."""

    detector: str
    value: float | None
    low: float | None
    high: float | None
    within: float | None = None


@dataclass(frozen=True)
class Facts:
    """What a verdict is made from. explained: that of the model's `models.explained`, as plain data; profiles: split -> feature -> share
    of the squared error in the highest-scoring windows."""

    model: str
    shapes: Shapes
    comparisons: list[Comparison]
    threshold: float | None
    rule: str
    level: float | None
    fitted_on: str
    explained: dict[str, Any] | None = None
    output: str = "linear"
    penalties: dict[str, float] = field(default_factory=dict)
    profiles: dict[str, dict[str, float]] = field(default_factory=dict)
    ranked: tuple[Ranked, ...] = ()
    time_partitions: bool = True


@dataclass(frozen=True)
class Cause:
    """A cause with its sentence and remedy; features: those that carry it, the first most."""

    name: str
    text: str
    remedy: str
    features: tuple[str, ...] = ()


def verdict(facts: Facts) -> dict[str, Any]:
    """{causes, features, text}: the causes in order, `healthy` alone where there is none."""
    found = [cause for check in (_reach, _fit, _drift, _overfit, _contaminated, _support, _signal) if (cause := check(facts))]
    found.sort(key=lambda c: ORDER.index(c.name))
    sentences = [f"{c.text} {c.remedy}" for c in found] or [_healthy(facts)]
    sentences += list(_rivals(facts))
    features = list(dict.fromkeys(f for c in found for f in c.features))
    return {"causes": [c.name for c in found] or [HEALTHY], "features": features, "text": " ".join(sentences)}


def _mean(shares: dict[str, float | None]) -> float | None:
    known = [max(v, -1.0) for v in shares.values() if v is not None]
    return sum(known) / len(known) if known else None


def _names(found: dict[str, float], form: str, most: int = 3) -> str:
    return ", ".join(f"{name} ({format(value, form)})" for name, value in list(found.items())[:most])


def _reach(facts: Facts) -> Cause | None:
    outside = (facts.explained or {}).get("outside", {})
    bad = {f: v for f, v in sorted(outside.items(), key=lambda i: -i[1]) if v > UNREACHED}
    if not bad:
        return None
    return Cause(OUT_OF_REACH, f"The output cannot reach the data: `model.output: {facts.output}` leaves out the scaled values of "
                 f"{_names(bad, '.0%')} of training events, so their error is large whatever is learned and hides the anomalies.",
                 "Set model.output: linear.", tuple(bad))


def _fit(facts: Facts) -> Cause | None:
    if facts.explained is None or facts.model in TRIVIAL:
        return None
    share, spread = facts.explained["share"], facts.explained["spread"]
    whole = _mean(share)
    outside = facts.explained["outside"]
    bound = _mean({f: v for f, v in spread.items()}) or 0.0
    flat = bound < FLAT
    # Where much lies out of reach, little can be explained: then only a flat output says that the fit is to blame too.
    if whole is None or whole >= LEAST_EXPLAINED or (max(outside.values(), default=0) > UNREACHED and not flat):
        return None
    penalties = ", ".join(f"model.{k}: {v:g}" for k, v in facts.penalties.items() if v)
    evidence = f"it explains {whole:.1%} of the training data's squared distance from the median"
    if flat and penalties:
        return Cause(UNDER_FITTED, f"The model is under-fitted, regularised flat: with {penalties} what it expects varies {bound:.1%} as "
                     f"much as the data, and {evidence}.", f"Leave out {penalties.replace(':', '')}, or lower it a hundredfold.")
    if flat:
        return Cause(UNDER_FITTED, f"The model is under-fitted: it expects nearly the same everywhere ({bound:.1%} of the data's "
                     f"variation), and {evidence}.", "Train longer, with a higher training.learning_rate, or with more units.")
    return Cause(UNDER_FITTED, f"The model is under-fitted: {evidence}, no better than a constant.",
                 "Train longer, or use a larger network.")


def _drift(facts: Facts) -> Cause | None:
    moved = [c for c in facts.comparisons if c.group == C.ALL and c.feature is not None and c.from_split == C.TRAIN
             and c.to_split in (C.CALIBRATION, C.TEST) and c.verdict == SHIFTED and c.trimmed is not None]
    if not moved:
        return None
    moved.sort(key=lambda c: -((c.trimmed or 0) / limit_of(c.band)))
    best: dict[str, Comparison] = {}
    for c in moved:
        best.setdefault(c.feature or "", c)
    names = ", ".join(f"{f} (by {c.trimmed:.2g} of its train spread from train to {c.to_split}"
                      + (f"; {c.band:.2g} is ordinary" if c.band is not None else "") + ")" for f, c in list(best.items())[:3])
    first = next(iter(best.values()))
    at = since(facts.shapes, first.feature, first.band) if facts.time_partitions else None
    when = f" since partition {at}" if at is not None else ""
    return Cause(DRIFTED, f"The data drifted{when}: {names}.",
                 "Train again on newer data, or use a feature that does not move, such as a ratio.", tuple(best))


def _level(histogram: Histogram, at: float) -> float:
    return float(quantiles(histogram, [at])[0])


def _overfit(facts: Facts) -> Cause | None:
    """Errors of windows the model did not learn from against those it did, where their features are alike."""
    train = facts.shapes.of(C.TRAIN, None)
    slices = [h for h in facts.shapes.slices(C.TRAIN, None) if h.n]
    for split in (C.OUT_OF_FOLD, VALIDATION, C.CALIBRATION):
        other = facts.shapes.of(split, None)
        moved = any((c.from_split, c.to_split) == (C.TRAIN, split) and c.feature is not None and c.verdict == SHIFTED
                    for c in facts.comparisons)
        if min(train.n, other.n) < LEAST_EVENTS or moved:
            continue
        ratios = [_level(other, q) / max(_level(train, q), 1e-30) for q in (0.5, 0.9)]
        ordinary = max((_level(s, 0.5) / max(_level(train, 0.5), 1e-30) for s in slices), default=1.0)
        if min(ratios) > max(OVER_RATIO, 1.1 * ordinary):
            where = ("on windows of train that it was fitted without (out of fold)" if split == C.OUT_OF_FOLD
                     else f"on {split}, whose features are like those of train")
            return Cause(OVER_FITTED, f"The model is over-fitted: {where}, its errors are {ratios[0]:.2g} times those on the windows that "
                         f"it learned from (median; {ratios[1]:.2g} times at 0.9).",
                         "Train on more data or with fewer units, and never take a threshold from training errors.")
    return None


def tail_bound(histogram: Histogram) -> float:
    """From where on a score is of a tail that the bulk does not announce: the upper quartile's distance in logarithms, six times."""
    middle, upper = quantiles(histogram, [0.5, 0.75])
    return float(middle * (upper / middle) ** TAIL_STRETCH) if middle > 0 else float(upper + TAIL_STRETCH * (upper - middle))


def share_above(histogram: Histogram, value: float) -> float:
    """The share of events above a value, to the histogram's bound."""
    values, counts = points(histogram)
    return float(counts[values > value].sum() / counts.sum()) if histogram.n else 0.0


def _contaminated(facts: Facts) -> Cause | None:
    train, test = facts.shapes.of(C.TRAIN, None), facts.shapes.of(C.TEST, None)
    # The errors of a model that learned nothing, or cannot reach the data, have the tails of the data itself.
    if min(train.n, test.n) < LEAST_EVENTS or _reach(facts) or _fit(facts):
        return None
    bound = tail_bound(train)
    own, theirs = share_above(train, bound), share_above(test, bound)
    if own < LEAST_TAIL or theirs < LEAST_TAIL:
        return None
    one, two = facts.profiles.get(C.TRAIN), facts.profiles.get(C.TEST)
    alike = _cosine(one, two) if one and two else None
    if alike is None or alike < ALIKE:
        return None
    carriers = tuple(f for f, v in sorted((one or {}).items(), key=lambda i: -i[1]) if v > 1 / len(one or {"": 0}))
    return Cause(CONTAMINATED, f"Training holds anomalies: {own:.2%} of its events score above {bound:.4g}, far from the bulk, and their "
                 f"errors lie in the same features as those of the highest events of test (cosine {alike:.2f}).",
                 "Leave them out with events.train_where and events.calibrate_where, or take a lower level.", carriers)


def _cosine(one: dict[str, float], two: dict[str, float]) -> float:
    a, b = (np.array([d.get(f, 0.0) for f in one]) for d in (one, two))
    return float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-30))


def _support(facts: Facts) -> Cause | None:
    if facts.threshold is None or facts.rule == "conformal":  # which flags nothing where nothing stands out, and says so
        return None
    there = [(s, facts.shapes.of(s, None)) for s in (C.TRAIN, C.CALIBRATION, C.TEST)]
    judged = [(s, h) for s, h in there if h.n and s != C.TRAIN]
    highest = max((h.maximum for _, h in judged if h.maximum is not None), default=None)
    if highest is None:
        return None
    expected = np.inf if facts.level is None else (1 - facts.level) * sum(h.n for _, h in judged)
    if highest <= facts.threshold and expected >= LEAST_EXPECTED:
        return Cause(OUT_OF_SUPPORT, f"The threshold lies out of the tail's support: {facts.threshold:.4g} by {facts.rule} on "
                     f"{facts.fitted_on}, above the highest score of {' and '.join(s for s, _ in judged)} ({highest:.4g}), so nothing can "
                     "be flagged.",
                     "Take a lower level or a greater risk, a margin of 1, or fit it on calibration.")
    flagged = {s: share_above(h, facts.threshold) for s, h in judged}
    if all(v > MOST_FLAGGED for v in flagged.values()) and not any(
            c.feature is not None and c.verdict == SHIFTED and c.from_split == C.TRAIN for c in facts.comparisons):
        return Cause(OUT_OF_SUPPORT, f"The threshold lies out of the tail's support: {facts.threshold:.4g} by {facts.rule} is below "
                     + " and ".join(f"{v:.0%} of {s}" for s, v in flagged.items()) + ", so nearly everything is flagged.",
                     "Take a higher level, a margin of 1, or fit it on calibration.")
    return None


def _signal(facts: Facts) -> Cause | None:
    known = [r for r in facts.ranked if r.value is not None]
    if not known or any(((r.value or 0.0) if r.high is None else r.high) >= SIGNAL for r in known):
        return None
    best = max(known, key=lambda r: r.value or 0)
    upper = "" if best.high is None else f", 95 % interval up to {best.high:.2f}"
    why = ""
    if best.within is not None and (best.value or 0) > 0.52 and best.within < (best.value or 0) - 0.02:
        why = f" What lifts it above 0.5 is that the labelled events cluster in time: within blocks of time it is {best.within:.2f}."
    return Cause(NO_SIGNAL, f"There is no signal: the labelled events are hardly separated by any detector (best ROC AUC "
                 f"{best.value:.2f} by {best.detector}{upper}).{why}",
                 "Other features or another entity are needed; no threshold can help.")


def _healthy(facts: Facts) -> str:
    n = sum(facts.shapes.of(s, None).n for s in (C.CALIBRATION, C.TEST))
    if not facts.shapes.of(C.TRAIN, None).n:
        return f"Nothing suspicious was found in {n} judged events; there is no train split to compare with."
    return f"Nothing suspicious was found: the {n} judged events are distributed like train, and the model explains them as well."


def _rivals(facts: Facts) -> Iterator[str]:
    own = next((r for r in facts.ranked if r.detector == facts.model), None)
    if own is None or own.value is None:
        return
    better = [r for r in facts.ranked if r.value is not None and r.value > own.value and r.detector != own.detector]
    if better:
        best = max(better, key=lambda r: r.value or 0)
        sure = own.high is not None and best.low is not None and best.low > own.high
        yield (f"{best.detector} {'beats' if sure else 'is no worse than'} {own.detector} on the labelled test events "
               f"(ROC AUC {best.value:.3f} against {own.value:.3f}).")
