"""Which files a source has, in which source partition, and how a change in them is seen."""

import os
from pathlib import Path

import pytest
from foreshock.errors import DataError, SettingsError
from foreshock.events.partitions import WHOLE, SourceFiles, is_time, list_source


def write(root: Path, *names: str) -> None:
    for name in names:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)


def names(source: SourceFiles, root: Path) -> dict[str, list[str]]:
    return {
        source_partition: [str(Path(f).relative_to(root)) for f in files]
        for source_partition, files in source.files_by_partition.items()
    }


def test_one_file_is_one_source_partition(tmp_path: Path) -> None:
    write(tmp_path, "events.csv", "other.csv")
    source = list_source(str(tmp_path / "events.csv"), None)
    assert names(source, tmp_path) == {WHOLE: ["events.csv"]}
    assert not source.aligned
    assert source.folder_keys == ()


def test_a_folder_is_read_with_all_below_it_in_a_fixed_order(tmp_path: Path) -> None:
    write(tmp_path, "b.parquet", "a.parquet", "deep/er/c.parquet")
    source = list_source(str(tmp_path), None)
    assert names(source, tmp_path) == {WHOLE: ["a.parquet", "b.parquet", "deep/er/c.parquet"]}
    assert source.files([WHOLE]) == [
        str(tmp_path / n) for n in ("a.parquet", "b.parquet", "deep/er/c.parquet")
    ]


def test_hidden_files_and_folders_are_passed_over(tmp_path: Path) -> None:
    root = tmp_path / ".cache" / "_run"  # hidden names above the source do not matter
    write(
        root,
        "a.parquet",
        "_SUCCESS",
        ".a.parquet.crc",
        "_temporary/0/b.parquet",
        "date=1/.staging/c.parquet",
        "date=1/_d",
    )
    assert names(list_source(str(root), None), root) == {WHOLE: ["a.parquet"]}
    assert names(list_source(str(root / "*"), None), root) == {WHOLE: ["a.parquet"]}


@pytest.mark.parametrize("key", ["date", "`date`", " date "])
def test_hive_folders_of_the_partition_column_are_source_partitions(
    tmp_path: Path, key: str
) -> None:
    write(
        tmp_path,
        "date=2019-12-31/x.parquet",
        "date=2019-12-30/b.parquet",
        "date=2019-12-30/a.parquet",
    )
    source = list_source(str(tmp_path), key)
    assert source.aligned
    assert names(source, tmp_path) == {
        "2019-12-30": ["date=2019-12-30/a.parquet", "date=2019-12-30/b.parquet"],
        "2019-12-31": ["date=2019-12-31/x.parquet"],
    }
    assert list(source.files_by_partition) == sorted(source.files_by_partition)
    assert source.files(["2019-12-31"]) == [str(tmp_path / "date=2019-12-31/x.parquet")]


def test_folders_in_folders_and_escaped_values(tmp_path: Path) -> None:
    write(
        tmp_path,
        "region=north%2Feast/date=1/a",
        "region=a=b/date=1/b",
        "region=north%2Feast/date=2/c",
    )
    source = list_source(str(tmp_path), "region")
    assert set(source.files_by_partition) == {"north/east", "a=b"}
    assert len(source.files_by_partition["north/east"]) == 2
    assert source.folder_keys == ("date", "region")
    assert set(list_source(str(tmp_path), "date").files_by_partition) == {"1", "2"}


@pytest.mark.parametrize("partition", [None, "day", "to_date(at)", "substr(date, 1, 7)"])
def test_folders_of_another_column_or_an_expression_are_one_source_partition(
    tmp_path: Path, partition: str | None
) -> None:
    write(tmp_path, "date=1/a", "date=2/b")
    source = list_source(str(tmp_path), partition)
    assert names(source, tmp_path) == {WHOLE: ["date=1/a", "date=2/b"]}
    assert source.folder_keys == ("date",)
    assert not source.aligned


def test_a_file_outside_the_partition_folders_makes_all_one_source_partition(
    tmp_path: Path,
) -> None:
    write(tmp_path, "date=1/a", "stray")
    assert names(list_source(str(tmp_path), "date"), tmp_path) == {WHOLE: ["date=1/a", "stray"]}


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.csv", ["a.csv", "b.csv"]),
        ("[ab].csv", ["a.csv", "b.csv"]),
        ("?.txt", ["c.txt"]),
        ("**/*.csv", ["a.csv", "b.csv", "date=1/d.csv", "date=2/e.csv"]),
        ("date=*", ["date=1/d.csv", "date=2/e.csv"]),
        ("date=*/*.csv", ["date=1/d.csv", "date=2/e.csv"]),
    ],
)
def test_globs(tmp_path: Path, pattern: str, found: list[str]) -> None:
    write(tmp_path, "a.csv", "b.csv", "c.txt", "date=1/d.csv", "date=2/e.csv", "date=2/.e.csv.crc")
    source = list_source(str(tmp_path / pattern), None)
    assert names(source, tmp_path) == {WHOLE: found}


def test_globs_keep_the_partitions(tmp_path: Path) -> None:
    write(tmp_path, "date=2019-12-30/a", "date=2019-12-31/b", "date=2020-01-01/c")
    assert set(list_source(str(tmp_path / "date=2019-*"), "date").files_by_partition) == {
        "2019-12-30",
        "2019-12-31",
    }


def test_a_glob_relative_to_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "a.csv", "sub/b.csv")
    monkeypatch.chdir(tmp_path)
    assert list_source("*.csv", None).files_by_partition == {WHOLE: ("a.csv",)}
    assert list_source("sub/*.csv", None).files_by_partition == {WHOLE: ("sub/b.csv",)}


def test_a_name_with_glob_characters_is_first_a_name(tmp_path: Path) -> None:
    write(tmp_path, "x[1]/a.csv", "x1/b.csv")
    assert names(list_source(str(tmp_path / "x[1]"), None), tmp_path) == {WHOLE: ["x[1]/a.csv"]}


@pytest.mark.parametrize(
    ("path", "says"),
    [("absent", "no file or folder"), ("absent.csv", "no file"), ("*.csv", "nothing matches")],
)
def test_a_missing_path_is_a_wrong_setting_and_is_named(
    tmp_path: Path, path: str, says: str
) -> None:
    with pytest.raises(SettingsError, match=says) as caught:
        list_source(str(tmp_path / path), None)
    assert "source.path" in str(caught.value)
    assert path in str(caught.value)
    with pytest.raises(SettingsError, match=r"split\.test\.path"):
        list_source(str(tmp_path / path), None, "split.test.path")


@pytest.mark.parametrize("inside", [(), ("_SUCCESS",), (".hidden/a",), ("_temporary/a",)])
def test_a_folder_without_files_is_an_empty_source(tmp_path: Path, inside: tuple[str, ...]) -> None:
    write(tmp_path, *inside)
    (tmp_path / "date=1").mkdir()
    with pytest.raises(DataError, match="empty") as caught:
        list_source(str(tmp_path), "date")
    assert str(tmp_path) in str(caught.value)


# --- what has changed


def test_a_fingerprint_changes_with_its_source_partition_only(tmp_path: Path) -> None:
    write(tmp_path, "date=1/a", "date=2/b", "date=3/c")
    before = list_source(str(tmp_path), "date").fingerprints
    assert list_source(str(tmp_path), "date").fingerprints == before
    (tmp_path / "date=1/a").write_text("longer than it was")  # another size
    stat = (tmp_path / "date=2/b").stat()
    os.utime(tmp_path / "date=2/b", ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))  # another time
    write(tmp_path, "date=4/d", "date=3/_SUCCESS")
    after = list_source(str(tmp_path), "date").fingerprints
    assert {u for u in before if before[u] != after[u]} == {"1", "2"}
    assert set(after) - set(before) == {"4"}
    write(tmp_path, "date=3/more")
    assert list_source(str(tmp_path), "date").fingerprints["3"] != before["3"]


def test_a_source_moved_elsewhere_keeps_its_fingerprints(tmp_path: Path) -> None:
    write(tmp_path / "old", "date=1/a", "date=2/b")
    before = list_source(str(tmp_path / "old"), "date").fingerprints
    (tmp_path / "old").rename(tmp_path / "new")
    assert list_source(str(tmp_path / "new"), "date").fingerprints == before


# --- is the partition key time


@pytest.mark.parametrize(
    ("partitions", "time"),
    [
        (["2019-12-30"], True),
        (["2019-12-30", "2020-01-01"], True),
        (["2019-12", "2020-01"], True),
        ([], False),
        (["north", "south"], False),
        (["2019-12-30", "north"], False),
        (["2019"], False),
        (["20191230"], False),
        (["2019-12-30T00"], False),
        (["x2019-12-30"], False),
        (["__HIVE_DEFAULT_PARTITION__", "2019-12-30"], False),
    ],
)
def test_a_partition_key_is_time_when_every_value_is_a_day_or_month(
    partitions: list[str], time: bool
) -> None:
    assert is_time(partitions) is time
