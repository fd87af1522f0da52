"""A window: some features with what the model reconstructs, and the error of each step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from foreshock.report.plots.axes import format_tick
from foreshock.report.plots.drawing import ALARM, SPLIT_COLOURS, inline_svg
from foreshock.report.records.events import TopEvent
from foreshock.statistics.arrays import Float64Array

TITLE_LETTERS = 60
# A longer window is a line without dots.
MOST_DOTTED_STEPS = 60


def _draw_feature(axes: Axes, values: Float64Array, expected: Float64Array | None) -> None:
    step_numbers = np.arange(1, len(values) + 1)
    marker = "." if len(values) <= MOST_DOTTED_STEPS else ""
    line_colour = SPLIT_COLOURS["calibration"]
    axes.plot(step_numbers, values, color=line_colour, lw=1.3, marker=marker, ms=3, label="value")
    if expected is not None:
        dash_pattern = (0, (4, 2))
        line_colour = SPLIT_COLOURS["test"]
        axes.plot(
            step_numbers,
            expected,
            color=line_colour,
            linewidth=1.3,
            ls=dash_pattern,
            label="reconstruction",
        )


@inline_svg
def event_window(event: TopEvent, shown: Sequence[int]) -> Figure | None:
    """An event's window; nothing if it is not known or no feature is shown.

    shown: the features to draw, by their position. The errors of the steps come below them, if
    known.
    """
    if not shown or event.x is None:
        return None
    feature_values = np.array(event.x or [], np.float64)
    expected_values = np.array(event.reconstruction or [], np.float64)
    step_errors = np.array(event.errors or [], np.float64)
    panel_count = len(shown) + (len(step_errors) > 0)
    figure = Figure(figsize=(7, 0.5 + 0.7 * panel_count))
    panels = figure.subplots(panel_count, 1, sharex=True, squeeze=False)[:, 0]
    # The panel that is left over is the errors'.
    for axes, feature in zip(panels, shown, strict=False):
        _draw_feature(
            axes,
            feature_values[:, feature],
            expected_values[:, feature] if len(expected_values) else None,
        )
        axes.set_title(str(event.features[feature])[:TITLE_LETTERS], fontsize=8.5, pad=2)
    if len(step_errors):
        panels[-1].bar(np.arange(1, len(feature_values) + 1), step_errors, color=ALARM, width=0.8)
        panels[-1].set_title("error of the step", fontsize=8.5, pad=2)
    for axes in panels:
        axes.yaxis.set_major_locator(ticker.MaxNLocator(2))
        axes.yaxis.set_major_formatter(ticker.FuncFormatter(format_tick))
    panels[-1].set_xlabel("step of the window")
    panels[-1].xaxis.set_major_locator(ticker.MaxNLocator(10, integer=True))
    # Without a reconstruction there is but one line, which its title names.
    if len(expected_values):
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return figure
