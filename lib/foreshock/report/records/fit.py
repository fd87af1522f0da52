"""What a run was fitted on and how: training, scaling, folds, the dataset of windows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from foreshock.report.records.reading import read_record, read_records
from foreshock.report.wording import iso_of_micros


@dataclass(frozen=True)
class Fold:
    """A fold of training time, [start, end) as ISO text; None: it has no bound on that side."""

    start: str | None
    end: str | None

    def to_mapping(self) -> dict[str, str | None]:
        """Plain data for `summary.json`.

        >>> Fold(None, "1970-01-01T00:00:00+00:00").to_mapping()
        {'from': None, 'to': '1970-01-01T00:00:00+00:00'}
        """
        return {"from": self.start, "to": self.end}


@dataclass(frozen=True)
class FitFacts:
    """What a bundle says of its fit.

    train_windows: windows of the training dataset. fitted_on: detector to how many of them it was
    fitted on, without the network. explained: detector to the share of each feature's variation
    that it explains; None: the detector expects no values.
    """

    train_windows: int | None = None
    fitted_on: Mapping[str, int] = field(default_factory=dict)
    explained: Mapping[str, Mapping[str, float | None] | None] = field(default_factory=dict)
    folds: tuple[Fold, ...] = ()

    @classmethod
    def from_bundle_info(cls, info: Mapping[str, Any]) -> FitFacts:
        """The facts in a bundle's `info`, whose folds are [from, to) in microseconds.

        >>> FitFacts.from_bundle_info({"folds": [[-9, 0], [0, 9]]}).folds[1].start
        '1970-01-01T00:00:00+00:00'
        """
        explained = {
            detector: None if explained_facts is None else explained_facts["share"]
            for detector, explained_facts in (info.get("explained") or {}).items()
        }
        # The outer folds have no bound: their ends are the ends of time, which no date can hold.
        fold_starts = [iso_of_micros(fold_start) for fold_start, _ in (info.get("folds") or [])[1:]]
        fold_ranges = zip([None, *fold_starts], [*fold_starts, None], strict=True)
        return cls(
            train_windows=info.get("train_windows"),
            fitted_on=info.get("fitted_on") or {},
            explained=explained,
            folds=tuple(Fold(*fold_bounds) for fold_bounds in fold_ranges)
            if info.get("folds")
            else (),
        )

    @classmethod
    def from_mapping(cls, raw: Mapping[str, Any]) -> FitFacts:
        """The facts in `summary.json`; what a summary of an early version lacks is empty.

        >>> FitFacts.from_mapping({"train_windows": 9}).folds
        ()
        """
        return cls(
            train_windows=raw.get("train_windows"),
            fitted_on=raw.get("fitted_on") or {},
            explained=raw.get("explained") or {},
            folds=tuple(Fold(fold["from"], fold["to"]) for fold in raw.get("folds") or ()),
        )

    def to_mapping(self) -> dict[str, object]:
        """Plain data for `summary.json`; `from_mapping` reads it back.

        >>> list(FitFacts().to_mapping())
        ['train_windows', 'fitted_on', 'explained', 'folds']
        """
        return {
            "train_windows": self.train_windows,
            "fitted_on": self.fitted_on,
            "explained": self.explained,
            "folds": [fold.to_mapping() for fold in self.folds],
        }


@dataclass(frozen=True)
class ExplainedFacts:
    """How much a model explains of sampled training windows, by feature (windows.models.explained).

    share: of the squared distance from the median. spread: variation of what the model expects,
    as a share of the data's. outside: share of values that the output cannot reach.
    """

    windows: int
    share: Mapping[str, float | None]
    spread: Mapping[str, float | None]
    outside: Mapping[str, float]


@dataclass(frozen=True)
class EpochRow:
    """An epoch of training. waited: share of its time spent waiting for data."""

    epoch: int
    loss: float | None
    validation_loss: float | None = None
    waited: float | None = None


@dataclass(frozen=True)
class TrainingCurve:
    """The training of the network; no epochs if the run's model is not trained in epochs."""

    epochs: tuple[EpochRow, ...] = ()
    best_epoch: int | None = None
    windows: int | None = None
    windows_per_second: float | None = None
    note: str = ""
    replicas: int = 1
    workers: int = 0

    @classmethod
    def from_mapping(cls, raw: Mapping[str, Any]) -> TrainingCurve:
        """The curve in the `training` of a bundle's info, empty without epochs.

        >>> TrainingCurve.from_mapping({"epochs": [{"epoch": 1, "loss": 0.5}]}).epochs[0].loss
        0.5
        """
        return cls(
            epochs=read_records(EpochRow, raw.get("epochs") or ()),
            best_epoch=raw.get("best_epoch"),
            windows=raw.get("windows"),
            windows_per_second=raw.get("windows_per_second"),
            note=raw.get("note") or "",
            replicas=raw.get("replicas", 1),
            workers=len(raw.get("workers", ())),
        )


@dataclass(frozen=True)
class FeatureScaling:
    """How one feature was scaled, with its statistics over training events."""

    name: str
    policy: str
    n: int | None = None
    nulls: int | None = None
    center: float | None = None
    scale: float | None = None
    minimum: float | None = None
    q1: float | None = None
    median: float | None = None
    q3: float | None = None
    maximum: float | None = None
    why: str = ""


@dataclass(frozen=True)
class ScalerFacts:
    """How the features were scaled (`scaler.json`). clip None: scaled values are not limited."""

    method: str = "none"
    transform: str = "none"
    clip: float | None = None
    features: tuple[FeatureScaling, ...] = ()

    @classmethod
    def from_mapping(cls, raw: Mapping[str, Any]) -> ScalerFacts:
        """The facts in `scaler.json`.

        >>> raw = {"method": "robust", "features": [{"name": "gas", "policy": "scaled"}]}
        >>> ScalerFacts.from_mapping(raw).features[0].name
        'gas'
        """
        features = read_records(FeatureScaling, raw["features"])
        return read_record(cls, {**raw, "features": features})


@dataclass(frozen=True)
class DatasetSize:
    """What a split's dataset of windows holds. events: stored ones, in blocks that overlap."""

    windows: int
    blocks: int
    events: int
    bytes: int
