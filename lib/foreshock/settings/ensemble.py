"""Settings of the section `ensemble`: a detector that is made of others."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from foreshock.detectors import ENSEMBLE, REGISTRY
from foreshock.settings.detectors import known_detector
from foreshock.settings.section import SettingsSection


class EnsembleSettings(SettingsSection):
    """Scores of several detectors as one. Each is divided by its calibration quantile first."""

    of: Annotated[
        tuple[str, ...],
        Field(
            min_length=2,
            description="The members.",
            json_schema_extra={"allowed": f"list of two or more of {', '.join(REGISTRY)}"},
        ),
    ]
    combine: Annotated[
        Literal["mean", "mean_log1p"],
        Field(
            description=(
                "mean: the mean of the divided scores. mean_log1p: the mean of log(1 + divided "
                "score), in which no member drowns the rest."
            )
        ),
    ] = "mean"
    quantile: Annotated[
        float,
        Field(
            gt=0, lt=1, description="The calibration quantile that a member's score is divided by."
        ),
    ] = 0.99

    @field_validator("of")
    @classmethod
    def _known_members(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if any(known_detector(name) == ENSEMBLE for name in value):
            raise ValueError("an ensemble is not made of itself")
        if len(set(value)) != len(value):
            raise ValueError("a detector is named twice")
        return value
