"""Reads a dataset of blocks: Petastorm into tf.data for training, in the plan's order."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from foreshock.errors import DataError
from foreshock.platform.paths import filesystem, is_remote
from foreshock.platform.quiet import held_stderr
from foreshock.sequences.split import BlockRole
from foreshock.windows.dataset.chunks import (
    Floats,
    Pool,
    TrainingBlock,
    block_windows,
    deal,
    wanted_blocks,
)
from foreshock.windows.dataset.manifest import Manifest
from foreshock.windows.dataset.plan import Blocks, Plan, Share, blocks_of

warnings.filterwarnings(
    "ignore", category=FutureWarning, module=r"petastorm\..*"
)  # dozens a read, on pyarrow's old reader
warnings.filterwarnings(
    "ignore", category=FutureWarning, message=r"(?s).*pyarrow\.filesystem"
)  # and one where we meet it

with held_stderr():
    import tensorflow as tf
    from petastorm.fs_utils import get_filesystem_and_path_or_paths  # after the filter
    from petastorm.py_dict_reader_worker import PyDictReaderWorker
    from petastorm.reader import Reader
    from petastorm.workers_pool.dummy_pool import DummyPool
    from pyarrow.filesystem import DaskFileSystem

VALUES = 4_000_000  # of batches that are gathered at once: a step costs less where many share it
FIELDS = ["block_id", "x", "n_windows", "first_padding"]


class _S3(DaskFileSystem):  # type: ignore[misc]
    """S3 as Petastorm's old PyArrow interface wants it, over s3fs."""

    def isdir(self, path: str) -> bool:
        return bool(self.fs.isdir(path))

    def isfile(self, path: str) -> bool:
        return bool(self.fs.isfile(path))

    def exists(self, path: str) -> bool:
        return bool(self.fs.exists(path))

    def ls(self, path: str, detail: bool = False) -> Any:
        return self.fs.ls(path, detail=detail)

    def walk(self, path: str) -> Any:
        return self.fs.walk(path)

    def open(self, path: str, mode: str = "rb") -> Any:
        return self.fs.open(path, mode)


def _opened(folder: Path) -> tuple[Any, str]:
    if is_remote(folder):
        path, fs = filesystem(folder)
        return _S3(fs), path
    found: tuple[Any, str] = get_filesystem_and_path_or_paths(folder.resolve().as_uri())
    return found


class _OrderedReader(Reader):  # type: ignore[misc]
    """Petastorm's reader over chosen files of a dataset, one row group each, in a given order.

    Its thread pool loses the last results now and then (a race in its `all_workers_done`); the dummy pool reads in the caller's
    thread, which for training is tf.data's own.
    """

    def __init__(self, folder: Path, files: list[str]) -> None:
        self._order = files
        filesystem, path = _opened(folder)
        super().__init__(
            filesystem,
            path,
            schema_fields=FIELDS,
            worker_class=PyDictReaderWorker,
            reader_pool=DummyPool(),
            shuffle_row_groups=False,
            num_epochs=1,
        )

    def _filter_row_groups(
        self, dataset: Any, row_groups: list[Any], *_: Any
    ) -> tuple[list[int], None]:
        place = {Path(piece.path).name: i for i, piece in enumerate(row_groups)}
        if missing := [file for file in self._order if file not in place]:
            raise FileNotFoundError(f"{missing[0]} is not there")
        return [place[file] for file in self._order], None


def read_blocks(folder: Path, manifest: Manifest, wanted: Blocks) -> Iterator[TrainingBlock]:
    """The wanted blocks of a training dataset, in their order: blocks of one chunk follow each other.

    Raises DataError where a file is gone or its blocks are not those of the manifest.
    """
    if not len(wanted):
        return
    # A plan that begins within a chunk comes back to its first blocks at the end, so a file may be read twice.
    first = np.flatnonzero(
        (np.diff(wanted.chunk, prepend=-1) != 0) | (np.diff(wanted.block_id, prepend=-1) < 0)
    )
    ends = np.append(first[1:], len(wanted))
    files = [manifest.chunks[c].file for c in wanted.chunk[first]]
    at = 0
    reader: Any = None
    try:
        reader = _OrderedReader(folder, files)
        for file, a, b in zip(files, first.tolist(), ends.tolist(), strict=True):
            low, high = int(wanted.block_id[a:b].min()), int(wanted.block_id[a:b].max())
            chunk = manifest.chunks[int(wanted.chunk[a])]
            for _ in range(chunk.blocks):
                row = next(reader)
                if low <= row.block_id <= high:
                    if row.block_id != wanted.block_id[at] or row.n_windows != wanted.windows[at]:
                        raise DataError(
                            f"{folder / file}: block {row.block_id} with {row.n_windows} windows stands where the manifest "
                            f"has block {wanted.block_id[at]} with {wanted.windows[at]}; the dataset was altered. Run "
                            "jobs/prepare.py --force."
                        )
                    at += 1
                    yield TrainingBlock(
                        int(row.block_id), row.x, int(row.n_windows), int(row.first_padding)
                    )
    except StopIteration:
        pass
    except (OSError, pa.ArrowException) as error:
        if is_remote(folder) and not isinstance(error, FileNotFoundError | pa.ArrowException):
            raise  # the service, not the dataset
        raise DataError(
            f"{folder}: a file of the dataset cannot be read ({' '.join(str(error).split())[:300]}); it was altered or "
            "removed. Run jobs/prepare.py --force."
        ) from None
    finally:
        if reader is not None:
            with contextlib.redirect_stdout(io.StringIO()):  # petastorm prints as it closes
                reader.stop()
                reader.join()
    if at != len(wanted):
        raise DataError(
            f"{folder}: the reader gave {at} blocks of {len(wanted)}; the dataset was altered. Run jobs/prepare.py --force."
        )


@dataclass
class WindowData:
    """A worker's training windows as batches of (x: (b, L, F) float32, weight: (b, L) float32), b the batch of a replica.

    `failure` holds what stopped the reading, for tf.data turns every exception into its own.
    """

    folder: Path
    manifest: Manifest
    plan: Plan
    worker: int = 0
    replicas: int = 1
    failure: Exception | None = None
    seen: list[int] = field(default_factory=list)

    def share(self, epoch: int) -> Share:
        return self.plan.share(epoch, self.worker)

    def blocks_of(self, epoch: int, step: int) -> list[int]:
        """Ids of the blocks in a step's batch, of all workers; steps count from 0."""
        return sorted(
            {b for w in range(self.plan.workers) for b in self.plan.share(epoch, w).blocks_of(step)}
        )

    def empty(self, epoch: int) -> int:
        """Windows of weight 0 in an epoch, of all workers."""
        return sum(self.plan.share(epoch, w).empty for w in range(self.plan.workers))

    def pools(self, share: Share, first: int = 0) -> Iterator[Pool]:
        """An epoch's pools from a step on; `seen` becomes the ids of all blocks of the epoch up to the one read last."""
        wanted = wanted_blocks(share, first)
        self.seen = share.blocks.block_id[: len(share.blocks) - len(wanted)].tolist()
        try:
            yield from deal(
                self._noted(wanted),
                share,
                self.manifest.length,
                self.manifest.stride,
                len(self.manifest.features),
                first,
            )
        except Exception as error:
            self.failure = error
            raise

    def _noted(self, wanted: Blocks) -> Iterator[TrainingBlock]:
        for block in read_blocks(self.folder, self.manifest, wanted):
            self.seen.append(block.block_id)
            yield block

    def dataset(self, share: Share, first: int = 0) -> tf.data.Dataset:
        """An epoch from a step on as a tf.data pipeline that prefetches: `replicas` elements a step.

        Where the batch is no multiple of the replicas, empty windows fill it up.
        """
        length, features, batch = self.manifest.length, len(self.manifest.features), share.batch
        steps = tf.range(length, dtype=tf.int64)
        more = -batch % self.replicas
        size = (batch + more) // self.replicas
        at_once = max(1, VALUES // (size * length * features))

        def cut(
            start: tf.Tensor, padding: tf.Tensor, rows: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor]:
            x = tf.gather(rows, start[..., None] + steps)  # (k, b, L, F)
            weight = tf.cast(steps >= padding[..., None], tf.float32)  # (k, b, L)
            return tf.ensure_shape(x, (None, None, length, features)), weight

        def batches(rows: tf.Tensor, start: tf.Tensor, padding: tf.Tensor) -> tf.data.Dataset:
            start = tf.pad(tf.reshape(start, (-1, batch)), [[0, 0], [0, more]])
            padding = tf.pad(
                tf.reshape(padding, (-1, batch)), [[0, 0], [0, more]], constant_values=length
            )
            index = tf.data.Dataset.from_tensor_slices(
                (tf.reshape(start, (-1, size)), tf.reshape(padding, (-1, size)))
            ).batch(at_once)
            return index.map(lambda s, p: cut(s, p, rows), num_parallel_calls=2, deterministic=True)

        signature = (
            tf.TensorSpec((None, features), tf.float32),
            tf.TensorSpec((None,), tf.int64),
            tf.TensorSpec((None,), tf.int64),
        )
        pools = tf.data.Dataset.from_generator(
            lambda: ((p.rows, p.start, p.padding) for p in self.pools(share, first)),
            output_signature=signature,
        )
        several = pools.prefetch(1).flat_map(batches)
        # Slices along the first axis share the memory of what they are cut from.
        return several.flat_map(lambda x, w: tf.data.Dataset.from_tensor_slices((x, w))).prefetch(
            4 * self.replicas
        )

    def held_out(self, most: int) -> tuple[Floats, Floats]:
        """Validation windows (N, L, F) and weights (N, L): all, or evenly chosen ones where there are more than `most`."""
        return sample_windows(self.folder, self.manifest, BlockRole.VALIDATION, most)


def sample_windows(
    folder: Path, manifest: Manifest, code: int, most: int, chunks: int | None = None
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Windows (N, L, F) and weights (N, L) evenly chosen over a dataset's blocks of one code: the same for the same dataset.

    chunks: look into so many of its files at most, evenly chosen.
    """
    wanted = blocks_of(manifest, code)
    there = np.unique(wanted.chunk)
    if chunks is not None and len(there) > chunks:
        own = np.isin(wanted.chunk, there[:: -(-len(there) // chunks)])
        wanted = Blocks(wanted.chunk[own], wanted.block_id[own], wanted.windows[own])
    step = max(1, -(-int(wanted.windows.sum()) // most))
    xs, weights, seen = [], [], 0
    for block in read_blocks(folder, manifest, wanted):
        x, weight = block_windows(block, manifest.length, manifest.stride)
        first = -seen % step
        if first < block.windows:  # copies: a view would keep its whole block
            xs.append(x[first::step].copy())
            weights.append(weight[first::step].copy())
        seen += block.windows
    if not xs:
        return np.zeros((0, manifest.length, len(manifest.features)), np.float32), np.zeros(
            (0, manifest.length), np.float32
        )
    return np.concatenate(xs), np.concatenate(weights)
