"""What both detector families share about sequences: order, gaps, folds of time."""
