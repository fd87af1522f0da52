"""The LSTM autoencoder as the training loop sees it: its network, its loss and its data."""

from __future__ import annotations

from pathlib import Path

from foreshock.detectors import Spec
from foreshock.platform.quiet import silenced_stderr
from foreshock.training.trainable import Dealing, Plain, Trainable, Weights
from foreshock.windows.dataset.manifest import Manifest, read_manifest
from foreshock.windows.dataset.plan import EpochPlan, dataset_identity, make_plan
from foreshock.windows.dataset.window_data import WindowData
from foreshock.windows.models.lstm_autoencoder import (
    LSTMAutoencoder,
    NetworkSpec,
    build,
    window_loss,
)

with silenced_stderr():
    import keras
    import tensorflow as tf


class LSTMTrainable(Trainable):
    """The network of a plain spec (`lstm_autoencoder.NetworkSpec`), with prepared windows."""

    def __init__(self, spec: Spec) -> None:
        """Raises KeyError if the spec is not whole."""
        self._network_spec = NetworkSpec.from_mapping(spec)

    @classmethod
    def spec_of(cls, model_settings: Plain, *, length: int, features: int) -> Plain:
        """The spec of the network that the settings `model` describe, for windows (N, L, F).

        Settings that are not the network's are passed over. Raises KeyError if one is missing.
        """
        shape = {**model_settings, "length": length, "features": features}
        return NetworkSpec.from_mapping(shape).to_mapping()

    def spec(self) -> Plain:
        """The network's shape."""
        return self._network_spec.to_mapping()

    def build(self) -> keras.Model:
        """A new network, with weights drawn from Keras's random state."""
        return build(self._network_spec)

    def loss(
        self, network: keras.Model, *batch: tf.Tensor, training: bool
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """`window_loss` of a batch: windows (B, L, F) with weights (B, L).

        Returns the sum of losses, and the number of windows that are not padded throughout.
        """
        windows, weights = batch
        return window_loss(network, windows, weights, training=training)

    def has_fused_kernels(self, network: keras.Model) -> bool:
        """Whether cuDNN computes the network's LSTM layers: those with tanh.

        One layer with another activation is enough for no.
        """
        layers = [layer for layer in network.layers if isinstance(layer, keras.layers.LSTM)]
        return all(layer.activation is keras.activations.tanh for layer in layers)

    def data_identity(self, folder: Path, dealing: Dealing) -> Plain:
        """What tells this dataset and its dealing from another: parts `dataset` and `plan`.

        Raises DataError if the dataset was altered, SettingsError as `make_plan`.
        """
        manifest = read_manifest(folder)
        plan = _plan_of(manifest, dealing)
        return {"dataset": dataset_identity(manifest), "plan": plan.identity()}

    def open_data(
        self, folder: Path, dealing: Dealing, *, worker: int, replicas: int
    ) -> WindowData:
        """A worker's windows of the dataset in a folder.

        Raises DataError if the dataset was altered, SettingsError as `make_plan`.
        """
        manifest = read_manifest(folder)
        return WindowData(folder, manifest, _plan_of(manifest, dealing), worker, replicas)

    def detector(self, weights: Weights) -> LSTMAutoencoder:
        """The fitted detector, from the weights of a network that `build` made.

        It computes in float32, whatever the training computed in.
        """
        network = build(self._network_spec)
        network.set_weights(weights)
        return LSTMAutoencoder(network, self._network_spec)


def _plan_of(manifest: Manifest, dealing: Dealing) -> EpochPlan:
    return make_plan(
        manifest,
        seed=dealing.seed,
        batch=dealing.batch,
        workers=dealing.workers,
        limit=dealing.windows_per_epoch,
    )
