"""What the training loop asks of the outside: a network, its data, and somebody who watches.

The loop knows no detector. A detector of the registry that is trained by it supplies a `Trainable`
(`DetectorEntry.trainable`), which a worker's process loads by the detector's name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from foreshock.statistics.arrays import AnyArray

if TYPE_CHECKING:
    from pathlib import Path

    from foreshock.training.history import EpochRecord, Position

Weights = list[AnyArray]
# Arrays or tensors that share their first axis; the last one holds weights.
Batch = tuple[Any, ...]
# Plain data, as JSON holds it.
Plain = Mapping[str, Any]
# Called as say(message, **fields).
Say = Callable[..., None]
# A keras.Model and a tf.Tensor: this file loads no TensorFlow.
Network = Any
Tensor = Any


@dataclass(frozen=True)
class Dealing:
    """How the examples of an epoch are dealt to workers and cut into batches.

    Attributes:
        seed: of the order of an epoch.
        batch: windows of a step, of all workers.
        workers: processes that train together.
        windows_per_epoch: windows that an epoch draws; None for all.
    """

    seed: int
    batch: int
    workers: int
    windows_per_epoch: int | None


class EpochShare(Protocol):
    """A worker's part of an epoch."""

    @property
    def steps(self) -> int:
        """Steps of the epoch, the same for every worker."""

    @property
    def used(self) -> int:
        """Windows that this worker trains on."""

    @property
    def left_out(self) -> int:
        """Windows of the epoch that no worker trains on."""


class TrainingData(Protocol):
    """Where a worker's batches come from."""

    @property
    def failure(self) -> Exception | None:
        """What stopped the reading: tf.data turns every exception into one of its own."""

    @property
    def seen(self) -> list[int]:
        """Ids of the blocks that this worker read in the epoch, in order."""

    def share(self, epoch: int) -> EpochShare:
        """What this worker reads in an epoch; epochs count from 1."""

    def dataset(self, share: Any, first: int = 0) -> Iterable[Batch]:
        """The batches of an epoch from a step on, one element a replica.

        share: what `share` gave. first: the step, counted from 0.
        """

    def blocks_of(self, epoch: int, step: int) -> list[int]:
        """Ids of the blocks in a step's batch, of all workers; steps count from 0.

        The error for a loss that is not finite names them.
        """

    def empty(self, epoch: int) -> int:
        """Windows of weight 0 that fill batches up in an epoch, of all workers."""

    def held_out(self, most: int) -> Batch:
        """The validation examples, at most so many, as one batch of arrays.

        The arrays are empty if there is none; then the loop does not stop early.
        """


class Trainable(Protocol):
    """A network that the training loop can fit, made of its plain spec."""

    def __init__(self, spec: Plain) -> None:
        """Take a network's plain spec. Raises KeyError if it is not whole."""

    @classmethod
    def spec_of(cls, model_settings: Plain, *, length: int, features: int) -> Plain:
        """The spec of the network that the settings `model` describe, for windows (N, L, F).

        length: L, in events. features: F. Raises KeyError if a setting is missing.
        """

    def spec(self) -> Plain:
        """The network's spec, as the checkpoints hold it."""

    def build(self) -> Network:
        """A new network, with weights drawn from Keras's random state.

        It is called after the seed is set, in the scope of the strategy.
        """

    def loss(self, network: Network, *batch: Tensor, training: bool) -> tuple[Tensor, Tensor]:
        """The sum of the losses of a batch's examples, and their number.

        An example of weight 0 fills the batch up: it adds to neither.
        """

    def has_fused_kernels(self, network: Network) -> bool:
        """Whether a GPU has kernels of its own for the network, which are faster than XLA.

        If it has, `training.jit_compile: auto` does without XLA.
        """

    def data_identity(self, folder: Path, dealing: Dealing) -> Plain:
        """What tells this dataset and its dealing from another: parts `dataset` and `plan`.

        A checkpoint of other parts is not resumed, and the error names what differs in them.
        """

    def open_data(
        self, folder: Path, dealing: Dealing, *, worker: int, replicas: int
    ) -> TrainingData:
        """A worker's batches of the dataset in a folder.

        Raises SettingsError if there are more workers than blocks, DataError for altered data.
        """

    def detector(self, weights: Weights) -> Any:
        """The fitted detector with weights in the order of the network's.

        It computes in float32, whatever the training computed in.
        """


class TrainingWatch(Protocol):
    """Who is told how training goes."""

    def steps(self, position: Position, steps: int, loss: float, norm: float, rate: float) -> None:
        """Some steps of the epoch's `steps` are done; `loss` is their mean.

        position: after them. norm: of the last step's gradient. rate: the learning rate there.
        """

    def epoch(self, record: EpochRecord, position: Position) -> None:
        """An epoch is done.

        record: what it gave. position: at its end, which says if it is the last.
        """

    def note(self, message: str) -> None:
        """What a user should know."""

    def state(self, doing: str) -> None:
        """What the worker does now: `data` (it waits for it), `step`, `validate`, `save`."""
