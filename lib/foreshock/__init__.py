"""Foreshock finds anomalous sequences in event tables too large for one machine.

The journey of an event through the rooms of this package::

    events -> scaling -> windows (cut, dataset) -> training -> windows (scoring) -> scored
    scored -> thresholds, evaluation, diagnosis -> tables -> report

`stages` joins the rooms: each job in jobs/ runs one stage, jobs/pipeline.py runs them all, and so
does the command `foreshock`.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foreshock.errors import DataError, ForeshockError, GateError, ServiceError, SettingsError
    from foreshock.settings.load import load_settings
    from foreshock.settings.root import Settings

# TensorFlow reads it when it is first imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

__version__ = "0.1.0"

__all__ = [
    "DataError",
    "ForeshockError",
    "GateError",
    "ServiceError",
    "Settings",
    "SettingsError",
    "load_settings",
]

_HOMES = {
    "DataError": "foreshock.errors",
    "ForeshockError": "foreshock.errors",
    "GateError": "foreshock.errors",
    "ServiceError": "foreshock.errors",
    "Settings": "foreshock.settings.root",
    "SettingsError": "foreshock.errors",
    "load_settings": "foreshock.settings.load",
}


def __getattr__(name: str) -> Any:
    # Settings need pydantic and YAML, which `foreshock --help` does without.
    if name not in _HOMES:
        raise AttributeError(f"module 'foreshock' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
