"""The distance of a window to the nearest of k typical windows."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.cluster import KMeans as Lloyd
from threadpoolctl import threadpool_limits

from foreshock.errors import DataError

Floats = npt.NDArray[np.float32]
MOST, LEAST_MEMBERS = 32, 20
SAMPLE = 20_000
ROWS = 4096


class KMeans:
    """Centroids (k, L·F) of windows flattened, by Lloyd's algorithm; at most 32, each for at least 20 windows on average."""

    def __init__(self, centroids: npt.NDArray[np.float64], length: int, windows: int) -> None:
        self.centroids, self.length, self.windows = centroids, length, windows

    @classmethod
    def fit(cls, x: Floats, weight: Floats, seed: int) -> KMeans:
        """Fit on windows (N, L, F) without padding, evenly thinned to 20,000. Raises DataError for none."""
        whole = x[weight.min(axis=1) > 0]
        if not len(whole):
            raise DataError(
                "detector kmeans: there is no whole training window. Leave kmeans out of detectors."
            )
        flat = (
            whole[:: -(-len(whole) // SAMPLE)]
            .reshape(-1, x.shape[1] * x.shape[2])
            .astype(np.float64)
        )
        k = max(1, min(MOST, len(flat) // LEAST_MEMBERS, len(np.unique(flat, axis=0))))
        with threadpool_limits(1):  # sums in one order, so that a seed gives the same centroids
            found = Lloyd(k, n_init=1, max_iter=50, random_state=seed).fit(flat)
        return cls(found.cluster_centers_, x.shape[1], len(flat))

    def reconstruct(self, x: Floats) -> Floats:
        """The nearest centroid of each window."""
        flat = x.reshape(len(x), -1).astype(np.float64)
        own = np.square(self.centroids).sum(axis=1)
        nearest = np.concatenate(
            [
                np.argmin(own - 2 * (flat[a : a + ROWS] @ self.centroids.T), axis=1)
                for a in range(0, len(flat), ROWS)
            ]
            or [np.zeros(0, np.int64)]
        )
        return self.centroids[nearest].reshape(x.shape).astype(np.float32)

    def errors_of(self, x: Floats, expected: Floats) -> Floats:
        """The errors, given what `reconstruct` gave."""
        return np.square(x - expected)

    def errors(self, x: Floats) -> Floats:
        return self.errors_of(x, self.reconstruct(x))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        return {"centroids": self.centroids}

    def spec(self) -> dict[str, Any]:
        return {"length": self.length, "windows": self.windows}

    @classmethod
    def load(cls, spec: dict[str, Any], arrays: dict[str, npt.NDArray[Any]]) -> KMeans:
        return cls(arrays["centroids"], spec["length"], spec["windows"])
