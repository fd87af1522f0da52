"""The sections of the page in their order. A section is a file that builds it and a template."""

from __future__ import annotations

from foreshock.report.section import Section
from foreshock.report.sections.events import build_events
from foreshock.report.sections.metrics import build_metrics
from foreshock.report.sections.over_time import build_over_time
from foreshock.report.sections.rows_read import build_rows_read
from foreshock.report.sections.scaling import build_scaling
from foreshock.report.sections.scores import build_scores
from foreshock.report.sections.settings import build_settings
from foreshock.report.sections.shift import build_shift
from foreshock.report.sections.tables import build_tables
from foreshock.report.sections.thresholds import build_thresholds
from foreshock.report.sections.training import build_training

SECTIONS = (
    Section("rows_read", "read", "Rows read", build_rows_read),
    Section("scores", "scores", "Scores", build_scores),
    Section("shift", "shift", "What moved", build_shift),
    Section("over_time", "time", "Over time", build_over_time),
    Section("thresholds", "thresholds", "Thresholds", build_thresholds),
    Section("events", "events", "Top events", build_events),
    Section("metrics", "metrics", "Metrics", build_metrics),
    Section("training", "training", "Training", build_training),
    Section("scaling", "scaling", "Scaling", build_scaling),
    Section("settings", "settings", "Settings", build_settings),
    Section("tables", "tables", "Tables", build_tables),
)
