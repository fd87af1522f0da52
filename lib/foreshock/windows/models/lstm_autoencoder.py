"""The LSTM autoencoder: a window is encoded to one vector and rebuilt from it.

The error is the squared difference between a window and what is rebuilt, value by value. Source:
Malhotra et al., "LSTM-based Encoder-Decoder for Multi-sensor Anomaly Detection", 2016; here the
decoder sees the code at every step and not its former output.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from foreshock.detectors import Spec
from foreshock.platform.quiet import silenced_stderr
from foreshock.statistics.arrays import AnyArray, Float32Array
from foreshock.windows.models.lstm_scan import compile_scan
from foreshock.windows.models.squares import squared_errors

with silenced_stderr():
    import keras
    import tensorflow as tf

# Windows in a forward pass; one shape, so that it is compiled once.
BATCH = 512


@dataclass(frozen=True)
class NetworkSpec:
    """The network's shape, as the bundle and the checkpoints hold it.

    Attributes:
        length, features: L and F of a window.
        units: widths of the encoder's LSTM layers; the decoder has them in reverse.
        dense: the width of a dense layer in the middle; 0 for none.
        activation: of LSTM and dense layers.
        output: the activation of the output.
        dropout: the share of values left out after each LSTM layer in training.
        l1, l2: penalties on kernels.
    """

    length: int
    features: int
    units: tuple[int, ...]
    dense: int
    activation: str
    output: str
    dropout: float
    l1: float
    l2: float

    def to_mapping(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self) | {"units": list(self.units)}

    @classmethod
    def from_mapping(cls, mapping: Spec) -> Self:
        """What `to_mapping` gave; keys that are not a network's are passed over.

        Raises KeyError if something is missing.
        """
        members = {name: mapping[name] for name in cls.__dataclass_fields__}
        return cls(**members | {"units": tuple(mapping["units"])})


def build(spec: NetworkSpec) -> keras.Model:
    """The network, from windows (B, L, F) to what is rebuilt of them (B, L, F).

    LSTM layers of `units`, of which the last gives a vector; Dense(`dense`) unless 0; the vector
    repeated L times; LSTM layers of `units` in reverse; a Dense output of F values a step.
    """
    inputs = keras.Input((spec.length, spec.features))
    layer_output = inputs
    for layer_number, width in enumerate(spec.units):
        is_last = layer_number == len(spec.units) - 1
        layer_output = _lstm(spec, width, sequences=not is_last)(layer_output)
        layer_output = _dropped(spec, layer_output)
    if spec.dense:
        middle_layer = keras.layers.Dense(
            spec.dense, activation=spec.activation, kernel_regularizer=_penalty(spec)
        )
        layer_output = middle_layer(layer_output)  # (B, dense)
    layer_output = keras.layers.RepeatVector(spec.length)(layer_output)  # (B, L, dense)
    for width in reversed(spec.units):
        layer_output = _lstm(spec, width, sequences=True)(layer_output)  # (B, L, width)
        layer_output = _dropped(spec, layer_output)
    # float32 whatever the layers compute in: the loss needs its digits.
    output_layer = keras.layers.Dense(spec.features, activation=spec.output, dtype="float32")
    return keras.Model(inputs, output_layer(layer_output))


def _lstm(spec: NetworkSpec, width: int, *, sequences: bool) -> keras.layers.LSTM:
    return keras.layers.LSTM(
        width,
        activation=spec.activation,
        return_sequences=sequences,
        kernel_regularizer=_penalty(spec),
    )


def _penalty(spec: NetworkSpec) -> keras.regularizers.Regularizer | None:
    return keras.regularizers.L1L2(spec.l1, spec.l2) if spec.l1 or spec.l2 else None


def _dropped(spec: NetworkSpec, values: Any) -> Any:
    return keras.layers.Dropout(spec.dropout)(values) if spec.dropout else values


def window_loss(
    network: keras.Model, windows: tf.Tensor, weights: tf.Tensor, *, training: bool
) -> tuple[tf.Tensor, tf.Tensor]:
    """The sum over windows (B, L, F) of the mean squared error of their weighted steps; the count.

    Weights (B, L) are 0 where a window is padded. A window whose weights are all 0 fills a batch
    up: it adds to neither sum nor count.
    """
    rebuilt = network(windows, training=training)
    step_errors = tf.reduce_mean(tf.square(rebuilt - windows), axis=-1)  # (B, L)
    n_steps = tf.reduce_sum(weights, axis=-1)  # (B,)
    window_losses = tf.reduce_sum(step_errors * weights, axis=-1) / tf.maximum(n_steps, 1.0)  # (B,)
    return tf.reduce_sum(window_losses), tf.reduce_sum(tf.cast(n_steps > 0.0, tf.float32))


class LSTMAutoencoder:
    """A trained network as a detector. The forward pass is compiled by XLA for one batch shape."""

    blind_events = 0
    # It learns from all training windows.
    fitted_on = None

    def __init__(self, network: keras.Model, spec: NetworkSpec) -> None:
        """Take a network that `build(spec)` made, with its weights."""
        self.network = network
        self.network_spec = spec
        self._forward: Callable[[tf.Tensor], tf.Tensor] | None = None

    def reconstruct(self, windows: Float32Array) -> Float32Array:
        """What the network rebuilds of windows (N, L, F), in their shape.

        The first call compiles the forward pass, for 512 windows at a time.
        """
        # Compiled for the first windows, because many processes never score.
        if self._forward is None:
            self._forward = compile_scan(self.network, self.network_spec)
        rebuilt = np.empty_like(windows)
        for first_window in range(0, len(windows), BATCH):
            batch = windows[first_window : first_window + BATCH]
            n_windows = len(batch)
            # Filled up: another shape would be compiled anew.
            if n_windows < BATCH:
                empty_windows = np.zeros((BATCH - n_windows, *windows.shape[1:]), windows.dtype)
                batch = np.concatenate([batch, empty_windows])
            output = self._forward(tf.constant(batch)).numpy()
            rebuilt[first_window : first_window + n_windows] = output[:n_windows]
        return rebuilt

    def errors_of(self, windows: Float32Array, expected: Float32Array) -> Float32Array:
        """Squared errors (N, L, F), given what `reconstruct` gave.

        `expected` is what `reconstruct(windows)` gave: scoring computes it once.
        """
        return squared_errors(windows, expected)

    def errors(self, windows: Float32Array) -> Float32Array:
        """Squared errors (N, L, F) of windows (N, L, F).

        Use `errors_of` if the expected values are at hand: they cost the most.
        """
        return self.errors_of(windows, self.reconstruct(windows))

    def arrays(self) -> Mapping[str, AnyArray]:
        """The network's weights, in Keras's order.

        Named as in the bundle's npz file; `load` takes them back, nothing is pickled.
        """
        weights = self.network.get_weights()
        return {f"w{weight_number:03d}": weight for weight_number, weight in enumerate(weights)}

    def spec(self) -> Spec:
        """The network's shape.

        It stands in bundle.json as JSON; `load` takes it back.
        """
        return self.network_spec.to_mapping()

    @classmethod
    def load(cls, spec: Spec, arrays: Mapping[str, AnyArray]) -> LSTMAutoencoder:
        """The detector of `spec()` and `arrays()`.

        Raises KeyError if a member of one of them is missing.
        """
        network_spec = NetworkSpec.from_mapping(spec)
        network = build(network_spec)
        # Names have numbers of three digits, so their order is that of the weights.
        network.set_weights([arrays[name] for name in sorted(arrays)])
        return cls(network, network_spec)
