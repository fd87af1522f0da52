"""Fits a network on one worker: devices, network, data, checkpoints and the loop, from one spec."""

from __future__ import annotations

from collections.abc import Callable

from foreshock.platform.paths import at
from foreshock.platform.quiet import silenced_stderr
from foreshock.training.checkpoint import CheckpointStore
from foreshock.training.devices import Replication, prepare_devices, set_precision
from foreshock.training.fitted import FittedNetwork, weights_sha256
from foreshock.training.loop import TrainingLoop
from foreshock.training.spec import TrainingSpec
from foreshock.training.trainable import Say, Trainable
from foreshock.training.watch import TrainingProgress

with silenced_stderr():
    import keras


def fit(
    spec: TrainingSpec,
    say: Say,
    *,
    worker: int = 0,
    beat: Callable[[str], None] = lambda _: None,
) -> FittedNetwork:
    """Train the network, from the newest checkpoint if there is one.

    `say` is told of progress, `beat` of what the worker does. Raises SettingsError for more
    replicas than devices or more workers than blocks, DataError as `TrainingLoop.run`.
    """
    replication = prepare_devices(spec.seed, spec.replicas, worker, spec.workers)
    precision = set_precision(spec.precision)
    if precision != spec.precision:
        say(f"precision {spec.precision}: this machine's devices compute in {precision}")
    try:
        trainable = spec.trainable()
        # Weights that are made outside the scope are not mirrored on all replicas.
        with replication.strategy.scope():
            network = trainable.build()
        return _fit_network(spec, trainable, network, replication, say, beat)
    finally:
        # The policy is global: what this process builds later computes in float32.
        keras.config.set_dtype_policy("float32")


def _fit_network(
    spec: TrainingSpec,
    trainable: Trainable,
    network: keras.Model,
    replication: Replication,
    say: Say,
    beat: Callable[[str], None],
) -> FittedNetwork:
    data = trainable.open_data(
        at(spec.dataset),
        spec.dealing,
        worker=replication.worker,
        replicas=replication.replicas,
    )
    store = CheckpointStore(at(spec.checkpoints), spec.identity(trainable), say)
    progress = TrainingProgress(
        say if replication.is_chief else _say_nothing,
        at(spec.tensorboard) if replication.is_chief else None,
        spec.options.epochs,
        beat,
    )
    try:
        history = TrainingLoop(
            trainable, network, data, replication, spec.options, store, progress
        ).run()
    finally:
        progress.close()
    weights = network.get_weights()
    return FittedNetwork(history, weights, weights_sha256(weights), replication.replicas)


def _say_nothing(message: str, **fields: object) -> None:
    """Only the first worker speaks."""
