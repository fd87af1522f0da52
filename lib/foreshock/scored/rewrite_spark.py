"""Writes scored files anew, some of their columns replaced, in Spark, one task a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from pyspark.sql import SparkSession
from pyspark.sql.pandas.types import from_arrow_schema

from foreshock.platform.parquet import parquet_file
from foreshock.platform.session import map_items
from foreshock.scored.events import ScoredEvents
from foreshock.scored.schema import list_column, scored_schema
from foreshock.statistics.arrays import BoolArray, Float64Array
from foreshock.statistics.finite import finite


class NewColumn(NamedTuple):
    """A column in place of another: scores (n,), or an array (n, F); and which rows have none."""

    values: Float64Array
    is_missing: BoolArray | None = None


Replacement = Callable[[pa.Table], NewColumn]


def schema_ddl(schema: pa.Schema) -> str:
    """An Arrow schema as Spark writes it.

    >>> schema_ddl(pa.schema([("n", pa.int32()), ("names", pa.list_(pa.string()))]))
    '`n` int, `names` array<string>'
    """
    spark_fields = from_arrow_schema(schema)
    return ", ".join(f"`{field.name}` {field.dataType.simpleString()}" for field in spark_fields)


def written_files(folder: Path) -> list[str]:
    """The Parquet files that Spark wrote into a folder, in the order of its tasks.

    Markers and checksums, which Spark writes beside them, are left out.
    """
    return sorted(str(written_file) for written_file in folder.glob("part-*.parquet"))


def rewritten(
    spark: SparkSession,
    scored: ScoredEvents,
    columns: Mapping[str, Replacement],
    detectors: tuple[str, ...],
    target: Path,
) -> ScoredEvents:
    """The events in files of the schema of `detectors`, some columns made from their rows.

    columns: by name what makes a column of a batch. Scores (n,) become float32 values, arrays
    (n, F) lists of float32. A column that the files lack and `columns` does not make is null.
    target: the folder to write to, which must not exist.
    """
    target_schema = scored_schema(detectors)

    def rewrite_file(file: str) -> Iterator[pa.RecordBatch]:
        # By batches, for a file may be larger than the memory of a task.
        for row_batch in parquet_file(file).iter_batches():
            batch_rows = pa.Table.from_batches([row_batch])
            column_arrays = []
            for schema_field in target_schema:
                if schema_field.name in columns:
                    column_arrays.append(_column(columns[schema_field.name](batch_rows)))
                elif schema_field.name in batch_rows.column_names:
                    column_arrays.append(batch_rows[schema_field.name])
                else:
                    column_arrays.append(pa.nulls(len(batch_rows), schema_field.type))
            yield from pa.table(column_arrays, schema=target_schema).combine_chunks().to_batches()

    rewritten_frame = map_items(spark, scored.files, rewrite_file, schema_ddl(target_schema))
    rewritten_frame.write.parquet(str(target))
    return scored.with_files(written_files(target), detectors)


def _column(column: NewColumn) -> pa.Array:
    # Rounded to float32: histograms and exact quantiles count scores by the bits of that type.
    single_values = finite(column.values).astype(np.float32)
    if single_values.ndim == 2:
        return list_column(single_values)
    return pa.array(single_values.astype(np.float64), mask=column.is_missing)
