"""The work of extract: new and changed source partitions go through Spark."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from foreshock.events.column_types import Census, changed_types, incomplete_columns, infer_types
from foreshock.events.expressions_spark import check_syntax
from foreshock.events.ledger import (
    EVENTS_FOLDERS,
    MAIN,
    QUARANTINE_FOLDERS,
    JsonObject,
    Ledger,
    SourcePartitions,
)
from foreshock.events.ledger_checks import check_rows, check_splits
from foreshock.events.partitions import SourceFiles
from foreshock.events.plan import ExtractPlan, plan_extract
from foreshock.events.source_spark import must_infer
from foreshock.events.text_spark import take_census
from foreshock.platform.files import write_json
from foreshock.platform.transfers import remove
from foreshock.stages.context import Context
from foreshock.stages.extract import LEDGER_PATH
from foreshock.stages.extract_table import (
    PARTIAL,
    TableExtraction,
    partition_folder,
    partition_folders,
    partition_of,
)
from foreshock.stages.publish import publisher_of
from foreshock.stages.source import Sources

SHOWN_COLUMNS = 10


@dataclass(frozen=True)
class ExtractRequest:
    """What extract was asked for, and what there is.

    fingerprint: that of all sources and settings.
    partitions: those to look at; None for all.
    whole_run: other stages follow.
    """

    sources: Sources
    ledger: Ledger
    fingerprint: str
    partitions: list[str] | None
    whole_run: bool


@dataclass(frozen=True)
class TableOutcome:
    """What extract did to a table: new entries, folders to remove, and folders to move."""

    entries: SourcePartitions
    stale: tuple[Path, ...]
    moves: Mapping[Path, Path] = field(default_factory=dict)


def extract_sources(context: Context, request: ExtractRequest) -> None:
    """Extract what is new or changed in all tables, and publish it with the ledger.

    Raises SettingsError for an expression that is not SQL, DataError if no row is left or, with
    `request.whole_run`, if the splits lack what later stages need.
    """
    # Before the work: what others publish from now on is a conflict.
    publisher_of(context).look()
    with context.attempt("extract") as counts:
        work = context.run.staging("extract")
        check_syntax(context.spark, context.settings)
        outcomes = {
            table: _extract_table(context, request, table, work, counts)
            for table in request.sources.files_by_table
        }
        ledger = Ledger({table: outcome.entries for table, outcome in outcomes.items()})
        check_rows(context.settings, ledger)
        if request.whole_run:
            check_splits(context.settings, ledger)
        _publish(context, request, ledger, outcomes, work)
        remove(work)
        counts |= ledger.total().summary()


def _publish(
    context: Context,
    request: ExtractRequest,
    ledger: Ledger,
    outcomes: Mapping[str, TableOutcome],
    work: Path,
) -> None:
    # The record of the stage is withdrawn before the first folder goes.
    context.run.begin("extract")
    stale = [folder for outcome in outcomes.values() for folder in outcome.stale]
    for folder in (*stale, *_unknown_folders(context, ledger)):
        remove(folder)
    ledger_path = context.run / LEDGER_PATH
    write_json(work / "ledger.json", ledger.to_mapping())
    moves = {
        folder: target for outcome in outcomes.values() for folder, target in outcome.moves.items()
    }
    moves[work / "ledger.json"] = ledger_path
    # A ledger of rows that are not there any longer is worse than none, if the next step is killed.
    ledger_path.unlink(missing_ok=True)
    fingerprint = request.fingerprint if request.partitions is None else PARTIAL
    context.run.publish("extract", fingerprint, moves, sealed=[ledger_path])


def _extract_table(
    context: Context, request: ExtractRequest, table: str, work: Path, counts: JsonObject
) -> TableOutcome:
    source = request.sources.files_by_table[table]
    # With --partitions, what was extracted of all other partitions stays.
    from_nothing = context.force and not request.partitions
    extracted = {} if from_nothing else request.ledger.entries(table)
    plan = plan_extract(source, extracted, request.partitions)
    plan, census = _with_census(context, source, plan)
    _report_removed(context, plan, counts)
    stale = tuple(
        partition_folder(context, folders[table], partition)
        for folders in (EVENTS_FOLDERS, QUARANTINE_FOLDERS)
        for partition in plan.superseded_partitions
    )
    if not plan.pending:
        return TableOutcome(plan.kept, stale)
    with _with_files(context, request, table, plan, counts) as readable:
        job = TableExtraction(context, table, readable, plan, census, request.partitions, work)
        entries, moves = job.run()
    return TableOutcome({**plan.kept, **entries}, stale, moves)


def _report_removed(context: Context, plan: ExtractPlan, counts: JsonObject) -> None:
    for source_partition in plan.removed:
        context.log.event(
            "extract",
            "a partition of the source is gone; its rows are removed",
            partition=source_partition,
        )
    if plan.removed:
        counts["removed"] = sorted({*counts.get("removed", ()), *plan.removed})


@contextmanager
def _with_files(
    context: Context,
    request: ExtractRequest,
    table: str,
    plan: ExtractPlan,
    counts: JsonObject,
) -> Iterator[SourceFiles]:
    """The source with files to read: Athena's are unloaded now and gone afterwards."""
    source, athena_table = request.sources.files_by_table[table], request.sources.athena_table
    if table != MAIN or athena_table is None:
        yield source
        return
    from foreshock.stages.source_athena import unloaded

    with unloaded(context, source, athena_table, plan.pending, counts) as readable:
        yield readable


def _with_census(
    context: Context, source: SourceFiles, plan: ExtractPlan
) -> tuple[ExtractPlan, Census]:
    """The plan, and what the text columns of all source partitions parse as.

    If new text gives a column another type, the plan extracts every source partition again.
    """
    settings = context.settings
    if not plan.pending or not must_infer(source, settings):
        return plan, {}
    text_format, max_bad = settings.source.format, settings.quality.max_quarantined
    kept_cells = {
        source_partition: entry.cells or {} for source_partition, entry in plan.kept.items()
    }
    pending_cells = take_census(context.spark, source, plan.pending, text_format)
    census = {**kept_cells, **pending_cells}
    types_before, types_after = infer_types(kept_cells, max_bad), infer_types(census, max_bad)
    changed_columns = changed_types(types_before, types_after)
    if text_format == "csv":
        # CSV files of a source have the same header; reading them together says whose differs.
        lacking_columns = incomplete_columns(census, types_after)
        changed_columns += sorted(
            column for column in lacking_columns if column not in changed_columns
        )
    if not kept_cells or not changed_columns:
        return plan, census
    shown_columns = changed_columns[:SHOWN_COLUMNS]
    context.log.event(
        "extract",
        "new rows change the types of columns; every partition is extracted again",
        columns=shown_columns,
        types={column: [types_before.get(column), types_after[column]] for column in shown_columns},
    )
    plan = plan.again()
    return plan, take_census(context.spark, source, plan.pending, text_format)


def _unknown_folders(context: Context, ledger: Ledger) -> Iterator[Path]:
    """Folders of partitions that no ledger holds: of a run that was killed, or forced anew."""
    for folders in (EVENTS_FOLDERS, QUARANTINE_FOLDERS):
        for table, folder_name in folders.items():
            known = {partition for partition, _ in ledger.partitions(table)}
            for folder in partition_folders(context.run / folder_name):
                if partition_of(folder) not in known:
                    yield folder
