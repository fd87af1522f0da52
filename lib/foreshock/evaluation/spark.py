"""Collects judged, labelled scores from a scoring job's files and evaluates them. Labels are read here only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import SparkSession

from foreshock import columns as C
from foreshock.evaluation.bootstrap import time_blocks
from foreshock.evaluation.metrics import Scored, baselines, evaluate, with_intervals, within_blocks
from foreshock.evaluation.range_rows import Threshold, range_rows
from foreshock.platform.parquet import read_table
from foreshock.platform.session import each_item
from foreshock.sequences.split import Split
from foreshock.statistics.histogram import key_values, order_keys

EXACT_EVENTS = 5_000_000
KEYS = ["split", "partition", "group", "kind", "label"]


def metrics(
    spark: SparkSession,
    files: list[str],
    detectors: tuple[str, ...],
    threshold: Threshold,
    *,
    judged: int,
    run_id: str,
    seed: int,
    length: int,
    spans: dict[int, tuple[int, int]],
) -> list[dict[str, Any]]:
    """Rows of the `metrics` table; none where no judged event has a label. `threshold(detector, group, partition)`; length: of a window;
    spans: the first and last event time of each split.

    Above 5 million events scores are rounded to 22 bits (1/4096 of their value) for the ranking metrics, and there are neither intervals
    nor metrics of ranges.
    """
    coarse = judged > EXACT_EVENTS
    spans = {} if coarse else spans

    def one(file: str) -> Iterator[pa.RecordBatch]:
        table = read_table(
            file, columns=[*KEYS, "event_time", *[f"s{i}" for i in range(len(detectors))]]
        )
        table = table.filter((pa.compute.field("label") >= 0) & (pa.compute.field("split") >= 2))
        block = np.zeros(len(table), np.int64)
        for split, (low, high) in spans.items():
            own = table["split"].to_numpy() == split
            block[own] = time_blocks(table["event_time"].to_numpy()[own], low, high)
        table = table.append_column("block", pa.array(block))
        keys_of = [*KEYS, "block"]
        rows = []
        for key in table.select(keys_of).group_by(keys_of).aggregate([]).to_pylist():
            mask = (pa.compute.field("label") == key["label"]) & (
                pa.compute.field("block") == key["block"]
            )
            for name in KEYS[:-1]:
                mask &= pa.compute.field(name) == key[name]
            part = table.filter(mask)
            for i, detector in enumerate(detectors):
                limit = threshold(detector, key["group"], key["partition"])
                keys = order_keys(part[f"s{i}"].to_numpy())
                flagged = part[f"s{i}"].to_numpy() > (np.inf if limit is None else limit)
                for flag in (False, True):
                    values, counts = np.unique(
                        keys[flagged == flag] >> (10 if coarse else 0), return_counts=True
                    )
                    if len(values):
                        rows.append(
                            {
                                **key,
                                "detector": i,
                                "flagged": flag,
                                "known": limit is not None,
                                "values": values.astype(np.int64).tolist(),
                                "counts": counts.tolist(),
                            }
                        )
        if rows:
            yield pa.RecordBatch.from_pylist(rows)

    schema = (
        "split int, partition string, `group` string, kind string, label int, block bigint, detector int, flagged boolean, "
        "known boolean, `values` array<bigint>, counts array<bigint>"
    )
    found = [r.asDict() for r in each_item(spark, files, one, schema)]
    rows: list[dict[str, Any]] = []
    for split in sorted({r["split"] for r in found}):
        for i, detector in enumerate(detectors):
            own = [r for r in found if r["split"] == split and r["detector"] == i]
            groups = sorted({r["group"] for r in own})
            for group in dict.fromkeys([C.ALL, *groups]):
                some = own if group == C.ALL else [r for r in own if r["group"] == group]
                base = {
                    "run_id": run_id,
                    "detector": detector,
                    "split": Split(split).text,
                    "group": group,
                    "seed": seed,
                }
                rows += _group_rows(some, coarse, base, first=i == 0)
    return (
        rows
        if coarse
        else rows
        + range_rows(files, detectors, threshold, length, {"run_id": run_id, "seed": seed})
    )


def _group_rows(
    found: list[dict[str, Any]], coarse: bool, base: dict[str, Any], *, first: bool
) -> list[dict[str, Any]]:
    lengths = [len(r["values"]) for r in found]
    keys = np.concatenate([np.asarray(r["values"], np.int64) for r in found])
    known = all(r["known"] for r in found)
    scored = Scored(
        key_values(keys << (10 if coarse else 0)).astype(np.float64),
        np.repeat([r["label"] for r in found], lengths),
        np.repeat([r["flagged"] for r in found], lengths) if known else None,
        np.concatenate([np.asarray(r["counts"]) for r in found]),
        None if coarse else np.repeat([r["block"] for r in found], lengths),
    )
    kinds = np.repeat([r["kind"] or "" for r in found], lengths)
    rows = []
    for kind in [None, *sorted({k for k in kinds[scored.label == 1].tolist() if k})]:
        part = scored if kind is None else scored.take((scored.label == 0) | (kinds == kind))
        whole = base["group"] == C.ALL and kind is None
        between = (
            with_intervals(part, base["seed"])
            if whole or (first and base["group"] == C.ALL)
            else {}
        )
        values = evaluate(part) | ({"roc_auc_within_blocks": within_blocks(part)} if whole else {})
        rows += _metric_rows(base | {"kind": kind}, part, values, between)
        for name, judged in (
            baselines(part, base["seed"]).items() if whole and first and not coarse else ()
        ):
            rows += _metric_rows(
                base | {"kind": None, "detector": name}, judged, evaluate(judged), {}
            )
    return rows


def _metric_rows(
    base: dict[str, Any], part: Scored, values: dict[str, float | None], between: dict[str, Any]
) -> list[dict[str, Any]]:
    n = int(part.count.sum())
    made = []
    for name, value in values.items():
        low, high = between.get(name, (None, None))
        made.append(
            {**base, "metric": name, "value": value, "ci_low": low, "ci_high": high, "n": n}
        )
    return made
