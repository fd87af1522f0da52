"""Both readers of datasets: the same batches, no foreign code, and other schemas refused."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from foreshock.errors import DataError
from foreshock.sequences.split import BlockRole
from foreshock.statistics.arrays import AnyArray
from foreshock.windows.dataset.block_table import blocks_of
from foreshock.windows.dataset.chunks import TrainingBlock, deal
from foreshock.windows.dataset.manifest import Manifest, read_manifest
from foreshock.windows.dataset.metadata import metadata_bytes
from foreshock.windows.dataset.petastorm_reader import PetastormBlockReader
from foreshock.windows.dataset.plan import EpochPlan, WorkerShare
from foreshock.windows.dataset.reader import (
    ArrowBlockReader,
    BlockReader,
    block_reader,
    read_blocks,
    sample_windows,
)
from foreshock.windows.dataset.schema import encode
from hypothesis import given, settings
from hypothesis import strategies as st
from support.datasets import (
    LENGTH,
    replant_metadata,
    reseal_metadata,
    rewrite_chunk,
    without_petastorm,
    write_dataset,
)

FIT, VALIDATION = BlockRole.FIT, BlockRole.VALIDATION
ROOT = Path(__file__).resolve().parents[3]

without = contextlib.contextmanager(without_petastorm)


def petastorm_reader(folder: Path, manifest: Manifest) -> BlockReader:
    """Petastorm's reader, whatever the folder's metadata are."""
    files = tuple(chunk.file for chunk in manifest.chunks)
    metadata = metadata_bytes(len(manifest.features), files)
    assert metadata is not None
    return PetastormBlockReader(folder, manifest.block_shape, files, metadata)


def arrow_reader(folder: Path, manifest: Manifest) -> BlockReader:
    """The reader on plain Arrow."""
    return ArrowBlockReader(folder, manifest.block_shape)


READERS = pytest.mark.parametrize("make_reader", [petastorm_reader, arrow_reader])
MakeReader = Callable[[Path, Manifest], BlockReader]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A dataset of three files of fitted blocks and one of validation."""
    write_dataset(
        tmp_path / "train", [(FIT, [3, 1, 2]), (FIT, [4]), (FIT, [1, 5]), (VALIDATION, [2, 2])]
    )
    return tmp_path / "train"


def stored_blocks(folder: Path, manifest: Manifest) -> dict[int, TrainingBlock]:
    """All blocks by id, read without either reader."""
    blocks = {}
    for chunk in manifest.chunks:
        for row in pq.read_table(folder / chunk.file).to_pylist():
            header, _, data = row["x"].partition(b"\n")
            shape = eval(header[header.index(b"{") :], {})["shape"]
            rows = np.frombuffer(data, np.float32).reshape(shape)
            block = TrainingBlock(row["block_id"], rows, row["n_windows"], row["first_padding"])
            blocks[row["block_id"]] = block
    return blocks


def pools(blocks: Iterator[TrainingBlock], share: WorkerShare, stride: int, step: int) -> bytes:
    """A worker's pools from a step on, as bytes."""
    n_features = 2
    parts = []
    for pool in deal(blocks, share, LENGTH, stride, n_features, step):
        parts += [pool.rows.tobytes(), pool.start.tobytes(), pool.padding.tobytes()]
    return b"|".join(parts)


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=5), min_size=1, max_size=5),
    st.integers(1, 3),
    st.data(),
)
def test_both_readers_give_the_blocks_that_are_stored_in_the_plans_order(
    tmp_path_factory: pytest.TempPathFactory,
    windows: list[list[int]],
    stride: int,
    data: st.DataObject,
) -> None:
    folder = tmp_path_factory.mktemp("random")
    manifest = write_dataset(folder, [(FIT, chunk) for chunk in windows], stride=stride)
    table = blocks_of(manifest, FIT)
    workers = data.draw(st.integers(1, min(3, len(table))))
    limit = data.draw(st.one_of(st.none(), st.integers(workers, table.total_windows)))
    plan = EpochPlan(table, 5, data.draw(st.integers(workers, 12)), workers, limit, pool=8)
    stored = stored_blocks(folder, manifest)
    for worker in range(workers):
        share = plan.share(data.draw(st.integers(1, 3)), worker)
        step = data.draw(st.integers(0, share.steps - 1))
        wanted = share.remaining_blocks(step)
        expected_blocks = (stored[block_id] for block_id in wanted.block_id.tolist())
        expected = pools(expected_blocks, share, stride, step)
        for make_reader in (petastorm_reader, arrow_reader):
            blocks = read_blocks(folder, manifest, wanted, make_reader(folder, manifest))
            assert pools(blocks, share, stride, step) == expected


def test_petastorm_reads_what_this_installation_wrote_and_arrow_the_rest(folder: Path) -> None:
    manifest = read_manifest(folder)
    assert isinstance(block_reader(folder, manifest), PetastormBlockReader)
    schema = pq.read_schema(folder / "_common_metadata")
    pq.write_metadata(schema.with_metadata({**schema.metadata, b"more": b"x"}), folder / "other")
    (folder / "other").replace(folder / "_common_metadata")
    assert isinstance(block_reader(folder, manifest), ArrowBlockReader)


def test_without_petastorm_arrow_reads_the_same_windows(folder: Path, tmp_path: Path) -> None:
    manifest = read_manifest(folder)
    wanted, _ = sample_windows(folder, manifest, FIT, 1000)
    with without():
        assert isinstance(block_reader(folder, manifest), ArrowBlockReader)
        windows, _ = sample_windows(folder, manifest, FIT, 1000)
        bare = write_dataset(tmp_path / "bare", [(FIT, [3, 1, 2])])
    assert windows.tobytes() == wanted.tobytes()
    assert pq.read_schema(tmp_path / "bare" / "_common_metadata").metadata is None
    assert isinstance(block_reader(tmp_path / "bare", bare), ArrowBlockReader)


def test_plain_petastorm_opens_what_is_written(folder: Path) -> None:
    from acceptance.checks import read_plain

    rows = read_plain(folder)
    stored = stored_blocks(folder, read_manifest(folder))
    assert len(rows) == len(stored) == 8
    for row in rows:
        assert row.x.tobytes() == stored[int(row.block_id)].rows.tobytes()


# Nothing foreign is unpickled


def windows_of(folder: Path, reader: BlockReader | None = None) -> bytes:
    """All windows to fit on, of a dataset whose manifest is believed."""
    manifest = read_manifest(folder)
    blocks = read_blocks(folder, manifest, blocks_of(manifest, FIT), reader)
    return b"".join(block.rows.tobytes() for block in blocks)


def test_planted_code_is_code_that_petastorm_runs(folder: Path, tmp_path: Path) -> None:
    """What the next tests plant is no dud: `make_reader` runs it."""
    from acceptance.checks import read_plain

    replant_metadata(folder, tmp_path / "marker")
    assert len(read_plain(folder)) == 8
    assert (tmp_path / "marker").exists()


def test_planted_code_does_not_run_and_the_windows_are_the_genuine_ones(
    folder: Path, tmp_path: Path
) -> None:
    genuine = windows_of(folder)
    replant_metadata(folder, tmp_path / "marker")
    assert windows_of(folder) == genuine
    with without():
        assert windows_of(folder) == genuine
    assert not (tmp_path / "marker").exists()


def test_code_that_is_planted_after_the_check_does_not_run(folder: Path, tmp_path: Path) -> None:
    genuine = windows_of(folder)
    manifest = read_manifest(folder)
    reader = block_reader(folder, manifest)
    assert isinstance(reader, PetastormBlockReader)
    replant_metadata(folder, tmp_path / "marker")
    assert windows_of(folder, reader) == genuine
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("name", ["_z_common_metadata", "__common_metadata", "._common_metadata"])
def test_code_beside_the_genuine_metadata_does_not_run(
    name: str, folder: Path, tmp_path: Path
) -> None:
    """PyArrow takes every file whose name ends in `_common_metadata`. The last file counts."""
    manifest = read_manifest(folder)
    genuine = (folder / "_common_metadata").read_bytes()
    planted = replant_metadata(folder, tmp_path / "marker")
    (folder / "_common_metadata").write_bytes(genuine)
    (folder / name).write_bytes(planted)
    reseal_metadata(folder)
    with pytest.raises(DataError, match=f"{name}: not in the manifest"):
        read_manifest(folder)
    wanted = blocks_of(manifest, FIT)
    reader = block_reader(folder, manifest)
    assert isinstance(reader, PetastormBlockReader)
    assert len(list(read_blocks(folder, manifest, wanted, reader))) == len(wanted)
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize(
    "name", ["../train/fit-000000.parquet", "x_common_metadata", "a/b.parquet"]
)
def test_a_manifest_that_names_another_kind_of_file_is_refused(name: str, folder: Path) -> None:
    path = folder / "_manifest.json"
    content = json.loads(path.read_text())
    content["chunks"][0]["file"] = name
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="is not the name of a file of blocks"):
        read_manifest(folder)


@pytest.mark.slow
def test_foreshock_imports_and_trains_without_petastorm(folder: Path, tmp_path: Path) -> None:
    code = """
        import importlib, pathlib, sys
        sys.path.insert(0, "tests")
        from support.datasets import WithoutPetastorm
        sys.meta_path.insert(0, WithoutPetastorm())
        import foreshock
        root = pathlib.Path(foreshock.__file__).parent
        for file in sorted(root.rglob("*.py")):
            parts = file.relative_to(root).with_suffix("").parts
            if "petastorm" not in file.name and parts[-1] not in ("__init__", "__main__"):
                importlib.import_module(".".join(("foreshock", *parts)))
        from foreshock.windows.dataset.manifest import read_manifest
        from foreshock.windows.dataset.plan import make_plan
        from foreshock.windows.dataset.window_data import WindowData
        folder = pathlib.Path(sys.argv[1])
        manifest = read_manifest(folder)
        plan = make_plan(manifest, seed=1, batch=4, workers=1, limit=None)
        data = WindowData(folder, manifest, plan)
        batches = [x.numpy() for x, _ in data.dataset(data.share(1))]
        assert sum(len(x) for x in batches) == 16, [x.shape for x in batches]
        assert not any(name.split(".")[0] == "petastorm" for name in sys.modules)
        print("read without Petastorm")
    """
    answer = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert answer.returncode == 0, answer.stderr[-3000:]
    assert answer.stdout.strip().splitlines()[-1] == "read without Petastorm"


# Blocks of another schema


def set_column(name: str, values: list[Any], column_type: pa.DataType) -> Any:
    """A change of a table: a column of other values or another type."""

    def change(table: pa.Table) -> pa.Table:
        column = pa.array(values[:1] * len(table), column_type)
        return table.set_column(table.column_names.index(name), name, column)

    return change


def array_column(name: str, array: AnyArray) -> Any:
    """A change of a table: every block holds this array."""
    return set_column(name, [encode(array)], pa.binary())


OTHER_SCHEMAS = {
    "a column too few": (lambda table: table.drop_columns(["first_padding"]), "first_padding"),
    "a column too many": (
        lambda table: table.append_column("more", pa.array([1] * len(table))),
        "more",
    ),
    "texts for numbers": (set_column("n_windows", ["3"], pa.string()), "n_windows"),
    "wider numbers": (set_column("n_windows", [3], pa.int64()), "n_windows"),
    "a null": (set_column("x", [None], pa.binary()), "x"),
    "no array": (set_column("x", [b"rows"], pa.binary()), "x"),
    "an archive": (set_column("x", [b"PK\x03\x04 zip"], pa.binary()), "x"),
    "a pickle": (set_column("x", [b"\x80\x04N."], pa.binary()), "x"),
    "features too many": (array_column("x", np.zeros((9, 3), np.float32)), "x"),
    "one dimension": (array_column("x", np.zeros(9, np.float32)), "x"),
    "doubles": (array_column("x", np.zeros((9, 2), np.float64)), "x"),
    "events too few": (array_column("x", np.zeros((2, 2), np.float32)), "n_windows"),
    "padding too long": (set_column("first_padding", [LENGTH], pa.int32()), "first_padding"),
}


@READERS
@pytest.mark.parametrize("case", OTHER_SCHEMAS)
def test_blocks_of_another_schema_are_refused_by_file_and_column(
    case: str, make_reader: MakeReader, folder: Path
) -> None:
    change, column = OTHER_SCHEMAS[case]
    rewrite_chunk(folder, "fit-000001.parquet", change)
    manifest = read_manifest(folder)
    reader = make_reader(folder, manifest)
    with pytest.raises(DataError, match=rf"fit-000001\.parquet: the column {column} "):
        list(read_blocks(folder, manifest, blocks_of(manifest, FIT), reader))


@READERS
def test_blocks_in_another_order_are_refused(make_reader: MakeReader, folder: Path) -> None:
    rewrite_chunk(folder, "fit-000000.parquet", lambda table: table.take([1, 0, 2]))
    manifest = read_manifest(folder)
    reader = make_reader(folder, manifest)
    with pytest.raises(DataError, match=r"fit-000000.parquet: block 1 with 1 windows stands where"):
        list(read_blocks(folder, manifest, blocks_of(manifest, FIT), reader))


@READERS
@pytest.mark.parametrize("rows", [2, 0])
def test_blocks_that_are_gone_are_missed(make_reader: MakeReader, rows: int, folder: Path) -> None:
    rewrite_chunk(folder, "fit-000000.parquet", lambda table: table.slice(0, rows))
    manifest = read_manifest(folder)
    reader = make_reader(folder, manifest)
    with pytest.raises(DataError, match=r"the dataset was altered"):
        list(read_blocks(folder, manifest, blocks_of(manifest, FIT), reader))
