"""The LSTM autoencoder: a window is encoded to one vector and rebuilt from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from foreshock.platform.quiet import held_stderr
from foreshock.windows.models.lstm_scan import scan

with held_stderr():
    import keras
    import tensorflow as tf

Floats = npt.NDArray[np.float32]
BATCH = 512


def build(spec: dict[str, Any]) -> keras.Model:
    """The network of a spec: length, features, units, dense, activation, output, dropout, l1, l2.

    LSTM layers of `units`, the last one giving a vector; Dense(`dense`) unless 0; repeated L times; LSTM layers of `units`
    in reverse; a Dense output of F values a step with activation `output`. Input and output: (B, L, F).
    """

    def penalty() -> Any:
        return keras.regularizers.L1L2(spec["l1"], spec["l2"]) if spec["l1"] or spec["l2"] else None

    def lstm(width: int, sequences: bool) -> Any:
        return keras.layers.LSTM(
            width,
            activation=spec["activation"],
            return_sequences=sequences,
            kernel_regularizer=penalty(),
        )

    inputs = keras.Input((spec["length"], spec["features"]))
    x = inputs
    for i, width in enumerate(spec["units"]):
        x = lstm(width, i < len(spec["units"]) - 1)(x)  # (B, L, width), at last (B, width)
        if spec["dropout"]:
            x = keras.layers.Dropout(spec["dropout"])(x)
    if spec["dense"]:
        x = keras.layers.Dense(
            spec["dense"], activation=spec["activation"], kernel_regularizer=penalty()
        )(x)  # (B, dense)
    x = keras.layers.RepeatVector(spec["length"])(x)  # (B, L, dense)
    for width in reversed(spec["units"]):
        x = lstm(width, True)(x)  # (B, L, width)
        if spec["dropout"]:
            x = keras.layers.Dropout(spec["dropout"])(x)
    return keras.Model(
        inputs, keras.layers.Dense(spec["features"], activation=spec["output"], dtype="float32")(x)
    )


def loss(network: keras.Model, x: Any, weight: Any, *, training: bool) -> tuple[Any, Any]:
    """(sum over windows of the mean squared error of a window's weighted steps, windows) of x (B, L, F), weight (B, L).

    A window whose weights are all 0 is none: it fills a batch up.
    """
    error = tf.reduce_mean(tf.square(network(x, training=training) - x), axis=-1)  # (B, L)
    steps = tf.reduce_sum(weight, axis=-1)  # (B,)
    per_window = tf.reduce_sum(error * weight, axis=-1) / tf.maximum(steps, 1.0)  # (B,)
    return tf.reduce_sum(per_window), tf.reduce_sum(tf.cast(steps > 0.0, tf.float32))


class LSTMAutoencoder:
    """A trained network behind the registry's protocol. The forward pass is compiled by XLA for one batch shape."""

    def __init__(self, network: keras.Model, spec: dict[str, Any]) -> None:
        self.network, self._spec = network, spec
        self._forward: Callable[[Any], Any] | None = None

    def reconstruct(self, x: Floats) -> Floats:
        if self._forward is None:
            self._forward = scan(self.network, self._spec)
        out = np.empty_like(x)
        for at in range(0, len(x), BATCH):
            part = x[at : at + BATCH]
            whole = (
                part
                if len(part) == BATCH
                else np.concatenate([part, np.zeros((BATCH - len(part), *x.shape[1:]), x.dtype)])
            )
            out[at : at + len(part)] = self._forward(tf.constant(whole)).numpy()[: len(part)]
        return out

    def errors_of(self, x: Floats, expected: Floats) -> Floats:
        """The errors, given what `reconstruct` gave."""
        return np.square(x - expected)

    def errors(self, x: Floats) -> Floats:
        return self.errors_of(x, self.reconstruct(x))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        return {f"w{i:03d}": v for i, v in enumerate(self.network.get_weights())}

    def spec(self) -> dict[str, Any]:
        return self._spec

    @classmethod
    def load(cls, spec: dict[str, Any], arrays: dict[str, npt.NDArray[Any]]) -> LSTMAutoencoder:
        network = build(spec)
        network.set_weights([arrays[k] for k in sorted(arrays)])
        return cls(network, spec)
