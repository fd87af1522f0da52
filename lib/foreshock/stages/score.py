"""Score: every event of every split, then distributions, thresholds, tables and metrics.

Whether there is anything to do is known without Spark.
"""

from __future__ import annotations

from foreshock import columns as C
from foreshock.errors import SettingsError
from foreshock.platform.files import digest, file_sha256
from foreshock.stages.context import Context
from foreshock.stages.publish import publisher_of
from foreshock.stages.scaler_file import read_scaler
from foreshock.windows.dataset.manifest import read_manifest
from foreshock.windows.models.bundle import NAME


def score(context: Context, partitions: list[str] | None = None) -> None:
    """Score and judge the events of the run and publish its tables, unless that is done.

    partitions: only their events, judged by the thresholds that the run has; None for all. Raises
    DataError if dataset and bundle do not belong together, or if there are too few calibration
    events.
    """
    fingerprint = check_stages_before(context)
    manifests = {
        split: read_manifest(context.run.dataset / split)
        for split in C.SPLITS
        if (context.run.dataset / split).exists()
    }
    is_whole = partitions is None and not context.force
    if is_whole and context.run.is_done("score", fingerprint):
        context.log.event("score", "nothing to do")
        publisher_of(context).publish(read_scaler(context.run.scaler))
        return
    publisher_of(context).look()
    # Spark only where there is work for it.
    from foreshock.stages.scoring import run_scoring

    run_scoring(context, manifests, partitions, fingerprint)
    publisher_of(context).publish(read_scaler(context.run.scaler), partitions)


def check_stages_before(context: Context) -> str:
    """The fingerprint of what scoring starts from.

    Raises SettingsError if a stage before is not done, DataError if what it wrote was altered.
    """
    for stage in ("prepare", "train"):
        if context.run.record(stage) is None:
            raise SettingsError(
                f"--run-dir {context.run.path}: stage {stage} is not done there. "
                f"Run jobs/{stage}.py first."
            )
        context.run.verify(stage)
    return digest(
        {
            "settings": context.sha256,
            "prepare": context.run.record("prepare"),
            "bundle": file_sha256(context.run.model / NAME),
        }
    )
