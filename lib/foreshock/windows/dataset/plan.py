"""Which worker reads which blocks in which order: a pure function of manifest, seed, epoch and workers. NumPy alone.

An epoch's chunks are shuffled by (seed, epoch); their blocks, in that order, are cut into one contiguous run a worker of nearly
equally many windows. So every block is read by exactly one worker, and only the chunks at the cuts are opened by two. A worker's
run is read in *pools* of some 65,536 windows; within a pool windows are shuffled by (seed, epoch, worker, pool). Batches are
consecutive slices of the sequence that this gives, so any step can be found again without reading what comes before its pool.

The remainder: every worker makes as many steps as the one with the most windows needs; the last batch of a worker and those
after it are filled up with empty windows of weight 0. Nothing is doubled and nothing dropped, but for `limit`: with it, an epoch
is the first `limit` windows, and the others are counted as left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foreshock.errors import SettingsError
from foreshock.platform.files import digest
from foreshock.sequences.split import BlockRole
from foreshock.windows.dataset.manifest import Manifest

POOL_WINDOWS = 1 << 16
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Blocks:
    """Blocks in the order in which they are read. All (n,): chunk's place in the manifest, block id, windows."""

    chunk: Ints
    block_id: Ints
    windows: Ints

    def __len__(self) -> int:
        return len(self.chunk)

    def part(self, a: int, b: int) -> Blocks:
        return Blocks(self.chunk[a:b], self.block_id[a:b], self.windows[a:b])


@dataclass(frozen=True)
class Share:
    """A worker's part of an epoch. used: how many of its windows are trained on; pools: bounds (p + 1,) of pools in `blocks`."""

    epoch: int
    worker: int
    seed: int
    batch: int
    steps: int
    blocks: Blocks
    used: int
    pools: Ints
    left_out: int  # windows of the whole epoch that no worker trains on

    @property
    def empty(self) -> int:
        """Windows of weight 0 that fill batches up."""
        return self.steps * self.batch - self.used

    def starts(self) -> Ints:
        """The place of each pool's first window in the worker's sequence, and the end: (p + 1,)."""
        return np.concatenate([[0], np.cumsum(self.blocks.windows)])[self.pools]

    def order(self, pool: int) -> Ints:
        """The shuffle of a pool's windows."""
        starts = self.starts()
        return np.random.default_rng([self.seed, self.epoch, self.worker, pool]).permutation(
            int(starts[pool + 1] - starts[pool])
        )

    def pool_of(self, step: int) -> int:
        """The pool that holds the first window of a step, counted from 0."""
        return min(
            int(np.searchsorted(self.starts(), step * self.batch, side="right")) - 1,
            len(self.pools) - 2,
        )

    def blocks_of(self, step: int) -> list[int]:
        """Ids of the blocks whose windows are in the batch of a step, counted from 0."""
        starts, found = self.starts(), set()
        a, b = step * self.batch, min((step + 1) * self.batch, self.used)
        for pool in range(len(self.pools) - 1):
            first, last = max(a, int(starts[pool])), min(b, int(starts[pool + 1]))
            if first < last:
                own = self.blocks.part(int(self.pools[pool]), int(self.pools[pool + 1]))
                chosen = self.order(pool)[first - starts[pool] : last - starts[pool]]
                found |= set(np.repeat(own.block_id, own.windows)[chosen].tolist())
        return sorted(found)


@dataclass(frozen=True)
class Plan:
    """The blocks to train on, and how an epoch of them is dealt to workers."""

    blocks: Blocks
    seed: int
    batch: int
    workers: int
    limit: int | None
    pool: int = POOL_WINDOWS

    def batch_of(self, worker: int) -> int:
        """A worker's part of the global batch; the parts differ by at most one window."""
        return self.batch // self.workers + (worker < self.batch % self.workers)

    @property
    def windows(self) -> int:
        return int(self.blocks.windows.sum())

    def share(self, epoch: int, worker: int) -> Share:
        """What a worker reads in an epoch (counted from 1)."""
        shares = [self._cut(epoch, w) for w in range(self.workers)]
        steps = max(-(-used // self.batch_of(w)) for w, (_, used) in enumerate(shares))
        blocks, used = shares[worker]
        ends = np.cumsum(blocks.windows)
        bounds, filled = [0], 0
        while bounds[-1] < len(blocks):
            at = min(int(np.searchsorted(ends, filled + self.pool)) + 1, len(blocks))
            filled = int(ends[at - 1])
            bounds.append(at)
        left_out = self.windows - sum(own for _, own in shares)
        return Share(
            epoch,
            worker,
            self.seed,
            self.batch_of(worker),
            steps,
            blocks,
            used,
            np.array(bounds, np.int64),
            left_out,
        )

    def _cut(self, epoch: int, worker: int) -> tuple[Blocks, int]:
        """A worker's blocks, in order, and how many of their windows it trains on."""
        order = self._order(epoch)
        ends = np.cumsum(self.blocks.windows[order])
        total = int(ends[-1])
        if (
            self.limit is not None and self.limit < total
        ):  # as many blocks as hold the limit, one a worker at least
            total = self.limit
            first = np.random.default_rng([self.seed, epoch, 1]).integers(
                len(order)
            )  # so that no chunk's end is left out for ever
            order = np.roll(order, -int(first))
            ends = np.cumsum(self.blocks.windows[order])
            order = order[: max(self.workers, int(np.searchsorted(ends, total)) + 1)]
            ends = ends[: len(order)]
        targets = np.arange(1, self.workers) * int(ends[-1]) / self.workers
        cuts = [0, *np.searchsorted(ends, targets, side="right").tolist(), len(order)]
        for w in range(1, self.workers):  # a block each, at least
            cuts[w] = min(max(cuts[w], cuts[w - 1] + 1), len(order) - (self.workers - w))
        mine = order[cuts[worker] : cuts[worker + 1]]
        blocks = Blocks(
            self.blocks.chunk[mine], self.blocks.block_id[mine], self.blocks.windows[mine]
        )
        own = int(blocks.windows.sum())
        if total < self.windows:
            own = min(own, total // self.workers + (worker < total % self.workers))
        return blocks, own

    def _order(self, epoch: int) -> Ints:
        """Places of blocks in the order of an epoch: chunks shuffled, a chunk's blocks in their own order."""
        chunks = np.unique(self.blocks.chunk)
        rank = np.empty(int(chunks.max()) + 1, np.int64)
        rank[np.random.default_rng([self.seed, epoch]).permutation(chunks)] = np.arange(len(chunks))
        return np.argsort(rank[self.blocks.chunk], kind="stable")

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


def blocks_of(manifest: Manifest, code: int) -> Blocks:
    """A training dataset's blocks of one code, in the order of their ids. Validation blocks are numbered after the others."""
    at = 0 if code == BlockRole.FIT else manifest.total("blocks", (BlockRole.FIT,))
    chunk: list[Ints] = [np.zeros(0, np.int64)]
    windows: list[Ints] = [np.zeros(0, np.int64)]
    for place, c in enumerate(manifest.chunks):
        if c.code == code:
            own = np.repeat(
                [w for w, _ in c.block_windows], [n for _, n in c.block_windows]
            ).astype(np.int64)
            chunk.append(np.full(len(own), place, np.int64))
            windows.append(own)
    sizes = np.concatenate(windows)
    return Blocks(np.concatenate(chunk), at + np.arange(len(sizes), dtype=np.int64), sizes)


def make_plan(
    manifest: Manifest, *, seed: int, batch: int, workers: int, limit: int | None
) -> Plan:
    """The plan of a training dataset. Raises SettingsError for more workers than blocks or windows of a batch."""
    blocks = blocks_of(manifest, BlockRole.FIT)
    if workers > max(1, len(blocks)):
        raise SettingsError(
            f"training.workers is {workers}, but the training dataset holds {len(blocks)} blocks to deal out; every "
            "worker needs one at least. Use fewer workers, or a smaller windows.block."
        )
    if batch < workers:
        raise SettingsError(
            f"training.batch is {batch}, smaller than training.workers ({workers}): every worker needs a window of "
            "each batch. Raise training.batch."
        )
    if limit is not None and limit < workers:
        raise SettingsError(
            f"training.windows_per_epoch is {limit}, fewer than training.workers ({workers}). Raise it."
        )
    return Plan(blocks, seed, batch, workers, limit)


def dataset_identity(manifest: Manifest) -> dict[str, object]:
    """What tells one training dataset from another, part by part, for a message that names what changed."""
    files = sorted((c.file, c.sha256) for c in manifest.chunks)
    return {
        "features": list(manifest.features),
        "length": manifest.length,
        "stride": manifest.stride,
        "scaler": manifest.scaler_sha256,
        "files": len(files),
        "events": manifest.total("events"),
        "content": digest(files),
    }
