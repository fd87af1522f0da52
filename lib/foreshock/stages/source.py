"""The sources of a run: files, a synthetic table made here, or a table that Athena unloads partition by partition."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from foreshock.errors import SettingsError
from foreshock.events import athena, athena_sql
from foreshock.events.partitions import WHOLE, SourceFiles, identifier, list_source
from foreshock.events.synthetic import SyntheticTable, write_table
from foreshock.platform import aws_boto
from foreshock.platform.aws import KMS_KEY
from foreshock.platform.files import digest, write_text
from foreshock.platform.paths import at, is_remote, stamps
from foreshock.platform.transfers import move, remove
from foreshock.stages.context import Context

MAIN, TEST_TABLE, UNLOAD = "main", "test", ".unload"
LISTED_AT_ONCE = 16


def find_sources(context: Context) -> tuple[dict[str, SourceFiles], athena_sql.Table | None]:
    """Units and fingerprints of the main table and, where there is one, of the table to test on; Athena's has no files yet."""
    s = context.settings
    table = None
    if s.source.kind == "athena":
        main, table = _athena(context)
    else:
        path = s.source.path or ""
        if s.source.kind == "synthetic":
            target = context.run / "source"
            if not target.exists():
                _synthesize(context, target)
            path = str(target)
        main = list_source(path, s.events.partition)
    sources = {MAIN: main}
    if s.split.test_path:
        sources[TEST_TABLE] = list_source(s.split.test_path, s.events.partition, "split.test.path")
    return sources, table


def _synthesize(context: Context, target: Path) -> None:
    s = context.settings.source
    work = context.run.staging("source") / "source"
    table = SyntheticTable(
        events=s.events,
        entities=s.entities,
        start=s.start,
        days=s.days,
        prevalence=s.prevalence,
        kinds=s.kinds,
        seed=context.settings.run.seed if s.seed is None else s.seed,
        anomalies_from=s.anomalies_from,
    )
    step = max(1, s.days // 5)

    def progress(day: int, rows: int) -> None:
        if day % step == 0:
            context.log.event("source", "synthetic table", day=day, of=s.days, rows=rows)

    rows = write_table(table, work, progress)
    move(work, target)
    remove(work.parent)
    context.log.event("source", "synthetic table written", rows=rows, days=s.days)


def _athena(context: Context) -> tuple[SourceFiles, athena_sql.Table]:
    s, partition = context.settings.source, context.settings.events.partition
    _output(context)
    aws_boto.client(
        "athena"
    )  # what is wrong with region or profile is said before anything is asked
    if s.query is not None:
        table = athena_sql.find_query(s.query, partition, s.partitions)
    else:
        table = athena_sql.find_table(
            aws_boto.client("glue"), str(s.database), str(s.table), partition, s.partitions
        )
    # A unit is a partition only where the settings file events by the table's own partition column.
    aligned = table.key is not None and (identifier(partition) or "").lower() == table.key.lower()
    places = (
        {u: table.locations.get(u, []) for u in table.values}
        if aligned
        else {WHOLE: [x for y in table.locations.values() for x in y]}
    )
    folders = list(dict.fromkeys(x for y in places.values() for x in y))
    with ThreadPoolExecutor(LISTED_AT_ONCE) as pool:
        marks = dict(zip(folders, pool.map(_marks, folders), strict=True))
    found = {u: [m for folder in own for m in marks[folder]] for u, own in places.items()}
    prints = {
        u: digest([table.sql, athena_sql.statement(table, u, ""), own]) for u, own in found.items()
    }
    shown = f"{s.database}.{s.table}" if s.table else "source.query"
    return SourceFiles(
        "source", shown, "", dict.fromkeys(places, ()), prints, (), table.key if aligned else None
    ), table


def _marks(location: str) -> list[tuple[str, int, str]]:
    """What the files of a location are told apart by."""
    return [(str(f), size, mark) for f, size, mark in stamps(at(location))]


def _output(context: Context) -> Path:
    """A folder on S3 for what this run directory unloads, of its own. Raises SettingsError where there is none."""
    output = context.settings.source.output
    if output is None:
        if not is_remote(context.run.path):
            raise SettingsError(
                "`source.output` is needed where the run directory is not on S3: the folder that UNLOAD writes to, s3://…."
            )
        return context.run / ".staging" / "unload"
    return at(output) / f"foreshock-{_own_name(context)}"


def _own_name(context: Context) -> str:
    """The run directory's own name at `source.output`, drawn once: the same path may be another directory on another machine."""
    path = context.run / UNLOAD
    if not path.exists():
        write_text(path, uuid.uuid4().hex[:16])
    return path.read_text(encoding="utf-8").strip()


@contextmanager
def pulled(
    context: Context,
    source: SourceFiles,
    table: athena_sql.Table | None,
    pending: list[str],
    counts: dict[str, Any],
) -> Iterator[SourceFiles]:
    """A source whose pending units have files; those that Athena unloaded are gone when the block ends, and no query runs any longer."""
    if table is None or not pending:
        yield source
        return
    s, folder = context.settings.source, _output(context)
    remove(folder)  # of a run that was killed
    queries = [
        athena.Query(u, athena_sql.statement(table, u, f"{target}/"), target)
        for i, u in enumerate(pending)
        for target in [f"{folder}/unit-{i:05d}"]
    ]
    unloading = athena.Unloading(
        aws_boto.client("athena"),
        database=s.database,
        workgroup=s.workgroup,
        results=f"{folder}/results/",
        at_once=s.queries,
        budget=s.max_bytes_scanned,
        timeout=s.query_timeout,
        say=partial(context.log.event, "extract"),
        kms_key=os.environ.get(KMS_KEY),
        stopper=aws_boto.client("athena", quick=True),
    )
    try:
        try:
            with unloading:
                unloading.run(queries)
        finally:
            counts["athena"] = asdict(unloading.done)
        files = {q.unit: tuple(str(f) for f, _, _ in stamps(at(q.target))) for q in queries}
        yield replace(source, base=str(folder), units=dict(source.units) | files)
    finally:
        remove(folder)
