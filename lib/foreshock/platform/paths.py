"""Paths of files that lie here or on S3: one kind of object for both, and what differs between them.

A path on S3 is a `pathlib`-like object of universal_pathlib over s3fs. There are no folders there, only names that begin alike: making
one is nothing, a missing one is an empty one. There is no rename either; moving copies on the server and removes.
"""

from __future__ import annotations

import fnmatch
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

from upath.implementations.cloud import S3Path as _UPath
from upath.registry import register_implementation

from foreshock.errors import ServiceError, SettingsError
from foreshock.platform.aws import s3_options

S3 = "s3://"
AT_ONCE = 32  # objects copied together
PASSING = (
    "SlowDown",
    "InternalError",
    "ServiceUnavailable",
)  # what S3 says when it is to be asked again


class S3Path(_UPath):
    """A path on S3. Pickles without credentials; listings are never cached."""

    __slots__ = ()

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        """Nothing: a folder is there once an object is in it. (s3fs would make a missing bucket.)"""

    def iterdir(self) -> Iterator[Any]:
        for name in sorted(
            self.fs.ls(self.path, detail=False) if self.fs.exists(self.path) else []
        ):
            if (found := name.rstrip("/").rsplit("/", 1)[-1]) and name.rstrip(
                "/"
            ) != self.path.rstrip("/"):
                yield self / found

    def glob(self, pattern: str, **_: Any) -> Iterator[Any]:
        """Matches level by level; `**` is not known."""
        level: list[Any] = [self]
        for part in pattern.split("/"):
            level = [
                child
                for p in level
                for child in p.iterdir()
                if fnmatch.fnmatchcase(child.name, part)
            ]
        yield from level

    def rglob(self, pattern: str, **_: Any) -> Iterator[Any]:
        """Objects below whose last name matches."""
        yield from (
            self.of(name)
            for name, _, _ in _objects(self.path, self.fs)
            if fnmatch.fnmatchcase(name.rsplit("/", 1)[-1], pattern)
        )

    def of(self, name: str) -> Any:
        """The path of an object as s3fs names it (`bucket/key`)."""
        return type(self)(S3 + name, protocol="s3", **self.storage_options)


register_implementation("s3", S3Path, clobber=True)


def at(path: str | Path) -> Path:
    """The path of a file or folder, here or on S3. Raises SettingsError for another scheme."""
    text = str(path)
    for scheme in ("s3a://", "s3n://"):
        if text.startswith(scheme):
            text = S3 + text.removeprefix(scheme)
    if text.startswith(S3):
        if not text.removeprefix(S3).split("/")[0]:
            raise SettingsError(f"{text!r} names no bucket; s3://bucket/folder is wanted.")
        return cast(Path, S3Path(text, protocol="s3", **s3_options()))
    if "://" in text and not text.startswith("file://"):
        raise SettingsError(
            f"{text}: {text.split('://')[0]}:// is not available in this version; a local path or s3:// is."
        )
    return Path(text.removeprefix("file://"))


def absolute(path: str | Path, base: Path | None = None) -> Path:
    """`at`, a local path made absolute: against `base`, or where the process stands."""
    found = at(path)
    if is_remote(found):
        return found
    found = found.expanduser()
    if base is not None and not found.is_absolute():
        return base / str(found) if is_remote(base) else (base / found).resolve()
    return found.resolve()


def is_remote(path: str | Path) -> bool:
    """Whether a path lies on S3."""
    return isinstance(path, S3Path) or str(path).startswith(S3)


def filesystem(path: str | Path) -> tuple[str, Any]:
    """(name, fsspec filesystem or None where local) of a path, as PyArrow and Petastorm want them."""
    found: Any = at(path) if isinstance(path, str) else path
    return (found.path, found.fs) if is_remote(found) else (str(found), None)


def check_bucket(path: Path, setting: str) -> None:
    """Raise SettingsError where a path's bucket is not there; what else S3 refuses is raised as it comes."""
    if not is_remote(path):
        return
    name, fs = filesystem(path)
    bucket = name.split("/")[0]
    try:
        fs.call_s3("list_objects_v2", Bucket=bucket, MaxKeys=1, Prefix=name.partition("/")[2])
    except FileNotFoundError:
        raise SettingsError(
            f"{setting} {path}: there is no bucket {bucket!r}. Make it, or correct the name."
        ) from None


def stamps(folder: Path) -> list[tuple[Path, int, str]]:
    """(file, bytes, stamp) of all files below a folder, sorted; the stamp changes when a file does: its ETag, or its time."""
    if not is_remote(folder):
        return [
            (f, s.st_size, str(s.st_mtime_ns))
            for f in sorted(folder.rglob("*"))
            if f.is_file() and (s := f.stat())
        ]
    name, fs = filesystem(folder)
    own: Any = folder
    return [(own.of(key), size, mark) for key, size, mark in _objects(name, fs)]


def _objects(name: str, fs: Any) -> Iterator[tuple[str, int, str]]:
    """(bucket/key, bytes, ETag) of what lies below a folder, without the empty objects with which Hadoop marks folders."""
    bucket, _, key = name.partition("/")
    request: dict[str, Any] = {"Bucket": bucket, "Prefix": f"{key.rstrip('/')}/" if key else ""}
    while True:
        found = fs.call_s3("list_objects_v2", **request)
        yield from (
            (f"{bucket}/{o['Key']}", o["Size"], o["ETag"].strip('"'))
            for o in found.get("Contents", [])
            if o["Key"][-1] != "/"
        )
        if not found.get("IsTruncated"):
            return
        request["ContinuationToken"] = found["NextContinuationToken"]


def stamp(file: Path) -> tuple[int, str]:
    """(bytes, stamp) of one file."""
    if not is_remote(file):
        return file.stat().st_size, str(file.stat().st_mtime_ns)
    name, fs = filesystem(file)
    info = fs.info(name)
    return info["size"], info.get("ETag", "").strip('"')


def size(file: Path) -> int:
    """A file's bytes."""
    return stamp(file)[0]


def remove(path: Path) -> None:
    """Remove a file or folder, if there; a local folder is moved away first so that no reader sees half of it."""
    if is_remote(path):
        name, fs = filesystem(path)
        bucket, _, key = name.partition("/")
        tries = 5
        for prefix in (key, f"{key.rstrip('/')}/") if key else ("",):
            while found := _keys(fs, bucket, prefix, exact=bool(key) and prefix == key):
                answer = fs.call_s3(
                    "delete_objects",
                    Bucket=bucket,
                    Delete={"Objects": [{"Key": k} for k in found], "Quiet": True},
                )
                errors = answer.get("Errors")
                if errors and tries and all(e.get("Code") in PASSING for e in errors):
                    tries -= 1
                    time.sleep(1)
                elif errors:
                    raise ServiceError(
                        f"S3 DeleteObjects {S3}{bucket}/{errors[0].get('Key')}: {errors[0].get('Code')}: "
                        f"{errors[0].get('Message')} ({len(errors)} of {len(found)} objects). Check permissions."
                    )
    elif path.is_dir() and not path.is_symlink():
        doomed = path.with_name(f".removed-{uuid.uuid4().hex}")
        path.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _keys(fs: Any, bucket: str, prefix: str, *, exact: bool) -> list[str]:
    """Up to a thousand objects: the one of that name, or those that begin so; the empty ones too that Hadoop leaves to mark folders."""
    found = fs.call_s3(
        "list_objects_v2", Bucket=bucket, Prefix=prefix, MaxKeys=1 if exact else 1000
    ).get("Contents", [])
    return [o["Key"] for o in found if not exact or o["Key"] == prefix]


def move(source: Path, target: Path) -> None:
    """Move a file or folder to a place that is free; on S3 it is copied on the server, and then removed."""
    if not is_remote(source) and not is_remote(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            source.rename(target)
        except OSError:  # another file system
            shutil.move(source, target)
    else:
        copy(source, target)
        remove(source)


def copy(source: Path, target: Path) -> None:
    """Copy a file or folder, between S3 and here too."""
    if not is_remote(source) and not is_remote(target):
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copyfile(source, target)
        return
    if not is_remote(source):
        for own in [source] if source.is_file() else [f for f in source.rglob("*") if f.is_file()]:
            (target / own.relative_to(source).as_posix() if own != source else target).write_bytes(
                own.read_bytes()
            )
        return
    name, fs = filesystem(source)
    files = [name] if fs.isfile(name) else [f for f, _, _ in _objects(name, fs)]
    if is_remote(target):
        to = filesystem(target)[0]
        at_once(lambda file: fs.cp_file(file, to + file.removeprefix(name)), files)
        return
    for file in files:
        place = Path(str(target) + file.removeprefix(name))
        place.parent.mkdir(parents=True, exist_ok=True)
        fs.get_file(file, str(place))


def at_once(work: Callable[[Any], object], items: Sequence[Any], most: int = AT_ONCE) -> None:
    """Do some work for each item, in threads. When one fails, or a signal comes, those under way are waited for and no other begins, so
    that what is cleared away next stays away."""
    with ThreadPoolExecutor(max(1, min(most, len(items)))) as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def carry(source: Path, target: Path) -> None:
    """A file in a second place, without a copy where the file system can."""
    if not is_remote(source):
        try:
            os.link(source, target)
            return
        except OSError:  # a file system without links
            pass
    copy(source, target)


def below(path: Path, folder: Path) -> str | None:
    """A path as seen from a folder that holds it; None where it does not."""
    own, base = str(path), str(folder).rstrip("/") + "/"
    return own.removeprefix(base) if own.startswith(base) else None


def append_text(path: Path, text: str) -> None:
    """Add text to a file; on S3, which cannot, the object is written anew."""
    if is_remote(path):
        path.write_text(
            (path.read_text(encoding="utf-8") if path.exists() else "") + text, encoding="utf-8"
        )
    else:
        with path.open("a", encoding="utf-8") as handle:
            handle.write(text)


def create(path: Path, text: str) -> bool:
    """Write a file that is not there yet; False where it is. On S3 too one of several at once wins."""
    try:
        if is_remote(path):
            name, fs = filesystem(path)
            with fs.open(name, "xb") as handle:
                handle.write(text.encode())
        else:
            with path.open("x", encoding="utf-8") as handle:
                handle.write(text)
    except FileExistsError:
        return False
    return True
