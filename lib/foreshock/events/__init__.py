"""From a source table to the event contract: partitions, features, quality, synthetic data."""
