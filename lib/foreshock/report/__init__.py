"""The summary and the page."""
