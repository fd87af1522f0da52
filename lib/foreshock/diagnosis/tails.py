"""What the tails of scores say: anomalies among the events of train or calibration, a threshold that no score reaches."""

from __future__ import annotations

import numpy as np

from foreshock import columns as C
from foreshock.diagnosis.drift import LEAST_EVENTS, SHIFTED
from foreshock.diagnosis.facts import (
    CONTAMINATED,
    CONTAMINATED_CALIBRATION,
    OUT_OF_SUPPORT,
    Cause,
    Facts,
)
from foreshock.statistics.distances import points, quantiles
from foreshock.statistics.histogram import Histogram

TAIL_STRETCH = 6.0  # how many times the upper quartile's distance from the median, in logarithms, an ordinary score may reach
LEAST_TAIL, ALIKE = 0.002, 0.8
SHELF, MOST_SHELF = (
    3.0,
    0.2,
)  # of `shelf`, set on planted runs; the largest share of events that it looks for
LEAST_ABOVE, LEAST_APART = (
    5,
    1.5,
)  # events, and windows without a common event, above the highest quantile that `shelf` looks at
BIN = 1 / 128  # of a histogram, in logarithms
SEVERAL, LIFTED = (
    5,
    2.5,
)  # times train's own share; times as far from train's median, in logarithms, as train's own highest scores
MOST_FLAGGED = 0.5
LEAST_EXPECTED = 5  # events above a threshold, by its level, from which on none at all is no chance


def tail_bound(histogram: Histogram) -> float:
    """From where on a score is of a tail that the bulk does not announce: the upper quartile's distance in logarithms, six times."""
    middle, upper = quantiles(histogram, [0.5, 0.75])
    return (
        float(middle * (upper / middle) ** TAIL_STRETCH)
        if middle > 0
        else float(upper + TAIL_STRETCH * (upper - middle))
    )


def share_above(histogram: Histogram, value: float) -> float:
    """The share of events above a value, to the histogram's bound."""
    values, counts = points(histogram)
    return float(counts[values > value].sum() / counts.sum()) if histogram.n else 0.0


def shelf(histogram: Histogram, overlap: int, share: float = 0.0) -> float:
    """How far some share c of the events stands apart from the rest, against how far those events spread: the largest ratio, over c from
    half of `share` on, of the distances in logarithms between the highest 2c and c / 2 and between the highest c / 2 and c / 8.

    A tail that falls as a power has 1, a normal one less than 2, for both are of one piece. 0 where too few events are that high.
    """
    least = max(share / 2, 8 * max(LEAST_ABOVE, LEAST_APART * overlap) / max(histogram.n, 1))
    if least > MOST_SHELF:
        return 0.0
    shares = np.geomspace(least, MOST_SHELF, 12)
    below, edge, top = (quantiles(histogram, 1 - shares * times) for times in (2, 1 / 2, 1 / 8))
    known = below > 0
    if not known.any():
        return 0.0
    below, edge, top = (np.log(v[known]) for v in (below, edge, top))
    return float(((edge - below) / np.maximum(top - edge, BIN)).max())


def contaminated(facts: Facts) -> Cause | None:
    """Anomalies among train's events: a tail beyond the bulk, set apart from it, in the features of the highest test events.

    A heavy tail of ordinary events lies beyond the bulk too, but is not set apart.
    """
    train, test = facts.shapes.of(C.TRAIN, None), facts.shapes.of(C.TEST, None)
    if min(train.n, test.n) < LEAST_EVENTS:
        return None
    bound = tail_bound(train)
    own, theirs = share_above(train, bound), share_above(test, bound)
    if own < LEAST_TAIL or theirs < LEAST_TAIL or shelf(train, facts.overlap, own) < SHELF:
        return None
    one, two = facts.profiles.get(C.TRAIN), facts.profiles.get(C.TEST)
    alike = _cosine(one, two) if one and two else None
    if one is None or alike is None or alike < ALIKE:
        return None
    carriers = tuple(f for f, v in sorted(one.items(), key=lambda i: -i[1]) if v >= 1 / len(one))
    return Cause(
        CONTAMINATED,
        f"Training holds anomalies: {own:.2%} of its events score above {bound:.4g}, set apart from the bulk, and "
        f"their errors lie in the same features as those of the highest events of test (cosine {alike:.2f}).",
        "Leave them out with events.train_where and events.calibrate_where, or take a lower level.",
        carriers,
    )


def _cosine(one: dict[str, float], two: dict[str, float]) -> float:
    a, b = (np.array([d.get(f, 0.0) for f in one]) for d in (one, two))
    return float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-30))


def contaminated_calibration(facts: Facts) -> Cause | None:
    """Anomalies among calibration's events alone, so many that the threshold lies among them."""
    train, calibration = facts.shapes.of(C.TRAIN, None), facts.shapes.of(C.CALIBRATION, None)
    if (
        min(train.n, calibration.n) < LEAST_EVENTS
        or facts.threshold is None
        or facts.fitted_on != C.CALIBRATION
        or facts.admitted
    ):
        return None
    bound = tail_bound(train)
    own, theirs = share_above(train, bound), share_above(calibration, bound)
    few = theirs * calibration.n < LEAST_EXPECTED * facts.overlap
    if few or theirs < max(LEAST_TAIL, SEVERAL * own) or facts.threshold <= bound:
        return None
    # Two samples of one heavy tail differ in how much lies above the bound, by the luck of a few events, but not by so much in how far.
    middle, ours = quantiles(train, [0.5, 1 - theirs / 2])
    if middle > 0 and np.log(
        quantiles(calibration, [1 - theirs / 2])[0] / middle
    ) < LIFTED * np.log(ours / middle):
        return None
    return Cause(
        CONTAMINATED_CALIBRATION,
        f"Calibration holds anomalies, or a kind of events that train lacks: {theirs:.2%} of its events "
        f"score above {bound:.4g}, far from the bulk, where {own:.2%} of train's do, so the threshold ({facts.threshold:.4g} by "
        f"{facts.rule}) lies among them.",
        "Leave them out with events.calibrate_where, take a lower level, or calibrate on another span of time.",
    )


def support(facts: Facts) -> Cause | None:
    """A threshold that no score, or nearly every score, lies above; scores that are all equal."""
    judged = [(s, h) for s in (C.CALIBRATION, C.TEST) if (h := facts.shapes.of(s, None)).n]
    highest = max((h.maximum for _, h in judged if h.maximum is not None), default=None)
    if facts.threshold is None or highest is None:
        return None
    where = " and ".join(s for s, _ in judged)
    if sum(h.n for _, h in judged) >= LEAST_EVENTS and all(h.minimum == highest for _, h in judged):
        return Cause(
            OUT_OF_SUPPORT,
            f"All scores of {where} are equal ({highest:.4g}), so no threshold can tell events apart.",
            "Look at the features (constant ones, scaling.clip), or take another model; another level changes nothing.",
        )
    if facts.rule == "conformal":  # which flags nothing where nothing stands out, and says so
        return None
    expected = np.inf if facts.level is None else (1 - facts.level) * sum(h.n for _, h in judged)
    if highest <= facts.threshold and expected >= LEAST_EXPECTED:
        return Cause(
            OUT_OF_SUPPORT,
            f"The threshold lies out of the tail's support: {facts.threshold:.4g} by {facts.rule} on "
            f"{facts.fitted_on}, and no score of {where} is above it (the highest is {highest:.4g}), so nothing can be flagged.",
            "Take a lower level or a greater risk, a margin of 1, or fit it on calibration.",
        )
    flagged = {s: share_above(h, facts.threshold) for s, h in judged}
    if all(v > MOST_FLAGGED for v in flagged.values()) and not any(
        c.feature is not None and c.verdict == SHIFTED and c.from_split == C.TRAIN
        for c in facts.comparisons
    ):
        return Cause(
            OUT_OF_SUPPORT,
            f"The threshold lies out of the tail's support: {facts.threshold:.4g} by {facts.rule} is below "
            + " and ".join(f"{v:.0%} of {s}" for s, v in flagged.items())
            + ", so nearly everything is flagged.",
            "Take a higher level, a margin of 1, or fit it on calibration.",
        )
    return None
