"""Moves what a scoring job wrote to its place in the run directory: all of it, or some partitions."""

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
PARTIAL = "partial"  # the fingerprint of a run of which only some partitions are scored anew
SMALL_TABLE = "part-00000.parquet"


def publish_scores(job: ScoringJob, fingerprint: str) -> None:
    """Publish the tables and files of a job, and record that scoring is done."""
    if job.is_partial:
        _publish_partitions(job)
        return
    context = job.context
    moves = {table: context.tables / table.name for table in job.tables.iterdir()}
    moves |= {job.work / name: context.run / name for name in (DETAILS, ADJUST, SHAPES, VERDICT)}
    if not (job.tables / C.DETECTOR_SCORES).exists():
        remove(context.tables / C.DETECTOR_SCORES)
    context.run.publish("score", fingerprint, moves)


def _publish_partitions(job: ScoringJob) -> None:
    """Replace the job's partitions in the tables that lie by partition; others stay if they are
    there."""
    context = job.context
    context.run.begin("score")
    for table in (C.SCORES, C.DETECTOR_SCORES):
        written = job.tables / table
        for folder in written.glob("split=*/partition=*") if written.exists() else ():
            target = context.tables / table / folder.parent.name / folder.name
            remove(target)
            move(folder, target)
    for table in (C.ERROR_DISTRIBUTION, C.THRESHOLDS, C.METRICS):
        target = context.tables / table
        if target.exists() and table != C.ERROR_DISTRIBUTION:
            continue
        if target.exists():
            _add_other_partitions(job)
        remove(target)
        move(job.tables / table, target)
    context.run.publish("score", PARTIAL, {job.work / DETAILS: context.run / DETAILS})


def _add_other_partitions(job: ScoringJob) -> None:
    """Put the rows of the other partitions before those of the job's in `error_distribution`."""
    written = job.tables / C.ERROR_DISTRIBUTION
    before = read_table(job.context.tables / C.ERROR_DISTRIBUTION / SMALL_TABLE)
    is_of_job = pc.is_in(
        before[C.PARTITION], value_set=pc.cast(list(job.partitions or ()), "string")
    )
    rows = before.filter(pc.invert(is_of_job)).to_pylist()
    rows += read_table(written / SMALL_TABLE).to_pylist()
    remove(written)
    tables.write_rows(rows, tables.DISTRIBUTION, written)
