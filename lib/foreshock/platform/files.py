"""Small files written whole or not at all, here and on S3: text, JSON, bytes, and their digests."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from pathlib import Path
from typing import Any

from foreshock.errors import DataError
from foreshock.platform.paths import filesystem, is_remote


def digest(value: Any) -> str:
    """sha256 of a JSON-able value; equal values have the same, whatever the order of their keys.

    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    """
    # Fingerprints are compared between processes and versions: the text must be the same in all.
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes, in hexadecimal.

    The file is read in pieces, so it may be larger than memory. Raises FileNotFoundError if it is
    not there.
    """
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all, in UTF-8.

    A file that is there is replaced. Its folder must exist, except on S3.
    """
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Write a file whole or not at all; a file that is there is replaced.

    Here the bytes go to a hidden file beside the target, which is then renamed. On S3 every object
    is written whole.
    """
    if is_remote(path):
        path.write_bytes(data)
        return
    # Beside the target: a rename is one step only within a file system.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("wb") as handle:
            handle.write(data)
            handle.flush()
            # Or the new name could outlive a loss of power without its bytes.
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all, keys sorted.

    What JSON does not know, such as a path or a date, becomes the text that `str` gives.
    """
    write_text(path, json.dumps(value, indent=1, sort_keys=True, default=str) + "\n")


def read_json(path: Path) -> Any:
    """A JSON file, parsed.

    Raises DataError naming the file if it is not JSON, FileNotFoundError if it is not there.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: not valid JSON ({error}); it was altered. Run again with --force."
        ) from None


def append_text(path: Path, text: str) -> None:
    """Add text to the end of a file, in UTF-8; a missing file is made.

    S3 cannot append: there the object is read and written anew, so it may have one writer only.
    """
    if is_remote(path):
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        path.write_text(before + text, encoding="utf-8")
        return
    with path.open("a", encoding="utf-8") as handle:
        handle.write(text)


def create(path: Path, text: str) -> bool:
    """Write a file that does not exist yet; False if it does.

    If several processes create one file at once, one of them wins, on S3 too.
    """
    try:
        if is_remote(path):
            name, file_system = filesystem(path)
            # S3 itself refuses the second of two that create an object (`If-None-Match`).
            with file_system.open(name, "xb") as handle:
                handle.write(text.encode())
        else:
            with path.open("x", encoding="utf-8") as handle:
                handle.write(text)
    except FileExistsError:
        return False
    return True
