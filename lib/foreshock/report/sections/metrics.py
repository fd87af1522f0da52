"""How well the detectors find known anomalies, and whether the model beats the simple ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from foreshock.columns import CALIBRATION, TEST
from foreshock.detectors import detector_names
from foreshock.report.judging import main_group
from foreshock.report.records.data import ReportData
from foreshock.report.records.rows import MetricRow

METRIC_MEANINGS = {
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
METRIC_ORDER = (
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

# Detector to metric to its row.
MetricTable = dict[str, dict[str, MetricRow]]


@dataclass(frozen=True)
class Rivals:
    """The model's ROC AUC beside that of the simple detectors, which either reach it or do not."""

    area: float
    beaten_by: dict[str, float]
    ahead_of: dict[str, float]

    @property
    def is_guessing(self) -> bool:
        """Whether the model is hardly better than guessing.

        >>> Rivals(0.6, {}, {}).is_guessing, Rivals(0.7, {}, {}).is_guessing
        (True, False)
        """
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
    meanings: Mapping[str, str] = field(default_factory=lambda: METRIC_MEANINGS)
    kind_metrics: tuple[str, ...] = KIND_METRICS

    @property
    def detectors(self) -> list[str]:
        """The detectors, the model first."""
        return sorted(self.table, key=lambda detector: detector != self.model)

    def area(self, detector: str) -> float | None:
        """A detector's ROC AUC; None if it is not known."""
        auc_row = self.table.get(detector, {}).get("roc_auc")
        return None if auc_row is None else auc_row.value


def build_metrics(data: ReportData) -> Metrics:
    """Metrics on test, or on calibration if test has none.

    >>> from foreshock.report.records.run import RunSummary
    >>> build_metrics(ReportData(RunSummary("run-1", "pca", ("pca",)))).is_judged
    False
    """
    # A run whose test has no labels may still have some in calibration.
    splits = [split for split in (TEST, CALIBRATION) if _of_split(data.metrics, split)]
    split = splits[0] if splits else None
    split_rows = _of_split(data.metrics, split)
    shown_group = main_group(split_rows)
    overall_table: MetricTable = {}
    tables_by_kind: dict[str, MetricTable] = {}
    for metric_row in split_rows:
        if metric_row.group == shown_group:
            target_table = (
                tables_by_kind.setdefault(metric_row.kind, {}) if metric_row.kind else overall_table
            )
            target_table.setdefault(metric_row.detector, {})[metric_row.metric] = metric_row
    metric_names = {metric_row.metric for metric_row in split_rows}
    # Without a labelled anomaly these are all null.
    judged_rows = [
        metric_row
        for metric_row in split_rows
        if metric_row.metric in JUDGING_METRICS and metric_row.value is not None
    ]
    return Metrics(
        model=data.model,
        split=split,
        group=shown_group,
        # A metric that is not in the order, such as one of a later version, is shown all the same.
        names=[metric_name for metric_name in METRIC_ORDER if metric_name in metric_names]
        + sorted(metric_names - {*METRIC_ORDER}),
        table=overall_table,
        kinds=dict(sorted(tables_by_kind.items())),
        is_judged=bool(judged_rows),
        rivals=compare(overall_table, data.model),
    )


def _of_split(rows: Sequence[MetricRow], split: str | None) -> list[MetricRow]:
    return [metric_row for metric_row in rows if metric_row.split == split]


def compare(table: MetricTable, model: str) -> Rivals | None:
    """The model's ROC AUC beside that of the simple detectors; None if either is not known.

    >>> areas = {"lstm_autoencoder": 0.8, "pca": 0.9}
    >>> rows = {
    ...     name: MetricRow(name, "test", "all", None, "roc_auc", area, None, None, 9)
    ...     for name, area in areas.items()
    ... }
    >>> compare({name: {"roc_auc": row} for name, row in rows.items()}, "lstm_autoencoder")
    Rivals(area=0.8, beaten_by={'pca': 0.9}, ahead_of={})
    """
    auc_by_detector = {
        detector: auc_row.value
        for detector, metric_rows in table.items()
        if (auc_row := metric_rows.get("roc_auc")) is not None and auc_row.value is not None
    }
    # A detector is not compared with itself, even if the model is a simple one.
    model_auc = auc_by_detector.pop(model, None)
    simple_detectors = {
        detector: auc_by_detector[detector]
        for detector in auc_by_detector
        if detector in SIMPLE_DETECTORS
    }
    if model_auc is None or not simple_detectors:
        return None
    return Rivals(
        model_auc,
        beaten_by={
            detector: rival_auc
            for detector, rival_auc in simple_detectors.items()
            if rival_auc >= model_auc
        },
        ahead_of={
            detector: rival_auc
            for detector, rival_auc in simple_detectors.items()
            if rival_auc < model_auc
        },
    )
