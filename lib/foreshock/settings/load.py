"""Reading a conf file: YAML, `--set` overrides, paths relative to the file, the settings' sha256."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from foreshock.errors import SettingsError
from foreshock.platform.paths import absolute, check_bucket, is_remote
from foreshock.settings.data import OWN_KEYS
from foreshock.settings.root import Settings

UNION_TAG = re.compile(
    r"^(Span|TestTable|str|int|constrained-.*)$|[\[(]"
)  # pydantic's names of a union's members
PATHS = (
    ("source", "path"),
    ("split", "test", "path"),
    ("model", "from"),
    ("tables", "location"),
    ("tables", "iceberg", "warehouse"),
)


HOW = (
    "workgroup",
    "output",
    "max_bytes_scanned",
    "queries",
    "query_timeout",
)  # of the source: how it is asked, not for what


class _Loader(yaml.SafeLoader):
    """YAML 1.2 floats (1e-4) and no repeated keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(k, deep=True) for k, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", node.start_mark
                )
        return super().construct_mapping(node, deep)


_EXPONENT = re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9]*)?[eE][-+]?[0-9]+$")
_Loader.yaml_implicit_resolvers = {
    k: list(v) for k, v in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+0123456789"))


def parse_yaml(text: str) -> Any:
    """A YAML value; raises yaml.YAMLError."""
    return yaml.load(text, Loader=_Loader)


def load_settings(path: str, overrides: list[str] | None = None) -> Settings:
    """The settings of a conf file, with `section.key=value` overrides (values are YAML).

    Raises SettingsError naming the setting, what is allowed and what was received.
    """
    file = absolute(path)
    check_bucket(file, "--conf")
    try:
        raw = parse_yaml(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"--conf {path}: there is no such file.") from None
    except (OSError, UnicodeDecodeError) as error:
        if is_remote(file) and isinstance(error, OSError):
            raise
        raise SettingsError(f"--conf {path}: cannot be read: {error}.") from None
    except (yaml.YAMLError, ValueError) as error:
        raise SettingsError(
            f"--conf {path}: not valid YAML: {' '.join(str(error).split())}."
        ) from None
    if not isinstance(raw, dict):
        raise SettingsError(
            f"--conf {path}: sections such as `source:` are wanted, received {type(raw).__name__}."
        )
    for override in overrides or []:
        _override(raw, override)
    _resolve_paths(raw, file.parent)
    return build_settings(raw, where=path)


def build_settings(raw: dict[str, Any], where: str = "settings") -> Settings:
    """Settings from a mapping, with errors as one SettingsError."""
    try:
        return Settings.model_validate(raw)
    except ValidationError as error:
        lines = [_explain(e) for e in error.errors()]
        raise SettingsError(f"{where}: " + "; ".join(dict.fromkeys(lines)) + ".") from None


def _explain(error: Any) -> str:
    key = ".".join(str(p).rstrip("_") for p in error["loc"] if not UNION_TAG.search(str(p)))
    received = error.get("input")
    if error["type"] == "extra_forbidden" and key.startswith("aws."):
        return (
            f"`{key}`: unknown key; allowed: endpoint, region, profile, kms_key, requester_pays. Credentials are never settings: they "
            "come from the environment, a profile or the machine's role"
        )
    if error["type"] == "extra_forbidden":
        return f"`{key}`: unknown key; see the settings in the README for those that are allowed"
    if error["type"] == "missing":
        return f"`{key}` is missing"
    message = error["msg"].removeprefix("Value error, ")
    shown = (
        ""
        if isinstance(received, dict | Settings) or "received" in message
        else f"; received {received!r}"
    )
    return (f"`{key}`: " if key else "") + message[:600] + shown[:200]


def _override(raw: dict[str, Any], text: str) -> None:
    key, equals, value = text.partition("=")
    parts = [p.strip() for p in key.split(".")]
    if (
        not equals
        or not all(parts)
        or (len(parts) < 2 and parts[0] not in ("detectors", "ensemble"))
    ):
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
    except (yaml.YAMLError, ValueError):
        node[parts[-1]] = value


def _resolve_paths(raw: dict[str, Any], base: Path) -> None:
    for *sections, key in PATHS:
        node: Any = raw
        for section in sections:
            node = node.get(section) if isinstance(node, dict) else None
        # The warehouse of other catalogs than hadoop is a name of theirs.
        other = (
            key == "warehouse"
            and isinstance(node, dict)
            and node.get("catalog", "hadoop") != "hadoop"
        )
        if (
            isinstance(node, dict)
            and isinstance(value := node.get(key), str)
            and value
            and not other
        ):
            try:
                node[key] = str(absolute(value, base))
            except SettingsError as error:
                raise SettingsError(f"`{'.'.join((*sections, key))}`: {error}") from None


def as_mapping(settings: Settings) -> dict[str, Any]:
    """The settings as plain data, times as text; `build_settings` reads it back. Without `aws`: it says where, not what."""
    raw = settings.model_dump(mode="json", by_alias=True, exclude_unset=False, exclude={"aws"})
    for name, span in raw["split"].items():
        if span and "start" in span:
            raw["split"][name] = [span["start"], span["end"]]
    for kind, own in OWN_KEYS.items():
        for key in own if kind != settings.source.kind else HOW:
            raw["source"].pop(key.rstrip("_"), None)
    return raw


def sha256(settings: Settings) -> str:
    """A digest of all settings, the same whatever their order in the file; only the features' order counts."""
    order = {"settings": as_mapping(settings), "features in order": list(settings.feature_names)}
    text = json.dumps(order, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def differing_keys(a: dict[str, Any], b: dict[str, Any], prefix: str = "") -> list[str]:
    """The dotted keys in which two mappings differ."""
    found = []
    for key in sorted(set(a) | set(b)):
        x, y = a.get(key), b.get(key)
        if isinstance(x, dict) and isinstance(y, dict):
            found += differing_keys(x, y, f"{prefix}{key}.")
        elif x != y:
            found.append(f"{prefix}{key}")
    return found
