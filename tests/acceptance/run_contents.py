"""What a run directory holds, as named columns of values.

Left out is what no two runs share: run ids, times, speeds, versions and the folders' own paths.
Nothing here knows the package: tables, JSON files and arrays are read as any other reader would.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import yaml

TABLES = "tables"
RUNS_TABLE = "tables/runs"
PRINTED = "printed.txt"  # beside the run directory: what the job printed
EVENT_FOLDERS = ("events", "events_test", "quarantine", "quarantine_test", "rest", "tails")
JSON_FILES = (
    "summary.json",
    "scaler.json",
    "verdict.json",
    "shapes.json",
    "adjust.json",
    "score_details.json",
    "events/ledger.json",
)
PAGE = "report.html"
SPEEDS = ("<dt>Windows a second</dt>", "<dt>Waiting for data</dt>")  # lines of the page
METADATA = "_common_metadata"
PICKLE_START = b"\x80"
VARYING = {
    "run_id",
    "settings_sha256",
    "versions",
    "started",
    "ended",
    "fingerprint",
    "sha256",
    "metadata_sha256",
    "seconds",
    "waited",
    "windows_per_second",
}


@dataclass(frozen=True)
class Column:
    """A column of a table, a key of a JSON file, an array of a bundle: its values in order."""

    name: str
    kind: str
    values: pa.Array


@dataclass(frozen=True)
class Content:
    """What is compared as one: a table, a JSON file, the files of a dataset."""

    name: str
    rows: int
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class Place:
    """A run directory, and what stands for the paths that its files may name."""

    run_directory: Path
    names: tuple[tuple[str, str], ...]  # (path or id, what stands for it), the longest first

    def neutral(self, text: str) -> str:
        """The text without the names of this place."""
        for found, meaning in self.names:
            text = text.replace(found, meaning)
        return text


def place_of(run_directory: Path, work: Path, tree: Path) -> Place:
    """A finished run's place: below the folder `work`, made by the code of `tree`."""
    summary = json.loads((run_directory / "summary.json").read_text(encoding="utf-8"))
    names = (
        (summary["run_id"], "<run>"),
        (summary["settings_sha256"], "<settings>"),
        (str(work), "<work>"),
        (str(tree), "<tree>"),
        (str(tree.parent / "shared"), "<shared>"),
    )
    return Place(run_directory, tuple(sorted(names, key=lambda pair: -len(pair[0]))))


def contents(place: Place) -> Iterator[Content]:
    """Everything of a run that another run with the same settings and source has too."""
    base = place.run_directory
    for folder in sorted(p for p in (base / TABLES).iterdir() if p.is_dir()):
        yield _table(place, f"{TABLES}/{folder.name}")
    for name in EVENT_FOLDERS:
        if any((base / name).rglob("*.parquet")):
            yield _table(place, name)
    for name in JSON_FILES:
        if (base / name).exists():
            yield _mapping(place, name, json.loads((base / name).read_text(encoding="utf-8")))
    settings = yaml.safe_load((base / "conf.yaml").read_text(encoding="utf-8"))["settings"]
    text = json.dumps(settings, default=str)
    yield _mapping(place, "conf.yaml", json.loads(text))
    if place.neutral(text) == text:  # no path of this place: the same id everywhere
        summary = json.loads((base / "summary.json").read_text(encoding="utf-8"))
        ids = {key: pa.array([summary[key]]) for key in ("run_id", "settings_sha256")}
        yield _content("ids", ids)
    yield from _datasets(place)
    yield from _bundle(place)
    yield _text(place, PRINTED, base.parent / PRINTED)
    yield _text(place, PAGE, base / PAGE)


def _content(
    name: str, columns: dict[str, pa.Array], kinds: dict[str, str] | None = None
) -> Content:
    """A content whose columns' kinds are their Arrow types unless given."""
    made = [Column(n, (kinds or {}).get(n, str(v.type)), v) for n, v in columns.items()]
    return Content(name, max((len(column.values) for column in made), default=0), tuple(made))


def _table(place: Place, name: str) -> Content:
    """A folder of Parquet files as one table, its folders' keys as columns, rows in total order."""
    base = place.run_directory / name
    files = sorted(str(file) for file in base.rglob("*.parquet"))
    source = ds.dataset(files, format="parquet", partitioning="hive", partition_base_dir=str(base))
    table = source.to_table()
    if name == RUNS_TABLE:
        counts = [_neutral_json(place, json.loads(text)) for text in table["counts"].to_pylist()]
        at = table.column_names.index("counts")
        table = table.set_column(at, "counts", pa.array(counts, pa.string()))
    table = in_total_order(table.select([c for c in table.column_names if c not in VARYING]))
    arrays = {c: table[c].combine_chunks() for c in table.column_names}
    return _content(name, {c: _joined(array) for c, array in arrays.items()})


def in_total_order(table: pa.Table) -> pa.Table:
    """The rows sorted by all columns, exact values first and floats last.

    A float that moved by a digit thus leaves its row beside its earlier self.
    """
    exact: list[pa.Array] = []
    floats: list[pa.Array] = []
    for name in table.column_names:
        for array in _leaves(_joined(table[name].combine_chunks())):
            (floats if pa.types.is_floating(array.type) else exact).append(array)
    if not (arrays := exact + floats):
        return table
    names = [f"key{number}" for number in range(len(arrays))]
    order = pc.sort_indices(
        pa.table(arrays, names=names), sort_keys=[(name, "ascending") for name in names]
    )
    return table.take(order)


def _leaves(array: pa.Array) -> Iterator[pa.Array]:
    """What rows are sorted by: the fields of a structure, a list as its text."""
    if pa.types.is_struct(array.type):
        for field in array.flatten():
            yield from _leaves(field)
    elif pa.types.is_nested(array.type):
        yield pa.array([repr(value) for value in array.to_pylist()], pa.string())
    elif pa.types.is_boolean(array.type):
        yield array.cast(pa.uint8())
    elif not pa.types.is_null(array.type):
        yield array


def _joined(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    """A column as one array, without a dictionary."""
    if isinstance(values, pa.ChunkedArray):
        parts = values.chunks or [pa.array([], values.type)]
        values = pa.concat_arrays(parts)
    if pa.types.is_dictionary(values.type):
        return values.cast(values.type.value_type)
    return values


def _neutral_json(place: Place, value: Any) -> str:
    """JSON without what varies, in one line."""
    return place.neutral(json.dumps(_steady(value), sort_keys=True))


def _steady(value: Any) -> Any:
    """A JSON value without the keys that vary between equal runs."""
    if isinstance(value, dict):
        return {k: _steady(v) for k, v in value.items() if k not in VARYING}
    return [_steady(v) for v in value] if isinstance(value, list) else value


def _mapping(place: Place, name: str, value: Any) -> Content:
    """A JSON value: a column for each key at the top, a row for each value below it."""
    steady = _steady(value)
    parts = steady if isinstance(steady, dict) else {"value": steady}
    columns = {}
    for key in sorted(parts):
        lines = [place.neutral(line) for line in _lines(parts[key], key)]
        columns[key] = pa.array(lines, pa.string())
    return _content(name, columns)


def _lines(value: Any, path: str) -> Iterator[str]:
    """`path = value` for every value below; floats with all their digits."""
    if isinstance(value, dict) and value:
        for key in sorted(value):
            yield from _lines(value[key], f"{path}.{key}")
    elif isinstance(value, list) and value:
        for number, item in enumerate(value):
            yield from _lines(item, f"{path}[{number}]")
    else:
        yield f"{path} = {json.dumps(value)}"


def _text(place: Place, name: str, file: Path) -> Content:
    """A text by its lines, but for space around them, empty ones and speeds."""
    lines = (line.strip() for line in file.read_text(encoding="utf-8").splitlines())
    kept = [place.neutral(line) for line in lines if line and not line.startswith(SPEEDS)]
    return _content(name, {"line": pa.array(kept, pa.string())})


def _datasets(place: Place) -> Iterator[Content]:
    """The datasets: files by their bytes, manifests, and Petastorm's metadata without its pickle.

    The pickle names modules, so it changes when they move.
    """
    base = place.run_directory / "dataset"
    files: dict[str, pa.Array] = {}
    for file in sorted(path for path in base.rglob("*") if path.is_file()):
        name = file.relative_to(place.run_directory).as_posix()
        if file.name == METADATA:
            yield _metadata(name, pq.read_schema(file))
        elif file.suffix == ".json":
            yield _mapping(place, name, json.loads(file.read_text(encoding="utf-8")))
        else:
            files[name] = pa.array([file.read_bytes()], pa.large_binary())
    yield _content("dataset files", files)


def _metadata(name: str, schema: pa.Schema) -> Content:
    """The schema of a dataset and its metadata, but for pickles."""
    columns = {"schema": pa.array([f"{field.name}: {field.type}" for field in schema])}
    for key, value in sorted((schema.metadata or {}).items()):
        if not value.startswith(PICKLE_START):
            columns[key.decode()] = pa.array([value], pa.binary())
    return _content(name, columns)


def _bundle(place: Place) -> Iterator[Content]:
    """The model's bundle, and those of folds: its description, and every array of every model."""
    for file in sorted((place.run_directory / "model").rglob("*")):
        name = file.relative_to(place.run_directory).as_posix()
        if file.suffix == ".json":
            yield _mapping(place, name, json.loads(file.read_text(encoding="utf-8")))
        elif file.suffix == ".npz":
            with np.load(file, allow_pickle=False) as arrays:
                found = {key: arrays[key] for key in sorted(arrays.files)}
            kinds = {key: f"{array.dtype}{list(array.shape)}" for key, array in found.items()}
            flat = {key: pa.array(np.ascontiguousarray(a).ravel()) for key, a in found.items()}
            yield _content(name, flat, kinds)
