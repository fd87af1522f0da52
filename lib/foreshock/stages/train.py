"""Train: the run's model and the detectors beside it, from the training dataset to the bundle."""

from __future__ import annotations

from typing import Any

from foreshock import columns as C
from foreshock.detectors import REGISTRY
from foreshock.errors import SettingsError
from foreshock.platform.files import digest, file_sha256
from foreshock.platform.paths import stamps
from foreshock.platform.transfers import copy, remove
from foreshock.sequences.split import BlockRole
from foreshock.stages.context import Context
from foreshock.stages.donor import donor_run
from foreshock.stages.train_folds import fit_files, train_folds
from foreshock.stages.train_network import train_network
from foreshock.tables.runs import versions
from foreshock.training.launcher import check_slots
from foreshock.training.strategy import check_replicas
from foreshock.windows.dataset.manifest import read_manifest
from foreshock.windows.dataset.reader import sample_windows
from foreshock.windows.models import bundle as bundles
from foreshock.windows.models.bundle_facts import TrainingFacts
from foreshock.windows.models.explained import explained
from foreshock.windows.models.fitting import fit_moments, fit_sample
from foreshock.windows.models.moments import WindowMoments, middle
from foreshock.windows.models.moments_spark import MOST_VALUES, MomentJob, window_moments

SAMPLE_WINDOWS = 50_000


def train(context: Context) -> None:
    """Fit every detector of the run and publish `model/`; with `model.from`, take the other run's bundle."""
    record = context.run.record("prepare")
    if record is None:
        raise SettingsError(
            f"--run-dir {context.run.path}: nothing is prepared there. Run jobs/prepare.py first."
        )
    context.run.verify("prepare")
    donor = donor_run(context)
    sealed = (
        record["sealed"]
        if donor is None
        else {"other": file_sha256(donor / "model" / bundles.NAME)}
    )
    mine = {
        k: v for k, v in sealed.items() if not k.startswith(("dataset/calibration", "dataset/test"))
    }
    fingerprint = digest({"settings": context.sha256, "sealed": mine})
    if not context.force and context.run.is_done("train", fingerprint):
        context.log.event("train", "nothing to do")
        return
    check_devices(context)
    with context.attempt("train") as counts:
        work = context.run.staging("train")
        target = work / "model"
        if donor is not None:
            copy(donor / "model", target)
            counts["from"] = str(donor.path)
        else:
            target.mkdir()
            if context.force:
                remove(context.run / "checkpoints")
            counts |= _train(context, target)
        files = [
            context.run / "model" / f.relative_to(target).as_posix() for f, _, _ in stamps(target)
        ]
        context.run.publish("train", fingerprint, {target: context.run / "model"}, sealed=files)
        remove(work)


def check_devices(context: Context) -> None:
    """Raise SettingsError where the machine or the cluster has fewer devices or slots than `training` asks for."""
    s = context.settings
    if s.model.from_ is not None or "lstm_autoencoder" not in s.all_detectors:
        return
    if s.training.workers > 1:
        check_slots(context.spark, s.training.workers)
    elif s.training.replicas not in ("auto", 1):
        check_replicas(s.training.replicas)


def _train(context: Context, target: Any) -> dict[str, Any]:
    s = context.settings
    folder = context.run / "dataset" / "train"
    manifest = read_manifest(folder)
    scaler_sha = file_sha256(context.run / "scaler.json")
    models: dict[str, Any] = {}
    info: dict[str, Any] = {
        "seed": s.run.seed,
        "versions": versions(),
        "train_windows": manifest.total("windows"),
        "training": {},
    }
    x, weight = sample_windows(folder, manifest, BlockRole.FIT, SAMPLE_WINDOWS)
    moments: WindowMoments | None = None
    for name in s.fitted_detectors:
        if name == "lstm_autoencoder":
            models[name], info["training"] = train_network(context, manifest)
        elif REGISTRY[name].is_additive and manifest.length * len(manifest.features) <= MOST_VALUES:
            moments = moments or window_moments(
                context.spark,
                MomentJob(
                    tuple(fit_files(context, manifest)),
                    manifest.length,
                    manifest.stride,
                    len(manifest.features),
                    middle(x),
                ),
            )
            models[name] = fit_moments(name, moments)
            context.log.event(
                "train",
                f"detector {name} fitted exactly",
                windows=moments.n,
                of=manifest.total("windows"),
            )
        else:
            models[name] = fit_sample(name, x, weight, s.run.seed)
            context.log.event(
                "train",
                f"detector {name} fitted on a sample",
                windows=models[name].fitted_on,
                of=manifest.total("windows"),
            )
    if s.fitted_split == C.OUT_OF_FOLD:
        info["folds"] = train_folds(context, manifest, scaler_sha, models, moments, target)
    info["sample_windows"] = len(x)
    info["fitted_on"] = {
        name: n for name, model in models.items() if (n := model.fitted_on) is not None
    }
    facts = {
        name: explained(
            model,
            x,
            weight,
            manifest.features,
            s.model.output if name == "lstm_autoencoder" else "linear",
        )
        for name, model in models.items()
    }
    bundles.save(
        target,
        bundles.Bundle(
            models,
            manifest.features,
            manifest.length,
            scaler_sha,
            TrainingFacts(**info, explained=facts),
        ),
    )
    curve = info["training"]
    return {
        "detectors": list(models),
        "epochs": len(curve.get("epochs", [])),
        "best_epoch": curve.get("best_epoch"),
        "windows_per_second": curve.get("windows_per_second"),
        "sample_windows": len(x),
        "fitted_on": info["fitted_on"],
    }
