"""Diagnosis: from a scoring job's files and thresholds to the rows of `drift` and the verdict."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from foreshock import columns as C
from foreshock.diagnosis.drift import VALIDATION, Shapes, comparisons
from foreshock.diagnosis.drift_spark import BlockFile, shapes
from foreshock.diagnosis.facts import Facts, profile, ranking
from foreshock.diagnosis.verdict import verdict
from foreshock.events.partitions import is_time
from foreshock.platform.files import read_json, write_json
from foreshock.sequences.split import BlockRole
from foreshock.stages.context import Context
from foreshock.stages.donor import donor_run
from foreshock.tables import spark as tables
from foreshock.thresholds.rules import SELF, Threshold
from foreshock.windows.dataset.manifest import Manifest
from foreshock.windows.dataset.reader import sample_windows
from foreshock.windows.models.bundle import Bundle

SHAPES, VERDICT = "shapes.json", "verdict.json"
PROFILED, PROFILED_CHUNKS = 5000, 16


def diagnose(
    context: Context,
    manifests: dict[str, Manifest],
    files: list[str],
    bundle: Bundle,
    rows: list[Threshold],
    metrics: list[dict[str, Any]],
    spans: dict[int, tuple[int, int]],
    work: Path,
) -> dict[str, Any]:
    """Write `drift`, the shapes of train and the verdict under `work`; returns the verdict."""
    data = context.run / "dataset"
    blocks = [
        BlockFile(str(data / s / c.file), c.role) for s, m in manifests.items() for c in m.chunks
    ]
    first = next(iter(manifests.values()))
    found = shapes(context.spark, files, blocks, spans, first.features, first.length, first.stride)
    donor = donor_run(context)
    if donor is not None and (donor / SHAPES).exists():
        borrowed = Shapes.from_rows(read_json(donor / SHAPES)["parts"])
        own = {p: h for p, h in found.parts.items() if p.split not in (C.TRAIN, VALIDATION)}
        found = Shapes(borrowed.parts | own)
    compared = comparisons(found)
    body = [{"run_id": context.run_id, **asdict(c)} for c in compared]
    tables.write_rows(body, tables.DRIFT, work / "tables" / C.DRIFT)
    write_json(work / SHAPES, {"parts": found.to_rows((C.TRAIN, VALIDATION))})
    s = context.settings
    model, rule = s.all_detectors[0], s.thresholds.judging_rule
    row = next(
        (
            r
            for r in rows
            if r.detector == model
            and r.rule == rule.name
            and r.level == rule.table_level
            and r.partition is None
            and r.group == C.ALL
            and r.fitted_on != SELF
        ),
        None,
    )
    network = model == "lstm_autoencoder"
    ranked, positive = ranking(metrics, s.all_detectors)
    made = verdict(
        Facts(
            model,
            found,
            compared,
            row.threshold if row else None,
            rule.name,
            rule.table_level,
            row.fitted_on if row else "",
            bundle.explained_by(model),
            s.model.output if network else "linear",
            {"l1": s.model.l1, "l2": s.model.l2} if network else {},
            {
                split: p
                for split, m in manifests.items()
                if split != C.CALIBRATION and (p := _profile(data / split, m, bundle, model))
            },
            ranked,
            is_time(found.partitions(C.CALIBRATION) + found.partitions(C.TEST)),
            positive,
            max(1, first.length // first.stride),
            s.events.calibrate_where is not None,
        )
    )
    write_json(work / VERDICT, made)
    return made


def _profile(
    folder: Path, manifest: Manifest, bundle: Bundle, model: str
) -> dict[str, float] | None:
    """The `facts.profile` of sampled windows."""
    if model not in bundle.models or model == "isolation_forest" or len(manifest.features) == 1:
        return profile(None, manifest.features)
    x, _ = sample_windows(
        folder,
        manifest,
        BlockRole.FIT if manifest.split == C.TRAIN else BlockRole.TEST,
        PROFILED,
        chunks=PROFILED_CHUNKS,
    )
    return profile(
        np.asarray(bundle.models[model].errors(x), np.float64).mean(axis=1) if len(x) else None,
        manifest.features,
    )
