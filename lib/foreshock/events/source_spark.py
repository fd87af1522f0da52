"""Reads a source's files as typed columns.

Text is read as text first, so that what does not parse is seen.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from foreshock.errors import DataError, SettingsError
from foreshock.events.partitions import SourceFiles
from foreshock.events.text_spark import (
    INTEGER,
    MALFORMED,
    NUMBER,
    check_names,
    is_text,
    quoted,
    read_text,
)
from foreshock.platform.parquet import read_schema
from foreshock.settings.root import Settings

BAD_PREFIX = "__bad_"
FLOATING_TYPES = (T.DoubleType, T.FloatType)
NUMBER_TYPES = (*FLOATING_TYPES, T.DecimalType, T.LongType, T.IntegerType)

SqlTypes = Mapping[str, T.DataType]


@dataclass(frozen=True)
class SourceTable:
    """A source as a DataFrame.

    frame: the columns, MALFORMED for rows that are not of the format, and BAD_PREFIX + column for
    each checked one.
    columns: the source's columns.
    checked_columns: the columns read from text whose cells may not parse.
    text_columns: the columns that are text.
    """

    frame: DataFrame
    columns: tuple[str, ...]
    checked_columns: frozenset[str]
    text_columns: frozenset[str]


def must_infer(source: SourceFiles, settings: Settings) -> bool:
    """Whether the types of columns are inferred from text.

    That is so for csv and jsonl without `source.schema`. A synthetic table is typed already.
    """
    is_typed = settings.source.format == "parquet" or settings.source.schema_ is not None
    return not is_typed and not _is_made_here(source, settings)


def _is_made_here(source: SourceFiles, settings: Settings) -> bool:
    return settings.source.kind == "synthetic" and source.setting == "source.path"


def open_source(
    spark: SparkSession,
    source: SourceFiles,
    source_partitions: Collection[str],
    settings: Settings,
    inferred: Mapping[str, str],
    typed_copy: Path,
) -> SourceTable:
    """The typed table of some source partitions.

    inferred: the types that `infer_types` gave, for text without a schema.
    typed_copy: a folder that is not there yet. Text is parsed once, into a copy there.
    Raises DataError for files that cannot be read, SettingsError for a bad schema.
    """
    files = source.files(source_partitions)
    made_here = _is_made_here(source, settings)
    declared = None if made_here else _declared_types(settings.source.schema_)
    if made_here or settings.source.format == "parquet":
        return _open_parquet(spark, source, files)
    text = read_text(spark, source, files, settings.source.format)
    columns = [column for column in text.columns if column != MALFORMED]
    check_names(columns, source)
    if declared is None:
        sql_types = _inferred_types(text, source, inferred)
    else:
        sql_types = _types_of_schema(declared, columns, source)
    return _open_text(text, sql_types, is_declared=declared is not None, typed_copy=typed_copy)


def _open_parquet(spark: SparkSession, source: SourceFiles, files: list[str]) -> SourceTable:
    frame = _read_parquet(spark, source, files)
    text_columns = frozenset(column for column in frame.columns if is_text(frame, column))
    columns = tuple(frame.columns)
    return SourceTable(
        frame.withColumn(MALFORMED, F.lit(False)), columns, frozenset(), text_columns
    )


def _read_parquet(spark: SparkSession, source: SourceFiles, files: list[str]) -> DataFrame:
    """Parquet files as one table. Spark does not read nanoseconds: they become microseconds."""
    spark.conf.set("spark.sql.legacy.parquet.nanosAsLong", "true")
    # Files of a source may have columns that others lack; without merging Spark takes one file's.
    reader = spark.read.option("basePath", source.base_folder).option("mergeSchema", "true")
    try:
        frame = reader.parquet(*files)
    except Exception as error:
        if "CANNOT_MERGE" in str(error) and (difference := _different_type(files)):
            raise DataError(difference) from None
        raise
    # Arrow's nanoseconds are numbers to Spark, but for those that were written as INT96.
    in_nanos = [
        column.name
        for column in read_schema(files[0])
        if pa.types.is_timestamp(column.type)
        and column.type.unit == "ns"
        and column.name in frame.columns
        and isinstance(frame.schema[column.name].dataType, T.LongType)
    ]
    for column_name in in_nanos:
        nanos = quoted(column_name)
        micros = f"timestamp_micros(({nanos} - pmod({nanos}, 1000)) div 1000)"
        frame = frame.withColumn(column_name, F.expr(micros))
    return frame


def _different_type(files: Iterable[str]) -> str | None:
    """Which file's column has another type than the same column in files before it, in words."""
    first_seen: dict[str, tuple[Any, str]] = {}
    for file in files:
        for column in read_schema(file):
            arrow_type, first_file = first_seen.setdefault(column.name, (column.type, file))
            if column.type != arrow_type:
                return (
                    f"{file}: the column `{column.name}` is {column.type}, but {arrow_type} in "
                    f"{first_file}. Files of a source have the same types; rewrite one of them."
                )
    return None


def _declared_types(schema: str | None) -> T.StructType | None:
    if schema is None:
        return None
    try:
        parsed = T._parse_datatype_string(schema)
    except Exception as error:
        raise SettingsError(
            f"`source.schema`: not a DDL string such as 'a bigint, b double': {str(error)[:200]}."
        ) from None
    if not isinstance(parsed, T.StructType):
        raise SettingsError(
            "`source.schema`: a DDL string such as 'a bigint, b double' is wanted, "
            f"received {schema!r}."
        )
    return parsed


def _types_of_schema(
    declared: T.StructType, columns: list[str], source: SourceFiles
) -> dict[str, T.DataType]:
    """The types of the columns that `source.schema` names, in the order of the text.

    Raises DataError for one that is not there.
    """
    sql_types = {field.name: field.dataType for field in declared}
    if missing := [column for column in sql_types if column not in columns]:
        raise DataError(
            f"source.schema names {missing[0]!r}, which is not in {source.path}; "
            f"there: {', '.join(columns)}."
        )
    sql_types |= {key: T.StringType() for key in source.folder_keys if key not in sql_types}
    return {column: sql_types[column] for column in columns if column in sql_types}


def _inferred_types(
    text: DataFrame, source: SourceFiles, inferred: Mapping[str, str]
) -> dict[str, T.DataType]:
    """The types of all columns.

    One that these files lack but others of the source have is blank here.
    """
    columns = [column for column in text.columns if column != MALFORMED]
    columns += [column for column in inferred if column not in columns]
    sql_types: dict[str, T.DataType] = {}
    for column in columns:
        if column in source.folder_keys:
            sql_types[column] = T.StringType()
        elif column in text.columns and not is_text(text, column):
            sql_types[column] = text.schema[column].dataType
        else:
            sql_types[column] = T._parse_datatype_string(inferred[column])
    return sql_types


def _open_text(
    text: DataFrame, sql_types: SqlTypes, *, is_declared: bool, typed_copy: Path
) -> SourceTable:
    """Write the typed copy of text, with what does not parse marked, and open it."""
    # A copy, because text that is parsed anew for each of the passes that follow is dear.
    selected: list[Column] = [F.col(MALFORMED)]
    checked_columns, blank_columns = [], []
    for column, sql_type in sql_types.items():
        raw = F.col(quoted(column))
        if isinstance(sql_type, T.NullType) or column not in text.columns:
            blank_columns.append(column)
        elif isinstance(sql_type, T.StringType) or not is_text(text, column):
            # A schema may want another type of a nested value; an inferred type is its own.
            selected.append(raw.cast(sql_type).alias(column) if is_declared else raw)
        else:
            trimmed = F.trim(raw)
            value = _parsed(trimmed, sql_type)
            is_bad = trimmed.isNotNull() & (trimmed != "") & value.isNull()
            checked_columns.append(column)
            selected += [value.alias(column), is_bad.alias(BAD_PREFIX + column)]
    typed = text.select(*selected)
    typed.write.parquet(str(typed_copy))
    # With the schema at hand Spark need not look for it in the files.
    reader = text.sparkSession.read.schema(typed.schema)
    frame = reader.parquet(str(typed_copy)).withColumns(
        {column: F.lit(None) for column in blank_columns}
    )
    text_columns = [
        column for column, sql_type in sql_types.items() if isinstance(sql_type, T.StringType)
    ]
    return SourceTable(frame, tuple(sql_types), frozenset(checked_columns), frozenset(text_columns))


def _parsed(text: Column, sql_type: T.DataType) -> Column:
    """Text as a value of a type, null if it does not parse.

    Spark's own cast takes more than a number for one, such as `1d`.
    """
    if not isinstance(sql_type, NUMBER_TYPES):
        return text.cast(sql_type)
    has_fraction = isinstance(sql_type, T.DecimalType) and sql_type.scale > 0
    pattern = NUMBER if has_fraction or isinstance(sql_type, FLOATING_TYPES) else INTEGER
    return F.when(text.rlike(pattern), text.cast(sql_type))
