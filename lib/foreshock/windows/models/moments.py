"""First and second moments of flattened windows: sums that merge, so that partitions and folds do.

A detector that is fitted from them is fitted exactly on all windows, however the data are cut. What
is summed is a value less its feature's `origin`: where values lie far from 0 beside their spread,
products about 0 lose what tells them apart.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from foreshock.errors import DataError
from foreshock.statistics.arrays import Float32Array, Float64Array, Int64Array
from foreshock.windows.models.moment_sums import MomentSums


def middle(windows: Float32Array) -> Float64Array | None:
    """An origin (F,) for moments: the median of the last events of some windows (N, L, F).

    None if there are no windows.

    >>> middle(np.array([[[0.0], [7.0]], [[0.0], [9.0]]], np.float32)).tolist()
    [8.0]
    """
    if not len(windows):
        return None
    median_event: Float64Array = np.median(windows[:, -1].astype(np.float64), axis=0)
    return median_event


@dataclass(frozen=True, eq=False)
class WindowMoments:
    """Sums over n windows, flattened to L·F values, each value less its feature's origin.

    Attributes:
        n: the number of windows.
        length: L, events of a window.
        origin: (F,).
        total: the sum of windows, (L·F,).
        products: the sum of outer products of windows, (L·F, L·F).

    >>> windows = np.array([[[1.0], [3.0]], [[3.0], [5.0]]], np.float32)
    >>> moments = WindowMoments.of_windows(windows[:1]) + WindowMoments.of_windows(windows[1:])
    >>> moments.n, moments.mean.tolist(), moments.covariance.tolist()
    (2, [2.0, 4.0], [[2.0, 2.0], [2.0, 2.0]])
    """

    n: int
    length: int
    origin: Float64Array
    total: Float64Array
    products: Float64Array

    @classmethod
    def empty(
        cls, length: int, features: int, origin: npt.ArrayLike | None = None
    ) -> WindowMoments:
        """Of no windows of `length` events.

        origin: (F,), zero if it is not given. Raises ValueError for a size below 1 or an origin of
        another shape.
        """
        exact_origin = np.zeros(features) if origin is None else np.array(origin, np.float64)
        if length < 1 or features < 1 or exact_origin.shape != (features,):
            raise ValueError(
                f"moments of {length} events of {features} features about an origin of shape "
                f"{exact_origin.shape}"
            )
        n_values = length * features
        return cls(0, length, exact_origin, np.zeros(n_values), np.zeros((n_values, n_values)))

    @classmethod
    def of(
        cls,
        rows: Float32Array,
        starts: Int64Array,
        length: int,
        origin: npt.ArrayLike | None = None,
    ) -> WindowMoments:
        """Of the windows of `length` at `starts` (ascending) in a block of events (n, F).

        Raises ValueError if a window leaves the block.
        """
        return cls.of_blocks([(rows, starts)], length, rows.shape[1], origin)

    @classmethod
    def of_blocks(
        cls,
        blocks: Iterable[tuple[Float32Array, Int64Array]],
        length: int,
        features: int,
        origin: npt.ArrayLike | None = None,
    ) -> WindowMoments:
        """Of many blocks (events, starts) at once.

        It is faster than to add up `of` each, with the same result to rounding.
        """
        sums = MomentSums(length, cls.empty(length, features, origin).origin)
        for rows, starts in blocks:
            sums.add_block(rows, np.asarray(starts))
        return cls._of_sums(sums)

    @classmethod
    def of_windows(
        cls, windows: Float32Array, origin: npt.ArrayLike | None = None
    ) -> WindowMoments:
        """Of windows (N, L, F) as they are.

        It is slower than `of` where windows overlap, with the same result to rounding.
        """
        length, features = windows.shape[1:]
        sums = MomentSums(length, cls.empty(length, features, origin).origin)
        sums.add_windows(windows)
        return cls._of_sums(sums)

    @classmethod
    def of_whole(cls, windows: Float32Array, weights: Float32Array) -> WindowMoments:
        """Of the windows (N, ?, F) whose weights (N, L) are nowhere 0, about the mean event.

        The windows may hold fewer events than L: the last ones alone, for a forecast.
        """
        whole_windows = windows[weights.min(axis=1) > 0]
        origin = whole_windows.mean(axis=(0, 1), dtype=np.float64) if len(whole_windows) else None
        return cls.of_windows(whole_windows, origin)

    @classmethod
    def _of_sums(cls, sums: MomentSums) -> WindowMoments:
        total, products = sums.result()
        return cls(sums.n, sums.length, sums.origin, total, products)

    @property
    def features(self) -> int:
        """F, the number of features."""
        return len(self.origin)

    @property
    def mean(self) -> Float64Array:
        """The mean window, (L·F,)."""
        return self.total / max(self.n, 1) + np.tile(self.origin, self.length)

    @property
    def scatter(self) -> Float64Array:
        """Products about the mean, (L·F, L·F): n − 1 covariances."""
        return self.products - np.outer(self.total, self.total / max(self.n, 1))

    @property
    def covariance(self) -> Float64Array:
        """The covariance of windows, (L·F, L·F), by n − 1."""
        return self.scatter / max(self.n - 1, 1)

    def __add__(self, other: WindowMoments) -> WindowMoments:
        return self._combined(other, 1)

    def __sub__(self, other: WindowMoments) -> WindowMoments:
        """Without windows that are among these, such as a fold.

        Add up the other folds instead if those windows hold far greater values.
        """
        return self._combined(other, -1)

    def _combined(self, other: WindowMoments, sign: int) -> WindowMoments:
        # Sums about another origin would have to be moved, which loses digits.
        if self.length != other.length or not np.array_equal(self.origin, other.origin):
            raise ValueError(
                "moments of windows of other lengths, features or origins do not combine"
            )
        n_windows = self.n + sign * other.n
        if n_windows < 0:
            raise ValueError(f"{other.n} windows cannot be taken from {self.n}")
        return WindowMoments(
            n_windows,
            self.length,
            self.origin,
            self.total + sign * other.total,
            self.products + sign * other.products,
        )

    def to_bytes(self) -> bytes:
        """As an .npz file, in which nothing is pickled.

        >>> moments = WindowMoments.of_windows(np.ones((2, 1, 1), np.float32))
        >>> WindowMoments.from_bytes(moments.to_bytes()).n
        2
        """
        npz_file = io.BytesIO()
        np.savez(
            npz_file,
            n=np.array([self.n, self.length]),
            origin=self.origin,
            total=self.total,
            products=self.products,
        )
        return npz_file.getvalue()

    @classmethod
    def from_bytes(cls, encoded: bytes) -> WindowMoments:
        """What `to_bytes` gave.

        Raises DataError for anything else, and for arrays whose shapes do not agree.
        """
        try:
            with np.load(io.BytesIO(encoded), allow_pickle=False) as npz_members:
                n_windows, length = (int(value) for value in npz_members["n"])
                moments = cls(
                    n_windows,
                    length,
                    npz_members["origin"],
                    npz_members["total"],
                    npz_members["products"],
                )
        except (KeyError, ValueError, OSError, EOFError, TypeError, BadZipFile) as error:
            raise DataError(
                f"window moments do not load ({error}); they are damaged or of another version."
            ) from None
        n_values = length * moments.features
        if moments.total.shape != (n_values,) or moments.products.shape != (n_values, n_values):
            raise DataError(
                "window moments do not load: their shapes do not agree; they are damaged."
            )
        return moments
