"""First and second moments of flattened windows: they add and subtract exactly enough that folds and partitions merge.

Overlapping windows share their rows, so a run of windows one event apart costs a product per lag, not one per pair of steps. Only
sums of like parts are formed, never differences, so a large value at a run's edge leaves no rounding error behind.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from foreshock.errors import DataError

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.integer[Any]]
GROUP = 16  # rows per group in a run's product: wide enough for BLAS, narrow enough to waste little
RUN = 4096  # windows in one piece of a run: its rows stay in the cache
CHUNK = 2**20  # values of flattened windows held at once
EDGES = 512  # runs whose edge rows are held at once


def middle(x: Floats) -> Doubles | None:
    """An origin (F,) for the moments of many windows: the median of the last events of some, (N, L, F); None where there are none.

    Where values lie far from 0 beside their spread, products about 0 lose what tells them apart.
    """
    return np.median(x[:, -1].astype(np.float64), axis=0) if len(x) else None


@dataclass(frozen=True, eq=False)
class WindowMoments:
    """Sums over n windows flattened to L·F values, each value less its feature's `origin`: `total` (L·F,), `products` (L·F, L·F)."""

    n: int
    length: int
    origin: Doubles  # (F,)
    total: Doubles
    products: Doubles

    @classmethod
    def empty(
        cls, length: int, features: int, origin: npt.ArrayLike | None = None
    ) -> WindowMoments:
        """Of no windows; origin (F,) is zero where not given."""
        shift = np.zeros(features) if origin is None else np.array(origin, np.float64)
        if length < 1 or features < 1 or shift.shape != (features,):
            raise ValueError(
                f"moments of {length} events of {features} features about an origin of shape {shift.shape}"
            )
        size = length * features
        return cls(0, length, shift, np.zeros(size), np.zeros((size, size)))

    @classmethod
    def of(
        cls, x: Floats, starts: Ints, length: int, origin: npt.ArrayLike | None = None
    ) -> WindowMoments:
        """Of the windows of `length` at `starts` (ascending) in a block x (n, F). Raises ValueError where one leaves the block."""
        return cls.of_blocks([(x, starts)], length, x.shape[1], origin)

    @classmethod
    def of_blocks(
        cls,
        blocks: Iterable[tuple[Floats, Ints]],
        length: int,
        features: int,
        origin: npt.ArrayLike | None = None,
    ) -> WindowMoments:
        """Of many blocks (x, starts) at once: faster than adding up `of` each, with the same result to rounding."""
        sums = _Sums(cls.empty(length, features, origin))
        for x, starts in blocks:
            sums.block(x, np.asarray(starts))
        return sums.result()

    @classmethod
    def of_windows(cls, x: Floats, origin: npt.ArrayLike | None = None) -> WindowMoments:
        """Of windows x (N, L, F) as they are; slower than `of` where windows overlap."""
        sums = _Sums(cls.empty(x.shape[1], x.shape[2], origin))
        step = max(1, CHUNK // (x.shape[1] * x.shape[2]))
        for at in range(0, len(x), step):
            sums.windows(x[at : at + step].astype(np.float64) - sums.into.origin)
        return sums.result()

    @classmethod
    def of_whole(cls, x: Floats, weight: Floats) -> WindowMoments:
        """Of those of windows (N, ?, F) whose weight (N, L) is nowhere 0, about the mean event."""
        whole = x[weight.min(axis=1) > 0]
        return cls.of_windows(
            whole, whole.mean(axis=(0, 1), dtype=np.float64) if len(whole) else None
        )

    @property
    def features(self) -> int:
        return len(self.origin)

    @property
    def mean(self) -> Doubles:
        """The mean window, (L·F,)."""
        return self.total / max(self.n, 1) + np.tile(self.origin, self.length)

    @property
    def scatter(self) -> Doubles:
        """Products about the mean, (L·F, L·F): n - 1 covariances."""
        return self.products - np.outer(self.total, self.total / max(self.n, 1))

    @property
    def covariance(self) -> Doubles:
        """(L·F, L·F), by n - 1."""
        return self.scatter / max(self.n - 1, 1)

    def __add__(self, other: WindowMoments) -> WindowMoments:
        return self._with(other, 1)

    def __sub__(self, other: WindowMoments) -> WindowMoments:
        """Without windows that are among these, such as a fold. Where those hold far greater values, add up the other folds instead."""
        return self._with(other, -1)

    def _with(self, other: WindowMoments, sign: int) -> WindowMoments:
        if self.length != other.length or not np.array_equal(self.origin, other.origin):
            raise ValueError(
                "moments of windows of other lengths, features or origins do not combine"
            )
        n = self.n + sign * other.n
        if n < 0:
            raise ValueError(f"{other.n} windows cannot be taken from {self.n}")
        return WindowMoments(
            n,
            self.length,
            self.origin,
            self.total + sign * other.total,
            self.products + sign * other.products,
        )

    def to_bytes(self) -> bytes:
        """As an .npz file, in which nothing is pickled."""
        out = io.BytesIO()
        np.savez(
            out,
            n=np.array([self.n, self.length]),
            origin=self.origin,
            total=self.total,
            products=self.products,
        )
        return out.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> WindowMoments:
        """What `to_bytes` gave. Raises DataError for anything else."""
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                n, length = (int(v) for v in file["n"])
                found = cls(n, length, file["origin"], file["total"], file["products"])
        except (KeyError, ValueError, OSError, EOFError, TypeError, BadZipFile) as error:
            raise DataError(
                f"window moments do not load ({error}); they are damaged or of another version."
            ) from None
        size = length * found.features
        if found.total.shape != (size,) or found.products.shape != (size, size):
            raise DataError(
                "window moments do not load: their shapes do not agree; they are damaged."
            )
        return found


@dataclass
class _Sums:
    """The moments as they grow: whole windows go into `into`, runs into the parts that all their windows share."""

    into: WindowMoments
    n: int = 0
    heads: list[Doubles] = field(default_factory=list)  # a run's first L - 1 rows, (L-1, F)
    tails: list[Doubles] = field(default_factory=list)  # and its last

    def __post_init__(self) -> None:
        length, features = self.into.length, self.into.features
        self.group, edge = min(GROUP, length), (length - 1) * features
        self.core = np.zeros((self.group * features, (self.group + length - 1) * features))
        self.core_total = np.zeros(features)
        self.head, self.tail = np.zeros((edge, edge)), np.zeros((edge, edge))
        self.head_total, self.tail_total = np.zeros(edge), np.zeros(edge)

    def block(self, x: Floats, starts: Ints) -> None:
        length = self.into.length
        if not len(starts):
            return
        steps = np.diff(starts)
        if (
            x.shape[1] != self.into.features
            or starts[0] < 0
            or starts[-1] + length > len(x)
            or (steps < 1).any()
        ):
            raise ValueError(
                f"windows of {length} at {starts[0]} to {starts[-1]} are not ascending or leave a block of shape {x.shape}"
            )
        bounds = np.concatenate([[0], np.flatnonzero(steps > 1) + 1, [len(starts)]])
        sizes = np.diff(bounds)
        for i in np.flatnonzero(sizes >= length):
            run = starts[bounds[i] : bounds[i + 1]]
            for piece in np.array_split(run, max(1, len(run) // max(RUN, length))):
                self.run(x[piece[0] : piece[-1] + length].astype(np.float64) - self.into.origin)
        loose = starts[np.repeat(sizes < length, sizes)]  # runs too short to gain
        size = max(1, CHUNK // (length * self.into.features))
        for at in range(0, len(loose), size):
            rows = loose[at : at + size, None] + np.arange(length)
            self.windows(x[rows].astype(np.float64) - self.into.origin)

    def windows(self, x: Doubles) -> None:
        """Windows (N, L, F), less the origin."""
        flat = x.reshape(len(x), -1)
        self.n += len(flat)
        self.into.total[:] += flat.sum(axis=0)
        self.into.products[:] += flat.T @ flat

    def run(self, x: Doubles) -> None:
        """All windows of the rows x (w + L - 1, F), w at least L, less the origin."""
        length, features, group = self.into.length, self.into.features, self.group
        w = len(x) - length + 1
        groups = -(-w // group)
        early = np.zeros((groups * group, features))
        early[:w] = x[:w]
        late = np.zeros((groups * group + length - 1, features))
        late[length - 1 : len(x)] = x[
            length - 1 :
        ]  # pairs whose later row is an early one are the head's
        wide = np.lib.stride_tricks.sliding_window_view(
            late.ravel(), (group + length - 1) * features
        )[:: group * features]
        self.core += early.reshape(groups, -1).T @ np.ascontiguousarray(wide)
        self.core_total += x[length - 1 : w].sum(axis=0)
        self.heads.append(x[: length - 1].ravel())
        self.tails.append(x[w:].ravel())
        self.n += w
        if len(self.heads) >= EDGES:
            self.edges()

    def edges(self) -> None:
        if self.heads:
            head, tail = np.stack(self.heads), np.stack(self.tails)
            self.head += head.T @ head
            self.tail += tail.T @ tail
            self.head_total += head.sum(axis=0)
            self.tail_total += tail.sum(axis=0)
            self.heads.clear()
            self.tails.clear()

    def result(self) -> WindowMoments:
        """Steps a and a + d of a run's windows: the core's lag d, the head's pairs from (a, a + d) on and the tail's before it."""
        self.edges()
        length, features = self.into.length, self.into.features
        products = self.into.products.reshape(length, features, length, features)
        core = self.core.reshape(self.group, features, self.group + length - 1, features)
        ahead = sum(
            (core[i, :, i : i + length] for i in range(1, self.group)), core[0, :, :length]
        )  # (F, L, F), by lag
        both = np.concatenate(
            [ahead[:, :0:-1].transpose(2, 1, 0), ahead], axis=1
        )  # (F, 2L-1, F): lags from 1 - L to L - 1
        for a in range(length):
            products[a] += both[:, length - 1 - a : 2 * length - 1 - a]
        edge = length - 1
        head, tail = (p.reshape(edge, features, edge, features) for p in (self.head, self.tail))
        for a in range(1, edge):
            head[edge - 1 - a, :, :-1] += head[edge - a, :, 1:]
            tail[a, :, 1:] += tail[a - 1, :, :-1]
        products[:-1, :, :-1] += head
        products[1:, :, 1:] += tail
        total = self.into.total.reshape(length, features)
        total += self.core_total
        total[:-1] += np.cumsum(self.head_total.reshape(edge, features)[::-1], axis=0)[::-1]
        total[1:] += np.cumsum(self.tail_total.reshape(edge, features), axis=0)
        return WindowMoments(self.n, length, self.into.origin, self.into.total, self.into.products)
