"""Reads a dataset of blocks: Petastorm for training, whole chunks for scoring."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from foreshock.dataset.chunks import TrainingBlock, block_windows, mix
from foreshock.dataset.manifest import Manifest
from foreshock.errors import DataError
from foreshock.quiet import held_stderr

warnings.filterwarnings("ignore", category=FutureWarning, module=r"petastorm\..*")  # dozens a read, on pyarrow's old reader

with held_stderr():
    import tensorflow as tf
    from petastorm import make_reader  # after the filter
    from petastorm.predicates import in_lambda

FIELDS = ["block_id", "x", "n_windows", "first_padding", "validation"]
POOL_WINDOWS = 1 << 16
FIT, VALIDATION = 1, 2  # codes of a training dataset's blocks


def read_blocks(folder: Path, manifest: Manifest, *, validation: bool, seed: int | None) -> Iterator[TrainingBlock]:
    """Blocks of a training dataset, of its validation part or the rest; chunks shuffled by the seed, in order where None.

    Raises DataError where the reader ends with fewer blocks than the manifest counts.
    """
    # Petastorm's thread pool loses the last results now and then (a race in its `all_workers_done`); the dummy pool reads in
    # the caller's thread, which for training is tf.data's own.
    chosen = in_lambda(["validation"], lambda value: bool(value) == validation)
    reader = make_reader(folder.resolve().as_uri(), schema_fields=FIELDS, predicate=chosen, shuffle_row_groups=seed is not None,
                         seed=seed, reader_pool_type="dummy", num_epochs=1)
    seen = 0
    try:
        for row in reader:
            seen += 1
            yield TrainingBlock(int(row.block_id), row.x, int(row.n_windows), int(row.first_padding))
    finally:
        with contextlib.redirect_stdout(io.StringIO()):  # petastorm prints as it closes
            reader.stop()
            reader.join()
    wanted = manifest.total("blocks", (VALIDATION,) if validation else (FIT,))
    if seen != wanted:
        raise DataError(f"{folder}: the reader gave {seen} blocks of {wanted}; the dataset was altered. Run jobs/prepare.py --force.")


@dataclass(frozen=True)
class WindowData:
    """Training windows of a dataset as batches of (x: (B, L, F) float32, weight: (B, L) float32)."""

    folder: Path
    manifest: Manifest
    batch: int
    seed: int
    limit: int | None

    def batches(self, epoch: int) -> Iterator[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]:
        """One epoch, shuffled across blocks and within by (seed, epoch); at most `limit` windows; the last batch may be short."""
        rng = np.random.default_rng([self.seed, epoch])
        blocks = read_blocks(self.folder, self.manifest, validation=False, seed=int(rng.integers(2**31)))
        yield from mix(blocks, self.manifest.length, self.manifest.stride, self.batch, POOL_WINDOWS, rng, self.limit)

    def dataset(self, epoch: int) -> tf.data.Dataset:
        """The epoch as a tf.data pipeline that prefetches."""
        length, features = self.manifest.length, len(self.manifest.features)
        signature = (tf.TensorSpec((None, length, features), tf.float32), tf.TensorSpec((None, length), tf.float32))
        return tf.data.Dataset.from_generator(lambda: self.batches(epoch), output_signature=signature).prefetch(4)

    def held_out(self, most: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Validation windows (N, L, F) and weights (N, L): all, or evenly chosen ones where there are more than `most`."""
        return sample_windows(self.folder, self.manifest, validation=True, most=most)


def sample_windows(
    folder: Path, manifest: Manifest, *, validation: bool, most: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Windows (N, L, F) and weights (N, L) evenly chosen over a training dataset: the same for the same dataset."""
    codes = (VALIDATION,) if validation else (FIT,)
    total = manifest.total("windows", codes)
    step = max(1, -(-total // most))
    xs, weights, seen = [], [], 0
    for block in read_blocks(folder, manifest, validation=validation, seed=None):
        x, weight = block_windows(block, manifest.length, manifest.stride)
        first = -seen % step
        xs.append(x[first::step])
        weights.append(weight[first::step])
        seen += block.windows
    if not xs:
        return np.zeros((0, manifest.length, len(manifest.features)), np.float32), np.zeros((0, manifest.length), np.float32)
    return np.concatenate(xs), np.concatenate(weights)
