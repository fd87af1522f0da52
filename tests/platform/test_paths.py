"""Paths on S3 against a real server: listing, moving, removing and locks.

Names have spaces, `=` and letters beyond ASCII.
"""

from __future__ import annotations

import json
import os
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from aws_stack.server import DENIED, KEY, REGION, SECRET, TOKEN, Stack, always
from foreshock.errors import ServiceError, SettingsError
from foreshock.events.partitions import list_source
from foreshock.platform import files, locks, log, parquet, paths, transfers
from foreshock.platform.failures import explain
from foreshock.platform.files import write_json
from foreshock.platform.run_directory import RunDirectory
from foreshock.settings.load import load_settings

ODD = "s3://bucket/a b/date=2019-01-01/größe"


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    made = Stack()
    before = dict(os.environ)
    os.environ.update({k: v for k, v in made.environment().items() if k.startswith("AWS_")})
    made.client("s3").create_bucket(
        Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    yield made
    os.environ.clear()
    os.environ.update(before)
    made.stop()


@pytest.fixture(autouse=True)
def empty(stack: Stack) -> Iterator[None]:
    yield
    stack.faults.clear()
    transfers.remove(paths.at("s3://bucket/"))


def test_a_file_is_written_listed_and_read_whatever_its_name(stack: Stack) -> None:
    folder = paths.at(ODD)
    parquet.write_table(pa.table({"a": [1, 2, 3]}), folder / "x y.parquet")
    (folder / "b" / "t.txt").write_text("é")
    assert parquet.read_table(folder / "x y.parquet")["a"].to_pylist() == [1, 2, 3]
    assert parquet.count_rows(str(folder / "x y.parquet")) == 3
    assert sorted(p.name for p in folder.iterdir()) == ["b", "x y.parquet"]
    assert [p.name for p in folder.glob("*.parquet")] == ["x y.parquet"]
    assert [paths.below(f, folder) for f, _, _ in paths.stamps(folder)] == [
        "b/t.txt",
        "x y.parquet",
    ]
    assert paths.at(str(folder / "b" / "t.txt")).read_text() == "é"
    assert str(pickle.loads(pickle.dumps(folder)) / "c") == f"{ODD}/c"


def test_pickled_paths_carry_no_credentials(stack: Stack) -> None:
    body = pickle.dumps(paths.at(ODD))
    assert not any(word.encode() in body for word in (KEY, SECRET, TOKEN))


def test_moving_leaves_nothing_behind_even_marks_of_folders(stack: Stack) -> None:
    source, target = paths.at("s3://bucket/from"), paths.at("s3://bucket/to")
    for name in ("a=1/x", "a=2/y", "z"):
        (source / name).write_text(name)
    stack.client("s3").put_object(Bucket="bucket", Key="from/_temporary/0/", Body=b"")
    transfers.move(source, target)
    assert sorted(str(paths.below(f, target)) for f, _, _ in paths.stamps(target)) == [
        "a=1/x",
        "a=2/y",
        "z",
    ]
    assert stack.client("s3").list_objects_v2(Bucket="bucket", Prefix="from")["KeyCount"] == 0


def test_removing_a_folder_leaves_those_whose_names_begin_alike(stack: Stack) -> None:
    for name in ("run/a", "run1/a", "run.txt"):
        paths.at(f"s3://bucket/{name}").write_text("x")
    transfers.remove(paths.at("s3://bucket/run"))
    transfers.remove(paths.at("s3://bucket/absent"))
    assert sorted(
        o["Key"] for o in stack.client("s3").list_objects_v2(Bucket="bucket")["Contents"]
    ) == ["run.txt", "run1/a"]


def test_what_may_not_be_removed_is_said_and_not_tried_for_ever(stack: Stack) -> None:
    paths.at("s3://bucket/kept").write_text("x")
    body = (
        b'<?xml version="1.0"?><DeleteResult><Error><Key>kept</Key>'
        b"<Code>AccessDenied</Code><Message>Access Denied</Message></Error></DeleteResult>"
    )
    answer = ("200 OK", [("Content-Type", "application/xml")], body)
    fault = always(answer, lambda r: r.method == "POST" and "delete" in r.query)
    with stack.fault(fault), pytest.raises(ServiceError, match="AccessDenied"):
        transfers.remove(paths.at("s3://bucket/kept"))


def test_a_folder_of_somebody_elses_is_no_run_directory(stack: Stack) -> None:
    paths.at("s3://bucket/team/events/date=1/x").write_text("x")
    assert RunDirectory("s3://bucket/team").foreign == ["events"]
    paths.at("s3://bucket/team/conf.yaml").write_text("x")
    assert RunDirectory("s3://bucket/team").foreign == []


def test_folders_go_up_and_down(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c").write_text("c")
    (tmp_path / "a" / "d").write_text("d")
    transfers.copy(tmp_path / "a", paths.at("s3://bucket/up"))
    transfers.copy(paths.at("s3://bucket/up"), tmp_path / "down")
    assert (tmp_path / "down" / "b" / "c").read_text() == "c"
    assert (tmp_path / "down" / "d").read_text() == "d"


def test_of_several_that_create_a_file_one_does(stack: Stack) -> None:
    won: list[bool] = []
    threads = [
        threading.Thread(target=lambda: won.append(files.create(paths.at("s3://bucket/only"), "x")))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False] * 5 + [True]


def test_a_run_directory_is_held_by_one_and_free_afterwards(stack: Stack) -> None:
    first, second = RunDirectory("s3://bucket/run"), RunDirectory("s3://bucket/run")
    with (
        first.locked(),
        pytest.raises(SettingsError, match="another run is at work"),
        second.locked(),
    ):
        pass
    with second.locked():
        pass


def test_a_lock_left_behind_is_taken_over_and_its_owner_writes_no_more(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "DEAD_SECONDS", 2.0)
    monkeypatch.setattr(locks, "BEAT_SECONDS", 0.3)
    write_json(
        paths.at("s3://bucket/run/.lock/00000007"),
        {"host": "elsewhere", "boot": "x", "process": 1, "beat": "still"},
    )
    taken = RunDirectory("s3://bucket/run")
    with taken.locked():
        assert [p.name for p in paths.at("s3://bucket/run/.lock").iterdir()] == ["00000008"]
        (paths.at("s3://bucket/run/.lock") / "00000009").write_text("{}")
        threading.Event().wait(1.5)
        with pytest.raises(ServiceError, match="another run took it over"):
            taken.publish("extract", "f", {})


def test_a_lost_lock_names_the_setting_whose_folder_it_locks(stack: Stack) -> None:
    location = paths.at("s3://bucket/tables")
    with locks.locked(location, "tables.location") as check:
        check()
        (location / ".lock" / "00000009").write_text("{}")
        with pytest.raises(ServiceError, match=r"^tables\.location s3://bucket/tables: another"):
            check()


def test_a_folder_in_use_names_the_setting(tmp_path: Path, stack: Stack) -> None:
    for folder in (tmp_path, paths.at("s3://bucket/tables")):
        with (
            locks.locked(folder, "tables.location"),
            pytest.raises(
                SettingsError, match=f"^tables.location {folder}: another run is at work"
            ),
            locks.locked(folder, "tables.location"),
        ):
            pass


def test_a_killed_owner_on_this_machine_is_not_waited_for(stack: Stack) -> None:
    with RunDirectory("s3://bucket/run").locked():
        lock = next(iter(paths.at("s3://bucket/run/.lock").iterdir()))
        body = lock.read_text().replace(str(os.getpid()), "999999")
    lock.write_text(body)
    with RunDirectory("s3://bucket/run").locked():
        pass


def test_a_stage_is_published_whole_with_its_record_last(stack: Stack) -> None:
    run = RunDirectory("s3://bucket/run")
    with run.locked():
        work = run.staging("extract")
        for text in ("one", "two"):
            (work / "events" / "part").write_text(text)
            run.publish(
                "extract", text, {work / "events": run / "events"}, sealed=[run / "events" / "part"]
            )
            assert run.is_done("extract", text)
    assert (run / "events" / "part").read_text() == "two"
    puts = [
        r.path
        for r in stack.requests
        if r.method == "PUT" and r.path.endswith(("extract.json", "events/part"))
    ]
    assert puts[-1].endswith(".stages/extract.json")


def test_a_stage_that_cannot_be_published_leaves_no_half(stack: Stack) -> None:
    run = RunDirectory("s3://bucket/run")
    with run.locked():
        work = run.staging("score")
        for name in ("a", "b"):
            (work / "tables" / name / "part").write_text(name)
        moves = {work / "tables" / n: run / "tables" / n for n in ("a", "b")}
        with (
            stack.fault(
                always(DENIED, lambda r: r.method == "PUT" and r.path.endswith("/tables/b/part"))
            ),
            pytest.raises(PermissionError),
        ):
            run.publish("score", "f", moves)
        assert not run.is_done("score", "f")
        assert not (run / "tables").exists()


def test_sources_are_listed_by_their_partitions(stack: Stack) -> None:
    for name in ("date=2019-01-01/a", "date=2019-01-02/b c", "date=2019-01-02/_hidden", "other/x"):
        paths.at(f"s3://bucket/in put/{name}.parquet").write_text(name)
    found = list_source("s3://bucket/in put/date=*", "date")
    assert {
        u: [f.rsplit("/", 1)[-1] for f in files] for u, files in found.files_by_partition.items()
    } == {
        "2019-01-01": ["a.parquet"],
        "2019-01-02": ["b c.parquet"],
    }
    before = found.fingerprints
    paths.at("s3://bucket/in put/date=2019-01-01/a.parquet").write_text(
        "date=2019-01-01/X"
    )  # as long as before
    after = list_source("s3://bucket/in put/date=*", "date").fingerprints
    assert after["2019-01-01"] != before["2019-01-01"]
    assert after["2019-01-02"] == before["2019-01-02"]


def test_a_bucket_that_is_not_there_is_a_wrong_setting(stack: Stack) -> None:
    with pytest.raises(SettingsError, match=r"source\.path.*no bucket 'no-such-bucket'"):
        list_source("s3://no-such-bucket/x", None)
    with (
        pytest.raises(SettingsError, match="no bucket 'no-such-bucket'"),
        RunDirectory("s3://no-such-bucket/x").locked(),
    ):
        pass
    with pytest.raises(SettingsError, match="--conf"):
        load_settings("s3://no-such-bucket/conf.yaml")
    with pytest.raises(SettingsError, match="no bucket"):
        paths.at("s3://")


def test_what_the_service_refuses_is_its_failure_in_its_words(stack: Stack) -> None:
    with stack.fault(always(DENIED)), pytest.raises(Exception) as caught:
        list_source("s3://bucket/x", None)
    found = explain(caught.value, "reading")
    assert isinstance(found, ServiceError)
    assert "Access Denied" in str(found)


def test_a_log_on_s3_writes_each_line_once_and_is_joined_when_it_closes(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flush writes the lines since the last flush.

    The next run joins the lines of a killed run.
    """
    monkeypatch.setattr(log, "FLUSH_SECONDS", -1.0)
    path = paths.at("s3://bucket/run/events.log")
    stack.requests.clear()
    killed = log.RunLog("killed", path, quiet=True)
    for number in range(20):
        killed.event("extract", "line", number=number)
    written = [r.length for r in stack.requests if r.method == "PUT"]
    assert len(written) == 20
    assert max(written) < 2 * min(written)
    finished = log.RunLog("finished", path, quiet=True)
    finished.event("extract", "line", number=20)
    finished.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["number"] for line in lines] == list(range(21))
    assert {line["run_id"] for line in lines} == {"killed", "finished"}
    assert not list(paths.at("s3://bucket/run/events.log.parts").iterdir())
