"""What all sections of the settings share: strict frozen models and words that are allowed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

# A section as YAML holds it, before or after the checks.
RawMapping: TypeAlias = dict[str, Any]

Share = Annotated[float, Field(ge=0, le=1)]
PositiveInteger = Annotated[int, Field(ge=1)]


def not_available(subject: str) -> ValueError:
    """The error for a value of the interface that this version does not have.

    >>> str(not_available("`npy`"))
    '`npy` is not available in this version'
    """
    return ValueError(f"{subject} is not available in this version")


@dataclass(frozen=True)
class OneOf:
    """Accepts some words only. The reference page reads them from here.

    `later` are words that a later version accepts. Raises ValueError for every other word.

    >>> OneOf(("split", "train"))("train")
    'train'
    """

    words: tuple[str, ...]
    later: tuple[str, ...] = ()

    def __call__(self, word: str) -> str:
        """The word if it is allowed. Raises ValueError if it is not, or not in this version."""
        if word in self.later:
            raise not_available(f"`{word}`")
        if word not in self.words:
            raise ValueError(f"allowed: {', '.join(self.words)}; received {word!r}")
        return word


class SettingsSection(BaseModel):
    """A section of the settings: frozen, without unknown keys, finite numbers only."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=()
    )

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_boolean(cls, value: Any, info: ValidationInfo) -> Any:
        # To pydantic, True is the number 1: `stride: true` would pass.
        takes_boolean = cls.model_fields[str(info.field_name)].annotation is bool
        if isinstance(value, bool) and not takes_boolean:
            raise ValueError(
                "neither true nor false; a number (an integer for counts), text or a section is "
                "wanted"
            )
        return value


def section_in(annotation: Any) -> type[SettingsSection] | None:
    """The section that a field's annotation holds, alone, in a union or in a tuple; else None.

    >>> section_in(SettingsSection | None).__name__, section_in(int | None)
    ('SettingsSection', None)
    """
    if isinstance(annotation, type) and issubclass(annotation, SettingsSection):
        return annotation
    sections = (section_in(argument) for argument in get_args(annotation))
    return next((section for section in sections if section is not None), None)


def keys_of(section: type[SettingsSection]) -> dict[str, str]:
    """The keys of a section as a conf file has them, with the names of their fields.

    >>> class Door(SettingsSection):
    ...     from_: Annotated[str, Field(alias="from")] = ""
    >>> keys_of(Door)
    {'from': 'from_'}
    """
    return {field.alias or name: name for name, field in section.model_fields.items()}
