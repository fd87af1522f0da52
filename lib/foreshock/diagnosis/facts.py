"""What a verdict is made of, and the causes it can name. NumPy alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from foreshock import columns as C
from foreshock.diagnosis.drift import Comparison, Shapes

HEALTHY = "healthy"
OUT_OF_REACH, UNDER_FITTED, OVER_FITTED = "output_out_of_reach", "under_fitted", "over_fitted"
DRIFTED, OUT_OF_SUPPORT, NO_SIGNAL = "drifted", "threshold_out_of_support", "no_signal"
CONTAMINATED = "contaminated_training"
CONTAMINATED_CALIBRATION = "contaminated_calibration"
# The order in which causes are told: whatever makes later ones meaningless comes first.
ORDER = (
    OUT_OF_REACH,
    UNDER_FITTED,
    DRIFTED,
    OVER_FITTED,
    CONTAMINATED,
    CONTAMINATED_CALIBRATION,
    OUT_OF_SUPPORT,
    NO_SIGNAL,
)

PROFILE_SHARE, LEAST_PROFILE = 0.01, 10
# If a larger share of a feature's training values is out of reach, it is a cause.
UNREACHED = 0.05


@dataclass(frozen=True)
class Ranked:
    """A detector's ROC AUC on labelled test events, with its interval.

    within: the AUC of pairs in the same block of time alone, if it is known.
    """

    detector: str
    value: float | None
    low: float | None
    high: float | None
    within: float | None = None


@dataclass(frozen=True)
class Facts:
    """What a verdict is made of.

    Attributes:
        model: the name of the run's detector.
        shapes, comparisons: histograms of scores and features, and the rows of `drift`.
        threshold, rule, level, fitted_on: what judges, pooled over groups.
        explained: what the model explains of its training windows (`windows.models.explained`),
            as plain data.
        output, penalties: the network's settings.
        profiles: split -> feature -> share of the squared error in the highest-scoring windows.
        ranked: how each detector ranks the labelled test events.
        time_partitions: whether partitions are days or months.
        positive: how many test events are labelled anomalous; null if nobody counted.
        overlap: how many windows share an event.
        admitted: whether `events.calibrate_where` chose what the threshold was fitted on.
    """

    model: str
    shapes: Shapes
    comparisons: list[Comparison]
    threshold: float | None
    rule: str
    level: float | None
    fitted_on: str
    explained: Mapping[str, Any] | None = None
    output: str = "linear"
    penalties: Mapping[str, float] = field(default_factory=dict)
    profiles: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    ranked: tuple[Ranked, ...] = ()
    time_partitions: bool = True
    positive: int | None = None
    overlap: int = 1
    admitted: bool = False

    def shifts_from_train(self, *, of_scores: bool) -> list[Comparison]:
        """Where calibration or test lies apart from train, all groups together.

        of_scores: the scores, else the features.
        """
        return [
            comparison
            for comparison in self.comparisons
            if comparison.group == C.ALL
            and (comparison.feature is None) == of_scores
            and comparison.from_split == C.TRAIN
            and comparison.to_split in (C.CALIBRATION, C.TEST)
            and comparison.is_shifted
        ]


@dataclass(frozen=True)
class Cause:
    """A cause with its sentence and remedy; features: those that carry it, the first most."""

    name: str
    text: str
    remedy: str
    features: tuple[str, ...] = ()


def ranking(
    metrics: Sequence[Mapping[str, Any]], detectors: tuple[str, ...]
) -> tuple[tuple[Ranked, ...], int | None]:
    """How each detector ranks the labelled test events, and how many of them are anomalous.

    metrics: rows of the table. The number is null without labels.
    """
    rows = [
        row
        for row in metrics
        if row["split"] == C.TEST
        and row["group"] == C.ALL
        and row["kind"] is None
        and row["detector"] in detectors
    ]
    within_blocks = {
        row["detector"]: row["value"] for row in rows if row["metric"] == "roc_auc_within_blocks"
    }
    ranked = tuple(
        Ranked(
            row["detector"],
            row["value"],
            row["ci_low"],
            row["ci_high"],
            within_blocks.get(row["detector"]),
        )
        for row in rows
        if row["metric"] == "roc_auc"
    )
    # Each detector may judge other events: the fewest anomalies bound what can be said of all.
    positive_counts = [
        round(row["value"] * row["n"])
        for row in rows
        if row["metric"] == "prevalence" and row["value"] is not None
    ]
    return ranked, min(positive_counts, default=None)


def profile(errors: npt.ArrayLike | None, features: tuple[str, ...]) -> dict[str, float] | None:
    """The share of each feature in the squared error of the highest hundredth of windows.

    errors: (N, F) of sampled windows. Null if the detector sees no features apart (N, 1), or if
    there are no windows. A single feature has all of it, whatever the detector.

    >>> profile([[3.0, 1.0]] * 20, ("gas", "value"))
    {'gas': 0.75, 'value': 0.25}
    """
    if len(features) == 1:
        return {features[0]: 1.0}
    window_errors = np.zeros((0, 1)) if errors is None else np.asarray(errors, np.float64)
    if window_errors.shape[1] != len(features) or not len(window_errors):
        return None
    descending = np.argsort(-window_errors.sum(axis=1), kind="stable")
    count = max(LEAST_PROFILE, int(len(window_errors) * PROFILE_SHARE))
    highest = window_errors[descending[:count]]
    totals = np.maximum(highest.sum(axis=1, keepdims=True), 1e-30)
    return dict(zip(features, (highest / totals).mean(axis=0).tolist(), strict=True))
