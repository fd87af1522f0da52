"""What publishing changes, and what is noted of it."""

from __future__ import annotations

from pathlib import Path

from foreshock.platform.run_directory import RunDirectory
from foreshock.stages.publish import PublishRecord, partition_change
from foreshock.tables.sinks.protocol import PartitionKey

FIRST, SECOND = PartitionKey("test", "2024-01-01"), PartitionKey("test", "2024-01-02")


def test_a_whole_run_replaces_and_removes() -> None:
    change = partition_change([FIRST], {SECOND: "folder"}, None)
    assert change.written == {SECOND: "folder"} and change.removed == (FIRST,)
    assert change.during == (FIRST, SECOND) and change.after == (SECOND,)


def test_some_partitions_alone_leave_the_others_as_they_are() -> None:
    change = partition_change([FIRST], {FIRST: "a", SECOND: "b"}, ["2024-01-02"])
    assert change.written == {SECOND: "b"} and change.removed == ()
    assert change.during == change.after == (FIRST, SECOND)


def test_the_record_is_read_as_it_was_written_and_as_earlier_versions_wrote_it(
    tmp_path: Path,
) -> None:
    run = RunDirectory(str(tmp_path))
    assert PublishRecord.read(run) == PublishRecord()
    record = PublishRecord("abc", {"scores": (FIRST, SECOND), "detector_scores": ()})
    record.write(run)
    assert PublishRecord.read(run) == record
    (tmp_path / "sink.json").write_text(
        '{"fingerprint": null, "partitions": {"scores": [["test", "2024-01-01"]]}}'
    )
    assert PublishRecord.read(run) == PublishRecord(None, {"scores": (FIRST,)})
