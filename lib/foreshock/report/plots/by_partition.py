"""A bar and a mark for each partition, on a calendar if the partitions are dates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from foreshock.report.plots.axes import days_of, draw_threshold, finish_scores, set_calendar
from foreshock.report.plots.drawing import CARD, SPLIT_COLOURS, inline_svg
from foreshock.report.records.rows import ThresholdRow
from foreshock.report.wording import parse_time
from foreshock.statistics.arrays import Float64Array

SELF = "self"  # fitted on a test partition's own scores
MOST_LABELS, LABEL_LETTERS = 12, 20
LONG_GAPS = 3  # a calendar this many times longer than its days has gaps too long to draw


@dataclass(frozen=True)
class PartitionBar:
    """A bar from low to high and a mark at value, each None if it is not known."""

    partition: str
    low: float | None
    high: float | None
    value: float | None


def _set_places(axes: Axes, partitions: Sequence[str]) -> dict[str, float]:
    """Where each partition stands on the horizontal axis, whose ticks are set."""
    moments = [moment for name in partitions if (moment := parse_time(name))]
    days = days_of(moments)
    steps = np.diff(days) if len(days) > 1 else np.ones(1)
    are_dates = len(days) == len(partitions)
    if are_dates and bool(np.ptp(days) <= LONG_GAPS * len(days) * np.median(steps)):
        set_calendar(axes)
        return dict(zip(partitions, map(float, days), strict=True))
    ticks = list(range(0, len(partitions), -(-len(partitions) // MOST_LABELS)))
    labels = [partitions[position][:LABEL_LETTERS] for position in ticks]
    axes.set_xticks(ticks, labels, rotation=20 if len(partitions) > 6 else 0)
    return {name: float(position) for position, name in enumerate(partitions)}


def _colour(series: str) -> str:
    if series == SELF:
        return SPLIT_COLOURS["test"]
    return SPLIT_COLOURS.get(series, SPLIT_COLOURS["calibration"])


def _numbers(values: Sequence[float | None]) -> Float64Array:
    return np.array(values, np.float64)  # None becomes NaN, which is not drawn


@inline_svg
def partition_bars(
    series: Mapping[str, Sequence[PartitionBar]],
    limit: ThresholdRow | None,
    mark: Literal["^", "o"],
) -> Figure | None:
    """Bars by partition. A series is named for its split, which colours it, or for what its
    threshold was fitted on; `self` has hollow marks."""
    partitions = sorted({bar.partition for bars in series.values() for bar in bars})
    if not partitions:
        return None
    figure = Figure(figsize=(10, 3))
    axes = figure.add_subplot()
    places = _set_places(axes, partitions)
    bar_width = min(6 if mark == "^" else 2, max(1.2, 400 / len(partitions)))
    for name, bars in series.items():
        positions = [places[bar.partition] for bar in bars]
        lows, highs = _numbers([bar.low for bar in bars]), _numbers([bar.high for bar in bars])
        values = _numbers([bar.value for bar in bars])
        colour = _colour(name)
        axes.vlines(positions, lows, highs, color=colour, lw=bar_width, alpha=0.5)
        axes.plot(
            positions,
            values,
            mark,
            color=colour,
            mfc=CARD if name == SELF else colour,
            markersize=4,
            ls="none",
            label=name,
        )
    draw_threshold(axes, limit)
    drawn = [value for bars in series.values() for bar in bars for value in (bar.low, bar.value)]
    return finish_scores(figure, axes, _numbers(drawn))
