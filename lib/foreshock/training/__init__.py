"""The training loop, early stopping and the model bundle."""
