"""The model bundle: specs, weights, scaler and versions in one folder that loads without pickle."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from foreshock.errors import DataError
from foreshock.platform.files import file_sha256, read_json, write_json
from foreshock.windows.models import registry
from foreshock.windows.models.registry import Model

NAME = "bundle.json"
FORMAT = 1


@dataclass(frozen=True)
class Bundle:
    """Models by detector name, the run's first, with what they were trained for."""

    models: dict[str, Model]
    features: tuple[str, ...]
    length: int
    scaler_sha256: str
    info: dict[str, Any]


def save(folder: Path, bundle: Bundle) -> None:
    """Write the bundle into an existing, empty folder."""
    entries = {}
    for name, model in bundle.models.items():
        file = folder / f"{name}.npz"
        memory = io.BytesIO()
        np.savez(memory, **model.arrays())
        file.write_bytes(memory.getbuffer())
        entries[name] = {"spec": model.spec(), "file": file.name, "sha256": file_sha256(file)}
    write_json(
        folder / NAME,
        {
            "format": FORMAT,
            "models": entries,
            "order": list(bundle.models),
            "features": list(bundle.features),
            "length": bundle.length,
            "scaler_sha256": bundle.scaler_sha256,
            "info": bundle.info,
        },
    )


def load(folder: Path, *, names: tuple[str, ...] | None = None) -> Bundle:
    """The bundle, or some of its models. Raises DataError for one that is damaged, altered or of another version."""
    if not (folder / NAME).exists():
        raise DataError(f"{folder}: holds no {NAME}, so it is not a model bundle.")
    raw = read_json(folder / NAME)
    try:
        if raw["format"] != FORMAT:
            raise DataError(
                f"{folder / NAME}: format {raw['format']}; this version reads {FORMAT}."
            )
        models: dict[str, Model] = {}
        for name in names or raw["order"]:
            entry = raw["models"][name]
            file = folder / entry["file"]
            if not file.exists() or file_sha256(file) != entry["sha256"]:
                raise DataError(
                    f"{file}: missing or altered; it does not belong to {folder / NAME}. Train again with --force."
                )
            with file.open("rb") as handle, np.load(handle, allow_pickle=False) as arrays:
                models[name] = registry.load(
                    name, entry["spec"], {k: arrays[k] for k in arrays.files}
                )
        return Bundle(
            models, tuple(raw["features"]), raw["length"], raw["scaler_sha256"], raw["info"]
        )
    except (KeyError, TypeError) as error:
        raise DataError(f"{folder / NAME}: not a bundle of this version ({error!r}).") from None


def check(
    bundle: Bundle, features: tuple[str, ...], length: int, scaler_sha256: str, where: str
) -> None:
    """Raise DataError where a bundle was trained for other features, window length or scaler than the data's."""
    if bundle.features != features:
        raise DataError(
            f"{where}: trained on the features {', '.join(bundle.features)}; the data have {', '.join(features)}."
        )
    if bundle.length != length:
        raise DataError(
            f"{where}: trained on windows of length {bundle.length}; the data have {length}."
        )
    if bundle.scaler_sha256 != scaler_sha256:
        raise DataError(
            f"{where}: trained with another scaler (sha256 {bundle.scaler_sha256[:12]}…) than the data were scaled with "
            f"({scaler_sha256[:12]}…). Prepare and train again."
        )
