"""Scores over time: events as dots, flagged ones and known anomalies marked, and thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from foreshock.report.plots.axes import days_of, draw_threshold, finish_scores, set_calendar
from foreshock.report.plots.drawing import ALARM, KNOWN, PLAIN, inline_svg
from foreshock.report.records.events import TimelineEvent
from foreshock.report.records.rows import ThresholdRow
from foreshock.report.wording import parse_time

MOST_POINTS, MOST_MARKED, MOST_THRESHOLDS = 20_000, 800, 4


@dataclass(frozen=True)
class _Dot:
    moment: datetime
    score: float
    event: TimelineEvent


# What `scatter` takes by name; a picture, not shapes, for the many.
_DOT_STYLE: dict[str, Any] = {
    "s": 5,
    "color": PLAIN,
    "alpha": 0.45,
    "linewidths": 0,
    "rasterized": True,
}
_RING_STYLE = {"s": 34, "facecolors": "none", "edgecolors": KNOWN, "linewidths": 1}
_FLAG_STYLE = {"s": 13, "color": ALARM, "linewidths": 0}


def _dots(events: Sequence[TimelineEvent]) -> list[_Dot]:
    event_dots = []
    for event in events:
        moment = parse_time(event.event_time)
        if event.score is not None and moment is not None:
            event_dots.append(_Dot(moment, event.score, event))
    return sorted(event_dots, key=lambda dot: dot.moment)


def _scatter(axes: Axes, label: str, dots: Sequence[_Dot], most: int, style: Any) -> None:
    # Every n-th dot: a sample in order of time keeps its shape.
    thinned_dots = dots[:: max(1, -(-len(dots) // most))]
    if thinned_dots:
        day_numbers = days_of([dot.moment for dot in thinned_dots])
        axes.scatter(day_numbers, [dot.score for dot in thinned_dots], label=label, **style)


@inline_svg
def score_timeline(
    events: Sequence[TimelineEvent], limits: Sequence[ThresholdRow]
) -> Figure | None:
    """The scores of sampled events over time, with at most four thresholds.

    Events without a score or a time are left out; nothing is drawn if none remains.
    """
    event_dots = _dots(events)
    if not event_dots:
        return None
    figure = Figure(figsize=(10, 3.6))
    axes = figure.add_subplot()
    flagged_dots = [dot for dot in event_dots if dot.event.is_anomaly]
    ordinary_dots = [dot for dot in event_dots if not dot.event.is_anomaly]
    anomaly_dots = [dot for dot in event_dots if dot.event.label == 1]
    # Flagged events are drawn last, so that nothing covers them.
    _scatter(axes, "not flagged", ordinary_dots, MOST_POINTS, _DOT_STYLE)
    _scatter(axes, "known anomaly", anomaly_dots, MOST_MARKED, _RING_STYLE)
    _scatter(axes, "flagged", flagged_dots, MOST_MARKED, _FLAG_STYLE)
    for limit in limits[:MOST_THRESHOLDS]:
        draw_threshold(axes, limit)
    set_calendar(axes)
    return finish_scores(figure, axes, [dot.score for dot in event_dots])
