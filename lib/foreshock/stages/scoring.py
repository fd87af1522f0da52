"""The steps of a scoring job: score events, fit thresholds, judge, measure, publish. Each hands on a record."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from foreshock import columns as C
from foreshock.diagnosis.score_shapes import ScoreShapes
from foreshock.errors import DataError
from foreshock.evaluation.assembly import MOST_EXACT_EVENTS, metric_rows
from foreshock.evaluation.labelled import LabelledCounts, LabelledEvents
from foreshock.evaluation.range_rows import range_rows
from foreshock.events.partitions import is_time
from foreshock.platform.files import write_json
from foreshock.platform.parquet import dataset
from foreshock.platform.transfers import remove
from foreshock.scored.events import ScoredEvents
from foreshock.scored.passes import Pass, PassResults, run_here
from foreshock.scored.passes_spark import run_passes
from foreshock.scored.spans import EventSpans, Spans
from foreshock.sequences.split import BlockRole, Split
from foreshock.stages.adjust import adjusted
from foreshock.stages.context import Context
from foreshock.stages.details import Highlights, details
from foreshock.stages.diagnose import diagnose
from foreshock.stages.scaler_file import read_scaler
from foreshock.stages.score_publish import DETAILS, publish_scores
from foreshock.stages.scoring_families import score_families
from foreshock.stages.scoring_job import ScoringJob, load_inputs, open_job
from foreshock.statistics.sliced import SlicedHistograms
from foreshock.tables import rows as tables
from foreshock.tables.attribution import FeatureUnits
from foreshock.tables.scores_spark import Rest, write_scores
from foreshock.thresholds.distribution import QUANTILES, Distributions, Exact, Wanted, locate
from foreshock.thresholds.fitting import ThresholdFit
from foreshock.thresholds.passes import ExactQuantiles, ScoreHistograms
from foreshock.thresholds.rules import Judging, Threshold, judging, threshold_of
from foreshock.windows.dataset.manifest import Manifest

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
    inputs = load_inputs(context, manifests, partitions)
    with context.attempt("score") as counts:
        job = open_job(context, inputs, partitions, context.run.staging("score"))
        scored = score_events(job)
        fitted = fit_thresholds(job, scored)
        write_judged(job, scored, fitted)
        measured = measure(job, scored, fitted)
        counts |= {"judged": scored.n_judged, "thresholds": len(fitted.thresholds)}
        counts["metrics"] = len(measured.metrics)
        if measured.causes is not None:
            counts["verdict"] = measured.causes
        publish_scores(job, fingerprint)
        remove(job.work)


def score_events(job: ScoringJob) -> Scored:
    """Let each detector family score its events; adjust the scores; read them a first time."""
    events = adjusted(job, score_families(job))
    histograms, spans = ScoreHistograms(events.detectors, job.admitted_split), EventSpans()
    results = run_passes(job.context.spark, events, [histograms, spans])
    return Scored(events, results.of(histograms), results.of(spans))


def fit_thresholds(job: ScoringJob, scored: Scored) -> Fitted:
    """Read the scored events a second time, and fit the thresholds that are not borrowed.

    Raises DataError if there is no event to fit them on.
    """
    fit = _threshold_fit(job, scored)
    exact = ExactQuantiles(tuple(_wanted_quantiles(scored, fit)), job.admitted_split)
    shapes = ScoreShapes(job.model, scored.spans)
    highlights = Highlights.of(job.model, scored.n_judged)
    passes: list[Pass[Any]] = [exact, highlights.highest, highlights.sample]
    if fit is not None:
        passes += [fit.tails, fit.run_maxima]
    if not job.is_partial:
        passes.append(shapes)
    results = run_passes(job.context.spark, scored.events, passes)
    quantiles = exact.resolved(results.of(exact))
    thresholds = job.borrowed or ()
    if fit is not None:
        tails = fit.tails.tails(results.of(fit.tails))
        maxima = fit.run_maxima.maxima(results.of(fit.run_maxima))
        thresholds = tuple(fit.thresholds(quantiles, tails, maxima))
    judging_thresholds = judging(
        list(thresholds),
        rule=job.judging_rule.name,
        level=job.judging_rule.table_level,
        per=job.settings.thresholds.per,
        partition_is_time=is_time(list(job.known_partitions)),
    )
    score_shapes = None if job.is_partial else results.of(shapes)
    return Fitted(thresholds, judging_thresholds, quantiles, score_shapes, highlights, results)


def _threshold_fit(job: ScoringJob, scored: Scored) -> ThresholdFit | None:
    """The fit of all rules; None if thresholds are borrowed."""
    if job.borrowed is not None:
        return None
    settings = job.settings
    fit = ThresholdFit(
        scored.distributions,
        settings.thresholds.rules,
        job.detectors,
        settings.fitted_split,
        job.admitted_split,
        settings.thresholds.min_count,
        settings.run.seed,
    )
    wants_events = any(rule.name != "fixed" for rule in settings.thresholds.rules)
    if not fit.keys and not job.is_partial and wants_events:
        raise DataError(
            f"no event of split.{settings.fitted_split} was judged, so there is no threshold. Widen it."
        )
    return fit


def _wanted_quantiles(scored: Scored, fit: ThresholdFit | None) -> list[Wanted]:
    """The quantiles that `error_distribution` describes, and those that rules want, each once."""
    described = [key for key in sorted(scored.distributions.parts) if key.split in C.SCORED]
    wanted = locate(scored.distributions, described, QUANTILES.values())
    return list(dict.fromkeys([*wanted, *(fit.wanted_quantiles if fit else ())]))


def write_judged(job: ScoringJob, scored: Scored, fitted: Fitted) -> None:
    """Write the tables that say how events were judged: scores, thresholds, error_distribution."""
    context, run_id = job.context, job.context.run_id
    pooled = fitted.judging.get((job.model, None, None))
    context.log.event("score", "writing tables", threshold=pooled)
    has_rest = any(context.run.rest.glob("*.parquet"))
    rest = Rest(str(context.run.rest), job.partitions) if has_rest else None
    write_scores(
        context.spark, scored.events, rest, fitted.judging, run_id, job.tables, feature_units(job)
    )
    distributions = tables.distribution_rows(
        scored.distributions, fitted.exact, _outside(job, scored), scored.events.detectors, run_id
    )
    tables.write_rows(distributions, tables.DISTRIBUTION, job.tables / C.ERROR_DISTRIBUTION)
    thresholds = [{"run_id": run_id, **row.to_mapping()} for row in fitted.thresholds]
    tables.write_rows(thresholds, tables.THRESHOLDS, job.tables / C.THRESHOLDS)


def feature_units(job: ScoringJob) -> FeatureUnits:
    """How the run's features were scaled."""
    scaler = read_scaler(job.context.run.scaler)
    kept = [feature for feature in scaler.features if feature.policy != "dropped"]
    centers = tuple(feature.center for feature in kept)
    return FeatureUnits(
        scaler.kept, centers, tuple(feature.scale for feature in kept), scaler.transform
    )


def _outside(job: ScoringJob, scored: Scored) -> Counter[tuple[str, str, str]]:
    """How many events are not among the scored ones, by (split, partition, group)."""
    outside: Counter[tuple[str, str, str]] = Counter()
    scores, keys = job.tables / C.SCORES, ["split", C.PARTITION, C.GROUP]
    if scores.exists():
        has_no_score = pc.field("score").is_null()
        outside += _counted(tables.open_scores(scores).to_table(columns=keys, filter=has_no_score))
    rest = job.context.run.rest
    if not job.is_partial and not scored.events.holds_all_events and any(rest.glob("*.parquet")):
        is_train = pc.field("split") == int(Split.TRAIN)
        train = dataset(rest).to_table(columns=[C.PARTITION, C.GROUP], filter=is_train)
        split = pa.array([C.TRAIN] * len(train), pa.string())
        outside += _counted(train.add_column(0, "split", split))
    for key, count in scored.distributions.unjudged.items():
        if key.detector == job.model and key.split in JUDGED_SPLITS:
            outside[key.split, key.partition or "", key.group] -= count
    return +outside


def _counted(events: pa.Table) -> Counter[tuple[str, str, str]]:
    counted = events.group_by(["split", C.PARTITION, C.GROUP]).aggregate([([], "count_all")])
    rows = counted.to_pylist()
    return Counter({(r["split"], r[C.PARTITION], r[C.GROUP]): r["count_all"] for r in rows})


def measure(job: ScoringJob, scored: Scored, fitted: Fitted) -> Measured:
    """Read the labelled events; write metrics, details and, of a whole run, drift and verdict."""
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
    limits = functools.partial(threshold_of, fitted.judging)
    if scored.n_judged > MOST_EXACT_EVENTS:
        coarse = LabelledCounts(detectors, limits, is_coarse=True)
        counted = run_passes(job.context.spark, events, [coarse]).of(coarse)
        return metric_rows(counted, detectors, run_id=run_id, seed=seed, is_coarse=True)
    roles = (BlockRole.CALIBRATION, BlockRole.TEST)
    spans = {int(role.split): scored.spans[role] for role in roles if role in scored.spans}
    exact, in_order = LabelledCounts(detectors, limits, spans), LabelledEvents(detectors)
    results = run_here(events, [exact, in_order])
    rows = metric_rows(results.of(exact), detectors, run_id=run_id, seed=seed)
    length = job.manifest.length
    return rows + range_rows(
        results.of(in_order), detectors, limits, length, run_id=run_id, seed=seed
    )
