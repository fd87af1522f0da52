"""The work of the report: the records of a run's tables and files, made into summary and page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from foreshock import columns as C
from foreshock.platform.files import read_json, write_json, write_text
from foreshock.platform.parquet import read_table
from foreshock.platform.transfers import remove
from foreshock.report.page import render_page
from foreshock.report.records.data import ReportData, ReportedSettings
from foreshock.report.records.events import TimelineEvent, TopEvent
from foreshock.report.records.fit import (
    DatasetSize,
    ExplainedFacts,
    FitFacts,
    ScalerFacts,
    TrainingCurve,
)
from foreshock.report.records.reading import read_record, read_records
from foreshock.report.records.rows import (
    DriftRow,
    JudgingRule,
    MetricRow,
    PartitionRow,
    ThresholdRow,
)
from foreshock.report.records.run import FlaggedCount, RunCounts, RunSummary, Verdict
from foreshock.report.summary import (
    count_by_reason,
    missed_gates,
    reconcile,
    strongest_shifts,
    with_flagged_events,
)
from foreshock.settings.identity import as_mapping
from foreshock.stages.context import Context
from foreshock.stages.diagnose import VERDICT
from foreshock.stages.extract import read_ledger
from foreshock.stages.publish import publisher_of
from foreshock.stages.report import PAGE_FILE, SUMMARY_FILE
from foreshock.stages.scaler_file import read_scaler
from foreshock.statistics.histogram import Histogram
from foreshock.tables.rows import open_scores
from foreshock.windows.dataset.manifest import read_manifest
from foreshock.windows.models import bundle as bundles

# A row of a table as Arrow gives it: column to value.
TableRow = Mapping[str, Any]


def write_report(context: Context, fingerprint: str) -> None:
    """Write the summary and the page, and publish the table of runs.

    fingerprint: recorded with the stage. Raises ForeshockError if the run's counts do not add up.
    """
    with context.attempt("report") as attempt_counts:
        work_folder = context.run.staging("report")
        summary = summarise(context)
        write_json(work_folder / SUMMARY_FILE, summary.to_mapping())
        write_text(work_folder / PAGE_FILE, render_page(gather(context, summary)))
        moves = {
            work_folder / file_name: context.run / file_name
            for file_name in (SUMMARY_FILE, PAGE_FILE)
        }
        context.run.publish("report", fingerprint, moves)
        remove(work_folder)
        if summary.counts is not None:
            attempt_counts |= summary.counts.to_mapping()
    publisher_of(context).publish_runs(read_scaler(context.run / "scaler.json"))


def summarise(context: Context) -> RunSummary:
    """The summary of a scored run, from its tables and files.

    Raises ForeshockError if its counts do not add up; only those of a whole run have to.
    """
    settings, run = context.settings, context.run
    score_counts = count_scores(context.tables / C.SCORES)
    counts = run_counts(context, score_counts)
    score_record = run.record("score")
    # Scores of some partitions only: the rows of others are not accounted for.
    if score_record is not None and score_record["fingerprint"] != "partial":
        reconcile(counts)
    gates_missed = missed_gates(settings.quality, counts, score_counts.flagged.total())
    threshold_rows = read_records(ThresholdRow, _rows(context.tables / C.THRESHOLDS))
    drift_rows = read_records(DriftRow, _rows(context.tables / C.DRIFT))
    verdict = None
    if (run / VERDICT).exists():
        scored_verdict = Verdict.from_mapping(read_json(run / VERDICT))
        verdict = with_flagged_events(scored_verdict, score_counts.by_split)
    deciding_rule = settings.thresholds.judging_rule
    return RunSummary(
        run_id=context.run_id,
        model=settings.all_detectors[0],
        detectors=tuple(settings.all_detectors),
        counts=counts,
        status="gate not met" if gates_missed else "done",
        verdict=verdict,
        rule=JudgingRule(deciding_rule.name, deciding_rule.table_level),
        thresholds=tuple(
            threshold_row for threshold_row in threshold_rows if threshold_row.partition is None
        ),
        metrics=read_records(MetricRow, _rows(context.tables / C.METRICS)),
        flagged=score_counts.by_split,
        gates=tuple(gates_missed),
        report=str(run / PAGE_FILE),
        settings_sha256=context.sha256,
        drift=tuple(strongest_shifts(drift_rows)),
        fit=FitFacts.from_bundle_info(_bundle_info(context)),
    )


def gather(context: Context, summary: RunSummary) -> ReportData:
    """Everything that the page is made from.

    summary: of the same run. All else is read from the run's tables and files.
    """
    bundle_info = _bundle_info(context)
    distribution_rows = list(_rows(context.tables / C.ERROR_DISTRIBUTION))
    event_details = read_json(context.run / "score_details.json")
    explained_facts = {
        detector: None if raw_facts is None else read_record(ExplainedFacts, raw_facts)
        for detector, raw_facts in (bundle_info.get("explained") or {}).items()
    }
    return ReportData(
        summary=summary,
        settings=ReportedSettings.from_mapping(as_mapping(context.settings)),
        scaler=ScalerFacts.from_mapping(read_json(context.run / "scaler.json")),
        distributions={
            detector: histograms
            for detector in summary.detectors
            if (histograms := _histograms(distribution_rows, detector))
        },
        thresholds=read_records(ThresholdRow, _rows(context.tables / C.THRESHOLDS)),
        partitions=read_records(PartitionRow, distribution_rows),
        metrics=summary.metrics,
        top_events=tuple(TopEvent.from_mapping(event) for event in event_details["top_events"]),
        timeline=tuple(TimelineEvent.from_mapping(event) for event in event_details["timeline"]),
        training=TrainingCurve.from_mapping(bundle_info.get("training") or {}),
        dataset=dict(_dataset_sizes(context.run / "dataset")),
        drift=read_records(DriftRow, _rows(context.tables / C.DRIFT)),
        explained=explained_facts,
    )


@dataclass(frozen=True)
class ScoreCounts:
    """Events of the table `scores`: with a score and flagged by split, without one by reason."""

    judged: Counter[str] = field(default_factory=Counter)
    flagged: Counter[str] = field(default_factory=Counter)
    unjudged: Counter[str] = field(default_factory=Counter)

    @property
    def by_split(self) -> dict[str, FlaggedCount]:
        """Each split that has judged events."""
        return {
            split: FlaggedCount(self.flagged[split], self.judged[split])
            for split in (C.CALIBRATION, C.TEST)
            if self.judged[split]
        }


def count_scores(scores: Path) -> ScoreCounts:
    """The counts of a table `scores`, read in batches."""
    counts = ScoreCounts()
    read_columns = ["split", "score", "is_anomaly", "reason"]
    # In batches: the table may be larger than memory.
    for batch in open_scores(scores).to_batches(columns=read_columns):
        grouped_rows = pa.table(batch).group_by(["split", "is_anomaly", "reason"])
        for group_row in grouped_rows.aggregate(
            [("score", "count"), ([], "count_all")]
        ).to_pylist():
            counts.judged[group_row["split"]] += group_row["score_count"]
            # is_anomaly is null without a threshold or a score.
            if group_row["is_anomaly"]:
                counts.flagged[group_row["split"]] += group_row["count_all"]
            without_score = group_row["count_all"] - group_row["score_count"]
            if without_score:
                counts.unjudged[group_row["reason"]] += without_score
    return counts


def run_counts(context: Context, scored: ScoreCounts) -> RunCounts:
    """What became of the rows read.

    scored: the counts of the run's table `scores`; all other counts come from the ledger.
    """
    extracted = read_ledger(context).total()
    return RunCounts(
        rows_read=extracted.rows_read,
        filtered=extracted.filtered,
        quarantined=count_by_reason(extracted.quarantined),
        outside_splits=extracted.kept.get("outside", 0),
        train=extracted.kept.get(C.TRAIN, 0),
        judged=scored.judged.total(),
        unjudged=dict(sorted(scored.unjudged.items())),
    )


def _rows(table: Path) -> list[TableRow]:
    if not table.exists():
        return []
    table_rows: list[TableRow] = read_table(table / "part-00000.parquet").to_pylist()
    return table_rows


def _bundle_info(context: Context) -> Mapping[str, Any]:
    bundle: Mapping[str, Any] = read_json(context.run / "model" / bundles.NAME)
    info: Mapping[str, Any] = bundle["info"]
    return info


def _histograms(distribution_rows: list[TableRow], detector: str) -> dict[str, Histogram]:
    """A detector's scores of each split that has any."""
    by_split: dict[str, Histogram] = {}
    for split in C.SCORED:
        split_rows = [
            distribution_row
            for distribution_row in distribution_rows
            if distribution_row["detector"] == detector and distribution_row["split"] == split
        ]
        merged_histogram = sum(
            (
                _histogram(distribution_row)
                for distribution_row in split_rows
                if distribution_row["n"]
            ),
            Histogram(),
        )
        if merged_histogram.n:
            by_split[split] = merged_histogram
    return by_split


def _histogram(row: TableRow) -> Histogram:
    # The table does not hold the exact moments, which no figure of the page needs.
    return Histogram.from_mapping(
        {
            "bins": row["histogram"]["bin"],
            "counts": row["histogram"]["count"],
            "n": row["n"],
            "min": row["min"],
            "max": row["max"],
            "power1": 0,
            "power2": 0,
        }
    )


def _dataset_sizes(folder: Path) -> Iterator[tuple[str, DatasetSize]]:
    for split in C.SPLITS:
        if (folder / split).exists():
            manifest = read_manifest(folder / split)
            yield (
                split,
                DatasetSize(
                    windows=manifest.total("windows"),
                    blocks=manifest.total("blocks"),
                    events=manifest.total("events"),
                    bytes=manifest.total("bytes"),
                ),
            )
