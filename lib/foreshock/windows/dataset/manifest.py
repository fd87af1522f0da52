"""A dataset's manifest: the files that this project wrote, with sizes and digests.

Only datasets that match their manifest are read.
"""

from __future__ import annotations

import itertools
import re
import typing
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from foreshock.errors import DataError
from foreshock.platform.files import file_sha256, read_json, write_json
from foreshock.platform.paths import stamps
from foreshock.sequences.split import BlockRole

MANIFEST_NAME = "_manifest.json"
METADATA_NAME = "_common_metadata"
REMEDY = "the dataset was altered. Run jobs/prepare.py --force."

# PyArrow takes any file whose name ends in `_metadata` for metadata, which Petastorm unpickles.
CHUNK_NAME = re.compile(r"[\w-]+\.parquet")

Count = Literal["blocks", "windows", "events", "x_bytes", "bytes"]
RunLengths = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class BlockShape:
    """What the manifest says of every block: its features, the length and stride of windows."""

    n_features: int
    length: int
    stride: int

    def least_rows(self, n_windows: int) -> int:
        """The events that so many windows need.

        >>> BlockShape(n_features=2, length=5, stride=2).least_rows(3)
        9
        """
        return self.length + self.stride * (n_windows - 1)


@dataclass(frozen=True)
class Chunk:
    """A file of blocks that have one role.

    partitions: the source partitions in which its windows end.
    block_windows: the windows of its blocks, in order, as runs of (windows, blocks).
    """

    file: str
    role: BlockRole
    blocks: int
    windows: int
    events: int
    x_bytes: int
    bytes: int
    sha256: str
    partitions: tuple[str, ...]
    block_windows: RunLengths

    @property
    def windows_by_block(self) -> list[int]:
        """The windows of each block, in order.

        >>> chunk = Chunk("fit.parquet", BlockRole.FIT, 3, 7, 9, 72, 500, "", (), ((3, 2), (1, 1)))
        >>> chunk.windows_by_block
        [3, 3, 1]
        """
        return [windows for windows, blocks in self.block_windows for _ in range(blocks)]

    def to_mapping(self) -> Mapping[str, Any]:
        """What the manifest holds of the chunk; a role's key is `code`."""
        fields = asdict(self)
        return {"code": fields.pop("role"), **fields}

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Chunk:
        """The chunk of `to_mapping`, or of what JSON made of it.

        Raises KeyError, TypeError or ValueError if a field is missing, unknown or of a wrong type.
        """
        fields = dict(mapping)
        for name in typing.get_args(Count):
            _check_type(name, fields[name], int)
        for name in ("file", "sha256"):
            _check_type(name, fields[name], str)
        # A name with a slash would lead out of the dataset's folder.
        if not CHUNK_NAME.fullmatch(fields["file"]):
            raise ValueError(f"{fields['file']!r} is not the name of a file of blocks")
        role = BlockRole(fields.pop("code"))
        partitions = tuple(fields.pop("partitions"))
        block_windows = tuple((windows, blocks) for windows, blocks in fields.pop("block_windows"))
        return cls(role=role, partitions=partitions, block_windows=block_windows, **fields)


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

    @property
    def block_shape(self) -> BlockShape:
        """What every block of the dataset has in common."""
        return BlockShape(len(self.features), self.length, self.stride)

    def total(self, count: Count, roles: tuple[BlockRole, ...] | None = None) -> int:
        """The sum of a count over the chunks, of some roles only if they are given.

        >>> chunk = Chunk("fit-000000.parquet", BlockRole.FIT, 2, 6, 9, 72, 500, "", (), ((3, 2),))
        >>> manifest = Manifest("train", ("amount",), 5, 1, "", "", (chunk,))
        >>> manifest.total("windows"), manifest.total("windows", (BlockRole.VALIDATION,))
        (6, 0)
        """
        return sum(
            getattr(chunk, count) for chunk in self.chunks if roles is None or chunk.role in roles
        )

    def chunks_of(self, role: BlockRole) -> list[Chunk]:
        """The chunks whose blocks have a role, in their order."""
        return [chunk for chunk in self.chunks if chunk.role == role]

    def to_mapping(self) -> Mapping[str, Any]:
        """What `_manifest.json` holds."""
        return asdict(self) | {"chunks": [chunk.to_mapping() for chunk in self.chunks]}

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Manifest:
        """The manifest of `to_mapping`, or of what JSON made of it.

        Raises KeyError, TypeError or ValueError if a field is missing, unknown or of a wrong type.
        """
        fields = dict(mapping)
        for name in ("length", "stride"):
            _check_type(name, fields[name], int)
        for name in ("split", "scaler_sha256", "metadata_sha256"):
            _check_type(name, fields[name], str)
        features = tuple(fields.pop("features"))
        chunks = tuple(Chunk.from_mapping(chunk) for chunk in fields.pop("chunks"))
        return cls(features=features, chunks=chunks, **fields)

    def write(self, folder: Path) -> None:
        """Write the manifest beside the dataset's files, whole or not at all.

        Write it last: a folder without a manifest is not read.
        """
        write_json(folder / MANIFEST_NAME, self.to_mapping())


def _check_type(name: str, value: object, wanted: type) -> None:
    # Not isinstance, for which True is an int.
    if type(value) is not wanted:
        raise TypeError(f"{name} is {value!r}, where {wanted.__name__} is wanted")


def run_lengths(values: Iterable[int]) -> RunLengths:
    """Values as runs of (value, how often), in order.

    >>> run_lengths([3, 3, 1, 3])
    ((3, 2), (1, 1), (3, 1))
    """
    return tuple((value, len(list(same))) for value, same in itertools.groupby(values))


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a dataset whose files match it: names, sizes, the digest of the metadata.

    Raises DataError naming the file that is missing, altered or not in the manifest.
    """
    path = folder / MANIFEST_NAME
    if not path.exists():
        raise DataError(
            f"{path}: missing, so {folder} is not a dataset of this project. "
            "Run jobs/prepare.py --force."
        )
    content = read_json(path)
    try:
        manifest = Manifest.from_mapping(content)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: not a manifest of this version ({error}). Run jobs/prepare.py --force."
        ) from None
    _check_files(folder, manifest)
    metadata = folder / METADATA_NAME
    if not metadata.exists() or file_sha256(metadata) != manifest.metadata_sha256:
        raise DataError(
            f"{metadata}: missing or altered; Petastorm would unpickle it, so nothing is read. "
            "Run jobs/prepare.py --force."
        )
    return manifest


def _check_files(folder: Path, manifest: Manifest) -> None:
    """Raise DataError if the folder's files are not those of the manifest, by name and size.

    Hidden files are passed over, except those that PyArrow takes for metadata.
    """
    sizes = {
        file.relative_to(folder).as_posix(): size
        for file, size, _ in stamps(folder)
        if not file.name.startswith((".", "_")) or file.name.endswith("_metadata")
    }
    # The metadata is checked by its digest.
    sizes.pop(METADATA_NAME, None)
    if extra := sorted(set(sizes) - {chunk.file for chunk in manifest.chunks}):
        raise DataError(f"{folder / extra[0]}: not in the manifest; {REMEDY}")
    for chunk in manifest.chunks:
        file = folder / chunk.file
        if chunk.file not in sizes:
            raise DataError(f"{file}: in the manifest but missing; {REMEDY}")
        if (size := sizes[chunk.file]) != chunk.bytes:
            raise DataError(f"{file}: {size} bytes where the manifest has {chunk.bytes}; {REMEDY}")
