"""The summary of a run: counts that reconcile, gates, drift in short, the result in a few lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from foreshock.columns import ALL, TEST
from foreshock.errors import ForeshockError
from foreshock.report.records.rows import DriftRow, MetricRow, ThresholdRow
from foreshock.report.records.run import (
    FlaggedCount,
    RunCounts,
    RunSummary,
    ShiftMeasures,
    SplitShift,
    Verdict,
)
from foreshock.settings.quality import QualitySettings

MOST_FEATURES, MOST_THRESHOLD_LINES = 3, 3


def reconcile(counts: RunCounts) -> None:
    """Raise ForeshockError unless rows_read is the sum of what became of the rows.

    >>> reconcile(RunCounts(10, 1, {"null": 2}, 0, 4, 2, {"warm_up": 1}))
    """
    if counts.rows_read != counts.total:
        raise ForeshockError(
            f"the counts do not reconcile: {counts.to_mapping()}. This is a defect of ours."
        )


def count_by_reason(quarantined: Mapping[str, int]) -> dict[str, int]:
    """Quarantined rows by reason, from counts by `reason:column`.

    >>> count_by_reason({"null:gas": 2, "null:value": 3, "not_numeric:gas": 1})
    {'null': 5, 'not_numeric': 1}
    """
    by_reason: Counter[str] = Counter()
    for reason_and_column, count in quarantined.items():
        by_reason[reason_and_column.split(":")[0]] += count
    return dict(by_reason)


def missed_gates(quality: QualitySettings, counts: RunCounts, flagged: int) -> list[str]:
    """The gates of `quality` that are not met, in words.

    >>> counts = RunCounts(100, 0, {"null": 5}, 0, 55, 40, {})
    >>> missed_gates(QualitySettings(max_quarantined=0.01), counts, flagged=0)
    ['quality.max_quarantined is 0.01, but 5 of 100 rows quarantined (0.05)']
    """
    quarantined, unjudged = sum(counts.quarantined.values()), sum(counts.unjudged.values())
    event_count = counts.judged + unjudged
    # Each gate with its limit, and the part of a whole that must not exceed it.
    gate_parts = (
        ("max_quarantined", quality.max_quarantined, quarantined, counts.rows_read),
        ("max_unjudged", quality.max_unjudged, unjudged, event_count),
        ("max_flagged", quality.max_flagged, flagged, counts.judged),
    )
    share_words = {
        "max_quarantined": f"{quarantined} of {counts.rows_read} rows quarantined",
        "max_unjudged": f"{unjudged} of {event_count} events not judged",
        "max_flagged": f"{flagged} of {counts.judged} judged events flagged",
    }
    return [
        f"quality.{gate_name} is {limit:g}, but {share_words[gate_name]} "
        f"({part_count / whole_count:.4g})"
        for gate_name, limit, part_count, whole_count in gate_parts
        # A run without such rows has no share that could exceed a limit.
        if limit is not None and whole_count and part_count / whole_count > limit
    ]


def _measures(drift_row: DriftRow) -> ShiftMeasures:
    return ShiftMeasures(
        drift_row.wasserstein,
        drift_row.trimmed,
        drift_row.band,
        drift_row.quantile_ratio,
        drift_row.verdict,
    )


def strongest_shifts(drift: Iterable[DriftRow], most: int = MOST_FEATURES) -> list[SplitShift]:
    """How far each pair of splits lies apart, all groups together.

    The score, and the features that moved farthest by their middle 90 %.

    >>> row = DriftRow("train", "test", "all", "gas", 0.5, 0.1, 1.0, "shifted", trimmed=0.4)
    >>> strongest_shifts([row])[0].features["gas"].trimmed
    0.4
    """
    rows_by_pair: dict[tuple[str, str], list[DriftRow]] = {}
    for drift_row in drift:
        if drift_row.group == ALL:
            rows_by_pair.setdefault((drift_row.from_split, drift_row.to_split), []).append(
                drift_row
            )
    shifts = []
    for (from_split, to_split), pair_rows in rows_by_pair.items():
        moved_features = [
            (-drift_row.trimmed, drift_row.feature, _measures(drift_row))
            for drift_row in pair_rows
            if drift_row.feature is not None and drift_row.trimmed is not None
        ]
        # Farthest first; of two that moved as far the first by name.
        moved_features.sort(key=lambda feature: feature[:2])
        features = {feature_name: measures for _, feature_name, measures in moved_features[:most]}
        score = next(
            (_measures(drift_row) for drift_row in pair_rows if drift_row.feature is None), None
        )
        shifts.append(SplitShift(from_split, to_split, score, features))
    return shifts


def with_flagged_events(verdict: Verdict, flagged: Mapping[str, FlaggedCount]) -> Verdict:
    """The verdict, which is about the run, with how many events were flagged and where they are.

    >>> verdict = Verdict(("healthy",), (), "The run is healthy.")
    >>> with_flagged_events(verdict, {"test": FlaggedCount(3, 2000)}).text
    'The run is healthy. Of its 2,000 judged events, 3 were flagged as anomalous: they are the \
rows of the table scores where is_anomaly.'
    """
    # The verdict may be healthy though events are flagged: it is about the run.
    flagged_events = sum(split_count.flagged for split_count in flagged.values())
    judged_events = sum(split_count.judged for split_count in flagged.values())
    flagged_sentence = f"Of its {judged_events:,} judged events, "
    if flagged_events:
        is_single = flagged_events == 1
        verb, they_are = ("was", "it is a row") if is_single else ("were", "they are the rows")
        flagged_sentence += (
            f"{flagged_events:,} {verb} flagged as anomalous: {they_are} of the table scores where "
            "is_anomaly."
        )
    else:
        flagged_sentence += "none was flagged as anomalous."
    return replace(verdict, text=f"{verdict.text} {flagged_sentence}")


def headline(summary: RunSummary) -> list[str]:
    """The result in about a dozen lines.

    >>> headline(RunSummary("run-1", "pca", ("pca",), flagged={"test": FlaggedCount(3, 2000)}))
    ['run          run-1', 'flagged      3 of 2000 judged events of test']
    """
    return [
        f"run          {summary.run_id}",
        *_count_lines(summary.counts),
        *_threshold_lines(summary),
        *(
            f"flagged      {split_count.flagged} of {split_count.judged} judged events of {split}"
            for split, split_count in summary.flagged.items()
        ),
        *_metric_lines(summary),
        *_verdict_lines(summary.verdict),
        *(f"gate         {gate}" for gate in summary.gates),
    ]


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items())) or "none"


def _count_lines(counts: RunCounts | None) -> Iterator[str]:
    if counts is None:
        return
    lost_words = (
        f"filtered {counts.filtered}, quarantined: {_listed(counts.quarantined)}, "
        f"outside the splits {counts.outside_splits}"
    )
    unjudged_words = _listed(counts.unjudged)
    yield f"rows read    {counts.rows_read} ({lost_words})"
    yield f"train        {counts.train} events"
    yield (
        f"judged       {counts.judged} events of calibration and test "
        f"(not judged: {unjudged_words})"
    )


def _judges(threshold_row: ThresholdRow, summary: RunSummary) -> bool:
    return (
        threshold_row.detector == summary.model
        and threshold_row.partition is None
        and summary.rule in (None, threshold_row.judging_rule)
    )


def _threshold_lines(summary: RunSummary) -> Iterator[str]:
    judging_rows = [
        threshold_row for threshold_row in summary.thresholds if _judges(threshold_row, summary)
    ]
    for threshold_row in judging_rows[:MOST_THRESHOLD_LINES]:
        threshold = "none" if threshold_row.threshold is None else f"{threshold_row.threshold:.5g}"
        interval_words = ""
        if threshold_row.ci_low is not None:
            interval_words = (
                f" (95 % interval {threshold_row.ci_low:.5g} to {threshold_row.ci_high:.5g})"
            )
        event_words = f" of n = {threshold_row.n}" if threshold_row.n else ""
        yield (
            f"threshold    {threshold}{interval_words}, {threshold_row.judging_rule}{event_words}, "
            f"group {threshold_row.group}"
        )


def _is_overall_auc(metric_row: MetricRow) -> bool:
    is_overall = metric_row.split == TEST and metric_row.group == ALL
    return is_overall and metric_row.metric == "roc_auc" and metric_row.value is not None


def _metric_lines(summary: RunSummary) -> Iterator[str]:
    auc_rows = [metric_row for metric_row in summary.metrics if _is_overall_auc(metric_row)]
    for detector in summary.detectors:
        by_kind: Sequence[MetricRow] = sorted(
            (metric_row for metric_row in auc_rows if metric_row.detector == detector),
            key=lambda metric_row: metric_row.kind or "",
        )
        if by_kind:
            auc_words = ", ".join(
                f"{metric_row.kind or 'all'} {metric_row.value:.3f}" for metric_row in by_kind
            )
            yield f"ROC AUC      {detector}: {auc_words}"


def _verdict_lines(verdict: Verdict | None) -> Iterator[str]:
    if verdict is not None:
        yield f"verdict      {', '.join(verdict.causes)}: {verdict.text}"
