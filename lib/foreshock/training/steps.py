"""One optimiser step over all replicas.

Gradients are computed by each replica, summed over replicas and workers, divided by the windows of
the global batch, clipped and applied: the same step, however many replicas share it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from foreshock.platform.quiet import silenced_stderr
from foreshock.training.devices import Replication
from foreshock.training.trainable import Batch, Trainable

with silenced_stderr():
    import keras
    import tensorflow as tf

# Errors by which XLA says that it does not compile a network on a device.
XLA_ERRORS = (tf.errors.UnimplementedError, tf.errors.InvalidArgumentError)
# A reason of XLA's runs to pages; its first letters name it.
LONGEST_REASON = 150


class ReducedAdam(keras.optimizers.Adam):  # type: ignore[misc]
    """Adam whose gradients are already summed over replicas: Keras would sum them again."""

    def _all_reduce_sum_gradients(self, grads_and_vars: Any) -> Any:
        return list(grads_and_vars)


def learning_rate(rate: float, schedule: str, warmup: int, steps: int) -> Any:
    """A rate, or a schedule over `steps` optimiser steps.

    A linear warm-up over `warmup` steps, then constant or half a cosine down to 0 (Loshchilov &
    Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2017, without restarts).
    """
    schedules = keras.optimizers.schedules
    first_rate = rate / (warmup + 1)
    if schedule == "cosine":
        decay_steps = max(1, steps - warmup)
        if warmup:
            return schedules.CosineDecay(
                first_rate, decay_steps, warmup_target=rate, warmup_steps=warmup
            )
        return schedules.CosineDecay(rate, decay_steps)
    if warmup:
        return schedules.PolynomialDecay(first_rate, warmup, end_learning_rate=rate)
    return rate


def wants_xla(choice: str, *, has_fused_kernels: bool) -> bool:
    """Whether XLA compiles the step, by `training.jit_compile`.

    `auto`: on a GPU, unless the network has kernels of its own there (cuDNN's LSTM). On a CPU
    TensorFlow's kernels trained the demo's network 1.6 times faster than XLA (docs/benchmarks.md,
    training_vs_fit).
    """
    if choice != "auto":
        return choice == "always"
    return bool(tf.config.list_physical_devices("GPU")) and not has_fused_kernels


class Stepper:
    """The compiled step and validation of a network. `note` says if XLA could not compile it."""

    def __init__(
        self,
        trainable: Trainable,
        network: keras.Model,
        replication: Replication,
        rate: Any,
        clip_norm: float | None,
        *,
        jit: bool,
    ) -> None:
        self._trainable = trainable
        self._network = network
        self._replication = replication
        self._clip_norm = clip_norm
        self.note = ""
        with replication.strategy.scope():
            self.optimizer = ReducedAdam(rate)
            # Its variables must exist before a checkpoint is assigned to them.
            self.optimizer.build(network.trainable_variables)
        self._compile(jit)

    def _compile(self, jit: bool) -> None:
        self._jit = jit
        strategy = self._replication.strategy
        self._gradients_of_replica: dict[int, Callable[..., Any]] = {}

        def step(*batch: tf.Tensor) -> Any:
            return strategy.run(self._replica_step, args=batch)

        def validation_loss(*batch: tf.Tensor) -> tf.Tensor:
            return self._trainable.loss(self._network, *batch, training=False)[0]

        self._step = tf.function(step, reduce_retracing=True)
        self._validation_loss = tf.function(validation_loss, jit_compile=jit)

    def _gradients(self, *batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
        """The sum of losses of a replica's windows, their number, and the gradient of the sum."""
        network = self._network
        with tf.GradientTape() as tape:
            loss_sum, windows = self._trainable.loss(network, *batch, training=True)
            weight_penalties = tf.add_n([tf.constant(0.0), *network.losses])
            # Times the windows, by which the sum over replicas is divided: one penalty is left.
            objective = loss_sum + windows * weight_penalties
        return loss_sum, windows, tape.gradient(objective, network.trainable_variables)

    def _replica_step(self, *batch: tf.Tensor) -> tf.Tensor:
        """A replica's part of a step: [sum of losses, windows, gradient norm], (3,)."""
        context = tf.distribute.get_replica_context()
        replica_number = context.replica_id_in_sync_group
        key = replica_number if isinstance(replica_number, int) else 0
        # A function for each replica: a trace holds the variables of the device it was made for.
        if key not in self._gradients_of_replica:
            compiled = tf.function(self._gradients, jit_compile=self._jit)
            self._gradients_of_replica[key] = compiled
        loss_sum, windows, gradients = self._gradients_of_replica[key](*batch)
        loss_sum, windows, *gradients = context.all_reduce(
            tf.distribute.ReduceOp.SUM, [loss_sum, windows, *gradients]
        )
        gradients = [gradient / tf.maximum(windows, 1.0) for gradient in gradients]
        gradient_norm = tf.linalg.global_norm(gradients)
        # The summed gradient is clipped, so that the number of replicas changes nothing.
        if self._clip_norm is not None:
            gradients, _ = tf.clip_by_global_norm(
                gradients, self._clip_norm, use_norm=gradient_norm
            )
        variables = self._network.trainable_variables
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return tf.stack([loss_sum, windows, gradient_norm])

    def __call__(self, parts: Sequence[Batch]) -> tf.Tensor:
        """Train on a batch, given as a part for each replica.

        Returns [sum of losses, windows, gradient norm], (3,), of the whole batch.
        """
        try:
            return self._step_once(parts)
        except XLA_ERRORS as error:
            if not self._jit:
                raise
            reason = str(error).splitlines()[0][:LONGEST_REASON]
            self.note = (
                f"XLA does not compile this network on this device ({reason}); trained without"
            )
            self._compile(jit=False)
            return self._step_once(parts)

    def _step_once(self, parts: Sequence[Batch]) -> tf.Tensor:
        if len(parts) == 1:
            return self._local(self._step(*parts[0]))[0]
        batch = [self._spread(arrays) for arrays in zip(*parts, strict=True)]
        return self._local(self._step(*batch))[0]

    def _spread(self, arrays: Sequence[Any]) -> Any:
        """One array for each replica, as the strategy wants them."""
        waiting = iter(arrays)
        return self._replication.strategy.experimental_distribute_values_from_function(
            lambda _: next(waiting)
        )

    def _local(self, value: Any) -> Any:
        return self._replication.strategy.experimental_local_results(value)

    def validation(self, examples: Batch, batch: int) -> float:
        """The mean loss of examples, in batches of one shape; the same on every worker.

        examples: arrays that share their first axis, which is not empty. batch: how many go through
        the network together. The last batch is filled up with examples of weight 0.
        """
        n_examples = len(examples[0])
        loss_sum = 0.0
        for first_example in range(0, n_examples, batch):
            batch_arrays = [array[first_example : first_example + batch] for array in examples]
            missing = batch - len(batch_arrays[0])
            if missing:
                batch_arrays = [_filled_up(array, missing) for array in batch_arrays]
            loss_sum += float(self._validation_loss(*batch_arrays))
        return self.agreed(loss_sum / n_examples)

    def agreed(self, value: float) -> float:
        """The mean of a value over all workers, so that they decide alike.

        All workers must call it at the same place, for it waits for every one of them.
        """
        if self._replication.workers == 1:
            return value

        def mean_over_workers() -> tf.Tensor:
            return tf.distribute.get_replica_context().all_reduce(
                tf.distribute.ReduceOp.MEAN, tf.constant(value, tf.float64)
            )

        per_worker = self._replication.strategy.run(tf.function(mean_over_workers))
        return float(self._local(per_worker)[0])


def _filled_up(array: Any, missing: int) -> tf.Tensor:
    """An array with so many more rows of zeros: examples of weight 0."""
    return tf.pad(array, [[0, missing], *([[0, 0]] * (array.ndim - 1))])
