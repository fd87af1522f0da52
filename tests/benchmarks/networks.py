"""Figures of training and scoring with the network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pyarrow as pa
from foreshock.platform.files import file_sha256
from foreshock.platform.session import map_items
from foreshock.scored.rewrite_spark import schema_ddl
from foreshock.scored.schema import scored_schema
from foreshock.statistics.arrays import AnyArray
from foreshock.training.devices import prepare_devices
from foreshock.training.steps import Stepper, wants_xla
from foreshock.windows.dataset.manifest import read_manifest
from foreshock.windows.models import bundle as bundles
from foreshock.windows.models.lstm_autoencoder import LSTMAutoencoder, NetworkSpec, build
from foreshock.windows.models.lstm_trainable import LSTMTrainable
from foreshock.windows.scoring.plan import ScoringPlan, ScoringTask
from foreshock.windows.scoring.scorer import score_chunk
from foreshock.windows.scoring.spark import score_files
from support.small_detectors import NO_FACTS

from benchmarks.loading import BATCH, FEATURES, F, L, prepared, window_data, window_rows
from benchmarks.measure import Figure, alternate, timed

SPEC = NetworkSpec.from_mapping(
    {
        "length": L,
        "features": F,
        "units": [64, 32],
        "dense": 16,
        "activation": "tanh",
        "output": "linear",
        "dropout": 0.0,
        "l1": 0.0,
        "l2": 0.0,
    }
)


def _train(run_dir: Path) -> Any:
    """Windows a second of an epoch of our loop, from Petastorm. It is compiled once, before."""
    where = prepare_devices(1)
    with where.strategy.scope():
        network = build(SPEC)
    trainable = LSTMTrainable(SPEC.to_mapping())
    jit = wants_xla("auto", has_fused_kernels=trainable.has_fused_kernels(network))
    stepper = Stepper(trainable, network, where, 0.001, None, jit=jit)
    epoch = iter(range(1, 10_000))

    def speed() -> float:
        data = window_data(run_dir)
        share = data.share(next(epoch))

        def run() -> None:
            found = [stepper([part]) for part in data.dataset(share)]
            np.stack([f.numpy() for f in found])

        return share.used / timed(run)

    return speed


def _fit(windows: AnyArray) -> Any:
    network = build(SPEC)
    network.compile(optimizer=keras.optimizers.Adam(0.001), loss="mse", jit_compile=True)
    whole = windows[: len(windows) // BATCH * BATCH]

    def speed() -> float:
        return len(whole) / timed(
            lambda: network.fit(whole, whole, batch_size=BATCH, epochs=1, shuffle=True, verbose=0)
        )

    return speed


def _score(spark: Any, run_dir: Path, work: Path, folder: Path, *, predict: bool) -> Any:
    """Windows a second of scoring the training dataset's chunks in Spark.

    The clock stops when the tables' rows are on disk.
    """
    dataset = run_dir / "dataset" / "train"
    manifest = read_manifest(dataset)
    plan = ScoringPlan(
        str(folder), file_sha256(folder / bundles.NAME), ("lstm_autoencoder",), "window", L, 1
    )
    tasks = [
        ScoringTask(str(dataset / c.file), c.sha256, c.role, None, c.windows)
        for c in manifest.chunks
    ]
    number = iter(range(10_000))

    def one(task: ScoringTask) -> Iterator[pa.RecordBatch]:
        import builtins

        shared: Any = builtins
        if not hasattr(
            shared, "bench_bundle"
        ):  # loaded once a worker, and with the threads that TensorFlow takes by itself
            bundle = bundles.load(folder)
            found = bundle.models["lstm_autoencoder"]
            found.reconstruct = lambda x: found.network.predict(x, batch_size=1024, verbose=0)
            shared.bench_bundle = bundle
        from unittest.mock import patch

        with patch("foreshock.windows.scoring.scorer._bundle", lambda *_: shared.bench_bundle):
            yield from score_chunk(plan, task)

    def speed() -> float:
        target = work / f"{'predicted' if predict else 'scored'}-{next(number)}"
        target.mkdir(parents=True)
        if predict:
            ddl = schema_ddl(scored_schema(plan.detectors))
            return manifest.total("windows") / timed(
                lambda: map_items(spark, tasks, one, ddl).write.parquet(str(target / "raw"))
            )
        return manifest.total("windows") / timed(
            lambda: score_files(spark, plan, tasks, manifest.features, target)
        )

    return speed


def figures(work: Path, spark: Any, names: set[str], *, quick: bool) -> Iterator[Figure]:
    times = 1 if quick else 5
    size = f"windows, L {L}, F {F}, LSTM 64-32-16-32-64"
    if "training_vs_fit" in names:
        run_dir = prepared(work / "trained", spark, 6_000 if quick else 40_000)
        windows = window_rows(run_dir, 10**9)
        yield alternate(
            "training_vs_fit",
            _train(run_dir),
            _fit(windows),
            unit="windows/s",
            wanted=0.97,
            repetitions=times,
            peer_name="keras.Model.fit(jit_compile=True), which Keras takes back for LSTMs, on the "
            "same windows in memory",
            sizes=f"{len(windows)} {size}",
        )
    if "scoring_vs_predict" in names:
        run_dir = prepared(work / "scored", spark, 6_000 if quick else 160_000)
        count = read_manifest(run_dir / "dataset" / "train").total("windows")
        folder = work / "bundle"
        folder.mkdir()
        bundles.save(
            folder,
            bundles.Bundle(
                {"lstm_autoencoder": LSTMAutoencoder(build(SPEC), SPEC)},
                tuple(FEATURES),
                L,
                "",
                NO_FACTS,
            ),
        )
        yield alternate(
            "scoring_vs_predict",
            _score(spark, run_dir, work / "scores", folder, predict=False),
            _score(spark, run_dir, work / "scores", folder, predict=True),
            unit="windows/s",
            wanted=2,
            repetitions=times,
            peer_name="keras.Model.predict(batch_size=1024) in the same mapInArrow: same files in, "
            "same rows out",
            sizes=f"{count} {size}",
        )
