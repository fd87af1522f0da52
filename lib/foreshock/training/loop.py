"""The one training loop: `strategy.run` over the plan's batches, early stopping on the last part of train, checkpoints."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from foreshock.errors import DataError, ServiceError
from foreshock.platform.files import write_bytes
from foreshock.platform.quiet import silenced_stderr
from foreshock.training.checkpoint import Arrays, Checkpoint, Position, Store
from foreshock.training.steps import Stepper, learning_rate, wants_xla
from foreshock.training.strategy import Replication

with silenced_stderr():
    import keras
    import tensorflow as tf

CHECK_EVERY = 25
MOST_VALIDATION = 8192


class Share(Protocol):
    """A worker's part of an epoch (dataset.plan)."""

    @property
    def steps(self) -> int: ...
    @property
    def batch(self) -> int: ...
    @property
    def used(self) -> int: ...
    @property
    def left_out(self) -> int: ...


class Data(Protocol):
    """Where batches come from (dataset.reader)."""

    failure: Exception | None
    seen: list[int]

    def share(self, epoch: int) -> Share:
        """What this worker reads in an epoch."""

    def dataset(self, share: Any, first: int = 0) -> tf.data.Dataset:
        """(x (b, L, F), weight (b, L)) from a step on, one element a replica."""

    def blocks_of(self, epoch: int, step: int) -> list[int]:
        """Ids of the blocks in a step's batch, of all workers; steps count from 0."""

    def empty(self, epoch: int) -> int:
        """Windows of weight 0 in an epoch, of all workers."""

    def held_out(self, most: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Validation windows and weights."""


class Watch(Protocol):
    """Who is told how training goes (training.watch)."""

    def steps(self, position: Position, steps: int, loss: float, norm: float, rate: float) -> None:
        """Some steps of the epoch are done; loss is their mean."""

    def epoch(self, epoch: Epoch, position: Position) -> None:
        """An epoch is done."""

    def note(self, message: str) -> None:
        """What a user should know."""

    def state(self, doing: str) -> None:
        """`data` while it reads, `step`, `validate`, `save`."""


@dataclass(frozen=True)
class Options:
    """Settings of the loop (interface: training)."""

    epochs: int
    batch: int
    learning_rate: float
    patience: int
    schedule: str = "constant"
    warmup_steps: int = 0
    clip_norm: float | None = None
    jit_compile: str = "auto"
    checkpoint_steps: int = 200


@dataclass
class Epoch:
    """One epoch's record. Losses are means over windows; validation_loss is null where train has no last part.

    windows: trained on; left_out, empty: windows (dataset.plan); all three of all workers. waited: share of the time spent waiting for
    data; blocks: read; both of worker 0.
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


@dataclass
class History:
    """What training did."""

    epochs: list[Epoch] = field(default_factory=list)
    best_epoch: int = 0
    note: str = ""

    def to_mapping(self) -> dict[str, Any]:
        windows, seconds = sum(e.windows for e in self.epochs), sum(e.seconds for e in self.epochs)
        return asdict(self) | {
            "windows": windows,
            "windows_per_second": windows / seconds if seconds else None,
        }


def train(
    network: keras.Model,
    data: Data,
    where: Replication,
    options: Options,
    store: Store,
    watch: Watch,
) -> History:
    """Train the network in place, from the newest checkpoint if there is one, and leave it with the weights of the best epoch.

    Raises DataError when the loss is not finite, naming epoch, step and blocks, when data cannot be read, and for a checkpoint that
    does not belong.
    """
    return _Training(network, data, where, options, store, watch).run()


class _Training:
    def __init__(
        self,
        network: keras.Model,
        data: Data,
        where: Replication,
        options: Options,
        store: Store,
        watch: Watch,
    ) -> None:
        self.network, self.data, self.where, self.o, self.store, self.watch = (
            network,
            data,
            where,
            options,
            store,
            watch,
        )
        self.rate = learning_rate(
            options.learning_rate,
            options.schedule,
            options.warmup_steps,
            options.epochs * data.share(1).steps,
        )
        self.stepper = Stepper(
            network,
            where,
            self.rate,
            options.clip_norm,
            jit=wants_xla(options.jit_compile, network),
        )
        self.position = Position()
        self.best: Arrays = network.get_weights()
        self.losses: list[tuple[int, int, float, float]] = []

    def run(self) -> History:
        self._restore()
        self.watch.state("data")
        held = self.data.held_out(MOST_VALIDATION)
        p = self.position
        if not len(held[0]):
            p.note = (
                "the last part of train holds no window: no early stopping, the last epoch is kept"
            )
        while not p.finished:
            self._epoch()
            self._end_epoch(*held)
        self.network.set_weights(self.best)
        return History([Epoch(**e) for e in p.epochs], p.best_epoch, p.note)

    def _restore(self) -> None:
        found = self.store.newest()
        if (
            self.where.workers > 1
            and self.stepper.agreed(float(mine := found.position.global_step if found else 0))
            != mine
        ):
            raise ServiceError(
                f"training worker {self.where.worker} found the checkpoint of step {mine}, other workers another: they do "
                f"not see the same {self.store.folder}. Use a run directory that all workers share."
            )
        if found is not None:
            with self.where.strategy.scope():
                for variables, values in (
                    (self.network.variables, found.weights),
                    (self.stepper.optimizer.variables, found.optimizer),
                ):
                    for variable, value in zip(variables, values, strict=True):
                        variable.assign(value)
            self.position, self.best = found.position, found.best
            if not self.position.finished:
                self.watch.note(
                    f"resumed at epoch {self.position.epoch}, step {self.position.step}"
                )
        if self.where.chief:
            self.store.cut_losses(self.position)

    def _batches(self, share: Share) -> Iterator[list[Any]]:
        """The replicas' parts of each batch that is left of the epoch."""
        waiting = iter(self.data.dataset(share, self.position.step))
        for _ in range(self.position.step, share.steps):
            self.watch.state("data")
            started = time.monotonic()
            try:
                parts = [next(waiting) for _ in range(self.where.replicas)]
            except (tf.errors.OpError, StopIteration) as error:
                if self.data.failure is not None:
                    raise self.data.failure from None
                raise ServiceError(
                    f"training cannot read its data ({' '.join(str(error).split())[:300]})."
                ) from None
            self.position.waited += time.monotonic() - started
            self.watch.state("step")
            yield parts

    def _epoch(self) -> None:
        """The rest of the position's epoch."""
        p, share = self.position, self.data.share(self.position.epoch)
        if not share.used:
            raise DataError(
                "training: the dataset holds no window to fit on; widen split.train or lower training.validation."
            )
        pending: list[Any] = []
        self._started = time.monotonic()
        for parts in self._batches(share):
            pending.append(self.stepper(parts))
            p.step += 1
            p.global_step += 1
            due = p.global_step % self.o.checkpoint_steps == 0 and p.step < share.steps
            if due or len(pending) >= CHECK_EVERY or p.step == share.steps:
                self._take(pending, share)
                pending = []
            if due:
                self._save()
        if self.stepper.note and self.stepper.note not in p.note:
            p.note = "; ".join(filter(None, [p.note, self.stepper.note]))
            self.watch.note(self.stepper.note)

    def _take(self, pending: list[Any], share: Share) -> None:
        """Account for steps done; raises DataError naming the first that is not finite."""
        p = self.position
        first, before, windows_before = p.step - len(pending) + 1, p.total, p.windows
        for i, values in enumerate(np.stack([v.numpy() for v in pending]).tolist()):
            total, windows, norm = values
            if not (math.isfinite(total) and math.isfinite(norm)):
                blocks = self.data.blocks_of(p.epoch, first + i - 1)
                raise DataError(
                    f"training turned NaN or infinite in epoch {p.epoch}, step {first + i}, on the blocks "
                    f"{', '.join(map(str, blocks[:12]))}{' …' if len(blocks) > 12 else ''} of the training dataset (learning rate "
                    f"{self.o.learning_rate:g}). Lower training.learning_rate, set training.clip_norm or scaling.clip, or look for "
                    "extreme values in the features. The last good checkpoint is kept."
                )
            p.total += total
            p.windows += int(windows)
            self.losses.append((p.epoch, first + i, total / max(windows, 1.0), norm))
        now = time.monotonic()
        p.seconds, self._started = p.seconds + now - self._started, now
        rate = self.rate if isinstance(self.rate, float) else float(self.rate(p.global_step))
        self.watch.steps(
            p,
            share.steps,
            (p.total - before) / max(1, p.windows - windows_before),
            self.losses[-1][3],
            rate,
        )

    def _end_epoch(self, held_x: Any, held_weight: Any) -> None:
        p, share = self.position, self.data.share(self.position.epoch)
        started = time.monotonic()
        self.watch.state("validate")
        held = self.stepper.validation(held_x, held_weight, self.o.batch) if len(held_x) else None
        p.seconds += time.monotonic() - started
        if held is not None and not math.isfinite(held):
            raise DataError(
                f"training turned NaN or infinite: the validation loss of epoch {p.epoch} is {held}. Lower "
                "training.learning_rate or set training.clip_norm. The last good checkpoint is kept."
            )
        epoch = Epoch(
            p.epoch,
            p.total / max(1, p.windows),
            held,
            p.windows,
            p.seconds,
            share.steps,
            p.waited / max(p.seconds, 1e-9),
            share.left_out,
            self.data.empty(p.epoch),
            len(self.data.seen),
        )
        p.epochs.append(asdict(epoch))
        self._note_blocks()
        if held is None or p.best is None or held < p.best:
            p.best, p.best_epoch, p.since, self.best = held, p.epoch, 0, self.network.get_weights()
        else:
            p.since += 1
        if p.since and p.since >= self.o.patience:
            p.finished = True
            p.note = "; ".join(
                filter(
                    None,
                    [
                        p.note,
                        f"stopped early: no better validation loss for {self.o.patience} epochs",
                    ],
                )
            )
        p.finished = p.finished or p.epoch >= self.o.epochs
        self.watch.epoch(epoch, p)
        p.epoch, p.step, p.total, p.windows, p.seconds, p.waited = p.epoch + 1, 0, 0.0, 0, 0.0, 0.0
        self._save()

    def _save(self) -> None:
        if not self.where.chief:
            return
        self.watch.state("save")
        self.position.replicas = self.where.replicas
        weights, optimizer = (
            [np.asarray(v) for v in own]
            for own in (self.network.variables, self.stepper.optimizer.variables)
        )
        self.store.save(
            Checkpoint(weights, optimizer, self.best, self.position, self.store.identity),
            self.losses,
        )
        self.losses = []

    def _note_blocks(self) -> None:
        """Record which blocks this worker saw in the epoch, in order."""
        folder = self.store.folder / "blocks"
        folder.mkdir(parents=True, exist_ok=True)
        memory = io.BytesIO()  # np.save opens local paths only, and a run directory may lie on S3
        np.save(memory, np.array(self.data.seen, np.int64))
        write_bytes(
            folder / f"epoch-{self.position.epoch:05d}-worker-{self.where.worker}.npy",
            memory.getvalue(),
        )
