"""Settings of the section `scaling`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from foreshock.settings.section import SettingsSection, Share


class ScalingSettings(SettingsSection):
    """How features are brought to one scale, by statistics of the training events."""

    method: Annotated[
        Literal["robust", "standard", "minmax", "none"],
        Field(
            description=(
                "robust: (value − median) / interquartile range. standard: (value − mean) / "
                "standard deviation. minmax: the training range becomes [0, 1]. none: values stay."
            )
        ),
    ] = "robust"
    transform: Annotated[
        Literal["none", "asinh", "log1p"],
        Field(
            description=(
                "A transform before scaling, for heavy tails. log1p keeps the sign: "
                "sign(x) · log(1 + |x|)."
            )
        ),
    ] = "none"
    clip: Annotated[
        float | None,
        Field(gt=0, description="The largest absolute scaled value. If null, no limit."),
    ] = None
    constant: Annotated[
        Literal["zero", "drop", "fail"],
        Field(
            description=(
                "What happens to a feature without spread in train: it becomes 0, is left out, or "
                "ends the run with exit code 3."
            )
        ),
    ] = "zero"
    floor: Annotated[
        Share,
        Field(
            description=(
                "A feature's scale is at least this share of its training range, taken after the "
                "transform. It keeps a sensor that hardly moved in training from drowning the "
                "rest. Leave it 0 for heavy tails."
            )
        ),
    ] = 0.0
