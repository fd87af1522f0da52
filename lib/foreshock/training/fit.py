"""Fits the network of a run on one worker: devices, network, plan, data, checkpoints and the loop, from one plain specification."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import keras

from foreshock.platform.paths import at
from foreshock.training.checkpoint import Arrays, Store
from foreshock.training.loop import Epoch, History, Options, train
from foreshock.training.strategy import Replication, prepare_devices, set_precision
from foreshock.training.watch import Progress
from foreshock.windows.dataset.manifest import Manifest, read_manifest
from foreshock.windows.dataset.plan import dataset_identity, make_plan
from foreshock.windows.dataset.window_data import WindowData
from foreshock.windows.models.lstm_autoencoder import LSTMAutoencoder, NetworkSpec, build


@dataclass(frozen=True)
class Fit:
    """What a worker needs to know: plain data, so that it travels to another process. Folders are paths as text.

    network: the spec of models.lstm_autoencoder.build; options: of training.loop.
    """

    dataset: str
    checkpoints: str
    tensorboard: str
    network: dict[str, Any]
    options: Options
    seed: int
    replicas: Any
    workers: int
    windows_per_epoch: int | None
    precision: str

    def identity(self, manifest: Manifest) -> dict[str, Any]:
        """What a checkpoint must agree with to be resumed."""
        plan = make_plan(
            manifest,
            seed=self.seed,
            batch=self.options.batch,
            workers=self.workers,
            limit=self.windows_per_epoch,
        )
        kept = {
            k: v for k, v in asdict(self.options).items() if k not in ("checkpoint_steps", "batch")
        }
        return {
            "model": self.network,
            "dataset": dataset_identity(manifest),
            "plan": plan.identity(),
            "training": kept | {"precision": self.precision},
        }


@dataclass(frozen=True)
class Fitted:
    """What fitting gave. weights_sha256: of the best weights, to compare workers by."""

    history: History
    weights: Arrays
    weights_sha256: str
    replicas: int


def fit(
    spec: Fit,
    say: Callable[..., None],
    *,
    worker: int = 0,
    beat: Callable[[str], None] = lambda _: None,
) -> Fitted:
    """Train the network, from the newest checkpoint if there is one.

    Raises SettingsError for more replicas than devices or more workers than blocks, DataError as training.loop.train.
    """
    where = prepare_devices(spec.seed, spec.replicas, worker, spec.workers)
    precision = set_precision(spec.precision)
    if precision != spec.precision:
        say(f"precision {spec.precision}: this machine's devices compute in {precision}")
    try:
        with where.strategy.scope():
            network = build(NetworkSpec.from_mapping(spec.network))
        return _fit(spec, network, where, say, beat)
    finally:
        keras.config.set_dtype_policy("float32")


def _fit(
    spec: Fit,
    network: keras.Model,
    where: Replication,
    say: Callable[..., None],
    beat: Callable[[str], None],
) -> Fitted:
    folder = at(spec.dataset)
    manifest = read_manifest(folder)
    plan = make_plan(
        manifest,
        seed=spec.seed,
        batch=spec.options.batch,
        workers=spec.workers,
        limit=spec.windows_per_epoch,
    )
    data = WindowData(folder, manifest, plan, where.worker, where.replicas)
    store = Store(at(spec.checkpoints), spec.identity(manifest), say)
    progress = Progress(
        say if where.chief else lambda *_, **__: None,
        at(spec.tensorboard) if where.chief else None,
        spec.options.epochs,
        beat,
    )
    try:
        history = train(network, data, where, spec.options, store, progress)
    finally:
        progress.close()
    weights = network.get_weights()
    return Fitted(history, weights, weights_sha256(weights), where.replicas)


def finished(spec: Fit, say: Callable[..., None]) -> Fitted | None:
    """What a training that is done left in its last checkpoint; None where there is none or it is not done.

    Raises DataError for a checkpoint that does not belong.
    """
    manifest = read_manifest(at(spec.dataset))
    found = Store(at(spec.checkpoints), spec.identity(manifest), say).newest()
    if found is None or not found.position.finished:
        return None
    history = History(
        [Epoch(**e) for e in found.position.epochs], found.position.best_epoch, found.position.note
    )
    return Fitted(history, found.best, weights_sha256(found.best), found.position.replicas)


def weights_sha256(weights: Arrays) -> str:
    """The digest of a network's weights."""
    return hashlib.sha256(b"".join(w.tobytes() for w in weights)).hexdigest()


def network_of(spec: Fit, weights: Arrays) -> LSTMAutoencoder:
    """The fitted network as a model of the registry, in float32."""
    network_spec = NetworkSpec.from_mapping(spec.network)
    network = build(network_spec)
    network.set_weights(weights)
    return LSTMAutoencoder(network, network_spec)
