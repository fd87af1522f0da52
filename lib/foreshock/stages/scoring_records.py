"""What the steps of a scoring job hand on."""

from __future__ import annotations

from dataclasses import dataclass

from foreshock import columns as C
from foreshock.scored.events import ScoredEvents
from foreshock.scored.passes import PassResults
from foreshock.scored.spans import Spans
from foreshock.stages.details import Highlights
from foreshock.statistics.sliced import SlicedHistograms
from foreshock.thresholds.distribution import Distributions, Exact
from foreshock.thresholds.rules import Judging, Threshold

JUDGED_SPLITS = (C.CALIBRATION, C.TEST)


@dataclass(frozen=True)
class Scored:
    """Events with the scores of all detectors, and what one read of them gives.

    spans: of the block roles' times.
    """

    events: ScoredEvents
    distributions: Distributions
    spans: Spans

    @property
    def n_judged(self) -> int:
        """How many events of calibration and test the run's model judged."""
        return self.distributions.judged(self.events.model, JUDGED_SPLITS)


@dataclass(frozen=True)
class Fitted:
    """Thresholds, and what else the second read of the scored events gave.

    exact: quantiles of the distributions. score_shapes: of the model's scores over time; None if
    only some partitions are scored. highlights: what details are made from, with `results`.
    """

    thresholds: tuple[Threshold, ...]
    judging: Judging
    exact: Exact
    score_shapes: SlicedHistograms | None
    highlights: Highlights
    results: PassResults
