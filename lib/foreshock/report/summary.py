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
    """Raise ForeshockError unless rows_read is the sum of what became of the rows."""
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
    events = counts.judged + unjudged
    gates = (
        ("max_quarantined", quality.max_quarantined, quarantined, counts.rows_read),
        ("max_unjudged", quality.max_unjudged, unjudged, events),
        ("max_flagged", quality.max_flagged, flagged, counts.judged),
    )
    shares = {
        "max_quarantined": f"{quarantined} of {counts.rows_read} rows quarantined",
        "max_unjudged": f"{unjudged} of {events} events not judged",
        "max_flagged": f"{flagged} of {counts.judged} judged events flagged",
    }
    return [
        f"quality.{gate} is {limit:g}, but {shares[gate]} ({part / whole:.4g})"
        for gate, limit, part, whole in gates
        if limit is not None and whole and part / whole > limit
    ]


def _measures(row: DriftRow) -> ShiftMeasures:
    return ShiftMeasures(row.wasserstein, row.trimmed, row.band, row.quantile_ratio, row.verdict)


def strongest_shifts(drift: Iterable[DriftRow], most: int = MOST_FEATURES) -> list[SplitShift]:
    """How far each pair of splits lies apart, all groups together.

    The score, and the features that moved farthest by their middle 90 %.
    """
    pairs: dict[tuple[str, str], list[DriftRow]] = {}
    for row in drift:
        if row.group == ALL:
            pairs.setdefault((row.from_split, row.to_split), []).append(row)
    shifts = []
    for (from_split, to_split), rows in pairs.items():
        moved = [
            (-row.trimmed, row.feature, _measures(row))
            for row in rows
            if row.feature is not None and row.trimmed is not None
        ]
        moved.sort(key=lambda feature: feature[:2])
        features = {name: measures for _, name, measures in moved[:most]}
        score = next((_measures(row) for row in rows if row.feature is None), None)
        shifts.append(SplitShift(from_split, to_split, score, features))
    return shifts


def with_flagged_events(verdict: Verdict, flagged: Mapping[str, FlaggedCount]) -> Verdict:
    """The verdict, which is about the run, with how many events were flagged and where they are.

    >>> verdict = Verdict(("healthy",), (), "The run is healthy.")
    >>> with_flagged_events(verdict, {"test": FlaggedCount(3, 2000)}).text
    'The run is healthy. Of its 2,000 judged events, 3 were flagged as anomalous: they are the rows \
of the table scores where is_anomaly.'
    """
    flagged_events = sum(count.flagged for count in flagged.values())
    judged_events = sum(count.judged for count in flagged.values())
    told = f"Of its {judged_events:,} judged events, "
    if flagged_events:
        is_single = flagged_events == 1
        verb, they_are = ("was", "it is a row") if is_single else ("were", "they are the rows")
        told += (
            f"{flagged_events:,} {verb} flagged as anomalous: {they_are} of the table scores where "
            "is_anomaly."
        )
    else:
        told += "none was flagged as anomalous."
    return replace(verdict, text=f"{verdict.text} {told}")


def headline(summary: RunSummary) -> list[str]:
    """The result in about a dozen lines."""
    return [
        f"run          {summary.run_id}",
        *_count_lines(summary.counts),
        *_threshold_lines(summary),
        *(
            f"flagged      {count.flagged} of {count.judged} judged events of {split}"
            for split, count in summary.flagged.items()
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
    lost = (
        f"filtered {counts.filtered}, quarantined: {_listed(counts.quarantined)}, "
        f"outside the splits {counts.outside_splits}"
    )
    unjudged = _listed(counts.unjudged)
    yield f"rows read    {counts.rows_read} ({lost})"
    yield f"train        {counts.train} events"
    yield (f"judged       {counts.judged} events of calibration and test (not judged: {unjudged})")


def _judges(row: ThresholdRow, summary: RunSummary) -> bool:
    return (
        row.detector == summary.model
        and row.partition is None
        and summary.rule in (None, row.judging_rule)
    )


def _threshold_lines(summary: RunSummary) -> Iterator[str]:
    rows = [row for row in summary.thresholds if _judges(row, summary)]
    for row in rows[:MOST_THRESHOLD_LINES]:
        threshold = "none" if row.threshold is None else f"{row.threshold:.5g}"
        interval = ""
        if row.ci_low is not None:
            interval = f" (95 % interval {row.ci_low:.5g} to {row.ci_high:.5g})"
        events = f" of n = {row.n}" if row.n else ""
        yield f"threshold    {threshold}{interval}, {row.judging_rule}{events}, group {row.group}"


def _is_overall_auc(row: MetricRow) -> bool:
    is_overall = row.split == TEST and row.group == ALL
    return is_overall and row.metric == "roc_auc" and row.value is not None


def _metric_lines(summary: RunSummary) -> Iterator[str]:
    areas = [row for row in summary.metrics if _is_overall_auc(row)]
    for detector in summary.detectors:
        by_kind: Sequence[MetricRow] = sorted(
            (row for row in areas if row.detector == detector), key=lambda row: row.kind or ""
        )
        if by_kind:
            values = ", ".join(f"{row.kind or 'all'} {row.value:.3f}" for row in by_kind)
            yield f"ROC AUC      {detector}: {values}"


def _verdict_lines(verdict: Verdict | None) -> Iterator[str]:
    if verdict is not None:
        yield f"verdict      {', '.join(verdict.causes)}: {verdict.text}"
