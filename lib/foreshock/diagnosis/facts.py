"""What a verdict is made from, the causes it can name, and what a run's tables and windows give for it. NumPy alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from foreshock import columns as C
from foreshock.diagnosis.drift import Comparison, Shapes

HEALTHY = "healthy"
OUT_OF_REACH, UNDER_FITTED, OVER_FITTED = "output_out_of_reach", "under_fitted", "over_fitted"
DRIFTED, CONTAMINATED, CONTAMINATED_CALIBRATION = (
    "drifted",
    "contaminated_training",
    "contaminated_calibration",
)
OUT_OF_SUPPORT, NO_SIGNAL = "threshold_out_of_support", "no_signal"
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
    of the squared error in the highest-scoring windows; positive: how many test events are labelled anomalous, null where nobody counted;
    overlap: how many windows share an event; admitted: whether `events.calibrate_where` chose what the threshold was fitted on."""

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
    positive: int | None = None
    overlap: int = 1
    admitted: bool = False


@dataclass(frozen=True)
class Cause:
    """A cause with its sentence and remedy; features: those that carry it, the first most."""

    name: str
    text: str
    remedy: str
    features: tuple[str, ...] = ()


def ranking(
    metrics: list[dict[str, Any]], detectors: tuple[str, ...]
) -> tuple[tuple[Ranked, ...], int | None]:
    """(how each detector ranks the labelled test events, how many of them are anomalous) from rows of `metrics`; null without labels."""
    rows = [
        m
        for m in metrics
        if m["split"] == C.TEST
        and m["group"] == C.ALL
        and m["kind"] is None
        and m["detector"] in detectors
    ]
    within = {m["detector"]: m["value"] for m in rows if m["metric"] == "roc_auc_within_blocks"}
    found = tuple(
        Ranked(m["detector"], m["value"], m["ci_low"], m["ci_high"], within.get(m["detector"]))
        for m in rows
        if m["metric"] == "roc_auc"
    )
    counts = [
        round(m["value"] * m["n"])
        for m in rows
        if m["metric"] == "prevalence" and m["value"] is not None
    ]
    return found, min(counts, default=None)


def profile(errors: npt.ArrayLike | None, features: tuple[str, ...]) -> dict[str, float] | None:
    """The share of each feature in the squared error of the highest hundredth of windows; errors: (N, F) of sampled ones.

    Null where the model has none apart (N, 1) or there are no windows. A single feature has all of it, whatever the model.
    """
    if len(features) == 1:
        return {features[0]: 1.0}
    own = np.zeros((0, 1)) if errors is None else np.asarray(errors, np.float64)
    if own.shape[1] != len(features) or not len(own):
        return None
    top = own[
        np.argsort(-own.sum(axis=1), kind="stable")[
            : max(LEAST_PROFILE, int(len(own) * PROFILE_SHARE))
        ]
    ]
    shares = (top / np.maximum(top.sum(axis=1, keepdims=True), 1e-30)).mean(axis=0)
    return dict(zip(features, shares.tolist(), strict=True))
