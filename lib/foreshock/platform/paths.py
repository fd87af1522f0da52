"""Paths of files that lie here or on S3: one kind of object, and what differs between the two.

Local paths are `pathlib.Path`. Paths on S3 are `s3_path.S3Path`, which is loaded only if one is
met.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from foreshock.errors import SettingsError
from foreshock.platform.aws import s3_options

S3 = "s3://"
HADOOP_SCHEMES = ("s3a://", "s3n://")


def at(path: str | Path) -> Path:
    """The path of a file or folder, here or on S3. Raises SettingsError for another scheme.

    >>> at("file:///data/events").as_posix()
    '/data/events'
    """
    text = str(path)
    # Confs that were written for a cluster name S3 as Hadoop does.
    for scheme in HADOOP_SCHEMES:
        if text.startswith(scheme):
            text = S3 + text.removeprefix(scheme)
    if text.startswith(S3):
        if not text.removeprefix(S3).split("/")[0]:
            raise SettingsError(f"{text!r} names no bucket; s3://bucket/folder is wanted.")
        # universal_pathlib and s3fs take a third of a second to load: only a run on S3 pays it.
        from foreshock.platform.s3_path import S3Path

        return cast(Path, S3Path(text, protocol="s3", **s3_options()))
    if "://" in text and not text.startswith("file://"):
        raise SettingsError(
            f"{text}: {text.split('://')[0]}:// is not available in this version; a local path or "
            "s3:// is."
        )
    return Path(text.removeprefix("file://"))


def absolute(path: str | Path, base: Path | None = None) -> Path:
    """The path made absolute: against `base`, or against the working folder if there is no base.

    A path on S3 is absolute already.

    >>> absolute("events", Path("/runs/demo")).as_posix()
    '/runs/demo/events'
    """
    place = at(path)
    if is_remote(place):
        return place
    place = place.expanduser()
    if base is not None and not place.is_absolute():
        return base / str(place) if is_remote(base) else (base / place).resolve()
    return place.resolve()


def is_remote(path: str | Path) -> bool:
    """Whether a path lies on S3.

    >>> is_remote("s3://bucket/runs"), is_remote(Path("/runs"))
    (True, False)
    """
    return str(path).startswith(S3)


def filesystem(path: str | Path) -> tuple[str, Any]:
    """The name and the fsspec file system of a path, as PyArrow and Petastorm want them.

    The file system is None for a local path.
    """
    place: Any = at(path) if isinstance(path, str) else path
    return (place.path, place.fs) if is_remote(place) else (str(place), None)


def check_bucket(path: Path, setting: str) -> None:
    """Raise SettingsError if a path's bucket does not exist.

    Whatever else S3 refuses is raised as it comes.
    """
    if not is_remote(path):
        return
    name, file_system = filesystem(path)
    bucket, _, key = name.partition("/")
    try:
        # The smallest request that fails if there is no bucket.
        file_system.call_s3("list_objects_v2", Bucket=bucket, MaxKeys=1, Prefix=key)
    except FileNotFoundError:
        raise SettingsError(
            f"{setting} {path}: there is no bucket {bucket!r}. Make it, or correct the name."
        ) from None


def stamps(folder: Path) -> list[tuple[Path, int, str]]:
    """(file, bytes, stamp) of every file below a folder, sorted by name.

    A file's stamp changes if the file does: on S3 it is the ETag, here the time of modification.
    """
    if not is_remote(folder):
        files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
        return [(file, *stamp(file)) for file in files]
    from foreshock.platform.s3_path import objects_below

    # A listing tells size and ETag of a thousand objects; asking for each would take a request
    # each.
    name, file_system = filesystem(folder)
    remote: Any = folder
    return [
        (remote.sibling(object_name), size_in_bytes, etag)
        for object_name, size_in_bytes, etag in objects_below(name, file_system)
    ]


def stamp(file: Path) -> tuple[int, str]:
    """(bytes, stamp) of one file; see `stamps`.

    Raises FileNotFoundError if the file is not there.
    """
    if not is_remote(file):
        status = file.stat()
        return status.st_size, str(status.st_mtime_ns)
    name, file_system = filesystem(file)
    status = file_system.info(name)
    return status["size"], status.get("ETag", "").strip('"')


def size(file: Path) -> int:
    """A file's bytes."""
    return stamp(file)[0]


def below(path: Path, folder: Path) -> str | None:
    """A path as seen from a folder that holds it; None if the folder does not.

    >>> below(Path("/runs/demo/tables/scores"), Path("/runs/demo"))
    'tables/scores'
    """
    text, prefix = str(path), str(folder).rstrip("/") + "/"
    return text.removeprefix(prefix) if text.startswith(prefix) else None
