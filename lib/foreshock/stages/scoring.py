"""The steps of a scoring job: score events, fit thresholds, judge, measure, publish.

Each step hands on a record.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from foreshock import columns as C
from foreshock.diagnosis.score_shapes import ScoreShapes
from foreshock.errors import DataError
from foreshock.evaluation.assembly import MOST_EXACT_EVENTS, metric_rows
from foreshock.evaluation.labelled import LabelledCounts, LabelledEvents
from foreshock.evaluation.range_rows import range_rows
from foreshock.events.partitions import is_time
from foreshock.platform.files import write_json
from foreshock.platform.transfers import remove
from foreshock.scored.passes import Pass, run_here
from foreshock.scored.passes_spark import run_passes
from foreshock.scored.spans import EventSpans
from foreshock.sequences.split import BlockRole
from foreshock.stages.adjust import adjusted
from foreshock.stages.context import Context
from foreshock.stages.details import Highlights, details
from foreshock.stages.diagnose import diagnose
from foreshock.stages.score_publish import DETAILS, publish_scores
from foreshock.stages.score_tables import write_judged
from foreshock.stages.scoring_families import score_families
from foreshock.stages.scoring_job import ScoringJob, load_inputs, open_job
from foreshock.stages.scoring_records import Fitted, Scored
from foreshock.tables import rows as tables
from foreshock.thresholds.distribution import QUANTILES, Wanted, locate
from foreshock.thresholds.fitting import ThresholdFit
from foreshock.thresholds.passes import ExactQuantiles, ScoreHistograms
from foreshock.thresholds.rules import judging, threshold_of
from foreshock.windows.dataset.manifest import Manifest


@dataclass(frozen=True)
class Measured:
    """The rows of `metrics`, and the causes that the verdict names; None if there is no verdict."""

    metrics: tuple[dict[str, Any], ...]
    causes: Any = None


def run_scoring(
    context: Context,
    manifests: Mapping[str, Manifest],
    partitions: list[str] | None,
    fingerprint: str,
) -> None:
    """Score a run, or some of its partitions, and write and publish its tables.

    manifests: of the dataset's splits.

    Raises DataError if dataset and bundle do not belong together, or too few events are there to
    fit a threshold on; SettingsError if what is wanted cannot be scored.
    """
    scoring_inputs = load_inputs(context, manifests, partitions)
    with context.attempt("score") as counts:
        scoring_job = open_job(context, scoring_inputs, partitions, context.run.staging("score"))
        scored_events = score_events(scoring_job)
        fitted_thresholds = fit_thresholds(scoring_job, scored_events)
        write_judged(scoring_job, scored_events, fitted_thresholds)
        measured = measure(scoring_job, scored_events, fitted_thresholds)
        counts |= {
            "judged": scored_events.n_judged,
            "thresholds": len(fitted_thresholds.thresholds),
        }
        counts["metrics"] = len(measured.metrics)
        if measured.causes is not None:
            counts["verdict"] = measured.causes
        publish_scores(scoring_job, fingerprint)
        remove(scoring_job.work)


def score_events(job: ScoringJob) -> Scored:
    """Let each detector family score its events; adjust the scores; read them a first time.

    That read gives the distributions of the scores, and the times that each block role spans.
    """
    adjusted_events = adjusted(job, score_families(job))
    histogram_pass = ScoreHistograms(adjusted_events.detectors, job.admitted_split)
    span_pass = EventSpans()
    pass_results = run_passes(job.context.spark, adjusted_events, [histogram_pass, span_pass])
    return Scored(adjusted_events, pass_results.of(histogram_pass), pass_results.of(span_pass))


def fit_thresholds(job: ScoringJob, scored: Scored) -> Fitted:
    """Read the scored events a second time, and fit the thresholds that are not borrowed.

    Raises DataError if there is no event to fit them on.
    """
    threshold_fit = _threshold_fit(job, scored)
    exact_pass = ExactQuantiles(tuple(_wanted_quantiles(scored, threshold_fit)), job.admitted_split)
    shape_pass = ScoreShapes(job.model, scored.spans)
    highlights = Highlights.of(job.model, scored.n_judged)
    passes: list[Pass[Any]] = [exact_pass, highlights.highest, highlights.sample]
    if threshold_fit is not None:
        passes += [threshold_fit.tails, threshold_fit.run_maxima]
    if not job.is_partial:
        # Drift compares whole splits.
        passes.append(shape_pass)
    # All at once: the scored files are read one time, whatever is asked of them.
    pass_results = run_passes(job.context.spark, scored.events, passes)
    exact_quantiles = exact_pass.resolved(pass_results.of(exact_pass))
    thresholds = job.borrowed or ()
    if threshold_fit is not None:
        tail_events = threshold_fit.tails.tails(pass_results.of(threshold_fit.tails))
        run_maxima = threshold_fit.run_maxima.maxima(pass_results.of(threshold_fit.run_maxima))
        thresholds = tuple(threshold_fit.thresholds(exact_quantiles, tail_events, run_maxima))
    judging_thresholds = judging(
        list(thresholds),
        rule=job.judging_rule.name,
        level=job.judging_rule.table_level,
        per=job.settings.thresholds.per,
        partition_is_time=is_time(list(job.known_partitions)),
    )
    score_shapes = None if job.is_partial else pass_results.of(shape_pass)
    return Fitted(
        thresholds, judging_thresholds, exact_quantiles, score_shapes, highlights, pass_results
    )


def _threshold_fit(job: ScoringJob, scored: Scored) -> ThresholdFit | None:
    """The fit of all rules; None if thresholds are borrowed."""
    if job.borrowed is not None:
        return None
    settings = job.settings
    threshold_fit = ThresholdFit(
        scored.distributions,
        settings.thresholds.rules,
        job.detectors,
        settings.fitted_split,
        job.admitted_split,
        settings.thresholds.min_count,
        settings.run.seed,
    )
    # A fixed threshold is fitted on nothing.
    wants_events = any(rule.name != "fixed" for rule in settings.thresholds.rules)
    if not threshold_fit.keys and not job.is_partial and wants_events:
        raise DataError(
            f"no event of split.{settings.fitted_split} was judged, so there is no threshold. "
            "Widen it."
        )
    return threshold_fit


def _wanted_quantiles(scored: Scored, fit: ThresholdFit | None) -> list[Wanted]:
    """The quantiles that `error_distribution` describes, and those that rules want, each once."""
    described_keys = [key for key in sorted(scored.distributions.parts) if key.split in C.SCORED]
    wanted_quantiles = locate(scored.distributions, described_keys, QUANTILES.values())
    return list(dict.fromkeys([*wanted_quantiles, *(fit.wanted_quantiles if fit else ())]))


def measure(job: ScoringJob, scored: Scored, fitted: Fitted) -> Measured:
    """Write metrics, details and, of a whole run, drift and verdict to the job's folder.

    The labelled events are read for it once more.
    """
    metrics = _metrics(job, scored, fitted)
    tables.write_rows(metrics, tables.METRICS, job.tables / C.METRICS)
    write_json(job.work / DETAILS, details(job, fitted.highlights, fitted.results, fitted.judging))
    if fitted.score_shapes is None:
        return Measured(tuple(metrics))
    verdict = diagnose(job, fitted.score_shapes, scored.spans, fitted.thresholds, metrics)
    return Measured(tuple(metrics), verdict["causes"])


def _metrics(job: ScoringJob, scored: Scored, fitted: Fitted) -> list[dict[str, Any]]:
    """The rows of `metrics`.

    Above 5 million judged events scores are rounded to 22 bits (1/4096 of their value) for the
    ranking metrics, and there are neither intervals nor metrics of ranges.
    """
    events, detectors = scored.events, scored.events.detectors
    run_id, seed = job.context.run_id, job.settings.run.seed
    threshold_lookup = functools.partial(threshold_of, fitted.judging)
    if scored.n_judged > MOST_EXACT_EVENTS:
        coarse_counts = LabelledCounts(detectors, threshold_lookup, is_coarse=True)
        counted_scores = run_passes(job.context.spark, events, [coarse_counts]).of(coarse_counts)
        return metric_rows(counted_scores, detectors, run_id=run_id, seed=seed, is_coarse=True)
    split_spans = {
        int(role.split): scored.spans[role]
        for role in (BlockRole.CALIBRATION, BlockRole.TEST)
        if role in scored.spans
    }
    exact_counts = LabelledCounts(detectors, threshold_lookup, split_spans)
    ordered_events = LabelledEvents(detectors)
    # Labels are few, or fit into memory: a Spark job could only collect the same rows.
    pass_results = run_here(events, [exact_counts, ordered_events])
    of_scores = metric_rows(pass_results.of(exact_counts), detectors, run_id=run_id, seed=seed)
    of_ranges = range_rows(
        pass_results.of(ordered_events),
        detectors,
        threshold_lookup,
        job.manifest.length,
        run_id=run_id,
        seed=seed,
    )
    return of_scores + of_ranges
