"""From source columns to the event contract: expressions checked, every row given a status and a reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from foreshock import columns as C
from foreshock.errors import DataError, SettingsError
from foreshock.events.partitions import DAY, MONTH, identifier
from foreshock.events.source_spark import BAD, MALFORMED, SourceTable, quoted
from foreshock.settings.root import Settings

COLUMN = "column"
ROW = "row"
FILTERED = "__filtered"
SPLIT = "split"
BAD_LABEL = "__bad_label"
NULL = "__null_"
FLOAT_MAX = 3.4028234663852886e38
NUMERIC = (T.NumericType, T.BooleanType, T.NullType)
TIMES = (T.TimestampType, T.TimestampNTZType, T.DateType, T.StringType, T.NumericType, T.NullType)
SECONDS = (-62_135_596_800, 253_402_300_799)
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


@dataclass(frozen=True)
class Expression:
    """One setting's SQL expression, resolved: its column, type and the source columns it reads."""

    setting: str
    column: Column
    kind: T.DataType
    reads: tuple[str, ...]


def check_syntax(spark: SparkSession, settings: Settings) -> None:
    """Every expression through Spark's own parser, before any job. Raises SettingsError naming the setting."""
    parser = spark._jsparkSession.sessionState().sqlParser()  # type: ignore[attr-defined]
    for setting, text in _expressions(settings):
        try:
            parser.parseExpression(text)
        except Exception as error:
            reason = " ".join(str(getattr(error, "desc", None) or error).split("==")[0].split())[
                :250
            ]
            raise SettingsError(
                f"`{setting}`: {text!r} is not a Spark SQL expression: {reason}"
            ) from None


def _expressions(settings: Settings) -> list[tuple[str, str]]:
    e = settings.events
    named = [
        (f"events.{n}", getattr(e, n))
        for n in (
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
    ]
    named += [(f"events.tiebreak[{i}]", t) for i, t in enumerate(e.tiebreak)]
    named += [(f"events.features.{n}", t) for n, t in e.features.items()]
    return [(setting, text) for setting, text in named if text is not None]


def resolve(source: SourceTable, settings: Settings) -> dict[str, Expression]:
    """Every expression against the source's columns, by setting.

    Raises DataError for a column that is not there or a value of the wrong type, SettingsError for an expression that is
    not one deterministic value a row.
    """
    visible = source.frame.select(*[F.col(quoted(c)) for c in source.columns])
    return {setting: _resolve(visible, setting, text) for setting, text in _expressions(settings)}


def _resolve(frame: DataFrame, setting: str, text: str) -> Expression:
    try:
        column = F.expr(text)
        selected = frame.select(column)
        plan = selected._jdf.queryExecution().analyzed()
    except Exception as error:
        message = " ".join(str(getattr(error, "desc", None) or error).split(";")[0].split())[:300]
        if "UNRESOLVED_COLUMN" in message or "FIELD_NOT_FOUND" in message:
            raise DataError(
                f"`{setting}`: {text!r} names a column that is not there; there are: "
                f"{', '.join(frame.columns)}."
            ) from None
        if "DATATYPE_MISMATCH" in message or "INVALID_EXTRACT" in message:
            raise DataError(
                f"`{setting}`: {text!r} does not fit the columns' types: {message}"
            ) from None
        raise SettingsError(f"`{setting}`: {text!r} cannot be evaluated: {message}") from None
    plain = plan.nodeName() == "Project" and plan.child().equals(
        frame._jdf.queryExecution().analyzed()
    )
    if (
        not plain
        or len(selected.columns) != 1
        or not plan.deterministic()
        or any(n.endswith(CHANGING) for n in _nodes(plan.expressions()))
    ):
        raise SettingsError(
            f"`{setting}`: {text!r}: one value a row is wanted, the same at any time: without aggregates, window "
            "functions, explode(), subqueries, rand() or now()."
        )
    kind = selected.schema[0].dataType
    wanted = setting.removeprefix("events.")
    if wanted.startswith("features.") or wanted == "label":
        if not isinstance(kind, NUMERIC):
            raise DataError(
                f"`{setting}`: {text!r} yields {kind.simpleString()}, not a number. Cast it, such as "
                f"cast({text} as double), or use another column."
            )
    elif wanted in ("where", "train_where", "calibrate_where"):
        if not isinstance(kind, T.BooleanType | T.NullType):
            raise DataError(
                f"`{setting}`: {text!r} yields {kind.simpleString()}; true or false is wanted."
            )
    elif isinstance(kind, T.ArrayType | T.MapType | T.StructType | T.BinaryType):
        raise DataError(
            f"`{setting}`: {text!r} yields {kind.simpleString()}; one plain value is wanted."
        )
    elif wanted == "time" and not isinstance(kind, TIMES):
        raise DataError(
            f"`{setting}`: {text!r} yields {kind.simpleString()}; a time, its text or seconds since 1970 are wanted."
        )
    attributes = plan.references().toSeq()
    reads = tuple(sorted({attributes.apply(i).name() for i in range(attributes.size())}))
    return Expression(setting, column, kind, reads)


def _nodes(expressions: Any) -> list[str]:
    """The class names of Catalyst expressions and of all below them."""
    found: list[str] = []
    for i in range(expressions.size()):
        found += [
            expressions.apply(i).getClass().getSimpleName(),
            *_nodes(expressions.apply(i).children()),
        ]
    return found


def failing(source: SourceTable, settings: Settings) -> str | None:
    """The setting whose expression fails on some row, or None. Reads the source once an expression: for a failure's message."""
    for e in resolve(source, settings).values():
        try:
            source.frame.select(e.column).write.format("noop").mode("overwrite").save()
        except Exception:
            return e.setting
    return None


def _time(e: Expression) -> Column:
    if isinstance(e.kind, T.NumericType):
        seconds = e.column if isinstance(e.kind, T.IntegralType) else e.column.cast("double")
        return F.timestamp_seconds(F.when(e.column.between(*SECONDS), seconds))
    return e.column.cast("timestamp")


def contract(
    source: SourceTable, settings: Settings, found: dict[str, Expression], *, is_test_table: bool
) -> DataFrame:
    """Rows in the event contract, one a source row, with REASON (null: kept; FILTERED; else why refused) and COLUMN.

    Features are float64 beside the raw columns they read; ROW is the refused row as JSON.
    """
    get = found.get
    time = _time(found["events.time"])
    partition = get("events.partition")
    everything = F.to_json(F.struct(*[F.col(quoted(c)) for c in sorted(source.columns)]))
    values: dict[str, Column] = {
        C.ENTITY: found["events.entity"].column.cast("string"),
        C.EVENT_TIME: time,
        C.PARTITION: partition.column.cast("string")
        if partition
        else F.date_format(time, "yyyy-MM-dd"),
        C.GROUP: g.column.cast("string") if (g := get("events.group")) else F.lit(C.ALL),
        **{
            f"{C.TIEBREAK_PREFIX}{i}": found[f"events.tiebreak[{i}]"].column
            for i in range(len(settings.events.tiebreak))
        },
        C.EVENT_ID: i.column.cast("string")
        if (i := get("events.id"))
        else F.substring(F.sha2(everything, 256), 1, 32),
        C.LABEL: label.column.cast("double")
        if (label := get("events.label"))
        else F.lit(None).cast("double"),
        C.KIND: k.column.cast("string")
        if (k := get("events.kind"))
        else F.lit(None).cast("string"),
        C.TRAIN_OK: F.coalesce(w.column, F.lit(False))
        if (w := get("events.train_where"))
        else F.lit(True),
        C.CALIBRATE_OK: F.coalesce(w.column, F.lit(False))
        if (w := get("events.calibrate_where"))
        else F.lit(True),
    }
    features = {n: found[f"events.features.{n}"] for n in settings.feature_names}
    raw = raw_columns(features, settings)
    projected = source.frame.select(
        *[v.alias(n) for n, v in values.items()],
        *[e.column.cast("double").alias(n) for n, e in features.items()],
        *[F.col(quoted(c)).alias(n) for c, n in raw.items()],
        *_reason(source, settings, found, features, values),
        everything.alias(ROW),
    )
    for name in features:
        null = F.col(name).isNull()
        projected = projected.withColumn(NULL + name, null)
        if settings.quality.null_policy(name) == "zero":
            projected = projected.withColumn(name, F.coalesce(F.col(name), F.lit(0.0)))
    for blank in [f.name for f in projected.schema if isinstance(f.dataType, T.NullType)]:
        projected = projected.withColumn(blank, F.col(blank).cast("string"))
    bad = F.col(C.LABEL).isNotNull() & ~F.col(C.LABEL).isin(0.0, 1.0)
    return (
        projected.withColumn(BAD_LABEL, bad)
        .withColumn(C.LABEL, F.col(C.LABEL).cast("tinyint"))
        .withColumn(
            SPLIT, F.lit(C.TEST) if is_test_table else split_of(F.col(C.EVENT_TIME), settings)
        )
    )


def raw_columns(features: dict[str, Expression], settings: Settings) -> dict[str, str]:
    """The source columns that features read, with their names in events/ (`raw_…` where the plain name is taken).

    One that a feature of its own name is, unchanged, is there already.
    """
    same = {
        e.reads[0]
        for n, e in features.items()
        if isinstance(e.kind, T.DoubleType)
        and e.reads == (n,)
        and identifier(settings.events.features[n]) == n
        and settings.quality.null_policy(n) != "zero"
    }
    taken = {n.lower() for n in (*C.CONTRACT, *features, REASON_LIKE, SPLIT, ROW, COLUMN)}
    reads = sorted({c for e in features.values() for c in e.reads} - same)
    return {c: (f"{C.RAW_PREFIX}{c}" if c.lower() in taken else c) for c in reads}


REASON_LIKE = C.REASON


def split_of(time: Column, settings: Settings) -> Column:
    """The split of a time, null outside all of them."""
    chosen = F.lit(None).cast("string")
    micros = F.unix_micros(time)
    for name, span in settings.split.spans().items():
        start, end = span.micros
        chosen = F.when((micros >= start) & (micros < end), F.lit(name)).otherwise(chosen)
    return chosen


def _reason(
    source: SourceTable,
    settings: Settings,
    found: dict[str, Expression],
    features: dict[str, Expression],
    values: dict[str, Column],
) -> tuple[Column, Column]:
    checks: list[tuple[Column, str, str | None]] = [(F.col(MALFORMED), "malformed_row", None)]
    where = found.get("events.where")

    def unparsable(expressions: list[Expression]) -> list[tuple[Column, str, str | None]]:
        reads = sorted({c for e in expressions for c in e.reads} & source.checked)
        return [(F.col(quoted(BAD + c)), "unparsable", c) for c in reads]

    if where is not None:
        checks += unparsable([where])
        checks.append((~F.coalesce(where.column, F.lit(False)), FILTERED, None))
    checks += unparsable(list(found.values()))
    time = found["events.time"]
    if isinstance(time.kind, T.NumericType):
        checks.append(
            (time.column.isNotNull() & values[C.EVENT_TIME].isNull(), "out_of_range", C.EVENT_TIME)
        )
    if isinstance(time.kind, T.StringType):
        checks.append(
            (
                time.column.isNotNull()
                & (F.trim(time.column) != "")
                & values[C.EVENT_TIME].isNull(),
                "unparsable",
                C.EVENT_TIME,
            )
        )
    required = [C.EVENT_TIME, C.ENTITY, C.PARTITION, C.GROUP, C.EVENT_ID]
    checks += [(values[n].isNull() | (values[n].cast("string") == ""), "null", n) for n in required]
    checks.append(
        (
            F.year(values[C.EVENT_TIME]).between(1, 9999) == F.lit(False),
            "out_of_range",
            C.EVENT_TIME,
        )
    )
    if "events.partition" in found:
        p, t = values[C.PARTITION], values[C.EVENT_TIME]
        checks += [
            (
                p.rlike(pattern) & (F.date_format(t, form) != p),
                "time_outside_partition",
                C.EVENT_TIME,
            )
            for pattern, form in ((DAY, "yyyy-MM-dd"), (MONTH, "yyyy-MM"))
        ]
    label = found.get("events.label")
    if label is not None:
        checks.append((F.isnan(values[C.LABEL]), "nan", C.LABEL))
    for name, e in features.items():
        value = e.column.cast("double")
        text = [F.col(quoted(c)) for c in e.reads if c in source.texts]
        if text:
            given = F.lit(True)
            for c in e.reads:
                given = (
                    given
                    & F.col(quoted(c)).isNotNull()
                    & (F.trim(F.col(quoted(c)).cast("string")) != "")
                )
            checks.append((value.isNull() & given, "unparsable", name))
        if settings.quality.null_policy(name) == "quarantine":
            checks.append((value.isNull(), "null", name))
        checks += [
            (F.isnan(value), "nan", name),
            (F.abs(value) == F.lit(float("inf")), "infinite", name),
            (F.abs(value) > F.lit(FLOAT_MAX), "out_of_range", name),
        ]
    reason: Any = F
    column: Any = F
    for condition, why, where_ in checks:
        safe = F.coalesce(condition, F.lit(False))
        reason = reason.when(safe, F.lit(why))
        column = column.when(safe, F.lit(where_))
    return reason.alias(C.REASON), column.alias(COLUMN)
