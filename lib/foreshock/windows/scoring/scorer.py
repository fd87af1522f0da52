"""Scores chunk files of blocks with a bundle: the bundle is loaded once a Python worker, the forward pass compiled once."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from foreshock.detectors import REGISTRY, WindowDetector
from foreshock.errors import DataError
from foreshock.platform.files import file_sha256
from foreshock.platform.parquet import parquet_file, read_table
from foreshock.platform.paths import at
from foreshock.platform.tensorflow_threads import use_one_thread
from foreshock.sequences.split import BlockRole, Split
from foreshock.windows.dataset.schema import decode
from foreshock.windows.models import bundle as bundles
from foreshock.windows.models.fitting import errors_and_expected
from foreshock.windows.models.isolation_forest import IsolationForest
from foreshock.windows.scoring.aggregate import ENDING, LARGEST, Layout, aggregate, final, finite
from foreshock.windows.scoring.attribution import Attribution, attribute

Floats = npt.NDArray[np.float32]
CODE_SHIFT = 58  # of a unit's id, above its block's
VALUES = 4_000_000  # of windows that are scored at once: a full network's last batch is padded, so many windows waste little


@dataclass(frozen=True)
class Task:
    """A chunk file to score: its windows, its blocks' split (`code`, windowing.blocks); `partitions`: only events of these, or None.

    held_out: (bundle, its sha256, from, to): training windows that end in [from, to), by a model that did not see them.
    """

    file: str
    sha256: str
    code: int
    partitions: tuple[str, ...] | None
    windows: int = 0
    held_out: tuple[str, str, int, int] | None = None


@dataclass(frozen=True)
class Plan:
    """What every task of a scoring job shares. attributes: whether the first detector's errors explain the score."""

    bundle: str
    bundle_sha256: str
    detectors: tuple[str, ...]
    kind: str
    length: int
    stride: int
    attributes: bool = True


@functools.lru_cache(maxsize=4)
def _bundle(folder: str, sha256: str, detectors: tuple[str, ...]) -> bundles.Bundle:
    if any(REGISTRY[name].is_trainable for name in detectors):
        use_one_thread()
    if file_sha256(at(folder) / bundles.NAME) != sha256:
        raise DataError(f"{folder}/{bundles.NAME}: altered while it was in use.")
    return bundles.load(at(folder), names=detectors)


@dataclass
class _Block:
    row: dict[str, Any]
    x: npt.NDArray[np.float32]
    layout: Layout
    partition: npt.NDArray[np.str_]


def score_chunk(plan: Plan, task: Task) -> Iterator[pa.RecordBatch]:
    """Rows (one a held event) of a chunk's blocks, in batches (columns: `schema_of`). Raises DataError for an altered file.

    Errors by feature are at most 1e30 (`finite`), so that an event far beyond float32's squares is judged too, and flagged.
    """
    if file_sha256(at(task.file)) != task.sha256:
        raise DataError(
            f"{task.file}: its sha256 is not the manifest's; the dataset was altered. Run jobs/prepare.py --force."
        )
    folder, sha256 = task.held_out[:2] if task.held_out else (plan.bundle, plan.bundle_sha256)
    bundle = _bundle(folder, sha256, plan.detectors)
    waiting: list[_Block] = []
    enough = VALUES // (plan.length * len(bundle.features))
    for batch in parquet_file(task.file).iter_batches(batch_size=16):
        for row in batch.to_pylist():
            block = _open(plan, task, row)
            if len(block.layout.ordinals):
                waiting.append(block)
            if sum(len(b.layout.ordinals) for b in waiting) >= enough:
                yield from _score(plan, task, bundle, waiting)
                waiting = []
    if waiting:
        yield from _score(plan, task, bundle, waiting)


def _open(plan: Plan, task: Task, row: dict[str, Any]) -> _Block:
    x, partition = decode(row["x"]), decode(row["event_partition"])
    ordinals = np.arange(row["n_windows"])
    layout = Layout(len(x), ordinals, plan.length, plan.stride, row["first_padding"])
    if task.partitions is not None:
        wanted = np.isin(partition, task.partitions)
        if plan.kind in ("window", "last"):
            ordinals = ordinals[wanted[layout.starts + plan.length - 1]]
        else:
            reach = np.concatenate([[0], np.cumsum(wanted)])
            ordinals = ordinals[reach[layout.starts + plan.length] > reach[layout.starts]]
        layout = Layout(len(x), ordinals, plan.length, plan.stride, row["first_padding"])
    if task.held_out is not None:
        times, (start, end) = decode(row["event_time"]), task.held_out[2:]
        last, first = times[layout.starts + plan.length - 1], times[layout.starts]
        inside = (last >= start) & (last < end)
        if (
            plan.kind not in ENDING
        ):  # whose events lie in later windows too, of models that saw them
            inside &= first >= start
        layout = Layout(len(x), ordinals[inside], plan.length, plan.stride, row["first_padding"])
    return _Block(row, x, layout, partition)


def _score(
    plan: Plan, task: Task, bundle: bundles.Bundle, blocks: list[_Block]
) -> Iterator[pa.RecordBatch]:
    views = [
        np.lib.stride_tricks.sliding_window_view(b.x, plan.length, axis=0)[
            b.layout.starts
        ].transpose(0, 2, 1)
        for b in blocks
    ]
    x = np.ascontiguousarray(np.concatenate(views))  # (N, L, F)
    bounds = np.cumsum([len(v) for v in views])[:-1]
    errors: dict[str, list[npt.NDArray[Any]] | None] = {}
    apart: list[tuple[Floats, Floats, Floats]] | None = None
    blind = bundle.models[plan.detectors[0]].blind_events
    for name in plan.detectors:
        model = bundle.models[name]
        if isinstance(model, IsolationForest):
            errors[name] = None
        elif name == plan.detectors[0]:
            found, expected = _finite_errors(model, x, explain=True)
            errors[name] = np.split(found.mean(axis=-1), bounds)
            if expected is not None and plan.attributes:
                apart = list(zip(*(np.split(a, bounds) for a in (found, x, expected)), strict=True))
        else:
            errors[name] = np.split(_finite_errors(model, x)[0].mean(axis=-1), bounds)
    for i, block in enumerate(blocks):
        own = None if apart is None else attribute(plan.kind, *apart[i], block.layout, blind)
        yield _rows(
            plan,
            task,
            bundle,
            block,
            {n: None if e is None else e[i] for n, e in errors.items()},
            own,
        )


def _finite_errors(
    model: WindowDetector, x: Floats, *, explain: bool = False
) -> tuple[Floats, Floats | None]:
    """Errors of windows and, to explain them, what the model expected; both `finite`."""
    with np.errstate(over="ignore", invalid="ignore"):
        found, expected = errors_and_expected(model, x) if explain else (model.errors(x), None)
    if expected is None:
        return finite(found), None
    expected, beyond = finite(expected), ~(found < LARGEST).all(axis=(1, 2))
    if beyond.any():  # squares are too large to be told apart, what is squared is not
        away = np.abs(x[beyond].astype(np.float64) - expected[beyond])
        found[beyond] = LARGEST * np.square(away / away.max(axis=(1, 2), keepdims=True))
    return finite(found), expected


def _rows(
    plan: Plan,
    task: Task,
    bundle: bundles.Bundle,
    block: _Block,
    errors: dict[str, Any],
    own: Attribution | None,
) -> pa.RecordBatch:
    layout, kind = block.layout, plan.kind
    at = layout.held(kind)
    split = decode(block.row["split"])[at]
    keep = split == 1 if BlockRole(task.code).split is Split.TRAIN else split >= 2
    if task.partitions is not None:
        keep &= np.isin(block.partition[at], task.partitions)
    partial = layout.partial(at) if kind not in ("window", "last") else np.zeros(len(at), bool)
    if task.held_out is not None:
        split = np.full(len(at), Split.OUT_OF_FOLD, np.int8)
    columns: dict[str, Any] = {
        "split": split,
        "partition": block.partition[at],
        "partial": partial,
        "at": at.astype(np.int32),
    }
    for name in ("event_id", "event_time", "label", "calibrate"):
        columns[name] = decode(block.row[name])[at]
    columns["group"], columns["kind"] = (
        decode(block.row["event_group"])[at],
        decode(block.row["kind"])[at],
    )
    columns["entity"] = np.full(len(at), block.row["entity"])
    columns["block_id"] = np.full(len(at), block.row["block_id"], np.int64)
    columns["unit"] = (task.code << CODE_SHIFT) + (block.row["block_id"] << 20) + at // plan.length
    columns["file"] = np.full(len(at), Path(task.file).name)
    count = None
    for i, name in enumerate(plan.detectors):
        if errors[name] is None:
            model = bundle.models[name]
            assert isinstance(model, IsolationForest)
            columns[f"s{i}"], columns[f"v{i}"] = (
                model.score_rows(block.x[at]).astype(np.float32).astype(np.float64),
                None,
            )
            continue
        known = aggregate(kind, errors[name], layout)
        whole = final(kind, known)
        columns[f"s{i}"] = np.where(partial, known.value, whole)
        columns[f"v{i}"] = (
            [v if p else None for v, p in zip(known.every, partial, strict=True)]
            if known.every
            else None
        )
        count = known.count
    columns["n"] = (np.ones(len(at), np.int64) if count is None else count).astype(np.int32)
    columns |= (
        dict.fromkeys(EXPLAINED)
        if own is None
        else {
            "errors": own.errors,
            "step": own.step,
            "value": own.value,
            "expected": own.expected,
            "forecasts": own.forecasts,
        }
    )
    schema = schema_of(plan.detectors)
    arrays = []
    for f in schema:
        value = columns[f.name]
        if value is None:
            arrays.append(pa.nulls(int(keep.sum()), f.type))
        elif isinstance(value, list):
            arrays.append(pa.array([v for v, k in zip(value, keep, strict=True) if k], f.type))
        elif value.ndim == 2:
            arrays.append(lists(value[keep]).cast(f.type))
        else:
            chosen = value[keep]
            arrays.append(
                pa.array(chosen.tolist() if chosen.dtype.kind == "U" else chosen).cast(f.type)
            )
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def lists(values: npt.NDArray[Any]) -> pa.ListArray:
    """A list column of an array (n, F)."""
    ends = np.arange(len(values) + 1, dtype=np.int32) * values.shape[1]
    return pa.ListArray.from_arrays(ends, np.ascontiguousarray(values).ravel())


KEYS = pa.schema(
    [
        ("split", pa.int8()),
        ("partition", pa.string()),
        ("group", pa.string()),
        ("entity", pa.string()),
        ("event_id", pa.string()),
        ("event_time", pa.int64()),
        ("label", pa.int8()),
        ("kind", pa.string()),
        ("calibrate", pa.int8()),
    ]
)


EXPLAINED = {
    "errors": pa.list_(pa.float32()),
    "step": pa.list_(pa.int32()),
    "value": pa.list_(pa.float32()),
    "expected": pa.list_(pa.float32()),
    "forecasts": pa.int32(),
}


def schema_of(detectors: tuple[str, ...]) -> pa.Schema:
    """Columns of scored rows: the event, whether partial and over how many windows, its `attribution`, s<i> (v<i>) of each detector."""
    more = [
        ("unit", pa.int64()),
        ("block_id", pa.int64()),
        ("at", pa.int32()),
        ("file", pa.string()),
        ("partial", pa.bool_()),
        ("n", pa.int32()),
    ]
    scores = [(f"s{i}", pa.float64()) for i in range(len(detectors))]
    return pa.schema(
        [
            *KEYS,
            *more,
            *EXPLAINED.items(),
            *scores,
            *[(f"v{i}", pa.list_(pa.float64())) for i in range(len(detectors))],
        ]
    )


def explain_event(
    bundle: bundles.Bundle, name: str, file: str, block_id: int, at: int, length: int, stride: int
) -> dict[str, Any]:
    """The window that ends at (or last holds) an event: x, what the model expected, errors per step, times in microseconds."""
    table = read_table(file, filters=[("block_id", "=", block_id)]).to_pylist()
    row = table[0]
    x, times = decode(row["x"]), decode(row["event_time"])
    ordinal = min(max(0, (at - length + 1 + stride - 1) // stride), row["n_windows"] - 1)
    a = ordinal * stride
    window = np.ascontiguousarray(x[a : a + length][None])
    model = bundle.models[name]
    errors, rebuilt = _finite_errors(model, window, explain=True)
    return {
        "x": window[0].tolist(),
        "reconstruction": None if rebuilt is None else rebuilt[0].tolist(),
        "errors": errors[0].mean(axis=-1).tolist(),
        "times": times[a : a + length].tolist(),
        "step": at - a,
    }
