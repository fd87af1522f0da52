"""Both readers of datasets over S3."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from aws_stack.server import REGION, Stack
from foreshock.errors import DataError
from foreshock.platform import paths
from foreshock.sequences.split import BlockRole
from foreshock.windows.dataset.block_table import blocks_of
from foreshock.windows.dataset.manifest import read_manifest
from foreshock.windows.dataset.petastorm_reader import PetastormBlockReader
from foreshock.windows.dataset.reader import ArrowBlockReader, block_reader, read_blocks
from support.datasets import write_dataset

CHUNKS = [(BlockRole.FIT, [3, 1, 2]), (BlockRole.FIT, [4]), (BlockRole.VALIDATION, [2])]


@pytest.fixture(scope="module")
def bucket() -> Iterator[Path]:
    """A bucket on a server of this machine's."""
    server = Stack()
    before = dict(os.environ)
    environment = server.environment()
    os.environ.update({k: v for k, v in environment.items() if k.startswith("AWS_")})
    location = {"LocationConstraint": REGION}
    server.client("s3").create_bucket(Bucket="bucket", CreateBucketConfiguration=location)
    yield paths.at("s3://bucket/größe a/date=2019-01-01")
    os.environ.clear()
    os.environ.update(before)
    server.stop()


def test_both_readers_give_the_same_blocks_on_s3_as_here(bucket: Path, tmp_path: Path) -> None:
    here = write_dataset(tmp_path / "train", CHUNKS)
    write_dataset(bucket / "train", CHUNKS)
    manifest = read_manifest(bucket / "train")
    assert manifest == here
    wanted = blocks_of(manifest, BlockRole.FIT)
    reader = block_reader(bucket / "train", manifest)
    assert isinstance(reader, PetastormBlockReader)
    expected = [block.rows.tobytes() for block in read_blocks(tmp_path / "train", here, wanted)]
    for remote_reader in (reader, ArrowBlockReader(bucket / "train", manifest.block_shape)):
        blocks = read_blocks(bucket / "train", manifest, wanted, remote_reader)
        assert [block.rows.tobytes() for block in blocks] == expected
    (bucket / "train" / manifest.chunks[1].file).unlink()
    for remote_reader in (reader, ArrowBlockReader(bucket / "train", manifest.block_shape)):
        with pytest.raises(DataError, match=manifest.chunks[1].file):
            list(read_blocks(bucket / "train", manifest, wanted, remote_reader))
