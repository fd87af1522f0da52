"""The rows of a source in the event contract, with duplicates found and equal rows told apart."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pyspark.sql import Column, DataFrame, SparkSession, Window, WindowSpec
from pyspark.sql import functions as F

from foreshock import columns as C
from foreshock.events.contract_spark import BLAMED, ROW_JSON, contract
from foreshock.events.expressions_spark import resolve_expressions
from foreshock.events.source_spark import SourceTable
from foreshock.settings.root import Settings

DUPLICATE = "duplicate_id"
SMALL_SOURCE_BYTES = 16 * 2**20
ID_HASH, SHARED, NUMBER, KNOWN = "__hash", "__shared", "__number", "__known"


def known_ids(spark: SparkSession, folders: Collection[Path]) -> DataFrame | None:
    """The event ids of partitions already extracted; None if there are none.

    folders: those of the partitions, in `events/`.
    """
    return spark.read.parquet(*map(str, folders)).select(C.EVENT_ID) if folders else None


@contextmanager
def contract_rows(
    table: SourceTable,
    settings: Settings,
    *,
    is_test_table: bool,
    known: DataFrame | None = None,
    partitions: Collection[str] | None = None,
) -> Iterator[DataFrame]:
    """Rows in the event contract with their final reason, while the block runs.

    known: event ids already extracted from other partitions. Of duplicates the first in time is
    kept.
    partitions: those of rows to keep; None for all.
    """
    expressions = resolve_expressions(table, settings)
    rows = contract(table, settings, expressions, is_test_table=is_test_table)
    if partitions is not None:
        rows = rows.filter(F.col(C.PARTITION).isin(*partitions))
    is_small = _source_bytes(table) <= SMALL_SOURCE_BYTES
    if is_small:
        # The checks are one large expression, which Spark compiles anew for every use: for few rows
        # that takes longer than running it.
        rows = rows.persist()
    try:
        yield _without_duplicates(rows, known, has_id=settings.events.id is not None)
    finally:
        if is_small:
            # A JVM that is gone has forgotten them.
            with suppress(Exception):
                rows.unpersist()


def _source_bytes(table: SourceTable) -> int:
    plan = table.frame._jdf.queryExecution().optimizedPlan()
    return int(plan.stats().sizeInBytes())


def _without_duplicates(rows: DataFrame, known: DataFrame | None, *, has_id: bool) -> DataFrame:
    """The rows, with duplicates refused or, if ids are hashes of rows, numbered."""
    known = known if has_id else None
    # First over all ids, refused rows' too: that reads nothing but what ids are made of.
    if _shared_hashes(rows, known).isEmpty():
        return rows
    shared = _shared_hashes(rows.filter(F.col(C.REASON).isNull()), known)
    if shared.isEmpty():
        return rows
    marked = rows.withColumn(ID_HASH, F.xxhash64(C.EVENT_ID)).join(
        shared.withColumn(SHARED, F.lit(True)), ID_HASH, "left"
    )
    # Only rows whose id is shared go through the window: sorting all of them is dear.
    is_suspect = F.col(SHARED).isNotNull() & F.col(C.REASON).isNull()
    suspects = marked.filter(is_suspect).withColumn(NUMBER, F.row_number().over(_equal_ids()))
    settled = _refused(suspects, known) if has_id else _numbered(suspects)
    return (
        marked.filter(~is_suspect).select(*rows.columns).unionByName(settled.select(*rows.columns))
    )


def _equal_ids() -> WindowSpec:
    equal = Window.partitionBy(C.EVENT_ID, F.col(C.REASON).isNull())
    return equal.orderBy(C.EVENT_TIME, C.ENTITY, C.PARTITION, ROW_JSON)


def _refused(suspects: DataFrame, known: DataFrame | None) -> DataFrame:
    """Rows whose id an earlier row has get the reason of a duplicate."""
    is_again: Column = F.col(NUMBER) > 1
    if known is not None:
        ids = known.select(C.EVENT_ID).distinct().withColumn(KNOWN, F.lit(1))
        suspects = suspects.join(ids, C.EVENT_ID, "left")
        is_again = is_again | F.col(KNOWN).isNotNull()
    return suspects.withColumn(C.REASON, F.when(is_again, F.lit(DUPLICATE))).withColumn(
        BLAMED, F.when(is_again, F.lit(C.EVENT_ID))
    )


def _numbered(suspects: DataFrame) -> DataFrame:
    """Equal rows get ids of their own: the second one ends in `-2`."""
    suffix = F.concat(F.lit("-"), F.col(NUMBER).cast("string"))
    is_again = F.col(NUMBER) > 1
    return suspects.withColumn(
        C.EVENT_ID, F.concat(C.EVENT_ID, F.when(is_again, suffix).otherwise(F.lit("")))
    )


def _shared_hashes(rows: DataFrame, known: DataFrame | None) -> DataFrame:
    """Hashes of the event ids that several rows have, or a row and another partition's."""
    # 64 bits of hash move faster than ids do. Two ids with one hash are told apart afterwards.
    hashes = rows.select(F.xxhash64(C.EVENT_ID).alias(ID_HASH))
    if known is not None:
        hashes = hashes.unionByName(known.select(F.xxhash64(C.EVENT_ID).alias(ID_HASH)))
    return hashes.groupBy(ID_HASH).count().filter("count > 1").select(ID_HASH)
