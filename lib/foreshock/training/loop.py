"""The one training loop: `strategy.run` over batches, early stopping on the last part of train by time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from foreshock.errors import DataError
from foreshock.models.lstm_autoencoder import loss
from foreshock.quiet import held_stderr

with held_stderr():
    import keras
    import tensorflow as tf

CHECK_EVERY = 25
MOST_VALIDATION = 8192


class Data(Protocol):
    """Where batches come from."""

    def dataset(self, epoch: int) -> tf.data.Dataset:
        """(x (B, L, F), weight (B, L)) of an epoch."""

    def held_out(self, most: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Validation windows and weights."""


@dataclass
class Epoch:
    """One epoch's record. Losses are means over windows; validation_loss is null where train has no last part."""

    epoch: int
    loss: float
    validation_loss: float | None
    windows: int
    seconds: float


@dataclass
class History:
    """What training did."""

    epochs: list[Epoch] = field(default_factory=list)
    best_epoch: int = 0
    note: str = ""

    def to_mapping(self) -> dict[str, Any]:
        windows, seconds = sum(e.windows for e in self.epochs), sum(e.seconds for e in self.epochs)
        return asdict(self) | {"windows": windows, "windows_per_second": windows / seconds if seconds else None}


def train(
    network: keras.Model, data: Data, strategy: tf.distribute.Strategy, *, epochs: int, batch: int, learning_rate: float,
    patience: int, progress: Callable[[Epoch], None],
) -> History:
    """Train the network in place and leave it with the weights of the best epoch.

    Raises DataError when the loss is not finite, naming the epoch and step.
    """
    with strategy.scope():
        optimizer = keras.optimizers.Adam(learning_rate)
        optimizer.build(network.trainable_variables)

    @tf.function(reduce_retracing=True)
    def step(x: Any, weight: Any) -> tuple[Any, Any]:
        def replica(x: Any, weight: Any) -> tuple[Any, Any]:
            with tf.GradientTape() as tape:
                total, windows = loss(network, x, weight, training=True)
                objective = total / tf.maximum(windows, 1.0) + tf.add_n([tf.constant(0.0), *network.losses])
            gradients = tape.gradient(objective, network.trainable_variables)
            optimizer.apply_gradients(zip(gradients, network.trainable_variables, strict=True))
            return total, windows

        total, windows = strategy.run(replica, args=(x, weight))
        return (strategy.reduce(tf.distribute.ReduceOp.SUM, total, axis=None),
                strategy.reduce(tf.distribute.ReduceOp.SUM, windows, axis=None))

    validate = tf.function(lambda x, w: loss(network, x, w, training=False), reduce_retracing=True)
    held_x, held_weight = data.held_out(MOST_VALIDATION)
    history = History(note="" if len(held_x) else "the last part of train holds no window: no early stopping, the last epoch is kept")
    best, best_weights, since = math.inf, network.get_weights(), 0
    for number in range(1, epochs + 1):
        started = time.monotonic()
        total, windows = tf.constant(0.0, tf.float64), tf.constant(0.0, tf.float64)
        for at, (x, weight) in enumerate(data.dataset(number), 1):
            step_total, step_windows = step(x, weight)
            total += tf.cast(step_total, tf.float64)
            windows += tf.cast(step_windows, tf.float64)
            if at % CHECK_EVERY == 0:
                _finite(float(total), number, at, learning_rate)
        count = float(windows)
        if not count:
            raise DataError("training: the dataset holds no window to fit on; widen split.train or lower training.validation.")
        train_loss = _finite(float(total), number, at, learning_rate) / count
        held = None
        if len(held_x):
            parts = [validate(held_x[i : i + batch], held_weight[i : i + batch]) for i in range(0, len(held_x), batch)]
            held = _finite(sum(float(t) for t, _ in parts), number, at, learning_rate) / len(held_x)
        epoch = Epoch(number, train_loss, held, int(count), time.monotonic() - started)
        history.epochs.append(epoch)
        progress(epoch)
        if held is None or held < best:
            best, best_weights, since, history.best_epoch = (held if held is not None else best), network.get_weights(), 0, number
        else:
            since += 1
            if since >= patience:
                history.note = f"stopped early: no better validation loss for {patience} epochs"
                break
    network.set_weights(best_weights)
    return history


def _finite(value: float, epoch: int, step: int, learning_rate: float) -> float:
    if not math.isfinite(value):
        raise DataError(f"training turned NaN or infinite by epoch {epoch}, step {step} (learning rate {learning_rate:g}). Lower "
                        "training.learning_rate, set scaling.clip, or look for extreme values in the features.")
    return value
