"""One optimiser step over all replicas: gradients compiled by XLA, summed, averaged over the global batch, clipped, applied."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from foreshock.platform.quiet import silenced_stderr
from foreshock.training.strategy import Replication
from foreshock.windows.models.lstm_autoencoder import window_loss as loss

with silenced_stderr():
    import keras
    import tensorflow as tf


class ReducedAdam(keras.optimizers.Adam):  # type: ignore[misc]
    """Adam whose gradients are already summed over replicas: Keras would sum them again."""

    def _all_reduce_sum_gradients(self, grads_and_vars: Any) -> Any:
        return list(grads_and_vars)


def learning_rate(rate: float, schedule: str, warmup: int, steps: int) -> Any:
    """A rate, or a schedule over `steps` optimiser steps: a linear warm-up, then constant or half a cosine down to 0."""
    if schedule == "cosine":
        decay = max(1, steps - warmup)
        if warmup:
            return keras.optimizers.schedules.CosineDecay(
                rate / (warmup + 1), decay, warmup_target=rate, warmup_steps=warmup
            )
        return keras.optimizers.schedules.CosineDecay(rate, decay)
    if warmup:
        return keras.optimizers.schedules.PolynomialDecay(
            rate / (warmup + 1), warmup, end_learning_rate=rate
        )
    return rate


def wants_xla(choice: str, network: keras.Model) -> bool:
    """Whether XLA compiles the step. `auto`: on a GPU, unless the network's LSTMs are of the kind that cuDNN computes (tanh).

    On a CPU TensorFlow's own kernels trained the demo's network 1.6 times faster than XLA (docs/benchmarks.md, training_vs_fit).
    """
    if choice != "auto":
        return choice == "always"
    lstms = [layer for layer in network.layers if isinstance(layer, keras.layers.LSTM)]
    fused = all(layer.activation is keras.activations.tanh for layer in lstms)
    return bool(tf.config.list_physical_devices("GPU")) and not fused


class Stepper:
    """The compiled step and validation of a network. `note` says where XLA could not compile it."""

    def __init__(
        self,
        network: keras.Model,
        where: Replication,
        rate: Any,
        clip_norm: float | None,
        *,
        jit: bool,
    ) -> None:
        self.network, self.where, self._clip = network, where, clip_norm
        self.note = ""
        with where.strategy.scope():
            self.optimizer = ReducedAdam(rate)
            self.optimizer.build(network.trainable_variables)
        self._build(jit)

    def _build(self, jit: bool) -> None:
        self._jit = jit
        network, strategy = self.network, self.where.strategy
        compiled: dict[Any, Any] = {}

        def gradients(x: Any, weight: Any) -> Any:
            with tf.GradientTape() as tape:
                total, windows = loss(
                    network, x, weight, training=True
                )  # sums over the replica's windows
                objective = total + windows * tf.add_n([tf.constant(0.0), *network.losses])
            return total, windows, tape.gradient(objective, network.trainable_variables)

        def replica(x: Any, weight: Any) -> Any:
            context = tf.distribute.get_replica_context()
            number = context.replica_id_in_sync_group
            # A function of its own for every replica: a trace holds the variables of the device it was made for.
            own = compiled.setdefault(
                number if isinstance(number, int) else 0, tf.function(gradients, jit_compile=jit)
            )
            total, windows, found = own(x, weight)
            total, windows, *found = context.all_reduce(
                tf.distribute.ReduceOp.SUM, [total, windows, *found]
            )
            found = [g / tf.maximum(windows, 1.0) for g in found]
            norm = tf.linalg.global_norm(found)
            if self._clip is not None:
                found, _ = tf.clip_by_global_norm(found, self._clip, use_norm=norm)
            self.optimizer.apply_gradients(zip(found, network.trainable_variables, strict=True))
            return tf.stack([total, windows, norm])

        @tf.function(reduce_retracing=True)
        def step(x: Any, weight: Any) -> Any:
            return strategy.run(replica, args=(x, weight))

        self._step = step
        self._validate = tf.function(
            lambda x, w: loss(network, x, w, training=False)[0], jit_compile=jit
        )

    def __call__(self, parts: list[tuple[Any, Any]]) -> Any:
        """Train on a batch, a part (x: (b, L, F), weight: (b, L)) a replica: [sum of losses, windows, gradient norm], (3,)."""
        try:
            return self._once(parts)
        except (tf.errors.UnimplementedError, tf.errors.InvalidArgumentError) as error:
            if not self._jit:
                raise
            self.note = f"XLA does not compile this network on this device ({str(error).splitlines()[0][:150]}); trained without"
            self._build(jit=False)
            return self._once(parts)

    def _once(self, parts: list[tuple[Any, Any]]) -> Any:
        if len(parts) == 1:
            return self._local(self._step(*parts[0]))[0]
        x, weight = (self._spread([part[i] for part in parts]) for i in (0, 1))
        return self._local(self._step(x, weight))[0]

    def _spread(self, parts: list[Any]) -> Any:
        waiting = iter(parts)
        return self.where.strategy.experimental_distribute_values_from_function(
            lambda _: next(waiting)
        )

    def _local(self, value: Any) -> Any:
        return self.where.strategy.experimental_local_results(value)

    def validation(self, x: Any, weight: Any, batch: int) -> float:
        """Mean loss of windows (N, L, F) with weights (N, L), in batches of one shape; the same on every worker."""
        total = 0.0
        for at in range(0, len(x), batch):
            own, w = x[at : at + batch], weight[at : at + batch]
            if len(own) < batch:
                own, w = (
                    tf.pad(a, [[0, batch - len(own)], *([[0, 0]] * (a.ndim - 1))]) for a in (own, w)
                )
            total += float(self._validate(own, w))
        return self.agreed(total / len(x))

    def agreed(self, value: float) -> float:
        """The mean of a value over all workers, so that they decide alike."""
        if self.where.workers == 1:
            return value
        per_replica: Callable[[], Any] = lambda: tf.distribute.get_replica_context().all_reduce(  # noqa: E731
            tf.distribute.ReduceOp.MEAN, tf.constant(value, tf.float64)
        )
        return float(self._local(self.where.strategy.run(tf.function(per_replica)))[0])
