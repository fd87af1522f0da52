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
    """Scores over time: the sample of events, and the bands of each partition's scores.

    Figures are empty text if there is nothing to draw.
    """
    partition_rows = of_main_group(
        partition_row for partition_row in data.partitions if partition_row.detector == data.model
    )
    # Every split is named in the legend, whether or not it has scores, so that colours are told.
    bars_by_split = {
        split: [
            PartitionBar(
                partition_row.partition, partition_row.p50, partition_row.p99, partition_row.max
            )
            for partition_row in partition_rows
            if partition_row.split == split
        ]
        for split in SCORED
    }
    return OverTime(
        sampled=len(data.timeline),
        timeline=score_timeline(data.timeline, pooled_thresholds(data, data.model)),
        bands=partition_bars(bars_by_split, pooled_threshold(data, data.model), "^"),
    )
