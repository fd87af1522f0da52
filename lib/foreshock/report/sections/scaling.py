"""Scaling of the features: the policy for each, with its statistics over training events."""

from __future__ import annotations

from foreshock.report.records.data import ReportData
from foreshock.report.records.fit import ScalerFacts


def build_scaling(data: ReportData) -> ScalerFacts:
    """How the features were scaled: what the scaler says of itself.

    >>> from foreshock.report.records.run import RunSummary
    >>> build_scaling(ReportData(RunSummary("run-1", "pca", ("pca",)))).features
    ()
    """
    return data.scaler
