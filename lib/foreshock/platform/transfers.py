"""Moving, copying and removing files and folders, here, on S3 and between the two."""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from foreshock.errors import ServiceError
from foreshock.platform.paths import S3, filesystem, is_remote

CONCURRENT_COPIES = 32
DELETE_ATTEMPTS = 5
# What S3 says if a request is to be repeated.
TRANSIENT_CODES = ("SlowDown", "InternalError", "ServiceUnavailable")


def remove(path: Path) -> None:
    """Remove a file or folder if it exists. Raises ServiceError if S3 refuses.

    A local folder is renamed first, so that no reader sees half of it.
    """
    if is_remote(path):
        _remove_objects(path)
    elif path.is_dir() and not path.is_symlink():
        doomed = path.with_name(f".removed-{uuid.uuid4().hex}")
        path.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _remove_objects(path: Path) -> None:
    """Remove the object of a path on S3 and all objects below it."""
    name, file_system = filesystem(path)
    bucket, _, key = name.partition("/")
    attempts_left = DELETE_ATTEMPTS
    for prefix in (key, f"{key.rstrip('/')}/") if key else ("",):
        is_exact = bool(key) and prefix == key
        while keys := _some_keys(file_system, bucket, prefix, exact=is_exact):
            doomed = {"Objects": [{"Key": key_} for key_ in keys], "Quiet": True}
            answer = file_system.call_s3("delete_objects", Bucket=bucket, Delete=doomed)
            # S3 answers 200 even if it removed nothing: the refusals are in the body.
            refusals = answer.get("Errors")
            if not refusals:
                continue
            is_transient = all(refusal.get("Code") in TRANSIENT_CODES for refusal in refusals)
            if not (attempts_left and is_transient):
                first = refusals[0]
                raise ServiceError(
                    f"S3 DeleteObjects {S3}{bucket}/{first.get('Key')}: {first.get('Code')}: "
                    f"{first.get('Message')} ({len(refusals)} of {len(keys)} objects). Check "
                    "permissions."
                )
            attempts_left -= 1
            time.sleep(1)


def _some_keys(file_system: Any, bucket: str, prefix: str, *, exact: bool) -> list[str]:
    """Up to a thousand keys: the one of that name if `exact`, else those that begin so.

    The empty objects with which Hadoop marks folders are among them.
    """
    limit = 1 if exact else 1000
    answer = file_system.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, MaxKeys=limit)
    keys = [entry["Key"] for entry in answer.get("Contents", [])]
    return [key for key in keys if not exact or key == prefix]


def move(source: Path, target: Path) -> None:
    """Move a file or folder to a place that is free.

    On S3 the objects are copied on the server, and then removed.
    """
    if is_remote(source) or is_remote(target):
        copy(source, target)
        remove(source)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        source.rename(target)
    except OSError:
        # The target lies on another file system.
        shutil.move(source, target)


def copy(source: Path, target: Path) -> None:
    """Copy a file or folder; source and target may each lie here or on S3.

    A local folder must not be there yet (FileExistsError); files and objects are replaced.
    """
    if is_remote(source):
        _copy_from_s3(source, target)
    elif is_remote(target):
        _upload(source, target)
    elif source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copyfile(source, target)


def _upload(source: Path, target: Path) -> None:
    if source.is_file():
        target.write_bytes(source.read_bytes())
        return
    for file in source.rglob("*"):
        if file.is_file():
            (target / file.relative_to(source).as_posix()).write_bytes(file.read_bytes())


def _copy_from_s3(source: Path, target: Path) -> None:
    from foreshock.platform.s3_path import objects_below

    name, file_system = filesystem(source)
    if file_system.isfile(name):
        object_names = [name]
    else:
        object_names = [object_name for object_name, _, _ in objects_below(name, file_system)]
    if is_remote(target):
        prefix = filesystem(target)[0]
        # The server copies: each is a request that moves no bytes here.
        at_once(
            lambda object_name: file_system.cp_file(
                object_name, prefix + object_name.removeprefix(name)
            ),
            object_names,
        )
        return
    for object_name in object_names:
        place = Path(str(target) + object_name.removeprefix(name))
        place.parent.mkdir(parents=True, exist_ok=True)
        file_system.get_file(object_name, str(place))


def at_once(
    work: Callable[[Any], object], items: Sequence[Any], most: int = CONCURRENT_COPIES
) -> None:
    """Do some work for each item, in at most `most` threads.

    If one item fails, or a signal comes, the work under way is waited for and no other begins, so
    that what is cleared away next stays away.
    """
    with ThreadPoolExecutor(max(1, min(most, len(items)))) as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def carry(source: Path, target: Path) -> None:
    """Put a file in a second place, without a copy if the file system has links.

    Both names may then be one file, so neither may be written in place.
    """
    if not is_remote(source):
        try:
            os.link(source, target)
            return
        except OSError:
            # A file system without links.
            pass
    copy(source, target)
