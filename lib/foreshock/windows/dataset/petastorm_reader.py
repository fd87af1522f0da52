"""Reads blocks by Petastorm's own reader, to which nothing of a run directory but blocks is shown.

Loaded only where Petastorm is installed, and used only where the dataset's metadata is known.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import pyarrow as pa

from foreshock.errors import DataError
from foreshock.platform.paths import filesystem
from foreshock.platform.quiet import silenced_stderr
from foreshock.windows.dataset.manifest import METADATA_NAME, REMEDY, BlockShape
from foreshock.windows.dataset.schema import BlockRow, check_columns, check_row, read_rows

# Petastorm warns dozens of times a read, on PyArrow's old reader; and once where it is met here.
warnings.filterwarnings("ignore", category=FutureWarning, module=r"petastorm\..*")
warnings.filterwarnings("ignore", category=FutureWarning, message=r"(?s).*pyarrow\.filesystem")

with silenced_stderr():
    from petastorm.py_dict_reader_worker import PyDictReaderWorker
    from petastorm.reader import Reader
    from petastorm.workers_pool.dummy_pool import DummyPool
    from pyarrow.filesystem import FileSystem


class _DatasetView(FileSystem):  # type: ignore[misc]
    """The dataset as Petastorm's old PyArrow interface sees it: the manifest's files alone.

    PyArrow takes any file whose name ends in `_metadata` for metadata, and Petastorm unpickles it.
    So the folder is never listed, and `_common_metadata` is served from memory.
    """

    def __init__(
        self, folder: Path, shape: BlockShape, files: Sequence[str], metadata: bytes
    ) -> None:
        self.folder, self.shape = folder, shape
        self.base, self._remote = filesystem(folder)
        self._metadata = metadata
        self._places = {f"{self.base}/{file}": file for file in files}

    def isdir(self, path: str) -> bool:
        """Whether a path is the dataset's folder."""
        return path == self.base

    def isfile(self, path: str) -> bool:
        """Whether a path is one of the dataset's files."""
        return path in self._places or path == f"{self.base}/{METADATA_NAME}"

    def exists(self, path: str) -> bool:
        """Whether a path is the dataset's folder or one of its files."""
        return self.isdir(path) or self.isfile(path)

    def walk(self, path: str) -> Iterator[tuple[str, list[str], list[str]]]:
        """The one level of the dataset's folder."""
        yield path, [], [METADATA_NAME, *self._places.values()]

    def open(self, path: str, mode: str = "rb") -> Any:
        """A file of blocks, or the metadata from memory."""
        if path not in self._places:
            return pa.BufferReader(self._metadata)
        return pa.OSFile(path) if self._remote is None else self._remote.open(path, mode)


class _CheckedWorker(PyDictReaderWorker):  # type: ignore[misc]
    """Petastorm's worker, with blocks checked against the manifest as they are read."""

    def _load_rows(self, pq_file: Any, piece: Any, shuffle_row_drop_range: Any) -> Any:
        view: _DatasetView = self._filesystem
        file = view.folder / PurePosixPath(piece.path).name
        check_columns(file, pq_file.schema_arrow)
        try:
            rows = super()._load_rows(pq_file, piece, shuffle_row_drop_range)
        # `read_blocks` tells a failed service from a damaged file.
        except (OSError, pa.ArrowException):
            raise
        except Exception as error:
            # The reader on Arrow says which column is at fault.
            for _ in read_rows(file, view.shape, list(self._schema.fields)):
                pass
            raise DataError(f"{file}: Petastorm cannot decode it ({error}); {REMEDY}") from None
        return [check_row(file, row, view.shape) for row in rows]


class _OrderedReader(Reader):  # type: ignore[misc]
    """Petastorm's reader over some files of a dataset, one row group each, in a given order.

    Its thread pool loses the last results now and then (a race in its `all_workers_done`). The
    dummy pool reads in the caller's thread, which in training is tf.data's.
    """

    def __init__(self, view: _DatasetView, files: Sequence[str], fields: Sequence[str]) -> None:
        self._order = files
        super().__init__(
            view,
            view.base,
            schema_fields=list(fields),
            worker_class=_CheckedWorker,
            reader_pool=DummyPool(),
            shuffle_row_groups=False,
            num_epochs=1,
        )

    def _filter_row_groups(
        self, dataset: Any, row_groups: list[Any], *_: Any
    ) -> tuple[list[int], None]:
        # Petastorm sorts row groups by file name; the wanted order is the caller's.
        places = {PurePosixPath(group.path).name: place for place, group in enumerate(row_groups)}
        return [places[file] for file in self._order], None


@dataclass(frozen=True)
class PetastormBlockReader:
    """Reads blocks by Petastorm. metadata: what this installation writes for the dataset.

    files: all files of the manifest, in its order.
    """

    folder: Path
    shape: BlockShape
    files: tuple[str, ...]
    metadata: bytes
    is_fallback: ClassVar[bool] = False

    def rows(self, files: Sequence[str], fields: Sequence[str]) -> Generator[BlockRow, None, None]:
        """See dataset.reader.BlockReader."""
        view = _DatasetView(self.folder, self.shape, self.files, self.metadata)
        reader = _OrderedReader(view, files, fields)
        try:
            for row in reader:
                yield row._asdict()
        finally:
            # Petastorm prints as it closes.
            with contextlib.redirect_stdout(io.StringIO()):
                reader.stop()
                reader.join()
