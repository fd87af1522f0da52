"""Figures of reading and writing windows.

The peers are Petastorm with one window a row, and the seed question's generator. Memory is
measured too.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from acceptance import tools
from foreshock.sequences.split import BlockRole
from foreshock.settings.load import build_settings
from foreshock.stages.context import Context
from foreshock.stages.extract import extract
from foreshock.stages.prepare import prepare
from foreshock.statistics.arrays import AnyArray
from foreshock.training.devices import settle_memory
from foreshock.windows.dataset.manifest import read_manifest
from foreshock.windows.dataset.plan import make_plan
from foreshock.windows.dataset.reader import ArrowBlockReader, BlockReader, sample_windows
from foreshock.windows.dataset.window_data import WindowData

from benchmarks.measure import Figure, alternate, timed

L, F, BATCH = 50, 8, 256
QUESTION_BATCH = 64  # the seed question's
FEATURES = [f"f{i}" for i in range(F)]


def events_table(rows: int, entities: int, seed: int = 0) -> pa.Table:
    """Events over 20 days with autocorrelated features.

    The activity of entities follows Zipf's law (exponent 1.1).
    """
    rng = np.random.default_rng(seed)
    start = np.datetime64("2024-01-01T00:00:00", "us").astype(np.int64)
    time = start + np.sort(rng.integers(0, 20 * 86_400_000_000, rows))
    activity = np.arange(1, entities + 1) ** -1.1
    columns: dict[str, Any] = {
        "entity": pa.array(rng.choice(entities, rows, p=activity / activity.sum())).cast(
            pa.string()
        ),
        "time": pa.array(time, pa.timestamp("us", tz="UTC")),
        "id": pa.array(np.arange(rows)).cast(pa.string()),
    }
    for i, name in enumerate(FEATURES):
        columns[name] = np.convolve(
            rng.standard_t(3, rows + 4), np.ones(5) / (1 + i), "valid"
        ).astype(np.float64)
    return pa.table(columns)


def write_source(folder: Path, rows: int, entities: int = 20) -> Path:
    """Events in eight files or more. No file holds over a million."""
    folder.mkdir(parents=True)
    whole = 1_000_000
    for number, at in enumerate(range(0, rows, whole)):
        table = events_table(min(whole, rows - at), entities, number)
        table = table.set_column(
            table.column_names.index("id"),
            "id",
            pa.array(np.arange(at, at + len(table))).cast(pa.string()),
        )
        step = max(1, len(table) // max(1, 8 * whole // max(rows, whole)))
        for i in range(0, len(table), step):
            pq.write_table(table.slice(i, step), folder / f"part-{at + i:09d}.parquet")
    return folder


def conf(source: Path, **changes: Any) -> dict[str, Any]:
    made = tools.conf(windows__length=L, windows__block=1024, **changes)
    made["events"] = {
        "entity": "entity",
        "time": "time",
        "id": "id",
        "features": {f: f for f in FEATURES},
    }
    made["source"] = {"kind": "files", "path": str(source), "format": "parquet"}
    made["split"] = {
        "train": ["2024-01-01", "2024-01-19"],
        "calibration": ["2024-01-19", "2024-01-20"],
        "test": ["2024-01-20", "2024-01-21"],
    }
    return made


def prepared(work: Path, spark: Any, rows: int, entities: int = 20) -> Path:
    """A run directory with a prepared dataset of events."""
    source = write_source(work / f"source-{rows}", rows, entities)
    context = Context(
        build_settings(conf(source)), str(work / f"run-{rows}"), quiet=True, spark=spark
    )
    with context.open():
        extract(context, whole_run=True)
        prepare(context)
    return work / f"run-{rows}"


def window_data(run_dir: Path, batch: int = BATCH) -> WindowData:
    folder = run_dir / "dataset" / "train"
    manifest = read_manifest(folder)
    return WindowData(
        folder, manifest, make_plan(manifest, seed=1, batch=batch, workers=1, limit=None)
    )


def arrow_reader(run_dir: Path) -> BlockReader:
    """The reader on plain Arrow of a run's training dataset."""
    folder = run_dir / "dataset" / "train"
    return ArrowBlockReader(folder, read_manifest(folder).block_shape)


def loader(run_dir: Path, reader: BlockReader | None = None) -> Any:
    """Windows a second of one epoch of shuffled batches.

    reader: None for the reader that is chosen.
    """
    settle_memory()
    epoch = iter(range(1, 10_000))

    def speed() -> float:
        data = window_data(run_dir)
        data.reader = reader
        share = data.share(next(epoch))
        steps = 0

        def consume() -> None:
            nonlocal steps
            for _ in data.dataset(share):
                steps += 1

        seconds = timed(consume)
        assert steps == share.steps and share.used == data.plan.windows
        return share.used / seconds

    return speed


def window_rows(run_dir: Path, most: int) -> AnyArray:
    """Windows (n, L, F) of the dataset, in order."""
    folder = run_dir / "dataset" / "train"
    return sample_windows(folder, read_manifest(folder), BlockRole.FIT, 10**9)[0][:most]


def write_rows(spark: Any, windows: AnyArray, target: Path) -> None:
    """One row a window by Petastorm's own materialize_dataset."""
    from petastorm.codecs import NdarrayCodec, ScalarCodec
    from petastorm.etl.dataset_metadata import materialize_dataset
    from petastorm.unischema import Unischema, UnischemaField, dict_to_spark_row
    from pyspark.sql import types as T

    schema = Unischema(
        "Row",
        [
            UnischemaField("id", np.int64, (), ScalarCodec(T.LongType()), False),
            UnischemaField("x", np.float32, (L, F), NdarrayCodec(), False),
        ],
    )
    parts = np.array_split(np.arange(len(windows)), 8)
    pieces = [(int(p[0]), windows[p[0] : p[-1] + 1]) for p in parts]

    def rows(piece: tuple[int, AnyArray]) -> Iterator[Any]:
        for i, x in enumerate(piece[1]):
            yield dict_to_spark_row(schema, {"id": piece[0] + i, "x": np.ascontiguousarray(x)})

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with materialize_dataset(spark, target.as_uri(), schema, 32):
            frame = spark.createDataFrame(
                spark.sparkContext.parallelize(pieces, 8).flatMap(rows), schema.as_spark_schema()
            )
            frame.write.mode("overwrite").parquet(target.as_uri())


def row_loader(folder: Path, count: int) -> Any:
    """Windows a second of row-per-window Petastorm into tf.data, shuffled."""

    def speed() -> float:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import contextlib
            import io

            from petastorm import make_reader
            from petastorm.tf_utils import make_petastorm_dataset

            def consume() -> None:
                with make_reader(
                    folder.as_uri(), schema_fields=["x"], num_epochs=1, workers_count=2
                ) as reader:
                    for _ in (
                        make_petastorm_dataset(reader)
                        .map(lambda row: row.x)
                        .shuffle(1000)
                        .batch(BATCH)
                    ):
                        pass

            with contextlib.redirect_stdout(io.StringIO()):
                return count / timed(consume)

    return speed


def question_loader(partition: AnyArray, batches: int) -> Any:
    """The seed question's way of loading.

    For every batch, all sequences of the partition are cut again, and a few are kept.
    """

    def generator() -> Iterator[AnyArray]:
        at = 0
        while True:
            sequences = []
            for i in range(len(partition) - L + 1):
                sequences.append(partition[i : i + L])
            cut = np.array(sequences)
            yield cut[at : at + QUESTION_BATCH]
            at = (at + QUESTION_BATCH) % len(cut)

    def speed() -> float:
        source = generator()

        def consume() -> None:
            for _ in range(batches):
                next(source)

        return batches * QUESTION_BATCH / timed(consume)

    return speed


def memory_loader(rows: AnyArray) -> Any:
    """keras.utils.timeseries_dataset_from_array over the same rows in memory, shuffled."""
    import keras

    def speed() -> float:
        data = keras.utils.timeseries_dataset_from_array(
            rows, None, L, batch_size=BATCH, shuffle=True, seed=1
        )
        count = 0

        def consume() -> None:
            nonlocal count
            for x in data:
                count += x.shape[0]

        seconds = timed(consume)
        return count / seconds

    return speed


def figures(work: Path, spark: Any, names: set[str], *, quick: bool) -> Iterator[Figure]:
    rows, few, times = (10_000, 300, 1) if quick else (2_000_000, 6_000, 5)
    wanted = {
        "loader_vs_rows",
        "loader_vs_question",
        "loader_vs_memory",
        "write_vs_rows",
        "arrow_vs_petastorm",
    } & names
    if not wanted:
        return
    run_dir = prepared(work, spark, rows)
    ours = loader(run_dir)
    size = f"{window_data(run_dir).plan.windows} windows, L {L}, F {F}, batch {BATCH}"
    windows = window_rows(run_dir, few)
    if "loader_vs_rows" in names:
        write_rows(spark, windows, work / "rows")
        yield alternate(
            "loader_vs_rows",
            ours,
            row_loader(work / "rows", len(windows)),
            unit="windows/s",
            wanted=50,
            repetitions=times,
            peer_name="one row a window: petastorm make_reader, make_petastorm_dataset, shuffle, "
            "batch",
            sizes=f"{size}; peer {len(windows)} windows",
        )
    if "loader_vs_question" in names:
        partition = np.random.default_rng(0).normal(
            size=(5_000 if quick else 50_000, F)
        )  # float64, as scikit-learn's scaler gives
        yield alternate(
            "loader_vs_question",
            ours,
            question_loader(partition, 3),
            unit="windows/s",
            wanted=1000,
            repetitions=times,
            peer_name="the seed question's generator: all sequences of the partition cut again for "
            "each batch of 64",
            sizes=f"{size}; peer's partition {len(partition)} rows",
        )
    if "arrow_vs_petastorm" in names:
        yield alternate(
            "arrow_vs_petastorm",
            loader(run_dir, arrow_reader(run_dir)),
            ours,
            unit="windows/s",
            wanted=0.9,
            repetitions=times,
            peer_name="the same batches, read by Petastorm; ours: by plain Arrow",
            sizes=size,
        )
    if "loader_vs_memory" in names:
        flat = (
            np.random.default_rng(0)
            .normal(size=(min(window_data(run_dir).plan.windows, 300_000) + L - 1, F))
            .astype(np.float32)
        )
        yield alternate(
            "loader_vs_memory",
            ours,
            memory_loader(flat),
            unit="windows/s",
            wanted=1,
            repetitions=times,
            peer_name="keras.utils.timeseries_dataset_from_array in memory, shuffle=True",
            sizes=f"{size}; peer {len(flat) - L + 1} windows",
        )
    if "write_vs_rows" in names:
        number = iter(range(10_000))
        total = sum(
            read_manifest(run_dir / "dataset" / s).total("windows")
            for s in ("train", "calibration", "test")
        )

        def write() -> float:
            context = Context(
                build_settings(conf(work / f"source-{rows}")),
                str(run_dir),
                quiet=True,
                spark=spark,
                force=True,
            )
            with context.open():
                return total / timed(lambda: prepare(context))

        def by_rows() -> float:
            return len(windows) / timed(
                lambda: write_rows(spark, windows, work / f"written-{next(number)}")
            )

        yield alternate(
            "write_vs_rows",
            write,
            by_rows,
            unit="windows/s",
            wanted=40,
            repetitions=times,
            peer_name="one row a window: petastorm materialize_dataset (from windows in memory)",
            sizes=f"{total} windows (ours: the whole prepare stage, scaling and sorting included); "
            f"peer {len(windows)}",
        )
