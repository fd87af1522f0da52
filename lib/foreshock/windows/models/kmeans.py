"""k-means: a window is expected to be the nearest of k typical windows.

A window is flattened to L·F values; the centroids are those of Lloyd's algorithm, started by
k-means++ (Arthur & Vassilvitskii, "k-means++: The Advantages of Careful Seeding", SODA 2007).
The error is the squared difference from the nearest centroid, value by value.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from threadpoolctl import threadpool_limits

from foreshock.detectors import Spec
from foreshock.errors import DataError
from foreshock.statistics.arrays import AnyArray, Float32Array, Float64Array, Int64Array
from foreshock.windows.models.squares import squared_errors

MOST_CENTROIDS = 32
# Windows for each centroid, on average.
LEAST_MEMBERS = 20
# Windows that the centroids are fitted on.
SAMPLE = 20_000
MOST_ITERATIONS = 50
# Windows compared with all centroids at once.
CHUNK = 4096


class KMeans:
    """At most 32 centroids (k, L·F), each for at least 20 training windows on average.

    >>> flat_windows = np.repeat([0.0, 8.0], 40).astype(np.float32)[:, None, None]  # (80, 1, 1)
    >>> detector = KMeans.fit(flat_windows, np.ones((80, 1), np.float32), seed=1)
    >>> detector.errors(np.array([[[9.0]]], np.float32)).tolist()
    [[[1.0]]]
    """

    blind_events = 0

    def __init__(self, centroids: Float64Array, length: int, windows: int) -> None:
        """Take the centroids (k, L·F), the window length L and the number of training windows."""
        self.centroids = centroids
        self.length = length
        self.windows = windows

    @property
    def fitted_on(self) -> int:
        """How many training windows it was fitted on, after thinning."""
        return self.windows

    @classmethod
    def fit(cls, windows: Float32Array, weights: Float32Array, seed: int = 0) -> KMeans:
        """Fit on windows (N, L, F) without padding, evenly thinned to 20,000.

        Weights (N, L) are 0 where a window is padded. Raises DataError if every window is.
        """
        # Imported here: scoring needs no scikit-learn.
        from sklearn.cluster import KMeans as Lloyd

        whole_windows = windows[weights.min(axis=1) > 0]
        if not len(whole_windows):
            raise DataError(
                "detector kmeans: there is no whole training window. Leave kmeans out of detectors."
            )
        thinned_windows = whole_windows[:: -(-len(whole_windows) // SAMPLE)]
        window_size = windows.shape[1] * windows.shape[2]
        flat_windows = thinned_windows.reshape(-1, window_size).astype(np.float64)
        # More centroids than different windows could only lie on each other.
        n_distinct = len(np.unique(flat_windows, axis=0))
        n_centroids = max(1, min(MOST_CENTROIDS, len(flat_windows) // LEAST_MEMBERS, n_distinct))
        # Sums in one order, so that a seed gives the same centroids.
        with threadpool_limits(1):
            lloyd = Lloyd(n_centroids, n_init=1, max_iter=MOST_ITERATIONS, random_state=seed)
            centroids = lloyd.fit(flat_windows).cluster_centers_
        return cls(centroids, windows.shape[1], len(flat_windows))

    def reconstruct(self, windows: Float32Array) -> Float32Array:
        """The nearest centroid of each window (N, L, F), in its shape.

        Of centroids equally near it is the first.
        """
        nearest_centroid = self._nearest(
            windows.reshape(len(windows), windows.shape[1] * windows.shape[2]).astype(np.float64)
        )
        return self.centroids[nearest_centroid].reshape(windows.shape).astype(np.float32)

    def _nearest(self, flat: Float64Array) -> Int64Array:
        """The place of the nearest centroid of each flat window (N, L·F), by |c|² − 2 c·w."""
        # |w|² is left out: it is the same for every centroid.
        squared_norms = np.square(self.centroids).sum(axis=1)
        nearest_centroid = np.zeros(len(flat), np.int64)
        for first_window in range(0, len(flat), CHUNK):
            chunk = slice(first_window, first_window + CHUNK)
            dot_products = flat[chunk] @ self.centroids.T
            nearest_centroid[chunk] = np.argmin(squared_norms - 2 * dot_products, axis=1)
        return nearest_centroid

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
        """The centroids.

        Named as in the bundle's npz file; `load` takes them back, nothing is pickled.
        """
        return {"centroids": self.centroids}

    def spec(self) -> Spec:
        """The window length and the number of training windows.

        It stands in bundle.json as JSON; `load` takes it back.
        """
        return {"length": self.length, "windows": self.windows}

    @classmethod
    def load(cls, spec: Spec, arrays: Mapping[str, AnyArray]) -> KMeans:
        """The detector of `spec()` and `arrays()`.

        Raises KeyError if a member of one of them is missing.
        """
        return cls(arrays["centroids"], spec["length"], spec["windows"])
