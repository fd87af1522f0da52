"""The header that the CSV files of a source share, read without Spark."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath
from typing import Any

from foreshock.errors import DataError
from foreshock.platform.paths import at

OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open}
# Files of all other suffixes are left to Spark, which opens more compressions.
PLAIN_SUFFIXES = (".csv", ".txt", "")


def repeated_name(names: Iterable[str]) -> str | None:
    """The first name that stands twice, in whatever case, which SQL does not tell apart.

    >>> repeated_name(["Gas", "value", "gas"])
    'Gas'
    >>> repeated_name(["gas", "value"]) is None
    True
    """
    header_cells = list(names)
    name_counts = Counter(name.lower() for name in header_cells)
    return next((name for name in header_cells if name_counts[name.lower()] > 1), None)


def header_names(text: Iterable[str]) -> list[str] | None:
    """The names in the first line of CSV that is not blank; None if there is none.

    A column without a name is called as Spark calls it.

    >>> header_names(["\\n", "gas, value,\\n", "1,2,3\\n"])
    ['gas', 'value', '_c2']
    """
    cells = next((row for row in csv.reader(text) if row), None)
    if cells is None:
        return None
    return [cell.strip() or f"_c{i}" for i, cell in enumerate(cells)]


def shared_header(files: Iterable[str]) -> list[str]:
    """The header that all files share; empty if none can be read here, as with another compression.

    Raises DataError naming the file whose header differs, or the column that stands twice.
    """
    first_file, shared = "", list[str]()
    for file in files:
        names = _file_header(file)
        if names is None:
            continue
        if repeated := repeated_name(names):
            raise DataError(
                f"{file}: the column {repeated!r} stands twice in the header. Rename one."
            )
        if first_file and names != shared:
            raise DataError(
                f"{file}: its header ({', '.join(names)}) differs from that of {first_file} "
                f"({', '.join(shared)}). "
                "The files of a source have the same columns in the same order."
            )
        if not first_file:
            first_file, shared = file, names
    return shared


def _file_header(file: str) -> list[str] | None:
    suffix = PurePosixPath(file).suffix
    if suffix not in (*OPENERS, *PLAIN_SUFFIXES):
        return None
    with at(file).open("rb") as raw:
        unpacked = OPENERS[suffix](raw, "rb") if suffix in OPENERS else raw
        # Excel begins a file with a byte order mark, which is no part of the first name.
        with io.TextIOWrapper(unpacked, encoding="utf-8-sig", errors="replace", newline="") as text:
            return header_names(text)
