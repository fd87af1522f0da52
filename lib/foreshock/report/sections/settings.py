"""All settings of the run."""

from __future__ import annotations

from foreshock.report.records.data import ReportData, ReportedSettings


def build_settings(data: ReportData) -> ReportedSettings:
    """The settings, listed."""
    return data.settings
