"""Prepare: from `events/` to the scaler and a Petastorm dataset per split."""

from __future__ import annotations

import math
from functools import partial, reduce
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from foreshock import columns as C
from foreshock.errors import DataError, ServiceError, SettingsError
from foreshock.platform.files import digest, file_sha256, read_json, write_json
from foreshock.platform.parquet import dataset
from foreshock.platform.paths import at, stamps
from foreshock.platform.run_directory import RunDirectory
from foreshock.platform.session import map_items
from foreshock.platform.transfers import remove
from foreshock.scaling import spark as scaling_spark
from foreshock.scaling.robust import Scaler, fit_feature
from foreshock.sequences.split import BlockRole, Split
from foreshock.stages.context import Context
from foreshock.stages.extract import (
    FOLDERS,
    MAIN,
    TEST_TABLE,
    Ledger,
    check_rows,
    check_splits,
    iso,
    partition_counts,
    read_ledger,
    totals,
)
from foreshock.stages.publish import sink_of
from foreshock.statistics.histogram import Histogram
from foreshock.windows.cut import spark as windowing
from foreshock.windows.cut.blocks import Cut
from foreshock.windows.dataset.manifest import (
    MANIFEST_NAME,
    METADATA_NAME,
    Chunk,
    Manifest,
    run_lengths,
)
from foreshock.windows.dataset.metadata import write_metadata
from foreshock.windows.dataset.writer import join_pieces

ROWS_PER_PART = 250_000
TAILS = "tails"


def prepare(context: Context) -> None:
    """Fit the scaler on train and cut every split into blocks. Raises DataError where a split has no window."""
    ledger = read_ledger(context)
    if not ledger:
        raise SettingsError(
            f"--run-dir {context.run.path}: nothing is extracted there. Run jobs/extract.py first."
        )
    check_rows(context, ledger)
    check_splits(context, ledger)
    other = other_run(context)
    fingerprint = digest(
        {
            "settings": context.sha256,
            "ledger": ledger,
            "other": _other_print(other) if other else None,
        }
    )
    if not context.force and context.run.is_done("prepare", fingerprint):
        context.log.event("prepare", "nothing to do")
        return
    context.run.verify("extract")
    sink_of(context).look()
    with context.attempt("prepare") as counts:
        work = context.run.staging("prepare")
        if other:
            scaler = read_scaler(other / "scaler.json")
            if tuple(f.name for f in scaler.features) != context.settings.feature_names:
                raise DataError(
                    f"model.from {other}: its scaler has the features {', '.join(f.name for f in scaler.features)}; "
                    f"the settings have {', '.join(context.settings.feature_names)}. Use the same features in order."
                )
        else:
            scaler = _fit(context, ledger, work)
        write_json(work / "scaler.json", scaler.to_mapping())
        manifests = _cut(context, ledger, scaler, work)
        moves = {
            work / "scaler.json": context.run / "scaler.json",
            work / "dataset": context.run / "dataset",
            work / "rest": context.run / "rest",
            work / TAILS: context.run / TAILS,
        }
        if not other:
            moves[work / "scaler"] = context.run / "scaler"
        sealed = [context.run / "scaler.json"]
        sealed += [
            context.run / "dataset" / s / n
            for s in manifests
            for n in (MANIFEST_NAME, METADATA_NAME)
        ]
        context.run.publish("prepare", fingerprint, moves, sealed=sealed)
        remove(work)
        counts |= {
            split: {w: m.total(w) for w in ("blocks", "windows", "events", "bytes")}
            for split, m in manifests.items()
        }
        counts["scaled"] = {f.name: f.policy for f in scaler.features}


def other_run(context: Context) -> Path | None:
    """The run directory of `model.from`. Raises SettingsError where it holds no finished run, DataError where it was altered, ServiceError
    where it became another while this run was at work."""
    if context.settings.model.from_ is None:
        return None
    other = at(context.settings.model.from_)
    for name in ("scaler.json", "model/bundle.json", "tables/thresholds"):
        if not (other / name).exists():
            raise SettingsError(
                f"`model.from`: {other} holds no {name}; a run directory with a finished run is wanted."
            )
    run = RunDirectory(str(other))
    record = run.record("score")
    if record is None:
        raise SettingsError(
            f"`model.from`: {other} holds no finished run: its scoring is under way, or was stopped. Let it finish first."
        )
    if context.shared.setdefault("other", record["fingerprint"]) != record["fingerprint"]:
        raise ServiceError(
            f"model.from {other}: it was scored anew while this run was at work. Run the same command again."
        )
    for stage in ("prepare", "train"):
        run.verify(stage)
    return other


def read_scaler(path: Path) -> Scaler:
    """The scaler of a run."""
    return Scaler.from_mapping(read_json(path))


def _files(context: Context, table: str) -> list[tuple[str, str]]:
    base = context.run / FOLDERS[table][0]
    return [
        (folder.name.partition("=")[2], str(f))
        for folder in sorted(base.glob(f"{C.PARTITION}=*"))
        for f in sorted(folder.glob("*.parquet"))
    ]


def _fit(context: Context, ledger: Ledger, work: Path) -> Scaler:
    s = context.settings
    assert s.split.train is not None
    span, how, names = s.split.train.micros, s.scaling.transform, s.feature_names
    in_train = {p for t, p, c in partition_counts(ledger) if t == MAIN and c["kept"].get(C.TRAIN)}
    partitions: dict[str, list[str]] = {}
    for partition, file in _files(context, MAIN):
        if unquote(partition) in in_train:
            partitions.setdefault(partition, []).append(file)
    summary = scaling_spark.fit_summary(
        context.spark,
        partitions,
        names,
        span,
        how,
        before=work / "none" if context.force else context.run / "scaler",
        after=work / "scaler",
        say=partial(context.log.event, "prepare"),
    )
    merged = {n: summary.histograms.get(n, Histogram()) for n in names}
    if not max(h.n for h in merged.values()):
        raise DataError(
            "events.train_where leaves no training event. Correct it, or widen split.train."
        )
    quartiles = summary.quartiles()
    nulls = {n: sum(c["nulls"].get(n, 0) for _, _, c in partition_counts(ledger)) for n in names}
    scaler = Scaler(
        s.scaling.method,
        how,
        s.scaling.clip,
        tuple(
            fit_feature(
                n,
                merged[n],
                quartiles.get(n, (0.0, 0.0, 0.0)),
                nulls[n],
                method=s.scaling.method,
                floor=s.scaling.floor,
                constant=s.scaling.constant,
                null_policy=s.quality.null_policy(n),
            )
            for n in names
        ),
    )
    if not scaler.kept:
        raise DataError(
            "every feature has no spread and scaling.constant is drop: nothing is left to look at."
        )
    for f in scaler.features:
        if f.policy != "scaled":
            context.log.event("prepare", f"feature {f.name} is {f.policy}", why=f.why)
    return scaler


def _cut(context: Context, ledger: Ledger, scaler: Scaler, work: Path) -> dict[str, Manifest]:
    s, spark = context.settings, context.spark
    w = s.windows
    cut = Cut(
        w.length,
        w.stride,
        w.block,
        None if w.max_gap is None else round(w.max_gap * 1e6),
        w.short == "pad",
    )
    rows = sum(totals(ledger)["kept"].values())
    parts = max(spark.sparkContext.defaultParallelism, math.ceil(rows / ROWS_PER_PART))
    events = _events(context, ledger)
    context.log.event("prepare", "sorting", events=rows, parts=parts)
    files = windowing.sort_events(
        events, s.feature_names, len(s.events.tiebreak), parts, work / "sorted"
    )
    order = windowing.plan(spark, files, cut)
    validation = validation_time(context, ledger)
    counts = windowing.count_blocks(spark, order, cut, validation)
    found = {
        split: sum(
            counts[p][c][0] for p in counts for c, d in windowing.DATASETS.items() if d == split
        )
        for split in C.SPLITS
    }
    for split in s.needed_splits:
        if not found[split]:
            if order.longest < w.length:
                raise DataError(
                    f"windows.length is {w.length}, longer than every sequence: the longest has {order.longest} events. "
                    "Shorten it, or set windows.short: pad."
                )
            raise DataError(
                f"split.{split} has no window of length {w.length}"
                + (" that holds training events only" if split == C.TRAIN else "")
                + ". Widen the split or shorten windows.length."
            )
    context.log.event("prepare", "cutting", blocks=found, longest_sequence=order.longest)
    pieces = windowing.write_pieces(
        spark, order, cut, validation, scaler, counts, len(s.events.tiebreak), work
    )
    remove(work / "sorted")
    return _join(context, pieces, scaler, work)


def _events(context: Context, ledger: Ledger) -> DataFrame:
    spark, s = context.spark, context.settings
    frames = []
    for number, table in enumerate((MAIN, TEST_TABLE)):
        base = context.run / FOLDERS[table][0]
        folders = [str(f) for f in sorted(base.glob(f"{C.PARTITION}=*"))] if base.exists() else []
        if not folders:
            continue
        frame = (
            spark.read.option("basePath", str(base))
            .parquet(*folders)
            .withColumn(windowing.TABLE, F.lit(number).cast("tinyint"))
        )
        code = F.lit(3) if table == TEST_TABLE else F.lit(0)
        if table == MAIN:
            micros = F.unix_micros(C.EVENT_TIME)
            for name, span in s.split.spans().items():
                code = F.when(
                    (micros >= span.micros[0]) & (micros < span.micros[1]), Split.of(name)
                ).otherwise(code)
        frame = frame.withColumn("split", code.cast("tinyint"))
        for c in frame.columns:
            if isinstance(frame.schema[c].dataType, T.TimestampNTZType) and c.startswith(
                C.TIEBREAK_PREFIX
            ):
                frame = frame.withColumn(c, F.col(c).cast("timestamp"))
        frames.append(frame)
    tails = _tails(context, ledger)
    frames += [tails] if tails is not None else []
    return reduce(partial(DataFrame.unionByName, allowMissingColumns=True), frames)


def _tails(context: Context, ledger: Ledger) -> DataFrame | None:
    """The last events of each entity in the run of `model.from`, before this run's first: windows across midnight need them.

    They belong to no split here, so no window ends at one. A run whose first event is not after them leaves them out.
    """
    other, s = other_run(context), context.settings
    times = [t for table, _, c in partition_counts(ledger) if table == MAIN for t in c["time"]]
    if other is None or not times or not (other / TAILS).exists():
        return None
    names = dataset(other / TAILS).schema.names
    missing = [
        n
        for n in (*s.feature_names, *windowing.tiebreaks(len(s.events.tiebreak)))
        if n not in names
    ]
    if missing:
        raise DataError(
            f"model.from {other}: its tails lack {', '.join(missing)}. Use the same features and tiebreaks."
        )
    frame = context.spark.read.parquet(str(other / TAILS)).where(F.col(C.EVENT_TIME) < min(times))
    if (last := frame.agg(F.max(C.EVENT_TIME)).collect()[0][0]) is not None:
        context.log.event(
            "prepare",
            "sequences begin with the last events of the run of model.from",
            last=iso(last),
            first=iso(min(times)),
        )
    return (
        frame.withColumn(C.EVENT_TIME, F.timestamp_micros(C.EVENT_TIME))
        .withColumn(windowing.TABLE, F.lit(0).cast("tinyint"))
        .withColumn("split", F.lit(0).cast("tinyint"))
    )


def _other_print(other: Path) -> dict[str, object]:
    tails = stamps(other / TAILS) if (other / TAILS).exists() else []
    return {"scaler": file_sha256(other / "scaler.json"), TAILS: tails}


def validation_time(context: Context, ledger: Ledger) -> int:
    """Where the last part of train by time begins, in microseconds: training stops early on windows that end after it."""
    times = [t for _, _, c in partition_counts(ledger) for t in c["train"]]
    if not times:
        return 0
    first, last = min(times), max(times)
    return first + int((last - first + 1) * (1 - context.settings.training.validation))


def _join(
    context: Context, pieces: list[dict[str, Any]], scaler: Scaler, work: Path
) -> dict[str, Manifest]:
    s = context.settings
    names = {BlockRole.FIT: "fit", BlockRole.VALIDATION: "validation"}
    chunks: dict[tuple[str, int, int], list[dict[str, Any]]] = {}
    for piece in sorted(pieces, key=lambda p: (p["code"], p["chunk"], p["part"])):
        chunks.setdefault(
            (windowing.DATASETS[piece["code"]], piece["code"], piece["chunk"]), []
        ).append(piece)
    for split in {c[0] for c in chunks}:
        (work / "dataset" / split).mkdir(parents=True)
    targets = {
        key: work / "dataset" / key[0] / f"{names.get(key[1], 'part')}-{key[2]:06d}.parquet"
        for key in chunks
    }
    items = [([p["path"] for p in chunks[key]], str(targets[key])) for key in chunks]
    size = max(1, math.ceil(len(items) / 256))
    batches = [items[i : i + size] for i in range(0, len(items), size)]

    def one(batch: list[tuple[list[str], str]]) -> Any:
        for paths, target in batch:
            yield from join_pieces(paths, target)

    done = {
        row["target"]: row
        for row in map_items(
            context.spark, batches, one, "target string, file string, bytes bigint, sha256 string"
        ).collect()
    }
    scaler_sha = file_sha256(work / "scaler.json")
    manifests = {}
    for split in C.SPLITS:
        keys = [k for k in chunks if k[0] == split]
        if not keys:
            continue
        folder = work / "dataset" / split
        own = []
        for key in keys:
            row, parts = done[str(targets[key])], chunks[key]
            sums = {w: sum(p[w] for p in parts) for w in ("blocks", "windows", "events", "x_bytes")}
            partitions = tuple(sorted({name for p in parts for name in p["partitions"]}))
            windows = run_lengths([n for p in parts for n in p["block_windows"]])
            own.append(
                Chunk(
                    row["file"],
                    BlockRole(key[1]),
                    **sums,
                    bytes=row["bytes"],
                    sha256=row["sha256"],
                    partitions=partitions,
                    block_windows=windows,
                )
            )
        write_metadata(folder, len(scaler.kept), [c.file for c in own])
        manifest = Manifest(
            split,
            scaler.kept,
            s.windows.length,
            s.windows.stride,
            scaler_sha,
            file_sha256(folder / METADATA_NAME),
            tuple(own),
        )
        manifest.write(folder)
        manifests[split] = manifest
    remove(work / "pieces")
    return manifests
