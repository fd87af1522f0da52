"""Extract: from the source to `events/`, `quarantine/` and the ledger of what was done."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from foreshock import columns as C
from foreshock.errors import DataError, ForeshockError, SettingsError
from foreshock.events import contract_spark
from foreshock.events import spark as events_spark
from foreshock.events.partitions import SourceFiles
from foreshock.events.source_spark import Census, infer_types, take_census
from foreshock.platform.failures import failed_on_a_row, reason
from foreshock.platform.files import digest, read_json, write_json
from foreshock.platform.parquet import count_rows
from foreshock.platform.transfers import remove
from foreshock.stages.context import Context
from foreshock.stages.publish import sink_of
from foreshock.stages.source import MAIN, TEST_TABLE, find_sources, pulled

FOLDERS = {MAIN: ("events", "quarantine"), TEST_TABLE: ("events_test", "quarantine_test")}
Ledger = dict[str, Any]


def extract(
    context: Context, partitions: list[str] | None = None, *, whole_run: bool = False
) -> None:
    """Bring `events/` up to date with the source: new and changed units are extracted, removed ones go.

    `whole_run`: other stages follow, so what they need (rows in every split) is checked before anything is written.
    Raises DataError where the source is empty, a split has no rows, or an expression does not fit the columns.
    """
    sources, asked = find_sources(context)
    ledger = read_ledger(context)
    fingerprint = digest(
        {name: s.fingerprints for name, s in sources.items()} | {"settings": context.sha256}
    )
    if partitions is None and not context.force and context.run.is_done("extract", fingerprint):
        context.log.event("extract", "nothing to do")
        return
    sink_of(context).look()  # before the work: what others publish from now on is a conflict
    with context.attempt("extract") as counts:
        work = context.run.staging("extract")
        contract_spark.check_syntax(context.spark, context.settings)
        moves: dict[Path, Path] = {}
        stale: list[Path] = []
        fresh: Ledger = {}
        for name, source in sources.items():
            units = dict(ledger.get(name, {})) if not context.force or partitions else {}
            wanted = set(partitions) if partitions and source.aligned else None
            pending = [
                u
                for u, f in source.fingerprints.items()
                if units.get(u, {}).get("fingerprint") != f and (wanted is None or u in wanted)
            ]
            if wanted is not None and (missing := sorted(wanted - set(source.units))):
                raise SettingsError(
                    f"--partitions: {', '.join(missing)} not in the source; there are "
                    f"{', '.join(list(source.units)[:20])}."
                )
            pending, census = _inferred(context, source, units, pending)
            removed = sorted(set(units) - set(source.units))
            for unit in removed:
                context.log.event(
                    "extract",
                    "a partition of the source is gone; its rows are removed",
                    partition=unit,
                )
            if removed:
                counts["removed"] = sorted({*counts.get("removed", ()), *removed})
            stale += [
                _folder(context, f, p)
                for f in FOLDERS[name]
                for u in [*removed, *pending]
                for p in units.get(u, {}).get("partitions", {})
            ]
            fresh[name] = {u: v for u, v in units.items() if u in source.units and u not in pending}
            if pending:
                with pulled(
                    context, source, asked if name == MAIN else None, pending, counts
                ) as source:
                    fresh[name] |= _extract_units(
                        context,
                        source,
                        name,
                        pending,
                        census,
                        fresh[name],
                        work,
                        moves,
                        None if source.aligned else partitions,
                    )
        check_rows(context, fresh)
        if whole_run:
            check_splits(context, fresh)
        context.run.begin("extract")
        for folder in (*stale, *_unknown(context, fresh)):
            remove(folder)
        write_json(work / "ledger.json", fresh)
        moves[work / "ledger.json"] = context.run / "events" / "ledger.json"
        ledger_path = context.run / "events" / "ledger.json"
        ledger_path.unlink(missing_ok=True)
        done = partitions is None
        context.run.publish(
            "extract", fingerprint if done else "partial", moves, sealed=[ledger_path]
        )
        remove(work)
        counts |= totals(fresh)


def _inferred(
    context: Context, source: SourceFiles, done: Ledger, pending: list[str]
) -> tuple[list[str], Census]:
    """The units to extract and the census of all. Where new text makes a column of another type, every unit is done again."""
    if not pending or not events_spark.must_infer(source, context.settings):
        return pending, {}
    kept: Census = {
        u: done[u].get("cells", {}) for u in done if u in source.units and u not in pending
    }
    census = kept | take_census(context.spark, source, pending, context.settings.source.format)
    most = context.settings.quality.max_quarantined
    before, after = infer_types(kept, most), infer_types(census, most)
    other = sorted(n for n in after if before.get(n) != after[n])
    if (
        context.settings.source.format == "csv"
    ):  # whose files all have the same header; reading them together says whose differs
        other += sorted(
            n
            for n in after
            if any(n not in columns for columns in census.values()) and n not in other
        )
    if kept and other:
        context.log.event(
            "extract",
            "new rows change the types of columns; every partition is extracted again",
            columns=other[:10],
            types={n: [before.get(n), after[n]] for n in other[:10]},
        )
        pending = sorted([*kept, *pending])
        census = take_census(context.spark, source, pending, context.settings.source.format)
    return pending, census


def _extract_units(
    context: Context,
    source: SourceFiles,
    name: str,
    pending: list[str],
    census: Census,
    done: Ledger,
    work: Path,
    moves: dict[Path, Path],
    partitions: list[str] | None,
) -> Ledger:
    spark, settings = context.spark, context.settings
    types = infer_types(census, settings.quality.max_quarantined)
    if not source.files(pending):  # Athena writes none for partitions without a row
        return {u: {"fingerprint": source.fingerprints[u], "partitions": {}} for u in pending}
    table = events_spark.open_source(
        spark, source, pending, settings, types, work / f"typed-{name}"
    )
    known = [
        f
        for unit in done.values()
        for p in unit["partitions"]
        if (f := _folder(context, FOLDERS[name][0], p)).exists()
    ]
    try:
        rows = events_spark.extract_rows(
            spark,
            table,
            settings,
            is_test_table=name == TEST_TABLE,
            known_ids=events_spark.known_ids(spark, known),
            partitions=partitions,
        )
        found = events_spark.count_rows(rows, settings)
    except Exception as error:
        if failed_on_a_row(error) and (setting := contract_spark.failing(table, settings)):
            raise DataError(
                f"`{setting}` fails on a row of {source.path}: {reason(error)}. Guard it, such as with nullif, if or a "
                "try_ function."
            ) from error
        raise
    result: Ledger = {}
    for unit in pending:
        own = {
            p: events_spark.as_ledger(c)
            for p, c in found.items()
            if not source.aligned or p == unit
        }
        result[unit] = {
            "fingerprint": source.fingerprints[unit] if partitions is None else "partial",
            "partitions": own,
        }
        if unit in census:
            result[unit]["cells"] = census[unit]
        if not sum(c["rows_read"] for c in own.values()):
            context.log.event("extract", "a partition of the source is empty", partition=unit)
    if lost := sorted(set(found) - {p for unit in result.values() for p in unit["partitions"]}):
        raise ForeshockError(
            f"rows of the partitions {', '.join(lost[:5])} belong to no folder of {source.path}."
        )
    context.log.event(
        "extract", "rows counted", table=name, partitions=len(found), **totals({name: result})
    )
    total = totals({name: result})
    events, quarantine = FOLDERS[name]
    if total["kept"]:
        events_spark.write_events(rows, settings, work / events, aligned=source.aligned)
        written = _moves(context, work / events, events, moves)
        if written != sum(total["kept"].values()):
            raise ForeshockError(
                f"extract wrote {written} events where {total['kept']} were counted; the source changed "
                "meanwhile. Run the same command again."
            )
    if total["quarantined"]:
        events_spark.write_quarantine(rows, work / quarantine)
        _moves(context, work / quarantine, quarantine, moves)
    return result


def _moves(context: Context, written: Path, folder: str, moves: dict[Path, Path]) -> int:
    rows = 0
    for partition in sorted(written.glob(f"{C.PARTITION}=*")):
        moves[partition] = context.run / folder / partition.name
        rows += sum(count_rows(f) for f in partition.glob("*.parquet"))
    return rows


def _unknown(context: Context, ledger: Ledger) -> Iterator[Path]:
    """Folders of partitions that no ledger holds: of a run that was killed, or forced anew."""
    for name, folders in FOLDERS.items():
        known = {p for unit in ledger.get(name, {}).values() for p in unit["partitions"]}
        for folder in folders:
            base = context.run / folder
            for own in list(base.glob(f"{C.PARTITION}=*")) if base.exists() else []:
                if unquote(own.name).removeprefix(f"{C.PARTITION}=") not in known:
                    yield own


def _folder(context: Context, of: str, partition: str) -> Path:
    base = context.run / of
    plain = base / f"{C.PARTITION}={partition}"
    if plain.exists() or not base.exists():
        return plain
    return next(
        (p for p in base.iterdir() if unquote(p.name) == f"{C.PARTITION}={partition}"), plain
    )


def read_ledger(context: Context) -> Ledger:
    """The ledger of partitions done; empty where nothing was extracted."""
    path = context.run / "events" / "ledger.json"
    return read_json(path) if path.exists() and context.run.record("extract") else {}


def partition_counts(ledger: Ledger) -> list[tuple[str, str, dict[str, Any]]]:
    """(table, partition, counts) of every partition in the ledger."""
    return [
        (t, p, c)
        for t, units in ledger.items()
        for u in units.values()
        for p, c in u["partitions"].items()
    ]


def totals(ledger: Ledger) -> dict[str, Any]:
    """Rows read, filtered, quarantined by reason, and kept by split, over the whole ledger."""
    total: dict[str, Any] = {"rows_read": 0, "filtered": 0, "quarantined": {}, "kept": {}}
    for _, _, c in partition_counts(ledger):
        total["rows_read"] += c["rows_read"]
        total["filtered"] += c["filtered"]
        for key in ("quarantined", "kept"):
            for name, n in c[key].items():
                total[key][name] = total[key].get(name, 0) + n
    return total


def _refused(total: dict[str, Any]) -> str:
    most = sorted(total["quarantined"].items(), key=lambda item: -item[1])[:6]
    return "; quarantined: " + ", ".join(f"{reason}: {n}" for reason, n in most) if most else ""


def check_rows(context: Context, ledger: Ledger) -> None:
    """Raise DataError where no row was read or none is left."""
    settings, total = context.settings, totals(ledger)
    if not total["rows_read"]:
        s = settings.source
        shown = s.path or {"athena": f"{s.database}.{s.table}" if s.table else "query"}.get(
            s.kind, s.kind
        )
        raise DataError(f"source {shown}: there are no rows in it; the source is empty.")
    if not total["kept"]:
        raise DataError(
            f"no row of {total['rows_read']} is left: {total['filtered']} filtered by events.where"
            f"{_refused(total)}. Correct the expressions or the source."
        )


def check_splits(context: Context, ledger: Ledger) -> None:
    """Raise DataError where a split has no rows, a feature no value in train, or thresholds too few events."""
    settings, total = context.settings, totals(ledger)
    parts = partition_counts(ledger)
    times = [t for _, _, c in parts for t in c["time"]]
    for split in settings.needed_splits:
        if not total["kept"].get(split):
            raise DataError(
                f"split.{split} {getattr(settings.split, split)} has no rows: of {total['rows_read']} rows read, "
                f"the events kept lie from {iso(min(times))} to {iso(max(times))}"
                f"{_refused(total)}. Correct the split or the source."
            )
    train, fitted = total["kept"].get(C.TRAIN, 0), total["kept"].get(settings.fitted_rows, 0)
    for name in settings.feature_names if settings.model.from_ is None else ():
        nulls = sum(c["nulls"].get(name, 0) for _, _, c in parts)
        if nulls == train:
            raise DataError(
                f"feature `{name}` is null in every training row ({train} rows): correct events.features.{name} or "
                "remove it."
            )
    free = all(r.name == "fixed" for r in settings.thresholds.rules)
    if settings.model.from_ is None and not free and fitted < settings.thresholds.min_count:
        raise DataError(
            f"split.{settings.fitted_rows} holds {fitted} events, fewer than thresholds.min_count "
            f"({settings.thresholds.min_count}): too few for any threshold. Widen the split or lower min_count."
        )


def iso(micros: int) -> str:
    """Microseconds since 1970 UTC as text."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)).isoformat(
        sep=" ", timespec="seconds"
    )
