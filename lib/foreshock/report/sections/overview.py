"""The head of the page: the result in a sentence, the verdict, gates, notes and four figures."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from foreshock.columns import CALIBRATION, TEST, TRAIN
from foreshock.report.judging import judging_rule, judging_thresholds, pooled_thresholds
from foreshock.report.records.data import ReportData
from foreshock.report.records.rows import ThresholdRow
from foreshock.report.records.run import FlaggedCount, RunCounts, Verdict
from foreshock.report.sections.metrics import build_metrics

# Words of an SQL expression that are no column.
SQL_WORDS = frozenset(
    {"and", "or", "not", "is", "null", "case", "when", "then", "else", "end", "cast", "as", "in"}
    | {"int", "true", "false"}
)
LABEL_NOTES = {
    "train_where": "the model is semi-supervised: its training windows were chosen",
    "calibrate_where": "the thresholds are semi-supervised: their events were chosen",
}


@dataclass(frozen=True)
class Overview:
    """What the head of the page shows.

    flagged: by split, test first. limits: the model's deciding thresholds, one a group, the main
    group first. model_auc: ROC AUC on labelled events. notes: what a reader must know first.
    """

    run_name: str
    run_id: str
    model: str
    status: str
    test_span: tuple[str, str] | None
    flagged: dict[str, FlaggedCount]
    limits: list[ThresholdRow]
    verdict: Verdict | None
    gates: tuple[str, ...]
    notes: list[str]
    model_auc: float | None
    is_labelled: bool
    counts: RunCounts | None
    unjudged: int | None

    @property
    def limit(self) -> ThresholdRow | None:
        """The main group's threshold."""
        return self.limits[0] if self.limits else None


def build_overview(data: ReportData) -> Overview:
    """The head of the page.

    >>> from foreshock.report.records.run import RunSummary
    >>> build_overview(ReportData(RunSummary("run-1", "pca", ("pca",)))).run_name
    'run-1'
    """
    summary, metrics = data.summary, build_metrics(data)
    counts = summary.counts
    return Overview(
        run_name=data.settings.run_name or summary.run_id,
        run_id=summary.run_id,
        model=data.model,
        status=summary.status,
        test_span=data.settings.test_span,
        flagged={
            split: summary.flagged[split]
            for split in (TEST, CALIBRATION)
            if split in summary.flagged
        },
        limits=pooled_thresholds(data, data.model),
        verdict=summary.verdict,
        gates=summary.gates,
        notes=list(reading_notes(data)),
        model_auc=metrics.area(data.model),
        is_labelled=metrics.is_judged,
        counts=counts,
        unjudged=None if counts is None else sum(counts.unjudged.values()),
    )


def _columns(expression: str | None) -> set[str]:
    # A rough reading of SQL: a column too many makes a note too many, no wrong figure.
    return set(re.findall(r"[a-z_]\w*", (expression or "").lower())) - SQL_WORDS


def reading_notes(data: ReportData) -> Iterator[str]:
    """What a reader must know before trusting the figures.

    Among it: whether the labels helped to choose training windows or calibration events, and
    whether thresholds rest on events that the model was trained on.

    >>> from foreshock.report.records.run import RunSummary
    >>> list(reading_notes(ReportData(RunSummary("run-1", "pca", ("pca",)))))
    []
    """
    expressions = data.settings.expressions
    label_columns = _columns(expressions.get("label")) | _columns(expressions.get("kind"))
    deciding_rule = judging_rule(data)
    for expression_key, consequence in LABEL_NOTES.items():
        # A fixed threshold is fitted on no events, whatever events.calibrate_where admits.
        is_used = (
            expression_key != "calibrate_where"
            or deciding_rule is None
            or deciding_rule.name != "fixed"
        )
        if is_used and label_columns & _columns(expressions.get(expression_key)):
            yield (
                f"events.{expression_key} ({expressions[expression_key]}) can read the label, so "
                f"{consequence} with knowledge of what is normal."
            )
    threshold_rows = judging_thresholds(data, data.model)
    if any(threshold_row.fitted_on == TRAIN for threshold_row in threshold_rows):
        yield (
            "The thresholds were fitted on the events the model was trained on, so they are likely "
            "too low."
        )
    group_count = len({threshold_row.group for threshold_row in threshold_rows})
    if group_count > 1:
        yield (
            f"There are {group_count} groups, each with its own threshold. Figures by partition "
            "show the largest group."
        )
