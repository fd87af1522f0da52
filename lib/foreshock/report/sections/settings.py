"""All settings of the run."""

from __future__ import annotations

from foreshock.report.records.data import ReportData, ReportedSettings


def build_settings(data: ReportData) -> ReportedSettings:
    """The settings, listed.

    >>> from foreshock.report.records.run import RunSummary
    >>> build_settings(ReportData(RunSummary("run-1", "pca", ("pca",)))).listed
    ()
    """
    return data.settings
