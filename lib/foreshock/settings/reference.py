"""The reference of all settings, rendered from the sections themselves; nothing of a run loads it.

`python -m foreshock.settings.reference` prints the Markdown page, with `--defaults` the YAML block.
"""

from __future__ import annotations

import argparse
import datetime
import textwrap
import types
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import AfterValidator
from pydantic.fields import FieldInfo

from foreshock.settings.conf_yaml import inline_yaml
from foreshock.settings.identity import as_mapping
from foreshock.settings.load import build_settings
from foreshock.settings.root import Settings
from foreshock.settings.section import (
    OneOf,
    RawMapping,
    SettingsSection,
    keys_of,
    section_in,
)

# A run's conf needs this much; everything else has a default.
MINIMAL_CONF: RawMapping = {
    "source": {"path": "data/transactions"},
    "events": {
        "entity": "from_address",
        "time": "block_timestamp",
        "features": {"value_eth": "cast(value as decimal(38,0)) / 1e18", "gas": "gas"},
    },
    "split": {
        "train": ["2019-01-01", "2019-03-01"],
        "calibration": ["2019-03-01", "2019-04-01"],
        "test": ["2019-04-01", "2019-05-01"],
    },
}

_INTRODUCTION = """\
# Settings

A conf file is YAML with these sections. Only `source`, `events` and `split` must be given; a key
that is left out has its default. An unknown key is refused with exit code 2. `--set
section.key=value` replaces a value; the value is read as YAML. Relative paths start at the conf
file's folder.
"""
_TABLE_HEAD = "| key | default | allowed | meaning |\n| --- | --- | --- | --- |"
_TYPE_NAMES = {
    bool: "`true`, `false`",
    int: "integer",
    float: "number",
    str: "text",
    datetime.date: "date",
    types.NoneType: "null",
}
_BOUND_SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
_BLOCK_WIDTH = 100


def settings_reference() -> str:
    """The Markdown page of all settings: a table a section, then the block of defaults.

    Its words are the sections' docstrings, descriptions, types and defaults. The page
    docs/reference/settings.md is this text.
    """
    parts = [_INTRODUCTION, *_section_pages(Settings, ""), "## All defaults\n"]
    parts.append(
        "A complete conf. Keys of other kinds of source, and the section `aws`, are comments: a "
        "run of this source does not take them, or does not count them.\n"
    )
    parts.append(f"```yaml\n{defaults_block()}```\n")
    return "\n".join(parts)


def defaults_block() -> str:
    """The conf of a minimal run in YAML, every key with its default and a comment that explains it.

    >>> defaults_block().splitlines()[:4]  # doctest: +NORMALIZE_WHITESPACE
    ['# What a run is called and what its random numbers start from.', 'run:',
     "  # The run's name. It begins the run id, which every table has.", '  name: run']
    """
    resolved = as_mapping(build_settings(MINIMAL_CONF))
    # Times as the reader writes them, not as conf.yaml resolves them.
    resolved["split"] = MINIMAL_CONF["split"]
    return "\n".join(_block_lines(Settings, resolved, "")) + "\n"


def _section_pages(section: type[SettingsSection], path: str) -> Iterator[str]:
    """The parts of the page for the fields of a section, inner sections after it."""
    plain_keys = []
    for key, name in keys_of(section).items():
        if path or section_in(section.model_fields[name].annotation) is None:
            plain_keys.append(key)
    if path:
        level = "#" * (path.count(".") + 2)
        yield f"{level} `{path}`\n"
        yield f"{_plain_docstring(section)}\n"
        yield _table(section, plain_keys)
    for key, name in keys_of(section).items():
        inner = section_in(section.model_fields[name].annotation)
        # These two are written as one value, so they have no table of keys.
        if inner is not None and inner.__name__ not in ("Span", "TestTable"):
            yield from _section_pages(inner, f"{path}.{key}" if path else key)
        elif not path:
            yield f"## `{key}`\n"
            yield _table(section, [key])


def _table(section: type[SettingsSection], keys: Iterable[str]) -> str:
    rows = [_TABLE_HEAD]
    for key in keys:
        field = section.model_fields[keys_of(section)[key]]
        cells = (f"`{key}`", _default_text(field), allowed_values(field), field.description or "")
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def _default_text(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    return f"`{inline_yaml(_plain(field.default))}`"


def allowed_values(field: FieldInfo) -> str:
    """What a field takes, in words: from its `allowed` text if it has one, else from its type.

    >>> allowed_values(Settings.model_fields["detectors"])[:20]
    'list of pca, isolati'
    """
    extra = field.json_schema_extra
    if isinstance(extra, dict) and "allowed" in extra:
        return str(extra["allowed"])
    return _type_in_words(field.annotation, field.metadata)


def _type_in_words(annotation: Any, metadata: Iterable[Any]) -> str:
    # The words that a validator accepts say more than the type behind them.
    validators = [item.func for item in metadata if isinstance(item, AfterValidator)]
    for accepted in validators:
        if isinstance(accepted, OneOf):
            return _quoted(accepted.words)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        inner = [entry for item in arguments[1:] for entry in getattr(item, "metadata", [item])]
        return _type_in_words(arguments[0], [*inner, *metadata])
    if origin is Literal:
        return _quoted(arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(_type_in_words(member, metadata) for member in arguments)
    if origin is tuple:
        return "list: each " + _type_in_words(arguments[0], ())
    if isinstance(annotation, type) and issubclass(annotation, SettingsSection):
        return "section"
    return _TYPE_NAMES[annotation] + _limits(annotation, metadata)


def _quoted(words: Iterable[object]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _limits(annotation: Any, metadata: Iterable[Any]) -> str:
    """The bounds or the pattern in a field's metadata, as the end of a phrase."""
    if annotation is types.NoneType:
        return ""
    limits = []
    for item in metadata:
        for attribute, sign in _BOUND_SIGNS.items():
            bound = getattr(item, attribute, None)
            if bound is not None:
                limits.append(f"{sign} {bound}")
        if getattr(item, "pattern", None):
            limits.append(f"that matches `{item.pattern}`")
    return " " + ", ".join(limits) if limits else ""


def _block_lines(section: type[SettingsSection], values: RawMapping, indent: str) -> Iterator[str]:
    """The lines of a section's keys; a key without a value in the resolved conf is a comment."""
    for key, name in keys_of(section).items():
        field = section.model_fields[name]
        inner = _inner_block(field)
        # `as_mapping` leaves out what this run does not read, and the section `aws`.
        is_live = key in values
        if not indent and inner is not None:
            yield from _comment(_plain_docstring(inner), indent)
        elif field.description:
            yield from _comment(field.description, indent)
        if inner is None:
            value = values[key] if is_live else _plain(field.default)
            lines = [f"{indent}{key}: {inline_yaml(value)}"]
        else:
            inner_values = values[key] if is_live else _plain(inner())
            lines = [f"{indent}{key}:", *_block_lines(inner, inner_values, indent + "  ")]
        yield from lines if is_live else (_as_comment(line) for line in lines)


def _inner_block(field: FieldInfo) -> type[SettingsSection] | None:
    """The section of a field that is always one: no list of sections, no range of time or null."""
    annotation = field.annotation
    return section_in(annotation) if isinstance(annotation, type) else None


def _comment(text: str, indent: str) -> list[str]:
    prefix = f"{indent}# "
    return textwrap.wrap(
        text,
        _BLOCK_WIDTH,
        initial_indent=prefix,
        subsequent_indent=prefix,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _as_comment(line: str) -> str:
    stripped = line.lstrip()
    if stripped.startswith("#"):
        return line
    return f"{line[: len(line) - len(stripped)]}# {stripped}"


def _plain(value: Any) -> Any:
    """A default as plain data that YAML can hold."""
    if isinstance(value, SettingsSection):
        return value.model_dump(mode="json", by_alias=True)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def _plain_docstring(section: type[SettingsSection]) -> str:
    return " ".join((section.__doc__ or "").split())


def main(argv: list[str] | None = None) -> int:
    """Print the page, or with --defaults the block of defaults.

    argv: the arguments; None for those of the process. Returns the exit code.
    """
    parser = argparse.ArgumentParser(description="Prints the reference of all settings.")
    parser.add_argument("--defaults", action="store_true", help="print the YAML block alone")
    print(defaults_block() if parser.parse_args(argv).defaults else settings_reference(), end="")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
