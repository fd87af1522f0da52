"""The most anomalous events of test, each with its window and what its score is made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foreshock.report.plots.window import event_window
from foreshock.report.records.data import ReportData
from foreshock.report.records.events import TopEvent
from foreshock.statistics.arrays import Float64Array

MOST_EVENTS, MOST_FEATURES, MOST_CARRIERS = 5, 5, 3


@dataclass(frozen=True)
class EventCard:
    """An event. carriers: the features that carry its score, with their shares; none if the shares
    are not known. figure: its window, the features with the largest error. n_features: all."""

    event: TopEvent
    carriers: list[tuple[str, float]]
    figure: str
    n_features: int


@dataclass(frozen=True)
class Events:
    """cards: the highest events, highest first."""

    cards: list[EventCard]
    most_features: int = MOST_FEATURES


def build_events(data: ReportData) -> Events:
    """The most anomalous events, five at most, highest first.

    They are taken as `data.top_events` has them in order.
    """
    return Events([build_card(event) for event in data.top_events[:MOST_EVENTS]])


def feature_weights(event: TopEvent) -> Float64Array:
    """How much each feature is wrong, (F,).

    It is the feature's share of the error or, if shares are not known, the sum of squared distances
    between its values and what was expected.
    """
    if event.feature_errors:
        error_shares = [
            event.feature_errors.get(feature_name) or 0.0 for feature_name in event.features
        ]
        return np.array(error_shares, np.float64)
    values = np.array(event.x or [[]], np.float64)
    expected = np.array(event.reconstruction, np.float64) if event.reconstruction else 0.0
    return np.asarray(np.nansum((values - expected) ** 2, axis=0), np.float64)


def build_card(event: TopEvent) -> EventCard:
    """An event with its figure and the features that carry it.

    The figure shows the five features with the largest weight, in the order of the features.
    """
    weight_by_feature = feature_weights(event)
    # Stable, so that features with the same weight keep their order from run to run.
    feature_order: list[int] = np.argsort(-weight_by_feature, kind="stable").tolist()
    carriers = [
        (event.features[feature_position], float(weight_by_feature[feature_position]))
        for feature_position in feature_order[:MOST_CARRIERS]
        if event.feature_errors and weight_by_feature[feature_position] > 0
    ]
    figure = event_window(event, sorted(feature_order[:MOST_FEATURES]))
    return EventCard(event, carriers, figure, len(feature_order))
