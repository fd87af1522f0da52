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
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all, in UTF-8."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Write a file whole or not at all; on S3 every object is."""
    if is_remote(path):
        path.write_bytes(data)
        return
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all, keys sorted."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, default=str) + "\n")


def read_json(path: Path) -> Any:
    """A JSON file, parsed. Raises DataError naming the file if it is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: not valid JSON ({error}); it was altered. Run again with --force."
        ) from None


def append_text(path: Path, text: str) -> None:
    """Add text to a file; on S3, which cannot append, the object is written anew."""
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
            with file_system.open(name, "xb") as handle:
                handle.write(text.encode())
        else:
            with path.open("x", encoding="utf-8") as handle:
                handle.write(text)
    except FileExistsError:
        return False
    return True
