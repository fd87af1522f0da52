"""Scores the events of `sequences/` in Spark, one task a file: every event has a row."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyspark.sql import SparkSession

from foreshock.detectors import SequenceScores, entry_of
from foreshock.platform.parquet import read_table
from foreshock.platform.paths import at
from foreshock.platform.session import map_items
from foreshock.scored import schema
from foreshock.scored.events import ScoredEvents
from foreshock.scored.rewrite_spark import schema_ddl, written_files
from foreshock.sequences.event_rows import POSITION
from foreshock.sequences.split import BlockRole, Split
from foreshock.statistics.arrays import Float64Array, Int64Array
from foreshock.windows.models.bundle import Bundle, load

# In the ids of event runs; windows have 0.
FAMILY = 1
# Limits of the parts of an event run's id, which is one number of 64 bits.
RUNS_A_BLOCK = 1 << 20
BLOCKS_AN_ENTITY = 1 << 34
# The row is an int32; the position of an event in its entity may be larger.
LARGEST_ROW = 1 << 31


@dataclass(frozen=True)
class FoldBundle:
    """A bundle that was fitted without a fold of training time, [first, end) in microseconds."""

    folder: str
    first: int
    end: int


@dataclass(frozen=True)
class SequencePlan:
    """What the tasks that score sequences share.

    bundle: the folder of the run's bundle. run_length: events of a run, the unit of block
    bootstraps. validation_time: where the last part of train begins, microseconds. folds: training
    events are scored by these too. partitions: only their events; None: all. attributes: whether
    the first detector is the run's model, so that its scores are explained.
    """

    bundle: str
    detectors: tuple[str, ...]
    run_length: int
    validation_time: int
    folds: tuple[FoldBundle, ...] = ()
    partitions: tuple[str, ...] | None = None
    attributes: bool = False


@functools.lru_cache(maxsize=8)
def _bundle(folder: str, detectors: tuple[str, ...]) -> Bundle:
    # Kept by the cache above: a Python worker scores many files with the same bundles.
    return load(at(folder), names=detectors)


def score_sequence_files(
    spark: SparkSession, plan: SequencePlan, files: Sequence[str], work: Path
) -> ScoredEvents:
    """Score the events of `sequences/` and write them under a folder, one row an event.

    With folds, training events have a second row, of split out_of_fold.
    """

    def score_file(file: str) -> Iterator[pa.RecordBatch]:
        events = read_table(file)
        if plan.partitions is not None:
            wanted = np.isin(events[schema.PARTITION].to_pylist(), plan.partitions)
            events = events.filter(pa.array(wanted))
        yield from scored_rows(events, plan).to_batches()
        split, times = events[schema.SPLIT].to_numpy(), events[schema.EVENT_TIME].to_numpy()
        for fold in plan.folds:
            in_fold = (split == Split.TRAIN) & (times >= fold.first) & (times < fold.end)
            of_fold = replace(plan, bundle=fold.folder)
            rows = scored_rows(events.filter(pa.array(in_fold)), of_fold)
            split_codes = pa.array(np.full(len(rows), Split.OUT_OF_FOLD, np.int8))
            yield from rows.set_column(0, schema.SPLIT, split_codes).to_batches()

    ddl = schema_ddl(schema.scored_schema(plan.detectors))
    target = work / "sequences"
    map_items(spark, files, score_file, ddl).write.parquet(str(target))
    model = entry_of(plan.detectors[0])
    return ScoredEvents(
        tuple(written_files(target)),
        plan.detectors,
        model.attributed,
        holds_rest=True,
        holds_all_events=True,
        unjudged_reason=model.unjudged_reason,
    )


def scored_rows(events: pa.Table, plan: SequencePlan) -> pa.Table:
    """The scored rows of events, by the detectors of the plan.

    events: rows of `sequences/`. Returns a table of `scored_schema`, a row an event in their order.
    Columns that only windows fill are null.
    """
    wanted = schema.scored_schema(plan.detectors)
    columns = {name: events[name] for name in schema.KEYS.names}
    columns |= _places(events, plan)
    bundle = _bundle(plan.bundle, plan.detectors)
    for number, name in enumerate(plan.detectors):
        judged: SequenceScores = bundle.models[name].judge(events)
        columns[schema.score_column(name)] = _float32_scores(judged.scores)
        if plan.attributes and number == 0:
            columns |= _attribution(judged)
    missing = [field for field in wanted if field.name not in columns]
    columns |= {field.name: pa.nulls(len(events), field.type) for field in missing}
    return pa.table([columns[field.name] for field in wanted], names=wanted.names).cast(wanted)


def _float32_scores(scores: Float64Array) -> pa.Array:
    """Scores as float32 values in doubles, like those of every family; null if not judged."""
    return pa.array(scores.astype(np.float32).astype(np.float64), mask=np.isnan(scores))


def _places(events: pa.Table, plan: SequencePlan) -> dict[str, pa.Array]:
    """The columns that say where an event lies; no block holds it."""
    split = events[schema.SPLIT].to_numpy().astype(np.int64)
    is_fitted = events[schema.EVENT_TIME].to_numpy() < plan.validation_time
    # Train has two roles; from CALIBRATION on, a role is the number of its split plus 1.
    of_train = np.where(is_fitted, BlockRole.FIT, BlockRole.VALIDATION)
    role = np.where(split >= Split.CALIBRATION, split + 1, of_train)
    position = events[POSITION].to_numpy()
    entities = events[schema.ENTITY].to_pylist()
    return {
        schema.BLOCK_ROLE: pa.array(role.astype(np.int8)),
        schema.EVENT_RUN: pa.array(_event_runs(role, entities, position, plan.run_length)),
        schema.BLOCK_ID: pa.array(np.full(len(events), schema.WITHOUT_BLOCK, np.int64)),
        schema.BLOCK_ROW: pa.array((position % LARGEST_ROW).astype(np.int32)),
        schema.CHUNK_FILE: pa.array([""] * len(events), pa.string()),
        schema.IS_PARTIAL: pa.array(np.zeros(len(events), np.bool_)),
        schema.N_WINDOWS: pa.array(np.ones(len(events), np.int32)),
    }


def _event_runs(
    role: Int64Array, entities: Sequence[str], position: Int64Array, length: int
) -> Int64Array:
    """The run of `length` events of one entity that each event lies in, on a grid of positions."""
    names, entity_number = np.unique(np.asarray(entities, np.str_), return_inverse=True)
    # A checksum, because Python's hash differs from process to process.
    hashes = np.array([zlib.crc32(name.encode()) for name in names.tolist()], np.int64)
    run_number = position // max(1, length)
    block = (hashes[entity_number] * 4 + run_number // RUNS_A_BLOCK) % BLOCKS_AN_ENTITY
    base = (role << schema.ROLE_SHIFT) + (FAMILY << schema.FAMILY_SHIFT)
    return np.asarray(base + (block << schema.BLOCK_SHIFT) + run_number % RUNS_A_BLOCK, np.int64)


def _attribution(judged: SequenceScores) -> dict[str, pa.Array]:
    """What a score is made of: the values and what was expected; nothing if it was not judged."""
    is_missing = np.isnan(judged.scores)
    steps = np.zeros(judged.values.shape, np.int32)
    shares = np.repeat(judged.scores[:, None], judged.values.shape[1], axis=1)
    # A score of 0 is made of nothing, but its values are worth showing.
    shares = np.maximum(shares, np.finfo(np.float32).tiny)
    columns = {
        schema.ERRORS: shares.astype(np.float32),
        schema.WORST_STEP: steps,
        schema.VALUES: judged.values.astype(np.float32),
        schema.EXPECTED: judged.expected.astype(np.float32),
    }
    lists = {name: schema.list_column(values) for name, values in columns.items()}
    nulled = {
        name: pa.array(
            [
                None if gone else row
                for gone, row in zip(is_missing, values.to_pylist(), strict=True)
            ],
            values.type,
        )
        for name, values in lists.items()
    }
    nulled[schema.N_FORECASTS] = pa.array((~is_missing).astype(np.int32))
    return nulled
