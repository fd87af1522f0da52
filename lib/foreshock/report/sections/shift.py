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
    """What moved; None if no splits were compared."""
    if not data.drift:
        return None
    rows = [row for row in data.drift if row.group == ALL]
    return Shift(data.model, rows, data.explained.get(data.model))
