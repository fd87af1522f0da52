"""Train: fit the run's detectors, or take those of the donor run, and publish `model/`.

Whether anything is to be done is decided without Spark and TensorFlow.
"""

from __future__ import annotations

from pathlib import Path

from foreshock.detectors import REGISTRY
from foreshock.errors import SettingsError
from foreshock.platform.files import digest, file_sha256
from foreshock.platform.paths import stamps
from foreshock.platform.transfers import copy, remove
from foreshock.stages.context import Context
from foreshock.stages.donor import DonorRun, donor_run
from foreshock.windows.models.bundle import NAME

# What training does not read: other datasets may be prepared anew.
NOT_TRAINED_ON = ("dataset/calibration", "dataset/test")


def train(context: Context) -> None:
    """Fit every detector of the run and publish `model/`, unless that is done.

    With `model.from`, the donor run's bundle is taken. Raises SettingsError if nothing is prepared,
    or for more devices or workers than there are; DataError for a dataset or a checkpoint that was
    altered.
    """
    donor = donor_run(context)
    fingerprint = digest({"settings": context.sha256, "sealed": _sealed_inputs(context, donor)})
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
            # Only here: fitting needs Spark, and TensorFlow if a network is among the detectors.
            from foreshock.stages.train_detectors import train_detectors

            target.mkdir()
            if context.force:
                remove(context.run.checkpoints)
            counts |= train_detectors(context, target)
        _publish(context, target, fingerprint)
        remove(work)


def _sealed_inputs(context: Context, donor: DonorRun | None) -> dict[str, str]:
    """The digests of what training reads. Raises SettingsError if nothing is prepared."""
    record = context.run.record("prepare")
    if record is None:
        raise SettingsError(
            f"--run-dir {context.run.path}: nothing is prepared there. Run jobs/prepare.py first."
        )
    context.run.verify("prepare")
    if donor is not None:
        return {"other": file_sha256(donor / "model" / NAME)}
    sealed: dict[str, str] = record["sealed"]
    if any(REGISTRY[name].reads_sequences for name in context.settings.fitted_detectors):
        # Events that no window holds count too, and no sealed file of the dataset tells of them.
        sealed = {**sealed, "sequences": record["fingerprint"]}
    return {file: sha for file, sha in sealed.items() if not file.startswith(NOT_TRAINED_ON)}


def _publish(context: Context, target: Path, fingerprint: str) -> None:
    """Move the finished bundle to its place, with its files sealed."""
    model = context.run.model
    files = [model / file.relative_to(target).as_posix() for file, _, _ in stamps(target)]
    context.run.publish("train", fingerprint, {target: model}, sealed=files)


def check_devices(context: Context) -> None:
    """Raise SettingsError for more devices or workers than the machine or the cluster has.

    Nothing is checked if no detector of the run is trained by the training loop.
    """
    settings = context.settings
    trained = [name for name in settings.fitted_detectors if REGISTRY[name].is_trainable]
    if settings.model.from_ is not None or not trained:
        return
    if settings.training.workers > 1:
        from foreshock.training.launcher import check_slots

        check_slots(context.spark, settings.training.workers)
    elif settings.training.replicas not in ("auto", 1):
        from foreshock.training.devices import check_replicas

        check_replicas(settings.training.replicas)
