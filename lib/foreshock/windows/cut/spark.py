"""Cuts windows with Spark: one global sort, then each sorted file is cut by one task with a halo from the files before it.

No entity is hashed into one task: the sort is by range of the total order, and a part that begins within a sequence reads the
few rows it needs from its neighbours' files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from foreshock import columns as C
from foreshock.platform.parquet import parquet_file, read_table, write_table
from foreshock.platform.session import map_items
from foreshock.scaling.robust import Scaler
from foreshock.sequences.split import BlockRole
from foreshock.windows.cut.blocks import (
    REASONS,
    SHORT,
    Blocks,
    Cut,
    PartPlan,
    PartSummary,
    cut_part,
    endings,
    plan_parts,
    sequence_starts,
    summarize,
    tail_rows,
)
from foreshock.windows.dataset.schema import BLOCK_SCHEMA, encode, text_array
from foreshock.windows.dataset.writer import CHUNK_EVENTS, write_file

TABLE = "table"
DATASETS: dict[int, str] = {role: role.split.text for role in BlockRole}
SHAPE = (TABLE, C.ENTITY, C.EVENT_TIME, "split", C.TRAIN_OK)
CARRIED = (C.EVENT_ID, C.PARTITION, C.GROUP, C.LABEL, C.KIND, C.CALIBRATE_OK)
REST = pa.schema(
    [
        ("split", pa.int8()),
        (C.PARTITION, pa.string()),
        (C.GROUP, pa.string()),
        (C.ENTITY, pa.string()),
        (C.EVENT_ID, pa.string()),
        (C.EVENT_TIME, pa.int64()),
        (C.LABEL, pa.int8()),
        (C.KIND, pa.string()),
        (C.CALIBRATE_OK, pa.bool_()),
        (C.REASON, pa.string()),
    ]
)


@dataclass(frozen=True)
class Sorted:
    """Events in total order as files, with each file's plan."""

    files: tuple[str, ...]
    rows: tuple[int, ...]
    plans: tuple[PartPlan, ...]
    longest: int


def sort_events(
    events: DataFrame, features: tuple[str, ...], ties: int, parts: int, target: Path
) -> list[str]:
    """Write events in total order (table, entity, time, tiebreaks, id) to `target`, a file a range; returns the files."""
    order = [TABLE, C.ENTITY, C.EVENT_TIME, *tiebreaks(ties), C.EVENT_ID]
    ordered = events.withColumn(C.EVENT_TIME, F.unix_micros(C.EVENT_TIME)).repartitionByRange(
        parts, *order
    )
    # Every column of the order is written: Spark 3.5 sorts wrongly when a write leaves one of them out.
    names = dict.fromkeys([*order, *SHAPE, *CARRIED, *features])
    writer = (
        ordered.sortWithinPartitions(*order).select(*names).write.option("compression", "lz4_raw")
    )
    for name in (
        C.EVENT_TIME,
        C.EVENT_ID,
        *features,
    ):  # a dictionary of values that hardly recur costs time and saves nothing
        writer = writer.option(f"parquet.enable.dictionary#{name}", "false")
    writer.parquet(str(target))
    return sorted(str(f) for f in target.glob("part-*.parquet"))


def tiebreaks(ties: int) -> list[str]:
    """The names of the tiebreak columns."""
    return [f"{C.TIEBREAK_PREFIX}{i}" for i in range(ties)]


def _keys(table: pa.Table) -> np.ndarray:
    """True where the entity differs from the row before."""
    entity = pc.dictionary_encode(table[C.ENTITY].combine_chunks())
    if isinstance(entity, pa.ChunkedArray):
        entity = entity.combine_chunks()
    codes, which = entity.indices.to_numpy(), table[TABLE].to_numpy()
    changed = np.ones(len(codes), bool)
    changed[1:] = (codes[1:] != codes[:-1]) | (which[1:] != which[:-1])
    return changed


def plan(spark: SparkSession, files: list[str], cut: Cut) -> Sorted:
    """Each file's place in the total order, from one light pass over entity and time."""
    work = list(enumerate(files))

    def one(item: tuple[int, str]) -> Iterator[pa.RecordBatch]:
        table = read_table(item[1], columns=[TABLE, C.ENTITY, C.EVENT_TIME])
        times = table[C.EVENT_TIME].to_numpy()
        starts = sequence_starts(_keys(table), times, cut.max_gap)
        first, last = (
            f"{table[TABLE][i]}/{table[C.ENTITY][i]}" if len(table) else "" for i in (0, -1)
        )
        longest = int(np.diff(np.append(np.flatnonzero(starts), len(starts))).max(initial=0))
        yield pa.RecordBatch.from_pylist(
            [{"part": item[0], "longest": longest, **asdict(summarize(first, last, starts, times))}]
        )

    schema = (
        "part int, longest bigint, rows bigint, first_key string, first_time bigint, last_key string, last_time bigint, "
        "leading bigint, trailing bigint"
    )
    found = {r["part"]: r.asDict() for r in map_items(spark, work, one, schema).collect()}
    longest = max((found[i].pop("longest") for i in found), default=0)
    summaries = [
        PartSummary(**{k: v for k, v in found[i].items() if k != "part"}) for i in range(len(files))
    ]
    plans = plan_parts(summaries, cut)
    crossing = [p.first_index + s.leading for p, s in zip(plans, summaries, strict=True)]
    return Sorted(
        tuple(files), tuple(s.rows for s in summaries), tuple(plans), max([longest, *crossing])
    )


def _load(order: Sorted, part: int, names: tuple[str, ...]) -> pa.Table:
    """A part's rows behind its halo."""
    pieces = [read_table(order.files[part], columns=list(names))]
    wanted, before = order.plans[part].halo, part - 1
    while wanted > 0:
        file = parquet_file(order.files[before])
        groups: list[int] = []
        have = 0
        for group in range(file.num_row_groups - 1, -1, -1):
            if have >= wanted:
                break
            groups.insert(0, group)
            have += file.metadata.row_group(group).num_rows
        if groups:
            tail = file.read_row_groups(groups, columns=list(names))
            pieces.insert(0, tail.slice(max(0, len(tail) - wanted)).select(list(names)))
        wanted -= have
        before -= 1
    return pa.concat_tables(pieces)


def _cut(
    table: pa.Table, plan: PartPlan, cut: Cut, validation: int
) -> tuple[Blocks, np.ndarray, np.ndarray]:
    """(blocks, why no window ends at each row, split code of each row)."""
    times, split = table[C.EVENT_TIME].to_numpy(), table["split"].to_numpy()
    starts = sequence_starts(_keys(table), times, cut.max_gap)
    starts[:1] = plan.first_index == plan.halo
    train = split == 1
    train_ok = train & table[C.TRAIN_OK].to_numpy()
    blocks = cut_part(starts, plan, split, train_ok, times < validation, cut)
    return blocks, endings(starts, plan, train, train_ok, cut), split


def count_blocks(
    spark: SparkSession, order: Sorted, cut: Cut, validation: int
) -> dict[int, dict[int, tuple[int, int]]]:
    """part -> block code -> (blocks, events) that the part will cut: what numbers blocks before any is written."""

    def one(part: int) -> Iterator[pa.RecordBatch]:
        blocks, _, _ = _cut(_load(order, part, SHAPE), order.plans[part], cut, validation)
        events = blocks.events(cut) + blocks.padding
        yield pa.RecordBatch.from_pylist(
            [
                {
                    "part": part,
                    "code": int(c),
                    "blocks": int((blocks.split == c).sum()),
                    "events": int(events[blocks.split == c].sum()),
                }
                for c in DATASETS
            ]
        )

    found: dict[int, dict[int, tuple[int, int]]] = {}
    for row in map_items(
        spark, range(len(order.files)), one, "part int, code int, blocks bigint, events bigint"
    ).collect():
        found.setdefault(row["part"], {})[row["code"]] = (row["blocks"], row["events"])
    return found


def write_pieces(
    spark: SparkSession,
    order: Sorted,
    cut: Cut,
    validation: int,
    scaler: Scaler,
    counts: dict[int, dict[int, tuple[int, int]]],
    ties: int,
    folder: Path,
) -> list[dict[str, Any]]:
    """Cut every part and write its blocks as pieces of chunks, the events that end no window (`rest`) and those that windows of later
    events need (`tails`); returns the pieces."""
    offsets: dict[int, dict[int, tuple[int, int]]] = {}
    running = {code: (0, 0) for code in DATASETS}
    for part in range(len(order.files)):
        offsets[part] = dict(running)
        running = {
            c: (running[c][0] + counts[part][c][0], running[c][1] + counts[part][c][1])
            for c in DATASETS
        }
    first_validation = running[BlockRole.FIT][0]
    features = tuple(f.name for f in scaler.features)

    def one(part: int) -> Iterator[pa.RecordBatch]:
        table = _load(order, part, (*SHAPE, *CARRIED, *tiebreaks(ties), *features)).combine_chunks()
        blocks, reason, split = _cut(table, order.plans[part], cut, validation)
        _write_tails(table, order.plans[part], cut, folder / "tails" / f"part-{part:05d}.parquet")
        _write_rest(
            table,
            order.plans[part].halo,
            reason,
            split,
            folder / "rest" / f"part-{part:05d}.parquet",
        )
        columns = _Columns(table, scaler, features, split)
        size = blocks.events(cut) + blocks.padding
        found = []
        for code in DATASETS:
            mine = np.flatnonzero(blocks.split == code)
            at = (
                offsets[part][code][1] + np.concatenate([[0], np.cumsum(size[mine])[:-1]])
                if len(mine)
                else np.zeros(0)
            )
            ids = (
                offsets[part][code][0]
                + np.arange(len(mine))
                + (first_validation if code == BlockRole.VALIDATION else 0)
            )
            chunk = at.astype(np.int64) // CHUNK_EVENTS
            for number in np.unique(chunk).tolist():
                chosen = chunk == number
                path = folder / "pieces" / f"{code}-{number:06d}-{part:06d}.parquet"
                found.append(
                    _write_piece(columns, blocks, mine[chosen], ids[chosen], cut, code, path)
                    | {"code": code, "chunk": number, "part": part}
                )
        yield pa.RecordBatch.from_pylist(found, PIECES)

    for name in ("rest", "tails"):
        (folder / name).mkdir(parents=True)
    (folder / "pieces").mkdir(parents=True)
    return [
        row.asDict()
        for row in map_items(spark, range(len(order.files)), one, PIECE_SCHEMA).collect()
    ]


PIECES = pa.schema(
    [
        ("code", pa.int32()),
        ("chunk", pa.int32()),
        ("part", pa.int32()),
        ("path", pa.string()),
        ("blocks", pa.int64()),
        ("windows", pa.int64()),
        ("events", pa.int64()),
        ("x_bytes", pa.int64()),
        ("partitions", pa.list_(pa.string())),
        ("block_windows", pa.list_(pa.int32())),
    ]
)
PIECE_SCHEMA = (
    "code int, chunk int, part int, path string, blocks bigint, windows bigint, events bigint, x_bytes bigint, "
    "partitions array<string>, block_windows array<int>"
)


class _Columns:
    """A part's columns as arrays that blocks slice."""

    def __init__(
        self, table: pa.Table, scaler: Scaler, features: tuple[str, ...], split: np.ndarray
    ) -> None:
        raw = np.column_stack(
            [pc.fill_null(table[f], float("nan")).to_numpy() for f in features]
        )  # (n, F)
        self.x = scaler.apply(raw)
        self.entity, self.event_id = table[C.ENTITY], table[C.EVENT_ID].combine_chunks()
        self.time, self.split = table[C.EVENT_TIME].to_numpy(), split.astype(np.int8)
        self.label = pc.fill_null(table[C.LABEL], C.UNKNOWN_LABEL).to_numpy().astype(np.int8)
        self.calibrate = table[C.CALIBRATE_OK].to_numpy().astype(np.int8)
        self.partition, self.group, self.kind = (
            _texts(table[c]) for c in (C.PARTITION, C.GROUP, C.KIND)
        )

    def ids(self, start: int, rows: int) -> np.ndarray:
        return text_array(self.event_id.slice(start, rows))


def _texts(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    encoded = pc.dictionary_encode(pc.fill_null(column.combine_chunks().cast(pa.string()), ""))
    return np.array(
        encoded.dictionary.to_pylist() or [""], dtype=np.str_
    ), encoded.indices.to_numpy()


def _write_piece(
    c: _Columns,
    blocks: Blocks,
    chosen: np.ndarray,
    ids: np.ndarray,
    cut: Cut,
    code: int,
    path: Path,
) -> dict[str, Any]:
    rows: dict[str, list[Any]] = {name: [] for name in BLOCK_SCHEMA.names}
    ends: list[np.ndarray] = []
    events = x_bytes = 0
    for block, number in zip(chosen.tolist(), ids.tolist(), strict=True):
        a, padding, windows = (
            int(blocks.start[block]),
            int(blocks.padding[block]),
            int(blocks.windows[block]),
        )
        n = (windows - 1) * cut.stride + cut.length - padding
        own = slice(a, a + n)
        end = a + cut.length - 1 - padding + np.arange(windows) * cut.stride
        coded = {"event_partition": c.partition, "event_group": c.group, "kind": c.kind}
        x = _padded(c.x[own], padding)
        ends.append(np.unique(c.partition[1][end]))
        values: dict[str, Any] = {
            "block_id": number,
            "entity": c.entity[a].as_py(),
            "group": str(c.group[0][c.group[1][end[0]]]),
            "partition": str(c.partition[0][c.partition[1][end[0]]]),
            "n_windows": windows,
            "first_padding": padding,
            "validation": int(code == BlockRole.VALIDATION),
            "x": encode(x),
            "event_time": encode(_padded(c.time[own], padding)),
            "event_id": encode(_padded(c.ids(a, n), padding)),
            "label": encode(_padded(c.label[own], padding, C.UNKNOWN_LABEL)),
            "split": encode(_padded(c.split[own], padding)),
            "calibrate": encode(_padded(c.calibrate[own], padding)),
            **{
                name: encode(_padded(words[codes[own]], padding))
                for name, (words, codes) in coded.items()
            },
        }
        for name, value in values.items():
            rows[name].append(value)
        events, x_bytes = events + n + padding, x_bytes + x.nbytes
    write_file(path, pa.table(rows, schema=BLOCK_SCHEMA))
    partitions = sorted({str(c.partition[0][i]) for i in np.unique(np.concatenate(ends))})
    return {
        "path": str(path),
        "blocks": len(chosen),
        "windows": int(blocks.windows[chosen].sum()),
        "events": events,
        "x_bytes": x_bytes,
        "partitions": partitions,
        "block_windows": blocks.windows[chosen].tolist(),
    }


def _padded(values: np.ndarray, padding: int, fill: Any = None) -> np.ndarray:
    if not padding:
        return values
    head = np.zeros((padding, *values.shape[1:]), values.dtype)
    if fill is not None:
        head[:] = fill
    return np.concatenate([head, values])


def _write_tails(table: pa.Table, plan: PartPlan, cut: Cut, path: Path) -> None:
    starts = sequence_starts(_keys(table), table[C.EVENT_TIME].to_numpy(), cut.max_gap)
    starts[:1] = plan.first_index == plan.halo
    chosen = tail_rows(starts, _keys(table), plan, cut) & (table[TABLE].to_numpy() == 0)
    write_table(table.filter(pa.array(chosen)).drop([TABLE, "split"]), path)


def _write_rest(
    table: pa.Table, halo: int, reason: np.ndarray, split: np.ndarray, path: Path
) -> None:
    chosen = (reason != 0) & (split != 0)
    chosen[:halo] = False
    rest = table.filter(pa.array(chosen))
    words = np.array(REASONS)[reason[chosen]]
    columns = [
        rest[n].cast(REST.field(n).type) if n != C.REASON else pa.array(words.tolist(), pa.string())
        for n in REST.names
    ]
    write_table(pa.table(columns, schema=REST), path)


__all__ = ["DATASETS", "SHORT", "Sorted", "count_blocks", "plan", "sort_events", "write_pieces"]
