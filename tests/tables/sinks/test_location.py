"""A shared folder: a run replaces its partitions and nobody else's, whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from foreshock.tables.describe import RUNS, describe_tables
from foreshock.tables.sinks.location import LocationSink
from foreshock.tables.sinks.protocol import PartitionKey, RunTables, partition_folders

FIRST, SECOND = PartitionKey("test", "2024-01-01"), PartitionKey("test", "2024-01-02")


def write_partition(table: Path, key: PartitionKey, *files: str) -> None:
    """Files named for their content, as Spark names them: unlike each time."""
    folder = table / f"split={key.split}" / f"partition={key.partition}"
    folder.mkdir(parents=True)
    for number, content in enumerate(files):
        (folder / f"part-{number}-{content}.parquet").write_text(content)


def contents(table: Path) -> dict[str, list[str]]:
    """Each partition's contents, file by file."""
    folders = sorted(table.glob("split=*/partition=*"))
    return {
        folder.name.removeprefix("partition="): [
            file.read_text() for file in sorted(folder.iterdir())
        ]
        for folder in folders
    }


class Run:
    """A run's tables on disk."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder / name, name

    def write(self, partitions: Mapping[PartitionKey, Sequence[str]]) -> None:
        for key, files in partitions.items():
            write_partition(self.folder / "scores", key, *files)
        (self.folder / "metrics").mkdir(parents=True, exist_ok=True)
        (self.folder / "metrics" / "part-00000.parquet").write_text(f"metrics of {self.name}")

    def tables(self, *, removed: Sequence[PartitionKey] = ()) -> RunTables:
        return RunTables(
            run_id=self.name,
            folder=self.folder,
            descriptions=describe_tables(("gas",)),
            written={
                "scores": partition_folders(self.folder / "scores"),
                "detector_scores": {},
            },
            removed={"scores": removed, "detector_scores": ()},
        )


def publish(sink: LocationSink, tables: RunTables) -> None:
    with sink.turn() as check_turn:
        assert sink.conflict(tables) is None
        assert sink.replace(tables, check_turn) == {}


@pytest.fixture
def sink(tmp_path: Path) -> LocationSink:
    location = LocationSink(tmp_path / "shared")
    location.look(describe_tables(("gas",)))
    return location


def test_runs_share_a_folder_and_each_replaces_what_is_its_own(
    sink: LocationSink, tmp_path: Path
) -> None:
    first, second = Run(tmp_path, "first"), Run(tmp_path, "second")
    first.write({FIRST: ["a", "b"]})
    second.write({SECOND: ["c"]})
    publish(sink, first.tables())
    publish(sink, second.tables())
    scores = sink.location / "scores"
    assert contents(scores) == {"2024-01-01": ["a", "b"], "2024-01-02": ["c"]}
    assert sorted(file.name for file in (sink.location / "metrics").iterdir()) == [
        "first.parquet",
        "second.parquet",
    ]
    again = Run(tmp_path / "again", "first")
    again.write({FIRST: ["new"]})
    publish(sink, again.tables())
    assert contents(scores) == {"2024-01-01": ["new"], "2024-01-02": ["c"]}
    assert not (sink.location / ".staging").exists()


def test_a_partition_that_the_run_has_no_more_is_removed(
    sink: LocationSink, tmp_path: Path
) -> None:
    run = Run(tmp_path, "run")
    run.write({FIRST: ["a"], SECOND: ["b"]})
    publish(sink, run.tables())
    later = Run(tmp_path / "later", "run")
    later.write({SECOND: ["b"]})
    publish(sink, later.tables(removed=[FIRST, PartitionKey("test", "never there")]))
    assert contents(sink.location / "scores") == {"2024-01-02": ["b"]}


def test_what_another_run_wrote_meanwhile_is_a_conflict(sink: LocationSink, tmp_path: Path) -> None:
    run = Run(tmp_path, "run")
    run.write({FIRST: ["mine"]})
    write_partition(sink.location / "scores", SECOND, "of no concern")
    assert sink.conflict(run.tables()) is None
    write_partition(sink.location / "scores", FIRST, "theirs")
    conflict = sink.conflict(run.tables())
    assert conflict is not None
    assert "another run wrote scores/split=test/partition=2024-01-01" in conflict
    assert "Run the same command again" in conflict
    sink.look(describe_tables(("gas",)))
    assert sink.conflict(run.tables()) is None


def test_a_removal_meets_a_conflict_too(sink: LocationSink, tmp_path: Path) -> None:
    run = Run(tmp_path, "run")
    run.write({SECOND: ["mine"]})
    write_partition(sink.location / "scores", FIRST, "theirs")
    conflict = sink.conflict(run.tables(removed=[FIRST]))
    assert conflict is not None and "partition=2024-01-01" in conflict


def test_nothing_new_stays_if_a_partition_cannot_be_put(sink: LocationSink, tmp_path: Path) -> None:
    run = Run(tmp_path, "run")
    run.write({FIRST: ["a"], SECOND: ["b"]})
    tables = run.tables()
    (lost,) = (run.folder / "scores").glob("split=test/partition=2024-01-02/*.parquet")
    lost.unlink()
    lost.symlink_to(tmp_path / "a disk that is gone")
    with sink.turn() as check_turn, pytest.raises(FileNotFoundError):
        sink.replace(tables, check_turn)
    assert contents(sink.location / "scores") == {}
    assert not (sink.location / "metrics").exists()


def test_attempts_of_runs_lie_side_by_side(sink: LocationSink, tmp_path: Path) -> None:
    for run_id in ("first", "second"):
        folder = tmp_path / run_id
        folder.mkdir()
        (folder / "score-1.parquet").write_text(run_id)
        sink.publish_runs(folder, run_id, RUNS)
    files = {file.name: file.read_text() for file in (sink.location / "runs").iterdir()}
    assert files == {"first-score-1.parquet": "first", "second-score-1.parquet": "second"}


def test_names_of_partitions_are_read_from_folders(tmp_path: Path) -> None:
    write_partition(tmp_path, PartitionKey("test", "a%2Fb"), "x")
    assert partition_folders(tmp_path) == {
        PartitionKey("test", "a/b"): "split=test/partition=a%2Fb"
    }
