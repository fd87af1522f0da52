"""Cross-fitting: for each of K blocks of training time, detectors that did not see it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from foreshock.detectors import REGISTRY, WindowDetector
from foreshock.errors import DataError
from foreshock.platform.paths import at
from foreshock.platform.session import each_item
from foreshock.platform.transfers import remove
from foreshock.point_process.fitting_spark import fit_sequences, sequence_files
from foreshock.sequences.folds import BINS, boundaries, counted, parts, spans, touching
from foreshock.sequences.split import BlockRole
from foreshock.stages.context import Context
from foreshock.stages.train_network import train_network
from foreshock.statistics.arrays import Float32Array, Int64Array
from foreshock.windows.dataset.held_out_spark import write_without
from foreshock.windows.dataset.manifest import BlockShape, Manifest
from foreshock.windows.dataset.schema import read_rows
from foreshock.windows.models.bundle import Bundle, fold_name, save
from foreshock.windows.models.bundle_facts import Fold, FoldFacts
from foreshock.windows.models.fitting import fit_moments, fit_sample
from foreshock.windows.models.moments import WindowMoments
from foreshock.windows.models.moments_spark import fit_files, moment_job, window_moments

SAMPLE_WINDOWS = 50_000
SAMPLE_FIELDS = ("x", "event_time", "n_windows", "first_padding")
TIME_FIELDS = ("event_time", "n_windows", "first_padding")
BLOCKS_AT_ONCE = 64


@dataclass(frozen=True)
class FoldTraining:
    """What the detectors of every fold are fitted from.

    Attributes:
        manifest: of the training dataset.
        scaler_sha256: of the scaler that its events were scaled with.
        names: of the detectors.
        moments: of all training windows; None if additive detectors are fitted on a sample too.
    """

    manifest: Manifest
    scaler_sha256: str
    names: tuple[str, ...]
    moments: WindowMoments | None

    @property
    def exact(self) -> tuple[str, ...]:
        """The detectors that are fitted from moments."""
        if self.moments is None:
            return ()
        return tuple(
            name
            for name in self.names
            if REGISTRY[name].is_additive and REGISTRY[name].reads_windows
        )

    @property
    def trained(self) -> tuple[str, ...]:
        """The detectors that the training loop fits."""
        return tuple(name for name in self.names if REGISTRY[name].is_trainable)

    @property
    def of_sequences(self) -> tuple[str, ...]:
        """The detectors that are fitted on events in order rather than on windows."""
        return tuple(name for name in self.names if REGISTRY[name].reads_sequences)

    @property
    def sampled(self) -> tuple[str, ...]:
        """The detectors that are fitted on a sample of windows."""
        others = (*self.exact, *self.trained, *self.of_sequences)
        return tuple(name for name in self.names if name not in others)


@dataclass(frozen=True)
class SampledWindows:
    """Evenly chosen windows (N, L, F), weights (N, L), and the times of first and last events."""

    windows: Float32Array
    weights: Float32Array
    first_times: Int64Array
    last_times: Int64Array

    def apart_from(self, span: Fold) -> SampledWindows:
        """Those that touch no event of a span.

        span: [from, to) in microseconds.
        """
        keep = ~touching(self.first_times, self.last_times, span)
        return SampledWindows(
            self.windows[keep], self.weights[keep], self.first_times[keep], self.last_times[keep]
        )


def train_folds(context: Context, training: FoldTraining, target: Path) -> tuple[Fold, ...]:
    """Write a bundle for each fold under `target`; returns the folds, [from, to) in microseconds.

    Additive detectors are fitted on the moments of all windows but those that touch the fold,
    sampled ones on their sample without those windows. The network is trained again, on a dataset
    that is written without them. Raises DataError if a fold leaves too little.
    """
    files = fit_files(context.run.dataset / "train", training.manifest)
    folds = _fold_spans(context, files, training.manifest.block_shape)
    sample = _sample(files, training.manifest) if training.sampled else None
    for number, span in enumerate(folds):
        fitted = _fit_without(context, training, sample, (number, span), target)
        folder = target / fold_name(number)
        folder.mkdir()
        manifest = training.manifest
        bundle = Bundle(
            {name: fitted[name] for name in training.names},
            manifest.features,
            manifest.length,
            training.scaler_sha256,
            FoldFacts(number, span),
        )
        save(folder, bundle)
        context.log.event("train", "fold fitted", fold=number, of=len(folds))
    return folds


def _fit_without(
    context: Context,
    training: FoldTraining,
    sample: SampledWindows | None,
    fold: tuple[int, Fold],
    target: Path,
) -> dict[str, Any]:
    """The detectors of a fold."""
    number, span = fold
    fitted: dict[str, Any] = {}
    for name in training.of_sequences:
        files = sequence_files(context.run.path)
        fitted[name] = fit_sequences(context.spark, files, REGISTRY[name], without=span)
    if training.moments is not None:
        # Summed again: taking the fold's moments away would cost digits where it holds huge values.
        folder, manifest = context.run.dataset / "train", training.manifest
        job = moment_job(folder, manifest, origin=training.moments.origin, without=span)
        moments = window_moments(context.spark, job)
        if moments.n < 2:
            raise _too_little(moments.n, number)
        fitted |= {name: fit_moments(name, moments) for name in training.exact}
    for name in training.trained:
        fitted[name] = _train_without(context, name, training.manifest, fold, target)
    if sample is not None:
        rest = sample.apart_from(span)
        seed = context.settings.run.seed
        for name in training.sampled:
            fitted[name] = fit_sample(name, rest.windows, rest.weights, seed)
    return fitted


def _train_without(
    context: Context, name: str, manifest: Manifest, fold: tuple[int, Fold], target: Path
) -> WindowDetector:
    """A network that is trained on a dataset without a fold."""
    number, span = fold
    folder = target.parent / fold_name(number)
    without = write_without(context.spark, context.run.dataset / "train", manifest, span, folder)
    if not without.total("windows", (BlockRole.FIT,)):
        raise _too_little(0, number)
    network, _ = train_network(context, REGISTRY[name], without, (fold_name(number), folder))
    # It is nearly as large as the training dataset.
    remove(folder)
    return network


def _too_little(windows: int, fold: int) -> DataError:
    return DataError(
        f"calibration.folds: only {windows} training windows do not touch fold {fold}. Lower "
        "calibration.folds, or widen split.train."
    )


def _fold_spans(context: Context, files: tuple[str, ...], shape: BlockShape) -> tuple[Fold, ...]:
    """The folds of training time, of about equally many events each."""
    low, high = _time_range(context, files, shape)
    counts = _counts_by_part(context, files, shape, parts(low, high))
    return tuple(spans(boundaries(low, high, counts, context.settings.calibration.folds)))


def _event_times(file: str, shape: BlockShape) -> Iterator[Int64Array]:
    """The times of the events of each block of a file, without padding."""
    for row in read_rows(at(file), shape, TIME_FIELDS, at_once=BLOCKS_AT_ONCE):
        yield row["event_time"][row["first_padding"] :]


def _time_range(context: Context, files: tuple[str, ...], shape: BlockShape) -> tuple[int, int]:
    """The first and last event time."""

    def range_of_file(file: str) -> Iterator[pa.RecordBatch]:
        """The first and last event time of a file, as one row."""
        ranges = [(int(times.min()), int(times.max())) for times in _event_times(file, shape)]
        row = {"low": [min(low for low, _ in ranges)], "high": [max(high for _, high in ranges)]}
        yield pa.RecordBatch.from_pydict(row)

    rows = list(each_item(context.spark, files, range_of_file, "low bigint, high bigint"))
    return min(row["low"] for row in rows), max(row["high"] for row in rows)


def _counts_by_part(
    context: Context, files: tuple[str, ...], shape: BlockShape, begins: Int64Array
) -> Int64Array:
    """The events (BINS,) in each of the equal parts of time that begin at `begins`."""

    def counts_of_file(file: str) -> Iterator[pa.RecordBatch]:
        """The events of a file in each part of time, as one row."""
        total = np.zeros(BINS, np.int64)
        for times in _event_times(file, shape):
            total += counted(times, begins)
        counts = pa.array([total.tolist()], pa.list_(pa.int64()))
        yield pa.RecordBatch.from_pydict({"counts": counts})

    rows = each_item(context.spark, files, counts_of_file, "counts array<bigint>")
    total: Int64Array = np.sum([row["counts"] for row in rows], axis=0)
    return total


def _sample(files: tuple[str, ...], manifest: Manifest) -> SampledWindows:
    """Evenly chosen windows, at most so many as detectors are fitted on."""
    n_windows = manifest.total("windows", (BlockRole.FIT,))
    thinning = max(1, -(-n_windows // SAMPLE_WINDOWS))
    chosen_windows: list[SampledWindows] = []
    windows_before = 0
    for file in files:
        for row in read_rows(at(file), manifest.block_shape, SAMPLE_FIELDS, BLOCKS_AT_ONCE):
            all_starts = np.arange(row["n_windows"]) * manifest.stride
            # Every n-th window over all files, so that small files do not count for more.
            chosen_starts = all_starts[-windows_before % thinning :: thinning]
            windows_before += row["n_windows"]
            if not len(chosen_starts):
                continue
            event_rows, event_times, n_padding = row["x"], row["event_time"], row["first_padding"]
            row_positions = chosen_starts[:, None] + np.arange(manifest.length)
            weights = np.ones(row_positions.shape, np.float32)
            # A block with padding holds one window, so its first steps are the padding.
            weights[:, :n_padding] = 0
            first_times = event_times[np.maximum(row_positions[:, 0], n_padding)]
            last_times = event_times[row_positions[:, -1]]
            chosen_windows.append(
                SampledWindows(event_rows[row_positions], weights, first_times, last_times)
            )
    return SampledWindows(
        np.concatenate([part.windows for part in chosen_windows]),
        np.concatenate([part.weights for part in chosen_windows]),
        np.concatenate([part.first_times for part in chosen_windows]),
        np.concatenate([part.last_times for part in chosen_windows]),
    )
