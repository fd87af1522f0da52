"""The summary of a run (`summary.json`): counts, verdict, thresholds, metrics, gates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from foreshock.report.records.fit import FitFacts
from foreshock.report.records.reading import read_record, read_records
from foreshock.report.records.rows import JudgingRule, MetricRow, ThresholdRow


@dataclass(frozen=True)
class RunCounts:
    """What became of the rows read; quarantined and unjudged by reason.

    train: all events of that split. judged: events of calibration and test with a score.
    """

    rows_read: int
    filtered: int
    quarantined: Mapping[str, int]
    outside_splits: int
    train: int
    judged: int
    unjudged: Mapping[str, int]

    @property
    def total(self) -> int:
        """The sum of what became of the rows: equal to `rows_read` if every row is accounted for.

        >>> RunCounts(10, 1, {"null": 2}, 0, 4, 2, {"warm_up": 1}).total
        10
        """
        without_score = sum(self.quarantined.values()) + sum(self.unjudged.values())
        return self.filtered + self.outside_splits + self.train + self.judged + without_score

    def to_mapping(self) -> dict[str, object]:
        """Plain data for `summary.json`, by the names of the fields.

        `reading.read_record` reads it back.
        """
        return asdict(self)


@dataclass(frozen=True)
class FlaggedCount:
    """How many of a split's judged events were flagged as anomalous."""

    flagged: int
    judged: int


@dataclass(frozen=True)
class Verdict:
    """Whether the run is sound and, if not, why.

    causes: by name, in order. features: those that carry them. text: sentences with remedies.
    """

    causes: tuple[str, ...]
    features: tuple[str, ...]
    text: str

    @classmethod
    def from_mapping(cls, raw: Mapping[str, Any]) -> Verdict:
        """The verdict in `verdict.json` or `summary.json`.

        >>> Verdict.from_mapping({"causes": ["healthy"], "features": [], "text": "Fine."}).causes
        ('healthy',)
        """
        return cls(tuple(raw["causes"]), tuple(raw.get("features", ())), raw["text"])

    def to_mapping(self) -> dict[str, object]:
        """Plain data for `summary.json`; `from_mapping` reads it back.

        >>> Verdict(("healthy",), (), "Fine.").to_mapping()
        {'causes': ['healthy'], 'features': [], 'text': 'Fine.'}
        """
        return {"causes": list(self.causes), "features": list(self.features), "text": self.text}


@dataclass(frozen=True)
class ShiftMeasures:
    """How far two splits lie apart in one feature or in the score (columns of `drift`)."""

    wasserstein: float | None
    trimmed: float | None
    band: float | None
    quantile_ratio: float | None
    verdict: str


@dataclass(frozen=True)
class SplitShift:
    """How far a pair of splits lies apart: the score, and the features that moved farthest."""

    from_split: str
    to_split: str
    score: ShiftMeasures | None
    features: Mapping[str, ShiftMeasures]

    @classmethod
    def from_mapping(cls, raw: Mapping[str, Any]) -> SplitShift:
        """The shift in `summary.json`.

        >>> raw = {"from": "train", "to": "test", "score": None, "features": []}
        >>> SplitShift.from_mapping(raw).to_split
        'test'
        """
        features = {
            raw_row["feature"]: read_record(ShiftMeasures, raw_row) for raw_row in raw["features"]
        }
        score = None if raw["score"] is None else read_record(ShiftMeasures, raw["score"])
        return cls(raw["from"], raw["to"], score, features)

    def to_mapping(self) -> dict[str, object]:
        """Plain data for `summary.json`; `from_mapping` reads it back.

        >>> SplitShift("train", "test", None, {}).to_mapping()
        {'from': 'train', 'to': 'test', 'score': None, 'features': []}
        """
        features = self.features.items()
        return {
            "from": self.from_split,
            "to": self.to_split,
            "score": None if self.score is None else asdict(self.score),
            "features": [
                {"feature": feature_name, **asdict(measures)} for feature_name, measures in features
            ],
        }


@dataclass(frozen=True)
class RunSummary:
    """The result of a run. thresholds: the rows over all partitions. flagged: by split.

    rule: the one that judges; None in a summary of an early version, which had but one rule.
    report: path of the page.
    """

    run_id: str
    model: str
    detectors: tuple[str, ...]
    counts: RunCounts | None = None
    status: str = "done"
    verdict: Verdict | None = None
    rule: JudgingRule | None = None
    thresholds: tuple[ThresholdRow, ...] = ()
    metrics: tuple[MetricRow, ...] = ()
    flagged: Mapping[str, FlaggedCount] = field(default_factory=dict)
    gates: tuple[str, ...] = ()
    report: str = ""
    settings_sha256: str = ""
    drift: tuple[SplitShift, ...] = ()
    fit: FitFacts = field(default_factory=FitFacts)

    @classmethod
    def from_mapping(cls, raw: Mapping[str, Any]) -> RunSummary:
        """The summary in `summary.json`, of an earlier version too.

        >>> written = RunSummary("run-1", "pca", ("pca",), RunCounts(1, 0, {}, 0, 0, 1, {}))
        >>> RunSummary.from_mapping(written.to_mapping()) == written
        True
        """
        verdict, rule = raw.get("verdict"), raw.get("rule")
        # Keys that came later than the first version may be missing.
        flagged = raw.get("flagged") or {}
        return cls(
            run_id=raw["run_id"],
            model=raw["model"],
            detectors=tuple(raw["detectors"]),
            counts=read_record(RunCounts, raw["counts"]),
            status=raw["status"],
            verdict=None if verdict is None else Verdict.from_mapping(verdict),
            rule=None if rule is None else read_record(JudgingRule, rule),
            thresholds=read_records(ThresholdRow, raw["thresholds"]),
            metrics=read_records(MetricRow, raw["metrics"]),
            flagged={
                split: read_record(FlaggedCount, raw_row) for split, raw_row in flagged.items()
            },
            gates=tuple(raw["gates"]),
            report=raw["report"],
            settings_sha256=raw["settings_sha256"],
            drift=tuple(SplitShift.from_mapping(raw_row) for raw_row in raw.get("drift") or ()),
            fit=FitFacts.from_mapping(raw),
        )

    def to_mapping(self) -> dict[str, object]:
        """Plain data for `summary.json`; `from_mapping` reads it back."""
        return {
            "run_id": self.run_id,
            "status": self.status,
            "verdict": None if self.verdict is None else self.verdict.to_mapping(),
            "model": self.model,
            "detectors": list(self.detectors),
            "rule": None if self.rule is None else asdict(self.rule),
            "thresholds": [asdict(table_row) for table_row in self.thresholds],
            "metrics": [asdict(table_row) for table_row in self.metrics],
            "counts": None if self.counts is None else self.counts.to_mapping(),
            "flagged": {split: asdict(count) for split, count in self.flagged.items()},
            "gates": list(self.gates),
            "report": self.report,
            "settings_sha256": self.settings_sha256,
            "drift": [shift.to_mapping() for shift in self.drift],
            **self.fit.to_mapping(),
        }
