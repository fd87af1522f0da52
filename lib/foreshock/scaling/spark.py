"""Feature statistics over event partitions: one mergeable histogram per feature and partition, and the exact second pass."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyspark.sql import SparkSession

from foreshock import columns as C
from foreshock.scaling.histogram import Histogram, exact_value, refine
from foreshock.scaling.robust import QUARTILES, transform
from foreshock.session import map_items

Item = tuple[str, str]  # partition, file


def _training_values(file: str, features: tuple[str, ...], span: tuple[int, int], how: str) -> Iterator[tuple[str, np.ndarray]]:
    """(feature, transformed float32 values that are not null) of a file's training events that train_where admits."""
    table = pq.read_table(file, columns=[C.EVENT_TIME, C.TRAIN_OK, *features], partitioning=None)
    time = table[C.EVENT_TIME].cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_numpy()
    keep = (time >= span[0]) & (time < span[1]) & table[C.TRAIN_OK].to_numpy()
    for name in features:
        values = pc.fill_null(table[name], float("nan")).to_numpy()[keep]
        yield name, transform(values[~np.isnan(values)], how)


def partition_histograms(
    spark: SparkSession, items: list[Item], features: tuple[str, ...], span: tuple[int, int], how: str
) -> dict[str, dict[str, Histogram]]:
    """First pass: partition -> feature -> histogram of training events. `items`: (partition, file)."""

    def one(item: Item) -> Iterator[pa.RecordBatch]:
        rows = [{"partition": item[0], "feature": name, "histogram": json.dumps(Histogram.of(values).to_mapping())}
                for name, values in _training_values(item[1], features, span, how)]
        yield pa.RecordBatch.from_pylist(rows)

    found: dict[str, dict[str, Histogram]] = {}
    for row in map_items(spark, items, one, "partition string, feature string, histogram string").toLocalIterator():
        own = found.setdefault(row["partition"], {})
        histogram = Histogram.from_mapping(json.loads(row["histogram"]))
        own[row["feature"]] = own.get(row["feature"], Histogram()) + histogram
    return found


def exact_quartiles(
    spark: SparkSession, items: list[Item], merged: dict[str, Histogram], span: tuple[int, int], how: str
) -> dict[str, tuple[float, float, float]]:
    """Second pass: the exact quartiles of each feature (`numpy.quantile(method="inverted_cdf")`)."""
    wanted = {name: [h.locate(level) for level in QUARTILES] for name, h in merged.items() if h.n}

    def one(item: Item) -> Iterator[pa.RecordBatch]:
        rows = []
        for name, values in _training_values(item[1], tuple(wanted), span, how):
            for bin_ in {b for b, _ in wanted[name]}:
                lows, counts = refine(values, bin_)
                rows.append({"feature": name, "bin": bin_, "lows": lows.tolist(), "counts": counts.tolist()})
        yield pa.RecordBatch.from_pylist(rows, pa.schema([("feature", pa.string()), ("bin", pa.int32()),
                                                           ("lows", pa.list_(pa.int32())), ("counts", pa.list_(pa.int64()))]))

    merged_lows: dict[tuple[str, int], np.ndarray] = {}
    schema = "feature string, bin int, lows array<int>, counts array<bigint>"
    for row in map_items(spark, items, one, schema).toLocalIterator() if wanted else ():
        total = merged_lows.setdefault((row["feature"], row["bin"]), np.zeros(1 << 16, np.int64))
        np.add.at(total, row["lows"], row["counts"])
    low = np.arange(1 << 16)
    quartiles = {n: [exact_value(b, rank, low, merged_lows[n, b]) for b, rank in places] for n, places in wanted.items()}
    return {n: (q[0], q[1], q[2]) for n, q in quartiles.items()}
