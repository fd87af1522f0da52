"""Which feature an event's error lies in, and where in the window it is most wrong. NumPy alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foreshock.windows.scoring.aggregate import ENDING, Layout

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Attribution:
    """Of each held event: `errors` (m, F), its error by feature, to be added up where several blocks know of it; `step` (m, F), how many
    events before it (0 or less) its window is most wrong in a feature; `value` and `expected` (m, F) there, scaled; `forecasts` (m,), the
    windows in which the model expected something of it. Where that is none, `expected` is what the model has instead."""

    errors: Floats
    step: npt.NDArray[np.int32]
    value: Floats
    expected: Floats
    forecasts: npt.NDArray[np.int32]


def attribute(
    kind: str, errors: Floats, windows: Floats, expected: Floats, layout: Layout, blind: int = 0
) -> Attribution:
    """From errors, windows and what was expected, each (w, L, F); blind: first steps of a window of which the model expects nothing.

    `window` takes its window's mean errors, and the step at which each feature is most wrong. `last` takes the
    event's own; every other kind the event's own over all windows that hold it (`cover`: those windows' mean errors), and what
    was expected on average in those of them that expected something.
    """
    if kind == "last":
        seen = np.full(len(errors), layout.length > blind, np.int32)
        return Attribution(
            errors[:, -1],
            np.zeros(errors[:, -1].shape, np.int32),
            windows[:, -1],
            expected[:, -1],
            seen,
        )
    body = errors[:, layout.padding :]
    means = body.mean(axis=1)  # (w, F)
    if kind in ENDING:
        step = layout.length - 1 - body[:, ::-1].argmax(axis=1)  # (w, F); of equal ones the last
        value, hoped = (
            np.take_along_axis(a, step[:, None], axis=1)[:, 0] for a in (windows, expected)
        )
        return Attribution(
            means,
            (step - layout.length + 1).astype(np.int32),
            value,
            hoped,
            np.ones(len(errors), np.int32),
        )
    at, starts = layout.held(kind), layout.starts
    own, value, hoped, instead = (
        np.zeros((layout.n, errors.shape[-1]), np.float32) for _ in range(4)
    )
    seen = np.zeros(layout.n, np.int32)
    for step in range(layout.length):
        here = starts + step
        own[here] += means if kind == "cover" else errors[:, step]
        value[here] = windows[:, step]
        if step < blind:
            instead[here] = expected[:, step]
        else:
            hoped[here] += expected[:, step]
            seen[here] += 1
    count = seen[:, None]
    hoped = np.where(count > 0, hoped / np.maximum(count, 1), instead).astype(np.float32)
    return Attribution(
        own[at], np.zeros((len(at), own.shape[-1]), np.int32), value[at], hoped[at], seen[at]
    )
