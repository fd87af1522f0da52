"""Settings of a run: typed, frozen, checked when they are loaded."""
