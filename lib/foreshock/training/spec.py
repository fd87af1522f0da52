"""What a training is told, as plain data that travels to another process. Loads no TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from foreshock.detectors import REGISTRY
from foreshock.platform.paths import at
from foreshock.training.trainable import Dealing, Plain, Trainable

# What may change between two starts of one training, or stands in the plan already.
NOT_IN_IDENTITY = ("checkpoint_steps", "batch")


@dataclass(frozen=True)
class TrainingOptions:
    """Options of the training loop: the keys of settings `training` that it needs."""

    epochs: int
    batch: int
    learning_rate: float
    patience: int
    schedule: str = "constant"
    warmup_steps: int = 0
    clip_norm: float | None = None
    jit_compile: str = "auto"
    checkpoint_steps: int = 200


@dataclass(frozen=True)
class TrainingSpec:
    """What a worker needs to know.

    Attributes:
        detector: the name in the registry whose Trainable is fitted.
        network: the network's plain spec.
        dataset, checkpoints, tensorboard: folders, as text.
        options: of the loop.
        seed: of weights, dropout and the order of windows.
        replicas: devices of a worker; `auto` for every GPU.
        workers: processes that train together.
        windows_per_epoch: windows that an epoch draws; None for all.
        precision: what layers compute in.
    """

    detector: str
    network: Plain
    dataset: str
    checkpoints: str
    tensorboard: str
    options: TrainingOptions
    seed: int
    replicas: int | Literal["auto"] = "auto"
    workers: int = 1
    windows_per_epoch: int | None = None
    precision: str = "float32"

    @property
    def dealing(self) -> Dealing:
        """How an epoch is dealt to workers."""
        return Dealing(self.seed, self.options.batch, self.workers, self.windows_per_epoch)

    def trainable(self) -> Trainable:
        """The network to fit, by the detector's `Trainable`.

        It loads what the network is made with, TensorFlow for one. Raises KeyError for a detector
        that is not in the registry, or if the network's spec is not whole.
        """
        trainable: Trainable = REGISTRY[self.detector].load_trainable()(self.network)
        return trainable

    def identity(self, trainable: Trainable) -> Plain:
        """What a checkpoint must agree with to be resumed: `model`, `dataset`, `plan`, `training`.

        It reads the dataset's manifest. Options that may change between two starts of a training
        (NOT_IN_IDENTITY) are no part of it.
        """
        options = {
            key: value for key, value in asdict(self.options).items() if key not in NOT_IN_IDENTITY
        }
        return {
            "model": dict(trainable.spec()),
            **trainable.data_identity(at(self.dataset), self.dealing),
            "training": options | {"precision": self.precision},
        }

    def to_mapping(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Self:
        """What `to_mapping` gave, before or after it was JSON.

        Raises TypeError for an unknown key, KeyError if there are no options.
        """
        return cls(**{**mapping, "options": TrainingOptions(**mapping["options"])})
