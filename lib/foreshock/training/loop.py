"""The one training loop: steps over the plan's batches, early stopping, checkpoints."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from foreshock.errors import DataError, ServiceError
from foreshock.platform.files import write_bytes
from foreshock.platform.quiet import silenced_stderr
from foreshock.training.batches import TimedBatches
from foreshock.training.checkpoint import Checkpoint, CheckpointStore
from foreshock.training.devices import Replication
from foreshock.training.history import EpochRecord, History, Position, StepLoss
from foreshock.training.spec import TrainingOptions
from foreshock.training.steps import Stepper, learning_rate, wants_xla
from foreshock.training.trainable import (
    Batch,
    EpochShare,
    Trainable,
    TrainingData,
    TrainingWatch,
    Weights,
)

with silenced_stderr():
    import keras

# Steps whose losses are fetched from the device together.
CHECK_EVERY = 25
# So many validation windows are held in memory; more are thinned evenly.
MOST_VALIDATION = 8192
# A message names so many blocks: a batch may hold windows of hundreds.
NAMED_BLOCKS = 12


@dataclass(frozen=True)
class TrainingState:
    """What a step of the loop hands on, beside the network's and the optimiser's weights.

    Attributes:
        position: where training stands.
        best: the weights of the best epoch.
        unsaved: the losses since the last checkpoint.
    """

    position: Position
    best: Weights
    unsaved: tuple[StepLoss, ...] = ()


class TrainingLoop:
    """Trains a network in place, from the newest checkpoint if there is one."""

    def __init__(
        self,
        trainable: Trainable,
        network: keras.Model,
        data: TrainingData,
        replication: Replication,
        options: TrainingOptions,
        store: CheckpointStore,
        watch: TrainingWatch,
    ) -> None:
        self._network = network
        self._data = data
        self._replication = replication
        self._options = options
        self._store = store
        self._watch = watch
        self._rate = learning_rate(
            options.learning_rate,
            options.schedule,
            options.warmup_steps,
            options.epochs * data.share(1).steps,
        )
        jit = wants_xla(options.jit_compile, has_fused_kernels=trainable.has_fused_kernels(network))
        self._stepper = Stepper(
            trainable, network, replication, self._rate, options.clip_norm, jit=jit
        )

    def run(self) -> History:
        """Train to the end and leave the network with the weights of the best epoch.

        Raises DataError for a loss that is not finite (it names epoch, step and blocks), for data
        that cannot be read, and for a checkpoint that does not belong.
        """
        state = self._restored()
        self._watch.state("data")
        validation = self._data.held_out(MOST_VALIDATION)
        if not len(validation[0]):
            without_validation = (
                "the last part of train holds no window: no early stopping, the last epoch is kept"
            )
            state = replace(state, position=replace(state.position, note=without_validation))
        while not state.position.finished:
            state = self._steps_of_epoch(state)
            state = self._end_of_epoch(state, validation)
        self._network.set_weights(state.best)
        return state.position.history

    def _restored(self) -> TrainingState:
        """The state of the newest checkpoint, with its weights, or that of the beginning."""
        checkpoint = self._store.newest()
        step = checkpoint.position.global_step if checkpoint is not None else 0
        # A mean unlike this worker's step says that a worker is at another step.
        if self._replication.workers > 1 and self._stepper.agreed(float(step)) != step:
            raise ServiceError(
                f"training worker {self._replication.worker} found the checkpoint of step {step}, "
                f"other workers another: they do not see the same {self._store.folder}. Use a run "
                "directory that all workers share."
            )
        if checkpoint is None:
            state = TrainingState(Position(), self._network.get_weights())
        else:
            self._assign(checkpoint)
            state = TrainingState(checkpoint.position, checkpoint.best)
            if not state.position.finished:
                self._watch.note(
                    f"resumed at epoch {state.position.epoch}, step {state.position.step}"
                )
        if self._replication.is_chief:
            self._store.cut_losses(state.position)
        return state

    def _assign(self, checkpoint: Checkpoint) -> None:
        """Give network and optimiser the weights of a checkpoint."""
        with self._replication.strategy.scope():
            for variables, values in (
                (self._network.variables, checkpoint.weights),
                (self._stepper.optimizer.variables, checkpoint.optimizer),
            ):
                for variable, value in zip(variables, values, strict=True):
                    variable.assign(value)

    def _steps_of_epoch(self, state: TrainingState) -> TrainingState:
        """The rest of the position's epoch, step by step."""
        share = self._data.share(state.position.epoch)
        if not share.used:
            raise DataError(
                "training: the dataset holds no window to fit on; widen split.train or lower "
                "training.validation."
            )
        batches = TimedBatches(
            self._data,
            share,
            state.position.step,
            self._replication.replicas,
            self._watch.state,
        )
        pending_results: list[Any] = []
        start_time = time.monotonic()
        for parts in batches:
            pending_results.append(self._stepper(parts))
            step = state.position.step + len(pending_results)
            global_step = state.position.global_step + len(pending_results)
            is_last = step == share.steps
            is_due = global_step % self._options.checkpoint_steps == 0 and not is_last
            # Fetched together: the device would wait for every result that is fetched alone.
            if is_due or is_last or len(pending_results) >= CHECK_EVERY:
                losses = self._losses_of(pending_results, state.position)
                current_time = time.monotonic()
                state = self._after_steps(
                    state, share, losses, current_time - start_time, batches.take_waited_seconds()
                )
                start_time, pending_results = current_time, []
            if is_due:
                state = self._saved(state)
        note = self._stepper.note
        if note and note not in state.position.note:
            state = replace(state, position=state.position.noted(note))
            self._watch.note(note)
        return state

    def _losses_of(self, pending: Sequence[Any], position: Position) -> list[StepLoss]:
        """The losses of steps that follow a position.

        Raises DataError that names the first step whose loss or gradient is not finite.
        """
        losses = []
        result_values = np.stack([result.numpy() for result in pending]).tolist()
        for step, (loss_sum, windows, norm) in enumerate(result_values, start=position.step + 1):
            if not (math.isfinite(loss_sum) and math.isfinite(norm)):
                raise self._not_finite(position.epoch, step)
            losses.append(StepLoss(position.epoch, step, loss_sum, windows, norm))
        return losses

    def _not_finite(self, epoch: int, step: int) -> DataError:
        blocks = self._data.blocks_of(epoch, step - 1)
        named_blocks = ", ".join(map(str, blocks[:NAMED_BLOCKS]))
        more = " …" if len(blocks) > NAMED_BLOCKS else ""
        return DataError(
            f"training turned NaN or infinite in epoch {epoch}, step {step}, on the blocks "
            f"{named_blocks}{more} of the training dataset (learning rate "
            f"{self._options.learning_rate:g}). Lower training.learning_rate, set "
            "training.clip_norm or scaling.clip, or look for extreme values in the features. The "
            "last good checkpoint is kept."
        )

    def _after_steps(
        self,
        state: TrainingState,
        share: EpochShare,
        losses: Sequence[StepLoss],
        seconds: float,
        waited_seconds: float,
    ) -> TrainingState:
        """The state after some steps; tells who watches."""
        before = state.position
        position = before.after_steps(losses, seconds, waited_seconds)
        windows = max(1, position.windows - before.windows)
        rate = self._rate
        self._watch.steps(
            position,
            share.steps,
            (position.loss_sum - before.loss_sum) / windows,
            losses[-1].gradient_norm,
            rate if isinstance(rate, float) else float(rate(position.global_step)),
        )
        return replace(state, position=position, unsaved=(*state.unsaved, *losses))

    def _end_of_epoch(self, state: TrainingState, validation: Batch) -> TrainingState:
        """Validate, decide whether this epoch is the best and whether it is the last, and save."""
        start_time = time.monotonic()
        self._watch.state("validate")
        validation_loss = None
        if len(validation[0]):
            validation_loss = self._stepper.validation(validation, self._options.batch)
        seconds = time.monotonic() - start_time
        position = state.position.after_steps([], seconds, 0.0)
        if validation_loss is not None and not math.isfinite(validation_loss):
            raise DataError(
                f"training turned NaN or infinite: the validation loss of epoch {position.epoch} "
                f"is {validation_loss}. Lower training.learning_rate or set training.clip_norm. "
                "The last good checkpoint is kept."
            )
        record = self._record(position, validation_loss)
        self._write_block_ids(position.epoch)
        position = position.after_epoch(
            record, patience=self._options.patience, most_epochs=self._options.epochs
        )
        is_best = position.best_epoch == record.epoch
        best = self._network.get_weights() if is_best else state.best
        self._watch.epoch(record, position)
        return self._saved(TrainingState(position.at_next_epoch(), best, state.unsaved))

    def _record(self, position: Position, validation_loss: float | None) -> EpochRecord:
        share = self._data.share(position.epoch)
        return EpochRecord(
            position.epoch,
            position.loss_sum / max(1, position.windows),
            validation_loss,
            position.windows,
            position.seconds,
            share.steps,
            position.waited_seconds / max(position.seconds, 1e-9),
            share.left_out,
            self._data.empty(position.epoch),
            len(self._data.seen),
        )

    def _saved(self, state: TrainingState) -> TrainingState:
        """The state once the first worker has written a checkpoint of it."""
        if not self._replication.is_chief:
            # The first worker writes the losses; other workers must not collect them for ever.
            return replace(state, unsaved=())
        self._watch.state("save")
        position = replace(state.position, replicas=self._replication.replicas)
        weights = [np.asarray(variable) for variable in self._network.variables]
        optimizer = [np.asarray(variable) for variable in self._stepper.optimizer.variables]
        checkpoint = Checkpoint(weights, optimizer, state.best, position, self._store.identity)
        self._store.save(checkpoint, state.unsaved)
        return TrainingState(position, state.best)

    def _write_block_ids(self, epoch: int) -> None:
        """Record which blocks this worker saw in an epoch, in order."""
        folder = self._store.folder / "blocks"
        folder.mkdir(parents=True, exist_ok=True)
        # np.save opens local paths only, and a run directory may lie on S3.
        npy_file = io.BytesIO()
        np.save(npy_file, np.array(self._data.seen, np.int64))
        file_name = f"epoch-{epoch:05d}-worker-{self._replication.worker}.npy"
        write_bytes(folder / file_name, npy_file.getvalue())
