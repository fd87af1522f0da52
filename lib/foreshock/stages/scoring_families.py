"""The detector families that a scoring job calls: how each scores events and shows why.

A family is added by one entry of FAMILIES. All that comes after scoring reads `ScoredEvents`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from foreshock import columns as C
from foreshock.detectors import entry_of
from foreshock.platform.files import file_sha256
from foreshock.scored import schema
from foreshock.scored.events import ScoredEvents
from foreshock.sequences.folds import END
from foreshock.sequences.split import BlockRole
from foreshock.stages.scoring_job import ScoringJob
from foreshock.windows.models import bundle as bundles
from foreshock.windows.models.bundle import fold_name
from foreshock.windows.scoring.aggregate import ENDING
from foreshock.windows.scoring.plan import FoldModel, ScoringPlan, ScoringTask
from foreshock.windows.scoring.scorer import explain_event
from foreshock.windows.scoring.spark import score_files

Explanation = Mapping[str, Any]  # what the report shows of an event, as JSON holds it


@dataclass(frozen=True)
class DetectorFamily:
    """What scoring asks of a detector family.

    score: the events that some detectors of the family judge, written under a folder, one row an
    event. explain: what the report shows beside one of the highest events (columns
    `scored.highlights.DESCRIBED_BY`) of the job's model; empty if there is nothing to show.
    """

    score: Callable[[ScoringJob, tuple[str, ...], Path], ScoredEvents]
    explain: Callable[[ScoringJob, Mapping[str, Any]], Explanation]


def score_families(job: ScoringJob) -> dict[str, ScoredEvents]:
    """The scored events of each family that a detector of the job belongs to, by its name.

    The family of the run's model comes first.
    """
    detectors = job.settings.fitted_detectors
    families = dict.fromkeys(entry_of(name).family for name in detectors)
    by_family: dict[str, ScoredEvents] = {}
    for family in families:
        of_family = tuple(name for name in detectors if entry_of(name).family == family)
        by_family[family] = FAMILIES[family].score(job, of_family, job.work / family)
    return by_family


def explain_highest(job: ScoringJob, event: Mapping[str, Any]) -> Explanation:
    """What the report shows beside one of the highest events of the job's model."""
    family = entry_of(job.settings.fitted_detectors[0]).family
    return FAMILIES[family].explain(job, event)


def _score_windows(job: ScoringJob, detectors: tuple[str, ...], work: Path) -> ScoredEvents:
    """Score the prepared windows of all splits."""
    plan = ScoringPlan(
        str(job.context.run.model),
        job.bundle_sha256,
        detectors,
        job.settings.scoring.score,
        job.manifest.length,
        job.manifest.stride,
        attributes=detectors[0] == job.model,
    )
    tasks = _window_tasks(job, plan)
    n_windows = sum(manifest.total("windows") for manifest in job.manifests.values())
    job.context.log.event("score", "scoring", chunks=len(tasks), windows=n_windows)
    work.mkdir()
    return score_files(job.context.spark, plan, tasks, job.bundle.features, work)


def _window_tasks(job: ScoringJob, plan: ScoringPlan) -> list[ScoringTask]:
    reaches_other_partitions = plan.score_kind not in ENDING
    tasks = []
    for split, manifest in job.manifests.items():
        folder = job.context.run.dataset / split
        for chunk in manifest.chunks:
            has_wanted = job.partitions is None or set(job.partitions) & set(chunk.partitions)
            if has_wanted or reaches_other_partitions:
                file = str(folder / chunk.file)
                task = ScoringTask(file, chunk.sha256, chunk.role, job.partitions, chunk.windows)
                tasks += [task, *_fold_tasks(job, plan, task)]
    return tasks


def _fold_tasks(job: ScoringJob, plan: ScoringPlan, task: ScoringTask) -> list[ScoringTask]:
    """The tasks that score a chunk of train by the models that did not see it."""
    folds = job.bundle.folds
    if job.settings.fitted_split != C.OUT_OF_FOLD or job.is_partial or not folds:
        return []
    if task.role is BlockRole.VALIDATION:
        whole = FoldModel(plan.bundle, plan.bundle_sha256, -END, END)
        return [replace(task, fold=whole)]
    if task.role is not BlockRole.FIT:
        return []
    tasks = []
    for number, (first, end) in enumerate(folds):
        bundle = job.context.run.model / fold_name(number)
        fold = FoldModel(str(bundle), file_sha256(bundle / bundles.NAME), first, end)
        tasks.append(replace(task, fold=fold, windows=0))
    return tasks


def _explain_by_window(job: ScoringJob, event: Mapping[str, Any]) -> Explanation:
    """The window of an event as the first fitted detector sees it."""
    file = job.context.run.dataset / C.TEST / event[schema.CHUNK_FILE]
    window = explain_event(
        job.bundle,
        job.settings.fitted_detectors[0],
        str(file),
        event[schema.BLOCK_ID],
        event[schema.BLOCK_ROW],
        job.manifest.stride,
    )
    return {
        "x": window.x,
        "reconstruction": window.expected,
        "errors": window.errors,
        "times": window.times,
        "step": window.step,
    }


FAMILIES: dict[str, DetectorFamily] = {
    "windows": DetectorFamily(_score_windows, _explain_by_window),
}
