"""Foreshock finds anomalous sequences in event tables too large for one machine.

The journey, one room per step::

    events -> scaling -> windowing -> dataset -> training (models) -> scoring -> thresholds -> tables -> report

`stages` joins the rooms; each job in jobs/ runs one stage, jobs/pipeline.py runs them all.
"""

import os

from foreshock.errors import DataError, ForeshockError, GateError, ServiceError, SettingsError
from foreshock.settings.load import load_settings
from foreshock.settings.root import Settings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read by TensorFlow when it is first imported

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
