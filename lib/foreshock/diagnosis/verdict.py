"""The verdict: why a detector flags what it flags.

It is made of sentences with their evidence and a remedy.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from foreshock import columns as C
from foreshock.detectors import ENSEMBLE, entry_of
from foreshock.diagnosis import causes, tails
from foreshock.diagnosis.facts import (
    CONTAMINATED,
    CONTAMINATED_CALIBRATION,
    DRIFTED,
    HEALTHY,
    ORDER,
    OUT_OF_REACH,
    OUT_OF_SUPPORT,
    OVER_FITTED,
    UNDER_FITTED,
    UNREACHED,
    Cause,
    Facts,
    Ranked,
)

# A feature is never reconstructed if the share explained and the spread are below these, or if the
# share alone is below the last.
NOTHING_EXPLAINED, STILL, WORSE_THAN_MEDIAN = 0.01, 0.05, -0.1
CHECKS = (
    causes.out_of_reach,
    causes.under_fitted,
    causes.drifted,
    causes.over_fitted,
    tails.support,
    causes.no_signal,
)


def verdict(facts: Facts) -> dict[str, Any]:
    """{causes, features, text}: the causes in order, `healthy` alone if there is none.

    features: those that carry a cause, the first most. text: evidence and remedy of each cause,
    then detectors that rank better and features that are never reconstructed.
    """
    found_causes = [cause for check in CHECKS if (cause := check(facts))]
    names = {cause.name for cause in found_causes}
    # The errors of a model that learned nothing, or that cannot reach the data, have the tails of
    # the data themselves.
    if not names & {OUT_OF_REACH, UNDER_FITTED}:
        found_causes += _if_any(tails.contaminated(facts))
    if not names & {OUT_OF_REACH, UNDER_FITTED, DRIFTED, OVER_FITTED}:
        found_causes += _if_any(tails.contaminated_calibration(facts))
    found_causes.sort(key=lambda cause: ORDER.index(cause.name))
    sentences = [f"{cause.text} {cause.remedy}" for cause in found_causes] or [_healthy(facts)]
    sentences += _rivals(facts)
    # An under-fitted model reconstructs nothing, and the cause has said so.
    if UNDER_FITTED not in names:
        sentences += _never_reconstructed(facts)
    features = dict.fromkeys(name for cause in found_causes for name in cause.features)
    return {
        "causes": [cause.name for cause in found_causes] or [HEALTHY],
        "features": list(features),
        "text": " ".join(sentences),
    }


def _if_any(cause: Cause | None) -> list[Cause]:
    return [] if cause is None else [cause]


def _healthy(facts: Facts) -> str:
    judged = sum(facts.shapes.of(split, None).n for split in (C.CALIBRATION, C.TEST))
    if not facts.shapes.of(C.TRAIN, None).n:
        return (
            "Nothing suspicious was found in the run; there is no train split to compare its "
            f"{judged} judged events with."
        )
    apart = [
        f"by {shift.trimmed:.2g} of their train spread in {shift.to_split}"
        for shift in facts.shifts_from_train(of_scores=True)
    ]
    if apart:
        return (
            f"Nothing suspicious was found in the features of the {judged} judged events, but "
            f"their scores lie apart from train's ({' and '.join(apart)}) though no feature alone "
            "moved: true anomalies explain that, or a relation between features that changed."
        )
    return (
        f"The run is healthy: its {judged} judged events are distributed like train, and the model "
        "explains them as well."
    )


def _never_reconstructed(facts: Facts) -> Iterator[str]:
    """Features that a mean over all of them hides."""
    if facts.explained is None or not entry_of(facts.model).can_underfit:
        return
    spread, outside = facts.explained["spread"], facts.explained["outside"]
    by_share = sorted(facts.explained["share"].items(), key=lambda item: item[1] or 0)
    hidden = {}
    for feature, share in by_share:
        if share is None or outside.get(feature, 0) > UNREACHED:
            continue
        is_still = share <= NOTHING_EXPLAINED and (spread.get(feature) or 0) < STILL
        if is_still or share < WORSE_THAN_MEDIAN:
            hidden[feature] = share
    if hidden:
        yield (
            f"The model never reconstructs {causes.name_values(hidden, '.0%', 8)}; in brackets, "
            "the share explained of their squared distance from the median. Errors there only "
            "measure the values themselves: leave such a feature out, or give the model more "
            "units."
        )


def _rivals(facts: Facts) -> Iterator[str]:
    """The detectors that rank the labelled test events better than the model."""
    model = next((ranked for ranked in facts.ranked if ranked.detector == facts.model), None)
    if model is None or model.value is None:
        return
    better = [
        ranked
        for ranked in facts.ranked
        if ranked.value is not None and ranked.value > model.value and ranked is not model
    ]
    if not better:
        return
    better.sort(key=lambda ranked: -(ranked.value or 0))
    best = better[0]
    sentence = (
        f"{best.detector} {_beats(best, model)} {model.detector} on the labelled test events (ROC "
        f"AUC {best.value:.3f} against {model.value:.3f})"
    )
    alone = next((ranked for ranked in better if ranked.detector != ENSEMBLE), None)
    if best.detector == ENSEMBLE and alone is not None:
        sentence += (
            f", and {alone.detector} alone {_beats(alone, model)} it too ({alone.value:.3f})"
        )
    yield f"{sentence}."


def _beats(rival: Ranked, model: Ranked) -> str:
    is_apart = model.high is not None and rival.low is not None and rival.low > model.high
    return "beats" if is_apart else "is no worse than"


__all__ = [
    "CONTAMINATED",
    "CONTAMINATED_CALIBRATION",
    "HEALTHY",
    "OUT_OF_SUPPORT",
    "Facts",
    "Ranked",
    "verdict",
]
