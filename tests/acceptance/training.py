"""Acceptance checks of training on many devices and workers, and of checkpoints.

Sizes are arguments.
"""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from foreshock.statistics.arrays import AnyArray

from acceptance import processes, tools

STEP = (
    "import json,sys; sys.path[:0] = [{lib!r}, {tests!r}]; from acceptance.training import "
    "_fit_here; "
    "_fit_here(*json.loads(sys.argv[1]))"
)


def made_dataset(work: Path, *, events: int = 20_000, **changes: Any) -> tuple[Path, Path]:
    """A prepared run: (conf, run directory).

    Its blocks do not divide evenly among two or three workers.
    """
    conf = processes.small_conf(work, events=events, **changes)
    run_dir = work / "prepared"
    for job in ("extract", "prepare"):
        code, _, err = processes.finish(processes.start(job, conf, run_dir))
        assert code == 0, err
    return conf, run_dir


def copy_of(run_dir: Path, target: Path) -> Path:
    subprocess.run(["cp", "-r", str(run_dir), str(target)], check=True)
    return target


def losses(run_dir: Path) -> dict[tuple[int, int], float]:
    """(epoch, step) -> loss of a training's losses.csv. Every step stands there once."""
    with (run_dir / "checkpoints" / "losses.csv").open() as handle:
        rows = [
            ((int(r["epoch"]), int(r["step"])), float(r["loss"])) for r in csv.DictReader(handle)
        ]
    assert len(dict(rows)) == len(rows), "a step stands twice"
    return dict(rows)


def weights(run_dir: Path) -> list[AnyArray]:
    with np.load(run_dir / "model" / "lstm_autoencoder.npz") as found:
        return [found[k] for k in sorted(found.files)]


def training_info(run_dir: Path) -> dict[str, Any]:
    return dict(json.loads((run_dir / "model" / "bundle.json").read_text())["info"]["training"])


def _fit_here(dataset: str, out: str, replicas: int, batch: int, steps: int) -> None:
    """In a process of its own: train one epoch of `steps` batches on some replicas."""
    from foreshock.training.fit import fit
    from foreshock.training.spec import TrainingOptions, TrainingSpec

    network = {
        "length": 8,
        "features": 4,
        "units": [8],
        "dense": 4,
        "activation": "tanh",
        "output": "linear",
        "dropout": 0.0,
        "l1": 0.0,
        "l2": 0.0,
    }
    spec = TrainingSpec(
        "lstm_autoencoder",
        network,
        dataset,
        f"{out}/checkpoints",
        f"{out}/tensorboard",
        TrainingOptions(1, batch, 0.01, 3),
        3,
        replicas,
        1,
        batch * steps,
        "float32",
    )
    fit(spec, lambda *_, **__: None)


def replicas(work: Path, *, steps: int = 30, batch: int = 63) -> dict[str, Any]:
    """One replica and two have the same losses to 1e-4, with the same global batch.

    This holds too if the batch does not divide evenly.
    """
    _, run_dir = made_dataset(work)
    found = {}
    for n in (1, 2):
        out = work / f"replicas-{n}"
        code = STEP.format(lib=str(tools.ROOT / "lib"), tests=str(tools.ROOT / "tests"))
        given = json.dumps([str(run_dir / "dataset" / "train"), str(out), n, batch, steps])
        subprocess.run([sys.executable, "-c", code, given], check=True, capture_output=True)
        found[n] = losses(out)
    assert len(found[1]) == steps
    assert found[1].keys() == found[2].keys()
    worst = max(abs(found[1][s] - found[2][s]) / found[1][s] for s in found[1])
    assert worst <= 1e-4, worst
    return {"steps": steps, "batch": batch, "largest relative difference of losses": worst}


def seen_once(run_dir: Path, workers: int) -> dict[str, int]:
    """Every fit block is seen by exactly one worker in every epoch."""
    manifest = json.loads((run_dir / "dataset" / "train" / "_manifest.json").read_text())
    wanted = list(range(sum(c["blocks"] for c in manifest["chunks"] if c["code"] == 1)))
    epochs = len(training_info(run_dir)["epochs"])
    for epoch in range(1, epochs + 1):
        parts = [
            np.load(run_dir / "checkpoints" / "blocks" / f"epoch-{epoch:05d}-worker-{w}.npy")
            for w in range(workers)
        ]
        assert all(len(p) for p in parts)
        assert sorted(np.concatenate(parts).tolist()) == wanted, epoch
    return {"blocks": len(wanted), "epochs": epochs}


def workers(work: Path, *, counts: tuple[int, ...] = (2, 3)) -> dict[str, Any]:
    """Workers in a barrier stage on a standalone cluster end with equal weights.

    Every block is seen once an epoch. Too many workers are refused.
    """
    figures: dict[str, Any] = {}
    with processes.standalone_cluster(work, cores=2) as master:
        for n in counts:
            (work / f"w{n}").mkdir()
            mine = processes.small_conf(
                work / f"w{n}", training__windows_per_epoch=None, training__workers=n
            )
            target = work / f"run-{n}"
            for job in ("extract", "prepare", "train"):
                code, err = submit(master, work, job, mine, target)
                assert code == 0, err
            info = training_info(target)
            assert len(info["workers"]) == n
            assert len({w["weights_sha256"] for w in info["workers"]}) == 1, info["workers"]
            assert len({w["pid"] for w in info["workers"]}) == n
            assert info["workers"][0]["weights_sha256"] == info["weights_sha256"]
            figures |= {f"{n} workers: {k}": v for k, v in seen_once(target, n).items()}
            figures[f"{n} workers: validation loss, last epoch"] = info["epochs"][-1][
                "validation_loss"
            ]
    return figures


def submit(
    master: str, work: Path, job: str, conf: Path, run_dir: Path, *flags: str
) -> tuple[int, str]:
    """spark-submit a job to a standalone cluster with the package shipped by --py-files."""
    process = start_submit(master, work, job, conf, run_dir, *flags)
    _, err = process.communicate(timeout=900)
    return process.returncode, err


def start_submit(
    master: str, work: Path, job: str, conf: Path, run_dir: Path, *flags: str
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        processes.submit_command(master, work, job, conf, run_dir, *flags),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=processes.submit_environment(),
        start_new_session=True,
    )


def kills(work: Path, *, times: int = 10, seed: int = 1) -> dict[str, Any]:
    """kill -9 of the trainer at random steps, many times over one training.

    The losses by step and the weights are those of the undisturbed training.
    """
    conf, run_dir = made_dataset(
        work,
        training__epochs=8,
        training__windows_per_epoch=None,
        training__batch=64,
        training__checkpoint_steps=20,
        training__patience=1,
        training__learning_rate=0.03,
    )
    calm, killed = copy_of(run_dir, work / "calm"), copy_of(run_dir, work / "killed")
    code, _, err = processes.finish(processes.start("train", conf, calm))
    assert code == 0, err
    wanted = losses(calm)
    chance = random.Random(seed)
    at = sorted(chance.sample(range(5, len(wanted)), times))
    done = 0
    for step in at:
        process = processes.start("train", conf, killed)
        until = time.monotonic() + 300
        while (
            process.poll() is None
            and time.monotonic() < until
            and _newest_step(killed) < min(step, len(wanted) - 25)
        ):
            time.sleep(0.01)
        time.sleep(chance.random() * 0.5)
        done += process.poll() is None
        os.killpg(process.pid, signal.SIGKILL)
        processes.finish(process)
    code, _, err = processes.finish(processes.start("train", conf, killed))
    assert code == 0, err
    found = losses(killed)
    assert found.keys() == wanted.keys()
    by_step = max(abs(found[s] - wanted[s]) for s in wanted)
    by_weight = max(
        float(np.abs(a - b).max()) for a, b in zip(weights(calm), weights(killed), strict=True)
    )
    assert by_step <= 1e-6 and by_weight <= 1e-6, (by_step, by_weight)
    assert training_info(calm)["best_epoch"] == training_info(killed)["best_epoch"]
    return {
        "kills while training": done,
        "steps": len(wanted),
        "epochs": len(training_info(calm)["epochs"]),
        "best epoch": training_info(calm)["best_epoch"],
        "note": training_info(calm)["note"],
        "largest difference of a step's loss": by_step,
        "of a weight": by_weight,
    }


def _newest_step(run_dir: Path) -> int:
    files = sorted((run_dir / "checkpoints").glob("checkpoint-*.npz"))
    return int(files[-1].stem.split("-")[1]) if files else 0


def worker_killed(
    work: Path, *, how: signal.Signals = signal.SIGKILL, seconds: float = 60.0
) -> dict[str, Any]:
    """One of two workers is killed, or stopped: exit 4 within 60 s, and the message names it.

    The next start resumes and finishes.
    """
    conf = processes.small_conf(
        work,
        training__workers=2,
        training__epochs=40,
        training__windows_per_epoch=None,
        training__batch=64,
        training__patience=40,
        training__checkpoint_steps=20,
    )
    run_dir = work / "two"
    for job in ("extract", "prepare"):
        code, _, err = processes.finish(processes.start(job, conf, run_dir))
        assert code == 0, err
    process = processes.start("train", conf, run_dir, env={"FORESHOCK_CORES": "2"})
    until = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < until and _newest_step(run_dir) < 40:
        time.sleep(0.05)
    victim = trainer(process.pid, 1)
    victim.send_signal(how)
    started = time.monotonic()
    code, _, err = processes.finish(process)
    took = time.monotonic() - started
    assert code == 4, (code, err)
    assert "training worker 1" in err.splitlines()[-1], err[-600:]
    assert took <= seconds, took
    assert (
        not psutil.pid_exists(victim.pid)
        or psutil.Process(victim.pid).status() == psutil.STATUS_ZOMBIE
    )
    step = _newest_step(run_dir)
    code, _, err = processes.finish(
        processes.start(
            "train", conf, run_dir, "--set", "training.epochs=40", env={"FORESHOCK_CORES": "2"}
        )
    )
    assert code == 0, err
    assert "resumed at epoch" in err, err[-600:]
    return {"seconds to exit 4": took, "said": err_line(err), "resumed after step": step}


def worker_slowed(work: Path, *, running: float = 0.1) -> dict[str, Any]:
    """One of two workers runs a tenth of the time, and training ends.

    The weights are those of an undisturbed training.
    """
    conf = processes.small_conf(
        work,
        training__workers=2,
        training__epochs=2,
        training__windows_per_epoch=None,
        training__batch=64,
    )
    run_dir = work / "two"
    for job in ("extract", "prepare"):
        code, _, err = processes.finish(processes.start(job, conf, run_dir))
        assert code == 0, err
    slow = copy_of(run_dir, work / "slow")
    code, _, err = processes.finish(
        processes.start("train", conf, run_dir, env={"FORESHOCK_CORES": "2"})
    )
    assert code == 0, err
    process = processes.start("train", conf, slow, env={"FORESHOCK_CORES": "2"})
    until = time.monotonic() + 300
    while (
        process.poll() is None
        and time.monotonic() < until
        and not (slow / "checkpoints" / "progress.jsonl").exists()
    ):
        time.sleep(0.02)
    victim, rounds = trainer(process.pid, 1), 0
    while process.poll() is None:
        try:
            victim.send_signal(signal.SIGSTOP)
            time.sleep(0.3 * (1 - running))
            victim.send_signal(signal.SIGCONT)
        except psutil.NoSuchProcess:
            break
        time.sleep(0.3 * running)
        rounds += 1
    code, _, err = processes.finish(process)
    assert code == 0, err
    assert rounds > 10, rounds
    calm, slowed = training_info(run_dir), training_info(slow)
    assert slowed["weights_sha256"] == calm["weights_sha256"]
    speed = [
        sum(e["windows"] for e in i["epochs"]) / sum(e["seconds"] for e in i["epochs"])
        for i in (calm, slowed)
    ]
    return {
        "windows/s": speed[0],
        "windows/s with a worker slowed tenfold": speed[1],
        "stops": rounds,
    }


def err_line(err: str) -> str:
    return (
        next(line for line in err.splitlines() if "resumed at epoch" in line)
        .split("train ")[-1]
        .strip()
    )


def trainer(driver: int, number: int) -> psutil.Process:
    """The process of a training worker below a driver: the one whose TF_CONFIG has its number."""
    for _ in range(200):
        for process in psutil.Process(driver).children(recursive=True):
            try:
                config = process.environ().get("TF_CONFIG")
                if config and json.loads(config)["task"]["index"] == number:
                    return process
            except (psutil.Error, ValueError):
                continue
        time.sleep(0.05)
    raise AssertionError("no such worker")
