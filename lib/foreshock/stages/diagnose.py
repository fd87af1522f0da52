"""Diagnosis: from shapes, thresholds and metrics to the rows of `drift` and the verdict.

Shapes are the histograms of scores and features over time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from foreshock import columns as C
from foreshock.detectors import entry_of
from foreshock.diagnosis.drift import VALIDATION, Shapes, comparisons
from foreshock.diagnosis.facts import Facts, profile, ranking
from foreshock.diagnosis.score_shapes import ROLE_NAMES
from foreshock.diagnosis.verdict import verdict
from foreshock.events.partitions import is_time
from foreshock.platform.files import read_json, write_json
from foreshock.scored.spans import Spans
from foreshock.sequences.split import BlockRole
from foreshock.stages.donor import donor_run
from foreshock.stages.scoring_job import ScoringJob
from foreshock.statistics.sliced import SlicedHistograms
from foreshock.tables import rows as tables
from foreshock.thresholds.rules import SELF, Threshold
from foreshock.windows.dataset.feature_shapes_spark import ShapedChunk, feature_shapes
from foreshock.windows.dataset.manifest import Manifest
from foreshock.windows.dataset.reader import sample_windows

SHAPES, VERDICT = "shapes.json", "verdict.json"
PROFILED_WINDOWS, PROFILED_CHUNKS = 5000, 16


def diagnose(
    job: ScoringJob,
    score_shapes: SlicedHistograms,
    spans: Spans,
    thresholds: Sequence[Threshold],
    metrics: list[dict[str, Any]],
) -> dict[str, Any]:
    """Write `drift`, the shapes of train and the verdict into the job's folder.

    Returns the verdict. score_shapes: of the model's scores, cut into slices of the spans.
    """
    all_shapes = _shapes(job, score_shapes, spans)
    split_comparisons = comparisons(all_shapes)
    drift_rows = [
        {"run_id": job.context.run_id, **asdict(split_comparison)}
        for split_comparison in split_comparisons
    ]
    tables.write_rows(drift_rows, tables.DRIFT, job.tables / C.DRIFT)
    write_json(job.work / SHAPES, {"parts": all_shapes.to_rows((C.TRAIN, VALIDATION))})
    settings, model, threshold_rule = job.settings, job.model, job.judging_rule
    pooled_row = _pooled_threshold(job, thresholds)
    ranked_detectors, n_anomalous = ranking(metrics, job.detectors)
    judged_partitions = all_shapes.partitions(C.CALIBRATION) + all_shapes.partitions(C.TEST)
    # The keys of `model` after its name shape a network only.
    is_network = entry_of(model).is_trainable
    penalties = {"l1": settings.model.l1, "l2": settings.model.l2}
    verdict_facts = Facts(
        model,
        all_shapes,
        split_comparisons,
        pooled_row.threshold if pooled_row else None,
        threshold_rule.name,
        threshold_rule.table_level,
        pooled_row.fitted_on if pooled_row else "",
        job.bundle.explained_by(model),
        settings.model.output if is_network else "linear",
        penalties if is_network else {},
        _profiles(job),
        ranked_detectors,
        is_time(judged_partitions),
        n_anomalous,
        max(1, job.manifest.length // job.manifest.stride),
        settings.events.calibrate_where is not None,
    )
    written_verdict = verdict(verdict_facts)
    write_json(job.work / VERDICT, written_verdict)
    return written_verdict


def _shapes(job: ScoringJob, score_shapes: SlicedHistograms, spans: Spans) -> Shapes:
    """The shapes of scores and features; of train those of the donor run, if there is one."""
    dataset_folder = job.context.run.dataset
    shaped_chunks = [
        ShapedChunk(
            str(dataset_folder / split_name / chunk.file),
            ROLE_NAMES[chunk.role],
            spans.get(chunk.role, (0, 0)),
        )
        for split_name, manifest in job.manifests.items()
        for chunk in manifest.chunks
    ]
    manifest = job.manifest
    feature_histograms = feature_shapes(
        job.context.spark, shaped_chunks, manifest.features, manifest.block_shape
    )
    shape_parts = score_shapes | feature_histograms
    donor = donor_run(job.context)
    # A donor run of an earlier version may hold no shapes.
    if donor is None or not (donor / SHAPES).exists():
        return Shapes(shape_parts)
    donor_parts = Shapes.from_rows(read_json(donor / SHAPES)["parts"]).parts
    # What the donor's model was fitted on is train, whatever this run holds of it.
    run_parts = {
        shape_part: part_histogram
        for shape_part, part_histogram in shape_parts.items()
        if shape_part.split not in (C.TRAIN, VALIDATION)
    }
    return Shapes(donor_parts | run_parts)


def _pooled_threshold(job: ScoringJob, thresholds: Sequence[Threshold]) -> Threshold | None:
    """The threshold of the run's model by the judging rule, of all groups and partitions."""
    threshold_rule = job.judging_rule
    for pooled_row in thresholds:
        is_rule = (
            pooled_row.rule == threshold_rule.name
            and pooled_row.level == threshold_rule.table_level
        )
        is_pooled = (
            pooled_row.partition is None
            and pooled_row.group == C.ALL
            and pooled_row.fitted_on != SELF
        )
        if pooled_row.detector == job.model and is_rule and is_pooled:
            return pooled_row
    return None


def _profiles(job: ScoringJob) -> dict[str, dict[str, float]]:
    """The profile of each split but calibration that has one."""
    split_profiles = {}
    for split_name, manifest in job.manifests.items():
        if split_name == C.CALIBRATION:
            continue
        split_profile = _profile(job, manifest)
        if split_profile:
            split_profiles[split_name] = split_profile
    return split_profiles


def _profile(job: ScoringJob, manifest: Manifest) -> dict[str, float] | None:
    """The `facts.profile` of sampled windows of a split."""
    entry, features = entry_of(job.model), manifest.features
    # A profile compares the errors of several features.
    if not entry.reads_windows or not entry.sees_features or len(features) == 1:
        return profile(None, features)
    role = BlockRole.FIT if manifest.split == C.TRAIN else BlockRole.TEST
    dataset_folder = job.context.run.dataset / manifest.split
    windows, _ = sample_windows(
        dataset_folder, manifest, role, PROFILED_WINDOWS, chunks=PROFILED_CHUNKS
    )
    if not len(windows):
        return profile(None, features)
    errors = np.asarray(job.bundle.models[job.model].errors(windows), np.float64)
    return profile(errors.mean(axis=1), features)
