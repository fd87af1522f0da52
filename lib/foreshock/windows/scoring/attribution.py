"""Which feature an event's error lies in, and where in the window it is most wrong. NumPy alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foreshock.statistics.arrays import Float32Array, Int32Array
from foreshock.windows.scoring.aggregate import ENDING, Layout


@dataclass(frozen=True)
class Attribution:
    """Why the m scored events of a block have their scores.

    errors: (m, F), the error by feature, to be summed where several blocks know of an event.
    step: (m, F), how many events before it (0 or less) its window is most wrong in a feature.
    value, expected: (m, F), there, scaled.
    forecasts: (m,), the windows in which the model expected something of the event. Where there is
    none, `expected` is what the model has instead of an expectation.
    """

    errors: Float32Array
    step: Int32Array
    value: Float32Array
    expected: Float32Array
    forecasts: Int32Array


def attribute(
    score_kind: str,
    errors: Float32Array,
    windows: Float32Array,
    expected: Float32Array,
    layout: Layout,
    blind_events: int = 0,
) -> Attribution:
    """The attribution of a block's events from errors, windows and expected values, each (w, L, F).

    `window` takes the mean errors of its window, and the step at which each feature is most wrong.
    `last` takes those of the event. Every other kind takes those of the event over all windows that
    hold it (`cover`: the mean errors of these windows), and what was expected on average in those
    of them that expected something.
    blind_events: the first steps of a window of which the model expects nothing.

    >>> windows = np.array([[[1.0], [5.0]]], np.float32)
    >>> why = attribute("window", windows, windows, 0 * windows, Layout(2, np.arange(1), 2, 1, 0))
    >>> why.errors.tolist(), why.step.tolist(), why.value.tolist()
    ([[3.0]], [[0]], [[5.0]])
    """
    if score_kind == "last":
        has_forecast = np.full(len(errors), layout.length > blind_events, np.int32)
        no_step = np.zeros(errors[:, -1].shape, np.int32)
        return Attribution(errors[:, -1], no_step, windows[:, -1], expected[:, -1], has_forecast)
    without_padding = errors[:, layout.padding :]
    mean_errors = without_padding.mean(axis=1)  # (w, F)
    if score_kind in ENDING:
        return _most_wrong_steps(without_padding, mean_errors, windows, expected, layout)
    step_errors = (
        np.broadcast_to(mean_errors[:, None], errors.shape) if score_kind == "cover" else errors
    )
    return _over_windows(score_kind, step_errors, windows, expected, layout, blind_events)


def _most_wrong_steps(
    without_padding: Float32Array,
    means: Float32Array,
    windows: Float32Array,
    expected: Float32Array,
    layout: Layout,
) -> Attribution:
    # (w, F). Reversed: argmax takes the first of equal steps, and the last is wanted.
    from_end = without_padding[:, ::-1].argmax(axis=1)
    window_step = layout.length - 1 - from_end
    event_values = np.take_along_axis(windows, window_step[:, None], axis=1)[:, 0]
    expected_value = np.take_along_axis(expected, window_step[:, None], axis=1)[:, 0]
    relative_step = (window_step - layout.length + 1).astype(np.int32)
    return Attribution(
        means, relative_step, event_values, expected_value, np.ones(len(windows), np.int32)
    )


def _over_windows(
    score_kind: str,
    step_errors: Float32Array,
    windows: Float32Array,
    expected: Float32Array,
    layout: Layout,
    blind_events: int,
) -> Attribution:
    event_shape = (layout.n, step_errors.shape[-1])
    event_errors, event_values, expectation, blind_values = (
        np.zeros(event_shape, np.float32) for _ in range(4)
    )
    forecasts = np.zeros(layout.n, np.int32)
    for window_step in range(layout.length):
        event_positions = layout.starts + window_step
        event_errors[event_positions] += step_errors[:, window_step]
        # Assigned and not added: an event has the same values in every window.
        event_values[event_positions] = windows[:, window_step]
        if window_step < blind_events:
            blind_values[event_positions] = expected[:, window_step]
        else:
            expectation[event_positions] += expected[:, window_step]
            forecasts[event_positions] += 1
    forecast_counts = forecasts[:, None]
    mean_expectation = np.where(
        forecast_counts > 0, expectation / np.maximum(forecast_counts, 1), blind_values
    )
    scored_positions = layout.scored_positions(score_kind)
    return Attribution(
        event_errors[scored_positions],
        np.zeros((len(scored_positions), event_shape[1]), np.int32),
        event_values[scored_positions],
        mean_expectation.astype(np.float32)[scored_positions],
        forecasts[scored_positions],
    )
