"""Histograms of scores and scaled features by split, group, partition and slice of time: one pass over scored files, one over blocks."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import SparkSession

from foreshock import columns as C
from foreshock.diagnosis.drift import SLICES, VALIDATION, Part, Shapes
from foreshock.platform.parquet import parquet_file, read_table
from foreshock.platform.session import each_item
from foreshock.sequences.split import BlockRole
from foreshock.statistics.histogram import Histogram
from foreshock.windows.dataset.schema import decode

NAMES = {
    BlockRole.FIT: C.TRAIN,
    BlockRole.VALIDATION: VALIDATION,
    BlockRole.CALIBRATION: C.CALIBRATION,
    BlockRole.TEST: C.TEST,
}
CODE_SHIFT = 58  # of a unit's id, above its block's
DDL = "split string, `group` string, partition string, slice int, feature string, histogram string"
Spans = dict[int, tuple[int, int]]


class BlockFile(NamedTuple):
    """A chunk file of blocks, all of one code (windowing.blocks)."""

    file: str
    code: int


def _slice(times: npt.NDArray[np.int64], code: int, by: Spans) -> npt.NDArray[np.int64]:
    low, high = by.get(code, (0, 0))
    return np.clip((times - low) * SLICES // (high - low + 1), 0, SLICES - 1)


def _rows(
    split: str, keys: list[npt.NDArray[Any]], values: dict[str | None, npt.NDArray[Any]]
) -> list[dict[str, Any]]:
    """Histograms of values by (group, partition, slice); values: feature -> (n,)."""
    if not len(keys[0]):
        return []
    ids = [np.unique(k, return_inverse=True) for k in keys]
    combined = np.ravel_multi_index(tuple(i[1] for i in ids), tuple(len(i[0]) for i in ids))
    order = np.argsort(combined, kind="stable")
    edges = np.flatnonzero(np.diff(combined[order], prepend=-1))
    rows = []
    for at in np.split(order, edges[1:]):
        group, partition, piece = (k[at[0]] for k in keys)
        for feature, v in values.items():
            rows.append(
                {
                    "split": split,
                    "group": str(group),
                    "partition": str(partition),
                    "slice": int(piece),
                    "feature": feature,
                    "histogram": json.dumps(Histogram.of(v[at]).to_mapping()),
                }
            )
    return rows


def _batch(rows: list[dict[str, Any]]) -> Iterator[pa.RecordBatch]:
    if rows:
        text = pa.string()
        schema = pa.schema(
            [
                ("split", text),
                ("group", text),
                ("partition", text),
                ("slice", pa.int32()),
                ("feature", text),
                ("histogram", text),
            ]
        )
        yield pa.RecordBatch.from_pylist(rows, schema=schema)


def shapes(
    spark: SparkSession,
    scored: list[str],
    blocks: list[BlockFile],
    by: Spans,
    features: tuple[str, ...],
    length: int,
    stride: int,
) -> Shapes:
    """The model's scores of scored files (column s0) and the features of blocks, at the events that end a window.

    by: the first and last event time of each code.
    """

    def scores(file: str) -> Iterator[pa.RecordBatch]:
        table = read_table(
            file, columns=["unit", "split", "group", "partition", "event_time", "s0"]
        )
        split = table["split"].to_numpy().astype(np.int64)
        codes = np.where(
            split >= 2, split + 1, table["unit"].to_numpy() >> CODE_SHIFT
        )  # a block of test may hold calibration's events
        held_out = split < 0
        group, partition = (table[c].to_numpy(zero_copy_only=False) for c in ("group", "partition"))
        times, score = table["event_time"].to_numpy(), table["s0"].to_numpy()
        for code, out in itertools.product(np.unique(codes).tolist(), (False, True)):
            own = (codes == code) & (held_out == out)
            keys = [
                group[own].astype(str),
                partition[own].astype(str),
                _slice(times[own], code, by),
            ]
            yield from _batch(
                _rows(C.OUT_OF_FOLD if out else NAMES[code], keys, {None: score[own]})
            )

    def values(item: BlockFile) -> Iterator[pa.RecordBatch]:
        held: list[list[npt.NDArray[Any]]] = []
        for batch in parquet_file(item.file).iter_batches(
            batch_size=64,
            columns=["x", "event_time", "event_partition", "event_group", "n_windows"],
        ):
            for row in batch.to_pylist():
                at = np.arange(row["n_windows"]) * stride + length - 1
                held.append(
                    [
                        decode(row[c])[at]
                        for c in ("event_group", "event_partition", "event_time", "x")
                    ]
                )
        if held:
            group, partition, times, x = (np.concatenate(c) for c in zip(*held, strict=True))
            by_feature: dict[str | None, npt.NDArray[Any]] = {
                name: x[:, i] for i, name in enumerate(features)
            }
            yield from _batch(
                _rows(
                    NAMES[item.code], [group, partition, _slice(times, item.code, by)], by_feature
                )
            )

    found: dict[Part, Histogram] = {}
    for items, one in ((scored, scores), (blocks, values)):
        for row in each_item(spark, items, one, DDL):
            part = Part(row["split"], row["group"], row["partition"], row["slice"], row["feature"])
            own = Histogram.from_mapping(json.loads(row["histogram"]))
            found[part] = found[part] + own if part in found else own
    return Shapes(found)
