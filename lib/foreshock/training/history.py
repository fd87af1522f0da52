"""Where a training stands and what its epochs gave: records that a checkpoint holds. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

# The keys of a checkpoint's JSON that are not the attribute's name.
KEYS: dict[str, str] = {
    "loss_sum": "total",
    "waited_seconds": "waited",
    "best_loss": "best",
    "epochs_since_best": "since",
}


@dataclass(frozen=True)
class EpochRecord:
    """What an epoch gave.

    Attributes:
        epoch: counted from 1.
        loss, validation_loss: means over windows; None if train has no last part.
        windows, left_out, empty: windows trained on, left out, and of weight 0; of all workers.
        seconds: with validation.
        steps: of the epoch.
        waited: the share of the time spent waiting for data, of worker 0.
        blocks: how many blocks worker 0 read.
    """

    epoch: int
    loss: float
    validation_loss: float | None
    windows: int
    seconds: float
    steps: int = 0
    waited: float = 0.0
    left_out: int = 0
    empty: int = 0
    blocks: int = 0


@dataclass(frozen=True)
class StepLoss:
    """What a step gave: its mean loss (`loss_sum` over `windows`) and its gradient's norm."""

    epoch: int
    step: int
    loss_sum: float
    windows: float
    gradient_norm: float

    @property
    def loss(self) -> float:
        """The mean loss of the step's windows.

        >>> StepLoss(epoch=1, step=1, loss_sum=6.0, windows=3.0, gradient_norm=0.1).loss
        2.0
        """
        return self.loss_sum / max(self.windows, 1.0)


@dataclass(frozen=True)
class Position:
    """Where a training stands. Every step towards the end is a new position.

    Attributes:
        epoch: the epoch under way, counted from 1.
        step: steps done in it.
        global_step: steps done since the beginning.
        loss_sum, windows, seconds, waited_seconds: sums of that epoch.
        best_loss, best_epoch: the best validation loss, and its epoch.
        epochs_since_best: epochs without a better one.
        finished: whether nothing is left to do.
        note: what a user should know.
        replicas: of a worker; 0 until the first checkpoint.
        epochs: the epochs that are done.
    """

    epoch: int = 1
    step: int = 0
    global_step: int = 0
    loss_sum: float = 0.0
    windows: int = 0
    seconds: float = 0.0
    waited_seconds: float = 0.0
    best_loss: float | None = None
    best_epoch: int = 0
    epochs_since_best: int = 0
    finished: bool = False
    note: str = ""
    replicas: int = 0
    epochs: tuple[EpochRecord, ...] = ()

    def after_steps(
        self, losses: Iterable[StepLoss], seconds: float, waited_seconds: float
    ) -> Position:
        """The position some steps later; they took `seconds`, of which some for waiting.

        >>> Position().after_steps([StepLoss(1, 1, 6.0, 3.0, 0.1)], 2.0, 0.5).loss_sum
        6.0
        """
        loss_sum, windows, n_steps = self.loss_sum, self.windows, 0
        for step_loss in losses:
            loss_sum += step_loss.loss_sum
            windows += int(step_loss.windows)
            n_steps += 1
        return replace(
            self,
            step=self.step + n_steps,
            global_step=self.global_step + n_steps,
            loss_sum=loss_sum,
            windows=windows,
            seconds=self.seconds + seconds,
            waited_seconds=self.waited_seconds + waited_seconds,
        )

    def after_epoch(self, record: EpochRecord, *, patience: int, most_epochs: int) -> Position:
        """The position at the end of its epoch: whether it is the best, and whether it is the last.

        Without a validation loss every epoch counts as the best.

        >>> first = Position().after_epoch(
        ...     EpochRecord(1, 0.5, 0.4, 9, 1.0), patience=1, most_epochs=9
        ... )
        >>> second = first.at_next_epoch().after_epoch(
        ...     EpochRecord(2, 0.4, 0.6, 9, 1.0), patience=1, most_epochs=9
        ... )
        >>> second.best_epoch, second.finished, second.note
        (1, True, 'stopped early: no better validation loss for 1 epochs')
        """
        loss = record.validation_loss
        epochs = (*self.epochs, record)
        if loss is None or self.best_loss is None or loss < self.best_loss:
            position = replace(
                self, epochs=epochs, best_loss=loss, best_epoch=self.epoch, epochs_since_best=0
            )
        else:
            waited_epochs = self.epochs_since_best + 1
            position = replace(self, epochs=epochs, epochs_since_best=waited_epochs)
        since = position.epochs_since_best
        # With patience 0 an epoch that is the best itself must not end the training.
        if since and since >= patience:
            early = f"stopped early: no better validation loss for {patience} epochs"
            position = replace(position.noted(early), finished=True)
        return replace(position, finished=position.finished or self.epoch >= most_epochs)

    def at_next_epoch(self) -> Position:
        """The position at the beginning of the next epoch: its steps and sums are 0.

        >>> position = Position(epoch=1, step=9, global_step=9).at_next_epoch()
        >>> position.epoch, position.step, position.global_step
        (2, 0, 9)
        """
        return replace(
            self,
            epoch=self.epoch + 1,
            step=0,
            loss_sum=0.0,
            windows=0,
            seconds=0.0,
            waited_seconds=0.0,
        )

    def noted(self, note: str) -> Position:
        """The position with one more note, parted from those before it by a semicolon.

        >>> Position(note="resumed").noted("stopped early").note
        'resumed; stopped early'
        """
        return replace(self, note="; ".join(filter(None, [self.note, note])))

    @property
    def history(self) -> History:
        """What training did so far."""
        return History(self.epochs, self.best_epoch, self.note)

    def to_mapping(self) -> dict[str, Any]:
        """Plain data for JSON, by the keys of the checkpoint's format.

        Some keys are not the attribute's name (KEYS).

        >>> Position(loss_sum=2.0).to_mapping()["total"]
        2.0
        """
        members: dict[str, Any] = asdict(self) | {
            "epochs": [asdict(record) for record in self.epochs]
        }
        return {KEYS.get(name, name): value for name, value in members.items()}

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Self:
        """What `to_mapping` gave.

        Raises TypeError for an unknown key, KeyError if there are no epochs.

        >>> Position.from_mapping(Position(step=3).to_mapping()).step
        3
        """
        names = {key: name for name, key in KEYS.items()}
        members = {names.get(key, key): value for key, value in mapping.items()}
        records = tuple(EpochRecord(**record) for record in mapping["epochs"])
        return cls(**members | {"epochs": records})


@dataclass(frozen=True)
class History:
    """What a training did: its epochs, the best one, and what a user should know."""

    epochs: tuple[EpochRecord, ...] = ()
    best_epoch: int = 0
    note: str = ""

    def to_mapping(self) -> dict[str, Any]:
        """Plain data for JSON, with the windows trained on and their rate.

        The rate is None if no time was spent.

        >>> record = EpochRecord(1, 0.5, None, windows=30, seconds=2.0)
        >>> History((record,)).to_mapping()["windows_per_second"]
        15.0
        """
        windows = sum(record.windows for record in self.epochs)
        seconds = sum(record.seconds for record in self.epochs)
        return {
            "epochs": [asdict(record) for record in self.epochs],
            "best_epoch": self.best_epoch,
            "note": self.note,
            "windows": windows,
            "windows_per_second": windows / seconds if seconds else None,
        }
