"""Rewrites scored files in Spark: errors by feature made one score, averages over an entity's last scores, ensembles."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from foreshock.errors import DataError
from foreshock.platform.parquet import parquet_file, read_table
from foreshock.platform.session import each_item, map_items
from foreshock.scored.adjust import Doubles, Residuals, combined, contributions, over_scale
from foreshock.windows.scoring.aggregate import LARGEST, finite
from foreshock.windows.scoring.scorer import CODE_SHIFT, lists, schema_of

LEAST_WEIGHT = 1e-6  # of an exponential average's newest score: older ones are left out
FITTED = ["split", "calibrate"]


def _rows(file: str, columns: list[str], split: int, chosen: bool) -> pa.Table:
    """The rows of the split that is fitted on; where `chosen`, those that calibrate_where admits."""
    table = read_table(file, columns=[*FITTED, *columns])
    mask = table["split"].to_numpy() == split
    if chosen:
        mask &= table["calibrate"].to_numpy() != 0
    return table.filter(pa.array(mask))


def _matrix(table: pa.Table, name: str) -> Doubles:
    lists = table[name].combine_chunks()
    width = len(lists[0]) if len(lists) else 0
    return np.asarray(lists.flatten().to_numpy(), np.float64).reshape(len(lists), width)


def _sums(spark: SparkSession, files: list[str], one: Any) -> list[Doubles]:
    """The sum over files of what `one(file)` gives as a list of arrays."""

    def batch(file: str) -> Iterator[pa.RecordBatch]:
        found = one(file)
        if found is not None:
            yield pa.RecordBatch.from_pydict(
                {
                    "parts": pa.array(
                        [[np.ravel(a).tolist() for a in found]], pa.list_(pa.list_(pa.float64()))
                    )
                }
            )

    total: list[Doubles] = []
    for row in each_item(spark, files, batch, "parts array<array<double>>"):
        parts = [np.asarray(p) for p in row["parts"]]
        total = parts if not total else [a + b for a, b in zip(total, parts, strict=True)]
    if not total:
        raise DataError(
            "no event of the split that thresholds are fitted on was judged, so scoring.errors has no scale. Widen the split."
        )
    return total


def _errors(table: pa.Table) -> Doubles:
    """The error (n, F) of each feature, averaged over the windows that know of the event."""
    return np.asarray(_matrix(table, "errors") / np.maximum(table["n"].to_numpy(), 1)[:, None])


def _residuals(table: pa.Table) -> Doubles:
    return _matrix(table, "value") - _matrix(table, "expected")


def error_scale(spark: SparkSession, files: list[str], split: int, chosen: bool) -> Doubles:
    """The mean error (F,) of each feature over the fitted split's events: the scale of `standardised`."""

    def one(file: str) -> list[Doubles] | None:
        table = _rows(file, ["errors", "n"], split, chosen)
        return [np.array([len(table)]), _errors(table).sum(axis=0)] if len(table) else None

    count, total = _sums(spark, files, one)
    return np.asarray(total / count[0])


def residuals(spark: SparkSession, files: list[str], split: int, chosen: bool) -> Residuals:
    """The sums of `Residuals` over the fitted split's events: value less expected, where something was."""

    def own(file: str) -> Doubles | None:
        table = _rows(file, ["value", "expected", "forecasts"], split, chosen).filter(
            pa.compute.field("forecasts") > 0
        )
        return _residuals(table) if len(table) else None

    def first(file: str) -> list[Doubles] | None:
        r = own(file)
        return None if r is None else [np.array([len(r)]), r.sum(axis=0), r.T @ r]

    count, total, products = _sums(spark, files, first)
    features = len(total)
    found = Residuals(int(count[0]), total, products.reshape(features, features))

    def second(file: str) -> list[Doubles] | None:
        r = own(file)
        return (
            None
            if r is None
            else [np.array([np.square(np.square(r - found.mean).sum(axis=1)).sum()])]
        )

    return Residuals(found.n, found.total, found.products, float(_sums(spark, files, second)[0][0]))


def rescore(
    spark: SparkSession,
    files: list[str],
    detectors: tuple[str, ...],
    how: str,
    facts: dict[str, Any],
    target: Path,
) -> list[str]:
    """Files with the model's score (s0) made from its errors by feature (`standardised`, facts: scale) or its residuals
    (`mahalanobis`, facts: mean, precision), and `errors` that are what the features add to it.

    An event of which the model never expected anything has no residual: it keeps its plain score, in which 1 is ordinary too (`blind`).
    """

    def added(table: pa.Table) -> Doubles:
        if how == "standardised":
            return over_scale(_errors(table), facts["scale"])
        expects = table["forecasts"].to_numpy()[:, None] > 0
        return np.where(
            expects,
            contributions(_residuals(table), facts["mean"], facts["precision"]),
            _errors(table),
        )

    def errors(table: pa.Table) -> Doubles:
        own = np.maximum(added(table), 0) * np.maximum(table["n"].to_numpy(), 1)[:, None]
        return own * np.minimum(
            1, LARGEST / np.maximum(own.max(axis=-1, keepdims=True), 1)
        )  # as a whole, so that shares stay

    made = {"s0": lambda table: added(table).mean(axis=-1), "errors": errors}
    return _rewrite(spark, files, detectors, made, target)


def ensemble(
    spark: SparkSession,
    files: list[str],
    fitted: tuple[str, ...],
    all_: tuple[str, ...],
    of: tuple[str, ...],
    quantiles: list[float],
    how: str,
    target: Path,
) -> list[str]:
    """Files with scores in the order of `all_`, of which `ensemble` is made from `of`; before, they are in that of `fitted`."""

    def taken(name: str) -> Any:
        if name in fitted:
            return lambda table: table[f"s{fitted.index(name)}"].to_numpy()
        return lambda table: combined(
            np.column_stack([table[f"s{fitted.index(d)}"].to_numpy() for d in of]), quantiles, how
        )

    return _rewrite(
        spark, files, all_, {f"s{i}": taken(name) for i, name in enumerate(all_)}, target
    )


def _rewrite(
    spark: SparkSession,
    files: list[str],
    detectors: tuple[str, ...],
    columns: dict[str, Any],
    target: Path,
) -> list[str]:
    """Files with some columns replaced by functions of their rows: scores, which stay float32 values, or arrays (n, F)."""
    schema = schema_of(detectors)

    def column(values: Doubles) -> pa.Array:
        single = finite(values).astype(np.float32)
        return lists(single) if single.ndim == 2 else pa.array(single.astype(np.float64))

    def one(file: str) -> Iterator[pa.RecordBatch]:
        for batch in parquet_file(file).iter_batches():
            table = pa.Table.from_batches([batch])
            made = {name: column(f(table)) for name, f in columns.items()}
            arrays = [
                made.get(
                    f.name,
                    table[f.name] if f.name in table.column_names else pa.nulls(len(table), f.type),
                )
                for f in schema
            ]
            yield from pa.table(arrays, schema=schema).combine_chunks().to_batches()

    ddl = ", ".join(f"`{f.name}` {f.dataType.simpleString()}" for f in from_arrow_schema(schema))
    map_items(spark, files, one, ddl).write.parquet(str(target))
    return sorted(str(f) for f in target.glob("part-*.parquet"))


def smooth(
    spark: SparkSession,
    files: list[str],
    detectors: int,
    mean: int | None,
    exponential: int | None,
    target: Path,
) -> list[str]:
    """Files with every score averaged over the entity's last ones in its order: the mean of so many, or exponentially with so many events'
    span, as far as a weight is at least 1e-6 of the newest's."""
    ordered = Window.partitionBy("entity", F.col("split") < 0).orderBy(
        "event_time", F.shiftright("unit", CODE_SHIFT), "block_id", "at"
    )

    def averaged(name: str) -> Column:
        if mean is not None:
            return F.avg(name).over(ordered.rowsBetween(-(mean - 1), 0))
        keep = 1 - 2 / ((exponential or 1) + 1)
        most = max(1, math.ceil(math.log(LEAST_WEIGHT) / math.log(keep)))
        last = F.reverse(F.collect_list(name).over(ordered.rowsBetween(-(most - 1), 0)))
        weighted = F.aggregate(
            last,
            F.struct(
                F.lit(0.0).alias("sum"), F.lit(0.0).alias("weights"), F.lit(1.0).alias("next")
            ),
            lambda a, x: F.struct(
                (a["sum"] + a["next"] * x).alias("sum"),
                (a["weights"] + a["next"]).alias("weights"),
                (a["next"] * keep).alias("next"),
            ),
        )
        return weighted["sum"] / weighted["weights"]

    frame = spark.read.parquet(*files)
    names = [f"s{i}" for i in range(detectors)]
    made = frame.withColumns({name: averaged(name).cast("float").cast("double") for name in names})
    made.select(*frame.columns).write.parquet(str(target))
    return sorted(str(f) for f in target.glob("part-*.parquet"))
