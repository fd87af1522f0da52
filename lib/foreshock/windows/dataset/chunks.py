"""Blocks in memory: their windows as views, and the dealing of a worker's windows in the plan's order. NumPy alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foreshock.windows.dataset.plan import Blocks, Share

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TrainingBlock:
    """A block as training sees it. x: (n, F) float32; windows start at 0, stride, …; padding: leading rows that are none."""

    block_id: int
    x: Floats
    windows: int
    padding: int


@dataclass(frozen=True)
class Pool:
    """Windows of several blocks, in the order of training. rows: (N, F); start, padding: (M,), M a multiple of the batch.

    A window is rows[start : start + L]; its first `padding` rows have weight 0, so an empty window has padding L.
    """

    rows: Floats
    start: Ints
    padding: Ints


def block_windows(block: TrainingBlock, length: int, stride: int) -> tuple[Floats, Floats]:
    """Windows of a block, (w, L, F), as a view, and weights, (w, L): 0 where padded."""
    views = np.lib.stride_tricks.sliding_window_view(block.x, length, axis=0)[::stride][
        : block.windows
    ]
    weight = np.ones((block.windows, length), np.float32)
    weight[:, : block.padding] = 0.0
    return views.transpose(0, 2, 1), weight


def deal(
    blocks: Iterator[TrainingBlock],
    share: Share,
    length: int,
    stride: int,
    features: int,
    first: int,
) -> Iterator[Pool]:
    """A worker's pools from a step (counted from 0) on; `blocks` begin with the pool that holds it (`wanted_blocks`).

    What a pool leaves of a batch goes on with the next pool; at the end empty windows fill up the plan's steps.
    """
    bounds, starts_of, batch = share.pools, share.starts(), share.batch
    missing = (share.steps - first) * batch
    left = Pool(np.zeros((0, features), np.float32), np.zeros(0, np.int64), np.zeros(0, np.int64))
    for pool in range(share.pool_of(first), len(bounds) - 1):
        here = _pool([next(blocks) for _ in range(int(bounds[pool + 1] - bounds[pool]))], stride)
        order = share.order(pool)[
            max(0, first * batch - int(starts_of[pool])) : max(0, share.used - int(starts_of[pool]))
        ]
        here = _joined(left, Pool(here.rows, here.start[order], here.padding[order]))
        whole = len(here.start) // batch * batch
        if whole:
            missing -= whole
            yield Pool(here.rows, here.start[:whole], here.padding[:whole])
        left = _windows(here, slice(whole, None), length)
    if missing:
        empty = missing - len(left.start)
        rows = left.rows if len(left.rows) else np.zeros((length, features), np.float32)
        yield Pool(
            rows,
            np.append(left.start, np.zeros(empty, np.int64)),
            np.append(left.padding, np.full(empty, length)),
        )


def wanted_blocks(share: Share, first: int) -> Blocks:
    """The blocks that a worker still reads in an epoch from a step on, in order."""
    return share.blocks.part(int(share.pools[share.pool_of(first)]), len(share.blocks))


def _pool(blocks: list[TrainingBlock], stride: int) -> Pool:
    offset = np.concatenate([[0], np.cumsum([len(b.x) for b in blocks])])
    start = np.concatenate(
        [offset[i] + stride * np.arange(b.windows) for i, b in enumerate(blocks)]
    )
    padding = np.repeat([b.padding for b in blocks], [b.windows for b in blocks])
    # Only a padded block's first window is padded, and such a block has but one.
    return Pool(
        np.concatenate([b.x for b in blocks]), start.astype(np.int64), padding.astype(np.int64)
    )


def _joined(left: Pool, right: Pool) -> Pool:
    if not len(left.start):
        return right
    return Pool(
        np.concatenate([left.rows, right.rows]),
        np.concatenate([left.start, right.start + len(left.rows)]),
        np.concatenate([left.padding, right.padding]),
    )


def _windows(pool: Pool, chosen: slice, length: int) -> Pool:
    """Some windows of a pool with rows of their own."""
    start = pool.start[chosen]
    rows = pool.rows[(start[:, None] + np.arange(length)).ravel()]
    return Pool(rows, np.arange(len(start), dtype=np.int64) * length, pool.padding[chosen])
