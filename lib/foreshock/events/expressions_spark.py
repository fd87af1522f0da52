"""The SQL expressions of `events`: parsed, resolved and checked for what they yield."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from foreshock.errors import DataError, ForeshockError, SettingsError
from foreshock.events.source_spark import SourceTable
from foreshock.events.text_spark import quoted
from foreshock.settings.root import Settings

PLAIN_SETTINGS = (
    "entity",
    "time",
    "partition",
    "group",
    "id",
    "label",
    "kind",
    "where",
    "train_where",
    "calibrate_where",
)
CONDITIONS = ("events.where", "events.train_where", "events.calibrate_where")
TIME, LABEL, FEATURE_PREFIX = "events.time", "events.label", "events.features."

NUMBER_TYPES = (T.NumericType, T.BooleanType, T.NullType)
CONDITION_TYPES = (T.BooleanType, T.NullType)
NESTED_TYPES = (T.ArrayType, T.MapType, T.StructType, T.BinaryType)
TIME_TYPES = (
    T.TimestampType,
    T.TimestampNTZType,
    T.DateType,
    T.StringType,
    T.NumericType,
    T.NullType,
)
# Ends of the names of Catalyst's classes whose value is another one at another time.
CHANGING = (
    "Subquery",
    "Exists",
    "Now",
    "CurrentTimestamp",
    "LocalTimestamp",
    "CurrentDate",
    "CurrentUser",
    "CurrentTimeZone",
)
SYNTAX_LENGTH, MESSAGE_LENGTH = 250, 300


@dataclass(frozen=True)
class Expression:
    """One setting's SQL expression: its column, type and the source columns that it reads."""

    setting: str
    column: Column
    sql_type: T.DataType
    reads: tuple[str, ...]


Expressions = Mapping[str, Expression]
"""Expressions by setting, such as `events.time`."""


def check_syntax(spark: SparkSession, settings: Settings) -> None:
    """Give every expression to Spark's own parser, before any job.

    Raises SettingsError naming the setting.
    """
    # PySpark has no call that only parses; resolving would need the source to be read first.
    jvm_session: Any = spark._jsparkSession
    parser = jvm_session.sessionState().sqlParser()
    for setting, text in _expression_texts(settings).items():
        try:
            parser.parseExpression(text)
        except Exception as error:
            description = _description(error, before="==", length=SYNTAX_LENGTH)
            raise SettingsError(
                f"`{setting}`: {text!r} is not a Spark SQL expression: {description}"
            ) from None


def _description(error: Exception, before: str, length: int) -> str:
    """What Spark says of an error, in one line and without what follows a mark."""
    text = str(getattr(error, "desc", None) or error)
    return " ".join(text.split(before)[0].split())[:length]


def _expression_texts(settings: Settings) -> dict[str, str]:
    events = settings.events
    texts_by_setting = {f"events.{key}": getattr(events, key) for key in PLAIN_SETTINGS}
    texts_by_setting |= {
        f"events.tiebreak[{rank}]": text for rank, text in enumerate(events.tiebreak)
    }
    texts_by_setting |= {
        f"{FEATURE_PREFIX}{feature}": text for feature, text in events.features.items()
    }
    return {setting: text for setting, text in texts_by_setting.items() if text is not None}


def resolve_expressions(source: SourceTable, settings: Settings) -> dict[str, Expression]:
    """Every expression against the source's columns, by setting.

    Raises DataError for a column that is not there or a value of the wrong type, SettingsError for
    an expression that does not yield one deterministic value a row.
    """
    # Without the columns that were added on the way: no expression is to read those.
    visible = source.frame.select(*[F.col(quoted(column)) for column in source.columns])
    texts_by_setting = _expression_texts(settings)
    return {setting: _resolve(visible, setting, text) for setting, text in texts_by_setting.items()}


def _resolve(frame: DataFrame, setting: str, text: str) -> Expression:
    try:
        column = F.expr(text)
        selected = frame.select(column)
        plan = selected._jdf.queryExecution().analyzed()
    except Exception as error:
        raise _unresolved(error, frame, setting, text) from None
    if len(selected.columns) != 1 or not _is_one_value_a_row(plan, frame):
        raise SettingsError(
            f"`{setting}`: {text!r}: one value a row is wanted, the same at any time: "
            "without aggregates, window functions, explode(), subqueries, rand() or now()."
        )
    sql_type = selected.schema[0].dataType
    _check_type(setting, text, sql_type)
    attributes = plan.references().toSeq()
    columns_read = {attributes.apply(number).name() for number in range(attributes.size())}
    return Expression(setting, column, sql_type, tuple(sorted(columns_read)))


def _unresolved(error: Exception, frame: DataFrame, setting: str, text: str) -> ForeshockError:
    message = _description(error, before=";", length=MESSAGE_LENGTH)
    if "UNRESOLVED_COLUMN" in message or "FIELD_NOT_FOUND" in message:
        return DataError(
            f"`{setting}`: {text!r} names a column that is not there; there are: "
            f"{', '.join(frame.columns)}."
        )
    if "DATATYPE_MISMATCH" in message or "INVALID_EXTRACT" in message:
        return DataError(f"`{setting}`: {text!r} does not fit the columns' types: {message}")
    return SettingsError(f"`{setting}`: {text!r} cannot be evaluated: {message}")


def _is_one_value_a_row(plan: Any, frame: DataFrame) -> bool:
    """Whether a plan only projects the frame, and gives the same each time."""
    # An aggregate, a window or explode() adds another node to the plan.
    only_projects = plan.nodeName() == "Project" and plan.child().equals(
        frame._jdf.queryExecution().analyzed()
    )
    if not only_projects or not plan.deterministic():
        return False
    return not any(class_name.endswith(CHANGING) for class_name in _class_names(plan.expressions()))


def _class_names(expressions: Any) -> Iterator[str]:
    """The class names of Catalyst expressions and of all below them."""
    for position in range(expressions.size()):
        expression = expressions.apply(position)
        yield expression.getClass().getSimpleName()
        yield from _class_names(expression.children())


def _check_type(setting: str, text: str, sql_type: T.DataType) -> None:
    """Raise DataError if an expression yields what its setting cannot use."""
    yields = f"`{setting}`: {text!r} yields {sql_type.simpleString()}"
    if setting == LABEL or setting.startswith(FEATURE_PREFIX):
        if not isinstance(sql_type, NUMBER_TYPES):
            raise DataError(
                f"{yields}, not a number. Cast it, such as cast({text} as double), "
                "or use another column."
            )
    elif setting in CONDITIONS:
        if not isinstance(sql_type, CONDITION_TYPES):
            raise DataError(f"{yields}; true or false is wanted.")
    elif isinstance(sql_type, NESTED_TYPES):
        raise DataError(f"{yields}; one plain value is wanted.")
    elif setting == TIME and not isinstance(sql_type, TIME_TYPES):
        raise DataError(f"{yields}; a time, its text or seconds since 1970 are wanted.")


def failing_setting(source: SourceTable, settings: Settings) -> str | None:
    """The setting whose expression fails on some row, or None.

    It reads the source once an expression, so it is only for the message of a failure.
    """
    for expression in resolve_expressions(source, settings).values():
        try:
            source.frame.select(expression.column).write.format("noop").mode("overwrite").save()
        except Exception:
            return expression.setting
    return None
