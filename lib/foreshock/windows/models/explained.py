"""How much of its training windows a detector explains, and whether its output can reach them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol, Self

import numpy as np

from foreshock.statistics.arrays import BoolArray, Float32Array, Float64Array

WINDOWS = 2000
RANGES: dict[str, tuple[float | None, float | None]] = {
    "linear": (None, None),
    "sigmoid": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "relu": (0.0, None),
    "softplus": (0.0, None),
}
# A value so far beyond the range still counts as reached.
MARGIN = 0.05
PerFeature = Mapping[str, float | None]


class Reconstructing(Protocol):
    """A detector that says what it expected."""

    def reconstruct(self, windows: Float32Array) -> Float32Array | None:
        """The expected values (N, L, F) of windows (N, L, F).

        None from a detector that expects no values.
        """


@dataclass(frozen=True)
class Explained:
    """What a detector makes of a sample of training windows, feature by feature.

    A share is None for a feature that does not vary.

    Attributes:
        windows: the size of the sample.
        share: 1 − squared error / squared distance from the median.
        spread: the standard deviation of the expected values, over that of the data.
        outside: the share of values that the detector's output cannot reach.
        reachable: the share that the best output within its range would explain.
    """

    windows: int
    share: PerFeature
    spread: PerFeature
    outside: Mapping[str, float]
    reachable: PerFeature

    def to_mapping(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Self:
        """What `to_mapping` gave.

        Bundles of older versions have no `reachable`: it is empty then.

        >>> old = {"windows": 1, "share": {}, "spread": {}, "outside": {}}
        >>> Explained.from_mapping(old).reachable
        {}
        """
        return cls(**{"reachable": {}, **mapping})


def explained(
    detector: Reconstructing,
    windows: Float32Array,
    weights: Float32Array,
    features: tuple[str, ...],
    output: str = "linear",
) -> Explained | None:
    """What a detector explains of windows (N, L, F), evenly thinned to 2,000.

    Weights (N, L) are 0 where a window is padded. `output` is the activation of the detector's
    output (RANGES). None if there are no windows or the detector expects no values.

    >>> class Half:
    ...     def reconstruct(self, windows):
    ...         return windows / 2
    >>> windows = np.array([[[0.0], [2.0]], [[4.0], [-2.0]]], np.float32)  # the median is 1
    >>> explained(Half(), windows, np.ones((2, 2), np.float32), ("a",)).share  # 1 − 6 / 20
    {'a': 0.7}
    """
    thinning = max(1, -(-len(windows) // WINDOWS))
    sampled_windows, is_inside = windows[::thinning], weights[::thinning] > 0
    if (
        not len(sampled_windows)
        or (expected_windows := detector.reconstruct(sampled_windows)) is None
    ):
        return None
    training_values = sampled_windows[is_inside].astype(np.float64)  # (n, F)
    expected_values = np.asarray(expected_windows, np.float64)[is_inside]
    lowest_output, highest_output = RANGES.get(output, (None, None))
    squared_error = np.square(training_values - expected_values).sum(axis=0)
    squared_distance = np.square(training_values - np.median(training_values, axis=0)).sum(axis=0)
    if lowest_output is None and highest_output is None:
        least_error = np.zeros(len(features))
    else:
        least_error = np.square(
            training_values - np.clip(training_values, lowest_output, highest_output)
        ).sum(axis=0)
    # Below, what does not vary is divided by 1: `_known` makes None of the result.
    standard_deviation = training_values.std(axis=0)
    outside_share = _beyond(training_values, lowest_output, highest_output).mean(axis=0)
    return Explained(
        windows=len(sampled_windows),
        share=_known(
            features,
            1 - squared_error / np.where(squared_distance > 0, squared_distance, 1),
            squared_distance > 0,
        ),
        spread=_known(
            features,
            expected_values.std(axis=0) / np.where(standard_deviation > 0, standard_deviation, 1),
            standard_deviation > 0,
        ),
        outside=dict(zip(features, outside_share.tolist(), strict=True)),
        reachable=_known(
            features,
            1 - least_error / np.where(squared_distance > 0, squared_distance, 1),
            squared_distance > 0,
        ),
    )


def _beyond(data: Float64Array, low: float | None, high: float | None) -> BoolArray:
    """Which values (n, F) lie beyond a range, by more than the margin."""
    is_beyond = np.zeros(data.shape, bool)
    if low is not None:
        is_beyond |= data < low - MARGIN
    if high is not None:
        is_beyond |= data > high + MARGIN
    return is_beyond


def _known(features: Iterable[str], values: Float64Array, varies: BoolArray) -> PerFeature:
    """Values by feature, None for a feature that does not vary."""
    return {
        feature: float(value) if is_known else None
        for feature, value, is_known in zip(features, values, varies, strict=True)
    }
