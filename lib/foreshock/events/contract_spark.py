"""From source columns to the event contract: every row with its split and its reason."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from foreshock import columns as C
from foreshock.events.expressions_spark import (
    FEATURE_PREFIX,
    LABEL,
    TIME,
    Expression,
    Expressions,
)
from foreshock.events.partitions import identifier
from foreshock.events.reasons_spark import refusal
from foreshock.events.source_spark import SourceTable
from foreshock.events.text_spark import quoted
from foreshock.settings.root import Settings

BLAMED = "column"
ROW_JSON = "row"
SPLIT = "split"
BAD_LABEL = "__bad_label"
NULL_PREFIX = "__null_"
# The first and the last second of the years 1 to 9999.
SECONDS = (-62_135_596_800, 253_402_300_799)
# Hexadecimal digits of a row's SHA-256 that make its event id.
ID_LENGTH = 32


def contract(
    source: SourceTable, settings: Settings, expressions: Expressions, *, is_test_table: bool
) -> DataFrame:
    """Rows in the event contract, one a source row.

    REASON is null for a kept row, FILTERED for one that events.where leaves out, else why the row
    is refused; BLAMED is the column at fault and ROW_JSON the source row. Features are float64
    beside the raw columns that they read.
    """
    # Sorted, so that a row's hash, its event id, does not depend on the order of columns.
    row_json = F.to_json(
        F.struct(*[F.col(quoted(column_name)) for column_name in sorted(source.columns)])
    )
    values = _contract_values(settings, expressions, row_json)
    features = {
        feature: expressions[f"{FEATURE_PREFIX}{feature}"] for feature in settings.feature_names
    }
    reason, blamed_column = refusal(source, settings, expressions, features, values)
    projected = source.frame.select(
        *[value.alias(column_name) for column_name, value in values.items()],
        *[
            expression.column.cast("double").alias(feature)
            for feature, expression in features.items()
        ],
        *[
            F.col(quoted(source_column)).alias(column_name)
            for source_column, column_name in raw_columns(features, settings).items()
        ],
        reason.alias(C.REASON),
        blamed_column.alias(BLAMED),
        row_json.alias(ROW_JSON),
    )
    return projected.withColumns(_finished(projected, settings, is_test_table=is_test_table))


def _contract_values(
    settings: Settings, expressions: Expressions, row_json: Column
) -> dict[str, Column]:
    """The columns of the contract; a setting that is not there gives its column a constant."""

    def column_of(setting: str, sql_type: str, otherwise: Column) -> Column:
        """The value of a setting's expression; `otherwise` if the setting is not there."""
        expression = expressions.get(setting)
        return otherwise if expression is None else expression.column.cast(sql_type)

    def condition_of(setting: str) -> Column:
        """Whether a row meets a setting's condition; null counts as not met."""
        expression = expressions.get(setting)
        if expression is None:
            return F.lit(True)
        return F.coalesce(expression.column, F.lit(False))

    event_time = _event_time(expressions[TIME])
    day = F.date_format(event_time, "yyyy-MM-dd")
    row_hash = F.substring(F.sha2(row_json, 256), 1, ID_LENGTH)
    tiebreaks = {
        f"{C.TIEBREAK_PREFIX}{i}": expressions[f"events.tiebreak[{i}]"].column
        for i in range(len(settings.events.tiebreak))
    }
    return {
        C.ENTITY: expressions["events.entity"].column.cast("string"),
        C.EVENT_TIME: event_time,
        C.PARTITION: column_of("events.partition", "string", day),
        C.GROUP: column_of("events.group", "string", F.lit(C.ALL)),
        **tiebreaks,
        C.EVENT_ID: column_of("events.id", "string", row_hash),
        C.LABEL: column_of(LABEL, "double", F.lit(None).cast("double")),
        C.KIND: column_of("events.kind", "string", F.lit(None).cast("string")),
        C.TRAIN_OK: condition_of("events.train_where"),
        C.CALIBRATE_OK: condition_of("events.calibrate_where"),
    }


def _event_time(time: Expression) -> Column:
    if not isinstance(time.sql_type, T.NumericType):
        return time.column.cast("timestamp")
    # Spark fails on a decimal with digits below a microsecond; a double is rounded.
    is_whole = isinstance(time.sql_type, T.IntegralType)
    seconds = time.column if is_whole else time.column.cast("double")
    return F.timestamp_seconds(F.when(time.column.between(*SECONDS), seconds))


def _finished(
    projected: DataFrame, settings: Settings, *, is_test_table: bool
) -> dict[str, Column]:
    """Columns to add to the projected ones, or to replace.

    They are handed over together: Spark analyses the long list of checks again for every step.
    """
    columns: dict[str, Column] = {}
    for feature in settings.feature_names:
        value = F.col(feature)
        columns[NULL_PREFIX + feature] = value.isNull()
        if settings.quality.null_policy(feature) == "zero":
            columns[feature] = F.coalesce(value, F.lit(0.0))
    for field in projected.schema:
        if isinstance(field.dataType, T.NullType):  # Parquet has no such type
            columns[field.name] = F.col(quoted(field.name)).cast("string")
    label = F.col(C.LABEL)
    # Before the cast, which makes 0 of 0.5.
    columns[BAD_LABEL] = label.isNotNull() & ~label.isin(0.0, 1.0)
    columns[C.LABEL] = label.cast("tinyint")
    in_test = F.lit(C.TEST)
    columns[SPLIT] = in_test if is_test_table else split_of(F.col(C.EVENT_TIME), settings)
    return columns


def raw_columns(features: Expressions, settings: Settings) -> dict[str, str]:
    """The source columns that features read, with their names in `events/`.

    The name is `raw_…` if the plain one is taken.

    A column that a feature of the same name is, unchanged, is left out: it is there already.
    """
    unchanged = {
        feature
        for feature, expression in features.items()
        if _is_copy(feature, expression, settings)
    }
    taken_names = {
        column.lower() for column in (*C.CONTRACT, *features, C.REASON, SPLIT, ROW_JSON, BLAMED)
    }
    columns_read = {column for expression in features.values() for column in expression.reads}
    return {
        column: f"{C.RAW_PREFIX}{column}" if column.lower() in taken_names else column
        for column in sorted(columns_read - unchanged)
    }


def _is_copy(feature: str, expression: Expression, settings: Settings) -> bool:
    """Whether a feature is a source column of the same name and type, with nulls as they are."""
    return (
        isinstance(expression.sql_type, T.DoubleType)
        and expression.reads == (feature,)
        and identifier(settings.events.features[feature]) == feature
        and settings.quality.null_policy(feature) != "zero"
    )


def split_of(time: Column, settings: Settings) -> Column:
    """The split of a time; null outside all of them.

    A split holds its start, and not its end.
    """
    split = F.lit(None).cast("string")
    micros = F.unix_micros(time)
    for split_name, span in settings.split.spans().items():
        start, end = span.micros
        split = F.when((micros >= start) & (micros < end), F.lit(split_name)).otherwise(split)
    return split
