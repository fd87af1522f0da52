"""Datasets of blocks made without Spark, and what someone who can write to one may do to it."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from foreshock.platform.files import file_sha256
from foreshock.platform.paths import size
from foreshock.sequences.split import BlockRole
from foreshock.windows.dataset.manifest import Chunk, Manifest, run_lengths
from foreshock.windows.dataset.metadata import write_metadata
from foreshock.windows.dataset.schema import BLOCK_SCHEMA, encode
from foreshock.windows.dataset.writer import write_file

LENGTH = 4
ROLE_NAMES = {BlockRole.FIT: "fit", BlockRole.VALIDATION: "validation"}


def block_row(
    generator: np.random.Generator, block_id: int, n_windows: int, n_features: int, stride: int
) -> dict[str, Any]:
    """A block with random features. A block of one window is padded now and then."""
    n_events = LENGTH + stride * (n_windows - 1)
    padding = int(generator.integers(0, LENGTH)) if n_windows == 1 else 0
    texts = np.array([f"{block_id}-{event}" for event in range(n_events)])
    small = np.zeros(n_events, np.int8)
    return {
        "block_id": block_id,
        "entity": f"entity-{block_id % 3}",
        "group": "",
        "partition": "2024-01-01",
        "n_windows": n_windows,
        "first_padding": padding,
        "validation": 0,
        "x": encode(generator.normal(size=(n_events, n_features)).astype(np.float32)),
        "event_time": encode(np.arange(n_events, dtype=np.int64)),
        **{name: encode(texts) for name in ("event_id", "kind", "event_partition", "event_group")},
        **{name: encode(small) for name in ("label", "split", "calibrate")},
    }


def write_dataset(
    folder: Path,
    chunks: Sequence[tuple[BlockRole, Sequence[int]]],
    *,
    n_features: int = 2,
    stride: int = 1,
    seed: int = 0,
) -> Manifest:
    """A training dataset: each chunk is a role and the windows of its blocks."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    written: list[Chunk] = []
    next_id = 0
    for number, (role, windows) in enumerate(chunks):
        rows = [
            block_row(generator, next_id + place, count, n_features, stride)
            for place, count in enumerate(windows)
        ]
        next_id += len(rows)
        file = folder / f"{ROLE_NAMES[role]}-{number:06d}.parquet"
        write_file(file, pa.Table.from_pylist(rows, schema=BLOCK_SCHEMA))
        written.append(
            Chunk(
                file=file.name,
                role=role,
                blocks=len(rows),
                windows=sum(windows),
                events=sum(LENGTH + stride * (count - 1) for count in windows),
                x_bytes=sum(len(row["x"]) for row in rows),
                bytes=size(file),
                sha256=file_sha256(file),
                partitions=("2024-01-01",),
                block_windows=run_lengths(windows),
            )
        )
    features = tuple(f"feature_{number}" for number in range(n_features))
    write_metadata(folder, n_features, [chunk.file for chunk in written])
    metadata_sha256 = file_sha256(folder / "_common_metadata")
    manifest = Manifest(
        "train", features, LENGTH, stride, "0" * 64, metadata_sha256, tuple(written)
    )
    manifest.write(folder)
    return manifest


def replant_metadata(folder: Path, marker: Path) -> bytes:
    """Put code into a dataset's pickled schema, and make the manifest fit. Returns the new bytes.

    The code makes `marker`, then gives the genuine schema, so that nothing else is conspicuous.
    It passes Petastorm's unpickler, which lets `builtins` through.
    """
    path = folder / "_common_metadata"
    schema = pq.read_schema(path)
    key = b"dataset-toolkit.unischema.v1"
    genuine = schema.metadata[key]
    source = (
        f"(__import__('pathlib').Path({str(marker)!r}).touch(), "
        f"__import__('pickle').loads({genuine!r}))[1]"
    )
    pickled = b"\x80\x02cbuiltins\neval\n" + _pickled_text(source) + b"\x85R."
    path.write_bytes(_metadata_file(schema.with_metadata({**schema.metadata, key: pickled})))
    reseal_metadata(folder)
    return path.read_bytes()


def reseal_metadata(folder: Path) -> None:
    """Write the metadata's digest into the manifest, as whoever replaced it would."""
    path = folder / "_manifest.json"
    content = json.loads(path.read_text())
    digest = hashlib.sha256((folder / "_common_metadata").read_bytes()).hexdigest()
    path.write_text(json.dumps(content | {"metadata_sha256": digest}))


def _pickled_text(text: str) -> bytes:
    data = text.encode()
    return b"X" + len(data).to_bytes(4, "little") + data


def _metadata_file(schema: pa.Schema) -> bytes:
    stream = pa.BufferOutputStream()
    pq.write_metadata(schema, stream)
    content: bytes = stream.getvalue().to_pybytes()
    return content


def rewrite_chunk(folder: Path, file: str, change: Callable[[pa.Table], pa.Table]) -> None:
    """Replace a file of blocks by a changed table, and make the manifest fit."""
    pq.write_table(change(pq.read_table(folder / file)), folder / file)
    path = folder / "_manifest.json"
    content = json.loads(path.read_text())
    for chunk in content["chunks"]:
        if chunk["file"] == file:
            chunk["bytes"] = size(folder / file)
            chunk["sha256"] = file_sha256(folder / file)
    path.write_text(json.dumps(content))


class WithoutPetastorm:
    """An import hook: Petastorm looks as if it were not installed."""

    def find_spec(self, name: str, *_: Any) -> None:
        """Refuse Petastorm, and leave everything else to other finders."""
        if name.split(".")[0] == "petastorm":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def without_petastorm() -> Iterator[None]:
    """Block Petastorm while in use. Modules that hold it are imported anew afterwards."""
    blocker = WithoutPetastorm()
    hidden = {
        name: sys.modules.pop(name)
        for name in list(sys.modules)
        if "petastorm" in name.removeprefix("foreshock.windows.dataset.").split(".")[0]
    }
    sys.meta_path.insert(0, blocker)
    try:
        yield
    finally:
        sys.meta_path.remove(blocker)
        sys.modules.update(hidden)
