"""Settings of the section `model`: the detector whose scores are judged."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from foreshock.detectors import ENSEMBLE, REGISTRY
from foreshock.settings.detectors import known_detector
from foreshock.settings.section import PositiveInteger, SettingsSection


class ModelSettings(SettingsSection):
    """The detector whose scores fill the table `scores`. Keys after `name` shape the network."""

    name: Annotated[
        str,
        Field(
            description="The run's model.",
            json_schema_extra={"allowed": ", ".join((*REGISTRY, ENSEMBLE))},
        ),
    ] = "lstm_autoencoder"
    units: Annotated[
        tuple[PositiveInteger, ...],
        Field(
            min_length=1,
            max_length=8,
            description="Widths of the encoder's LSTM layers. The decoder mirrors them.",
        ),
    ] = (64, 32)
    dense: Annotated[
        int, Field(ge=0, description="Width of the layer between encoder and decoder; 0: no layer.")
    ] = 16
    activation: Annotated[
        Literal["tanh", "relu", "sigmoid", "elu", "selu", "softplus", "linear"],
        Field(description="Activation of the LSTM layers and the dense layer."),
    ] = "tanh"
    output: Annotated[
        Literal["linear", "sigmoid", "tanh", "relu", "softplus"],
        Field(
            description=(
                "Activation of the output. Only linear reaches every scaled value; sigmoid suits "
                "scaling.method: minmax."
            )
        ),
    ] = "linear"
    dropout: Annotated[
        float, Field(ge=0, lt=1, description="Share of values that a training step leaves out.")
    ] = 0.0
    l1: Annotated[float, Field(ge=0, description="Weight of the L1 penalty of the kernels.")] = 0.0
    l2: Annotated[float, Field(ge=0, description="Weight of the L2 penalty of the kernels.")] = 0.0
    from_: Annotated[
        str | None,
        Field(
            alias="from",
            description=(
                "The run directory of a finished run whose scaler, models and thresholds are "
                "used. Nothing is trained then. Relative to the conf file."
            ),
        ),
    ] = None

    @field_validator("name")
    @classmethod
    def _known_name(cls, value: str) -> str:
        return known_detector(value)
