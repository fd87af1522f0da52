"""A dataset's manifest: the files this project wrote, with sizes and digests. Only datasets that match theirs are read."""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from foreshock.errors import DataError
from foreshock.platform.files import file_sha256, read_json, write_json
from foreshock.platform.paths import stamps

NAME = "_manifest.json"
METADATA = "_common_metadata"


@dataclass(frozen=True)
class Chunk:
    """A file of blocks. `code` is the blocks' split (windowing.blocks); `partitions` those in which its windows end.

    block_windows: the windows of its blocks, in order, as runs of (windows, blocks).
    """

    file: str
    code: int
    blocks: int
    windows: int
    events: int
    x_bytes: int
    bytes: int
    sha256: str
    partitions: tuple[str, ...]
    block_windows: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Manifest:
    """All chunks of one split's dataset, in the order of their block ids."""

    split: str
    features: tuple[str, ...]
    length: int
    stride: int
    scaler_sha256: str
    metadata_sha256: str
    chunks: tuple[Chunk, ...]

    def total(self, what: str, codes: tuple[int, ...] | None = None) -> int:
        """Sum of a count over chunks, optionally of some codes only."""
        return sum(getattr(c, what) for c in self.chunks if codes is None or c.code in codes)

    def write(self, folder: Path) -> None:
        write_json(folder / NAME, asdict(self))


def runs(values: list[int]) -> tuple[tuple[int, int], ...]:
    """Values as runs of (value, how often), in order."""
    return tuple((value, len(list(same))) for value, same in itertools.groupby(values))


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a dataset whose files match it: names, sizes, and the digest of the metadata that Petastorm unpickles.

    Raises DataError naming the file that is missing, altered or not in the manifest.
    """
    path = folder / NAME
    if not path.exists():
        raise DataError(
            f"{path}: missing, so {folder} is not a dataset of this project. Run jobs/prepare.py --force."
        )
    raw: dict[str, Any] = read_json(path)
    try:
        chunks = tuple(
            Chunk(
                **{
                    **c,
                    "partitions": tuple(c["partitions"]),
                    "block_windows": tuple((w, n) for w, n in c["block_windows"]),
                }
            )
            for c in raw["chunks"]
        )
        manifest = Manifest(**{**raw, "features": tuple(raw["features"]), "chunks": chunks})
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: not a manifest of this version ({error}). Run jobs/prepare.py --force."
        ) from None
    there = {
        f.relative_to(folder).as_posix(): size
        for f, size, _ in stamps(folder)
        if not f.name.startswith((".", "_"))
    }
    if extra := sorted(set(there) - {c.file for c in chunks}):
        raise DataError(
            f"{folder / extra[0]}: not in the manifest; the dataset was altered. Run jobs/prepare.py --force."
        )
    for chunk in chunks:
        file = folder / chunk.file
        if chunk.file not in there:
            raise DataError(
                f"{file}: in the manifest but missing; the dataset was altered. Run jobs/prepare.py --force."
            )
        if (found := there[chunk.file]) != chunk.bytes:
            raise DataError(
                f"{file}: {found} bytes where the manifest has {chunk.bytes}; the dataset was altered. "
                "Run jobs/prepare.py --force."
            )
    metadata = folder / METADATA
    if not metadata.exists() or file_sha256(metadata) != manifest.metadata_sha256:
        raise DataError(
            f"{metadata}: missing or altered; Petastorm would unpickle it, so nothing is read. "
            "Run jobs/prepare.py --force."
        )
    return manifest
