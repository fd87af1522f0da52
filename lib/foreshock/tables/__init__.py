"""Writing the result tables."""
