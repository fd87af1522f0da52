"""The window that shows why an event has its score."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foreshock.errors import DataError
from foreshock.windows.dataset.manifest import REMEDY, Manifest
from foreshock.windows.dataset.schema import BlockRow, read_rows
from foreshock.windows.models.bundle import Bundle
from foreshock.windows.scoring.finite_errors import finite_errors

FIELDS = ("block_id", "n_windows", "x", "event_time")
BLOCKS_AT_ONCE = 16


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
    bundle: Bundle, detector_name: str, manifest: Manifest, file: Path, block_id: int, position: int
) -> WindowOfEvent:
    """The window of the event at a position of a block, as a detector sees it.

    file: the chunk file that holds the block. Raises DataError if it does not.
    """
    block, length = _block(manifest, file, block_id), bundle.length
    # Rounded up: the first window that does not end before the event.
    first_ending = -((length - 1 - position) // manifest.stride)
    window_ordinal = min(max(0, first_ending), block["n_windows"] - 1)
    first_row = window_ordinal * manifest.stride
    rows = slice(first_row, first_row + length)
    window = np.ascontiguousarray(block["x"][rows][None])
    errors, expected = finite_errors(bundle.models[detector_name], window, explain=True)
    return WindowOfEvent(
        window[0].tolist(),
        None if expected is None else expected[0].tolist(),
        errors[0].mean(axis=-1).tolist(),
        block["event_time"][rows].tolist(),
        position - first_row,
    )


def _block(manifest: Manifest, file: Path, block_id: int) -> BlockRow:
    for block in read_rows(file, manifest.block_shape, FIELDS, at_once=BLOCKS_AT_ONCE):
        if block["block_id"] == block_id:
            return block
    raise DataError(f"{file}: holds no block {block_id}; {REMEDY}")
