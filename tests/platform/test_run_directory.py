"""Run directories: published whole or not at all, whatever the moment a process is killed at."""

import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from foreshock.errors import DataError, ServiceError, SettingsError
from foreshock.platform import transfers
from foreshock.platform.failures import machine_error
from foreshock.platform.files import digest, file_sha256, read_json, write_json, write_text
from foreshock.platform.run_directory import STAGES, RunDirectory


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunDirectory]:
    directory = RunDirectory(str(tmp_path / "run"))
    with directory.locked():
        yield directory


def work(run: RunDirectory, stage: str, text: str) -> tuple[dict[Path, Path], list[Path]]:
    """Finished work of a stage in staging: a folder of two files and one file beside it."""
    staging = run.staging(stage)
    (staging / "events").mkdir()
    for name in ("a", "b"):
        (staging / "events" / name).write_text(text)
    (staging / "scaler.json").write_text(text)
    return {staging / "events": run / "events", staging / "scaler.json": run / "scaler.json"}, [
        run / "scaler.json"
    ]


def publish(run: RunDirectory, stage: str, fingerprint: str, text: str) -> None:
    moves, sealed = work(run, stage, text)
    run.publish(stage, fingerprint, moves, sealed=sealed)


def contents(run: RunDirectory) -> set[str]:
    """What the published outputs say, or {} if one is missing."""
    files = [run / "events" / "a", run / "events" / "b", run / "scaler.json"]
    return {f.read_text() if f.exists() else "missing" for f in files}


# --- publish and is_done --------------------------------------------------------------------------


def test_a_stage_is_done_once_it_is_published(run: RunDirectory) -> None:
    assert not run.started
    assert not run.is_done("extract", "one")
    publish(run, "extract", "one", "first")
    assert run.started
    assert run.is_done("extract", "one")
    assert contents(run) == {"first"}
    record = run.record("extract")
    assert record is not None
    assert (record["fingerprint"], record["outputs"]) == ("one", ["events", "scaler.json"])


def test_another_fingerprint_or_a_missing_output_is_not_done(run: RunDirectory) -> None:
    publish(run, "extract", "one", "first")
    assert not run.is_done("extract", "two")
    shutil.rmtree(run / "events")
    assert not run.is_done("extract", "one")


def test_publishing_replaces_what_was_there(run: RunDirectory) -> None:
    publish(run, "extract", "one", "first")
    (run / "events" / "leftover").write_text("old")
    publish(run, "extract", "two", "second")
    assert contents(run) == {"second"}
    assert not (run / "events" / "leftover").exists()
    assert run.is_done("extract", "two")
    assert not run.is_done("extract", "one")


def test_a_stage_published_anew_withdraws_those_after_it(run: RunDirectory) -> None:
    for stage in STAGES:
        run.publish(stage, stage, {})
    assert all(run.is_done(stage, stage) for stage in STAGES)
    run.publish("train", "other", {})
    assert [run.is_done(s, s) for s in STAGES] == [True, True, False, False, False]
    assert run.is_done("train", "other")
    run.begin("prepare")
    # A trained model stays: its fingerprint is of the training data themselves, which a new day
    # need not change.
    assert [run.record(s) is not None for s in STAGES] == [True, False, True, False, False]


def test_staging_is_fresh_and_takes_the_leftovers_of_its_own_stage_away(run: RunDirectory) -> None:
    other = run.staging("train")
    first = run.staging("extract")
    (first / "half").write_text("x")
    second = run.staging("extract")
    assert second != first
    assert not first.exists()
    assert list(second.iterdir()) == []
    assert other.exists()


def test_clear_removes_results_and_keeps_what_no_run_wrote(run: RunDirectory) -> None:
    publish(run, "extract", "one", "first")
    (run / "conf.yaml").write_text("x")
    (run / "notes.txt").write_text("mine")
    run.clear()
    assert not run.started
    assert contents(run) == {"missing"}
    assert not (run / "conf.yaml").exists()
    assert (run / "notes.txt").read_text() == "mine"
    run.clear()


# --- altered files --------------------------------------------------------------------------------


def test_an_altered_sealed_file_is_refused_by_name(run: RunDirectory) -> None:
    publish(run, "prepare", "one", "first")
    run.verify("prepare")
    run.verify("train")  # never ran
    (run / "scaler.json").write_text("First")
    for check in (lambda: run.verify("prepare"), lambda: run.is_done("prepare", "one")):
        with pytest.raises(DataError, match="altered since stage prepare") as caught:
            check()
        assert str(run / "scaler.json") in str(caught.value)
        assert "--force" in str(caught.value)
    assert not run.is_done("prepare", "two")


def test_a_missing_sealed_file_is_refused_by_name(run: RunDirectory) -> None:
    publish(run, "prepare", "one", "first")
    (run / "scaler.json").unlink()
    assert not run.is_done("prepare", "one")
    with pytest.raises(DataError, match=r"scaler\.json.*missing"):
        run.verify("prepare")


@pytest.mark.parametrize("text", ["{", "", "{}", "[]", "\x00"])
def test_an_altered_record_is_refused_by_name(run: RunDirectory, text: str) -> None:
    publish(run, "extract", "one", "first")
    (run / ".stages" / "extract.json").write_text(text)
    with pytest.raises(DataError, match=r"extract\.json.*altered"):
        run.is_done("extract", "one")


# --- killed at any moment -------------------------------------------------------------------------


class KilledError(BaseException):
    """Stands for kill -9: nothing of ours handles it, and after it nothing is written any more."""


def kill_at(monkeypatch: pytest.MonkeyPatch, moment: int) -> list[int]:
    """Let the process die before its `moment`-th step on disk.

    The returned list grows by one item with each step that was done.
    """
    done: list[int] = []

    def dying(step: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if len(done) >= moment:
                raise KilledError
            done.append(1)
            return step(*args, **kwargs)

        return wrapped

    for name in ("rename", "replace", "unlink", "mkdir"):
        monkeypatch.setattr(Path, name, dying(getattr(Path, name)))
    monkeypatch.setattr(shutil, "rmtree", dying(shutil.rmtree))
    return done


def test_a_kill_between_any_two_steps_leaves_the_old_or_nothing_and_the_same_command_finishes(
    tmp_path: Path,
) -> None:
    finished = False
    for moment in range(100):
        run = RunDirectory(str(tmp_path / f"run{moment}"))
        with run.locked():
            publish(run, "extract", "one", "first")
            run.publish("prepare", "after", {})
            moves, sealed = work(run, "extract", "second")
            with pytest.MonkeyPatch.context() as patch:
                done = kill_at(patch, moment)
                try:
                    run.publish("extract", "two", moves, sealed=sealed)
                    finished = True
                except KilledError:
                    assert len(done) == moment
            if run.is_done("extract", "one"):
                assert contents(run) == {"first"}
            if run.is_done("extract", "two"):
                assert contents(run) == {"second"}
            if run.is_done("prepare", "after"):
                assert contents(run) == {"first"}, "a later stage is done whose input was replaced"
            assert run.is_done("extract", "two") or not finished
            publish(run, "extract", "two", "second")  # the same command again
            assert run.is_done("extract", "two")
            assert contents(run) == {"second"}
            assert not run.is_done("prepare", "after")
        if finished:
            assert moment > 6, "the kill was never in the middle"
            return
    pytest.fail("publishing never finished")


def test_nothing_of_a_killed_run_stays_once_the_same_command_has_finished(tmp_path: Path) -> None:
    for moment in range(15):
        run = RunDirectory(str(tmp_path / f"run{moment}"))
        with run.locked():
            publish(run, "extract", "one", "first")
            moves, sealed = work(run, "extract", "second")
            with pytest.MonkeyPatch.context() as patch:
                kill_at(patch, moment)
                with contextlib.suppress(KilledError):
                    run.publish("extract", "two", moves, sealed=sealed)
            publish(run, "extract", "two", "second")
            left = {p.name for p in run.path.iterdir()} - {
                "events",
                "scaler.json",
                ".lock",
                ".stages",
                ".staging",
            }
            assert not left, f"killed at step {moment}"
            assert {p.name for p in (run / ".stages").iterdir()} == {"extract.json"}, (
                f"killed at step {moment}"
            )


# --- files written whole --------------------------------------------------------------------------


def test_json_is_written_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    for value in ({"b": 1, "a": [1.5, None, "é"]}, [1, 2], "text"):
        write_json(path, value)
        assert read_json(path) == value
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os if name == "fsync" else Path, name, full)
            with pytest.raises(OSError, match="No space"):
                write_json(path, {"a": 2})
        assert read_json(path) == {"a": 1}
        assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "\ud800")
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_not_json_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    for raw in (b"{", b"\xff\xfe", b""):
        path.write_bytes(raw)
        with pytest.raises(DataError, match=r"x\.json.*not valid JSON"):
            read_json(path)


def test_digests_are_of_values_not_of_their_order(tmp_path: Path) -> None:
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})
    assert digest([1, 2]) != digest([2, 1])
    (tmp_path / "x").write_bytes(b"abc")
    assert (
        file_sha256(tmp_path / "x")
        == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


# --- lock -----------------------------------------------------------------------------------------


def test_a_second_run_in_the_same_directory_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "deep" / "run")
    with (
        RunDirectory(path).locked(),
        pytest.raises(SettingsError, match="another run") as caught,
        RunDirectory(path).locked(),
    ):
        pass
    assert path in str(caught.value)
    with RunDirectory(path).locked():
        pass


def test_the_lock_dies_with_a_killed_process(tmp_path: Path) -> None:
    path = tmp_path / "run"
    code = (
        "import sys, time\nfrom foreshock.platform.run_directory import RunDirectory\n"
        "with RunDirectory(sys.argv[1]).locked():\n    print('held', flush=True)\n    "
        "time.sleep(60)\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(SettingsError, match="another run"), RunDirectory(str(path)).locked():
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with RunDirectory(str(path)).locked():
            pass
    finally:
        holder.kill()
        holder.communicate()


def test_the_lock_is_given_back_after_an_error(tmp_path: Path) -> None:
    run = RunDirectory(str(tmp_path))
    with pytest.raises(ZeroDivisionError), run.locked():
        raise ZeroDivisionError
    with run.locked():
        pass


# --- places that cannot be written ----------------------------------------------------------------


@pytest.mark.parametrize("inside", ["", "run", "deep/run"])
def test_a_run_directory_that_is_or_lies_under_a_file_is_a_wrong_setting(
    tmp_path: Path, inside: str
) -> None:
    (tmp_path / "file").write_text("x")
    with (
        pytest.raises(SettingsError, match="--run-dir") as caught,
        RunDirectory(str(tmp_path / "file" / inside)).locked(),
    ):
        pass
    assert "file" in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_no_write_permission_is_a_wrong_setting(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    with (
        pytest.raises(SettingsError, match="Permission denied"),
        RunDirectory(str(tmp_path / "closed" / "run")).locked(),
    ):
        pass


def test_urls_are_for_a_later_version() -> None:
    with pytest.raises(SettingsError, match="gs:// is not available in this version"):
        RunDirectory("gs://bucket/run")
    assert (
        RunDirectory("file:///tmp/x").path
        == RunDirectory("/tmp/x").path
        == Path("/tmp/x").resolve()
    )


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EACCES, SettingsError), (errno.EPERM, SettingsError), (errno.EROFS, SettingsError),
        (errno.ENAMETOOLONG, SettingsError), (errno.ENOSPC, ServiceError),
        (errno.EDQUOT, ServiceError), (errno.EIO, ServiceError),
    ],
)  # fmt: skip
def test_what_the_machine_says_is_told_apart(number: int, kind: type[Exception]) -> None:
    found = machine_error(OSError(number, os.strerror(number), "/data/file"), "writing")
    assert type(found) is kind
    assert os.strerror(number) in str(found)
    assert "/data/file" in str(found)


def test_removing_a_link_leaves_what_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    transfers.remove(tmp_path / "link")
    transfers.remove(tmp_path / "absent")
    assert [p.name for p in tmp_path.iterdir()] == ["real"]
    transfers.remove(tmp_path / "real")
    assert list(tmp_path.iterdir()) == []


def test_records_are_plain_json(run: RunDirectory) -> None:
    publish(run, "extract", "one", "first")
    raw = json.loads((run / ".stages" / "extract.json").read_text())
    assert raw["sealed"] == {"scaler.json": file_sha256(run / "scaler.json")}
