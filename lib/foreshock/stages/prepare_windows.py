"""Sorts a run's events, behind the tails of its donor run, and cuts them into pieces of chunks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial, reduce
from pathlib import Path

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from foreshock import columns as C
from foreshock.errors import DataError
from foreshock.events.ledger import EVENTS_FOLDERS, MAIN, TEST_TABLE, Ledger, time_text
from foreshock.platform.parquet import dataset
from foreshock.platform.paths import is_remote
from foreshock.platform.transfers import remove
from foreshock.scaling.robust import Scaler
from foreshock.sequences.event_rows import TAILS
from foreshock.sequences.order import MAIN_TABLE, SPLIT, TABLE, tiebreak_columns
from foreshock.sequences.order import TEST_TABLE as TEST_TABLE_NUMBER
from foreshock.sequences.sort_spark import place_sorted, sort_events
from foreshock.sequences.split import Split
from foreshock.settings.root import Settings
from foreshock.stages.context import Context
from foreshock.stages.donor import DonorRun
from foreshock.windows.cut.cutting import Cutting, RoleCounts, total_counts
from foreshock.windows.cut.grid import WindowGrid
from foreshock.windows.cut.pieces import Piece
from foreshock.windows.cut.spark import Writing, count_blocks, write_pieces

ROWS_PER_FILE = 250_000
# So few events are cut in this process sooner than Spark starts its workers.
ROWS_HERE = 20_000
SORTED = "sorted"  # folder


def is_small(context: Context, ledger: Ledger) -> bool:
    """Whether the run has so few events, on this machine, that Spark only sorts them.

    All other work of prepare is then done in this process.
    """
    # On S3 a task of Spark's is tried again if a read breaks off; this process would fail.
    return _rows(ledger) <= ROWS_HERE and not is_remote(context.run.path)


def cut_windows(
    context: Context,
    ledger: Ledger,
    donor: DonorRun | None,
    scaler: Scaler,
    work: Path,
    *,
    write_sequences: bool,
) -> list[Piece]:
    """Write pieces, `rest`, `tails` and, where wanted, `sequences` below `work`.

    Returns the pieces. Raises DataError if a split that is needed has no window.
    """
    settings, spark, here = context.settings, context.spark, is_small(context, ledger)
    tiebreaks = len(settings.events.tiebreak)
    cut_grid = window_grid(settings)
    file_count = 1
    if not here:
        # At least a file for each core, and none so large that its task holds too many rows.
        cores = spark.sparkContext.defaultParallelism
        file_count = max(cores, math.ceil(_rows(ledger) / ROWS_PER_FILE))
    event_frames = _run_events(context)
    tail_events = _donor_tails(context, ledger, donor)
    if tail_events is not None:
        event_frames.append(tail_events)
    context.log.event("prepare", "sorting", events=_rows(ledger), parts=file_count)
    # A test table may lack columns, such as the label, that the run's table has.
    all_events = reduce(partial(DataFrame.unionByName, allowMissingColumns=True), event_frames)
    sorted_paths = sort_events(
        all_events, settings.feature_names, tiebreaks, file_count, work / SORTED
    )
    first_time = _first_time(ledger) or 0
    sorted_files = place_sorted(
        spark,
        sorted_paths,
        cut_grid.max_gap,
        cut_grid.halo_before,
        first_time=first_time,
        here=here,
    )
    cutting = Cutting(sorted_files, cut_grid, validation_time(settings, ledger), first_time)
    role_counts = count_blocks(spark, cutting, here=here)
    split_blocks = _check_blocks(settings, role_counts, sorted_files.longest)
    context.log.event(
        "prepare", "cutting", blocks=split_blocks, longest_sequence=sorted_files.longest
    )
    piece_writing = Writing(scaler, tiebreaks, work, write_sequences)
    pieces = write_pieces(spark, cutting, role_counts, piece_writing, here=here)
    remove(work / SORTED)
    return pieces


def window_grid(settings: Settings) -> WindowGrid:
    """How the settings want windows to be cut.

    The gap that ends a sequence is in seconds there, and in microseconds in the grid.
    """
    windows = settings.windows
    # Times are whole microseconds everywhere behind the settings.
    max_gap = None if windows.max_gap is None else round(windows.max_gap * 1e6)
    return WindowGrid(
        windows.length, windows.stride, windows.block, max_gap, pad=windows.short == "pad"
    )


def validation_time(settings: Settings, ledger: Ledger) -> int:
    """Where the last part of train by time begins, in microseconds.

    Training stops early on windows that end after it.
    """
    train_span = ledger.total().train_span
    if train_span is None:
        return 0
    fitted_share = 1 - settings.training.validation
    return train_span.first + int((train_span.last - train_span.first + 1) * fitted_share)


def _rows(ledger: Ledger) -> int:
    return ledger.total().rows_kept


def _first_time(ledger: Ledger) -> int | None:
    """The time of the run's first event (not of its test table), in microseconds."""
    event_span = ledger.total(MAIN).event_span
    return None if event_span is None else event_span.first


def _check_blocks(settings: Settings, counts: Sequence[RoleCounts], longest: int) -> dict[str, int]:
    """The blocks of each split. Raises DataError if a split that is needed has none."""
    split_blocks = dict.fromkeys(C.SPLITS, 0)
    for role, count in total_counts(counts).items():
        split_blocks[role.split.text] += count.blocks
    window_length = settings.windows.length
    for split in settings.needed_splits:
        if split_blocks[split]:
            continue
        if longest < window_length:
            raise DataError(
                f"windows.length is {window_length}, longer than every sequence: the longest has "
                f"{longest} events. Shorten it, or set windows.short: pad."
            )
        admitted_note = " that holds training events only" if split == C.TRAIN else ""
        raise DataError(
            f"split.{split} has no window of length {window_length}{admitted_note}. Widen the "
            "split or shorten windows.length."
        )
    return split_blocks


def _run_events(context: Context) -> list[DataFrame]:
    """The events of the run, and of its test table if it has one, each with its table and split."""
    event_frames = []
    for table_number, table in ((MAIN_TABLE, MAIN), (TEST_TABLE_NUMBER, TEST_TABLE)):
        events_folder = context.run / EVENTS_FOLDERS[table]
        partition_folders = (
            [str(f) for f in sorted(events_folder.glob(f"{C.PARTITION}=*"))]
            if events_folder.exists()
            else []
        )
        if not partition_folders:
            continue
        split_code = (
            F.lit(int(Split.TEST)) if table == TEST_TABLE else _split_by_time(context.settings)
        )
        event_frame = context.spark.read.option("basePath", str(events_folder)).parquet(
            *partition_folders
        )
        event_frame = event_frame.withColumns(
            {TABLE: _tiny(F.lit(table_number)), SPLIT: _tiny(split_code)}
        )
        event_frames.append(_with_instants(event_frame))
    return event_frames


def _split_by_time(settings: Settings) -> Column:
    micros = F.unix_micros(C.EVENT_TIME)
    split_code = F.lit(int(Split.OUTSIDE))
    for split_name, span in settings.split.spans().items():
        begin, end = span.micros
        is_inside = (micros >= begin) & (micros < end)
        split_code = F.when(is_inside, int(Split.of(split_name))).otherwise(split_code)
    return split_code


def _tiny(column: Column) -> Column:
    return column.cast("tinyint")


def _with_instants(frame: DataFrame) -> DataFrame:
    """Tiebreaks that are times without a zone as UTC, so that tables and tails agree."""
    for field in frame.schema.fields:
        # Spark orders the two types alike but does not put them into one column.
        is_tiebreak = field.name.startswith(C.TIEBREAK_PREFIX)
        if is_tiebreak and isinstance(field.dataType, T.TimestampNTZType):
            frame = frame.withColumn(field.name, F.col(field.name).cast("timestamp"))
    return frame


def _donor_tails(context: Context, ledger: Ledger, donor: DonorRun | None) -> DataFrame | None:
    """The last events of each entity in the donor run, before this run's first.

    Windows across midnight need them. They belong to no split here, so no window ends at one. A run
    whose first event is not after them leaves them out.
    """
    first_time = _first_time(ledger)
    if donor is None or first_time is None or not donor.has_tails:
        return None
    settings, tails_folder = context.settings, donor / TAILS
    known_columns = dataset(tails_folder).schema.names
    needed_columns = (*settings.feature_names, *tiebreak_columns(len(settings.events.tiebreak)))
    if missing_columns := [
        column_name for column_name in needed_columns if column_name not in known_columns
    ]:
        raise DataError(
            f"model.from {donor.path}: its tails lack {', '.join(missing_columns)}. Use the same "
            "features and tiebreaks."
        )
    tail_events = context.spark.read.parquet(str(tails_folder)).where(
        F.col(C.EVENT_TIME) < first_time
    )
    if (last_time := tail_events.agg(F.max(C.EVENT_TIME)).collect()[0][0]) is not None:
        context.log.event(
            "prepare",
            "sequences begin with the last events of the run of model.from",
            last=time_text(last_time),
            first=time_text(first_time),
        )
    return tail_events.withColumns(
        {
            C.EVENT_TIME: F.timestamp_micros(C.EVENT_TIME),
            TABLE: _tiny(F.lit(MAIN_TABLE)),
            SPLIT: _tiny(F.lit(int(Split.OUTSIDE))),
        }
    )
