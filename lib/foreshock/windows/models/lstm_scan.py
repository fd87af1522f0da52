"""The LSTM autoencoder's forward pass as two loops over time, for XLA: all layers step together, no layer's sequence is kept.

The same function as `lstm_autoencoder.build` makes, with dropout off. The LSTM cell is Keras' (gates in the order input, forget,
candidate, output; sigmoid gates), after Hochreiter & Schmidhuber 1997 with the forget gate of Gers et al. 2000.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from foreshock.platform.quiet import held_stderr

with held_stderr():
    import keras
    import tensorflow as tf

Floats = npt.NDArray[np.float32]


class _Cell(NamedTuple):
    """An LSTM layer's weights, W (D + H, 4 H) and bias (4 H,), its width H, and its activation.

    Sigmoid gates are scaled by a half: sigmoid(z) = (1 + tanh(z / 2)) / 2, and XLA has a fast tanh.
    """

    own: Floats
    recurrent: Floats
    bias: Floats
    width: int
    activation: Callable[[Any], Any]

    @classmethod
    def of(cls, layer: keras.layers.LSTM) -> _Cell:
        own, recurrent, bias = layer.get_weights()
        scale = np.repeat(np.array([0.5, 0.5, 1.0, 0.5], np.float32), layer.units)
        return cls(own * scale, recurrent * scale, bias * scale, layer.units, layer.activation)

    def step(self, gates: Any, cell: Any) -> tuple[Any, Any]:
        """The next (h, c), each (B, H), of gates (B, 4 H) before their activation."""
        i, f, candidate, o = tf.split(gates, 4, axis=1)
        cell = _sigmoid(f) * cell + _sigmoid(i) * self.activation(candidate)
        return _sigmoid(o) * self.activation(cell), cell

    def blank(self, batch: int) -> tuple[Any, Any]:
        return tf.zeros((batch, self.width)), tf.zeros((batch, self.width))


def _sigmoid(half: Any) -> Any:
    return tf.tanh(half) * 0.5 + 0.5


def _stack(
    cells: list[_Cell], first: Callable[[Any], Any], state: list[tuple[Any, Any]]
) -> list[tuple[Any, Any]]:
    """One step of all layers: `first` gives the lowest one's gates of its h, the others see the h (B, H) of the layer below."""
    found: list[tuple[Any, Any]] = []
    for i, (cell, (h, c)) in enumerate(zip(cells, state, strict=True)):
        if i == 0:
            gates = first(h)
        else:
            gates = (
                tf.concat([found[-1][0], h], axis=1) @ np.concatenate([cell.own, cell.recurrent])
                + cell.bias
            )
        found.append(cell.step(gates, c))
    return found


def scan(network: keras.Model, spec: dict[str, Any]) -> Callable[[Any], Any]:
    """A compiled function from windows x (B, L, F), B known, to what `network` of `spec` rebuilds, with its weights of now."""
    length = spec["length"]
    lstms = [_Cell.of(layer) for layer in network.layers if isinstance(layer, keras.layers.LSTM)]
    encoder, decoder = lstms[: len(spec["units"])], lstms[len(spec["units"]) :]
    dense = [
        (*layer.get_weights(), layer.activation)
        for layer in network.layers
        if isinstance(layer, keras.layers.Dense)
    ]
    output_kernel, output_bias, output = dense[-1]

    def forward(x: Any) -> Any:
        batch = x.shape[0]
        steps = tf.transpose(x, (1, 0, 2))  # (L, B, F)
        low, high = encoder[0], decoder[0]
        joined = np.concatenate([low.own, low.recurrent])

        def encode(t: Any, state: Any) -> Any:
            return t + 1, _stack(
                encoder, lambda h: tf.concat([steps[t], h], axis=1) @ joined + low.bias, state
            )

        start = [cell.blank(batch) for cell in encoder]
        code = tf.while_loop(
            lambda t, _: t < length, encode, (0, start), maximum_iterations=length
        )[1][-1][0]  # (B, H)
        if spec["dense"]:
            kernel, bias, activation = dense[0]
            code = activation(code @ kernel + bias)  # (B, dense)
        constant = (
            code @ high.own + high.bias
        )  # (B, 4 H): the decoder's input is the same at every step

        def decode(t: Any, state: Any, out: Any) -> Any:
            state = _stack(decoder, lambda h: constant + h @ high.recurrent, state)
            return t + 1, state, out.write(t, output(state[-1][0] @ output_kernel + output_bias))

        rebuilt = tf.TensorArray(tf.float32, length, element_shape=(batch, spec["features"]))
        begin = (0, [cell.blank(batch) for cell in decoder], rebuilt)
        rebuilt = tf.while_loop(lambda t, *_: t < length, decode, begin, maximum_iterations=length)[
            2
        ]
        return tf.transpose(rebuilt.stack(), (1, 0, 2))  # (B, L, F)

    return tf.function(forward, jit_compile=True)
