"""Every column and table name, once."""

from __future__ import annotations

ENTITY = "entity"
EVENT_TIME = "event_time"
PARTITION = "partition"
GROUP = "group"
EVENT_ID = "event_id"
LABEL = "label"
KIND = "kind"
TRAIN_OK = "train_ok"
CALIBRATE_OK = "calibrate_ok"
REASON = "reason"

CONTRACT = (ENTITY, EVENT_TIME, PARTITION, GROUP, EVENT_ID, LABEL, KIND, TRAIN_OK, CALIBRATE_OK)
TIEBREAK_PREFIX = "tiebreak_"
RAW_PREFIX = "raw_"

TRAIN, CALIBRATION, TEST = "train", "calibration", "test"
SPLITS = (TRAIN, CALIBRATION, TEST)
SCORED = (TRAIN, "out_of_fold", CALIBRATION, TEST)
# Training events scored by a model that did not see them.
OUT_OF_FOLD = "out_of_fold"

SCORES = "scores"
DETECTOR_SCORES = "detector_scores"
ERROR_DISTRIBUTION = "error_distribution"
THRESHOLDS = "thresholds"
METRICS = "metrics"
DRIFT = "drift"
RUNS = "runs"

ALL = "all"
UNKNOWN_LABEL = -1
