"""Train: the run's model and the detectors beside it, from the training dataset to the bundle."""

from __future__ import annotations

import shutil
from typing import Any

from foreshock.dataset.manifest import Manifest, read_manifest
from foreshock.dataset.reader import WindowData, sample_windows
from foreshock.errors import SettingsError
from foreshock.models import registry
from foreshock.models.lstm_autoencoder import LSTMAutoencoder, build
from foreshock.stages.context import Context
from foreshock.stages.prepare import other_run
from foreshock.storage import digest, file_sha256, remove
from foreshock.tables.runs import versions
from foreshock.training import bundle as bundles
from foreshock.training.loop import Epoch
from foreshock.training.loop import train as train_network
from foreshock.training.strategy import prepare_devices

SAMPLE_WINDOWS = 50_000


def train(context: Context) -> None:
    """Fit every detector of the run and publish `model/`; with `model.from`, take the other run's bundle."""
    record = context.run.record("prepare")
    if record is None:
        raise SettingsError(f"--run-dir {context.run.path}: nothing is prepared there. Run jobs/prepare.py first.")
    context.run.verify("prepare")
    other = other_run(context)
    sealed = record["sealed"] if other is None else {"other": file_sha256(other / "model" / bundles.NAME)}
    mine = {k: v for k, v in sealed.items() if not k.startswith(("dataset/calibration", "dataset/test"))}
    fingerprint = digest({"settings": context.sha256, "sealed": mine})
    if not context.force and context.run.is_done("train", fingerprint):
        context.log.event("train", "nothing to do")
        return
    with context.attempt("train") as counts:
        work = context.run.staging("train")
        target = work / "model"
        if other is not None:
            shutil.copytree(other / "model", target)
            counts["from"] = str(other)
        else:
            target.mkdir()
            counts |= _train(context, target)
        files = [context.run / "model" / f.name for f in target.iterdir()]
        context.run.publish("train", fingerprint, {target: context.run / "model"}, sealed=files)
        remove(work)


def _train(context: Context, target: Any) -> dict[str, Any]:
    s = context.settings
    folder = context.run / "dataset" / "train"
    manifest = read_manifest(folder)
    scaler_sha = file_sha256(context.run / "scaler.json")
    models: dict[str, Any] = {}
    info: dict[str, Any] = {"seed": s.run.seed, "versions": versions(), "train_windows": manifest.total("windows"), "training": {}}
    x, weight = sample_windows(folder, manifest, validation=False, most=SAMPLE_WINDOWS)
    for name in s.all_detectors:
        if name == "lstm_autoencoder":
            models[name], info["training"] = _network(context, manifest)
        else:
            models[name] = registry.fit(name, x, weight, s.run.seed)
            context.log.event("train", f"detector {name} fitted", windows=len(x), of=manifest.total("windows"))
    info["sample_windows"] = len(x)
    bundles.save(target, bundles.Bundle(models, manifest.features, manifest.length, scaler_sha, info))
    curve = info["training"]
    return {"detectors": list(models), "epochs": len(curve.get("epochs", [])), "best_epoch": curve.get("best_epoch"),
            "windows_per_second": curve.get("windows_per_second"), "sample_windows": len(x)}


def _network(context: Context, manifest: Manifest) -> tuple[LSTMAutoencoder, dict[str, Any]]:
    s = context.settings
    strategy = prepare_devices(s.run.seed)
    spec = {"length": manifest.length, "features": len(manifest.features), "units": list(s.model.units), "dense": s.model.dense,
            "activation": s.model.activation, "output": s.model.output, "dropout": s.model.dropout, "l1": s.model.l1, "l2": s.model.l2}
    with strategy.scope():
        network = build(spec)
    data = WindowData(context.run / "dataset" / "train", manifest, s.training.batch, s.run.seed, s.training.windows_per_epoch)

    def progress(epoch: Epoch) -> None:
        context.log.event("train", f"epoch {epoch.epoch}/{s.training.epochs}", loss=epoch.loss, validation_loss=epoch.validation_loss,
                          windows_per_second=epoch.windows / max(epoch.seconds, 1e-9))

    history = train_network(network, data, strategy, epochs=s.training.epochs, batch=s.training.batch,
                            learning_rate=s.training.learning_rate, patience=s.training.patience, progress=progress)
    return LSTMAutoencoder(network, spec), history.to_mapping()
