"""Models of the registry: fit, per-event errors, save and load without pickle. Higher is more anomalous."""
