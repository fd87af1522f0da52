"""Reconstruction of whole windows from their principal components."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from foreshock.errors import DataError
from foreshock.windows.models.moments import WindowMoments

Floats = npt.NDArray[np.float32]
EXPLAINED = 0.9
MOST = 64


class PCA:
    """Principal components of windows flattened to L·F values; as many as explain 90 % of the variance, at most 64."""

    def __init__(
        self, mean: npt.NDArray[np.float64], components: npt.NDArray[np.float64], windows: int
    ) -> None:
        self.mean, self.components, self.windows = mean, components, windows  # (L·F,), (k, L·F)

    @classmethod
    def fit(cls, x: Floats, weight: Floats) -> PCA:
        """Fit on windows (N, L, F) without padding. Raises DataError for fewer than two."""
        return cls.of_moments(WindowMoments.of_whole(x, weight))

    @classmethod
    def of_moments(cls, moments: WindowMoments) -> PCA:
        """Fit on the moments of whole windows. Raises DataError for fewer than two."""
        if moments.n < 2:
            raise DataError(
                f"detector pca: {moments.n} whole training windows; at least 2 are wanted. Leave pca out of detectors."
            )
        values, vectors = np.linalg.eigh(moments.covariance)
        values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
        share = np.cumsum(values) / max(values.sum(), 1e-300)
        k = min(int(np.searchsorted(share, EXPLAINED)) + 1, MOST, len(values))
        return cls(moments.mean, np.ascontiguousarray(vectors[:, :k].T), moments.n)

    def reconstruct(self, x: Floats) -> Floats:
        flat = x.reshape(len(x), -1).astype(np.float64) - self.mean
        return (
            (flat @ self.components.T @ self.components + self.mean)
            .reshape(x.shape)
            .astype(np.float32)
        )

    def errors_of(self, x: Floats, expected: Floats) -> Floats:
        """The errors, given what `reconstruct` gave."""
        return np.square(x - expected)

    def errors(self, x: Floats) -> Floats:
        return self.errors_of(x, self.reconstruct(x))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        return {"mean": self.mean, "components": self.components}

    def spec(self) -> dict[str, Any]:
        return {"windows": self.windows, "components": len(self.components)}

    @classmethod
    def load(cls, spec: dict[str, Any], arrays: dict[str, npt.NDArray[Any]]) -> PCA:
        return cls(arrays["mean"], arrays["components"], spec["windows"])
