"""Trains a run's network by the training loop, from its training dataset or from that of a fold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from foreshock.detectors import DetectorEntry, WindowDetector
from foreshock.errors import ForeshockError, ServiceError, SettingsError
from foreshock.sequences.split import BlockRole
from foreshock.settings.root import Settings
from foreshock.stages.context import Context
from foreshock.training.fitted import FittedNetwork, WorkerResult, finished_training
from foreshock.training.spec import TrainingOptions, TrainingSpec
from foreshock.training.trainable import Say
from foreshock.windows.dataset.manifest import Manifest


def train_network(
    context: Context,
    entry: DetectorEntry,
    manifest: Manifest,
    fold: tuple[str, Path] | None = None,
) -> tuple[WindowDetector, dict[str, Any]]:
    """Train a detector, resuming where a checkpoint is; with what its history says, plain.

    `fold` is a fold's name and the folder of its dataset. Raises SettingsError for a batch larger
    than the dataset, ServiceError if workers do not share the run directory.
    """
    fold_name, dataset = fold or ("", context.run.dataset / "train")
    _check_batch(context.settings, manifest, fold_name)
    spec = _training_spec(context, entry, manifest, fold_name, dataset)
    fold_field = {"fold": fold_name} if fold_name else {}

    def say(message: str, **fields: Any) -> None:
        """Log a line of training, with the fold if there is one."""
        context.log.event("train", message, **fields, **fold_field)

    fitted, workers = _fit(context, spec, say)
    replicas = max([fitted.replicas, *(worker.replicas for worker in workers)])
    history = fitted.history.to_mapping() | {
        "replicas": replicas,
        "weights_sha256": fitted.weights_sha256,
        "workers": [worker.to_mapping() for worker in workers],
    }
    detector: WindowDetector = spec.trainable().detector(fitted.weights)
    return detector, history


def _check_batch(settings: Settings, manifest: Manifest, fold_name: str) -> None:
    n_windows = manifest.total("windows", (BlockRole.FIT,))
    if settings.training.batch > n_windows:
        without = f" without {fold_name}" if fold_name else ""
        raise SettingsError(
            f"training.batch is {settings.training.batch}, larger than the training dataset"
            f"{without} ({n_windows} windows to fit on). Lower it, or widen split.train."
        )


def _training_spec(
    context: Context, entry: DetectorEntry, manifest: Manifest, fold_name: str, dataset: Path
) -> TrainingSpec:
    settings, training = context.settings, context.settings.training
    network = entry.load_trainable().spec_of(
        settings.model.model_dump(), length=manifest.length, features=len(manifest.features)
    )
    options = TrainingOptions(
        epochs=training.epochs,
        batch=training.batch,
        learning_rate=training.learning_rate,
        patience=training.patience,
        schedule=training.schedule,
        warmup_steps=training.warmup_steps,
        clip_norm=training.clip_norm,
        jit_compile=training.jit_compile,
        checkpoint_steps=training.checkpoint_steps,
    )
    return TrainingSpec(
        detector=entry.name,
        network=network,
        dataset=str(dataset),
        checkpoints=str(context.run.checkpoints / fold_name),
        tensorboard=str(context.run / "tensorboard" / fold_name),
        options=options,
        seed=settings.run.seed,
        replicas=training.replicas,
        workers=training.workers,
        windows_per_epoch=training.windows_per_epoch,
        precision=training.precision,
    )


def _fit(
    context: Context, spec: TrainingSpec, say: Say
) -> tuple[FittedNetwork, list[WorkerResult]]:
    """What a finished training left, else what training gives now, on one worker or on several."""
    # A run that was killed after training goes on with what training left.
    finished = finished_training(spec, say)
    if finished is not None:
        return finished, []
    if spec.workers == 1:
        from foreshock.training.fit import fit

        return fit(spec, say), []
    from foreshock.training.launcher import launch

    workers = launch(context.spark, spec, context.settings.training.attempts, say)
    finished = finished_training(spec, say)
    if finished is None:
        raise ServiceError(
            f"the workers ended, but {spec.checkpoints} holds no finished training: the workers do "
            "not see the same folder as the driver. Use a run directory that all share."
        )
    # Two jobs in one folder could each end with the other's weights.
    if finished.weights_sha256 != workers[0].weights_sha256:
        raise ForeshockError("the checkpoint's weights are not those that the workers ended with.")
    return finished, workers
