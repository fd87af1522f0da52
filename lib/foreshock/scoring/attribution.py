"""Which feature an event's error lies in, and where in the window it is most wrong. NumPy alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foreshock.scoring.aggregate import ENDING, Layout

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Attribution:
    """Of each held event: `errors` (m, F), its error by feature, to be added up where several blocks know of it; `step` (m,), how many
    events before it (0 or less) its window is most wrong; `value` and `expected` (m, F) there, scaled."""

    errors: Floats
    step: npt.NDArray[np.int32]
    value: Floats
    expected: Floats


def attribute(kind: str, errors: Floats, windows: Floats, expected: Floats, layout: Layout) -> Attribution:
    """From errors, windows and what was expected, each (w, L, F).

    `window` takes its window's mean errors, and the step at which the feature with most of them is most wrong. `last` takes the
    event's own; every other kind the event's own over all windows that hold it (`cover`: those windows' mean errors).
    """
    if kind == "last":
        return Attribution(errors[:, -1], np.zeros(len(errors), np.int32), windows[:, -1], expected[:, -1])
    body = errors[:, layout.padding :]
    means = body.mean(axis=1)  # (w, F)
    every = np.arange(len(errors))
    if kind in ENDING:
        step = layout.length - 1 - body[every, ::-1, means.argmax(axis=-1)].argmax(axis=-1)  # of equal ones the last
        return Attribution(means, (step - layout.length + 1).astype(np.int32), windows[every, step], expected[every, step])
    at, starts = layout.held(kind), layout.starts
    own, value, hoped = (np.zeros((layout.n, errors.shape[-1]), np.float32) for _ in range(3))
    count = np.zeros((layout.n, 1), np.float32)
    for step in range(layout.length):
        here = starts + step
        own[here] += means if kind == "cover" else errors[:, step]
        hoped[here] += expected[:, step]
        value[here] = windows[:, step]
        count[here] += 1
    return Attribution(own[at], np.zeros(len(at), np.int32), value[at], hoped[at] / count[at])
