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
ROWS_HERE = 20_000  # so few events are cut in this process sooner than Spark starts its workers
SORTED = "sorted"  # folder


def is_small(ledger: Ledger) -> bool:
    """Whether the run has so few events that Spark only sorts them."""
    return _rows(ledger) <= ROWS_HERE


def cut_windows(
    context: Context,
    ledger: Ledger,
    donor: DonorRun | None,
    scaler: Scaler,
    work: Path,
    *,
    write_sequences: bool,
) -> list[Piece]:
    """Write pieces, `rest`, `tails` and, where wanted, `sequences` below `work`; returns the
    pieces.

    Raises DataError if a split that is needed has no window.
    """
    settings, spark, here = context.settings, context.spark, is_small(ledger)
    tiebreaks = len(settings.events.tiebreak)
    grid = window_grid(settings)
    files = 1
    if not here:
        cores = spark.sparkContext.defaultParallelism
        files = max(cores, math.ceil(_rows(ledger) / ROWS_PER_FILE))
    events = _run_events(context)
    tails = _donor_tails(context, ledger, donor)
    if tails is not None:
        events.append(tails)
    context.log.event("prepare", "sorting", events=_rows(ledger), parts=files)
    together = reduce(partial(DataFrame.unionByName, allowMissingColumns=True), events)
    paths = sort_events(together, settings.feature_names, tiebreaks, files, work / SORTED)
    first_time = _first_time(ledger) or 0
    placed = place_sorted(
        spark, paths, grid.max_gap, grid.halo_before, first_time=first_time, here=here
    )
    cutting = Cutting(placed, grid, validation_time(settings, ledger), first_time)
    counts = count_blocks(spark, cutting, here=here)
    blocks = _check_blocks(settings, counts, placed.longest)
    context.log.event("prepare", "cutting", blocks=blocks, longest_sequence=placed.longest)
    writing = Writing(scaler, tiebreaks, work, write_sequences)
    pieces = write_pieces(spark, cutting, counts, writing, here=here)
    remove(work / SORTED)
    return pieces


def window_grid(settings: Settings) -> WindowGrid:
    """How the settings want windows to be cut."""
    windows = settings.windows
    max_gap = None if windows.max_gap is None else round(windows.max_gap * 1e6)
    return WindowGrid(
        windows.length, windows.stride, windows.block, max_gap, pad=windows.short == "pad"
    )


def validation_time(settings: Settings, ledger: Ledger) -> int:
    """Where the last part of train by time begins, in microseconds.

    Training stops early on windows that end after it.
    """
    span = ledger.total().train_span
    if span is None:
        return 0
    fitted_share = 1 - settings.training.validation
    return span.first + int((span.last - span.first + 1) * fitted_share)


def _rows(ledger: Ledger) -> int:
    return ledger.total().rows_kept


def _first_time(ledger: Ledger) -> int | None:
    """The time of the run's first event (not of its test table), in microseconds."""
    span = ledger.total(MAIN).event_span
    return None if span is None else span.first


def _check_blocks(settings: Settings, counts: Sequence[RoleCounts], longest: int) -> dict[str, int]:
    """The blocks of each split. Raises DataError if a split that is needed has none."""
    blocks = dict.fromkeys(C.SPLITS, 0)
    for role, count in total_counts(counts).items():
        blocks[role.split.text] += count.blocks
    length = settings.windows.length
    for split in settings.needed_splits:
        if blocks[split]:
            continue
        if longest < length:
            raise DataError(
                f"windows.length is {length}, longer than every sequence: the longest has "
                f"{longest} events. Shorten it, or set windows.short: pad."
            )
        admitted = " that holds training events only" if split == C.TRAIN else ""
        raise DataError(
            f"split.{split} has no window of length {length}{admitted}. Widen the split or shorten "
            "windows.length."
        )
    return blocks


def _run_events(context: Context) -> list[DataFrame]:
    """The events of the run, and of its test table if it has one, each with its table and split."""
    frames = []
    for number, table in ((MAIN_TABLE, MAIN), (TEST_TABLE_NUMBER, TEST_TABLE)):
        base = context.run / EVENTS_FOLDERS[table]
        folders = [str(f) for f in sorted(base.glob(f"{C.PARTITION}=*"))] if base.exists() else []
        if not folders:
            continue
        split = F.lit(Split.TEST) if table == TEST_TABLE else _split_by_time(context.settings)
        frame = context.spark.read.option("basePath", str(base)).parquet(*folders)
        frame = frame.withColumns({TABLE: _tiny(F.lit(number)), SPLIT: _tiny(split)})
        frames.append(_with_instants(frame))
    return frames


def _split_by_time(settings: Settings) -> Column:
    micros = F.unix_micros(C.EVENT_TIME)
    code = F.lit(int(Split.OUTSIDE))
    for name, span in settings.split.spans().items():
        begin, end = span.micros
        is_inside = (micros >= begin) & (micros < end)
        code = F.when(is_inside, int(Split.of(name))).otherwise(code)
    return code


def _tiny(column: Column) -> Column:
    return column.cast("tinyint")


def _with_instants(frame: DataFrame) -> DataFrame:
    """Tiebreaks that are times without a zone as UTC, so that tables and tails agree."""
    for field in frame.schema.fields:
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
    settings, folder = context.settings, donor / TAILS
    known = dataset(folder).schema.names
    needed = (*settings.feature_names, *tiebreak_columns(len(settings.events.tiebreak)))
    if missing := [name for name in needed if name not in known]:
        raise DataError(
            f"model.from {donor.path}: its tails lack {', '.join(missing)}. Use the same features "
            "and tiebreaks."
        )
    tails = context.spark.read.parquet(str(folder)).where(F.col(C.EVENT_TIME) < first_time)
    if (last := tails.agg(F.max(C.EVENT_TIME)).collect()[0][0]) is not None:
        context.log.event(
            "prepare",
            "sequences begin with the last events of the run of model.from",
            last=time_text(last),
            first=time_text(first_time),
        )
    return tails.withColumns(
        {
            C.EVENT_TIME: F.timestamp_micros(C.EVENT_TIME),
            TABLE: _tiny(F.lit(MAIN_TABLE)),
            SPLIT: _tiny(F.lit(int(Split.OUTSIDE))),
        }
    )
