"""The second detector family: an entity's events one after another, as a process in time."""
