"""What tells two runs apart: settings as plain data, their sha256, the keys that differ."""

from __future__ import annotations

import hashlib
import json

from foreshock.settings.root import Settings
from foreshock.settings.section import RawMapping
from foreshock.settings.source import FIELDS_OF_ASKING, FIELDS_OF_KIND


def as_mapping(settings: Settings) -> RawMapping:
    """The settings as plain data, times as text. `build_settings` reads it back.

    The section `aws` and how Athena is asked are left out: they say where and how, not what.
    """
    raw = settings.model_dump(mode="json", by_alias=True, exclude_unset=False, exclude={"aws"})
    # A range as conf files write it.
    for name, span in raw["split"].items():
        if span and "start" in span:
            raw["split"][name] = [span["start"], span["end"]]
    # The keys of other kinds hold defaults that this run does not read.
    for kind, fields in FIELDS_OF_KIND.items():
        left_out = FIELDS_OF_ASKING if kind == settings.source.kind else fields
        for field in left_out:
            raw["source"].pop(field.rstrip("_"), None)
    return raw


def sha256(settings: Settings) -> str:
    """A digest of all settings, in hexadecimal: equal for runs that do the same.

    Of the order of keys in the file, only that of features counts. What `as_mapping` leaves out
    does not count.
    """
    # The order of sections means nothing; the order of features is that of columns.
    content = {"settings": as_mapping(settings), "features in order": list(settings.feature_names)}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def differing_keys(first: RawMapping, second: RawMapping, prefix: str = "") -> list[str]:
    """The dotted keys in which two mappings differ, in order.

    >>> differing_keys({"run": {"seed": 7}}, {"run": {"seed": 8}, "aws": {}})
    ['aws', 'run.seed']
    """
    keys: list[str] = []
    for key in sorted(set(first) | set(second)):
        before, after = first.get(key), second.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            keys += differing_keys(before, after, f"{prefix}{key}.")
        elif before != after:
            keys.append(f"{prefix}{key}")
    return keys
