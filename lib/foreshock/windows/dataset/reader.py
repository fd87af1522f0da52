"""Reads the blocks of a dataset in a given order, by Petastorm or by plain Arrow.

Petastorm unpickles the schema in `_common_metadata`. So its reader is used only if the file's bytes
are those that this installation writes for the manifest; else, and if Petastorm is not installed,
plain Arrow reads the same blocks in the same order.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
import pyarrow as pa

from foreshock.errors import DataError
from foreshock.platform.paths import is_remote
from foreshock.sequences.split import BlockRole
from foreshock.statistics.arrays import Float32Array
from foreshock.windows.dataset.block_table import BlockTable, blocks_of
from foreshock.windows.dataset.chunks import TrainingBlock, block_windows
from foreshock.windows.dataset.manifest import METADATA_NAME, REMEDY, BlockShape, Manifest
from foreshock.windows.dataset.metadata import metadata_bytes
from foreshock.windows.dataset.schema import BlockRow, read_rows

TRAINING_FIELDS = ("block_id", "x", "n_windows", "first_padding")


class BlockReader(Protocol):
    """Reads the blocks of a dataset's files."""

    @property
    def is_fallback(self) -> bool:
        """Whether it stands in for Petastorm's reader."""

    def rows(self, files: Sequence[str], fields: Sequence[str]) -> Generator[BlockRow, None, None]:
        """All blocks of the files, file after file in that order, decoded to the fields.

        A file may be named several times. Raises DataError naming file and column if a file's
        columns or arrays are not those of blocks. Closing the generator closes what it has open.
        """


@dataclass(frozen=True)
class ArrowBlockReader:
    """Reads blocks with PyArrow alone; nothing is unpickled."""

    folder: Path
    shape: BlockShape
    is_fallback: ClassVar[bool] = True

    def rows(self, files: Sequence[str], fields: Sequence[str]) -> Generator[BlockRow, None, None]:
        """See BlockReader."""
        for file in files:
            yield from read_rows(self.folder / file, self.shape, fields)


def block_reader(folder: Path, manifest: Manifest) -> BlockReader:
    """Petastorm's reader if it is installed and the metadata is what it writes; else Arrow's.

    The metadata's bytes are compared with those that this installation writes: others are never
    unpickled.
    """
    files = [chunk.file for chunk in manifest.chunks]
    trusted_metadata = metadata_bytes(len(manifest.features), files)
    if trusted_metadata is not None and (folder / METADATA_NAME).read_bytes() == trusted_metadata:
        from foreshock.windows.dataset.petastorm_reader import PetastormBlockReader

        return PetastormBlockReader(folder, manifest.block_shape, tuple(files), trusted_metadata)
    return ArrowBlockReader(folder, manifest.block_shape)


@dataclass(frozen=True)
class _FileVisit:
    """A run of wanted blocks [first, end) that lie in one file, which holds `n_blocks`."""

    file: str
    n_blocks: int
    first: int
    end: int


def _file_visits(manifest: Manifest, wanted: BlockTable) -> list[_FileVisit]:
    """The files to open, in order.

    A plan that begins within a chunk comes back to its first blocks at the end, so a file may be
    visited twice.
    """
    is_other_chunk = np.diff(wanted.chunk_index, prepend=-1) != 0
    goes_back = np.diff(wanted.block_id, prepend=-1) < 0
    bounds = [*np.flatnonzero(is_other_chunk | goes_back).tolist(), len(wanted)]
    chunks = [manifest.chunks[index] for index in wanted.chunk_index[bounds[:-1]].tolist()]
    return [
        _FileVisit(chunk.file, chunk.blocks, first, end)
        for chunk, (first, end) in zip(chunks, itertools.pairwise(bounds), strict=True)
    ]


def read_blocks(
    folder: Path, manifest: Manifest, wanted: BlockTable, reader: BlockReader | None = None
) -> Iterator[TrainingBlock]:
    """The wanted blocks of a training dataset, in their order: a chunk's blocks follow each other.

    Raises DataError if a file is gone or its blocks are not those of the manifest.
    """
    if not len(wanted):
        return
    visits = _file_visits(manifest, wanted)
    reader = reader or block_reader(folder, manifest)
    rows = reader.rows([visit.file for visit in visits], TRAINING_FIELDS)
    try:
        # Whoever reads may stop early; open files are closed then too.
        with contextlib.closing(rows):
            for visit in visits:
                yield from _visited_blocks(folder, rows, visit, wanted)
    except (OSError, pa.ArrowException) as error:
        if is_remote(folder) and not isinstance(error, FileNotFoundError | pa.ArrowException):
            # The service failed, not the dataset.
            raise
        raise DataError(
            f"{folder}: a file of the dataset cannot be read "
            f"({' '.join(str(error).split())[:300]}); it was altered or removed. "
            "Run jobs/prepare.py --force."
        ) from None


def _visited_blocks(
    folder: Path, rows: Iterator[BlockRow], visit: _FileVisit, wanted: BlockTable
) -> Iterator[TrainingBlock]:
    """The wanted blocks of the file that `rows` have come to."""
    wanted_ids = wanted.block_id[visit.first : visit.end].tolist()
    wanted_windows = wanted.window_count[visit.first : visit.end].tolist()
    position = 0
    for row in itertools.islice(rows, visit.n_blocks):
        # A whole file is read, of which an epoch that is resumed may want the last blocks only.
        if not min(wanted_ids) <= row["block_id"] <= max(wanted_ids):
            continue
        if position == len(wanted_ids) or (row["block_id"], row["n_windows"]) != (
            wanted_ids[position],
            wanted_windows[position],
        ):
            next_wanted = min(position, len(wanted_ids) - 1)
            raise DataError(
                f"{folder / visit.file}: block {row['block_id']} with {row['n_windows']} windows "
                f"stands where the manifest has block {wanted_ids[next_wanted]} with "
                f"{wanted_windows[next_wanted]}; {REMEDY}"
            )
        position += 1
        yield TrainingBlock(
            int(row["block_id"]), row["x"], int(row["n_windows"]), int(row["first_padding"])
        )
    if position != len(wanted_ids):
        raise DataError(
            f"{folder / visit.file}: the reader gave {position} blocks of {len(wanted_ids)}; "
            f"{REMEDY}"
        )


def sample_windows(
    folder: Path, manifest: Manifest, role: BlockRole, most: int, chunks: int | None = None
) -> tuple[Float32Array, Float32Array]:
    """Windows (N, L, F) and weights (N, L), evenly spaced over the blocks of one role.

    The sample is the same for the same dataset. most: about the largest N.
    chunks: look into so many of the files at most, evenly spaced.
    """
    wanted = blocks_of(manifest, role)
    chunk_indices = np.unique(wanted.chunk_index)
    if chunks is not None and len(chunk_indices) > chunks:
        every = -(-len(chunk_indices) // chunks)
        wanted = wanted.take(np.isin(wanted.chunk_index, chunk_indices[::every]))
    spacing = max(1, -(-wanted.total_windows // most))
    sampled_windows = [np.zeros((0, manifest.length, len(manifest.features)), np.float32)]
    sampled_weights = [np.zeros((0, manifest.length), np.float32)]
    windows_before = 0
    for block in read_blocks(folder, manifest, wanted):
        windows, weight = block_windows(block, manifest.length, manifest.stride)
        first = -windows_before % spacing
        # Copies, because a view would keep its whole block.
        if first < block.n_windows:
            sampled_windows.append(windows[first::spacing].copy())
            sampled_weights.append(weight[first::spacing].copy())
        windows_before += block.n_windows
    return np.concatenate(sampled_windows), np.concatenate(sampled_weights)
