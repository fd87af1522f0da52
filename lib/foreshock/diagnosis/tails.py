"""What the tails of scores say.

They tell of anomalies among train or calibration, and of a threshold without scores.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from foreshock import columns as C
from foreshock.diagnosis.drift import LEAST_EVENTS
from foreshock.diagnosis.facts import (
    CONTAMINATED,
    CONTAMINATED_CALIBRATION,
    OUT_OF_SUPPORT,
    Cause,
    Facts,
)
from foreshock.statistics.distances import points, quantiles
from foreshock.statistics.histogram import Histogram

# How many times the upper quartile's distance from the median, in logarithms, an ordinary score may
# reach.
TAIL_STRETCH = 6.0
LEAST_TAIL, ALIKE = 0.002, 0.8
# The limit of `shelf`, set on planted runs, and the largest share of events that it looks for.
LEAST_SHELF, LARGEST_SHARE = 3.0, 0.2
# Events, and windows without a common event, above the highest quantile that `shelf` looks at.
LEAST_ABOVE, LEAST_APART = 5, 1.5
BIN_WIDTH = 1 / 128  # of a histogram, in logarithms
# Calibration has a tail if it holds so many times train's share, and lies so many times as far from
# train's median, in logarithms, as train's own highest scores.
SEVERAL_TIMES, LIFTED = 5, 2.5
MOST_FLAGGED = 0.5
# From so many events expected above a threshold, by its level, none at all is no chance.
LEAST_EXPECTED = 5


def tail_bound(histogram: Histogram) -> float:
    """From where on a score is of a tail that the bulk does not announce.

    It is six times the upper quartile's distance from the median, in logarithms.
    """
    middle, upper = quantiles(histogram, [0.5, 0.75])
    # Logarithms need a positive median; else the same is said of plain differences.
    if middle > 0:
        return float(middle * (upper / middle) ** TAIL_STRETCH)
    return float(upper + TAIL_STRETCH * (upper - middle))


def share_above(histogram: Histogram, value: float) -> float:
    """The share of events above a value, to the histogram's bound.

    >>> share_above(Histogram.of([1.0, 2.0, 4.0, 8.0]), 3.0)
    0.5
    """
    values, counts = points(histogram)
    return float(counts[values > value].sum() / counts.sum()) if histogram.n else 0.0


def shelf(histogram: Histogram, overlap: int, share: float = 0.0) -> float:
    """How far some share c of the events stands apart from the rest, against their own spread.

    It is the largest ratio, over c from half of `share` on, of two distances in logarithms: between
    the highest 2c and c / 2, and between the highest c / 2 and c / 8. A tail that falls as a power
    has 1 and a normal one less than 2, for both are of one piece. It is 0 if too few events are
    that high. overlap: how many windows share an event.
    """
    enough = 8 * max(LEAST_ABOVE, LEAST_APART * overlap) / max(histogram.n, 1)
    least = max(share / 2, enough)
    if least > LARGEST_SHARE:
        return 0.0
    shares = np.geomspace(least, LARGEST_SHARE, 12)
    below, edge, top = (quantiles(histogram, 1 - shares * times) for times in (2, 1 / 2, 1 / 8))
    is_positive = below > 0
    if not is_positive.any():
        return 0.0
    below, edge, top = (np.log(values[is_positive]) for values in (below, edge, top))
    return float(((edge - below) / np.maximum(top - edge, BIN_WIDTH)).max())


def contaminated(facts: Facts) -> Cause | None:
    """Anomalies among train's events.

    They are a tail beyond the bulk, set apart from it, in the features of the highest test events.
    A heavy tail of ordinary events lies beyond the bulk too, but is not set apart.
    """
    train, test = facts.shapes.of(C.TRAIN, None), facts.shapes.of(C.TEST, None)
    if min(train.n, test.n) < LEAST_EVENTS:
        return None
    bound = tail_bound(train)
    train_share, test_share = share_above(train, bound), share_above(test, bound)
    if min(train_share, test_share) < LEAST_TAIL:
        return None
    if shelf(train, facts.overlap, train_share) < LEAST_SHELF:
        return None
    train_profile, test_profile = facts.profiles.get(C.TRAIN), facts.profiles.get(C.TEST)
    if not train_profile or not test_profile:
        return None
    likeness = _cosine(train_profile, test_profile)
    if likeness < ALIKE:
        return None
    by_share = sorted(train_profile.items(), key=lambda item: -item[1])
    carriers = tuple(name for name, share in by_share if share >= 1 / len(train_profile))
    return Cause(
        CONTAMINATED,
        f"Training holds anomalies: {train_share:.2%} of its events score above {bound:.4g}, set "
        "apart from the bulk, and their errors lie in the same features as those of the highest "
        f"events of test (cosine {likeness:.2f}).",
        "Leave them out with events.train_where and events.calibrate_where, or take a lower level.",
        carriers,
    )


def _cosine(first: Mapping[str, float], second: Mapping[str, float]) -> float:
    first_vector, second_vector = (
        np.array([shares.get(name, 0.0) for name in first]) for shares in (first, second)
    )
    norms = np.linalg.norm(first_vector) * np.linalg.norm(second_vector)
    return float(first_vector @ second_vector / max(norms, 1e-30))


def contaminated_calibration(facts: Facts) -> Cause | None:
    """Anomalies among calibration's events alone, so many that the threshold lies among them.

    It is not said if `events.calibrate_where` chose the events that the threshold was fitted on.
    """
    train, calibration = facts.shapes.of(C.TRAIN, None), facts.shapes.of(C.CALIBRATION, None)
    if min(train.n, calibration.n) < LEAST_EVENTS or facts.admitted:
        return None
    if facts.threshold is None or facts.fitted_on != C.CALIBRATION:
        return None
    bound = tail_bound(train)
    train_share, share = share_above(train, bound), share_above(calibration, bound)
    is_rare = share * calibration.n < LEAST_EXPECTED * facts.overlap
    if is_rare or share < max(LEAST_TAIL, SEVERAL_TIMES * train_share):
        return None
    if facts.threshold <= bound or not _is_lifted(train, calibration, share):
        return None
    return Cause(
        CONTAMINATED_CALIBRATION,
        f"Calibration holds anomalies, or a kind of events that train lacks: {share:.2%} of its "
        f"events score above {bound:.4g}, far from the bulk, where {train_share:.2%} of train's "
        f"do, so the threshold ({facts.threshold:.4g} by {facts.rule}) lies among them.",
        "Leave them out with events.calibrate_where, take a lower level, or calibrate on another "
        "span of time.",
    )


def _is_lifted(train: Histogram, calibration: Histogram, share: float) -> bool:
    """Whether calibration's highest scores lie much farther out than train's.

    Two samples of one heavy tail differ in how much lies above a bound, by the luck of a few
    events, but not by so much in how far.
    """
    middle, train_high = quantiles(train, [0.5, 1 - share / 2])
    if middle <= 0:
        return True
    calibration_high = quantiles(calibration, [1 - share / 2])[0]
    return bool(np.log(calibration_high / middle) >= LIFTED * np.log(train_high / middle))


def support(facts: Facts) -> Cause | None:
    """A threshold that no score, or nearly every score, lies above; scores that are all equal.

    It is not said without a threshold, nor without judged events.
    """
    histograms = {split: facts.shapes.of(split, None) for split in (C.CALIBRATION, C.TEST)}
    judged = {split: histogram for split, histogram in histograms.items() if histogram.n}
    maxima = [h.maximum for h in judged.values() if h.maximum is not None]
    if facts.threshold is None or not maxima:
        return None
    highest = max(maxima)
    splits = " and ".join(judged)
    judged_count = sum(histogram.n for histogram in judged.values())
    all_equal = all(histogram.minimum == highest for histogram in judged.values())
    if judged_count >= LEAST_EVENTS and all_equal:
        return Cause(
            OUT_OF_SUPPORT,
            f"All scores of {splits} are equal ({highest:.4g}), so no threshold can tell events "
            "apart.",
            "Look at the features (constant ones, scaling.clip), or take another model; another "
            "level changes nothing.",
        )
    # A conformal rule flags nothing if nothing stands out, and says so itself.
    if facts.rule == "conformal":
        return None
    expected = np.inf if facts.level is None else (1 - facts.level) * judged_count
    if highest <= facts.threshold and expected >= LEAST_EXPECTED:
        return Cause(
            OUT_OF_SUPPORT,
            f"The threshold lies out of the tail's support: {facts.threshold:.4g} by {facts.rule} "
            f"on {facts.fitted_on}, and no score of {splits} is above it (the highest is "
            f"{highest:.4g}), so nothing can be flagged.",
            "Take a lower level or a greater risk, a margin of 1, or fit it on calibration.",
        )
    return _flags_nearly_all(facts, judged, facts.threshold)


def _flags_nearly_all(
    facts: Facts, judged: Mapping[str, Histogram], threshold: float
) -> Cause | None:
    flagged = {split: share_above(histogram, threshold) for split, histogram in judged.items()}
    drifted = any(
        comparison.feature is not None
        and comparison.is_shifted
        and comparison.from_split == C.TRAIN
        for comparison in facts.comparisons
    )
    if drifted or not all(share > MOST_FLAGGED for share in flagged.values()):
        return None
    shares = " and ".join(f"{share:.0%} of {split}" for split, share in flagged.items())
    return Cause(
        OUT_OF_SUPPORT,
        f"The threshold lies out of the tail's support: {threshold:.4g} by {facts.rule} is below "
        f"{shares}, so nearly everything is flagged.",
        "Take a higher level, a margin of 1, or fit it on calibration.",
    )
