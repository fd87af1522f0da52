"""Diagnosis: from the shapes of scores and features, thresholds and metrics to the rows of `drift` and the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from foreshock import columns as C
from foreshock.detectors import entry_of
from foreshock.diagnosis.drift import VALIDATION, Part, Shapes, comparisons
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
    shapes = _shapes(job, score_shapes, spans)
    compared = comparisons(shapes)
    drift = [{"run_id": job.context.run_id, **asdict(comparison)} for comparison in compared]
    tables.write_rows(drift, tables.DRIFT, job.tables / C.DRIFT)
    write_json(job.work / SHAPES, {"parts": shapes.to_rows((C.TRAIN, VALIDATION))})
    settings, model, rule = job.settings, job.model, job.judging_rule
    row = _pooled_threshold(job, thresholds)
    ranked, n_anomalous = ranking(metrics, job.detectors)
    partitions = shapes.partitions(C.CALIBRATION) + shapes.partitions(C.TEST)
    is_network = entry_of(model).is_trainable
    penalties = {"l1": settings.model.l1, "l2": settings.model.l2}
    facts = Facts(
        model,
        shapes,
        compared,
        row.threshold if row else None,
        rule.name,
        rule.table_level,
        row.fitted_on if row else "",
        job.bundle.explained_by(model),
        settings.model.output if is_network else "linear",
        penalties if is_network else {},
        _profiles(job),
        ranked,
        is_time(partitions),
        n_anomalous,
        max(1, job.manifest.length // job.manifest.stride),
        settings.events.calibrate_where is not None,
    )
    written = verdict(facts)
    write_json(job.work / VERDICT, written)
    return written


def _shapes(job: ScoringJob, score_shapes: SlicedHistograms, spans: Spans) -> Shapes:
    """The shapes of scores and features; of train those of the donor run, if there is one."""
    folder = job.context.run.dataset
    chunks = [
        ShapedChunk(
            str(folder / split / chunk.file),
            ROLE_NAMES[chunk.role],
            spans.get(chunk.role, (0, 0)),
        )
        for split, manifest in job.manifests.items()
        for chunk in manifest.chunks
    ]
    manifest = job.manifest
    of_features = feature_shapes(
        job.context.spark, chunks, manifest.features, manifest.length, manifest.stride
    )
    parts = {Part(*key): histogram for key, histogram in (score_shapes | of_features).items()}
    donor = donor_run(job.context)
    if donor is None or not (donor / SHAPES).exists():
        return Shapes(parts)
    of_donor = Shapes.from_rows(read_json(donor / SHAPES)["parts"]).parts
    of_run = {part: h for part, h in parts.items() if part.split not in (C.TRAIN, VALIDATION)}
    return Shapes(of_donor | of_run)


def _pooled_threshold(job: ScoringJob, thresholds: Sequence[Threshold]) -> Threshold | None:
    """The threshold of the run's model by the judging rule, of all groups and partitions."""
    rule = job.judging_rule
    for row in thresholds:
        is_rule = row.rule == rule.name and row.level == rule.table_level
        is_pooled = row.partition is None and row.group == C.ALL and row.fitted_on != SELF
        if row.detector == job.model and is_rule and is_pooled:
            return row
    return None


def _profiles(job: ScoringJob) -> dict[str, dict[str, float]]:
    """The profile of each split but calibration that has one."""
    profiles = {}
    for split, manifest in job.manifests.items():
        if split == C.CALIBRATION:
            continue
        of_split = _profile(job, manifest)
        if of_split:
            profiles[split] = of_split
    return profiles


def _profile(job: ScoringJob, manifest: Manifest) -> dict[str, float] | None:
    """The `facts.profile` of sampled windows of a split."""
    entry, features = entry_of(job.model), manifest.features
    if not entry.reads_windows or not entry.sees_features or len(features) == 1:
        return profile(None, features)
    role = BlockRole.FIT if manifest.split == C.TRAIN else BlockRole.TEST
    folder = job.context.run.dataset / manifest.split
    windows, _ = sample_windows(folder, manifest, role, PROFILED_WINDOWS, chunks=PROFILED_CHUNKS)
    if not len(windows):
        return profile(None, features)
    errors = np.asarray(job.bundle.models[job.model].errors(windows), np.float64)
    return profile(errors.mean(axis=1), features)
