"""Persistence: every event is expected to be like the one before it. Any forecast must beat it.

The error of a value is (x[t] − x[t−1])² / m, with m the mean square of train's steps: 1 is an
ordinary step. A window's first event has no predecessor, so its error is 0.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from foreshock.detectors import Spec
from foreshock.errors import DataError
from foreshock.statistics.arrays import AnyArray, Float32Array, Float64Array


class LastValue:
    """The mean square of train's steps, a feature each; 1 for a feature that never steps.

    >>> windows = np.array([[[0.0], [2.0], [2.0]]], np.float32)
    >>> detector = LastValue.fit(windows, np.ones((1, 3), np.float32))
    >>> detector.errors(windows).ravel().tolist()  # steps of 2 and 0 have mean square 2
    [0.0, 2.0, 0.0]
    """

    blind_events = 1

    def __init__(self, mean_square: Float64Array, windows: int) -> None:
        """Take the mean squares (F,) of train's steps and the number of training windows."""
        self.mean_square = mean_square
        self.windows = windows

    @property
    def fitted_on(self) -> int:
        """How many training windows it was fitted on."""
        return self.windows

    @classmethod
    def fit(cls, windows: Float32Array, weights: Float32Array, seed: int = 0) -> LastValue:
        """Fit on steps between events of windows (N, L, F), both of weight (N, L) 1.

        Raises DataError if there is none.
        """
        event_steps = np.diff(windows.astype(np.float64), axis=1)[weights[:, :-1] > 0]  # (n, F)
        if not len(event_steps):
            raise DataError(
                "detector last_value: no training window holds two events. "
                "Leave last_value out of detectors."
            )
        mean_square = np.square(event_steps).mean(axis=0)
        # A feature that never steps in train has its steps judged by their size.
        return cls(np.where(mean_square > 0, mean_square, 1.0), len(windows))

    def reconstruct(self, windows: Float32Array) -> Float32Array:
        """Each event's predecessor, of windows (N, L, F).

        The first event of a window has none and stands for itself, so its error is 0.
        """
        return np.concatenate([windows[:, :1], windows[:, :-1]], axis=1)

    def errors_of(self, windows: Float32Array, expected: Float32Array) -> Float32Array:
        """Squared steps (N, L, F) over the ordinary one, given what `reconstruct` gave.

        `expected` is what `reconstruct(windows)` gave: scoring computes it once.
        """
        relative_errors: Float64Array = np.square(windows - expected) / self.mean_square
        return relative_errors.astype(np.float32)

    def errors(self, windows: Float32Array) -> Float32Array:
        """Squared steps (N, L, F) over the ordinary one, of windows (N, L, F).

        Use `errors_of` if the expected values are at hand: they cost the most.
        """
        return self.errors_of(windows, self.reconstruct(windows))

    def arrays(self) -> Mapping[str, AnyArray]:
        """The mean squares of steps.

        Named as in the bundle's npz file; `load` takes them back, nothing is pickled.
        """
        return {"step": self.mean_square}

    def spec(self) -> Spec:
        """The number of training windows.

        It stands in bundle.json as JSON; `load` takes it back.
        """
        return {"windows": self.windows}

    @classmethod
    def load(cls, spec: Spec, arrays: Mapping[str, AnyArray]) -> LastValue:
        """The detector of `spec()` and `arrays()`.

        Raises KeyError if a member of one of them is missing.
        """
        return cls(arrays["step"], spec["windows"])
