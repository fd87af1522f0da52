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
        """From a column; nulls become the empty text."""
        plain = pc.fill_null(column.combine_chunks().cast(pa.string()), "")
        encoded = pc.dictionary_encode(plain)
        words = encoded.dictionary.to_pylist() or [""]
        return cls(np.array(words, dtype=np.str_), encoded.indices.to_numpy())

    def word(self, row: int) -> str:
        """The text of a row."""
        return str(self.words[self.codes[row]])

    def rows(self, rows: slice) -> TextArray:
        """The texts of some rows."""
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
        """From a table that holds the scaler's features."""
        names = [feature.name for feature in scaler.features]
        raw = [pc.fill_null(events[name], float("nan")).to_numpy() for name in names]
        label = pc.fill_null(events[C.LABEL], C.UNKNOWN_LABEL)
        return cls(
            x=scaler.apply(np.column_stack(raw)),
            entity=events[C.ENTITY],
            event_id=events[C.EVENT_ID].combine_chunks(),
            time=events[C.EVENT_TIME].to_numpy(),
            split=events[SPLIT].to_numpy().astype(np.int8),
            label=label.to_numpy().astype(np.int8),
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
        """Write all pieces; firsts: see `cutting.numbering`."""
        pieces = []
        steps = self.blocks.steps(self.grid)
        for role in BlockRole:
            of_role = np.flatnonzero(self.blocks.role == role)
            block_ids = firsts[role].blocks + np.arange(len(of_role))
            rows_before = firsts[role].rows + np.cumsum(steps[of_role]) - steps[of_role]
            chunks = rows_before // CHUNK_EVENTS
            for chunk in np.unique(chunks).tolist():
                in_chunk = chunks == chunk
                piece = self._write_piece(role, chunk, of_role[in_chunk], block_ids[in_chunk])
                pieces.append(piece)
        return pieces

    def _write_piece(
        self, role: BlockRole, chunk: int, members: Int64Array, block_ids: Int64Array
    ) -> Piece:
        numbered = zip(members.tolist(), block_ids.tolist(), strict=True)
        rows = [self._encoded(member, block_id, role) for member, block_id in numbered]
        path = self.folder / PIECES / f"{role:d}-{chunk:06d}-{self.file:06d}.parquet"
        write_file(path, pa.Table.from_pylist(rows, schema=BLOCK_SCHEMA))
        ends = np.concatenate([self._window_ends(member) for member in members.tolist()])
        partitions = self.columns.partition.words[np.unique(self.columns.partition.codes[ends])]
        events = int(self.blocks.steps(self.grid)[members].sum())
        row_bytes = self.columns.x.itemsize * self.columns.x.shape[1]
        return Piece(
            role=role,
            chunk=chunk,
            file=self.file,
            path=str(path),
            blocks=len(members),
            windows=int(self.blocks.windows[members].sum()),
            events=events,
            x_bytes=events * row_bytes,
            partitions=tuple(sorted(partitions.tolist())),
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
        start, padding = int(self.blocks.start[member]), int(self.blocks.padding[member])
        length = int(self.blocks.events(self.grid)[member])
        rows = slice(start, start + length)
        first_end = start + self.grid.length - 1 - padding
        arrays: dict[str, AnyArray] = {
            "x": columns.x[rows],
            "event_time": columns.time[rows],
            "event_id": text_array(columns.event_id.slice(start, length)),
            "label": columns.label[rows],
            "split": columns.split[rows],
            "calibrate": columns.calibrate[rows],
            "event_partition": columns.partition.rows(rows),
            "event_group": columns.group.rows(rows),
            "kind": columns.kind.rows(rows),
        }
        fills = {"label": C.UNKNOWN_LABEL}
        encoded = {
            name: encode(_padded(values, padding, fills.get(name, 0)))
            for name, values in arrays.items()
        }
        return {
            "block_id": block_id,
            "entity": columns.entity[start].as_py(),
            "group": columns.group.word(first_end),
            "partition": columns.partition.word(first_end),
            "n_windows": int(self.blocks.windows[member]),
            "first_padding": padding,
            "validation": int(role == BlockRole.VALIDATION),
            **encoded,
        }


def _padded(values: AnyArray, padding: int, fill: int) -> AnyArray:
    """Values behind `padding` rows of nothing: zeros or empty texts, or another number."""
    if not padding:
        return values
    head = np.zeros((padding, *values.shape[1:]), values.dtype)
    if fill:
        head[:] = fill
    return np.concatenate([head, values])
