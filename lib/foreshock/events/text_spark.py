"""Reads CSV and JSON lines as text columns, and counts what their cells parse as."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import fields

from pyspark.sql import Column, DataFrame, DataFrameReader, Row, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from foreshock.errors import DataError
from foreshock.events.column_types import CellCounts, Census
from foreshock.events.csv_header import repeated_name, shared_header
from foreshock.events.partitions import NULL, WHOLE, SourceFiles

# Names that no source has, for the columns that are added on the way.
MALFORMED = "__malformed"
CORRUPT = "__corrupt"
SOURCE_PARTITION = "__source_partition"
# What counts as a number: Spark's cast also takes `1d`, `1f` and the like.
INTEGER = r"^\s*[+-]?\d+\s*$"
NUMBER = r"^\s*[+-]?(\d+\.?\d*([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?|[nN]a[nN]|[iI]nf(inity)?)\s*$"
BOOLEAN = r"^(?i)\s*(true|false)\s*$"
COUNTED = tuple(field.name for field in fields(CellCounts))


def quoted(name: str) -> str:
    """A column name quoted for SQL."""
    return "`" + name.replace("`", "``") + "`"


def is_text(frame: DataFrame, column: str) -> bool:
    """Whether a column is text. Nested values of JSON are not."""
    return isinstance(frame.schema[column].dataType, T.StringType)


def read_text(
    spark: SparkSession, source: SourceFiles, files: list[str], text_format: str
) -> DataFrame:
    """Files of text, with MALFORMED true for a row that is not of the format.

    text_format: `csv` or `jsonl`. Raises DataError if there is no header or no JSON object.
    """
    reader = spark.read.option("basePath", source.base_folder).option("mode", "PERMISSIVE")
    reader = reader.option("columnNameOfCorruptRecord", CORRUPT)
    read_format = _read_json_lines if text_format == "jsonl" else _read_csv
    frame = read_format(reader, source, files)
    return frame.withColumn(MALFORMED, F.col(CORRUPT).isNotNull()).drop(CORRUPT)


def _read_json_lines(reader: DataFrameReader, source: SourceFiles, files: list[str]) -> DataFrame:
    # As text, since Spark would take the type of a column from each call's files alone.
    reader = reader.option("primitivesAsString", "true")
    ignored = (CORRUPT, *source.folder_keys)
    columns = [field for field in reader.json(files).schema if field.name not in ignored]
    if not columns:
        raise DataError(
            f"{source.setting} {source.path}: no line in it is a JSON object; "
            "the source is empty or of another format."
        )
    return reader.schema(_with_corrupt(columns)).json(files)


def _read_csv(reader: DataFrameReader, source: SourceFiles, files: list[str]) -> DataFrame:
    reader = reader.option("header", "true")
    # Spark drops the first line of each file, and does not say if it differs from another's.
    header = shared_header(files)
    if not header:
        # The files have a compression that is not opened here.
        header = reader.option("inferSchema", "false").csv(files).columns
    columns = [
        T.StructField(column, T.StringType())
        for column in header
        if column not in source.folder_keys
    ]
    if not columns:
        raise DataError(f"{source.setting} {source.path}: no header line; the source is empty.")
    return reader.option("escape", '"').schema(_with_corrupt(columns)).csv(files)


def _with_corrupt(columns: list[T.StructField]) -> T.StructType:
    return T.StructType([*columns, T.StructField(CORRUPT, T.StringType())])


def check_names(names: Iterable[str], source: SourceFiles) -> None:
    """Raise DataError if a column stands twice, in whatever case.

    source: whose setting and path the message names.
    """
    # Spark's own refusal names no file and no setting.
    # Sorted, so that of several the same one is named whatever the order of the files.
    if repeated := repeated_name(sorted(names)):
        raise DataError(
            f"{source.setting} {source.path}: the column {repeated!r} stands twice in the header."
        )


def take_census(
    spark: SparkSession, source: SourceFiles, source_partitions: Collection[str], text_format: str
) -> Census:
    """What the cells of some source partitions' text columns parse as.

    Columns that are not text (nested values of JSON) count no cell. Raises DataError as
    `read_text`.
    """
    text = read_text(spark, source, source.files(source_partitions), text_format)
    names = [c for c in text.columns if c != MALFORMED and c not in source.folder_keys]
    check_names(names, source)
    text_columns = [column for column in names if is_text(text, column)]
    no_cells = dict.fromkeys(names, CellCounts())
    census = {source_partition: dict(no_cells) for source_partition in source_partitions}
    if not text_columns:
        return census
    key = F.lit(WHOLE) if source.partition_key is None else F.col(quoted(source.partition_key))
    counted = (
        text.filter(~F.col(MALFORMED))
        .groupBy(key.cast("string").alias(SOURCE_PARTITION))
        .agg(*_cell_counts(text_columns))
    )
    for row in counted.collect():
        source_partition = NULL if row[SOURCE_PARTITION] is None else row[SOURCE_PARTITION]
        census[source_partition] |= _cells_of_row(row, text_columns)
    return census


def _cell_counts(columns: list[str]) -> list[Column]:
    """The aggregates that `_cells_of_row` reads: one a column and field of CellCounts."""
    aggregates = []
    for number, column in enumerate(columns):
        text = F.trim(F.col(quoted(column)))
        is_integer = text.rlike(INTEGER)
        conditions = {
            "filled": text.isNotNull() & (text != ""),
            "numbers": text.rlike(NUMBER),
            "integers": is_integer,
            "beyond_int64": is_integer & text.cast("bigint").isNull(),
            "beyond_38_digits": is_integer & text.cast("decimal(38,0)").isNull(),
            "booleans": text.rlike(BOOLEAN),
        }
        aggregates += [
            F.count_if(condition).alias(f"{counted}_{number}")
            for counted, condition in conditions.items()
        ]
    return aggregates


def _cells_of_row(row: Row, columns: list[str]) -> dict[str, CellCounts]:
    return {
        column: CellCounts(**{counted: row[f"{counted}_{number}"] for counted in COUNTED})
        for number, column in enumerate(columns)
    }
