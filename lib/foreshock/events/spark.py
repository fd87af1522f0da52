"""Extract with Spark: counts, duplicates, and the events and quarantine folders of some source units."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from foreshock import columns as C
from foreshock.errors import DataError
from foreshock.events import contract_spark as contract
from foreshock.events.partitions import NULL, SourceFiles
from foreshock.events.source_spark import SourceTable, read_source
from foreshock.settings.root import Settings

DUPLICATE = "duplicate_id"


@dataclass
class PartitionCount:
    """What became of a partition's rows. Times are microseconds since 1970 UTC."""

    filtered: int = 0
    quarantined: dict[str, int] = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)
    nulls: dict[str, int] = field(default_factory=dict)
    train: list[int] = field(default_factory=list)
    time: list[int] = field(default_factory=list)

    @property
    def rows_read(self) -> int:
        return self.filtered + sum(self.quarantined.values()) + sum(self.kept.values())


def open_source(
    spark: SparkSession,
    source: SourceFiles,
    units: list[str],
    settings: Settings,
    inferred: dict[str, str],
    work: Path,
) -> SourceTable:
    """The typed table of some units of a source; `work`: a folder that is not there yet, for a typed copy of text."""
    made_here = _made_here(source, settings)
    schema, format_ = (
        (None, "parquet") if made_here else (settings.source.schema_, settings.source.format)
    )
    return read_source(spark, source, source.files(units), format_, schema, inferred, work)


def must_infer(source: SourceFiles, settings: Settings) -> bool:
    """Whether column types are inferred from text."""
    return (
        settings.source.format != "parquet"
        and settings.source.schema_ is None
        and not _made_here(source, settings)
    )


def _made_here(source: SourceFiles, settings: Settings) -> bool:
    return settings.source.kind == "synthetic" and source.setting == "source.path"


def extract_rows(
    spark: SparkSession,
    table: SourceTable,
    settings: Settings,
    *,
    is_test_table: bool,
    known_ids: DataFrame | None,
    partitions: list[str] | None,
) -> DataFrame:
    """Rows in the event contract with their final reason: duplicates found, equal rows told apart.

    `known_ids`: event ids already extracted from other partitions. Of duplicates the first in time is kept.
    """
    found = contract.resolve(table, settings)
    rows = contract.contract(table, settings, found, is_test_table=is_test_table)
    if partitions is not None:
        rows = rows.filter(F.col(C.PARTITION).isin(*partitions))
    own_id = settings.events.id is not None
    known = known_ids if own_id else None
    # First over all ids, refused rows' too: that reads nothing but what ids are made of.
    if (
        _twice(rows, known).isEmpty()
        or (twice := _twice(rows.filter(F.col(C.REASON).isNull()), known)).isEmpty()
    ):
        return rows
    marked = twice.withColumn("__twice", F.lit(True))
    rows = rows.withColumn("__hash", F.xxhash64(C.EVENT_ID)).join(marked, "__hash", "left")
    equal = Window.partitionBy(C.EVENT_ID, F.col(C.REASON).isNull())
    ordered = equal.orderBy(C.EVENT_TIME, C.ENTITY, C.PARTITION, contract.ROW)
    suspect = F.col("__twice").isNotNull() & F.col(C.REASON).isNull()
    several = rows.filter(suspect).withColumn("__nth", F.row_number().over(ordered))
    if own_id:
        if known_ids is not None:
            several = several.join(
                known_ids.select(C.EVENT_ID).distinct().withColumn("__known", F.lit(1)),
                C.EVENT_ID,
                "left",
            )
        else:
            several = several.withColumn("__known", F.lit(None).cast("int"))
        again = (F.col("__nth") > 1) | F.col("__known").isNotNull()
        several = several.withColumn(C.REASON, F.when(again, F.lit(DUPLICATE)))
        several = several.withColumn(contract.COLUMN, F.when(again, F.lit(C.EVENT_ID)))
    else:
        nth = F.when(
            F.col("__nth") > 1, F.concat(F.lit("-"), F.col("__nth").cast("string"))
        ).otherwise(F.lit(""))
        several = several.withColumn(C.EVENT_ID, F.concat(C.EVENT_ID, nth))
    whole = rows.columns
    return (
        rows.filter(~suspect)
        .select(*whole)
        .unionByName(several.select(*whole))
        .drop("__hash", "__twice")
    )


def _twice(rows: DataFrame, known_ids: DataFrame | None) -> DataFrame:
    """Hashes of the event ids that several rows have, or a row and another partition's."""
    hashes = rows.select(F.xxhash64(C.EVENT_ID).alias("__hash"))
    if known_ids is not None:
        hashes = hashes.unionByName(known_ids.select(F.xxhash64(C.EVENT_ID).alias("__hash")))
    return hashes.groupBy("__hash").count().filter("count > 1").select("__hash")


def count_rows(rows: DataFrame, settings: Settings) -> dict[str, PartitionCount]:
    """Every row's fate by partition, exact. Raises DataError for labels other than 0 and 1."""
    in_train = (F.col("split") == C.TRAIN) & F.col(C.REASON).isNull()
    micros = F.unix_micros(C.EVENT_TIME)
    counts: dict[str, PartitionCount] = {}
    bad_labels = 0
    nulls = [
        F.count_if(in_train & F.col(contract.NULL + n)).alias(contract.NULL + n)
        for n in settings.feature_names
    ]
    grouped = rows.groupBy(C.PARTITION, "split", C.REASON, contract.COLUMN).agg(
        F.count(F.lit(1)).alias("n"),
        F.count_if(contract.BAD_LABEL).alias("bad"),
        F.min(micros).alias("first"),
        F.max(micros).alias("last"),
        *nulls,
    )
    for row in grouped.collect():
        part = counts.setdefault(row[C.PARTITION] or NULL, PartitionCount())
        if row[C.REASON] == contract.FILTERED:
            part.filtered += row["n"]
        elif row[C.REASON] is not None:
            key = row[C.REASON] + (f":{row[contract.COLUMN]}" if row[contract.COLUMN] else "")
            part.quarantined[key] = part.quarantined.get(key, 0) + row["n"]
        else:
            bad_labels += row["bad"]
            split = row["split"] or "outside"
            part.kept[split] = part.kept.get(split, 0) + row["n"]
            part.time = _widen(part.time, row["first"], row["last"])
            if split == C.TRAIN:
                part.train = _widen(part.train, row["first"], row["last"])
                for n in settings.feature_names:
                    part.nulls[n] = part.nulls.get(n, 0) + row[contract.NULL + n]
    if bad_labels:
        raise DataError(
            f"`events.label`: {bad_labels} rows hold a label that is not 0, 1 or null. Write an expression that "
            "yields 0 for normal and 1 for anomalous events."
        )
    return counts


def _widen(span: list[int], first: int, last: int) -> list[int]:
    return [min([first, *span]), max([last, *span])]


def write_events(rows: DataFrame, settings: Settings, target: Path, *, aligned: bool) -> None:
    """Write the kept rows to `target/partition=…/`, features beside the raw columns they read."""
    hidden = [c for c in rows.columns if c.startswith("__")]
    kept = rows.filter(F.col(C.REASON).isNull()).drop(
        C.REASON, contract.COLUMN, contract.ROW, "split", *hidden
    )
    if not aligned:
        kept = kept.sparkSession.sql(
            f"SELECT /*+ REBALANCE(`{C.PARTITION}`) */ * FROM {{kept}}", kept=kept
        )
    kept.write.partitionBy(C.PARTITION).parquet(str(target))


def write_quarantine(rows: DataFrame, target: Path) -> None:
    """Write the refused rows to `target/partition=…/`, each with its reason, column and the row as JSON."""
    refused = rows.filter(F.col(C.REASON).isNotNull() & (F.col(C.REASON) != contract.FILTERED))
    refused = refused.select(
        C.PARTITION, C.REASON, contract.COLUMN, C.ENTITY, C.EVENT_TIME, C.EVENT_ID, contract.ROW
    )
    refused.coalesce(4).write.partitionBy(C.PARTITION).parquet(str(target))


def known_ids(spark: SparkSession, folders: list[Path]) -> DataFrame | None:
    """The event ids of partitions already extracted."""
    return spark.read.parquet(*map(str, folders)).select(C.EVENT_ID) if folders else None


def as_ledger(count: PartitionCount) -> dict[str, Any]:
    """A partition's counts for the ledger."""
    return {
        "rows_read": count.rows_read,
        "filtered": count.filtered,
        "quarantined": count.quarantined,
        "kept": count.kept,
        "nulls": count.nulls,
        "train": count.train,
        "time": count.time,
    }
