"""What a bundle says of the training that it came from: the record `info` of bundle.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from foreshock.windows.models.explained import Explained

# [from, to) in microseconds.
Fold = tuple[int, int]
PlainMapping = Mapping[str, Any]


@dataclass(frozen=True)
class TrainingFacts:
    """How the detectors of a run were trained.

    Attributes:
        seed: `run.seed`.
        versions: of the packages that a result depends on.
        train_windows: windows of the training dataset.
        sample_windows: those that sampled detectors were fitted on.
        training: the training loop's history, plain; empty if no detector is trained by it.
        fitted_on: by detector, the windows (or events) that it was fitted on.
        explained: by detector, what it explains of training windows; None if it expects no values.
        folds: spans of training time that detectors were fitted without; None without any.
    """

    seed: int
    versions: Mapping[str, str]
    train_windows: int
    sample_windows: int
    training: PlainMapping = field(default_factory=dict)
    fitted_on: Mapping[str, int] = field(default_factory=dict)
    explained: Mapping[str, Explained | None] = field(default_factory=dict)
    folds: tuple[Fold, ...] | None = None

    def to_mapping(self) -> dict[str, Any]:
        """Plain data for JSON.

        The keys and their order are part of the bundle's format.
        """
        folds = {} if self.folds is None else {"folds": self.folds}
        explained = {
            name: None if facts is None else facts.to_mapping()
            for name, facts in self.explained.items()
        }
        return {
            "seed": self.seed,
            "versions": dict(self.versions),
            "train_windows": self.train_windows,
            "training": dict(self.training),
            **folds,
            "sample_windows": self.sample_windows,
            "fitted_on": dict(self.fitted_on),
            "explained": explained,
        }

    @classmethod
    def from_mapping(cls, mapping: PlainMapping) -> Self:
        """What `to_mapping` gave.

        Bundles of older versions have fewer keys: what they lack is empty or None. Raises KeyError
        if one of the keys is missing that all versions have.
        """
        folds = mapping.get("folds")
        explained = mapping.get("explained") or {}
        return cls(
            seed=mapping["seed"],
            versions=mapping["versions"],
            train_windows=mapping["train_windows"],
            sample_windows=mapping["sample_windows"],
            training=mapping.get("training") or {},
            fitted_on=mapping.get("fitted_on") or {},
            explained={
                name: None if facts is None else Explained.from_mapping(facts)
                for name, facts in explained.items()
            },
            folds=None if folds is None else tuple((begin, end) for begin, end in folds),
        )


@dataclass(frozen=True)
class FoldFacts:
    """Which fold of training time the detectors of a fold's bundle did not see."""

    fold: int
    span: Fold

    def to_mapping(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"fold": self.fold, "span": self.span}

    @classmethod
    def from_mapping(cls, mapping: PlainMapping) -> Self:
        """What `to_mapping` gave, before or after it was JSON.

        >>> FoldFacts.from_mapping({"fold": 1, "span": [0, 60]})
        FoldFacts(fold=1, span=(0, 60))
        """
        begin, end = mapping["span"]
        return cls(mapping["fold"], (begin, end))


def facts_of(mapping: PlainMapping) -> TrainingFacts | FoldFacts:
    """The facts of a bundle's record `info`: those of a fold if it has a span.

    Raises KeyError or TypeError for anything else.

    >>> facts_of({"fold": 1, "span": [0, 60]}).fold
    1
    """
    return (
        FoldFacts.from_mapping(mapping)
        if "span" in mapping
        else TrainingFacts.from_mapping(mapping)
    )
