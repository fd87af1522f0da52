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

# Fitted on a test partition's own scores.
SELF_FITTED = "self"
MOST_LABELS, LABEL_LETTERS = 12, 20
# A calendar this many times longer than its days has gaps too long to draw.
LONG_GAPS = 3


@dataclass(frozen=True)
class PartitionBar:
    """A bar from low to high and a mark at value, each None if it is not known."""

    partition: str
    low: float | None
    high: float | None
    value: float | None


def _set_places(axes: Axes, partitions: Sequence[str]) -> dict[str, float]:
    """Where each partition stands on the horizontal axis, whose ticks are set."""
    moments = [moment for partition in partitions if (moment := parse_time(partition))]
    day_numbers = days_of(moments)
    day_steps = np.diff(day_numbers) if len(day_numbers) > 1 else np.ones(1)
    # Partitions may be regions or chains, which have no place on a calendar.
    are_dates = len(day_numbers) == len(partitions)
    if are_dates and bool(
        np.ptp(day_numbers) <= LONG_GAPS * len(day_numbers) * np.median(day_steps)
    ):
        set_calendar(axes)
        return dict(zip(partitions, map(float, day_numbers), strict=True))
    tick_positions = list(range(0, len(partitions), -(-len(partitions) // MOST_LABELS)))
    tick_labels = [partitions[tick_position][:LABEL_LETTERS] for tick_position in tick_positions]
    axes.set_xticks(tick_positions, tick_labels, rotation=20 if len(partitions) > 6 else 0)
    return {partition: float(tick_position) for tick_position, partition in enumerate(partitions)}


def _colour(series: str) -> str:
    if series == SELF_FITTED:
        return SPLIT_COLOURS["test"]
    return SPLIT_COLOURS.get(series, SPLIT_COLOURS["calibration"])


def _numbers(values: Sequence[float | None]) -> Float64Array:
    # None becomes NaN, which is not drawn.
    return np.array(values, np.float64)


@inline_svg
def partition_bars(
    series: Mapping[str, Sequence[PartitionBar]],
    limit: ThresholdRow | None,
    mark: Literal["^", "o"],
) -> Figure | None:
    """Bars by partition, with a mark each; nothing without partitions.

    series: bars by name. A series is named for its split, which colours it, or for what its
    threshold was fitted on; `self` has hollow marks. limit: the threshold to draw. mark: `^` for
    bands of scores, `o` for thresholds.
    """
    partitions = sorted(
        {
            partition_bar.partition
            for series_bars in series.values()
            for partition_bar in series_bars
        }
    )
    if not partitions:
        return None
    figure = Figure(figsize=(10, 3))
    axes = figure.add_subplot()
    partition_places = _set_places(axes, partitions)
    # Marks of a threshold get a thin line for their interval, bands of scores a broad one.
    bar_width = min(6 if mark == "^" else 2, max(1.2, 400 / len(partitions)))
    for series_name, series_bars in series.items():
        positions = [partition_places[partition_bar.partition] for partition_bar in series_bars]
        low_ends, high_ends = (
            _numbers([partition_bar.low for partition_bar in series_bars]),
            _numbers([partition_bar.high for partition_bar in series_bars]),
        )
        mark_values = _numbers([partition_bar.value for partition_bar in series_bars])
        bar_colour = _colour(series_name)
        axes.vlines(positions, low_ends, high_ends, color=bar_colour, lw=bar_width, alpha=0.5)
        axes.plot(
            positions,
            mark_values,
            mark,
            color=bar_colour,
            mfc=CARD if series_name == SELF_FITTED else bar_colour,
            markersize=4,
            ls="none",
            label=series_name,
        )
    draw_threshold(axes, limit)
    drawn_values = [
        value
        for series_bars in series.values()
        for partition_bar in series_bars
        for value in (partition_bar.low, partition_bar.value)
    ]
    return finish_scores(figure, axes, _numbers(drawn_values))
