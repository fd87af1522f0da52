"""A worker's training windows as a tf.data pipeline, in the plan's order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from foreshock.platform.quiet import silenced_stderr
from foreshock.sequences.split import BlockRole
from foreshock.statistics.arrays import Float32Array
from foreshock.windows.dataset.block_table import BlockTable
from foreshock.windows.dataset.chunks import TrainingBlock, WindowPool, deal
from foreshock.windows.dataset.manifest import Manifest
from foreshock.windows.dataset.plan import EpochPlan, WorkerShare
from foreshock.windows.dataset.reader import BlockReader, block_reader, read_blocks, sample_windows

with silenced_stderr():
    import tensorflow as tf

# So many values of batches are gathered at once: a step costs less where many share it.
VALUES_AT_ONCE = 4_000_000


@dataclass
class WindowData:
    """A worker's training windows as batches of (x: (b, L, F), weight: (b, L)), both float32.

    b is the batch of a replica. `failure` holds what stopped the reading, for tf.data turns every
    exception into one of its own. `seen` has the ids of the blocks of the epoch that were read.
    """

    folder: Path
    manifest: Manifest
    plan: EpochPlan
    worker: int = 0
    replicas: int = 1
    failure: Exception | None = None
    seen: list[int] = field(default_factory=list)
    reader: BlockReader | None = None

    def share(self, epoch: int) -> WorkerShare:
        """What this worker reads in an epoch; epochs count from 1."""
        return self.plan.share(epoch, self.worker)

    def blocks_of(self, epoch: int, step: int) -> list[int]:
        """Ids of the blocks in a step's batch, of all workers; steps count from 0."""
        shares = [self.plan.share(epoch, worker) for worker in range(self.plan.workers)]
        return sorted({block_id for share in shares for block_id in share.block_ids_of(step)})

    def empty(self, epoch: int) -> int:
        """Windows of weight 0 in an epoch, of all workers."""
        return sum(self.plan.share(epoch, worker).empty for worker in range(self.plan.workers))

    def held_out(self, most: int) -> tuple[Float32Array, Float32Array]:
        """Validation windows (N, L, F) and weights (N, L).

        All of them, or evenly spaced ones if there are more than `most`.
        """
        return sample_windows(self.folder, self.manifest, BlockRole.VALIDATION, most)

    def pools(self, share: WorkerShare, first_step: int = 0) -> Iterator[WindowPool]:
        """An epoch's pools from a step on.

        `seen` becomes the ids of all blocks of the epoch up to the one read last.
        """
        wanted = share.remaining_blocks(first_step)
        read_before = len(share.blocks) - len(wanted)
        self.seen = share.blocks.block_id[:read_before].tolist()
        try:
            yield from deal(
                self._noted(wanted),
                share,
                self.manifest.length,
                self.manifest.stride,
                len(self.manifest.features),
                first_step,
            )
        except Exception as error:
            # tf.data raises an error of its own; the loop looks here for the reason.
            self.failure = error
            raise

    def _noted(self, wanted: BlockTable) -> Iterator[TrainingBlock]:
        """The wanted blocks, noted in `seen` as they are read."""
        if self.reader is None:
            self.reader = block_reader(self.folder, self.manifest)
        for block in read_blocks(self.folder, self.manifest, wanted, self.reader):
            self.seen.append(block.block_id)
            yield block

    def dataset(self, share: WorkerShare, first: int = 0) -> tf.data.Dataset:
        """An epoch from a step on as a tf.data pipeline that prefetches.

        A step has `replicas` elements. If the batch is no multiple of the replicas, empty windows
        fill it up.
        """
        n_features = len(self.manifest.features)
        places = tf.TensorSpec((None,), tf.int64)
        pools = tf.data.Dataset.from_generator(
            lambda: ((pool.rows, pool.start, pool.padding) for pool in self.pools(share, first)),
            output_signature=(tf.TensorSpec((None, n_features), tf.float32), places, places),
        )
        batching = _Batching(self.manifest.length, n_features, share.batch, self.replicas)
        several_batches = pools.prefetch(1).flat_map(batching.batches)
        # Slices along the first axis share the memory of what they are cut from.
        batches = several_batches.flat_map(
            lambda x, weight: tf.data.Dataset.from_tensor_slices((x, weight))
        )
        return batches.prefetch(4 * self.replicas)


@dataclass(frozen=True)
class _Batching:
    """How a pool becomes batches; several are gathered at once."""

    length: int
    n_features: int
    batch: int
    replicas: int

    def batches(self, rows: tf.Tensor, start: tf.Tensor, padding: tf.Tensor) -> tf.data.Dataset:
        """Elements (k, b, L, F) and (k, b, L) of a pool: k batches of a replica each."""
        missing = -self.batch % self.replicas
        replica_batch = (self.batch + missing) // self.replicas
        values_of_batch = replica_batch * self.length * self.n_features
        at_once = max(1, VALUES_AT_ONCE // values_of_batch)
        # Each batch is filled up by itself, so that a step holds the plan's windows.
        fill = [[0, 0], [0, missing]]
        start = tf.pad(tf.reshape(start, (-1, self.batch)), fill)
        padding = tf.pad(tf.reshape(padding, (-1, self.batch)), fill, constant_values=self.length)
        windows = tf.data.Dataset.from_tensor_slices(
            (tf.reshape(start, (-1, replica_batch)), tf.reshape(padding, (-1, replica_batch)))
        )
        return windows.batch(at_once).map(
            lambda starts, paddings: self._gather(rows, starts, paddings),
            num_parallel_calls=2,
            deterministic=True,
        )

    def _gather(
        self, rows: tf.Tensor, start: tf.Tensor, padding: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Windows (k, b, L, F) and their weights (k, b, L)."""
        steps = tf.range(self.length, dtype=tf.int64)
        x = tf.gather(rows, start[..., None] + steps)
        weight = tf.cast(steps >= padding[..., None], tf.float32)
        return tf.ensure_shape(x, (None, None, self.length, self.n_features)), weight
