"""The source of a run as files: those of the settings, or a synthetic table that is made here.

Nothing here needs Spark, and what only some sources need is loaded only for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from foreshock.events.ledger import MAIN, TEST_TABLE
from foreshock.events.partitions import SourceFiles, list_source
from foreshock.platform.transfers import move, remove
from foreshock.stages.context import Context

if TYPE_CHECKING:
    from foreshock.events.athena_sql import AthenaTable

PROGRESS_LINES = 5


@dataclass(frozen=True)
class Sources:
    """The tables of a run: the main one and, if the settings have one, the table to test on.

    athena_table: what Athena unloads the main table from; its files are not there yet.
    """

    files_by_table: Mapping[str, SourceFiles]
    athena_table: AthenaTable | None = None

    @property
    def fingerprints(self) -> dict[str, Mapping[str, str]]:
        """The fingerprints of all source partitions, by table."""
        return {table: source.fingerprints for table, source in self.files_by_table.items()}


def find_sources(context: Context) -> Sources:
    """The files of all tables, with their fingerprints.

    A synthetic table that is not there yet is made first.
    """
    settings = context.settings
    partition, test_path = settings.events.partition, settings.split.test_path
    athena_table = None
    if settings.source.kind == "athena":
        from foreshock.stages.source_athena import find_athena_source

        main, athena_table = find_athena_source(context)
    elif settings.source.kind == "synthetic":
        main = list_source(str(_synthetic_folder(context)), partition)
    else:
        main = list_source(settings.source.path or "", partition)
    files_by_table = {MAIN: main}
    if test_path:
        files_by_table[TEST_TABLE] = list_source(test_path, partition, "split.test.path")
    return Sources(files_by_table, athena_table)


def _synthetic_folder(context: Context) -> Path:
    folder = context.run / "source"
    if not folder.exists():
        _synthesize(context, folder)
    return folder


def _synthesize(context: Context, target: Path) -> None:
    from foreshock.events.synthetic import SyntheticTable, write_table

    source, run_seed = context.settings.source, context.settings.run.seed
    table = SyntheticTable(
        events=source.events,
        entities=source.entities,
        start=source.start,
        days=source.days,
        prevalence=source.prevalence,
        anomaly_kinds=source.kinds,
        seed=run_seed if source.seed is None else source.seed,
        anomalies_from=source.anomalies_from,
    )
    days_a_line = max(1, source.days // PROGRESS_LINES)

    def log_progress(day_index: int, rows: int) -> None:
        """Log some of the days: those of a long table would fill the log."""
        if day_index % days_a_line == 0:
            context.log.event("source", "synthetic table", day=day_index, of=source.days, rows=rows)

    # A folder that is there counts as whole, so it is moved when it is.
    staging = context.run.staging("source") / "source"
    rows = write_table(table, staging, log_progress)
    move(staging, target)
    remove(staging.parent)
    context.log.event("source", "synthetic table written", rows=rows, days=source.days)
