"""Types of Glue's columns: what two runs of other features can share."""

from __future__ import annotations

import pytest
from foreshock.tables.sinks.glue_registry import merged_type


@pytest.mark.parametrize(
    ("present", "wanted", "merged"),
    [
        ("struct<gas:double>", "struct<gas:double>", "struct<gas:double>"),
        (
            "struct<gas:double,value:double>",
            "struct<fee:double,gas:double>",
            "struct<gas:double,value:double,fee:double>",
        ),
        ("bigint", "double", "double"),
        ("struct<bin:array<int>>", "struct<bin:array<bigint>>", "struct<bin:array<bigint>>"),
    ],
)
def test_structs_have_the_fields_of_either(present: str, wanted: str, merged: str) -> None:
    assert merged_type(present, wanted) == merged
