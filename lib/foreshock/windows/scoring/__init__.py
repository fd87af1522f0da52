"""Errors of windows, aggregated to scores of events."""
