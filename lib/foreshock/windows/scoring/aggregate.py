"""From errors of windows to scores of events, block by block. NumPy alone.

`window` and `last` judge the event that ends a window. `cover`, `mean`, `median`, `max` and `min`
judge every event that a window holds, over all windows that hold it. The first and last L − 1
events of a block may lie in windows of other blocks, so what a block knows of them is partial and
merged later.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foreshock.statistics.arrays import BoolArray, Float64Array, Int64Array

# The kinds of score that judge the event at a window's end.
ENDING = ("window", "last")


@dataclass(frozen=True)
class Layout:
    """Where a block's windows lie.

    n: events. ordinals: (w,) of the windows scored. length, stride: in events.
    padding: leading rows of the block that are no event.
    """

    n: int
    ordinals: Int64Array
    length: int
    stride: int
    padding: int

    @property
    def starts(self) -> Int64Array:
        """The position in the block (w,) at which each window begins."""
        return self.ordinals * self.stride

    def scored_positions(self, score_kind: str) -> Int64Array:
        """The events, as positions in the block, that get a score.

        >>> layout = Layout(4, np.arange(2), 3, 1, 0)
        >>> layout.scored_positions("last").tolist(), layout.scored_positions("mean").tolist()
        ([2, 3], [0, 1, 2, 3])
        """
        if score_kind in ENDING:
            return self.starts + self.length - 1
        is_inside = np.zeros(self.n, bool)
        for step in range(self.length):
            is_inside[self.starts + step] = True
        is_inside[: self.padding] = False
        return np.flatnonzero(is_inside)

    def is_partial(self, positions: Int64Array) -> BoolArray:
        """Whether other blocks may know more of the events at these positions.

        >>> Layout(6, np.arange(5), 2, 1, 0).is_partial(np.arange(6)).tolist()
        [True, False, False, False, False, True]
        """
        return (positions < self.length - 1) | (positions >= self.n - (self.length - 1))


@dataclass(frozen=True)
class KnownScores:
    """What a block knows of its scored events (m,).

    value: a sum for `cover` and `mean`, an extreme for `max` and `min`, else the score.
    count: over how many windows. each: the value window by window, if the median is wanted.
    """

    value: Float64Array
    count: Int64Array
    each: list[list[float]] | None = None


def window_means(errors: npt.ArrayLike, padding: int) -> Float64Array:
    """The mean error (w,) of each window's events that are not padding, of errors (w, L).

    >>> window_means([[9.0, 1.0, 3.0]], padding=1).tolist()
    [2.0]
    """
    return np.asarray(np.asarray(errors, np.float64)[:, padding:].mean(axis=1))


def aggregate(score_kind: str, errors: npt.ArrayLike, layout: Layout) -> KnownScores:
    """Scores of a block's events from errors (w, L), already averaged over features.

    >>> layout = Layout(3, np.arange(2), 2, 1, 0)
    >>> known = aggregate("mean", [[1.0, 2.0], [4.0, 8.0]], layout)
    >>> known.value.tolist(), known.count.tolist()
    ([1.0, 6.0, 8.0], [1, 2, 1])
    """
    step_errors = np.asarray(errors, np.float64)
    scored_positions = layout.scored_positions(score_kind)
    if score_kind == "window":
        one_window = np.ones(len(scored_positions), np.int64)
        return KnownScores(window_means(step_errors, layout.padding), one_window)
    if score_kind == "last":
        return KnownScores(step_errors[:, -1], np.ones(len(scored_positions), np.int64))
    if score_kind == "cover":
        mean_errors = window_means(step_errors, layout.padding)
        step_errors = np.repeat(mean_errors[:, None], layout.length, axis=1)
    if score_kind == "median":
        return _medians(step_errors, layout, scored_positions)
    return _totals(score_kind, step_errors, layout, scored_positions)


def _medians(step_errors: Float64Array, layout: Layout, positions: Int64Array) -> KnownScores:
    by_step = np.full((layout.n, layout.length), np.nan)
    for step in range(layout.length):
        by_step[layout.starts + step, step] = step_errors[:, step]
    event_rows = by_step[positions]
    is_known = ~np.isnan(event_rows)
    window_scores = [
        event_row[known_steps].tolist()
        for event_row, known_steps in zip(event_rows, is_known, strict=True)
    ]
    return KnownScores(np.nanmedian(event_rows, axis=1), is_known.sum(axis=1), window_scores)


def _totals(
    score_kind: str, step_errors: Float64Array, layout: Layout, positions: Int64Array
) -> KnownScores:
    event_totals = np.full(layout.n, {"max": -np.inf, "min": np.inf}.get(score_kind, 0.0))
    window_counts = np.zeros(layout.n, np.int64)
    for step in range(layout.length):
        event_positions = layout.starts + step
        # Positions of one step do not repeat: NumPy would add to a repeated one only once.
        window_counts[event_positions] += 1
        if score_kind == "max":
            event_totals[event_positions] = np.maximum(
                event_totals[event_positions], step_errors[:, step]
            )
        elif score_kind == "min":
            event_totals[event_positions] = np.minimum(
                event_totals[event_positions], step_errors[:, step]
            )
        else:
            event_totals[event_positions] += step_errors[:, step]
    return KnownScores(event_totals[positions], window_counts[positions])


def final_scores(score_kind: str, known: KnownScores) -> Float64Array:
    """The scores of events of which everything is known, as float32 values in float64.

    >>> final_scores("mean", KnownScores(np.array([3.0]), np.array([2]))).tolist()
    [1.5]
    """
    is_mean = score_kind in ("cover", "mean")
    event_scores = known.value / known.count if is_mean else known.value
    return event_scores.astype(np.float32).astype(np.float64)
