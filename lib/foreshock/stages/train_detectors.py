"""Fits the detectors of a run, each in the way that its flags say, and writes the bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from foreshock.detectors import REGISTRY, DetectorEntry
from foreshock.platform.files import file_sha256
from foreshock.point_process.fitting_spark import fit_sequences, sequence_files
from foreshock.sequences.split import BlockRole
from foreshock.settings.root import Settings
from foreshock.stages.context import Context
from foreshock.stages.train_folds import FoldTraining, train_folds
from foreshock.stages.train_network import train_network
from foreshock.statistics.arrays import Float32Array
from foreshock.tables.runs import versions
from foreshock.windows.dataset.manifest import Manifest, read_manifest
from foreshock.windows.dataset.reader import block_reader, sample_windows
from foreshock.windows.models.bundle import Bundle, save
from foreshock.windows.models.bundle_facts import Fold, TrainingFacts
from foreshock.windows.models.explained import Explained, explained
from foreshock.windows.models.fitting import fit_moments, fit_sample
from foreshock.windows.models.moments import WindowMoments, middle
from foreshock.windows.models.moments_spark import (
    MOST_VALUES,
    MomentJob,
    moment_job,
    window_moments,
)

SAMPLE_WINDOWS = 50_000
OUT_OF_FOLD = "out_of_fold"


@dataclass(frozen=True)
class TrainingWindows:
    """The windows that detectors are fitted on: a sample, and the moments of all.

    Attributes:
        windows, weights: of the sample, (N, L, F) and (N, L).
        moments: None if no detector needs them, or the windows are too large for them.
    """

    manifest: Manifest
    windows: Float32Array
    weights: Float32Array
    moments: WindowMoments | None

    @property
    def total(self) -> int:
        """Windows of the training dataset."""
        return self.manifest.total("windows")


@dataclass
class FittedDetectors:
    """The detectors as they are fitted, with the history of the one that the loop trains."""

    models: dict[str, Any] = field(default_factory=dict)
    history: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fitted_on(self) -> dict[str, int]:
        """By detector, the windows that it was fitted on; without those that learn from all."""
        return {
            name: model.fitted_on
            for name, model in self.models.items()
            if model.fitted_on is not None
        }


def train_detectors(context: Context, target: Path) -> dict[str, Any]:
    """Fit the run's detectors and write their bundle to an empty folder; counts for `runs`.

    With `calibration.method: out_of_fold` a bundle for each fold is written too.
    """
    scaler_sha256 = file_sha256(context.run.scaler)
    training = _read_windows(context)
    fitted = FittedDetectors()
    for name in context.settings.fitted_detectors:
        _fit_detector(context, REGISTRY[name], training, fitted)
    folds: tuple[Fold, ...] | None = None
    if context.settings.fitted_split == OUT_OF_FOLD:
        fold_training = FoldTraining(
            training.manifest, scaler_sha256, tuple(fitted.models), training.moments
        )
        folds = train_folds(context, fold_training, target)
    manifest = training.manifest
    facts = _facts(context.settings, training, fitted, folds)
    save(target, Bundle(fitted.models, manifest.features, manifest.length, scaler_sha256, facts))
    return {
        "detectors": list(fitted.models),
        "epochs": len(fitted.history.get("epochs", [])),
        "best_epoch": fitted.history.get("best_epoch"),
        "windows_per_second": fitted.history.get("windows_per_second"),
        "sample_windows": len(training.windows),
        "fitted_on": fitted.fitted_on,
    }


def _read_windows(context: Context) -> TrainingWindows:
    folder = context.run.dataset / "train"
    manifest = read_manifest(folder)
    if block_reader(folder, manifest).is_fallback:
        context.log.event(
            "train",
            "the dataset is read with Arrow: Petastorm is not installed, or _common_metadata is "
            "not what this installation writes",
        )
    windows, weights = sample_windows(folder, manifest, BlockRole.FIT, SAMPLE_WINDOWS)
    # Moments grow with the square of the values in a window.
    is_small = manifest.length * len(manifest.features) <= MOST_VALUES
    detectors = context.settings.fitted_detectors
    moments = None
    entries = [REGISTRY[name] for name in detectors]
    if is_small and any(entry.is_additive and entry.reads_windows for entry in entries):
        job: MomentJob = moment_job(folder, manifest, origin=middle(windows))
        moments = window_moments(context.spark, job)
    return TrainingWindows(manifest, windows, weights, moments)


def _fit_detector(
    context: Context, entry: DetectorEntry, training: TrainingWindows, fitted: FittedDetectors
) -> None:
    """Fit a detector: by the training loop, exactly on all windows, or on the sample."""
    if entry.reads_sequences:
        sequences = fit_sequences(context.spark, sequence_files(context.run.path), entry)
        fitted.models[entry.name] = sequences
        context.log.event(
            "train", f"detector {entry.name} fitted exactly", events=sequences.fitted_on
        )
        return
    if entry.is_trainable:
        fitted.models[entry.name], fitted.history = train_network(context, entry, training.manifest)
        return
    # Exact wherever it can be: a sample may miss what is rare.
    if entry.is_additive and training.moments is not None:
        model, fitting_way = fit_moments(entry.name, training.moments), "exactly"
    else:
        seed = context.settings.run.seed
        model = fit_sample(entry.name, training.windows, training.weights, seed)
        fitting_way = "on a sample"
    fitted.models[entry.name] = model
    context.log.event(
        "train",
        f"detector {entry.name} fitted {fitting_way}",
        windows=model.fitted_on,
        of=training.total,
    )


def _facts(
    settings: Settings,
    training: TrainingWindows,
    fitted: FittedDetectors,
    folds: tuple[Fold, ...] | None,
) -> TrainingFacts:
    return TrainingFacts(
        seed=settings.run.seed,
        versions=versions(),
        train_windows=training.total,
        sample_windows=len(training.windows),
        training=fitted.history,
        fitted_on=fitted.fitted_on,
        explained={
            name: _explained_by(settings, REGISTRY[name], model, training)
            for name, model in fitted.models.items()
        },
        folds=folds,
    )


def _explained_by(
    settings: Settings, entry: DetectorEntry, model: Any, training: TrainingWindows
) -> Explained | None:
    """What a detector explains; `model.output` bounds what a network can reach."""
    if not entry.reads_windows:
        return None
    output = settings.model.output if entry.is_trainable else "linear"
    features = training.manifest.features
    return explained(model, training.windows, training.weights, features, output)
