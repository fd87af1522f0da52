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
from foreshock.parquet import parquet_file, read_table
from foreshock.scoring.adjust import Doubles, Residuals, combined, mahalanobis, standardised
from foreshock.scoring.aggregate import finite
from foreshock.scoring.scorer import CODE_SHIFT, schema_of
from foreshock.session import each_item, map_items

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
            yield pa.RecordBatch.from_pydict({"parts": pa.array([[np.ravel(a).tolist() for a in found]], pa.list_(pa.list_(pa.float64())))})

    total: list[Doubles] = []
    for row in each_item(spark, files, batch, "parts array<array<double>>"):
        parts = [np.asarray(p) for p in row["parts"]]
        total = parts if not total else [a + b for a, b in zip(total, parts, strict=True)]
    if not total:
        raise DataError("no event of the split that thresholds are fitted on was judged, so scoring.errors has no scale. Widen the split.")
    return total


def error_scale(spark: SparkSession, files: list[str], split: int, chosen: bool) -> Doubles:
    """The mean error (F,) of each feature over the fitted split's events: the scale of `standardised`."""
    def one(file: str) -> list[Doubles] | None:
        table = _rows(file, ["errors", "n"], split, chosen)
        own = _matrix(table, "errors") / np.maximum(table["n"].to_numpy(), 1)[:, None] if len(table) else None
        return None if own is None else [np.array([len(own)]), own.sum(axis=0)]

    count, total = _sums(spark, files, one)
    return np.asarray(total / count[0])


def residuals(spark: SparkSession, files: list[str], split: int, chosen: bool) -> Residuals:
    """The sums of `Residuals` over the fitted split's events: value less expected."""
    def first(file: str) -> list[Doubles] | None:
        table = _rows(file, ["value", "expected"], split, chosen)
        r = _matrix(table, "value") - _matrix(table, "expected") if len(table) else None
        return None if r is None else [np.array([len(r)]), r.sum(axis=0), r.T @ r]

    count, total, products = _sums(spark, files, first)
    features = len(total)
    found = Residuals(int(count[0]), total, products.reshape(features, features))

    def second(file: str) -> list[Doubles] | None:
        table = _rows(file, ["value", "expected"], split, chosen)
        r = _matrix(table, "value") - _matrix(table, "expected") - found.mean if len(table) else None
        return None if r is None else [np.array([np.square(np.square(r).sum(axis=1)).sum()])]

    return Residuals(found.n, found.total, found.products, float(_sums(spark, files, second)[0][0]))


def rescore(spark: SparkSession, files: list[str], detectors: tuple[str, ...], how: str, facts: dict[str, Any], target: Path) -> list[str]:
    """Files with the model's score (s0) made from its errors by feature (`standardised`, facts: scale) or its residuals
    (`mahalanobis`, facts: mean, precision)."""
    def change(table: pa.Table) -> Doubles:
        if how == "standardised":
            return standardised(_matrix(table, "errors") / np.maximum(table["n"].to_numpy(), 1)[:, None], facts["scale"])
        return mahalanobis(_matrix(table, "value") - _matrix(table, "expected"), facts["mean"], facts["precision"])

    return _rewrite(spark, files, detectors, {"s0": change}, target)


def ensemble(spark: SparkSession, files: list[str], fitted: tuple[str, ...], all_: tuple[str, ...], of: tuple[str, ...],
             quantiles: list[float], how: str, target: Path) -> list[str]:
    """Files with scores in the order of `all_`, of which `ensemble` is made from `of`; before, they are in that of `fitted`."""
    def taken(name: str) -> Any:
        if name in fitted:
            return lambda table: table[f"s{fitted.index(name)}"].to_numpy()
        return lambda table: combined(np.column_stack([table[f"s{fitted.index(d)}"].to_numpy() for d in of]), quantiles, how)

    return _rewrite(spark, files, all_, {f"s{i}": taken(name) for i, name in enumerate(all_)}, target)


def _rewrite(spark: SparkSession, files: list[str], detectors: tuple[str, ...], columns: dict[str, Any], target: Path) -> list[str]:
    """Files with some score columns replaced by functions of their rows; scores stay float32 values."""
    schema = schema_of(detectors)

    def one(file: str) -> Iterator[pa.RecordBatch]:
        for batch in parquet_file(file).iter_batches():
            table = pa.Table.from_batches([batch])
            made = {name: pa.array(finite(f(table)).astype(np.float32).astype(np.float64)) for name, f in columns.items()}
            arrays = [made.get(f.name, table[f.name] if f.name in table.column_names else pa.nulls(len(table), f.type)) for f in schema]
            yield from pa.table(arrays, schema=schema).combine_chunks().to_batches()

    ddl = ", ".join(f"`{f.name}` {f.dataType.simpleString()}" for f in from_arrow_schema(schema))
    map_items(spark, files, one, ddl).write.parquet(str(target))
    return sorted(str(f) for f in target.glob("part-*.parquet"))


def smooth(spark: SparkSession, files: list[str], detectors: int, mean: int | None, exponential: int | None, target: Path) -> list[str]:
    """Files with every score averaged over the entity's last ones in its order: the mean of so many, or exponentially with so many events'
    span, as far as a weight is at least 1e-6 of the newest's."""
    ordered = Window.partitionBy("entity", F.col("split") < 0).orderBy("event_time", F.shiftright("unit", CODE_SHIFT), "block_id", "at")

    def averaged(name: str) -> Column:
        if mean is not None:
            return F.avg(name).over(ordered.rowsBetween(-(mean - 1), 0))
        keep = 1 - 2 / ((exponential or 1) + 1)
        most = max(1, math.ceil(math.log(LEAST_WEIGHT) / math.log(keep)))
        last = F.reverse(F.collect_list(name).over(ordered.rowsBetween(-(most - 1), 0)))
        weighted = F.aggregate(last, F.struct(F.lit(0.0).alias("sum"), F.lit(0.0).alias("weights"), F.lit(1.0).alias("next")),
                               lambda a, x: F.struct((a["sum"] + a["next"] * x).alias("sum"), (a["weights"] + a["next"]).alias("weights"),
                                                     (a["next"] * keep).alias("next")))
        return weighted["sum"] / weighted["weights"]

    frame = spark.read.parquet(*files)
    names = [f"s{i}" for i in range(detectors)]
    made = frame.withColumns({name: averaged(name).cast("float").cast("double") for name in names})
    made.select(*frame.columns).write.parquet(str(target))
    return sorted(str(f) for f in target.glob("part-*.parquet"))
