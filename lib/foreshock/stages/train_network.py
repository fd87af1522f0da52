"""The network of a run, from its training dataset or from that of a fold."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from foreshock.errors import ForeshockError, ServiceError, SettingsError
from foreshock.sequences.split import BlockRole
from foreshock.stages.context import Context
from foreshock.training.fit import Fit, finished, fit, network_of
from foreshock.training.launcher import launch
from foreshock.training.loop import Options
from foreshock.windows.dataset.manifest import Manifest
from foreshock.windows.models.lstm_autoencoder import LSTMAutoencoder


def train_network(
    context: Context, manifest: Manifest, fold: tuple[str, Path] | None = None
) -> tuple[LSTMAutoencoder, dict[str, Any]]:
    """Fit the network, resuming where a checkpoint is; with what its history says. fold: the fold's name and the folder of its dataset.

    Raises SettingsError for a batch larger than the dataset, ServiceError where workers do not share the run directory.
    """
    name, dataset = ("", context.run / "dataset" / "train") if fold is None else fold
    s, t = context.settings, context.settings.training
    if t.batch > (windows := manifest.total("windows", (BlockRole.FIT,))):
        raise SettingsError(
            f"training.batch is {t.batch}, larger than the training dataset{name and ' without ' + name} ({windows} "
            "windows to fit on). Lower it, or widen split.train."
        )
    network = {
        "length": manifest.length,
        "features": len(manifest.features),
        "units": list(s.model.units),
        "dense": s.model.dense,
        "activation": s.model.activation,
        "output": s.model.output,
        "dropout": s.model.dropout,
        "l1": s.model.l1,
        "l2": s.model.l2,
    }
    options = Options(
        t.epochs,
        t.batch,
        t.learning_rate,
        t.patience,
        t.schedule,
        t.warmup_steps,
        t.clip_norm,
        t.jit_compile,
        t.checkpoint_steps,
    )
    spec = Fit(
        str(dataset),
        str(context.run / "checkpoints" / name),
        str(context.run / "tensorboard" / name),
        network,
        options,
        s.run.seed,
        t.replicas,
        t.workers,
        t.windows_per_epoch,
        t.precision,
    )

    def say(message: str, **fields: Any) -> None:
        context.log.event("train", message, **fields, **({"fold": name} if name else {}))

    workers: list[dict[str, Any]] = []
    fitted = finished(spec, say)
    if fitted is None and t.workers > 1:
        workers = launch(context.spark, asdict(spec), t.attempts, say)
        fitted = finished(spec, say)
        if fitted is None:
            raise ServiceError(
                f"the workers ended, but {spec.checkpoints} holds no finished training: the workers do not see the same "
                "folder as the driver. Use a run directory that all share."
            )
        if fitted.weights_sha256 != workers[0]["weights_sha256"]:
            raise ForeshockError(
                "the checkpoint's weights are not those that the workers ended with."
            )
    elif fitted is None:
        fitted = fit(spec, say)
    info = fitted.history.to_mapping() | {
        "replicas": max([fitted.replicas, *(w["replicas"] for w in workers)]),
        "weights_sha256": fitted.weights_sha256,
        "workers": workers,
    }
    return network_of(spec, fitted.weights), info
