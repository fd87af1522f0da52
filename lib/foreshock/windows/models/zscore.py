"""The z-score: how far each value lies from train's mean, in train's standard deviations.

The error of a value x of a feature is ((x − mean) / deviation)². It sees no time at all.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from foreshock.detectors import Spec
from foreshock.errors import DataError
from foreshock.statistics.arrays import AnyArray, Float32Array, Float64Array


class ZScore:
    """The mean and standard deviation of train's events, a feature each.

    A feature that does not vary has deviation 1.

    >>> one_feature = np.array([[[1.0], [3.0]]], np.float32)  # a window of two events
    >>> detector = ZScore.fit(one_feature, np.ones((1, 2), np.float32))
    >>> detector.errors(np.array([[[5.0], [2.0]]], np.float32)).tolist()
    [[[9.0], [0.0]]]
    """

    blind_events = 0

    def __init__(self, mean: Float64Array, deviation: Float64Array, windows: int) -> None:
        """Take means (F,), standard deviations (F,) and the number of training windows."""
        self.mean = mean
        self.deviation = deviation
        self.windows = windows

    @property
    def fitted_on(self) -> int:
        """How many training windows it was fitted on."""
        return self.windows

    @classmethod
    def fit(cls, windows: Float32Array, weights: Float32Array, seed: int = 0) -> ZScore:
        """Fit on the events of windows (N, L, F) whose weight (N, L) is not 0.

        Raises DataError if there is none.
        """
        # In float64: the sum of many float32 values loses digits.
        events = windows[weights > 0].astype(np.float64)  # (n, F)
        if not len(events):
            raise DataError(
                "detector zscore: there is no training event. Leave zscore out of detectors."
            )
        deviation = events.std(axis=0)
        return cls(events.mean(axis=0), np.where(deviation > 0, deviation, 1.0), len(windows))

    def reconstruct(self, windows: Float32Array) -> Float32Array:
        """The mean event, for every event of windows (N, L, F).

        It is a view of one event, which cannot be written to.
        """
        return np.broadcast_to(self.mean.astype(np.float32), windows.shape)

    def errors_of(self, windows: Float32Array, expected: Float32Array) -> Float32Array:
        """Squared z-scores (N, L, F), given what `reconstruct` gave.

        `expected` is what `reconstruct(windows)` gave: scoring computes it once.
        """
        squared_scores: Float32Array = np.square((windows - expected) / self.deviation).astype(
            np.float32
        )
        return squared_scores

    def errors(self, windows: Float32Array) -> Float32Array:
        """Squared z-scores (N, L, F) of windows (N, L, F).

        Use `errors_of` if the expected values are at hand: they cost the most.
        """
        return self.errors_of(windows, self.reconstruct(windows))

    def arrays(self) -> Mapping[str, AnyArray]:
        """Mean and standard deviation.

        Named as in the bundle's npz file; `load` takes them back, nothing is pickled.
        """
        return {"mean": self.mean, "std": self.deviation}

    def spec(self) -> Spec:
        """The number of training windows.

        It stands in bundle.json as JSON; `load` takes it back.
        """
        return {"windows": self.windows}

    @classmethod
    def load(cls, spec: Spec, arrays: Mapping[str, AnyArray]) -> ZScore:
        """The detector of `spec()` and `arrays()`.

        Raises KeyError if a member of one of them is missing.
        """
        return cls(arrays["mean"], arrays["std"], spec["windows"])
