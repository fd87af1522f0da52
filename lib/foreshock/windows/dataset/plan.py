"""Which worker reads which blocks in which order: a pure function of manifest, seed and epoch.

An epoch's chunks are shuffled by (seed, epoch). Their blocks, in that order, are cut into one
contiguous run a worker of nearly equally many windows. So every block is read by exactly one
worker, and only the chunks at the cuts are opened by two. A worker's run is read in *pools* of some
65,536 windows; within a pool windows are shuffled by (seed, epoch, worker, pool). Batches are
consecutive slices of the sequence that this gives. So any step can be found again without its
predecessors.

The remainder: every worker makes as many steps as the one with the most windows needs. The last
batch of a worker and those after it are filled up with empty windows of weight 0. Nothing is
doubled and nothing dropped, except by `limit`: with it, an epoch is the first `limit` windows, and
the rest is counted as left out.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from foreshock.errors import SettingsError
from foreshock.platform.files import digest
from foreshock.sequences.split import BlockRole
from foreshock.statistics.arrays import Int64Array
from foreshock.windows.dataset.block_table import BlockTable, blocks_of
from foreshock.windows.dataset.manifest import Manifest

POOL_WINDOWS = 1 << 16


@dataclass(frozen=True)
class WorkerShare:
    """A worker's part of an epoch.

    used: how many of its windows are trained on.
    pool_bounds: (pools + 1,) places in `blocks` at which the pools begin, and the end.
    left_out: windows of the whole epoch that no worker trains on.
    """

    epoch: int
    worker: int
    seed: int
    batch: int
    steps: int
    blocks: BlockTable
    used: int
    pool_bounds: Int64Array
    left_out: int

    @property
    def empty(self) -> int:
        """Windows of weight 0 that fill batches up.

        >>> blocks = BlockTable(np.array([0, 0]), np.array([7, 8]), np.array([4, 2]))
        >>> EpochPlan(blocks, seed=1, batch=4, workers=1, limit=None).share(epoch=1, worker=0).empty
        2
        """
        return self.steps * self.batch - self.used

    def pool_starts(self) -> Int64Array:
        """The place of each pool's first window in the worker's sequence, and the end.

        >>> blocks = BlockTable(np.array([0, 0]), np.array([7, 8]), np.array([4, 2]))
        >>> plan = EpochPlan(blocks, seed=1, batch=4, workers=1, limit=None, pool=3)
        >>> plan.share(epoch=1, worker=0).pool_starts().tolist()
        [0, 4, 6]
        """
        window_ends = np.cumsum(self.blocks.window_count)
        return np.concatenate([[0], window_ends])[self.pool_bounds]

    def shuffled(self, pool: int) -> Int64Array:
        """The order in which the windows of a pool are trained on: a permutation.

        >>> blocks = BlockTable(np.array([0, 0]), np.array([7, 8]), np.array([4, 2]))
        >>> share = EpochPlan(blocks, seed=1, batch=4, workers=1, limit=None).share(1, worker=0)
        >>> sorted(share.shuffled(pool=0).tolist())
        [0, 1, 2, 3, 4, 5]
        """
        starts = self.pool_starts()
        generator = np.random.default_rng([self.seed, self.epoch, self.worker, pool])
        return generator.permutation(int(starts[pool + 1] - starts[pool]))

    def pool_of(self, step: int) -> int:
        """The pool that holds the first window of a step; steps count from 0.

        >>> blocks = BlockTable(np.array([0, 0]), np.array([7, 8]), np.array([4, 2]))
        >>> plan = EpochPlan(blocks, seed=1, batch=4, workers=1, limit=None, pool=3)
        >>> plan.share(epoch=1, worker=0).pool_of(step=1)
        1
        """
        first_window = step * self.batch
        pool = int(np.searchsorted(self.pool_starts(), first_window, side="right")) - 1
        return min(pool, len(self.pool_bounds) - 2)

    def remaining_blocks(self, step: int) -> BlockTable:
        """The blocks that are still read from a step on, in order: whole pools.

        >>> blocks = BlockTable(np.array([0, 0]), np.array([7, 8]), np.array([4, 2]))
        >>> plan = EpochPlan(blocks, seed=1, batch=4, workers=1, limit=None, pool=3)
        >>> plan.share(epoch=1, worker=0).remaining_blocks(step=1).block_id.tolist()
        [8]
        """
        return self.blocks.between(int(self.pool_bounds[self.pool_of(step)]), len(self.blocks))

    def block_ids_of(self, step: int) -> list[int]:
        """Ids of the blocks whose windows are in the batch of a step; steps count from 0.

        >>> blocks = BlockTable(np.array([0, 0]), np.array([7, 8]), np.array([4, 2]))
        >>> plan = EpochPlan(blocks, seed=1, batch=4, workers=1, limit=None, pool=3)
        >>> share = plan.share(epoch=1, worker=0)
        >>> share.block_ids_of(step=0), share.block_ids_of(step=1)
        ([7], [8])
        """
        starts = self.pool_starts()
        block_ids: set[int] = set()
        batch_start, batch_end = step * self.batch, min((step + 1) * self.batch, self.used)
        for pool in range(len(self.pool_bounds) - 1):
            pool_start = int(starts[pool])
            first, last = max(batch_start, pool_start), min(batch_end, int(starts[pool + 1]))
            if first < last:
                bounds = self.pool_bounds[pool : pool + 2].tolist()
                blocks = self.blocks.between(*bounds)
                windows = self.shuffled(pool)[first - pool_start : last - pool_start]
                block_of_window = np.repeat(blocks.block_id, blocks.window_count)
                block_ids.update(block_of_window[windows].tolist())
        return sorted(block_ids)


@dataclass(frozen=True)
class EpochPlan:
    """The blocks to train on, and how an epoch of them is dealt to workers.

    batch: windows of a step, of all workers. limit: the most windows of an epoch, None for all.
    pool: about how many windows are shuffled together.

    >>> table = BlockTable(np.array([0, 0, 1]), np.array([7, 8, 9]), np.array([4, 2, 6]))
    >>> plan = EpochPlan(table, seed=1, batch=4, workers=2, limit=None)
    >>> [plan.share(epoch=1, worker=worker).steps for worker in range(2)]
    [3, 3]
    """

    blocks: BlockTable
    seed: int
    batch: int
    workers: int
    limit: int | None
    pool: int = POOL_WINDOWS

    def batch_of(self, worker: int) -> int:
        """A worker's part of the global batch; the parts differ by at most one window.

        >>> table = BlockTable(np.array([0, 0]), np.array([0, 1]), np.array([4, 2]))
        >>> plan = EpochPlan(table, seed=1, batch=5, workers=2, limit=None)
        >>> plan.batch_of(0), plan.batch_of(1)
        (3, 2)
        """
        return _even_part(self.batch, self.workers, worker)

    @property
    def windows(self) -> int:
        """The windows of the dataset that the plan deals out."""
        return self.blocks.total_windows

    def share(self, epoch: int, worker: int) -> WorkerShare:
        """What a worker reads in an epoch; epochs count from 1.

        It depends on the plan, epoch and worker alone, so every process finds the same.
        """
        order, trained_windows = self._epoch_order(epoch)
        bounds = self._worker_bounds(order)
        shares = [self.blocks.take(order[first:end]) for first, end in itertools.pairwise(bounds)]
        used = [blocks.total_windows for blocks in shares]
        if trained_windows < self.windows:
            limits = [_even_part(trained_windows, self.workers, w) for w in range(self.workers)]
            used = [min(both) for both in zip(used, limits, strict=True)]
        steps = [-(-windows // self.batch_of(number)) for number, windows in enumerate(used)]
        blocks = shares[worker]
        return WorkerShare(
            epoch,
            worker,
            self.seed,
            self.batch_of(worker),
            max(steps),
            blocks,
            used[worker],
            self._pool_bounds(blocks),
            self.windows - sum(used),
        )

    def identity(self) -> dict[str, object]:
        """What a checkpoint's position in the plan depends on."""
        return {
            "blocks": len(self.blocks),
            "windows": self.windows,
            "seed": self.seed,
            "batch": self.batch,
            "workers": self.workers,
            "windows_per_epoch": self.limit,
            "pool": self.pool,
        }

    def _epoch_order(self, epoch: int) -> tuple[Int64Array, int]:
        """The places of an epoch's blocks, in order, and how many of their windows are trained on.

        With a limit these are as many blocks as hold it, and one a worker at least.
        """
        order = self._shuffled_chunks(epoch)
        if self.limit is None or self.limit >= self.windows:
            return order, self.windows
        # The epoch begins anywhere, so that no chunk's end is left out for ever.
        begin = np.random.default_rng([self.seed, epoch, 1]).integers(len(order))
        order = np.roll(order, -int(begin))
        window_ends = np.cumsum(self.blocks.window_count[order])
        wanted_blocks = int(np.searchsorted(window_ends, self.limit)) + 1
        return order[: max(self.workers, wanted_blocks)], self.limit

    def _shuffled_chunks(self, epoch: int) -> Int64Array:
        """Places of all blocks: chunks are shuffled, a chunk's blocks stay in their order."""
        chunks = np.unique(self.blocks.chunk_index)
        shuffled = np.random.default_rng([self.seed, epoch]).permutation(chunks)
        rank = np.empty(int(chunks.max()) + 1, np.int64)
        rank[shuffled] = np.arange(len(chunks))
        return np.argsort(rank[self.blocks.chunk_index], kind="stable")

    def _worker_bounds(self, order: Int64Array) -> list[int]:
        """Where each worker's run of an epoch's blocks begins, and the end: (workers + 1,)."""
        window_ends = np.cumsum(self.blocks.window_count[order])
        targets = np.arange(1, self.workers) * int(window_ends[-1]) / self.workers
        inner_bounds = np.searchsorted(window_ends, targets, side="right").tolist()
        bounds = [0, *inner_bounds, len(order)]
        # Every worker gets a block at least.
        for worker in range(1, self.workers):
            latest = len(order) - (self.workers - worker)
            bounds[worker] = min(max(bounds[worker], bounds[worker - 1] + 1), latest)
        return bounds

    def _pool_bounds(self, blocks: BlockTable) -> Int64Array:
        """Where each pool of a worker's blocks begins, and the end."""
        window_ends = np.cumsum(blocks.window_count)
        bounds, filled = [0], 0
        while bounds[-1] < len(blocks):
            end = min(int(np.searchsorted(window_ends, filled + self.pool)) + 1, len(blocks))
            filled = int(window_ends[end - 1])
            bounds.append(end)
        return np.array(bounds, np.int64)


def _even_part(total: int, workers: int, worker: int) -> int:
    """A worker's part of a total; the first workers take the remainder."""
    return total // workers + (worker < total % workers)


def make_plan(
    manifest: Manifest, *, seed: int, batch: int, workers: int, limit: int | None
) -> EpochPlan:
    """The plan of a training dataset.

    Raises SettingsError if there are more workers than blocks, or than windows of a batch.
    """
    blocks = blocks_of(manifest, BlockRole.FIT)
    if workers > max(1, len(blocks)):
        raise SettingsError(
            f"training.workers is {workers}, but the training dataset holds {len(blocks)} blocks "
            "to deal out; every worker needs one at least. Use fewer workers, or a smaller "
            "windows.block."
        )
    if batch < workers:
        raise SettingsError(
            f"training.batch is {batch}, smaller than training.workers ({workers}): every worker "
            "needs a window of each batch. Raise training.batch."
        )
    if limit is not None and limit < workers:
        raise SettingsError(
            f"training.windows_per_epoch is {limit}, fewer than training.workers ({workers}). "
            "Raise it."
        )
    return EpochPlan(blocks, seed, batch, workers, limit)


def dataset_identity(manifest: Manifest) -> dict[str, object]:
    """What tells one training dataset from another, by parts: a message names what changed."""
    files = sorted((chunk.file, chunk.sha256) for chunk in manifest.chunks)
    return {
        "features": list(manifest.features),
        "length": manifest.length,
        "stride": manifest.stride,
        "scaler": manifest.scaler_sha256,
        "files": len(files),
        "events": manifest.total("events"),
        "content": digest(files),
    }
