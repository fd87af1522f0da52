"""Robust scaling from mergeable histograms."""
