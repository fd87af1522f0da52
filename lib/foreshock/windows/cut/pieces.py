"""Writes a file's blocks as pieces of chunks: the encoded rows of a Petastorm dataset
(windows.dataset.writer).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from foreshock import columns as C
from foreshock.scaling.robust import Scaler
from foreshock.sequences.order import SPLIT
from foreshock.sequences.split import BlockRole
from foreshock.statistics.arrays import (
    AnyArray,
    Float32Array,
    Int8Array,
    Int32Array,
    Int64Array,
    TextArray,
)
from foreshock.windows.cut.blocks import WindowBlocks
from foreshock.windows.cut.cutting import BlockCount
from foreshock.windows.cut.grid import WindowGrid
from foreshock.windows.dataset.schema import BLOCK_SCHEMA, encode, text_array
from foreshock.windows.dataset.writer import CHUNK_EVENTS, write_file

PIECES = "pieces"  # folder
PIECE = pa.schema(
    [
        ("role", pa.int32()),
        ("chunk", pa.int32()),
        ("file", pa.int32()),
        ("path", pa.string()),
        ("blocks", pa.int64()),
        ("windows", pa.int64()),
        ("events", pa.int64()),
        ("x_bytes", pa.int64()),
        ("partitions", pa.list_(pa.string())),
        ("block_windows", pa.list_(pa.int32())),
    ]
)


@dataclass(frozen=True)
class Piece:
    """Blocks of one role that start in one chunk and were cut by one sorted file, and what they
    hold.

    events: rows, padding included. partitions: those in which the windows end. block_windows:
    windows of each block, in order.
    """

    role: BlockRole
    chunk: int
    file: int
    path: str
    blocks: int
    windows: int
    events: int
    x_bytes: int
    partitions: tuple[str, ...]
    block_windows: tuple[int, ...]

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Piece:
        """The piece of a row of PIECE."""
        lists = {name: tuple(row[name]) for name in ("partitions", "block_windows")}
        return cls(**{**row, **lists, "role": BlockRole(row["role"])})

    @property
    def order(self) -> tuple[int, int, int]:
        """The key by which pieces follow each other."""
        return (self.role, self.chunk, self.file)


@dataclass(frozen=True)
class CodedTexts:
    """A column of texts as words (without repeats) and the index of each row's word (n,)."""

    words: TextArray
    codes: Int32Array

    @classmethod
    def of(cls, column: pa.ChunkedArray) -> CodedTexts:
        """From a column; nulls become the empty text.

        >>> texts = CodedTexts.of(pa.chunked_array([["a", None, "a"]]))
        >>> texts.codes.tolist(), texts.word(1)
        ([0, 1, 0], '')
        """
        plain_texts = pc.fill_null(column.combine_chunks().cast(pa.string()), "")
        encoded_texts = pc.dictionary_encode(plain_texts)
        words = encoded_texts.dictionary.to_pylist() or [""]
        return cls(np.array(words, dtype=np.str_), encoded_texts.indices.to_numpy())

    def word(self, row: int) -> str:
        """The text of a row.

        >>> CodedTexts.of(pa.chunked_array([["a", "b"]])).word(1)
        'b'
        """
        return str(self.words[self.codes[row]])

    def rows(self, rows: slice) -> TextArray:
        """The texts (n,) of some rows.

        >>> CodedTexts.of(pa.chunked_array([["a", "b"]])).rows(slice(1, 2)).tolist()
        ['b']
        """
        texts_of_rows: TextArray = self.words[self.codes[rows]]
        return texts_of_rows


@dataclass(frozen=True)
class EventColumns:
    """A file's events behind their halo as arrays that blocks slice; x: scaled features (n, F)."""

    x: Float32Array
    entity: pa.ChunkedArray
    event_id: pa.StringArray
    time: Int64Array
    split: Int8Array
    label: Int8Array
    calibrate: Int8Array
    partition: CodedTexts
    group: CodedTexts
    kind: CodedTexts

    @classmethod
    def of(cls, events: pa.Table, scaler: Scaler) -> EventColumns:
        """From a table that holds the scaler's features.

        events: a sorted file's rows, with the columns SHAPE and CARRIED (`sequences.order`).
        """
        feature_names = [feature.name for feature in scaler.features]
        # Nulls become NaN, which the scaler fills.
        raw_columns = [
            pc.fill_null(events[feature_name], float("nan")).to_numpy()
            for feature_name in feature_names
        ]
        known_labels = pc.fill_null(events[C.LABEL], C.UNKNOWN_LABEL)
        return cls(
            x=scaler.apply(np.column_stack(raw_columns)),
            entity=events[C.ENTITY],
            event_id=events[C.EVENT_ID].combine_chunks(),
            time=events[C.EVENT_TIME].to_numpy(),
            split=events[SPLIT].to_numpy().astype(np.int8),
            label=known_labels.to_numpy().astype(np.int8),
            calibrate=events[C.CALIBRATE_OK].to_numpy().astype(np.int8),
            partition=CodedTexts.of(events[C.PARTITION]),
            group=CodedTexts.of(events[C.GROUP]),
            kind=CodedTexts.of(events[C.KIND]),
        )


@dataclass(frozen=True)
class PieceWriter:
    """Writes the blocks of one sorted file, numbered `file`, as pieces below `folder`."""

    columns: EventColumns
    blocks: WindowBlocks
    grid: WindowGrid
    file: int
    folder: Path

    def write(self, firsts: Mapping[BlockRole, BlockCount]) -> list[Piece]:
        """Write all pieces, and return them in the order of role and chunk.

        firsts: the numbers of the file's first blocks (`cutting.numbering`).
        """
        pieces = []
        block_rows = self.blocks.steps(self.grid)
        for role in BlockRole:
            of_role = np.flatnonzero(self.blocks.role == role)
            block_ids = firsts[role].blocks + np.arange(len(of_role))
            # A chunk is a fixed range of a role's rows, so it depends on the events alone.
            rows_before = firsts[role].rows + np.cumsum(block_rows[of_role]) - block_rows[of_role]
            chunk_numbers = rows_before // CHUNK_EVENTS
            for chunk_number in np.unique(chunk_numbers).tolist():
                in_chunk = chunk_numbers == chunk_number
                piece = self._write_piece(
                    role, chunk_number, of_role[in_chunk], block_ids[in_chunk]
                )
                pieces.append(piece)
        return pieces

    def _write_piece(
        self, role: BlockRole, chunk: int, members: Int64Array, block_ids: Int64Array
    ) -> Piece:
        numbered_blocks = zip(members.tolist(), block_ids.tolist(), strict=True)
        encoded_rows = [
            self._encoded(member, block_id, role) for member, block_id in numbered_blocks
        ]
        piece_path = self.folder / PIECES / f"{role:d}-{chunk:06d}-{self.file:06d}.parquet"
        write_file(piece_path, pa.Table.from_pylist(encoded_rows, schema=BLOCK_SCHEMA))
        # Partitions are those of judged events: a block begins with events before them.
        window_ends = np.concatenate([self._window_ends(member) for member in members.tolist()])
        partition_names = self.columns.partition.words[
            np.unique(self.columns.partition.codes[window_ends])
        ]
        row_count = int(self.blocks.steps(self.grid)[members].sum())
        row_bytes = self.columns.x.itemsize * self.columns.x.shape[1]
        return Piece(
            role=role,
            chunk=chunk,
            file=self.file,
            path=str(piece_path),
            blocks=len(members),
            windows=int(self.blocks.windows[members].sum()),
            events=row_count,
            x_bytes=row_count * row_bytes,
            partitions=tuple(sorted(partition_names.tolist())),
            block_windows=tuple(self.blocks.windows[members].tolist()),
        )

    def _window_ends(self, member: int) -> Int64Array:
        """The rows at which a block's windows end."""
        padding = int(self.blocks.padding[member])
        first_end = int(self.blocks.start[member]) + self.grid.length - 1 - padding
        return first_end + np.arange(int(self.blocks.windows[member])) * self.grid.stride

    def _encoded(self, member: int, block_id: int, role: BlockRole) -> dict[str, object]:
        """A block as a row of the dataset."""
        columns = self.columns
        start_row, padding = int(self.blocks.start[member]), int(self.blocks.padding[member])
        event_count = int(self.blocks.events(self.grid)[member])
        block_rows = slice(start_row, start_row + event_count)
        first_end = start_row + self.grid.length - 1 - padding
        event_arrays: dict[str, AnyArray] = {
            "x": columns.x[block_rows],
            "event_time": columns.time[block_rows],
            "event_id": text_array(columns.event_id.slice(start_row, event_count)),
            "label": columns.label[block_rows],
            "split": columns.split[block_rows],
            "calibrate": columns.calibrate[block_rows],
            "event_partition": columns.partition.rows(block_rows),
            "event_group": columns.group.rows(block_rows),
            "kind": columns.kind.rows(block_rows),
        }
        # Padding has no label; 0 would say that it is normal.
        padding_fills = {"label": C.UNKNOWN_LABEL}
        encoded_arrays = {
            field_name: encode(_padded(values, padding, padding_fills.get(field_name, 0)))
            for field_name, values in event_arrays.items()
        }
        return {
            "block_id": block_id,
            "entity": columns.entity[start_row].as_py(),
            "group": columns.group.word(first_end),
            "partition": columns.partition.word(first_end),
            "n_windows": int(self.blocks.windows[member]),
            "first_padding": padding,
            "validation": int(role == BlockRole.VALIDATION),
            **encoded_arrays,
        }


def _padded(values: AnyArray, padding: int, fill: int) -> AnyArray:
    """Values behind `padding` rows of nothing: zeros or empty texts, or another number."""
    if not padding:
        return values
    padding_rows = np.zeros((padding, *values.shape[1:]), values.dtype)
    if fill:
        padding_rows[:] = fill
    return np.concatenate([padding_rows, values])
