"""Training on a small prepared dataset.

The tests cover resuming, guard rails, files that go, readers that close, replicas and precision.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from acceptance import tools
from acceptance.checks import prepare_only
from foreshock.errors import DataError, SettingsError
from foreshock.training.fit import fit
from foreshock.training.spec import TrainingOptions, TrainingSpec
from foreshock.windows.dataset.manifest import read_manifest
from foreshock.windows.dataset.plan import make_plan
from foreshock.windows.dataset.window_data import WindowData

NETWORK = {
    "length": 5,
    "features": 2,
    "units": [6],
    "dense": 3,
    "activation": "tanh",
    "output": "linear",
    "dropout": 0.2,
    "l1": 0.0,
    "l2": 0.0,
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory, spark: Any) -> Path:
    work = tmp_path_factory.mktemp("training")
    made = tools.conf()
    made["source"]["path"] = str(tools.write(tools.event_rows(3000, 5, 3), work / "source"))
    return prepare_only(made, work / "run", spark) / "train"


@pytest.fixture
def spec(dataset: Path, tmp_path: Path) -> TrainingSpec:
    options = TrainingOptions(
        epochs=3, batch=50, learning_rate=0.01, patience=3, checkpoint_steps=7
    )
    return TrainingSpec(
        "lstm_autoencoder",
        NETWORK,
        str(dataset),
        str(tmp_path / "checkpoints"),
        str(tmp_path / "tensorboard"),
        options,
        5,
        1,
        1,
        None,
        "float32",
    )


def quiet(message: str, **_: Any) -> None:
    """Nobody listens."""


def steps_of(spec: TrainingSpec) -> list[str]:
    return (Path(spec.checkpoints) / "losses.csv").read_text().splitlines()[1:]


class Stopped(Exception):
    """What stands for a kill: raised at a step, past which nothing is written."""


def stopped_at(spec: TrainingSpec, step: int) -> None:
    """Train until a batch is about to be trained on. What was written by then stays."""
    count = 0

    def beat(doing: str) -> None:
        nonlocal count
        count += doing == "step"
        if count == step:
            raise Stopped

    with pytest.raises(Stopped):
        fit(spec, quiet, beat=beat)


@pytest.mark.slow
def test_a_stopped_training_goes_on_as_if_nothing_had_been(
    spec: TrainingSpec, tmp_path: Path
) -> None:
    calm = replace(spec, checkpoints=str(tmp_path / "calm"))
    wanted = fit(calm, quiet)
    heard: list[str] = []
    for step in (9, 20, 31):  # with dropout, across epochs
        stopped_at(spec, step)
    found = fit(spec, lambda message, **_: heard.append(message))
    assert any("resumed at epoch" in h for h in heard)
    assert steps_of(spec) == steps_of(calm)
    assert found.weights_sha256 == wanted.weights_sha256
    assert [e.validation_loss for e in found.history.epochs] == [
        e.validation_loss for e in wanted.history.epochs
    ]


@pytest.mark.slow
def test_a_truncated_checkpoint_gives_way_to_the_one_before(
    spec: TrainingSpec, tmp_path: Path
) -> None:
    calm = replace(spec, checkpoints=str(tmp_path / "calm"))
    wanted = fit(calm, quiet)
    stopped_at(spec, 17)
    newest, before = sorted(Path(spec.checkpoints).glob("checkpoint-*.npz"), reverse=True)
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    heard: list[str] = []
    assert (
        fit(spec, lambda message, **_: heard.append(message)).weights_sha256
        == wanted.weights_sha256
    )
    assert newest.name in heard[0] and "damaged" in heard[0]
    assert f"step {int(before.stem[-10:])}" in heard[1]
    assert steps_of(spec) == steps_of(calm)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"network": {**NETWORK, "units": [7]}}, "model: units is [7], the checkpoint has [6]"),
        ({"seed": 6}, "plan: seed is 6, the checkpoint has 5"),
        ({"windows_per_epoch": 100}, "plan: windows_per_epoch is 100"),
    ],
)
def test_a_checkpoint_that_does_not_belong_is_refused(
    change: dict[str, Any], says: str, spec: TrainingSpec
) -> None:
    stopped_at(spec, 9)
    with pytest.raises(DataError, match="does not belong") as caught:
        fit(replace(spec, **change), quiet)
    assert says in str(caught.value)


@pytest.mark.slow
def test_a_dataset_that_changed_since_is_refused_in_words(
    spec: TrainingSpec, tmp_path: Path, spark: Any
) -> None:
    stopped_at(spec, 9)
    made = tools.conf()
    made["source"]["path"] = str(tools.write(tools.event_rows(3100, 5, 3), tmp_path / "other"))
    other = prepare_only(made, tmp_path / "run", spark) / "train"
    with pytest.raises(DataError, match=r"dataset: events is \d+, the checkpoint has \d+"):
        fit(replace(spec, dataset=str(other)), quiet)


def test_a_loss_that_is_not_finite_names_step_and_blocks(spec: TrainingSpec) -> None:
    wild = replace(
        spec,
        network={**NETWORK, "activation": "relu", "dropout": 0.0},
        options=replace(spec.options, learning_rate=1e30),
    )
    with pytest.raises(
        DataError, match=r"NaN or infinite in epoch 1, step \d+, on the blocks \d+, \d+"
    ):
        fit(wild, quiet)
    for file in Path(spec.checkpoints).glob("checkpoint-*.npz"):
        with np.load(file) as found:
            assert all(np.isfinite(found[k]).all() for k in found.files if k != "state")


@pytest.mark.slow
def test_a_clipped_gradient_trains_otherwise(spec: TrainingSpec, tmp_path: Path) -> None:
    clipped = replace(
        spec, checkpoints=str(tmp_path / "clipped"), options=replace(spec.options, clip_norm=1e-6)
    )
    assert fit(clipped, quiet).weights_sha256 != fit(spec, quiet).weights_sha256


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_a_warm_up_begins_slowly(schedule: str, spec: TrainingSpec) -> None:
    from foreshock.training.steps import learning_rate

    rate = learning_rate(0.01, schedule, 10, 100)
    found = [float(rate(step)) for step in (0, 5, 10, 99)]
    assert found[0] < found[1] < found[2] == pytest.approx(0.01)
    assert found[3] == pytest.approx(0.01) if schedule == "constant" else found[3] < 1e-4


@pytest.mark.slow
def test_event_files_hold_the_losses_for_tensorboard(spec: TrainingSpec) -> None:
    import tensorflow as tf

    fit(spec, quiet)
    file = next(Path(spec.tensorboard).glob("events.out.tfevents.*"))
    found: dict[str, list[float]] = {}
    for record in tf.data.TFRecordDataset(str(file)):
        for value in tf.compat.v1.Event.FromString(record.numpy()).summary.value:
            assert value.metadata.plugin_data.plugin_name == "scalars"
            found.setdefault(value.tag, []).append(float(tf.make_ndarray(value.tensor)))
    assert len(found["epoch/validation_loss"]) == 3
    assert found["epoch/validation_loss"][-1] < found["epoch/validation_loss"][0]


def test_a_file_that_disappears_is_an_error(
    spec: TrainingSpec, dataset: Path, tmp_path: Path
) -> None:
    import shutil

    copied = tmp_path / "copied"
    shutil.copytree(dataset, copied)
    manifest = read_manifest(copied)
    (copied / manifest.chunks[0].file).unlink()
    data = WindowData(
        copied, manifest, make_plan(manifest, seed=1, batch=50, workers=1, limit=None)
    )
    share = data.share(1)
    with pytest.raises(Exception, match=r"."):
        list(data.dataset(share))
    assert isinstance(data.failure, DataError)
    assert str(copied) in str(data.failure)


def test_readers_leave_no_thread_and_no_file_open(dataset: Path) -> None:
    manifest = read_manifest(dataset)
    data = WindowData(
        dataset, manifest, make_plan(manifest, seed=1, batch=50, workers=1, limit=None)
    )

    def some(epoch: int, most: int) -> None:
        for i, _ in enumerate(data.dataset(data.share(epoch))):
            if i == most:
                break

    def held() -> tuple[int, int, int]:
        import gc

        gc.collect()
        # TensorFlow's pool has its threads from the start; Python counts each as a dummy from when
        # it first calls into Python.
        own = [t for t in threading.enumerate() if not isinstance(t, threading._DummyThread)]
        return (
            len(own),
            len(list(Path("/proc/self/task").iterdir())),
            len(list(Path("/proc/self/fd").iterdir())),
        )

    for epoch in (1, 2, 3):
        some(epoch, 10**9)
    before = held()
    for epoch in range(4, 16):
        some(epoch, 3 if epoch % 2 else 10**9)  # half of them are given up in the middle
    after = held()
    assert after[0] <= before[0] + 1
    assert after[1] <= before[1] + 2
    assert after[2] <= before[2] + 2


@pytest.mark.slow
def test_memory_of_the_loader_stays_flat(dataset: Path) -> None:
    import psutil

    manifest = read_manifest(dataset)
    data = WindowData(
        dataset, manifest, make_plan(manifest, seed=1, batch=50, workers=1, limit=None)
    )
    sizes = []
    for epoch in range(1, 25):
        for _ in data.dataset(data.share(epoch)):
            pass
        sizes.append(psutil.Process().memory_info().rss)
    assert max(sizes[4:]) <= 1.1 * sizes[4]


@pytest.mark.slow
def test_xla_computes_what_the_kernels_compute(spec: TrainingSpec, tmp_path: Path) -> None:
    losses = []
    for choice in ("always", "never"):
        options = replace(spec.options, jit_compile=choice, epochs=1)
        own = replace(
            spec,
            options=options,
            checkpoints=str(tmp_path / choice),
            network=NETWORK | {"dropout": 0.0},
        )
        fit(own, quiet)
        losses.append([float(line.split(",")[2]) for line in steps_of(own)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_more_replicas_than_devices_are_refused(spec: TrainingSpec) -> None:
    with pytest.raises(SettingsError, match=r"training.replicas is 4096.* at most \d+"):
        fit(replace(spec, replicas=4096), quiet)


def test_more_workers_than_blocks_are_refused(spec: TrainingSpec, dataset: Path) -> None:
    with pytest.raises(SettingsError, match=r"training.workers is 100000, but .* holds \d+ blocks"):
        make_plan(read_manifest(dataset), seed=1, batch=10**6, workers=100_000, limit=None)


@pytest.mark.slow
def test_bfloat16_trains_and_leaves_float32_weights(spec: TrainingSpec) -> None:
    import keras

    found = fit(replace(spec, precision="bfloat16", options=replace(spec.options, epochs=1)), quiet)
    assert {w.dtype for w in found.weights} == {np.dtype(np.float32)}
    assert keras.config.dtype_policy().name == "float32"


def _gpus() -> int:
    import tensorflow as tf

    return len(tf.config.list_physical_devices("GPU"))


@pytest.mark.gpu
def test_a_gpu_trains_and_auto_takes_them_all(spec: TrainingSpec) -> None:
    if not _gpus():
        pytest.skip("no GPU on this machine")
    found = fit(replace(spec, replicas="auto", precision="auto"), quiet)
    assert found.replicas == _gpus()
    assert found.history.epochs[-1].loss < found.history.epochs[0].loss
