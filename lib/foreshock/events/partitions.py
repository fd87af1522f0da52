"""A source's files, grouped by the partition their folders name; which partitions are days or months."""

from __future__ import annotations

import glob
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from foreshock.errors import DataError, SettingsError
from foreshock.storage import digest

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


def is_time(partitions: list[str]) -> bool:
    """Whether the partition key is time: every value is a day (2019-12-30) or a month (2019-12)."""
    return bool(partitions) and all(re.match(DAY, p) or re.match(MONTH, p) for p in partitions)


def hive_values(relative: Path) -> dict[str, str]:
    """The `key=value` folders of a path."""
    return {k: unquote(v) for k, _, v in (part.partition("=") for part in relative.parts[:-1]) if _ and k}


def list_source(path: str, partition: str | None, setting: str = "source.path") -> SourceFiles:
    """The files of a source: a file, folder or glob. Names that begin with `_` or `.` are passed over.

    Raises SettingsError where the path is not there, DataError where it holds no file.
    """
    base, files = _find(path, setting)
    if not files:
        raise DataError(f"{setting} {path}: there is no file in it; the source is empty.")
    match = IDENTIFIER.match(partition.strip()) if partition else None
    key = match.group(1) if match else None
    values = [hive_values(f.relative_to(base)) for f in files]
    aligned = key is not None and all(key in v for v in values)
    units: dict[str, list[str]] = {}
    stamps: dict[str, list[tuple[str, int, int]]] = {}
    for file, value in zip(files, values, strict=True):
        unit = (value[key] or NULL) if aligned and key else WHOLE
        stat = file.stat()
        units.setdefault(unit, []).append(str(file))
        stamps.setdefault(unit, []).append((str(file.relative_to(base)), stat.st_size, stat.st_mtime_ns))
    return SourceFiles(
        setting, path, str(base), {u: tuple(f) for u, f in sorted(units.items())},
        {u: digest(s) for u, s in sorted(stamps.items())}, tuple(sorted({k for v in values for k in v})),
        key if aligned else None,
    )


def _find(path: str, setting: str) -> tuple[Path, list[Path]]:
    root = Path(path)
    try:
        if root.is_file():
            return root.parent, [root]
        if root.is_dir():
            return root, sorted(f for f in root.rglob("*") if f.is_file() and not _hidden(f.relative_to(root)))
        if any(c in path for c in "*?["):
            fixed = Path(*[p for p in root.parts[: next(i for i, p in enumerate(root.parts) if any(c in p for c in "*?["))]])
            found: set[Path] = set()
            for match in map(Path, glob.glob(path, recursive=True)):  # noqa: PTH207 — absolute patterns
                inner = [match] if match.is_file() else [f for f in match.rglob("*") if f.is_file()]
                found.update(f for f in inner if not _hidden(f.relative_to(fixed)))
            if found:
                return fixed, sorted(found)
            raise SettingsError(f"{setting}: nothing matches {path!r}. Give a file, a folder or a glob that is there.")
    except PermissionError as error:
        raise SettingsError(f"{setting}: {path!r} cannot be read ({error}). Change its permissions.") from None
    raise SettingsError(f"{setting}: there is no file or folder {path!r}. Give a file, a folder or a glob that is there.")


def _hidden(relative: Path) -> bool:
    return any(part.startswith((".", "_")) for part in relative.parts)
