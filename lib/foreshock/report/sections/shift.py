"""What moved between the splits, and how much of the training data the model explains."""

from __future__ import annotations

from dataclasses import dataclass

from foreshock.columns import ALL
from foreshock.report.records.data import ReportData
from foreshock.report.records.fit import ExplainedFacts
from foreshock.report.records.rows import DriftRow


@dataclass(frozen=True)
class Shift:
    """rows: pairs of splits, all groups together. explained None: the model expects no values."""

    model: str
    rows: list[DriftRow]
    explained: ExplainedFacts | None


def build_shift(data: ReportData) -> Shift | None:
    """What moved; None if no splits were compared.

    >>> from foreshock.report.records.run import RunSummary
    >>> build_shift(ReportData(RunSummary("run-1", "pca", ("pca",)))) is None
    True
    """
    if not data.drift:
        return None
    overall_rows = [drift_row for drift_row in data.drift if drift_row.group == ALL]
    return Shift(data.model, overall_rows, data.explained.get(data.model))
