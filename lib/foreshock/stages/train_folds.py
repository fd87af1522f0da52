"""Cross-fitting: for each of K contiguous blocks of training time, models that saw no window touching it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from foreshock.detectors import REGISTRY
from foreshock.errors import DataError
from foreshock.platform.parquet import parquet_file, read_table
from foreshock.platform.session import each_item
from foreshock.platform.transfers import remove
from foreshock.sequences.folds import BINS, boundaries, counted, parts, spans, touching
from foreshock.sequences.split import BlockRole
from foreshock.stages.context import Context
from foreshock.stages.train_network import train_network
from foreshock.windows.dataset.held_out_spark import write_without
from foreshock.windows.dataset.manifest import Manifest
from foreshock.windows.dataset.schema import decode
from foreshock.windows.models import bundle as bundles
from foreshock.windows.models.bundle import fold_name
from foreshock.windows.models.bundle_facts import FoldFacts
from foreshock.windows.models.fitting import fit_moments, fit_sample
from foreshock.windows.models.lstm_autoencoder import LSTMAutoencoder
from foreshock.windows.models.moments import WindowMoments
from foreshock.windows.models.moments_spark import MomentJob, window_moments

NETWORK = "lstm_autoencoder"
SAMPLE_WINDOWS = 50_000


def fit_files(context: Context, manifest: Manifest) -> list[str]:
    """The chunk files that models are fitted on."""
    return [
        str(context.run / "dataset" / "train" / c.file)
        for c in manifest.chunks
        if c.role == BlockRole.FIT
    ]


def train_folds(
    context: Context,
    manifest: Manifest,
    scaler_sha: str,
    models: dict[str, Any],
    moments: WindowMoments | None,
    target: Path,
) -> tuple[tuple[int, int], ...]:
    """Write a bundle for each fold under `target`; returns the folds, [from, to) in microseconds.

    The linear models' moments are those of all windows but those that touch the fold; the others are fitted again on their sample, the
    network on a dataset written without those windows.
    Raises DataError where a fold leaves too little.
    """
    s, files = context.settings, fit_files(context, manifest)
    found = spans(boundaries(*_events(context, files), s.calibration.folds))
    sampled = [
        n for n in models if n != NETWORK and (not REGISTRY[n].is_additive or moments is None)
    ]
    sample = _sample(files, manifest) if sampled else None
    for fold, span in enumerate(found):
        own: dict[str, Any] = {}
        left = (
            None if moments is None else _left(context, files, manifest, span, fold, moments.origin)
        )
        for name in models:
            if name == NETWORK:
                own[name] = _network(context, manifest, span, fold, target)
            elif name not in sampled and left is not None:
                own[name] = fit_moments(name, left)
            elif sample is not None:
                keep = ~touching(sample[2], sample[3], span)
                own[name] = fit_sample(name, sample[0][keep], sample[1][keep], s.run.seed)
        folder = target / fold_name(fold)
        folder.mkdir()
        bundles.save(
            folder,
            bundles.Bundle(
                own, manifest.features, manifest.length, scaler_sha, FoldFacts(fold, span)
            ),
        )
        context.log.event("train", "fold fitted", fold=fold, of=len(found))
    return tuple(found)


def _network(
    context: Context, manifest: Manifest, span: tuple[int, int], fold: int, target: Path
) -> LSTMAutoencoder:
    folder = target.parent / fold_name(fold)
    without = write_without(
        context.spark, context.run / "dataset" / "train", manifest, span, folder
    )
    if not without.total("windows", (BlockRole.FIT,)):
        raise _too_little(0, fold)
    network, _ = train_network(context, without, (fold_name(fold), folder))
    remove(folder)
    return network


def _too_little(windows: int, fold: int) -> DataError:
    return DataError(
        f"calibration.folds: only {windows} training windows do not touch fold {fold}. Lower calibration.folds, or widen "
        "split.train."
    )


def _left(
    context: Context,
    files: list[str],
    manifest: Manifest,
    span: tuple[int, int],
    fold: int,
    origin: npt.NDArray[np.float64],
) -> WindowMoments:
    """The moments of the windows that do not touch a fold: summed, for taking away would cost digits where the fold holds huge values."""
    left = window_moments(
        context.spark,
        MomentJob(
            tuple(files), manifest.length, manifest.stride, len(manifest.features), origin, span
        ),
    )
    if left.n < 2:
        raise _too_little(left.n, fold)
    return left


def _events(context: Context, files: list[str]) -> tuple[int, int, npt.NDArray[np.int64]]:
    """The first and last event time, and the events by BINS equal parts between."""

    def times(file: str) -> Iterator[npt.NDArray[np.int64]]:
        for batch in parquet_file(file).iter_batches(
            batch_size=64, columns=["event_time", "first_padding"]
        ):
            for value, padding in zip(
                batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True
            ):
                yield decode(value)[padding:]

    def ends(file: str) -> Iterator[pa.RecordBatch]:
        both = [(t.min(), t.max()) for t in times(file)]
        yield pa.RecordBatch.from_pydict(
            {"low": [min(int(a) for a, _ in both)], "high": [max(int(b) for _, b in both)]}
        )

    rows = list(each_item(context.spark, files, ends, "low bigint, high bigint"))
    low, high = min(r["low"] for r in rows), max(r["high"] for r in rows)
    begins = parts(low, high)

    def counts(file: str) -> Iterator[pa.RecordBatch]:
        total = np.zeros(BINS, np.int64)
        for t in times(file):
            total += counted(t, begins)
        yield pa.RecordBatch.from_pydict(
            {"counts": pa.array([total.tolist()], pa.list_(pa.int64()))}
        )

    return (
        low,
        high,
        np.sum(
            [r["counts"] for r in each_item(context.spark, files, counts, "counts array<bigint>")],
            axis=0,
        ),
    )


def _sample(files: list[str], manifest: Manifest) -> tuple[Any, Any, Any, Any]:
    """Evenly chosen windows (N, L, F), weights (N, L), and the times of each one's first and last event."""
    step = max(1, -(-manifest.total("windows", (BlockRole.FIT,)) // SAMPLE_WINDOWS))
    held: list[tuple[Any, ...]] = []
    seen = 0
    for file in files:
        for row in read_table(
            file, columns=["x", "event_time", "n_windows", "first_padding"]
        ).to_pylist():
            starts = (np.arange(row["n_windows"]) * manifest.stride)[-seen % step :: step]
            seen += row["n_windows"]
            if len(starts):
                x, times = decode(row["x"]), decode(row["event_time"])
                at = starts[:, None] + np.arange(manifest.length)
                weight = np.ones(at.shape, np.float32)
                weight[:, : row["first_padding"]] = 0
                held.append(
                    (
                        x[at],
                        weight,
                        times[np.maximum(at[:, 0], row["first_padding"])],
                        times[at[:, -1]],
                    )
                )
    x, weight, first, last = (np.concatenate(c) for c in zip(*held, strict=True))
    return x, weight, first, last
