"""Scales and axes: how values are spread on an axis, what a tick says, where a threshold stands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Literal

import numpy as np
import numpy.typing as npt
from matplotlib import dates, ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from foreshock.report.plots.drawing import ALARM
from foreshock.report.records.rows import ThresholdRow
from foreshock.statistics.arrays import Float64Array

# matplotlib.dates has no types; these say what is used of it.
days_of: Callable[[Sequence[datetime]], Float64Array] = dates.date2num
_date_locator: Callable[..., ticker.Locator] = dates.AutoDateLocator
_date_formatter: Callable[[ticker.Locator], ticker.Formatter] = dates.ConciseDateFormatter

# A range this many times its low end is spread by logarithm; a wider one has ticks at powers of 10.
LOG_RANGE, WIDE_LOG_RANGE = 8, 300
# The largest value over the median, from which on asinh spreads it.
HEAVY_TAIL = 50


def format_tick(value: float, _position: object = None) -> str:
    """A short label of an axis value.

    >>> format_tick(12345.0), format_tick(2.5e-7), format_tick(0.25)
    ('12,345', '2.5e-7', '0.25')
    """
    magnitude = abs(value)
    if magnitude and (magnitude >= 1e6 or magnitude < 1e-4):
        return f"{value:.3g}".replace("e+0", "e").replace("e-0", "e-").replace("e+", "e")
    return f"{value:,.0f}" if magnitude >= 1000 else f"{value:.4g}"


def set_scale(axes: Axes, direction: Literal["x", "y"], values: npt.ArrayLike) -> None:
    """Choose an axis's scale for some values; null and NaN among them are left out.

    Logarithmic if all are positive and spread wide; asinh if a heavy tail has values at or below 0.
    """
    all_values = np.asarray(values, np.float64)
    finite_values = all_values[np.isfinite(all_values)]
    # An axis needs a range even if every value is null.
    if not len(finite_values):
        finite_values = np.zeros(1)
    lowest, highest = float(finite_values.min()), float(finite_values.max())
    typical_size = float(np.median(np.abs(finite_values)))
    axis = axes.xaxis if direction == "x" else axes.yaxis
    set_axis_scale = axes.set_xscale if direction == "x" else axes.set_yscale
    if lowest > 0 and highest / lowest > LOG_RANGE:
        set_axis_scale("log")
        tick_steps = (1.0,) if highest / lowest > WIDE_LOG_RANGE else (1.0, 2.0, 5.0)
        axis.set_major_locator(ticker.LogLocator(subs=tick_steps, numticks=9))
    elif lowest <= 0 < typical_size and highest > HEAVY_TAIL * typical_size:
        set_axis_scale("asinh", linear_width=typical_size)
    # Minor ticks would crowd a small figure.
    axis.set_minor_locator(ticker.NullLocator())
    axis.set_major_formatter(ticker.FuncFormatter(format_tick))


def draw_threshold(axes: Axes, limit: ThresholdRow | None, *, is_upright: bool = False) -> None:
    """Draw a threshold with its 95 % interval.

    Nothing is drawn without a threshold. is_upright: the scores are on the horizontal axis.
    """
    if limit is None or limit.threshold is None:
        return
    draw_line, draw_band = (
        (axes.axvline, axes.axvspan) if is_upright else (axes.axhline, axes.axhspan)
    )
    if limit.ci_low is not None and limit.ci_high is not None:
        draw_band(limit.ci_low, limit.ci_high, color=ALARM, alpha=0.14, linewidth=0)
    line_label = f"threshold {format_tick(limit.threshold)}"
    draw_line(limit.threshold, color=ALARM, linewidth=1.2, ls=(0, (5, 2)), label=line_label)


def set_calendar(axes: Axes) -> None:
    """Have the horizontal axis show dates, with nine ticks at most.

    The values on it must be those of `days_of`.
    """
    locator = _date_locator(maxticks=9)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(_date_formatter(locator))


def finish_scores(figure: Figure, axes: Axes, scores: npt.ArrayLike) -> Figure:
    """Scale the vertical axis for scores and put the legend above the figure.

    scores: those drawn, which the scale is chosen for. Returns the figure.
    """
    set_scale(axes, "y", scores)
    axes.set_ylabel("score")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=5)
    return figure
