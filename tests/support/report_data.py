"""A small run as the report reads it: rows, events, figures' data, all made up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from foreshock.report.records.data import ReportData, ReportedSettings
from foreshock.report.records.events import TimelineEvent, TopEvent
from foreshock.report.records.fit import (
    DatasetSize,
    EpochRow,
    FeatureScaling,
    ScalerFacts,
    TrainingCurve,
)
from foreshock.report.records.rows import JudgingRule, MetricRow, PartitionRow, ThresholdRow
from foreshock.report.records.run import FlaggedCount, RunCounts, RunSummary
from foreshock.statistics.histogram import Histogram

EVIL = "<script>alert(1)</script>$x_{"
DETECTORS = ("lstm_autoencoder", "pca", "isolation_forest")
MODEL = DETECTORS[0]
RULE = JudgingRule("quantile", 0.99)
COUNTS = RunCounts(
    rows_read=1000,
    filtered=10,
    quarantined={"null": 4, "not_numeric": 1},
    outside_splits=0,
    train=500,
    judged=470,
    unjudged={"warm_up": 15},
)
DAYS = {"train": "2024-01-01", "calibration": "2024-01-02", "test": "2024-01-03"}


def threshold(
    detector: str = MODEL,
    partition: str | None = None,
    *,
    fitted_on: str = "calibration",
    level: float = 0.99,
    value: float = 2.0,
    group: str = "all",
    rule: str = "quantile",
) -> ThresholdRow:
    """A row of `thresholds`, fitted on 200 events."""
    return ThresholdRow(
        detector=detector,
        group=group,
        partition=partition,
        rule=rule,
        level=level,
        threshold=value,
        n=200,
        ci_low=value - 0.2,
        ci_high=None if partition else value + 0.5,
        fallback=None,
        fitted_on=fitted_on,
    )


def metric(
    detector: str, name: str, value: float | None, kind: str | None = None, split: str = "test"
) -> MetricRow:
    """A row of `metrics` for all groups, without an interval."""
    return MetricRow(detector, split, "all", kind, name, value, None, None, 270, 7)


def summary() -> RunSummary:
    """The summary of a run that flagged 2 events of calibration and none of test."""
    return RunSummary(
        run_id="run-1",
        model=MODEL,
        detectors=DETECTORS,
        counts=COUNTS,
        rule=RULE,
        flagged={"calibration": FlaggedCount(2, 200), "test": FlaggedCount(0, 270)},
        settings_sha256="ab" * 32,
    )


def settings(**expressions: str | None) -> ReportedSettings:
    """The settings, with expressions of `events`."""
    return ReportedSettings.from_mapping(
        {"run": {"name": "demo", "seed": 7}, "events": {"label": "is_bad", **expressions}}
    )


def top_event(**changes: object) -> TopEvent:
    """A labelled event above its threshold. Its names are markup that the page has to escape."""
    rng = np.random.default_rng(7)
    event = TopEvent(
        entity=EVIL,
        event_id="e1",
        event_time="2024-01-03T04:05:06+00:00",
        partition="2024-01-03",
        group="all",
        score=9.0,
        threshold=2.0,
        label=1,
        kind="spike",
        features=[EVIL, "gas"],
        times=[f"2024-01-03T04:0{minute}:06+00:00" for minute in range(5)],
        x=rng.normal(size=(5, 2)).tolist(),
        reconstruction=rng.normal(size=(5, 2)).tolist(),
        errors=[0.1, 0.2, 0.3, 0.4, 9.0],
    )
    return replace(event, **changes)  # type: ignore[arg-type]


def timeline() -> tuple[TimelineEvent, ...]:
    """Five events of a morning, the last two flagged."""
    return tuple(
        TimelineEvent(f"2024-01-03T0{hour}:00:00+00:00", float(hour), hour > 2, int(hour == 4))
        for hour in range(5)
    )


def words() -> ReportData:
    """A run without what figures are drawn from, which takes a second."""
    constant = FeatureScaling(
        name="flat", policy="dropped", n=500, nulls=0, center=3.0, median=3.0, why="constant: 3"
    )
    return ReportData(
        summary=summary(),
        settings=settings(),
        scaler=ScalerFacts("robust", "none", 5.0, (constant,)),
        thresholds=tuple(threshold(detector) for detector in DETECTORS),
        metrics=(
            metric(MODEL, "roc_auc", 0.81),
            metric("pca", "roc_auc", 0.92),
            metric("pca", "precision", None),
            metric(MODEL, "tp", 0.0),
            metric("isolation_forest", "roc_auc", 0.5),
            metric("pca", "roc_auc", 0.9, "spike"),
        ),
        dataset={"train": DatasetSize(windows=451, blocks=1, events=500, bytes=12_345)},
    )


def whole() -> ReportData:
    """The same run with everything that figures are drawn from."""
    rng = np.random.default_rng(7)
    spread = {
        split: Histogram.of(rng.lognormal(center, 0.5, 300))
        for split, center in (("train", 0), ("calibration", 0), ("test", 1))
    }
    plain = top_event(entity="plain", reconstruction=None, label=None, threshold=None)
    return replace(
        words(),
        distributions={detector: spread for detector in DETECTORS},
        thresholds=(
            *(threshold(detector) for detector in DETECTORS),
            threshold(partition=DAYS["calibration"]),
            threshold(partition=DAYS["test"], fitted_on="self"),
        ),
        partitions=tuple(
            PartitionRow(MODEL, split, day, "all", 300, p50=1.0, p99=3.0, max=5.0)
            for split, day in DAYS.items()
        ),
        top_events=(top_event(), plain),
        timeline=timeline(),
        training=TrainingCurve(
            epochs=(EpochRow(1, 0.5, 0.6), EpochRow(2, 0.4, None)),
            best_epoch=1,
            windows=1800,
            windows_per_second=900.0,
        ),
    )
