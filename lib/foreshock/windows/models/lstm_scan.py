"""The LSTM autoencoder's forward pass as two loops over time, compiled by XLA.

All layers step together, so no layer's sequence is kept. It computes what the network of
`lstm_autoencoder.build` does, with dropout off. The LSTM cell is Keras's (gates in the order input,
forget, candidate, output; sigmoid gates), after Hochreiter & Schmidhuber, "Long Short-Term Memory",
1997, with the forget gate of Gers et al., 2000.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from foreshock.platform.quiet import silenced_stderr
from foreshock.statistics.arrays import Float32Array

with silenced_stderr():
    import keras
    import tensorflow as tf

Activation = Callable[[tf.Tensor], tf.Tensor]
# Output h and memory c of a cell, each (B, H).
State = tuple[tf.Tensor, tf.Tensor]


class Shape(Protocol):
    """What the scan needs of `lstm_autoencoder.NetworkSpec`."""

    @property
    def length(self) -> int:
        """L of a window."""

    @property
    def features(self) -> int:
        """F of a window."""

    @property
    def units(self) -> tuple[int, ...]:
        """Widths of the encoder's layers."""

    @property
    def dense(self) -> int:
        """The width of the layer in the middle; 0 for none."""


@dataclass(frozen=True)
class _Cell:
    """An LSTM layer: weights of its input (D, 4 H) and its state (H, 4 H), bias (4 H,), width H.

    Sigmoid gates are scaled by a half: sigmoid(z) = (1 + tanh(z / 2)) / 2, and XLA has a fast tanh.
    """

    input_kernel: Float32Array
    state_kernel: Float32Array
    bias: Float32Array
    width: int
    activation: Activation

    @classmethod
    def of(cls, layer: keras.layers.LSTM) -> _Cell:
        """The cell of a Keras layer."""
        input_kernel, state_kernel, bias = layer.get_weights()
        # By gate: input, forget, candidate, output. The candidate has no sigmoid.
        scale = np.repeat(np.array([0.5, 0.5, 1.0, 0.5], np.float32), layer.units)
        return cls(
            input_kernel * scale, state_kernel * scale, bias * scale, layer.units, layer.activation
        )

    @property
    def joined_kernel(self) -> Float32Array:
        """The weights of input and state together, (D + H, 4 H)."""
        return np.concatenate([self.input_kernel, self.state_kernel])

    def step(self, gates: tf.Tensor, memory: tf.Tensor) -> State:
        """The next state, of gates (B, 4 H) before their activation and the memory (B, H)."""
        input_gate, forget_gate, candidate, output_gate = tf.split(gates, 4, axis=1)
        kept = _sigmoid(forget_gate) * memory
        memory = kept + _sigmoid(input_gate) * self.activation(candidate)
        return _sigmoid(output_gate) * self.activation(memory), memory

    def blank(self, batch: int) -> State:
        """The state before the first step."""
        return tf.zeros((batch, self.width)), tf.zeros((batch, self.width))


class _Dense(NamedTuple):
    """A dense layer."""

    kernel: Float32Array
    bias: Float32Array
    activation: Activation

    @classmethod
    def of(cls, layer: keras.layers.Dense) -> _Dense:
        """The layer, with its weights of now."""
        kernel, bias = layer.get_weights()
        return cls(kernel, bias, layer.activation)

    def __call__(self, values: tf.Tensor) -> tf.Tensor:
        return self.activation(values @ self.kernel + self.bias)


def _sigmoid(half: tf.Tensor) -> tf.Tensor:
    return tf.tanh(half) * 0.5 + 0.5


def _step_layers(cells: list[_Cell], lowest_gates: Activation, states: list[State]) -> list[State]:
    """One step of all layers.

    `lowest_gates` gives the lowest layer's gates of its output; a layer above sees the output
    (B, H) of the layer below it.
    """
    next_states: list[State] = []
    for layer_number, (cell, (output, memory)) in enumerate(zip(cells, states, strict=True)):
        if layer_number == 0:
            gates = lowest_gates(output)
        else:
            output_below = next_states[-1][0]
            gates = tf.concat([output_below, output], axis=1) @ cell.joined_kernel + cell.bias
        next_states.append(cell.step(gates, memory))
    return next_states


def compile_scan(network: keras.Model, spec: Shape) -> Activation:
    """A compiled function from windows (B, L, F), B known, to what the network rebuilds of them.

    It has the weights that the network has now.
    """
    cells = [_Cell.of(layer) for layer in network.layers if isinstance(layer, keras.layers.LSTM)]
    dense_layers = [
        _Dense.of(layer) for layer in network.layers if isinstance(layer, keras.layers.Dense)
    ]
    encoder, decoder = cells[: len(spec.units)], cells[len(spec.units) :]
    output_layer = dense_layers[-1]

    def forward(windows: tf.Tensor) -> tf.Tensor:
        code = _encoded(encoder, windows, spec.length)
        if spec.dense:
            code = dense_layers[0](code)  # (B, dense)
        return _decoded(decoder, output_layer, code, (windows.shape[0], spec.length, spec.features))

    return tf.function(forward, jit_compile=True)  # type: ignore[no-any-return]


def _encoded(cells: list[_Cell], windows: tf.Tensor, length: int) -> tf.Tensor:
    """The last output (B, H) of the encoder's last layer."""
    n_windows = windows.shape[0]
    # Time first: a step of the loop then reads rows that lie together.
    time_steps = tf.transpose(windows, (1, 0, 2))  # (L, B, F)
    lowest_cell = cells[0]
    joined_kernel = lowest_cell.joined_kernel

    def encode(step: tf.Tensor, states: list[State]) -> tuple[tf.Tensor, list[State]]:
        def gates(output: tf.Tensor) -> tf.Tensor:
            return tf.concat([time_steps[step], output], axis=1) @ joined_kernel + lowest_cell.bias

        return step + 1, _step_layers(cells, gates, states)

    start_state = (0, [cell.blank(n_windows) for cell in cells])
    _, states = tf.while_loop(
        lambda step, _: step < length, encode, start_state, maximum_iterations=length
    )
    return states[-1][0]


def _decoded(
    cells: list[_Cell], output_layer: _Dense, code: tf.Tensor, shape: tuple[int, int, int]
) -> tf.Tensor:
    """What the decoder makes (B, L, F) of the code (B, D), which it sees at every step."""
    n_windows, length, features = shape
    lowest_cell = cells[0]
    # (B, 4 H): computed once, because the code is the same at every step.
    code_gates = code @ lowest_cell.input_kernel + lowest_cell.bias

    def decode(
        step: tf.Tensor, states: list[State], rebuilt: tf.TensorArray
    ) -> tuple[tf.Tensor, list[State], tf.TensorArray]:
        states = _step_layers(
            cells, lambda output: code_gates + output @ lowest_cell.state_kernel, states
        )
        return step + 1, states, rebuilt.write(step, output_layer(states[-1][0]))

    blank_output = tf.TensorArray(tf.float32, length, element_shape=(n_windows, features))
    start_state = (0, [cell.blank(n_windows) for cell in cells], blank_output)
    _, _, rebuilt = tf.while_loop(
        lambda step, *_: step < length, decode, start_state, maximum_iterations=length
    )
    return tf.transpose(rebuilt.stack(), (1, 0, 2))
