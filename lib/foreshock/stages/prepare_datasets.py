"""Joins pieces into the chunk files of a Petastorm dataset per split, each with its manifest."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from foreshock import columns as C
from foreshock.platform.files import file_sha256
from foreshock.platform.paths import is_remote
from foreshock.platform.session import collect_items
from foreshock.platform.transfers import remove
from foreshock.sequences.split import BlockRole
from foreshock.stages.context import Context
from foreshock.stages.scaler_file import SCALER
from foreshock.windows.cut.pieces import PIECES, Piece
from foreshock.windows.dataset.manifest import METADATA_NAME, Chunk, Manifest, run_lengths
from foreshock.windows.dataset.metadata import write_metadata
from foreshock.windows.dataset.writer import join_pieces

FILE_NAMES = {BlockRole.FIT: "fit", BlockRole.VALIDATION: "validation"}
# Joining is mostly renaming: a task for each file would cost more than the work.
TASKS = 256
JOINED_HERE = 64
JOINED = "target string, file string, bytes bigint, sha256 string"


@dataclass(frozen=True)
class ChunkPieces:
    """The pieces of one chunk, in order, and the file that they are joined into."""

    role: BlockRole
    pieces: tuple[Piece, ...]
    target: Path

    @property
    def paths(self) -> list[str]:
        """The pieces' files."""
        return [piece.path for piece in self.pieces]

    def described(self, size: int, sha256: str) -> Chunk:
        """The chunk as the manifest lists it.

        size, sha256: of the file that the pieces were joined into, in bytes and in hexadecimal.
        """
        return Chunk(
            self.target.name,
            self.role,
            blocks=sum(piece.blocks for piece in self.pieces),
            windows=sum(piece.windows for piece in self.pieces),
            events=sum(piece.events for piece in self.pieces),
            x_bytes=sum(piece.x_bytes for piece in self.pieces),
            bytes=size,
            sha256=sha256,
            partitions=tuple(sorted({name for p in self.pieces for name in p.partitions})),
            block_windows=run_lengths([n for piece in self.pieces for n in piece.block_windows]),
        )


def join_datasets(
    context: Context, pieces: list[Piece], features: tuple[str, ...], work: Path
) -> dict[str, Manifest]:
    """Join pieces into `dataset/` below `work`, and write what describes it.

    features: the kept ones, in order. Returns the manifests by split; a split without a window has
    none. The files of the pieces are removed.
    """
    chunk_pieces = _chunks(pieces, work)
    for split_folder in {chunk.target.parent for chunk in chunk_pieces}:
        # A split without a window has no folder.
        split_folder.mkdir(parents=True)
    described_chunks = _join(context, chunk_pieces)
    windows = context.settings.windows
    scaler_sha256 = file_sha256(work / SCALER)
    split_manifests = {}
    for split in C.SPLITS:
        of_split = tuple(
            chunk
            for joined, chunk in zip(chunk_pieces, described_chunks, strict=True)
            if joined.role.split.text == split
        )
        if not of_split:
            continue
        split_folder = work / "dataset" / split
        if not write_metadata(split_folder, len(features), [chunk.file for chunk in of_split]):
            context.log.event(
                "prepare",
                "Petastorm is not installed: the dataset lacks its metadata, so make_reader cannot "
                "open it; Foreshock reads it with Arrow",
                split=split,
            )
        split_manifests[split] = Manifest(
            split,
            features,
            windows.length,
            windows.stride,
            scaler_sha256,
            file_sha256(split_folder / METADATA_NAME),
            of_split,
        )
        split_manifests[split].write(split_folder)
    # Pieces that were alone in their chunk are moved already; what is left was joined.
    remove(work / PIECES)
    return split_manifests


def _chunks(pieces: list[Piece], work: Path) -> list[ChunkPieces]:
    chunk_members: dict[tuple[BlockRole, int], list[Piece]] = defaultdict(list)
    for piece in sorted(pieces, key=lambda piece: piece.order):
        chunk_members[piece.role, piece.chunk].append(piece)
    chunk_pieces = []
    for (role, chunk_number), of_chunk in chunk_members.items():
        file_name = f"{FILE_NAMES.get(role, 'part')}-{chunk_number:06d}.parquet"
        target = work / "dataset" / role.split.text / file_name
        chunk_pieces.append(ChunkPieces(role, tuple(of_chunk), target))
    return chunk_pieces


def _join(context: Context, chunks: Sequence[ChunkPieces]) -> list[Chunk]:
    """Join each chunk's pieces into its file."""
    chunk_targets = [(chunk.paths, str(chunk.target)) for chunk in chunks]
    batch_size = max(1, math.ceil(len(chunk_targets) / TASKS))
    target_batches = [
        chunk_targets[begin : begin + batch_size]
        for begin in range(0, len(chunk_targets), batch_size)
    ]
    # Where no file is made of several pieces, they are only renamed and hashed.
    is_renaming = len(chunks) <= JOINED_HERE and all(len(chunk.pieces) == 1 for chunk in chunks)
    here = is_renaming and not is_remote(context.run.path)

    def join_batch(batch: list[tuple[list[str], str]]) -> Iterator[pa.RecordBatch]:
        """The joined files of a batch, a row each."""
        for paths, target in batch:
            yield from join_pieces(paths, target)

    joined_rows = collect_items(context.spark, target_batches, join_batch, JOINED, here=here)
    joined_by_target = {row["target"]: row for row in joined_rows}
    return [
        chunk.described(
            joined_by_target[str(chunk.target)]["bytes"],
            joined_by_target[str(chunk.target)]["sha256"],
        )
        for chunk in chunks
    ]
