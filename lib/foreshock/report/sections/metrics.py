"""How well the detectors find known anomalies, and whether the model beats the simple ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from foreshock.columns import CALIBRATION, TEST
from foreshock.detectors import detector_names
from foreshock.report.judging import main_group
from foreshock.report.records.data import ReportData
from foreshock.report.records.rows import MetricRow

MEANINGS = {
    "roc_auc": (
        "chance that an anomaly scores above a normal event, both drawn at random; 0.5 is guessing,"
        " 1 perfect"
    ),
    "pr_auc": "precision averaged over all thresholds; guessing gives the prevalence",
    "f1": "precision and sensitivity in one",
    "sensitivity": "share of anomalies that are flagged",
    "specificity": "share of normal events that are not flagged",
    "precision": "share of flagged events that are anomalies",
    "mcc": "agreement with the labels: 0 is guessing, 1 perfect",
    "accuracy": "share judged right; misleading where anomalies are rare",
    "prevalence": "share of anomalies",
    "tp": "anomalies flagged",
    "fp": "normal events flagged",
    "fn": "anomalies missed",
    "tn": "normal events not flagged",
}
ORDER = (
    "roc_auc",
    "pr_auc",
    "vus_roc",
    "vus_pr",
    "sensitivity",
    "specificity",
    "precision",
    "f1",
    "mcc",
    "accuracy",
    "prevalence",
    "tp",
    "fp",
    "fn",
    "tn",
)
KIND_METRICS = ("roc_auc", "pr_auc", "sensitivity", "event_recall")
# Each of these is defined as soon as one event is labelled anomalous.
JUDGING_METRICS = ("roc_auc", "sensitivity", "tp")
SIMPLE_DETECTORS = detector_names(lambda entry: not entry.is_trainable)
CLOSE_TO_GUESSING = 0.65

MetricTable = dict[str, dict[str, MetricRow]]  # detector to metric to its row


@dataclass(frozen=True)
class Rivals:
    """The model's ROC AUC beside that of the simple detectors, which either reach it or do not."""

    area: float
    beaten_by: dict[str, float]
    ahead_of: dict[str, float]

    @property
    def is_guessing(self) -> bool:
        """Whether the model is hardly better than guessing."""
        return self.area < CLOSE_TO_GUESSING


@dataclass(frozen=True)
class Metrics:
    """Metrics of one split and its main group, by detector, and by kind of anomaly and detector.

    is_judged: whether any event is labelled. rivals None: there is nothing to compare.
    """

    model: str
    split: str | None
    group: str | None
    names: list[str]
    table: MetricTable
    kinds: dict[str, MetricTable]
    is_judged: bool
    rivals: Rivals | None
    meanings: Mapping[str, str] = field(default_factory=lambda: MEANINGS)
    kind_metrics: tuple[str, ...] = KIND_METRICS

    @property
    def detectors(self) -> list[str]:
        """The detectors, the model first."""
        return sorted(self.table, key=lambda detector: detector != self.model)

    def area(self, detector: str) -> float | None:
        """A detector's ROC AUC; None if it is not known."""
        row = self.table.get(detector, {}).get("roc_auc")
        return None if row is None else row.value


def build_metrics(data: ReportData) -> Metrics:
    """Metrics on test, or on calibration if test has none."""
    splits = [split for split in (TEST, CALIBRATION) if _of_split(data.metrics, split)]
    split = splits[0] if splits else None
    rows = _of_split(data.metrics, split)
    group = main_group(rows)
    table: MetricTable = {}
    kinds: dict[str, MetricTable] = {}
    for row in rows:
        if row.group == group:
            target = kinds.setdefault(row.kind, {}) if row.kind else table
            target.setdefault(row.detector, {})[row.metric] = row
    names = {row.metric for row in rows}
    known = [row for row in rows if row.metric in JUDGING_METRICS and row.value is not None]
    return Metrics(
        model=data.model,
        split=split,
        group=group,
        names=[name for name in ORDER if name in names] + sorted(names - {*ORDER}),
        table=table,
        kinds=dict(sorted(kinds.items())),
        is_judged=bool(known),
        rivals=compare(table, data.model),
    )


def _of_split(rows: Sequence[MetricRow], split: str | None) -> list[MetricRow]:
    return [row for row in rows if row.split == split]


def compare(table: MetricTable, model: str) -> Rivals | None:
    """The model's ROC AUC beside that of the simple detectors; None if either is not known."""
    areas = {
        detector: row.value
        for detector, metrics in table.items()
        if (row := metrics.get("roc_auc")) is not None and row.value is not None
    }
    area = areas.pop(model, None)
    simple = {detector: areas[detector] for detector in areas if detector in SIMPLE_DETECTORS}
    if area is None or not simple:
        return None
    return Rivals(
        area,
        beaten_by={detector: rival for detector, rival in simple.items() if rival >= area},
        ahead_of={detector: rival for detector, rival in simple.items() if rival < area},
    )
