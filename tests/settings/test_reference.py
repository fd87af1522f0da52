"""The reference of the settings: the block of defaults is true, and the page leaves no key out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from foreshock.settings.conf_yaml import parse_yaml
from foreshock.settings.identity import as_mapping, sha256
from foreshock.settings.load import build_settings, load_settings
from foreshock.settings.reference import allowed_values, defaults_block, settings_reference
from foreshock.settings.root import Settings
from foreshock.settings.source import SourceSettings
from pydantic.fields import FieldInfo

MINIMAL = """
source: {path: data/transactions}
events:
  entity: from_address
  time: block_timestamp
  features: {value_eth: "cast(value as decimal(38,0)) / 1e18", gas: gas}
split:
  train: [2019-01-01, 2019-03-01]
  calibration: [2019-03-01, 2019-04-01]
  test: [2019-04-01, 2019-05-01]
"""


def test_the_block_of_defaults_is_the_resolved_conf_of_a_minimal_run(tmp_path: Path) -> None:
    conf = tmp_path / "conf.yaml"
    conf.write_text(MINIMAL)
    resolved = as_mapping(load_settings(str(conf)))
    resolved["source"]["path"] = "data/transactions"
    shown = parse_yaml(defaults_block())
    assert as_mapping(build_settings(shown)) == resolved
    assert sha256(build_settings(shown)) == sha256(build_settings(parse_yaml(MINIMAL)))
    for section, keys in resolved.items():
        if isinstance(keys, dict):
            assert list(shown[section]) == list(keys), "no key is left to a default"
    assert set(shown) == set(resolved)


def test_every_key_of_the_block_has_a_comment_above_it() -> None:
    lines = defaults_block().splitlines()
    live = [number for number, line in enumerate(lines) if not line.lstrip().startswith("#")]
    assert [
        lines[number] for number in live if not lines[number - 1].lstrip().startswith("#")
    ] == []


def test_the_page_has_a_table_for_every_section_and_a_row_for_every_key() -> None:
    page = settings_reference()
    for section in ("run", "source", "split", "scoring.smooth", "thresholds.rules", "tables.glue"):
        assert f"# `{section}`\n" in page
    for key in (
        "workgroup",
        "calibrate_where",
        "floor",
        "jit_compile",
        "mean_log1p",
        "requester_pays",
    ):
        assert f"`{key}`" in page
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert len(rows) > 100
    # Four cells in every row: a pipe within one would make a fifth.
    assert {line.replace("\\|", "").count("|") for line in rows} == {5}


@pytest.mark.parametrize(
    ("field", "words"),
    [
        (SourceSettings.model_fields["kind"], "`files`, `synthetic`, `athena`"),
        (SourceSettings.model_fields["days"], "integer ≥ 1, ≤ 20000"),
        (SourceSettings.model_fields["max_bytes_scanned"], "integer ≥ 1 or null"),
        (SourceSettings.model_fields["output"], "text that matches `^s3://[^/]+` or null"),
        (SourceSettings.model_fields["start"], "date"),
        (Settings.model_fields["aws"], "section"),
    ],
)
def test_allowed_values_are_read_from_the_checks_themselves(field: FieldInfo, words: str) -> None:
    assert allowed_values(field) == words


def test_it_runs_as_a_program() -> None:
    command = [sys.executable, "-m", "foreshock.settings.reference", "--defaults"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert yaml.safe_load(printed)["windows"]["length"] == 50
