"""Errors of windows that stay within reach, however far the windows are from what was expected."""

from __future__ import annotations

import numpy as np

from foreshock.detectors import WindowDetector
from foreshock.statistics.arrays import Float32Array
from foreshock.statistics.finite import LARGEST, finite
from foreshock.windows.models.fitting import errors_and_expected


def finite_errors(
    detector: WindowDetector, windows: Float32Array, *, explain: bool = False
) -> tuple[Float32Array, Float32Array | None]:
    """Errors of windows (N, L, F) and, to explain them, the expected values; both `finite`.

    The expected values are None from a detector that expects none, or if nothing is to be
    explained. The errors of a window beyond float32's squares keep their proportions.
    """
    expected: Float32Array | None = None
    with np.errstate(over="ignore", invalid="ignore"):
        if explain:
            errors, expected = errors_and_expected(detector, windows)
        else:
            errors = detector.errors(windows)
    if expected is None:
        return finite(errors), None
    expected, is_beyond = finite(expected), ~(errors < LARGEST).all(axis=(1, 2))
    if is_beyond.any():
        # Squares are too large to be told apart, what is squared is not.
        distances = np.abs(windows[is_beyond].astype(np.float64) - expected[is_beyond])
        distance_shares = distances / distances.max(axis=(1, 2), keepdims=True)
        errors[is_beyond] = LARGEST * np.square(distance_shares)
    return finite(errors), expected
