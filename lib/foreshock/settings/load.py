"""Reading a conf file: `--set` overrides, paths relative to the file, errors that name keys."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from foreshock.errors import SettingsError
from foreshock.platform.paths import absolute, check_bucket, is_remote
from foreshock.settings.conf_yaml import YamlError, parse_yaml
from foreshock.settings.root import Settings
from foreshock.settings.section import RawMapping, SettingsSection, keys_of, section_in

# pydantic's names of a union's members, which are no keys of a conf file
_UNION_MEMBER = re.compile(r"^(Span|TestTable|str|int|constrained-.*)$|[\[(]")
_PATH_KEYS = (
    ("source", "path"),
    ("split", "test", "path"),
    ("model", "from"),
    ("tables", "location"),
    ("tables", "iceberg", "warehouse"),
)


def load_settings(path: str, overrides: Sequence[str] = ()) -> Settings:
    """The settings of a conf file, with `section.key=value` overrides whose values are YAML.

    Raises SettingsError that names the setting, what is allowed and what was received.
    """
    conf_file = absolute(path)
    raw = _read_conf(conf_file, path)
    for override in overrides:
        _override(raw, override)
    _resolve_paths(raw, conf_file.parent)
    return build_settings(raw, where=path)


def build_settings(raw: RawMapping, where: str = "settings") -> Settings:
    """Settings from a mapping, as `load_settings` makes them from a file.

    where: what the error begins with, such as the conf file. Paths stay as they are. Raises one
    SettingsError that names all that is wrong.
    """
    try:
        return Settings.model_validate(raw)
    except ValidationError as error:
        # A union tells one fault once for each of its members: `dict.fromkeys` leaves one.
        messages = [_explain(detail) for detail in error.errors()]
        raise SettingsError(f"{where}: " + "; ".join(dict.fromkeys(messages)) + ".") from None


def _read_conf(conf_file: Path, path: str) -> RawMapping:
    check_bucket(conf_file, "--conf")
    try:
        raw = parse_yaml(conf_file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"--conf {path}: there is no such file.") from None
    except (OSError, UnicodeDecodeError) as error:
        # What S3 refuses is explained by the command line, in the words of AWS.
        if is_remote(conf_file) and isinstance(error, OSError):
            raise
        raise SettingsError(f"--conf {path}: cannot be read: {error}.") from None
    except (YamlError, ValueError) as error:
        message = " ".join(str(error).split())
        raise SettingsError(f"--conf {path}: not valid YAML: {message}.") from None
    if not isinstance(raw, dict):
        received = type(raw).__name__
        raise SettingsError(
            f"--conf {path}: sections such as `source:` are wanted, received {received}."
        )
    return raw


def _explain(detail: Any) -> str:
    """One of pydantic's error details as a sentence that names the key."""
    location = [part for part in detail["loc"] if not _UNION_MEMBER.search(str(part))]
    # A field such as `from_` has its underscore because Python reserves the word.
    key = ".".join(str(part).rstrip("_") for part in location)
    if detail["type"] == "extra_forbidden":
        return f"`{key}`: unknown key; {_allowed_keys(location)}"
    if detail["type"] == "missing":
        return f"`{key}` is missing"
    message = detail["msg"].removeprefix("Value error, ")[:600]
    if detail["type"] == "model_type":
        message = "a section is wanted, such as {key: value}"
    received = detail.get("input")
    if not isinstance(received, dict | Settings) and "received" not in message:
        # A long value would hide the message.
        message += f"; received {received!r}"[:200]
    return f"`{key}`: {message}" if key else message


def _allowed_keys(location: Sequence[str | int]) -> str:
    section: type[SettingsSection] = Settings
    for part in location[:-1]:
        field_name = keys_of(section).get(str(part))
        if field_name is not None:
            section = section_in(section.model_fields[field_name].annotation) or section
    allowed = f"allowed: {', '.join(keys_of(section))}"
    if location[0] == "aws":
        allowed += (
            ". Credentials are never settings: they come from the environment, a profile or the "
            "machine's role"
        )
    return allowed


def _override(raw: RawMapping, text: str) -> None:
    """Put one `section.key=value` into a mapping."""
    key, equals, value = text.partition("=")
    parts = [part.strip() for part in key.split(".")]
    # Every other value lies in a section.
    is_key = all(parts) and (len(parts) > 1 or parts[0] in ("detectors", "ensemble"))
    if not equals or not is_key:
        raise SettingsError(f"--set {text}: section.key=value is wanted, such as --set run.seed=8.")
    node: Any = raw
    for part in parts[:-1]:
        if node.get(part) is None:
            node[part] = {}
        node = node[part]
        if not isinstance(node, dict):
            raise SettingsError(f"--set {text}: `{part}` is not a section.")
    try:
        node[parts[-1]] = parse_yaml(value)
    except (YamlError, ValueError):
        # SQL such as 'ok' = status is no YAML, but a text.
        node[parts[-1]] = value


def _resolve_paths(raw: RawMapping, base: Path) -> None:
    """Make the paths of a conf file absolute: relative ones start at the file's folder."""
    for *section_keys, key in _PATH_KEYS:
        node: Any = raw
        for section_key in section_keys:
            node = node.get(section_key) if isinstance(node, dict) else None
        if not isinstance(node, dict) or (key == "warehouse" and not _has_folder_warehouse(node)):
            continue
        value = node.get(key)
        if isinstance(value, str) and value:
            try:
                node[key] = str(absolute(value, base))
            except SettingsError as error:
                raise SettingsError(f"`{'.'.join((*section_keys, key))}`: {error}") from None


def _has_folder_warehouse(iceberg: RawMapping) -> bool:
    # The warehouse of every other catalog than hadoop is a name of theirs.
    return bool(iceberg.get("catalog", "hadoop") == "hadoop")
