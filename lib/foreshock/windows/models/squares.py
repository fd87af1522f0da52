"""Squared errors of windows, the error of every detector that expects values."""

from __future__ import annotations

import numpy as np

from foreshock.statistics.arrays import Float32Array


def squared_errors(windows: Float32Array, expected: Float32Array) -> Float32Array:
    """(x − expected)², value by value, of windows (N, L, F).

    >>> squared_errors(np.array([[[3.0]]], np.float32), np.array([[[1.0]]], np.float32)).tolist()
    [[[4.0]]]
    """
    squares: Float32Array = np.square(windows - expected)
    return squares
