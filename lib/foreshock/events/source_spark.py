"""Reads a source's files as typed columns. Text formats are read as text first, so that what does not parse is seen."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from foreshock.errors import DataError, SettingsError
from foreshock.events.partitions import NULL, WHOLE, SourceFiles
from foreshock.platform.parquet import read_schema
from foreshock.platform.paths import at

MALFORMED = "__malformed"
BAD = "__bad_"
INTEGER = r"^\s*[+-]?\d+\s*$"
NUMBER = r"^\s*[+-]?(\d+\.?\d*([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?|[nN]a[nN]|[iI]nf(inity)?)\s*$"
OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open}
PLAIN = (".csv", ".txt", "")
BOOLEAN = r"^(?i)\s*(true|false)\s*$"
CELLS = (
    "cells",
    "numbers",
    "integers",
    "big",
    "huge",
    "booleans",
)  # big: beyond int64; huge: beyond 38 digits
Census = dict[str, dict[str, list[int]]]


@dataclass(frozen=True)
class SourceTable:
    """A source as a DataFrame: its columns, a flag for malformed rows, and one for each column whose text may not parse."""

    frame: DataFrame
    columns: tuple[str, ...]
    checked: frozenset[str]
    texts: frozenset[str]


def quoted(name: str) -> str:
    """A column name quoted for SQL."""
    return "`" + name.replace("`", "``") + "`"


def read_source(
    spark: SparkSession,
    source: SourceFiles,
    files: list[str],
    format_: str,
    schema: str | None,
    inferred: dict[str, str],
    work: Path,
) -> SourceTable:
    """The table of some of a source's files. Text is parsed once, into a typed copy under `work`.

    `inferred`: types of `infer_types`, for text without a schema. Raises DataError for unreadable files, SettingsError for a bad
    schema.
    """
    declared = _parse_schema(spark, schema)
    if format_ == "parquet":
        frame = _read_parquet(spark, source, files)
        texts = frozenset(f.name for f in frame.schema if isinstance(f.dataType, T.StringType))
        return SourceTable(
            frame.withColumn(MALFORMED, F.lit(False)), tuple(frame.columns), frozenset(), texts
        )
    text = _read_text(spark, source, files, format_)
    names = [c for c in text.columns if c != MALFORMED]
    _no_duplicates(names, source)
    if declared is not None:
        if missing := [f.name for f in declared if f.name not in names]:
            raise DataError(
                f"source.schema names {missing[0]!r}, which is not in {source.path}; there: {', '.join(names)}."
            )
        types: dict[str, T.DataType] = {f.name: f.dataType for f in declared}
        types |= {k: T.StringType() for k in source.keys if k not in types and k in names}
        names = [n for n in names if n in types]
    else:
        # A column that these files lack but others of the source have is blank here.
        names += [n for n in inferred if n not in names]
        types = {n: T._parse_datatype_string(inferred[n]) for n in names if n in inferred}
        types |= {
            n: text.schema[n].dataType
            for n in text.columns
            if n != MALFORMED and not isinstance(text.schema[n].dataType, T.StringType)
        }
        types |= {k: T.StringType() for k in source.keys if k in names}
    selected: list[Column] = [F.col(MALFORMED)]
    checked = []
    blank = [n for n in names if isinstance(types[n], T.NullType) or n not in text.columns]
    for name in names:
        raw = F.col(quoted(name))
        kind = types[name]
        if name in blank:
            continue
        if isinstance(kind, T.StringType) or not isinstance(
            text.schema[name].dataType, T.StringType
        ):
            selected.append(raw.cast(kind).alias(name) if declared is not None else raw)
            continue
        trimmed = F.trim(raw)
        value = _cast(trimmed, kind)
        checked.append(name)
        selected += [
            value.alias(name),
            (trimmed.isNotNull() & (trimmed != "") & value.isNull()).alias(BAD + name),
        ]
    texts = frozenset(n for n in names if isinstance(types[n], T.StringType))
    text.select(*selected).write.parquet(str(work))
    typed = spark.read.parquet(str(work)).withColumns({n: F.lit(None) for n in blank})
    return SourceTable(typed, tuple(names), frozenset(checked), texts)


def _no_duplicates(names: list[str], source: SourceFiles) -> None:
    lower = [n.lower() for n in names]
    if twice := sorted(n for n in names if lower.count(n.lower()) > 1):
        raise DataError(
            f"{source.setting} {source.path}: the column {twice[0]!r} stands twice in the header."
        )


def _read_parquet(spark: SparkSession, source: SourceFiles, files: list[str]) -> DataFrame:
    """Parquet files as one table; times of nanoseconds, which Spark does not read, as microseconds."""
    spark.conf.set("spark.sql.legacy.parquet.nanosAsLong", "true")
    try:
        frame = (
            spark.read.option("basePath", source.base).option("mergeSchema", "true").parquet(*files)
        )
    except Exception as error:
        if "CANNOT_MERGE" in str(error) and (found := _other_type(files)):
            raise DataError(found) from None
        raise
    for column in read_schema(files[0]):
        # Of Arrow's nanoseconds those that were written as INT96 are timestamps to Spark.
        if (
            pa.types.is_timestamp(column.type)
            and column.type.unit == "ns"
            and column.name in frame.columns
            and isinstance(frame.schema[column.name].dataType, T.LongType)
        ):
            nanos = quoted(column.name)
            frame = frame.withColumn(
                column.name, F.expr(f"timestamp_micros(({nanos} - pmod({nanos}, 1000)) div 1000)")
            )
    return frame


def _other_type(files: list[str]) -> str | None:
    """Which file's column has another type than the same column in files before it, in words."""
    seen: dict[str, tuple[Any, str]] = {}
    for file in files:
        for column in read_schema(file):
            kind, where = seen.setdefault(column.name, (column.type, file))
            if column.type != kind:
                return (
                    f"{file}: the column `{column.name}` is {column.type}, but {kind} in {where}. Files of a source have the same "
                    "types; rewrite one of them."
                )
    return None


def _cast(text: Column, kind: T.DataType) -> Column:
    if isinstance(kind, T.DoubleType | T.FloatType | T.DecimalType | T.LongType | T.IntegerType):
        pattern = NUMBER if isinstance(kind, T.DoubleType | T.FloatType) else INTEGER
        if isinstance(kind, T.DecimalType) and kind.scale:
            pattern = NUMBER
        return F.when(text.rlike(pattern), text.cast(kind))
    return text.cast(kind)


def _parse_schema(spark: SparkSession, schema: str | None) -> T.StructType | None:
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
            f"`source.schema`: a DDL string such as 'a bigint, b double' is wanted, received {schema!r}."
        )
    return parsed


def _read_text(
    spark: SparkSession, source: SourceFiles, files: list[str], format_: str
) -> DataFrame:
    corrupt = "__corrupt"
    reader = spark.read.option("basePath", source.base).option("mode", "PERMISSIVE")
    if format_ == "jsonl":
        plain = reader.option("primitivesAsString", "true").option(
            "columnNameOfCorruptRecord", corrupt
        )
        inferred = plain.json(files).schema
        fields = [f for f in inferred if f.name != corrupt and f.name not in source.keys]
        if not fields:
            raise DataError(
                f"{source.setting} {source.path}: no line in it is a JSON object; the source is empty or of another format."
            )
        whole = T.StructType([*fields, T.StructField(corrupt, T.StringType())])
        frame = plain.schema(whole).json(files)
    else:
        header = (
            _header(files)
            or reader.option("header", "true").option("inferSchema", "false").csv(files).columns
        )
        names = [c for c in header if c not in source.keys]
        if not names:
            raise DataError(f"{source.setting} {source.path}: no header line; the source is empty.")
        whole = T.StructType(
            [
                *(T.StructField(n, T.StringType()) for n in names),
                T.StructField(corrupt, T.StringType()),
            ]
        )
        frame = (
            reader.option("header", "true")
            .option("escape", '"')
            .option("columnNameOfCorruptRecord", corrupt)
            .schema(whole)
            .csv(files)
        )
    return frame.withColumn(MALFORMED, F.col(corrupt).isNotNull()).drop(corrupt)


def _header(files: list[str]) -> list[str]:
    """The header that all CSV files share; a column without a name is called as Spark calls it. Empty where none can be read.

    Raises DataError naming the file whose header differs, or the column that stands twice.
    """
    first: tuple[str, list[str]] | None = None
    for file in files:
        suffix = PurePosixPath(file).suffix
        if suffix not in (*OPENERS, *PLAIN):
            continue
        with (
            at(file).open("rb") as raw,
            OPENERS.get(suffix, lambda raw, _: raw)(raw, "rb") as unpacked,
        ):
            text = io.TextIOWrapper(unpacked, encoding="utf-8-sig", errors="replace", newline="")
            cells = next((row for row in csv.reader(text) if row), None)
        if cells is None:
            continue
        names = [cell.strip() or f"_c{i}" for i, cell in enumerate(cells)]
        for name in names:
            if [n.lower() for n in names].count(name.lower()) > 1:
                raise DataError(
                    f"{file}: the column {name!r} stands twice in the header. Rename one."
                )
        if first is not None and first[1] != names:
            raise DataError(
                f"{file}: its header ({', '.join(names)}) differs from that of {first[0]} ({', '.join(first[1])}). "
                "The files of a source have the same columns in the same order."
            )
        first = first or (file, names)
    return first[1] if first else []


def take_census(spark: SparkSession, source: SourceFiles, units: list[str], format_: str) -> Census:
    """What the cells of some units' text columns parse as: unit -> column -> counts in the order of CELLS.

    Columns that are not text (nested values of JSON) count no cell. Raises DataError as `read_source`.
    """
    text = _read_text(spark, source, source.files(units), format_)
    names = [n for n in text.columns if n != MALFORMED and n not in source.keys]
    _no_duplicates(names, source)
    counts: list[Column] = []
    for i, name in enumerate(names):
        if not isinstance(text.schema[name].dataType, T.StringType):
            continue
        raw = F.trim(F.col(quoted(name)))
        whole = raw.rlike(INTEGER)
        found = (
            raw.isNotNull() & (raw != ""),
            raw.rlike(NUMBER),
            whole,
            whole & raw.cast("bigint").isNull(),
            whole & raw.cast("decimal(38,0)").isNull(),
            raw.rlike(BOOLEAN),
        )
        counts += [
            F.count_if(condition).alias(f"{what}{i}")
            for what, condition in zip(CELLS, found, strict=True)
        ]
    unit = F.col(quoted(source.key)) if source.key is not None else F.lit(WHOLE)
    census: Census = {u: {n: [0] * len(CELLS) for n in names} for u in units}
    if not counts:
        return census
    for row in (
        text.filter(~F.col(MALFORMED))
        .groupBy(unit.cast("string").alias("__unit"))
        .agg(*counts)
        .collect()
    ):
        of = census[NULL if row["__unit"] is None else row["__unit"]]
        for i, name in enumerate(names):
            if f"{CELLS[0]}{i}" in row:
                of[name] = [row[f"{what}{i}"] for what in CELLS]
    return census


def infer_types(census: Census, max_bad: float) -> dict[str, str]:
    """Each text column's type as DDL, from its cells in all units together, whatever unit came first.

    A column is numeric when at least 1 − max_bad of its cells that are not blank parse as numbers, void when all are blank.
    """
    total: dict[str, list[int]] = {}
    for columns in census.values():
        for name, counts in columns.items():
            total[name] = [
                a + b for a, b in zip(total.get(name, [0] * len(CELLS)), counts, strict=True)
            ]
    types: dict[str, str] = {}
    for name, (cells, numbers, integers, big, huge, booleans) in total.items():
        if not cells:
            types[name] = "void"
        elif booleans == cells:
            types[name] = "boolean"
        elif numbers >= (1 - max_bad) * cells:
            types[name] = (
                ("decimal(38,0)" if big else "bigint")
                if integers == numbers and not huge
                else "double"
            )
        else:
            types[name] = "string"
    return types
