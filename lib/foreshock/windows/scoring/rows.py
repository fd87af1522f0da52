"""Scored rows of a block, from the errors of its windows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa

from foreshock.scored import schema
from foreshock.sequences.split import BlockRole, Split
from foreshock.statistics.arrays import (
    AnyArray,
    BoolArray,
    Float32Array,
    Float64Array,
    Int8Array,
    Int64Array,
)
from foreshock.windows.scoring.aggregate import ENDING, KnownScores, aggregate, final_scores
from foreshock.windows.scoring.attribution import Attribution
from foreshock.windows.scoring.blocks import EventField, OpenBlock
from foreshock.windows.scoring.plan import ScoringPlan, ScoringTask

# Of each detector the errors (w, L) of the block's windows, averaged over features; or, of one that
# scores each event alone, what gives the scores of the events at some positions.
RowScorer = Callable[[Int64Array], Float64Array]
BlockErrors = dict[str, Float32Array | RowScorer]
Column = AnyArray | list[Any] | None

# Of scored rows, by what the dataset calls them.
EVENT_COLUMNS: dict[str, EventField] = {
    schema.EVENT_ID: "event_id",
    schema.EVENT_TIME: "event_time",
    schema.LABEL: "label",
    schema.CALIBRATE: "calibrate",
    schema.GROUP: "event_group",
    schema.KIND: "kind",
}


def scored_rows(
    plan: ScoringPlan,
    task: ScoringTask,
    block: OpenBlock,
    errors: BlockErrors,
    attribution: Attribution | None,
) -> pa.RecordBatch:
    """A block's rows of `scored_schema`: its events of the task's split and partitions.

    errors: of every detector of the plan. attribution: of the block's scored events; None leaves
    its columns null.
    """
    scored_positions = block.layout.scored_positions(plan.score_kind)
    event_splits = block.column("split")[scored_positions]
    is_partial = np.zeros(len(scored_positions), bool)
    if plan.score_kind not in ENDING:
        is_partial = block.layout.is_partial(scored_positions)
    row_columns = _place_columns(plan, task, block, scored_positions)
    row_columns |= {schema.SPLIT: _split_column(task, event_splits), schema.IS_PARTIAL: is_partial}
    row_columns |= _score_columns(plan, block, errors, is_partial)
    row_columns |= _attribution_columns(attribution)
    kept_events = _is_of_task(task, event_splits, block.partition[scored_positions])
    row_schema = schema.scored_schema(plan.detectors)
    column_arrays = [
        _array(row_columns[schema_field.name], kept_events, schema_field.type)
        for schema_field in row_schema
    ]
    return pa.RecordBatch.from_arrays(column_arrays, schema=row_schema)


def _is_of_task(task: ScoringTask, split: Int8Array, partition: AnyArray) -> BoolArray:
    """Blocks hold events of other splits too, for windows begin before the events they judge."""
    is_training = task.role.split is Split.TRAIN
    kept_events = split == Split.TRAIN if is_training else split >= Split.CALIBRATION
    if task.partitions is not None:
        kept_events &= np.isin(partition, task.partitions)
    return np.asarray(kept_events)


def _split_column(task: ScoringTask, split: Int8Array) -> Int8Array:
    if task.fold is None:
        return split
    return np.full(len(split), Split.OUT_OF_FOLD, np.int8)


def _place_columns(
    plan: ScoringPlan, task: ScoringTask, block: OpenBlock, positions: Int64Array
) -> dict[str, Column]:
    n_events, block_id = len(positions), block.block_id
    event_runs = schema.event_run_ids(task.role, block_id, positions, plan.length)
    row_columns: dict[str, Column] = {
        detector_name: block.column(of_dataset)[positions]
        for detector_name, of_dataset in EVENT_COLUMNS.items()
    }
    return row_columns | {
        schema.PARTITION: block.partition[positions],
        schema.ENTITY: np.full(n_events, block.entity),
        schema.BLOCK_ROLE: np.full(n_events, BlockRole(task.role), np.int8),
        schema.EVENT_RUN: event_runs,
        schema.BLOCK_ID: np.full(n_events, block_id, np.int64),
        schema.BLOCK_ROW: positions.astype(np.int32),
        schema.CHUNK_FILE: np.full(n_events, PurePosixPath(task.file).name),
    }


def _score_columns(
    plan: ScoringPlan, block: OpenBlock, errors: BlockErrors, is_partial: BoolArray
) -> dict[str, Column]:
    scored_positions = block.layout.scored_positions(plan.score_kind)
    row_columns: dict[str, Column] = {}
    window_counts = np.ones(len(scored_positions), np.int64)
    for detector_name in plan.detectors:
        detector_errors = errors[detector_name]
        window_scores: list[list[float] | None] | None = None
        if callable(detector_errors):
            # Rounded as `final_scores` rounds: all detectors share one type of column.
            event_scores = detector_errors(scored_positions).astype(np.float32).astype(np.float64)
        else:
            known_scores = aggregate(plan.score_kind, detector_errors, block.layout)
            event_scores = np.where(
                is_partial, known_scores.value, final_scores(plan.score_kind, known_scores)
            )
            window_scores, window_counts = (
                _still_needed(known_scores, is_partial),
                known_scores.count,
            )
        row_columns[schema.score_column(detector_name)] = event_scores
        row_columns[schema.window_scores_column(detector_name)] = window_scores
    return row_columns | {schema.N_WINDOWS: window_counts.astype(np.int32)}


def _still_needed(known: KnownScores, is_partial: BoolArray) -> list[list[float] | None] | None:
    """The scores window by window of the events whose median waits for other blocks."""
    if not known.each:
        return None
    return [
        window_values if is_partial_event else None
        for window_values, is_partial_event in zip(known.each, is_partial, strict=True)
    ]


def _attribution_columns(attribution: Attribution | None) -> dict[str, Column]:
    if attribution is None:
        return dict.fromkeys(schema.ATTRIBUTION.names)
    return {
        schema.ERRORS: attribution.errors,
        schema.WORST_STEP: attribution.step,
        schema.VALUES: attribution.value,
        schema.EXPECTED: attribution.expected,
        schema.N_FORECASTS: attribution.forecasts,
    }


def _array(column: Column, keep: BoolArray, kind: pa.DataType) -> pa.Array:
    if column is None:
        return pa.nulls(int(keep.sum()), kind)
    if isinstance(column, list):
        return pa.array(
            [column_value for column_value, is_kept in zip(column, keep, strict=True) if is_kept],
            kind,
        )
    if column.ndim == 2:
        return schema.list_column(column[keep]).cast(kind)
    kept_values = column[keep]
    if kept_values.dtype.kind == "U":
        return pa.array(kept_values.tolist()).cast(kind)
    return pa.array(kept_values).cast(kind)
