"""What a training gave: its history and weights, from the loop or from its last checkpoint."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

from foreshock.platform.paths import at
from foreshock.training.checkpoint import CheckpointStore
from foreshock.training.history import History
from foreshock.training.spec import TrainingSpec
from foreshock.training.trainable import Say, Weights


@dataclass(frozen=True)
class FittedNetwork:
    """What fitting gave. weights_sha256: of the best weights, to compare workers by."""

    history: History
    weights: Weights
    weights_sha256: str
    replicas: int


@dataclass(frozen=True)
class WorkerResult:
    """What a worker's process gave at its end."""

    worker: int
    weights_sha256: str
    replicas: int
    epochs: int
    pid: int
    host: str = ""

    def to_mapping(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def finished_training(spec: TrainingSpec, say: Say) -> FittedNetwork | None:
    """What a finished training left in its last checkpoint.

    None if there is no checkpoint or the training is not finished. Raises DataError for an
    unfinished checkpoint that does not belong.
    """
    identity = spec.identity(spec.trainable())
    checkpoint = CheckpointStore(at(spec.checkpoints), identity, say).newest()
    if checkpoint is None or not checkpoint.position.finished:
        return None
    position = checkpoint.position
    # The best epoch's weights: `TrainingLoop.run` leaves the network with these too.
    digest = weights_sha256(checkpoint.best)
    return FittedNetwork(position.history, checkpoint.best, digest, position.replicas)


def weights_sha256(weights: Weights) -> str:
    """The digest of a network's weights, in their order.

    It is that of their bytes, so weights that differ by rounding have other digests.
    """
    return hashlib.sha256(b"".join(weight.tobytes() for weight in weights)).hexdigest()
