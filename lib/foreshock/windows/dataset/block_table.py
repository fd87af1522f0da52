"""The blocks of a dataset as a table: what a plan deals out and a reader reads. NumPy alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foreshock.sequences.split import BlockRole
from foreshock.statistics.arrays import BoolArray, Int64Array
from foreshock.windows.dataset.manifest import Manifest


@dataclass(frozen=True)
class BlockTable:
    """Blocks in the order in which they are read; each array (n,) has one value a block.

    chunk_index: the place of the block's chunk in the manifest.
    """

    chunk_index: Int64Array
    block_id: Int64Array
    window_count: Int64Array

    def __len__(self) -> int:
        return len(self.block_id)

    @property
    def total_windows(self) -> int:
        """The windows of all blocks.

        >>> BlockTable(np.array([0, 0]), np.array([7, 8]), np.array([4, 2])).total_windows
        6
        """
        return int(self.window_count.sum())

    def between(self, first: int, end: int) -> BlockTable:
        """The blocks at the places [first, end).

        >>> table = BlockTable(np.array([0, 0, 1]), np.array([7, 8, 9]), np.array([4, 2, 6]))
        >>> table.between(1, 3).block_id.tolist()
        [8, 9]
        """
        places = slice(first, end)
        return BlockTable(
            self.chunk_index[places], self.block_id[places], self.window_count[places]
        )

    def take(self, places: Int64Array | BoolArray) -> BlockTable:
        """The blocks at some places, in their order, or where a mask is true.

        >>> table = BlockTable(np.array([0, 0, 1]), np.array([7, 8, 9]), np.array([4, 2, 6]))
        >>> table.take(np.array([2, 0])).block_id.tolist()
        [9, 7]
        """
        return BlockTable(
            self.chunk_index[places], self.block_id[places], self.window_count[places]
        )


def blocks_of(manifest: Manifest, role: BlockRole) -> BlockTable:
    """A training dataset's blocks of one role, in the order of their ids.

    Blocks of validation are numbered after those that are fitted.

    >>> from foreshock.windows.dataset.manifest import Chunk
    >>> def chunk(role):
    ...     return Chunk(f"{role}.parquet", role, 2, 6, 9, 72, 500, "", (), ((3, 2),))
    >>> chunks = (chunk(BlockRole.FIT), chunk(BlockRole.VALIDATION))
    >>> manifest = Manifest("train", ("amount",), 5, 1, "", "", chunks)
    >>> blocks_of(manifest, BlockRole.VALIDATION).block_id.tolist()
    [2, 3]
    """
    first_id = 0 if role == BlockRole.FIT else manifest.total("blocks", (BlockRole.FIT,))
    chunk_index: list[int] = []
    window_count: list[int] = []
    for index, chunk in enumerate(manifest.chunks):
        if chunk.role == role:
            windows = chunk.windows_by_block
            chunk_index += [index] * len(windows)
            window_count += windows
    block_id = first_id + np.arange(len(window_count), dtype=np.int64)
    return BlockTable(np.array(chunk_index, np.int64), block_id, np.array(window_count, np.int64))
