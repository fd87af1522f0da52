"""Paths on S3: pathlib-like objects over s3fs, and the listing of what lies below a name.

S3 has no folders, only names that begin alike. Making a folder does nothing, and a missing folder
is an empty one. S3 has no rename either: moving copies on the server and removes.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from typing import Any

from upath.implementations.cloud import S3Path as _UPath
from upath.registry import register_implementation

SCHEME = "s3://"


class S3Path(_UPath):
    """A path on S3. It pickles without credentials, and its listings are never cached."""

    __slots__ = ()

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        """Do nothing: a folder exists once an object lies in it.

        s3fs itself would make a missing bucket.
        """

    def iterdir(self) -> Iterator[Any]:
        """The folder's entries, sorted by name; none if the folder is missing.

        The empty object with which Hadoop marks the folder is not among them.
        """
        listing = self.fs.ls(self.path, detail=False) if self.fs.exists(self.path) else []
        # s3fs lists a folder's own marker among its entries.
        for entry in sorted(listing):
            name = entry.rstrip("/").rsplit("/", 1)[-1]
            if name and entry.rstrip("/") != self.path.rstrip("/"):
                yield self / name

    def glob(self, pattern: str, **_: Any) -> Iterator[Any]:
        """Paths that match level by level; `**` is not known.

        Upper and lower case differ. Each folder on the way costs a listing.
        """
        level: list[Any] = [self]
        for part in pattern.split("/"):
            children = (child for folder in level for child in folder.iterdir())
            level = [child for child in children if fnmatch.fnmatchcase(child.name, part)]
        yield from level

    def rglob(self, pattern: str, **_: Any) -> Iterator[Any]:
        """Objects at any depth below whose last name matches.

        Folders are not among them, as S3 has none. Upper and lower case differ.
        """
        for object_name, _size, _etag in objects_below(self.path, self.fs):
            if fnmatch.fnmatchcase(object_name.rsplit("/", 1)[-1], pattern):
                yield self.sibling(object_name)

    def sibling(self, object_name: str) -> Any:
        """The path of an object as s3fs names it (`bucket/key`).

        It has the options of this path, such as endpoint and profile.
        """
        return type(self)(SCHEME + object_name, protocol="s3", **self.storage_options)


# Or universal_pathlib gives a class of its own for a URL.
register_implementation("s3", S3Path, clobber=True)


def objects_below(name: str, file_system: Any) -> Iterator[tuple[str, int, str]]:
    """(bucket/key, bytes, ETag) of every object below a folder `bucket/key`.

    The empty objects with which Hadoop marks folders are left out.
    """
    bucket, _, key = name.partition("/")
    request: dict[str, Any] = {"Bucket": bucket, "Prefix": f"{key.rstrip('/')}/" if key else ""}
    while True:
        # An answer holds at most a thousand objects and a token for the next.
        answer = file_system.call_s3("list_objects_v2", **request)
        for entry in answer.get("Contents", []):
            if not entry["Key"].endswith("/"):
                yield f"{bucket}/{entry['Key']}", entry["Size"], entry["ETag"].strip('"')
        if not answer.get("IsTruncated"):
            return
        request["ContinuationToken"] = answer["NextContinuationToken"]
