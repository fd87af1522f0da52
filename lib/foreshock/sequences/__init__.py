"""What both detector families share about sequences: total order, gaps, halos, tails, folds of
time.
"""
