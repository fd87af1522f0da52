"""Checkpoints: what is saved is read back whole. Damaged, foreign and old ones are tested."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foreshock.errors import DataError
from foreshock.training.checkpoint import Checkpoint, CheckpointStore
from foreshock.training.history import EpochRecord, Position, StepLoss

IDENTITY: dict[str, Any] = {
    "model": {"units": [8], "dense": 4},
    "dataset": {"events": 100, "content": "ab"},
    "plan": {"seed": 1},
}

FIRST_EPOCH = EpochRecord(1, 0.1, 0.5, 50, 2.0)


class Kept:
    """A store and what it warned of."""

    def __init__(self, folder: Path, **identity: Any) -> None:
        self.warned: list[str] = []
        self.store = CheckpointStore(folder, IDENTITY | identity, self.warned.append)

    def save(self, epoch: int, step: int, total: int, *, finished: bool = False) -> Path:
        weights = [np.full((3, 2), total, np.float32), np.arange(total, dtype=np.float32)]
        position = Position(
            epoch,
            step,
            total,
            best_loss=0.5,
            best_epoch=1,
            finished=finished,
            epochs=(FIRST_EPOCH,),
        )
        checkpoint = Checkpoint(
            weights, [np.array(total)], [w + 1 for w in weights], position, self.store.identity
        )
        return self.store.save(checkpoint, [StepLoss(epoch, step, 1.0, float(total), 2.0)])


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path / "checkpoints")


def test_what_was_saved_is_found_again(kept: Kept) -> None:
    kept.save(2, 7, 17)
    found = kept.store.newest()
    assert found is not None
    assert found.position == Position(2, 7, 17, best_loss=0.5, best_epoch=1, epochs=(FIRST_EPOCH,))
    assert [w.tolist() for w in found.weights] == [[[17.0] * 2] * 3, list(range(17))]
    assert found.optimizer[0].tolist() == 17
    assert found.best[0].tolist() == [[18.0] * 2] * 3


def test_nothing_is_found_where_nothing_was_saved(kept: Kept) -> None:
    assert kept.store.newest() is None


def test_the_two_newest_stay(kept: Kept) -> None:
    for total in (5, 9, 10, 1_000):
        kept.save(1, total, total)
    assert [f.name for f in kept.store.files()] == [
        "checkpoint-0000001000.npz",
        "checkpoint-0000000010.npz",
    ]
    assert not list(kept.store.folder.glob(".*"))


def test_damage_anywhere_is_seen_and_the_one_before_is_used(tmp_path: Path) -> None:
    chance = random.Random(3)
    for case in range(40):
        kept = Kept(tmp_path / str(case))
        kept.save(1, 1, 1)
        newest = kept.save(1, 2, 2)
        raw = bytearray(newest.read_bytes())
        if case % 2:
            del raw[chance.randrange(len(raw)) :]
        else:
            at = (
                raw.index(b"\x93NUMPY") + 128 + chance.randrange(40)
            )  # within an array, past its header
            raw[at] ^= 0xFF
        newest.write_bytes(raw)
        found = kept.store.newest()
        assert found is not None and found.position.global_step == 1, case
        assert "checkpoint-0000000002.npz is damaged" in kept.warned[0]
        assert not newest.exists()


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"model": {"units": [9], "dense": 4}}, r"model: units is \[9\], the checkpoint has \[8\]"),
        (
            {"dataset": {"events": 101, "content": "ab"}},
            "dataset: events is 101, the checkpoint has 100",
        ),
        ({"plan": {"seed": 2}}, "plan: seed is 2, the checkpoint has 1"),
    ],
)
def test_a_foreign_checkpoint_is_refused_and_kept(
    other: dict[str, Any], says: str, kept: Kept
) -> None:
    path = kept.save(1, 2, 2)
    with pytest.raises(DataError, match=says):
        Kept(kept.store.folder, **other).store.newest()
    assert path.exists()


def test_a_finished_training_of_other_data_gives_way(kept: Kept) -> None:
    kept.save(1, 2, 2, finished=True)
    other = Kept(kept.store.folder, dataset={"events": 101, "content": "cd"})
    assert other.store.newest() is None
    assert not kept.store.folder.exists()


def test_losses_are_cut_back_to_the_position(kept: Kept) -> None:
    for epoch, step, total in ((1, 1, 1), (1, 2, 2), (2, 1, 3), (2, 2, 4)):
        kept.save(epoch, step, total)
    losses = kept.store.folder / "losses.csv"
    with losses.open("a") as handle:
        handle.write("2,3,0.1")  # torn by a kill
    kept.store.cut_losses(Position(2, 1, 3))
    assert (
        losses.read_text()
        == "epoch,step,loss,gradient_norm\n1,1,1.0,2.0\n1,2,0.5,2.0\n2,1,0.3333333333333333,2.0\n"
    )
