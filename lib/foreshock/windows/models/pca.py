"""Principal components: a window is expected to lie where train's windows vary most.

A window is flattened to a vector w of L·F values. With the mean m and the components V (k, L·F) of
the training windows, the expected window is m + Vᵀ V (w − m). The error is squared, value by value.
Source: Shyu et al., "A Novel Anomaly Detection Scheme Based on Principal Component Classifier",
2003; the error is that of the subspace that the components leave out.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from foreshock.detectors import Spec
from foreshock.errors import DataError
from foreshock.statistics.arrays import AnyArray, Float32Array, Float64Array
from foreshock.windows.models.moments import WindowMoments
from foreshock.windows.models.squares import squared_errors

EXPLAINED_VARIANCE = 0.9
MOST_COMPONENTS = 64
# A divisor for windows that do not vary.
LEAST_VARIANCE = 1e-300


class PCA:
    """As many principal components as explain 90 % of the variance of train's windows, at most 64.

    >>> line = np.arange(12, dtype=np.float32).reshape(4, 3, 1)  # windows (4, 3, 1) that only shift
    >>> detector = PCA.fit(line, np.ones((4, 3), np.float32))
    >>> len(detector.components), bool(detector.errors(line + 100).max() < 1e-6)
    (1, True)
    """

    blind_events = 0

    def __init__(self, mean: Float64Array, components: Float64Array, windows: int) -> None:
        """Take the mean window (L·F,), the components (k, L·F) and how many windows were fitted."""
        self.mean = mean
        self.components = components
        self.windows = windows

    @property
    def fitted_on(self) -> int:
        """How many training windows it was fitted on."""
        return self.windows

    @classmethod
    def fit(cls, windows: Float32Array, weights: Float32Array, seed: int = 0) -> PCA:
        """Fit on the windows (N, L, F) without padding, where weights (N, L) are nowhere 0.

        Raises DataError for fewer than two.
        """
        return cls.from_moments(WindowMoments.of_whole(windows, weights))

    @classmethod
    def from_moments(cls, moments: WindowMoments) -> PCA:
        """Fit on the moments of whole windows: as `fit` on the windows, to rounding.

        Raises DataError for fewer than two.
        """
        if moments.n < 2:
            raise DataError(
                f"detector pca: {moments.n} whole training windows; at least 2 are wanted. "
                "Leave pca out of detectors."
            )
        # Rounding may make the smallest eigenvalues negative, which no variance is.
        ascending_values, ascending_vectors = np.linalg.eigh(moments.covariance)
        variances = np.maximum(ascending_values[::-1], 0)
        directions = ascending_vectors[:, ::-1]
        explained_share = np.cumsum(variances) / max(variances.sum(), LEAST_VARIANCE)
        enough = int(np.searchsorted(explained_share, EXPLAINED_VARIANCE)) + 1
        n_components = min(enough, MOST_COMPONENTS, len(variances))
        components = np.ascontiguousarray(directions[:, :n_components].T)
        return cls(moments.mean, components, moments.n)

    def reconstruct(self, windows: Float32Array) -> Float32Array:
        """The windows (N, L, F), projected on the components about the mean window.

        They are computed in float64 and rounded to float32.
        """
        centred_windows = (
            windows.reshape(len(windows), windows.shape[1] * windows.shape[2]).astype(np.float64)
            - self.mean
        )
        projected_windows = centred_windows @ self.components.T @ self.components + self.mean
        return projected_windows.reshape(windows.shape).astype(np.float32)

    def errors_of(self, windows: Float32Array, expected: Float32Array) -> Float32Array:
        """Squared errors (N, L, F), given what `reconstruct` gave.

        `expected` is what `reconstruct(windows)` gave: scoring computes it once.
        """
        return squared_errors(windows, expected)

    def errors(self, windows: Float32Array) -> Float32Array:
        """Squared errors (N, L, F) of windows (N, L, F).

        Use `errors_of` if the expected values are at hand: they cost the most.
        """
        return self.errors_of(windows, self.reconstruct(windows))

    def arrays(self) -> Mapping[str, AnyArray]:
        """Mean window and components.

        Named as in the bundle's npz file; `load` takes them back, nothing is pickled.
        """
        return {"mean": self.mean, "components": self.components}

    def spec(self) -> Spec:
        """The number of training windows and of components.

        It stands in bundle.json as JSON; `load` takes it back.
        """
        return {"windows": self.windows, "components": len(self.components)}

    @classmethod
    def load(cls, spec: Spec, arrays: Mapping[str, AnyArray]) -> PCA:
        """The detector of `spec()` and `arrays()`.

        Raises KeyError if a member of one of them is missing.
        """
        return cls(arrays["mean"], arrays["components"], spec["windows"])
