"""A source's files, grouped by the partition their folders name; which partitions are days or months."""

from __future__ import annotations

import glob
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from foreshock.errors import DataError, SettingsError
from foreshock.platform.files import digest
from foreshock.platform.paths import at, below, check_bucket, filesystem, is_remote, stamp, stamps

WHOLE = "*"
NULL = "__HIVE_DEFAULT_PARTITION__"  # how Spark and Hive file rows whose partition is null or empty
DAY = r"^\d{4}-\d{2}-\d{2}$"
MONTH = r"^\d{4}-\d{2}$"
IDENTIFIER = re.compile(r"^`?([A-Za-z_][A-Za-z0-9_]*)`?$")


@dataclass(frozen=True)
class SourceFiles:
    """Files of a source by unit: one unit a hive folder of the partition column, or `*` for all where it names none."""

    setting: str
    path: str
    base: str
    units: dict[str, tuple[str, ...]]
    fingerprints: dict[str, str]
    keys: tuple[str, ...]
    key: str | None = None  # the folders' column that names units

    @property
    def aligned(self) -> bool:
        """Whether units are partitions."""
        return WHOLE not in self.units

    def files(self, units: list[str]) -> list[str]:
        return [f for unit in units for f in self.units[unit]]


def identifier(expression: str | None) -> str | None:
    """The column that an expression names, if it is nothing but a column's name."""
    match = IDENTIFIER.match(expression.strip()) if expression else None
    return match.group(1) if match else None


def is_time(partitions: list[str]) -> bool:
    """Whether the partition key is time: every value is a day (2019-12-30) or a month (2019-12)."""
    return bool(partitions) and all(re.match(DAY, p) or re.match(MONTH, p) for p in partitions)


def hive_values(relative: str) -> dict[str, str]:
    """The `key=value` folders of a path."""
    return {
        k: unquote(v)
        for k, _, v in (part.partition("=") for part in relative.split("/")[:-1])
        if _ and k
    }


def list_source(path: str, partition: str | None, setting: str = "source.path") -> SourceFiles:
    """The files of a source: a file, folder or glob. Names that begin with `_` or `.` are passed over.

    Raises SettingsError where the path is not there, DataError where it holds no file.
    """
    base, files = _find(path, setting)
    if not files:
        raise DataError(f"{setting} {path}: there is no file in it; the source is empty.")
    key = identifier(partition)
    values = [hive_values(relative) for relative in files]
    aligned = key is not None and all(key in v for v in values)
    units: dict[str, list[str]] = {}
    marks: dict[str, list[tuple[str, int, str]]] = {}
    for (relative, (file, size, mark)), value in zip(files.items(), values, strict=True):
        unit = (value[key] or NULL) if aligned and key else WHOLE
        units.setdefault(unit, []).append(str(file))
        marks.setdefault(unit, []).append((relative, size, mark))
    return SourceFiles(
        setting,
        path,
        str(base),
        {u: tuple(f) for u, f in sorted(units.items())},
        {u: digest(s) for u, s in sorted(marks.items())},
        tuple(sorted({k for v in values for k in v})),
        key if aligned else None,
    )


Found = dict[str, tuple[Path, int, str]]  # path below the base -> file, bytes, stamp


def _find(path: str, setting: str) -> tuple[Path, Found]:
    root = at(path)
    check_bucket(root, setting)
    try:
        if root.is_file():
            return root.parent, {root.name: (root, *stamp(root))}
        if root.is_dir():
            return root, _below(root, root)
        if any(c in path for c in "*?["):
            fixed, matches = _matches(root, path)
            found: Found = {}
            for match in matches:
                found |= (
                    {str(below(match, fixed)): (match, *stamp(match))}
                    if match.is_file()
                    else _below(match, fixed)
                )
            found = {r: f for r, f in sorted(found.items()) if not _hidden(r)}
            if found:
                return fixed, found
            raise SettingsError(
                f"{setting}: nothing matches {path!r}. Give a file, a folder or a glob that is there."
            )
    except PermissionError as error:
        if is_remote(root):
            raise
        raise SettingsError(
            f"{setting}: {path!r} cannot be read ({error}). Change its permissions."
        ) from None
    if is_remote(root):
        return root, {}
    raise SettingsError(
        f"{setting}: there is no file or folder {path!r}. Give a file, a folder or a glob that is there."
    )


def _below(folder: Path, base: Path) -> Found:
    found = {str(below(f, base)): (f, size, mark) for f, size, mark in stamps(folder)}
    return {relative: f for relative, f in found.items() if not _hidden(relative)}


def _matches(root: Path, path: str) -> tuple[Path, list[Path]]:
    """(the last folder that no wildcard is above, what a glob matches)."""
    steps = path.split("/")
    plain = next(i for i, step in enumerate(steps) if any(c in step for c in "*?["))
    fixed = at("/".join(steps[:plain]) or "/")
    if not is_remote(root):
        return fixed, sorted(map(Path, glob.glob(path, recursive=True)))  # noqa: PTH207 — absolute patterns
    name, fs = filesystem(root)
    return fixed, [at(f"s3://{found}") for found in sorted(fs.glob(name))]


def _hidden(relative: str) -> bool:
    return any(part.startswith((".", "_")) for part in relative.split("/"))
