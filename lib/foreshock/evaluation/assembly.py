"""The rows of the `metrics` table, from the labelled events of a scoring job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from foreshock import columns as C
from foreshock.evaluation.labelled import COARSE_BITS, LabelledScores
from foreshock.evaluation.metrics import Scored, baselines, evaluate, with_intervals, within_blocks
from foreshock.sequences.split import Split
from foreshock.statistics.histogram import key_values

MOST_EXACT_EVENTS = 5_000_000
Metrics = Mapping[str, float | None]
Intervals = Mapping[str, tuple[float | None, float | None]]


@dataclass(frozen=True)
class MetricKey:
    """What a metric is of. kind None: of all kinds of anomaly together; seed: of its intervals."""

    run_id: str
    detector: str
    split: str
    group: str
    kind: str | None
    seed: int

    def rows(
        self, values: Metrics, n_events: int, intervals: Intervals | None = None
    ) -> list[dict[str, Any]]:
        """The rows of `metrics` for some metrics by name, of so many events."""
        rows = []
        for name, value in values.items():
            low, high = (intervals or {}).get(name, (None, None))
            metric = {"metric": name, "value": value, "ci_low": low, "ci_high": high}
            rows.append({**vars(self), **metric, "n": n_events})
        return rows


def metric_rows(
    scores: list[LabelledScores],
    detectors: tuple[str, ...],
    *,
    run_id: str,
    seed: int,
    is_coarse: bool = False,
) -> list[dict[str, Any]]:
    """The rows of `metrics` that need no order of events; none if no judged event has a label.

    detectors: the run's model first; baselines are beside its metrics. is_coarse: the scores were
    rounded, so there are neither intervals nor baselines.
    """
    rows: list[dict[str, Any]] = []
    for split in sorted({score.split for score in scores}):
        for detector in detectors:
            of_detector = [s for s in scores if s.split == split and s.detector == detector]
            if not of_detector:
                continue
            groups = sorted({score.group for score in of_detector})
            for group in dict.fromkeys([C.ALL, *groups]):
                of_group = [s for s in of_detector if group in (C.ALL, s.group)]
                key = MetricKey(run_id, detector, Split(split).text, group, None, seed)
                is_model = detector == detectors[0]
                rows += _group_rows(of_group, key, is_coarse=is_coarse, is_model=is_model)
    return rows


def _group_rows(
    counted: list[LabelledScores], key: MetricKey, *, is_coarse: bool, is_model: bool
) -> list[dict[str, Any]]:
    scored, kinds = _scored(counted, is_coarse=is_coarse)
    is_whole = key.group == C.ALL
    rows = []
    anomalous_kinds = sorted({kind for kind in kinds[scored.label == 1].tolist() if kind})
    for kind in (None, *anomalous_kinds):
        of_kind = scored
        if kind is not None:
            of_kind = scored.take((scored.label == 0) | (kinds == kind))
        values = evaluate(of_kind)
        intervals: Intervals = {}
        if is_whole and (kind is None or is_model):
            intervals = with_intervals(of_kind, key.seed)
        if is_whole and kind is None:
            values = values | {"roc_auc_within_blocks": within_blocks(of_kind)}
        kind_key = MetricKey(key.run_id, key.detector, key.split, key.group, kind, key.seed)
        rows += kind_key.rows(values, int(of_kind.count.sum()), intervals)
        if is_whole and kind is None and is_model and not is_coarse:
            rows += _baseline_rows(of_kind, key)
    return rows


def _baseline_rows(scored: Scored, key: MetricKey) -> list[dict[str, Any]]:
    rows = []
    for name, judged in baselines(scored, key.seed).items():
        baseline_key = MetricKey(key.run_id, name, key.split, key.group, None, key.seed)
        rows += baseline_key.rows(evaluate(judged), int(judged.count.sum()))
    return rows


def _scored(counted: list[LabelledScores], *, is_coarse: bool) -> tuple[Scored, Any]:
    """(the scores as one, the kind of anomaly of each)."""
    lengths = [len(part.keys) for part in counted]
    keys = np.concatenate([part.keys for part in counted])
    is_flagged = None
    if all(part.has_threshold for part in counted):
        is_flagged = np.repeat([part.is_flagged for part in counted], lengths)
    scored = Scored(
        key_values(keys << (COARSE_BITS if is_coarse else 0)).astype(np.float64),
        np.repeat([part.label for part in counted], lengths),
        is_flagged,
        np.concatenate([part.counts for part in counted]),
        None if is_coarse else np.repeat([part.block for part in counted], lengths),
    )
    return scored, np.repeat([part.kind or "" for part in counted], lengths)
