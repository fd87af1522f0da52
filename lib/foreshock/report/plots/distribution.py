"""The scores of each split on one axis, with the threshold: where most lie, how the tail falls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from foreshock.report.plots.axes import draw_threshold, set_scale
from foreshock.report.plots.drawing import SPLIT_COLOURS, inline_svg
from foreshock.report.records.rows import ThresholdRow
from foreshock.statistics.arrays import Float64Array
from foreshock.statistics.histogram import Histogram, key_values

FULL_SIZE, SMALL_SIZE = (5.3, 3.4), (3.6, 2.5)
GRID_POINTS, BAR_STEP = 281, 4
# The highest values, each of which is a point of the tail.
TAIL_POINTS = 60


@dataclass(frozen=True)
class CumulativeCurve:
    """values ascending; shares: of events at or below each. Both are empty without events."""

    values: Float64Array
    shares: Float64Array

    def share_below(self, scores: Float64Array, left: float | None = None) -> Float64Array:
        """The share of events at or below each score; left: what it is below the first value.

        left None: the share of the first value.

        >>> CumulativeCurve(np.array([0.0, 4.0]), np.array([0.0, 1.0])).share_below(np.array([1.0]))
        array([0.25])
        """
        return np.asarray(np.interp(scores, self.values, self.shares, left=left), np.float64)

    def quantile(self, level: float) -> float:
        """The score below which a share of the events lies.

        >>> CumulativeCurve(np.array([0.0, 4.0]), np.array([0.0, 1.0])).quantile(0.25)
        1.0
        """
        return float(np.interp(level, self.shares, self.values))


def cumulative_curve(histogram: Histogram) -> CumulativeCurve:
    """The curve of a histogram: two points a bin, its ends.

    >>> curve = cumulative_curve(Histogram.of([1.0, 1.0, 2.0, 4.0]))
    >>> float(curve.values[0]), float(curve.values[-1]), float(curve.shares[-1])
    (1.0, 4.0, 1.0)
    """
    bins = np.asarray(histogram.bins, np.int64) & 0xFFFF
    bin_order = np.argsort(bins)
    first_keys, bin_counts = (
        bins[bin_order] << 16,
        np.asarray(histogram.counts, np.float64)[bin_order],
    )
    if not bin_counts.sum():
        return CumulativeCurve(np.zeros(0), np.zeros(0))
    bin_ends = np.column_stack([key_values(first_keys), key_values(first_keys | 0xFFFF)])
    lowest = -np.inf if histogram.minimum is None else histogram.minimum
    highest = np.inf if histogram.maximum is None else histogram.maximum
    # The outermost bins reach past the data, whose ends are known exactly.
    values = np.clip(bin_ends.astype(np.float64).ravel(), lowest, highest)
    events_up_to = np.cumsum(bin_counts)
    shares = np.column_stack([events_up_to - bin_counts, events_up_to]).ravel() / events_up_to[-1]
    return CumulativeCurve(values, shares)


def score_curves(by_split: Mapping[str, Histogram]) -> dict[str, CumulativeCurve]:
    """The curve of each split that has events, in the order of the splits.

    >>> list(score_curves({"test": Histogram.of([1.0]), "train": Histogram.of([2.0])}))
    ['train', 'test']
    """
    curves = {
        split: cumulative_curve(by_split[split]) for split in SPLIT_COLOURS if split in by_split
    }
    return {split: curve for split, curve in curves.items() if len(curve.values)}


def _score_grid(axes: Axes, curves: Mapping[str, CumulativeCurve]) -> Float64Array:
    """Scale the horizontal axis; returns scores (281,) in equal steps on it."""
    # The lowest thousandth is left out: a few events close to 0 would stretch a logarithmic axis.
    lowest, median_score = (
        min(curve.quantile(quantile_level) for curve in curves.values())
        for quantile_level in (0.001, 0.5)
    )
    highest = max(float(curve.values[-1]) for curve in curves.values())
    # Nor does the axis reach further down than five powers of ten below the median.
    if lowest >= 0:
        lowest = max(lowest, median_score * 1e-5)
    set_scale(axes, "x", [lowest, median_score, highest])
    transform = axes.xaxis.get_transform()
    axis_bounds = [lowest, highest] if highest > lowest else [lowest - 0.5, lowest + 0.5]
    first_step, last_step = transform.transform(np.array(axis_bounds)).tolist()
    axis_steps = np.linspace(first_step, last_step, GRID_POINTS)
    return np.asarray(transform.inverted().transform(axis_steps), np.float64)


def _label_shares(axes: Axes, label: str) -> None:
    axes.set_ylabel(label)
    axes.yaxis.set_minor_locator(ticker.NullLocator())
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda share, _: f"{100 * share:g} %"))


@inline_svg
def score_bodies(
    curves: Mapping[str, CumulativeCurve], limit: ThresholdRow | None, title: str
) -> Figure | None:
    """Where most scores lie: the share of each split's events in equal steps of the axis.

    curves: by split (`score_curves`); nothing is drawn without any. limit: the threshold to draw.
    """
    if not curves:
        return None
    figure = Figure(figsize=FULL_SIZE)
    axes = figure.add_subplot()
    # A bar is wide enough to be seen; the tail needs a finer line.
    bin_edges = _score_grid(axes, curves)[::BAR_STEP]
    for split, curve in curves.items():
        bin_shares, split_colour = (
            np.diff(curve.share_below(bin_edges, left=0.0)),
            SPLIT_COLOURS[split],
        )
        axes.stairs(bin_shares, bin_edges, color=split_colour, label=split, linewidth=1.3)
        axes.stairs(bin_shares, bin_edges, color=split_colour, fill=True, alpha=0.16, linewidth=0)
    draw_threshold(axes, limit, is_upright=True)
    axes.set(xlabel="score", title=title, yscale="linear")
    _label_shares(axes, "events in each step")
    axes.legend(loc="best")
    return figure


@inline_svg
def score_tails(
    curves: Mapping[str, CumulativeCurve],
    limit: ThresholdRow | None,
    title: str,
    *,
    is_small: bool = False,
) -> Figure | None:
    """How the tails fall: the share of each split's events above every score.

    curves: by split (`score_curves`); nothing is drawn without any. limit: the threshold to draw.
    is_small: one of several figures in a row, without a legend.
    """
    if not curves:
        return None
    figure = Figure(figsize=SMALL_SIZE if is_small else FULL_SIZE)
    axes = figure.add_subplot()
    score_grid = _score_grid(axes, curves)
    for split, curve in curves.items():
        # The grid alone would cut the tail into a few coarse steps.
        tail_scores = np.unique(np.concatenate([score_grid, curve.values[-TAIL_POINTS:]]))
        share_above = 1 - curve.share_below(tail_scores)
        # The highest score has no event above it, and 0 has no place on a logarithmic axis.
        is_drawn = share_above > 0
        split_colour = SPLIT_COLOURS[split]
        axes.plot(
            tail_scores[is_drawn],
            share_above[is_drawn],
            color=split_colour,
            label=split,
            linewidth=1.5,
        )
    draw_threshold(axes, limit, is_upright=True)
    axes.set(xlabel="score", title=title, yscale="log")
    _label_shares(axes, "events above")
    if not is_small:
        axes.legend(loc="lower left")
    return figure
