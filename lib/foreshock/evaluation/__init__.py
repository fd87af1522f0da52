"""Metrics against labels; the only room that reads them."""
