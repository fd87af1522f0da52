"""Settings of the section `windows`: how sequences are cut."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from foreshock.settings.section import PositiveInteger, SettingsSection


class WindowsSettings(SettingsSection):
    """How an entity's events become sequences, windows and blocks."""

    length: Annotated[int, Field(ge=1, le=100_000, description="Events per window.")] = 50
    stride: Annotated[
        PositiveInteger, Field(description="Events from the start of a window to the next start.")
    ] = 1
    block: Annotated[
        PositiveInteger,
        Field(
            description=(
                "Windows that begin within so many events are stored together in one row of the "
                "dataset. At least `length`."
            )
        ),
    ] = 1024
    max_gap: Annotated[
        float | None,
        Field(
            gt=0,
            description="A longer gap ends a sequence, in seconds. If null, no gap does.",
        ),
    ] = None
    short: Annotated[
        Literal["drop", "pad"],
        Field(
            description=(
                "What happens to a sequence that is shorter than a window. drop: its events have "
                "no score. pad: it becomes one window with leading padding."
            )
        ),
    ] = "drop"

    @model_validator(mode="after")
    def _window_fits_block(self) -> WindowsSettings:
        if self.length > self.block:
            raise ValueError(
                f"length ({self.length}) must not exceed block ({self.block}): raise windows.block"
            )
        return self
