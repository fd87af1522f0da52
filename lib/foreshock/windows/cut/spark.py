"""Cuts windows with Spark, a task a sorted file: first counting blocks, so that all have their
numbers, then writing them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
from pyspark.sql import SparkSession

from foreshock.platform.parquet import write_table
from foreshock.platform.session import collect_items
from foreshock.scaling.robust import Scaler
from foreshock.sequences.event_rows import SEQUENCES, TAILS, sequence_events, tail_events
from foreshock.sequences.order import CARRIED, SHAPE, tiebreak_columns
from foreshock.sequences.split import BlockRole
from foreshock.windows.cut.cutting import (
    BlockCount,
    Cutting,
    RoleCounts,
    count_by_role,
    numbering,
)
from foreshock.windows.cut.pieces import PIECE, PIECES, EventColumns, Piece, PieceWriter

REST = "rest"  # folder
COUNTS = "file int, role int, blocks bigint, rows bigint"
PIECE_COLUMNS = (
    "role int, chunk int, file int, path string, blocks bigint, windows bigint, events bigint, "
    "x_bytes bigint, partitions array<string>, block_windows array<int>"
)


@dataclass(frozen=True)
class Writing:
    """What is written of each file, and where: `folder` gets the folders pieces, rest and tails.

    tiebreaks: how many. write_sequences: whether `folder` gets `sequences` too, one row an event,
    and tails at least the last event of each entity.
    """

    scaler: Scaler
    tiebreaks: int
    folder: Path
    write_sequences: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of sorted files that are read."""
        feature_names = tuple(feature.name for feature in self.scaler.features)
        return (*SHAPE, *CARRIED, *tiebreak_columns(self.tiebreaks), *feature_names)

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders that are written."""
        return (PIECES, REST, TAILS, *((SEQUENCES,) if self.write_sequences else ()))


def count_blocks(
    spark: SparkSession, cutting: Cutting, *, here: bool = False
) -> list[dict[BlockRole, BlockCount]]:
    """The blocks that each file will cut, by role: what numbers blocks before any is written.

    here: in this process, without Spark.
    """

    def count_file(number: int) -> Iterator[pa.RecordBatch]:
        events = cutting.files.read(number, SHAPE)
        blocks = cutting.blocks(cutting.facts(events, number), number)
        role_counts = count_by_role(blocks, cutting.grid).items()
        rows = [{"file": number, "role": int(role), **asdict(count)} for role, count in role_counts]
        yield pa.RecordBatch.from_pylist(rows)

    role_counts: list[dict[BlockRole, BlockCount]] = [{} for _ in range(len(cutting.files))]
    for row in collect_items(spark, range(len(cutting.files)), count_file, COUNTS, here=here):
        role_counts[row["file"]][BlockRole(row["role"])] = BlockCount(row["blocks"], row["rows"])
    return role_counts


def write_pieces(
    spark: SparkSession,
    cutting: Cutting,
    counts: Sequence[RoleCounts],
    writing: Writing,
    *,
    here: bool = False,
) -> list[Piece]:
    """Cut every file and write its folders (see `Writing`); returns the pieces of chunks, in order.

    `rest` holds the events that end no window, `tails` those that a later run's windows need.
    here: in this process, without Spark.
    """
    # Blocks are numbered before any is written, so no task waits for those before it.
    first_numbers = numbering(counts)

    def write_cut_file(number: int) -> Iterator[pa.RecordBatch]:
        # One piece of memory: blocks slice it thousands of times.
        events = cutting.files.read(number, writing.columns).combine_chunks()
        facts = cutting.facts(events, number)
        _write_events(cutting, writing, events, number)
        write_table(cutting.rest(events, facts, number), _path(writing, REST, number))
        columns = EventColumns.of(events, writing.scaler)
        blocks = cutting.blocks(facts, number)
        piece_writer = PieceWriter(columns, blocks, cutting.grid, number, writing.folder)
        pieces = piece_writer.write(first_numbers[number])
        yield pa.RecordBatch.from_pylist([asdict(piece) for piece in pieces], PIECE)

    for folder_name in writing.folders:
        (writing.folder / folder_name).mkdir(parents=True)
    file_numbers = range(len(cutting.files))
    # Tasks may end in any order; chunks want their pieces in that of the events.
    piece_rows = collect_items(spark, file_numbers, write_cut_file, PIECE_COLUMNS, here=here)
    return sorted(map(Piece.from_row, piece_rows), key=lambda piece: piece.order)


def _write_events(cutting: Cutting, writing: Writing, events: pa.Table, number: int) -> None:
    """Write what a file gives `tails`, and where it is wanted `sequences`."""
    place, grid = cutting.files.places[number], cutting.grid
    # A detector of gaps goes on from the last event even if windows need none before them.
    needed = max(grid.length - 1, int(writing.write_sequences))
    tails = tail_events(events, place, grid.max_gap, needed, grid.stride)
    write_table(tails, _path(writing, TAILS, number))
    if writing.write_sequences:
        rows = sequence_events(events, place, cutting.first_time)
        write_table(rows, _path(writing, SEQUENCES, number))


def _path(writing: Writing, folder: str, number: int) -> Path:
    return writing.folder / folder / f"part-{number:05d}.parquet"
