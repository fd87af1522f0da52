"""Which type a column of text gets, and that a header which differs is named."""

import gzip
from pathlib import Path

import pytest
from foreshock.errors import DataError
from foreshock.events.column_types import CellCounts, changed_types, infer_types
from foreshock.events.csv_header import shared_header


@pytest.mark.parametrize(
    ("cells", "sql_type"),
    [
        (CellCounts(), "void"),
        (CellCounts(filled=3, booleans=3), "boolean"),
        (CellCounts(filled=3, booleans=2), "string"),
        (CellCounts(filled=3, numbers=3, integers=3), "bigint"),
        (CellCounts(filled=3, numbers=3, integers=2), "double"),
        (CellCounts(filled=3, numbers=3, integers=3, beyond_int64=1), "decimal(38,0)"),
        (
            CellCounts(filled=3, numbers=3, integers=3, beyond_int64=1, beyond_38_digits=1),
            "double",
        ),
        (CellCounts(filled=100, numbers=90, integers=90), "bigint"),
        (CellCounts(filled=100, numbers=89, integers=89), "string"),
    ],
)
def test_types_follow_from_what_cells_parse_as(cells: CellCounts, sql_type: str) -> None:
    assert cells.column_type(max_bad=0.1) == sql_type


def test_types_do_not_depend_on_which_partition_came_first() -> None:
    whole = {"gas": CellCounts(filled=5, numbers=5, integers=5)}
    broken = {"gas": CellCounts(filled=5, numbers=5, integers=4), "note": CellCounts(filled=1)}
    forward = infer_types({"a": whole, "b": broken}, 0.0)
    assert forward == infer_types({"b": broken, "a": whole}, 0.0)
    assert forward == {"gas": "double", "note": "string"}
    assert changed_types(infer_types({"a": whole}, 0.0), forward) == ["gas", "note"]


def test_the_header_is_read_from_plain_and_packed_files(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("\ufeffid,gas,\n1,2,3\n", encoding="utf-8")
    with gzip.open(tmp_path / "b.csv.gz", "wt") as packed:
        packed.write("id,gas,\n4,5,6\n")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "other.zst").write_bytes(b"\x28\xb5\x2f\xfd")
    files = [str(tmp_path / name) for name in ("empty.csv", "a.csv", "b.csv.gz", "other.zst")]
    assert shared_header(files) == ["id", "gas", "_c2"]
    assert shared_header(files[:1]) == []


def test_a_header_that_differs_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,gas\n")
    (tmp_path / "b.csv").write_text("gas,id\n")
    with pytest.raises(DataError, match=r"b\.csv: its header \(gas, id\) differs from that of .*a"):
        shared_header([str(tmp_path / "a.csv"), str(tmp_path / "b.csv")])
    (tmp_path / "c.csv").write_text("gas,Gas\n")
    with pytest.raises(DataError, match=r"c\.csv: the column 'gas' stands twice"):
        shared_header([str(tmp_path / "c.csv")])
