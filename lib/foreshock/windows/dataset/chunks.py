"""Blocks in memory: their windows as views, and the dealing of a worker's windows by the plan.

NumPy alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from foreshock.statistics.arrays import Float32Array, Int64Array
from foreshock.windows.dataset.plan import WorkerShare


@dataclass(frozen=True)
class TrainingBlock:
    """A block as training sees it.

    rows: (n, F) scaled features; windows start at the rows 0, stride, 2 · stride ….
    first_padding: so many leading rows of the first window are no events.
    """

    block_id: int
    rows: Float32Array
    n_windows: int
    first_padding: int


@dataclass(frozen=True)
class WindowPool:
    """Windows of several blocks, in the order of training; M of them, a multiple of the batch.

    rows: (N, F). start: (M,), window i is rows[start[i] : start[i] + L].
    padding: (M,), the first `padding` rows of a window have weight 0; an empty window has L.
    """

    rows: Float32Array
    start: Int64Array
    padding: Int64Array

    def window_slice(self, first: int, end: int | None) -> WindowPool:
        """The windows at the places [first, end), over the same rows.

        >>> pool = WindowPool(np.zeros((9, 1)), np.array([0, 3, 6]), np.array([0, 0, 1]))
        >>> pool.window_slice(1, None).start.tolist()
        [3, 6]
        """
        return WindowPool(self.rows, self.start[first:end], self.padding[first:end])

    def take(self, windows: Int64Array) -> WindowPool:
        """Windows by their places, in that order, over the same rows.

        >>> pool = WindowPool(np.zeros((9, 1)), np.array([0, 3, 6]), np.array([0, 0, 1]))
        >>> pool.take(np.array([2, 0])).start.tolist()
        [6, 0]
        """
        return WindowPool(self.rows, self.start[windows], self.padding[windows])


def block_windows(
    block: TrainingBlock, length: int, stride: int
) -> tuple[Float32Array, Float32Array]:
    """Windows of a block, (w, L, F), as a view, and weights, (w, L): 0 where padded.

    >>> block = TrainingBlock(0, np.arange(4, dtype=np.float32)[:, None], 2, 1)
    >>> windows, weight = block_windows(block, length=3, stride=1)
    >>> windows[:, :, 0].tolist()
    [[0.0, 1.0, 2.0], [1.0, 2.0, 3.0]]
    """
    views = np.lib.stride_tricks.sliding_window_view(block.rows, length, axis=0)
    views = views[::stride][: block.n_windows]
    weight = np.ones((block.n_windows, length), np.float32)
    weight[:, : block.first_padding] = 0.0
    return views.transpose(0, 2, 1), weight


def deal(
    blocks: Iterator[TrainingBlock],
    share: WorkerShare,
    length: int,
    stride: int,
    features: int,
    first_step: int,
) -> Iterator[WindowPool]:
    """A worker's pools from a step on; steps count from 0.

    `blocks` begin with the pool that holds the step (`WorkerShare.remaining_blocks`). What a pool
    leaves of a batch goes on with the next pool; at the end empty windows fill up the plan's steps.
    """
    pool_starts = share.pool_starts()
    missing = (share.steps - first_step) * share.batch
    carried = _empty_pool(features)
    for pool in range(share.pool_of(first_step), len(share.pool_bounds) - 1):
        n_blocks = int(share.pool_bounds[pool + 1] - share.pool_bounds[pool])
        pool_start = int(pool_starts[pool])
        # An epoch that is resumed begins within a pool, whose order is drawn all the same.
        skipped = max(0, first_step * share.batch - pool_start)
        order = share.shuffled(pool)[skipped : max(0, share.used - pool_start)]
        windows = _pool_of(list(itertools.islice(blocks, n_blocks)), stride).take(order)
        windows = _joined(carried, windows)
        whole = len(windows.start) // share.batch * share.batch
        if whole:
            missing -= whole
            yield windows.window_slice(0, whole)
        carried = _compacted(windows.window_slice(whole, None), length)
    if missing:
        yield _filled_up(carried, missing, length)


def _empty_pool(features: int) -> WindowPool:
    no_places = np.zeros(0, np.int64)
    return WindowPool(np.zeros((0, features), np.float32), no_places, no_places)


def _pool_of(blocks: list[TrainingBlock], stride: int) -> WindowPool:
    """All windows of some blocks, in their order."""
    row_counts = [len(block.rows) for block in blocks]
    first_rows = np.concatenate([[0], np.cumsum(row_counts)])
    starts = [
        first_row + stride * np.arange(block.n_windows)
        for first_row, block in zip(first_rows[:-1], blocks, strict=True)
    ]
    # Only a padded block's first window is padded, and such a block has but one.
    window_counts = [block.n_windows for block in blocks]
    padding = np.repeat([block.first_padding for block in blocks], window_counts)
    rows = np.concatenate([block.rows for block in blocks])
    return WindowPool(rows, np.concatenate(starts).astype(np.int64), padding.astype(np.int64))


def _joined(before: WindowPool, after: WindowPool) -> WindowPool:
    if not len(before.start):
        return after
    return WindowPool(
        np.concatenate([before.rows, after.rows]),
        np.concatenate([before.start, after.start + len(before.rows)]),
        np.concatenate([before.padding, after.padding]),
    )


def _compacted(pool: WindowPool, length: int) -> WindowPool:
    """The same windows over rows of their own, so that the rows of the whole pool can go."""
    rows = pool.rows[(pool.start[:, None] + np.arange(length)).ravel()]
    return WindowPool(rows, np.arange(len(pool.start), dtype=np.int64) * length, pool.padding)


def _filled_up(pool: WindowPool, wanted: int, length: int) -> WindowPool:
    """A pool with empty windows behind, so that there are as many as wanted."""
    empty = wanted - len(pool.start)
    # Empty windows begin at row 0, so there must be rows.
    rows = pool.rows if len(pool.rows) else np.zeros((length, pool.rows.shape[1]), np.float32)
    start = np.append(pool.start, np.zeros(empty, np.int64))
    return WindowPool(rows, start, np.append(pool.padding, np.full(empty, length)))
