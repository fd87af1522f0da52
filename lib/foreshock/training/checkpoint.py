"""Checkpoints of a training: one file each, written whole or not at all, the newest whole one found again. NumPy alone.

A file `checkpoint-<global step>.npz` holds weights, optimiser, best weights and a JSON member with position, early stopping and
the identity of model, data and plan. `losses.csv` beside it has the loss of every step; on resuming it is cut back to the
checkpoint's position. The two newest are kept, so that a damaged one leaves the one before.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from foreshock.errors import DataError
from foreshock.platform.files import append_text, write_bytes, write_text
from foreshock.platform.transfers import remove

Arrays = list[npt.NDArray[Any]]
NAME = re.compile(r"checkpoint-(\d{10})\.npz")
KEPT = 2
LOSSES = "losses.csv"
HEADER = "epoch,step,loss,gradient_norm\n"
DAMAGE = (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)


@dataclass
class Position:
    """Where a training stands. epoch counts from 1; step: steps done in it; total, windows, seconds, waited: sums of that epoch;
    replicas: of a worker.
    """

    epoch: int = 1
    step: int = 0
    global_step: int = 0
    total: float = 0.0
    windows: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    best: float | None = None
    best_epoch: int = 0
    since: int = 0
    finished: bool = False
    note: str = ""
    replicas: int = 0
    epochs: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Checkpoint:
    """What a checkpoint holds: arrays of network, optimiser and best weights, the position and the identity."""

    weights: Arrays
    optimizer: Arrays
    best: Arrays
    position: Position
    identity: dict[str, Any]


class Store:
    """The checkpoints of one training under a folder."""

    def __init__(self, folder: Path, identity: dict[str, Any], warn: Callable[[str], None]) -> None:
        self.folder, self.identity, self._warn = folder, identity, warn

    def files(self) -> list[Path]:
        """Checkpoint files, newest first."""
        found = self.folder.glob("checkpoint-*.npz") if self.folder.exists() else []
        return sorted((f for f in found if NAME.fullmatch(f.name)), reverse=True)

    def save(self, checkpoint: Checkpoint, losses: list[tuple[int, int, float, float]]) -> Path:
        """Append the losses since the last one, write the checkpoint, remove all but the newest."""
        self.folder.mkdir(parents=True, exist_ok=True)
        csv = self.folder / LOSSES
        lines = "".join(f"{epoch},{step},{loss!r},{norm!r}\n" for epoch, step, loss, norm in losses)
        append_text(csv, lines if csv.exists() else HEADER + lines)
        path = self.folder / f"checkpoint-{checkpoint.position.global_step:010d}.npz"
        state = {"identity": checkpoint.identity, "position": asdict(checkpoint.position)}
        arrays = {
            f"{kind}{i:04d}": a
            for kind, own in (
                ("w", checkpoint.weights),
                ("o", checkpoint.optimizer),
                ("b", checkpoint.best),
            )
            for i, a in enumerate(own)
        }
        memory = io.BytesIO()
        np.savez(memory, state=np.frombuffer(json.dumps(state).encode(), np.uint8), **arrays)  # type: ignore[arg-type]
        write_bytes(path, memory.getbuffer())
        for old in self.files()[KEPT:]:
            old.unlink(missing_ok=True)
        return path

    def newest(self) -> Checkpoint | None:
        """The newest whole checkpoint; a damaged one is passed over with a warning.

        One of a finished training of other data or settings is removed. Raises DataError for an unfinished one of another model,
        other features, another dataset or plan, saying what differs.
        """
        for file in self.files():
            try:
                found = read(file)
            except DAMAGE as error:
                self._warn(
                    f"{file.name} is damaged ({type(error).__name__}); the one before it is used"
                )
                file.unlink(missing_ok=True)
                continue
            differing = differences(found.identity, self.identity)
            if not differing:
                return found
            if found.position.finished:
                self.clear()
                return None
            raise DataError(
                f"{file}: this checkpoint does not belong to this training: {'; '.join(differing)}. Remove {self.folder}, "
                "or run jobs/train.py --force, to train anew."
            )
        return None

    def cut_losses(self, position: Position) -> None:
        """Leave in losses.csv the steps up to a position; without any, none."""
        csv = self.folder / LOSSES
        if not csv.exists():
            return
        kept = [HEADER]
        for line in csv.read_text(encoding="utf-8").splitlines(keepends=True)[1:]:
            parts = line.split(",")
            if (
                len(parts) == 4
                and line.endswith("\n")
                and (int(parts[0]), int(parts[1])) <= (position.epoch, position.step)
            ):
                kept.append(line)
        write_text(csv, "".join(kept))

    def clear(self) -> None:
        """Remove all of the training's state."""
        remove(self.folder)


def read(file: Path) -> Checkpoint:
    """A checkpoint file, every member checked against its checksum. Raises what is in DAMAGE."""
    with file.open("rb") as handle, np.load(handle, allow_pickle=False) as members:
        state = json.loads(bytes(members["state"]))
        names = sorted(members.files)
        arrays = {
            kind: [members[n] for n in names if n[0] == kind and n[1:].isdigit()] for kind in "wob"
        }
    try:
        return Checkpoint(
            arrays["w"], arrays["o"], arrays["b"], Position(**state["position"]), state["identity"]
        )
    except TypeError as error:
        raise ValueError(str(error)) from None


def differences(there: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """What differs between two identities, in words: `dataset: events is 10, the checkpoint has 9`."""
    found = []
    for part in sorted(there.keys() | wanted.keys()):
        a, b = there.get(part), wanted.get(part)
        if isinstance(a, dict) and isinstance(b, dict):
            found += [
                f"{part}: {key} is {_short(b.get(key))}, the checkpoint has {_short(a.get(key))}"
                for key in sorted(a.keys() | b.keys())
                if a.get(key) != b.get(key)
            ]
        elif a != b:
            found.append(f"{part} is {_short(b)}, the checkpoint has {_short(a)}")
    return found


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "…"
