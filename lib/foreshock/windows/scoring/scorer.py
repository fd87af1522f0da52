"""Scores chunk files of blocks with a bundle.

The bundle is loaded, and its forward pass compiled, once a Python worker.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import cast

import numpy as np
import pyarrow as pa

from foreshock.detectors import RowDetector, entry_of
from foreshock.errors import DataError
from foreshock.platform.files import file_sha256
from foreshock.platform.paths import at
from foreshock.platform.tensorflow_threads import use_one_thread
from foreshock.statistics.arrays import Float32Array, Float64Array, Int64Array
from foreshock.windows.dataset.manifest import BlockShape
from foreshock.windows.dataset.schema import read_rows
from foreshock.windows.models import bundle as bundles
from foreshock.windows.scoring.attribution import Attribution, attribute
from foreshock.windows.scoring.blocks import SCORED_FIELDS, OpenBlock, open_block
from foreshock.windows.scoring.finite_errors import finite_errors
from foreshock.windows.scoring.plan import ScoringPlan, ScoringTask
from foreshock.windows.scoring.rows import BlockErrors, RowScorer, scored_rows

# Values of windows scored at once. A network's last batch is padded, so many windows waste little.
VALUES_AT_ONCE = 4_000_000
BLOCKS_AT_ONCE = 16  # read from a file


@functools.lru_cache(maxsize=4)
def _bundle(folder: str, sha256: str, detectors: tuple[str, ...]) -> bundles.Bundle:
    if any(entry_of(detector_name).is_trainable for detector_name in detectors):
        # A task has one core: TensorFlow's threads would take those of other tasks.
        use_one_thread()
    # A task that starts late must not score with other models than tasks before it.
    if file_sha256(at(folder) / bundles.NAME) != sha256:
        raise DataError(f"{folder}/{bundles.NAME}: altered while it was in use.")
    return bundles.load(at(folder), names=detectors)


def score_chunk(plan: ScoringPlan, task: ScoringTask) -> Iterator[pa.RecordBatch]:
    """Rows of `scored_schema`, one a scored event, of a chunk's blocks, in batches.

    Errors by feature are at most 1e30 (`finite`), so that an event far beyond float32's squares is
    judged too, and flagged. Raises DataError for an altered file, or one of another schema.
    """
    if file_sha256(at(task.file)) != task.sha256:
        raise DataError(
            f"{task.file}: its sha256 is not the manifest's; the dataset was altered. "
            "Run jobs/prepare.py --force."
        )
    bundle_folder, bundle_sha256 = plan.bundle, plan.bundle_sha256
    if task.fold is not None:
        bundle_folder, bundle_sha256 = task.fold.bundle, task.fold.bundle_sha256
    bundle = _bundle(bundle_folder, bundle_sha256, plan.detectors)
    windows_at_once = VALUES_AT_ONCE // (plan.length * len(bundle.features))
    shape = BlockShape(len(bundle.features), plan.length, plan.stride)
    waiting_blocks: list[OpenBlock] = []
    n_waiting = 0
    for block_row in read_rows(at(task.file), shape, SCORED_FIELDS, at_once=BLOCKS_AT_ONCE):
        block = open_block(plan, task, block_row)
        if len(block.layout.ordinals):
            waiting_blocks.append(block)
            n_waiting += len(block.layout.ordinals)
        if n_waiting >= windows_at_once:
            yield from score_blocks(plan, task, bundle, waiting_blocks)
            waiting_blocks, n_waiting = [], 0
    if waiting_blocks:
        yield from score_blocks(plan, task, bundle, waiting_blocks)


def score_blocks(
    plan: ScoringPlan, task: ScoringTask, bundle: bundles.Bundle, blocks: list[OpenBlock]
) -> Iterator[pa.RecordBatch]:
    """Rows of `scored_schema` for each of some blocks, whose windows are scored together.

    blocks: at least one, each with a window to score. Yields a batch a block, in their order.
    """
    windows_by_block = [block.windows for block in blocks]
    windows = np.ascontiguousarray(np.concatenate(windows_by_block))  # (N, L, F)
    block_ends = np.cumsum([len(block_windows) for block_windows in windows_by_block])[:-1]
    errors_by_block: list[BlockErrors] = [{} for _ in blocks]
    attributions: list[Attribution | None] = [None] * len(blocks)
    for detector_name in plan.detectors:
        detector = bundle.models[detector_name]
        if entry_of(detector_name).scores_rows:
            row_detector = cast(RowDetector, detector)
            for block, block_errors in zip(blocks, errors_by_block, strict=True):
                block_errors[detector_name] = _row_scorer(row_detector, block.x)
            continue
        is_explained = detector_name == plan.detectors[0]
        errors, expected = finite_errors(detector, windows, explain=is_explained)
        mean_errors = np.split(errors.mean(axis=-1), block_ends)
        for step_errors, block_errors in zip(mean_errors, errors_by_block, strict=True):
            block_errors[detector_name] = step_errors
        if expected is not None and plan.attributes:
            arrays_by_block = zip(
                np.split(errors, block_ends),
                windows_by_block,
                np.split(expected, block_ends),
                strict=True,
            )
            attributions = [
                attribute(plan.score_kind, *block_arrays, block.layout, detector.blind_events)
                for block, block_arrays in zip(blocks, arrays_by_block, strict=True)
            ]
    for block, block_errors, attribution in zip(blocks, errors_by_block, attributions, strict=True):
        yield scored_rows(plan, task, block, block_errors, attribution)


def _row_scorer(detector: RowDetector, rows: Float32Array) -> RowScorer:
    def score_positions(positions: Int64Array) -> Float64Array:
        return detector.score_rows(rows[positions])

    return score_positions
