"""Reconstruction of whole windows from their principal components."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from foreshock.errors import DataError

Floats = npt.NDArray[np.float32]
EXPLAINED = 0.9
MOST = 64


class PCA:
    """Principal components of windows flattened to L·F values; as many as explain 90 % of the variance, at most 64."""

    def __init__(self, mean: npt.NDArray[np.float64], components: npt.NDArray[np.float64], windows: int) -> None:
        self.mean, self.components, self.windows = mean, components, windows  # (L·F,), (k, L·F)

    @classmethod
    def fit(cls, x: Floats, weight: Floats) -> PCA:
        """Fit on windows (N, L, F) without padding. Raises DataError for fewer than two."""
        whole = x[weight.min(axis=1) > 0]
        if len(whole) < 2:
            raise DataError(f"detector pca: {len(whole)} whole training windows; at least 2 are wanted. Leave pca out of detectors.")
        flat = whole.reshape(len(whole), -1).astype(np.float64)
        mean = flat.mean(axis=0)
        values, vectors = np.linalg.eigh(np.cov(flat, rowvar=False).reshape(flat.shape[1], flat.shape[1]))
        values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
        share = np.cumsum(values) / max(values.sum(), 1e-300)
        k = min(int(np.searchsorted(share, EXPLAINED)) + 1, MOST, len(values))
        return cls(mean, np.ascontiguousarray(vectors[:, :k].T), len(whole))

    def reconstruct(self, x: Floats) -> Floats:
        flat = x.reshape(len(x), -1).astype(np.float64) - self.mean
        return (flat @ self.components.T @ self.components + self.mean).reshape(x.shape).astype(np.float32)

    def errors(self, x: Floats) -> Floats:
        return np.square(x - self.reconstruct(x))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        return {"mean": self.mean, "components": self.components}

    def spec(self) -> dict[str, Any]:
        return {"windows": self.windows, "components": len(self.components)}

    @classmethod
    def load(cls, spec: dict[str, Any], arrays: dict[str, npt.NDArray[Any]]) -> PCA:
        return cls(arrays["mean"], arrays["components"], spec["windows"])
