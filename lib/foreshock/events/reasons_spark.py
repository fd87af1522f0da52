"""Why a row is refused: the first check that holds gives the reason and the column."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql import types as T

from foreshock import columns as C
from foreshock.events.expressions_spark import LABEL, TIME, Expression, Expressions
from foreshock.events.partitions import DAY, MONTH
from foreshock.events.source_spark import BAD_PREFIX, SourceTable
from foreshock.events.text_spark import MALFORMED, quoted
from foreshock.settings.root import Settings

# The reason of rows that events.where leaves out: they are not refused.
FILTERED = "__filtered"
FLOAT_MAX = 3.4028234663852886e38
REQUIRED = (C.EVENT_TIME, C.ENTITY, C.PARTITION, C.GROUP, C.EVENT_ID)
PARTITION_FORMATS = {DAY: "yyyy-MM-dd", MONTH: "yyyy-MM"}


@dataclass(frozen=True)
class Check:
    """A condition that refuses a row, the reason it gives and the column that it blames."""

    condition: Column
    reason: str
    blamed_column: str | None = None


def refusal(
    source: SourceTable,
    settings: Settings,
    expressions: Expressions,
    features: Expressions,
    values: Mapping[str, Column],
) -> tuple[Column, Column]:
    """The reason of each row and the column blamed for it; null for a row that is kept.

    features: the features' expressions by name. values: the columns of the contract by name.
    """
    # The order is part of the result: a row that is refused for two reasons has the first.
    checks = [
        *_row_checks(source, expressions),
        *_time_checks(expressions[TIME], values[C.EVENT_TIME]),
        *_required_checks(values),
        *_partition_checks(expressions, values),
        *_label_checks(expressions, values),
    ]
    for feature, expression in features.items():
        null_policy = settings.quality.null_policy(feature)
        checks += _feature_checks(source, feature, expression, null_policy)
    return _first_that_holds(checks)


def _first_that_holds(checks: Iterable[Check]) -> tuple[Column, Column]:
    # A check on a null is null, which is no reason to refuse a row.
    settled = [(F.coalesce(check.condition, F.lit(False)), check) for check in checks]
    return (
        _case([(holds, check.reason) for holds, check in settled]),
        _case([(holds, check.blamed_column) for holds, check in settled]),
    )


def _case(branches: list[tuple[Column, str | None]]) -> Column:
    """The text of the first condition that holds, else null."""
    first_condition, first_text = branches[0]
    case = F.when(first_condition, F.lit(first_text))
    for condition, text in branches[1:]:
        case = case.when(condition, F.lit(text))
    return case


def _row_checks(source: SourceTable, expressions: Expressions) -> Iterator[Check]:
    yield Check(F.col(MALFORMED), "malformed_row")
    where = expressions.get("events.where")
    if where is not None:
        # If events.where cannot read its text, the row is undecided: refused, not filtered.
        yield from _unparsable_checks(source, [where])
        yield Check(~F.coalesce(where.column, F.lit(False)), FILTERED)
    yield from _unparsable_checks(source, expressions.values())


def _unparsable_checks(source: SourceTable, expressions: Iterable[Expression]) -> Iterator[Check]:
    reads = {column for expression in expressions for column in expression.reads}
    for column in sorted(reads & source.checked_columns):
        yield Check(F.col(quoted(BAD_PREFIX + column)), "unparsable", column)


def _time_checks(time: Expression, event_time: Column) -> Iterator[Check]:
    is_lost = time.column.isNotNull() & event_time.isNull()
    if isinstance(time.sql_type, T.NumericType):
        yield Check(is_lost, "out_of_range", C.EVENT_TIME)
    if isinstance(time.sql_type, T.StringType):
        is_filled = time.column.isNotNull() & (F.trim(time.column) != "")
        yield Check(is_filled & event_time.isNull(), "unparsable", C.EVENT_TIME)


def _required_checks(values: Mapping[str, Column]) -> Iterator[Check]:
    for column in REQUIRED:
        value = values[column]
        yield Check(value.isNull() | (value.cast("string") == ""), "null", column)
    # Times in Python, and in much that reads the tables, end with the year 9999.
    in_calendar = F.year(values[C.EVENT_TIME]).between(1, 9999)
    yield Check(in_calendar == F.lit(False), "out_of_range", C.EVENT_TIME)


def _partition_checks(expressions: Expressions, values: Mapping[str, Column]) -> Iterator[Check]:
    if "events.partition" not in expressions:
        return
    # A day or month that the row's time does not lie in would put the row into a wrong split.
    partition, event_time = values[C.PARTITION], values[C.EVENT_TIME]
    for pattern, time_format in PARTITION_FORMATS.items():
        lies_elsewhere = F.date_format(event_time, time_format) != partition
        yield Check(
            partition.rlike(pattern) & lies_elsewhere, "time_outside_partition", C.EVENT_TIME
        )


def _label_checks(expressions: Expressions, values: Mapping[str, Column]) -> Iterator[Check]:
    if LABEL in expressions:
        yield Check(F.isnan(values[C.LABEL]), "nan", C.LABEL)


def _feature_checks(
    source: SourceTable, feature: str, expression: Expression, null_policy: str
) -> Iterator[Check]:
    value = expression.column.cast("double")
    if any(column in source.text_columns for column in expression.reads):
        # A null from text that is there is text that did not parse, and no missing value.
        is_filled = F.lit(True)
        for column in expression.reads:
            text = F.col(quoted(column))
            is_filled = is_filled & text.isNotNull() & (F.trim(text.cast("string")) != "")
        yield Check(value.isNull() & is_filled, "unparsable", feature)
    if null_policy == "quarantine":
        yield Check(value.isNull(), "null", feature)
    yield Check(F.isnan(value), "nan", feature)
    yield Check(F.abs(value) == F.lit(float("inf")), "infinite", feature)
    # Detectors compute in float32, where a larger number is infinite.
    yield Check(F.abs(value) > F.lit(FLOAT_MAX), "out_of_range", feature)
