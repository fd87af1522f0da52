"""Feature statistics over event partitions, each read once: a new partition is added to what is kept of the others."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from itertools import groupby, islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import SparkSession

from foreshock import columns as C
from foreshock.platform.files import digest
from foreshock.platform.parquet import parquet_file, read_table
from foreshock.platform.paths import at, size
from foreshock.platform.session import each_item
from foreshock.platform.transfers import carry
from foreshock.scaling.robust import transform
from foreshock.scaling.summary import DAMAGE, Guide, Summary

MERGED, MERGED_AT_ONCE = "merged.npz", 32
PILOTS, PILOT_EVENTS = 8, 1 << 15


def _training_values(
    file: str, features: tuple[str, ...], span: tuple[int, int], how: str, most: int | None = None
) -> Iterator[tuple[str, np.ndarray]]:
    """(feature, transformed float32 values that are not null) of a file's training events that train_where admits.

    most: look at the first so many events alone.
    """
    columns = [C.EVENT_TIME, C.TRAIN_OK, *features]
    if most is None:
        table = read_table(file, columns=columns)
    else:
        with parquet_file(file) as source:
            first = list(islice(source.iter_batches(most, columns=columns), 1))
            table = (
                pa.Table.from_batches(first) if first else source.schema_arrow.empty_table()
            ).select(columns)
    time = table[C.EVENT_TIME].cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_numpy()
    keep = (time >= span[0]) & (time < span[1]) & table[C.TRAIN_OK].to_numpy()
    for name in features:
        values = pc.fill_null(table[name], float("nan")).to_numpy()[keep]
        yield name, transform(values[~np.isnan(values)], how)


def _summaries(
    spark: SparkSession,
    partitions: dict[str, list[str]],
    features: tuple[str, ...],
    span: tuple[int, int],
    how: str,
    guide: Guide,
    here: bool,
) -> Iterator[tuple[str, Summary]]:
    """The summary of each partition in turn, from its files of events."""
    items = [(p, f) for p, files in partitions.items() for f in files]

    def one(item: tuple[str, str]) -> Iterator[pa.RecordBatch]:
        own = Summary.of(_training_values(item[1], features, span, how), guide)
        yield pa.RecordBatch.from_pylist([{"partition": item[0], "summary": own.to_bytes({})}])

    rows = each_item(spark, items, one, "partition string, summary binary", here=here)
    for partition, own in groupby(rows, key=lambda row: str(row["partition"])):
        parts = [Summary.from_bytes(bytes(row["summary"]))[0] for row in own]
        yield partition, Summary.total(parts) if len(parts) > 1 else parts[0]


def fit_summary(
    spark: SparkSession,
    partitions: dict[str, list[str]],
    features: tuple[str, ...],
    span: tuple[int, int],
    how: str,
    *,
    before: Path,
    after: Path,
    say: Callable[..., None] = lambda *_, **__: None,
    here: bool = False,
) -> Summary:
    """The summary of all training values, whose quartiles are exact, from partition -> files of events.

    `before`: a folder that an earlier call wrote as `after`, if there is one: only partitions that it does not hold, or holds of
    other files, are read. Where one is gone or changed, the kept summaries are added up anew. The first guide is that of a few events
    of some partitions, read here. Where quartiles lie outside the ranges that were counted finely, every partition is read once more.
    """
    settings = {"features": features, "span": span, "transform": how}
    keys = {
        p: digest([settings, [(at(f).name, size(at(f))) for f in files]])
        for p, files in partitions.items()
    }
    after.mkdir(parents=True)
    kept, total, guide = _kept(before, keys)

    def read(wanted: dict[str, list[str]], total: Summary) -> Summary:
        waiting = [total]
        for partition, own in _summaries(spark, wanted, features, span, how, guide, here):
            (after / _name(partition)).write_bytes(
                own.to_bytes({"key": keys[partition], "guide": digest(guide)})
            )
            waiting.append(own)
            if len(waiting) > MERGED_AT_ONCE:
                waiting = [Summary.total(waiting)]
        return Summary.total(waiting)

    fresh = {p: files for p, files in partitions.items() if p not in kept}
    say("scaler", partitions=len(partitions), read=len(fresh))
    if not guide:
        files = [own[0] for own in fresh.values()]
        pilot = [
            Summary.of(_training_values(f, features, span, how, PILOT_EVENTS), {})
            for f in files[:: -(-len(files) // PILOTS) or 1]
        ]
        guide = Summary.total(pilot).guide()
    total = read(fresh, total)
    if total.reaches(guide):
        for path in kept.values():
            carry(path, after / path.name)
    else:
        guide = total.guide()
        say("scaler, second pass", partitions=len(partitions))
        total = read(partitions, Summary())
    (after / MERGED).write_bytes(total.to_bytes({"keys": keys, "guide": guide}))
    return total


def _name(partition: str) -> str:
    return f"{C.PARTITION}={partition}.npz"


def _kept(before: Path, keys: dict[str, str]) -> tuple[dict[str, Path], Summary, Guide]:
    """What an earlier fit left that still holds: partition -> file of its summary, their sum, and the guide of all."""
    with contextlib.suppress(*DAMAGE):
        total, note = Summary.from_bytes((before / MERGED).read_bytes())
        guide: Guide = note["guide"]
        paths = {p: before / _name(p) for p, key in note["keys"].items() if keys.get(p) == key}
        if len(paths) == len(note["keys"]) and all(p.exists() for p in paths.values()):
            return paths, total, guide
        parts: dict[str, Summary] = {}
        for partition, path in paths.items():
            with contextlib.suppress(*DAMAGE):
                own, about = Summary.from_bytes(path.read_bytes())
                if about == {"key": keys[partition], "guide": digest(guide)}:
                    parts[partition] = own
        return {p: paths[p] for p in parts}, Summary.total(parts.values()), guide
    return {}, Summary(), {}
