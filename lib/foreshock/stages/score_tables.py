"""Writes the tables that say how events were judged: scores, thresholds and error_distribution."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc

from foreshock import columns as C
from foreshock.detectors import entry_of
from foreshock.platform.parquet import dataset
from foreshock.sequences.split import Split
from foreshock.stages.scaler_file import read_scaler
from foreshock.stages.scoring_job import ScoringJob
from foreshock.stages.scoring_records import JUDGED_SPLITS, Fitted, Scored
from foreshock.tables import rows as tables
from foreshock.tables.attribution import FeatureUnits
from foreshock.tables.scores_spark import Rest, write_scores

COUNTED_BY = ("split", C.PARTITION, C.GROUP)


def write_judged(job: ScoringJob, scored: Scored, fitted: Fitted) -> None:
    """Write the tables that say how events were judged: scores, thresholds, error_distribution.

    They go to the job's staging folder, from which `publish_scores` moves them.
    """
    context, run_id = job.context, job.context.run_id
    pooled_threshold = fitted.judging.get((job.model, None, None))
    context.log.event("score", "writing tables", threshold=pooled_threshold)
    has_rest = any(context.run.rest.glob("*.parquet"))
    rest_events = Rest(str(context.run.rest), job.partitions) if has_rest else None
    write_scores(
        context.spark,
        scored.events,
        rest_events,
        fitted.judging,
        run_id,
        job.tables,
        feature_units(job),
    )
    distributions = tables.distribution_rows(
        scored.distributions, fitted.exact, _outside(job, scored), scored.events.detectors, run_id
    )
    tables.write_rows(distributions, tables.DISTRIBUTION, job.tables / C.ERROR_DISTRIBUTION)
    thresholds = [
        {"run_id": run_id, **threshold_row.to_mapping()} for threshold_row in fitted.thresholds
    ]
    tables.write_rows(thresholds, tables.THRESHOLDS, job.tables / C.THRESHOLDS)


def feature_units(job: ScoringJob) -> FeatureUnits:
    """How the features, or what else scores are attributed to, were scaled.

    What a detector attributes to instead of features is not scaled.
    """
    attributed = entry_of(job.model).attributed
    if attributed:
        # The detector gives these in the units that tables show.
        count = len(attributed)
        return FeatureUnits(attributed, (0.0,) * count, (1.0,) * count, "none")
    scaler = read_scaler(job.context.run.scaler)
    kept_features = [feature for feature in scaler.features if feature.policy != "dropped"]
    feature_centers = tuple(feature.center for feature in kept_features)
    return FeatureUnits(
        scaler.kept,
        feature_centers,
        tuple(feature.scale for feature in kept_features),
        scaler.transform,
    )


def _outside(job: ScoringJob, scored: Scored) -> Counter[tuple[str, str, str]]:
    """How many events are not among the scored ones, by (split, partition, group)."""
    outside_counts: Counter[tuple[str, str, str]] = Counter()
    scores_folder = job.tables / C.SCORES
    if scores_folder.exists():
        has_no_score = pc.field("score").is_null()
        scores = tables.open_scores(scores_folder)
        outside_counts += _counted(scores.to_table(columns=list(COUNTED_BY), filter=has_no_score))
    rest_folder = job.context.run.rest
    misses_training_events = not job.is_partial and not scored.events.holds_all_events
    if misses_training_events and any(rest_folder.glob("*.parquet")):
        is_train = pc.field("split") == int(Split.TRAIN)
        training_rest = dataset(rest_folder).to_table(columns=list(COUNTED_BY[1:]), filter=is_train)
        split_column = pa.array([C.TRAIN] * len(training_rest), pa.string())
        outside_counts += _counted(training_rest.add_column(0, "split", split_column))
    # Scored events without a score of the model have none in the table of scores either.
    for key, unjudged_count in scored.distributions.unjudged.items():
        if key.detector == job.model and key.split in JUDGED_SPLITS:
            outside_counts[key.split, key.partition or "", key.group] -= unjudged_count
    return +outside_counts


def _counted(events: pa.Table) -> Counter[tuple[str, str, str]]:
    counted_events = events.group_by(list(COUNTED_BY)).aggregate([([], "count_all")])
    event_counts: Counter[tuple[str, str, str]] = Counter()
    for counted_row in counted_events.to_pylist():
        split, partition, group = (counted_row[name] for name in COUNTED_BY)
        event_counts[split, partition, group] = counted_row["count_all"]
    return event_counts
