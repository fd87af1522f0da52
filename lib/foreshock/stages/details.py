"""What the report shows beside the tables: the highest events, and a sample over time.

An event comes with its window, if its detector looks at windows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from foreshock import columns as C
from foreshock.detectors import entry_of
from foreshock.scored import schema
from foreshock.scored.highlights import EventSample, HighestEvents, every_kth
from foreshock.scored.passes import PassResults
from foreshock.sequences.split import Split
from foreshock.stages.scoring_families import explain_highest
from foreshock.stages.scoring_job import ScoringJob
from foreshock.tables.attribution import COLUMNS
from foreshock.tables.rows import open_scores
from foreshock.thresholds.rules import Judging, threshold_of

TOP_EVENTS = 5
TIMELINE_POINTS = 4000
# The timeline's points are chosen evenly from about so many events.
MOST_SAMPLED = 100_000
Why = dict[tuple[str, str], Mapping[str, Any]]


@dataclass(frozen=True)
class Highlights:
    """The passes over scored files that the details are made from."""

    highest: HighestEvents
    sample: EventSample

    @classmethod
    def of(cls, model: str, n_judged: int) -> Highlights:
        """The passes for the run's model.

        n_judged: the events of calibration and test that it judged. About MOST_SAMPLED are sampled.
        """
        # A pass sees one file, and not how many events are in the rest.
        sample_share = min(1.0, MOST_SAMPLED / max(1, n_judged))
        return cls(HighestEvents(model, TOP_EVENTS), EventSample(model, sample_share))


def details(
    job: ScoringJob, highlights: Highlights, results: PassResults, judging: Judging
) -> dict[str, Any]:
    """`top_events` and `timeline`, as score_details.json holds them.

    results: of the passes in `highlights`. The job's table of scores must be written: it says why
    an event is among the highest.
    """
    highest_events = highlights.highest.first_of_each_entity(results.of(highlights.highest))
    sampled_tables = results.of(highlights.sample)
    return {
        "top_events": []
        if highest_events is None
        else _top_events(job, highest_events.to_pylist(), judging),
        "timeline": _timeline(job.model, sampled_tables, judging),
    }


def _top_events(
    job: ScoringJob, events: Sequence[Mapping[str, Any]], judging: Judging
) -> list[Mapping[str, Any]]:
    explanations = explained(job.tables / C.SCORES, events)
    described_columns = (C.ENTITY, C.EVENT_ID, C.EVENT_TIME, C.PARTITION, C.GROUP)
    top_events: list[Mapping[str, Any]] = []
    for scored_event in events:
        top_events.append(
            {
                **{column_name: scored_event[column_name] for column_name in described_columns},
                **explain_highest(job, scored_event),
                **explanations.get((scored_event[C.ENTITY], scored_event[C.EVENT_ID]), {}),
                "score": scored_event[schema.score_column(job.model)],
                "threshold": threshold_of(
                    judging, job.model, scored_event[C.GROUP], scored_event[C.PARTITION]
                ),
                "label": _known_label(scored_event[C.LABEL]),
                "kind": scored_event[C.KIND] or None,
                "features": list(entry_of(job.model).attributed or job.bundle.features),
            }
        )
    return top_events


def _timeline(model: str, sampled: Sequence[pa.Table], judging: Judging) -> list[Mapping[str, Any]]:
    if not sampled:
        return []
    timeline_points: list[Mapping[str, Any]] = []
    for scored_event in every_kth(pa.concat_tables(sampled), TIMELINE_POINTS).to_pylist():
        event_score = scored_event[schema.score_column(model)]
        event_threshold = threshold_of(
            judging, model, scored_event[C.GROUP], scored_event[C.PARTITION]
        )
        timeline_points.append(
            {
                "event_time": scored_event[C.EVENT_TIME],
                "score": event_score,
                "label": _known_label(scored_event[C.LABEL]),
                "split": Split(scored_event["split"]).text,
                "threshold": event_threshold,
                "is_anomaly": None if event_threshold is None else event_score > event_threshold,
            }
        )
    return timeline_points


def _known_label(label: int) -> int | None:
    return None if label == C.UNKNOWN_LABEL else label


def explained(scores: Path, events: Sequence[Mapping[str, Any]]) -> Why:
    """The columns of test events that say why, by (entity, event_id).

    scores: the folder of a table of scores. events: rows with the columns of the contract.
    """
    if not events:
        return {}
    is_wanted = pc.field("split") == C.TEST
    # Partitions are folders: those of no wanted event are not opened.
    for column_name in (C.PARTITION, C.EVENT_ID):
        is_wanted &= pc.field(column_name).isin(
            [scored_event[column_name] for scored_event in events]
        )
    explaining_columns = [C.ENTITY, C.EVENT_ID, *COLUMNS]
    explained_rows = (
        open_scores(scores).to_table(columns=explaining_columns, filter=is_wanted).to_pylist()
    )
    return {
        (explained_row[C.ENTITY], explained_row[C.EVENT_ID]): {
            column_name: explained_row[column_name] for column_name in COLUMNS
        }
        for explained_row in explained_rows
    }
