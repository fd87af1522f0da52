"""The model bundle: specs, weights, scaler and versions in one folder that loads without pickle."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from foreshock.detectors import FittedDetector
from foreshock.errors import DataError
from foreshock.platform.files import file_sha256, read_json, write_json
from foreshock.windows.models.bundle_facts import FoldFacts, TrainingFacts, facts_of
from foreshock.windows.models.fitting import load_fitted

NAME = "bundle.json"
FORMAT = 1


@dataclass(frozen=True)
class Bundle:
    """Fitted detectors by name, the run's first, with what they were trained for."""

    # A WindowDetector or a SequenceDetector each: the registry says which.
    models: Mapping[str, Any]
    features: tuple[str, ...]
    length: int
    scaler_sha256: str
    facts: TrainingFacts | FoldFacts

    @property
    def folds(self) -> tuple[tuple[int, int], ...] | None:
        """The spans of training time, [from, to) in microseconds, that have a bundle each."""
        return self.facts.folds if isinstance(self.facts, TrainingFacts) else None

    def explained_by(self, name: str) -> dict[str, Any] | None:
        """What a detector explains of training windows, plain; None if that is not known."""
        if not isinstance(self.facts, TrainingFacts):
            return None
        facts = self.facts.explained.get(name)
        return None if facts is None else facts.to_mapping()


def fold_name(fold: int) -> str:
    """The folder of a fold's bundle within the run's bundle.

    >>> fold_name(3)
    'fold-3'
    """
    return f"fold-{fold}"


def save(folder: Path, bundle: Bundle) -> None:
    """Write the bundle into an existing, empty folder.

    The arrays of a detector lie in `<name>.npz`, everything else in bundle.json, with their
    digests. That is written last: a folder without it is no bundle.
    """
    entries = {}
    for name, model in bundle.models.items():
        file = folder / f"{name}.npz"
        # np.savez opens local paths only, and a run directory may lie on S3.
        npz_file = io.BytesIO()
        np.savez(npz_file, **model.arrays())
        file.write_bytes(npz_file.getbuffer())
        spec = dict(model.spec())
        entries[name] = {"spec": spec, "file": file.name, "sha256": file_sha256(file)}
    description = {
        "format": FORMAT,
        "models": entries,
        # The run's model is the first, and JSON promises no order of keys.
        "order": list(bundle.models),
        "features": list(bundle.features),
        "length": bundle.length,
        "scaler_sha256": bundle.scaler_sha256,
        "info": bundle.facts.to_mapping(),
    }
    write_json(folder / NAME, description)


def load(folder: Path, *, names: tuple[str, ...] | None = None) -> Bundle:
    """The bundle, or some of its models.

    Raises DataError for one that is damaged, altered or of another version.
    """
    if not (folder / NAME).exists():
        raise DataError(f"{folder}: holds no {NAME}, so it is not a model bundle.")
    description = read_json(folder / NAME)
    try:
        if description["format"] != FORMAT:
            raise DataError(
                f"{folder / NAME}: format {description['format']}; this version reads {FORMAT}. "
                "Train again with --force, or use the version of Foreshock that wrote it."
            )
        entries = description["models"]
        return Bundle(
            {
                name: _load_model(folder, name, entries[name])
                for name in names or description["order"]
            },
            tuple(description["features"]),
            description["length"],
            description["scaler_sha256"],
            facts_of(description["info"]),
        )
    except (KeyError, TypeError) as error:
        raise DataError(f"{folder / NAME}: not a bundle of this version ({error!r}).") from None


def _load_model(folder: Path, name: str, entry: Mapping[str, Any]) -> FittedDetector:
    """One model of a bundle. Raises DataError if its file is missing, altered or damaged."""
    file = folder / entry["file"]
    # The digest comes first, so that no altered file is parsed.
    if not file.exists() or file_sha256(file) != entry["sha256"]:
        raise DataError(
            f"{file}: missing or altered; it does not belong to {folder / NAME}. "
            "Train again with --force."
        )
    with file.open("rb") as handle, np.load(handle, allow_pickle=False) as members:
        arrays = {member: members[member] for member in members.files}
    return load_fitted(name, entry["spec"], arrays)


def check(
    bundle: Bundle, features: tuple[str, ...], length: int, scaler_sha256: str, where: str
) -> None:
    """Raise DataError for a bundle of other features, window length or scaler than the data's.

    `where` names the bundle in the message.
    """
    if bundle.features != features:
        raise DataError(
            f"{where}: trained on the features {', '.join(bundle.features)}; the data have "
            f"{', '.join(features)}."
        )
    if bundle.length != length:
        raise DataError(
            f"{where}: trained on windows of length {bundle.length}; the data have {length}."
        )
    if bundle.scaler_sha256 != scaler_sha256:
        raise DataError(
            f"{where}: trained with another scaler (sha256 {bundle.scaler_sha256[:12]}…) than the "
            f"data were scaled with ({scaler_sha256[:12]}…). Prepare and train again."
        )
