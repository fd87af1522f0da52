"""Checkpoints of a training: one file each, written whole or not at all. NumPy alone.

A file `checkpoint-<global step>.npz` holds weights, optimiser, best weights and a JSON member with
the position and the identity of model, data and plan. `losses.csv` beside it has the loss of every
step; on resuming it is cut back to the checkpoint's position. The two newest checkpoints are kept,
so that a damaged one leaves the one before it.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from foreshock.errors import DataError
from foreshock.platform.files import append_text, write_bytes, write_text
from foreshock.platform.transfers import remove
from foreshock.training.history import Position, StepLoss
from foreshock.training.trainable import Plain, Weights

FILE_NAME = re.compile(r"checkpoint-(\d{10})\.npz")
KEPT = 2
LOSSES = "losses.csv"
HEADER = "epoch,step,loss,gradient_norm\n"
DAMAGE = (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)
# Letters of a value that a message shows.
LONGEST_VALUE = 60


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds: weights of network, optimiser and best epoch, position, identity."""

    weights: Weights
    optimizer: Weights
    best: Weights
    position: Position
    identity: Plain


class CheckpointStore:
    """The checkpoints of one training under a folder.

    `identity` is what a checkpoint must agree with to be resumed. `warn` is told of damage.
    """

    def __init__(self, folder: Path, identity: Plain, warn: Callable[[str], None]) -> None:
        self.folder = folder
        self.identity = identity
        self._warn = warn

    def files(self) -> list[Path]:
        """Checkpoint files, newest first."""
        # Steps are padded to ten digits, so the order of names is that of steps.
        files = self.folder.glob("checkpoint-*.npz") if self.folder.exists() else []
        return sorted((file for file in files if FILE_NAME.fullmatch(file.name)), reverse=True)

    def save(self, checkpoint: Checkpoint, losses: Iterable[StepLoss]) -> Path:
        """Write a checkpoint, and return its file.

        losses: of the steps since the checkpoint before it; they are added to losses.csv. All but
        the two newest checkpoints are removed.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        # Losses first: what a crash leaves without a checkpoint, `cut_losses` removes.
        self._append_losses(losses)
        path = self.folder / f"checkpoint-{checkpoint.position.global_step:010d}.npz"
        json_state = {
            "identity": dict(checkpoint.identity),
            "position": checkpoint.position.to_mapping(),
        }
        members = {"state": np.frombuffer(json.dumps(json_state).encode(), np.uint8)}
        for letter, arrays in (
            ("w", checkpoint.weights),
            ("o", checkpoint.optimizer),
            ("b", checkpoint.best),
        ):
            members |= {f"{letter}{number:04d}": array for number, array in enumerate(arrays)}
        # In memory, so that the file can be written whole or not at all.
        npz_file = io.BytesIO()
        np.savez(npz_file, **members)
        write_bytes(path, npz_file.getbuffer())
        for old_file in self.files()[KEPT:]:
            old_file.unlink(missing_ok=True)
        return path

    def _append_losses(self, losses: Iterable[StepLoss]) -> None:
        csv_file = self.folder / LOSSES
        lines = "".join(
            f"{step_loss.epoch},{step_loss.step},{step_loss.loss!r},{step_loss.gradient_norm!r}\n"
            for step_loss in losses
        )
        append_text(csv_file, lines if csv_file.exists() else HEADER + lines)

    def newest(self) -> Checkpoint | None:
        """The newest whole checkpoint. A damaged one is passed over with a warning.

        One of a finished training of other data or settings is removed. Raises DataError for an
        unfinished one of another model, other features, another dataset or plan; it says what
        differs.
        """
        for file in self.files():
            try:
                checkpoint = read(file)
            except DAMAGE as error:
                self._warn(
                    f"{file.name} is damaged ({type(error).__name__}); the one before it is used"
                )
                file.unlink(missing_ok=True)
                continue
            differing_parts = differences(checkpoint.identity, self.identity)
            if not differing_parts:
                return checkpoint
            # A finished training is in nobody's way; an unfinished one may have cost hours.
            if checkpoint.position.finished:
                self.clear()
                return None
            raise DataError(
                f"{file}: this checkpoint does not belong to this training: "
                f"{'; '.join(differing_parts)}. Remove {self.folder}, or run jobs/train.py "
                "--force, to train anew."
            )
        return None

    def cut_losses(self, position: Position) -> None:
        """Leave in losses.csv the steps up to a position.

        A line that was written in part is removed too. Without the file nothing is done.
        """
        csv_file = self.folder / LOSSES
        if not csv_file.exists():
            return
        lines = csv_file.read_text(encoding="utf-8").splitlines(keepends=True)[1:]
        kept = [line for line in lines if _is_up_to(line, position)]
        write_text(csv_file, "".join([HEADER, *kept]))

    def clear(self) -> None:
        """Remove all of the training's state.

        That is the whole folder: checkpoints, losses, block ids and logs of workers.
        """
        remove(self.folder)


def _is_up_to(line: str, position: Position) -> bool:
    """Whether a line of losses.csv is whole and its step not after a position."""
    values = line.split(",")
    if len(values) != 4 or not line.endswith("\n"):
        return False
    return (int(values[0]), int(values[1])) <= (position.epoch, position.step)


def read(file: Path) -> Checkpoint:
    """A checkpoint file, every member checked against its checksum; nothing is unpickled.

    Raises one of DAMAGE if the file is not a whole checkpoint.
    """
    with file.open("rb") as handle, np.load(handle, allow_pickle=False) as members:
        state = json.loads(bytes(members["state"]))
        names = sorted(members.files)
        weights, optimizer, best = (
            [members[name] for name in names if name[0] == letter and name[1:].isdigit()]
            for letter in "wob"
        )
    try:
        # A field that a position does not have is damage like any other.
        position = Position.from_mapping(state["position"])
    except TypeError as error:
        raise ValueError(str(error)) from None
    return Checkpoint(weights, optimizer, best, position, state["identity"])


def differences(checkpoint: Plain, wanted: Plain) -> list[str]:
    """What differs between two identities, in words.

    >>> differences({"dataset": {"events": 9}}, {"dataset": {"events": 10}})
    ['dataset: events is 10, the checkpoint has 9']
    """
    sentences = []
    for part in sorted(checkpoint.keys() | wanted.keys()):
        old_value, new_value = checkpoint.get(part), wanted.get(part)
        if isinstance(old_value, Mapping) and isinstance(new_value, Mapping):
            sentences += [
                _sentence(f"{part}: {key}", old_value.get(key), new_value.get(key))
                for key in sorted(old_value.keys() | new_value.keys())
                if old_value.get(key) != new_value.get(key)
            ]
        elif old_value != new_value:
            sentences.append(_sentence(part, old_value, new_value))
    return sentences


def _sentence(subject: str, old: Any, new: Any) -> str:
    return f"{subject} is {_shown(new)}, the checkpoint has {_shown(old)}"


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 3] + "…"
