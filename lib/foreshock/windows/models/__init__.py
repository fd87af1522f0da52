"""Detectors of windows: how each is fitted, what it expects, how it is kept without pickle."""
