"""What the settings make of plain scores: one error of a feature's many, averages, an ensemble.

The statistics that this takes stay in the run, in adjust.json.
"""

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
        """The adjustment that `to_mapping` gave.

        A statistic that the mapping lacks is None.
        """
        precision_rows = raw.get("precision")
        raw_vectors = (raw.get(statistic_name) for statistic_name in ("scale", "mean", "quantiles"))
        scale, mean, quantiles = (None if v is None else tuple(v) for v in raw_vectors)
        row_tuples = (
            None
            if precision_rows is None
            else tuple(tuple(matrix_row) for matrix_row in precision_rows)
        )
        return cls(scale, mean, row_tuples, quantiles)

    def to_mapping(self) -> Mapping[str, Any]:
        """Plain data for adjust.json, without what is not needed.

        `from_mapping` reads it back.
        """
        return {
            statistic_name: value
            for statistic_name, value in vars(self).items()
            if value is not None
        }

    @property
    def rescoring(self) -> Rescoring:
        """How errors by feature become a score: standardised if there is a scale, else mahalanobis.

        The adjustment must hold the statistics of one of the two.
        """
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
    known_adjustment = _known_adjustment(job)
    adjustment = known_adjustment or Adjustment()
    # The family of the run's model comes first.
    scored, *other_families = by_family.values()
    if settings.scoring.errors != "plain":
        adjustment = adjustment if known_adjustment else _error_statistics(job, scored)
        scored = adjust_spark.rescored(spark, scored, adjustment.rescoring, job.work / "rescored")
    for other_family in other_families:
        joined_detectors = (*scored.detectors, *other_family.detectors)
        ordered_detectors = tuple(
            statistic_name
            for statistic_name in settings.fitted_detectors
            if statistic_name in joined_detectors
        )
        scored = joined(spark, scored, other_family, ordered_detectors, job.work / "joined")
    if settings.scoring.smooth is not None:
        smooth_settings = settings.scoring.smooth
        scored = smoothed(
            spark, scored, smooth_settings.mean, smooth_settings.exponential, job.work / "smoothed"
        )
    if settings.ensemble is not None:
        member_names = settings.ensemble.of
        if known_adjustment is None:
            adjustment = replace(adjustment, quantiles=_member_quantiles(job, scored, member_names))
        quantiles, combine_how = adjustment.quantiles or (), settings.ensemble.combine
        ensemble_combination = Combination(ENSEMBLE, member_names, quantiles, combine_how)
        scored = adjust_spark.with_ensemble(
            spark, scored, ensemble_combination, job.detectors, job.work / ENSEMBLE
        )
    # A run that names this one in `model.from` reads them.
    write_json(job.work / ADJUST, adjustment.to_mapping())
    return scored


def _known_adjustment(job: ScoringJob) -> Adjustment | None:
    """The statistics of the donor run, or of the run itself; None if they are to be computed."""
    donor = donor_run(job.context)
    # Scores of a few partitions must compare with those of the rest, which stay.
    own_path = job.context.run.path if job.is_partial else None
    source_path = own_path if donor is None else donor.path
    errors, ensemble_combination = job.settings.scoring.errors, job.settings.ensemble
    if source_path is None or (errors == "plain" and ensemble_combination is None):
        return None
    path: Path = source_path / ADJUST
    known_adjustment = read_json(path) if path.exists() else {}
    of_errors = {"standardised": ("scale",), "mahalanobis": ("mean", "precision")}
    wanted_names = [*of_errors.get(errors, ()), *(("quantiles",) if ensemble_combination else ())]
    if missing := [
        statistic_name for statistic_name in wanted_names if statistic_name not in known_adjustment
    ]:
        raise DataError(
            f"{path}: holds no {', '.join(missing)}; that run was scored with other scoring.errors "
            "or without an ensemble. Use its settings."
        )
    return Adjustment.from_mapping(known_adjustment)


def _error_statistics(job: ScoringJob, scored: ScoredEvents) -> Adjustment:
    """The statistics of the model's errors over the events that thresholds are fitted on."""
    fitted_split = Split.of(job.settings.fitted_split)
    fitted_events = FittedEvents(fitted_split, only_admitted=job.admitted_split is not None)
    if job.settings.scoring.errors == "standardised":
        scale = adjust_spark.error_scale(job.context.spark, scored, fitted_events)
        return Adjustment(scale=tuple(scale.tolist()))
    residuals = adjust_spark.residuals(job.context.spark, scored, fitted_events)
    precision_rows = tuple(tuple(matrix_row) for matrix_row in residuals.precision().tolist())
    return Adjustment(mean=tuple(residuals.mean.tolist()), precision=precision_rows)


def _member_quantiles(job: ScoringJob, scored: ScoredEvents, members: tuple[str, ...]) -> Numbers:
    """The calibration quantile that each member's scores are divided by."""
    if job.settings.ensemble is None:
        return ()
    spark, quantile_level = job.context.spark, job.settings.ensemble.quantile
    histogram_pass = ScoreHistograms(members, job.admitted_split)
    distributions = run_passes(spark, scored, [histogram_pass]).of(histogram_pass)
    split_name = ADMITTED if job.admitted_split else job.settings.fitted_split
    member_keys = [Key(member_name, split_name, None, C.ALL) for member_name in members]
    exact_pass = ExactQuantiles(
        tuple(locate(distributions, member_keys, [quantile_level])), job.admitted_split
    )
    quantiles = exact_pass.resolved(run_passes(spark, scored, [exact_pass]).of(exact_pass))
    if len(quantiles) < len(member_keys):
        raise DataError(
            f"no event of split.{job.settings.fitted_split} was judged, so the ensemble has "
            "nothing to divide by. Widen it."
        )
    return tuple(quantiles[member_key, quantile_level] for member_key in member_keys)
