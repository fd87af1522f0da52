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
from foreshock.point_process.fitting_spark import sequence_files
from foreshock.point_process.scoring_spark import FoldBundle, SequencePlan, score_sequence_files
from foreshock.scored import schema
from foreshock.scored.events import ScoredEvents
from foreshock.sequences.folds import END
from foreshock.sequences.split import BlockRole
from foreshock.stages.extract import read_ledger
from foreshock.stages.prepare_windows import validation_time
from foreshock.stages.scoring_job import ScoringJob
from foreshock.windows.models import bundle as bundles
from foreshock.windows.models.bundle import fold_name
from foreshock.windows.scoring.aggregate import ENDING
from foreshock.windows.scoring.explain import explain_event
from foreshock.windows.scoring.plan import FoldModel, ScoringPlan, ScoringTask
from foreshock.windows.scoring.spark import score_files

# What the report shows of an event, as JSON holds it.
Explanation = Mapping[str, Any]


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
    family_names = dict.fromkeys(entry_of(detector_name).family for detector_name in detectors)
    events_by_family: dict[str, ScoredEvents] = {}
    for family_name in family_names:
        family_detectors = tuple(
            detector_name
            for detector_name in detectors
            if entry_of(detector_name).family == family_name
        )
        events_by_family[family_name] = FAMILIES[family_name].score(
            job, family_detectors, job.work / family_name
        )
    return events_by_family


def explain_highest(job: ScoringJob, event: Mapping[str, Any]) -> Explanation:
    """What the report shows beside one of the highest events of the job's model.

    event: a row with the columns `scored.highlights.DESCRIBED_BY`. Empty if there is nothing to
    show.
    """
    family_name = entry_of(job.settings.fitted_detectors[0]).family
    return FAMILIES[family_name].explain(job, event)


def _score_windows(job: ScoringJob, detectors: tuple[str, ...], work: Path) -> ScoredEvents:
    """Score the prepared windows of all splits."""
    scoring_plan = ScoringPlan(
        str(job.context.run.model),
        job.bundle_sha256,
        detectors,
        job.settings.scoring.score,
        job.manifest.length,
        job.manifest.stride,
        attributes=detectors[0] == job.model,
    )
    scoring_tasks = _window_tasks(job, scoring_plan)
    n_windows = sum(manifest.total("windows") for manifest in job.manifests.values())
    job.context.log.event("score", "scoring", chunks=len(scoring_tasks), windows=n_windows)
    work.mkdir()
    return score_files(job.context.spark, scoring_plan, scoring_tasks, job.bundle.features, work)


def _window_tasks(job: ScoringJob, plan: ScoringPlan) -> list[ScoringTask]:
    # Some scores of an event take windows that end at later events, in other partitions.
    reaches_other_partitions = plan.score_kind not in ENDING
    scoring_tasks = []
    for split_name, manifest in job.manifests.items():
        dataset_folder = job.context.run.dataset / split_name
        for chunk in manifest.chunks:
            has_wanted = job.partitions is None or set(job.partitions) & set(chunk.partitions)
            if has_wanted or reaches_other_partitions:
                chunk_file = str(dataset_folder / chunk.file)
                chunk_task = ScoringTask(
                    chunk_file, chunk.sha256, chunk.role, job.partitions, chunk.windows
                )
                scoring_tasks += [chunk_task, *_fold_tasks(job, plan, chunk_task)]
    return scoring_tasks


def _fold_tasks(job: ScoringJob, plan: ScoringPlan, task: ScoringTask) -> list[ScoringTask]:
    """The tasks that score a chunk of train by the models that did not see it."""
    fold_spans = job.bundle.folds
    if job.settings.fitted_split != C.OUT_OF_FOLD or job.is_partial or not fold_spans:
        return []
    if task.role is BlockRole.VALIDATION:
        # Nothing is fitted on validation windows, so the run's own models may score them.
        whole_training = FoldModel(plan.bundle, plan.bundle_sha256, -END, END)
        return [replace(task, fold=whole_training)]
    if task.role is not BlockRole.FIT:
        return []
    scoring_tasks = []
    for fold_number, (first_time, end_time) in enumerate(fold_spans):
        fold_bundle = job.context.run.model / fold_name(fold_number)
        fold_model = FoldModel(
            str(fold_bundle), file_sha256(fold_bundle / bundles.NAME), first_time, end_time
        )
        scoring_tasks.append(replace(task, fold=fold_model, windows=0))
    return scoring_tasks


def _explain_by_window(job: ScoringJob, event: Mapping[str, Any]) -> Explanation:
    """The window of an event as the first fitted detector sees it."""
    event_window = explain_event(
        job.bundle,
        job.settings.fitted_detectors[0],
        job.manifests[C.TEST],
        job.context.run.dataset / C.TEST / event[schema.CHUNK_FILE],
        event[schema.BLOCK_ID],
        event[schema.BLOCK_ROW],
    )
    return {
        "x": event_window.x,
        "reconstruction": event_window.expected,
        "errors": event_window.errors,
        "times": event_window.times,
        "step": event_window.step,
    }


def _score_sequences(job: ScoringJob, detectors: tuple[str, ...], work: Path) -> ScoredEvents:
    """Score every event of train, calibration and test in its order."""
    folds: list[FoldBundle] = []
    if job.settings.fitted_split == C.OUT_OF_FOLD and not job.is_partial:
        for number, (first, end) in enumerate(job.bundle.folds or ()):
            folds.append(FoldBundle(str(job.context.run.model / fold_name(number)), first, end))
    plan = SequencePlan(
        str(job.context.run.model),
        detectors,
        job.manifest.length,
        validation_time(job.settings, read_ledger(job.context)),
        tuple(folds),
        job.partitions,
        attributes=detectors[0] == job.model,
    )
    files = sequence_files(job.context.run.path)
    job.context.log.event("score", "scoring sequences", files=len(files))
    work.mkdir()
    return score_sequence_files(job.context.spark, plan, files, work)


def _explain_by_scores(job: ScoringJob, event: Mapping[str, Any]) -> Explanation:
    """Nothing beside what the table of scores says: there is no window to show."""
    return {}


FAMILIES: dict[str, DetectorFamily] = {
    "windows": DetectorFamily(_score_windows, _explain_by_window),
    "sequences": DetectorFamily(_score_sequences, _explain_by_scores),
}
