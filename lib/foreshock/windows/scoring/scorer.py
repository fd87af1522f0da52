"""Scores chunk files of blocks with a bundle: the bundle is loaded once a Python worker, the forward pass compiled once."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pyarrow as pa

from foreshock.detectors import RowDetector, WindowDetector, entry_of
from foreshock.errors import DataError
from foreshock.platform.files import file_sha256
from foreshock.platform.paths import at
from foreshock.platform.tensorflow_threads import use_one_thread
from foreshock.statistics.arrays import Float32Array
from foreshock.statistics.finite import LARGEST, finite
from foreshock.windows.dataset.manifest import BlockShape
from foreshock.windows.dataset.schema import ARRAY_FIELDS, read_rows
from foreshock.windows.models import bundle as bundles
from foreshock.windows.models.fitting import errors_and_expected
from foreshock.windows.scoring.attribution import Attribution, attribute
from foreshock.windows.scoring.blocks import OpenBlock, open_block
from foreshock.windows.scoring.plan import ScoringPlan, ScoringTask
from foreshock.windows.scoring.rows import BlockErrors, scored_rows

# Values of windows scored at once. A network's last batch is padded, so many windows waste little.
VALUES_AT_ONCE = 4_000_000
BLOCKS_AT_ONCE = 16  # read from a file
SCORED_FIELDS = ("block_id", "entity", "n_windows", "first_padding", *ARRAY_FIELDS)
EXPLAINED_FIELDS = ("block_id", "n_windows", "x", "event_time")


@functools.lru_cache(maxsize=4)
def _bundle(folder: str, sha256: str, detectors: tuple[str, ...]) -> bundles.Bundle:
    if any(entry_of(name).is_trainable for name in detectors):
        use_one_thread()
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
            f"{task.file}: its sha256 is not the manifest's; the dataset was altered. Run jobs/prepare.py --force."
        )
    folder, sha256 = plan.bundle, plan.bundle_sha256
    if task.fold is not None:
        folder, sha256 = task.fold.bundle, task.fold.bundle_sha256
    bundle = _bundle(folder, sha256, plan.detectors)
    windows_at_once = VALUES_AT_ONCE // (plan.length * len(bundle.features))
    waiting: list[OpenBlock] = []
    n_waiting = 0
    shape = BlockShape(len(bundle.features), plan.length, plan.stride)
    for row in read_rows(at(task.file), shape, SCORED_FIELDS, BLOCKS_AT_ONCE):
        block = open_block(plan, task, row)
        if len(block.layout.ordinals):
            waiting.append(block)
            n_waiting += len(block.layout.ordinals)
        if n_waiting >= windows_at_once:
            yield from score_blocks(plan, task, bundle, waiting)
            waiting, n_waiting = [], 0
    if waiting:
        yield from score_blocks(plan, task, bundle, waiting)


def score_blocks(
    plan: ScoringPlan, task: ScoringTask, bundle: bundles.Bundle, blocks: list[OpenBlock]
) -> Iterator[pa.RecordBatch]:
    """Rows of `scored_schema` for each of some blocks, whose windows are scored together."""
    by_block = [block.windows for block in blocks]
    windows = np.ascontiguousarray(np.concatenate(by_block))  # (N, L, F)
    bounds = np.cumsum([len(part) for part in by_block])[:-1]
    split_up = functools.partial(np.split, indices_or_sections=bounds)
    errors: dict[str, list[Any]] = {}
    attributions: list[Attribution | None] = [None] * len(blocks)
    for name in plan.detectors:
        model = bundle.models[name]
        if entry_of(name).scores_rows:
            row_scorer = cast(RowDetector, model)
            errors[name] = [functools.partial(_row_scores, row_scorer, block.x) for block in blocks]
        elif name == plan.detectors[0]:
            by_feature, expected = finite_errors(model, windows, explain=True)
            errors[name] = split_up(by_feature.mean(axis=-1))
            if expected is not None and plan.attributes:
                parts = zip(split_up(by_feature), by_block, split_up(expected), strict=True)
                blind_events = model.blind_events
                attributions = [
                    attribute(plan.score_kind, *arrays, block.layout, blind_events)
                    for block, arrays in zip(blocks, parts, strict=True)
                ]
        else:
            errors[name] = split_up(finite_errors(model, windows)[0].mean(axis=-1))
    for number, block in enumerate(blocks):
        of_block: BlockErrors = {name: parts[number] for name, parts in errors.items()}
        yield scored_rows(plan, task, block, of_block, attributions[number])


def _row_scores(model: RowDetector, rows: Float32Array, positions: Any) -> Any:
    return model.score_rows(rows[positions])


def finite_errors(
    model: WindowDetector, windows: Float32Array, *, explain: bool = False
) -> tuple[Float32Array, Float32Array | None]:
    """Errors of windows (N, L, F) and, to explain them, what the model expected; both `finite`."""
    with np.errstate(over="ignore", invalid="ignore"):
        errors, expected = (
            errors_and_expected(model, windows) if explain else (model.errors(windows), None)
        )
    if expected is None:
        return finite(errors), None
    expected, is_beyond = finite(expected), ~(errors < LARGEST).all(axis=(1, 2))
    if is_beyond.any():
        # Squares are too large to be told apart, what is squared is not.
        distance = np.abs(windows[is_beyond].astype(np.float64) - expected[is_beyond])
        share = distance / distance.max(axis=(1, 2), keepdims=True)
        errors[is_beyond] = LARGEST * np.square(share)
    return finite(errors), expected


@dataclass(frozen=True)
class WindowOfEvent:
    """The window that ends at (or last holds) an event.

    x, expected: (L, F), scaled; expected is None from a detector that expects no values.
    errors, times: (L,), times in microseconds. step: where the event stands in the window.
    """

    x: list[list[float]]
    expected: list[list[float]] | None
    errors: list[float]
    times: list[int]
    step: int


def explain_event(
    bundle: bundles.Bundle, name: str, file: str, block_id: int, block_row: int, stride: int
) -> WindowOfEvent:
    """The window of an event, from the chunk file that holds its block, as a detector sees it."""
    length = bundle.length
    rows = read_rows(at(file), BlockShape(len(bundle.features), length, stride), EXPLAINED_FIELDS)
    row = next(row for row in rows if row["block_id"] == block_id)
    first_ending = (block_row - length + 1 + stride - 1) // stride
    ordinal = min(max(0, first_ending), row["n_windows"] - 1)
    start = ordinal * stride
    window = np.ascontiguousarray(row["x"][start : start + length][None])
    errors, expected = finite_errors(bundle.models[name], window, explain=True)
    return WindowOfEvent(
        window[0].tolist(),
        None if expected is None else expected[0].tolist(),
        errors[0].mean(axis=-1).tolist(),
        row["event_time"][start : start + length].tolist(),
        block_row - start,
    )
