"""Everything that the page is made from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from foreshock.report.records.events import TimelineEvent, TopEvent
from foreshock.report.records.fit import DatasetSize, ExplainedFacts, ScalerFacts, TrainingCurve
from foreshock.report.records.rows import DriftRow, MetricRow, PartitionRow, ThresholdRow
from foreshock.report.records.run import RunSummary
from foreshock.statistics.histogram import Histogram


@dataclass(frozen=True)
class ReportedSettings:
    """What the page says of the settings.

    test_span: [from, to) of test; None if test is a table of its own. expressions: those of
    `events` that may read the label, by key. listed: every setting as (section.key, value).
    """

    run_name: str | None = None
    test_span: tuple[str, str] | None = None
    tables_location: str | None = None
    expressions: Mapping[str, str | None] = field(default_factory=dict)
    listed: tuple[tuple[str, str], ...] = ()

    @classmethod
    def from_mapping(cls, settings: Mapping[str, Any]) -> ReportedSettings:
        """The settings as `settings.load.as_mapping` gives them.

        >>> ReportedSettings.from_mapping({"run": {"name": "demo", "seed": 7}}).listed
        (('run.name', 'demo'), ('run.seed', '7'))
        """
        event_settings = settings.get("events") or {}
        # A test table of its own is a mapping with its path.
        test_span = (settings.get("split") or {}).get("test")
        expression_keys = ("label", "kind", "train_where", "calibrate_where")
        return cls(
            run_name=(settings.get("run") or {}).get("name"),
            test_span=(test_span[0], test_span[1]) if isinstance(test_span, list) else None,
            tables_location=(settings.get("tables") or {}).get("location"),
            expressions={
                expression_key: event_settings.get(expression_key)
                for expression_key in expression_keys
            },
            listed=tuple(list_settings(settings)),
        )


def list_settings(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """(section.key, value) of nested settings; a value that is not text is written as JSON.

    >>> list(list_settings({"windows": {"length": 16, "short": "drop"}}))
    [('windows.length', '16'), ('windows.short', 'drop')]
    """
    for setting_name, value in settings.items():
        # An empty section is written as {}, so that no setting is missing from the list.
        if isinstance(value, dict) and value:
            yield from list_settings(value, f"{prefix}{setting_name}.")
        elif isinstance(value, str):
            yield f"{prefix}{setting_name}", value
        else:
            yield f"{prefix}{setting_name}", json.dumps(value, default=str, ensure_ascii=False)


@dataclass(frozen=True)
class ReportData:
    """What the page shows. None stands for what could not be judged.

    distributions: detector to split to the histogram of its scores. partitions: the rows of
    `error_distribution`. dataset: split to the size of its windows. explained: by detector.
    """

    summary: RunSummary
    settings: ReportedSettings = field(default_factory=ReportedSettings)
    scaler: ScalerFacts = field(default_factory=ScalerFacts)
    distributions: Mapping[str, Mapping[str, Histogram]] = field(default_factory=dict)
    thresholds: tuple[ThresholdRow, ...] = ()
    partitions: tuple[PartitionRow, ...] = ()
    metrics: tuple[MetricRow, ...] = ()
    top_events: tuple[TopEvent, ...] = ()
    timeline: tuple[TimelineEvent, ...] = ()
    training: TrainingCurve = field(default_factory=TrainingCurve)
    dataset: Mapping[str, DatasetSize] = field(default_factory=dict)
    drift: tuple[DriftRow, ...] = ()
    explained: Mapping[str, ExplainedFacts | None] = field(default_factory=dict)

    @property
    def model(self) -> str:
        """The detector whose scores judge."""
        return self.summary.model
