"""What the settings make of plain scores: errors by feature as one, averages in time, an ensemble. The statistics stay in the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from foreshock import columns as C
from foreshock.detectors import ENSEMBLE
from foreshock.errors import DataError
from foreshock.platform.files import read_json, write_json
from foreshock.scored import adjust_spark
from foreshock.scored.adjust_passes import FittedEvents
from foreshock.scored.adjust_spark import Combination, Rescoring
from foreshock.scored.events import ScoredEvents
from foreshock.scored.join_spark import joined
from foreshock.scored.passes_spark import run_passes
from foreshock.scored.smooth_spark import smoothed
from foreshock.sequences.split import Split
from foreshock.stages.donor import donor_run
from foreshock.stages.scoring_job import ScoringJob
from foreshock.thresholds.distribution import ADMITTED, Key, locate
from foreshock.thresholds.passes import ExactQuantiles, ScoreHistograms

ADJUST = "adjust.json"
Numbers = tuple[float, ...]


@dataclass(frozen=True)
class Adjustment:
    """The statistics that scores are adjusted by, each None if it is not needed.

    scale: of `standardised`. mean, precision: of `mahalanobis`. quantiles: of the ensemble's
    members, in their order.
    """

    scale: Numbers | None = None
    mean: Numbers | None = None
    precision: tuple[Numbers, ...] | None = None
    quantiles: Numbers | None = None

    @classmethod
    def from_mapping(cls, raw: Mapping[str, Any]) -> Adjustment:
        """What `to_mapping` gave."""
        precision = raw.get("precision")
        vectors = (raw.get(name) for name in ("scale", "mean", "quantiles"))
        scale, mean, quantiles = (None if v is None else tuple(v) for v in vectors)
        rows = None if precision is None else tuple(tuple(row) for row in precision)
        return cls(scale, mean, rows, quantiles)

    def to_mapping(self) -> Mapping[str, Any]:
        """Plain data, without what is not needed."""
        return {name: value for name, value in vars(self).items() if value is not None}

    @property
    def rescoring(self) -> Rescoring:
        """How errors by feature become a score."""
        if self.scale is not None:
            return Rescoring.standardised(np.array(self.scale))
        return Rescoring.mahalanobis(np.array(self.mean), np.array(self.precision))


def adjusted(job: ScoringJob, by_family: Mapping[str, ScoredEvents]) -> ScoredEvents:
    """The events of all families as `scoring.errors`, `scoring.smooth` and `ensemble` want them.

    Scores are in the order of all_detectors. Statistics are those of the split that thresholds are
    fitted on; with `model.from`, or if only some partitions are scored, those of the donor run or
    of the run itself. Raises DataError if it has none.
    """
    settings, spark = job.settings, job.context.spark
    known = _known_adjustment(job)
    adjustment = known or Adjustment()
    scored, *others = by_family.values()  # that of the run's model first
    if settings.scoring.errors != "plain":
        adjustment = adjustment if known else _error_statistics(job, scored)
        scored = adjust_spark.rescored(spark, scored, adjustment.rescoring, job.work / "rescored")
    for other in others:
        together = (*scored.detectors, *other.detectors)
        in_order = tuple(name for name in settings.fitted_detectors if name in together)
        scored = joined(spark, scored, other, in_order, job.work / "joined")
    if settings.scoring.smooth is not None:
        smooth = settings.scoring.smooth
        scored = smoothed(spark, scored, smooth.mean, smooth.exponential, job.work / "smoothed")
    if settings.ensemble is not None:
        members = settings.ensemble.of
        if known is None:
            adjustment = replace(adjustment, quantiles=_member_quantiles(job, scored, members))
        quantiles, how = adjustment.quantiles or (), settings.ensemble.combine
        ensemble = Combination(ENSEMBLE, members, quantiles, how)
        scored = adjust_spark.with_ensemble(
            spark, scored, ensemble, job.detectors, job.work / ENSEMBLE
        )
    write_json(job.work / ADJUST, adjustment.to_mapping())
    return scored


def _known_adjustment(job: ScoringJob) -> Adjustment | None:
    """The statistics of the donor run, or of the run itself; None if they are to be computed."""
    donor = donor_run(job.context)
    own_path = job.context.run.path if job.is_partial else None
    source = own_path if donor is None else donor.path
    errors, ensemble = job.settings.scoring.errors, job.settings.ensemble
    if source is None or (errors == "plain" and ensemble is None):
        return None
    path: Path = source / ADJUST
    known = read_json(path) if path.exists() else {}
    of_errors = {"standardised": ("scale",), "mahalanobis": ("mean", "precision")}
    wanted = [*of_errors.get(errors, ()), *(("quantiles",) if ensemble else ())]
    if missing := [name for name in wanted if name not in known]:
        raise DataError(
            f"{path}: holds no {', '.join(missing)}; that run was scored with other scoring.errors or without an ensemble. "
            "Use its settings."
        )
    return Adjustment.from_mapping(known)


def _error_statistics(job: ScoringJob, scored: ScoredEvents) -> Adjustment:
    """The statistics of the model's errors over the events that thresholds are fitted on."""
    fitted_split = Split.of(job.settings.fitted_split)
    events = FittedEvents(fitted_split, only_admitted=job.admitted_split is not None)
    if job.settings.scoring.errors == "standardised":
        scale = adjust_spark.error_scale(job.context.spark, scored, events)
        return Adjustment(scale=tuple(scale.tolist()))
    residuals = adjust_spark.residuals(job.context.spark, scored, events)
    precision = tuple(tuple(row) for row in residuals.precision().tolist())
    return Adjustment(mean=tuple(residuals.mean.tolist()), precision=precision)


def _member_quantiles(job: ScoringJob, scored: ScoredEvents, members: tuple[str, ...]) -> Numbers:
    """The calibration quantile that each member's scores are divided by."""
    if job.settings.ensemble is None:
        return ()
    spark, level = job.context.spark, job.settings.ensemble.quantile
    histograms = ScoreHistograms(members, job.admitted_split)
    distributions = run_passes(spark, scored, [histograms]).of(histograms)
    split = ADMITTED if job.admitted_split else job.settings.fitted_split
    keys = [Key(member, split, None, C.ALL) for member in members]
    exact = ExactQuantiles(tuple(locate(distributions, keys, [level])), job.admitted_split)
    quantiles = exact.resolved(run_passes(spark, scored, [exact]).of(exact))
    if len(quantiles) < len(keys):
        raise DataError(
            f"no event of split.{job.settings.fitted_split} was judged, so the ensemble has nothing to divide by. Widen it."
        )
    return tuple(quantiles[key, level] for key in keys)
