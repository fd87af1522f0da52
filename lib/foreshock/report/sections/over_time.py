"""Scores over time: a sample of events, and the scores of each partition."""

from __future__ import annotations

from dataclasses import dataclass

from foreshock.columns import SCORED
from foreshock.report.judging import of_main_group, pooled_threshold, pooled_thresholds
from foreshock.report.plots.by_partition import PartitionBar, partition_bars
from foreshock.report.plots.timeline import score_timeline
from foreshock.report.records.data import ReportData


@dataclass(frozen=True)
class OverTime:
    """sampled: events in the sample. timeline, bands: figures."""

    sampled: int
    timeline: str
    bands: str


def build_over_time(data: ReportData) -> OverTime:
    """Scores over time."""
    rows = of_main_group(row for row in data.partitions if row.detector == data.model)
    bands = {
        split: [
            PartitionBar(row.partition, row.p50, row.p99, row.max)
            for row in rows
            if row.split == split
        ]
        for split in SCORED
    }
    return OverTime(
        sampled=len(data.timeline),
        timeline=score_timeline(data.timeline, pooled_thresholds(data, data.model)),
        bands=partition_bars(bands, pooled_threshold(data, data.model), "^"),
    )
