"""Distributions of scores in Spark: histograms, exact quantiles, and what the bootstrap needs; one pass each over the files."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from pyspark.sql import SparkSession

from foreshock.platform.parquet import read_table
from foreshock.platform.session import each_item
from foreshock.sequences.split import Split
from foreshock.statistics.histogram import Histogram, refine
from foreshock.thresholds.conformal import unit_maxima
from foreshock.thresholds.distribution import (
    CHOSEN,
    Distributions,
    Key,
    TailEvents,
    Wanted,
    holds,
    resolve,
)

Part = tuple[str, str, str, pa.Table]


def _parts(file: str, columns: list[str], chosen: str | None) -> Iterator[Part]:
    """(split, partition, group, rows) of a file of scores; those of split `chosen` that calibrate_where admits also as CHOSEN."""
    table = read_table(file, columns=["split", "partition", "group", "calibrate", *columns])
    if not len(table):
        return
    order = [("split", "ascending"), ("partition", "ascending"), ("group", "ascending")]
    table = table.sort_by(order).combine_chunks()
    keys = list(zip(*(table[c].to_pylist() for c in ("split", "partition", "group")), strict=True))
    edges = [0, *[i for i in range(1, len(keys)) if keys[i] != keys[i - 1]], len(keys)]
    for a, b in itertools.pairwise(edges):
        split, partition, group = keys[a]
        part = table.slice(a, b - a)
        yield Split(split).text, partition, group, part
        if chosen and split == Split.of(chosen):
            yield CHOSEN, partition, group, part.filter(pa.array(part["calibrate"].to_numpy() != 0))


def histograms(
    spark: SparkSession, files: list[str], detectors: tuple[str, ...], chosen: str | None
) -> Distributions:
    """First pass: the histogram of every detector, split, partition and group."""

    def one(file: str) -> Iterator[pa.RecordBatch]:
        rows = [
            {
                "detector": d,
                "split": split,
                "partition": partition,
                "group": group,
                "histogram": json.dumps(Histogram.of(part[f"s{i}"].to_numpy()).to_mapping()),
            }
            for split, partition, group, part in _parts(
                file, [f"s{i}" for i in range(len(detectors))], chosen
            )
            for i, d in enumerate(detectors)
        ]
        if rows:
            yield pa.RecordBatch.from_pylist(rows)

    found: dict[Key, Histogram] = {}
    schema = "detector string, split string, partition string, `group` string, histogram string"
    for row in each_item(spark, files, one, schema):
        key = Key(row["detector"], row["split"], row["partition"], row["group"])
        found[key] = found.get(key, Histogram()) + Histogram.from_mapping(
            json.loads(row["histogram"])
        )
    return Distributions(found)


def exact_quantiles(
    spark: SparkSession,
    files: list[str],
    detectors: tuple[str, ...],
    wanted: list[Wanted],
    chosen: str | None,
) -> dict[tuple[Key, float], float]:
    """Second pass: exact order statistics."""
    bins: dict[Key, set[int]] = {}
    for w in wanted:
        bins.setdefault(w.key, set()).add(w.bin)
    names = list(bins)

    def one(file: str) -> Iterator[pa.RecordBatch]:
        rows = []
        for split, partition, group, part in _parts(
            file, [f"s{i}" for i in range(len(detectors))], chosen
        ):
            for number, key in enumerate(names):
                if holds(key, key.detector, split, partition, group):
                    values = part[f"s{detectors.index(key.detector)}"].to_numpy()
                    for bin_ in bins[key]:
                        lows, counts = refine(values, bin_)
                        if len(lows):
                            rows.append(
                                {
                                    "key": number,
                                    "bin": bin_,
                                    "lows": lows.tolist(),
                                    "counts": counts.tolist(),
                                }
                            )
        if rows:
            yield pa.RecordBatch.from_pylist(rows)

    seconds: dict[tuple[Key, int], np.ndarray] = {}
    schema = "key int, bin int, lows array<int>, counts array<bigint>"
    for row in each_item(spark, files, one, schema) if wanted else ():
        total = seconds.setdefault((names[row["key"]], row["bin"]), np.zeros(1 << 16, np.int64))
        np.add.at(total, row["lows"], row["counts"])
    return resolve(wanted, seconds)


def tails(
    spark: SparkSession,
    files: list[str],
    detectors: tuple[str, ...],
    asked: list[tuple[Key, float]],
    chosen: str | None,
) -> list[TailEvents]:
    """Third pass: of each asked distribution the scores from a value on."""

    def one(file: str) -> Iterator[pa.RecordBatch]:
        rows = []
        for split, partition, group, part in _parts(
            file, ["unit", *[f"s{i}" for i in range(len(detectors))]], chosen
        ):
            unit = part["unit"].to_numpy()
            units, sizes = np.unique(unit, return_counts=True)
            for number, (key, start) in enumerate(asked):
                if holds(key, key.detector, split, partition, group):
                    values = part[f"s{detectors.index(key.detector)}"].to_numpy()
                    up = values >= start
                    rows.append(
                        {
                            "asked": number,
                            "units": units.tolist(),
                            "sizes": sizes.tolist(),
                            "tail": values[up].tolist(),
                            "tail_units": unit[up].tolist(),
                        }
                    )
        if rows:
            yield pa.RecordBatch.from_pylist(rows)

    collected: dict[int, list[list[np.ndarray]]] = {}
    schema = "asked int, units array<bigint>, sizes array<bigint>, tail array<double>, tail_units array<bigint>"
    for row in each_item(spark, files, one, schema) if asked else ():
        collected.setdefault(row["asked"], []).append(
            [np.asarray(row[c]) for c in ("units", "sizes", "tail", "tail_units")]
        )
    found = []
    for number in range(len(asked)):
        units, sizes, tail, tail_units = (
            np.concatenate(c) for c in zip(*collected[number], strict=True)
        )
        merged, place = np.unique(units.astype(np.int64), return_inverse=True)
        total = np.bincount(place, weights=sizes).astype(np.int64)
        order = np.lexsort((tail_units, tail))
        found.append(TailEvents(merged, total, tail[order], tail_units[order].astype(np.int64)))
    return found


def unit_scores(
    spark: SparkSession,
    files: list[str],
    detectors: tuple[str, ...],
    asked: list[Key],
    chosen: str | None,
) -> list[np.ndarray]:
    """Of each asked distribution, sorted: the highest score of every unit."""

    def one(file: str) -> Iterator[pa.RecordBatch]:
        rows = []
        for split, partition, group, part in _parts(
            file, ["unit", *[f"s{i}" for i in range(len(detectors))]], chosen
        ):
            for number, key in enumerate(asked):
                if holds(key, key.detector, split, partition, group):
                    ids, highest = unit_maxima(
                        part["unit"].to_numpy(),
                        part[f"s{detectors.index(key.detector)}"].to_numpy(),
                    )
                    rows.append(
                        {"asked": number, "units": ids.tolist(), "highest": highest.tolist()}
                    )
        if rows:
            yield pa.RecordBatch.from_pylist(rows)

    collected: list[list[list[np.ndarray]]] = [[] for _ in asked]
    for row in (
        each_item(spark, files, one, "asked int, units array<bigint>, highest array<double>")
        if asked
        else ()
    ):
        collected[row["asked"]].append(
            [np.asarray(row["units"], np.int64), np.asarray(row["highest"], np.float64)]
        )
    # A unit's events may lie in two files.
    return [
        np.sort(unit_maxima(*(np.concatenate(c) for c in zip(*parts, strict=True)))[1])
        if parts
        else np.zeros(0)
        for parts in collected
    ]


def tail_level(level: float) -> float:
    """The level from which on the bootstrap looks at values: four times the tail."""
    return max(0.0, 1 - 4 * (1 - level))
