"""What a job that scores windows does: a plan that its tasks share, and the tasks."""

from __future__ import annotations

from dataclasses import dataclass

from foreshock.sequences.split import BlockRole


@dataclass(frozen=True)
class FoldModel:
    """The bundle of a fold: it scores training windows that end in [first, end), microseconds, and
    that its models did not see."""

    bundle: str
    bundle_sha256: str
    first: int
    end: int


@dataclass(frozen=True)
class ScoringTask:
    """A chunk file of blocks to score.

    role: what its blocks are for. partitions: only events of these are scored; None: all.
    windows: how many the file holds. fold: whose models score it; None: the bundle of the plan.
    """

    file: str
    sha256: str
    role: BlockRole
    partitions: tuple[str, ...] | None
    windows: int = 0
    fold: FoldModel | None = None


@dataclass(frozen=True)
class ScoringPlan:
    """What every task of a scoring job shares.

    detectors: whose scores are wanted; the errors of the first one are attributed to features if
    `attributes`. score_kind: `scoring.score`. length, stride: of windows, in events.
    """

    bundle: str
    bundle_sha256: str
    detectors: tuple[str, ...]
    score_kind: str
    length: int
    stride: int
    attributes: bool = True
