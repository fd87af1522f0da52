"""The rows of the `metrics` table, from the labelled events of a scoring job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from foreshock import columns as C
from foreshock.evaluation.labelled import COARSE_BITS, LabelledScores
from foreshock.evaluation.metrics import Scored, baselines, evaluate, with_intervals, within_blocks
from foreshock.sequences.split import Split
from foreshock.statistics.histogram import key_values

# Of more judged events scores are counted rounded, without intervals and baselines.
MOST_EXACT_EVENTS = 5_000_000
Metrics = Mapping[str, float | None]
MetricRow = dict[str, Any]  # of the table `metrics`
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
    ) -> list[MetricRow]:
        """The rows of `metrics` for some metrics by name, of so many events.

        intervals: (low, high) by name; a metric that it lacks gets nulls.

        >>> MetricKey("run-1", "pca", "test", "all", None, 7).rows({"f1": 0.5}, 20)[0]["value"]
        0.5
        """
        table_rows = []
        for metric_name, metric_value in values.items():
            interval_low, interval_high = (intervals or {}).get(metric_name, (None, None))
            metric_columns = {
                "metric": metric_name,
                "value": metric_value,
                "ci_low": interval_low,
                "ci_high": interval_high,
            }
            table_rows.append({**vars(self), **metric_columns, "n": n_events})
        return table_rows


def metric_rows(
    scores: list[LabelledScores],
    detectors: tuple[str, ...],
    *,
    run_id: str,
    seed: int,
    is_coarse: bool = False,
) -> list[MetricRow]:
    """The rows of `metrics` that need no order of events; none if no judged event has a label.

    detectors: the run's model first; baselines are beside its metrics. is_coarse: the scores were
    rounded, so there are neither intervals nor baselines.
    """
    table_rows: list[MetricRow] = []
    for split_code in sorted({counted.split for counted in scores}):
        for detector_name in detectors:
            detector_scores = [
                counted
                for counted in scores
                if counted.split == split_code and counted.detector == detector_name
            ]
            if not detector_scores:
                continue
            group_names = sorted({counted.group for counted in detector_scores})
            for group_name in dict.fromkeys([C.ALL, *group_names]):
                group_scores = [s for s in detector_scores if group_name in (C.ALL, s.group)]
                split_name, is_model = Split(split_code).text, detector_name == detectors[0]
                metric_key = MetricKey(run_id, detector_name, split_name, group_name, None, seed)
                table_rows += _group_rows(
                    group_scores, metric_key, is_coarse=is_coarse, is_model=is_model
                )
    return table_rows


def _group_rows(
    counted: list[LabelledScores], key: MetricKey, *, is_coarse: bool, is_model: bool
) -> list[MetricRow]:
    group_scores, event_kinds = _scored(counted, is_coarse=is_coarse)
    # Intervals cost a bootstrap each, so groups and the kinds of other detectors do without.
    is_whole = key.group == C.ALL
    table_rows = []
    # Ordinary events have no kind: they count with every kind of anomaly.
    is_ordinary = group_scores.label == 0
    anomaly_kinds = set(event_kinds[group_scores.label == 1].tolist()) - {""}
    for anomaly_kind in (None, *sorted(anomaly_kinds)):
        kind_scores = group_scores
        if anomaly_kind is not None:
            kind_scores = group_scores.take(is_ordinary | (event_kinds == anomaly_kind))
        metric_values = evaluate(kind_scores)
        metric_intervals: Intervals = {}
        if is_whole and (anomaly_kind is None or is_model):
            metric_intervals = with_intervals(kind_scores, key.seed)
        if is_whole and anomaly_kind is None:
            metric_values["roc_auc_within_blocks"] = within_blocks(kind_scores)
        n_events = int(kind_scores.count.sum())
        table_rows += replace(key, kind=anomaly_kind).rows(
            metric_values, n_events, metric_intervals
        )
        if is_whole and anomaly_kind is None and is_model and not is_coarse:
            table_rows += _baseline_rows(kind_scores, key)
    return table_rows


def _baseline_rows(scored: Scored, key: MetricKey) -> list[MetricRow]:
    table_rows = []
    for baseline_name, judged_scores in baselines(scored, key.seed).items():
        n_events = int(judged_scores.count.sum())
        baseline_key = replace(key, detector=baseline_name)
        table_rows += baseline_key.rows(evaluate(judged_scores), n_events)
    return table_rows


def _scored(counted: list[LabelledScores], *, is_coarse: bool) -> tuple[Scored, Any]:
    """(the scores as one, the kind of anomaly of each)."""
    part_lengths = [len(counted_part.keys) for counted_part in counted]
    score_keys = np.concatenate([counted_part.keys for counted_part in counted])
    # If one part has no threshold, flags of the rest would tell nothing of the whole.
    is_flagged = None
    if all(counted_part.has_threshold for counted_part in counted):
        is_flagged = np.repeat([counted_part.is_flagged for counted_part in counted], part_lengths)
    group_scores = Scored(
        key_values(score_keys << (COARSE_BITS if is_coarse else 0)).astype(np.float64),
        np.repeat([counted_part.label for counted_part in counted], part_lengths),
        is_flagged,
        np.concatenate([counted_part.counts for counted_part in counted]),
        None
        if is_coarse
        else np.repeat([counted_part.block for counted_part in counted], part_lengths),
    )
    # Arrays of text have no null: "" stands for an event without a kind.
    return group_scores, np.repeat(
        [counted_part.kind or "" for counted_part in counted], part_lengths
    )
