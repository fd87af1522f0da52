"""YAML as conf files use it: numbers with an exponent are numbers, and no key stands twice."""

from __future__ import annotations

import re
from typing import Any

import yaml

from foreshock.settings.section import RawMapping

YamlError = yaml.YAMLError


class _Loader(yaml.SafeLoader):
    """YAML 1.2 floats (1e-4) and no repeated keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping of a node. Raises ConstructorError for a key that stands twice."""
        # Of two equal keys PyYAML itself takes the last without a word.
        keys = [self.construct_object(key_node, deep=True) for key_node, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", node.start_mark
                )
        return super().construct_mapping(node, deep)


# YAML 1.1, which PyYAML reads, wants a dot and a sign in every number with an exponent.
_EXPONENT = re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9]*)?[eE][-+]?[0-9]+$")
_Loader.yaml_implicit_resolvers = {
    first: list(resolvers) for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+0123456789"))


def parse_yaml(text: str) -> Any:
    """The value that a YAML text holds. Raises YamlError, or ValueError for an impossible date.

    >>> parse_yaml("{learning_rate: 1e-4}")
    {'learning_rate': 0.0001}
    """
    return yaml.load(text, Loader=_Loader)


def format_yaml(value: RawMapping) -> str:
    """A mapping as YAML, its keys in the order that they have.

    >>> print(format_yaml({"run": {"seed": 7}}), end="")
    run:
      seed: 7
    """
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True)


def inline_yaml(value: Any) -> str:
    """A value as YAML on one line.

    >>> inline_yaml([64, 32]), inline_yaml(None)
    ('[64, 32]', 'null')
    """
    text = yaml.safe_dump(
        [value], default_flow_style=True, allow_unicode=True, sort_keys=False, width=10_000
    )
    return text.strip()[1:-1]
