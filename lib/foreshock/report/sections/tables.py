"""How to read the tables oneself."""

from __future__ import annotations

from dataclasses import dataclass

from foreshock.report.records.data import ReportData

# Below the run directory, where the query is to be started.
RUN_TABLES = "tables"


@dataclass(frozen=True)
class TablesSection:
    """location: where the tables lie, as seen from the run directory."""

    location: str


def build_tables(data: ReportData) -> TablesSection:
    """Where the tables lie.

    >>> from foreshock.report.records.run import RunSummary
    >>> build_tables(ReportData(RunSummary("run-1", "pca", ("pca",)))).location
    'tables'
    """
    return TablesSection(data.settings.tables_location or RUN_TABLES)
