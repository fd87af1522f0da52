"""Columns of Iceberg tables: their types, how those of a run fit them, which rows are meant."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from functools import reduce
from typing import cast

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql.types import DataType, StructField, StructType, _parse_datatype_string

from foreshock.tables.describe import TableDescription
from foreshock.tables.sinks.protocol import PartitionKey


def described_fields(description: TableDescription) -> list[StructField]:
    """The columns of a description, with Spark's types.

    They come in the order of the description.
    """
    columns_ddl = ", ".join(f"`{column.name}` {column.sql_type}" for column in description.columns)
    return cast(StructType, _parse_datatype_string(columns_ddl)).fields


def type_difference(present: DataType, wanted: DataType, name: str) -> str | None:
    """Why a column cannot take values of a type, in words; None: it can.

    A struct can if each field that both have can.
    """
    if isinstance(present, StructType) and isinstance(wanted, StructType):
        for wanted_field in wanted.fields:
            if wanted_field.name in present.names:
                present_type = present[wanted_field.name].dataType
                reason = type_difference(
                    present_type, wanted_field.dataType, f"{name}.{wanted_field.name}"
                )
                if reason:
                    return reason
        return None
    if present.simpleString() == wanted.simpleString():
        return None
    return f"column {name} is {present.simpleString()}, {wanted.simpleString()} is wanted"


def fit_column(schema: StructType, name: str, table_type: DataType) -> Column:
    """A column of a run as the table has it: null if the run has none, and so for its fields.

    schema: of the run's rows. table_type: the column's type in the table. Fields of a struct that
    the table lacks are lost.
    """
    if name not in schema.names:
        return F.lit(None).cast(table_type).alias(name)
    run_type = schema[name].dataType
    if not (isinstance(table_type, StructType) and isinstance(run_type, StructType)):
        return F.col(name)
    # Rebuilding a struct costs for each row, and most runs have the table's fields.
    if table_type.names == run_type.names:
        return F.col(name)
    fitted_fields = []
    for table_field in table_type.fields:
        if table_field.name in run_type.names:
            field_value = F.col(name)[table_field.name]
        else:
            field_value = F.lit(None).cast(table_field.dataType)
        fitted_fields.append(field_value.alias(table_field.name))
    return F.when(F.col(name).isNotNull(), F.struct(*fitted_fields)).alias(name)


def in_partitions(keys: Sequence[PartitionKey]) -> Column:
    """Which rows lie in some partitions.

    Raises TypeError without keys: no condition of Spark stands for no partition.
    """
    by_split: dict[str, list[str]] = {}
    for partition_key in keys:
        by_split.setdefault(partition_key.split, []).append(partition_key.partition)
    conditions = [
        (F.col("split") == split_name) & F.col("partition").isin(*partition_names)
        for split_name, partition_names in sorted(by_split.items())
    ]
    return reduce(operator.or_, conditions)


def quoted(text: str) -> str:
    """Text as a literal of Spark's SQL.

    >>> quoted("a feature's share")
    "'a feature\\\\'s share'"
    """
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
