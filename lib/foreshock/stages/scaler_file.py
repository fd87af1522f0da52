"""The file of a run that holds its scaler. No Spark."""

from __future__ import annotations

from pathlib import Path

from foreshock.platform.files import read_json, write_json
from foreshock.scaling.robust import Scaler

SCALER = "scaler.json"


def read_scaler(path: Path) -> Scaler:
    """The scaler of a run.

    Raises DataError if the file holds none, FileNotFoundError if there is no file.
    """
    return Scaler.from_mapping(read_json(path))


def write_scaler(scaler: Scaler, path: Path) -> None:
    """Write the scaler of a run, whole or not at all."""
    write_json(path, scaler.to_mapping())
