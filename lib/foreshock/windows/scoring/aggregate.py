"""From errors of windows to scores of events, block by block. NumPy alone.

`window` and `last` judge the event that ends a window. `cover`, `mean`, `median`, `max` and `min` judge every event that a
window holds, over all windows that hold it; the first and last L − 1 events of a block may lie in windows of other blocks, so
what a block knows of them is partial and merged later.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

ENDING = ("window", "last")
LARGEST = 1e30  # of an error: a window's, all features together, still sum to a float32
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def finite(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Values of any shape, none above 1e30 or below -1e30; what is not a number, such as inf - inf, counts as 1e30."""
    largest = values.dtype.type(LARGEST)
    return np.fmax(
        np.fmin(values, largest), -largest
    )  # fmin takes the number where the other is none


@dataclass(frozen=True)
class Layout:
    """Where a block's windows lie. n: events; ordinals: (w,) of the windows scored; padding: leading rows that are none."""

    n: int
    ordinals: Ints
    length: int
    stride: int
    padding: int

    @property
    def starts(self) -> Ints:
        return self.ordinals * self.stride

    def held(self, kind: str) -> Ints:
        """The events, as positions in the block, that get a score."""
        if kind in ENDING:
            return self.starts + self.length - 1
        inside = np.zeros(self.n, bool)
        for step in range(self.length):
            inside[self.starts + step] = True
        inside[: self.padding] = False
        return np.flatnonzero(inside)

    def partial(self, at: Ints) -> npt.NDArray[np.bool_]:
        """Whether other blocks may know more of these events."""
        return (at < self.length - 1) | (at >= self.n - (self.length - 1))


@dataclass(frozen=True)
class Known:
    """What a block knows of its held events: `value`, over `count` windows; `every` value where the median is wanted.

    value is a sum for `cover` and `mean`, an extreme for `max` and `min`, else the score.
    """

    value: Floats
    count: Ints
    every: list[list[float]] | None = None


def window_means(errors: npt.ArrayLike, padding: int) -> Floats:
    """The mean error (w,) of each window's events that are not padding, of errors (w, L)."""
    return np.asarray(errors, np.float64)[:, padding:].mean(axis=1)


def aggregate(kind: str, errors: npt.ArrayLike, layout: Layout) -> Known:
    """Scores of the held events from errors (w, L), already averaged over features."""
    e = np.asarray(errors, np.float64)
    at = layout.held(kind)
    ones = np.ones(len(at), np.int64)
    if kind == "window":
        return Known(window_means(e, layout.padding), ones)
    if kind == "last":
        return Known(e[:, -1], ones)
    if kind == "cover":
        e = np.repeat(window_means(e, layout.padding)[:, None], layout.length, axis=1)
    starts, n = layout.starts, layout.n
    count = np.zeros(n, np.int64)
    for step in range(layout.length):
        count[starts + step] += 1
    if kind == "median":
        table = np.full((n, layout.length), np.nan)
        for step in range(layout.length):
            table[starts + step, step] = e[:, step]
        rows = table[at]
        return Known(
            np.nanmedian(rows, axis=1), count[at], [r[~np.isnan(r)].tolist() for r in rows]
        )
    total = np.full(n, {"max": -np.inf, "min": np.inf}.get(kind, 0.0))
    for step in range(layout.length):
        here = starts + step
        if kind == "max":
            total[here] = np.maximum(total[here], e[:, step])
        elif kind == "min":
            total[here] = np.minimum(total[here], e[:, step])
        else:
            total[here] += e[:, step]
    return Known(total[at], count[at])


def final(kind: str, known: Known) -> Floats:
    """The scores of events that are known whole, as float32 values in float64."""
    value = known.value / known.count if kind in ("cover", "mean") else known.value
    return value.astype(np.float32).astype(np.float64)
