"""Moves what a scoring job wrote to its place in the run: all of it, or some partitions."""

from __future__ import annotations

import pyarrow.compute as pc

from foreshock import columns as C
from foreshock.platform.parquet import read_table
from foreshock.platform.transfers import move, remove
from foreshock.stages.adjust import ADJUST
from foreshock.stages.diagnose import SHAPES, VERDICT
from foreshock.stages.scoring_job import ScoringJob
from foreshock.tables import rows as tables

DETAILS = "score_details.json"
# The fingerprint of a run of which only some partitions are scored anew.
PARTIAL = "partial"
SMALL_TABLE = "part-00000.parquet"


def publish_scores(job: ScoringJob, fingerprint: str) -> None:
    """Publish the tables and files of a job, and record that scoring is done.

    If only some partitions were scored, these alone are replaced, and the record says `partial`.
    """
    if job.is_partial:
        _publish_partitions(job)
        return
    context = job.context
    target_by_source = {
        table_name: context.tables / table_name.name for table_name in job.tables.iterdir()
    }
    target_by_source |= {
        job.work / file_name: context.run / file_name
        for file_name in (DETAILS, ADJUST, SHAPES, VERDICT)
    }
    # Without detectors beside the model there is none, and an earlier run's must not stay.
    if not (job.tables / C.DETECTOR_SCORES).exists():
        remove(context.tables / C.DETECTOR_SCORES)
    context.run.publish("score", fingerprint, target_by_source)


def _publish_partitions(job: ScoringJob) -> None:
    """Replace the job's partitions in the tables that lie by partition; others stay if they are
    there."""
    context = job.context
    context.run.begin("score")
    for table_name in (C.SCORES, C.DETECTOR_SCORES):
        written_folder = job.tables / table_name
        for partition_folder in (
            written_folder.glob("split=*/partition=*") if written_folder.exists() else ()
        ):
            target_folder = (
                context.tables / table_name / partition_folder.parent.name / partition_folder.name
            )
            remove(target_folder)
            move(partition_folder, target_folder)
    for table_name in (C.ERROR_DISTRIBUTION, C.THRESHOLDS, C.METRICS):
        target_folder = context.tables / table_name
        # A few partitions change neither the run's thresholds nor metrics over all of it.
        if target_folder.exists() and table_name != C.ERROR_DISTRIBUTION:
            continue
        if target_folder.exists():
            _add_other_partitions(job)
        remove(target_folder)
        move(job.tables / table_name, target_folder)
    context.run.publish("score", PARTIAL, {job.work / DETAILS: context.run / DETAILS})


def _add_other_partitions(job: ScoringJob) -> None:
    """Put the rows of the other partitions before those of the job's in `error_distribution`."""
    written_folder = job.tables / C.ERROR_DISTRIBUTION
    rows_before = read_table(job.context.tables / C.ERROR_DISTRIBUTION / SMALL_TABLE)
    is_of_job = pc.is_in(
        rows_before[C.PARTITION], value_set=pc.cast(list(job.partitions or ()), "string")
    )
    all_rows = rows_before.filter(pc.invert(is_of_job)).to_pylist()
    all_rows += read_table(written_folder / SMALL_TABLE).to_pylist()
    remove(written_folder)
    tables.write_rows(all_rows, tables.DISTRIBUTION, written_folder)
